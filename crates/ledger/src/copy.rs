//! Copying a ledger, with the images that it names, into another repository.
//!
//! What was signed is moved as it is: entries, packs and heads keep their bytes, and so every signature stays valid. Images come
//! first, then the heads, and tags last, as in every other operation: a copy that was interrupted is repeated, and moves what
//! is missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_oci::{Digest, RepositoryName, Tag};
use cairn_store::transfer::{Transfer, TransferError, Transferred, Watch};
use cairn_store::{Condition, RawManifest, Repository, RepositoryError, Target, Written};

use crate::class::Class;
use crate::content::{self, ContentError};
use crate::entry::{EntryName, Mode};
use crate::head;
use crate::keep;
use crate::memory::{Memory, Remembered};
use crate::name::{Channel, Version};
use crate::open::{Ledger, OpenError, Opened};
use crate::project::{Named, ProjectError};
use crate::state::State;
use crate::trust::{Pin, TrustPolicy};
use crate::waiting::{Standing, Waiting};

/// The longest build record that is copied by itself, in bytes.
const RECORD_LIMIT: u64 = 32 << 20;

/// How a ledger is copied.
#[derive(Clone, Copy, Default)]
pub struct CopyOptions<'a> {
    /// Repositories beside the destination that may have the blobs.
    pub mount: &'a [RepositoryName],
    /// Who is told how far it is.
    pub watch: Option<&'a Arc<dyn Watch>>,
    /// What is remembered of the ledger at the destination.
    pub remembered: Option<&'a Remembered>,
}

/// A ledger that was copied.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The ledger at the destination, as it is now.
    pub opened: Opened,
    /// Whether it had fewer entries before.
    pub changed: bool,
    /// Images that the ledger names and that are there now.
    pub images: u64,
    /// Entries that wait for signatures, and wait there too.
    pub waiting: u64,
    /// Images that entries name, that nothing leads to any more, and that the source does not have.
    pub absent: Vec<Digest>,
    /// What was moved.
    pub transferred: Transferred,
    /// Whether the destination can be appended to in the ledger's mode.
    pub appendable: bool,
}

