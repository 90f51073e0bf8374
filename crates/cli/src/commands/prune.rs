//! `cairn prune`

use std::collections::BTreeSet;

use cairn_ledger::Version;
use cairn_ledger::operation::prune;
use cairn_ledger::operation::{Dropped, Pruning, Retention};
use cairn_oci::Digest;
use clap::Args;
use serde::Serialize;

use crate::collecting::Seals;
use crate::failure::Failure;
use crate::ledgers::{EntryOptions, LedgerOptions, OpenLedger};
use crate::moment::Moment;
use crate::program::Cairn;
use crate::signing;
use crate::terminal::{counted, minute};

/// What `cairn prune` takes.
#[derive(Debug, Args)]
pub struct Prune {
    /// Keeps the images of the newest N releases
    #[arg(long, value_name = "N")]
    pub keep: usize,
    /// Keeps also what was released within TIME, such as 90d, or since a date
    #[arg(long, value_name = "TIME")]
    pub keep_within: Option<Moment>,
    /// Keeps also the last N steps back of each channel
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub channel_steps: usize,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    dry_run: bool,
    pruned: Vec<ImageDocument>,
    deleted: DeletedDocument,
    left: Vec<LeftDocument>,
}

#[derive(Serialize)]
struct ImageDocument {
    digest: Digest,
    versions: Vec<Version>,
    at: String,
}

#[derive(Serialize)]
struct DeletedDocument {
    tags: u64,
    manifests: u64,
}

#[derive(Serialize)]
struct LeftDocument {
    subject: String,
    why: String,
}

impl Prune {
    /// Writes which images are no longer kept, and deletes what there is of them.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.require_home(cairn).await?;
        let now = cairn.environment.now();
        let retention = Retention {
            keep: self.keep,
            since: self.keep_within.map(|moment| moment.first(now)),
            steps: self.channel_steps,
        };
        let planned = prune::plan(&open.opened, &retention);
        if self.entry.dry_run {
            for image in &planned {
                tell(cairn, "would prune", image);
            }
            if planned.is_empty() {
                cairn.terminal.say("nothing to prune");
            }
            return self.print(cairn, &open, &planned, &Dropped::default());
        }
        let (images, opened) = if planned.is_empty() {
            (planned, open.opened.clone())
        } else {
            let key = signing::require(cairn, &open)?;
            let context = self.entry.context(cairn, &key, None)?;
            let pruned = open.ledger.prune(&open.opened, &context, &retention).await;
            cairn.flush().await?;
            let pruned = pruned?;
            open.remember(cairn, &pruned.opened);
            (pruned.images, pruned.opened)
        };
        for image in &images {
            tell(cairn, "pruned", image);
        }
        let dropped = match open.images.host {
            Some(_) => open.ledger.drop_pruned(&opened, None).await?,
            None => {
                let (store, name) = (cairn.store().await?, &open.images.name);
                let seals = Seals { store, name };
                open.ledger.drop_pruned(&opened, Some(&seals)).await?
            }
        };
        cairn.flush().await?;
        tell_dropped(cairn, &open, &images, &dropped);
        self.print(cairn, &open, &images, &dropped)
    }

    fn print(
        &self,
        cairn: &Cairn,
        open: &OpenLedger,
        images: &[Pruning],
        dropped: &Dropped,
    ) -> Result<(), Failure> {
        if !cairn.terminal.json {
            let line = |image: &Pruning| open.images.at_digest(image.digest).to_string();
            return images
                .iter()
                .try_for_each(|image| cairn.terminal.print(line(image)));
        }
        let image = |image: &Pruning| ImageDocument {
            digest: image.digest,
            versions: image.versions.clone(),
            at: image.at.to_string(),
        };
        let left = dropped.left.iter().cloned();
        cairn.terminal.document(&Document {
            repository: open.images.to_string(),
            dry_run: self.entry.dry_run,
            pruned: images.iter().map(image).collect(),
            deleted: DeletedDocument {
                tags: dropped.tags,
                manifests: dropped.manifests,
            },
            left: left.map(|(subject, why)| LeftDocument { subject, why }).collect(),
        })
    }
}

fn tell(cairn: &Cairn, what: &str, image: &Pruning) {
    let versions: Vec<&str> = image.versions.iter().map(Version::as_str).collect();
    let about = format!(
        "{}  {}, of {} UTC",
        versions.join(", "),
        image.digest,
        minute(image.at)
    );
    cairn.terminal.step(what, about);
}

fn tell_dropped(cairn: &Cairn, open: &OpenLedger, images: &[Pruning], dropped: &Dropped) {
    for (subject, why) in &dropped.left {
        cairn.terminal.warn(format!("{subject} is still there: {why}"));
    }
    let subjects: BTreeSet<&String> = dropped.left.iter().map(|(subject, _)| subject).collect();
    if images.is_empty() && dropped.tags + dropped.manifests == 0 && subjects.is_empty() {
        cairn.terminal.say("nothing to prune");
        return;
    }
    let free = match open.images.host {
        Some(_) => "the registry frees the blobs when it next collects garbage",
        None => "cairn store gc frees the blobs",
    };
    cairn.terminal.say(format!(
        "deleted {} and {}; {free}. The entries stay",
        counted(dropped.tags, "tag", "tags"),
        counted(dropped.manifests, "manifest", "manifests"),
    ));
    if !subjects.is_empty() && open.images.host.is_some() {
        cairn.terminal.say(
            "what `cairn serve` has sealed is deleted only where its store is: cairn store gc --pruned there, also while it serves. What another registry keeps, its own tools delete",
        );
    }
}
