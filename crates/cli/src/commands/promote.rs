//! `cairn promote`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, Context, Ledger, PromoteRequest, Version};
use clap::Args;

use crate::commands::moves::{self, MoveOptions};
use crate::failure::Failure;
use crate::program::Cairn;

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
    /// Which ledger, and what is written into it.
    #[command(flatten)]
    pub options: MoveOptions,
}

impl Promote {
    /// Points the channels at the release.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let request = PromoteRequest {
            version: self.version.clone(),
            channels: self.channels.iter().cloned().collect(),
            resume: self.resume,
        };
        let plan =
            |opened: &_, home: &_, context: &Context<'_>| Ok(plan::promote(opened, home, context, &request)?);
        let deed = async |ledger: &Ledger, opened: &_, context: &Context<'_>| {
            ledger.promote(opened, context, &request).await
        };
        self.options.carry_out(cairn, "promoted", plan, deed).await
    }
}
