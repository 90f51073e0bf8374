//! The remembered state: whatever was kept of a ledger, and whenever, its reader sees what somebody sees who reads all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_ledger::entry::Kind;
use cairn_ledger::operation::*;
use cairn_ledger::query::{HistoryFilter, HistoryRow, history, history_page, stays};
use cairn_ledger::view::PackCache;
use cairn_ledger::{Ledger, OpenError, Opened, Remembered, TrustPolicy};
use cairn_oci::Digest;

use crate::late::Random;
use crate::support::*;

/// Packs that were read, and what was verified of them.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    packs: Mutex<BTreeMap<Digest, Bytes>>,
    notes: Mutex<BTreeMap<Digest, Bytes>>,
}

impl PackCache for Packs {
    fn get(&self, digest: &Digest) -> Option<Bytes> {
        let pack = self.packs.lock().unwrap().get(digest).cloned();
        pack.filter(|pack| Digest::of(pack) == *digest)
    }

    fn put(&self, digest: &Digest, pack: &Bytes) {
        self.packs.lock().unwrap().insert(*digest, pack.clone());
    }

    fn has(&self, digest: &Digest) -> bool {
        self.packs.lock().unwrap().contains_key(digest)
    }

    fn note(&self, digest: &Digest) -> Option<Bytes> {
        self.notes.lock().unwrap().get(digest).cloned()
    }

    fn put_note(&self, digest: &Digest, note: &Bytes) {
        self.notes.lock().unwrap().insert(*digest, note.clone());
    }
}

/// Somebody's state directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keeper {
    packs: Arc<Packs>,
    state: Option<Bytes>,
    pub(crate) remembered: Option<Remembered>,
}

impl Keeper {
    pub(crate) fn ledger(&self, world: &World) -> Ledger {
        let ledger = world.ledger.clone().with_cache(self.packs.clone());
        match &self.state {
            Some(state) => ledger.with_state(Box::new(state.clone())),
            None => ledger,
        }
    }

    pub(crate) fn policy(&self) -> TrustPolicy {
        TrustPolicy {
            pin: None,
            remembered: self.remembered.clone(),
        }
    }

    pub(crate) async fn open(&self, world: &World) -> Result<Opened, OpenError> {
        self.ledger(world).open(&self.policy()).await
    }

    /// What was seen, and if asked for what follows from it.
    pub(crate) fn keep(&mut self, opened: &Opened, with_state: bool) {
        self.remembered = opened.remember();
        if !with_state {
            return;
        }
        if let Some(kept) = opened.to_keep() {
            assert_eq!(kept.size, opened.view().records().len() as u64);
            self.remembered = self.remembered.take().map(|all| all.begun(&kept.names));
            self.state = Some(kept.bytes);
        }
    }
}

/// Everything that can be said of a ledger is the same.
pub(crate) fn assert_same(kept: &Opened, whole: &Opened, what: &str) {
    assert_eq!(kept.state(), whole.state(), "{what}");
    assert!(kept.view().names().eq(whole.view().names()), "{what}");
    assert_eq!(kept.view().outcomes(), whole.view().outcomes(), "{what}");
    assert_eq!(kept.view().records(), whole.view().records(), "{what}");
    assert_eq!(kept.head(), whole.head(), "{what}");
    assert_eq!(history(kept, None), history(whole, None), "{what}");
    assert_eq!(stays(kept.view()), stays(whole.view()), "{what}");
    assert_eq!(chosen(kept), chosen_of_all(whole), "{what}");
    for name in whole.view().names() {
        assert_eq!(kept.view().find(&name), whole.view().find(&name), "{what}");
    }
    assert_eq!(kept.remember(), whole.remember(), "{what}");
    assert!(!kept.is_damaged(), "{what}");
}

/// The releases of one version, and the rollbacks of one person, as they are found without reading every entry.
fn chosen(opened: &Opened) -> [Vec<HistoryRow>; 2] {
    let of_version = HistoryFilter {
        version: Some(version("1.3")),
        kinds: vec![Kind::Release],
        ..HistoryFilter::default()
    };
    let of_person = HistoryFilter {
        kinds: vec![Kind::Rollback],
        actor: Some("YOU".to_owned()),
        ..HistoryFilter::default()
    };
    [of_version, of_person].map(|filter| history_page(opened, &filter).rows)
}

