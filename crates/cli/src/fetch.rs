//! What the spec fetches from URLs: downloaded once, and kept by digest in the local store's cache.

use std::io;

use async_trait::async_trait;
use cairn_build::{FetchError, Fetcher, Inputs, RepositoryInputs};
use cairn_oci::{Descriptor, Digest, Hasher, RepositoryName};
use cairn_registry::client::DownloadError;
use cairn_store::files::{self, TemporaryFile};
use cairn_store::{Blob, ByteStream, Directory, RepositoryError};
use futures_util::stream;
use tokio::io::AsyncReadExt as _;

use crate::cache;
use crate::debian;
use crate::failure::Failure;
use crate::program::Cairn;
use crate::terminal::bytes;

/// The most that is downloaded from a URL whose size no lock says, in bytes (4 GiB).
const LIMIT: u64 = 4 << 30;
/// Length of the pieces in which files are read back, in bytes.
const PIECE: usize = 256 << 10;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The cache, and behind it the URLs themselves.
#[derive(Debug)]
pub struct Downloads<'a> {
    cairn: &'a Cairn,
    offline: bool,
}

impl<'a> Downloads<'a> {
    /// With `offline`, the cache alone.
    #[must_use]
    pub const fn new(cairn: &'a Cairn, offline: bool) -> Self {
        Self { cairn, offline }
    }

    async fn store(&self, url: &str) -> Result<&Directory, FetchError> {
        let store = self.cairn.store().await;
        store.map_err(|failure| keep_error(url, said(&failure)))
    }

    /// Downloads into a temporary file, and from there, if it is what it should be, into the cache.
    async fn download(
        &self,
        (url, way): (&str, Way),
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<(), FetchError> {
        let store = self.store(url).await?;
        let scratch = store.path().join("cache/scratch");
        let mut file = files::temporary(&scratch).map_err(|error| keep_error(url, error.into()))?;
        let mut hasher = Hasher::new();
        let found = self
            .receive((url, way), size.unwrap_or(LIMIT), &mut |piece| {
                hasher.update(piece);
                file.append(piece).map_err(io::Error::other)
            })
            .await;
        let found = match found {
            // The URL gives more than the lock says: to read on would show nothing else.
            Err(DownloadError::TooLarge { limit }) if size == Some(limit) => {
                return Err(size_error(url, limit, limit + 1));
            }
            Err(error) => return Err(failed(url, error.into())),
            Ok(found) => found,
        };
        if let Some(expected) = size.filter(|expected| *expected != found) {
            return Err(size_error(url, expected, found));
        }
        let is = hasher.finish();
        if is != *digest {
            return Err(FetchError::Digest {
                url: url.to_owned(),
                expected: *digest,
                found: is,
            });
        }
        let content = file_stream(file)
            .await
            .map_err(|error| keep_error(url, error.into()))?;
        let written = store.cache_write(digest, found, content).await;
        written.map_err(|error| keep_error(url, error.into()))?;
        self.cairn
            .terminal
            .step("fetch", format!("{}, {}", without_query(url), bytes(found)));
        Ok(())
    }

    async fn receive(
        &self,
        (url, way): (&str, Way),
        limit: u64,
        output: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<u64, DownloadError> {
        let client = self.cairn.client().await;
        let client = client.map_err(|failure| DownloadError::Output(io::Error::other(said(&failure))))?;
        match way {
            Way::Safe => client.download(url, limit, output).await,
            Way::Any => client.download_verified(url, limit, output).await,
        }
    }
}

/// How a file may come.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Over TLS, or from this machine.
    Safe,
    /// Over plain HTTP too, or from a directory.
    Any,
}

#[async_trait]
impl Fetcher for Downloads<'_> {
    async fn fetch(&self, url: &str, digest: &Digest, size: Option<u64>) -> Result<Blob, FetchError> {
        self.get((url, Way::Safe), digest, size).await
    }

    async fn fetch_package(&self, url: &str, digest: &Digest, size: u64) -> Result<Blob, FetchError> {
        self.get((url, Way::Any), digest, Some(size)).await
    }
}

impl Downloads<'_> {
    async fn get(
        &self,
        (url, way): (&str, Way),
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Blob, FetchError> {
        let store = self.store(url).await?;
        let kept = || async {
            let kept = cache::kept(store, digest).await;
            kept.map_err(|error| keep_error(url, error.into()))
        };
        if let Some(kept) = kept().await? {
            return Ok(kept);
        }
        let missing = || FetchError::missing(without_query(url), *digest);
        if let (Way::Any, Some(path)) = (way, debian::local_path(url)) {
            return debian::package(url, path, size).await;
        }
        if self.offline {
            return Err(missing());
        }
        self.download((url, way), digest, size).await?;
        kept().await?.ok_or_else(missing)
    }
}

/// Everything that a build may take from elsewhere.
#[derive(Debug)]
pub struct BuildInputs<'a> {
    /// Where the base is.
    pub base: RepositoryInputs,
    /// Where the content of URLs is.
    pub downloads: Downloads<'a>,
}

#[async_trait]
impl Fetcher for BuildInputs<'_> {
    async fn fetch(&self, url: &str, digest: &Digest, size: Option<u64>) -> Result<Blob, FetchError> {
        self.downloads.fetch(url, digest, size).await
    }

    async fn fetch_package(&self, url: &str, digest: &Digest, size: u64) -> Result<Blob, FetchError> {
        self.downloads.fetch_package(url, digest, size).await
    }
}

#[async_trait]
impl Inputs for BuildInputs<'_> {
    async fn open(&self, blob: &Descriptor) -> Result<Option<ByteStream>, RepositoryError> {
        self.base.open(blob).await
    }

    fn siblings(&self) -> &[RepositoryName] {
        self.base.siblings()
    }
}

/// The content of a temporary file, which is gone when the stream is.
async fn file_stream(file: TemporaryFile) -> io::Result<ByteStream> {
    let open = tokio::fs::File::open(file.path()).await?;
    Ok(Box::pin(stream::try_unfold(
        (open, file),
        |(mut open, file)| async move {
            let mut piece = bytes::BytesMut::with_capacity(PIECE);
            let length = open.read_buf(&mut piece).await?;
            Ok((length > 0).then(|| (piece.freeze(), (open, file))))
        },
    )))
}

/// What a failure says, as the cause of another error.
fn said(failure: &Failure) -> AnyError {
    failure.to_string().trim_end().to_owned().into()
}

fn failed(url: &str, source: AnyError) -> FetchError {
    FetchError::Failed {
        url: without_query(url).to_owned(),
        source,
    }
}

fn keep_error(url: &str, source: AnyError) -> FetchError {
    FetchError::Keep {
        url: without_query(url).to_owned(),
        source,
    }
}

fn size_error(url: &str, expected: u64, found: u64) -> FetchError {
    FetchError::Size {
        url: without_query(url).to_owned(),
        expected,
        found,
    }
}

/// A query can hold a signature.
pub fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}
