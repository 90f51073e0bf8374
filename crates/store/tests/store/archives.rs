//! Images in one file: written, read, and refused.

#![expect(
    clippy::disallowed_methods,
    reason = "makes archives as other tools make them"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, json, media_type};
use cairn_store::archive::{self, Format, ImageName, PackError, pack};
use cairn_store::transfer::Transfer;
use cairn_store::{
    Archive, Condition, Memory, Page, RawManifest, Repository, RepositoryError, Target, collect,
};
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use crate::content::{assert_whole, has_blob, write_blob};

/// The files of an archive, in their order.
type Files<'a> = Vec<(&'a str, Vec<u8>)>;

fn named(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn memory() -> Arc<dyn Repository> {
    Arc::new(Memory::new().open(&"hello".parse().unwrap()))
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    ImageConfig::parse(config.to_string().as_bytes()).unwrap();
    json::canonical(&config)
}

/// Puts an image of uncompressed layers into `repository`.
async fn image(repository: &dyn Repository, layers: &[&[u8]]) -> RawManifest {
    let config = config(layers);
    for blob in layers.iter().copied().chain([&config[..]]) {
        write_blob(repository, blob).await.unwrap();
    }
    let descriptors = layers
        .iter()
        .map(|layer| Descriptor::of(media_type::LAYER, layer));
    let manifest = Manifest::image(Descriptor::of(media_type::CONFIG, &config), descriptors.collect());
    put(repository, media_type::MANIFEST, json::canonical(&manifest)).await
}

async fn put(repository: &dyn Repository, media_type: &str, bytes: Vec<u8>) -> RawManifest {
    let raw = RawManifest::new(media_type, bytes);
    let target = Target::Digest(raw.digest());
    repository
        .write_manifest(&target, &raw, &Condition::Always)
        .await
        .unwrap();
    raw
}

async fn index(repository: &dyn Repository) -> RawManifest {
    let mut entries = Vec::new();
    for (architecture, layer) in [("amd64", &b"one"[..]), ("arm64", b"two")] {
        let image = image(repository, &[layer]).await.descriptor();
        entries.push(image.with_platform(Platform::new("linux", architecture)));
    }
    put(
        repository,
        media_type::INDEX,
        json::canonical(&Index::images(entries)),
    )
    .await
}

fn open(path: &Path) -> Result<Archive, RepositoryError> {
    archive::open(path, &path.parent().unwrap().join("scratch"))
}

fn header(kind: EntryType, name: &str, link: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn tar_of(files: &Files<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        bytes.extend_from_slice(header(EntryType::Regular, name, "", content.len() as u64).as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn docker_files() -> Files<'static> {
    let list = r#"[{"Config":"c.json","RepoTags":["localhost/hello:1"],"Layers":["a/layer.tar","b.tar"]}]"#;
    vec![
        ("a/layer.tar", b"one".to_vec()),
        ("b.tar", b"two".to_vec()),
        ("c.json", config(&[b"one", b"two"])),
        ("manifest.json", list.as_bytes().to_vec()),
    ]
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn what_is_packed_is_read_again_byte_for_byte() {
    let (place, from) = (Directory::new(), memory());
    for (name, format, raw) in [
        ("index.tar", Format::Oci, index(&*from).await),
        ("image.tar", Format::Oci, image(&*from, &[b"one", b"two"]).await),
        (
            "docker.tar",
            Format::Docker,
            image(&*from, &[b"one", b"two"]).await,
        ),
    ] {
        let package = pack(Arc::clone(&from), &raw, format, &named("hello:1.0"))
            .await
            .unwrap();
        let path = place.path(name);
        package.write(&path).await.unwrap();
        assert_eq!(path.metadata().unwrap().len(), package.size(), "{name}");
        let archive = open(&path).unwrap();
        assert_eq!(
            archive.names().collect::<Vec<_>>(),
            ["localhost/hello:1.0", "1.0"]
        );
        for wanted in [None, Some("1.0"), Some("hello:1.0"), Some("localhost/hello:1.0")] {
            assert_eq!(archive.select(wanted).unwrap().digest, raw.digest(), "{wanted:?}");
        }
        assert!(archive.select(Some("2.0")).is_none());
        assert_whole(&archive).await;
        let tag = Target::Tag("1.0".parse().unwrap());
        let read = archive.read_manifest(&tag).await.unwrap().unwrap();
        assert_eq!(read, raw);
        let to = memory();
        let transfer = Transfer::between(&archive, &*to);
        transfer.image(&read).await.unwrap();
        assert_eq!(to.read_manifest(&raw.digest().into()).await.unwrap(), Some(raw));
    }
    assert_eq!(place.names(), ["docker.tar", "image.tar", "index.tar"]);
}

#[tokio::test]
async fn the_same_image_is_the_same_archive() {
    let (place, from) = (Directory::new(), memory());
    let raw = index(&*from).await;
    let mut seen = Vec::new();
    for name in ["a.tar", "b.tar"] {
        let other = memory();
        let transfer = Transfer::between(&*from, &*other);
        transfer.image(&raw).await.unwrap();
        let package = pack(other, &raw, Format::Oci, &named("hello:1")).await.unwrap();
        package.write(&place.path(name)).await.unwrap();
        seen.push(fs::read(place.path(name)).unwrap());
        let streamed = collect(package.content(), 1 << 20).await.unwrap();
        assert_eq!(streamed, seen[0]);
    }
    assert_eq!(seen[0], seen[1]);
    // The form is fixed: whoever changes it changes what others have kept.
    assert_eq!(
        Digest::of(&seen[0]).to_string(),
        "sha256:fb85500976640f021759d9c089af18e3574e6fdea189bd792b6c1eb748d1b95b"
    );
}

#[tokio::test]
async fn members_read_as_a_part() {
    let place = Directory::new();
    let archive = open(&place.write("a.tar", &tar_of(&docker_files()))).unwrap();
    let blob = archive
        .read_blob(&Digest::of(b"two"), Some(1..9))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(blob.size, 3);
    assert_eq!(collect(blob.content, 10).await.unwrap(), &b"wo"[..]);
    assert!(
        archive
            .read_blob(&Digest::of(b"three"), None)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn an_archive_of_docker_save_becomes_an_image_with_its_layers_as_they_are() {
    let place = Directory::new();
    let plain = open(&place.write("plain.tar", &tar_of(&docker_files()))).unwrap();
    assert_eq!(plain.format(), Format::Docker);
    assert_whole(&plain).await;
    assert!(has_blob(&plain, Digest::of(b"one")).await);
    let found = plain.select(Some("hello:1")).unwrap().clone();

    // `docker save | gzip`: the same image, and no file is left behind.
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar_of(&docker_files())).unwrap();
    let gzip = place.write("gzip.tar.gz", &gzip.finish().unwrap());
    let compressed = open(&gzip).unwrap();
    assert_eq!(compressed.select(None).unwrap().digest, found.digest);
    assert_whole(&compressed).await;
    assert_eq!(fs::read_dir(place.path("scratch")).unwrap().count(), 0);

    // A layer that is there twice is a link, as Docker wrote them until version 24.
    let mut files = docker_files();
    files[2].1 = config(&[b"one", b"one"]);
    files.remove(1);
    let mut bytes = header(EntryType::Symlink, "b.tar", "a/../a/./layer.tar", 0)
        .as_bytes()
        .to_vec();
    bytes.extend(tar_of(&files));
    let linked = open(&place.write("linked.tar", &bytes)).unwrap();
    assert_whole(&linked).await;

    // A compressed layer has the digest of its bytes.
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"one").unwrap();
    let layer = gzip.finish().unwrap();
    let mut files = docker_files();
    files[0].1.clone_from(&layer);
    let mixed = open(&place.write("mixed.tar", &tar_of(&files))).unwrap();
    assert_whole(&mixed).await;
    assert!(has_blob(&mixed, Digest::of(&layer)).await);
}

#[tokio::test]
async fn what_does_not_fit_an_archive_is_refused_before_anything_is_written() {
    let (place, from) = (Directory::new(), memory());
    let several = index(&*from).await;
    let name = named("hello:1");
    let error = pack(Arc::clone(&from), &several, Format::Docker, &name)
        .await
        .unwrap_err();
    assert!(matches!(error, PackError::Platforms { .. }), "{error}");
    assert!(error.to_string().contains("linux/amd64, linux/arm64"), "{error}");

    let config = config(&[b"one"]);
    write_blob(&*from, &config).await.unwrap();
    let layer = Descriptor::of(media_type::LAYER_ZSTD, b"one");
    let manifest = Manifest::image(Descriptor::of(media_type::CONFIG, &config), vec![layer]);
    let zstd = put(&*from, media_type::MANIFEST, json::canonical(&manifest)).await;
    let error = pack(Arc::clone(&from), &zstd, Format::Docker, &name)
        .await
        .unwrap_err();
    assert!(matches!(error, PackError::LayerType { .. }), "{error}");
    pack(Arc::clone(&from), &zstd, Format::Oci, &name).await.unwrap();

    let old = place.write("a.tar", b"old");
    from.delete_blob(&Digest::of(b"two")).await.unwrap();
    let package = pack(from, &several, Format::Oci, &name).await.unwrap();
    let error = package.write(&old).await.unwrap_err();
    assert!(matches!(error, PackError::Source(_)), "{error}");
    assert_eq!(fs::read(&old).unwrap(), b"old");
    assert_eq!(place.names(), ["a.tar"]);
    let error = package.write(place.0.path()).await.unwrap_err();
    assert!(
        matches!(error, PackError::Write(_) | PackError::Source(_)),
        "{error}"
    );
}

#[test]
fn c9_hostile_archives_are_refused() {
    let place = Directory::new();
    let sound = tar_of(&docker_files());
    open(&place.write("sound.tar", &sound)).unwrap();
    let with = |kind: EntryType, name: &str, link: &str| {
        let mut bytes = header(kind, name, link, 0).as_bytes().to_vec();
        bytes.extend_from_slice(&sound);
        bytes
    };
    let replaced = |name: &str, content: &[u8]| {
        let mut files = docker_files();
        files.retain(|(other, _)| *other != name);
        if !content.is_empty() {
            files.push((name.to_owned().leak(), content.to_vec()));
        }
        tar_of(&files)
    };
    let list = |text: &str| replaced("manifest.json", text.as_bytes());
    let mut extension = header(EntryType::XHeader, "x", "", 1 << 40).as_bytes().to_vec();
    extension.extend_from_slice(&sound);
    let pax = |records: &str| {
        let mut bytes = header(EntryType::XHeader, "x", "", records.len() as u64)
            .as_bytes()
            .to_vec();
        bytes.extend_from_slice(records.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend_from_slice(&sound);
        bytes
    };
    let cases: BTreeMap<&str, Vec<u8>> = BTreeMap::from([
        ("empty", Vec::new()),
        ("no archive", b"no archive".repeat(100)),
        ("nothing but the end", vec![0; 1024]),
        ("a member twice", with(EntryType::Regular, "c.json", "")),
        ("a name that leads out", with(EntryType::Regular, "../c.json", "")),
        ("an absolute name", with(EntryType::Regular, "/c.json", "")),
        (
            "a link that leads out",
            with(EntryType::Symlink, "l", "../../etc/passwd"),
        ),
        ("an absolute link", with(EntryType::Symlink, "l", "/etc/passwd")),
        ("a hard link that leads out", with(EntryType::Link, "l", "../x")),
        ("a device", with(EntryType::Char, "d", "")),
        ("a FIFO", with(EntryType::Fifo, "f", "")),
        ("a sparse file", with(EntryType::GNUSparse, "s", "")),
        ("a header for all", with(EntryType::XGlobalHeader, "g", "")),
        ("a huge extension", extension),
        ("a size beyond the end", pax("26 size=9999999999999999\n")),
        ("a size that is none", pax("11 size=-1\n")),
        ("a record cut off", pax("99 size=1\n")),
        ("a sparse file in PAX", pax("22 GNU.sparse.major=1\n")),
        ("no list", replaced("manifest.json", b"")),
        ("a list that is none", list("{}")),
        (
            "a list with a key twice",
            list(r#"[{"Config":"c.json","Config":"c.json","Layers":[]}]"#),
        ),
        ("a huge list", list(&" ".repeat(5 << 20))),
        (
            "a missing configuration",
            list(r#"[{"Config":"x.json","Layers":[]}]"#),
        ),
        (
            "a configuration outside",
            list(r#"[{"Config":"/etc/passwd","Layers":[]}]"#),
        ),
        (
            "a missing layer",
            list(r#"[{"Config":"c.json","Layers":["a/layer.tar","x.tar"]}]"#),
        ),
        (
            "too few layers",
            list(r#"[{"Config":"c.json","Layers":["b.tar"]}]"#),
        ),
        ("a configuration that is none", replaced("c.json", b"[]")),
        ("a layer in xz", replaced("b.tar", b"\xfd7zXZ\0")),
    ]);
    for (name, bytes) in cases {
        let error = open(&place.write("bad.tar", &bytes)).err();
        let right = matches!(
            error,
            Some(RepositoryError::Damaged { .. } | RepositoryError::TooLarge { .. })
        );
        assert!(right, "{name}: {error:?}");
    }
}

#[test]
fn c9_an_archive_that_is_cut_off_or_changed_never_panics() {
    let place = Directory::new();
    let sound = tar_of(&docker_files());
    // The two zero blocks of the end may be missing; nothing else may.
    for length in 0..sound.len() - 1024 {
        let opened = open(&place.write("cut.tar", &sound[..length]));
        assert!(opened.is_err() || sound.len() - 1024 - length < 512, "{length}");
    }
    for position in (0..sound.len() - 1024).step_by(13) {
        let mut bytes = sound.clone();
        bytes[position] ^= 0x15;
        drop(open(&place.write("changed.tar", &bytes)));
    }
}

#[tokio::test]
async fn c1_content_without_its_digest_is_not_passed_on() {
    let place = Directory::new();
    let mut files = docker_files();
    files[1].1 = b"TWO".to_vec();
    let archive = open(&place.write("a.tar", &tar_of(&files))).unwrap();
    let found = Target::Digest(archive.select(None).unwrap().digest);
    let raw = archive.read_manifest(&found).await.unwrap().unwrap();
    let to = memory();
    let transfer = Transfer::between(&archive, &*to);
    transfer.image(&raw).await.unwrap_err();
    assert!(to.stat_manifest(&found).await.unwrap().is_none());

    let from = memory();
    let raw = image(&*from, &[b"one"]).await;
    let path = place.path("oci.tar");
    let package = pack(from, &raw, Format::Oci, &named("hello:1")).await.unwrap();
    package.write(&path).await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let manifest = bytes
        .windows(raw.bytes().len())
        .position(|part| part == raw.bytes());
    bytes[manifest.unwrap() + 5] ^= 1;
    let archive = open(&place.write("bad.tar", &bytes)).unwrap();
    let read = archive.read_manifest(&Target::Digest(raw.digest())).await;
    assert!(matches!(read, Err(RepositoryError::Digest { .. })), "{read:?}");
}

#[tokio::test]
async fn c7_an_archive_of_zeros_is_not_unpacked_without_end() {
    let place = Directory::new();
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![0; 1 << 20]).unwrap();
    let member = gzip.finish().unwrap();
    let path = place.write("bomb.tar.gz", &member.repeat(500));
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains("decompressed it has more"), "{error}");
    assert_eq!(fs::read_dir(place.path("scratch")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_archive_is_never_written_to() {
    let place = Directory::new();
    let archive = open(&place.write("a.tar", &tar_of(&docker_files()))).unwrap();
    let refused = write_blob(&archive, b"x").await;
    assert!(
        matches!(refused, Err(RepositoryError::Unsupported { .. })),
        "{refused:?}"
    );
    let tags = archive.list_tags(&Page::first()).await.unwrap().tags;
    assert_eq!(tags, ["1".parse().unwrap()]);
}
