//! Ledgers of version 1 that are kept for ever (`fixtures/v1`): they are read, mean what they meant, and are made again from the
//! same seeds, byte by byte. They are OCI image layouts, so that other readers can try themselves on them.
//!
//! With `CAIRN_BLESS` set, what is missing is written; what is there is never overwritten.

use std::fmt::Write as _;
use std::path::PathBuf;

use cairn_ledger::authority::{Authority, Grant, Role};
use cairn_ledger::entry::{Continues, Entry, EntryName, Kind, Mode, Move};
use cairn_ledger::fold::{Fold, Record};
use cairn_ledger::head;
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::open::{Ledger, Opened};
use cairn_ledger::state::{Shown, Standing};
use cairn_ledger::trust::TrustPolicy;
use cairn_oci::{Digest, Tag};
use cairn_store::{Page, Repository, Target, files, layout};

use crate::support::*;

/// Entries one after the other: each a minute later, each with its own nonce.
struct Script {
    fold: Fold,
    envelopes: Vec<bytes::Bytes>,
    genesis: EntryName,
    minute: u8,
}

impl Script {
    /// Three keys: one owner, one that may only go back to what was shown, one person who is asked; and a recovery key.
    fn begin(mode: Mode) -> Self {
        let mut script = Self {
            fold: Fold::new(),
            envelopes: Vec::new(),
            genesis: Digest::of(b""),
            minute: 0,
        };
        let mut authority = Authority::single(key(1).key().clone());
        authority.keys[0].name = Some("ada@example.org".parse().unwrap());
        authority.keys.push(Grant {
            roles: vec![Role {
                kinds: Some(vec![Kind::Rollback, Kind::Resume]),
                channels: Some(vec![channel("prod")]),
                shown: true,
            }],
            until: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            ..Grant::owner(key(2).key().clone())
        });
        authority.keys.push(Grant {
            groups: vec!["human".parse().unwrap(), "oncall".parse().unwrap()],
            ..Grant::owner(key(3).key().clone())
        });
        authority.recovery = Some(key(9).key().clone());
        let mut first = script.entry(Kind::Genesis);
        first.authority = Some(authority);
        (first.ledger, first.chain) = (None, None);
        (first.mode, first.home) = (Some(mode), Some("team/web".to_owned()));
        first.continues = Some(Continues {
            ledger: Digest::of(b"the ledger before"),
            head: Digest::of(b"its head"),
        });
        script.genesis = script.add(&first, &[1]);
        script
    }

    fn entry(&mut self, kind: Kind) -> Entry {
        self.minute += 1;
        let at = format!("2026-11-21T10:{:02}:00Z", self.minute);
        Entry {
            ledger: Some(self.genesis),
            chain: Some(self.fold.state().map_or(self.genesis, |state| state.chain)),
            reason: Some(format!("why {kind}")),
            ..blank(kind, &at, self.minute)
        }
    }

    /// An entry about the image that is called like the version.
    fn about(&mut self, kind: Kind, name: &str, to: &[&str]) -> Entry {
        let moves = to.iter().map(|name| self.move_of(name)).collect();
        Entry {
            version: name.parse().ok(),
            digest: Some(Digest::of(name.as_bytes())),
            moves,
            ..self.entry(kind)
        }
    }

    fn move_of(&self, name: &str) -> Move {
        let channel = channel(name);
        let after = self.fold.state().and_then(|state| state.last_entry(&channel));
        Move { channel, after }
    }

    fn add(&mut self, entry: &Entry, signers: &[u8]) -> EntryName {
        let keys: Vec<LocalKey> = signers.iter().map(|seed| key(*seed)).collect();
        let mut envelope = entry.sign(&keys[0]).unwrap();
        for more in &keys[1..] {
            let other = entry.sign(more).unwrap();
            envelope = both(&envelope, &other);
        }
        self.envelopes.push(envelope.bytes().clone());
        let record = Record {
            name: envelope.name(),
            envelope: envelope.bytes().clone(),
            entry: Entry::parse(&envelope).unwrap(),
            signers: keys.iter().map(|key| key.key().fingerprint()).collect(),
        };
        self.fold.apply(&record);
        record.name
    }

