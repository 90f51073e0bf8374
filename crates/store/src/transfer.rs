//! Moves an image from one repository to another, byte for byte.
//!
//! Blobs first, then the manifests of an index, then the manifest itself, by digest. Tags are the caller's: a tag
//! is moved last, when everything that it will point at is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cairn_oci::manifest::DocumentError;
use cairn_oci::{Descriptor, Digest, Document, RepositoryName};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::error::RepositoryError;
use crate::repository::{Condition, Page, RawManifest, Repository, Target, Written};
use crate::stream::{BlobSource, ByteStream};

/// How deep indexes may be nested. Real ones have one level.
pub const DEPTH_LIMIT: usize = 4;
/// Most referrers that are moved with one image.
pub const REFERRER_LIMIT: usize = 10_000;
/// Most pages of a list of referrers. Pages may be empty, and name a next one all the same.
const PAGE_LIMIT: usize = 1000;
/// How many blobs are moved at once.
const CONCURRENCY: usize = 4;

/// How many blobs, and how many bytes they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// Blobs.
    pub blobs: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    /// One more blob of `bytes`.
    pub fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
    }
}

/// What was moved and what was there already. Manifests count as blobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Transferred {
    /// Moved to the destination.
    pub uploaded: Count,
    /// There already, or mounted from a sibling.
    pub reused: Count,
}

impl Transferred {
    /// Counts one piece of content.
    pub fn count(&mut self, size: u64, written: Written) {
        match written {
            Written::New => self.uploaded.add(size),
            Written::Present => self.reused.add(size),
        }
    }

    /// Adds what another transfer did.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in [
            (&mut self.uploaded, other.uploaded),
            (&mut self.reused, other.reused),
        ] {
            ours.blobs += theirs.blobs;
            ours.bytes += theirs.bytes;
        }
    }
}

/// Why an image was not moved. Nothing that points at it was changed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The source lacks something that the image is made of.
    #[error("{repository} does not have {digest}, which {parent} needs")]
    Missing {
        /// The source.
        repository: String,
        /// What is missing.
        digest: Digest,
        /// The manifest that names it.
        parent: Digest,
    },
    /// A manifest cannot be read.
    #[error("the manifest {digest} in {repository} cannot be read")]
    Manifest {
        /// The source.
        repository: String,
        /// Which manifest.
        digest: Digest,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// Indexes are nested deeper than [`DEPTH_LIMIT`].
    #[error("the index {digest} is nested deeper than {DEPTH_LIMIT} levels")]
    TooDeep {
        /// The index at which it stopped.
        digest: Digest,
    },
    /// More than [`REFERRER_LIMIT`] manifests refer to an image.
    #[error("more than {REFERRER_LIMIT} manifests refer to {digest}, or to what refers to it")]
    TooManyReferrers {
        /// The image, or one of its referrers.
        digest: Digest,
    },
    /// Reading from the source failed.
    #[error("cannot read {digest} from {repository}")]
    Read {
        /// The source.
        repository: String,
        /// What was read.
        digest: Digest,
        /// Why not.
        #[source]
        source: RepositoryError,
    },
    /// Writing to the destination failed.
    #[error("cannot write {digest} to {repository}")]
    Write {
        /// The destination.
        repository: String,
        /// What was written.
        digest: Digest,
        /// Why not.
        #[source]
        source: RepositoryError,
    },
}

/// Is told how far a transfer is. Bytes are those of blobs; manifests are too small to count.
pub trait Watch: Send + Sync {
    /// Blobs of so many bytes are looked at next.
    fn planned(&self, bytes: u64);
    /// So many of them need not be moved.
    fn reused(&self, bytes: u64);
    /// So many of them were read from the source.
    fn moved(&self, bytes: u64);
}

/// From where to where.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    /// The source.
    pub from: &'a dyn Repository,
    /// The destination.
    pub to: &'a dyn Repository,
    /// Repositories beside the destination, in the same store or registry, that may have the blobs: what they have is
    /// mounted, not moved.
    pub mount: &'a [RepositoryName],
    /// Who is told how far it is.
    pub watch: Option<&'a Arc<dyn Watch>>,
}

