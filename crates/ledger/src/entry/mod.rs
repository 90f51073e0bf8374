//! Entries: what somebody wants, as an in-toto Statement v1 with the predicate `urn:cairn:entry:v1`.
//!
//! An entry states an intent and no position, so that its signature stays valid when others append first. Its
//! name is the SHA-256 of the signed payload.
//!
//! ```text
//!   mod (what an entry states) ── kind (which members it has) ── check (whether it does)
//!     └── member (what they are made of)                     ── statement (signed, and read)
//! ```

mod check;
mod error;
mod kind;
mod member;
mod statement;

use cairn_oci::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use error::EntryError;
pub use kind::Kind;
pub use member::{Actor, Continues, How, Mode, Move, Nonce, Run, Source, TEXT_LIMIT};
pub use statement::{PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE};

use crate::authority::{Authority, Rules};
use crate::key::PublicKey;
use crate::name::{Channel, Version};
use crate::time;

/// Longest reason, in bytes.
pub const REASON_LIMIT: usize = 500;
/// Most channels that one entry moves.
pub const MOVE_LIMIT: usize = 16;

/// The name of an entry: SHA-256 of its signed payload.
pub type EntryName = Digest;

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
    /// Genesis: the ledger that it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Continues>,
    /// Ratify: the entry of an unlisted key that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratifies: Option<EntryName>,
    /// The key of somebody who is not listed and signed all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glass: Option<PublicKey>,
    /// When, by the author's clock. Order is given by position, never by this.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// 32 hexadecimal digits that make the name unique.
    pub nonce: Nonce,
}

impl Entry {
    /// An entry that says nothing yet but who wants it, and when.
    #[must_use]
    pub const fn new(kind: Kind, actor: Actor, at: Timestamp, nonce: Nonce) -> Self {
        Self {
            kind,
            ledger: None,
            chain: None,
            version: None,
            digest: None,
            moves: Vec::new(),
            from: None,
            hold: None,
            resume: false,
            actor,
            reason: None,
            source: None,
            record: None,
            run: None,
            authority: None,
            rules: None,
            mode: None,
            home: None,
            continues: None,
            ratifies: None,
            glass: None,
            at,
            nonce,
        }
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
            .chain(self.ratifies)
    }
}
