//! Two readers see the same in any ledger: `docs/read_ledger.py` and the library, in ledgers of random entries, with several heads, of
//! which some do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_ledger::authority::{Authority, Grant, Role, Rules};
use cairn_ledger::entry::{Actor, Entry, How, Kind, Mode, Move, Nonce};
use cairn_ledger::envelope::Envelope;
use cairn_ledger::fold::{Fold, Record};
use cairn_ledger::head::{self, HeadStatement};
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::state::{Shown, Standing};
use cairn_ledger::{EntryName, Ledger, Opened, TrustPolicy, pack};
use cairn_oci::{Descriptor, Digest, RepositoryName, json};
use cairn_store::{
    Capabilities, Condition, Memory, Overlay, Repository, RepositoryError, Target, from_bytes,
};
use serde_json::{Value, json as value};

use crate::harness::{Random, Sandbox};
use crate::reading::read_whatever;

const CHANNELS: [&str; 3] = ["prod", "staging", "blue"];
/// Keys 1 and 2 may do everything, 3 and 4 something, 5 is the recovery key, 6 is listed by nobody.
fn key(seed: u8) -> LocalKey {
    LocalKey::from_seed(&[seed; 32]).unwrap()
}

/// A registry without conditions.
#[derive(Debug)]
struct Plain(Arc<dyn Repository>);

#[async_trait]
impl Overlay for Plain {
    fn below(&self) -> &dyn Repository {
        &*self.0
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        let capabilities = self.0.capabilities().await?;
        Ok(Capabilities {
            conditions: false,
            seal: false,
            ..capabilities
        })
    }
}

