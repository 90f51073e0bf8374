//! `cairn ratify`

use cairn_ledger::{EntryName, OperationError};
use clap::Args;

use crate::failure::Failure;
use crate::ledgers::{EntryOptions, LedgerOptions, OpenLedger};
use crate::program::Cairn;
use crate::signing;

/// Fewest digits of a name that stand for an entry.
const DIGITS: usize = 6;

/// What `cairn ratify` takes.
#[derive(Debug, Args)]
pub struct Ratify {
    /// The entry, as `cairn audit` names it: the first digits of its name, or all of it with sha256:
    #[arg(value_name = "ENTRY")]
    pub name: String,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

impl Ratify {
    /// Accepts it.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.require_home(cairn).await?;
        let name = self.entry_of(&open)?;
        let key = signing::require(cairn, &open)?;
        let context = self.entry.context(cairn, &key, None)?;
        if self.entry.dry_run {
            cairn.terminal.say(format!("would ratify {name}"));
            return Ok(());
        }
        let governed = open.ledger.ratify(&open.opened, &context, &name).await?;
        cairn.flush().await?;
        open.remember(cairn, &governed.opened);
        match governed.entry {
            Some(entry) => {
                cairn.terminal.say(format!("ratified {name}"));
                cairn.terminal.print(entry.name.to_string())
            }
            None => {
                cairn.terminal.say("it was ratified before: nothing to do");
                Ok(())
            }
        }
    }

    /// The one entry of a key outside the ledger whose name begins so.
    fn entry_of(&self, open: &OpenLedger) -> Result<EntryName, Failure> {
        let digits = self.name.strip_prefix("sha256:").unwrap_or(&self.name);
        let state = open.opened.state();
        let all = state.into_iter().flat_map(|state| state.glass.keys());
        let mut called = all.filter(|name| digits.len() >= DIGITS && name.hex().starts_with(digits));
        match (called.next(), called.next()) {
            (Some(name), None) => Ok(*name),
            _ => Err(OperationError::NoGlass {
                name: self.name.clone(),
            }
            .into()),
        }
    }
}
