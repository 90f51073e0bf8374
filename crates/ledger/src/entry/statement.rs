//! The statement that is signed, and how it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_oci::{Digest, json};
use serde::{Deserialize, Serialize};

use super::{Entry, EntryError, Kind};
use crate::envelope::{Envelope, PAYLOAD_LIMIT};
use crate::key::Signer;

/// The type of the payload of an entry's envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The type of the statement (in-toto attestation framework, Statement v1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "urn:cairn:entry:v1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<'a, P> {
    #[serde(borrow, rename = "_type")]
    statement_type: Cow<'a, str>,
    subject: Vec<Subject>,
    #[serde(borrow, rename = "predicateType")]
    predicate_type: Cow<'a, str>,
    predicate: P,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    digest: BTreeMap<String, String>,
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
            statement_type: STATEMENT_TYPE.into(),
            subject: self.subject(),
            predicate_type: PREDICATE_TYPE.into(),
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
        // Nearly all entries are of known kinds and can be read at once.
        let statement = match json::parse::<Statement<'_, Self>>(envelope.payload(), PAYLOAD_LIMIT) {
            Ok(statement) if !matches!(statement.predicate.kind, Kind::Unknown(_)) => statement,
            _ => Self::parse_apart(envelope)?,
        };
        expect_type(STATEMENT_TYPE, &statement.statement_type)?;
        expect_type(PREDICATE_TYPE, &statement.predicate_type)?;
        let entry = statement.predicate;
        entry.check()?;
        let is_known = !matches!(entry.kind, Kind::Unknown(_));
        if is_known && !entry.is_about(&statement.subject) {
            return Err(EntryError::Subject);
        }
        Ok(entry)
    }

    /// Reads a statement whose predicate may have members that this program does not know.
    fn parse_apart(envelope: &Envelope) -> Result<Statement<'_, Self>, EntryError> {
        let statement: Statement<'_, serde_json::Value> =
            json::parse(envelope.payload(), PAYLOAD_LIMIT).map_err(EntryError::Json)?;
        expect_type(STATEMENT_TYPE, &statement.statement_type)?;
        expect_type(PREDICATE_TYPE, &statement.predicate_type)?;
        let predicate = without_unknown_members(statement.predicate);
        let predicate: Self =
            json::parse(&json::canonical(&predicate), PAYLOAD_LIMIT).map_err(EntryError::Json)?;
        Ok(Statement {
            statement_type: statement.statement_type,
            subject: statement.subject,
            predicate_type: statement.predicate_type,
            predicate,
        })
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

    /// Whether this is [`Entry::subject`].
    fn is_about(&self, subject: &[Subject]) -> bool {
        match (subject, self.digest.or(self.ledger)) {
            ([], None) => true,
            ([one], Some(digest)) => {
                let hex = one.digest.get("sha256").filter(|_| one.digest.len() == 1);
                hex.is_some_and(|hex| Digest::from_hex(hex) == Ok(digest))
            }
            _ => false,
        }
    }

    /// The image; without one, the genesis; for the genesis, nothing.
    fn subject(&self) -> Vec<Subject> {
        let subject = |digest: Digest| Subject {
            digest: BTreeMap::from([("sha256".to_owned(), digest.hex())]),
        };
        self.digest.or(self.ledger).map(subject).into_iter().collect()
    }
}

fn expect_type(expected: &'static str, found: &str) -> Result<(), EntryError> {
    if found == expected {
        return Ok(());
    }
    let found = found.chars().take(64).collect();
    Err(EntryError::Type { expected, found })
}

/// A predicate of an unknown kind with the members that are known; any other one as it is.
fn without_unknown_members(mut predicate: serde_json::Value) -> serde_json::Value {
    const COMMON: [&str; 11] = [
        "kind", "ledger", "chain", "actor", "reason", "source", "run", "at", "nonce", "moves", "glass",
    ];
    let kind = predicate.get("kind").and_then(serde_json::Value::as_str);
    let is_known = kind.is_some_and(|kind| Kind::ALL.iter().any(|known| known.as_str() == kind));
    if let (false, Some(members)) = (is_known, predicate.as_object_mut()) {
        members.retain(|member, _| COMMON.contains(&member.as_str()));
    }
    predicate
}
