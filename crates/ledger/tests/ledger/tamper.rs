//! Somebody who may write to the repository and has no key, or a disk that rots.

use bytes::Bytes;
use cairn_ledger::authority::{Authority, Grant, Role};
use cairn_ledger::entry::{Kind, Mode};
use cairn_ledger::head::{self, HeadError};
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::open::{OpenError, Opened};
use cairn_ledger::{Class, TrustPolicy};
use cairn_oci::{Document, Manifest, json, media_type};
use cairn_store::{Condition, RawManifest, Target};

use crate::support::*;

async fn small_world() -> World {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    world.rollback("prod").await;
    world
}

/// The manifest of the head and its blobs.
async fn parts(world: &World) -> (RawManifest, Manifest, Vec<Bytes>) {
    let target = Target::Tag(head::linear_tag());
    let raw = world.repo.read_manifest(&target).await.unwrap().unwrap();
    let Document::Manifest(manifest) = raw.document().unwrap() else {
        panic!("an index")
    };
    let mut blobs = Vec::new();
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let content = world
            .repo
            .read_blob(&blob.digest, None)
            .await
            .unwrap()
            .unwrap()
            .content;
        blobs.push(cairn_store::collect(content, 1 << 20).await.unwrap());
    }
    (raw, manifest, blobs)
}

#[tokio::test]
async fn g1_every_byte_of_a_small_ledger_matters() {
    let world = small_world().await;
    let (raw, _, blobs) = parts(&world).await;
    let plain = Plain::damageable(world.repo.clone());
    let rotten = world.through(plain.clone());
    assert!(rotten.ledger.open(&TrustPolicy::default()).await.is_ok());
    let remembered = TrustPolicy {
        pin: None,
        remembered: world.open().await.remember(),
    };
    for original in blobs.iter().chain([raw.bytes()]) {
        let digest = cairn_oci::Digest::of(original);
        for at in 0..original.len() {
            let mut bytes = original.to_vec();
            bytes[at] ^= 0x04;
            plain.damaged.lock().unwrap().insert(digest, bytes.into());
            let error = rotten.ledger.open(&remembered).await.unwrap_err();
            assert_eq!(error.class(), Class::Integrity, "byte {at}: {error:?}");
        }
        for end in (0..original.len()).step_by(7) {
            plain
                .damaged
                .lock()
                .unwrap()
                .insert(digest, original.slice(..end));
            let error = rotten.ledger.open(&remembered).await.unwrap_err();
            assert_eq!(error.class(), Class::Integrity, "cut at {end}: {error:?}");
        }
        plain.damaged.lock().unwrap().clear();
    }
}

/// The same attack with all digests put right: only signatures are left to catch it.
#[tokio::test]
async fn g1_g4_a_changed_pack_with_new_digests_is_caught_by_signatures() {
    let world = small_world().await;
    let (_, manifest, blobs) = parts(&world).await;
    let pack = &blobs[1];
    for at in (0..pack.len()).step_by(3) {
        let mut bytes = pack.to_vec();
        bytes[at] ^= 0x04;
        let mut layers = vec![put(&*world.repo, bytes).await];
        layers[0].media_type = cairn_ledger::pack::MEDIA_TYPE.into();
        let forged = Manifest {
            layers,
            ..manifest.clone()
        };
        let raw = RawManifest::new(media_type::MANIFEST, json::canonical(&forged));
        world
            .repo
            .write_manifest(&Target::Tag(head::linear_tag()), &raw, &Condition::Always)
            .await
            .unwrap();
        let error = open_error(&world, &TrustPolicy::default()).await;
        let OpenError::Refused { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(source, HeadError::Packs), "byte {at}: {source:?}");
    }
}

#[tokio::test]
async fn g1_entries_removed_reordered_or_inserted_are_caught_even_under_an_allowed_key() {
    let world = small_world().await;
    let opened = world.open().await;
    let policy = TrustPolicy {
        pin: None,
        remembered: opened.remember(),
    };
    let all = envelopes(&opened);
    let stranger = genesis(&key(9), 3, Mode::Linear).bytes().clone();
    let lists = [
        vec![all[0].clone(), all[2].clone(), all[1].clone(), all[3].clone()],
        vec![all[0].clone(), all[1].clone(), all[3].clone()],
        vec![all[0].clone(), all[2].clone(), all[3].clone()],
        vec![all[0].clone(), stranger.clone(), all[1].clone()],
        vec![all[1].clone(), all[0].clone()],
        vec![all[0].clone(), all[1].clone()],
    ];
    for (number, list) in lists.iter().enumerate() {
        let ledger = opened.state().unwrap().ledger;
        forge(&*world.repo, ledger, list, &world.key, Some(head::linear_tag())).await;
        let error = open_error(&world, &policy).await;
        assert_eq!(error.class(), Class::Integrity, "list {number}: {error:?}");
    }
    // Without memory, an order that contradicts what the entries name is still caught.
    for list in &lists[..5] {
        let ledger = opened.state().unwrap().ledger;
        forge(&*world.repo, ledger, list, &world.key, Some(head::linear_tag())).await;
        let error = world.ledger.open(&TrustPolicy::default()).await;
        let is_order = |error: &OpenError| {
            matches!(
                error,
                OpenError::Refused {
                    source: HeadError::Order { .. } | HeadError::Foreign { .. },
                    ..
                }
            )
        };
        assert!(error.as_ref().err().is_some_and(is_order), "{error:?}");
    }
}