impl<'a> Transfer<'a> {
    /// One that mounts nothing, and tells nobody how far it is.
    #[must_use]
    pub const fn between(from: &'a dyn Repository, to: &'a dyn Repository) -> Self {
        Self {
            from,
            to,
            mount: &[],
            watch: None,
        }
    }

    /// The same, told to `watch`.
    #[must_use]
    pub const fn told_to(self, watch: &'a Arc<dyn Watch>) -> Self {
        Self {
            watch: Some(watch),
            ..self
        }
    }

    /// The same, which mounts what `siblings` have.
    #[must_use]
    pub const fn mounting(self, siblings: &'a [RepositoryName]) -> Self {
        Self {
            mount: siblings,
            ..self
        }
    }

    /// Moves `manifest` and everything it is made of.
    ///
    /// # Errors
    ///
    /// [`TransferError`] names what is missing or could not be moved.
    pub async fn image(&self, manifest: &RawManifest) -> Result<Transferred, TransferError> {
        let manifests = self.closure(manifest).await?;
        let mut blobs = BTreeMap::new();
        for (raw, document) in &manifests {
            for blob in document.blobs() {
                blobs.insert(blob.digest, (blob.clone(), raw.digest()));
            }
        }
        let mut done = self.blobs(blobs.into_values().collect()).await?;
        // Collected parents first: written in reverse, children are there before what lists them.
        for (raw, document) in manifests.iter().rev() {
            done.count(raw.bytes().len() as u64, self.manifest(raw, document).await?);
        }
        Ok(done)
    }

    /// Moves what refers to `manifest` or to a manifest below it, and what refers to that: signatures, lists of parts,
    /// whatever names one of them as its subject. The image itself must have been moved.
    ///
    /// # Errors
    ///
    /// [`TransferError`], also when there are more than [`REFERRER_LIMIT`].
    pub async fn referrers(&self, manifest: &RawManifest) -> Result<Transferred, TransferError> {
        let manifests = self.closure(manifest).await?;
        let mut seen: BTreeSet<Digest> = manifests.iter().map(|(raw, _)| raw.digest()).collect();
        let mut waiting: Vec<Digest> = seen.iter().copied().collect();
        let mut done = Transferred::default();
        while let Some(subject) = waiting.pop() {
            for referrer in self.list_referrers(&subject).await? {
                if !seen.insert(referrer.digest) {
                    continue;
                }
                if seen.len() > REFERRER_LIMIT {
                    return Err(TransferError::TooManyReferrers { digest: subject });
                }
                let raw = self.child(&referrer, subject).await?;
                done.merge(&self.image(&raw).await?);
                waiting.push(referrer.digest);
            }
        }
        Ok(done)
    }

    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, TransferError> {
        let (mut all, mut page) = (Vec::new(), Page::first());
        for _ in 0..PAGE_LIMIT {
            let found = self.from.list_referrers(subject, None, &page).await;
            let found = found.map_err(|source| self.read_failed(*subject, source))?;
            all.extend(found.manifests);
            if all.len() > REFERRER_LIMIT {
                break;
            }
            match found.next {
                Some(next) => page.after = Some(next),
                None => return Ok(all),
            }
        }
        Err(TransferError::TooManyReferrers { digest: *subject })
    }

    /// The manifest and all below it, each once, parents first.
    pub(crate) async fn closure(
        &self,
        manifest: &RawManifest,
    ) -> Result<Vec<(RawManifest, Document)>, TransferError> {
        let mut manifests = Vec::new();
        self.collect(manifest.clone(), 0, &mut manifests).await?;
        Ok(manifests)
    }

    async fn collect(
        &self,
        raw: RawManifest,
        depth: usize,
        into: &mut Vec<(RawManifest, Document)>,
    ) -> Result<(), TransferError> {
        let digest = raw.digest();
        if depth >= DEPTH_LIMIT {
            return Err(TransferError::TooDeep { digest });
        }
        let document = raw.document().map_err(|source| TransferError::Manifest {
            repository: self.from.label(),
            digest,
            source,
        })?;
        let children = document.manifests().to_vec();
        into.push((raw, document));
        for child in children {
            if into.iter().any(|(known, _)| known.digest() == child.digest) {
                continue;
            }
            let child = self.child(&child, digest).await?;
            Box::pin(self.collect(child, depth + 1, into)).await?;
        }
        Ok(())
    }

