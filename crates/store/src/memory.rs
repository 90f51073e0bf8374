//! A store in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cairn_oci::{Descriptor, Digest, Document, RepositoryName, Tag, manifest};
use futures_util::TryStreamExt;

use crate::error::{MissingBlob, RepositoryError};
use crate::repository::{
    Blob, Capabilities, Condition, Page, RawManifest, Referrers, ReferrersPage, Repository, TagPage, Target,
    Written,
};
use crate::store::{Store, UploadError, UploadId};
use crate::stream::{ByteStream, from_bytes, unwrap_verified, verified};

/// Repositories in memory. Clones share their content.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<BTreeMap<RepositoryName, State>>>,
}

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, RawManifest>,
    tags: BTreeMap<Tag, TagState>,
    referrers: BTreeMap<Digest, BTreeMap<Digest, Descriptor>>,
    uploads: BTreeMap<UploadId, BytesMut>,
}

#[derive(Debug, Clone, Copy)]
struct TagState {
    digest: Digest,
    sealed: bool,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens one repository.
    #[must_use]
    pub fn open(&self, name: &RepositoryName) -> MemoryRepository {
        MemoryRepository {
            store: self.clone(),
            name: name.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RepositoryName, State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, name: &RepositoryName, read: impl FnOnce(&State) -> T) -> T {
        match self.lock().get(name) {
            Some(state) => read(state),
            None => read(&State::default()),
        }
    }

    fn write<T>(&self, name: &RepositoryName, write: impl FnOnce(&mut State) -> T) -> T {
        write(self.lock().entry(name.clone()).or_default())
    }
}

/// One repository of a [`Memory`].
#[derive(Debug, Clone)]
pub struct MemoryRepository {
    store: Memory,
    name: RepositoryName,
}

impl State {
    fn resolve(&self, target: &Target) -> Option<&RawManifest> {
        let digest = match target {
            Target::Tag(tag) => self.tags.get(tag)?.digest,
            Target::Digest(digest) => *digest,
        };
        self.manifests.get(&digest)
    }

    fn check_tag(&self, tag: &Tag, digest: Digest, condition: &Condition) -> Result<(), RepositoryError> {
        let found = self.tags.get(tag);
        check_condition(tag, digest, condition, found.map(|tag| (tag.digest, tag.sealed)))
    }

    fn insert(&mut self, manifest: &RawManifest) -> Result<(), RepositoryError> {
        let digest = manifest.digest();
        let document = manifest
            .document()
            .map_err(|source| RepositoryError::Manifest { digest, source })?;
        for blob in document.blobs() {
            if !self.blobs.contains_key(&blob.digest) {
                let blob = MissingBlob::Known(blob.digest);
                return Err(RepositoryError::BlobUnknown {
                    manifest: digest,
                    blob,
                });
            }
        }
        if let Some(found) = self.manifests.get(&digest)
            && found.media_type() != manifest.media_type()
        {
            self.refuse_sealed(&digest)?;
        }
        if let Some(subject) = document.subject() {
            let descriptor = referrer_descriptor(manifest, &document);
            self.referrers
                .entry(subject.digest)
                .or_default()
                .insert(digest, descriptor);
        }
        self.manifests.insert(digest, manifest.clone());
        Ok(())
    }
}

impl State {
    /// An error if a sealed tag reaches `digest`.
    fn refuse_sealed(&self, digest: &Digest) -> Result<(), RepositoryError> {
        let sealed = self.tags.iter().filter(|(_, state)| state.sealed);
        for (tag, state) in sealed {
            if reaches(state.digest, digest, |at| {
                let manifest = self.manifests.get(at);
                Ok(manifest.and_then(|manifest| manifest.document().ok()))
            })? {
                return Err(RepositoryError::Sealed {
                    tag: tag.clone(),
                    found: Some(state.digest),
                });
            }
        }
        Ok(())
    }
}

/// Whether `wanted` is the manifest `root`, a manifest below it, or a blob of one of them.
pub(crate) fn reaches(
    root: Digest,
    wanted: &Digest,
    read: impl Fn(&Digest) -> Result<Option<Document>, RepositoryError>,
) -> Result<bool, RepositoryError> {
    let (mut seen, mut open) = (BTreeSet::from([root]), vec![root]);
    while let Some(at) = open.pop() {
        if at == *wanted {
            return Ok(true);
        }
        let Some(document) = read(&at)? else {
            continue;
        };
        if document.blobs().iter().any(|blob| blob.digest == *wanted) {
            return Ok(true);
        }
        let below = document.manifests().iter().map(|entry| entry.digest);
        open.extend(below.filter(|digest| seen.insert(*digest)));
    }
    Ok(false)
}

/// Decides whether a tag that is `found` (digest, sealed) may be pointed at `digest`.
///
/// Every local implementation uses this one function, under its own lock.
pub(crate) fn check_condition(
    tag: &Tag,
    digest: Digest,
    condition: &Condition,
    found: Option<(Digest, bool)>,
) -> Result<(), RepositoryError> {
    let current = found.map(|(current, _)| current);
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => current.is_none(),
        Condition::IfMatch(expected) => current == Some(*expected),
        Condition::Seal => current.is_none_or(|current| current == digest),
    };
    match found {
        Some((current, true)) if current != digest => Err(RepositoryError::Sealed {
            tag: tag.clone(),
            found: Some(current),
        }),
        _ if !holds => Err(RepositoryError::Condition {
            tag: tag.clone(),
            condition: condition.clone(),
            found: current,
        }),
        _ => Ok(()),
    }
}