/// Why a ledger was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// There is nothing to copy.
    #[error("{repository} has no ledger")]
    NoLedger {
        /// The source.
        repository: String,
    },
    /// What waits for signatures at the source cannot be read.
    #[error("cannot read what waits for signatures")]
    Waiting(#[source] OpenError),
    /// The ledger at the destination cannot be read.
    #[error("the ledger at the destination cannot be read")]
    Destination(#[source] OpenError),
    /// The destination has another ledger. Nothing was written.
    #[error("{repository} has another ledger, {found}; the one to be copied is {ledger}")]
    OtherLedger {
        /// The destination.
        repository: String,
        /// The name of its genesis.
        found: EntryName,
        /// The name of the genesis to be copied.
        ledger: EntryName,
    },
    /// The destination has entries that the source lacks. Nothing was written.
    #[error("the ledger in {repository} has the entry {entry}, which the source lacks")]
    Ahead {
        /// The destination.
        repository: String,
        /// The first such entry.
        entry: EntryName,
    },
    /// The source lacks entries that the destination is remembered to have had. Nothing was written.
    #[error("ROLLBACK: {repository} is remembered to have had entries that the source lacks")]
    Remembered {
        /// The destination.
        repository: String,
    },
    /// A tag of the destination shows what the ledger does not know. Nothing was written.
    #[error("the tag {tag} in {repository} shows {found}, which is not what the ledger says")]
    Tag {
        /// The destination.
        repository: String,
        /// Which tag.
        tag: Tag,
        /// What it shows.
        found: Digest,
    },
    /// An image, or a part of the ledger, was not moved. The destination has no ledger that names it.
    #[error("{subject} was not copied")]
    Transfer {
        /// What was to be moved.
        subject: String,
        /// Why not.
        source: TransferError,
    },
    /// The source lacks an image that a version or a channel needs.
    #[error("{repository} lacks the image {digest}, which {subject} needs")]
    Image {
        /// The source.
        repository: String,
        /// Which image.
        digest: Digest,
        /// A version or channel.
        subject: String,
    },
    /// Somebody else wrote the ledger at the destination meanwhile.
    #[error("somebody else wrote the ledger of {repository} at the same time")]
    Raced {
        /// The destination.
        repository: String,
    },
    /// A repository cannot be asked or written to.
    #[error("cannot use {subject} in {repository}")]
    Repository {
        /// Which repository.
        repository: String,
        /// What was read or written.
        subject: String,
        /// Why not.
        source: RepositoryError,
    },
    /// The tags at the destination are not complete.
    #[error("the ledger is copied, but not all of its tags")]
    Tags(#[source] ProjectError),
}

impl CopyError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::NoLedger { .. } => Class::Input,
            Self::Waiting(error) | Self::Destination(error) => error.class(),
            Self::OtherLedger { .. } | Self::Ahead { .. } | Self::Tag { .. } | Self::Raced { .. } => {
                Class::Conflict
            }
            Self::Remembered { .. } | Self::Image { .. } => Class::Integrity,
            Self::Transfer { source, .. } => match source {
                TransferError::Read { source, .. } | TransferError::Write { source, .. } => Class::of(source),
                _ => Class::Integrity,
            },
            Self::Repository { source, .. } => Class::of(source),
            Self::Tags(error) => error.class(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoLedger { .. } => "without --ledger, cairn copy copies one image",
            Self::Waiting(error) | Self::Destination(error) => return error.hint(),
            Self::OtherLedger { .. } => {
                "two ledgers are never made one: choose another repository; nothing was written"
            }
            Self::Ahead { .. } => {
                "the destination is newer than the source: copy the other way round; nothing was written"
            }
            Self::Remembered { .. } => "the source is an older copy: find a newer one; nothing was written",
            Self::Tag { .. } => {
                "somebody else uses this tag: choose another repository, or delete it there; nothing was written"
            }
            Self::Image { .. } => {
                "nothing was written of the ledger; cairn audit at the source names all that is missing"
            }
            Self::Tags(error) => return error.hint(),
            Self::Transfer { .. } | Self::Raced { .. } | Self::Repository { .. } => {
                "run the same command again: it moves only what is missing"
            }
        };
        Some(text.to_owned())
    }
}

/// One image of the ledger, and what it is needed for; none if nothing leads to it any more.
type Wanted = (Digest, Option<String>);

impl Ledger {
    /// Copies the ledger that was `opened`, and every image that it names, into the repository of `to`, whose images and
    /// ledger are in one place.
    ///
    /// # Errors
    ///
    /// [`CopyError`]. A destination with another ledger, a newer one, or tags that say something else is refused before
    /// anything is written.
    pub async fn copy_to(
        &self,
        opened: &Opened,
        to: &Self,
        options: CopyOptions<'_>,
    ) -> Result<Copied, CopyError> {
        let state = opened.state().ok_or_else(|| CopyError::NoLedger {
            repository: self.home.label(),
        })?;
        let before = self
            .check_destination(opened, state, to, options.remembered)
            .await?;
        to.check_copied_tags(state).await?;
        let waiting = self.waiting(opened).await.map_err(CopyError::Waiting)?.entries;
        let waiting: Vec<Waiting> = waiting
            .into_iter()
            .filter(|one| one.standing == Standing::Open)
            .collect();
        let wanted = wanted(state, opened, &waiting);
        let (images, absent, transferred) = self.copy_images(wanted, state, opened, to, options).await?;
        let mut copied = transferred;
        copied.merge(&self.copy_heads(opened, &before, to, options).await?);
        copied.merge(&self.copy_waiting(&waiting, to, options).await?);
        let policy = TrustPolicy {
            pin: Some(Pin {
                genesis: state.ledger,
                entries: Vec::new(),
            }),
            remembered: None,
        };
        let there = to.open(&policy).await.map_err(CopyError::Destination)?;
        let there = to.project(there, &named(state)).await.map_err(CopyError::Tags)?;
        let capabilities = to.home.capabilities().await;
        let capabilities = capabilities.map_err(|source| repository(&*to.home, &"what it can do", source))?;
        Ok(Copied {
            changed: before.view.records().len() < there.view.records().len(),
            opened: there,
            images,
            waiting: waiting.len() as u64,
            absent,
            transferred: copied,
            appendable: state.mode == Mode::Causal || capabilities.conditions,
        })
    }

