//! The table of the fold's rules in docs/ledger-format.md, row by row: entries in order, and what becomes of each.

use std::collections::BTreeSet;

use cairn_ledger::authority::{Authority, ChannelRules, Freeze, Grant, Role, Rules};
use cairn_ledger::entry::{Actor, Entry, EntryName, How, Kind, Mode, Move, Nonce};
use cairn_ledger::fold::{Fold, Outcome, Record, Subject, Verdict, Why};
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::state::{Shown, Standing, State};
use cairn_oci::Digest;

use crate::support::*;

/// Entries one after the other, each signed by hand.
struct Table {
    fold: Fold,
    nonce: u8,
    genesis: EntryName,
}

impl Table {
    fn new(authority: Authority) -> Self {
        let mut table = Self {
            fold: Fold::new(),
            nonce: 0,
            genesis: Digest::of(b""),
        };
        let mut first = table.entry(Kind::Genesis);
        (first.ledger, first.chain) = (None, None);
        first.authority = Some(authority);
        first.mode = Some(Mode::Linear);
        first.home = Some("team/web".to_owned());
        let (name, outcome) = table.add(&first, &[&key(1)]);
        assert!(outcome.stands());
        table.genesis = name;
        table
    }

    fn single() -> Self {
        Self::new(Authority::single(key(1).key().clone()))
    }

    fn entry(&mut self, kind: Kind) -> Entry {
        self.nonce += 1;
        Entry {
            kind,
            ledger: Some(self.genesis),
            chain: Some(self.fold.state().map_or(self.genesis, |state| state.chain)),
            version: None,
            digest: None,
            moves: Vec::new(),
            from: None,
            hold: None,
            resume: false,
            actor: Actor {
                id: "me".to_owned(),
                how: How::Key,
            },
            reason: None,
            source: None,
            record: None,
            run: None,
            authority: None,
            rules: None,
            mode: None,
            home: None,
            at: "2026-11-21T10:00:00Z".parse().unwrap(),
            nonce: Nonce([self.nonce; 16]),
        }
    }

    fn add(&mut self, entry: &Entry, signers: &[&LocalKey]) -> (EntryName, Outcome) {
        let envelope = entry.sign(signers[0]).unwrap();
        let record = Record {
            name: envelope.name(),
            envelope: envelope.bytes().clone(),
            entry: Entry::parse(&envelope).unwrap(),
            signers: signers
                .iter()
                .map(|key| key.key().fingerprint())
                .collect::<BTreeSet<_>>(),
        };
        (record.name, self.fold.apply(&record))
    }

    fn state(&self) -> &State {
        self.fold.state().unwrap()
    }

    fn after(&self, name: &str) -> Option<EntryName> {
        self.state().last_entry(&channel(name))
    }

    fn release(&mut self, name: &str, image: &str, to: &[(&str, Option<EntryName>)]) -> (EntryName, Outcome) {
        let entry = self.moving(Kind::Release, name, image, to);
        self.add(&entry, &[&key(1)])
    }

    fn moving(&mut self, kind: Kind, name: &str, image: &str, to: &[(&str, Option<EntryName>)]) -> Entry {
        let mut entry = self.entry(kind);
        entry.version = Some(version(name));
        entry.digest = Some(Digest::of(image.as_bytes()));
        entry.moves = to
            .iter()
            .map(|(name, after)| Move {
                channel: channel(name),
                after: *after,
            })
            .collect();
        entry
    }

    fn rollback(&mut self, name: &str, image: &str, after: Option<EntryName>) -> (EntryName, Outcome) {
        let mut entry = self.moving(Kind::Rollback, name, image, &[("prod", after)]);
        entry.hold = Some(true);
        self.add(&entry, &[&key(1)])
    }

    fn released(&mut self, names: &[&str]) -> Vec<EntryName> {
        names
            .iter()
            .map(|name| self.release(name, name, &[("prod", self.after("prod"))]).0)
            .collect()
    }

    fn shows(&self, name: &str) -> String {
        self.state()
            .shows(&channel(name))
            .map_or_else(String::new, Shown::label)
    }

    fn trail(&self) -> Vec<String> {
        self.state().channels[&channel("prod")]
            .trail
            .iter()
            .map(Shown::label)
            .collect()
    }

