//! What tells two images apart.

use cairn_build::diff::{FileChange, ImageDiff, PlatformDiff, Side, diff_images, first_differences};
use cairn_layer::{Attributes, Compression, Limits, Node, Source, Tree};
use cairn_oci::{Descriptor, Digest, Manifest, json, media_type};
use cairn_store::memory::MemoryRepository;
use cairn_store::{RawManifest, Repository, Target};

use crate::fixture::{
    BaseImage, Project, debian_tree, directory, file, link, pack, path, write_blob, write_index,
    write_manifest,
};

async fn raw(repository: &MemoryRepository, digest: Digest) -> RawManifest {
    repository
        .read_manifest(&Target::Digest(digest))
        .await
        .unwrap()
        .unwrap()
}

/// Two images in one repository.
async fn diff(repository: &MemoryRepository, before: &Descriptor, after: &Descriptor) -> ImageDiff {
    let (before, after) = (
        raw(repository, before.digest).await,
        raw(repository, after.digest).await,
    );
    let side = |manifest| Side { repository, manifest };
    diff_images(side(&before), side(&after), &Limits::default())
        .await
        .unwrap()
}

async fn first(repository: &MemoryRepository, before: &Descriptor, after: &Descriptor) -> String {
    let (before, after) = (
        raw(repository, before.digest).await,
        raw(repository, after.digest).await,
    );
    let side = |manifest| Side { repository, manifest };
    let found = first_differences(side(&before), side(&after), &Limits::default())
        .await
        .unwrap();
    let line = |found: &cairn_build::diff::Difference| format!("{}: {}\n", found.subject, found.message);
    found.iter().map(line).collect()
}

fn on_debian(upper: Vec<Tree>) -> BaseImage {
    let mut image = BaseImage::debian("amd64");
    image.trees.extend(upper);
    image.history.clear();
    image
}

fn tree(nodes: Vec<(&str, Node)>) -> Tree {
    let mut tree = Tree::new();
    for (at, node) in nodes {
        tree.insert(path(at), node).unwrap();
    }
    tree
}

fn text(changes: &[FileChange]) -> String {
    let line = |change: &FileChange| {
        let attributes = change.attributes.iter();
        let attributes: Vec<_> = attributes
            .filter(|attribute| attribute.name != "content")
            .map(|attribute| format!("{} {} → {}", attribute.name, attribute.before, attribute.after))
            .collect();
        format!("{} {} {}; ", change.kind, change.path, attributes.join(", "))
    };
    changes.iter().map(line).collect()
}

fn only(diff: &ImageDiff) -> &PlatformDiff {
    assert_eq!(diff.platforms.len(), 1, "{diff:?}");
    &diff.platforms[0]
}

#[tokio::test]
async fn files_are_compared_as_a_container_sees_them() {
    let repository = Project::new().repository("a");
    let kept = tree(vec![("srv", directory(0o755, 0, 0)), ("srv/a", file("a"))]);
    let before = on_debian(vec![
        kept.clone(),
        tree(vec![("opt", directory(0o755, 0, 0)), ("opt/old", file("old"))]),
    ]);
    let after = on_debian(vec![
        kept,
        tree(vec![
            ("opt", directory(0o700, 0, 0)),
            ("opt/new", file("new")),
            ("usr/share/doc", Node::Whiteout),
            ("usr/bin/dash", file("another shell")),
            ("usr/bin/sh", link("busybox")),
            ("etc/mtab", file("")),
            ("root", directory(0o700, 0, 0)),
        ]),
    ]);
    let (before, after) = (before.write(&repository).await, after.write(&repository).await);
    let diff = diff(&repository, &before, &after).await;
    let platform = only(&diff);
    assert!(!diff.same);
    assert_eq!(text(&platform.files.added), "file /opt/new ; ");
    assert_eq!(
        text(&platform.files.removed),
        "file /opt/old ; directory /usr/share/doc ; "
    );
    assert_eq!(
        text(&platform.files.changed),
        "file /etc/mtab type symlink → file, mode 0777 → 0644; \
         directory /opt mode 0755 → 0700; \
         file /usr/bin/dash size 7 bytes → 13 bytes; \
         symlink /usr/bin/sh target dash → busybox; "
    );
    assert_eq!(
        (platform.shared.len(), platform.gone.len(), platform.new.len()),
        (2, 1, 1)
    );
}

#[tokio::test]
async fn what_one_image_replaces_and_the_other_leaves_is_changed_and_not_added() {
    let repository = Project::new().repository("a");
    let before = on_debian(vec![]).write(&repository).await;
    let after = on_debian(vec![tree(vec![("usr/bin/dash", file("my shell"))])])
        .write(&repository)
        .await;
    let diff = diff(&repository, &before, &after).await;
    let files = &only(&diff).files;
    assert_eq!((files.added.len(), files.removed.len()), (0, 0));
    assert_eq!(
        text(&files.changed),
        "file /usr/bin/dash size 7 bytes → 8 bytes; "
    );
}

