//! One repository of the store: an OCI image layout with `refs/` beside its `blobs/`.
//!
//! ```text
//! _layout/oci-layout              made by the first write; the file that is locked
//! _layout/blobs/sha256/<hex>      blobs and manifests alike
//! _layout/refs/                   the truth about tags, manifests and referrers: see [`super::refs`]
//! _layout/index.json              made of `refs/` for other tools: see [`super::projection`]
//! ```
//!
//! A manifest is written in the order blob, `refs/manifests`, `refs/referrers`, tag; whoever sees a name finds what
//! it needs. Deleting goes the other way round.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use cairn_oci::{Descriptor, Digest, Document, RepositoryName, Tag, manifest};

use super::Directory;
use super::refs::{ManifestRef, Refs, TagRef};
use crate::blobs::{Blobs, expect_digest};
use crate::blocking::blocking;
use crate::error::{MissingBlob, RepositoryError};
use crate::files::{Lock, TemporaryFile, Tried, Writer};
use crate::layout;
use crate::memory::{check_condition, referrer_descriptor};
use crate::repository::{
    Blob, Capabilities, Condition, Page, RawManifest, Referrers, ReferrersPage, Repository, TagPage, Target,
    Turn, Written,
};
use crate::stream::ByteStream;

/// How long to wait before asking again whose turn it is.
const TURN_PAUSE: Duration = Duration::from_millis(5);
/// How often to ask: for 30 seconds, in which some hundred writers pass one after the other. Whoever holds it may wait for somebody
/// who touches a key.
const TURN_LIMIT: usize = 6_000;

/// One repository of a [`Directory`].
#[derive(Debug, Clone)]
pub struct DirectoryRepository {
    store: Directory,
    name: RepositoryName,
    layout: PathBuf,
    blobs: Blobs,
    refs: Refs,
}

impl DirectoryRepository {
    pub(super) fn new(store: Directory, name: RepositoryName) -> Self {
        let path = store.repository_path(&name);
        let layout = path.join("_layout");
        let writer = store.writer().clone();
        Self {
            blobs: Blobs::new(writer.clone(), layout.join("blobs/sha256"), path.join("_uploads"))
                .with_leases(path.join(super::LEASES)),
            refs: Refs::new(writer, &layout),
            store,
            name,
            layout,
        }
    }

    /// Its image layout, for tools that read one while nothing is being written.
    #[must_use]
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    pub(super) fn store(&self) -> &Directory {
        &self.store
    }

    pub(super) fn writer(&self) -> &Writer {
        self.store.writer()
    }

    pub(super) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(super) fn refs(&self) -> &Refs {
        &self.refs
    }

    /// Makes the store and the repository, if they are not there.
    pub(super) fn prepare(&self) -> Result<(), RepositoryError> {
        self.store.prepare()?;
        layout::prepare(self.writer(), &self.layout)?;
        Ok(())
    }

    /// Keeps every other process and thread from changing tags and manifests here.
    fn lock(&self) -> Result<Lock, RepositoryError> {
        self.prepare()?;
        Ok(Lock::exclusive(&self.layout.join(layout::MARKER))?)
    }

    /// The same, if the repository exists.
    pub(super) fn lock_existing(&self) -> Result<Option<Lock>, RepositoryError> {
        Ok(Lock::existing(&self.layout.join(layout::MARKER))?)
    }

    fn find(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        Ok(match target {
            Target::Tag(tag) => self.refs.tag(tag)?.map(|found| found.descriptor),
            Target::Digest(digest) => self.refs.manifest(digest)?.map(|found| found.descriptor),
        })
    }

    fn stat(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.resolve(target, |found| {
            Ok(self.blobs.stat(&found.digest)?.map(|_| found.clone()))
        })
    }

    pub(super) fn read(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.resolve(target, |found| {
            let Some(bytes) = self.blobs.read_whole(&found.digest, manifest::LIMIT)? else {
                return Ok(None);
            };
            let manifest = RawManifest::new(found.media_type.clone(), bytes);
            expect_digest(found.digest, manifest.digest())?;
            Ok(Some(manifest))
        })
    }

    /// Follows a name to content. A name without content is damage, unless the name is gone by then too.
    fn resolve<T>(
        &self,
        target: &Target,
        get: impl Fn(&Descriptor) -> Result<Option<T>, RepositoryError>,
    ) -> Result<Option<T>, RepositoryError> {
        let mut found = self.find(target)?;
        while let Some(descriptor) = found {
            if let Some(content) = get(&descriptor)? {
                return Ok(Some(content));
            }
            let again = self.find(target)?;
            if again.as_ref() == Some(&descriptor) {
                return Err(RepositoryError::Damaged {
                    path: self.blobs.path(&descriptor.digest),
                    detail: format!("it is missing, and {target} needs it"),
                });
            }
            found = again;
        }
        Ok(None)
    }

