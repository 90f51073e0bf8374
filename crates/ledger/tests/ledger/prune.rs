//! Retention: what goes, what stays, and that the ledger stays true.

use std::sync::Arc;

use async_trait::async_trait;
use cairn_ledger::operation::prune::{self, kept_images};
use cairn_ledger::operation::*;
use cairn_ledger::{Class, Opened, Pin, TrustPolicy, query};
use cairn_oci::{Digest, Tag};
use cairn_store::{Memory, Overlay, RawManifest, Repository, RepositoryError, Target};

use crate::support::*;

fn retention(keep: usize, steps: usize) -> Retention {
    Retention {
        keep,
        steps,
        ..Retention::default()
    }
}

async fn planned(world: &World, retention: &Retention) -> Vec<String> {
    let images = prune::plan(&world.open().await, retention);
    let versions = images.iter().flat_map(|image| &image.versions);
    versions.map(ToString::to_string).collect()
}

/// Says of what `opened` has that it is no longer kept.
async fn prune(world: &World, opened: &Opened, keep: usize, steps: usize) -> Pruned {
    let retention = retention(keep, steps);
    let pruned = world.ledger.prune(opened, &world.context(), &retention).await;
    pruned.unwrap()
}

/// A registry that knows no seals, as most.
#[derive(Debug)]
struct NoSeals(Repo);

#[async_trait]
impl Overlay for NoSeals {
    fn below(&self) -> &dyn Repository {
        &*self.0
    }

    async fn capabilities(&self) -> Result<cairn_store::Capabilities, RepositoryError> {
        Ok(cairn_store::Capabilities {
            seal: false,
            ..self.0.capabilities().await?
        })
    }
}

/// One that deletes nothing.
#[derive(Debug)]
struct Keeps(Repo);

fn kept() -> RepositoryError {
    RepositoryError::Unreachable {
        repository: "team/web".to_owned(),
        source: "deleting is switched off".into(),
    }
}

#[async_trait]
impl Overlay for Keeps {
    fn below(&self) -> &dyn Repository {
        &*self.0
    }

    async fn delete_tag(&self, _: &Tag) -> Result<bool, RepositoryError> {
        Err(kept())
    }

    async fn delete_manifest(&self, _: &Digest) -> Result<bool, RepositoryError> {
        Err(kept())
    }
}

/// Six releases on prod, of which two were on staging too.
async fn six() -> World {
    let memory: Repo = Arc::new(Memory::new().open(&"team/web".parse().unwrap()));
    let world = World::over(Arc::new(NoSeals(memory)));
    world.init().await;
    world.release("1", &["staging"]).await;
    for name in ["2", "3", "4", "5", "6"] {
        world.release(name, &["prod"]).await;
    }
    world
}

#[tokio::test]
async fn what_channels_show_their_way_back_the_newest_and_pins_stay() {
    let world = six().await;
    // 1 is what staging shows, 6 what prod shows, 5 one step back.
    assert_eq!(planned(&world, &retention(1, 1)).await, ["2", "3", "4"]);
    assert_eq!(planned(&world, &retention(0, 2)).await, ["2", "3"]);
    assert_eq!(planned(&world, &retention(4, 0)).await, ["2"]);
    assert_eq!(planned(&world, &retention(6, 0)).await, Vec::<String>::new());
    let opened = world.open().await;
    let since = opened.view().records()[4].entry.at;
    let young = Retention {
        since: Some(since),
        ..retention(0, 0)
    };
    assert_eq!(planned(&world, &young).await, ["2", "3"], "4 was released then");
    let policy = TrustPolicy {
        pin: Some(Pin {
            genesis: opened.state().unwrap().ledger,
            entries: vec![opened.view().records()[2].name],
        }),
        remembered: None,
    };
    let pinned = world.ledger.open(&policy).await.unwrap();
    let plan = prune::plan(&pinned, &retention(1, 1));
    assert_eq!(plan.len(), 2, "2 is pinned: {plan:?}");
    // What a channel was rolled back from may come again.
    world.rollback("prod").await;
    assert_eq!(planned(&world, &retention(0, 1)).await, ["2", "3"]);
}

