//! `cairn record`

use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, Context, Ledger, RecordRequest};
use clap::Args;

use crate::commands::moves::{self, AppendOptions};
use crate::failure::{Exit, Failure};
use crate::ledgers::GlassOption;
use crate::program::Cairn;

/// What `cairn record` takes.
#[derive(Debug, Args)]
pub struct Record {
    /// The channel whose tag somebody moved by hand
    #[arg(value_parser = moves::channel)]
    pub channel: Channel,
    /// Which ledger, and what is written into it.
    #[command(flatten)]
    pub options: AppendOptions,
}

impl Record {
    /// Writes into the ledger what the tag shows.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let ready = self.options.ready(cairn, GlassOption::default()).await?;
        let Some(found) = ready.open.ledger.found_at(&self.channel).await? else {
            let text = format!(
                "{} has no tag {}, so there is nothing to record",
                ready.open.images, self.channel
            );
            return Err(Failure::new(Exit::Input, text)
                .with_hint(format!("cairn repair {} --forward writes it", self.channel)));
        };
        let request = RecordRequest {
            channel: self.channel.clone(),
            found,
        };
        let plan =
            |opened: &_, home: &_, context: &Context<'_>| Ok(plan::record(opened, home, context, &request)?);
        let deed = async |ledger: &Ledger, opened: &_, context: &Context<'_>| {
            let done = ledger.record(opened, context, &request).await?;
            if done.changed {
                let text = format!("what the tag {} shows", self.channel);
                cairn.terminal.step("recorded", text);
            }
            Ok(done)
        };
        let options = &self.options;
        options.carry_out(cairn, &ready, "recorded", plan, deed).await
    }
}
