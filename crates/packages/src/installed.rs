//! The name of a package that is installed.

use std::fmt;
use std::str::FromStr;

/// One installed package, ordered by name, version and architecture.
///
/// As text: the three words with one space between, such as `bash 5.2.15-2+b7 amd64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    name: String,
    version: String,
    architecture: String,
}

/// Why something is not an installed package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstalledError {
    /// A text does not have three words.
    #[error("`{text}` is not `NAME VERSION ARCHITECTURE`")]
    Form {
        /// The text.
        text: String,
    },
    /// One of the three words has a character that it cannot have (Debian Policy, sections 5.6.7, 5.6.8, 5.6.12).
    #[error("`{value}` is not a package's {field}")]
    Field {
        /// `name`, `version` or `architecture`.
        field: &'static str,
        /// The word.
        value: String,
    },
}

impl Installed {
    /// A package by its three words.
    ///
    /// # Errors
    ///
    /// [`InstalledError::Field`] if one of them cannot be.
    pub fn new(name: &str, version: &str, architecture: &str) -> Result<Self, InstalledError> {
        Self::check(name, version, architecture)?;
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
        })
    }

    /// Whether the three words can be.
    pub(crate) fn check(name: &str, version: &str, architecture: &str) -> Result<(), InstalledError> {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let in_name = |b: u8| lower(b) || matches!(b, b'+' | b'-' | b'.');
        let in_version = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b':' | b'~');
        check("name", name, lower, in_name)?;
        check("version", version, |b| b.is_ascii_alphanumeric(), in_version)?;
        check("architecture", architecture, lower, |b| lower(b) || b == b'-')
    }

    /// Its name, such as `libc6`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, such as `1:2.36-9+deb12u10`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its architecture: `amd64`, …, or `all`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }
}

fn check(
    field: &'static str,
    value: &str,
    first: impl Fn(u8) -> bool,
    rest: impl Fn(u8) -> bool,
) -> Result<(), InstalledError> {
    let starts_well = value.bytes().next().is_some_and(first);
    if starts_well && value.len() <= 255 && value.bytes().all(rest) {
        return Ok(());
    }
    Err(InstalledError::Field {
        field,
        value: value.to_owned(),
    })
}

impl FromStr for Installed {
    type Err = InstalledError;

    fn from_str(text: &str) -> Result<Self, InstalledError> {
        let words: Vec<&str> = text.split(' ').collect();
        let [name, version, architecture] = words[..] else {
            return Err(InstalledError::Form {
                text: text.to_owned(),
            });
        };
        Self::new(name, version, architecture)
    }
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_are_inverse() {
        for text in [
            "bash 5.2.15-2+b7 amd64",
            "libc6 1:2.36-9~bpo1 arm64",
            "tzdata 2026a-0+deb12u1 all",
        ] {
            assert_eq!(text.parse::<Installed>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "bash",
            "bash 5",
            "bash  5 all",
            "Bash 5 all",
            "bash 5_1 all",
            "bash 5 all x",
            "bash 5 ALL",
        ] {
            assert!(bad.parse::<Installed>().is_err(), "{bad}");
        }
    }
}
