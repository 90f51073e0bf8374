//! The contract as a function: what every implementation of [`Repository`] must do.
//!
//! Panics, naming what does not hold. Only for tests: behind the feature `conformance`.
//!
//! What [`crate::Capabilities`] deny is checked to be refused, or to fail cleanly, and nothing more. What else differs
//! between registries without being part of the contract stands in [`Expectations`].

#![expect(clippy::unwrap_used, reason = "this module is a test; a failure is a panic")]

mod blobs;
mod conditions;
mod deletes;
mod manifests;
mod referrers;
mod tags;

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Document, Manifest, Tag, json, media_type};

use crate::repository::{Condition, RawManifest, Repository, Target};
use crate::stream::{collect, from_bytes};

/// Where registries differ although all of them follow the specification. The default is what local repositories and
/// Cairn's own server do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectations {
    /// Tags are listed in the order of their bytes.
    pub sorted_tags: bool,
    /// A page has exactly as many entries as asked for, as long as there are more; `after` takes any text.
    pub strict_pages: bool,
    /// A blob of the sibling can be mounted. Otherwise `false` is the right answer too.
    pub mounts: bool,
    /// An index may be written before the manifests that it lists.
    pub index_before_children: bool,
    /// A document that is no manifest is refused, and so is one above 4 MiB.
    pub strict_documents: bool,
    /// Manifests can be deleted.
    pub deletes_manifests: bool,
    /// Blobs can be deleted.
    pub deletes_blobs: bool,
    /// A manifest whose last tag moved or was deleted is still there by its digest.
    pub keeps_untagged: bool,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            sorted_tags: true,
            strict_pages: true,
            mounts: true,
            index_before_children: true,
            strict_documents: true,
            deletes_manifests: true,
            deletes_blobs: true,
            keeps_untagged: true,
        }
    }
}

/// Checks `repository`, which must be new and empty, and mounting from `sibling`, also new and empty, of the same
/// store or registry.
pub async fn check(repository: Arc<dyn Repository>, sibling: Arc<dyn Repository>) {
    check_with(repository, sibling, Expectations::default()).await;
}

/// [`check`] for a repository that differs from the default in `expected`.
pub async fn check_with(
    repository: Arc<dyn Repository>,
    sibling: Arc<dyn Repository>,
    expected: Expectations,
) {
    let capabilities = repository.capabilities().await.unwrap();
    let subject = Subject {
        repository,
        sibling,
        expected,
        capabilities,
    };
    tags::check(&subject).await;
    blobs::check(&subject).await;
    manifests::check(&subject).await;
    referrers::check(&subject).await;
    conditions::check(&subject).await;
    deletes::check(&subject).await;
}

/// What is being checked, and by what it may be measured.
struct Subject {
    repository: Arc<dyn Repository>,
    sibling: Arc<dyn Repository>,
    expected: Expectations,
    capabilities: crate::Capabilities,
}

impl Subject {
    /// Writes `bytes` as a blob.
    async fn blob(&self, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        let written = self
            .repository
            .write_blob(&descriptor.digest, descriptor.size, from_bytes(bytes))
            .await;
        held("writing a blob", written);
        descriptor
    }

    /// An image with content of its own, its blobs written, itself not.
    async fn image(&self, label: &str) -> RawManifest {
        raw(&self.manifest(label).await)
    }

    async fn manifest(&self, label: &str) -> Manifest {
        let config = self
            .blob(media_type::CONFIG, format!("{{\"config\":\"{label}\"}}"))
            .await;
        let layer = self.blob(media_type::LAYER, format!("layer of {label}")).await;
        Manifest::image(config, vec![layer])
    }

    /// An image under a tag.
    async fn tagged(&self, name: &str) -> RawManifest {
        let manifest = self.image(name).await;
        held(
            "writing a manifest under a tag",
            self.write(name, &manifest, Condition::Always).await,
        );
        manifest
    }

    async fn write(
        &self,
        name: &str,
        manifest: &RawManifest,
        condition: Condition,
    ) -> Result<(), crate::RepositoryError> {
        self.repository
            .write_manifest(&Target::Tag(tag(name)), manifest, &condition)
            .await
    }

    async fn write_by_digest(&self, manifest: &RawManifest) -> Result<(), crate::RepositoryError> {
        let target = Target::Digest(manifest.digest());
        self.repository
            .write_manifest(&target, manifest, &Condition::Always)
            .await
    }

    async fn read(&self, target: impl Into<Target>) -> Option<RawManifest> {
        let target = target.into();
        held("reading a manifest", self.repository.read_manifest(&target).await)
    }

    /// What a tag points at.
    async fn points_at(&self, name: &str) -> Option<Digest> {
        self.read(tag(name)).await.map(|manifest| manifest.digest())
    }

    async fn read_blob(&self, digest: &Digest, range: Option<std::ops::Range<u64>>) -> Option<Bytes> {
        let blob = held("reading a blob", self.repository.read_blob(digest, range).await)?;
        Some(held(
            "reading a blob to its end",
            collect(blob.content, 64 << 20).await,
        ))
    }
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn raw(manifest: &Manifest) -> RawManifest {
    RawManifest::new(media_type::MANIFEST, json::canonical(manifest))
}

/// An index of `children`.
fn index(children: &[&RawManifest]) -> RawManifest {
    let descriptors = children.iter().map(|child| child.descriptor()).collect();
    let bytes = json::canonical(&cairn_oci::Index::images(descriptors));
    let index = RawManifest::new(media_type::INDEX, bytes);
    assert!(matches!(index.document(), Ok(Document::Index(_))));
    index
}

/// The value, or a panic that says what did not work.
fn held<T, E: Debug>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            let failed: Result<(), E> = Err(error);
            assert!(failed.is_ok(), "{what}: {failed:?}");
            unreachable!("the assertion above failed")
        }
    }
}
