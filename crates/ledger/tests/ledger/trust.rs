//! Pins, memory, and ledgers that are not the right one.

use cairn_ledger::entry::Mode;
use cairn_ledger::head;
use cairn_ledger::memory::Memory as Seen;
use cairn_ledger::open::OpenError;
use cairn_ledger::{Class, HowTrusted, Pin, Remembered, TrustPolicy};
use cairn_oci::Digest;

use crate::support::*;

fn remembering(remembered: Option<Remembered>) -> TrustPolicy {
    TrustPolicy {
        pin: None,
        remembered,
    }
}

fn pinned(pin: &str) -> TrustPolicy {
    TrustPolicy {
        pin: Some(pin.parse::<Pin>().unwrap()),
        remembered: None,
    }
}

#[tokio::test]
async fn memory_survives_as_bytes_and_damage_is_not_forgetting() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let remembered = world.open().await.remember().unwrap();
    let bytes = remembered.to_bytes();
    assert_eq!(Remembered::parse(&bytes).unwrap(), remembered);
    for end in 0..bytes.len() {
        assert!(Remembered::parse(&bytes[..end]).is_err(), "{end}");
    }
    let other = String::from_utf8(bytes)
        .unwrap()
        .replace("\"size\":2", "\"size\":3");
    assert!(Remembered::parse(other.as_bytes()).is_err());
    let opened = world.ledger.open(&remembering(Some(remembered))).await.unwrap();
    assert_eq!(opened.how_trusted(), HowTrusted::Remembered);
}

#[tokio::test]
async fn g2_an_older_head_is_a_rollback_for_who_remembers() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let old = world.open().await;
    world.release("2", &["prod"]).await;
    let remembered = world.open().await.remember();
    world.set_tag("cairn-head", old.head().unwrap().digest).await;
    let error = open_error(&world, &remembering(remembered.clone())).await;
    assert_eq!(error.class(), Class::Integrity);
    let OpenError::Remembered { memory, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(
            **memory,
            Seen::Rollback {
                remembered_size: 3,
                found_size: 2,
                ..
            }
        ),
        "{memory:?}"
    );
    let text = error.to_string();
    let heads = [remembered.unwrap().head, old.head().unwrap().digest];
    assert!(
        text.starts_with("ROLLBACK") && heads.iter().all(|head| text.contains(&head.to_string())),
        "{text}"
    );
    // Who remembers nothing is stopped by the tag, which shows what the old copy does not know.
    assert_eq!(world.open().await.how_trusted(), HowTrusted::FirstSeen);
    let error = world.try_release("3", &["prod"]).await.unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    assert_eq!(world.open().await.view().records().len(), 2);
}

#[tokio::test]
async fn g2_a_ledger_that_is_gone_is_not_a_new_one() {
    let world = World::new();
    let genesis = world.init().await;
    let remembered = world.open().await.remember();
    let empty = World::new();
    assert!(matches!(
        open_error(&empty, &remembering(remembered)).await,
        OpenError::Gone { .. }
    ));
    assert!(matches!(
        open_error(&empty, &pinned(&genesis.to_string())).await,
        OpenError::Gone { .. }
    ));
    assert!(empty.open().await.state().is_none());
}

#[tokio::test]
async fn g3_other_entries_in_the_same_place_are_a_fork() {
    let world = World::new();
    world.init().await;
    let base = world.open().await;
    world.release("1", &["prod"]).await;
    let remembered = world.open().await.remember();
    let mut other = envelopes(&base);
    let digest = world.image("other").await;
    for nonce in 0..2 {
        let mut entry = entry(&base, cairn_ledger::Kind::Release, nonce);
        entry.version = Some(version(&format!("9.{nonce}")));
        entry.digest = Some(digest);
        other.push(entry.sign(&world.key).unwrap().bytes().clone());
        forge_linear(&world, &other, &world.key).await;
        let error = open_error(&world, &remembering(remembered.clone())).await;
        let OpenError::Remembered { memory, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(**memory, Seen::Fork { position: 1, .. }), "{memory:?}");
        assert!(error.to_string().starts_with("FORK"), "{error}");
    }
}

