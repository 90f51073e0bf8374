//! Names of versions and channels.
//!
//! Both become tags, so their grammar lies within that of tags; and neither can be taken for the other.

use std::fmt;
use std::str::FromStr;

use cairn_oci::{Tag, text};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest version, in bytes: it becomes a tag.
pub const VERSION_LIMIT: usize = cairn_oci::name::TAG_LIMIT;
/// Longest channel, in bytes.
pub const CHANNEL_LIMIT: usize = 63;

/// The immutable name of a release: `v?[0-9][A-Za-z0-9._-]*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Version(String);

/// A mutable pointer: `[a-z][a-z0-9-]{0,62}`, never shaped like a version and none of the reserved names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Channel(String);

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// SemVer's build metadata: `+` cannot be part of a tag.
    #[error("`{text}` cannot be a version: `+` cannot be part of a tag")]
    Plus {
        /// What was given.
        text: String,
    },
    /// Another character that does not belong, or a wrong beginning.
    #[error("`{text}` is not a version: an optional `v`, a digit, then letters, digits, `.`, `_` or `-`")]
    Grammar {
        /// What was given.
        text: String,
    },
    /// Too long for a tag.
    #[error("a version of {length} bytes is over the limit of {VERSION_LIMIT}")]
    TooLong {
        /// Length of what was given, in bytes.
        length: usize,
    },
}

impl VersionError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Plus { text } => Some(format!("write {} instead", text.replace('+', "-"))),
            Self::Grammar { .. } => Some("versions look like 1.4.2 or v1.4.2-rc.1".to_owned()),
            Self::TooLong { .. } => None,
        }
    }
}

/// Why a text is not a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The name has a meaning of its own.
    #[error("`{text}` cannot be a channel: the name is reserved")]
    Reserved {
        /// What was given.
        text: String,
    },
    /// It could be taken for a version.
    #[error("`{text}` cannot be a channel: it is shaped like a version")]
    LikeVersion {
        /// What was given.
        text: String,
    },
    /// Another character that does not belong, a wrong beginning, or too long.
    #[error(
        "`{text}` is not a channel: a lower-case letter, then lower-case letters, digits or `-`, at most {CHANNEL_LIMIT} bytes"
    )]
    Grammar {
        /// What was given.
        text: String,
    },
}

impl ChannelError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Reserved { .. } => Some(
                "`latest`, `built`, `cairn-…` and `sha256-…` are taken; channels look like prod or blue"
                    .to_owned(),
            ),
            Self::LikeVersion { text } => Some(format!("write release-{text}, or a name such as prod")),
            Self::Grammar { .. } => Some("channels look like prod, staging or eu-west-1".to_owned()),
        }
    }
}

fn is_version(text: &str) -> bool {
    let rest = text.strip_prefix('v').unwrap_or(text);
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    rest.starts_with(|c: char| c.is_ascii_digit()) && rest.bytes().all(word)
}

fn is_reserved(text: &str) -> bool {
    matches!(text, "latest" | "built") || text.starts_with("cairn-") || text.starts_with("sha256-")
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > VERSION_LIMIT {
            return Err(VersionError::TooLong { length: text.len() });
        }
        if is_version(text) {
            return Ok(Self(text.to_owned()));
        }
        let text = text.to_owned();
        if is_version(&text.replace('+', "-")) {
            return Err(VersionError::Plus { text });
        }
        Err(VersionError::Grammar { text })
    }
}

impl FromStr for Channel {
    type Err = ChannelError;

    fn from_str(text: &str) -> Result<Self, ChannelError> {
        let owned = || text.to_owned();
        if is_version(text) {
            return Err(ChannelError::LikeVersion { text: owned() });
        }
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let first = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !first || text.len() > CHANNEL_LIMIT || !text.bytes().all(word) {
            return Err(ChannelError::Grammar { text: owned() });
        }
        if is_reserved(text) {
            return Err(ChannelError::Reserved { text: owned() });
        }
        Ok(Self(owned()))
    }
}

#[expect(clippy::expect_used, reason = "both grammars lie within that of tags")]
fn as_tag(text: &str) -> Tag {
    text.parse().expect("a valid tag")
}

macro_rules! tag_like {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The tag that shows it.
            #[must_use]
            pub fn tag(&self) -> Tag {
                as_tag(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::read(deserializer, str::parse)
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

tag_like!(Version);
tag_like!(Channel);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_follow_the_grammar() {
        for good in ["1", "1.0.0", "v2", "2024-01-02_x", "1.0.0-rc.1"] {
            assert_eq!(good.parse::<Version>().unwrap().as_str(), good);
        }
        for bad in ["", "v", "prod", "V1", "1 0", "1/0", "-1", ".1", "vv1", "1\n"] {
            assert!(
                matches!(bad.parse::<Version>(), Err(VersionError::Grammar { .. })),
                "{bad}"
            );
        }
        let long = "1".repeat(VERSION_LIMIT + 1);
        assert_eq!(
            long.parse::<Version>(),
            Err(VersionError::TooLong { length: 129 })
        );
    }

    #[test]
    fn a_plus_in_a_version_is_refused_with_a_hint() {
        let error = "1.0.0+build.5".parse::<Version>().unwrap_err();
        assert!(matches!(error, VersionError::Plus { .. }));
        assert_eq!(error.hint().unwrap(), "write 1.0.0-build.5 instead");
    }

    #[test]
    fn channels_follow_the_grammar() {
        for good in ["prod", "a", "eu-west-1", "blue"] {
            assert_eq!(good.parse::<Channel>().unwrap().as_str(), good);
        }
        let long = "a".repeat(CHANNEL_LIMIT + 1);
        for bad in ["", "Prod", "-a", "a_b", "a.b", "prod ", &long] {
            assert!(
                matches!(bad.parse::<Channel>(), Err(ChannelError::Grammar { .. })),
                "{bad}"
            );
        }
        for bad in ["v1", "1", "v2-canary"] {
            assert!(
                matches!(bad.parse::<Channel>(), Err(ChannelError::LikeVersion { .. })),
                "{bad}"
            );
        }
        for bad in ["latest", "built", "cairn-head", "sha256-00"] {
            let error = bad.parse::<Channel>().unwrap_err();
            assert!(
                matches!(error, ChannelError::Reserved { .. }) && error.hint().is_some(),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_name_is_a_tag_and_never_both(text in "v?[0-9a-z][A-Za-z0-9._-]{0,130}") {
            let version = text.parse::<Version>().map(|name| name.tag());
            let channel = text.parse::<Channel>().map(|name| name.tag());
            prop_assert!(version.is_err() || channel.is_err());
        }
    }
}
