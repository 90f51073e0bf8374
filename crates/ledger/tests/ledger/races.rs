//! Several at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_ledger::Class;
use cairn_ledger::operation::*;
use cairn_store::Directory;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g11_appenders_at_once_are_gapless_and_each_once() {
    appenders_at_once(World::new()).await;
}

/// There, whoever was overtaken waits for a turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g11_appenders_at_once_on_disk_are_gapless_and_each_once() {
    let place = quick_directory();
    let store = Directory::open(place.path().join("store")).unwrap();
    let repository = store.open_repository(&"team/web".parse().unwrap());
    appenders_at_once(World::over(Arc::new(repository))).await;
}

async fn appenders_at_once(world: World) {
    let world = Arc::new(world);
    world.init().await;
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let world = Arc::clone(&world);
        tasks.push(tokio::spawn(async move {
            let mut names = Vec::new();
            for number in 0..8 {
                let done = world.release(&format!("{writer}.{number}"), &[]).await;
                names.push(done.entry.unwrap().name);
            }
            names
        }));
    }
    let mut acknowledged = BTreeSet::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    let opened = world.open().await;
    let names: Vec<_> = opened.view().names().skip(1).collect();
    assert_eq!(names.len(), 32);
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), acknowledged);
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn of_two_releases_to_one_channel_the_first_stands_and_the_other_is_told() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let stale = world.open().await;
    world.release("2", &["prod"]).await;
    let digest = world.image("3").await;
    let error = world
        .ledger
        .release(&stale, &world.context(), &release("3", digest, &["prod"]))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    let OperationError::Blocked { done, blocked } = &error else {
        panic!("{error:?}")
    };
    assert!(done.changed && matches!(blocked[0].why, Obstacle::Overtaken { .. }));
    assert!(error.hint().unwrap().contains("cairn promote 3 prod"));
    assert_eq!(world.shows("prod").await.unwrap(), "2");
    let rows = cairn_ledger::query::history(&world.open().await, None);
    assert_eq!((rows[0].void.len(), rows[0].void[0].why), (1, "overtaken"));
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn a_promotion_that_would_have_no_effect_is_not_appended() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["staging"]).await;
    let stale = world.open().await;
    world.release("3", &["prod"]).await;
    let request = |name: &str| PromoteRequest {
        version: version(name),
        channels: channels(&["prod"]),
        resume: false,
    };
    let error = world
        .ledger
        .promote(&stale, &world.context(), &request("2"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(world.open().await.view().records().len(), 4);
    // The same wish by two is no conflict.
    let done = world
        .ledger
        .promote(&stale, &world.context(), &request("3"))
        .await;
    assert!(
        matches!(done, Err(OperationError::UnknownVersion { .. })),
        "the stale view has no version 3"
    );
    let stale = world.open().await;
    world.try_promote("2", &["prod"], false).await.unwrap();
    let done = world
        .ledger
        .promote(&stale, &world.context(), &request("2"))
        .await
        .unwrap();
    assert!(!done.changed);
}

#[tokio::test]
async fn a_rollback_beside_a_release_wins_whichever_comes_first() {
    for rollback_first in [false, true] {
        let world = World::new();
        world.init().await;
        world.release("1", &["prod"]).await;
        world.release("2", &["prod"]).await;
        let stale = world.open().await;
        let digest = world.image("3").await;
        let request = release("3", digest, &["prod"]);
        if rollback_first {
            world.rollback("prod").await;
            let error = world
                .ledger
                .release(&stale, &world.context(), &request)
                .await
                .unwrap_err();
            assert!(error.to_string().contains("prod is held"), "{error}");
        } else {
            world
                .ledger
                .release(&stale, &world.context(), &request)
                .await
                .unwrap();
            let done = world
                .ledger
                .rollback(&stale, &world.context(), &back("prod"))
                .await
                .unwrap();
            assert_eq!(
                done.channels[0].previous.as_ref().unwrap().label(),
                "3",
                "what it leaves"
            );
        }
        assert_eq!(world.shows("prod").await.unwrap(), "1");
        let opened = world.open().await;
        let prod = &opened.state().unwrap().channels[&channel("prod")];
        assert!(prod.hold.is_some() && prod.trail.is_empty());
        let report = world.audit().await;
        assert!(report.ok, "{report:?}");
    }
}

#[tokio::test]
async fn two_rollbacks_at_once_are_one_step_back() {
    let world = World::new();
    world.init().await;
    for name in ["1", "2", "3"] {
        world.release(name, &["prod"]).await;
    }
    let stale = world.open().await;
    world.rollback("prod").await;
    let second = world
        .ledger
        .rollback(&stale, &world.context(), &back("prod"))
        .await
        .unwrap();
    assert!(!second.changed && matches!(second.notes[..], [Note::AlreadyRolledBack { .. }]));
    assert_eq!(world.shows("prod").await.unwrap(), "2");
}

#[tokio::test]
async fn a_rollback_against_a_state_two_moves_old_is_told_and_not_appended() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    let stale = world.open().await;
    world.release("3", &["prod"]).await;
    world.release("4", &["prod"]).await;
    let error = world
        .ledger
        .rollback(&stale, &world.context(), &back("prod"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(world.shows("prod").await.unwrap(), "4");
    assert_eq!(world.open().await.view().records().len(), 5);
}

#[tokio::test]
async fn one_version_by_two_is_bound_once() {
    let world = World::new();
    world.init().await;
    let stale = world.open().await;
    world.release("1", &[]).await;
    let other = world.image("other").await;
    let error = world
        .ledger
        .release(&stale, &world.context(), &release("1", other, &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, OperationError::VersionTaken { .. }), "{error:?}");
    let same = world.image("1").await;
    let done = world
        .ledger
        .release(&stale, &world.context(), &release("1", same, &[]))
        .await
        .unwrap();
    assert_eq!(done.digest, Some(same));
    assert!(world.audit().await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn releases_and_rollbacks_at_once_end_with_tags_that_agree() {
    let world = Arc::new(World::new());
    world.init().await;
    world.release("0.1", &["prod"]).await;
    let mut tasks = Vec::new();
    for writer in 1..=4 {
        let world = Arc::clone(&world);
        tasks.push(tokio::spawn(async move {
            for number in 0..5 {
                let conflict = |error: &OperationError| error.class() == Class::Conflict;
                if writer == 4 {
                    let done = world
                        .try_rollback(&RollbackRequest {
                            no_hold: true,
                            ..back("prod")
                        })
                        .await;
                    let no_way = |error: &OperationError| matches!(error, OperationError::NoWayBack { .. });
                    assert!(
                        done.as_ref()
                            .err()
                            .is_none_or(|error| conflict(error) || no_way(error)),
                        "{done:?}"
                    );
                } else {
                    let done = world.try_release(&format!("{writer}.{number}"), &["prod"]).await;
                    assert!(done.as_ref().err().is_none_or(conflict), "{done:?}");
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let report = world.audit().await;
    assert!(report.ok, "{report:?}");
    assert_eq!(report.checked.releases, 16);
}

/// Seed 3393 of the checker. In causal mode a pruning whose author had not seen the first move of a channel may come to stand before
/// it; then the channel shows nothing although its tag was written. The image stays as long as the tag does, the audit says so, and
/// the next move sets it right.
#[tokio::test]
async fn a_first_move_that_a_pruning_overtook_in_causal_mode_is_told_and_the_next_one_sets_it_right() {
    let world = World::over(Plain::new(World::new().repo));
    world.init().await;
    for name in ["1", "2", "3"] {
        world.release(name, &[]).await;
    }
    let stale = world.open().await;
    world.try_promote("1", &["staging"], false).await.unwrap();
    let image = world.tag("staging").await.unwrap();
    let retention = Retention {
        keep: 1,
        ..Retention::default()
    };
    // Two entries make the longer head, which is the better one.
    let pruned = world
        .ledger
        .prune(&stale, &world.context(), &retention)
        .await
        .unwrap();
    assert_eq!(pruned.images.len(), 2);
    world.ledger.drop_pruned(&pruned.opened, None).await.unwrap();
    assert_eq!(world.shows("staging").await, None);
    assert_eq!(world.tag("staging").await, Some(image));
    assert!(world.has(image).await, "its tag keeps it");
    let findings = world.audit().await.findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].code, findings[0].subject.as_str()),
        ("tag-without-entry", "staging")
    );
    assert!(
        findings[0]
            .message
            .ends_with("which an entry without effect wanted"),
        "{findings:?}"
    );
    world.release("4", &["staging"]).await;
    assert_eq!(world.tag("staging").await, world.tag("4").await);
    assert!(world.audit().await.ok);
}
