//! `cairn copy`

use std::sync::Arc;

use cairn_oci::{Digest, Platform, Reference, Tag};
use cairn_store::archive::Format;
use cairn_store::transfer::{Transfer, Transferred};
use cairn_store::{RawManifest, Repository};
use clap::Args;
use serde::Serialize;

use crate::commands::build::built_tag;
use crate::commands::push;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::place::{self, Place};
use crate::program::Cairn;
use crate::progress::Bar;
use crate::tagging;
use crate::terminal::{bytes, counted, moved};

/// What `cairn copy` takes.
#[derive(Debug, Args)]
pub struct Copy {
    /// The image: [host/]name:TAG, [host/]name@DIGEST, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    pub source: Place,
    /// Where it goes: [host/]name[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]
    pub destination: Place,
    /// Copies only the image for this platform
    #[arg(long, value_name = "P")]
    pub platform: Option<Platform>,
    /// Copies signatures and whatever else refers to the image too
    #[arg(long)]
    pub referrers: bool,
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
        let (from, found) = cairn.find_place(&self.source).await?;
        let manifest = match &self.platform {
            Some(platform) => output::one_platform(&*from, &found, platform).await?,
            None => found,
        };
        self.check_digest(&manifest)?;
        if let Place::Archive { format, file, name } = &self.destination {
            return self
                .to_archive(cairn, &from, &manifest, (*format, file, name.as_deref()))
                .await;
        }
        if let Place::Reference(to) = &self.destination {
            let (tags, to) = (self.tag(), to.without_target());
            tagging::check(cairn, &to, &to, tags.as_slice(), manifest.digest()).await?;
        }
        let to = self.open_destination(cairn).await?;
        let mount = match (&self.source, &self.destination) {
            (Place::Reference(from), Place::Reference(to)) => place::siblings(&[from], to),
            _ => Vec::new(),
        };
        let transfer = Transfer::between(&*from, &*to).mounting(&mount);
        let transferred = self.transfer(cairn, transfer, &manifest).await?;
        match self.tag() {
            Some(tag) => place::tag(&*to, &tag, &manifest).await?,
            None => push::keep(&*to, &manifest).await?,
        }
        cairn.flush().await?;
        cairn.terminal.step("copied", moved(&transferred, "there"));
        let reference = match &self.destination {
            Place::Reference(reference) => reference.at_digest(manifest.digest()).to_string(),
            other => other.to_string(),
        };
        self.tell(cairn, reference, manifest.digest(), transferred)
    }

    async fn transfer(
        &self,
        cairn: &Cairn,
        transfer: Transfer<'_>,
        manifest: &RawManifest,
    ) -> Result<Transferred, Failure> {
        let (_bar, watch) = Bar::moving(&cairn.terminal, "copying");
        let transfer = transfer.told_to(&watch);
        let mut transferred = transfer.image(manifest).await?;
        if self.referrers {
            transferred.merge(&transfer.referrers(manifest).await?);
        }
        Ok(transferred)
    }

    async fn to_archive(
        &self,
        cairn: &Cairn,
        from: &Arc<dyn Repository>,
        manifest: &RawManifest,
        (format, file, name): (Format, &std::path::Path, Option<&str>),
    ) -> Result<(), Failure> {
        if self.referrers {
            let text = "an archive has room for one image, and for nothing that refers to it";
            return Err(Failure::new(Exit::Usage, text).with_hint("oci:DIR has: a layout".to_owned()));
        }
        let inherited = self.tag().map(|tag| tag.to_string());
        let mut named = output::image_name(name.or(inherited.as_deref()), from.name())?;
        // An image of a registry keeps its name; one of the local store is `localhost/NAME`.
        if let Place::Reference(Reference {
            host: Some(host),
            name: repository,
            ..
        }) = &self.source
            && name.is_none_or(|name| name.parse::<Tag>().is_ok())
        {
            named.repository = format!("{host}/{repository}");
        }
        let image = output::Image {
            repository: from,
            manifest,
            name: from.name(),
        };
        let transferred = Transferred {
            uploaded: output::write_archive(cairn, &image, format, file, &named).await?,
            ..Transferred::default()
        };
        let count = counted(transferred.uploaded.blobs, "blob", "blobs");
        let about = format!("{count}, {}, as {named}", bytes(transferred.uploaded.bytes));
        cairn.terminal.step("copied", about);
        let reference = self.destination.to_string();
        self.tell(cairn, reference, manifest.digest(), transferred)
    }

    fn tell(
        &self,
        cairn: &Cairn,
        reference: String,
        digest: Digest,
        transferred: Transferred,
    ) -> Result<(), Failure> {
        if cairn.terminal.json {
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
            Place::Archive { .. } => Err(Failure::new(Exit::Bug, "an archive is written, not opened")),
        }
    }

    /// The destination's tag; without one, the source's goes along where the source has one.
    fn tag(&self) -> Option<Tag> {
        let tag_of = |place: &Place| match place {
            Place::Reference(reference) => reference.tag.clone(),
            Place::Layout { tag, .. } => tag.clone(),
            Place::Archive { name, .. } => {
                let name = name.as_deref()?;
                name.rsplit(':').next().and_then(|tag| tag.parse().ok())
            }
        };
        let by_digest = matches!(&self.destination, Place::Reference(to) if to.digest.is_some());
        // `built` says something about the local store, and nothing anywhere else.
        let inherited = || tag_of(&self.source).filter(|tag| !by_digest && *tag != built_tag());
        tag_of(&self.destination).or_else(inherited)
    }
}