#[tokio::test]
async fn a_pin_must_match_and_its_entries_must_be_there() {
    let world = World::new();
    let genesis = world.init().await;
    let released = world.release("1", &["prod"]).await.entry.unwrap().name;
    let opened = world
        .ledger
        .open(&pinned(&format!("{genesis}+{released}")))
        .await
        .unwrap();
    assert_eq!(opened.how_trusted(), HowTrusted::Pinned);
    let nothing = Digest::of(b"nothing");
    let error = open_error(&world, &pinned(&nothing.to_string())).await;
    assert!(
        matches!(error, OpenError::NotPinned { found, .. } if found == genesis),
        "{error:?}"
    );
    let error = open_error(&world, &pinned(&format!("{genesis}+{nothing}"))).await;
    assert!(
        matches!(error, OpenError::PinnedEntry { entry, .. } if entry == nothing),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_second_genesis_in_linear_mode_is_another_ledger() {
    let world = World::new();
    world.init().await;
    let remembered = world.open().await.remember();
    let attacker = key(9);
    let other = genesis(&attacker, 7, Mode::Linear);
    forge(
        &*world.repo,
        other.name(),
        &[other.bytes().clone()],
        &attacker,
        Some(head::linear_tag()),
    )
    .await;
    let error = open_error(&world, &remembering(remembered)).await;
    let OpenError::Remembered { memory, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(**memory, Seen::OtherGenesis { .. }));
}

#[tokio::test]
async fn a_second_genesis_in_causal_mode_is_an_error_without_a_pin_and_a_finding_with_one() {
    let world = World::new();
    let world = world.through(Plain::new(world.repo.clone()));
    let genesis_name = world.init().await;
    world.release("1", &["prod"]).await;
    let remembered = world.open().await.remember();
    let attacker = key(9);
    let other = genesis(&attacker, 7, Mode::Causal);
    forge(
        &*world.repo,
        other.name(),
        &[other.bytes().clone()],
        &attacker,
        None,
    )
    .await;
    let error = open_error(&world, &TrustPolicy::default()).await;
    let OpenError::TwoLedgers { first, second, .. } = &error else {
        panic!("{error:?}")
    };
    assert!([first, second].contains(&&genesis_name) && [first, second].contains(&&other.name()));
    for policy in [pinned(&genesis_name.to_string()), remembering(remembered)] {
        let opened = world.ledger.open(&policy).await.unwrap();
        assert_eq!(opened.state().unwrap().ledger, genesis_name);
        assert_eq!(opened.findings()[0].code, "other-ledger");
    }
}

#[tokio::test]
async fn nobody_starts_a_second_ledger_and_the_same_start_twice_is_one() {
    let world = World::new();
    let first = world.init().await;
    assert_eq!(world.init().await, first);
    let other = key(2);
    let authority = cairn_ledger::Authority::single(cairn_ledger::Signer::key(&other).clone());
    let error = world
        .ledger
        .initialise(&world.context_of(&other), authority)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Input);
}

/// Entries that do not name each other, in another order: everything is there, and it is another history.
#[tokio::test]
async fn g3_entries_that_changed_places_are_a_fork_in_linear_mode() {
    let world = World::new();
    world.init().await;
    world.release("1", &[]).await;
    world.release("2", &[]).await;
    let opened = world.open().await;
    let mut list = envelopes(&opened);
    list.swap(1, 2);
    forge_linear(&world, &list, &world.key).await;
    let error = open_error(&world, &remembering(opened.remember())).await;
    let OpenError::Remembered { memory, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(**memory, Seen::Fork { position: 1, .. }), "{memory:?}");
}

#[tokio::test]
async fn g2_a_pin_does_not_overrule_what_was_seen_of_its_ledger() {
    let world = World::new();
    let genesis = world.init().await;
    world.release("1", &["prod"]).await;
    let old = world.open().await;
    world.release("2", &["prod"]).await;
    let policy = TrustPolicy {
        remembered: world.open().await.remember(),
        ..pinned(&genesis.to_string())
    };
    world.set_tag("cairn-head", old.head().unwrap().digest).await;
    let error = open_error(&world, &policy).await;
    assert!(matches!(error, OpenError::Remembered { .. }), "{error:?}");
}
