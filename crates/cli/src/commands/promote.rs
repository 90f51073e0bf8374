//! `cairn promote`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, PromoteRequest, Version};
use clap::Args;

use crate::commands::moves::{self, Moved};
use crate::failure::Failure;
use crate::ledgers::{EntryOptions, GlassOption, LedgerOptions};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;

/// What `cairn promote` takes.
#[derive(Debug, Args)]
pub struct Promote {
    /// A version that was released
    #[arg(value_parser = moves::version)]
    pub version: Version,
    /// The channels
    #[arg(required = true, value_parser = moves::channel)]
    pub channels: Vec<Channel>,
    /// Lifts the hold of these channels
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

impl Promote {
    /// Points the channels at the release.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        let key = signing::require_for(cairn, &open, self.glass)?;
        let context = self.glass.on(self.entry.context(cairn, &key, None)?);
        let request = PromoteRequest {
            version: self.version.clone(),
            channels: self.channels.iter().cloned().collect(),
            resume: self.resume,
        };
        if self.entry.dry_run {
            let plan = plan::promote(&open.opened, &open.ledger.home().label(), &context, &request)?;
            return moves::print_plan(cairn, &open, &plan);
        }
        let done = open.ledger.promote(&open.opened, &context, &request).await;
        moves::finish(
            cairn,
            &open,
            key.fingerprint(),
            done,
            Moved {
                verb: "promoted",
                transferred: None,
            },
        )
        .await
    }
}