    /// Every kind, in effect and void.
    fn live(&mut self) {
        let release = self.about(Kind::Release, "1.0.0", &["staging"]);
        self.add(&release, &[1]);
        let promote = self.about(Kind::Promote, "1.0.0", &["prod"]);
        self.add(&promote, &[1]);
        let mut rules = self.entry(Kind::Rules);
        rules.rules = Some(
            serde_json::from_str(
                r#"{"channels":{"prod":{"from":"staging","soak":60,"floor":"1.0.0","requires":{"human":1},
                "freeze":[{"from":"2026-12-24T00:00:00Z","until":"2026-12-27T00:00:00Z"}],"glass":["rollback","release"]}}}"#,
            )
            .unwrap(),
        );
        self.add(&rules, &[1]);
        let mut adopt = self.about(Kind::Adopt, "0.9.0", &["staging"]);
        self.add(&adopt, &[1]);
        adopt = self.about(Kind::Adopt, "untagged", &["blue"]);
        self.add(&adopt, &[1]);
        let release = self.about(Kind::Release, "2.0.0", &["staging", "prod"]);
        self.add(&release, &[1]); // prod: too-early
        let promote = self.about(Kind::Promote, "2.0.0", &["prod"]);
        self.add(&promote, &[1]); // unapproved
        let promote = self.about(Kind::Promote, "2.0.0", &["prod"]);
        self.add(&promote, &[1, 3]);
        let mut back = self.about(Kind::Rollback, "1.0.0", &["prod"]);
        back.hold = Some(true);
        self.add(&back, &[2]);
        let late = self.about(Kind::Promote, "2.0.0", &["prod"]);
        self.add(&late, &[3]); // held
        let mut resume = self.entry(Kind::Resume);
        resume.moves = vec![self.move_of("prod")];
        self.add(&resume, &[3]);
        let record = self.about(Kind::Record, "hotfix", &["prod"]);
        self.add(&record, &[1]);
        let mut glass = self.about(Kind::Rollback, "1.0.0", &["prod"]);
        glass.hold = Some(true);
        glass.glass = Some(key(7).key().clone());
        let broken = self.add(&glass, &[7]);
        let mut ratify = self.entry(Kind::Ratify);
        ratify.ratifies = Some(broken);
        self.add(&ratify, &[1]);
        let release = self.about(Kind::Release, "3.0.0", &["green"]);
        self.add(&release, &[1]);
        let mut switch = self.about(Kind::Switch, "3.0.0", &["live"]);
        switch.from = Some(self.move_of("green"));
        self.add(&switch, &[1]);
        let yank = self.about(Kind::Yank, "0.9.0", &[]);
        self.add(&yank, &[1]);
        let prune = self.about(Kind::Prune, "2.0.0", &[]);
        self.add(&prune, &[1]); // shown by staging
        let release = self.about(Kind::Release, "4.0.0", &["staging"]);
        self.add(&release, &[1]);
        let prune = self.about(Kind::Prune, "2.0.0", &[]);
        self.add(&prune, &[1]);
        let mut keys = self.entry(Kind::Keys);
        let mut authority = Authority::single(key(1).key().clone());
        authority.keys.push(Grant::owner(key(3).key().clone()));
        authority.threshold = 2;
        keys.authority = Some(authority);
        self.add(&keys, &[9]);
        let removed = self.about(Kind::Rollback, "1.0.0", &["live"]);
        let removed = Entry {
            hold: Some(false),
            ..removed
        };
        self.add(&removed, &[2]); // not-allowed
    }
}

/// An envelope with the signatures of both.
fn both(
    one: &cairn_ledger::envelope::Envelope,
    other: &cairn_ledger::envelope::Envelope,
) -> cairn_ledger::envelope::Envelope {
    let mut json: serde_json::Value = serde_json::from_slice(one.bytes()).unwrap();
    let more: serde_json::Value = serde_json::from_slice(other.bytes()).unwrap();
    let signatures = json["signatures"].as_array_mut().unwrap();
    signatures.extend(more["signatures"].as_array().unwrap().iter().cloned());
    let bytes = cairn_oci::json::canonical(&json).into();
    cairn_ledger::envelope::Envelope::parse(&bytes, cairn_ledger::entry::PAYLOAD_TYPE).unwrap()
}

/// One head with everything.
async fn linear(repo: &dyn Repository) {
    let mut script = Script::begin(Mode::Linear);
    script.live();
    let tag = Some(head::linear_tag());
    forge(repo, script.genesis, &script.envelopes, &key(1), tag).await;
}

/// Two heads that did not see each other's last entries: staging moves twice, and 5.0.0 is bound to two digests.
async fn causal(repo: &dyn Repository) {
    let mut script = Script::begin(Mode::Causal);
    script.live();
    let shared = script.envelopes.len();
    let mut other = Script {
        fold: script.fold.clone(),
        envelopes: script.envelopes.clone(),
        genesis: script.genesis,
        minute: 40,
    };
    let release = script.about(Kind::Release, "5.0.0", &["staging"]);
    script.add(&release, &[1]);
    let promote = script.about(Kind::Promote, "5.0.0", &["green"]);
    script.add(&promote, &[1]);
    let mut release = other.about(Kind::Release, "5.0.0", &["staging", "blue"]);
    release.digest = Some(Digest::of(b"another 5.0.0"));
    other.add(&release, &[3]);
    assert!(script.envelopes.len() > shared && other.envelopes.len() > shared);
    forge(repo, script.genesis, &script.envelopes, &key(1), None).await;
    forge(repo, script.genesis, &other.envelopes, &key(3), None).await;
}

fn directory(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/v1", name]
        .iter()
        .collect()
}

fn may_write() -> bool {
    option_env!("CAIRN_BLESS").is_some()
}

