//! What an operation would do, from the state alone: the same for a dry run and for the real one.

pub(super) mod adopt;
mod byhand;
mod resume;
mod switch;
mod yank;

use std::collections::BTreeSet;

use cairn_oci::Digest;
use jiff::Timestamp;

pub use adopt::{AdoptPlan, adopt};
pub use byhand::record;
pub use resume::resume;
pub(super) use switch::shown;
pub use switch::switch;
pub use yank::yank;

use crate::authority::{KeyLabel, Lack};
use crate::entry::{Actor, Entry, EntryName, Kind, Move, Nonce};
use crate::fold::{Record, Subject};
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::open::Opened;
use crate::operation::{
    Blocked, Context, Obstacle, OperationError, PromoteRequest, ReleaseRequest, RollbackRequest,
    RollbackTarget, error,
};
use crate::state::{ChannelState, Shown, Standing, State};
use crate::waiting;

/// How many similar names are given for one that is not known.
const NEAREST: usize = 3;

/// What would happen.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was asked for.
    pub kind: Kind,
    /// The entry that would be appended; none if the ledger has it already.
    pub entry: Option<Entry>,
    /// The version that it is about.
    pub version: Option<Version>,
    /// The digest that it is about.
    pub digest: Option<Digest>,
    /// The channels that were named, moved or not.
    pub channels: Vec<PlannedMove>,
    /// Channels that would not be moved, and why.
    pub blocked: Vec<Blocked>,
    /// Signatures that the rules of channels require beside one's own.
    pub lacks: Vec<Lack>,
    /// What there is to say about it.
    pub notes: Vec<Note>,
}

impl Plan {
    /// What a channel would show afterwards: what it shows, if it is not moved.
    #[must_use]
    pub fn would_show(&self, planned: &PlannedMove) -> Option<Digest> {
        let entry = self.entry.as_ref();
        let moves = entry.is_some_and(|entry| entry.move_of(&planned.channel).is_some());
        let is_blocked = self.blocked.iter().any(|one| one.channel == planned.channel);
        match moves && !is_blocked {
            true => planned.next,
            false => planned.previous.as_ref().map(|shown| shown.digest),
        }
    }

    /// What to do about the first channel that a rule keeps away.
    #[must_use]
    pub fn hint(&self, opened: &Opened) -> Option<String> {
        error::planned_hint(self, opened.state()?)
    }

    /// The plan with what the rules say of its entry, if `key` signed it now: channels that they keep away are blocked. Signatures
    /// that would be missing are in `lacks`, and keep nothing away here.
    #[must_use]
    pub fn foreseen(mut self, opened: &Opened, key: &Fingerprint) -> Self {
        let (Some(state), Some(entry)) = (opened.state(), &self.entry) else {
            return self;
        };
        let mut signers = BTreeSet::from([*key]);
        if !self.lacks.is_empty() {
            signers.extend(waiting::everybody(state));
        }
        let record = Record {
            // Nobody has signed it; any name that no entry has will do.
            name: Digest::of(entry.nonce.0.as_slice()),
            envelope: bytes::Bytes::new(),
            entry: entry.clone(),
            signers,
        };
        let outcome = waiting::foresee(opened, &record);
        for (subject, why, _) in outcome.void() {
            if let Subject::Channel(channel) = subject {
                self.blocked.push(Blocked {
                    channel: channel.clone(),
                    why: Obstacle::Void(why),
                });
            }
        }
        self
    }
}

/// What a channel shows and would show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMove {
    /// Which channel.
    pub channel: Channel,
    /// What it shows.
    pub previous: Option<Shown>,
    /// The digest that it would show.
    pub next: Option<Digest>,
    /// As which version.
    pub version: Option<Version>,
}