    async fn child(&self, child: &Descriptor, parent: Digest) -> Result<RawManifest, TransferError> {
        let read = self.from.read_manifest(&Target::Digest(child.digest)).await;
        read.map_err(|source| self.read_failed(child.digest, source))?
            .ok_or_else(|| TransferError::Missing {
                repository: self.from.label(),
                digest: child.digest,
                parent,
            })
    }

    async fn blobs(&self, blobs: Vec<(Descriptor, Digest)>) -> Result<Transferred, TransferError> {
        if let Some(watch) = self.watch {
            watch.planned(blobs.iter().map(|(blob, _)| blob.size).sum());
        }
        let moves = blobs.into_iter().map(|(blob, parent)| async move {
            let written = self.blob(&blob, parent).await?;
            if let (Some(watch), Written::Present) = (self.watch, written) {
                watch.reused(blob.size);
            }
            Ok((blob.size, written))
        });
        stream::iter(moves)
            .buffer_unordered(CONCURRENCY)
            .try_fold(Transferred::default(), |mut done, (size, written)| async move {
                done.count(size, written);
                Ok(done)
            })
            .await
    }

    /// Moves one blob, which the manifest `parent` names.
    ///
    /// # Errors
    ///
    /// [`TransferError`], also when the source's copy does not have the stated size or digest.
    pub async fn blob(&self, blob: &Descriptor, parent: Digest) -> Result<Written, TransferError> {
        let write_failed = |source| self.write_failed(blob.digest, source);
        if self
            .to
            .stat_blob(&blob.digest)
            .await
            .map_err(write_failed)?
            .is_some()
        {
            return Ok(Written::Present);
        }
        for sibling in self.mount {
            if self
                .to
                .mount_blob(&blob.digest, sibling)
                .await
                .map_err(write_failed)?
            {
                return Ok(Written::Present);
            }
        }
        let found = self.from.read_blob(&blob.digest, None).await;
        let found = found.map_err(|source| self.read_failed(blob.digest, source))?;
        let Some(found) = found else {
            let repository = self.from.label();
            return Err(TransferError::Missing {
                repository,
                digest: blob.digest,
                parent,
            });
        };
        if found.size != blob.size {
            let (digest, expected, found) = (blob.digest, blob.size, found.size);
            let source = RepositoryError::Size {
                digest,
                expected,
                found,
            };
            return Err(self.read_failed(digest, source));
        }
        let source = Source {
            from: self.from,
            blob,
            first: Mutex::new(Some(found.content)),
            watch: self.watch,
            furthest: Arc::default(),
        };
        self.to
            .write_blob_from(&blob.digest, blob.size, &source)
            .await
            .map_err(write_failed)
    }

    async fn manifest(&self, raw: &RawManifest, document: &Document) -> Result<Written, TransferError> {
        let target = Target::Digest(raw.digest());
        let write_failed = |source| self.write_failed(raw.digest(), source);
        if self
            .to
            .stat_manifest(&target)
            .await
            .map_err(write_failed)?
            .is_some()
        {
            return Ok(Written::Present);
        }
        let written = self.to.write_manifest(&target, raw, &Condition::Always).await;
        if matches!(written, Err(RepositoryError::BlobUnknown { .. })) {
            // Somebody's garbage collection took a blob between our look and our write: send them again, once.
            for blob in document.blobs() {
                self.blob(blob, raw.digest()).await?;
            }
            self.to
                .write_manifest(&target, raw, &Condition::Always)
                .await
                .map_err(write_failed)?;
            return Ok(Written::New);
        }
        written.map_err(write_failed)?;
        Ok(Written::New)
    }

    fn read_failed(&self, digest: Digest, source: RepositoryError) -> TransferError {
        TransferError::Read {
            repository: self.from.label(),
            digest,
            source,
        }
    }