/// What a ledger says, to be read by people.
fn text(opened: &Opened) -> String {
    let mut text = String::new();
    let state = opened.state().unwrap();
    writeln!(text, "ledger {} {} of {}", state.ledger, state.mode, state.home).unwrap();
    for (seq, (record, outcome)) in opened
        .view()
        .records()
        .iter()
        .zip(opened.view().outcomes())
        .enumerate()
    {
        let void: Vec<String> = outcome
            .void()
            .map(|(on, why, _)| format!("{on}: {}", why.code()))
            .collect();
        let void = if void.is_empty() {
            String::new()
        } else {
            format!("  void [{}]", void.join("; "))
        };
        let version = record
            .entry
            .version
            .as_ref()
            .map_or("-", |version| version.as_str());
        writeln!(
            text,
            "{seq:2} {} {version}{void}  {}",
            record.entry.kind, record.name
        )
        .unwrap();
    }
    for (name, channel) in &state.channels {
        let label = |shown: Option<&Shown>| shown.map_or_else(|| "-".to_owned(), Shown::label);
        let trail: Vec<String> = channel.trail.iter().map(Shown::label).collect();
        let held = if channel.hold.is_some() { " held" } else { "" };
        let (shows, back) = (label(channel.shows.as_ref()), label(state.way_back(name)));
        writeln!(
            text,
            "channel {name} shows {shows}{held}, trail [{}], back {back}",
            trail.join(", ")
        )
        .unwrap();
    }
    for (version, binding) in &state.versions {
        let standing = match binding.standing() {
            Standing::Named(bound) if state.is_pruned(&bound.digest) => "pruned",
            Standing::Named(_) => "released",
            Standing::Yanked(_) => "yanked",
            Standing::Contested => "contested",
        };
        let digests: Vec<String> = binding
            .bound
            .iter()
            .map(|bound| bound.digest.to_string())
            .collect();
        writeln!(text, "version {version} {standing} {}", digests.join(" ")).unwrap();
    }
    for (name, glass) in &state.glass {
        writeln!(
            text,
            "break-glass {name} ratified by {:?}",
            glass.ratified.map(|name| name.to_string())
        )
        .unwrap();
    }
    text
}

/// Every tag of a repository, with the bytes of its manifest and of all that it names.
async fn everything(repo: &dyn Repository) -> Vec<(Tag, Vec<bytes::Bytes>)> {
    let mut tags = repo.list_tags(&Page::first()).await.unwrap().tags;
    tags.sort();
    let mut all = Vec::new();
    for tag in tags {
        let raw = repo
            .read_manifest(&Target::Tag(tag.clone()))
            .await
            .unwrap()
            .unwrap();
        let cairn_oci::Document::Manifest(manifest) = raw.document().unwrap() else {
            panic!("an index")
        };
        let mut bytes = vec![raw.bytes().clone()];
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            let blob = repo.read_blob(&descriptor.digest, None).await.unwrap().unwrap();
            bytes.push(cairn_store::collect(blob.content, 1 << 20).await.unwrap());
        }
        all.push((tag, bytes));
    }
    all
}

async fn check(name: &str, made: Repo) {
    let path = directory(name);
    if !path.exists() && may_write() {
        files::create_directories(&path).unwrap();
        let kept = layout::create(&path).unwrap();
        match name {
            "linear" => linear(&kept).await,
            _ => causal(&kept).await,
        }
    }
    let kept: Repo = std::sync::Arc::new(layout::open(&path).unwrap());
    let opened = Ledger::beside(kept.clone())
        .open(&TrustPolicy::default())
        .await
        .unwrap();
    assert!(opened.findings().is_empty(), "{:?}", opened.findings());
    let now = text(&opened);
    let golden = directory(&format!("{name}.txt"));
    if !golden.exists() && may_write() {
        files::create(&golden, now.as_bytes(), files::PUBLIC).unwrap();
    }
    assert_eq!(
        now,
        std::fs::read_to_string(&golden).unwrap(),
        "what it meant when it was frozen"
    );
    assert_eq!(
        everything(&*made).await,
        everything(&*kept).await,
        "made again from the same seeds"
    );
}

#[tokio::test]
async fn the_linear_ledger_of_version_1_means_what_it_meant_and_is_made_the_same_again() {
    let world = World::new();
    linear(&*world.repo).await;
    check("linear", world.repo).await;
}

#[tokio::test]
async fn the_causal_ledger_of_version_1_means_what_it_meant_and_is_made_the_same_again() {
    let world = World::new();
    causal(&*world.repo).await;
    check("causal", world.repo).await;
}

#[test]
fn every_kind_is_in_the_ledgers_that_are_kept() {
    let mut script = Script::begin(Mode::Linear);
    script.live();
    let kinds: std::collections::BTreeSet<Kind> = script
        .envelopes
        .iter()
        .map(|envelope| Entry::read(envelope).unwrap().1.kind)
        .collect();
    assert_eq!(kinds, Kind::ALL.into_iter().collect());
}
