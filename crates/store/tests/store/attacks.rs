//! Stores that were damaged, or that others prepared.

#![expect(
    clippy::disallowed_methods,
    reason = "damages files in ways that the writer of files cannot"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cairn_oci::Digest;
use cairn_store::{
    Directory, Page, Repository, RepositoryError, Store, Target, Written, collect, from_bytes, verified,
};

use crate::content::{assert_whole, has_blob, image, name, open, points_at, push, tag, write_blob};
use crate::writers::list;

fn blob_path(store: &Path, digest: &Digest) -> PathBuf {
    store.join("repos/hello/_layout/blobs/sha256").join(digest.hex())
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    let place = place % bytes.len();
    bytes[place] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn e5_a_rotten_manifest_is_refused_and_heals_when_written_again() {
    let place = tempfile::tempdir().unwrap();
    let repository = open(place.path());
    let image = image("rotten");
    push(&*repository, "1.0", &image).await.unwrap();
    let digest = image.manifest.digest();
    let path = blob_path(place.path(), &digest);
    for position in (0..image.manifest.bytes().len()).step_by(7) {
        flip(&path, position);
        for target in [Target::Tag(tag("1.0")), Target::Digest(digest)] {
            let read = repository.read_manifest(&target).await;
            let right = matches!(read, Err(RepositoryError::Digest { expected, .. }) if expected == digest);
            assert!(
                right,
                "a manifest with byte {position} flipped was served: {read:?}"
            );
        }
        push(&*repository, "1.0", &image).await.unwrap();
        assert_eq!(points_at(&*repository, "1.0").await, Some(digest));
    }
}

#[tokio::test]
async fn e5_a_rotten_or_short_blob_does_not_pass_verification() {
    let place = tempfile::tempdir().unwrap();
    let repository = open(place.path());
    let content = b"sound content".repeat(50);
    let digest = Digest::of(&content);
    write_blob(&*repository, &content).await.unwrap();
    let path = blob_path(place.path(), &digest);
    flip(&path, 100);
    let blob = repository.read_blob(&digest, None).await.unwrap().unwrap();
    assert!(
        collect(verified(blob.content, digest, blob.size), 10_000)
            .await
            .is_err()
    );
    for short in [&b""[..], &content[..10]] {
        fs::write(&path, short).unwrap();
        let written = repository
            .write_blob(&digest, content.len() as u64, from_bytes(content.clone()))
            .await;
        assert_eq!(
            written.unwrap(),
            Written::New,
            "a truncated blob was taken for the whole one"
        );
        assert!(has_blob(&*repository, digest).await);
    }
}

#[tokio::test]
async fn e5_damaged_names_are_errors_and_not_absent() {
    let place = tempfile::tempdir().unwrap();
    let repository = open(place.path());
    let image = image("damaged");
    push(&*repository, "1.0", &image).await.unwrap();
    let layout = place.path().join("repos/hello/_layout");
    for bytes in [&b""[..], b"{}", b"{\"digest\":", b"\0\0\0\0"] {
        fs::write(layout.join("refs/tags/1.0"), bytes).unwrap();
        let read = repository.read_manifest(&Target::Tag(tag("1.0"))).await;
        assert!(
            matches!(read, Err(RepositoryError::Damaged { .. })),
            "{bytes:?}: {read:?}"
        );
        let moved = push(&*repository, "1.0", &crate::content::image("other")).await;
        assert!(
            matches!(moved, Err(RepositoryError::Damaged { .. })),
            "perhaps it was sealed: {moved:?}"
        );
    }
    fs::remove_file(blob_path(place.path(), &image.manifest.digest())).unwrap();
    let read = repository
        .read_manifest(&Target::Digest(image.manifest.digest()))
        .await;
    assert!(matches!(read, Err(RepositoryError::Damaged { .. })), "{read:?}");
}

#[tokio::test]
async fn e11_a_newer_store_is_refused_and_nothing_is_written() {
    let place = tempfile::tempdir().unwrap();
    push(&*open(place.path()), "1.0", &image("old")).await.unwrap();
    assert_eq!(fs::read_to_string(place.path().join("version")).unwrap(), "1\n");
    // One that is open while somebody upgrades the store must stop too.
    let early = open(place.path());
    fs::write(place.path().join("version"), "2\n").unwrap();
    let before = snapshot(place.path());
    let error = Directory::open(place.path()).unwrap_err();
    assert!(
        matches!(
            error,
            RepositoryError::NewerVersion {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error:?}"
    );
    let pushed = push(&*early, "2.0", &image("new")).await;
    assert!(
        matches!(pushed, Err(RepositoryError::NewerVersion { .. })),
        "{pushed:?}"
    );
    assert_eq!(snapshot(place.path()), before);
    for damaged in ["", "one", "-1", "1 2", &"1".repeat(70)] {
        fs::write(place.path().join("version"), damaged).unwrap();
        assert!(Directory::open(place.path()).is_err(), "version {damaged:?}");
    }
}

/// Every path below `root` with its content.
fn snapshot(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for name in list(root) {
        let path = root.join(name);
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(snapshot(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn opening_and_reading_make_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let store = Directory::open(&path).unwrap();
    let repository = store.open_repository(&name());
    let digest = Digest::of(b"");
    assert_eq!(
        repository.read_manifest(&Target::Tag(tag("1.0"))).await.unwrap(),
        None
    );
    assert_eq!(repository.list_tags(&Page::first()).await.unwrap().tags, []);
    assert!(!repository.delete_tag(&tag("1.0")).await.unwrap());
    assert!(!repository.delete_manifest(&digest).await.unwrap());
    assert!(!repository.delete_blob(&digest).await.unwrap());
    assert!(
        !repository
            .mount_blob(&digest, &"other".parse().unwrap())
            .await
            .unwrap()
    );
    assert!(store.cache_read(&digest).await.unwrap().is_none());
    assert!(!store.contains(&name()).await.unwrap());
    store.flush().await.unwrap();
    store.flush_all().await.unwrap();
    store.flush_repository(&name()).await.unwrap();
    assert_eq!(list(place.path()), Vec::<String>::new());
}

#[tokio::test]
async fn e12_a_store_that_others_could_change_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let open_to_all = place.path().join("open");
    fs::create_dir(&open_to_all).unwrap();
    for mode in [0o777, 0o1777, 0o702] {
        fs::set_permissions(&open_to_all, fs::Permissions::from_mode(mode)).unwrap();
        let opened = Directory::open(&open_to_all);
        assert!(
            matches!(opened, Err(RepositoryError::Unsafe { .. })),
            "mode {mode:o}: {opened:?}"
        );
    }
    let through = place.path().join("through");
    symlink(&open_to_all, &through).unwrap();
    assert!(matches!(
        Directory::open(&through),
        Err(RepositoryError::Unsafe { .. })
    ));
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o755)).unwrap();
    push(&*open(&through), "1.0", &image("own link")).await.unwrap();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        Directory::open(&file),
        Err(RepositoryError::Unsafe { .. })
    ));
    a_link_to_another_user(place.path());
}