/// How a manifest is listed under its subject (distribution-spec, "Listing Referrers").
pub(crate) fn referrer_descriptor(manifest: &RawManifest, document: &Document) -> Descriptor {
    Descriptor {
        artifact_type: document.artifact_type(),
        annotations: document.annotations().clone(),
        ..manifest.descriptor()
    }
}

/// A page of referrers as it grows: up to so many entries, and up to [`manifest::LIMIT`] bytes of descriptors.
#[derive(Debug)]
pub(crate) struct PageOfReferrers {
    limit: usize,
    room: usize,
    manifests: Vec<Descriptor>,
}

impl PageOfReferrers {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            room: manifest::LIMIT,
            manifests: Vec::new(),
        }
    }

    /// Takes an entry; `false` if it belongs on the next page. The first one always fits.
    pub(crate) fn add(&mut self, entry: Descriptor) -> bool {
        let size = size_of_descriptor(&entry);
        let fits = self.manifests.is_empty() || (self.manifests.len() < self.limit && size <= self.room);
        if fits {
            self.room = self.room.saturating_sub(size);
            self.manifests.push(entry);
        }
        fits
    }

    /// The page, with others after it.
    pub(crate) fn more(self) -> ReferrersPage {
        ReferrersPage {
            next: self.manifests.last().map(|last| last.digest.to_string()),
            manifests: self.manifests,
        }
    }

    /// The last page.
    pub(crate) fn end(self) -> ReferrersPage {
        ReferrersPage {
            manifests: self.manifests,
            next: None,
        }
    }
}

/// About how many bytes a descriptor takes, in memory and written down.
fn size_of_descriptor(descriptor: &Descriptor) -> usize {
    let annotations = descriptor.annotations.iter();
    let annotations: usize = annotations.map(|(key, value)| key.len() + value.len() + 64).sum();
    256 + annotations + descriptor.artifact_type.as_ref().map_or(0, String::len)
}

/// The part of sorted `items` that a page asks for, and where to go on.
pub(crate) fn page_of<T, K: AsRef<str>>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> K,
    page: &Page,
) -> (Vec<T>, Option<String>) {
    let after = page.after.as_deref();
    let mut rest = items.filter(|item| after.is_none_or(|after| key(item).as_ref() > after));
    let part: Vec<T> = rest.by_ref().take(page.limit.max(1)).collect();
    let next = rest
        .next()
        .and(part.last())
        .map(|last| key(last).as_ref().to_owned());
    (part, next)
}

#[async_trait]
impl Repository for MemoryRepository {
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
        Ok(self.store.read(&self.name, |state| {
            state.blobs.get(digest).map(|blob| blob.len() as u64)
        }))
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        let Some(bytes) = self
            .store
            .read(&self.name, |state| state.blobs.get(digest).cloned())
        else {
            return Ok(None);
        };
        let size = bytes.len() as u64;
        let cut = |position: u64| usize::try_from(position.min(size)).unwrap_or(bytes.len());
        let part = match range {
            Some(range) => bytes.slice(cut(range.start)..cut(range.end.max(range.start))),
            None => bytes.clone(),
        };
        Ok(Some(Blob {
            size,
            content: from_bytes(part),
        }))
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        if self.stat_blob(digest).await?.is_some() {
            return Ok(Written::Present);
        }
        let mut content = verified(content, *digest, size);
        let mut bytes = BytesMut::new();
        let broken = |error| {
            unwrap_verified(error, |source| RepositoryError::Content {
                digest: *digest,
                source,
            })
        };
        while let Some(piece) = content.try_next().await.map_err(broken)? {
            bytes.extend_from_slice(&piece);
        }
        self.store
            .write(&self.name, |state| state.blobs.insert(*digest, bytes.freeze()));
        Ok(Written::New)
    }

    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        let Some(bytes) = self.store.read(from, |state| state.blobs.get(digest).cloned()) else {
            return Ok(false);
        };
        self.store
            .write(&self.name, |state| state.blobs.insert(*digest, bytes));
        Ok(true)
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        Ok(self.store.read(&self.name, |state| {
            state.resolve(target).map(RawManifest::descriptor)
        }))
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        Ok(self
            .store
            .read(&self.name, |state| state.resolve(target).cloned()))
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
        let digest = manifest.digest();
        self.store.write(&self.name, |state| {
            for (tag, condition) in tags {
                state.check_tag(tag, digest, condition)?;
            }
            state.insert(manifest)?;
            for (tag, condition) in tags {
                let was_sealed = state.tags.get(tag).is_some_and(|found| found.sealed);
                let sealed = was_sealed || matches!(condition, Condition::Seal);
                state.tags.insert(tag.clone(), TagState { digest, sealed });
            }
            Ok(())
        })
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        Ok(self.store.read(&self.name, |state| {
            let (tags, next) = page_of(state.tags.keys().cloned(), |tag| tag.as_str().to_owned(), page);
            TagPage { tags, next }
        }))
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let wanted = |descriptor: &&Descriptor| {
            artifact_type.is_none_or(|wanted| descriptor.artifact_type.as_deref() == Some(wanted))
        };
        Ok(self.store.read(&self.name, |state| {
            let all = state
                .referrers
                .get(subject)
                .into_iter()
                .flat_map(BTreeMap::values);
            let after = page.after.as_deref();
            let is_after = |entry: &&Descriptor| after.is_none_or(|after| *entry.digest.to_string() > *after);
            let mut found = PageOfReferrers::new(page.limit);
            for entry in all.filter(wanted).filter(is_after) {
                if !found.add(entry.clone()) {
                    return found.more();
                }
            }
            found.end()
        }))
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        self.store.write(&self.name, |state| match state.tags.get(tag) {
            Some(TagState { digest, sealed: true }) => Err(RepositoryError::Sealed {
                tag: tag.clone(),
                found: Some(*digest),
            }),
            _ => Ok(state.tags.remove(tag).is_some()),
        })
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.store.write(&self.name, |state| {
            state.refuse_sealed(digest)?;
            state.tags.retain(|_, tag| tag.digest != *digest);
            state
                .referrers
                .values_mut()
                .for_each(|list| drop(list.remove(digest)));
            Ok(state.manifests.remove(digest).is_some())
        })
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.store.write(&self.name, |state| {
            state.refuse_sealed(digest)?;
            Ok(state.blobs.remove(digest).is_some())
        })
    }
}

