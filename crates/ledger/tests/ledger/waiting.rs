//! Entries that wait for signatures, also where the repository honours no conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use cairn_ledger::authority::{ChannelRules, Grant, Rules};
use cairn_ledger::fold::Why;
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::operation::*;
use cairn_ledger::waiting::{Missing, Standing, Waiting};
use cairn_ledger::{OpenError, TrustPolicy};
use cairn_oci::{Descriptor, Manifest, json, media_type};
use cairn_store::{Condition, Page, RawManifest, Target, from_bytes};

use crate::support::*;

/// Keys 1 (everything) and 2 (of the group human, may promote); prod requires one human.
async fn guarded(world: &World) {
    world.init().await;
    let human = Grant {
        groups: vec!["human".parse().unwrap()],
        ..Grant::owner(key(2).key().clone())
    };
    let changes = [KeyChange::Put(Box::new(human))];
    let ledger = &world.ledger;
    ledger
        .change_keys(&world.open().await, &world.context(), &changes, None)
        .await
        .unwrap();
    let prod = ChannelRules {
        requires: BTreeMap::from([("human".parse().unwrap(), NonZeroU32::MIN)]),
        ..ChannelRules::default()
    };
    let rules = Rules {
        channels: BTreeMap::from([(channel("prod"), prod)]),
    };
    ledger
        .change_rules(&world.open().await, &world.context(), &rules)
        .await
        .unwrap();
}

/// Releases, and gives what waits.
async fn wait_for(world: &World, name: &str) -> Waiting {
    match world.try_release(name, &["prod"]).await {
        Err(OperationError::Waiting { waiting, done }) => {
            assert!(done.is_some_and(|done| done.changed), "the version is released");
            *waiting
        }
        other => panic!("{other:?}"),
    }
}

async fn approve(world: &World, waiting: &Waiting, by: &LocalKey) -> Result<Approved, OperationError> {
    let opened = world.open().await;
    world
        .ledger
        .approve(&opened, &world.context_of(by), waiting)
        .await
}

async fn waiting_tags(world: &World) -> usize {
    let tags = world.repo.list_tags(&Page::first()).await.unwrap().tags;
    tags.iter()
        .filter(|tag| tag.as_str().starts_with("cairn-w-"))
        .count()
}

#[tokio::test]
async fn a_second_signature_moves_the_channel_in_both_modes() {
    for world in [World::new(), World::over(Plain::new(World::new().repo))] {
        guarded(&world).await;
        let waiting = wait_for(&world, "1").await;
        assert!(matches!(waiting.missing[..], [Missing::Group(_)]), "{waiting:?}");
        assert_eq!(world.shows("prod").await, None);
        assert_eq!(waiting_tags(&world).await, 1);
        match approve(&world, &waiting, &key(2)).await.unwrap() {
            Approved::Done(done) => assert!(done.changed),
            other @ Approved::Signed(_) => panic!("{other:?}"),
        }
        let opened = world.open().await;
        let shows = opened.state().unwrap().shows(&channel("prod")).cloned().unwrap();
        assert_eq!(Some(shows.digest), waiting.entry.digest);
        assert_eq!(waiting_tags(&world).await, 0);
        // Whoever was slower completes, and changes nothing.
        assert!(matches!(
            approve(&world, &waiting, &key(2)).await,
            Ok(Approved::Done(_)) | Err(OperationError::Void { .. })
        ));
        assert_eq!(
            world.open().await.view().records().len(),
            opened.view().records().len()
        );
    }
}

#[tokio::test]
async fn g7_what_others_put_there_does_not_wait() {
    let world = World::new();
    guarded(&world).await;
    let waiting = wait_for(&world, "1").await;
    // Signed by a key that the ledger does not list.
    let stranger = waiting.entry.sign(&key(9)).unwrap();
    plant(
        &world,
        "cairn-w-0000000000000000-0000000000000001",
        &[stranger.bytes(), &b"\n"[..]].concat(),
        true,
    )
    .await;
    // The same entry as waits, with a stranger's signature besides.
    plant(&world, "cairn-w-0000000000000000-0000000000000002", b"{}\n", true).await;
    plant(
        &world,
        "cairn-w-0000000000000000-0000000000000003",
        b"nothing",
        true,
    )
    .await;
    plant(
        &world,
        "cairn-w-0000000000000000-0000000000000004",
        &[stranger.bytes(), &b"\n"[..]].concat(),
        false,
    )
    .await;
    let list = world.ledger.waiting(&world.open().await).await.unwrap();
    assert_eq!(list.entries.len(), 1, "{:?}", list.findings);
    let found = &list.entries[0];
    assert_eq!(found.signers, BTreeSet::from([key(1).key().fingerprint()]));
    assert_eq!(found.standing, Standing::Open);
    assert_eq!(list.findings.len(), 3, "{:?}", list.findings);
    assert!(matches!(
        approve(&world, found, &key(9)).await,
        Err(OperationError::AddsNothing { .. })
    ));
    assert!(matches!(
        approve(&world, found, &key(1)).await,
        Ok(Approved::Signed(_))
    ));
    assert!(matches!(
        approve(&world, found, &key(2)).await,
        Ok(Approved::Done(_))
    ));
}

