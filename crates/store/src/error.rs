//! What can go wrong with a repository, whoever implements it.

use std::io;
use std::path::PathBuf;

use cairn_oci::manifest::DocumentError;
use cairn_oci::{Digest, Tag};

use crate::files::FileError;
use crate::repository::Condition;

/// Any cause, for what happens beyond this crate (connections, protocols).
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a registry refused access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// It wants credentials, and there are none for it.
    #[error("no credentials were given")]
    NoCredentials,
    /// It does not accept the credentials that there are.
    #[error("the credentials were not accepted")]
    NotAccepted,
    /// The credentials are good, and not for this. Many registries say the same of what is not there.
    #[error("the credentials do not suffice")]
    Insufficient,
    /// It redirected to another host, and that one refused.
    #[error("a host that it redirects to refuses")]
    Elsewhere,
}

/// What is wrong with the certificate of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Its time is over.
    #[error("has expired")]
    Expired,
    /// Its time has not come.
    #[error("is not valid yet")]
    NotYetValid,
    /// It is for another host.
    #[error("is not for this host")]
    OtherName,
    /// It is signed by itself, or by an authority that nobody here trusts.
    #[error("is signed by itself, or by an authority that is not trusted here")]
    Untrusted,
    /// Something else.
    #[error("is not valid")]
    Other,
}

/// Why an operation on a repository failed.
///
/// Callers branch on the variants and never on text. "Not there" is not an error: reads return `None`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// Content does not have the digest that it was asked for or written under.
    #[error("content of {expected} has the digest {found}")]
    Digest {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Content does not have the size that was stated. Nobody read further than one byte beyond it.
    #[error("content of {digest} has {found} bytes, expected {expected}")]
    Size {
        /// Which content.
        digest: Digest,
        /// Stated bytes.
        expected: u64,
        /// Bytes found; `expected + 1` means "more".
        found: u64,
    },
    /// A manifest's bytes are no manifest.
    #[error("the manifest {digest} is not valid")]
    Manifest {
        /// Digest of the bytes.
        digest: Digest,
        /// What is wrong with them.
        source: DocumentError,
    },
    /// A manifest names a blob that the repository does not have.
    #[error("the manifest {manifest} needs the blob {blob}, which the repository does not have")]
    BlobUnknown {
        /// The manifest that was written.
        manifest: Digest,
        /// The blob that is missing, if the repository said which.
        blob: MissingBlob,
    },
    /// The condition of a write does not hold: nothing was written.
    #[error("tag {tag}: {}", condition_failed(condition, found.as_ref()))]
    Condition {
        /// The tag.
        tag: Tag,
        /// What was asked.
        condition: Condition,
        /// What the tag points at, if anything.
        found: Option<Digest>,
    },
    /// The tag is sealed and points at another digest: it never moves, and is not deleted.
    #[error("tag {tag} is sealed{}", found.map(|digest| format!(" at {digest}")).unwrap_or_default())]
    Sealed {
        /// The tag.
        tag: Tag,
        /// What it points at, if known.
        found: Option<Digest>,
    },
    /// The repository refuses to write this tag without a condition (HTTP 428).
    #[error("tag {tag} may be written only under a condition")]
    ConditionRequired {
        /// The tag.
        tag: Tag,
    },
    /// A condition was sent, and the repository gave no sign of having honoured it.
    #[error("{repository} did not honour the condition on tag {tag}; something between may have removed it")]
    ConditionIgnored {
        /// Which repository.
        repository: String,
        /// The tag.
        tag: Tag,
    },
    /// The repository cannot do this.
    #[error("{repository} does not support {operation}")]
    Unsupported {
        /// Which repository.
        repository: String,
        /// What was asked of it.
        operation: &'static str,
    },
    /// Credentials are missing, wrong, or do not suffice.
    #[error("{repository} refused access: {denial} ({detail})")]
    Denied {
        /// Which repository.
        repository: String,
        /// Which of these.
        denial: Denial,
        /// Its own words, bounded; untrusted text.
        detail: String,
    },
    /// The credentials could not be looked up.
    #[error("cannot find out the credentials for {repository}")]
    Credentials {
        /// Which repository.
        repository: String,
        /// Why not.
        source: Cause,
    },
    /// The registry answered with an error of its own.
    #[error("{repository} answered {status} to {operation}{}{}", repeated(*attempts), bracketed(detail))]
    Refused {
        /// Which repository.
        repository: String,
        /// HTTP status.
        status: u16,
        /// Which request.
        operation: String,
        /// Its own words, bounded; untrusted text.
        detail: String,
        /// How often it was asked before this counted as its answer, at least once.
        attempts: u32,
    },
    /// The registry broke the protocol.
    #[error("{repository} broke the protocol: {detail}")]
    Protocol {
        /// Which repository.
        repository: String,
        /// How.
        detail: String,
    },
    /// No answer came, and the request surely had no effect.
    #[error("cannot reach {repository}")]
    Unreachable {
        /// Which repository.
        repository: String,
        /// Why not.
        source: Cause,
    },
    /// The registry did not prove that it is the one that was meant. Nothing was sent.
    #[error("the certificate of {repository} {problem}{detail}")]
    Certificate {
        /// Which repository.
        repository: String,
        /// What is wrong.
        problem: CertificateProblem,
        /// Which date, or which names; untrusted text.
        detail: String,
    },
    /// No answer came to a write: it may or may not have been done.
    #[error("no answer from {repository} to {operation}: it may or may not have been done")]
    OutcomeUnknown {
        /// Which repository.
        repository: String,
        /// Which write.
        operation: String,
        /// Why no answer came.
        source: Cause,
    },
    /// Content is longer than the caller or the protocol allows.
    #[error("{subject} is longer than {limit} bytes")]
    TooLarge {
        /// What is too long.
        subject: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The content that the caller gave could not be read to its end.
    #[error("cannot read the content to be written as {digest}")]
    Content {
        /// What it was to become.
        digest: Digest,
        /// Why not.
        source: io::Error,
    },
    /// The local store's files could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried: `read`, `write`, `create`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the local store does not have the form it must have.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The store is in a place where others could change it.
    #[error("the store {} is not safe to use: {reason}", path.display())]
    Unsafe {
        /// Where the store is.
        path: PathBuf,
        /// Who could change it, and how.
        reason: &'static str,
    },
    /// The store was written by a newer Cairn.
    #[error("the store {} has version {found}; this Cairn reads up to {supported}", path.display())]
    NewerVersion {
        /// Where the store is.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest version that this program reads.
        supported: u64,
    },
}

impl From<FileError> for RepositoryError {
    fn from(error: FileError) -> Self {
        Self::File {
            action: error.action,
            path: error.path,
            source: error.source,
        }
    }
}

/// The blob that a manifest lacks: not every registry says which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingBlob {
    /// This one.
    Known(Digest),
    /// One that the registry did not name.
    Unnamed,
}

impl std::fmt::Display for MissingBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(digest) => digest.fmt(f),
            Self::Unnamed => f.write_str("(not named)"),
        }
    }
}

fn condition_failed(condition: &Condition, found: Option<&Digest>) -> String {
    let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    match condition {
        Condition::Always => format!("points at {found}"),
        Condition::IfAbsent | Condition::Seal => format!("expected nothing there, found {found}"),
        Condition::IfMatch(expected) => format!("expected {expected}, found {found}"),
    }
}

fn repeated(attempts: u32) -> String {
    if attempts > 1 {
        format!(", tried {attempts} times")
    } else {
        String::new()
    }
}

fn bracketed(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(" ({detail})")
    }
}
