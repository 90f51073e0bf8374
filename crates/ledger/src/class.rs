//! Which side a failure is on: the command line maps each to its exit code.

/// Where the cause of a failure lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// What was asked for is wrong, or the key may not do it (exit 1).
    Input,
    /// The repository, the network or the signer failed (exit 3).
    Environment,
    /// Something does not match (exit 4).
    Integrity,
    /// Somebody else moved it, a hold, a rule, or a version bound to another digest (exit 6).
    Conflict,
}

impl Class {
    /// The class of a repository's error: wrong content, or a repository that cannot be used.
    #[must_use]
    pub const fn of(error: &cairn_store::RepositoryError) -> Self {
        if crate::content::is_integrity(error) {
            Self::Integrity
        } else {
            Self::Environment
        }
    }
}
