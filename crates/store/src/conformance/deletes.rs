//! Deleting tags, manifests and blobs.

use cairn_oci::{Digest, Manifest, media_type};

use super::{Subject, held, index, raw, tag};
use crate::error::RepositoryError;
use crate::repository::{Condition, Page, RawManifest, Referrers};

pub(super) async fn check(subject: &Subject) {
    tags(subject).await;
    if subject.expected.deletes_manifests {
        manifests(subject).await;
        referrers(subject).await;
    }
    if subject.expected.deletes_blobs {
        blobs(subject).await;
    }
    if subject.capabilities.seal && subject.expected.deletes_manifests && subject.expected.deletes_blobs {
        sealed_content(subject).await;
    }
}

/// Nothing that a sealed tag reaches can be deleted, or get another meaning.
async fn sealed_content(subject: &Subject) {
    let parts = subject.manifest("d-sealed-child").await;
    let child = raw(&parts);
    held("a child", subject.write_by_digest(&child).await);
    let top = index(&[&child]);
    held("sealing", subject.write("d-sealed", &top, Condition::Seal).await);
    let sealed = |error: Option<RepositoryError>| {
        let is_sealed = matches!(&error, Some(RepositoryError::Sealed { tag, found: Some(found) })
            if tag.as_str() == "d-sealed" && *found == top.digest());
        assert!(is_sealed, "{error:?}");
    };
    for manifest in [&top, &child] {
        sealed(subject.repository.delete_manifest(&manifest.digest()).await.err());
        assert!(subject.read(manifest.digest()).await.as_ref() == Some(manifest));
    }
    for blob in parts.layers.iter().chain([&parts.config]) {
        let refused = subject.repository.delete_blob(&blob.digest).await;
        assert!(refused.is_err(), "a blob of a sealed image was deleted");
        let size = held("stat_blob", subject.repository.stat_blob(&blob.digest).await);
        assert_eq!(size, Some(blob.size));
    }
    // An entry that came after its index was sealed.
    let parts = subject.manifest("d-late-child").await;
    let late = raw(&parts);
    let early = index(&[&late]);
    held("sealing", subject.write("d-early", &early, Condition::Seal).await);
    let free = subject.blob(media_type::LAYER, "asked between").await;
    assert!(held(
        "delete_blob",
        subject.repository.delete_blob(&free.digest).await
    ));
    held("a late child", subject.write_by_digest(&late).await);
    for blob in parts.layers.iter().chain([&parts.config]) {
        let refused = subject.repository.delete_blob(&blob.digest).await;
        assert!(refused.is_err(), "a blob of a late entry was deleted");
    }
    let refused = subject.repository.delete_manifest(&late.digest()).await;
    assert!(refused.is_err(), "a late entry was deleted");
    // The same bytes under another media type: by tag, by digest, and under a tag that is not sealed.
    let nameless = r#"{"schemaVersion":2,"manifests":[]}"#;
    let one = RawManifest::new(media_type::INDEX, nameless);
    let other = RawManifest::new(media_type::DOCKER_INDEX, nameless);
    held("sealing", subject.write("d-type", &one, Condition::Seal).await);
    for refused in [
        subject.write("d-type", &other, Condition::Always).await,
        subject.write("d-type", &other, Condition::Seal).await,
        subject.write("d-another", &other, Condition::Always).await,
        subject.write_by_digest(&other).await,
    ] {
        assert!(refused.is_err(), "sealed content got another media type");
    }
    assert_eq!(subject.read(tag("d-type")).await, Some(one.clone()));
    assert_eq!(subject.read(one.digest()).await, Some(one));
}

async fn tags(subject: &Subject) {
    let manifest = subject.tagged("d-tag").await;
    held(
        "a second tag",
        subject.write("d-other", &manifest, Condition::Always).await,
    );
    let deleted = subject.repository.delete_tag(&tag("d-tag")).await;
    if subject.capabilities.delete_tags == Some(true) {
        assert!(held("delete_tag", deleted), "a tag that is there was not deleted");
        assert_eq!(subject.points_at("d-tag").await, None);
        let again = subject.repository.delete_tag(&tag("d-tag")).await;
        assert!(!held("delete_tag", again), "a tag was deleted twice");
    } else if deleted.is_err() {
        assert_eq!(
            subject.points_at("d-tag").await,
            Some(manifest.digest()),
            "a delete that was refused"
        );
    }
    assert_eq!(subject.points_at("d-other").await, Some(manifest.digest()));
    assert_eq!(
        subject.read(manifest.digest()).await,
        Some(manifest),
        "the manifest of a deleted tag"
    );
}

async fn manifests(subject: &Subject) {
    let gone = subject.tagged("d-manifest").await;
    let kept = subject.tagged("d-kept").await;
    held(
        "a second tag",
        subject.write("d-manifest-2", &gone, Condition::Always).await,
    );
    let deleted = subject.repository.delete_manifest(&gone.digest()).await;
    assert!(held("delete_manifest", deleted));
    assert_eq!(subject.read(gone.digest()).await, None, "a deleted manifest");
    for name in ["d-manifest", "d-manifest-2"] {
        assert_eq!(subject.points_at(name).await, None, "a tag of a deleted manifest");
    }
    assert_eq!(subject.points_at("d-kept").await, Some(kept.digest()));
    let again = subject.repository.delete_manifest(&gone.digest()).await;
    assert!(!held("delete_manifest", again), "a manifest was deleted twice");
    held(
        "writing it again",
        subject.write("d-manifest", &gone, Condition::Always).await,
    );
    assert_eq!(subject.points_at("d-manifest").await, Some(gone.digest()));
}

async fn referrers(subject: &Subject) {
    if subject.capabilities.referrers != Referrers::Native {
        return;
    }
    let about = subject.tagged("d-subject").await;
    let config = subject.blob(media_type::EMPTY, "{}").await;
    let mut parts = Manifest::artifact("application/vnd.example.deleted", vec![config]);
    parts.subject = Some(about.descriptor());
    let manifest = raw(&parts);
    held("a referrer", subject.write_by_digest(&manifest).await);
    assert!(held(
        "delete_manifest",
        subject.repository.delete_manifest(&manifest.digest()).await
    ));
    let left = subject
        .repository
        .list_referrers(&about.digest(), None, &Page::first())
        .await;
    assert_eq!(
        held("list_referrers", left).manifests,
        [],
        "a deleted referrer is listed"
    );
}

async fn blobs(subject: &Subject) {
    let blob = subject.blob(media_type::LAYER, "to be deleted").await;
    assert!(held(
        "delete_blob",
        subject.repository.delete_blob(&blob.digest).await
    ));
    assert_eq!(
        held("stat_blob", subject.repository.stat_blob(&blob.digest).await),
        None
    );
    assert_eq!(subject.read_blob(&blob.digest, None).await, None);
    assert!(
        !held("delete_blob", subject.repository.delete_blob(&blob.digest).await),
        "deleted twice"
    );
    let never = Digest::of(b"never was there");
    assert!(!held("delete_blob", subject.repository.delete_blob(&never).await));
    subject.blob(media_type::LAYER, "to be deleted").await;
    assert_eq!(
        held("stat_blob", subject.repository.stat_blob(&blob.digest).await),
        Some(blob.size)
    );
}
