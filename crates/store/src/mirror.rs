//! Repositories of another registry, served from a store: pull-through.
//!
//! ```text
//!   hub/library/debian ──▶ the store, if it has it
//!                     └──▶ library/debian of the registry behind, and into the store on the way
//! ```
//!
//! - A blob that is not here is passed through while it is written here: nobody waits for the disk, and what does not match its
//!   digest is not kept.
//! - A manifest is kept as a blob at once. When all its blobs have come, it is written as a manifest, with the tag under which it
//!   was asked for: then it is an image of the store like any other, and garbage collection keeps it.
//! - A tag is asked of the registry behind each time, so it never lags. If that does not answer, the tag is what it was when it was
//!   seen last.
//! - Nothing is ever written by whoever asks.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, RepositoryName, Tag, media_type};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::error::RepositoryError;
use crate::files::TemporaryFile;
use crate::overlay::Overlay;
use crate::repository::{
    Blob, Condition, Page, RawManifest, ReferrersPage, Repository, TagPage, Target, Written,
};
use crate::store::{Store, UploadError, UploadId};
use crate::stream::{ByteStream, collect, from_bytes};

/// Pieces of a blob that wait for the disk while it is passed through.
const WAITING: usize = 16;
/// Most manifests of a repository that wait for their blobs. Of more, the first are forgotten, until they are asked for again.
const PENDING_LIMIT: usize = 256;
/// The longest manifest that is kept, in bytes (4 MiB), as everywhere.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// The registry behind a mirror.
#[async_trait]
pub trait Upstream: Send + Sync + fmt::Debug {
    /// Opens one of its repositories.
    async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, RepositoryError>;
}

/// Which repositories of a store are another registry's.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Those below this name; none: all.
    pub prefix: Option<RepositoryName>,
    /// Whose they are.
    pub upstream: Arc<dyn Upstream>,
}

impl Mirror {
    /// What `name` is called there, if it is there.
    fn name_behind(&self, name: &RepositoryName) -> Option<RepositoryName> {
        match &self.prefix {
            None => Some(name.clone()),
            Some(prefix) => {
                let rest = name.as_str().strip_prefix(prefix.as_str())?.strip_prefix('/')?;
                rest.parse().ok()
            }
        }
    }
}

/// A store some of whose repositories are mirrors.
#[derive(Debug)]
pub struct Mirrored {
    store: Arc<dyn Store>,
    /// Longest prefix first.
    mirrors: Vec<Mirror>,
    pending: Arc<Mutex<BTreeMap<RepositoryName, Pending>>>,
}

/// Manifests that wait for their blobs, oldest first, and the tag under which each was asked for.
type Pending = Vec<(RawManifest, Option<Tag>)>;

impl Mirrored {
    /// `store`, with `mirrors` in it.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, mut mirrors: Vec<Mirror>) -> Self {
        mirrors.sort_by_key(|mirror| {
            std::cmp::Reverse(mirror.prefix.as_ref().map_or(0, |prefix| prefix.as_str().len()))
        });
        Self {
            store,
            mirrors,
            pending: Arc::default(),
        }
    }

    fn mirror_of(&self, name: &RepositoryName) -> Option<(&Mirror, RepositoryName)> {
        self.mirrors
            .iter()
            .find_map(|mirror| Some((mirror, mirror.name_behind(name)?)))
    }

    fn refuse_writing(&self, name: &RepositoryName) -> Result<(), UploadError> {
        match self.mirror_of(name) {
            Some(_) => Err(unsupported(name.to_string()).into()),
            None => Ok(()),
        }
    }
}

fn unsupported(repository: String) -> RepositoryError {
    RepositoryError::Unsupported {
        repository,
        operation: "writing: it is a mirror",
    }
}

#[async_trait]
impl Store for Mirrored {
    async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, RepositoryError> {
        let here = self.store.repository(name).await?;
        let Some((mirror, behind)) = self.mirror_of(name) else {
            return Ok(here);
        };
        Ok(Arc::new(MirrorRepository {
            here,
            behind: mirror.upstream.repository(&behind).await?,
            pending: Arc::clone(&self.pending),
        }))
    }

    async fn repositories(&self, page: &Page) -> Result<Vec<RepositoryName>, RepositoryError> {
        self.store.repositories(page).await
    }

    async fn contains(&self, name: &RepositoryName) -> Result<bool, RepositoryError> {
        Ok(self.mirror_of(name).is_some() || self.store.contains(name).await?)
    }

    async fn begin_upload(&self, name: &RepositoryName) -> Result<UploadId, UploadError> {
        self.refuse_writing(name)?;
        self.store.begin_upload(name).await
    }

    async fn upload_offset(&self, name: &RepositoryName, id: &UploadId) -> Result<u64, UploadError> {
        self.store.upload_offset(name, id).await
    }

