//! A registry whose blobs are kept once they were read: a base is downloaded once, for its listing and for the build.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::Digest;
use cairn_store::{Blob, Directory, Overlay, Repository, RepositoryError};
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
impl Overlay for Cached {
    fn below(&self) -> &dyn Repository {
        &*self.repository
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
        // Size and digest are verified on the way: what is wrong is not kept, and what is kept need not be read for that.
        self.store.cache_write(digest, found.size, found.content).await?;
        self.store.cache_read(digest).await
    }
}

#[cfg(test)]
mod tests {
    use cairn_store::{Memory, collect, from_bytes};

    use super::*;

    async fn read(repository: &dyn Repository, digest: &Digest) -> Option<bytes::Bytes> {
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
