//! `cairn ratify`

use cairn_ledger::EntryName;
use clap::Args;

use crate::failure::Failure;
use crate::ledgers::{EntryOptions, LedgerOptions};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;

/// What `cairn ratify` takes.
#[derive(Debug, Args)]
pub struct Ratify {
    /// The entry, as `cairn audit` names it: sha256:…
    #[arg(value_name = "ENTRY")]
    pub name: EntryName,
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
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        let key = signing::require(cairn, &open)?;
        let context = self.entry.context(cairn, &key, None)?;
        if self.entry.dry_run {
            let known = open
                .opened
                .state()
                .is_some_and(|state| state.glass.contains_key(&self.name));
            let would = if known {
                "would ratify"
            } else {
                "there is nothing to ratify of"
            };
            cairn.terminal.say(format!("{would} {}", self.name));
            return Ok(());
        }
        let governed = open.ledger.ratify(&open.opened, &context, &self.name).await?;
        cairn.flush().await?;
        open.remember(cairn, &governed.opened);
        match governed.entry {
            Some(entry) => {
                cairn.terminal.say(format!("ratified {}", self.name));
                cairn.terminal.print(entry.name.to_string())
            }
            None => {
                cairn.terminal.say("it was ratified before: nothing to do");
                Ok(())
            }
        }
    }
}