    async fn append_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        offset: u64,
        content: ByteStream,
    ) -> Result<u64, UploadError> {
        self.refuse_writing(name)?;
        self.store.append_upload(name, id, offset, content).await
    }

    async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
    ) -> Result<u64, UploadError> {
        self.refuse_writing(name)?;
        self.store.finish_upload(name, id, digest).await
    }

    async fn cancel_upload(&self, name: &RepositoryName, id: &UploadId) -> Result<(), UploadError> {
        self.store.cancel_upload(name, id).await
    }

    async fn open_uploads(&self, name: &RepositoryName, limit: usize) -> Result<usize, RepositoryError> {
        self.store.open_uploads(name, limit).await
    }

    async fn free_space(&self) -> Result<Option<u64>, RepositoryError> {
        self.store.free_space().await
    }

    async fn flush(&self) -> Result<(), RepositoryError> {
        self.store.flush().await
    }
}

/// A repository of another registry, and what of it is here.
#[derive(Debug, Clone)]
struct MirrorRepository {
    here: Arc<dyn Repository>,
    behind: Arc<dyn Repository>,
    pending: Arc<Mutex<BTreeMap<RepositoryName, Pending>>>,
}

impl MirrorRepository {
    fn pending(&self) -> MutexGuard<'_, BTreeMap<RepositoryName, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a tag points at: there, or here if there is no answer.
    async fn current(&self, tag: &Tag) -> Result<Option<Descriptor>, RepositoryError> {
        let target = Target::Tag(tag.clone());
        match self.behind.stat_manifest(&target).await {
            Ok(found) => Ok(found),
            Err(error) => match self.here.stat_manifest(&target).await? {
                Some(known) => Ok(Some(known)),
                None => Err(error),
            },
        }
    }

    /// A manifest of this repository that came before.
    async fn kept(&self, digest: &Digest) -> Result<Option<RawManifest>, RepositoryError> {
        if let Some(found) = self.here.read_manifest(&Target::Digest(*digest)).await? {
            return Ok(Some(found));
        }
        let size = self.here.stat_blob(digest).await?;
        if size.is_none_or(|size| size > MANIFEST_LIMIT) {
            return Ok(None);
        }
        let Some(blob) = self.here.read_blob(digest, None).await? else {
            return Ok(None);
        };
        let bytes = collect(blob.content, MANIFEST_LIMIT).await.ok();
        // Another blob is none, and so is one that was damaged.
        let found = bytes
            .filter(|bytes| Digest::of(bytes) == *digest)
            .and_then(manifest_of);
        Ok(found)
    }

    async fn manifest(
        &self,
        digest: &Digest,
        tag: Option<&Tag>,
    ) -> Result<Option<RawManifest>, RepositoryError> {
        let found = match self.kept(digest).await? {
            Some(kept) => kept,
            None => match self.behind.read_manifest(&Target::Digest(*digest)).await? {
                Some(found) => self.keep(found).await?,
                None => return Ok(None),
            },
        };
        if !self.settle(&found, tag).await? {
            self.wait(found.clone(), tag.cloned());
        }
        Ok(Some(found))
    }

    /// Keeps a manifest whose blobs may not be here.
    async fn keep(&self, found: RawManifest) -> Result<RawManifest, RepositoryError> {
        let size = found.bytes().len() as u64;
        let content = from_bytes(found.bytes().clone());
        self.here.write_blob(&found.digest(), size, content).await?;
        Ok(found)
    }

    /// Writes a manifest as one, and its tag, if all its blobs are here.
    async fn settle(&self, manifest: &RawManifest, tag: Option<&Tag>) -> Result<bool, RepositoryError> {
        let digest = manifest.digest();
        let Ok(document) = manifest.document() else {
            // It is passed on, and never becomes more than a blob here.
            return Ok(true);
        };
        let by_digest = Target::Digest(digest);
        if self.here.stat_manifest(&by_digest).await?.is_none() {
            for blob in document.blobs() {
                if self.here.stat_blob(&blob.digest).await?.is_none() {
                    return Ok(false);
                }
            }
            self.here
                .write_manifest(&by_digest, manifest, &Condition::Always)
                .await?;
        }
        if let Some(tag) = tag {
            let target = Target::Tag(tag.clone());
            let points_at = self.here.stat_manifest(&target).await?;
            if points_at.is_none_or(|found| found.digest != digest) {
                self.here
                    .write_manifest(&target, manifest, &Condition::Always)
                    .await?;
            }
        }
        Ok(true)
    }

    fn wait(&self, manifest: RawManifest, tag: Option<Tag>) {
        let mut pending = self.pending();
        let waiting = pending.entry(self.here.name().clone()).or_default();
        waiting.retain(|(other, _)| other.digest() != manifest.digest());
        if waiting.len() >= PENDING_LIMIT {
            waiting.remove(0);
        }
        waiting.push((manifest, tag));
    }