/// Only root can give a directory away.
fn a_link_to_another_user(place: &Path) {
    let foreign = place.join("foreign");
    fs::create_dir(&foreign).unwrap();
    if std::os::unix::fs::chown(&foreign, Some(65_534), None).is_err() {
        println!("skipped: giving a directory to another user needs root");
        return;
    }
    let link = place.join("to-foreign");
    symlink(&foreign, &link).unwrap();
    assert!(matches!(
        Directory::open(&link),
        Err(RepositoryError::Unsafe { .. })
    ));
}

#[tokio::test]
async fn e13_a_lost_or_damaged_index_is_rebuilt() {
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path()).unwrap();
    let repository = store.open_repository(&name());
    push(&repository, "2.0", &image("two")).await.unwrap();
    push(&repository, "1.0", &image("one")).await.unwrap();
    store.flush().await.unwrap();
    let path = repository.layout().join("index.json");
    let sound = fs::read(&path).unwrap();
    for damage in [None, Some(&b""[..]), Some(b"{}"), Some(b"\0\0\0")] {
        match damage {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_whole(&repository).await;
        assert_eq!(
            points_at(&repository, "1.0").await,
            Some(image("one").manifest.digest())
        );
        Directory::open(place.path()).unwrap().flush_all().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), sound);
    }
    assert_eq!(store.repositories(&Page::first()).await.unwrap(), [name()]);
}

