//! From entries to state: a pure function, entry by entry in order.
//!
//! An entry is never rejected as a whole: each of its effects stands or falls alone, and one that falls is void, kept,
//! and shown with what overtook it. The rules are the table in `docs/ledger-format.md`; each of them is one function here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::Digest;

use crate::entry::{Entry, EntryName, Kind, Move};
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::state::{Binding, Bound, ChannelState, Hold, Shown, Standing, State, Touch};

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

/// What one effect of an entry is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The whole entry.
    Entry,
    /// The list of keys.
    Keys,
    /// The rules.
    Rules,
    /// What a version is bound to, or whether it is barred.
    Version(Version),
    /// What a channel shows, or (for `resume`) whether it is held.
    Channel(Channel),
    /// That a channel is held.
    Hold(Channel),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry => f.write_str("the entry"),
            Self::Keys => f.write_str("the keys"),
            Self::Rules => f.write_str("the rules"),
            Self::Version(version) => version.fmt(f),
            Self::Channel(channel) => channel.fmt(f),
            Self::Hold(channel) => write!(f, "the hold of {channel}"),
        }
    }
}

/// Why an effect is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// An entry of this name came before.
    Repetition,
    /// The program does not know the kind.
    UnknownKind,
    /// Its keys may not do this.
    NotAllowed,
    /// Another entry moved, held or resumed the channel (or changed the keys) first.
    Overtaken,
    /// The channel is held.
    Held,
    /// There is no hold to lift.
    NotHeld,
    /// The version is bound to another digest, and its author could know.
    VersionBound,
    /// The version was bound to another digest by an entry that neither could see.
    Contested,
    /// The version is not bound to this digest, or nobody released this digest.
    UnknownVersion,
    /// The digest is barred.
    Yanked,
    /// The channel is frozen at the entry's own time.
    Frozen,
    /// The digest was never on the channel that it must come from.
    NotFrom,
    /// The digest was released before the channel's floor.
    BelowFloor,
    /// The channel to be switched to shows something else.
    SlotMoved,
    /// The new list of keys cannot be used.
    UnusableKeys,
}

impl Why {
    /// A short word for data.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Repetition => "repetition",
            Self::UnknownKind => "unknown-kind",
            Self::NotAllowed => "not-allowed",
            Self::Overtaken => "overtaken",
            Self::Held => "held",
            Self::NotHeld => "not-held",
            Self::VersionBound => "version-bound",
            Self::Contested => "contested",
            Self::UnknownVersion => "unknown-version",
            Self::Yanked => "yanked",
            Self::Frozen => "frozen",
            Self::NotFrom => "not-from",
            Self::BelowFloor => "below-floor",
            Self::SlotMoved => "slot-moved",
            Self::UnusableKeys => "unusable-keys",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repetition => "the same entry came before",
            Self::UnknownKind => "a kind that this program does not know",
            Self::NotAllowed => "its key may not do this",
            Self::Overtaken => "something else came first",
            Self::Held => "the channel is held",
            Self::NotHeld => "there is no hold to lift",
            Self::VersionBound => "the version is bound to another digest",
            Self::Contested => "the version was bound to two digests at once",
            Self::UnknownVersion => "the version is not bound to this digest",
            Self::Yanked => "the version is barred",
            Self::Frozen => "the channel is frozen",
            Self::NotFrom => "it was never on the channel that it must come from",
            Self::BelowFloor => "it is below the channel's floor",
            Self::SlotMoved => "the other channel shows something else",
            Self::UnusableKeys => "the list of keys cannot be used",
        })
    }
}

/// What became of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stands.
    Effect,
    /// It has none.
    Void {
        /// Why.
        why: Why,
        /// By which entry, where one is to name.
        overtaken_by: Option<EntryName>,
    },
}

impl Verdict {
    const fn void(why: Why) -> Self {
        let overtaken_by = None;
        Self::Void { why, overtaken_by }
    }

    const fn void_by(why: Why, overtaken_by: Option<EntryName>) -> Self {
        Self::Void { why, overtaken_by }
    }

    /// Whether it stands.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::Effect)
    }
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its effects, in the order in which they were judged.
    pub effects: Vec<(Subject, Verdict)>,
}

