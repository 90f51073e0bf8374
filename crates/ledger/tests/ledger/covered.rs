//! Causal mode: which heads are read whoever covers them, and in which order their entries come.

use std::sync::Arc;

use bytes::Bytes;
use cairn_ledger::authority::{Authority, Grant};
use cairn_ledger::entry::Kind;
use cairn_ledger::envelope::Envelope;
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::{EntryName, Opened};
use cairn_oci::{Digest, Tag};

use crate::hostile::{codes, heads, plant, removed_owner, short_of};
use crate::support::*;

/// A release of `name` on top of `opened` that moves nothing.
fn released(opened: &Opened, name: &str, digest: Digest, nonce: u8, by: &LocalKey) -> Envelope {
    let mut release = entry(opened, Kind::Release, nonce);
    release.version = Some(version(name));
    release.digest = Some(digest);
    release.sign(by).unwrap()
}

/// All that `opened` has, and one entry more.
fn with(opened: &Opened, one: &Envelope) -> Vec<Bytes> {
    [envelopes(opened), vec![one.bytes().clone()]].concat()
}

/// More heads than are looked at together, all of them newer by their names.
#[tokio::test]
async fn the_head_that_removes_a_key_is_read_although_heads_of_that_key_cover_it() {
    let (world, fork, removed) = removed_owner().await;
    let before = world.open().await;
    let ledger = before.state().unwrap().ledger;
    let covers: Vec<String> = heads(&world).await.iter().map(short_of).collect();
    for number in 0..20 {
        plant(
            &world,
            ledger,
            &envelopes(&fork),
            &removed,
            covers.clone(),
            number,
        )
        .await;
    }
    let opened = world.open().await;
    assert!(opened.view().names().eq(before.view().names()));
    assert_eq!(opened.state().unwrap().authority.keys.len(), 1);
}

#[tokio::test]
async fn what_a_removed_key_covers_is_read_however_old_it_is() {
    let (world, fork, removed) = removed_owner().await;
    let before = world.open().await;
    let ledger = before.state().unwrap().ledger;
    let digest = world.image("beside").await;
    // An older head by its name, and the only one that has this entry.
    let beside = released(&before, "9", digest, 90, &world.key);
    let list = with(&before, &beside);
    let hidden = plant(&world, ledger, &list, &world.key, Vec::new(), 9_999_999_999).await;
    for number in 10..50 {
        plant(
            &world,
            ledger,
            &envelopes(&before),
            &world.key,
            Vec::new(),
            number,
        )
        .await;
    }
    let covers = vec![cairn_ledger::head::short(&hidden)];
    plant(&world, ledger, &envelopes(&fork), &removed, covers, 0).await;
    let opened = world.open().await;
    assert!(opened.view().names().any(|name| name == beside.name()));
}

/// The beginning of another head, whose entries are known to be good: its writer must be allowed all the same.
#[tokio::test]
async fn a_shorter_head_counts_only_by_a_key_that_may_write_it() {
    let world = World::new();
    let world = world.through(Plain::new(world.repo.clone()));
    let (short, safe) = (key(2), key(3));
    let mut authority = Authority::single(world.key.key().clone());
    // Heads are planted as of 13:00.
    authority.keys.push(Grant {
        until: Some("2026-11-21T12:00:00Z".parse().unwrap()),
        ..Grant::owner(short.key().clone())
    });
    authority.recovery = Some(safe.key().clone());
    let context = world.context();
    world.ledger.initialise(&context, authority).await.unwrap();
    world.release("1", &["prod"]).await;
    let before = world.open().await;
    let ledger = before.state().unwrap().ledger;
    let list = &envelopes(&before)[..1];
    for (number, signer) in [&short, &safe].into_iter().enumerate() {
        let number = 9_999_999_998 + u64::try_from(number).unwrap();
        plant(&world, ledger, list, signer, Vec::new(), number).await;
    }
    let opened = world.open().await;
    assert_eq!(codes(&opened), ["head-refused"; 2]);
    plant(&world, ledger, list, &world.key, Vec::new(), 9_999_999_997).await;
    assert_eq!(codes(&world.open().await).len(), 2, "its owner may");
}

