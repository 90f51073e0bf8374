//! `cairn copy`

use std::sync::Arc;

use cairn_oci::{Digest, Tag};
use cairn_store::transfer::{Transfer, Transferred};
use cairn_store::{RawManifest, Repository};
use clap::Args;
use serde::Serialize;

use crate::commands::build::built_tag;
use crate::commands::push;
use crate::failure::{Exit, Failure};
use crate::place::{self, Place};
use crate::program::Cairn;
use crate::tagging;
use crate::terminal::moved;

/// What `cairn copy` takes.
#[derive(Debug, Args)]
pub struct Copy {
    /// The image: [host/]name:TAG, [host/]name@DIGEST or oci:DIR[:TAG]
    pub source: Place,
    /// Where it goes: [host/]name[:TAG] or oci:DIR[:TAG]
    pub destination: Place,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    reference: String,
    digest: Digest,
    #[serde(flatten)]
    transferred: Transferred,
}

impl Copy {
    /// Copies an image, byte for byte.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let (from, manifest) = cairn.find_place(&self.source).await?;
        self.check_digest(&manifest)?;
        if let Place::Reference(to) = &self.destination {
            let (tags, to) = (self.tag(), to.without_target());
            tagging::check(cairn, &to, &to, tags.as_slice(), manifest.digest()).await?;
        }
        let to = self.open_destination(cairn).await?;
        let mount = match (&self.source, &self.destination) {
            (Place::Reference(from), Place::Reference(to)) => place::siblings(&[from], to),
            _ => Vec::new(),
        };
        let transferred = Transfer {
            from: &*from,
            to: &*to,
            mount: &mount,
        }
        .image(&manifest)
        .await?;
        match self.tag() {
            Some(tag) => place::tag(&*to, &tag, &manifest).await?,
            None => push::keep(&*to, &manifest).await?,
        }
        cairn.flush().await?;
        cairn.terminal.step("copied", moved(&transferred, "there"));
        let reference = match &self.destination {
            Place::Reference(reference) => reference.at_digest(manifest.digest()).to_string(),
            layout @ Place::Layout { .. } => layout.to_string(),
        };
        if cairn.terminal.json {
            let digest = manifest.digest();
            return cairn.terminal.document(&Document {
                reference,
                digest,
                transferred,
            });
        }
        cairn.terminal.print(reference)
    }

    /// A destination with a digest means: this image and no other.
    fn check_digest(&self, manifest: &RawManifest) -> Result<(), Failure> {
        match &self.destination {
            Place::Reference(to) if to.digest.is_some_and(|digest| digest != manifest.digest()) => {
                let text = format!("{} is {}, not what {to} names", self.source, manifest.digest());
                Err(Failure::new(Exit::Integrity, text))
            }
            _ => Ok(()),
        }
    }

    async fn open_destination(&self, cairn: &Cairn) -> Result<Arc<dyn Repository>, Failure> {
        match &self.destination {
            Place::Reference(reference) => cairn.open(reference).await,
            Place::Layout { directory, .. } => Ok(Arc::new(cairn.create_layout(directory)?)),
        }
    }

    /// The destination's tag; without one, the source's goes along where the source has one.
    fn tag(&self) -> Option<Tag> {
        let tag_of = |place: &Place| match place {
            Place::Reference(reference) => reference.tag.clone(),
            Place::Layout { tag, .. } => tag.clone(),
        };
        let by_digest = matches!(&self.destination, Place::Reference(to) if to.digest.is_some());
        // `built` says something about the local store, and nothing anywhere else.
        let inherited = || tag_of(&self.source).filter(|tag| !by_digest && *tag != built_tag());
        tag_of(&self.destination).or_else(inherited)
    }
}