/// Writes a manifest of a waiting entry with these bytes, or one that says more.
async fn plant(world: &World, tag: &str, bytes: &[u8], exact: bool) {
    let layer = Descriptor::of(cairn_ledger::pack::MEDIA_TYPE, bytes);
    let write = |bytes: Vec<u8>| {
        let digest = cairn_oci::Digest::of(&bytes);
        let size = bytes.len() as u64;
        let repo = world.repo.clone();
        async move {
            repo.write_blob(&digest, size, from_bytes(bytes::Bytes::from(bytes)))
                .await
                .unwrap()
        }
    };
    write(bytes.to_vec()).await;
    write(b"{}".to_vec()).await;
    let mut manifest = Manifest {
        artifact_type: Some(cairn_ledger::waiting::ARTIFACT_TYPE.to_owned()),
        ..Manifest::image(Descriptor::empty(), vec![layer])
    };
    if !exact {
        manifest.annotations.insert("a".to_owned(), "b".to_owned());
    }
    let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
    let target = Target::Tag(tag.parse().unwrap());
    world
        .repo
        .write_manifest(&target, &manifest, &Condition::Always)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_move_that_was_overtaken_can_no_longer_be_approved() {
    let world = World::new();
    guarded(&world).await;
    let first = wait_for(&world, "1").await;
    let second = wait_for(&world, "2").await;
    approve(&world, &second, &key(2)).await.unwrap();
    let list = world.ledger.waiting(&world.open().await).await.unwrap();
    let first = list.called(&first.name.hex()).next().unwrap().clone();
    assert!(matches!(first.standing, Standing::Void { .. }), "{first:?}");
    assert!(matches!(
        approve(&world, &first, &key(2)).await,
        Err(OperationError::Void { .. })
    ));
    world.ledger.withdraw(&first).await.unwrap();
    assert_eq!(waiting_tags(&world).await, 0);
}

/// Whoever looked before the image was pruned is told so, and not that something is damaged.
#[tokio::test]
async fn a_version_that_was_pruned_since_the_ledger_was_read_neither_waits_nor_is_approved() {
    let world = World::over(Plain::new(World::new().repo));
    guarded(&world).await;
    let waiting = wait_for(&world, "1").await;
    world.release("2", &["staging"]).await;
    let stale = world.open().await;
    let nothing_kept = Retention::default();
    let pruned = world.ledger.prune(&stale, &world.context(), &nothing_kept).await;
    let opened = pruned.unwrap().opened;
    world.ledger.drop_pruned(&opened, None).await.unwrap();
    let human = key(2);
    let context = world.context_of(&human);
    let error = world
        .ledger
        .approve(&stale, &context, &waiting)
        .await
        .unwrap_err();
    assert!(
        matches!(error, OperationError::Void { why: Why::Pruned, .. }),
        "{error:?}"
    );
    world.ledger.withdraw(&waiting).await.unwrap();
    let request = PromoteRequest {
        version: version("1"),
        channels: channels(&["prod"]),
        resume: false,
    };
    let error = world.ledger.promote(&stale, &world.context(), &request).await;
    assert!(matches!(error, Err(OperationError::Pruned { .. })), "{error:?}");
    assert_eq!(waiting_tags(&world).await, 0);
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn a_ledger_goes_on_without_its_keys_in_both_modes() {
    for world in [World::new(), World::over(Plain::new(World::new().repo))] {
        guarded(&world).await;
        let waiting = wait_for(&world, "1").await;
        approve(&world, &waiting, &key(2)).await.unwrap();
        world.release("2", &["staging"]).await;
        let old = world.open().await;
        let head = old.head().unwrap().digest;
        let begun = world.begin_anew(&old).await.unwrap();
        let opened = world.open().await;
        let (before, after) = (old.state().unwrap(), opened.state().unwrap());
        assert_eq!(after.ledger, begun.genesis);
        assert_eq!(after.continues.as_ref().map(|one| one.head), Some(head));
        assert_eq!(after.rules, before.rules);
        for (name, channel) in &before.channels {
            let digest = |shown: &cairn_ledger::state::Shown| shown.digest;
            let now = &after.channels[name];
            assert_eq!(now.shows.as_ref().map(digest), channel.shows.as_ref().map(digest));
            assert_eq!(
                now.trail.iter().map(digest).collect::<Vec<_>>(),
                channel.trail.iter().map(digest).collect::<Vec<_>>()
            );
        }
        assert_eq!(after.versions.len(), before.versions.len());
        assert!(begun.left.is_empty());
        assert!(world.audit().await.ok, "{:?}", world.audit().await);
    }
}

/// Where nothing can be deleted, the old heads and what waited stay: they are named, a pin tells the two ledgers apart, and then
/// nothing is wrong.
#[tokio::test]
async fn a_ledger_goes_on_beside_heads_that_cannot_be_deleted() {
    let world = World::over(Plain::keeping(World::new().repo));
    guarded(&world).await;
    wait_for(&world, "1").await;
    let begun = world.begin_anew(&world.open().await).await.unwrap();
    assert!(!begun.left.is_empty());
    assert!(matches!(
        world.ledger.open(&TrustPolicy::default()).await,
        Err(OpenError::TwoLedgers { .. })
    ));
    let policy = TrustPolicy {
        pin: Some(begun.genesis.to_string().parse().unwrap()),
        remembered: None,
    };
    let pinned = world.ledger.open(&policy).await.unwrap();
    assert_eq!(pinned.state().unwrap().ledger, begun.genesis);
    assert!(pinned.findings().is_empty(), "{:?}", pinned.findings());
    assert!(world.ledger.waiting(&pinned).await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_signature_that_only_says_whose_it_is_is_not_collected() {
    let world = World::new();
    guarded(&world).await;
    let waiting = wait_for(&world, "1").await;
    let [stranger, human] = [key(9), key(2)].map(|key| key.key().fingerprint().to_string());
    let by_stranger = waiting.entry.sign(&key(9)).unwrap();
    let text = String::from_utf8(by_stranger.bytes().to_vec()).unwrap();
    let bytes = format!("{}\n", text.replace(&stranger, &human));
    let tag = "cairn-w-0000000000000000-0000000000000001";
    plant(&world, tag, bytes.as_bytes(), true).await;
    let list = world.ledger.waiting(&world.open().await).await.unwrap();
    assert_eq!(list.entries.len(), 1);
    assert_eq!(list.entries[0].signers, waiting.signers);
    assert_eq!(list.entries[0].missing, waiting.missing);
}

/// Whoever wanted it is no longer trusted.
#[tokio::test]
async fn what_only_a_key_signed_that_was_taken_out_since_can_no_longer_be_approved() {
    let world = World::new();
    guarded(&world).await;
    let put = |seed: u8| KeyChange::Put(Box::new(Grant::owner(key(seed).key().clone())));
    let ledger = &world.ledger;
    let opened = world.open().await;
    let changed = ledger
        .change_keys(&opened, &world.context(), &[put(3)], None)
        .await;
    changed.unwrap();
    let digest = world.image("1").await;
    let leaver = key(3);
    let wanted = release("1", digest, &["prod"]);
    let waits = ledger
        .release(&world.open().await, &world.context_of(&leaver), &wanted)
        .await;
    let Err(OperationError::Waiting { waiting, .. }) = waits else {
        panic!("{waits:?}")
    };
    let removed = [KeyChange::Remove(leaver.key().fingerprint())];
    let opened = world.open().await;
    let changed = ledger
        .change_keys(&opened, &world.context(), &removed, None)
        .await;
    changed.unwrap();
    let list = ledger.waiting(&world.open().await).await.unwrap();
    let found = list.called(&waiting.name.hex()).next().unwrap();
    let void = Standing::Void {
        why: Why::NotAllowed,
        by: None,
    };
    assert_eq!(found.standing, void);
    let error = approve(&world, found, &key(2)).await.unwrap_err();
    assert!(matches!(error, OperationError::Void { .. }), "{error:?}");
    assert_eq!(world.shows("prod").await, None);
}
