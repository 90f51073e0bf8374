//! `cairn switch`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, Context, Ledger, SwitchRequest};
use clap::Args;

use crate::commands::moves::{self, MoveOptions};
use crate::failure::Failure;
use crate::program::Cairn;

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
    /// Which ledger, and what is written into it.
    #[command(flatten)]
    pub options: MoveOptions,
}

impl Switch {
    /// Lets the live channel take what the slot shows.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let request = SwitchRequest {
            live: self.live.clone(),
            slot: self.slot.clone(),
            resume: self.resume,
        };
        let plan =
            |opened: &_, home: &_, context: &Context<'_>| Ok(plan::switch(opened, home, context, &request)?);
        let deed = async |ledger: &Ledger, opened: &_, context: &Context<'_>| {
            let done = ledger.switch(opened, context, &request).await?;
            if done.changed {
                let took = format!("{} took what {} shows", self.live, self.slot);
                cairn.terminal.step("switched", took);
            }
            Ok(done)
        };
        self.options.carry_out(cairn, "switched", plan, deed).await
    }
}
