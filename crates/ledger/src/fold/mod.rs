//! From entries to state: a pure function, entry by entry in order.
//!
//! An entry is never rejected as a whole: each of its effects stands or falls alone, and one that falls is void, kept,
//! and shown with what overtook it. The rules are the table in `docs/ledger-format.md`; each of them is one function here.
//!
//! ```text
//!   mod ──▶ chain    keys, rules
//!       ──▶ version  release and adopt bind, yank, prune
//!       ──▶ forward  release, promote, switch, adopt move ─┐
//!       ──▶ back     rollback moves and holds              ├──▶ target, limits, access
//!       ──▶ byhand   record                                │    (is it one? may it be shown? by whom?)
//!       ──▶ resume                                        ─┘
//!       ──▶ glass    what an unlisted key did, ratify
//! ```

mod access;
mod back;
mod byhand;
mod chain;
mod forward;
mod glass;
mod limits;
mod outcome;
mod resume;
mod target;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

pub use outcome::{Outcome, Subject, Verdict, Why};

use self::access::Access;
use crate::base::{List, Table};
use crate::entry::{Entry, EntryName, Kind, Move};
use crate::key::Fingerprint;
use crate::name::Channel;
use crate::state::{ChannelState, Hold, Shown, State, Touch};

/// The rules of this fold, as a number: it changes with everything that a state says of the same entries, so that no state is
/// taken from a program with other rules or that knew fewer kinds.
pub(crate) const RULES: u32 = 1;

/// An entry whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// SHA-256 of the signed payload.
    pub name: EntryName,
    /// The envelope exactly as it is stored.
    pub envelope: Bytes,
    /// What it states.
    pub entry: Entry,
    /// The keys whose signature verifies: at least one.
    pub signers: BTreeSet<Fingerprint>,
}

impl Record {
    /// The key of whoever made the entry: the one that its actor names, or the only one that signed. Of several signers of an
    /// entry by somebody else, nobody knows which was first.
    #[must_use]
    pub fn author(&self) -> Option<Fingerprint> {
        if self.signers.len() == 1 {
            return self.signers.first().copied();
        }
        let is_actor = |key: &&Fingerprint| key.to_string() == self.entry.actor.id;
        self.signers.iter().find(is_actor).copied()
    }
}

/// The state after some entries, and what is needed to take the next.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    pub(crate) state: Option<State>,
    /// Where each entry stands (the first time).
    pub(crate) places: Table<EntryName, u64>,
    /// Where those stand that the author of an entry named; none for a repetition.
    pub(crate) links: Arc<List<Vec<u64>>>,
}

impl Fold {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state; none before the genesis.
    #[must_use]
    pub const fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// How many entries it has taken, repetitions included.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.links.len() as u64
    }

    /// Where an entry stands (the first time).
    #[must_use]
    pub fn position(&self, name: &EntryName) -> Option<u64> {
        self.places.get(name).copied()
    }

    /// Takes the next entry.
    pub fn apply(&mut self, record: &Record) -> Outcome {
        let position = self.length();
        if self.places.contains_key(&record.name) {
            Arc::make_mut(&mut self.links).push(Vec::new());
            return Outcome::of(
                Subject::Entry,
                Verdict::void_by(Why::Repetition, Some(record.name)),
            );
        }
        let outcome = match &mut self.state {
            None => begin(&mut self.state, record),
            Some(state) => Step {
                state,
                record,
                position,
                places: &self.places,
                links: &self.links,
            }
            .apply(),
        };
        let named = record.entry.names();
        let links = named.filter_map(|name| self.position(&name)).collect();
        Arc::make_mut(&mut self.links).push(links);
        self.places.insert(record.name, position);
        outcome
    }
}

