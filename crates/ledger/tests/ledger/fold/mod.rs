//! The table of the fold's rules in docs/ledger-format.md, row by row: entries in order, and what becomes of each.

mod chain;
mod glass;
mod kinds;
mod moves;
mod page;
mod rules;

use std::collections::BTreeSet;

use cairn_ledger::authority::{Authority, ChannelRules, Rules};
use cairn_ledger::entry::{Entry, EntryName, Kind, Mode, Move};
use cairn_ledger::fold::{Fold, Outcome, Record, Verdict, Why};
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::state::{Shown, State};
use cairn_oci::Digest;

use crate::support::*;

/// Entries one after the other, each signed by hand.
pub(super) struct Table {
    pub(super) fold: Fold,
    nonce: u8,
    genesis: EntryName,
}

impl Table {
    pub(super) fn new(authority: Authority) -> Self {
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

    pub(super) fn single() -> Self {
        Self::new(Authority::single(key(1).key().clone()))
    }

    /// An entry of the tenth hour, on top of the newest keys and rules.
    pub(super) fn entry(&mut self, kind: Kind) -> Entry {
        self.nonce += 1;
        Entry {
            ledger: Some(self.genesis),
            chain: Some(self.fold.state().map_or(self.genesis, |state| state.chain)),
            ..blank(kind, "2026-11-21T10:00:00Z", self.nonce)
        }
    }

    pub(super) fn add(&mut self, entry: &Entry, signers: &[&LocalKey]) -> (EntryName, Outcome) {
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

    pub(super) fn state(&self) -> &State {
        self.fold.state().unwrap()
    }

    pub(super) fn after(&self, name: &str) -> Option<EntryName> {
        self.state().last_entry(&channel(name))
    }

    pub(super) fn release(
        &mut self,
        name: &str,
        image: &str,
        to: &[(&str, Option<EntryName>)],
    ) -> (EntryName, Outcome) {
        let entry = self.moving(Kind::Release, name, image, to);
        self.add(&entry, &[&key(1)])
    }

    pub(super) fn moving(
        &mut self,
        kind: Kind,
        name: &str,
        image: &str,
        to: &[(&str, Option<EntryName>)],
    ) -> Entry {
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

    pub(super) fn rollback(
        &mut self,
        name: &str,
        image: &str,
        after: Option<EntryName>,
    ) -> (EntryName, Outcome) {
        let mut entry = self.moving(Kind::Rollback, name, image, &[("prod", after)]);
        entry.hold = Some(true);
        self.add(&entry, &[&key(1)])
    }

    pub(super) fn released(&mut self, names: &[&str]) -> Vec<EntryName> {
        names
            .iter()
            .map(|name| self.release(name, name, &[("prod", self.after("prod"))]).0)
            .collect()
    }

    pub(super) fn shows(&self, name: &str) -> String {
        self.state()
            .shows(&channel(name))
            .map_or_else(String::new, Shown::label)
    }

    pub(super) fn trail(&self) -> Vec<String> {
        self.state().channels[&channel("prod")]
            .trail
            .iter()
            .map(Shown::label)
            .collect()
    }

    pub(super) fn is_held(&self) -> bool {
        self.state().channels[&channel("prod")].hold.is_some()
    }

    /// Rules of prod alone.
    pub(super) fn rule(&mut self, prod: ChannelRules) -> (EntryName, Outcome) {
        let mut rules = self.entry(Kind::Rules);
        rules.rules = Some(Rules {
            channels: [(channel("prod"), prod)].into(),
        });
        self.add(&rules, &[&key(1)])
    }

    /// A promotion of prod at `at`.
    pub(super) fn promote_at(&mut self, name: &str, at: &str) -> Outcome {
        let mut entry = self.moving(Kind::Promote, name, name, &[("prod", self.after("prod"))]);
        entry.at = at.parse().unwrap();
        self.add(&entry, &[&key(1)]).1
    }

    /// Moves prod to a version, which is released if it is new.
    pub(super) fn promote_or_release(&mut self, name: &str) -> Outcome {
        if self.state().versions.contains_key(&version(name)) {
            return self.promote_at(name, "2026-11-21T10:00:00Z");
        }
        self.release(name, name, &[("prod", self.after("prod"))]).1
    }

    /// What somebody put on prod by hand.
    pub(super) fn record(&mut self, image: &str) -> (EntryName, Outcome) {
        let mut entry = self.moving(Kind::Record, "0", image, &[("prod", self.after("prod"))]);
        entry.version = None;
        self.add(&entry, &[&key(1)])
    }

    /// The image of a version is no longer kept.
    pub(super) fn prune(&mut self, name: &str) -> (EntryName, Outcome) {
        let entry = self.moving(Kind::Prune, name, name, &[]);
        self.add(&entry, &[&key(1)])
    }
}

/// Why a channel's move is void, and by which entry.
pub(super) fn why(outcome: &Outcome, name: &str) -> Option<(Why, Option<EntryName>)> {
    match outcome.on_channel(&channel(name)) {
        Some(Verdict::Void { why, overtaken_by }) => Some((why, overtaken_by)),
        _ => None,
    }
}

/// Why the only effect of an entry is void.
pub(super) fn why_void(outcome: &Outcome) -> Option<(Why, Option<EntryName>)> {
    outcome.void().next().map(|(_, why, by)| (why, by))
}
