//! Finding out what a repository does, by trying it on scratch tags.
//!
//! What is found here is found through the contract alone, and so of every repository. What only the protocol shows (conditions
//! that are ignored, how uploads go) the client of `cairn-registry` adds.

mod probe;
mod scratch;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Denial, RepositoryError};

pub use probe::{contract, examine, look};
pub use scratch::{ARTIFACT_TYPE, Left, MANIFEST_SIZES, PREFIX, Scratch};

/// What a repository can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Whether it can be read.
    Read,
    /// Whether blobs, manifests and new tags can be written.
    Write,
    /// Whether a manifest of types that nobody knows is taken.
    Artifacts,
    /// Whether a tag can be pointed at something else.
    TagsMove,
    /// Whether a tag shows at once what was written.
    TagsFresh,
    /// Whether conditions of a write are honoured.
    Conditions,
    /// Whether a tag can be sealed.
    Seal,
    /// Whether the repository keeps the lists of referrers.
    Referrers,
    /// Whether a list of tags has all of them.
    ListsWhole,
    /// Whether a list of tags is sorted by bytes.
    ListsSorted,
    /// Whether a new tag is on the list at once.
    ListsFresh,
    /// Whether tags can be deleted by name.
    DeleteTags,
    /// Whether manifests can be deleted.
    DeleteManifests,
    /// Whether blobs can be deleted.
    DeleteBlobs,
    /// Whether a manifest may have 4 MiB.
    ManifestSize,
    /// Whether blobs can be mounted.
    Mounts,
    /// Whether blobs can be sent in pieces.
    ChunkedUploads,
    /// Whether answers name the digest of what they are about.
    DigestHeader,
}

impl Subject {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 18] = [
        Self::Read,
        Self::Write,
        Self::Artifacts,
        Self::TagsMove,
        Self::TagsFresh,
        Self::Conditions,
        Self::Seal,
        Self::Referrers,
        Self::ListsWhole,
        Self::ListsSorted,
        Self::ListsFresh,
        Self::DeleteTags,
        Self::DeleteManifests,
        Self::DeleteBlobs,
        Self::ManifestSize,
        Self::Mounts,
        Self::ChunkedUploads,
        Self::DigestHeader,
    ];
}

/// What the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It says that it does, and does not.
    Broken,
    /// It could not be found out.
    Unknown,
    /// It can be found out only by writing, and nothing was to be written.
    NotAsked,
    /// There is no such thing in this kind of repository.
    NotApplicable,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Broken => "BROKEN",
            Self::Unknown => "unknown",
            Self::NotAsked => "not asked",
            Self::NotApplicable => "-",
        })
    }
}

/// One thing that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What was asked.
    pub subject: Subject,
    /// The answer.
    pub answer: Answer,
    /// What was seen; may have words of the registry's, which are untrusted.
    pub detail: String,
}

impl Found {
    /// Something that was found out.
    pub fn new(subject: Subject, answer: Answer, detail: impl Into<String>) -> Self {
        Self {
            subject,
            answer,
            detail: detail.into(),
        }
    }
}

/// How long to wait for what may be late: `polls` looks at most, with pauses that double from `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often it is looked.
    pub polls: u32,
    /// The first pause.
    pub first: Duration,
}

impl Default for Patience {
    /// Six looks within about six seconds.
    fn default() -> Self {
        Self {
            polls: 6,
            first: Duration::from_millis(200),
        }
    }
}

/// What a failure says about the repository. One that says something about the way to it is given back.
///
/// # Errors
///
/// The error itself, if the repository could not be asked.
pub fn judge(error: RepositoryError) -> Result<(Answer, String), RepositoryError> {
    let answer = match &error {
        RepositoryError::Unreachable { .. }
        | RepositoryError::OutcomeUnknown { .. }
        | RepositoryError::Credentials { .. }
        | RepositoryError::File { .. }
        | RepositoryError::Denied {
            denial: Denial::NoCredentials | Denial::NotAccepted,
            ..
        } => return Err(error),
        RepositoryError::Refused { status, .. } if *status == 429 || *status >= 500 && *status != 501 => {
            Answer::Unknown
        }
        _ => Answer::No,
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    Ok((answer, text))
}