    fn is_held(&self) -> bool {
        self.state().channels[&channel("prod")].hold.is_some()
    }
}

fn why(outcome: &Outcome, name: &str) -> Option<(Why, Option<EntryName>)> {
    match outcome.on_channel(&channel(name)) {
        Some(Verdict::Void { why, overtaken_by }) => Some((why, overtaken_by)),
        _ => None,
    }
}

#[test]
fn forward_moves_push_and_rollbacks_cut() {
    let mut table = Table::single();
    table.released(&["1", "2", "3", "4"]);
    assert_eq!(table.trail(), ["1", "2", "3"]);
    table.rollback("2", "2", table.after("prod"));
    assert_eq!(
        (table.shows("prod").as_str(), table.trail()),
        ("2", vec!["1".to_owned()])
    );
    assert!(table.is_held());
}

#[test]
fn a_rollback_to_what_is_not_on_the_trail_leaves_the_trail() {
    let mut table = Table::single();
    table.release("0", "0", &[]);
    table.released(&["1", "2"]);
    table.rollback("0", "0", table.after("prod"));
    assert_eq!(
        (table.shows("prod").as_str(), table.trail()),
        ("0", vec!["1".to_owned()])
    );
}

#[test]
fn the_first_of_two_moves_against_one_state_stands() {
    let mut table = Table::single();
    let first = table.released(&["1"])[0];
    let (second, _) = table.release("2", "2", &[("prod", Some(first))]);
    let (_, outcome) = table.release("3", "3", &[("prod", Some(first)), ("staging", None)]);
    assert_eq!(why(&outcome, "prod"), Some((Why::Overtaken, Some(second))));
    assert!(
        outcome.on_channel(&channel("staging")).unwrap().stands(),
        "each effect alone"
    );
    assert_eq!(
        (table.shows("prod").as_str(), table.shows("staging").as_str()),
        ("2", "3")
    );
}

#[test]
fn a_rollback_wins_over_a_forward_move_made_against_the_same_state() {
    let mut table = Table::single();
    let names = table.released(&["1", "2"]);
    table.release("3", "3", &[("prod", Some(names[1]))]);
    let (_, outcome) = table.rollback("1", "1", Some(names[1]));
    assert!(outcome.stands());
    assert_eq!((table.shows("prod").as_str(), table.trail().len()), ("1", 0));
}

#[test]
fn a_rollback_that_is_overtaken_holds_all_the_same() {
    let mut table = Table::single();
    let names = table.released(&["1", "2", "3", "4"]);
    let (rollback, outcome) = table.rollback("1", "1", Some(names[1]));
    assert_eq!(why(&outcome, "prod"), Some((Why::Overtaken, Some(names[3]))));
    assert!(outcome.on(&Subject::Hold(channel("prod"))).unwrap().stands());
    assert!(table.is_held() && table.shows("prod") == "4");
    let (_, outcome) = table.release("5", "5", &[("prod", Some(rollback))]);
    assert_eq!(why(&outcome, "prod"), Some((Why::Held, Some(rollback))));
}

#[test]
fn under_a_hold_only_what_comes_after_the_resume_moves() {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    let (rollback, _) = table.rollback("1", "1", table.after("prod"));
    let mut resume = table.entry(Kind::Resume);
    resume.moves = vec![Move {
        channel: channel("prod"),
        after: Some(rollback),
    }];
    let (resumed, outcome) = table.add(&resume, &[&key(1)]);
    assert!(outcome.stands() && !table.is_held());
    let (_, outcome) = table.release("3", "3", &[("prod", Some(rollback))]);
    assert_eq!(why(&outcome, "prod"), Some((Why::Overtaken, Some(resumed))));
    let (_, outcome) = table.release("4", "4", &[("prod", Some(resumed))]);
    assert!(outcome.stands());
    let mut again = table.entry(Kind::Resume);
    again.moves = vec![Move {
        channel: channel("prod"),
        after: table.after("prod"),
    }];
    assert_eq!(
        why(&table.add(&again, &[&key(1)]).1, "prod"),
        Some((Why::NotHeld, None))
    );
}