/// Something to tell that is not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The version was released as this before.
    AlreadyReleased {
        /// Which version.
        version: Version,
        /// By which entry.
        entry: EntryName,
    },
    /// The channel shows it already.
    AlreadyShows {
        /// Which channel.
        channel: Channel,
        /// What it shows.
        now: Shown,
    },
    /// The channel showed it since it was released, and shows something else now: a release never moves it again.
    MovedOn {
        /// Which channel.
        channel: Channel,
        /// What it shows now.
        now: Shown,
    },
    /// The last thing that happened to the channel is a rollback: nothing to do.
    AlreadyRolledBack {
        /// Which channel.
        channel: Channel,
        /// When it was rolled back.
        at: Timestamp,
        /// By which key.
        by: Option<Fingerprint>,
        /// By whom.
        actor: Actor,
        /// What it showed before, if that is known.
        left: Option<Shown>,
        /// What it shows now: one further back is `--leave` this.
        now: Shown,
    },
    /// The channel does not show the version that was to be left: nothing to do.
    AlreadyLeft {
        /// Which channel.
        channel: Channel,
        /// The version that was to be left.
        leave: Version,
        /// What it shows.
        now: Shown,
    },
    /// The version was barred before: nothing to do.
    AlreadyYanked {
        /// Which version.
        version: Version,
        /// By which entry.
        entry: EntryName,
    },
    /// The channel shows what is barred, and goes on doing so.
    StillShown {
        /// Which channel.
        channel: Channel,
        /// What it shows.
        now: Shown,
    },
    /// The channel's tag shows what the ledger says: nothing to do.
    Agrees {
        /// Which channel.
        channel: Channel,
        /// What it shows.
        now: Shown,
    },
    /// The channel is not held: nothing to do.
    NotHeld {
        /// Which channel.
        channel: Channel,
    },
}

impl Plan {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            entry: None,
            version: None,
            digest: None,
            channels: Vec::new(),
            blocked: Vec::new(),
            lacks: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// The state of a ledger that can be written by this program.
pub(crate) fn state<'a>(opened: &'a Opened, repository: &str) -> Result<&'a State, OperationError> {
    let state = opened.state().ok_or_else(|| OperationError::NoLedger {
        repository: repository.to_owned(),
    })?;
    match &state.unknown {
        Some((position, kind)) => Err(OperationError::Newer {
            kind: kind.clone(),
            position: *position,
        }),
        None => Ok(state),
    }
}

/// An entry of `kind` with everything that the context gives.
pub(crate) fn draft(context: &Context<'_>, kind: Kind) -> Entry {
    Entry {
        reason: context.reason.clone(),
        source: context.source.clone(),
        run: context.run.clone(),
        ..Entry::new(kind, context.actor.clone(), context.at, Nonce(context.nonce))
    }
}

pub(super) fn draft_in(state: &State, context: &Context<'_>, kind: Kind) -> Entry {
    let key = context.signer.key();
    let breaks = context.break_glass && kind.may_break_glass() && !state.authority.knows(&key.fingerprint());
    Entry {
        ledger: Some(state.ledger),
        chain: Some(state.chain),
        glass: breaks.then(|| key.clone()),
        ..draft(context, kind)
    }
}

/// Whether the context's key may make this entry; and which signatures it lacks beside that one.
pub(super) fn check_key(
    state: &State,
    context: &Context<'_>,
    entry: &Entry,
) -> Result<Vec<Lack>, OperationError> {
    let key = context.signer.key().fingerprint();
    if entry.glass.is_some() {
        return check_glass(state, context, entry).map(|()| Vec::new());
    }
    let may = |channel: Option<&Channel>| state.authority.may(&key, &entry.kind, channel, context.at);
    let refused = |channel: Option<&Channel>| OperationError::NotAllowed {
        key: state.authority.label(&key),
        kind: entry.kind.clone(),
        channel: channel.cloned(),
        may: who_may(state, context, &entry.kind, channel),
    };
    if (entry.moves.is_empty() || entry.kind.binds()) && !may(None) {
        return Err(refused(None));
    }
    let mut channels = entry.moves.iter().map(|one| &one.channel);
    if let Some(channel) = channels.clone().find(|channel| !may(Some(*channel))) {
        return Err(refused(Some(channel)));
    }
    if let Some((channel, digest)) = channels.find_map(|channel| shows_new(state, &key, entry, channel)) {
        return Err(OperationError::OnlyShown {
            key: state.authority.label(&key),
            kind: entry.kind.clone(),
            channel: channel.clone(),
            digest,
            may: who_may(state, context, &entry.kind, Some(channel)),
        });
    }
    Ok(lacks(state, &key, entry))
}

