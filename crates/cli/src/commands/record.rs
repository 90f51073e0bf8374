//! `cairn record`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, RecordRequest};
use clap::Args;

use crate::commands::moves::{self, Moved};
use crate::failure::{Exit, Failure};
use crate::ledgers::{EntryOptions, LedgerOptions};
use crate::program::Cairn;
use crate::signing;

/// What `cairn record` takes.
#[derive(Debug, Args)]
pub struct Record {
    /// The channel whose tag somebody moved by hand
    #[arg(value_parser = moves::channel)]
    pub channel: Channel,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

impl Record {
    /// Writes into the ledger what the tag shows.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.require_here(cairn).await?;
        let key = signing::require(cairn, &open)?;
        let context = self.entry.context(cairn, &key, None)?;
        let Some(found) = open.ledger.found_at(&self.channel).await? else {
            let text = format!(
                "{} has no tag {}, so there is nothing to record",
                open.images, self.channel
            );
            return Err(Failure::new(Exit::Input, text)
                .with_hint(format!("cairn repair {} --forward writes it", self.channel)));
        };
        let request = RecordRequest {
            channel: self.channel.clone(),
            found,
        };
        if self.entry.dry_run {
            let plan = plan::record(&open.opened, &open.ledger.home().label(), &context, &request)?;
            return moves::print_plan(cairn, &open, key.fingerprint(), plan);
        }
        let done = open.ledger.record(&open.opened, &context, &request).await;
        if done.as_ref().is_ok_and(|done| done.changed) {
            let text = format!("what the tag {} shows", self.channel);
            cairn.terminal.step("recorded", text);
        }
        moves::finish(
            cairn,
            &open,
            key.fingerprint(),
            done,
            Moved {
                verb: "recorded",
                transferred: None,
            },
        )
        .await
    }
}
