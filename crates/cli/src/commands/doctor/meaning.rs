//! What the answers mean for a ledger, and what to do about them.

use cairn_store::examine::{Answer, Found, Subject};
use serde::Serialize;

/// Whether a ledger, with channels, can be in the repository, and how it is appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carries {
    /// Linear: one head, moved under a condition.
    Linear,
    /// Causal: the last writer wins, so every head has a tag of its own.
    Causal,
    /// None at all.
    None,
    /// That could not be found out.
    Unknown,
    /// A ledger is never looked for there.
    NotApplicable,
}

impl Carries {
    /// What the answers lead to.
    #[must_use]
    pub fn of(found: &[Found]) -> Self {
        let answer = |subject: Subject| {
            let found = found.iter().find(|one| one.subject == subject);
            found.map_or(Answer::Unknown, |one| one.answer)
        };
        let fails = |subject: Subject| matches!(answer(subject), Answer::No | Answer::Broken);
        let needed = [Subject::Write, Subject::Artifacts, Subject::TagsMove];
        if needed.into_iter().any(fails) || answer(Subject::Conditions) == Answer::Broken {
            return Self::None;
        }
        let is_linear = answer(Subject::Conditions) == Answer::Yes;
        // Linear mode reads one tag; only causal mode lists.
        if !is_linear && fails(Subject::ListsWhole) {
            return Self::None;
        }
        let unknown = |subject: Subject| answer(subject) == Answer::Unknown;
        if needed.into_iter().any(unknown) || unknown(Subject::Conditions) {
            return Self::Unknown;
        }
        if is_linear { Self::Linear } else { Self::Causal }
    }

    /// One sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Linear => {
                "linear: one head, moved under a condition; of two writers at once, the second is told and looks again"
            }
            Self::Causal => {
                "causal: the registry lets the last writer win, so every head has a tag of its own; nothing is lost, and an \
                 entry may come to stand after one that was written at the same time"
            }
            Self::None => "none: a ledger with channels cannot be kept here",
            Self::Unknown => "unknown: what decides it could not be found out",
            Self::NotApplicable => "not here: ledgers are in registries and in the local store",
        }
    }
}

/// What an answer that is not the best one means, and what to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// What follows.
    pub means: &'static str,
    /// What to do, if there is anything.
    pub configure: Option<&'static str>,
}

