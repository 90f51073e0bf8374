//! The whole ledger against keys, memory, tags and blobs.
//!
//! What was opened has passed already: every byte of every entry, every signature, the pin, and what was remembered.
//! The audit adds what lies outside of it, in both directions: what the ledger says must be there, and what is there must be in the ledger.
//! It reads only, and repairs nothing.

use std::collections::BTreeSet;
use std::fmt;

use cairn_oci::{Digest, Tag};
use cairn_store::{Page, Repository, RepositoryError};
use jiff::Timestamp;
use serde::Serialize;

use crate::class::Class;
use crate::finding::{Finding, chain};
use crate::image::{Depth, ImageError};
use crate::open::{Ledger, Opened};
use crate::state::State;

mod images;
mod ledger;
mod referrers;
mod tags;

/// Most pages of a list of tags.
const PAGE_LIMIT: usize = 10_000;
/// How many things may be impossible to look at before the repository is taken to be out of reach.
const FAILURE_LIMIT: usize = 3;

/// How far an audit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditOptions {
    /// Whether blobs of images are only looked for, or hashed.
    pub depth: Depth,
    /// What a tag means that has the form of a channel and that no entry names.
    pub other_tags: OtherTags,
    /// How many steps back each channel must be able to go; 0: as far as what is there leads.
    pub way_back: usize,
    /// Now; without it, what depends on the time is not looked at.
    pub at: Option<Timestamp>,
}

/// What is thought of tags that no entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherTags {
    /// Nobody but the ledger tags images here: they are findings.
    Findings,
    /// Others tag images here too: they are listed as not checked.
    Unchecked,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            depth: Depth::Presence,
            other_tags: OtherTags::Findings,
            way_back: 0,
            at: None,
        }
    }
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Whether there is no finding.
    pub ok: bool,
    /// What does not match, sorted.
    pub findings: Vec<Finding>,
    /// What is worth knowing and is no finding: entries without effect, images that are no longer kept, …
    pub notes: Vec<Finding>,
    /// What was checked.
    pub checked: Checked,
    /// What applies and could not be checked, with the reason.
    pub unchecked: Vec<String>,
    /// What was not checked because it does not apply, or because nobody asked for it.
    pub not_applicable: Vec<String>,
}

/// What was checked, as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Entries whose every byte was hashed.
    pub entries: u64,
    /// Signatures that were verified.
    pub signatures: u64,
    /// Heads that count.
    pub heads: u64,
    /// Channels whose tag was compared.
    pub channels: u64,
    /// Versions whose tag and referrer were compared.
    pub releases: u64,
    /// Tags that were looked at.
    pub tags: u64,
    /// Indexes and manifests of images, hashed.
    pub manifests: u64,
    /// Blobs of images.
    pub blobs: u64,
    /// Statements that are attached to images.
    pub referrers: u64,
}

/// Why an audit could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A repository cannot be asked.
    #[error("cannot read {subject} in {repository}")]
    Repository {
        /// Which repository.
        repository: String,
        /// What was looked for.
        subject: String,
        /// Why not.
        source: RepositoryError,
    },
    /// An image cannot be looked at.
    #[error("cannot look at the image {digest}")]
    Image {
        /// Which image.
        digest: Digest,
        /// Why not.
        source: ImageError,
    },
}

impl AuditError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Repository { source, .. } => Class::of(source),
            Self::Image { source, .. } => source.class(),
        }
    }
}

struct Audit<'a> {
    ledger: &'a Ledger,
    opened: &'a Opened,
    state: &'a State,
    options: AuditOptions,
    findings: BTreeSet<Finding>,
    notes: BTreeSet<Finding>,
    checked: Checked,
    unchecked: Vec<String>,
    not_applicable: Vec<String>,
    /// Images that are not whole.
    broken: BTreeSet<Digest>,
}

impl Ledger {
    /// Holds everything that the ledger says against what is there, and the other way round.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if a repository cannot be asked. What does not match is no error but a finding.
    pub async fn audit(&self, opened: &Opened, options: AuditOptions) -> Result<AuditReport, AuditError> {
        let Some(state) = opened.state() else {
            return Ok(nothing_to_audit());
        };
        let mut audit = Audit {
            ledger: self,
            opened,
            state,
            options,
            findings: opened.findings().iter().cloned().collect(),
            notes: BTreeSet::new(),
            checked: Checked::default(),
            unchecked: Vec::new(),
            not_applicable: Vec::new(),
            broken: BTreeSet::new(),
        };
        audit.entries();
        audit.glass();
        audit.rules();
        audit.trust();
        audit.stored_heads().await?;
        audit.waiting().await?;
        audit.records().await?;
        audit.images().await?;
        audit.way_back();
        let tags = audit.tags().await?;
        audit.channels(&tags);
        audit.releases(&tags).await?;
        audit.untagged(&tags);
        audit.others(&tags);
        audit.head_tags().await?;
        Ok(audit.report())
    }
}

fn nothing_to_audit() -> AuditReport {
    AuditReport {
        ok: true,
        findings: Vec::new(),
        notes: Vec::new(),
        checked: Checked::default(),
        unchecked: Vec::new(),
        not_applicable: vec!["there is no ledger".to_owned()],
    }
}

impl Audit<'_> {
    fn find(&mut self, code: &'static str, subject: &dyn fmt::Display, message: impl Into<String>) {
        self.findings.insert(Finding::new(code, subject, message));
    }

    fn note(&mut self, code: &'static str, subject: &dyn fmt::Display, message: impl Into<String>) {
        self.notes.insert(Finding::new(code, subject, message));
    }

    /// Something could not be looked at; the rest is worth knowing nevertheless. If nothing can be looked at any more, that is all
    /// there is to say.
    fn could_not(&mut self, error: AuditError) -> Result<(), AuditError> {
        if self.unchecked.len() >= FAILURE_LIMIT {
            return Err(error);
        }
        self.unchecked.push(chain(&error));
        Ok(())
    }

    /// What was found, or nothing if it could not be looked at.
    fn looked<T>(
        &mut self,
        repository: &dyn Repository,
        subject: &dyn fmt::Display,
        found: Result<T, RepositoryError>,
    ) -> Result<Option<T>, AuditError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(source) => {
                self.could_not(repository_error(repository, subject, source))?;
                Ok(None)
            }
        }
    }

    fn report(self) -> AuditReport {
        AuditReport {
            ok: self.findings.is_empty(),
            findings: self.findings.into_iter().collect(),
            notes: self.notes.into_iter().collect(),
            checked: self.checked,
            unchecked: self.unchecked,
            not_applicable: self.not_applicable,
        }
    }
}

fn repository_error(
    repository: &dyn Repository,
    subject: &dyn fmt::Display,
    source: RepositoryError,
) -> AuditError {
    AuditError::Repository {
        repository: repository.label(),
        subject: subject.to_string(),
        source,
    }
}

async fn list(repository: &dyn Repository) -> Result<BTreeSet<Tag>, AuditError> {
    let tags = list_tags(repository).await;
    tags.map_err(|source| repository_error(repository, &"the list of tags", source))
}

/// Every tag, in whatever order and however often the repository lists it.
pub(crate) async fn list_tags(repository: &dyn Repository) -> Result<BTreeSet<Tag>, RepositoryError> {
    let mut tags = BTreeSet::new();
    let mut page = Page::first();
    for _ in 0..PAGE_LIMIT {
        let part = repository.list_tags(&page).await?;
        tags.extend(part.tags);
        match part.next {
            Some(next) if page.after.as_ref() != Some(&next) => page.after = Some(next),
            _ => break,
        }
    }
    Ok(tags)
}