/// The same, chosen among all rows.
fn chosen_of_all(opened: &Opened) -> [Vec<HistoryRow>; 2] {
    let all = history(opened, None);
    let wanted = |is: &dyn Fn(&HistoryRow) -> bool| all.iter().filter(|row| is(row)).cloned().collect();
    [
        wanted(&|row| row.kind == Kind::Release && row.version == Some(version("1.3"))),
        wanted(&|row| row.kind == Kind::Rollback && row.actor.id.to_lowercase().contains("you")),
    ]
}

/// One random deed; that it is refused is as good as any.
async fn act(
    world: &World,
    ledger: &Ledger,
    opened: &Opened,
    random: &mut Random,
    number: u64,
) -> Option<Opened> {
    let context = world.context();
    let name = ["prod", "staging", "blue"][usize::try_from(random.below(3)).unwrap()];
    let some = version(&format!("1.{}", random.below(number + 1)));
    let done = match random.below(10) {
        0..=4 => {
            let digest = world.image(&format!("{}", random.below(12))).await;
            let request = release(&format!("1.{number}"), digest, &[name]);
            ledger.release(opened, &context, &request).await
        }
        5 => {
            let request = PromoteRequest {
                version: some,
                channels: channels(&[name]),
                resume: random.one_in(2),
            };
            ledger.promote(opened, &context, &request).await
        }
        6 => {
            let request = SwitchRequest {
                live: channel("prod"),
                slot: channel("blue"),
                resume: random.one_in(2),
            };
            ledger.switch(opened, &context, &request).await
        }
        7 => ledger.rollback(opened, &context, &back(name)).await,
        8 => ledger.resume(opened, &context, &channel(name)).await,
        _ => {
            let request = YankRequest {
                version: some,
                digest: None,
            };
            ledger.yank(opened, &context, &request).await
        }
    };
    done.ok().map(|done| done.opened)
}

async fn schedule(world: &World, seed: u64) {
    world.init().await;
    let mut random = Random(seed);
    let mut keeper = Keeper::default();
    let mut used = 0;
    for number in 0..40 {
        let what = format!("seed {seed}, step {number}");
        let opened = keeper
            .open(world)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let whole = world.open().await;
        assert_same(&opened, &whole, &what);
        used += usize::from(opened.new_entries() < opened.view().records().len());
        if random.one_in(4) {
            keeper.keep(&opened, true);
        }
        // Sometimes by what was kept, sometimes by somebody who reads all; sometimes on what others have moved on from.
        let (ledger, before) = if random.one_in(2) {
            (keeper.ledger(world), opened)
        } else {
            (world.ledger.clone(), whole)
        };
        if random.one_in(4) {
            act(world, &world.ledger, &before, &mut random, 100 + number).await;
        }
        if let Some(after) = act(world, &ledger, &before, &mut random, number).await {
            assert_same(&after, &world.open().await, &what);
            keeper.keep(&after, random.one_in(4));
        }
    }
    assert!(
        used > 10,
        "seed {seed}: the remembered state was used {used} times"
    );
}

#[tokio::test]
async fn a_reader_who_kept_a_state_sees_what_everybody_sees() {
    for seed in 0..8 {
        schedule(&World::new(), seed).await;
        schedule(&World::over(Plain::new(World::new().repo)), seed).await;
    }
}

/// A ledger whose entries fill packs of 256, and a reader who kept its state after any number of them.
#[tokio::test]
async fn it_is_used_whichever_packs_were_joined_since() {
    let world = World::new();
    world.init().await;
    let mut keepers: Vec<(usize, Keeper)> = Vec::new();
    let mut opened = world.open().await;
    for size in 2..=275_usize {
        let digest = world.image(&size.to_string()).await;
        let request = release(&format!("1.{size}"), digest, &["prod"]);
        opened = world
            .ledger
            .release(&opened, &world.context(), &request)
            .await
            .unwrap()
            .opened;
        if [2, 15, 16, 17, 40, 255, 256, 257, 272].contains(&size) {
            let mut keeper = Keeper::default();
            let first = keeper.open(&world).await.unwrap();
            assert_eq!(first.new_entries(), size);
            keeper.keep(&first, true);
            keepers.push((size, keeper));
        }
        if size % 64 < 2 || (254..=258).contains(&size) || size > 270 {
            for (kept, keeper) in &keepers {
                let again = keeper.open(&world).await.unwrap();
                assert_eq!(again.new_entries(), size - kept, "{kept} of {size}");
                assert_same(&again, &opened, &format!("{kept} of {size}"));
                // And what is kept of that is as good.
                let mut next = keeper.clone();
                next.keep(&again, true);
                let next = next.open(&world).await.unwrap();
                assert_eq!(next.new_entries(), 0);
                assert_same(&next, &opened, &format!("{kept} of {size}, kept again"));
            }
        }
    }
}