/// The meaning of an answer; none if all is well, or nothing was asked.
#[must_use]
pub fn meaning(found: &Found) -> Option<Meaning> {
    if !matches!(found.answer, Answer::No | Answer::Broken) {
        return None;
    }
    let (means, configure) = match (found.subject, found.answer) {
        (Subject::Read, _) => return None,
        (Subject::Write, _) => (
            "nothing can be pushed or released here",
            Some("create the repository, or give this account the right to push"),
        ),
        (Subject::Artifacts, _) => (
            "a ledger's head is a manifest of a type of its own, and would not be taken",
            Some("allow artifacts in the registry, or keep the ledger elsewhere: [ledger] repository"),
        ),
        (Subject::TagsMove, Answer::Broken) => (
            "a channel's tag would not show what was released, although the registry says so",
            Some("ask whoever runs the registry; a rule for immutable tags may do this"),
        ),
        (Subject::TagsMove, _) => (
            "a channel is a tag that moves: promote and rollback would fail",
            Some("turn immutable tags off here, or except the tags of channels, cairn-* and sha256-*"),
        ),
        (Subject::TagsFresh, _) => (
            "who pulls by tag may get the old image for a while; Cairn reads by digest what it wrote",
            Some("deploy by digest: cairn status --json names it"),
        ),
        (Subject::Conditions, Answer::Broken) => (
            "a write that should fail would overwrite: Cairn does not append here",
            Some("let the proxy in front of the registry pass If-Match, If-None-Match and Cairn-Condition"),
        ),
        (Subject::Conditions, _) => (
            "the last writer wins: the ledger is in causal mode",
            Some(
                "let only one pipeline release at a time, or keep the ledger on a cairn serve: [ledger] repository",
            ),
        ),
        (Subject::Seal, _) => (
            "a version's tag can be moved by others; cairn audit tells",
            Some(
                "a rule for immutable tags such as [0-9]* and v[0-9]* protects versions; not for those of channels",
            ),
        ),
        (Subject::Referrers, _) => (
            "lists of referrers are kept in the tag sha256-…; two writers at once may take an entry from such a list, and \
             never from the ledger",
            None,
        ),
        (Subject::ListsWhole, _) => (
            "in causal mode a head that is not listed would be overlooked",
            Some("keep the ledger on a registry that lists all tags: [ledger] repository"),
        ),
        (Subject::ListsSorted, _) => ("nothing: Cairn trusts no order", None),
        (Subject::ListsFresh, _) => (
            "in causal mode another writer's entry may be seen late; the next command merges it, and says so",
            Some("let only one pipeline release at a time"),
        ),
        (Subject::DeleteTags, _) => (
            "old heads of causal mode stay, and so do tags that nobody needs",
            Some(
                "allow deleting, or let the registry's own retention remove old cairn-h-* tags, never the newest 32",
            ),
        ),
        (Subject::DeleteManifests | Subject::DeleteBlobs, _) => {
            ("nothing can be removed here; that is the registry's to do", None)
        }
        (Subject::ManifestSize, _) => (
            "an index with very many entries, or an image with long annotations, may be refused; heads of a ledger are small",
            None,
        ),
        (Subject::Mounts, _) => ("layers are sent again for each repository of the registry", None),
        (Subject::ChunkedUploads, _) => ("nothing: Cairn sends a blob in one piece", None),
        (Subject::DigestHeader, _) => ("a manifest is read whole where its digest is wanted", None),
    };
    Some(Meaning { means, configure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: &[(Subject, Answer)]) -> Vec<Found> {
        let answer = |subject| {
            let change = changes.iter().find(|(changed, _)| *changed == subject);
            change.map_or(Answer::Yes, |(_, answer)| *answer)
        };
        let found = |subject| Found::new(subject, answer(subject), "");
        Subject::ALL.into_iter().map(found).collect()
    }

    #[test]
    fn what_a_ledger_needs_decides() {
        for (changes, expected) in [
            (&[][..], Carries::Linear),
            (&[(Subject::ListsWhole, Answer::No)], Carries::Linear),
            (&[(Subject::Conditions, Answer::No)], Carries::Causal),
            (&[(Subject::Conditions, Answer::NotAsked)], Carries::Causal),
            (&[(Subject::Conditions, Answer::Broken)], Carries::None),
            (&[(Subject::Conditions, Answer::Unknown)], Carries::Unknown),
            (&[(Subject::TagsMove, Answer::Broken)], Carries::None),
            (&[(Subject::Artifacts, Answer::Unknown)], Carries::Unknown),
            (&[(Subject::DeleteTags, Answer::Unknown)], Carries::Linear),
            (
                &[
                    (Subject::Conditions, Answer::No),
                    (Subject::ListsWhole, Answer::No),
                ],
                Carries::None,
            ),
        ] {
            assert_eq!(Carries::of(&with(changes)), expected, "{changes:?}");
        }
        assert_eq!(Carries::of(&[]), Carries::Unknown);
    }

    #[test]
    fn every_no_means_something_and_nothing_else_does() {
        for subject in Subject::ALL
            .into_iter()
            .filter(|subject| *subject != Subject::Read)
        {
            for answer in [Answer::No, Answer::Broken] {
                assert!(meaning(&Found::new(subject, answer, "")).is_some(), "{subject:?}");
            }
            for answer in [
                Answer::Yes,
                Answer::Unknown,
                Answer::NotAsked,
                Answer::NotApplicable,
            ] {
                assert!(meaning(&Found::new(subject, answer, "")).is_none(), "{subject:?}");
            }
        }
    }
}