/// Who may do what: one of several lists, some of which cannot be used.
fn authority(random: &mut Random) -> Authority {
    let mut authority = Authority::single(key(1).key().clone());
    let role = |text: &str| -> Vec<Role> { serde_json::from_str(text).unwrap() };
    let people = Grant {
        groups: vec!["human".parse().unwrap()],
        ..Grant::owner(key(2).key().clone())
    };
    let pipeline = Grant {
        roles: role(r#"[{"kinds":["release","promote","adopt"],"channels":["staging","blue"]}]"#),
        until: (random.below(2) == 0).then(|| "2026-11-21T10:30:00Z".parse().unwrap()),
        ..Grant::owner(key(3).key().clone())
    };
    let night = Grant {
        roles: role(
            r#"[{"kinds":["rollback","resume","release"],"shown":true},{"kinds":["ratify","yank"]}]"#,
        ),
        ..Grant::owner(key(4).key().clone())
    };
    for one in [people, pipeline, night] {
        if random.below(4) > 0 {
            authority.keys.push(one);
        }
    }
    if random.below(3) > 0 {
        authority.recovery = Some(key(5).key().clone());
    }
    authority.threshold = [1, 1, 1, 2, 3][random.below(5) as usize];
    authority
}

fn rules(random: &mut Random) -> Rules {
    let texts = [
        "{}",
        r#"{"from":"staging"}"#,
        r#"{"from":"staging","soak":300}"#,
        r#"{"soak":300}"#,
        r#"{"requires":{"human":1}}"#,
        r#"{"floor":"1.2"}"#,
        r#"{"glass":["rollback","promote","release","resume","switch"]}"#,
        r#"{"glass":["rollback"],"floor":"1.1","requires":{"human":1}}"#,
        r#"{"freeze":[{"from":"2026-11-21T10:05:00Z","until":"2026-11-21T10:09:00Z"}]}"#,
    ];
    let mut channels = BTreeMap::new();
    for name in ["prod", "staging"] {
        let text = texts[random.below(texts.len() as u64) as usize];
        channels.insert(name.parse().unwrap(), serde_json::from_str(text).unwrap());
    }
    Rules { channels }
}

/// One list of entries, as somebody goes on writing it.
#[derive(Clone)]
struct List {
    envelopes: Vec<Bytes>,
    names: Vec<EntryName>,
    fold: Fold,
}

impl List {
    fn begin(random: &mut Random, mode: Mode) -> Self {
        let mut genesis = blank(Kind::Genesis, 0, random);
        genesis.authority = Some(Authority {
            threshold: 1,
            ..authority(random)
        });
        genesis.mode = Some(mode);
        genesis.home = Some("team/web".to_owned());
        let mut list = Self {
            envelopes: Vec::new(),
            names: Vec::new(),
            fold: Fold::new(),
        };
        list.add(&genesis, &[1]);
        list
    }

    /// Signs and adds an entry, unless it has not the form of one.
    fn add(&mut self, entry: &Entry, seeds: &[u8]) {
        if let Ok(envelope) = entry.sign(&key(seeds[0])) {
            self.push(&with_signatures(&envelope, &seeds[1..]));
        }
    }

    /// Adds an entry of a kind that nobody knows yet, with members of which some are no other kind's.
    fn add_of_tomorrow(&mut self, entry: &Entry, seed: u8, random: &mut Random) {
        let Ok(envelope) = entry.sign(&key(seed)) else {
            return;
        };
        let mut statement: Value = serde_json::from_slice(envelope.payload()).unwrap();
        let predicate = &mut statement["predicate"];
        predicate["kind"] = value!(["notice", "no-such-thing", "Keys", "a b"][random.below(4) as usize]);
        let [member, content] = [
            ["notice", "at once"],
            ["from", "somewhere"],
            ["ratifies", "nothing"],
            ["version", "not one of ours"],
        ][random.below(4) as usize];
        predicate[member] = value!(content);
        let payload = json::canonical(&statement);
        self.push(&Envelope::sign(envelope.payload_type(), payload, &key(seed)).unwrap());
    }

    /// What is no entry makes a head that does not count: that is added too.
    fn push(&mut self, envelope: &Envelope) {
        if let Ok(entry) = Entry::parse(envelope) {
            self.fold.apply(&Record {
                name: envelope.name(),
                envelope: envelope.bytes().clone(),
                entry,
                signers: envelope.signatures().iter().map(|one| one.key).collect(),
            });
        }
        self.envelopes.push(envelope.bytes().clone());
        self.names.push(envelope.name());
    }

    /// Takes entries of another list that this one lacks, some with one more signature.
    fn take_from(&mut self, other: &Self, random: &mut Random) {
        for (name, bytes) in other.names.iter().zip(&other.envelopes) {
            let Ok((envelope, entry)) = Entry::read(bytes) else {
                continue;
            };
            let is_ready = entry.names().all(|named| self.names.contains(&named));
            if self.names.contains(name) || !is_ready || random.below(3) == 0 {
                continue;
            }
            let more = [1, 2, 3, 4, 5][random.below(5) as usize];
            let more = if random.below(3) == 0 { &[more][..] } else { &[] };
            self.push(&with_signatures(&envelope, more));
        }
    }

    fn any(&self, random: &mut Random) -> Option<EntryName> {
        Some(self.names[random.below(self.names.len() as u64) as usize])
    }

    fn after(&self, name: &str, random: &mut Random) -> Option<EntryName> {
        match random.below(12) {
            0 => None,
            1 => self.any(random),
            2 => {
                let state = self.fold.state().unwrap();
                let channel = state.channel(&name.parse().unwrap());
                channel.and_then(|channel| channel.last.as_ref()?.after)
            }
            _ => self.fold.state().unwrap().last_entry(&name.parse().unwrap()),
        }
    }

    fn step(&mut self, random: &mut Random) {
        use Kind::*;
        let kinds = [
            Release, Release, Release, Release, Promote, Promote, Promote, Rollback, Rollback, Rollback,
            Switch, Resume, Resume, Yank, Adopt, Record, Prune, Ratify, Keys, Rules,
        ];
        let kind = kinds[random.below(kinds.len() as u64) as usize].clone();
        let mut entry = blank(kind.clone(), self.names.len() as i64, random);
        let state = self.fold.state().unwrap().clone();
        entry.ledger = Some(state.ledger);
        entry.chain = if random.below(12) == 0 {
            self.any(random)
        } else {
            Some(state.chain)
        };
        let number = random.below(5);
        let image = if random.below(8) == 0 {
            random.below(5)
        } else {
            number
        };
        let to = CHANNELS[random.below(3) as usize];
        let mut moves = vec![Move {
            channel: to.parse().unwrap(),
            after: self.after(to, random),
        }];
        if to != "prod" && random.below(4) == 0 {
            moves.push(Move {
                channel: "prod".parse().unwrap(),
                after: self.after("prod", random),
            });
        }
        let with_version = !matches!(kind, Rollback | Adopt | Record | Switch) || random.below(3) > 0;
        if !matches!(kind, Keys | Rules | Ratify | Resume) {
            entry.version = with_version.then(|| format!("1.{number}").parse().unwrap());
            entry.digest = Some(Digest::of(format!("image {image}").as_bytes()));
        }
        match kind {
            Keys => entry.authority = Some(authority(random)),
            Rules => entry.rules = Some(rules(random)),
            Ratify => {
                let broken: Vec<_> = state.glass.keys().copied().collect();
                entry.ratifies = broken.first().copied().or_else(|| self.any(random));
            }
            Yank | Prune => {}
            Record => entry.moves = moves[..1].to_vec(),
            Release if random.below(3) == 0 => {}
            _ => entry.moves = moves,
        }
        if matches!(kind, Release | Promote | Switch | Adopt) && !entry.moves.is_empty() {
            entry.resume = random.below(3) == 0;
        }
        if kind == Rollback {
            entry.hold = Some(random.below(2) == 0);
            let way_back = state.way_back(&to.parse().unwrap()).cloned();
            if let Some(shown) = way_back.filter(|_| random.below(3) > 0) {
                (entry.digest, entry.version) = (Some(shown.digest), shown.version);
            }
        }
        if kind == Switch {
            let slot = CHANNELS[random.below(3) as usize];
            entry.from = Some(Move {
                channel: slot.parse().unwrap(),
                after: self.after(slot, random),
            });
            let shown = state.shows(&slot.parse().unwrap()).cloned();
            if let Some(shown) = shown.filter(|_| random.below(5) > 0) {
                (entry.digest, entry.version) = (Some(shown.digest), shown.version);
            }
        }
        let mut seeds = vec![[1, 1, 1, 2, 3, 4][random.below(6) as usize]];
        if random.below(6) == 0 && matches!(kind, Release | Promote | Switch | Rollback | Resume) {
            seeds = vec![6];
            entry.glass = Some(key(6).key().clone());
        }
        if random.below(3) == 0 {
            seeds.push([1, 2, 4, 5][random.below(4) as usize]);
            seeds.dedup();
        }
        // A list with an entry that nobody signed who was ever listed does not count: that is not to be most of them.
        let is_known = |seed: &u8| state.authority.knows(&key(*seed).key().fingerprint());
        if entry.glass.is_none() && !is_known(&seeds[0]) && random.below(50) > 0 {
            seeds.insert(0, 1);
            seeds.dedup();
        }
        if random.below(60) == 0 {
            self.add_of_tomorrow(&entry, seeds[0], random);
        } else {
            self.add(&entry, &seeds);
        }
        if random.below(20) == 0 {
            // A ghost.
            let at = random.below(self.names.len() as u64 - 1) as usize + 1;
            let (Some(envelope), Some(name)) = (self.envelopes.get(at).cloned(), self.names.get(at).copied())
            else {
                return;
            };
            self.envelopes.push(envelope);
            self.names.push(name);
        }
    }
}

/// The same entry, signed by more keys.
fn with_signatures(envelope: &Envelope, seeds: &[u8]) -> Envelope {
    let mut signatures = envelope.signatures().to_vec();
    for seed in seeds {
        let one = Envelope::sign(envelope.payload_type(), envelope.payload().to_vec(), &key(*seed));
        let one = one.unwrap().signatures()[0].clone();
        if signatures.iter().all(|there| there.key != one.key) {
            signatures.push(one);
        }
    }
    envelope.with_signatures(&signatures).unwrap()
}

fn blank(kind: Kind, minute: i64, random: &mut Random) -> Entry {
    let actor = Actor {
        id: "somebody".to_owned(),
        how: How::Claimed,
    };
    // Clocks go back now and then.
    let minute = if random.below(10) == 0 { minute / 2 } else { minute };
    let at =
        "2026-11-21T10:00:00Z".parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute);
    let nonce = random.bytes(16).try_into().unwrap();
    Entry::new(kind, actor, at, Nonce(nonce))
}