    fn write(&self, manifest: &RawManifest, tags: &[(Tag, Condition)]) -> Result<(), RepositoryError> {
        let digest = manifest.digest();
        let document = manifest
            .document()
            .map_err(|source| RepositoryError::Manifest { digest, source })?;
        let _lock = self.lock()?;
        // All of them are looked at before the first is written.
        let mut found = Vec::with_capacity(tags.len());
        for (tag, condition) in tags {
            found.push(self.check_tag(tag, digest, condition)?);
        }
        self.check_media_type(manifest)?;
        self.insert(manifest, &document)?;
        for ((tag, condition), found) in tags.iter().zip(found) {
            let sealed = matches!(condition, Condition::Seal) || found.is_some_and(|found| found.sealed);
            let descriptor = manifest.descriptor();
            self.refs.put_tag(tag, &TagRef { descriptor, sealed })?;
        }
        self.store.mark_dirty(&self.name);
        Ok(())
    }

    /// What a tag points at, unless the condition forbids moving it.
    fn check_tag(
        &self,
        tag: &Tag,
        digest: Digest,
        condition: &Condition,
    ) -> Result<Option<TagRef>, RepositoryError> {
        let found = self.refs.tag(tag)?;
        let state = found
            .as_ref()
            .map(|found| (found.descriptor.digest, found.sealed));
        check_condition(tag, digest, condition, state)?;
        Ok(found)
    }

    /// The media type of a manifest is part of what was sealed: the same bytes under another one mean something else.
    fn check_media_type(&self, manifest: &RawManifest) -> Result<(), RepositoryError> {
        match self.refs.manifest(&manifest.digest())? {
            Some(found) if found.descriptor.media_type != *manifest.media_type() => {
                self.refuse_sealed_content(&manifest.digest())
            }
            _ => Ok(()),
        }
    }

    fn insert(&self, manifest: &RawManifest, document: &Document) -> Result<(), RepositoryError> {
        let blobs = document.blobs();
        if let Some(missing) = self.blobs.first_missing(blobs.iter().map(|blob| &blob.digest))? {
            return Err(RepositoryError::BlobUnknown {
                manifest: manifest.digest(),
                blob: MissingBlob::Known(missing),
            });
        }
        self.blobs.write_whole(&manifest.digest(), manifest.bytes())?;
        let subject = document.subject().map(|subject| subject.digest);
        let descriptor = manifest.descriptor();
        self.refs.put_manifest(&ManifestRef { descriptor, subject })?;
        match subject {
            Some(subject) => self
                .refs
                .put_referrer(&subject, &referrer_descriptor(manifest, document)),
            None => Ok(()),
        }
    }

    fn remove_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        let Some(_lock) = self.lock_existing()? else {
            return Ok(false);
        };
        let Some(found) = self.refs.tag(tag)? else {
            return Ok(false);
        };
        refuse_sealed(tag, &found)?;
        self.store.mark_dirty(&self.name);
        Ok(self.refs.remove_tag(tag)?)
    }

    /// Makes a sealed tag an ordinary one, if it shows this.
    pub(super) fn unseal_tag(&self, tag: &Tag, digest: &Digest) -> Result<bool, RepositoryError> {
        let Some(_lock) = self.lock_existing()? else {
            return Ok(false);
        };
        let found = self.refs.tag(tag)?;
        let Some(found) = found.filter(|found| found.sealed && found.descriptor.digest == *digest) else {
            return Ok(false);
        };
        let sealed = false;
        self.refs.put_tag(tag, &TagRef { sealed, ..found })?;
        Ok(true)
    }

    fn remove_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let Some(_lock) = self.lock_existing()? else {
            return Ok(false);
        };
        let Some(found) = self.refs.manifest(digest)? else {
            return Ok(false);
        };
        self.refuse_sealed_content(digest)?;
        let tags = self.tags_of(digest)?;
        for tag in &tags {
            self.refs.remove_tag(tag)?;
        }
        self.forget(&found)?;
        Ok(true)
    }

    /// Removes a manifest that no tag points at. The caller holds the lock.
    pub(super) fn forget_manifest(&self, digest: &Digest) -> Result<(), RepositoryError> {
        match self.refs.manifest(digest)? {
            Some(found) => self.forget(&found),
            None => Ok(()),
        }
    }

    fn forget(&self, found: &ManifestRef) -> Result<(), RepositoryError> {
        let digest = &found.descriptor.digest;
        self.store.mark_dirty(&self.name);
        if let Some(subject) = found.subject {
            self.refs.remove_referrer(&subject, digest)?;
        }
        self.refs.remove_manifest(digest)?;
        self.blobs.remove(digest)?;
        Ok(())
    }

    /// The tags that point at `digest`.
    fn tags_of(&self, digest: &Digest) -> Result<Vec<Tag>, RepositoryError> {
        let mut tags = Vec::new();
        for tag in self.refs.tags()? {
            if let Some(found) = self.refs.tag(&tag)?
                && found.descriptor.digest == *digest
            {
                tags.push(tag);
            }
        }
        Ok(tags)
    }

    fn remove_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let Some(_lock) = self.lock_existing()? else {
            return Ok(false);
        };
        // The file of a manifest belongs to the manifest.
        if self.refs.has_manifest(digest) {
            return Ok(false);
        }
        self.refuse_sealed_content(digest)?;
        Ok(self.blobs.remove(digest)?)
    }

    /// Runs blocking work on a clone of this repository.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let repository = self.clone();
        blocking(move || work(&repository)).await
    }
}

