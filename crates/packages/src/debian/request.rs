//! Packages as they are asked for: `nginx`, `nginx=1.22.1-9`, `libc6:arm64`.

use std::fmt;
use std::str::FromStr;

use crate::installed::{Installed, InstalledError};

/// A package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    name: String,
    architecture: Option<String>,
    version: Option<String>,
}

/// Why a text asks for no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a package: write NAME, NAME=VERSION or NAME:ARCHITECTURE")]
pub struct RequestError {
    /// The text, escaped.
    pub text: String,
    /// Which part cannot be.
    pub source: InstalledError,
}

impl Request {
    /// The package's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The architecture, if it is not to be that of the image.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// The version, if only one will do.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

impl FromStr for Request {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let (package, version) = match text.split_once('=') {
            Some((package, version)) => (package, Some(version)),
            None => (text, None),
        };
        let (name, architecture) = match package.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (package, None),
        };
        Installed::check(name, version.unwrap_or("0"), architecture.unwrap_or("all")).map_err(|source| {
            RequestError {
                text: text.escape_debug().to_string(),
                source,
            }
        })?;
        Ok(Self {
            name: name.to_owned(),
            architecture: architecture.map(str::to_owned),
            version: version.map(str::to_owned),
        })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        self.version
            .iter()
            .try_for_each(|version| write!(f, "={version}"))
    }
}