#[tokio::test]
async fn what_other_heads_have_beyond_the_best_follows_by_their_size_and_then_their_digest() {
    let world = World::new();
    let world = world.through(Plain::new(world.repo.clone()));
    world.init().await;
    let base = world.open().await;
    let ledger = base.state().unwrap().ledger;
    let digest = world.image("of all").await;
    let mut planted: Vec<(usize, Digest, Vec<EntryName>)> = Vec::new();
    let mut nonce = 0;
    for length in [2, 3, 1, 2, 1] {
        let mut list = envelopes(&base);
        let mut names = Vec::new();
        for _ in 0..length {
            nonce += 1;
            let release = released(&base, &format!("1.{nonce}"), digest, nonce, &world.key);
            names.push(release.name());
            list.push(release.bytes().clone());
        }
        let head = forge(&*world.repo, ledger, &list, &world.key, None).await;
        planted.push((length, head, names));
    }
    planted.sort_by_key(|(length, head, _)| (std::cmp::Reverse(*length), *head));
    let expected = planted.into_iter().flat_map(|(_, _, names)| names);
    let opened = world.open().await;
    assert!(opened.view().names().skip(1).eq(expected));
}

/// Heads that count beyond the newest 32: `older`, each with a tag that sorts last, and enough others.
async fn crowded(world: &World, older: &[(Vec<Bytes>, Vec<String>)]) -> Vec<Tag> {
    let opened = world.open().await;
    let ledger = opened.state().unwrap().ledger;
    let list = envelopes(&opened);
    for number in 0..33 {
        plant(world, ledger, &list, &world.key, Vec::new(), 100 + number).await;
    }
    let mut tags = Vec::new();
    for (number, (list, covers)) in (9_999_999_900..).zip(older) {
        let head = plant(world, ledger, list, &world.key, covers.clone(), number).await;
        let tag = format!("cairn-h-{number:010}-{}", cairn_ledger::head::short(&head));
        tags.push(tag.parse().unwrap());
    }
    tags
}

async fn causal_world() -> (World, Arc<Plain>) {
    let plain = Plain::new(World::new().repo);
    let world = World::over(plain.clone());
    world.init().await;
    (world, plain)
}

#[tokio::test]
async fn a_head_that_has_an_entry_of_its_own_is_not_deleted_although_another_says_that_it_covers_it() {
    let (world, _) = causal_world().await;
    let opened = world.open().await;
    let ledger = opened.state().unwrap().ledger;
    let digest = world.image("own").await;
    let own = released(&opened, "7", digest, 70, &world.key);
    let list = with(&opened, &own);
    let tags = crowded(&world, &[(list, Vec::new())]).await;
    let covers = tags.iter().map(short_of).collect();
    plant(&world, ledger, &envelopes(&opened), &world.key, covers, 1).await;
    // Old heads that have nothing of their own go; this one stays.
    world.release("1", &[]).await;
    let left = heads(&world).await;
    assert!(left.contains(&tags[0]) && left.len() < 36, "{}", left.len());
}

#[tokio::test]
async fn of_two_heads_that_have_the_same_entries_neither_is_deleted_for_the_other() {
    let (world, _) = causal_world().await;
    let opened = world.open().await;
    let digest = world.image("1").await;
    let release = released(&opened, "1", digest, 1, &world.key);
    let same = with(&opened, &release);
    let tags = crowded(&world, &[(same.clone(), Vec::new()), (same, Vec::new())]).await;
    let at = world.context().at;
    let appended = world.ledger.append_all(&opened, &[release], &world.key, at).await;
    appended.unwrap();
    let left = heads(&world).await;
    assert!(tags.iter().all(|tag| left.contains(tag)));
    assert!(left.len() < 36, "others were: {}", left.len());
}

#[tokio::test]
async fn nothing_is_deleted_while_a_pack_of_the_better_head_is_not_there() {
    let (world, plain) = causal_world().await;
    let opened = world.open().await;
    let digest = world.image("1").await;
    let release = released(&opened, "1", digest, 1, &world.key);
    crowded(&world, &[]).await;
    let before = heads(&world).await.len();
    let pack = Digest::of(&cairn_ledger::pack::write(with(&opened, &release).iter()));
    plain.lost.lock().unwrap().insert(pack);
    let at = world.context().at;
    let appended = world.ledger.append_all(&opened, &[release], &world.key, at).await;
    appended.unwrap();
    assert_eq!(heads(&world).await.len(), before + 1);
}

#[tokio::test]
async fn a_tag_with_the_digits_of_another_head_is_none() {
    let (world, _) = causal_world().await;
    world.release("1", &["prod"]).await;
    let before = world.open().await;
    let head = before.head().unwrap().digest;
    for name in ["cairn-h-0000000001-0123456789abcdef", "cairn-h-1-a"] {
        world.set_tag(name, head).await;
    }
    let opened = world.open().await;
    assert!(opened.view().names().eq(before.view().names()));
    assert_eq!(codes(&opened), ["head-refused"; 2]);
}