#[tokio::test]
async fn an_unchanged_index_is_not_written_again() {
    use std::os::unix::fs::MetadataExt;
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path()).unwrap();
    let repository = store.open_repository(&name());
    push(&repository, "1.0", &image("one")).await.unwrap();
    store.flush().await.unwrap();
    let inode = || repository.layout().join("index.json").metadata().unwrap().ino();
    let before = inode();
    push(&repository, "1.0", &image("one")).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(inode(), before);
    push(&repository, "2.0", &image("one")).await.unwrap();
    store.flush().await.unwrap();
    assert_ne!(inode(), before);
}

#[tokio::test]
async fn blobs_are_mounted_by_a_second_name_and_survive_the_first() {
    use std::os::unix::fs::MetadataExt;
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path()).unwrap();
    let (source, target) = (
        store.open_repository(&name()),
        store.open_repository(&"other".parse().unwrap()),
    );
    write_blob(&source, b"shared").await.unwrap();
    let digest = Digest::of(b"shared");
    assert!(target.mount_blob(&digest, &name()).await.unwrap());
    assert_eq!(blob_path(place.path(), &digest).metadata().unwrap().nlink(), 2);
    assert!(source.delete_blob(&digest).await.unwrap());
    assert!(has_blob(&target, digest).await);
}

#[tokio::test]
async fn the_blob_that_is_a_manifest_is_not_deleted_as_a_blob() {
    let place = tempfile::tempdir().unwrap();
    let repository = open(place.path());
    let image = image("kept");
    push(&*repository, "1.0", &image).await.unwrap();
    assert!(!repository.delete_blob(&image.manifest.digest()).await.unwrap());
    assert_eq!(
        points_at(&*repository, "1.0").await,
        Some(image.manifest.digest())
    );
}

#[tokio::test]
async fn repositories_are_listed_by_bytes_and_pages() {
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path()).unwrap();
    let names = ["a", "a-b", "a.b", "a/b", "a/b/c", "ab", "z"];
    for name in names.iter().rev() {
        let repository = store.open_repository(&name.parse().unwrap());
        write_blob(&repository, b"x").await.unwrap();
    }
    fs::create_dir_all(place.path().join("repos/not/a/repository")).unwrap();
    symlink(place.path().join("repos/z"), place.path().join("repos/link")).unwrap();
    let all = store.repositories(&Page::first()).await.unwrap();
    assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
    let page = Page {
        after: Some("a.b".to_owned()),
        limit: 2,
    };
    let part = store.repositories(&page).await.unwrap();
    assert_eq!(
        part.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["a/b", "a/b/c"]
    );
    assert!(store.contains(&"a/b".parse().unwrap()).await.unwrap());
    assert!(!store.contains(&"not/a".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn the_cache_verifies_what_it_gives_back() {
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path()).unwrap();
    let content = b"a fetched input".repeat(40);
    let (digest, size) = (Digest::of(&content), content.len() as u64);
    let wrong = store
        .cache_write(&digest, size, from_bytes(vec![0; content.len()]))
        .await;
    assert!(matches!(wrong, Err(RepositoryError::Digest { .. })), "{wrong:?}");
    assert!(store.cache_read(&digest).await.unwrap().is_none());
    let write = async || {
        store
            .cache_write(&digest, size, from_bytes(content.clone()))
            .await
            .unwrap()
    };
    let read = async || collect(store.cache_read(&digest).await.unwrap().unwrap().content, 10_000).await;
    assert_eq!(write().await, Written::New);
    assert_eq!(write().await, Written::Present);
    assert_eq!(read().await.unwrap(), content);
    flip(&place.path().join("cache/sha256").join(digest.hex()), 5);
    assert!(read().await.is_err(), "a rotten input was given back as sound");
    assert!(store.cache_remove(&digest).await.unwrap());
    assert_eq!(write().await, Written::New);
    assert_eq!(read().await.unwrap(), content);
}