/// Those that may make entries of `kind`, with what else each may do there.
pub(in crate::operation) fn who_may(
    state: &State,
    context: &Context<'_>,
    kind: &Kind,
    channel: Option<&Channel>,
) -> Vec<(KeyLabel, Vec<Kind>)> {
    let mut may = state.authority.who_may(channel, context.at);
    may.retain(|(_, kinds)| kinds.contains(kind));
    may
}

/// Whether the rules of every channel that the entry is about let an unlisted key do it.
fn check_glass(state: &State, context: &Context<'_>, entry: &Entry) -> Result<(), OperationError> {
    let mut channels = entry.moves.iter().map(|one| &one.channel);
    let closed = channels
        .clone()
        .find(|channel| !state.allows_glass(channel, &entry.kind));
    if closed.is_none() && channels.next().is_some() {
        return Ok(());
    }
    Err(OperationError::NotAllowed {
        key: state.authority.label(&context.signer.key().fingerprint()),
        kind: entry.kind.clone(),
        channel: closed.cloned(),
        may: who_may(state, context, &entry.kind, closed),
    })
}

/// The channel, if the entry would make it show something new that `key` may not show there.
fn shows_new<'a>(
    state: &State,
    key: &Fingerprint,
    entry: &Entry,
    channel: &'a Channel,
) -> Option<(&'a Channel, Digest)> {
    let digest = entry.digest?;
    let was_shown = state
        .channels
        .get(channel)
        .is_some_and(|state| state.has_shown(&digest));
    let may = state.authority.may_show_new(key, &entry.kind, channel, entry.at);
    (!was_shown && !may).then_some((channel, digest))
}

fn lacks(state: &State, key: &Fingerprint, entry: &Entry) -> Vec<Lack> {
    if !entry.kind.is_forward() && entry.kind != Kind::Resume {
        return Vec::new();
    }
    let (authority, signers) = (&state.authority, [*key].into());
    let lack = |one: &Move| state.rules.lacks(&one.channel, authority, &signers, entry.at);
    entry.moves.iter().flat_map(lack).collect()
}

fn move_of(state: &State, channel: &Channel) -> Move {
    Move {
        channel: channel.clone(),
        after: state.last_entry(channel),
    }
}

/// A forward move of `channel` to `digest`, sorted into what moves, what is blocked and what is there already.
struct Forward<'a> {
    state: &'a State,
    context: &'a Context<'a>,
    digest: Digest,
    version: Option<&'a Version>,
    resume: bool,
    /// A release that is run again does not move what has moved on.
    again: bool,
}

impl Forward<'_> {
    fn plan(&self, plan: &mut Plan, channel: &Channel) -> Option<Move> {
        let unknown = ChannelState::default();
        let current = self.state.channels.get(channel).unwrap_or(&unknown);
        plan.channels.push(PlannedMove {
            channel: channel.clone(),
            previous: current.shows.clone(),
            next: Some(self.digest),
            version: self.version.cloned(),
        });
        let lifts = self.resume && current.hold.is_some();
        if let Some(now) = current.shows.as_ref().filter(|_| !lifts) {
            let channel = channel.clone();
            if now.digest == self.digest && now.version.as_ref() == self.version {
                plan.notes.push(Note::AlreadyShows {
                    channel,
                    now: now.clone(),
                });
                return None;
            }
            if self.again && current.has_shown(&self.digest) {
                plan.notes.push(Note::MovedOn {
                    channel,
                    now: now.clone(),
                });
                return None;
            }
        }
        if let Some(hold) = current.hold.as_ref().filter(|_| !self.resume) {
            let why = Obstacle::held(self.state, hold);
            plan.blocked.push(Blocked {
                channel: channel.clone(),
                why,
            });
            return None;
        }
        if let Some(blocked) = unmet(self.state, self.context, channel) {
            plan.blocked.push(blocked);
            return None;
        }
        Some(move_of(self.state, channel))
    }
}

