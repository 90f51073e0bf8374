//! Fetched inputs and foreign base blobs, by digest. Everything here may be deleted at any time.

use cairn_oci::Digest;

use super::Directory;
use crate::blobs::Blobs;
use crate::blocking::blocking;
use crate::error::RepositoryError;
use crate::repository::{Blob, Written};
use crate::stream::{ByteStream, verified};

impl Directory {
    /// The cached content of `digest`, if it is there. The stream ends in an error unless its bytes have that
    /// digest; such an entry is worth a [`Self::cache_remove`].
    ///
    /// # Errors
    ///
    /// The file that could not be read.
    pub async fn cache_read(&self, digest: &Digest) -> Result<Option<Blob>, RepositoryError> {
        let blob = self.cached().read(digest, None).await?;
        Ok(blob.map(|blob| Blob {
            content: verified(blob.content, *digest, blob.size),
            ..blob
        }))
    }

    /// Keeps content in the cache, verified against digest and size (in bytes).
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Digest`], [`RepositoryError::Size`], [`RepositoryError::Content`], or the file that could
    /// not be written. Nothing is kept then.
    pub async fn cache_write(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        let store = self.clone();
        self.cached()
            .write(*digest, size, content, move || store.prepare())
            .await
    }

    /// Drops content from the cache; `false` if it was not there.
    ///
    /// # Errors
    ///
    /// The file that could not be removed.
    pub async fn cache_remove(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let (cached, digest) = (self.cached(), *digest);
        Ok(blocking(move || cached.remove(&digest)).await?)
    }

    pub(super) fn cached(&self) -> Blobs {
        let cache = self.path().join("cache");
        Blobs::new(self.writer().clone(), cache.join("sha256"), cache)
    }
}
