//! What tells two images apart: files, configuration, layers.
//!
//! The files are those of the merged file systems, as a container sees them: layers put on top of each other, with what
//! they remove. Layers that both images begin with are read only if something else refers to what is in them.

mod document;
mod files;
mod first;
mod stack;

use std::collections::{BTreeMap, BTreeSet};

use cairn_layer::{Limits, ReadError};
use cairn_oci::{
    Descriptor, Digest, Document, ImageConfig, Manifest, MediaType, Platform, config, media_type,
};
use cairn_store::{RawManifest, ReadBytes, Repository, RepositoryError, Target, collect, verified};

pub use self::document::{FieldChange, fields};
pub use self::files::{AttributeChange, FileChange, FileChanges};
pub use self::first::{Difference, first_differences};
use self::stack::{Layer, Stack};

/// An image, and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The repository that has it.
    pub repository: &'a dyn Repository,
    /// Its manifest or index.
    pub manifest: &'a RawManifest,
}

/// What tells two images apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDiff {
    /// Both are the same, byte for byte.
    pub same: bool,
    /// The images that both have, by platform.
    pub platforms: Vec<PlatformDiff>,
    /// Platforms that only the first one has.
    pub gone: Vec<Platform>,
    /// Platforms that only the second one has.
    pub new: Vec<Platform>,
}

/// What tells the images for one platform apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformDiff {
    /// For which machine.
    pub platform: Platform,
    /// The manifests, before and after.
    pub digests: (Digest, Digest),
    /// Compressed bytes of all layers, before and after.
    pub sizes: (u64, u64),
    /// Files.
    pub files: FileChanges,
    /// Fields of the configuration, and annotations of the manifest.
    pub config: Vec<FieldChange>,
    /// Layers that both have, in the order of the second image.
    pub shared: Vec<Descriptor>,
    /// Layers that only the first one has: nobody needs them for the second.
    pub gone: Vec<Descriptor>,
    /// Layers that only the second one has: they must be moved.
    pub new: Vec<Descriptor>,
}

/// Why two images cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A manifest is none.
    #[error("the manifest {digest} cannot be read")]
    Manifest {
        /// Which.
        digest: Digest,
        /// What is wrong with it.
        source: cairn_oci::manifest::DocumentError,
    },
    /// It is not an image.
    #[error("{digest} is not an image but {kind}")]
    NotAnImage {
        /// Which manifest.
        digest: Digest,
        /// What it is.
        kind: MediaType,
    },
    /// Something that an image needs is not in its repository.
    #[error("{repository} lacks {digest}")]
    Missing {
        /// Where it should be.
        repository: String,
        /// What is missing.
        digest: Digest,
    },
    /// The repository failed.
    #[error("cannot read {digest}")]
    Repository {
        /// What was read.
        digest: Digest,
        /// Why not.
        source: RepositoryError,
    },
    /// A configuration cannot be had whole.
    #[error("cannot read the configuration {digest}")]
    ConfigContent {
        /// Which.
        digest: Digest,
        /// Why not.
        source: ReadBytes,
    },
    /// A configuration is none.
    #[error("the configuration {digest} is not one")]
    Config {
        /// Which.
        digest: Digest,
        /// What is wrong with it.
        source: cairn_oci::json::JsonError,
    },
    /// A layer breaks off, or does not have its digest.
    #[error("the layer {digest} breaks off")]
    LayerContent {
        /// Which.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// A layer is none.
    #[error("cannot read the layer {digest}")]
    Layer {
        /// Which.
        digest: Digest,
        /// What is wrong with it.
        source: ReadError,
    },
}

/// One platform's image.
pub(crate) struct Image {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
}

impl Image {
    fn size(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).sum()
    }
}

/// Compares two images, or two indexes platform by platform.
///
/// Layers are read within `limits`. Memory grows with the number of paths, by about 300 bytes each.
///
/// # Errors
///
/// [`DiffError`].
pub async fn diff_images(before: Side<'_>, after: Side<'_>, limits: &Limits) -> Result<ImageDiff, DiffError> {
    let (mut left, mut right) = (images(before).await?, images(after).await?);
    let both: BTreeSet<_> = left
        .keys()
        .filter(|platform| right.contains_key(platform))
        .cloned()
        .collect();
    let mut platforms = Vec::new();
    for platform in both {
        if let (Some(old), Some(new)) = (left.remove(&platform), right.remove(&platform)) {
            let comparison = Comparison {
                before,
                after,
                limits,
            };
            platforms.push(comparison.platform(platform, &old, &new).await?);
        }
    }
    Ok(ImageDiff {
        same: before.manifest.digest() == after.manifest.digest(),
        platforms,
        gone: left.into_keys().collect(),
        new: right.into_keys().collect(),
    })
}

struct Comparison<'a> {
    before: Side<'a>,
    after: Side<'a>,
    limits: &'a Limits,
}