#[test]
fn a_version_is_bound_once_by_who_could_see_and_contested_by_who_could_not() {
    let mut table = Table::single();
    let (first, _) = table.release("1", "a", &[("prod", None)]);
    // Names the first binding, so its author has seen it.
    let (_, outcome) = table.release("1", "b", &[("prod", Some(first))]);
    let on_version = Subject::Version(version("1"));
    let bound = Verdict::Void {
        why: Why::VersionBound,
        overtaken_by: Some(first),
    };
    assert_eq!(outcome.on(&on_version), Some(bound));
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::VersionBound);
    let (_, outcome) = table.release("1", "c", &[("staging", None)]);
    let contested = Verdict::Void {
        why: Why::Contested,
        overtaken_by: Some(first),
    };
    assert_eq!(outcome.on(&on_version), Some(contested));
    assert_eq!(
        table.state().versions[&version("1")].standing(),
        Standing::Contested
    );
    let promote = table.moving(Kind::Promote, "1", "a", &[("blue", None)]);
    assert_eq!(
        why(&table.add(&promote, &[&key(1)]).1, "blue").unwrap().0,
        Why::Contested
    );
    let yank = table.moving(Kind::Yank, "1", "c", &[]);
    assert!(table.add(&yank, &[&key(1)]).1.stands());
    let promote = table.moving(Kind::Promote, "1", "a", &[("blue", None)]);
    assert!(table.add(&promote, &[&key(1)]).1.stands());
}

#[test]
fn a_move_to_a_barred_version_is_void_and_the_way_back_passes_it_by() {
    let mut table = Table::single();
    table.released(&["1", "2", "3"]);
    let yank = table.moving(Kind::Yank, "2", "2", &[]);
    let (yanked, outcome) = table.add(&yank, &[&key(1)]);
    assert!(outcome.stands());
    assert_eq!(table.state().way_back(&channel("prod")).unwrap().label(), "1");
    let promote = table.moving(Kind::Promote, "2", "2", &[("blue", None)]);
    assert_eq!(
        why(&table.add(&promote, &[&key(1)]).1, "blue"),
        Some((Why::Yanked, Some(yanked)))
    );
    let (_, outcome) = table.rollback("2", "2", table.after("prod"));
    assert_eq!(why(&outcome, "prod"), Some((Why::Yanked, Some(yanked))));
}

#[test]
fn a_switch_takes_what_the_slot_shows_and_pushes_what_was_live() {
    let mut table = Table::single();
    table.released(&["1"]);
    let (slot, _) = table.release("2", "2", &[("green", None)]);
    let mut switch = table.moving(Kind::Switch, "2", "2", &[("prod", table.after("prod"))]);
    switch.from = Some(Move {
        channel: channel("green"),
        after: Some(slot),
    });
    assert!(table.add(&switch, &[&key(1)]).1.stands());
    assert_eq!(
        (table.shows("prod").as_str(), table.trail()),
        ("2", vec!["1".to_owned()])
    );
    table.release("3", "3", &[("green", Some(slot))]);
    let mut stale = table.moving(Kind::Switch, "2", "2", &[("blue", None)]);
    stale.from = Some(Move {
        channel: channel("green"),
        after: Some(slot),
    });
    assert_eq!(
        why(&table.add(&stale, &[&key(1)]).1, "blue").unwrap().0,
        Why::SlotMoved
    );
}

#[test]
fn keys_change_under_the_threshold_and_each_names_the_one_before() {
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant::owner(key(2).key().clone()));
    authority.threshold = 2;
    let mut table = Table::new(authority.clone());
    authority.keys.pop();
    authority.threshold = 1;
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority.clone());
    let alone = table.add(&keys, &[&key(1)]).1;
    assert_eq!(
        alone.on(&Subject::Keys),
        Some(Verdict::Void {
            why: Why::NotAllowed,
            overtaken_by: None
        })
    );
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority.clone());
    let mut beside = table.entry(Kind::Keys);
    beside.authority = Some(authority);
    let (first, outcome) = table.add(&keys, &[&key(1), &key(2)]);
    assert!(outcome.stands());
    let outcome = table.add(&beside, &[&key(1), &key(2)]).1;
    let overtaken = Verdict::Void {
        why: Why::Overtaken,
        overtaken_by: Some(first),
    };
    assert_eq!(outcome.on(&Subject::Keys), Some(overtaken));
    let removed = table.moving(Kind::Release, "1", "1", &[("prod", None)]);
    let outcome = table.add(&removed, &[&key(2)]).1;
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::NotAllowed);
}

