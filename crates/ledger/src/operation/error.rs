//! Why an operation was not done.

use cairn_oci::Digest;
use jiff::{SignedDuration, Timestamp};

use crate::append::CommitError;
use crate::authority::{AuthorityError, Freeze, KeyLabel, RulesError, Unmet};
use crate::class::Class;
use crate::entry::{EntryError, EntryName, Kind};
use crate::fold::Why;
use crate::image::ImageError;
use crate::name::{Channel, Version};
use crate::open::OpenError;
use crate::operation::{Done, Plan};
use crate::project::ProjectError;
use crate::state::{Hold, Shown, State};
use crate::waiting::{Missing, Waiting};

/// Why an operation was not done, or not done whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// There is no ledger.
    #[error("{repository} has no ledger")]
    NoLedger {
        /// Which repository.
        repository: String,
    },
    /// There is one already.
    #[error("{repository} has a ledger already: {ledger}")]
    Exists {
        /// Which repository.
        repository: String,
        /// The name of its genesis.
        ledger: EntryName,
    },
    /// The ledger is a copy; its home is elsewhere.
    #[error("the ledger in {here} is a copy: its home is {home}")]
    Copy {
        /// The repository that was opened.
        here: String,
        /// Where the ledger is appended to.
        home: String,
    },
    /// The ledger has entries of a kind that this program does not know.
    #[error("the ledger has an entry of the kind `{kind}` at {position}, which this Cairn does not know")]
    Newer {
        /// Its kind.
        kind: String,
        /// Its position.
        position: u64,
    },
    /// The list of keys for a new ledger cannot be used.
    #[error("the list of keys cannot be used")]
    Authority(#[source] AuthorityError),
    /// The key may not do this.
    #[error("key {key} may not {}", not_allowed_text(kind, channel.as_ref()))]
    NotAllowed {
        /// The key that would sign.
        key: KeyLabel,
        /// What it was to make.
        kind: Kind,
        /// For which channel.
        channel: Option<Channel>,
        /// Who may make which kinds there.
        may: Vec<(KeyLabel, Vec<Kind>)>,
    },
    /// The key may move the channel only to what it has shown.
    #[error(
        "key {key} may {} only to what it has shown; it never showed {digest}",
        not_allowed_text(kind, Some(channel))
    )]
    OnlyShown {
        /// The key that would sign.
        key: KeyLabel,
        /// What it was to make.
        kind: Kind,
        /// For which channel.
        channel: Channel,
        /// What it was to show.
        digest: Digest,
        /// Who may make which kinds there.
        may: Vec<(KeyLabel, Vec<Kind>)>,
    },
    /// The entry needs more signatures, and waits for them beside the ledger.
    #[error("{}", waiting_text(waiting, done.is_some()))]
    Waiting {
        /// What waits.
        waiting: Box<Waiting>,
        /// What was done besides.
        done: Option<Box<Done>>,
    },
    /// No entry of this name waits.
    #[error("no entry `{name}` waits for a signature")]
    NotWaiting {
        /// What was named.
        name: String,
    },
    /// Several entries have names that begin like this.
    #[error("{count} entries that wait have names that begin with `{name}`")]
    Ambiguous {
        /// What was named.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// The waiting entry would have no effect any more, or the one that was to be appended has none.
    #[error("the {kind} entry has no effect: {why}{}", by_text(*by))]
    Void {
        /// Its kind.
        kind: Kind,
        /// Why.
        why: Why,
        /// By the entry at which position, where one is to name.
        by: Option<u64>,
    },
    /// The key's signature is none that is missing.
    #[error(
        "a signature by key {key} does not help: the entry waits for {}",
        missing_text(missing)
    )]
    AddsNothing {
        /// The key that would sign.
        key: KeyLabel,
        /// What is missing.
        missing: Vec<Missing>,
    },
    /// The rules cannot be used.
    #[error("the rules cannot be used")]
    Rules(#[source] RulesError),
    /// The key is not in the ledger.
    #[error("the ledger has no key `{name}`")]
    UnknownKey {
        /// What was named.
        name: String,
    },
    /// The entry was not made by an unlisted key.
    #[error("{name} is no entry of a key that is not in the ledger")]
    NoGlass {
        /// What was named.
        name: String,
    },
    /// The ledger has another head than the one that was named.
    #[error("{named} is not the head of the ledger{}", found.map(|found| format!("; that is {found}")).unwrap_or_default())]
    OtherHead {
        /// What was named.
        named: Digest,
        /// What is there.
        found: Option<Digest>,
    },
    /// Nobody released this version.
    #[error("{version} was never released")]
    UnknownVersion {
        /// What was named.
        version: Version,
        /// Versions with similar names, the nearest first.
        nearest: Vec<Version>,
    },
    /// The channel shows nothing.
    #[error("{channel} shows nothing")]
    UnknownChannel {
        /// What was named.
        channel: Channel,
        /// Channels with similar names, the nearest first.
        nearest: Vec<Channel>,
    },
    /// The digest names neither an image nor an entry of this ledger.
    #[error("{digest} is neither an image that was released nor an entry that moved {channel}")]
    UnknownTarget {
        /// What was named.
        digest: Digest,
        /// The channel that was to go there.
        channel: Channel,
    },
    /// There is nothing to go back to.
    #[error("{channel} shows {now} and has no way back: it showed nothing else that may be shown")]
    NoWayBack {
        /// The channel.
        channel: Channel,
        /// What it shows.
        now: String,
    },
    /// The version is bound to another digest.
    #[error("{version} is already {bound}; this is {given}")]
    VersionTaken {
        /// The version.
        version: Version,
        /// The digest that it is bound to.
        bound: Digest,
        /// The digest that was to be released.
        given: Digest,
    },
    /// The version is barred.
    #[error("{version} was yanked: nothing moves to it any more")]
    Yanked {
        /// The version.
        version: Version,
        /// The entry that barred it.
        entry: EntryName,
    },
    /// The image of the version is no longer kept.
    #[error("the image of {version} is no longer kept: it was pruned; nothing was changed")]
    Pruned {
        /// The version.
        version: Version,
        /// The entry that says so.
        entry: EntryName,
    },
    /// The version was bound to several digests at once.
    #[error("{version} is contested: it was released as {}", digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))]
    Contested {
        /// The version.
        version: Version,
        /// The digests.
        digests: Vec<Digest>,
    },
    /// A channel cannot take what it shows itself.
    #[error("{channel} cannot be switched to itself")]
    SameChannel {
        /// Which channel.
        channel: Channel,
    },
    /// The version was never bound to this digest.
    #[error("{version} was never {digest}")]
    NotBound {
        /// Which version.
        version: Version,
        /// Which digest.
        digest: Digest,
    },
    /// A rule keeps it away, or something else that the fold found. Nothing was appended.
    #[error("{channel} was not moved, and nothing was appended: {why}")]
    Refused {
        /// Which channel.
        channel: Channel,
        /// Why.
        why: Why,
    },
    /// Others changed the same versions or channels meanwhile. Nothing was appended.
    #[error("others changed the same versions or channels meanwhile; nothing was appended")]
    Overtaken,
    /// It is in the ledger, and tags or referrers are not complete.
    #[error("what was adopted is in the ledger, but not complete in the images' repository")]
    Incomplete(#[source] ProjectError),
    /// The image, or a blob of it, is missing or damaged. Nothing was appended.
    #[error("{target} is not whole; nothing was changed")]
    Image {
        /// The version or digest that was to be shown.
        target: String,
        /// What is missing.
        source: ImageError,
    },
    /// The entry cannot be made.
    #[error("the entry cannot be made")]
    Entry(#[source] EntryError),
    /// The ledger cannot be read.
    #[error("the ledger cannot be used")]
    Open(#[source] OpenError),
    /// The entry was not appended, or it is not known whether it was.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A tag stopped it before anything was appended.
    #[error("nothing was appended")]
    Tags(#[source] ProjectError),
    /// It is in the ledger, and tags or referrers are not complete.
    #[error("the ledger is complete, but not what others see of it")]
    Unfinished {
        /// What was done.
        done: Box<Done>,
        /// What stopped it.
        source: ProjectError,
    },
    /// Channels were not moved. What else was asked for is done.
    #[error("{}", blocked.iter().map(Blocked::text).collect::<Vec<_>>().join("; "))]
    Blocked {
        /// What was done.
        done: Box<Done>,
        /// The channels, and why each was not moved; at least one.
        blocked: Vec<Blocked>,
    },
}

/// A channel that was not moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Which channel.
    pub channel: Channel,
    /// Why.
    pub why: Obstacle,
}

/// What keeps a channel from moving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It is held.
    Held {
        /// Since when, and why.
        hold: Box<Hold>,
        /// By which key.
        by: KeyLabel,
    },
    /// Another entry came first.
    Overtaken {
        /// Which entry.
        by: EntryName,
        /// Where it stands.
        seq: Option<u64>,
        /// Its kind.
        kind: Option<Kind>,
        /// By which key.
        key: Option<KeyLabel>,
        /// What the channel shows now.
        now: Option<Shown>,
    },
    /// Its rules want signatures that nobody can give.
    Unmet(Unmet),
    /// A rule, or something else that the fold found.
    Void(Why),
}

impl Obstacle {
    /// The hold, with what its key is called.
    pub(crate) fn held(state: &State, hold: &Hold) -> Self {
        Self::Held {
            hold: Box::new(hold.clone()),
            by: state.authority.label(&hold.by),
        }
    }
}

impl Blocked {
    /// One sentence about what was only planned.
    #[must_use]
    pub fn would_text(&self) -> String {
        match &self.why {
            Obstacle::Void(why) => format!("{} would not be moved: {why}", self.channel),
            _ => self.text(),
        }
    }

    /// One sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let channel = &self.channel;
        match &self.why {
            Obstacle::Held { hold, by } => {
                let reason = hold
                    .reason
                    .as_ref()
                    .map(|reason| format!(": \"{reason}\""))
                    .unwrap_or_default();
                let left = hold
                    .left
                    .as_ref()
                    .map(|left| format!(" (left {})", left.label()))
                    .unwrap_or_default();
                let since = hold.at.strftime("%Y-%m-%d %H:%M UTC");
                format!("{channel} is held since {since} by key {by}{reason}{left}")
            }
            Obstacle::Overtaken {
                by,
                seq,
                kind,
                key,
                now,
            } => {
                let by = seq.map_or_else(|| by.to_string(), |seq| format!("#{seq}"));
                let kind = kind
                    .as_ref()
                    .map_or_else(|| "entry".to_owned(), |kind| format!("{kind} entry"));
                let key = key
                    .as_ref()
                    .map(|key| format!(" by key {key}"))
                    .unwrap_or_default();
                let now = now.as_ref().map_or_else(|| "nothing".to_owned(), Shown::label);
                format!("{channel} was not moved: the {kind} {by}{key} came first; it shows {now}")
            }
            Obstacle::Unmet(unmet) => unmet.text(),
            Obstacle::Void(why) => format!("{channel} was not moved: {why}"),
        }
    }
}

fn not_allowed_text(kind: &Kind, channel: Option<&Channel>) -> String {
    let verb = match kind {
        Kind::Rollback => "roll back",
        Kind::Release => "release",
        Kind::Promote => "promote",
        Kind::Switch => "switch",
        Kind::Resume => "resume",
        Kind::Yank => "yank",
        Kind::Keys => "change keys",
        Kind::Rules => "change rules",
        Kind::Adopt => "adopt",
        Kind::Record => "record",
        Kind::Prune => "prune",
        Kind::Ratify => "ratify",
        Kind::Genesis | Kind::Unknown(_) => "do this",
    };
    match (kind, channel) {
        (Kind::Release | Kind::Promote | Kind::Adopt, Some(channel)) => format!("{verb} to {channel}"),
        (_, Some(channel)) => format!("{verb} {channel}"),
        (_, None) => verb.to_owned(),
    }
}

fn by_text(by: Option<u64>) -> String {
    by.map(|by| format!(" (#{by})")).unwrap_or_default()
}

fn missing_text(missing: &[Missing]) -> String {
    let texts: Vec<String> = missing.iter().map(Missing::text).collect();
    texts.join(", and ")
}

fn waiting_text(waiting: &Waiting, did_something: bool) -> String {
    let what = match waiting.entry.kind {
        Kind::Keys => "the keys were not changed".to_owned(),
        Kind::Rules => "the rules were not changed".to_owned(),
        Kind::Resume => "nothing was resumed".to_owned(),
        _ => {
            let channels: Vec<&str> = waiting
                .entry
                .moves
                .iter()
                .map(|one| one.channel.as_str())
                .collect();
            let but = if did_something {
                "the rest is done, but "
            } else {
                ""
            };
            format!("{but}{} was not moved", channels.join(", "))
        }
    };
    format!("{what}: waiting for {}", missing_text(&waiting.missing))
}

impl OperationError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::NoLedger { .. }
            | Self::Exists { .. }
            | Self::Copy { .. }
            | Self::Authority(_)
            | Self::Rules(_)
            | Self::OtherHead { .. }
            | Self::UnknownKey { .. }
            | Self::NoGlass { .. }
            | Self::NotWaiting { .. }
            | Self::Ambiguous { .. }
            | Self::AddsNothing { .. }
            | Self::NotAllowed { .. }
            | Self::OnlyShown { .. }
            | Self::SameChannel { .. }
            | Self::NotBound { .. }
            | Self::UnknownVersion { .. }
            | Self::UnknownChannel { .. }
            | Self::UnknownTarget { .. }
            | Self::NoWayBack { .. } => Class::Input,
            Self::Entry(EntryError::Sign(_)) | Self::Newer { .. } => Class::Environment,
            Self::Entry(_) => Class::Input,
            Self::Waiting { .. }
            | Self::Void { .. }
            | Self::VersionTaken { .. }
            | Self::Yanked { .. }
            | Self::Pruned { .. }
            | Self::Contested { .. }
            | Self::Refused { .. }
            | Self::Overtaken
            | Self::Blocked { .. } => Class::Conflict,
            Self::Image { source, .. } => source.class(),
            Self::Open(error) => error.class(),
            Self::Commit(error) => error.class(),
            Self::Tags(error) | Self::Incomplete(error) | Self::Unfinished { source: error, .. } => {
                error.class()
            }
        }
    }

    /// What was done although the operation failed.
    #[must_use]
    pub fn done(&self) -> Option<&Done> {
        match self {
            Self::Unfinished { done, .. } | Self::Blocked { done, .. } => Some(done),
            Self::Waiting { done, .. } => done.as_deref(),
            _ => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoLedger { .. } => "cairn ledger init starts one; so does the first release".to_owned(),
            Self::Exists { .. } => "nothing to do: release to it".to_owned(),
            Self::Copy { home, .. } => {
                format!(
                    "run this with --repository {home}; where the images are elsewhere: --repository IMAGES --ledger-repository {home}"
                )
            }
            Self::Newer { .. } => "use a newer Cairn".to_owned(),
            Self::NotAllowed { may, .. } | Self::OnlyShown { may, .. } => return may_text(may),
            Self::UnknownVersion { nearest, .. } => {
                nearest_text(nearest).unwrap_or_else(|| "cairn history shows what there is".to_owned())
            }
            Self::UnknownChannel { nearest, .. } => {
                nearest_text(nearest).unwrap_or_else(|| "cairn status lists the channels".to_owned())
            }
            Self::UnknownTarget { .. } => "cairn history shows what there is".to_owned(),
            Self::NoWayBack { channel, .. } => {
                format!("name a target: cairn rollback {channel} VERSION; cairn history shows what there is")
            }
            Self::VersionTaken { version, .. } => {
                format!(
                    "a version never changes: choose another. cairn show {version} says who released it, and when"
                )
            }
            Self::Contested { version, .. } => {
                format!("{version} names neither: cairn yank {version} sha256:… bars the wrong one")
            }
            Self::Yanked { version, .. } => {
                format!("choose another version; cairn show {version} says who yanked it, when and why")
            }
            Self::NotBound { version, .. } => format!("cairn show {version} says what it is"),
            Self::SameChannel { .. } => {
                "name the live channel first, then the slot: cairn switch prod green".to_owned()
            }
            Self::Overtaken => "run the same command again".to_owned(),
            Self::Refused { channel, why } => return rule_hint(channel, *why, None),
            Self::Pruned { version, .. } => format!(
                "choose another version; or build it again from its lock and release {version} once more: the same digest counts again. cairn show {version} says who pruned it, when and why"
            ),
            Self::Image {
                source: ImageError::Manifest { repository, .. },
                ..
            } => format!(
                "push what is missing again, or choose another target; where the images are elsewhere and {repository} has only their ledger: --repository IMAGES --ledger-repository {repository}"
            ),
            Self::Image { .. } => "push what is missing again, or choose another target".to_owned(),
            Self::Entry(error) => return error.hint(),
            Self::Open(error) => return error.hint(),
            Self::Commit(error) => return error.hint(),
            Self::Tags(error) | Self::Incomplete(error) | Self::Unfinished { source: error, .. } => {
                return error.hint();
            }
            Self::Blocked { done, blocked } => {
                return blocked.first().and_then(|one| blocked_hint(done, one));
            }
            Self::Waiting { waiting, .. } => format!("cairn approve {}", waiting.short()),
            Self::NotWaiting { .. } | Self::Ambiguous { .. } => "cairn approve lists what waits".to_owned(),
            Self::Void {
                why: Why::Overtaken, ..
            } => "somebody was faster; look again, and decide again".to_owned(),
            Self::AddsNothing { .. } | Self::UnknownKey { .. } => {
                "cairn key list shows whose keys the ledger has, and their groups".to_owned()
            }
            Self::OtherHead { .. } => "cairn ledger head shows it".to_owned(),
            Self::NoGlass { .. } => "cairn audit names those that are not ratified".to_owned(),
            Self::Authority(AuthorityError::Threshold { .. }) => {
                "first list another key that may: cairn key add KEY.pub --role everything".to_owned()
            }
            Self::Void { .. } | Self::Authority(_) | Self::Rules(_) => return None,
        };
        Some(text)
    }
}

