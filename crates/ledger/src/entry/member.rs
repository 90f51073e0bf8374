//! What entries are made of: who, when, against which state, from which source.

use std::fmt;

use cairn_oci::digest::DigestError;
use cairn_oci::{Digest, text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::EntryName;
use crate::name::Channel;

/// Longest text of an entry but its reason, in bytes.
pub const TEXT_LIMIT: usize = 256;

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

/// Which ledger a new one goes on from, after the keys of that one were lost. Nothing follows from it: what that ledger had is
/// brought in by entries of the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continues {
    /// Name of the genesis of the ledger that was before.
    pub ledger: EntryName,
    /// Digest of the head that was read of it.
    pub head: Digest,
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
        text::read(deserializer, |text| {
            // Digests have the only reader of hexadecimal digits; a nonce is half of one.
            let doubled = Digest::from_hex(&text.repeat(2))?;
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&doubled.as_bytes()[..16]);
            Ok::<_, DigestError>(Self(bytes))
        })
    }
}
