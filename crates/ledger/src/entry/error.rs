//! Why a payload is not an entry, or cannot become one.

use cairn_oci::json;

use super::{Kind, MOVE_LIMIT};
use crate::envelope::{EnvelopeError, PAYLOAD_LIMIT};
use crate::key::SignError;

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
    #[error(
        "the moves name a channel twice, or more than {MOVE_LIMIT} channels, or not exactly one to record"
    )]
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
