//! Images: whether everything that a digest needs is there.

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::{Descriptor, Digest, Document};
use cairn_store::{RawManifest, Repository, RepositoryError, Target, verified};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::class::Class;

/// How deep an index may list other indexes.
pub const DEPTH_LIMIT: usize = 4;
/// Most manifests of one image.
pub const MANIFEST_LIMIT: usize = 10_000;
/// How many blobs are looked for at a time.
const AT_ONCE: usize = 16;

/// What an image consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Indexes.
    pub indexes: u64,
    /// Manifests.
    pub manifests: u64,
    /// Blobs, each once.
    pub blobs: u64,
}

/// Why an image is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A manifest or index is missing.
    #[error("{repository} lacks the manifest {digest}")]
    Manifest {
        /// Which repository.
        repository: String,
        /// Which manifest.
        digest: Digest,
    },
    /// A blob is missing.
    #[error("{repository} lacks the blob {digest}, which the manifest {manifest} needs")]
    Blob {
        /// Which repository.
        repository: String,
        /// Which blob.
        digest: Digest,
        /// Which manifest names it.
        manifest: Digest,
    },
    /// A blob has another size than its descriptor says.
    #[error("the blob {digest} in {repository} has {found} bytes; the manifest {manifest} says {expected}")]
    Size {
        /// Which repository.
        repository: String,
        /// Which blob.
        digest: Digest,
        /// Which manifest names it.
        manifest: Digest,
        /// The bytes it must have.
        expected: u64,
        /// The bytes it has.
        found: u64,
    },
    /// A blob's bytes are not those that its digest names.
    #[error("the blob {digest} in {repository} is damaged")]
    Damaged {
        /// Which repository.
        repository: String,
        /// Which blob.
        digest: Digest,
        /// How.
        source: std::io::Error,
    },
    /// The manifest's bytes are none.
    #[error("the manifest {digest} in {repository} cannot be read")]
    Document {
        /// Which repository.
        repository: String,
        /// Which manifest.
        digest: Digest,
        /// Why not.
        source: cairn_oci::manifest::DocumentError,
    },
    /// Indexes within indexes, too deep or too many.
    #[error("the image {digest} has more than {DEPTH_LIMIT} levels or {MANIFEST_LIMIT} manifests")]
    TooLarge {
        /// Which image.
        digest: Digest,
    },
    /// The repository cannot be asked.
    #[error("cannot look for {digest} in {repository}")]
    Repository {
        /// Which repository.
        repository: String,
        /// What was looked for.
        digest: Digest,
        /// Why not.
        source: RepositoryError,
    },
}

impl ImageError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Repository { source, .. } => Class::of(source),
            _ => Class::Integrity,
        }
    }

    /// What is missing or damaged.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        match self {
            Self::Manifest { digest, .. }
            | Self::Blob { digest, .. }
            | Self::Size { digest, .. }
            | Self::Damaged { digest, .. }
            | Self::Document { digest, .. }
            | Self::TooLarge { digest }
            | Self::Repository { digest, .. } => *digest,
        }
    }
}

/// How closely blobs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Each is there, with the stated size.
    Presence,
    /// Every byte is hashed.
    Bytes,
}

/// A manifest or index and the blobs that all of its manifests name.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) parts: Parts,
    pub(crate) blobs: BTreeMap<Digest, (Digest, Descriptor)>,
}

/// Reads a manifest by digest.
pub(crate) async fn read_manifest(
    images: &dyn Repository,
    digest: Digest,
) -> Result<RawManifest, ImageError> {
    let found = images.read_manifest(&Target::Digest(digest)).await;
    let repository = || images.label();
    let found = found.map_err(|source| ImageError::Repository {
        repository: repository(),
        digest,
        source,
    })?;
    found.ok_or_else(|| ImageError::Manifest {
        repository: repository(),
        digest,
    })
}

