//! Whom to believe that a ledger is the right one: a pin, what was remembered, or else the first one seen.

use std::fmt;
use std::str::FromStr;

use cairn_oci::digest::DigestError;
use serde::{Deserialize, Serialize};

use crate::entry::EntryName;
use crate::memory::Remembered;

/// `sha256:GENESIS[+sha256:ENTRY…]`: the ledger begins with this, and has these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin {
    /// The name of the genesis.
    pub genesis: EntryName,
    /// Entries that must be there.
    pub entries: Vec<EntryName>,
}

/// The text is not a pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pin: sha256:GENESIS, then +sha256:ENTRY for each entry that must be there")]
pub struct PinError {
    /// What was given.
    pub text: String,
    /// Which part is wrong.
    pub source: DigestError,
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let parse = |part: &str| {
            part.parse().map_err(|source| PinError {
                text: text.to_owned(),
                source,
            })
        };
        let (genesis, rest) = match text.split_once('+') {
            Some((genesis, rest)) => (genesis, Some(rest)),
            None => (text, None),
        };
        let entries = rest.into_iter().flat_map(|rest| rest.split('+')).map(parse);
        Ok(Self {
            genesis: parse(genesis)?,
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<String> for Pin {
    type Error = PinError;

    fn try_from(text: String) -> Result<Self, PinError> {
        text.parse()
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.to_string()
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.genesis)?;
        self.entries.iter().try_for_each(|entry| write!(f, "+{entry}"))
    }
}

/// What a reader knows before it looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// What was said in `[ledger] trust`, `--trust` or `CAIRN_TRUST`.
    pub pin: Option<Pin>,
    /// What was seen the last time.
    pub remembered: Option<Remembered>,
}

/// Why a ledger is believed to be the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HowTrusted {
    /// It was pinned.
    Pinned,
    /// It was seen before.
    Remembered,
    /// It was the only one there: to be shown with a warning, once.
    FirstSeen,
}

impl TrustPolicy {
    /// The genesis that is expected, if one is.
    pub(crate) fn genesis(&self) -> Option<EntryName> {
        let pinned = self.pin.as_ref().map(|pin| pin.genesis);
        pinned.or_else(|| self.remembered.as_ref().map(|remembered| remembered.genesis))
    }

    pub(crate) const fn how(&self) -> HowTrusted {
        if self.pin.is_some() {
            HowTrusted::Pinned
        } else if self.remembered.is_some() {
            HowTrusted::Remembered
        } else {
            HowTrusted::FirstSeen
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_oci::Digest;

    use super::*;

    #[test]
    fn pins_are_read_and_written() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        for text in [a.to_string(), format!("{a}+{b}"), format!("{a}+{b}+{a}")] {
            assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        }
        for bad in ["", "+", &format!("{a}+"), &format!("{a},{b}"), "sha256:12"] {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
    }
}