    /// Reads the ledger at the destination, which must be empty or an older state of this one.
    async fn check_destination(
        &self,
        opened: &Opened,
        state: &State,
        to: &Self,
        remembered: Option<&Remembered>,
    ) -> Result<Opened, CopyError> {
        let before = to
            .open(&TrustPolicy::default())
            .await
            .map_err(CopyError::Destination)?;
        if let Some(found) = before
            .state()
            .map(|found| found.ledger)
            .filter(|found| *found != state.ledger)
        {
            return Err(CopyError::OtherLedger {
                repository: to.home.label(),
                found,
                ledger: state.ledger,
            });
        }
        let unknown = before
            .view
            .names()
            .find(|name| opened.view.position(name).is_none());
        if let Some(entry) = unknown {
            return Err(CopyError::Ahead {
                repository: to.home.label(),
                entry,
            });
        }
        let older = remembered.filter(|remembered| remembered.genesis == state.ledger);
        let older = older.map(|older| older.check(&opened.view)).transpose();
        let older = older.map_err(|source| {
            let repository = to.home.label();
            CopyError::Destination(OpenError::Forgotten { repository, source })
        })?;
        if older.is_some_and(|older| older != Memory::Continues) {
            return Err(CopyError::Remembered {
                repository: to.home.label(),
            });
        }
        Ok(before)
    }

    /// Tags of versions and channels must show nothing, or what the ledger knows.
    async fn check_copied_tags(&self, state: &State) -> Result<(), CopyError> {
        for (version, binding) in &state.versions {
            self.check_copied_tag(version.tag(), |found| binding.to(found).is_some())
                .await?;
        }
        for (name, channel) in &state.channels {
            self.check_copied_tag(name.tag(), |found| channel.has_wanted(found))
                .await?;
        }
        Ok(())
    }

    async fn check_copied_tag(&self, tag: Tag, knows: impl Fn(&Digest) -> bool) -> Result<(), CopyError> {
        let found = self.images.stat_manifest(&Target::Tag(tag.clone())).await;
        let found = found.map_err(|source| repository(&*self.images, &tag, source))?;
        match found.map(|found| found.digest).filter(|found| !knows(found)) {
            None => Ok(()),
            Some(found) => Err(CopyError::Tag {
                repository: self.images.label(),
                tag,
                found,
            }),
        }
    }

    /// Moves every image, with whatever refers to it, and the build records.
    async fn copy_images(
        &self,
        wanted: Vec<Wanted>,
        state: &State,
        opened: &Opened,
        to: &Self,
        options: CopyOptions<'_>,
    ) -> Result<(u64, Vec<Digest>, Transferred), CopyError> {
        let transfer = transfer(&*self.images, &*to.images, options);
        let (mut images, mut absent, mut done) = (0, Vec::new(), Transferred::default());
        for (digest, needed) in wanted {
            let found = self.images.read_manifest(&Target::Digest(digest)).await;
            let found = found.map_err(|source| repository(&*self.images, &digest, source))?;
            let Some(manifest) = found else {
                if let Some(subject) = needed {
                    return Err(CopyError::Image {
                        repository: self.images.label(),
                        digest,
                        subject,
                    });
                }
                absent.push(digest);
                continue;
            };
            let failed = |source| CopyError::Transfer {
                subject: format!("the image {digest}"),
                source,
            };
            done.merge(&transfer.image(&manifest).await.map_err(failed)?);
            done.merge(&transfer.referrers(&manifest).await.map_err(failed)?);
            keep(&*to.images, &manifest, state).await?;
            images += 1;
        }
        done.merge(&self.copy_records(opened, to).await?);
        Ok((images, absent, done))
    }

