//! What becomes of an entry: each of its effects stands or falls alone.

use std::fmt;

use crate::entry::EntryName;
use crate::name::{Channel, Version};

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
    /// The channel that it must come from has not shown the digest for long enough.
    TooEarly,
    /// Signatures of a group are missing.
    Unapproved,
    /// The image is no longer kept.
    Pruned,
    /// A channel shows the image.
    Shown,
    /// The entry that was to be ratified is none of an unlisted key, or had no effect.
    NoGlass,
    /// The entry was ratified before.
    Ratified,
    /// The new list of keys cannot be used.
    UnusableKeys,
    /// The new rules cannot be used.
    UnusableRules,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Repetition,
        Self::UnknownKind,
        Self::NotAllowed,
        Self::Overtaken,
        Self::Held,
        Self::NotHeld,
        Self::VersionBound,
        Self::Contested,
        Self::UnknownVersion,
        Self::Yanked,
        Self::Frozen,
        Self::NotFrom,
        Self::BelowFloor,
        Self::SlotMoved,
        Self::TooEarly,
        Self::Unapproved,
        Self::Pruned,
        Self::Shown,
        Self::NoGlass,
        Self::Ratified,
        Self::UnusableKeys,
        Self::UnusableRules,
    ];

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
            Self::TooEarly => "too-early",
            Self::Unapproved => "unapproved",
            Self::Pruned => "pruned",
            Self::Shown => "shown",
            Self::NoGlass => "no-glass",
            Self::Ratified => "ratified",
            Self::UnusableKeys => "unusable-keys",
            Self::UnusableRules => "unusable-rules",
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
            Self::TooEarly => "it was not long enough on the channel that it must come from",
            Self::Unapproved => "signatures are missing that its rules require",
            Self::Pruned => "the image is no longer kept",
            Self::Shown => "a channel shows the image",
            Self::NoGlass => "the entry is none that an unlisted key made in effect",
            Self::Ratified => "it was ratified before",
            Self::UnusableKeys => "the list of keys cannot be used",
            Self::UnusableRules => "the rules cannot be used",
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
    pub(super) const fn void(why: Why) -> Self {
        let overtaken_by = None;
        Self::Void { why, overtaken_by }
    }

    pub(super) const fn void_by(why: Why, overtaken_by: Option<EntryName>) -> Self {
        Self::Void { why, overtaken_by }
    }

    /// Whether it stands.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::Effect)
    }

    /// Itself if it has none: the first rule that speaks against an effect is why it is void. Else what the `next` rule says.
    pub(super) fn and_then(self, next: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Effect => next(),
            Self::Void { .. } => self,
        }
    }
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its effects, in the order in which they were judged.
    pub effects: Vec<(Subject, Verdict)>,
}

impl Outcome {
    pub(super) fn of(subject: Subject, verdict: Verdict) -> Self {
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
