//! Many writers at once (E6): threads, and stores opened twice on one path.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::Digest;
use cairn_store::{Condition, Directory, Repository, RepositoryError, Target, Written, from_bytes};

use crate::content::{assert_whole, image, name, open, points_at, push, tag, write_blob};

const WRITERS: usize = 64;

/// Two views of the same store, as two processes have them: they share nothing but the files.
fn twice(path: &Path) -> [Arc<dyn Repository>; 2] {
    [open(path), open(path)]
}

async fn race(path: &Path, tag_name: &'static str, condition: Condition) -> Vec<Digest> {
    let views = twice(path);
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let (repository, condition) = (Arc::clone(&views[number % 2]), condition.clone());
        writers.push(tokio::spawn(async move {
            let image = image(&format!("{tag_name} {number}"));
            for blob in &image.blobs {
                write_blob(&*repository, blob).await.unwrap();
            }
            let target = Target::Tag(tag(tag_name));
            let written = repository
                .write_manifest(&target, &image.manifest, &condition)
                .await;
            (image.manifest.digest(), written)
        }));
    }
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            (digest, Ok(())) => winners.push(digest),
            (_, Err(RepositoryError::Condition { .. } | RepositoryError::Sealed { .. })) => {}
            (_, Err(error)) => panic!("{error:?}"),
        }
    }
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e6_of_64_writers_of_one_tag_one_wins_and_the_others_are_told() {
    let place = tempfile::tempdir().unwrap();
    let start = image("start");
    push(&*open(place.path()), "match", &start).await.unwrap();
    let matching = Condition::IfMatch(start.manifest.digest());
    for (tag, condition) in [
        ("absent", Condition::IfAbsent),
        ("sealed", Condition::Seal),
        ("match", matching),
    ] {
        let winners = race(place.path(), tag, condition).await;
        assert_eq!(winners.len(), 1, "{tag}");
        assert_eq!(points_at(&*open(place.path()), tag).await, Some(winners[0]));
    }
    assert_whole(&*open(place.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e6_unconditional_writers_leave_one_whole_tag() {
    let place = tempfile::tempdir().unwrap();
    let winners = race(place.path(), "always", Condition::Always).await;
    assert_eq!(winners.len(), WRITERS);
    let shown = points_at(&*open(place.path()), "always").await.unwrap();
    assert!(winners.contains(&shown));
    assert_whole(&*open(place.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e6_a_chain_of_moves_loses_none() {
    let place = tempfile::tempdir().unwrap();
    let views = twice(place.path());
    let image_of = |number: usize| image(&format!("link {number}"));
    push(&*views[0], "chain", &image_of(0)).await.unwrap();
    // Each writer waits for its turn by trying; a lost move would leave all the later ones trying for ever.
    let writers: Vec<_> = (1..16)
        .map(|number| {
            let repository = Arc::clone(&views[number % 2]);
            tokio::spawn(async move {
                let (before, now) = (image_of(number - 1), image_of(number));
                for blob in &now.blobs {
                    write_blob(&*repository, blob).await.unwrap();
                }
                let condition = Condition::IfMatch(before.manifest.digest());
                let target = Target::Tag(tag("chain"));
                while let Err(error) = repository
                    .write_manifest(&target, &now.manifest, &condition)
                    .await
                {
                    assert!(matches!(error, RepositoryError::Condition { .. }), "{error:?}");
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let last = points_at(&*views[0], "chain").await;
    assert_eq!(last, Some(image_of(15).manifest.digest()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e6_64_writers_of_one_blob_leave_one_copy() {
    let place = tempfile::tempdir().unwrap();
    let views = twice(place.path());
    let content = vec![3; 400_000];
    let digest = Digest::of(&content);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (repository, content) = (Arc::clone(&views[number % 2]), content.clone());
            tokio::spawn(async move { write_blob(&*repository, &content).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let again = views[0]
        .write_blob(&digest, 400_000, from_bytes(Vec::new()))
        .await;
    assert_eq!(again.unwrap(), Written::Present);
    let repository = Directory::open(place.path()).unwrap().open_repository(&name());
    let blobs = list(&repository.layout().join("blobs/sha256"));
    assert_eq!(blobs, [digest.hex()]);
    assert_eq!(
        list(&place.path().join("repos/hello/_uploads")),
        Vec::<String>::new(),
        "temporary files are left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e6_deleting_and_writing_at_once_leaves_whole_tags() {
    let place = tempfile::tempdir().unwrap();
    let views = twice(place.path());
    let image = Arc::new(image("comes and goes"));
    push(&*views[0], "stays", &crate::content::image("other"))
        .await
        .unwrap();
    let writers: Vec<_> = (0..24)
        .map(|number| {
            let (repository, image) = (Arc::clone(&views[number % 2]), Arc::clone(&image));
            tokio::spawn(async move {
                if number % 3 == 0 {
                    repository
                        .delete_manifest(&image.manifest.digest())
                        .await
                        .map(drop)
                } else {
                    push(&*repository, &format!("t{number}"), &image).await
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_whole(&*views[0]).await;
}

pub(crate) fn list(path: &Path) -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "sorted below")]
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e6_a_turn_is_one_writers_at_a_time_and_keeps_nobody_from_writing() {
    let place = tempfile::tempdir().unwrap();
    let [one, other] = twice(place.path());
    assert!(one.turn().await.is_none(), "there is nothing yet");
    push(&*one, "first", &image("first")).await.unwrap();

    let turn = one.turn().await;
    assert!(turn.is_some());
    push(&*other, "second", &image("second")).await.unwrap();
    let waiting = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.turn().await.is_some() }
    });
    tokio::task::yield_now().await;
    drop(turn);
    assert!(waiting.await.unwrap());
    assert!(one.turn().await.is_some(), "whoever had it is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e6_turns_exclude_each_other() {
    let place = tempfile::tempdir().unwrap();
    let views = twice(place.path());
    push(&*views[0], "first", &image("first")).await.unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let (repository, inside) = (Arc::clone(&views[number % 2]), Arc::clone(&inside));
        writers.push(tokio::spawn(async move {
            // On a machine that is busy with something else a turn may not come in time: then there is none.
            let Some(turn) = repository.turn().await else {
                return 0;
            };
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(turn);
            1
        }));
    }
    let mut turns = 0;
    for writer in writers {
        turns += writer.await.unwrap();
    }
    assert!(turns > 0);
}