    /// Build records are attached to their images, and come with them. Where the list of what is attached does not have one
    /// that a release has signed, it is attached again.
    async fn copy_records(&self, opened: &Opened, to: &Self) -> Result<Transferred, CopyError> {
        let mut done = Transferred::default();
        let records = opened.view.records();
        records.fill(0..records.len());
        for record in records {
            let (Some(image), Some(digest)) = (record.entry.digest, record.entry.record) else {
                continue;
            };
            let there = to.images.stat_blob(&digest).await;
            if there
                .map_err(|source| repository(&*to.images, &digest, source))?
                .is_some()
            {
                continue;
            }
            // One that is missing or damaged is a finding of an audit, there as here.
            let bytes = match self.read_record(digest, RECORD_LIMIT).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_integrity() => continue,
                Err(ContentError::Repository { source, .. }) => {
                    return Err(repository(&*self.images, &digest, source));
                }
                Err(error) => {
                    let source = RepositoryError::Content {
                        digest,
                        source: std::io::Error::other(error),
                    };
                    return Err(repository(&*self.images, &digest, source));
                }
            };
            let size = bytes.len() as u64;
            let written = to.write_record(image, bytes).await;
            if written.map_err(|source| repository(&*to.images, &digest, source))? {
                done.count(size, Written::New);
            }
        }
        Ok(done)
    }

    /// Moves the heads that count, with their packs, and then points at them. Older heads have nothing that these lack.
    async fn copy_heads(
        &self,
        opened: &Opened,
        before: &Opened,
        to: &Self,
        options: CopyOptions<'_>,
    ) -> Result<Transferred, CopyError> {
        let transfer = transfer(&*self.home, &*to.home, options);
        let mut done = Transferred::default();
        for info in &opened.view.heads {
            let digest = info.digest;
            let found = self.home.read_manifest(&Target::Digest(digest)).await;
            let found = found.map_err(|source| repository(&*self.home, &digest, source))?;
            let manifest = found.ok_or_else(|| CopyError::Image {
                repository: self.home.label(),
                digest,
                subject: "the ledger".to_owned(),
            })?;
            let moved = transfer.image(&manifest).await;
            done.merge(&moved.map_err(|source| CopyError::Transfer {
                subject: format!("the head {digest}"),
                source,
            })?);
            match opened.mode() {
                Some(Mode::Linear) => to.point_at(&manifest, before).await?,
                _ => to.tag_head(&manifest, info.size).await?,
            }
        }
        Ok(done)
    }

    /// Moves what waits for signatures, each under its own tags.
    async fn copy_waiting(
        &self,
        waiting: &[Waiting],
        to: &Self,
        options: CopyOptions<'_>,
    ) -> Result<Transferred, CopyError> {
        let transfer = transfer(&*self.home, &*to.home, options);
        let mut done = Transferred::default();
        for tag in waiting.iter().flat_map(|one| &one.tags) {
            let target = Target::Tag(tag.clone());
            let found = self.home.read_manifest(&target).await;
            let Some(manifest) = found.map_err(|source| repository(&*self.home, tag, source))? else {
                // Somebody appended or withdrew it meanwhile.
                continue;
            };
            let moved = transfer.image(&manifest).await;
            done.merge(&moved.map_err(|source| CopyError::Transfer {
                subject: format!("the waiting entry {tag}"),
                source,
            })?);
            to.put_tag(tag, &manifest).await?;
        }
        Ok(done)
    }

    /// Linear: the one tag, from what it was when the destination was read.
    async fn point_at(&self, manifest: &RawManifest, before: &Opened) -> Result<(), CopyError> {
        let old = before.head().map(|head| head.digest);
        if old == Some(manifest.digest()) {
            return Ok(());
        }
        let tag = head::linear_tag();
        let failed = |source| repository(&*self.home, &tag, source);
        let raced = || CopyError::Raced {
            repository: self.home.label(),
        };
        let target = Target::Tag(tag.clone());
        let capabilities = self.home.capabilities().await.map_err(failed)?;
        let condition = match (capabilities.conditions, old) {
            (true, None) => Condition::IfAbsent,
            (true, Some(old)) => Condition::IfMatch(old),
            (false, _) => {
                // Nobody appends to a linear ledger here, for nobody can; another copy may be on its way.
                let found = self.home.stat_manifest(&target).await.map_err(failed)?;
                if found.map(|found| found.digest) != old {
                    return Err(raced());
                }
                Condition::Always
            }
        };
        match content::write_manifest(&*self.home, &target, manifest, &condition, &[]).await {
            Ok(()) => Ok(()),
            Err(RepositoryError::Condition { found, .. }) if found == Some(manifest.digest()) => Ok(()),
            Err(RepositoryError::Condition { .. }) => Err(raced()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Causal: a tag of its own.
    async fn tag_head(&self, manifest: &RawManifest, size: u64) -> Result<(), CopyError> {
        self.put_tag(&head::causal_tag(size, &manifest.digest()), manifest)
            .await
    }

    /// Writes a tag of the ledger that shows nothing else anywhere, unless it is there.
    async fn put_tag(&self, tag: &Tag, manifest: &RawManifest) -> Result<(), CopyError> {
        let failed = |source| repository(&*self.home, tag, source);
        let target = Target::Tag(tag.clone());
        let found = self.home.stat_manifest(&target).await.map_err(failed)?;
        if found.is_some_and(|found| found.digest == manifest.digest()) {
            return Ok(());
        }
        let written = content::write_manifest(&*self.home, &target, manifest, &Condition::Always, &[]);
        written.await.map_err(failed)
    }
}

fn transfer<'a>(from: &'a dyn Repository, to: &'a dyn Repository, options: CopyOptions<'a>) -> Transfer<'a> {
    Transfer {
        watch: options.watch,
        ..Transfer::between(from, to).mounting(options.mount)
    }
}

