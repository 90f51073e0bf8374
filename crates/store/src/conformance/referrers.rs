//! The list of referrers, where the repository keeps it.

use std::collections::BTreeSet;

use cairn_oci::{Descriptor, Digest, Manifest, media_type};

use super::{Subject, held, raw};
use crate::repository::{Page, RawManifest, Referrers};

const SIGNATURE: &str = "application/vnd.example.signature";
const NOTE: &str = "application/vnd.example.note";

pub(super) async fn check(subject: &Subject) {
    let absent = subject.image("r-absent").await;
    // A subject that is not there is no reason to refuse its referrer, whoever keeps the list.
    let early = referrer(subject, &absent, SIGNATURE, "early").await;
    held(
        "a referrer of what is not there",
        subject.write_by_digest(&early).await,
    );
    assert_eq!(subject.read(early.digest()).await, Some(early.clone()));
    if subject.capabilities.referrers != Referrers::Native {
        return;
    }
    assert_eq!(
        digests(&list(subject, &absent.digest(), None, 1000).await),
        BTreeSet::from([early.digest()])
    );
    filtered_and_paged(subject).await;
    described(subject).await;
    assert_eq!(list(subject, &Digest::of(b"no referrers"), None, 1000).await, []);
}

async fn referrer(subject: &Subject, about: &RawManifest, artifact_type: &str, label: &str) -> RawManifest {
    subject.blob(media_type::EMPTY, "{}").await;
    let layer = subject.blob("text/plain", format!("note {label}")).await;
    let mut manifest = Manifest::artifact(artifact_type, vec![layer]);
    manifest.subject = Some(about.descriptor());
    manifest.annotations.insert("label".to_owned(), label.to_owned());
    raw(&manifest)
}

async fn list(
    subject: &Subject,
    about: &Digest,
    artifact_type: Option<&str>,
    limit: usize,
) -> Vec<Descriptor> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..100 {
        let page = Page { after, limit };
        let listed = subject
            .repository
            .list_referrers(about, artifact_type, &page)
            .await;
        let part = held("list_referrers", listed);
        if subject.expected.strict_pages {
            assert!(part.manifests.len() <= limit);
        }
        found.extend(part.manifests);
        if part.next.is_none() {
            return found;
        }
        after = part.next;
    }
    assert!(found.is_empty(), "the list of referrers does not end");
    found
}

fn digests(list: &[Descriptor]) -> BTreeSet<Digest> {
    let digests: BTreeSet<Digest> = list.iter().map(|entry| entry.digest).collect();
    assert_eq!(digests.len(), list.len(), "a referrer is listed twice");
    digests
}

async fn filtered_and_paged(subject: &Subject) {
    let about = subject.tagged("r-subject").await;
    let (mut signatures, mut notes) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..3 {
        for (kind, set) in [(SIGNATURE, &mut signatures), (NOTE, &mut notes)] {
            let manifest = referrer(subject, &about, kind, &format!("{kind} {number}")).await;
            held("a referrer", subject.write_by_digest(&manifest).await);
            held("a referrer again", subject.write_by_digest(&manifest).await);
            set.insert(manifest.digest());
        }
    }
    let all: BTreeSet<Digest> = signatures.union(&notes).copied().collect();
    let about = about.digest();
    for limit in [1, 4, 6, 1000] {
        let found = |kind| list(subject, &about, kind, limit);
        assert_eq!(digests(&found(None).await), all, "in pages of {limit}");
        assert_eq!(digests(&found(Some(SIGNATURE)).await), signatures);
        assert_eq!(digests(&found(Some(NOTE)).await), notes);
        assert_eq!(found(Some("application/vnd.example.none")).await, []);
    }
}

/// Entries carry what a reader needs to choose: type and annotations.
async fn described(subject: &Subject) {
    let about = subject.tagged("r-described").await;
    let manifest = referrer(subject, &about, NOTE, "described").await;
    held("a referrer", subject.write_by_digest(&manifest).await);
    let mut plain = subject.manifest("r-plain").await;
    plain.subject = Some(about.descriptor());
    let plain = raw(&plain);
    held("an image with a subject", subject.write_by_digest(&plain).await);
    let found = list(subject, &about.digest(), None, 1000).await;
    let entry = found
        .iter()
        .find(|entry| entry.digest == manifest.digest())
        .unwrap();
    assert_eq!(entry.artifact_type.as_deref(), Some(NOTE));
    assert_eq!(
        entry.annotations.get("label").map(String::as_str),
        Some("described")
    );
    assert_eq!(
        (&entry.media_type, entry.size),
        (manifest.media_type(), manifest.bytes().len() as u64)
    );
    let entry = found.iter().find(|entry| entry.digest == plain.digest()).unwrap();
    assert_eq!(
        entry.artifact_type.as_deref(),
        Some(media_type::CONFIG),
        "without artifactType: the config's type"
    );
}