impl Outcome {
    fn of(subject: Subject, verdict: Verdict) -> Self {
        Self {
            effects: vec![(subject, verdict)],
        }
    }

    /// The verdict on one subject.
    #[must_use]
    pub fn on(&self, subject: &Subject) -> Option<Verdict> {
        self.effects
            .iter()
            .find(|(on, _)| on == subject)
            .map(|(_, verdict)| *verdict)
    }

    /// The verdict on a channel's move.
    #[must_use]
    pub fn on_channel(&self, channel: &Channel) -> Option<Verdict> {
        self.on(&Subject::Channel(channel.clone()))
    }

    /// Whether all of its effects stand.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.effects.iter().all(|(_, verdict)| verdict.stands())
    }

    /// The effects that fell: on what, why, and by which entry.
    pub fn void(&self) -> impl Iterator<Item = (&Subject, Why, Option<EntryName>)> {
        self.effects
            .iter()
            .filter_map(|(subject, verdict)| match verdict {
                Verdict::Void { why, overtaken_by } => Some((subject, *why, *overtaken_by)),
                Verdict::Effect => None,
            })
    }
}

/// The state after some entries, and what is needed to take the next.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    state: Option<State>,
    /// Each entry's position and the entries that its author named.
    seen: Arc<BTreeMap<EntryName, (u64, Vec<EntryName>)>>,
    length: u64,
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
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Where an entry stands (the first time).
    #[must_use]
    pub fn position(&self, name: &EntryName) -> Option<u64> {
        self.seen.get(name).map(|(position, _)| *position)
    }

    /// Takes the next entry.
    pub fn apply(&mut self, record: &Record) -> Outcome {
        let position = self.length;
        self.length += 1;
        if self.seen.contains_key(&record.name) {
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
                seen: &self.seen,
            }
            .apply(),
        };
        let links = (position, record.entry.names().collect());
        Arc::make_mut(&mut self.seen).insert(record.name, links);
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
        versions: BTreeMap::new(),
    });
    Outcome::of(Subject::Entry, Verdict::Effect)
}

/// One entry on its way into the state.
struct Step<'a> {
    state: &'a mut State,
    record: &'a Record,
    position: u64,
    seen: &'a BTreeMap<EntryName, (u64, Vec<EntryName>)>,
}