fn begin(state: &mut Option<State>, record: &Record) -> Outcome {
    let entry = &record.entry;
    let (Kind::Genesis, Some(authority), Some(mode), Some(home)) =
        (&entry.kind, &entry.authority, entry.mode, &entry.home)
    else {
        return Outcome::of(Subject::Entry, Verdict::void(Why::NotAllowed));
    };
    *state = Some(State {
        ledger: record.name,
        mode,
        home: home.clone(),
        chain: record.name,
        authority: authority.clone(),
        rules: entry.rules.clone().unwrap_or_default(),
        channels: BTreeMap::new(),
        versions: Table::default(),
        pruned: Table::default(),
        glass: BTreeMap::new(),
        continues: entry.continues.clone(),
        unknown: None,
        named: Table::default(),
    });
    Outcome::of(Subject::Entry, Verdict::Effect)
}

/// One entry on its way into the state.
struct Step<'a> {
    state: &'a mut State,
    record: &'a Record,
    position: u64,
    places: &'a Table<EntryName, u64>,
    links: &'a List<Vec<u64>>,
}

impl Step<'_> {
    fn apply(mut self) -> Outcome {
        match self.record.entry.kind {
            Kind::Genesis => Outcome::of(Subject::Entry, Verdict::void(Why::NotAllowed)),
            Kind::Unknown(ref kind) => {
                self.state
                    .unknown
                    .get_or_insert_with(|| (self.position, kind.clone()));
                Outcome::of(Subject::Entry, Verdict::void(Why::UnknownKind))
            }
            Kind::Keys => self.keys(),
            Kind::Rules => self.rules(),
            Kind::Release | Kind::Adopt => self.release(),
            Kind::Promote | Kind::Switch => self.moves(None),
            Kind::Rollback => self.rollback(),
            Kind::Resume => self.resume(),
            Kind::Yank => self.yank(),
            Kind::Record => self.by_hand(),
            Kind::Prune => self.prune(),
            Kind::Ratify => self.ratify(),
        }
    }

    const fn entry(&self) -> &Entry {
        &self.record.entry
    }

    fn channel(&self, channel: &Channel) -> Option<&ChannelState> {
        self.state.channels.get(channel)
    }

    fn channel_mut(&mut self, channel: &Channel) -> &mut ChannelState {
        self.state.channels.entry(channel.clone()).or_default()
    }

    /// The hold of a channel.
    fn hold_of(&self, channel: &Channel) -> Option<&Hold> {
        self.channel(channel)?.hold.as_ref()
    }

    /// What is asked first of whatever moves a channel: whether somebody may, and whether it is its turn.
    fn judge_turn(&self, one: &Move, access: Access) -> Verdict {
        access.judge().and_then(|| self.judge_after(one))
    }

    /// Whether the move stands on the last entry that moved, held or resumed its channel.
    fn judge_after(&self, one: &Move) -> Verdict {
        let last = self.state.last_entry(&one.channel);
        if last == one.after {
            Verdict::Effect
        } else {
            Verdict::void_by(Why::Overtaken, last)
        }
    }

    /// An allowed entry's digest may have been put on the tag before the entry was overtaken.
    fn note_wish(&mut self, one: &Move, verdict: Verdict) {
        let is_allowed = !matches!(
            verdict,
            Verdict::Void {
                why: Why::NotAllowed,
                ..
            }
        );
        if let (true, Some(digest)) = (is_allowed, self.record.entry.digest) {
            let channel = self.channel_mut(&one.channel);
            if !channel.has_wanted(&digest) {
                channel.wanted.insert(digest, ());
            }
        }
    }

    /// What a channel shows if the entry has effect.
    fn shown(&self) -> Option<Shown> {
        let entry = self.entry();
        Some(Shown {
            digest: entry.digest?,
            version: entry.version.clone(),
            entry: self.record.name,
            at: entry.at,
        })
    }

    fn touch(&self, one: &Move) -> Touch {
        Touch {
            entry: self.record.name,
            kind: self.entry().kind.clone(),
            after: one.after,
        }
    }
}