/// Whatever byte of it is wrong, wherever it ends, it is never believed and never an error of the ledger.
#[tokio::test]
async fn a_damaged_state_is_as_if_it_were_not_there() {
    let world = World::new();
    world.init().await;
    for number in 0..40 {
        world.release(&format!("1.{number}"), &["prod"]).await;
    }
    let whole = world.open().await;
    let mut keeper = Keeper::default();
    keeper.keep(&keeper.open(&world).await.unwrap(), true);
    let state = keeper.state.clone().unwrap();
    for at in (0..state.len()).step_by(1_009) {
        for damaged in [state.slice(..at), flipped(&state, at)] {
            let mut other = keeper.clone();
            other.state = Some(damaged);
            let opened = other.open(&world).await.unwrap();
            // What was found too late is known, so that nothing that was said by it is believed.
            let same = opened.state() == whole.state()
                && opened.view().records() == whole.view().records()
                && opened.view().outcomes() == whole.view().outcomes();
            assert!(same || opened.is_damaged(), "{at}");
        }
    }
    // A state of another ledger.
    let elsewhere = World::new();
    elsewhere.init().await;
    let other = Keeper {
        remembered: None,
        ..keeper.clone()
    };
    let opened = other.open(&elsewhere).await.unwrap();
    assert_eq!(opened.new_entries(), 1);
    assert_same(&opened, &elsewhere.open().await, "another ledger");
}

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

/// Packs that were kept and are gone are fetched again; one that is damaged is found out, and nothing is appended.
#[tokio::test]
async fn lost_and_damaged_packs_are_noticed() {
    let world = World::new();
    world.init().await;
    for number in 0..40 {
        world.release(&format!("1.{number}"), &["prod"]).await;
    }
    let mut keeper = Keeper::default();
    keeper.keep(&keeper.open(&world).await.unwrap(), true);
    keeper.packs.packs.lock().unwrap().clear();
    let opened = keeper.open(&world).await.unwrap();
    assert_same(&opened, &world.open().await, "packs fetched again");
    for pack in keeper.packs.packs.lock().unwrap().values_mut() {
        *pack = flipped(pack, 5000);
    }
    let opened = keeper.open(&world).await.unwrap();
    assert!(!opened.is_damaged());
    let before = world.open().await.view().records().len();
    let read = opened.view().records().iter().count();
    assert!(read < before && opened.is_damaged());
    assert!(opened.to_keep().is_none());
    let digest = world.image("2").await;
    let (ledger, request) = (keeper.ledger(&world), release("2", digest, &["prod"]));
    assert!(ledger.release(&opened, &world.context(), &request).await.is_err());
    assert_eq!(world.open().await.view().records().len(), before);
}

/// Rollback and fork are told as ever, with all names, although the first ones were not compared one by one.
#[tokio::test]
async fn an_older_ledger_is_refused_by_whoever_kept_a_state() {
    let world = World::new();
    world.init().await;
    for number in 0..20 {
        world.release(&format!("1.{number}"), &["prod"]).await;
    }
    let mut keeper = Keeper::default();
    keeper.keep(&keeper.open(&world).await.unwrap(), true);
    let older: Vec<Bytes> = envelopes(&world.open().await);
    world.release("1.20", &["prod"]).await;
    let newer = keeper.open(&world).await.unwrap();
    assert!(newer.new_entries() == 1);
    keeper.keep(&newer, false);
    forge_linear(&world, &older, &world.key).await;
    for state in [keeper.state.clone(), None] {
        let reader = Keeper {
            state,
            ..keeper.clone()
        };
        let error = reader.open(&world).await.unwrap_err().to_string();
        assert!(
            error.starts_with("ROLLBACK") && error.contains("has 21 entries"),
            "{error}"
        );
    }
    forge_linear(&world, &older[..15], &world.key).await;
    let error = keeper.open(&world).await.unwrap_err().to_string();
    assert!(
        error.starts_with("ROLLBACK") && error.contains("has 15 entries"),
        "{error}"
    );
    // As it is written and read, without the names themselves.
    let bytes = keeper.remembered.clone().unwrap().to_bytes();
    let recalled = Remembered::parse(&bytes).unwrap();
    assert_eq!(recalled.size(), 22);
    assert!(recalled.entries.all().is_err());
    keeper.remembered = Some(recalled);
    let error = keeper.open(&world).await.unwrap_err();
    assert!(matches!(error, OpenError::Forgotten { .. }), "{error}");
}