#[async_trait]
impl Store for Memory {
    async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, RepositoryError> {
        Ok(Arc::new(self.open(name)))
    }

    async fn repositories(&self, page: &Page) -> Result<Vec<RepositoryName>, RepositoryError> {
        let names: Vec<RepositoryName> = self.lock().keys().cloned().collect();
        Ok(page_of(names.into_iter(), |name| name.as_str().to_owned(), page).0)
    }

    async fn contains(&self, name: &RepositoryName) -> Result<bool, RepositoryError> {
        Ok(self.lock().contains_key(name))
    }

    async fn begin_upload(&self, name: &RepositoryName) -> Result<UploadId, UploadError> {
        let id = UploadId::random().map_err(|source| RepositoryError::File {
            action: "get randomness for",
            path: name.as_str().into(),
            source,
        })?;
        self.write(name, |state| state.uploads.insert(id.clone(), BytesMut::new()));
        Ok(id)
    }

    async fn upload_offset(&self, name: &RepositoryName, id: &UploadId) -> Result<u64, UploadError> {
        self.read(name, |state| {
            state.uploads.get(id).map(|upload| upload.len() as u64)
        })
        .ok_or_else(|| UploadError::Unknown { id: id.clone() })
    }

    async fn append_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        offset: u64,
        mut content: ByteStream,
    ) -> Result<u64, UploadError> {
        let at = self.upload_offset(name, id).await?;
        if at != offset {
            return Err(UploadError::Offset {
                id: id.clone(),
                offset: at,
                given: offset,
            });
        }
        loop {
            let piece = content.try_next().await;
            let piece = piece.map_err(|source| UploadError::Content {
                id: id.clone(),
                source,
            })?;
            let Some(piece) = piece else { break };
            self.write(name, |state| {
                let upload = state.uploads.get_mut(id);
                let unknown = || UploadError::Unknown { id: id.clone() };
                upload
                    .ok_or_else(unknown)
                    .map(|upload| upload.extend_from_slice(&piece))
            })?;
        }
        self.upload_offset(name, id).await
    }

    async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
    ) -> Result<u64, UploadError> {
        let upload = self.write(name, |state| state.uploads.remove(id));
        let bytes = upload
            .ok_or_else(|| UploadError::Unknown { id: id.clone() })?
            .freeze();
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(RepositoryError::Digest {
                expected: *digest,
                found,
            }
            .into());
        }
        let size = bytes.len() as u64;
        self.write(name, |state| state.blobs.insert(*digest, bytes));
        Ok(size)
    }

    async fn cancel_upload(&self, name: &RepositoryName, id: &UploadId) -> Result<(), UploadError> {
        let removed = self.write(name, |state| state.uploads.remove(id));
        removed
            .map(drop)
            .ok_or_else(|| UploadError::Unknown { id: id.clone() })
    }

    async fn open_uploads(&self, name: &RepositoryName, limit: usize) -> Result<usize, RepositoryError> {
        Ok(self.read(name, |state| state.uploads.len()).min(limit))
    }

    async fn free_space(&self) -> Result<Option<u64>, RepositoryError> {
        Ok(None)
    }

    async fn flush(&self) -> Result<(), RepositoryError> {
        Ok(())
    }
}