#[tokio::test]
async fn a_head_pushed_by_somebody_without_a_key_does_not_count_and_stays() {
    let world = small_world().await;
    let opened = world.open().await;
    let attacker = key(9);
    let forged = forge_linear(&world, &envelopes(&opened)[..2], &attacker).await;
    let error = open_error(&world, &TrustPolicy::default()).await;
    let OpenError::Refused { digest, source, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(*digest == forged && matches!(source, HeadError::Signer));
    assert!(world.tag("cairn-head").await == Some(forged), "never deleted");
    let digest = world.image("3").await;
    let done = world
        .ledger
        .release(&opened, &world.context(), &release("3", digest, &["staging"]))
        .await;
    assert!(done.is_err(), "nothing is appended to it");
}

#[tokio::test]
async fn g6_a_signature_of_another_key_or_ledger_is_no_entry() {
    let world = World::new();
    world.init().await;
    let opened = world.open().await;
    let digest = world.image("1").await;
    let mut wanted = entry(&opened, Kind::Release, 1);
    wanted.version = Some(version("1"));
    wanted.digest = Some(digest);
    let by_stranger = wanted.sign(&key(9)).unwrap();
    let list = [envelopes(&opened)[0].clone(), by_stranger.bytes().clone()];
    forge_linear(&world, &list, &world.key).await;
    let error = open_error(&world, &TrustPolicy::default()).await;
    assert!(
        matches!(
            error,
            OpenError::Refused {
                source: HeadError::Unsigned { position: 1 },
                ..
            }
        ),
        "{error:?}"
    );

    wanted.ledger = Some(cairn_oci::Digest::of(b"another"));
    let of_another = wanted.sign(&world.key).unwrap();
    let ledger = opened.state().unwrap().ledger;
    let list = [envelopes(&opened)[0].clone(), of_another.bytes().clone()];
    forge(&*world.repo, ledger, &list, &world.key, Some(head::linear_tag())).await;
    let error = open_error(&world, &TrustPolicy::default()).await;
    assert!(
        matches!(
            error,
            OpenError::Refused {
                source: HeadError::Foreign { position: 1 },
                ..
            }
        ),
        "{error:?}"
    );
}

/// The `keys` entry that lists `listed`, as `signer` states it on top of `opened`.
fn keys_entry(opened: &Opened, listed: &[&LocalKey], signer: &LocalKey) -> Bytes {
    let mut keys = entry(opened, Kind::Keys, 50);
    let mut authority = Authority::single(listed[0].key().clone());
    let others = listed[1..].iter().map(|key| Grant::owner(key.key().clone()));
    authority.keys.extend(others);
    keys.authority = Some(authority);
    keys.sign(signer).unwrap().bytes().clone()
}

async fn refusal(world: &World) -> HeadError {
    match open_error(world, &TrustPolicy::default()).await {
        OpenError::Refused { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn g6_a_key_that_is_listed_only_afterwards_signed_nothing_before() {
    let world = World::new();
    world.init().await;
    let opened = world.open().await;
    let later = key(2);
    let mut wanted = entry(&opened, Kind::Release, 1);
    wanted.version = Some(version("1"));
    wanted.digest = Some(world.image("1").await);
    let mut list = envelopes(&opened);
    list.push(wanted.sign(&later).unwrap().bytes().clone());
    list.push(keys_entry(&opened, &[&world.key, &later], &world.key));
    forge_linear(&world, &list, &world.key).await;
    assert!(matches!(
        refusal(&world).await,
        HeadError::Unsigned { position: 1 }
    ));
    list.swap(1, 2);
    let ledger = opened.state().unwrap().ledger;
    forge(&*world.repo, ledger, &list, &world.key, Some(head::linear_tag())).await;
    assert_eq!(world.open().await.view().records().len(), 3);
}

#[tokio::test]
async fn a_head_of_a_key_that_was_taken_out_or_whose_time_is_over_does_not_count() {
    let world = World::new();
    let (other, short) = (key(2), key(3));
    let mut authority = Authority::single(world.key.key().clone());
    authority.keys.push(Grant::owner(other.key().clone()));
    // Heads are forged as of 13:00.
    authority.keys.push(Grant {
        until: Some("2026-11-21T12:59:59Z".parse().unwrap()),
        ..Grant::owner(short.key().clone())
    });
    authority.recovery = Some(key(4).key().clone());
    let context = world.context();
    world.ledger.initialise(&context, authority).await.unwrap();
    let opened = world.open().await;
    let list = envelopes(&opened);
    let ledger = opened.state().unwrap().ledger;
    for (signer, counts) in [(&other, true), (&short, false), (&key(4), false)] {
        forge(&*world.repo, ledger, &list, signer, Some(head::linear_tag())).await;
        let read = world.ledger.open(&TrustPolicy::default()).await;
        assert_eq!(read.is_ok(), counts, "{read:?}");
    }
    let without = [list[0].clone(), keys_entry(&opened, &[&world.key], &world.key)];
    forge(&*world.repo, ledger, &without, &other, Some(head::linear_tag())).await;
    assert!(matches!(refusal(&world).await, HeadError::Signer));
}

#[tokio::test]
async fn a_genesis_that_too_few_of_its_own_keys_signed_is_none() {
    let world = World::new();
    let mut authority = Authority::single(world.key.key().clone());
    authority.keys.push(Grant::owner(key(2).key().clone()));
    authority.threshold = 2;
    let alone = cairn_ledger::Entry {
        authority: Some(authority),
        mode: Some(Mode::Linear),
        home: Some("team/web".to_owned()),
        ..blank(Kind::Genesis, "2026-11-21T09:00:00Z", 1)
    };
    let alone = alone.sign(&world.key).unwrap();
    let second =
        cairn_ledger::envelope::Envelope::sign(alone.payload_type(), alone.payload().to_vec(), &key(2));
    let both = [alone.signatures(), second.unwrap().signatures()].concat();
    let both = alone.with_signatures(&both).unwrap();
    for (envelope, counts) in [(&alone, false), (&both, true)] {
        let list = [envelope.bytes().clone()];
        let tag = Some(head::linear_tag());
        forge(&*world.repo, alone.name(), &list, &world.key, tag).await;
        let read = world.ledger.open(&TrustPolicy::default()).await;
        assert_eq!(read.is_ok(), counts, "{read:?}");
    }
}

#[tokio::test]
async fn an_entry_whose_key_may_not_is_void_and_found() {
    let world = World::new();
    let ci = key(2);
    let mut authority = Authority::single(world.key.key().clone());
    let roles = vec![Role {
        kinds: Some(vec![Kind::Promote]),
        channels: Some(vec![channel("staging")]),
        shown: false,
    }];
    authority.keys.push(Grant {
        roles,
        ..Grant::owner(ci.key().clone())
    });
    world
        .ledger
        .initialise(&world.context(), authority)
        .await
        .unwrap();
    world.release("1", &["prod"]).await;
    let second = world.release("2", &["staging"]).await;
    let opened = world.open().await;
    let mut wanted = entry(&opened, Kind::Promote, 1);
    wanted.version = Some(version("2"));
    wanted.digest = second.digest;
    wanted.moves = [one_move(&opened, "prod"), one_move(&opened, "staging")].concat();
    let mut list = envelopes(&opened);
    list.push(wanted.sign(&ci).unwrap().bytes().clone());
    forge_linear(&world, &list, &ci).await;
    assert_eq!(world.shows("prod").await.unwrap(), "1");
    let report = world.audit().await;
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!(
        (report.findings[0].code, report.findings[0].subject.as_str()),
        ("entry-not-allowed", "#3")
    );
}

#[tokio::test]
async fn a_ghost_entry_has_no_effect_and_is_found() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    world.rollback("prod").await;
    let opened = world.open().await;
    let mut list = envelopes(&opened);
    list.push(list[2].clone());
    forge_linear(&world, &list, &world.key).await;
    assert_eq!(world.shows("prod").await.unwrap(), "1");
    assert_eq!(world.codes().await, ["entry-repeated"]);
    // The ledger goes on behind it.
    world.release("3", &["staging"]).await;
    assert_eq!(world.open().await.view().records().len(), 6);
}

#[tokio::test]
async fn g9_sizes_that_are_not_so_are_refused() {
    let world = small_world().await;
    let (_, manifest, blobs) = parts(&world).await;
    let envelope = cairn_ledger::envelope::Envelope::parse(&blobs[0], head::PAYLOAD_TYPE).unwrap();
    let honest: head::HeadStatement = json::parse(envelope.payload(), 4096).unwrap();
    for size in [0, 3, 5, 17, 1 << 53, i64::MAX as u64] {
        let statement = head::HeadStatement {
            size,
            ..honest.clone()
        };
        let built = head::build(&statement, manifest.layers.clone(), &world.key).unwrap();
        put(&*world.repo, built.config.clone()).await;
        let tag = Target::Tag(head::linear_tag());
        world
            .repo
            .write_manifest(&tag, &built.manifest, &Condition::Always)
            .await
            .unwrap();
        let error = open_error(&world, &TrustPolicy::default()).await;
        assert!(matches!(error, OpenError::Refused { .. }), "{size}: {error:?}");
    }
}

#[tokio::test]
async fn a_missing_pack_is_an_integrity_error() {
    let world = small_world().await;
    let (_, manifest, _) = parts(&world).await;
    world.repo.delete_blob(&manifest.layers[0].digest).await.unwrap();
    let error = open_error(&world, &TrustPolicy::default()).await;
    assert_eq!(error.class(), Class::Integrity);
}