impl Step<'_> {
    fn apply(mut self) -> Outcome {
        match self.record.entry.kind {
            Kind::Genesis => Outcome::of(Subject::Entry, Verdict::void(Why::NotAllowed)),
            Kind::Unknown(_) => Outcome::of(Subject::Entry, Verdict::void(Why::UnknownKind)),
            Kind::Keys => self.keys(),
            Kind::Rules => self.rules(),
            Kind::Release => self.release(),
            Kind::Promote | Kind::Switch => self.moves(None),
            Kind::Rollback => self.rollback(),
            Kind::Resume => self.resume(),
            Kind::Yank => self.yank(),
        }
    }

    const fn entry(&self) -> &Entry {
        &self.record.entry
    }

    fn is_allowed(&self, channel: Option<&Channel>) -> bool {
        let (kind, at) = (&self.entry().kind, self.entry().at);
        let mut signers = self.record.signers.iter();
        signers.any(|key| self.state.authority.may(key, kind, channel, at))
    }

    /// Keys and rules: under the threshold, and each names the one before.
    fn judge_chain(&self) -> Verdict {
        let entry = self.entry();
        if !self
            .state
            .authority
            .threshold_met(&self.record.signers, &entry.kind, entry.at)
        {
            return Verdict::void(Why::NotAllowed);
        }
        if entry.chain != Some(self.state.chain) {
            return Verdict::void_by(Why::Overtaken, Some(self.state.chain));
        }
        Verdict::Effect
    }

    fn keys(&mut self) -> Outcome {
        let mut verdict = self.judge_chain();
        match (&self.record.entry.authority, verdict) {
            (Some(authority), Verdict::Effect) if authority.check().is_ok() => {
                self.state.authority = authority.clone();
                self.state.chain = self.record.name;
            }
            (_, Verdict::Effect) => verdict = Verdict::void(Why::UnusableKeys),
            (_, Verdict::Void { .. }) => {}
        }
        Outcome::of(Subject::Keys, verdict)
    }

    fn rules(&mut self) -> Outcome {
        let verdict = self.judge_chain();
        if verdict.stands() {
            self.state.rules = self.record.entry.rules.clone().unwrap_or_default();
            self.state.chain = self.record.name;
        }
        Outcome::of(Subject::Rules, verdict)
    }

    fn release(&mut self) -> Outcome {
        let (Some(version), Some(digest)) = (self.record.entry.version.clone(), self.record.entry.digest)
        else {
            return Outcome::of(Subject::Entry, Verdict::void(Why::UnknownVersion));
        };
        let verdict = self.bind(&version, digest);
        let mut outcome = self.moves(Some(verdict));
        outcome.effects.insert(0, (Subject::Version(version), verdict));
        outcome
    }

    /// A version is bound once. A second digest by somebody who could not see the first makes it contested.
    fn bind(&mut self, version: &Version, digest: Digest) -> Verdict {
        if !self.is_allowed(None) {
            return Verdict::void(Why::NotAllowed);
        }
        let bound = Bound {
            digest,
            entry: self.record.name,
            position: self.position,
            at: self.entry().at,
            yanked: None,
        };
        let earlier = self.state.versions.get(version);
        let other = earlier.and_then(|earlier| earlier.bound.iter().find(|other| other.digest != digest));
        let other = other.map(|other| other.entry);
        if let Some(same) = earlier.and_then(|earlier| earlier.to(&digest)) {
            return match other {
                Some(other) => Verdict::void_by(Why::Contested, Some(other)),
                None if same.yanked.is_some() => Verdict::void_by(Why::Yanked, same.yanked),
                None => Verdict::Effect,
            };
        }
        if let Some(other) = other.filter(|other| self.author_saw(*other)) {
            return Verdict::void_by(Why::VersionBound, Some(other));
        }
        self.state
            .versions
            .entry(version.clone())
            .or_default()
            .bound
            .push(bound);
        match other {
            Some(other) => Verdict::void_by(Why::Contested, Some(other)),
            None => Verdict::Effect,
        }
    }

    /// Whether the author must have seen `earlier`: it is named, directly or by what is named.
    fn author_saw(&self, earlier: EntryName) -> bool {
        let mut open: Vec<EntryName> = self.entry().names().collect();
        let mut visited = BTreeSet::new();
        while let Some(name) = open.pop() {
            if name == earlier {
                return true;
            }
            if let (true, Some((_, named))) = (visited.insert(name), self.seen.get(&name)) {
                open.extend(named);
            }
        }
        false
    }

    /// Forward moves, each judged alone. `binding` is what became of a release's version.
    fn moves(&mut self, binding: Option<Verdict>) -> Outcome {
        let entry = self.record.entry.clone();
        let mut effects = Vec::new();
        for one in &entry.moves {
            let verdict = self.judge_forward(one, binding);
            self.note_wish(one, verdict);
            if verdict.stands() {
                self.move_forward(one);
            }
            effects.push((Subject::Channel(one.channel.clone()), verdict));
        }
        Outcome { effects }
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
            self.channel_mut(&one.channel).wanted.insert(digest);
        }
    }

    fn channel_mut(&mut self, channel: &Channel) -> &mut ChannelState {
        self.state.channels.entry(channel.clone()).or_default()
    }

    fn judge_forward(&self, one: &Move, binding: Option<Verdict>) -> Verdict {
        if !self.is_allowed(Some(&one.channel)) {
            return Verdict::void(Why::NotAllowed);
        }
        let channel = self.state.channels.get(&one.channel);
        let last = channel.and_then(ChannelState::last_entry);
        if last != one.after {
            return Verdict::void_by(Why::Overtaken, last);
        }
        let hold = channel.and_then(|channel| channel.hold.as_ref());
        if let Some(hold) = hold.filter(|_| !self.entry().resume) {
            return Verdict::void_by(Why::Held, Some(hold.entry));
        }
        let target = match binding {
            Some(Verdict::Void {
                why: Why::Contested, ..
            }) => Verdict::Effect,
            Some(verdict) => verdict,
            None => self.judge_target(),
        };
        if !target.stands() {
            return target;
        }
        self.judge_rules(&one.channel)
    }

    /// What is moved to must have been released, and not barred since.
    fn judge_target(&self) -> Verdict {
        let entry = self.entry();
        let Some(digest) = entry.digest else {
            return Verdict::void(Why::UnknownVersion);
        };
        if let Some(from) = &entry.from {
            let slot = self.state.channels.get(&from.channel);
            let shows = slot
                .and_then(|slot| slot.shows.as_ref())
                .map(|shown| shown.digest);
            let last = slot.and_then(ChannelState::last_entry);
            if shows != Some(digest) || last != from.after {
                return Verdict::void_by(Why::SlotMoved, last);
            }
        }
        match &entry.version {
            Some(version) => self.judge_version(version, digest),
            None if self.state.is_barred(&digest) => Verdict::void(Why::Yanked),
            None if self.is_known(&digest) => Verdict::Effect,
            None => Verdict::void(Why::UnknownVersion),
        }
    }

    fn judge_version(&self, version: &Version, digest: Digest) -> Verdict {
        match self.state.versions.get(version).map(Binding::standing) {
            Some(Standing::Named(bound)) if bound.digest == digest => Verdict::Effect,
            Some(Standing::Yanked(bound)) if bound.digest == digest => {
                Verdict::void_by(Why::Yanked, bound.yanked)
            }
            Some(Standing::Contested) => Verdict::void(Why::Contested),
            _ => Verdict::void(Why::UnknownVersion),
        }
    }

    fn is_known(&self, digest: &Digest) -> bool {
        let mut channels = self.state.channels.values();
        self.state.versions_of(digest).next().is_some()
            || channels.any(|channel| channel.shown.contains(digest))
    }

    fn judge_rules(&self, channel: &Channel) -> Verdict {
        let Some(rules) = self.state.rules.channels.get(channel) else {
            return Verdict::Effect;
        };
        let digest = self.entry().digest;
        let was_on = |from: &Channel| {
            let from = self.state.channels.get(from);
            from.zip(digest)
                .is_some_and(|(from, digest)| from.shown.contains(&digest))
        };
        if self.entry().kind.is_forward() && rules.is_frozen(self.entry().at) {
            return Verdict::void(Why::Frozen);
        }
        if self.entry().kind.is_forward() && rules.from.as_ref().is_some_and(|from| !was_on(from)) {
            return Verdict::void(Why::NotFrom);
        }
        if rules.floor.as_ref().is_some_and(|floor| self.is_below(floor)) {
            return Verdict::void(Why::BelowFloor);
        }
        Verdict::Effect
    }

    /// Whether the digest was released before `floor`. A floor that was never released binds nothing.
    fn is_below(&self, floor: &Version) -> bool {
        let Some(Standing::Named(floor)) = self.state.versions.get(floor).map(Binding::standing) else {
            return false;
        };
        let Some(digest) = self.entry().digest else {
            return false;
        };
        let newest = self
            .state
            .versions_of(&digest)
            .map(|(_, bound)| bound.position)
            .max();
        newest.is_some_and(|position| position < floor.position)
    }

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

    fn move_forward(&mut self, one: &Move) {
        let (Some(next), touch, lifts) = (self.shown(), self.touch(one), self.entry().resume) else {
            return;
        };
        let channel = self.channel_mut(&one.channel);
        channel.shown.insert(next.digest);
        let before = channel.shows.replace(next.clone());
        channel
            .trail
            .extend(before.filter(|before| before.digest != next.digest));
        channel.last = Some(touch);
        if lifts {
            channel.hold = None;
        }
    }

    /// A rollback moves, and holds whatever becomes of its move.
    fn rollback(&mut self) -> Outcome {
        let entry = self.record.entry.clone();
        let mut effects = Vec::new();
        for one in &entry.moves {
            let left = self.state.shows(&one.channel).cloned();
            let verdict = self.judge_rollback(one);
            self.note_wish(one, verdict);
            if verdict.stands() {
                self.move_back(one);
            }
            effects.push((Subject::Channel(one.channel.clone()), verdict));
            if entry.hold == Some(true) {
                let verdict = self.hold(one, left);
                effects.push((Subject::Hold(one.channel.clone()), verdict));
            }
        }
        Outcome { effects }
    }

    fn judge_rollback(&self, one: &Move) -> Verdict {
        if !self.is_allowed(Some(&one.channel)) {
            return Verdict::void(Why::NotAllowed);
        }
        let last = self
            .state
            .channels
            .get(&one.channel)
            .and_then(|channel| channel.last.as_ref());
        let stands_on_last = last.map(|last| last.entry) == one.after;
        // The safe direction wins: a forward move made against the same state does not overtake it.
        let wins = last.is_some_and(|last| last.kind.is_forward() && last.after == one.after);
        if !stands_on_last && !wins {
            return Verdict::void_by(Why::Overtaken, last.map(|last| last.entry));
        }
        let target = self.judge_target();
        if !target.stands() {
            return target;
        }
        self.judge_rules(&one.channel)
    }

    /// Cuts the trail at the target; what is left is never pushed.
    fn move_back(&mut self, one: &Move) {
        let (Some(next), touch) = (self.shown(), self.touch(one)) else {
            return;
        };
        let channel = self.channel_mut(&one.channel);
        if let Some(at) = channel
            .trail
            .iter()
            .rposition(|shown| shown.digest == next.digest)
        {
            channel.trail.truncate(at);
        }
        channel.shown.insert(next.digest);
        channel.shows = Some(next);
        channel.last = Some(touch);
    }

    fn hold(&mut self, one: &Move, left: Option<Shown>) -> Verdict {
        let entry = &self.record.entry;
        let may = |key: &&Fingerprint| {
            self.state
                .authority
                .may(key, &entry.kind, Some(&one.channel), entry.at)
        };
        let Some(by) = self.record.signers.iter().find(may).copied() else {
            return Verdict::void(Why::NotAllowed);
        };
        let hold = Hold {
            entry: self.record.name,
            by,
            actor: entry.actor.clone(),
            at: entry.at,
            reason: entry.reason.clone(),
            left,
        };
        let touch = self.touch(one);
        let channel = self.channel_mut(&one.channel);
        channel.hold = Some(hold);
        channel.last = Some(touch);
        Verdict::Effect
    }

    fn resume(&mut self) -> Outcome {
        let entry = self.record.entry.clone();
        let mut effects = Vec::new();
        for one in &entry.moves {
            let verdict = self.judge_resume(one);
            if verdict.stands() {
                let touch = self.touch(one);
                let channel = self.channel_mut(&one.channel);
                channel.hold = None;
                channel.last = Some(touch);
            }
            effects.push((Subject::Channel(one.channel.clone()), verdict));
        }
        Outcome { effects }
    }

    fn judge_resume(&self, one: &Move) -> Verdict {
        if !self.is_allowed(Some(&one.channel)) {
            return Verdict::void(Why::NotAllowed);
        }
        let channel = self.state.channels.get(&one.channel);
        let last = channel.and_then(ChannelState::last_entry);
        if last != one.after {
            return Verdict::void_by(Why::Overtaken, last);
        }
        match channel.and_then(|channel| channel.hold.as_ref()) {
            Some(_) => Verdict::Effect,
            None => Verdict::void(Why::NotHeld),
        }
    }

    fn yank(&mut self) -> Outcome {
        let (Some(version), Some(digest)) = (self.record.entry.version.clone(), self.record.entry.digest)
        else {
            return Outcome::of(Subject::Entry, Verdict::void(Why::UnknownVersion));
        };
        let verdict = if self.is_allowed(None) {
            self.bar(&version, digest)
        } else {
            Verdict::void(Why::NotAllowed)
        };
        Outcome::of(Subject::Version(version), verdict)
    }

    fn bar(&mut self, version: &Version, digest: Digest) -> Verdict {
        let name = self.record.name;
        let binding = self.state.versions.get_mut(version);
        let bound = binding.and_then(|binding| binding.bound.iter_mut().find(|bound| bound.digest == digest));
        match bound {
            None => Verdict::void(Why::UnknownVersion),
            Some(Bound {
                yanked: Some(earlier),
                ..
            }) => Verdict::void_by(Why::Yanked, Some(*earlier)),
            Some(bound) => {
                bound.yanked = Some(name);
                Verdict::Effect
            }
        }
    }
}