#[tokio::test]
async fn the_ledger_says_so_and_the_audit_is_clean() {
    let world = six().await;
    let digest = world.tag("3").await.unwrap();
    let pruned = prune(&world, &world.open().await, 1, 1).await;
    assert_eq!(pruned.images.len(), 3);
    assert_eq!(
        pruned.opened.view().records().len(),
        10,
        "one entry for each, in one head"
    );
    // Said, and not yet done: nothing is wrong.
    assert!(world.audit().await.ok, "{:?}", world.audit().await);
    let dropped = world.ledger.drop_pruned(&pruned.opened, None).await.unwrap();
    assert_eq!(
        (dropped.tags, dropped.manifests),
        (3, 6),
        "images, and what is attached to them: {dropped:?}"
    );
    assert!(dropped.left.is_empty());
    assert_eq!(world.tag("3").await, None);
    assert!(!world.has(digest).await);
    let report = world.audit().await;
    assert!(report.ok, "{report:?}");
    assert_eq!(
        report.notes.iter().filter(|note| note.code == "pruned").count(),
        3
    );
    assert_eq!(world.rollback("prod").await.version.unwrap().as_str(), "5");
    // Again, there is nothing to do, and nobody has to sign.
    let again = world.ledger.drop_pruned(&world.open().await, None).await.unwrap();
    assert_eq!(again, Dropped::default());
    assert!(query::show(&world.open().await, &version("3")).unwrap().pruned);
    let back = world.try_rollback(&back_to("prod", "3")).await.unwrap_err();
    assert_eq!(back.class(), Class::Conflict, "{back}");
    let state = world.open().await;
    assert_eq!(kept_images(&state, state.state().unwrap()).len(), 3);
}