    /// A blob has come: manifests that waited for it may be whole.
    async fn settle_with(&self, blob: &Digest) -> Result<(), RepositoryError> {
        let waiting = self.pending().get(self.here.name()).cloned().unwrap_or_default();
        let names_it = |manifest: &RawManifest| {
            let document = manifest.document();
            document.is_ok_and(|document| document.blobs().iter().any(|one| one.digest == *blob))
        };
        for (manifest, tag) in waiting.iter().filter(|(manifest, _)| names_it(manifest)) {
            if self.settle(manifest, tag.as_ref()).await? {
                let mut pending = self.pending();
                if let Some(waiting) = pending.get_mut(self.here.name()) {
                    waiting.retain(|(other, _)| other.digest() != manifest.digest());
                }
            }
        }
        Ok(())
    }

    /// The same content, which is written here while it is read.
    fn passed_through(&self, digest: Digest, found: Blob) -> Blob {
        let (sender, receiver) = mpsc::channel::<Bytes>(WAITING);
        let (mirror, size) = (self.clone(), found.size);
        tokio::spawn(async move {
            let content = stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|piece| (Ok(piece), receiver))
            });
            // Whoever asked is served in any case; the next one asks the registry behind again.
            if mirror
                .here
                .write_blob(&digest, size, content.boxed())
                .await
                .is_ok()
            {
                drop(mirror.settle_with(&digest).await);
            }
        });
        let content = found.content.then(move |piece| {
            let sender = sender.clone();
            async move {
                if let Ok(piece) = &piece {
                    // Nobody listens any more if it is here already, or cannot be written.
                    drop(sender.send(piece.clone()).await);
                }
                piece
            }
        });
        Blob {
            size,
            content: content.boxed(),
        }
    }
}

/// A manifest that was kept as a blob. Its media type is the one that it states, or that its shape has.
fn manifest_of(bytes: Bytes) -> Option<RawManifest> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(&bytes).ok()?;
    let media_type = match (shape.media_type, shape.manifests) {
        (Some(stated), _) => stated,
        (None, Some(_)) => media_type::INDEX.to_owned(),
        (None, None) => media_type::MANIFEST.to_owned(),
    };
    let manifest = RawManifest::new(media_type.as_str(), bytes);
    manifest.document().is_ok().then_some(manifest)
}

#[async_trait]
impl Overlay for MirrorRepository {
    fn below(&self) -> &dyn Repository {
        &*self.here
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        match self.here.stat_blob(digest).await? {
            Some(size) => Ok(Some(size)),
            None => self.behind.stat_blob(digest).await,
        }
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        if self.here.stat_blob(digest).await?.is_some() {
            return self.here.read_blob(digest, range).await;
        }
        // A part cannot be checked, so it is not kept.
        let is_whole = range.is_none();
        let found = self.behind.read_blob(digest, range).await?;
        Ok(found.map(|found| match is_whole {
            true => self.passed_through(*digest, found),
            false => found,
        }))
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        match target {
            Target::Tag(tag) => self.current(tag).await,
            Target::Digest(digest) => match self.kept(digest).await? {
                Some(kept) => Ok(Some(kept.descriptor())),
                None => self.behind.stat_manifest(target).await,
            },
        }
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        match target {
            Target::Digest(digest) => self.manifest(digest, None).await,
            Target::Tag(tag) => match self.current(tag).await? {
                Some(current) => self.manifest(&current.digest, Some(tag)).await,
                None => Ok(None),
            },
        }
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        match self.behind.list_tags(page).await {
            Ok(tags) => Ok(tags),
            Err(_) => self.here.list_tags(page).await,
        }
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        match self.behind.list_referrers(subject, artifact_type, page).await {
            Ok(referrers) => Ok(referrers),
            Err(_) => self.here.list_referrers(subject, artifact_type, page).await,
        }
    }

    async fn write_blob(&self, _: &Digest, _: u64, _: ByteStream) -> Result<Written, RepositoryError> {
        Err(unsupported(Overlay::label(self)))
    }

    async fn write_spooled(&self, _: &Digest, _: TemporaryFile) -> Result<Written, RepositoryError> {
        Err(unsupported(Overlay::label(self)))
    }

    async fn mount_blob(&self, _: &Digest, _: &RepositoryName) -> Result<bool, RepositoryError> {
        Err(unsupported(Overlay::label(self)))
    }

    async fn write_manifest(
        &self,
        _: &Target,
        _: &RawManifest,
        _: &Condition,
    ) -> Result<(), RepositoryError> {
        Err(unsupported(Overlay::label(self)))
    }

    async fn delete_tag(&self, _: &Tag) -> Result<bool, RepositoryError> {
        Err(unsupported(Overlay::label(self)))
    }

    async fn delete_manifest(&self, _: &Digest) -> Result<bool, RepositoryError> {
        Err(unsupported(Overlay::label(self)))
    }

    async fn delete_blob(&self, _: &Digest) -> Result<bool, RepositoryError> {
        Err(unsupported(Overlay::label(self)))
    }
}
