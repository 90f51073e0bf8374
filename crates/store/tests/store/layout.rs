//! Image layouts that others made.

#![expect(clippy::disallowed_methods, reason = "makes layouts as other tools make them")]

use std::fs;
use std::path::Path;

use cairn_oci::{Descriptor, Digest, Index, json, media_type};
use cairn_store::transfer::Transfer;
use cairn_store::{Condition, Page, RawManifest, Repository, RepositoryError, Target, layout};

use crate::content::{image, points_at, push, tag, write_blob};
use crate::writers::list;

fn index_of(path: &Path) -> Index {
    json::parse(&fs::read(path.join("index.json")).unwrap(), 1 << 20).unwrap()
}

#[tokio::test]
async fn opening_a_layout_that_is_none_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("in");
    assert!(matches!(layout::open(&path), Err(RepositoryError::File { .. })));
    push(&layout::create(&path).unwrap(), "1.0", &image("one"))
        .await
        .unwrap();
    layout::open(&path).unwrap();
    for (file, bytes) in [
        ("oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}"),
        ("oci-layout", "{}"),
        ("oci-layout", "no JSON"),
        ("index.json", "{}"),
        ("index.json", "[]"),
        (
            "index.json",
            "{\"schemaVersion\":2,\"manifests\":[],\"manifests\":[]}",
        ),
    ] {
        let sound = fs::read(path.join(file)).unwrap();
        fs::write(path.join(file), bytes).unwrap();
        assert!(
            matches!(layout::open(&path), Err(RepositoryError::Damaged { .. })),
            "{file}: {bytes}"
        );
        fs::write(path.join(file), sound).unwrap();
    }
    fs::remove_file(path.join("index.json")).unwrap();
    assert!(matches!(layout::open(&path), Err(RepositoryError::File { .. })));
}

#[tokio::test]
async fn a_layout_opened_to_read_is_not_written() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("in");
    push(&layout::create(&path).unwrap(), "1.0", &image("one"))
        .await
        .unwrap();
    let read_only = layout::open(&path).unwrap();
    let unsupported = |error| assert!(matches!(error, RepositoryError::Unsupported { .. }), "{error:?}");
    unsupported(write_blob(&read_only, b"x").await.unwrap_err());
    unsupported(push(&read_only, "2.0", &image("one")).await.unwrap_err());
    unsupported(read_only.delete_tag(&tag("1.0")).await.unwrap_err());
    unsupported(
        read_only
            .delete_manifest(&image("one").manifest.digest())
            .await
            .unwrap_err(),
    );
    unsupported(read_only.delete_blob(&Digest::of(b"x")).await.unwrap_err());
    assert!(!read_only.capabilities().await.unwrap().conditions);
    assert_eq!(
        points_at(&read_only, "1.0").await,
        Some(image("one").manifest.digest())
    );
}

#[tokio::test]
async fn sealing_is_refused_where_nothing_could_keep_the_seal() {
    let place = tempfile::tempdir().unwrap();
    let layout = layout::create(place.path().join("out")).unwrap();
    push(&layout, "1.0", &image("one")).await.unwrap();
    let sealed = layout
        .write_manifest(&Target::Tag(tag("1.0")), &image("one").manifest, &Condition::Seal)
        .await;
    assert!(
        matches!(sealed, Err(RepositoryError::Unsupported { .. })),
        "{sealed:?}"
    );
}