/// Whether the rules of a channel want signatures for a forward move that nobody can give. Whoever breaks the glass needs none.
fn unmet(state: &State, context: &Context<'_>, channel: &Channel) -> Option<Blocked> {
    let key = context.signer.key().fingerprint();
    if context.break_glass && !state.authority.knows(&key) {
        return None;
    }
    let mut unmet = state
        .rules
        .unmet_on(channel, &state.authority, context.at)
        .into_iter();
    unmet.next().map(|unmet| Blocked {
        channel: channel.clone(),
        why: Obstacle::Unmet(unmet),
    })
}

/// Plans a release.
///
/// # Errors
///
/// [`OperationError`]: no ledger, a version that is bound to another digest, a key that may not.
pub fn release(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    request: &ReleaseRequest,
) -> Result<Plan, OperationError> {
    let state = state(opened, repository)?;
    let mut plan = Plan::new(Kind::Release);
    plan.version = Some(request.version.clone());
    plan.digest = Some(request.digest);
    let released = released(state, request)?;
    let forward = Forward {
        state,
        context,
        digest: request.digest,
        version: Some(&request.version),
        resume: request.resume,
        again: released.is_some(),
    };
    let moves: Vec<Move> = request
        .channels
        .iter()
        .filter_map(|channel| forward.plan(&mut plan, channel))
        .collect();
    let kind = match released {
        Some(entry) => {
            let version = request.version.clone();
            plan.notes.insert(0, Note::AlreadyReleased { version, entry });
            Kind::Promote
        }
        None => Kind::Release,
    };
    if kind == Kind::Promote && moves.is_empty() {
        return Ok(plan);
    }
    let lifts = lifts_a_hold(state, &moves, request.resume);
    let entry = Entry {
        version: Some(request.version.clone()),
        digest: Some(request.digest),
        moves,
        resume: lifts,
        record: request.record.filter(|_| kind == Kind::Release),
        ..draft_in(state, context, kind)
    };
    plan.lacks = check_key(state, context, &entry)?;
    plan.entry = Some(entry);
    Ok(plan)
}

fn lifts_a_hold(state: &State, moves: &[Move], resume: bool) -> bool {
    let is_held = |one: &Move| {
        state
            .channels
            .get(&one.channel)
            .is_some_and(|channel| channel.hold.is_some())
    };
    resume && moves.iter().any(is_held)
}

/// The entry that released the version as this digest, if one did.
fn released(state: &State, request: &ReleaseRequest) -> Result<Option<EntryName>, OperationError> {
    let version = request.version.clone();
    let Some(binding) = state.versions.get(&version) else {
        return Ok(None);
    };
    match binding.standing() {
        // Its image was no longer kept, and is there again: released once more, it counts again.
        Standing::Named(bound) if bound.digest == request.digest && state.is_pruned(&bound.digest) => {
            Ok(None)
        }
        Standing::Named(bound) if bound.digest == request.digest => Ok(Some(bound.entry)),
        Standing::Named(bound) => {
            let (bound, given) = (bound.digest, request.digest);
            Err(OperationError::VersionTaken {
                version,
                bound,
                given,
            })
        }
        standing => Err(not_named(
            version,
            standing,
            binding.bound.iter().map(|bound| bound.digest).collect(),
        )),
    }
}

fn not_named(version: Version, standing: Standing<'_>, digests: Vec<Digest>) -> OperationError {
    match standing {
        Standing::Yanked(bound) => {
            let entry = bound.yanked.unwrap_or(bound.entry);
            OperationError::Yanked { version, entry }
        }
        _ => OperationError::Contested { version, digests },
    }
}

