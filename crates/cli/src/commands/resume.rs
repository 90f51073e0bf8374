//! `cairn resume`

use cairn_ledger::Channel;
use cairn_ledger::operation::plan;
use clap::Args;

use crate::commands::moves::{self, Moved};
use crate::failure::Failure;
use crate::ledgers::{EntryOptions, GlassOption, LedgerOptions};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;

/// What `cairn resume` takes.
#[derive(Debug, Args)]
pub struct Resume {
    /// The channel
    #[arg(value_parser = moves::channel)]
    pub channel: Channel,
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

impl Resume {
    /// Lifts the hold.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        let key = signing::require_for(cairn, &open, self.glass)?;
        let context = self.glass.on(self.entry.context(cairn, &key, None)?);
        if self.entry.dry_run {
            let plan = plan::resume(&open.opened, &open.ledger.home().label(), &context, &self.channel)?;
            return moves::print_plan(cairn, &open, &plan);
        }
        let done = open.ledger.resume(&open.opened, &context, &self.channel).await;
        if done.as_ref().is_ok_and(|done| done.changed) {
            cairn.terminal.say(format!(
                "{} is no longer held: releases may move it again",
                self.channel
            ));
        }
        moves::finish(
            cairn,
            &open,
            key.fingerprint(),
            done,
            Moved {
                verb: "resumed",
                transferred: None,
            },
        )
        .await
    }
}