#[tokio::test]
async fn layers_below_that_nothing_refers_to_are_not_read() {
    let repository = Project::new().repository("a");
    let images = ["one", "two"].map(|content| on_debian(vec![tree(vec![("app", file(content))])]));
    let before = images[0].write(&repository).await;
    let after = images[1].write(&repository).await;
    let base = Digest::of(&pack(&debian_tree(), Compression::Gzip).0);
    assert!(repository.delete_blob(&base).await.unwrap());
    let diff = diff(&repository, &before, &after).await;
    assert_eq!(text(&only(&diff).files.changed), "file /app ; ");
}

#[tokio::test]
async fn the_configuration_is_compared_field_by_field() {
    let repository = Project::new().repository("a");
    let before = BaseImage::debian("amd64");
    let mut after = BaseImage::debian("amd64");
    after.config.user = Some("root".to_owned());
    after.config.env = Some(vec!["PATH=/bin".to_owned()]);
    after.config.labels = Some([("org.example/key".to_owned(), "1".to_owned())].into());
    let (before, after) = (before.write(&repository).await, after.write(&repository).await);
    let diff = diff(&repository, &before, &after).await;
    let platform = only(&diff);
    assert!(platform.files.is_empty());
    let lines: Vec<_> = platform
        .config
        .iter()
        .map(|change| format!("{}: {:?} → {:?}", change.field, change.before, change.after))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn indexes_are_compared_platform_by_platform() {
    let repository = Project::new().repository("a");
    let both = write_index(
        &repository,
        "1",
        &[BaseImage::debian("amd64"), BaseImage::debian("arm64")],
    )
    .await;
    let one = write_index(
        &repository,
        "2",
        &[BaseImage::debian("arm64"), BaseImage::debian("s390x")],
    )
    .await;
    let diff = diff(&repository, &both, &one).await;
    assert_eq!(only(&diff).platform.to_string(), "linux/arm64");
    assert!(only(&diff).files.is_empty() && only(&diff).config.is_empty());
    let names =
        |platforms: &[cairn_oci::Platform]| platforms.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (names(&diff.gone), names(&diff.new)),
        (vec!["linux/amd64".to_owned()], vec!["linux/s390x".to_owned()])
    );
}

#[tokio::test]
async fn an_image_is_the_same_as_itself() {
    let repository = Project::new().repository("a");
    let image = BaseImage::debian("amd64").write(&repository).await;
    let diff = diff(&repository, &image, &image).await;
    assert!(diff.same && only(&diff).files.is_empty() && only(&diff).new.is_empty());
    assert_eq!(first(&repository, &image, &image).await, "");
}

#[tokio::test]
async fn a_missing_layer_is_named() {
    let repository = Project::new().repository("a");
    let upper = tree(vec![("app", file("x"))]);
    let before = on_debian(vec![]).write(&repository).await;
    let after = on_debian(vec![upper.clone()]).write(&repository).await;
    let layer = Digest::of(&pack(&upper, Compression::Gzip).0);
    repository.delete_blob(&layer).await.unwrap();
    let (before, after) = (
        raw(&repository, before.digest).await,
        raw(&repository, after.digest).await,
    );
    let side = |manifest| Side {
        repository: &repository,
        manifest,
    };
    let error = diff_images(side(&before), side(&after), &Limits::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("a lacks {layer}"));
}

#[tokio::test]
async fn the_first_difference_is_named_to_the_byte() {
    let repository = Project::new().repository("a");
    let with = |node: Node| on_debian(vec![tree(vec![("a", file("same")), ("app", node)])]);
    let attributes = |attributes: Attributes| Node::File {
        attributes,
        source: Source::Bytes(b"content"[..].into()),
    };
    let plain = Attributes::file(false);
    let before = with(attributes(plain.clone())).write(&repository).await;
    let others = [
        ("content", with(file("conTent"))),
        ("size", with(file("content and more"))),
        (
            "mode",
            with(attributes(Attributes {
                mode: 0o600,
                ..plain.clone()
            })),
        ),
        ("owner", with(attributes(Attributes { gid: 7, ..plain }))),
        ("kind", with(link("elsewhere"))),
        (
            "path",
            on_debian(vec![tree(vec![("a", file("same")), ("b", file("content"))])]),
        ),
        ("less", on_debian(vec![tree(vec![("a", file("same"))])])),
        ("layers", on_debian(vec![])),
    ];
    let mut all = String::new();
    for (name, other) in others {
        let after = other.write(&repository).await;
        all.push_str(&format!(
            "--- {name}\n{}",
            first(&repository, &before, &after).await
        ));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn other_bytes_for_the_same_archive_are_told_from_another_archive() {
    let repository = Project::new().repository("a");
    let image = BaseImage::debian("amd64");
    let before = image.write(&repository).await;
    let manifest: Manifest = json::parse(raw(&repository, before.digest).await.bytes(), 1 << 20).unwrap();
    // The same archive, with a gzip header that names another operating system.
    let (mut bytes, _) = pack(&debian_tree(), Compression::Gzip);
    bytes[9] = 3;
    let layer = write_blob(&repository, media_type::LAYER_GZIP, bytes).await;
    let other = Manifest {
        layers: vec![layer],
        ..manifest
    };
    let after = write_manifest(&repository, media_type::MANIFEST, json::canonical(&other)).await;
    let message = first(&repository, &before, &after).await;
    assert!(
        message.contains("only its compression differs, from byte 9 of the compressed layer on"),
        "{message}"
    );
}