/// What a version names.
fn resolve(state: &State, version: &Version) -> Result<Digest, OperationError> {
    let Some(binding) = state.versions.get(version) else {
        return Err(OperationError::UnknownVersion {
            version: version.clone(),
            nearest: nearest(version.as_str(), state.versions.keys(), Version::as_str),
        });
    };
    match binding.standing() {
        Standing::Named(bound) => match state.pruned.get(&bound.digest) {
            Some(entry) => Err(OperationError::Pruned {
                version: version.clone(),
                entry: *entry,
            }),
            None => Ok(bound.digest),
        },
        standing => {
            let digests = binding.bound.iter().map(|bound| bound.digest).collect();
            Err(not_named(version.clone(), standing, digests))
        }
    }
}

/// The names most like `text`, the most similar first.
fn nearest<'a, T: Clone + 'a>(
    text: &str,
    names: impl Iterator<Item = &'a T>,
    as_str: impl Fn(&T) -> &str,
) -> Vec<T> {
    let score = |name: &T| strsim::jaro_winkler(text, as_str(name));
    let mut scored: Vec<(f64, &T)> = names
        .map(|name| (score(name), name))
        .filter(|(score, _)| *score > 0.6)
        .collect();
    scored.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| as_str(left).cmp(as_str(right))));
    scored
        .into_iter()
        .take(NEAREST)
        .map(|(_, name)| name.clone())
        .collect()
}

/// Plans a promotion.
///
/// # Errors
///
/// [`OperationError`]: no ledger, an unknown, barred or contested version, a key that may not.
pub fn promote(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    request: &PromoteRequest,
) -> Result<Plan, OperationError> {
    let state = state(opened, repository)?;
    let digest = resolve(state, &request.version)?;
    let mut plan = Plan::new(Kind::Promote);
    plan.version = Some(request.version.clone());
    plan.digest = Some(digest);
    let forward = Forward {
        state,
        context,
        digest,
        version: Some(&request.version),
        resume: request.resume,
        again: false,
    };
    let moves: Vec<Move> = request
        .channels
        .iter()
        .filter_map(|channel| forward.plan(&mut plan, channel))
        .collect();
    if moves.is_empty() {
        return Ok(plan);
    }
    let lifts = lifts_a_hold(state, &moves, request.resume);
    let entry = Entry {
        version: Some(request.version.clone()),
        digest: Some(digest),
        moves,
        resume: lifts,
        ..draft_in(state, context, Kind::Promote)
    };
    plan.lacks = check_key(state, context, &entry)?;
    plan.entry = Some(entry);
    Ok(plan)
}

/// Plans a rollback.
///
/// # Errors
///
/// [`OperationError`]: no ledger, an unknown channel or target, nothing to go back to, a key that may not.
pub fn rollback(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    request: &RollbackRequest,
) -> Result<Plan, OperationError> {
    let state = state(opened, repository)?;
    let channel = &request.channel;
    let current = state.channels.get(channel);
    let Some((current, now)) = current.and_then(|current| Some((current, current.shows.as_ref()?))) else {
        let shown = state
            .channels
            .iter()
            .filter(|(_, channel)| channel.shows.is_some())
            .map(|(name, _)| name);
        let nearest = nearest(channel.as_str(), shown, Channel::as_str);
        return Err(OperationError::UnknownChannel {
            channel: channel.clone(),
            nearest,
        });
    };
    let mut plan = Plan::new(Kind::Rollback);
    let note = nothing_to_roll_back(opened, request, current, now);
    let target = match (&note, &request.target) {
        (Some(_), _) => now.clone(),
        (None, Some(target)) => rollback_target(opened, state, channel, target)?,
        (None, None) => state
            .way_back(channel)
            .cloned()
            .ok_or_else(|| OperationError::NoWayBack {
                channel: channel.clone(),
                now: now.label(),
            })?,
    };
    plan.version.clone_from(&target.version);
    plan.digest = Some(target.digest);
    plan.channels.push(PlannedMove {
        channel: channel.clone(),
        previous: Some(now.clone()),
        next: Some(target.digest),
        version: target.version.clone(),
    });
    plan.notes.extend(note);
    if !plan.notes.is_empty() {
        return Ok(plan);
    }
    if target.digest == now.digest {
        plan.notes.push(already(opened, channel, current, now));
        return Ok(plan);
    }
    let entry = Entry {
        version: target.version,
        digest: Some(target.digest),
        moves: vec![move_of(state, channel)],
        hold: Some(!request.no_hold),
        ..draft_in(state, context, Kind::Rollback)
    };
    plan.lacks = check_key(state, context, &entry)?;
    plan.entry = Some(entry);
    Ok(plan)
}