#[tokio::test]
async fn what_somebody_else_tagged_or_an_image_that_is_kept_needs_stays() {
    let world = six().await;
    let third = world.tag("3").await.unwrap();
    world.set_tag("Build_812", third).await;
    let pruned = prune(&world, &world.open().await, 1, 1).await;
    let dropped = world.ledger.drop_pruned(&pruned.opened, None).await.unwrap();
    assert_eq!(dropped.tags, 2);
    assert_eq!(dropped.left[0].0, third.to_string());
    assert!(dropped.left[0].1.contains("Build_812"), "{dropped:?}");
    assert_eq!(world.tag("3").await, Some(third), "all of it or nothing");
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn a_registry_that_deletes_nothing_is_told_of_and_tried_again() {
    let world = six().await;
    let keeps = world.through(Arc::new(Keeps(world.repo.clone())));
    let pruned = prune(&keeps, &keeps.open().await, 1, 1).await;
    let dropped = keeps.ledger.drop_pruned(&pruned.opened, None).await.unwrap();
    assert_eq!((dropped.tags, dropped.manifests, dropped.left.len()), (0, 0, 3));
    assert!(
        dropped.left[0].1.contains("deleting is switched off"),
        "{dropped:?}"
    );
    assert!(keeps.audit().await.ok);
    let done = world.ledger.drop_pruned(&world.open().await, None).await.unwrap();
    assert_eq!((done.tags, done.left.len()), (3, 0));
}

#[tokio::test]
async fn an_image_that_a_channel_came_to_show_meanwhile_is_kept() {
    let world = six().await;
    let before = world.open().await;
    world.try_promote("3", &["staging"], false).await.unwrap();
    let pruned = prune(&world, &before, 1, 1).await;
    let versions: Vec<_> = pruned.images.iter().flat_map(|image| &image.versions).collect();
    assert_eq!(
        versions,
        [&version("2"), &version("4")],
        "1 is one step back of staging"
    );
    assert_eq!(world.shows("staging").await.unwrap(), "3");
    assert!(world.audit().await.ok);
}

/// The owner of a store.
struct Owner(Repo);

#[async_trait]
impl Unseal for Owner {
    async fn unseal(&self, tag: &Tag, digest: &Digest) -> Result<(), RepositoryError> {
        let found: Option<RawManifest> = self.0.read_manifest(&Target::Tag(tag.clone())).await?;
        assert_eq!(found.map(|found| found.digest()), Some(*digest));
        Err(kept())
    }
}

#[tokio::test]
async fn a_seal_is_asked_for_before_a_tag_is_deleted() {
    let world = six().await;
    let pruned = prune(&world, &world.open().await, 1, 1).await;
    let owner = Owner(world.repo.clone());
    let dropped = world
        .ledger
        .drop_pruned(&pruned.opened, Some(&owner))
        .await
        .unwrap();
    assert_eq!((dropped.tags, dropped.left.len()), (0, 3), "{dropped:?}");
}

#[tokio::test]
async fn a_target_that_was_pruned_since_the_ledger_was_read_is_passed_over() {
    let store = World::new();
    let world = store.through(Plain::new(store.repo.clone()));
    world.init().await;
    for name in ["1", "2", "3"] {
        world.release(name, &["prod"]).await;
    }
    let stale = world.open().await;
    let pruned = prune(&world, &world.open().await, 1, 0).await;
    world.ledger.drop_pruned(&pruned.opened, None).await.unwrap();
    let error = world
        .ledger
        .rollback(&stale, &world.context(), &back("prod"))
        .await
        .unwrap_err();
    assert!(matches!(error, OperationError::NoWayBack { .. }), "{error:?}");
    // Its image is made and released again: then there is a way back.
    world.release("1", &[]).await;
    let done = world
        .ledger
        .rollback(&stale, &world.context(), &back("prod"))
        .await
        .unwrap();
    assert_eq!(done.channels[0].now.as_ref().unwrap().label(), "1");
    assert!(world.audit().await.ok);
}

async fn prune_and_drop(world: &World, keep: usize, steps: usize) {
    let pruned = prune(world, &world.open().await, keep, steps).await;
    world.ledger.drop_pruned(&pruned.opened, None).await.unwrap();
}

async fn both() -> [World; 2] {
    let worlds =
        [World::new(), World::new()].map(|world| world.through(Arc::new(NoSeals(world.repo.clone()))));
    let [linear, causal] = worlds;
    let causal = causal.through(Plain::new(causal.repo.clone()));
    linear.init().await;
    causal.init().await;
    [linear, causal]
}

fn promotion(name: &str, to: &str) -> PromoteRequest {
    PromoteRequest {
        version: version(name),
        channels: channels(&[to]),
        resume: false,
    }
}

/// Seed 5465 of the checker: nothing was to be appended, so nobody looked whether the ledger had gone on, and the missing image was
/// told as damage.
#[tokio::test]
async fn a_promotion_that_has_nothing_to_append_is_told_that_its_version_was_pruned_since() {
    for world in both().await {
        world.release("1", &["staging"]).await;
        world.release("2", &["staging"]).await;
        world.release("3", &["prod"]).await;
        world.release("4", &["prod"]).await;
        world.rollback("prod").await;
        // Held: the promotion of 2 is kept away by it. Shown already: that of 2 to staging has nothing to do.
        let stale = world.open().await;
        world.release("5", &["staging"]).await;
        prune_and_drop(&world, 1, 0).await;
        let before = world.open().await;
        for channel in ["prod", "staging"] {
            let request = promotion("2", channel);
            let error = world
                .ledger
                .promote(&stale, &world.context(), &request)
                .await
                .unwrap_err();
            assert!(
                matches!(error, OperationError::Pruned { .. }),
                "{channel}: {error:?}"
            );
            assert_eq!(error.class(), Class::Conflict);
        }
        assert_eq!(world.open().await.state(), before.state(), "nothing was appended");
        assert_eq!(world.tag("2").await, None);
        assert!(world.audit().await.ok, "{:?}", world.audit().await);
        // What is missing and was not pruned is told as before.
        let stale = world.open().await;
        let fifth = world.tag("5").await.unwrap();
        world.repo.delete_manifest(&fifth).await.unwrap();
        let request = promotion("5", "staging");
        let error = world
            .ledger
            .promote(&stale, &world.context(), &request)
            .await
            .unwrap_err();
        assert!(matches!(error, OperationError::Unfinished { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Integrity);
    }
}

#[tokio::test]
async fn a_version_that_was_pruned_since_is_not_called_released_already() {
    for world in both().await {
        world.release("1", &[]).await;
        world.release("2", &["prod"]).await;
        let stale = world.open().await;
        let digest = world.tag("1").await.unwrap();
        prune_and_drop(&world, 0, 0).await;
        let (context, request) = (world.context(), release("1", digest, &[]));
        let error = world
            .ledger
            .release(&stale, &context, &request)
            .await
            .unwrap_err();
        assert!(matches!(error, OperationError::Image { .. }), "{error:?}");
        // Its image was made again: it counts again.
        assert_eq!(world.image("1").await, digest);
        let done = world.ledger.release(&stale, &context, &request).await.unwrap();
        assert!(done.changed);
        assert!(!world.open().await.state().unwrap().is_pruned(&digest));
        assert_eq!(world.tag("1").await, Some(digest));
        assert!(world.audit().await.ok, "{:?}", world.audit().await);
    }
}

/// A tag that was never written, and meanwhile the channel moved on from what it was to show.
#[tokio::test]
async fn a_tag_is_not_missed_whose_channel_moved_on_from_what_was_pruned_since() {
    for world in both().await {
        world.release("1", &["prod"]).await;
        world.release("2", &["prod"]).await;
        let request = RollbackRequest {
            no_hold: true,
            ..back("prod")
        };
        world.try_rollback(&request).await.unwrap();
        let stale = world.open().await;
        for name in ["3", "4"] {
            world.release(name, &["prod"]).await;
        }
        prune_and_drop(&world, 0, 0).await;
        let fourth = world.tag("4").await;
        let prod: Tag = "prod".parse().unwrap();
        world.repo.delete_tag(&prod).await.unwrap();
        let done = world
            .ledger
            .rollback(&stale, &world.context(), &back("prod"))
            .await;
        assert!(
            !done.unwrap().changed,
            "the rollback that it read is the last one"
        );
        assert_eq!(world.tag("prod").await, fourth);
        world.repo.delete_tag(&prod).await.unwrap();
        let repaired = world.ledger.repair(&stale, &channel("prod")).await.unwrap();
        assert_eq!(repaired.now.label(), "4");
        assert_eq!(world.tag("prod").await, fourth);
        assert!(world.audit().await.ok, "{:?}", world.audit().await);
    }
}

#[tokio::test]
async fn a_platform_that_a_kept_index_has_too_stays_with_it() {
    let world = six().await;
    let (old, parts) = crate::answers::index(&world, "old").await;
    let (_, others) = crate::answers::index(&world, "new").await;
    // The new index has one of the old manifests, and one of its own.
    let children = [parts[0].1, others[1].1];
    let mut manifests = Vec::new();
    for child in children {
        let target = Target::Digest(child);
        manifests.push(world.repo.stat_manifest(&target).await.unwrap().unwrap());
    }
    let index = cairn_oci::json::canonical(&cairn_oci::Index::images(manifests));
    let index = RawManifest::new(cairn_oci::media_type::INDEX, index);
    let target = Target::Digest(index.digest());
    let condition = cairn_store::Condition::Always;
    world
        .repo
        .write_manifest(&target, &index, &condition)
        .await
        .unwrap();
    for (name, digest) in [("7", old), ("8", index.digest())] {
        let request = release(name, digest, &[]);
        let opened = world.open().await;
        let done = world.ledger.release(&opened, &world.context(), &request).await;
        done.unwrap();
    }
    prune_and_drop(&world, 1, 1).await;
    assert!(!world.has(old).await && !world.has(parts[1].1).await);
    assert!(world.has(index.digest()).await && world.has(parts[0].1).await);
    assert!(world.audit().await.ok);
}

/// Seed 1943 of the checker: nothing was left to prune, and what was pruned before was deleted although it was released again.
#[tokio::test]
async fn an_image_that_was_released_again_since_the_ledger_was_read_is_not_deleted() {
    for world in both().await {
        for name in ["1", "2", "3"] {
            world.release(name, &[]).await;
        }
        prune_and_drop(&world, 1, 1).await;
        let stale = world.open().await;
        let again = world.release("1", &[]).await;
        assert!(again.changed);
        world.ledger.drop_pruned(&stale, None).await.unwrap();
        assert_eq!(world.tag("1").await, again.digest);
        assert!(world.audit().await.ok, "{:?}", world.audit().await.findings);
    }
}
