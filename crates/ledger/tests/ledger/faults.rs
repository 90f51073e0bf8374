//! Every write of every operation is broken, in every way: afterwards the same command completes. The matrix itself is in
//! `matrix.rs`; over HTTP it runs in `tests/faults.rs` of the workspace.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cairn_ledger::CopyOptions;
use cairn_ledger::operation::*;
use cairn_oci::{Digest, RepositoryName};
use cairn_store::error::MissingBlob;
use cairn_store::{
    ByteStream, Condition, Directory, Memory, Overlay, RawManifest, Repository, RepositoryError, Store,
    Target, Written,
};

use crate::late::Late;
use crate::matrix::{ALL, Care, break_every_write};
use crate::support::*;

const EVERY: [Fault; 3] = [Fault::Refused, Fault::Lost, Fault::Done];

fn memory() -> Repo {
    let name: RepositoryName = "team/web".parse().unwrap();
    Arc::new(Memory::new().open(&name))
}

#[tokio::test]
async fn g14_every_write_broken_in_linear_mode_leaves_a_command_that_completes() {
    break_every_write("memory, linear", Care::Thorough, async || memory()).await;
}

#[tokio::test]
async fn g14_every_write_broken_in_causal_mode_leaves_a_command_that_completes() {
    break_every_write("memory, causal", Care::Thorough, async || {
        Plain::new(memory()) as Repo
    })
    .await;
}

/// One store, and in it a new repository each time.
struct Disk {
    directory: Directory,
    number: AtomicU64,
    _path: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let path = quick_directory();
        Self {
            directory: Directory::open(path.path().join("store")).unwrap(),
            number: AtomicU64::new(0),
            _path: path,
        }
    }

    async fn fresh(&self) -> Repo {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let name = format!("team/web-{number}").parse().unwrap();
        self.directory.repository(&name).await.unwrap()
    }
}

#[tokio::test]
async fn g14_every_write_broken_on_disk_leaves_a_command_that_completes() {
    let disk = Disk::new();
    break_every_write("disk, linear", Care::Twice, async || disk.fresh().await).await;
}

#[tokio::test]
async fn g14_every_write_broken_on_disk_in_causal_mode_leaves_a_command_that_completes() {
    let disk = Disk::new();
    break_every_write("disk, causal", Care::Twice, async || {
        Plain::new(disk.fresh().await) as Repo
    })
    .await;
}

/// Each seed is another registry: other lists that are old, cut off and unsorted, other answers that are lost, other late writes. And
/// beside that, the write number `at` is broken.
#[tokio::test]
async fn g14_every_write_broken_on_a_bad_registry_leaves_a_command_that_completes() {
    for operation in ALL {
        let whole = operation.world(Plain::new(memory())).await;
        operation.run(&whole).await.unwrap();
        let expected = operation.end(&whole).await;
        for (number, fault) in EVERY.iter().enumerate() {
            for at in 0..12 {
                let seed = at * 3 + number as u64;
                let label = format!("{operation:?} write {at} {fault:?} seed {seed}");
                let world = operation.world(Plain::new(memory())).await;
                let late = Late::new(world.repo.clone(), seed, if at % 3 == 0 { 6 } else { 1000 });
                let faulty = Faulty::new(late.clone(), at, *fault, seed.is_multiple_of(2));
                let broken = operation.run(&world.through(faulty.clone())).await;
                // The same command, until it says that it is done.
                let mut done = broken.is_ok();
                for _ in 0..20 {
                    done = done || operation.run(&world.through(late.clone())).await.is_ok();
                }
                assert!(done, "{label}: it never completed");
                late.calm().await;
                let again = operation.run(&world.through(world.repo.clone())).await;
                again.unwrap_or_else(|error| panic!("{label}: {error}"));
                let end = operation.end(&world).await;
                assert_eq!(
                    (&end.shows, &end.tags),
                    (&expected.shows, &expected.tags),
                    "{label}"
                );
                let report = world.audit().await;
                assert!(report.ok, "{label}: {report:?}");
            }
        }
    }
}

/// A registry that loses sight of blobs: so many writes of manifests are refused for it, and some blobs until they are written again.
#[derive(Debug)]
struct Blind {
    inner: Repo,
    refusals: AtomicU64,
    needs_blob: bool,
}

#[async_trait]
impl Overlay for Blind {
    fn below(&self) -> &dyn Repository {
        &*self.inner
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        if self.needs_blob && self.refusals.load(Ordering::SeqCst) == 1 {
            self.refusals.store(0, Ordering::SeqCst);
        }
        self.inner.write_blob(digest, size, content).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        let left = self.refusals.load(Ordering::SeqCst);
        if left > 0 {
            if !self.needs_blob || left > 1 {
                self.refusals.store(left - 1, Ordering::SeqCst);
            }
            return Err(RepositoryError::BlobUnknown {
                manifest: manifest.digest(),
                blob: MissingBlob::Unnamed,
            });
        }
        self.inner.write_manifest(target, manifest, condition).await
    }
}