fn may_text(may: &[(KeyLabel, Vec<Kind>)]) -> Option<String> {
    let one = |(key, kinds): &(KeyLabel, Vec<Kind>)| {
        let words: Vec<&str> = kinds.iter().map(Kind::as_str).collect();
        let words = if kinds.len() == Kind::ALL.len() {
            "everything".to_owned()
        } else {
            words.join(", ")
        };
        format!("{key} ({words})")
    };
    let all: Vec<String> = may.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("may: {}; ask one of them", all.join(", ")))
}

fn nearest_text<T: ToString>(nearest: &[T]) -> Option<String> {
    let names: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

/// What the rule says that is in the way, and how it is met. `wish` is what was to be shown there, and when, if that is known.
fn rule_hint(channel: &Channel, why: Why, wish: Option<&Wish<'_>>) -> Option<String> {
    let is_rule = matches!(
        why,
        Why::Frozen | Why::NotFrom | Why::BelowFloor | Why::TooEarly | Why::Unapproved
    );
    let rule = wish.and_then(|wish| wish.rule(channel, why));
    let rule = rule.unwrap_or_else(|| format!("a rule of {channel}"));
    is_rule.then(|| format!("{rule}; cairn ledger rules shows the rules"))
}

/// A move that a rule was in the way of.
struct Wish<'a> {
    state: &'a State,
    version: Option<&'a Version>,
    digest: Option<Digest>,
    at: Timestamp,
}

