//! `cairn resume`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, Context, Ledger};
use clap::Args;

use crate::commands::moves::{self, MoveOptions};
use crate::failure::Failure;
use crate::program::Cairn;

/// What `cairn resume` takes.
#[derive(Debug, Args)]
pub struct Resume {
    /// The channel
    #[arg(value_parser = moves::channel)]
    pub channel: Channel,
    /// Which ledger, and what is written into it.
    #[command(flatten)]
    pub options: MoveOptions,
}

impl Resume {
    /// Lifts the hold.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let plan = |opened: &_, home: &_, context: &Context<'_>| {
            Ok(plan::resume(opened, home, context, &self.channel)?)
        };
        let deed = async |ledger: &Ledger, opened: &_, context: &Context<'_>| {
            let done = ledger.resume(opened, context, &self.channel).await?;
            if done.changed {
                moves::tell_resumed(cairn, &self.channel);
            }
            Ok(done)
        };
        self.options.carry_out(cairn, "resumed", plan, deed).await
    }
}