#[tokio::test]
async fn a_registry_that_loses_sight_of_a_blob_gets_it_again() {
    for (refusals, needs_blob, completes) in [
        (1, false, true),
        (3, false, true),
        (2, true, true),
        (u64::MAX, false, false),
    ] {
        for plain in [false, true] {
            let mut world = World::new();
            if plain {
                world = world.through(Plain::new(world.repo.clone()));
            }
            world.init().await;
            let digest = world.image("1").await;
            let through = world.through(Arc::new(Blind {
                inner: world.repo.clone(),
                refusals: AtomicU64::new(refusals),
                needs_blob,
            }));
            let opened = through.open().await;
            let request = release("1", digest, &["prod"]);
            let done = through
                .ledger
                .release(&opened, &through.context(), &request)
                .await;
            assert_eq!(done.is_ok(), completes, "{refusals} {needs_blob}: {done:?}");
            let there = world.open().await.view().records().len();
            assert_eq!(there, 1 + usize::from(completes));
        }
    }
}

/// One that loses sight of the blobs of each manifest when it is tagged for the first time.
#[derive(Debug)]
struct BlindForTags(Repo, Mutex<BTreeSet<String>>);

#[async_trait]
impl Overlay for BlindForTags {
    fn below(&self) -> &dyn Repository {
        &*self.0
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        if let Target::Tag(tag) = target
            && self.1.lock().unwrap().insert(tag.to_string())
        {
            return Err(RepositoryError::BlobUnknown {
                manifest: manifest.digest(),
                blob: MissingBlob::Unnamed,
            });
        }
        self.0.write_manifest(target, manifest, condition).await
    }
}

/// Every tag of a copied ledger, and the old heads of one that goes on, are written as those of every other operation.
#[tokio::test]
async fn a_registry_that_loses_sight_of_a_blob_gets_the_tags_of_a_copy_again() {
    for plain in [false, true] {
        let repo = || if plain { Plain::new(memory()) } else { memory() };
        let from = World::over(repo());
        from.init().await;
        from.release("1", &["prod"]).await;
        // An image that no version names has a tag of its own.
        let found = from.image("by hand").await;
        from.set_tag("prod", found).await;
        let request = RecordRequest {
            channel: channel("prod"),
            found,
        };
        let opened = from.open().await;
        from.ledger
            .record(&opened, &from.context(), &request)
            .await
            .unwrap();
        let to = World::over(repo());
        let blind = Arc::new(BlindForTags(to.repo.clone(), Mutex::default()));
        let through = to.through(blind.clone());
        let options = CopyOptions::default();
        let copied = from
            .ledger
            .copy_to(&from.open().await, &through.ledger, options)
            .await;
        assert!(copied.unwrap().changed);
        let refused = blind.1.lock().unwrap().clone();
        for prefix in ["1", "prod", "cairn-i-", "cairn-h"] {
            assert!(
                refused.iter().any(|tag| tag.starts_with(prefix)),
                "{prefix}: {refused:?}"
            );
        }
        assert_eq!(to.tag("prod").await, Some(found));
        assert!(to.audit().await.ok);

        let old = to.open().await;
        let head = old.head().unwrap().digest;
        through.begin_anew(&old).await.unwrap();
        let kept = to.tag(carry::old_tag(&head).as_str()).await;
        assert_eq!(kept, Some(head));
    }
}

#[tokio::test]
async fn no_answer_to_the_commit_is_unknown_and_never_not_committed() {
    let world = World::new();
    world.init().await;
    let digest = world.image("1").await;
    let request = release("1", digest, &["prod"]);
    // The pack and the config come before the head, which is never answered.
    let deaf = Faulty::new(world.repo.clone(), 2, Fault::Done, true);
    let through = world.through(deaf);
    let opened = through.open().await;
    let error = through
        .ledger
        .release(&opened, &through.context(), &request)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OperationError::Commit(cairn_ledger::CommitError::Unknown { .. })
        ),
        "{error:?}"
    );
    assert!(error.to_string().starts_with("unknown whether"), "{error}");
    let again = world
        .ledger
        .release(&world.open().await, &world.context(), &request)
        .await
        .unwrap();
    assert!(!again.changed, "the first one was appended");
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn an_answer_that_was_lost_once_is_found_out() {
    let world = World::new();
    world.init().await;
    let digest = world.image("1").await;
    for fault in [Fault::Lost, Fault::Done] {
        let faulty = Faulty::new(world.repo.clone(), 2, fault, false);
        let through = world.through(faulty.clone());
        let name = format!("1.{}", u8::from(fault == Fault::Done));
        let opened = through.open().await;
        let done = through
            .ledger
            .release(&opened, &through.context(), &release(&name, digest, &[]))
            .await
            .unwrap();
        assert!(done.changed && faulty.has_struck());
    }
    assert_eq!(world.open().await.view().records().len(), 3);
}

#[tokio::test]
async fn an_answer_that_was_lost_while_a_ledger_goes_on_from_another_is_found_out() {
    for at in 0..8 {
        let world = World::new();
        world.init().await;
        world.release("1", &["prod"]).await;
        let faulty = Faulty::new(world.repo.clone(), at, Fault::Done, false);
        let through = world.through(faulty.clone());
        let old = through.open().await;
        let begun = through.begin_anew(&old).await;
        let now = world.open().await.state().unwrap().ledger;
        match begun {
            Ok(begun) => assert_eq!(now, begun.genesis),
            Err(OperationError::Unfinished { .. }) => assert_ne!(now, old.state().unwrap().ledger),
            Err(error) => assert_eq!(now, old.state().unwrap().ledger, "{at}: {error:?}"),
        }
    }
}
