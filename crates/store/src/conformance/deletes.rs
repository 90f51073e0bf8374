//! Deleting tags, manifests and blobs.

use cairn_oci::{Digest, Manifest, media_type};

use super::{Subject, held, raw, tag};
use crate::repository::{Condition, Page, Referrers};

pub(super) async fn check(subject: &Subject) {
    tags(subject).await;
    if subject.expected.deletes_manifests {
        manifests(subject).await;
        referrers(subject).await;
    }
    if subject.expected.deletes_blobs {
        blobs(subject).await;
    }
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