    fn write_failed(&self, digest: Digest, source: RepositoryError) -> TransferError {
        TransferError::Write {
            repository: self.to.label(),
            digest,
            source,
        }
    }
}

/// A blob of the source. Whoever writes verifies size and digest: hashing it here too would only take longer.
struct Source<'a> {
    from: &'a dyn Repository,
    blob: &'a Descriptor,
    /// Begun already, in order to know that it is there.
    first: Mutex<Option<ByteStream>>,
    watch: Option<&'a Arc<dyn Watch>>,
    /// Up to where it was read at most: what is read again is not moved again.
    furthest: Arc<AtomicU64>,
}

#[async_trait]
impl BlobSource for Source<'_> {
    async fn open(&self, offset: u64) -> Result<ByteStream, RepositoryError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(first) = first.filter(|_| offset == 0) {
            return Ok(self.watched(first, 0));
        }
        let (digest, size) = (self.blob.digest, self.blob.size);
        let range = (offset > 0).then_some(offset..size);
        let found = self.from.read_blob(&digest, range).await?;
        let missing = || RepositoryError::Content {
            digest,
            source: io::ErrorKind::NotFound.into(),
        };
        Ok(self.watched(found.ok_or_else(missing)?.content, offset))
    }
}

impl Source<'_> {
    fn watched(&self, content: ByteStream, offset: u64) -> ByteStream {
        let Some(watch) = self.watch.map(Arc::clone) else {
            return content;
        };
        let (furthest, mut at) = (Arc::clone(&self.furthest), offset);
        content
            .inspect_ok(move |piece| {
                at += piece.len() as u64;
                let before = furthest.fetch_max(at, Ordering::Relaxed);
                watch.moved(at.saturating_sub(before));
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use cairn_oci::{Index, Manifest, Platform, json, media_type};

    use super::*;
    use crate::memory::{Memory, MemoryRepository};
    use crate::stream::{collect, from_bytes};

    async fn image(repository: &MemoryRepository, content: &'static [u8]) -> RawManifest {
        let mut blobs = Vec::new();
        for (media_type, bytes) in [(media_type::CONFIG, &b"{}"[..]), (media_type::LAYER, content)] {
            let blob = Descriptor::of(media_type, bytes);
            repository
                .write_blob(&blob.digest, blob.size, from_bytes(bytes))
                .await
                .unwrap();
            blobs.push(blob);
        }
        let layers = blobs.split_off(1);
        let raw = RawManifest::new(
            media_type::MANIFEST,
            json::canonical(&Manifest::image(blobs.remove(0), layers)),
        );
        repository
            .write_manifest(&raw.digest().into(), &raw, &Condition::Always)
            .await
            .unwrap();
        raw
    }

    async fn index(repository: &MemoryRepository) -> RawManifest {
        let mut children = Vec::new();
        for (architecture, content) in [("amd64", &b"one"[..]), ("arm64", &b"two"[..])] {
            let platform = Platform::new("linux", architecture);
            children.push(
                image(repository, content)
                    .await
                    .descriptor()
                    .with_platform(platform),
            );
        }
        let raw = RawManifest::new(media_type::INDEX, json::canonical(&Index::images(children)));
        repository
            .write_manifest(&raw.digest().into(), &raw, &Condition::Always)
            .await
            .unwrap();
        raw
    }

    fn repositories() -> (MemoryRepository, MemoryRepository) {
        (
            Memory::new().open(&"a".parse().unwrap()),
            Memory::new().open(&"b".parse().unwrap()),
        )
    }

    #[tokio::test]
    async fn an_index_moves_whole_and_a_second_time_moves_nothing() {
        let (from, to) = repositories();
        let raw = index(&from).await;
        let transfer = Transfer::between(&from, &to);
        let first = transfer.image(&raw).await.unwrap();
        // Three different blobs (both images share their configuration) and three manifests.
        assert_eq!((first.uploaded.blobs, first.reused.blobs), (6, 0));
        assert_eq!(
            to.read_manifest(&raw.digest().into()).await.unwrap().unwrap(),
            raw
        );
        let layer = to.read_blob(&Digest::of(b"two"), None).await.unwrap().unwrap();
        assert_eq!(collect(layer.content, 10).await.unwrap(), &b"two"[..]);
        let second = transfer.image(&raw).await.unwrap();
        assert_eq!((second.uploaded.blobs, second.reused.blobs), (0, 6));
    }

    #[tokio::test]
    async fn what_refers_to_an_image_moves_with_it_and_nothing_else_does() {
        let (from, to) = repositories();
        let raw = index(&from).await;
        let mut referrers = Vec::new();
        // A signature of a part of the index, and what is said about that signature.
        let mut subject = raw.document().unwrap().manifests()[1].clone();
        for content in [&b"signature"[..], b"timestamp"] {
            let layer = Descriptor::of("text/plain", content);
            for (blob, bytes) in [(&layer, content), (&Descriptor::empty(), b"{}")] {
                let written = from.write_blob(&blob.digest, blob.size, from_bytes(bytes)).await;
                written.unwrap();
            }
            let mut manifest = Manifest::artifact("text/plain", vec![layer]);
            manifest.subject = Some(subject);
            let referrer = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
            from.write_manifest(&referrer.digest().into(), &referrer, &Condition::Always)
                .await
                .unwrap();
            subject = referrer.descriptor();
            referrers.push(referrer);
        }
        let transfer = Transfer::between(&from, &to);
        transfer.image(&raw).await.unwrap();
        for referrer in &referrers {
            assert!(
                to.stat_manifest(&referrer.digest().into())
                    .await
                    .unwrap()
                    .is_none()
            );
        }
        let done = transfer.referrers(&raw).await.unwrap();
        // Two layers and two manifests; the empty configuration is that of the images too.
        assert_eq!(done.uploaded.blobs, 4);
        for referrer in &referrers {
            let found = to.read_manifest(&referrer.digest().into()).await.unwrap();
            assert_eq!(found.as_ref(), Some(referrer));
        }
    }

    #[tokio::test]
    async fn a_missing_blob_is_named_and_no_manifest_is_written() {
        let (from, to) = repositories();
        let raw = index(&from).await;
        from.delete_blob(&Digest::of(b"two")).await.unwrap();
        let error = Transfer::between(&from, &to).image(&raw).await.unwrap_err();
        assert!(
            matches!(error, TransferError::Missing { digest, .. } if digest == Digest::of(b"two")),
            "{error}"
        );
        assert!(to.stat_manifest(&raw.digest().into()).await.unwrap().is_none());
    }

    #[derive(Default)]
    struct Counts([AtomicU64; 3]);

    impl Watch for Counts {
        fn planned(&self, bytes: u64) {
            self.0[0].fetch_add(bytes, Ordering::Relaxed);
        }

        fn reused(&self, bytes: u64) {
            self.0[1].fetch_add(bytes, Ordering::Relaxed);
        }

        fn moved(&self, bytes: u64) {
            self.0[2].fetch_add(bytes, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn who_watches_is_told_of_every_byte_once() {
        let (from, to) = repositories();
        let raw = index(&from).await;
        // The configuration that both images share, and a layer of each.
        for expected in [[8, 0, 8], [8, 8, 0]] {
            let counts = Arc::new(Counts::default());
            let watch: Arc<dyn Watch> = counts.clone();
            Transfer::between(&from, &to)
                .told_to(&watch)
                .image(&raw)
                .await
                .unwrap();
            assert_eq!(
                counts.0.each_ref().map(|count| count.load(Ordering::Relaxed)),
                expected
            );
        }
    }

    #[tokio::test]
    async fn siblings_share_blobs_instead_of_moving_them() {
        let store = Memory::new();
        let (from, to) = (
            store.open(&"a".parse().unwrap()),
            store.open(&"b".parse().unwrap()),
        );
        let raw = image(&from, b"one").await;
        let done = Transfer::between(&from, &to)
            .mounting(&[from.name().clone()])
            .image(&raw)
            .await
            .unwrap();
        assert_eq!((done.uploaded.blobs, done.reused.blobs), (1, 2));
    }
}
