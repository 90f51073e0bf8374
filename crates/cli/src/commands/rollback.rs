//! `cairn rollback`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, RollbackRequest, RollbackTarget, Version};
use clap::Args;

use crate::commands::moves::{self, Moved};
use crate::failure::Failure;
use crate::ledgers::{EntryOptions, GlassOption, LedgerOptions};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;

/// What `cairn rollback` takes.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The channel
    #[arg(value_parser = moves::channel)]
    pub channel: Channel,
    /// Where to: a version, a digest, or the name of an entry [default: what the channel showed before]
    #[arg(value_name = "VERSION|sha256:…", value_parser = target)]
    pub target: Option<RollbackTarget>,
    /// Does it only if the channel still shows this version
    #[arg(long, value_name = "VERSION", value_parser = moves::version)]
    pub leave: Option<Version>,
    /// Does not hold the channel: the next release may move it again
    #[arg(long)]
    pub no_hold: bool,
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

fn target(text: &str) -> Result<RollbackTarget, String> {
    if text.starts_with("sha256:") {
        return text
            .parse()
            .map(RollbackTarget::Digest)
            .map_err(|error: cairn_oci::digest::DigestError| error.to_string());
    }
    moves::version(text).map(RollbackTarget::Version)
}

impl Rollback {
    /// Takes the channel back.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        // A broken spec must not stand in the way at three in the morning, where the repository is named.
        let project = if self.ledger.repository.is_some() {
            None
        } else {
            Project::find(cairn)?
        };
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        let key = signing::require_for(cairn, &open, self.glass)?;
        let context = self.glass.on(self.entry.context(cairn, &key, None)?);
        let request = RollbackRequest {
            channel: self.channel.clone(),
            target: self.target.clone(),
            leave: self.leave.clone(),
            no_hold: self.no_hold,
        };
        if self.entry.dry_run {
            let plan = plan::rollback(&open.opened, &open.ledger.home().label(), &context, &request)?;
            return moves::print_plan(cairn, &open, &plan);
        }
        let done = open.ledger.rollback(&open.opened, &context, &request).await;
        moves::finish(
            cairn,
            &open,
            key.fingerprint(),
            done,
            Moved {
                verb: "rolled back",
                transferred: None,
            },
        )
        .await
    }
}