/// The same content twice: in a repository in memory, and as a layout in a directory.
struct Place {
    repository: Arc<dyn Repository>,
    directory: tempfile::TempDir,
    tags: Vec<Value>,
}

impl Place {
    fn new() -> Self {
        let name: RepositoryName = "team/web".parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        Self {
            repository: Arc::new(Memory::new().open(&name)),
            directory,
            tags: Vec::new(),
        }
    }

    fn file(&self, bytes: &[u8]) {
        let name = Digest::of(bytes).hex();
        std::fs::write(self.directory.path().join("blobs/sha256").join(name), bytes).unwrap();
    }

    async fn blob(&self, bytes: Bytes) {
        self.file(&bytes);
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let written = self.repository.write_blob(&digest, size, from_bytes(bytes)).await;
        written.unwrap();
    }

    /// Writes a head of `list` by the key `seed`.
    async fn head(&mut self, list: &List, mode: Mode, seed: u8) {
        let mut packs: Vec<Descriptor> = Vec::new();
        for range in pack::layout(list.envelopes.len()) {
            let bytes = pack::write(list.envelopes[range].iter());
            packs.push(pack::descriptor(&bytes));
            self.blob(bytes).await;
        }
        let statement = HeadStatement {
            ledger: list.names[0],
            size: list.envelopes.len() as u64,
            packs: head::packs_digest(packs.iter().map(|pack| &pack.digest)),
            at: "2026-11-21T10:20:00Z".parse().unwrap(),
            from: Vec::new(),
            covers: Vec::new(),
        };
        let built = head::build(&statement, packs, &key(seed)).unwrap();
        self.blob(built.config.clone()).await;
        let tag = match mode {
            Mode::Linear => head::linear_tag(),
            Mode::Causal => head::causal_tag(built.size, &built.manifest.digest()),
        };
        self.file(built.manifest.bytes());
        let descriptor = built.manifest.descriptor();
        let entry = value!({
            "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size,
            "annotations": { "org.opencontainers.image.ref.name": tag.as_str() },
        });
        // Two forks may be the same, and then their heads are.
        if !self.tags.contains(&entry) {
            self.tags.push(entry);
        }
        let target = Target::Tag(tag);
        let written = self
            .repository
            .write_manifest(&target, &built.manifest, &Condition::Always);
        written.await.unwrap();
    }

