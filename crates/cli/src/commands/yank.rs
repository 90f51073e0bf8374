//! `cairn yank`

use cairn_ledger::operation::plan;
use cairn_ledger::{Context, Ledger, Version, YankRequest};
use cairn_oci::Digest;
use clap::Args;

use crate::commands::moves::{self, AppendOptions};
use crate::failure::Failure;
use crate::ledgers::GlassOption;
use crate::program::Cairn;

/// What `cairn yank` takes.
#[derive(Debug, Args)]
pub struct Yank {
    /// The version
    #[arg(value_parser = moves::version)]
    pub version: Version,
    /// Which image, where the version was released as two at once
    #[arg(value_name = "sha256:…")]
    pub digest: Option<Digest>,
    /// Which ledger, and what is written into it.
    #[command(flatten)]
    pub options: AppendOptions,
}

impl Yank {
    /// Bars the version.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let ready = self.options.ready(cairn, GlassOption::default()).await?;
        let request = YankRequest {
            version: self.version.clone(),
            digest: self.digest,
        };
        let plan =
            |opened: &_, home: &_, context: &Context<'_>| Ok(plan::yank(opened, home, context, &request)?);
        let deed = async |ledger: &Ledger, opened: &_, context: &Context<'_>| {
            let done = ledger.yank(opened, context, &request).await?;
            if done.changed {
                let text = format!(
                    "{}: nothing moves to it any more, and no way back leads to it",
                    self.version
                );
                cairn.terminal.step("yanked", text);
            }
            Ok(done)
        };
        let options = &self.options;
        options.carry_out(cairn, &ready, "yanked", plan, deed).await
    }
}