fn refuse_sealed(tag: &Tag, found: &TagRef) -> Result<(), RepositoryError> {
    if !found.sealed {
        return Ok(());
    }
    Err(RepositoryError::Sealed {
        tag: tag.clone(),
        found: Some(found.descriptor.digest),
    })
}

#[async_trait]
impl Repository for DirectoryRepository {
    fn name(&self) -> &RepositoryName {
        &self.name
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        Ok(Capabilities {
            conditions: true,
            seal: true,
            referrers: Referrers::Native,
            delete_tags: Some(true),
        })
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        let digest = *digest;
        Ok(self.run(move |this| this.blobs.stat_and_keep(&digest)).await?)
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        self.blobs.read(digest, range).await
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        let this = self.clone();
        self.blobs
            .write(*digest, size, content, move || this.prepare())
            .await
    }

    async fn write_spooled(&self, digest: &Digest, file: TemporaryFile) -> Result<Written, RepositoryError> {
        let this = self.clone();
        self.blobs
            .write_spooled(*digest, file, move || this.prepare())
            .await
    }

    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        let (sibling, digest) = (self.store.open_repository(from), *digest);
        self.run(move |this| {
            if sibling.blobs.stat(&digest)?.is_none() {
                return Ok(false);
            }
            this.prepare()?;
            this.blobs.link_from(&sibling.blobs, &digest)
        })
        .await
    }

    async fn turn(&self) -> Option<Turn> {
        let place = self.layout.join("refs");
        blocking(move || turn(&place)).await
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        let target = target.clone();
        self.run(move |this| this.stat(&target)).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        let target = target.clone();
        self.run(move |this| this.read(&target)).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        let tags = target.tags_for(manifest, condition)?;
        self.write_tagged(manifest, &tags).await
    }

    async fn write_tagged(
        &self,
        manifest: &RawManifest,
        tags: &[(Tag, Condition)],
    ) -> Result<(), RepositoryError> {
        let (manifest, tags) = (manifest.clone(), tags.to_vec());
        self.run(move |this| this.write(&manifest, &tags)).await
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let page = page.clone();
        Ok(self.run(move |this| this.refs.tags_page(&page)).await?)
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let (subject, artifact_type, page) = (*subject, artifact_type.map(str::to_owned), page.clone());
        self.run(move |this| {
            this.refs
                .referrers_page(&subject, artifact_type.as_deref(), &page)
        })
        .await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        let tag = tag.clone();
        self.run(move |this| this.remove_tag(&tag)).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let digest = *digest;
        self.run(move |this| this.remove_manifest(&digest)).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let digest = *digest;
        self.run(move |this| this.remove_blob(&digest)).await
    }
}

/// Waits for the lock on the directory `place`, which nothing else locks.
fn turn(place: &Path) -> Option<Turn> {
    for _ in 0..TURN_LIMIT {
        match Lock::try_directory(place) {
            Ok(Tried::Held(lock)) => return Some(Turn::new(lock)),
            Ok(Tried::Busy) => std::thread::sleep(TURN_PAUSE),
            Ok(Tried::Missing) | Err(_) => return None,
        }
    }
    None
}
