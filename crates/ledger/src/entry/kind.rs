//! Kinds: what an entry does, and which members it has for that.

use std::fmt;

use cairn_oci::text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The first entry of a ledger.
    Genesis,
    /// A new list of keys.
    Keys,
    /// New rules.
    Rules,
    /// Binds a version to a digest, and may move channels to it.
    Release,
    /// Moves channels to a version.
    Promote,
    /// Moves a channel back, and holds it.
    Rollback,
    /// Moves a channel to what another one shows.
    Switch,
    /// Lifts the hold of channels.
    Resume,
    /// Bars a version.
    Yank,
    /// Brings in an image that existed before: binds a version to it, moves channels to it.
    Adopt,
    /// Accepts what somebody's hand put on a channel's tag.
    Record,
    /// Says that the image of a version is no longer kept.
    Prune,
    /// Accepts afterwards what an unlisted key did.
    Ratify,
    /// A kind that this program does not know: the entry has no effect and is a finding.
    Unknown(String),
}

/// The members that a kind must have, and those that it may have, beyond what every entry has.
pub(super) type Shape = (&'static [&'static str], &'static [&'static str]);

impl Kind {
    /// Every kind that is known.
    pub const ALL: [Self; 13] = [
        Self::Genesis,
        Self::Keys,
        Self::Rules,
        Self::Release,
        Self::Promote,
        Self::Rollback,
        Self::Switch,
        Self::Resume,
        Self::Yank,
        Self::Adopt,
        Self::Record,
        Self::Prune,
        Self::Ratify,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Genesis => "genesis",
            Self::Keys => "keys",
            Self::Rules => "rules",
            Self::Release => "release",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Switch => "switch",
            Self::Resume => "resume",
            Self::Yank => "yank",
            Self::Adopt => "adopt",
            Self::Record => "record",
            Self::Prune => "prune",
            Self::Ratify => "ratify",
            Self::Unknown(name) => name,
        }
    }

    /// Whether it moves channels forward: what a hold keeps away.
    #[must_use]
    pub const fn is_forward(&self) -> bool {
        matches!(self, Self::Release | Self::Promote | Self::Switch | Self::Adopt)
    }

    /// Whether it binds a version to a digest.
    #[must_use]
    pub const fn binds(&self) -> bool {
        matches!(self, Self::Release | Self::Adopt)
    }

    /// Whether a channel's rules may let an unlisted key do it.
    #[must_use]
    pub const fn may_break_glass(&self) -> bool {
        matches!(
            self,
            Self::Release | Self::Promote | Self::Rollback | Self::Switch | Self::Resume
        )
    }

    pub(super) const fn shape(&self) -> Shape {
        match self {
            Self::Genesis => (&["authority", "home", "mode"], &["rules", "continues"]),
            Self::Keys => (&["ledger", "chain", "authority"], &[]),
            Self::Rules => (&["ledger", "chain", "rules"], &[]),
            Self::Release => (
                &["ledger", "chain", "version", "digest"],
                &["moves", "record", "resume"],
            ),
            Self::Promote => (&["ledger", "chain", "version", "digest", "moves"], &["resume"]),
            Self::Rollback => (&["ledger", "chain", "digest", "moves", "hold"], &["version"]),
            Self::Switch => (
                &["ledger", "chain", "digest", "moves", "from"],
                &["version", "resume"],
            ),
            Self::Resume => (&["ledger", "chain", "moves"], &[]),
            Self::Yank | Self::Prune => (&["ledger", "chain", "version", "digest"], &[]),
            Self::Adopt => (&["ledger", "chain", "digest"], &["version", "moves", "resume"]),
            Self::Record => (&["ledger", "chain", "digest", "moves"], &["version"]),
            Self::Ratify => (&["ledger", "chain", "ratifies"], &[]),
            Self::Unknown(_) => (&["ledger", "chain"], &[]),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, |text| {
            let known = Self::ALL.iter().find(|kind| kind.as_str() == text);
            let is_word = |b: u8| b.is_ascii_lowercase() || b == b'-';
            match known {
                Some(kind) => Ok(kind.clone()),
                None if (1..=32).contains(&text.len()) && text.bytes().all(is_word) => {
                    Ok(Self::Unknown(text.to_owned()))
                }
                None => Err("not the name of a kind"),
            }
        })
    }
}
