//! What the tests put into a store, and how they look at it again.

use std::sync::Arc;

use cairn_oci::{Descriptor, Digest, Manifest, RepositoryName, Tag, json, media_type};
use cairn_store::{
    Condition, Directory, Page, RawManifest, Repository, RepositoryError, Target, collect, from_bytes,
    verified,
};

pub(crate) fn name() -> RepositoryName {
    "hello".parse().unwrap()
}

pub(crate) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// A small image: its blobs and its manifest.
pub(crate) struct Image {
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) manifest: RawManifest,
}

pub(crate) fn image(label: &str) -> Image {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"l":"{label}"}}}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    );
    let layer = format!("layer of {label};").repeat(100);
    let blobs = vec![config.into_bytes(), layer.into_bytes()];
    let manifest = Manifest::image(
        Descriptor::of(media_type::CONFIG, &blobs[0]),
        vec![Descriptor::of(media_type::LAYER, &blobs[1])],
    );
    let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
    Image { blobs, manifest }
}

pub(crate) async fn write_blob(repository: &dyn Repository, bytes: &[u8]) -> Result<(), RepositoryError> {
    let content = from_bytes(bytes.to_vec());
    repository
        .write_blob(&Digest::of(bytes), bytes.len() as u64, content)
        .await
        .map(drop)
}

pub(crate) async fn write_tag(
    repository: &dyn Repository,
    name: &str,
    manifest: &RawManifest,
) -> Result<(), RepositoryError> {
    let target = Target::Tag(tag(name));
    repository
        .write_manifest(&target, manifest, &Condition::Always)
        .await
}

/// Blobs, then the manifest under a tag.
pub(crate) async fn push(
    repository: &dyn Repository,
    name: &str,
    image: &Image,
) -> Result<(), RepositoryError> {
    for blob in &image.blobs {
        write_blob(repository, blob).await?;
    }
    write_tag(repository, name, &image.manifest).await
}

pub(crate) async fn points_at(repository: &dyn Repository, name: &str) -> Option<Digest> {
    let target = Target::Tag(tag(name));
    let found = repository.read_manifest(&target).await;
    found.unwrap().map(|manifest| manifest.digest())
}

/// Whether a blob is there; what is there must have its digest.
pub(crate) async fn has_blob(repository: &dyn Repository, digest: Digest) -> bool {
    let Some(blob) = repository.read_blob(&digest, None).await.unwrap() else {
        return false;
    };
    collect(verified(blob.content, digest, blob.size), 64 << 20)
        .await
        .unwrap_or_else(|error| panic!("the blob {digest} is there but damaged: {error:?}"));
    true
}

/// Everything that a repository shows is whole: tags lead to manifests, manifests to blobs, blobs to their digests.
pub(crate) async fn assert_whole(repository: &dyn Repository) {
    for tag in repository.list_tags(&Page::first()).await.unwrap().tags {
        let found = repository.read_manifest(&Target::Tag(tag.clone())).await;
        let manifest = found
            .unwrap_or_else(|error| panic!("tag {tag} is half there: {error:?}"))
            .unwrap_or_else(|| panic!("tag {tag} is listed and leads nowhere"));
        let by_digest = repository.read_manifest(&Target::Digest(manifest.digest())).await;
        assert_eq!(
            by_digest.unwrap().as_ref(),
            Some(&manifest),
            "tag {tag} by digest"
        );
        for blob in manifest.document().unwrap().blobs() {
            assert!(
                has_blob(repository, blob.digest).await,
                "tag {tag} lacks the blob {}",
                blob.digest
            );
        }
    }
}

/// One repository of the store at `path`.
pub(crate) fn open(path: &std::path::Path) -> Arc<dyn Repository> {
    Arc::new(Directory::open(path).unwrap().open_repository(&name()))
}

/// A small generator of numbers for tests that print their seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
