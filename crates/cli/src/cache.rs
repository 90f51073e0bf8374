//! A registry whose blobs are kept once they were read: a base is downloaded once, for its listing and for the build.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::{Descriptor, Digest, RepositoryName, Tag};
use cairn_store::files::TemporaryFile;
use cairn_store::{
    Blob, ByteStream, Capabilities, Condition, Directory, Page, RawManifest, ReferrersPage, Repository,
    RepositoryError, TagPage, Target, Written,
};
use futures_util::TryStreamExt;

/// A repository, and the local store's cache in front of it.
///
/// Only whole blobs go through the cache; everything else is the repository's.
#[derive(Debug)]
pub struct Cached {
    repository: Arc<dyn Repository>,
    store: Directory,
}

impl Cached {
    /// Keeps what is read from `repository` in the cache of `store`.
    #[must_use]
    pub fn new(repository: Arc<dyn Repository>, store: Directory) -> Self {
        Self { repository, store }
    }

    async fn kept(&self, digest: &Digest) -> Result<Option<Blob>, RepositoryError> {
        kept(&self.store, digest).await
    }
}

/// What the cache of `store` has. It is read whole once before it is used: what is damaged is thrown away, and fetched
/// again.
///
/// # Errors
///
/// When the cache cannot be read.
pub async fn kept(store: &Directory, digest: &Digest) -> Result<Option<Blob>, RepositoryError> {
    let Some(mut kept) = store.cache_read(digest).await? else {
        return Ok(None);
    };
    loop {
        match kept.content.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => return store.cache_read(digest).await,
            Err(_) => {
                store.cache_remove(digest).await?;
                return Ok(None);
            }
        }
    }
}

#[async_trait]
impl Repository for Cached {
    fn name(&self) -> &RepositoryName {
        self.repository.name()
    }

    fn label(&self) -> String {
        self.repository.label()
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        self.repository.capabilities().await
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        self.repository.stat_blob(digest).await
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        if range.is_some() {
            return self.repository.read_blob(digest, range).await;
        }
        if let Some(kept) = self.kept(digest).await? {
            return Ok(Some(kept));
        }
        let Some(found) = self.repository.read_blob(digest, None).await? else {
            return Ok(None);
        };
        // Size and digest are verified on the way: what is wrong is not kept.
        self.store.cache_write(digest, found.size, found.content).await?;
        self.kept(digest).await
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        self.repository.write_blob(digest, size, content).await
    }

    async fn write_spooled(&self, digest: &Digest, file: TemporaryFile) -> Result<Written, RepositoryError> {
        self.repository.write_spooled(digest, file).await
    }

    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        self.repository.mount_blob(digest, from).await
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.repository.stat_manifest(target).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.repository.read_manifest(target).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        self.repository.write_manifest(target, manifest, condition).await
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        self.repository.list_tags(page).await
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        self.repository.list_referrers(subject, artifact_type, page).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        self.repository.delete_tag(tag).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.repository.delete_manifest(digest).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.repository.delete_blob(digest).await
    }
}

#[cfg(test)]
mod tests {
    use cairn_store::{Memory, collect, from_bytes};

    use super::*;

    async fn read(repository: &Cached, digest: &Digest) -> Option<bytes::Bytes> {
        let blob = repository.read_blob(digest, None).await.unwrap()?;
        Some(collect(blob.content, 100).await.unwrap())
    }

    #[tokio::test]
    async fn a_blob_is_fetched_once_and_a_damaged_copy_is_fetched_again() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new().open(&"base".parse().unwrap());
        let digest = Digest::of(b"layer");
        memory
            .write_blob(&digest, 5, from_bytes(&b"layer"[..]))
            .await
            .unwrap();
        let store = Directory::open(directory.path().join("store")).unwrap();
        let cached = Cached::new(Arc::new(memory.clone()), store.clone());
        assert_eq!(read(&cached, &digest).await.unwrap(), &b"layer"[..]);

        memory.delete_blob(&digest).await.unwrap();
        assert_eq!(read(&cached, &digest).await.unwrap(), &b"layer"[..]);

        let path = store.path().join("cache/sha256").join(digest.hex());
        cairn_store::files::write(&path, b"layEr", cairn_store::files::PUBLIC).unwrap();
        assert!(read(&cached, &digest).await.is_none(), "a damaged copy was used");
        memory
            .write_blob(&digest, 5, from_bytes(&b"layer"[..]))
            .await
            .unwrap();
        assert_eq!(read(&cached, &digest).await.unwrap(), &b"layer"[..]);
    }
}