fn repository(of: &dyn Repository, subject: &dyn std::fmt::Display, source: RepositoryError) -> CopyError {
    CopyError::Repository {
        repository: of.label(),
        subject: subject.to_string(),
        source,
    }
}

/// What an audit looks for, and whatever else an entry names, or one that waits.
fn wanted(state: &State, opened: &Opened, waiting: &[Waiting]) -> Vec<Wanted> {
    let mut wanted = std::collections::BTreeMap::new();
    let waiting = waiting.iter().filter_map(|one| one.entry.digest);
    for digest in opened.view.digests().into_iter().chain(waiting) {
        wanted.insert(digest, None);
    }
    for (name, channel) in &state.channels {
        for shown in channel.trail.iter().chain(&channel.shows) {
            wanted.insert(shown.digest, Some(format!("{name} ({})", shown.label())));
        }
    }
    for (version, binding) in &state.versions {
        for bound in binding.bound.iter().filter(|bound| bound.yanked.is_none()) {
            wanted.insert(bound.digest, Some(version.to_string()));
        }
    }
    // What is no longer kept is not missed, nor carried along where it is still there.
    wanted.retain(|digest, _| !state.is_pruned(digest));
    wanted.into_iter().collect()
}

fn named(state: &State) -> Named {
    let versions: BTreeSet<Version> = state.versions.keys().cloned().collect();
    let channels: BTreeSet<Channel> = state.channels.keys().cloned().collect();
    Named { versions, channels }
}

/// An image that no version will name gets a tag of its own: many registries collect what has none.
async fn keep(to: &dyn Repository, manifest: &RawManifest, state: &State) -> Result<(), CopyError> {
    let digest = manifest.digest();
    if keep::has_version_tag(state, &digest) {
        return Ok(());
    }
    let tag = keep::tag_of(&digest);
    let target = Target::Tag(tag.clone());
    let failed = |source| repository(to, &tag, source);
    if to.stat_manifest(&target).await.map_err(failed)?.is_none() {
        let written = content::write_manifest(to, &target, manifest, &Condition::Always, &[]);
        written.await.map_err(failed)?;
    }
    Ok(())
}
