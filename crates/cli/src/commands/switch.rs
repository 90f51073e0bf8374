//! `cairn switch`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, SwitchRequest};
use clap::Args;

use crate::commands::moves::{self, Moved};
use crate::failure::Failure;
use crate::ledgers::{EntryOptions, GlassOption, LedgerOptions};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;

/// What `cairn switch` takes.
#[derive(Debug, Args)]
pub struct Switch {
    /// The live channel
    #[arg(value_parser = moves::channel)]
    pub live: Channel,
    /// The channel whose image it takes, such as blue or green
    #[arg(value_parser = moves::channel)]
    pub slot: Channel,
    /// Lifts the hold of the live channel
    #[arg(long)]
    pub resume: bool,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
    /// Whether the key need not be in the ledger.
    #[command(flatten)]
    pub glass: GlassOption,
}

impl Switch {
    /// Lets the live channel take what the slot shows.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        let key = signing::require_for(cairn, &open, self.glass)?;
        let context = self.glass.on(self.entry.context(cairn, &key, None)?);
        let request = SwitchRequest {
            live: self.live.clone(),
            slot: self.slot.clone(),
            resume: self.resume,
        };
        if self.entry.dry_run {
            let plan = plan::switch(&open.opened, &open.ledger.home().label(), &context, &request)?;
            return moves::print_plan(cairn, &open, &plan);
        }
        let done = open.ledger.switch(&open.opened, &context, &request).await;
        if done.as_ref().is_ok_and(|done| done.changed) {
            let took = format!("{} took what {} shows", self.live, self.slot);
            cairn.terminal.step("switched", took);
        }
        moves::finish(
            cairn,
            &open,
            key.fingerprint(),
            done,
            Moved {
                verb: "switched",
                transferred: None,
            },
        )
        .await
    }
}
