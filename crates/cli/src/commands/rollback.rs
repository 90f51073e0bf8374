//! `cairn rollback`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, Context, Ledger, RollbackRequest, RollbackTarget, Version};
use clap::Args;

use crate::commands::moves::{self, MoveOptions};
use crate::failure::Failure;
use crate::program::Cairn;

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
    /// Which ledger, and what is written into it.
    #[command(flatten)]
    pub options: MoveOptions,
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
        let request = RollbackRequest {
            channel: self.channel.clone(),
            target: self.target.clone(),
            leave: self.leave.clone(),
            no_hold: self.no_hold,
        };
        let plan = |opened: &_, home: &_, context: &Context<'_>| {
            Ok(plan::rollback(opened, home, context, &request)?)
        };
        let deed = async |ledger: &Ledger, opened: &_, context: &Context<'_>| {
            ledger.rollback(opened, context, &request).await
        };
        self.options.carry_out(cairn, "rolled back", plan, deed).await
    }
}
