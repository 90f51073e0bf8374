//! Writes under a condition.

use std::sync::Arc;

use cairn_oci::Digest;

use super::{Subject, held, tag};
use crate::error::RepositoryError;
use crate::repository::{Condition, RawManifest, Target};

/// Writers that race.
const WRITERS: usize = 16;

pub(super) async fn check(subject: &Subject) {
    if subject.capabilities.conditions {
        if_absent(subject).await;
        if_match(subject).await;
        race(subject, "c-race-absent", &Condition::IfAbsent).await;
        let start = subject.tagged("c-race-match").await;
        race(subject, "c-race-match", &Condition::IfMatch(start.digest())).await;
        nothing_written_by_a_refused_write(subject).await;
    }
    if subject.capabilities.seal {
        seal(subject).await;
        seal_what_is_there(subject).await;
        race(subject, "c-race-seal", &Condition::Seal).await;
    } else {
        let manifest = subject.image("c-no-seal").await;
        let written = subject.write("c-no-seal", &manifest, Condition::Seal).await;
        // Either refused, or taken without its effect; a tag that shows something else would be wrong.
        let shown = subject.points_at("c-no-seal").await;
        assert!(
            shown.is_none_or(|shown| shown == manifest.digest()),
            "{written:?}"
        );
    }
}

fn refused(what: &str, written: &Result<(), RepositoryError>) {
    let right = matches!(
        written,
        Err(RepositoryError::Condition { .. } | RepositoryError::Sealed { .. })
    );
    assert!(right, "{what}: {written:?}");
}

fn sealed(what: &str, written: &Result<(), RepositoryError>) {
    assert!(
        matches!(written, Err(RepositoryError::Sealed { .. })),
        "{what}: {written:?}"
    );
}

async fn if_absent(subject: &Subject) {
    let (one, two) = (
        subject.image("c-absent-1").await,
        subject.image("c-absent-2").await,
    );
    held(
        "IfAbsent",
        subject.write("c-absent", &one, Condition::IfAbsent).await,
    );
    for (what, manifest) in [("another digest", &two), ("the same digest", &one)] {
        let written = subject.write("c-absent", manifest, Condition::IfAbsent).await;
        refused(&format!("IfAbsent over {what}"), &written);
    }
    assert_eq!(subject.points_at("c-absent").await, Some(one.digest()));
    if subject.capabilities.delete_tags == Some(true) {
        held(
            "delete_tag",
            subject.repository.delete_tag(&tag("c-absent")).await,
        );
        held(
            "IfAbsent after a delete",
            subject.write("c-absent", &two, Condition::IfAbsent).await,
        );
        assert_eq!(subject.points_at("c-absent").await, Some(two.digest()));
    }
}

async fn if_match(subject: &Subject) {
    let (one, two) = (subject.image("c-match-1").await, subject.image("c-match-2").await);
    let on_nothing = subject
        .write("c-match", &one, Condition::IfMatch(one.digest()))
        .await;
    refused("IfMatch where nothing is", &on_nothing);
    assert_eq!(subject.points_at("c-match").await, None);
    held(
        "a first write",
        subject.write("c-match", &one, Condition::Always).await,
    );
    for wrong in [two.digest(), Digest::of(b"something else")] {
        let written = subject.write("c-match", &two, Condition::IfMatch(wrong)).await;
        refused("IfMatch with another digest", &written);
    }
    assert_eq!(subject.points_at("c-match").await, Some(one.digest()));
    held(
        "IfMatch",
        subject
            .write("c-match", &two, Condition::IfMatch(one.digest()))
            .await,
    );
    assert_eq!(subject.points_at("c-match").await, Some(two.digest()));
    held(
        "IfMatch with itself",
        subject
            .write("c-match", &two, Condition::IfMatch(two.digest()))
            .await,
    );
}

async fn nothing_written_by_a_refused_write(subject: &Subject) {
    subject.tagged("c-refused").await;
    let manifest = subject.image("c-refused-other").await;
    let written = subject.write("c-refused", &manifest, Condition::IfAbsent).await;
    refused("IfAbsent", &written);
    assert_eq!(
        subject.read(manifest.digest()).await,
        None,
        "a refused manifest is there"
    );
}

async fn seal(subject: &Subject) {
    let (one, two) = (subject.image("c-seal-1").await, subject.image("c-seal-2").await);
    held("Seal", subject.write("c-seal", &one, Condition::Seal).await);
    held(
        "Seal with the same digest",
        subject.write("c-seal", &one, Condition::Seal).await,
    );
    held(
        "Always with the same digest",
        subject.write("c-seal", &one, Condition::Always).await,
    );
    sealed("Always", &subject.write("c-seal", &two, Condition::Always).await);
    sealed(
        "Seal with another digest",
        &subject.write("c-seal", &two, Condition::Seal).await,
    );
    if subject.capabilities.conditions {
        let matching = Condition::IfMatch(one.digest());
        held(
            "IfMatch with the same digest",
            subject.write("c-seal", &one, matching.clone()).await,
        );
        refused("IfMatch", &subject.write("c-seal", &two, matching).await);
        refused(
            "IfAbsent",
            &subject.write("c-seal", &two, Condition::IfAbsent).await,
        );
    }
    // None of these writes, with the same digest, may have broken the seal.
    sealed(
        "Always at last",
        &subject.write("c-seal", &two, Condition::Always).await,
    );
    cannot_be_deleted(subject, "c-seal", &one).await;
}

async fn cannot_be_deleted(subject: &Subject, name: &str, manifest: &RawManifest) {
    let by_tag = subject.repository.delete_tag(&tag(name)).await;
    assert!(by_tag.is_err(), "a sealed tag was deleted");
    let by_digest = subject.repository.delete_manifest(&manifest.digest()).await;
    assert!(by_digest.is_err(), "the manifest of a sealed tag was deleted");
    assert_eq!(subject.points_at(name).await, Some(manifest.digest()));
}

async fn seal_what_is_there(subject: &Subject) {
    let one = subject.tagged("c-late").await;
    let two = subject.image("c-late-2").await;
    refused(
        "Seal over another digest",
        &subject.write("c-late", &two, Condition::Seal).await,
    );
    held(
        "a tag that was refused to be sealed",
        subject.write("c-late", &one, Condition::Always).await,
    );
    held(
        "Seal over the same digest",
        subject.write("c-late", &one, Condition::Seal).await,
    );
    sealed("Always", &subject.write("c-late", &two, Condition::Always).await);
}

/// Of many writers with one condition and different manifests exactly one wins, and the tag shows its manifest.
async fn race(subject: &Subject, name: &str, condition: &Condition) {
    let mut manifests = Vec::new();
    for number in 0..WRITERS {
        manifests.push(subject.image(&format!("{name} {number}")).await);
    }
    let writers: Vec<_> = manifests
        .iter()
        .map(|manifest| {
            let (repository, manifest) = (Arc::clone(&subject.repository), manifest.clone());
            let (target, condition) = (Target::Tag(tag(name)), condition.clone());
            tokio::spawn(async move { repository.write_manifest(&target, &manifest, &condition).await })
        })
        .collect();
    let mut winners = Vec::new();
    for (writer, manifest) in writers.into_iter().zip(&manifests) {
        match held("joining", writer.await) {
            Ok(()) => winners.push(manifest.digest()),
            lost => refused("a writer that lost", &lost),
        }
    }
    assert_eq!(winners.len(), 1, "{condition:?}: {} writers won", winners.len());
    assert_eq!(
        subject.points_at(name).await,
        winners.pop(),
        "the tag does not show the winner's manifest"
    );
}