impl Comparison<'_> {
    async fn platform(
        &self,
        platform: Platform,
        old: &Image,
        new: &Image,
    ) -> Result<PlatformDiff, DiffError> {
        let digests = |image: &Image| {
            let layers = image.manifest.layers.iter();
            layers.map(|layer| layer.digest).collect::<BTreeSet<_>>()
        };
        let (in_old, in_new) = (digests(old), digests(new));
        let only = |image: &Image, others: &BTreeSet<Digest>| {
            let layers = image.manifest.layers.iter();
            layers
                .filter(|layer| !others.contains(&layer.digest))
                .cloned()
                .collect::<Vec<_>>()
        };
        let shared = new.manifest.layers.iter();
        Ok(PlatformDiff {
            platform,
            digests: (old.digest, new.digest),
            sizes: (old.size(), new.size()),
            files: self.files(old, new).await?,
            config: document::image_fields(old, new),
            shared: shared
                .filter(|layer| in_old.contains(&layer.digest))
                .cloned()
                .collect(),
            gone: only(old, &in_new),
            new: only(new, &in_old),
        })
    }

    async fn files(&self, old: &Image, new: &Image) -> Result<FileChanges, DiffError> {
        let (left, right) = (&old.manifest.layers, &new.manifest.layers);
        let common = left
            .iter()
            .zip(right)
            .take_while(|(a, b)| a.digest == b.digest)
            .count();
        let mut uppers = (Vec::new(), Vec::new());
        for layer in &left[common..] {
            uppers.0.push(self.read(self.before, layer).await?);
        }
        for layer in &right[common..] {
            uppers.1.push(self.read(self.after, layer).await?);
        }
        let mut below = Stack::default();
        if stack::refers_below(&uppers.0, &uppers.1) {
            for layer in &left[..common] {
                below.put(self.read(self.before, layer).await?);
            }
        }
        let on_top = |layers: Vec<Layer>| {
            let mut stack = below.clone();
            layers.into_iter().for_each(|layer| stack.put(layer));
            stack
        };
        Ok(files::compare(&on_top(uppers.0), &on_top(uppers.1)))
    }

    async fn read(&self, side: Side<'_>, layer: &Descriptor) -> Result<Layer, DiffError> {
        stack::read(side.repository, layer, self.limits).await
    }
}

/// The images by platform. What is in an index and is no image (attestations) is passed over.
pub(crate) async fn images(side: Side<'_>) -> Result<BTreeMap<Platform, Image>, DiffError> {
    let mut images = BTreeMap::new();
    match document(side.manifest)? {
        Document::Manifest(manifest) => {
            let image = image(side.repository, side.manifest.digest(), manifest).await?;
            images.insert(plain(&image.config.platform), image);
        }
        Document::Index(index) => {
            for entry in index.manifests {
                let unknown = entry
                    .platform
                    .as_ref()
                    .is_some_and(|platform| platform.os == "unknown");
                if unknown || !entry.media_type.is_manifest() {
                    continue;
                }
                let raw = read_manifest(side.repository, entry.digest).await?;
                if let Document::Manifest(manifest) = document(&raw)? {
                    let image = image(side.repository, entry.digest, manifest).await?;
                    let platform = entry.platform.unwrap_or_else(|| image.config.platform.clone());
                    images.insert(plain(&platform), image);
                }
            }
        }
    }
    Ok(images)
}

/// Without what a base says of the system that it needs, so that images for one machine meet.
fn plain(platform: &Platform) -> Platform {
    Platform {
        os_version: None,
        os_features: Vec::new(),
        ..platform.clone()
    }
}

fn document(raw: &RawManifest) -> Result<Document, DiffError> {
    raw.document().map_err(|source| DiffError::Manifest {
        digest: raw.digest(),
        source,
    })
}

async fn read_manifest(repository: &dyn Repository, digest: Digest) -> Result<RawManifest, DiffError> {
    let found = repository.read_manifest(&Target::Digest(digest)).await;
    let found = found.map_err(|source| DiffError::Repository { digest, source })?;
    found.ok_or_else(|| DiffError::Missing {
        repository: repository.label(),
        digest,
    })
}

async fn image(repository: &dyn Repository, digest: Digest, manifest: Manifest) -> Result<Image, DiffError> {
    let descriptor = &manifest.config;
    if descriptor.media_type.to_oci() != media_type::CONFIG {
        return Err(DiffError::NotAnImage {
            digest,
            kind: descriptor.media_type.clone(),
        });
    }
    let digest_of_config = descriptor.digest;
    let content = open(repository, descriptor).await?;
    let bytes = collect(content, config::LIMIT as u64).await;
    let bytes = bytes.map_err(|source| DiffError::ConfigContent {
        digest: digest_of_config,
        source,
    })?;
    let config = ImageConfig::parse(&bytes).map_err(|source| DiffError::Config {
        digest: digest_of_config,
        source,
    })?;
    Ok(Image {
        digest,
        manifest,
        config,
    })
}

/// A blob's content, verified as it comes.
pub(crate) async fn open(
    repository: &dyn Repository,
    blob: &Descriptor,
) -> Result<cairn_store::ByteStream, DiffError> {
    let digest = blob.digest;
    let found = repository.read_blob(&digest, None).await;
    let found = found.map_err(|source| DiffError::Repository { digest, source })?;
    let found = found.ok_or_else(|| DiffError::Missing {
        repository: repository.label(),
        digest,
    })?;
    Ok(verified(found.content, digest, blob.size))
}
