//! Entries: what somebody wants, as an in-toto Statement v1 with the predicate `urn:cairn:entry:v1`.
//!
//! An entry states an intent and no position, so that its signature stays valid when others append first. Its
//! name is the SHA-256 of the signed payload.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use cairn_oci::{Digest, json};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::authority::{Authority, Rules};
use crate::envelope::{Envelope, EnvelopeError, PAYLOAD_LIMIT};
use crate::key::{SignError, Signer};
use crate::name::{Channel, Version};
use crate::time;

/// The type of the payload of an entry's envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The type of the statement (in-toto attestation framework, Statement v1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "urn:cairn:entry:v1";
/// Longest reason, in bytes.
pub const REASON_LIMIT: usize = 500;
/// Longest other text of an entry, in bytes.
pub const TEXT_LIMIT: usize = 256;
/// Most channels that one entry moves.
pub const MOVE_LIMIT: usize = 16;

/// The name of an entry: SHA-256 of its signed payload.
pub type EntryName = Digest;

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
    /// A kind that this program does not know: the entry has no effect and is a finding.
    Unknown(String),
}

impl Kind {
    /// Every kind that is known.
    pub const ALL: [Self; 9] = [
        Self::Genesis,
        Self::Keys,
        Self::Rules,
        Self::Release,
        Self::Promote,
        Self::Rollback,
        Self::Switch,
        Self::Resume,
        Self::Yank,
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
            Self::Unknown(name) => name,
        }
    }

    /// Whether it moves channels forward: what a hold keeps away.
    #[must_use]
    pub const fn is_forward(&self) -> bool {
        matches!(self, Self::Release | Self::Promote | Self::Switch)
    }

    /// The members that it must have, and those that it may have, beyond what every entry has.
    const fn shape(&self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Genesis => (&["authority", "home", "mode"], &["rules"]),
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
            Self::Yank => (&["ledger", "chain", "version", "digest"], &[]),
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
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        let is_word = |b: u8| b.is_ascii_lowercase() || b == b'-';
        match known {
            Some(kind) => Ok(kind),
            None if (1..=32).contains(&text.len()) && text.bytes().all(is_word) => Ok(Self::Unknown(text)),
            None => Err(serde::de::Error::custom("not the name of a kind")),
        }
    }
}

/// How appending works, fixed when a ledger begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The repository honours conditions: one order, and what was acknowledged is a prefix of it.
    Linear,
    /// It does not: what was acknowledged stays, but another entry may come to stand before it.
    Causal,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::Causal => "causal",
        })
    }
}

/// A channel, and the entry that last moved, held or resumed it when the author looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Which channel.
    pub channel: Channel,
    /// The entry; none if none had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<EntryName>,
}

/// Who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// A name, at most [`TEXT_LIMIT`] bytes.
    pub id: String,
    /// How far to believe it.
    pub how: How,
}

/// How an actor is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The name stands for the signing key.
    Key,
    /// The author says so; nobody checked.
    Claimed,
    /// An identity provider said so.
    Oidc,
}

/// From which source an image was made, as its author says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where the source is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Which directory of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Which commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Which branch or tag.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whether there were changes beside the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
}

/// The run of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Where its output is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its number or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What an entry states. Which members there are depends on the kind; [`Entry::parse`] has checked that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it does.
    pub kind: Kind,
    /// Name of the genesis; absent in the genesis itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<EntryName>,
    /// The last `keys` or `rules` entry that its author saw, or the genesis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<EntryName>,
    /// Which version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Which manifest or index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Which channels move (or are resumed), each against which state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
    /// Switch: the channel whose digest is taken, against which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Move>,
    /// Rollback: whether the channel is held afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<bool>,
    /// Forward moves: lifts the hold of the channels that it moves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resume: bool,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From which source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Digest of the build record, a blob kept with the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Digest>,
    /// In which run of a pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Genesis and `keys`: who may do what from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// Genesis and `rules`: what holds for channels from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// Genesis: how appending works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Genesis: the repository in which the ledger is appended to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// When, by the author's clock. Order is given by position, never by this.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// 32 hexadecimal digits that make the name unique.
    pub nonce: Nonce,
}

/// 16 random bytes, written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce(pub [u8; 16]);

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&hex)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Digests have the only reader of hexadecimal digits; a nonce is half of one.
        let doubled = Digest::from_hex(&format!("{text}{text}")).map_err(serde::de::Error::custom)?;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&doubled.as_bytes()[..16]);
        Ok(Self(bytes))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: P,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    digest: BTreeMap<String, String>,
}

