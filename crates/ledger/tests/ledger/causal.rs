//! Causal mode: a registry without conditions, one writer at a time; and what is already kept with more.

use std::sync::Arc;

use cairn_ledger::authority::{Authority, Grant};
use cairn_ledger::entry::{Kind, Mode};
use cairn_ledger::key::Signer as _;
use cairn_ledger::{Entry, TrustPolicy, head};
use cairn_oci::Tag;
use cairn_store::{Page, Repository as _};

use crate::hostile::removed_owner;
use crate::support::*;

fn world() -> (World, Arc<Plain>) {
    let world = World::new();
    let plain = Plain::new(world.repo.clone());
    (world.through(plain.clone()), plain)
}

async fn heads(world: &World) -> Vec<Tag> {
    let tags = world.repo.list_tags(&Page::first()).await.unwrap().tags;
    tags.into_iter()
        .filter(|tag| tag.as_str().starts_with("cairn-h-"))
        .collect()
}

#[tokio::test]
async fn the_main_story_works_without_conditions() {
    let (world, _) = world();
    world.init().await;
    let first = world.release("1", &["prod"]).await;
    assert_eq!(first.mode, Mode::Causal);
    world.release("2", &["prod"]).await;
    world.rollback("prod").await;
    assert!(!world.rollback("prod").await.changed);
    assert_eq!(world.tag("prod").await, first.digest);
    world.resume("prod").await;
    let report = world.audit().await;
    assert!(report.ok, "{report:?}");
    assert_eq!(report.checked.heads, 1);
    assert!(world.tag("cairn-head").await.is_none());
}

#[tokio::test]
async fn releases_are_listed_in_the_fallback_index_once() {
    let (world, plain) = world();
    world.init().await;
    let digest = world.image("1").await;
    for name in ["1", "1.0", "1"] {
        let opened = world.open().await;
        world
            .ledger
            .release(&opened, &world.context(), &release(name, digest, &["prod"]))
            .await
            .unwrap();
    }
    let listed = plain
        .list_referrers(&digest, None, &Page::first())
        .await
        .unwrap()
        .manifests;
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|one| one.artifact_type.as_deref() == Some(cairn_ledger::referrer::BUNDLE_TYPE))
    );
}