impl Wish<'_> {
    fn rule(&self, channel: &Channel, why: Why) -> Option<String> {
        let rules = self.state.rules.channels.get(channel)?;
        let minute = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M UTC");
        match (why, &rules.from) {
            (Why::Frozen, _) => {
                let now = |freeze: &&Freeze| freeze.from <= self.at && self.at <= freeze.until;
                let until = rules.freeze.iter().filter(now).map(|freeze| freeze.until).max()?;
                Some(format!(
                    "{channel} is frozen until {}; a rollback is not",
                    minute(until)
                ))
            }
            (Why::NotFrom, Some(from)) => {
                let version = self
                    .version
                    .map_or_else(|| "VERSION".to_owned(), ToString::to_string);
                Some(format!(
                    "{channel} takes only what {from} has shown: cairn promote {version} {from} first"
                ))
            }
            (Why::TooEarly, Some(from)) => {
                let soak = SignedDuration::from_secs(i64::from(rules.soak?.get()));
                let stay = self.state.channel(from)?.stay_of(&self.digest?, self.at)?;
                let stay = SignedDuration::from_secs(stay.as_secs());
                Some(format!(
                    "{channel} takes what {from} has shown for {soak:#} without a break; it has for {stay:#}"
                ))
            }
            (Why::BelowFloor, _) => {
                let floor = rules.floor.as_ref()?;
                Some(format!(
                    "{channel} shows nothing that was released before {floor}: choose a later version"
                ))
            }
            _ => None,
        }
    }
}

