//! Names of repositories and tags (distribution-spec, "Pulling manifests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest repository name, in bytes. Many clients limit host and name together to 255.
pub const REPOSITORY_LIMIT: usize = 255;
/// Longest tag, in bytes.
pub const TAG_LIMIT: usize = 128;

/// The name of a repository, such as `team/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

/// A tag, such as `1.4.2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository name.
    #[error(
        "`{text}` is not a repository name: parts of lower-case letters and digits, joined by `.`, `_`, `__` or `-`, separated by `/`, at most {REPOSITORY_LIMIT} bytes"
    )]
    Repository {
        /// What was given.
        text: String,
    },
    /// Not a tag.
    #[error(
        "`{text}` is not a tag: a letter, digit or `_`, then letters, digits, `.`, `_` or `-`, at most {TAG_LIMIT} bytes"
    )]
    Tag {
        /// What was given.
        text: String,
    },
}

/// One part of a repository name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(part: &str) -> bool {
    let separators = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && part.split(alphanumeric).all(separators)
}

impl RepositoryName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between slashes.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= REPOSITORY_LIMIT && text.split('/').all(is_component) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::Repository {
            text: text.to_owned(),
        })
    }
}

impl Tag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(word);
        if first && text.len() <= TAG_LIMIT && bytes.all(|b| word(b) || b == b'.' || b == b'-') {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::Tag {
            text: text.to_owned(),
        })
    }
}

macro_rules! text_conversions {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_conversions!(RepositoryName);
text_conversions!(Tag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for good in ["a", "team/web", "a.b", "a__b", "a---b", "0/1/2", "x_y/z-1"] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a.-b", "a___b", "-a", "a-", "_uploads", "a/../b",
            "a b", &long,
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["1.4.2", "_x", "latest", "V-1_0.a"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        let long = "a".repeat(129);
        for bad in ["", ".a", "-a", "1.0+x", "a/b", "ä", "a\n", &long] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }
}
