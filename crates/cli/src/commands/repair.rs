//! `cairn repair`

use cairn_ledger::Channel;
use cairn_oci::Digest;
use clap::Args;
use serde::Serialize;

use crate::commands::moves;
use crate::failure::{Exit, Failure};
use crate::ledgers::LedgerOptions;
use crate::program::Cairn;

/// What `cairn repair` takes.
#[derive(Debug, Args)]
pub struct Repair {
    /// The channel whose tag somebody moved by hand
    #[arg(value_parser = moves::channel)]
    pub channel: Channel,
    /// Moves the tag to what the ledger says. It has to be said: the other way, cairn record, accepts what the tag shows
    #[arg(long, required = true)]
    pub forward: bool,
    /// Says what would be done, and does nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    channel: String,
    reference: String,
    version: Option<String>,
    digest: Digest,
    previous: Option<Digest>,
    changed: bool,
}

impl Repair {
    /// Puts the tag back.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.require_home(cairn).await?;
        let (found, now, changed) = if self.dry_run {
            let found = open.ledger.found_at(&self.channel).await?;
            let shown = open
                .opened
                .state()
                .and_then(|state| state.shows(&self.channel))
                .cloned();
            let now = shown.ok_or_else(|| self.shows_nothing())?;
            (found, now, false)
        } else {
            let repaired = open.ledger.repair(&open.opened, &self.channel).await?;
            cairn.flush().await?;
            open.remember(cairn, &repaired.opened);
            (repaired.found, repaired.now, repaired.changed)
        };
        let shown = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
        let text = match (found == Some(now.digest), self.dry_run) {
            (true, _) => format!("the tag shows {}, as the ledger says: nothing to do", now.label()),
            (false, true) => format!("{shown} → {} (not done: --dry-run)", now.label()),
            (false, false) => format!("{shown} → {}", now.label()),
        };
        cairn.terminal.step(self.channel.as_str(), text);
        let reference = open.images.at_digest(now.digest).to_string();
        if !cairn.terminal.json {
            return cairn.terminal.print(reference);
        }
        cairn.terminal.document(&Document {
            repository: open.images.to_string(),
            channel: self.channel.to_string(),
            reference,
            version: now.version.as_ref().map(ToString::to_string),
            digest: now.digest,
            previous: found,
            changed,
        })
    }

    fn shows_nothing(&self) -> Failure {
        Failure::new(Exit::Input, format!("{} shows nothing", self.channel))
            .with_hint("cairn status lists the channels".to_owned())
    }
}