/// Why there is nothing to do, so that a rollback can be repeated: while the last entry that touched the channel is a
/// rollback and neither a target nor a version to leave is named; or when that version is left already.
fn nothing_to_roll_back(
    opened: &Opened,
    request: &RollbackRequest,
    current: &ChannelState,
    now: &Shown,
) -> Option<Note> {
    let channel = request.channel.clone();
    if let Some(leave) = &request.leave {
        let is_left = now.version.as_ref() != Some(leave);
        return is_left.then(|| Note::AlreadyLeft {
            channel,
            leave: leave.clone(),
            now: now.clone(),
        });
    }
    let is_rollback = current
        .last
        .as_ref()
        .is_some_and(|last| last.kind == Kind::Rollback);
    (is_rollback && request.target.is_none()).then(|| already(opened, &channel, current, now))
}

/// The channel shows the target: by a rollback, or some other way.
fn already(opened: &Opened, channel: &Channel, current: &ChannelState, now: &Shown) -> Note {
    let channel = channel.clone();
    let now = now.clone();
    let last = current.last.as_ref().filter(|last| last.kind == Kind::Rollback);
    let Some((_, record, _)) = last.and_then(|last| opened.view().find(&last.entry)) else {
        return Note::AlreadyShows { channel, now };
    };
    Note::AlreadyRolledBack {
        channel,
        at: record.entry.at,
        by: record.author(),
        actor: record.entry.actor.clone(),
        left: current.hold.as_ref().and_then(|hold| hold.left.clone()),
        now,
    }
}

fn rollback_target(
    opened: &Opened,
    state: &State,
    channel: &Channel,
    target: &RollbackTarget,
) -> Result<Shown, OperationError> {
    let (digest, version) = match target {
        RollbackTarget::Version(version) => (resolve(state, version)?, Some(version.clone())),
        RollbackTarget::Digest(digest) => resolve_digest(opened, state, channel, digest)?,
    };
    let version = version.or_else(|| version_of(state, channel, &digest));
    Ok(Shown {
        digest,
        version,
        entry: state.ledger,
        at: Timestamp::UNIX_EPOCH,
    })
}

/// An image that was released or shown; or an entry that moved the channel, and then what it moved it to.
fn resolve_digest(
    opened: &Opened,
    state: &State,
    channel: &Channel,
    digest: &Digest,
) -> Result<(Digest, Option<Version>), OperationError> {
    let was_shown = state.channels.values().any(|channel| channel.has_shown(digest));
    if was_shown || state.versions_of(digest).next().is_some() {
        return Ok((*digest, None));
    }
    let entry = opened.view().find(digest).map(|(_, record, _)| &record.entry);
    let moved = entry.filter(|entry| entry.move_of(channel).is_some());
    let target = moved.and_then(|entry| Some((entry.digest?, entry.version.clone())));
    target.ok_or_else(|| OperationError::UnknownTarget {
        digest: *digest,
        channel: channel.clone(),
    })
}

/// The version under which the channel showed a digest, else any that names it now.
pub(super) fn version_of(state: &State, channel: &Channel, digest: &Digest) -> Option<Version> {
    let trail = state
        .channels
        .get(channel)
        .into_iter()
        .flat_map(|channel| channel.trail.iter().rev());
    let mut shown = trail.filter(|shown| shown.digest == *digest);
    let is_named = |version: &Version| {
        let binding = state.versions.get(version);
        matches!(binding.map(crate::state::Binding::standing), Some(Standing::Named(bound)) if bound.digest == *digest)
    };
    let on_trail = shown.find_map(|shown| shown.version.clone().filter(|version| is_named(version)));
    on_trail.or_else(|| {
        state
            .versions_of(digest)
            .map(|(version, _)| version.clone())
            .find(is_named)
    })
}
