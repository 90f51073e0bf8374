//! What keys are called, and the groups that they belong to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::key::Fingerprint;

/// Longest name of a key, in bytes.
pub const NAME_LIMIT: usize = 64;
/// Longest group, in bytes.
pub const GROUP_LIMIT: usize = 32;

/// What a key is called, instead of its fingerprint: 1 to 64 of `[A-Za-z0-9._@+-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// What several keys have in common, such as `human`: `[a-z][a-z0-9-]{0,31}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group(String);

/// A key as messages call it: by its name if the ledger has one for it, else by the beginning of its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLabel {
    /// Which key.
    pub key: Fingerprint,
    /// Its name.
    pub name: Option<KeyName>,
}

impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => name.fmt(f),
            None => f.write_str(&self.key.shortened()),
        }
    }
}

/// Why a text is not the name of a key or of a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not the name of a key.
    #[error(
        "`{text}` cannot be the name of a key: 1 to {NAME_LIMIT} letters, digits, `.`, `_`, `@`, `+` or `-`"
    )]
    Name {
        /// What was given.
        text: String,
    },
    /// Not the name of a group.
    #[error(
        "`{text}` is not a group: a lower-case letter, then lower-case letters, digits or `-`, at most {GROUP_LIMIT} bytes"
    )]
    Group {
        /// What was given.
        text: String,
    },
}

impl FromStr for KeyName {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let belongs = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'+' | b'-');
        let text = text.to_owned();
        if (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(belongs) {
            return Ok(Self(text));
        }
        Err(LabelError::Name { text })
    }
}

impl FromStr for Group {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let belongs = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let text = text.to_owned();
        let first = text.starts_with(|c: char| c.is_ascii_lowercase());
        if first && text.len() <= GROUP_LIMIT && text.bytes().all(belongs) {
            return Ok(Self(text));
        }
        Err(LabelError::Group { text })
    }
}

macro_rules! label {
    ($name:ident) => {
        impl $name {
            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = LabelError;

            fn try_from(text: String) -> Result<Self, LabelError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(label: $name) -> Self {
                label.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label!(KeyName);
label!(Group);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_groups_follow_their_grammar() {
        for good in ["ada", "Ada.L+ci@example.org", "a_b-1"] {
            assert_eq!(good.parse::<KeyName>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\n", "ä", &"a".repeat(65)] {
            assert!(
                matches!(bad.parse::<KeyName>(), Err(LabelError::Name { .. })),
                "{bad}"
            );
        }
        for good in ["human", "ci-2", &"a".repeat(32)] {
            assert_eq!(good.parse::<Group>().unwrap().as_str(), good);
        }
        for bad in ["", "Human", "2", "-a", "a_b", &"a".repeat(33)] {
            assert!(
                matches!(bad.parse::<Group>(), Err(LabelError::Group { .. })),
                "{bad}"
            );
        }
    }
}
