//! `cairn copy`

use std::sync::Arc;
use std::time::Duration;

use cairn_ledger::{Copied, Pin};
use cairn_oci::{Digest, Platform, Reference, Tag};
use cairn_store::archive::Format;
use cairn_store::transfer::{Transfer, Transferred};
use cairn_store::{RawManifest, Repository};
use clap::Args;
use serde::Serialize;

use crate::commands::build::built_tag;
use crate::commands::push;
use crate::failure::{Exit, Failure};
use crate::ledgers::{self, LedgerOptions, mode_text};
use crate::output;
use crate::place::{self, Place};
use crate::program::Cairn;
use crate::progress::Bar;
use crate::tagging;
use crate::terminal::{bytes, counted, moved};

/// What `cairn copy` takes.
#[derive(Debug, Args)]
pub struct Copy {
    /// The image: [host/]name:TAG, [host/]name@DIGEST, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE; with
    /// --ledger a repository: [host/]name
    pub source: Place,
    /// Where it goes: [host/]name[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]
    pub destination: Place,
    /// Copies only the image for this platform
    #[arg(long, value_name = "P")]
    pub platform: Option<Platform>,
    /// Copies signatures and whatever else refers to the image too
    #[arg(long)]
    pub referrers: bool,
    /// Copies a whole repository's ledger, with every image that it names and whatever refers to them
    #[arg(long, conflicts_with_all = ["platform", "referrers"])]
    pub ledger: bool,
    /// With --ledger: the ledger, where it is not in SOURCE
    #[arg(long, value_name = "REF", requires = "ledger")]
    pub ledger_repository: Option<Reference>,
    /// With --ledger: entries that it must have: sha256:GENESIS[+sha256:ENTRY…] [default: $CAIRN_TRUST, else the spec's]
    #[arg(long, value_name = "PIN", requires = "ledger")]
    pub trust: Option<Pin>,
    /// With --ledger: fails if the ledger's head is older than TIME, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = ledgers::age, requires = "ledger")]
    pub max_age: Option<Duration>,
}

/// `--json` with `--ledger`
#[derive(Serialize)]
struct LedgerDocument {
    repository: String,
    ledger: Digest,
    head: Option<Digest>,
    entries: u64,
    mode: String,
    images: u64,
    waiting: u64,
    absent: Vec<Digest>,
    changed: bool,
    #[serde(flatten)]
    transferred: Transferred,
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
        if self.ledger {
            return self.copy_ledger(cairn).await;
        }
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

    /// Copies a ledger, its images, and the tags that follow from it.
    async fn copy_ledger(&self, cairn: &Cairn) -> Result<(), Failure> {
        let (from, to) = (
            whole_repository(&self.source)?,
            whole_repository(&self.destination)?,
        );
        if from == to {
            let text = format!("{from} is source and destination at once");
            return Err(Failure::new(Exit::Usage, text));
        }
        let options = LedgerOptions {
            repository: Some(from.clone()),
            ledger_repository: self.ledger_repository.clone(),
            trust: self.trust.clone(),
            max_age: self.max_age,
        };
        let open = options.require_here(cairn).await?;
        let (bar, watch) = Bar::moving(&cairn.terminal, "copying");
        let copied = open.copy_to(cairn, to, &watch).await;
        drop(bar);
        let copied = copied?;
        cairn.flush().await?;
        let images = counted(copied.images, "image", "images");
        let about = format!("{images}: {}", moved(&copied.transferred, "there"));
        cairn.terminal.step("copied", about);
        if copied.waiting > 0 {
            let count = counted(copied.waiting, "entry waits", "entries wait");
            cairn.terminal.say(format!(
                "{count} for signatures there too, as far as they are signed"
            ));
        }
        for digest in &copied.absent {
            let text = format!(
                "{from} has no {digest} any more; an entry names it, and no version or channel needs it"
            );
            cairn.terminal.say(text);
        }
        tell_append(cairn, &copied, to);
        tell_copied(cairn, &copied, to)
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

/// The repository that is named, and nothing less than all of it.
fn whole_repository(place: &Place) -> Result<&Reference, Failure> {
    let (text, hint) = match place {
        Place::Reference(reference) if reference.tag.is_none() && reference.digest.is_none() => {
            return Ok(reference);
        }
        Place::Reference(reference) => (
            format!("{reference} names an image, and --ledger copies the whole repository's ledger"),
            format!("leave the tag out: {}", reference.without_target()),
        ),
        Place::Layout { .. } | Place::Archive { .. } => (
            format!("{place} has no room for a ledger: it is in a registry or in the local store"),
            "to keep a copy on this machine, name a repository of the local store".to_owned(),
        ),
    };
    Err(Failure::new(Exit::Usage, text).with_hint(hint))
}

/// What can be done with a copy that looks like what it was copied from, and is not.
fn tell_append(cairn: &Cairn, copied: &Copied, to: &Reference) {
    let Some(state) = copied.opened.state() else {
        return;
    };
    if !copied.opened.is_at_home(&to.to_string()) {
        cairn.terminal.say(format!(
            "{to} has a copy: it is read and checked there, and appended to at its home, {}",
            state.home
        ));
    } else if !copied.appendable {
        cairn.terminal.warn(format!(
            "the ledger is linear, and {to} does not honour conditions: it can be read there, and not appended to"
        ));
    }
}

fn tell_copied(cairn: &Cairn, copied: &Copied, to: &Reference) -> Result<(), Failure> {
    let (Some(state), head) = (copied.opened.state(), copied.opened.head()) else {
        return Err(Failure::new(Exit::Bug, "a ledger was copied and is not there"));
    };
    if !cairn.terminal.json {
        return cairn.terminal.print(to.to_string());
    }
    cairn.terminal.document(&LedgerDocument {
        repository: to.to_string(),
        ledger: state.ledger,
        head: head.map(|head| head.digest),
        entries: copied.opened.view().records().len() as u64,
        mode: mode_text(&state.mode),
        images: copied.images,
        waiting: copied.waiting,
        absent: copied.absent.clone(),
        changed: copied.changed,
        transferred: copied.transferred,
    })
}
