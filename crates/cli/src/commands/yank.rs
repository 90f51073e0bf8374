//! `cairn yank`

use cairn_ledger::operation::plan;
use cairn_ledger::{Version, YankRequest};
use cairn_oci::Digest;
use clap::Args;

use crate::commands::moves::{self, Moved};
use crate::failure::Failure;
use crate::ledgers::{EntryOptions, LedgerOptions};
use crate::program::Cairn;
use crate::signing;

/// What `cairn yank` takes.
#[derive(Debug, Args)]
pub struct Yank {
    /// The version
    #[arg(value_parser = moves::version)]
    pub version: Version,
    /// Which image, where the version was released as two at once
    #[arg(value_name = "sha256:…")]
    pub digest: Option<Digest>,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

impl Yank {
    /// Bars the version.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.require_here(cairn).await?;
        let key = signing::require(cairn, &open)?;
        let context = self.entry.context(cairn, &key, None)?;
        let request = YankRequest {
            version: self.version.clone(),
            digest: self.digest,
        };
        if self.entry.dry_run {
            let plan = plan::yank(&open.opened, &open.ledger.home().label(), &context, &request)?;
            if plan.entry.is_some() {
                cairn
                    .terminal
                    .step("yanked", format!("{} (not done: --dry-run)", self.version));
            }
            return moves::print_plan(cairn, &open, key.fingerprint(), plan);
        }
        let done = open.ledger.yank(&open.opened, &context, &request).await;
        if done.as_ref().is_ok_and(|done| done.changed) {
            let text = format!(
                "{}: nothing moves to it any more, and no way back leads to it",
                self.version
            );
            cairn.terminal.step("yanked", text);
        }
        moves::finish(
            cairn,
            &open,
            key.fingerprint(),
            done,
            Moved {
                verb: "yanked",
                transferred: None,
            },
        )
        .await
    }
}