/// Reads the manifest or index `digest` and all manifests below it.
pub(crate) async fn contents(images: &dyn Repository, digest: Digest) -> Result<Contents, ImageError> {
    let mut found = Contents {
        parts: Parts::default(),
        blobs: BTreeMap::new(),
    };
    let mut level = BTreeSet::from([digest]);
    let mut seen = BTreeSet::new();
    for _ in 0..DEPTH_LIMIT {
        let mut below = BTreeSet::new();
        for one in level {
            let manifest = read_manifest(images, one).await?;
            let document = manifest.document().map_err(|source| ImageError::Document {
                repository: images.label(),
                digest: one,
                source,
            })?;
            found.take(one, &document);
            below.extend(
                document
                    .manifests()
                    .iter()
                    .map(|child| child.digest)
                    .filter(|child| seen.insert(*child)),
            );
            if seen.len() > MANIFEST_LIMIT {
                return Err(ImageError::TooLarge { digest });
            }
        }
        level = below;
        if level.is_empty() {
            found.parts.blobs = found.blobs.len() as u64;
            return Ok(found);
        }
    }
    Err(ImageError::TooLarge { digest })
}

/// The manifest or index `digest` and all manifests below it.
pub(crate) async fn manifests(
    images: &dyn Repository,
    digest: Digest,
) -> Result<BTreeSet<Digest>, ImageError> {
    let mut seen = BTreeSet::from([digest]);
    let mut level = vec![digest];
    for _ in 0..DEPTH_LIMIT {
        let mut below = Vec::new();
        for one in level {
            let manifest = read_manifest(images, one).await?;
            let Ok(document) = manifest.document() else {
                continue;
            };
            let children = document.manifests().iter().map(|child| child.digest);
            below.extend(children.filter(|child| seen.insert(*child)));
        }
        if below.is_empty() || seen.len() > MANIFEST_LIMIT {
            break;
        }
        level = below;
    }
    Ok(seen)
}

impl Contents {
    fn take(&mut self, digest: Digest, document: &Document) {
        match document {
            Document::Manifest(_) => self.parts.manifests += 1,
            Document::Index(_) => self.parts.indexes += 1,
        }
        for blob in document.blobs() {
            self.blobs.insert(blob.digest, (digest, blob.clone()));
        }
    }
}

/// Checks that everything that `digest` needs is in `images`.
///
/// # Errors
///
/// [`ImageError`] names the first thing that is missing or wrong.
pub async fn check(images: &dyn Repository, digest: Digest, depth: Depth) -> Result<Parts, ImageError> {
    let contents = contents(images, digest).await?;
    // Everything the tasks need is moved into them, so that they borrow nothing but the repository.
    let tasks: Vec<_> = contents
        .blobs
        .into_values()
        .map(|(manifest, blob)| check_blob(images, manifest, blob, depth))
        .collect();
    stream::iter(tasks)
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(contents.parts)
}

async fn check_blob(
    images: &dyn Repository,
    manifest: Digest,
    blob: Descriptor,
    depth: Depth,
) -> Result<(), ImageError> {
    let (digest, expected) = (blob.digest, blob.size);
    let repository = images.label();
    let failed = |source| ImageError::Repository {
        repository: images.label(),
        digest,
        source,
    };
    let found = images.stat_blob(&digest).await.map_err(failed)?;
    match found {
        None => {
            return Err(ImageError::Blob {
                repository,
                digest,
                manifest,
            });
        }
        Some(found) if found != expected => {
            return Err(ImageError::Size {
                repository,
                digest,
                manifest,
                expected,
                found,
            });
        }
        Some(_) => {}
    }
    if depth == Depth::Presence {
        return Ok(());
    }
    let content = images.read_blob(&digest, None).await.map_err(failed)?;
    let content = content.ok_or(ImageError::Blob {
        repository: images.label(),
        digest,
        manifest,
    })?;
    let mut content = verified(content.content, digest, expected);
    while let Some(piece) = content.next().await {
        piece.map_err(|source| ImageError::Damaged {
            repository: images.label(),
            digest,
            source,
        })?;
    }
    Ok(())
}