fn held_hint(channel: &Channel) -> String {
    format!("cairn resume {channel}, or the same command with --resume")
}

fn blocked_hint(done: &Done, blocked: &Blocked) -> Option<String> {
    let (channel, version) = (&blocked.channel, done.version.as_ref());
    match (&blocked.why, &done.kind) {
        (Obstacle::Held { .. }, Kind::Release) => version.map(|version| format!(
            "{version} is released, but {channel} was not moved; cairn resume {channel}, then cairn promote {version} {channel}"
        )),
        (Obstacle::Held { .. }, _) => Some(held_hint(channel)),
        (Obstacle::Overtaken { .. }, Kind::Rollback) => Some(format!(
            "see what it shows now: cairn status; then run the command again if {channel} is still wrong"
        )),
        (Obstacle::Overtaken { .. }, Kind::Release) => version.map(|version| format!(
            "{version} is released; if it is still to be shown: cairn promote {version} {channel}"
        )),
        (Obstacle::Overtaken { .. }, _) => Some("see what it shows now: cairn status".to_owned()),
        (Obstacle::Unmet(unmet), _) => Some(unmet.hint()),
        (Obstacle::Void(why), _) => {
            let entry = done.entry.and_then(|entry| done.opened.view().find(&entry.name));
            let entry = entry.map(|(_, record, _)| &record.entry);
            let wish = done.opened.state().map(|state| Wish {
                state,
                version,
                digest: done.digest,
                at: entry.map_or(done.at, |entry| entry.at),
            });
            rule_hint(channel, *why, wish.as_ref())
        }
    }
}

/// What to do about the first channel that a plan would not move.
pub(super) fn planned_hint(plan: &Plan, state: &State) -> Option<String> {
    let blocked = plan.blocked.first()?;
    let why = match &blocked.why {
        Obstacle::Held { .. } => return Some(held_hint(&blocked.channel)),
        Obstacle::Unmet(unmet) => return Some(unmet.hint()),
        Obstacle::Overtaken { .. } => return None,
        Obstacle::Void(why) => *why,
    };
    let wish = plan.entry.as_ref().map(|entry| Wish {
        state,
        version: plan.version.as_ref(),
        digest: entry.digest,
        at: entry.at,
    });
    rule_hint(&blocked.channel, why, wish.as_ref())
}