/// An output of several platforms has one entry, not one for each platform and one for the index.
#[tokio::test]
async fn manifests_below_an_index_are_listed_once_by_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out");
    let layout = layout::create(&path).unwrap();
    let (one, two) = (image("one"), image("two"));
    for child in [&one, &two] {
        for blob in &child.blobs {
            write_blob(&layout, blob).await.unwrap();
        }
        let target = Target::Digest(child.manifest.digest());
        layout
            .write_manifest(&target, &child.manifest, &Condition::Always)
            .await
            .unwrap();
    }
    assert_eq!(index_of(&path).manifests.len(), 2);
    let descriptors = [&one, &two].map(|child| child.manifest.descriptor()).to_vec();
    let bytes = json::canonical(&Index::images(descriptors));
    let index = RawManifest::new(media_type::INDEX, bytes);
    layout
        .write_manifest(&Target::Tag(tag("latest")), &index, &Condition::Always)
        .await
        .unwrap();
    let entries = index_of(&path).manifests;
    assert_eq!(
        entries.iter().map(|entry| entry.digest).collect::<Vec<_>>(),
        [index.digest()]
    );
    let child = layout
        .read_manifest(&Target::Digest(two.manifest.digest()))
        .await
        .unwrap();
    assert_eq!(child.as_ref(), Some(&two.manifest));
    assert_eq!(
        layout.sole_manifest().await.unwrap().map(|entry| entry.digest),
        Some(index.digest())
    );
    assert_eq!(
        list(&path),
        ["blobs", "index.json", "oci-layout"],
        "something else is left in the layout"
    );
}

#[tokio::test]
async fn names_that_are_no_tags_are_kept_and_not_listed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("in");
    let layout = layout::create(&path).unwrap();
    push(&layout, "1.0", &image("one")).await.unwrap();
    let mut index = index_of(&path);
    let mut foreign: Descriptor = index.manifests[0].clone();
    foreign.annotations.insert(
        cairn_oci::annotations::REF_NAME.to_owned(),
        "registry.example.org/hello:1.0".to_owned(),
    );
    index.manifests.push(foreign.clone());
    fs::write(path.join("index.json"), json::canonical(&index)).unwrap();
    push(&layout, "2.0", &image("two")).await.unwrap();
    assert_eq!(
        layout.list_tags(&Page::first()).await.unwrap().tags,
        [tag("1.0"), tag("2.0")]
    );
    assert!(index_of(&path).manifests.contains(&foreign));
}

/// A pipe in place of a blob must not make a reader wait for ever, nor a directory be taken for content.
#[tokio::test]
async fn what_is_no_file_is_no_blob() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("in");
    let layout = layout::create(&path).unwrap();
    push(&layout, "1.0", &image("one")).await.unwrap();
    let (pipe, directory) = (Digest::of(b"pipe"), Digest::of(b"directory"));
    let blobs = path.join("blobs/sha256");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        blobs.join(pipe.hex()),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    fs::create_dir(blobs.join(directory.hex())).unwrap();
    for digest in [pipe, directory] {
        assert_eq!(layout.stat_blob(&digest).await.unwrap(), None);
        assert!(layout.read_blob(&digest, None).await.is_err());
    }
}

/// Nobody but the one who writes verifies what is moved.
#[tokio::test]
async fn c1_c2_a_blob_that_was_changed_is_not_passed_on() {
    let place = tempfile::tempdir().unwrap();
    let (source, image) = (place.path().join("in"), image("one"));
    let from = layout::create(&source).unwrap();
    push(&from, "1.0", &image).await.unwrap();
    let layer = Digest::of(&image.blobs[1]);
    let sound = image.blobs[1].clone();
    let changed = [&b"X"[..], &sound[1..]].concat();
    let longer = [&sound[..], b"X"].concat();
    for (what, bytes) in [
        ("changed", &changed[..]),
        ("longer", &longer[..]),
        ("shorter", &sound[1..]),
        ("empty", &[][..]),
    ] {
        fs::write(source.join("blobs/sha256").join(layer.hex()), bytes).unwrap();
        let to = layout::create(place.path().join(what)).unwrap();
        let transfer = Transfer {
            from: &from,
            to: &to,
            mount: &[],
            watch: None,
        };
        let error = transfer.image(&image.manifest).await.unwrap_err();
        let why = std::error::Error::source(&error).and_then(|why| why.downcast_ref::<RepositoryError>());
        match what {
            "changed" => assert!(matches!(why, Some(RepositoryError::Digest { .. })), "{why:?}"),
            _ => assert!(
                matches!(why, Some(RepositoryError::Size { .. })),
                "{what}: {why:?}"
            ),
        }
        assert_eq!(to.stat_blob(&layer).await.unwrap(), None, "{what}");
        let manifest = Target::Digest(image.manifest.digest());
        assert_eq!(to.stat_manifest(&manifest).await.unwrap(), None, "{what}");
    }
}