    fn finish(&self) -> &Path {
        let index = value!({ "schemaVersion": 2, "manifests": self.tags });
        std::fs::write(self.directory.path().join("index.json"), index.to_string()).unwrap();
        self.directory.path()
    }
}

/// What the library says of a ledger, in the form of the script.
fn told(opened: &Opened) -> Value {
    let state = opened.state().unwrap();
    let shown = |shown: &Shown| value!({ "version": shown.version, "digest": shown.digest });
    let channels = state.channels.iter().filter_map(|(name, channel)| {
        let mut said = shown(channel.shows.as_ref()?);
        said["name"] = value!(name);
        said["held"] = value!(channel.hold.is_some());
        said["way_back"] = state.way_back(name).map_or(Value::Null, shown);
        Some(said)
    });
    let versions = state.versions.iter().map(|(version, binding)| {
        let standing = match binding.standing() {
            Standing::Named(bound) if state.is_pruned(&bound.digest) => "pruned",
            Standing::Named(_) => "released",
            Standing::Yanked(_) => "yanked",
            Standing::Contested => "contested",
        };
        let digests: Vec<Digest> = binding.bound.iter().map(|bound| bound.digest).collect();
        value!({ "version": version, "standing": standing, "digests": digests })
    });
    let rows = opened.view().records().iter().zip(opened.view().outcomes());
    let entries = rows.enumerate().map(|(seq, (record, outcome))| {
        let void = outcome.void();
        let void: Vec<Value> = void
            .map(|(subject, why, _)| value!({ "subject": subject.to_string(), "why": why.code() }))
            .collect();
        let entry = &record.entry;
        value!({ "seq": seq, "name": record.name, "kind": entry.kind, "version": entry.version, "void": void })
    });
    let glass = state.glass.iter();
    let glass = glass.map(|(name, glass)| value!({ "name": name, "ratified": glass.ratified }));
    value!({
        "ledger": state.ledger, "mode": state.mode, "home": state.home, "size": opened.view().records().len(),
        "channels": channels.collect::<Vec<_>>(), "versions": versions.collect::<Vec<_>>(),
        "entries": entries.collect::<Vec<_>>(), "break_glass": glass.collect::<Vec<_>>(),
    })
}

