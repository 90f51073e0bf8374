//! What an examination writes, and removes again.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Manifest, Tag, json, manifest, media_type};

use crate::error::RepositoryError;
use crate::repository::{RawManifest, Repository, Target};
use crate::stream::from_bytes;

/// What the tags of every examination begin with.
pub const PREFIX: &str = "cairn-doctor-";
/// An artifact type that no registry can know.
pub const ARTIFACT_TYPE: &str = "application/vnd.cairn.doctor.v1+json";
const CONFIG_TYPE: &str = "application/vnd.cairn.doctor.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.cairn.doctor.layer.v1";

/// Names for what is written: they have random digits, so that nothing of anybody else's is ever touched. Each is noted
/// before it is given out, and so before it can be written.
#[derive(Debug)]
pub struct Scratch {
    name: String,
    made: Mutex<Made>,
}

#[derive(Debug, Clone, Default)]
struct Made {
    tags: BTreeSet<Tag>,
    manifests: BTreeSet<Digest>,
    blobs: BTreeSet<Digest>,
}

/// What could not be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Tags that are still there.
    pub tags: Vec<Tag>,
    /// Manifests that are still there. Without a tag, most registries collect them in time.
    pub manifests: Vec<Digest>,
    /// Blobs that may still be there: registries collect what no manifest names.
    pub blobs: usize,
}

impl Left {
    /// Whether everything is gone.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.tags.is_empty() && self.manifests.is_empty() && self.blobs == 0
    }
}

impl Scratch {
    /// Names with these digits in them, which must be random.
    #[must_use]
    pub fn new(random: [u8; 8]) -> Self {
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            name: format!("{PREFIX}{digits}"),
            made: Mutex::default(),
        }
    }

    /// What all its names begin with: `cairn-doctor-` and 16 digits.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tag.
    #[must_use]
    pub fn tag(&self, suffix: char) -> Tag {
        let text = format!("{}-{suffix}", self.name);
        #[expect(clippy::expect_used, reason = "letters, digits and `-`, 31 bytes")]
        let tag: Tag = text.parse().expect("a valid tag");
        self.made().tags.insert(tag.clone());
        tag
    }

    /// A blob of `length` bytes or a little more, which nobody else has.
    #[must_use]
    pub fn blob(&self, label: &str, length: usize) -> Bytes {
        let mut bytes = format!("{} {label}\n", self.name).into_bytes();
        bytes.resize(bytes.len().max(length), b'.');
        let bytes = Bytes::from(bytes);
        self.made().blobs.insert(Digest::of(&bytes));
        bytes
    }

    /// The configuration of all images: that of a container image.
    fn config(&self) -> Bytes {
        let config = serde_json::json!({
            "architecture": "amd64",
            "author": self.name,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        let bytes = Bytes::from(json::canonical(&config));
        self.made().blobs.insert(Digest::of(&bytes));
        bytes
    }

    /// The blobs that [`Self::image`] and [`Self::artifact`] need.
    #[must_use]
    pub fn blobs(&self) -> Vec<Bytes> {
        vec![self.config(), self.blob("layer", 0)]
    }

    /// An image, another one for each label, of at least `length` bytes.
    #[must_use]
    pub fn image(&self, label: &str, length: usize) -> RawManifest {
        let config = Descriptor::of(media_type::CONFIG, &self.config());
        self.note(&Manifest::image(config, Vec::new()), label, length)
    }

    /// A manifest whose types nobody knows, and whose subject is `subject`.
    #[must_use]
    pub fn artifact(&self, label: &str, subject: Option<Descriptor>) -> RawManifest {
        let config = Descriptor::of(CONFIG_TYPE, &self.config());
        let layer = Descriptor::of(LAYER_TYPE, &self.blob("layer", 0));
        let manifest = Manifest {
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            subject,
            ..Manifest::image(config, vec![layer])
        };
        self.note(&manifest, label, 0)
    }

    fn note(&self, manifest: &Manifest, label: &str, length: usize) -> RawManifest {
        let mut manifest = manifest.clone();
        let annotations = &mut manifest.annotations;
        annotations.insert("cairn.doctor".to_owned(), format!("{} {label}", self.name));
        let bare = json::canonical(&manifest).len();
        if bare < length {
            const KEY: &str = "cairn.doctor.filling";
            // A comma, two quoted texts and a colon.
            let filling = length.saturating_sub(bare + KEY.len() + 6);
            manifest.annotations.insert(KEY.to_owned(), ".".repeat(filling));
        }
        let raw = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
        self.made().manifests.insert(raw.digest());
        raw
    }

    /// Writes what [`Self::blobs`] gives.
    ///
    /// # Errors
    ///
    /// As [`Repository::write_blob`].
    pub async fn write_blobs(&self, repository: &dyn Repository) -> Result<(), RepositoryError> {
        for bytes in self.blobs() {
            let digest = Digest::of(&bytes);
            repository
                .write_blob(&digest, bytes.len() as u64, from_bytes(bytes))
                .await?;
        }
        Ok(())
    }

    /// Removes everything that was noted, as far as it is there and the repository lets it. What fails is left, and said.
    pub async fn remove(&self, repository: &dyn Repository) -> Left {
        let made = self.made().clone();
        let mut left = Left::default();
        for tag in &made.tags {
            // Where tags cannot be deleted, they go with what they point at.
            drop(repository.delete_tag(tag).await);
        }
        for digest in &made.manifests {
            let gone = repository.delete_manifest(digest).await;
            if gone.is_err() && is_there(repository, &Target::Digest(*digest)).await {
                left.manifests.push(*digest);
            }
        }
        for digest in &made.blobs {
            let gone = repository.delete_blob(digest).await;
            if gone.is_err() && !matches!(repository.stat_blob(digest).await, Ok(None)) {
                left.blobs += 1;
            }
        }
        for tag in made.tags {
            if is_there(repository, &Target::Tag(tag.clone())).await {
                left.tags.push(tag);
            }
        }
        left
    }
}

/// What cannot be asked counts as there.
async fn is_there(repository: &dyn Repository, target: &Target) -> bool {
    !matches!(repository.stat_manifest(target).await, Ok(None))
}

/// The lengths of manifests that are tried, in bytes, the largest first.
pub const MANIFEST_SIZES: [usize; 3] = [manifest::LIMIT, 1 << 20, 256 << 10];
