//! The power goes out, after every operation of the file system (E2), with everything that was not flushed lost,
//! kept, or torn, in any combination.
//!
//! `kill -9` says nothing about this: the kernel still writes what a killed process wrote. So the operations are
//! recorded, and for each prefix of them the disks are made that could be left.

mod disk;
mod record;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cairn_oci::Digest;
use cairn_store::{Directory, Repository, Store, from_bytes};

use crate::content::{Random, assert_whole, has_blob, image, name, open, push, write_blob};
use disk::Disk;
use record::{Acknowledged, Operation, RecordingFs};

/// Combinations tried where there are too many for all of them.
const SAMPLES: u64 = 16;

/// Everything that a store acknowledges, once.
async fn work(fs: &RecordingFs, path: &Path) {
    let store = Directory::open_on(Arc::new(fs.clone()), path).unwrap();
    let repository = store.open_repository(&name());
    let blob = b"a blob of its own, longer than a sector".repeat(40);
    write_blob(&repository, &blob).await.unwrap();
    fs.acknowledge(Acknowledged::Blob(Digest::of(&blob)));
    // From another place of the same file system, where it was hashed while it was written.
    let scratch = path.join("cache/scratch");
    let files = cairn_store::files::Writer::new(Arc::new(fs.clone()), None);
    files.create_directories(&scratch).unwrap();
    let spooled = b"a layer that waited in a file".repeat(60);
    let mut file = files.temporary(&scratch).unwrap();
    spooled.chunks(600).for_each(|piece| file.append(piece).unwrap());
    repository
        .write_spooled(&Digest::of(&spooled), file)
        .await
        .unwrap();
    fs.acknowledge(Acknowledged::Blob(Digest::of(&spooled)));
    for (tag, label) in [
        ("1.0.0", "one"),
        ("prod", "one"),
        ("2.0.0", "two"),
        ("prod", "two"),
    ] {
        let image = image(label);
        push(&repository, tag, &image).await.unwrap();
        fs.acknowledge(Acknowledged::Tag(tag.to_owned(), image.manifest.digest()));
    }
    let sibling = store.open_repository(&"team/sibling".parse().unwrap());
    assert!(sibling.mount_blob(&Digest::of(&blob), &name()).await.unwrap());
    fs.acknowledge(Acknowledged::Mounted(Digest::of(&blob)));
    let uploaded = b"an upload in two pieces".repeat(60);
    let id = store.begin_upload(&name()).await.unwrap();
    let (first, second) = uploaded.split_at(700);
    store
        .append_upload(&name(), &id, 0, from_bytes(first.to_vec()))
        .await
        .unwrap();
    store
        .append_upload(&name(), &id, 700, from_bytes(second.to_vec()))
        .await
        .unwrap();
    store
        .finish_upload(&name(), &id, &Digest::of(&uploaded))
        .await
        .unwrap();
    fs.acknowledge(Acknowledged::Blob(Digest::of(&uploaded)));
    store.flush().await.unwrap();
}

async fn recorded() -> Vec<Operation> {
    let place = tempfile::tempdir().unwrap();
    let fs = RecordingFs::new(place.path());
    work(&fs, &place.path().join("store")).await;
    fs.operations()
}

/// What a tag may show after `done` operations: what was acknowledged last, or what was being written.
fn allowed(operations: &[Operation], done: usize, tag: &str) -> BTreeSet<Option<Digest>> {
    let values = |part: &[Operation]| -> Vec<Option<Digest>> {
        let found = part.iter().filter_map(|operation| match operation {
            Operation::Acknowledge(Acknowledged::Tag(name, digest)) if name == tag => Some(Some(*digest)),
            _ => None,
        });
        found.collect()
    };
    let last = values(&operations[..done]).pop().unwrap_or(None);
    let next = values(&operations[done..]).first().copied().unwrap_or(last);
    BTreeSet::from([last, next])
}