/// Why a payload is not an entry, or cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not an envelope of the right form.
    #[error("not the envelope of an entry")]
    Envelope(#[source] EnvelopeError),
    /// Not a statement of the right shape.
    #[error("not the statement of an entry")]
    Json(#[source] json::JsonError),
    /// A statement or predicate of another type.
    #[error("the statement is of type `{found}`, not `{expected}`")]
    Type {
        /// What it must say.
        expected: &'static str,
        /// What it says, cut to 64 characters.
        found: String,
    },
    /// The statement is about something else than its predicate.
    #[error("the subject of the statement is not what its predicate names")]
    Subject,
    /// A member is missing.
    #[error("a {kind} entry needs `{member}`")]
    Missing {
        /// Of which kind the entry is.
        kind: Kind,
        /// Which member.
        member: &'static str,
    },
    /// A member does not belong to this kind.
    #[error("a {kind} entry has no `{member}`")]
    Surplus {
        /// Of which kind the entry is.
        kind: Kind,
        /// Which member.
        member: &'static str,
    },
    /// A text is too long.
    #[error("`{member}` has {length} bytes; {limit} are allowed")]
    TextTooLong {
        /// Which member.
        member: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A text has control characters.
    #[error("`{member}` has a control character")]
    Control {
        /// Which member.
        member: &'static str,
    },
    /// A channel is moved twice by one entry, or too many are.
    #[error("the moves name a channel twice, or more than {MOVE_LIMIT} channels")]
    Moves,
    /// Everything together is too long to be signed.
    #[error("the entry has {length} bytes; {PAYLOAD_LIMIT} can be signed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The signer did not sign.
    #[error("the entry could not be signed")]
    Sign(#[source] SignError),
}

impl EntryError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TextTooLong { member, .. } => {
                Some(format!("shorten the {member}, or point at a longer text"))
            }
            Self::TooLong { .. } => Some("name fewer channels, or a shorter reason".to_owned()),
            _ => None,
        }
    }
}

