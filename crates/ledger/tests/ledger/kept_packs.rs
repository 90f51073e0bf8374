//! Packs that a reader kept, and what is noted of their signatures: what does not fit is not believed.

use bytes::Bytes;
use std::sync::Arc;

use cairn_ledger::audit::AuditOptions;
use cairn_ledger::entry::Kind;
use cairn_ledger::head;
use cairn_ledger::key::Signer as _;
use cairn_ledger::pack;
use cairn_ledger::view::PackCache;
use cairn_ledger::{OpenError, Opened, TrustPolicy};
use cairn_oci::Digest;

use crate::remembered::Packs;
use crate::support::*;

/// Gives the same bytes, whatever pack is asked for.
#[derive(Debug)]
struct OneForAll(Bytes);

impl PackCache for OneForAll {
    fn get(&self, _: &Digest) -> Option<Bytes> {
        Some(self.0.clone())
    }

    fn put(&self, _: &Digest, _: &Bytes) {}
}

#[tokio::test]
async fn a_kept_pack_that_is_another_is_fetched_again() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let old = pack::write(envelopes(&world.open().await).iter());
    world.release("2", &["prod"]).await;
    for bytes in [old, Bytes::from_static(b"nothing\n")] {
        let ledger = world.ledger.clone().with_cache(Arc::new(OneForAll(bytes)));
        let opened = ledger.open(&TrustPolicy::default()).await.unwrap();
        assert_eq!(opened.view().records().len(), 3);
    }
}

/// A ledger with a release in it, and the note of its only pack.
async fn noted() -> (World, Opened, Digest, String) {
    let world = World::new();
    world.init().await;
    world.release("1", &[]).await;
    let packs = Arc::new(Packs::default());
    let ledger = world.ledger.clone().with_cache(packs.clone());
    let opened = ledger.open(&TrustPolicy::default()).await.unwrap();
    let pack = Digest::of(&pack::write(envelopes(&opened).iter()));
    let note = packs.note(&pack).unwrap();
    (world, opened, pack, String::from_utf8(note.to_vec()).unwrap())
}

/// What becomes of the list when `note` is found beside its only pack.
async fn read(world: &World, list: &[Bytes], note: String) -> Result<Opened, OpenError> {
    let packs = Arc::new(Packs::default());
    packs.put_note(&Digest::of(&pack::write(list.iter())), &note.into());
    let ledger = world.ledger.clone().with_cache(packs);
    ledger.open(&TrustPolicy::default()).await
}

#[tokio::test]
async fn a_note_is_believed_only_of_its_own_pack_whole_and_of_keys_that_signed() {
    let (world, opened, pack, note) = noted().await;
    let (_, body) = note.split_once('\n').unwrap();
    let good = envelopes(&opened);
    assert!(read(&world, &good, note.clone()).await.is_ok());

    // An entry whose signature is said to be of the ledger's key, and is not.
    let mut wanted = entry(&opened, Kind::Release, 1);
    wanted.version = Some(version("6"));
    wanted.digest = Some(world.image("evil").await);
    let signed = wanted.sign(&key(9)).unwrap();
    let by_stranger = String::from_utf8(signed.bytes().to_vec()).unwrap();
    let [stranger, owner] = [key(9), key(1)].map(|key| key.key().fingerprint().to_string());
    let false_name = by_stranger.replace(&stranger, &owner);
    let ledger = opened.state().unwrap().ledger;
    for (entry, is_of_another) in [(false_name, true), (by_stranger, false)] {
        let list = [good[0].clone(), entry.into()];
        forge(&*world.repo, ledger, &list, &world.key, Some(head::linear_tag())).await;
        let other = Digest::of(&pack::write(list.iter()));
        let body = body.replace(&pack.to_string(), &other.to_string());
        let sum = Digest::of(body.as_bytes());
        let mut notes = vec![note.clone(), note.replace(&pack.to_string(), &other.to_string())];
        // Whole, and of this pack: but that key is not among those that say they signed.
        notes.extend((!is_of_another).then(|| format!("{sum}\n{body}")));
        for note in notes {
            let error = read(&world, &list, note.clone()).await.unwrap_err();
            let OpenError::Refused { source, .. } = &error else {
                panic!("{error:?}")
            };
            assert!(
                matches!(source, head::HeadError::Unsigned { position: 1 }),
                "{note}: {source:?}"
            );
        }
    }
}

/// What was kept is good; what others would read is not.
#[tokio::test]
async fn the_audit_reads_what_is_stored_and_not_what_was_kept() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let pack = pack::write(envelopes(&world.open().await).iter());
    let plain = Plain::damageable(world.repo.clone());
    let damaged = Bytes::from(vec![b' '; pack.len()]);
    plain.damaged.lock().unwrap().insert(Digest::of(&pack), damaged);
    let through = world.through(plain);
    let ledger = through.ledger.clone().with_cache(Arc::new(OneForAll(pack)));
    let opened = ledger.open(&TrustPolicy::default()).await.unwrap();
    let report = ledger.audit(&opened, AuditOptions::default()).await.unwrap();
    let codes: Vec<_> = report.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["head-damaged"]);
}
