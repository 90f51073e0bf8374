//! `cairn push`

use std::sync::Arc;

use cairn_oci::{Digest, Reference, Tag};
use cairn_store::transfer::{Transfer, Transferred};
use cairn_store::{Condition, RawManifest, Repository, Target};
use clap::Args;
use serde::Serialize;

use crate::commands::build::{self, BuildOptions, LocalImage, Purpose};
use crate::failure::{Exit, Failure};
use crate::ledgers::LedgerOptions;
use crate::program::Cairn;
use crate::progress::Bar;
use crate::project::Project;
use crate::released::Released;
use crate::terminal::moved;
use crate::{kept_inputs, place, tagging};

/// What `cairn push` takes.
#[derive(Debug, Args)]
pub struct Push {
    /// Where to push to; its tag is written too [default: the spec's repository]
    pub reference: Option<Reference>,
    /// Points this tag at the image; may be repeated
    #[arg(long = "tag", value_name = "T")]
    pub tags: Vec<Tag>,
    /// Keeps what the lock names beside the image too: packages, and what URLs gave
    #[arg(long)]
    pub with_inputs: bool,
    /// How to build.
    #[command(flatten)]
    pub options: BuildOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    reference: String,
    digest: Digest,
    tags: Vec<Tag>,
    changed: bool,
    #[serde(flatten)]
    transferred: Transferred,
}

impl Push {
    /// Builds, copies, tags.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let mut project = Project::load(cairn)?;
        let to = self.reference.clone().unwrap_or_else(|| project.repository());
        if to.digest.is_some() {
            let text = format!("{to} names a digest, and push builds the image that it pushes");
            return Err(Failure::new(Exit::Input, text)
                .with_hint("leave the digest out; cairn copy copies an image that is there".to_owned()));
        }
        let mut tags = self.tags.clone();
        tags.extend(to.tag.clone());
        let ledger = LedgerOptions {
            repository: Some(to.clone()),
            ..LedgerOptions::default()
        };
        let released = Released::at(cairn, ledger.place(cairn, Some(&project))?);
        let purpose = Purpose::of(&to, &released);
        let image = build::build(cairn, &mut project, &[], &self.options, purpose).await?;
        released.tell(cairn);
        let home = project.ledger_home(&to.without_target());
        tagging::check(cairn, &to.without_target(), &home, &tags, image.manifest.digest()).await?;
        let mut pushed = push(cairn, &image, &to.without_target()).await?;
        if self.with_inputs {
            let kept = kept_inputs::keep(cairn, &project, &pushed.repository, &image.manifest).await?;
            pushed.transferred.merge(&kept);
        }
        if tags.is_empty() {
            keep(&*pushed.repository, &image.manifest).await?;
        }
        for tag in &tags {
            place::tag(&*pushed.repository, tag, &image.manifest).await?;
            cairn.terminal.step("tag", tag.to_string());
        }
        cairn.flush().await?;
        let reference = to.at_digest(image.manifest.digest()).to_string();
        if !cairn.terminal.json {
            return cairn.terminal.print(reference);
        }
        cairn.terminal.document(&Document {
            repository: to.without_target().to_string(),
            reference,
            digest: image.manifest.digest(),
            tags,
            changed: pushed.transferred.uploaded.blobs > 0,
            transferred: pushed.transferred,
        })
    }
}

/// An image in the repository that it was pushed to.
#[derive(Debug)]
pub struct Pushed {
    /// The repository.
    pub repository: Arc<dyn Repository>,
    /// What was moved.
    pub transferred: Transferred,
}

/// Copies the image to the repository `to`, without a tag.
///
/// # Errors
///
/// When something cannot be written; nothing points at what was.
pub async fn push(cairn: &Cairn, image: &LocalImage, to: &Reference) -> Result<Pushed, Failure> {
    let repository = cairn.open(to).await?;
    let transferred = if *to == image.reference {
        image.built.transferred
    } else {
        let near: Vec<&Reference> = [&image.reference].into_iter().chain(&image.base).collect();
        let mount = place::siblings(&near, to);
        let transfer = Transfer::between(&*image.repository, &*repository).mounting(&mount);
        let (bar, watch) = Bar::moving(&cairn.terminal, "pushing");
        let transferred = transfer.told_to(&watch).image(&image.manifest).await;
        drop(bar);
        transferred?
    };
    tell(cairn, &transferred, to.host.is_none());
    Ok(Pushed {
        repository,
        transferred,
    })
}

/// `pushed  2 blobs, 0.9 MB; 1 there already`
pub fn tell(cairn: &Cairn, transferred: &Transferred, local: bool) {
    let text = match (transferred.uploaded.blobs, local) {
        (_, true) => "nothing to upload: the local store has it".to_owned(),
        (0, false) => "nothing to upload: the repository has it".to_owned(),
        (_, false) => moved(transferred, "there"),
    };
    cairn.terminal.step("pushed", text);
}

/// Gives an image that has no tag one that is named after its content: many registries collect what has none.
///
/// # Errors
///
/// When the repository refuses.
pub async fn keep(repository: &dyn Repository, manifest: &RawManifest) -> Result<(), Failure> {
    let tag = format!("cairn-i-{}", &manifest.digest().hex()[..16]);
    #[expect(clippy::expect_used, reason = "letters, digits and hyphens, 24 bytes")]
    let tag: Tag = tag.parse().expect("a content name is a tag");
    let target = Target::Tag(tag);
    if repository.stat_manifest(&target).await?.is_none() {
        repository
            .write_manifest(&target, manifest, &Condition::Always)
            .await?;
    }
    Ok(())
}