impl Entry {
    /// Checks, serialises and signs.
    ///
    /// # Errors
    ///
    /// [`EntryError`] before anything is signed if a text is too long or a member does not belong.
    pub fn sign(&self, signer: &dyn Signer) -> Result<Envelope, EntryError> {
        self.check()?;
        let payload = json::canonical(&Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: self.subject(),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: self,
        });
        if payload.len() > PAYLOAD_LIMIT {
            return Err(EntryError::TooLong {
                length: payload.len(),
            });
        }
        Envelope::sign(PAYLOAD_TYPE, payload, signer).map_err(EntryError::Sign)
    }

    /// Reads the entry in an envelope strictly. Signatures are not verified here.
    ///
    /// An entry of an unknown kind is read as far as it is understood.
    ///
    /// # Errors
    ///
    /// [`EntryError`].
    pub fn parse(envelope: &Envelope) -> Result<Self, EntryError> {
        let statement: Statement<serde_json::Value> =
            json::parse(envelope.payload(), PAYLOAD_LIMIT).map_err(EntryError::Json)?;
        expect_type(STATEMENT_TYPE, &statement.statement_type)?;
        expect_type(PREDICATE_TYPE, &statement.predicate_type)?;
        let predicate = without_unknown_members(statement.predicate);
        let entry: Self =
            json::parse(&json::canonical(&predicate), PAYLOAD_LIMIT).map_err(EntryError::Json)?;
        entry.check()?;
        let is_known = !matches!(entry.kind, Kind::Unknown(_));
        if is_known && statement.subject != entry.subject() {
            return Err(EntryError::Subject);
        }
        Ok(entry)
    }

    /// Reads envelope and entry.
    ///
    /// # Errors
    ///
    /// [`EntryError`].
    pub fn read(bytes: &Bytes) -> Result<(Envelope, Self), EntryError> {
        let envelope = Envelope::parse(bytes, PAYLOAD_TYPE).map_err(EntryError::Envelope)?;
        let entry = Self::parse(&envelope)?;
        Ok((envelope, entry))
    }

    /// The image; without one, the genesis; for the genesis, nothing.
    fn subject(&self) -> Vec<Subject> {
        let subject = |digest: Digest| Subject {
            digest: BTreeMap::from([("sha256".to_owned(), digest.hex())]),
        };
        self.digest.or(self.ledger).map(subject).into_iter().collect()
    }

    /// The move of `channel`, if there is one.
    #[must_use]
    pub fn move_of(&self, channel: &Channel) -> Option<&Move> {
        self.moves.iter().find(|one| one.channel == *channel)
    }

    /// The entries that it names: its author has seen these.
    pub fn names(&self) -> impl Iterator<Item = EntryName> {
        let after = |one: &Move| one.after;
        self.ledger
            .into_iter()
            .chain(self.chain)
            .chain(self.moves.iter().filter_map(after))
            .chain(self.from.as_ref().and_then(after))
    }

    fn check(&self) -> Result<(), EntryError> {
        self.check_shape()?;
        self.check_texts()?;
        let channels: std::collections::BTreeSet<_> = self.moves.iter().map(|one| &one.channel).collect();
        if channels.len() != self.moves.len() || self.moves.len() > MOVE_LIMIT {
            return Err(EntryError::Moves);
        }
        Ok(())
    }

    fn check_shape(&self) -> Result<(), EntryError> {
        let (required, allowed) = self.kind.shape();
        let kind = || self.kind.clone();
        for (member, is_there) in self.members() {
            if is_there && !required.contains(&member) && !allowed.contains(&member) {
                let is_known = !matches!(self.kind, Kind::Unknown(_));
                if is_known {
                    return Err(EntryError::Surplus { kind: kind(), member });
                }
            }
            if !is_there && required.contains(&member) {
                return Err(EntryError::Missing { kind: kind(), member });
            }
        }
        Ok(())
    }

    /// The members that not every kind has, and whether they are there.
    const fn members(&self) -> [(&'static str, bool); 13] {
        [
            ("ledger", self.ledger.is_some()),
            ("chain", self.chain.is_some()),
            ("version", self.version.is_some()),
            ("digest", self.digest.is_some()),
            ("moves", !self.moves.is_empty()),
            ("from", self.from.is_some()),
            ("hold", self.hold.is_some()),
            ("resume", self.resume),
            ("record", self.record.is_some()),
            ("authority", self.authority.is_some()),
            ("rules", self.rules.is_some()),
            ("mode", self.mode.is_some()),
            ("home", self.home.is_some()),
        ]
    }

    fn check_texts(&self) -> Result<(), EntryError> {
        check_text("actor", Some(&self.actor.id), TEXT_LIMIT)?;
        check_text("reason", self.reason.as_ref(), REASON_LIMIT)?;
        check_text("home", self.home.as_ref(), 2 * TEXT_LIMIT)?;
        let source = self.source.as_ref();
        check_text(
            "source.repository",
            source.and_then(|s| s.repository.as_ref()),
            TEXT_LIMIT,
        )?;
        check_text("source.path", source.and_then(|s| s.path.as_ref()), TEXT_LIMIT)?;
        check_text(
            "source.commit",
            source.and_then(|s| s.commit.as_ref()),
            TEXT_LIMIT,
        )?;
        check_text(
            "source.ref",
            source.and_then(|s| s.reference.as_ref()),
            TEXT_LIMIT,
        )?;
        let run = self.run.as_ref();
        check_text("run.url", run.and_then(|run| run.url.as_ref()), TEXT_LIMIT)?;
        check_text("run.id", run.and_then(|run| run.id.as_ref()), TEXT_LIMIT)
    }
}

fn expect_type(expected: &'static str, found: &str) -> Result<(), EntryError> {
    if found == expected {
        return Ok(());
    }
    let found = found.chars().take(64).collect();
    Err(EntryError::Type { expected, found })
}

fn check_text(member: &'static str, text: Option<&String>, limit: usize) -> Result<(), EntryError> {
    let Some(text) = text else { return Ok(()) };
    if text.len() > limit {
        let length = text.len();
        return Err(EntryError::TextTooLong {
            member,
            length,
            limit,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(EntryError::Control { member });
    }
    Ok(())
}

/// A predicate of an unknown kind with the members that are known; any other one as it is.
fn without_unknown_members(mut predicate: serde_json::Value) -> serde_json::Value {
    const COMMON: [&str; 10] = [
        "kind", "ledger", "chain", "actor", "reason", "source", "run", "at", "nonce", "moves",
    ];
    let kind = predicate.get("kind").and_then(serde_json::Value::as_str);
    let is_known = kind.is_some_and(|kind| Kind::ALL.iter().any(|known| known.as_str() == kind));
    if let (false, Some(members)) = (is_known, predicate.as_object_mut()) {
        members.retain(|member, _| COMMON.contains(&member.as_str()));
    }
    predicate
}