/// A random ledger, as both read it.
async fn compare(sandbox: &Sandbox, random: &mut Random) -> Option<bool> {
    let mode = [Mode::Linear, Mode::Causal][random.below(2) as usize];
    let mut place = Place::new();
    let mut list = List::begin(random, mode);
    // What it was on the way: forks begin there.
    let mut before = Vec::new();
    for _ in 0..random.below(30) {
        before.extend((random.below(8) == 0).then(|| list.clone()));
        list.step(random);
    }
    if mode == Mode::Linear {
        place
            .head(&list, mode, [1, 1, 1, 2, 6][random.below(5) as usize])
            .await;
    } else {
        let mut forks: Vec<List> = Vec::new();
        for _ in 0..=random.below(4) {
            let from = random.below(1 + before.len() as u64) as usize;
            let mut fork = before.get(from).unwrap_or(&list).clone();
            for _ in 0..random.below(6) {
                fork.step(random);
            }
            let other = random.below(1 + 2 * forks.len() as u64) as usize;
            if let Some(other) = forks.get(other) {
                fork.take_from(other, random);
            }
            place
                .head(&fork, mode, [1, 1, 2, 3, 6][random.below(5) as usize])
                .await;
            forks.push(fork);
        }
    }
    let repository: Arc<dyn Repository> = match mode {
        Mode::Linear => Arc::clone(&place.repository),
        Mode::Causal => Arc::new(Plain(Arc::clone(&place.repository))),
    };
    let opened = Ledger::beside(repository).open(&TrustPolicy::default()).await;
    let mut said = read_whatever(sandbox, place.finish())?;
    match (&opened, &mut said) {
        (Ok(opened), Some(said)) => {
            let findings = said.as_object_mut().unwrap().remove("findings").unwrap();
            let refused = |text: &&Value| text.as_str().unwrap().contains("does not count");
            let refused = findings.as_array().unwrap().iter().filter(refused).count();
            let codes = opened.findings().iter().filter(|one| one.code == "head-refused");
            assert_eq!(refused, codes.count(), "{findings} {:?}", opened.findings());
            let (theirs, ours) = (left_out(&findings), left_out_here(opened));
            // Of many the library names the first.
            assert!(
                ours.len() >= theirs.len().min(8) && ours.is_subset(&theirs),
                "{findings} {ours:?}"
            );
            assert_eq!(
                json::canonical(said),
                json::canonical(&told(opened)),
                "{said:#} {:#}",
                told(opened)
            );
            Some(true)
        }
        (Err(_), None) => Some(false),
        (opened, said) => panic!("{opened:?} {said:?}"),
    }
}

/// The entries that the script did not take in, one name for each time that it says so.
fn left_out(findings: &Value) -> BTreeSet<String> {
    let texts = findings.as_array().unwrap().iter();
    let names = texts.filter_map(|text| text.as_str().unwrap().split_once(" was left out"));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The same of the library, as far as it names them.
fn left_out_here(opened: &Opened) -> BTreeSet<String> {
    let findings = opened.findings().iter();
    let findings =
        findings.filter(|one| one.code == "entry-left-out" && !one.message.contains("more of this kind"));
    findings.map(|one| one.subject.clone()).collect()
}

#[tokio::test]
async fn two_readers_see_the_same_in_any_ledger() {
    let sandbox = Sandbox::new();
    let mut random = Random::new();
    let mut counts = BTreeSet::new();
    // By hand: thousands.
    let rounds = std::env::var("CAIRN_TEST_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        let Some(counted) = compare(&sandbox, &mut random).await else {
            return;
        };
        counts.insert(counted);
    }
    assert!(counts.contains(&true));
}

const ROUNDS: usize = 24;