#[test]
fn an_expired_key_and_a_channel_of_others_are_void() {
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant {
        key: key(2).key().clone(),
        roles: vec![Role {
            kinds: None,
            channels: Some(vec![channel("staging")]),
        }],
        until: Some("2026-11-21T10:00:00Z".parse().unwrap()),
    });
    let mut table = Table::new(authority);
    let mut entry = table.moving(Kind::Release, "1", "1", &[("prod", None), ("staging", None)]);
    let outcome = table.add(&entry, &[&key(2)]).1;
    assert_eq!(why(&outcome, "prod"), Some((Why::NotAllowed, None)));
    assert!(outcome.on_channel(&channel("staging")).unwrap().stands());
    entry.version = Some(version("2"));
    entry.at = "2026-11-21T10:00:01Z".parse().unwrap();
    let outcome = table.add(&entry, &[&key(2)]).1;
    assert!(outcome.void().all(|(_, why, _)| why == Why::NotAllowed) && !outcome.stands());
}

#[test]
fn rules_bind_forward_moves_and_the_floor_binds_both_ways() {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    let mut rules = table.entry(Kind::Rules);
    let prod = ChannelRules {
        from: Some(channel("staging")),
        freeze: vec![Freeze {
            from: "2026-12-24T00:00:00Z".parse().unwrap(),
            until: "2026-12-27T00:00:00Z".parse().unwrap(),
        }],
        floor: Some(version("2")),
    };
    rules.rules = Some(Rules {
        channels: [(channel("prod"), prod)].into(),
    });
    assert!(table.add(&rules, &[&key(1)]).1.stands());
    let (_, outcome) = table.release("3", "3", &[("prod", table.after("prod"))]);
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::NotFrom);
    let staging = table.moving(Kind::Promote, "3", "3", &[("staging", None)]);
    assert!(table.add(&staging, &[&key(1)]).1.stands());
    let mut frozen = table.moving(Kind::Promote, "3", "3", &[("prod", table.after("prod"))]);
    frozen.at = "2026-12-25T00:00:00Z".parse().unwrap();
    assert_eq!(
        why(&table.add(&frozen, &[&key(1)]).1, "prod").unwrap().0,
        Why::Frozen
    );
    let promote = table.moving(Kind::Promote, "3", "3", &[("prod", table.after("prod"))]);
    assert!(table.add(&promote, &[&key(1)]).1.stands());
    let (_, outcome) = table.rollback("1", "1", table.after("prod"));
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::BelowFloor);
    let (_, outcome) = table.rollback("2", "2", table.after("prod"));
    assert!(outcome.stands());
}

#[test]
fn a_repetition_and_an_unknown_kind_have_no_effect() {
    let mut table = Table::single();
    let entry = table.moving(Kind::Release, "1", "1", &[("prod", None)]);
    let (name, _) = table.add(&entry, &[&key(1)]);
    let repeated = Verdict::Void {
        why: Why::Repetition,
        overtaken_by: Some(name),
    };
    assert_eq!(
        table.add(&entry, &[&key(1)]).1.on(&Subject::Entry),
        Some(repeated)
    );
    let unknown = table.entry(Kind::Unknown("prune".to_owned()));
    let outcome = table.add(&unknown, &[&key(1)]).1;
    assert_eq!(outcome.void().next().unwrap().1, Why::UnknownKind);
}

#[test]
fn g12_a_clock_that_goes_back_changes_nothing() {
    let mut table = Table::single();
    table.released(&["1"]);
    let mut second = table.moving(Kind::Release, "2", "2", &[("prod", table.after("prod"))]);
    second.at = "2001-01-01T00:00:00Z".parse().unwrap();
    assert!(table.add(&second, &[&key(1)]).1.stands());
    assert_eq!(table.shows("prod"), "2");
}
