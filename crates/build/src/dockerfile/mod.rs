//! From a Dockerfile to a spec: what can be said declaratively is said, and everything else becomes a comment that says
//! what to do instead.
//!
//! 1. `lines` cuts the text into instructions (escape directive, continuations, comments, heredocs).
//! 2. `words` reads what instructions are made of: quotes, variables, lists.
//! 3. `stage` goes through the last stage, instruction by instruction, and fills a `draft`.
//! 4. `run` looks at what a `RUN` does.
//! 5. `write` writes the draft as TOML.
//!
//! Pure: one text in, one text out. The form is that of Docker's Dockerfile reference.

mod draft;
mod lines;
mod run;
mod stage;
mod words;
mod write;

use std::fmt;

use cairn_oci::{Platform, RepositoryName};

use crate::finding::Finding;
use crate::spec::Spec;

/// The longest Dockerfile that is read, in bytes (1 MiB).
pub const LIMIT: usize = 1 << 20;

/// What a translation has to know besides the Dockerfile.
pub struct Surroundings<'a> {
    /// The image's name.
    pub name: &'a RepositoryName,
    /// The platform of a Dockerfile that names none.
    pub platform: &'a Platform,
    /// Whether a path of the build's context is a directory; none: it is not there. Paths are relative, without `..`.
    pub is_directory: &'a dyn Fn(&str) -> Option<bool>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("name", &self.name)
            .field("platform", &self.platform)
            .finish_non_exhaustive()
    }
}

/// A spec made from a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The spec's text. [`Spec::parse`] takes it, unless `findings` says why not.
    pub text: String,
    /// How many things a person has to look at: they are marked `CHECK:` in the text.
    pub checks: usize,
    /// What [`Spec::parse`] finds in the text.
    pub findings: Vec<Finding>,
}

/// Why there is no translation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DockerfileError {
    /// It is longer than [`LIMIT`].
    #[error("it is longer than {LIMIT} bytes")]
    TooLong,
    /// It has no `FROM`.
    #[error("it has no FROM")]
    NoFrom,
    /// Something in it is wrong.
    #[error("line {line}: {message}")]
    Line {
        /// Which line, from 1: where the instruction begins.
        line: usize,
        /// What is wrong; may have text of the file.
        message: String,
    },
}

/// Translates a Dockerfile.
///
/// # Errors
///
/// [`DockerfileError`], the first in the order of the text.
pub fn translate(text: &str, surroundings: &Surroundings<'_>) -> Result<Translation, DockerfileError> {
    if text.len() > LIMIT {
        return Err(DockerfileError::TooLong);
    }
    let file = lines::read(text)?;
    let draft = stage::draft(file, surroundings)?;
    let text = write::spec(&draft);
    let findings = Spec::parse(&text).err().unwrap_or_default();
    Ok(Translation {
        checks: text.matches("CHECK: ").count(),
        findings,
        text,
    })
}
