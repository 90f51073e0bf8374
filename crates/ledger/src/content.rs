//! Small blobs of the ledger, read whole and verified.

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest};
use cairn_store::stream::{ReadBytes, collect_about, unwrap_verified};
use cairn_store::{Condition, RawManifest, Repository, RepositoryError, Target, from_bytes, verified};

/// How often a manifest is sent to a registry that does not see its blobs.
const SIGHT_LIMIT: usize = 5;

/// Why a blob could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The repository does not have it.
    #[error("the blob {digest} is missing")]
    Missing {
        /// Which blob.
        digest: Digest,
    },
    /// It is longer than such a blob may be.
    #[error("the blob {digest} has {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// Which blob.
        digest: Digest,
        /// Its stated length in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The repository failed, or gave other bytes than the digest names.
    #[error("the blob {digest} cannot be read")]
    Repository {
        /// Which blob.
        digest: Digest,
        /// Why not.
        source: RepositoryError,
    },
    /// It broke off.
    #[error("the blob {digest} broke off")]
    Broken {
        /// Which blob.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
}

impl ContentError {
    /// Whether the content is wrong, rather than the way to it.
    #[must_use]
    pub const fn is_integrity(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::TooLarge { .. } => true,
            Self::Repository { source, .. } => is_integrity(source),
            Self::Broken { .. } => false,
        }
    }
}

/// Whether a repository's error says that content is wrong, rather than that the repository cannot be used.
pub(crate) const fn is_integrity(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::Digest { .. }
            | RepositoryError::Size { .. }
            | RepositoryError::Manifest { .. }
            | RepositoryError::BlobUnknown { .. }
            | RepositoryError::TooLarge { .. }
            | RepositoryError::Damaged { .. }
    )
}

/// Reads the blob that `descriptor` names, at most `limit` bytes.
pub(crate) async fn read(
    repository: &dyn Repository,
    descriptor: &Descriptor,
    limit: u64,
) -> Result<Bytes, ContentError> {
    let (digest, size) = (descriptor.digest, descriptor.size);
    if size > limit {
        return Err(ContentError::TooLarge { digest, size, limit });
    }
    let failed = |source| ContentError::Repository { digest, source };
    let blob = repository.read_blob(&digest, None).await.map_err(failed)?;
    let blob = blob.ok_or(ContentError::Missing { digest })?;
    let content = verified(blob.content, digest, size);
    collect_about(content, limit, size)
        .await
        .map_err(|error| match error {
            ReadBytes::TooLarge { limit } => ContentError::TooLarge { digest, size, limit },
            ReadBytes::Broken(source) => broken(digest, source),
        })
}

fn broken(digest: Digest, error: std::io::Error) -> ContentError {
    if error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<RepositoryError>)
    {
        let other = |source| RepositoryError::Content { digest, source };
        return ContentError::Repository {
            digest,
            source: unwrap_verified(error, other),
        };
    }
    ContentError::Broken {
        digest,
        source: error,
    }
}

/// Writes a blob, if it is not there.
pub(crate) async fn write(repository: &dyn Repository, bytes: &Bytes) -> Result<(), RepositoryError> {
    if repository.stat_blob(&Digest::of(bytes)).await?.is_some() {
        return Ok(());
    }
    put(repository, bytes).await
}

/// Writes a manifest whose blobs were just written, or are known to be there.
///
/// Some registries lose sight of a blob for a moment while somebody else pushes it too (docker-registry empties the file that
/// says that a repository has it, and fills it again), and refuse the manifest. Then it is sent again; and if that does
/// not help, after `parts`, which are written without asking whether they are there.
pub(crate) async fn write_manifest(
    repository: &dyn Repository,
    target: &Target,
    manifest: &RawManifest,
    condition: &Condition,
    parts: &[Bytes],
) -> Result<(), RepositoryError> {
    for attempt in 1..SIGHT_LIMIT {
        match repository.write_manifest(target, manifest, condition).await {
            Err(RepositoryError::BlobUnknown { .. }) if attempt == 1 => {}
            Err(RepositoryError::BlobUnknown { .. }) => {
                for part in parts {
                    put(repository, part).await?;
                }
            }
            done => return done,
        }
    }
    repository.write_manifest(target, manifest, condition).await
}

async fn put(repository: &dyn Repository, bytes: &Bytes) -> Result<(), RepositoryError> {
    let digest = Digest::of(bytes);
    let size = bytes.len() as u64;
    let written = repository.write_blob(&digest, size, from_bytes(bytes.clone()));
    written.await.map(drop)
}