/// A directory in memory where there is one: thousands of disks are made.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Panics unless the store at `path` has everything that the first `done` operations acknowledged.
async fn check(operations: Arc<Vec<Operation>>, done: usize, path: std::path::PathBuf) {
    let repository = open(&path);
    assert_whole(&*repository).await;
    for tag in ["1.0.0", "2.0.0", "prod"] {
        let shown = crate::content::points_at(&*repository, tag).await;
        assert!(
            allowed(&operations, done, tag).contains(&shown),
            "after {done} operations {tag} shows {shown:?}"
        );
    }
    for operation in &operations[..done] {
        let (digest, place) = match operation {
            Operation::Acknowledge(Acknowledged::Blob(digest)) => (digest, name()),
            Operation::Acknowledge(Acknowledged::Mounted(digest)) => {
                (digest, "team/sibling".parse().unwrap())
            }
            _ => continue,
        };
        let repository = Directory::open(&path).unwrap().open_repository(&place);
        assert!(
            has_blob(&repository, *digest).await,
            "after {done} operations the blob {digest} is gone"
        );
    }
}

/// The first prefix and disk on which something acknowledged is lost.
async fn first_loss(operations: Vec<Operation>, seed: u64) -> Option<String> {
    let operations = Arc::new(operations);
    let (mut disk, mut random) = (Disk::new(), Random(seed));
    for done in 0..=operations.len() {
        let next = operations.get(done);
        // After an acknowledgement the disk is the same and more is demanded of it.
        let fates = match next {
            Some(Operation::Acknowledge(_)) => Vec::new(),
            _ => disk.fates(SAMPLES, &mut random),
        };
        for fates in fates {
            let place = scratch();
            disk.after_power_loss(&fates, place.path());
            let path = place.path().join("store");
            // A task of its own, so that a panic is a finding here and not the end.
            let checked = tokio::spawn(check(Arc::clone(&operations), done, path)).await;
            if let Err(panic) = checked {
                return Some(format!(
                    "{panic} with {fates:?} after operation {done} of {operations:#?}"
                ));
            }
        }
        if let Some(operation) = next {
            disk.apply(operation);
        }
    }
    None
}

#[tokio::test]
async fn e2_what_was_acknowledged_survives_a_power_loss_at_any_moment() {
    let seed = 0x00ca_1721;
    println!("seed {seed}");
    let loss = first_loss(recorded().await, seed).await;
    assert!(loss.is_none(), "{}", loss.unwrap_or_default());
}

/// The test above is worth something only if it fails when a flush is missing.
#[tokio::test]
async fn e2_without_one_flush_the_loss_is_found() {
    for (what, is_it) in [
        (
            "of a blob",
            (|op| op.flushes_file_for("blobs/sha256")) as fn(&Operation) -> bool,
        ),
        ("of a tag", |op| op.flushes_file_for("refs/tags")),
        ("of the directory of blobs", |op| {
            op.flushes_directory("blobs/sha256")
        }),
        ("of the directory of tags", |op| op.flushes_directory("refs/tags")),
        ("of the directory of repositories", |op| {
            op.flushes_directory("repos")
        }),
    ] {
        let mut operations = record::with_destinations(recorded().await);
        let place = operations
            .iter()
            .position(is_it)
            .unwrap_or_else(|| panic!("no flush {what}"));
        operations.remove(place);
        assert!(
            first_loss(operations, 1).await.is_some(),
            "without the flush {what} nothing was lost"
        );
    }
}

/// Write, flush, rename, flush of the directory, and only then the acknowledgement.
#[tokio::test]
async fn e4_the_order_of_operations_is_the_one_that_survives() {
    let operations = record::with_destinations(recorded().await);
    let first = operations
        .iter()
        .position(|op| matches!(op, Operation::Acknowledge(_)))
        .unwrap();
    let until = &operations[..first];
    let at = |what: &str, is_it: &dyn Fn(&Operation) -> bool| {
        until
            .iter()
            .rposition(is_it)
            .unwrap_or_else(|| panic!("no {what} in {until:#?}"))
    };
    let write = at("write", &|op| matches!(op, Operation::Write { .. }));
    let flush = at("flush", &|op| op.flushes_file_for("blobs/sha256"));
    let rename = at(
        "rename",
        &|op| matches!(op, Operation::Rename { to, .. } if to.contains("blobs/sha256/")),
    );
    let directory = at("directory flush", &|op| op.flushes_directory("blobs/sha256"));
    assert!(
        write < flush && flush < rename && rename < directory,
        "{until:#?}"
    );
    for (made, operation) in until.iter().enumerate() {
        if let Operation::CreateDirectory { path } = operation {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let flushed = until[made..]
                .iter()
                .any(|op| matches!(op, Operation::SyncDirectory { path } if path == parent));
            assert!(flushed, "{path} was made and {parent:?} not flushed: {until:#?}");
        }
    }
}