#[tokio::test]
async fn no_more_than_32_heads_are_kept_and_the_newest_lists_first() {
    let (world, _) = world();
    world.init().await;
    for number in 0..40 {
        world.release(&format!("1.{number}"), &[]).await;
    }
    let mut tags = heads(&world).await;
    tags.sort();
    assert_eq!(tags.len(), 32);
    let newest = world.open().await;
    let newest = newest.head().unwrap();
    assert_eq!(
        (newest.size, tags[0].clone()),
        (41, head::causal_tag(41, &newest.digest))
    );
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn a_registry_that_deletes_nothing_keeps_all_heads() {
    let world = World::new();
    let world = world.through(Plain::keeping(world.repo.clone()));
    world.init().await;
    for number in 0..40 {
        world.release(&format!("1.{number}"), &[]).await;
    }
    assert_eq!(heads(&world).await.len(), 41);
    assert_eq!(world.open().await.view().records().len(), 41);
}

#[tokio::test]
async fn a_registry_that_deletes_nothing_takes_more_heads_than_one_head_can_cover() {
    let world = World::new();
    let world = world.through(Plain::keeping(world.repo.clone()));
    world.init().await;
    let digest = world.image("of all").await;
    let mut opened = world.open().await;
    for number in 0..150 {
        let request = release(&format!("1.{number}"), digest, &[]);
        let done = world.ledger.release(&opened, &world.context(), &request).await;
        opened = done.unwrap().opened;
    }
    assert_eq!(heads(&world).await.len(), 151, "one head for each append");
    let opened = world.open().await;
    assert_eq!(opened.view().records().len(), 151);
    assert!(opened.findings().is_empty());
}

#[tokio::test]
async fn a_late_list_loses_nothing_that_its_writer_knows() {
    let (world, plain) = world();
    world.init().await;
    world.release("1", &["prod"]).await;
    let policy = TrustPolicy {
        pin: None,
        remembered: world.open().await.remember(),
    };
    let newest = heads(&world)
        .await
        .into_iter()
        .filter(|tag| tag.as_str().contains("9997-"));
    plain.hidden.lock().unwrap().extend(newest);
    let opened = world.ledger.open(&policy).await.unwrap();
    assert_eq!(opened.view().records().len(), 2);
    assert_eq!(opened.findings()[0].code, "head-unlisted");
    plain.hidden.lock().unwrap().clear();
    assert!(world.ledger.open(&policy).await.unwrap().findings().is_empty());
}

#[tokio::test]
async fn two_heads_are_read_as_one_view_and_the_next_append_joins_them() {
    let (world, _) = world();
    world.init().await;
    let base = world.open().await;
    let digest = world.image("1").await;
    // Two writers that saw the same, each with a head of its own.
    let ledger = base.state().unwrap().ledger;
    for nonce in [1, 2] {
        let mut release = entry(&base, Kind::Release, nonce);
        release.version = Some(version(&format!("1.{nonce}")));
        release.digest = Some(digest);
        release.moves = one_move(&base, "prod");
        let list = [
            envelopes(&base),
            vec![release.sign(&world.key).unwrap().bytes().clone()],
        ]
        .concat();
        forge(&*world.repo, ledger, &list, &world.key, None).await;
    }
    let opened = world.open().await;
    assert_eq!(opened.view().records().len(), 3);
    let again = world.open().await;
    assert!(
        opened.view().names().eq(again.view().names()),
        "every reader sees the same order"
    );
    let rows = cairn_ledger::query::history(&opened, None);
    assert_eq!(
        rows.iter().map(|row| row.void.len()).sum::<usize>(),
        1,
        "one of the two moves is void"
    );
    world.release("2", &["staging"]).await;
    let joined = world.open().await;
    assert_eq!(joined.head().unwrap().size, 4);
    assert_eq!(joined.view().records().len(), 4);
}

#[tokio::test]
async fn two_bindings_that_could_not_see_each_other_are_contested() {
    let (world, _) = world();
    world.init().await;
    let base = world.open().await;
    let ledger = base.state().unwrap().ledger;
    for nonce in [1, 2] {
        let mut release = entry(&base, Kind::Release, nonce);
        release.version = Some(version("1"));
        release.digest = Some(world.image(&format!("of {nonce}")).await);
        let list = [
            envelopes(&base),
            vec![release.sign(&world.key).unwrap().bytes().clone()],
        ]
        .concat();
        forge(&*world.repo, ledger, &list, &world.key, None).await;
    }
    let error = world.try_promote("1", &["prod"], false).await.unwrap_err();
    assert!(
        matches!(error, cairn_ledger::OperationError::Contested { ref digests, .. } if digests.len() == 2)
    );
    assert_eq!(world.codes().await, ["version-contested"]);
}

#[tokio::test]
async fn heads_that_do_not_count_are_reported_and_the_rest_goes_on() {
    let (world, _) = world();
    world.init().await;
    world.release("1", &["prod"]).await;
    let opened = world.open().await;
    let ledger = opened.state().unwrap().ledger;
    let list = [envelopes(&opened), vec![envelopes(&opened)[1].clone()]].concat();
    forge(&*world.repo, ledger, &list, &key(9), None).await;
    let after = world.open().await;
    assert_eq!(after.view().records().len(), 2);
    assert_eq!(after.findings()[0].code, "head-refused");
    world.release("2", &["prod"]).await;
    assert_eq!(world.codes().await, ["head-refused"]);
}

/// The second reader took such an entry in, and this one did not: it knew of it only what its own head knew.
#[tokio::test]
async fn an_entry_from_elsewhere_is_taken_in_by_the_signature_of_a_key_that_only_the_view_lists() {
    let (world, base, removed) = removed_owner().await;
    let added = key(3);
    let mut authority = Authority::single(world.key.key().clone());
    authority.keys.push(Grant::owner(added.key().clone()));
    let now = world.open().await;
    let keys = Entry {
        authority: Some(authority),
        ..entry(&now, Kind::Keys, 2)
    };
    let keys = keys.sign(&world.key).unwrap();
    let at = world.context().at;
    let appended = world.ledger.append_all(&now, &[keys], &world.key, at).await;
    appended.unwrap();
    let release = Entry {
        version: Some(version("9")),
        digest: Some(world.image("9").await),
        ..entry(&base, Kind::Release, 3)
    };
    let by_removed = release.sign(&removed).unwrap();
    let by_both = [&by_removed, &release.sign(&added).unwrap()].map(|one| one.signatures()[0].clone());
    for (signed, is_in) in [
        (&by_removed, false),
        (&by_removed.with_signatures(&by_both).unwrap(), true),
    ] {
        let list = [envelopes(&base), vec![signed.bytes().clone()]].concat();
        let ledger = base.state().unwrap().ledger;
        forge(&*world.repo, ledger, &list, &removed, None).await;
        let state = world.open().await.state().unwrap().clone();
        assert_eq!(
            state.versions.contains_key(&version("9")),
            is_in,
            "{:?}",
            state.versions
        );
    }
}
