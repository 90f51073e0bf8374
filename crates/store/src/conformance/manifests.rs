//! Manifests: bytes as given, what they need, what is refused.

use cairn_oci::{Descriptor, Digest, manifest, media_type};

use super::{Subject, held, index, raw, tag};
use crate::error::RepositoryError;
use crate::repository::{Condition, RawManifest, Target};

pub(super) async fn check(subject: &Subject) {
    what_is_not_there(subject).await;
    by_tag_and_by_digest(subject).await;
    bytes_as_given(subject).await;
    wrong_digest(subject).await;
    missing_blob(subject).await;
    indexes(subject).await;
    docker_types(subject).await;
    if subject.expected.strict_documents {
        largest(subject).await;
        no_manifests(subject).await;
    }
}

async fn what_is_not_there(subject: &Subject) {
    for target in [
        Target::Tag(tag("nothing-here")),
        Target::Digest(Digest::of(b"no manifest")),
    ] {
        assert_eq!(
            held("stat_manifest", subject.repository.stat_manifest(&target).await),
            None
        );
        assert_eq!(subject.read(target).await, None);
    }
}

async fn by_tag_and_by_digest(subject: &Subject) {
    let manifest = subject.tagged("m-tag").await;
    for target in [Target::Tag(tag("m-tag")), Target::Digest(manifest.digest())] {
        let stat = held("stat_manifest", subject.repository.stat_manifest(&target).await);
        assert_eq!(stat, Some(manifest.descriptor()), "{target}");
        assert_eq!(subject.read(target).await.as_ref(), Some(&manifest));
    }
    let untagged = subject.image("m-digest").await;
    held("writing by digest", subject.write_by_digest(&untagged).await);
    assert_eq!(subject.read(untagged.digest()).await, Some(untagged.clone()));
    held(
        "writing by digest again",
        subject.write_by_digest(&untagged).await,
    );
    held(
        "writing again under a tag",
        subject.write("m-tag", &untagged, Condition::Always).await,
    );
    assert_eq!(subject.points_at("m-tag").await, Some(untagged.digest()));
    if subject.expected.keeps_untagged {
        let left = subject.read(manifest.digest()).await;
        assert_eq!(left, Some(manifest), "the manifest that lost its tag");
    }
}

async fn bytes_as_given(subject: &Subject) {
    let config = subject.blob(media_type::CONFIG, "{ \"odd\" : 1 }").await;
    let text = format!(
        "\n{{ \"unknown\" : [ 1.50, null, \"\\u0041\" ],\r\n\t\"layers\":[ ],\"schemaVersion\" :2 ,\n \"mediaType\":\"{}\", \
         \"config\":{{\"size\":{}, \"digest\":\"{}\",\"mediaType\":\"{}\"}} }}\n \n",
        media_type::MANIFEST,
        config.size,
        config.digest,
        media_type::CONFIG
    );
    let odd = RawManifest::new(media_type::MANIFEST, text);
    held(
        "a manifest with odd spaces",
        subject.write("m-odd", &odd, Condition::Always).await,
    );
    assert_eq!(subject.read(tag("m-odd")).await, Some(odd.clone()));
    assert_eq!(subject.read(odd.digest()).await, Some(odd));
}

async fn wrong_digest(subject: &Subject) {
    let manifest = subject.image("m-wrong-digest").await;
    let other = Digest::of(b"another manifest");
    let written = subject
        .repository
        .write_manifest(&Target::Digest(other), &manifest, &Condition::Always)
        .await;
    assert!(written.is_err(), "a manifest was written under another digest");
    assert_eq!(subject.read(other).await, None);
    assert_eq!(subject.read(manifest.digest()).await, None);
}

async fn missing_blob(subject: &Subject) {
    let mut parts = subject.manifest("m-missing").await;
    parts
        .layers
        .push(Descriptor::of(media_type::LAYER, b"never written"));
    let manifest = raw(&parts);
    let written = subject.write("m-missing", &manifest, Condition::Always).await;
    assert!(
        matches!(written, Err(RepositoryError::BlobUnknown { .. })),
        "a layer is missing: {written:?}"
    );
    assert_eq!(subject.points_at("m-missing").await, None);
    assert_eq!(subject.read(manifest.digest()).await, None);
}

async fn indexes(subject: &Subject) {
    let (one, two) = (subject.image("m-child-1").await, subject.image("m-child-2").await);
    let both = index(&[&one, &two]);
    if subject.expected.index_before_children {
        held(
            "an index before its manifests",
            subject.write("m-index", &both, Condition::Always).await,
        );
    }
    for child in [&one, &two] {
        held("a manifest of an index", subject.write_by_digest(child).await);
    }
    held(
        "an index",
        subject.write("m-index", &both, Condition::Always).await,
    );
    assert_eq!(subject.read(tag("m-index")).await, Some(both));
    assert_eq!(subject.read(one.digest()).await, Some(one));
}

async fn docker_types(subject: &Subject) {
    let mut parts = subject.manifest("m-docker").await;
    parts.media_type = Some(media_type::DOCKER_MANIFEST.into());
    parts.config.media_type = media_type::DOCKER_CONFIG.into();
    parts.layers[0].media_type = media_type::DOCKER_LAYER_GZIP.into();
    let bytes = cairn_oci::json::canonical(&parts);
    let manifest = RawManifest::new(media_type::DOCKER_MANIFEST, bytes);
    held(
        "Docker's manifest",
        subject.write("m-docker", &manifest, Condition::Always).await,
    );
    assert_eq!(subject.read(tag("m-docker")).await, Some(manifest));
}

/// A manifest of exactly `length` bytes.
async fn padded(subject: &Subject, length: usize) -> RawManifest {
    let mut parts = subject.manifest("m-large").await;
    parts.annotations.insert("padding".to_owned(), String::new());
    let bare = cairn_oci::json::canonical(&parts).len();
    parts
        .annotations
        .insert("padding".to_owned(), "x".repeat(length - bare));
    raw(&parts)
}

async fn largest(subject: &Subject) {
    let allowed = padded(subject, manifest::LIMIT).await;
    held(
        "a manifest of 4 MiB",
        subject.write("m-large", &allowed, Condition::Always).await,
    );
    assert_eq!(subject.read(tag("m-large")).await, Some(allowed.clone()));
    let larger = padded(subject, manifest::LIMIT + 1).await;
    let written = subject.write("m-large", &larger, Condition::Always).await;
    assert!(written.is_err(), "a manifest above 4 MiB was taken");
    assert_eq!(subject.points_at("m-large").await, Some(allowed.digest()));
}

async fn no_manifests(subject: &Subject) {
    let good = subject.image("m-bad").await;
    let text = |text: &str| RawManifest::new(media_type::MANIFEST, text.to_owned());
    let twice = String::from_utf8(good.bytes().to_vec()).unwrap();
    let twice = twice.replacen('{', "{\"schemaVersion\":2,", 1);
    for (what, manifest) in [
        ("nothing", text("")),
        ("no JSON", text("{")),
        ("an empty object", text("{}")),
        ("a key given twice", text(&twice)),
        (
            "a manifest called an index",
            RawManifest::new(media_type::INDEX, good.bytes().clone()),
        ),
        (
            "an unknown type",
            RawManifest::new("text/plain", good.bytes().clone()),
        ),
    ] {
        let written = subject.write("m-bad", &manifest, Condition::Always).await;
        assert!(written.is_err(), "{what} was taken as a manifest");
        assert_eq!(subject.points_at("m-bad").await, None, "{what}");
    }
}
