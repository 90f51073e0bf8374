//! The whole ledger against keys, memory, tags and blobs.
//!
//! What was opened has passed already: every byte of every entry, every signature, the pin, and what was remembered.
//! The audit adds what lies outside of it, in both directions: what the ledger says must be there, and what is there must be in the ledger.
//! It reads only, and repairs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cairn_oci::{Digest, Tag};
use cairn_store::{Page, Repository, RepositoryError, Target};
use serde::Serialize;

use crate::class::Class;
use crate::entry::Mode;
use crate::finding::{Finding, chain};
use crate::fold::Why;
use crate::head::CAUSAL_PREFIX;
use crate::image::{self, Depth, ImageError};
use crate::name::{Channel, Version};
use crate::open::{Ledger, Opened};
use crate::referrer::Referrer;
use crate::state::{Binding, Bound, ChannelState, Shown, Standing, State};
use crate::trust::HowTrusted;

/// Most pages of a list of tags.
const PAGE_LIMIT: usize = 10_000;

/// How far an audit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditOptions {
    /// Whether blobs of images are only looked for, or hashed.
    pub depth: Depth,
    /// What a tag means that has the form of a channel and that no entry names.
    pub other_tags: OtherTags,
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
    /// What was checked.
    pub checked: Checked,
    /// What applies and was not checked.
    pub unchecked: Vec<String>,
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
    checked: Checked,
    unchecked: Vec<String>,
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
            checked: Checked::default(),
            unchecked: Vec::new(),
        };
        audit.entries();
        audit.glass();
        audit.trust();
        audit.records().await?;
        audit.images().await?;
        let tags = audit.tags().await?;
        audit.channels(&tags);
        audit.releases(&tags).await?;
        audit.others(&tags);
        audit.heads().await?;
        Ok(audit.report())
    }
}

fn nothing_to_audit() -> AuditReport {
    AuditReport {
        ok: true,
        findings: Vec::new(),
        checked: Checked::default(),
        unchecked: vec!["there is no ledger".to_owned()],
    }
}

impl Audit<'_> {
    fn find(&mut self, code: &'static str, subject: &dyn fmt::Display, message: impl Into<String>) {
        self.findings.insert(Finding::new(code, subject, message));
    }

    /// Entries that were overtaken are void and nothing to find; those that nobody should have written are.
    fn entries(&mut self) {
        let view = self.opened.view();
        self.checked.entries = view.records().len() as u64;
        self.checked.heads = view.heads.len() as u64;
        for (position, (record, outcome)) in view.records().iter().zip(view.outcomes()).enumerate() {
            self.checked.signatures += record.signers.len() as u64;
            for (subject, why, _) in outcome.void() {
                let code = match why {
                    Why::NotAllowed => "entry-not-allowed",
                    Why::UnknownKind => "entry-unknown-kind",
                    Why::Repetition => "entry-repeated",
                    Why::UnusableKeys => "entry-unusable-keys",
                    Why::UnusableRules => "entry-unusable-rules",
                    Why::VersionBound => "version-bound-again",
                    _ => continue,
                };
                let kind = &record.entry.kind;
                let message = format!(
                    "the {kind} entry {} has no effect on {subject}: {why}",
                    record.name
                );
                self.find(code, &position, message);
            }
        }
    }

    /// What keys did that the ledger does not list, until somebody has accepted it.
    fn glass(&mut self) {
        for (name, glass) in &self.state.glass {
            if glass.ratified.is_none() {
                let text = format!(
                    "the entry {name} was made by the key {}, which is not in the ledger",
                    glass.key
                );
                let text = format!("{text}; cairn ratify {name} accepts it");
                self.findings
                    .insert(Finding::new("break-glass", &glass.position, text));
            }
        }
    }

    fn trust(&mut self) {
        if self.opened.how_trusted() == HowTrusted::FirstSeen {
            let text = "whether the newest entries are hidden: nothing was pinned or remembered";
            self.unchecked.push(text.to_owned());
        }
    }

    /// Build records are attached to the images that were released.
    async fn records(&mut self) -> Result<(), AuditError> {
        let images = &self.ledger.images;
        for (position, record) in self.opened.view().records().iter().enumerate() {
            let Some(digest) = record.entry.record else {
                continue;
            };
            if record
                .entry
                .digest
                .is_some_and(|image| self.state.is_pruned(&image))
            {
                continue;
            }
            let found = images.stat_blob(&digest).await;
            let found = found.map_err(|source| repository_error(&**images, &digest, source))?;
            if found.is_none() {
                let message = format!("the build record {digest} is missing");
                self.find("record-missing", &position, message);
            }
        }
        Ok(())
    }

    /// Everything that versions name, channels show, or their trails lead to.
    async fn images(&mut self) -> Result<(), AuditError> {
        let mut wanted: BTreeMap<Digest, String> = BTreeMap::new();
        for (name, channel) in &self.state.channels {
            let kept = |shown: &&Shown| !self.state.is_pruned(&shown.digest);
            for shown in channel.trail.iter().chain(&channel.shows).filter(kept) {
                wanted.insert(shown.digest, format!("{name} ({})", shown.label()));
            }
        }
        let kept = |(_, bound): &(&Version, &Bound)| !self.state.is_pruned(&bound.digest);
        for (version, bound) in self.state.versions.iter().flat_map(named).filter(kept) {
            wanted.insert(bound.digest, version.to_string());
        }
        for (digest, label) in wanted {
            match image::check(&*self.ledger.images, digest, self.options.depth).await {
                Ok(parts) => {
                    self.checked.manifests += parts.indexes + parts.manifests;
                    self.checked.blobs += parts.blobs;
                }
                Err(error) if error.class() == Class::Integrity => {
                    let code = match error {
                        ImageError::Manifest { .. } => "manifest-missing",
                        ImageError::Blob { .. } => "blob-missing",
                        _ => "image-damaged",
                    };
                    self.find(code, &error.digest(), format!("{label}: {}", chain(&error)));
                }
                Err(source) => return Err(AuditError::Image { digest, source }),
            }
        }
        if self.options.depth == Depth::Presence && self.checked.blobs > 0 {
            let blobs = self.checked.blobs;
            self.unchecked
                .push(format!("the bytes of {blobs} blobs: only presence and size"));
        }
        Ok(())
    }

    async fn tags(&mut self) -> Result<BTreeMap<Tag, Option<Digest>>, AuditError> {
        let images = &*self.ledger.images;
        let mut tags = BTreeMap::new();
        for tag in list(images).await? {
            let is_ours = tag.as_str().parse::<Version>().is_ok() || tag.as_str().parse::<Channel>().is_ok();
            if !is_ours {
                continue;
            }
            let found = images.stat_manifest(&Target::Tag(tag.clone())).await;
            let found = found.map_err(|source| repository_error(images, &tag, source))?;
            tags.insert(tag, found.map(|descriptor| descriptor.digest));
        }
        self.checked.tags = tags.len() as u64;
        Ok(tags)
    }

    fn channels(&mut self, tags: &BTreeMap<Tag, Option<Digest>>) {
        let state = self.state;
        for (name, channel) in &state.channels {
            let Some(shown) = &channel.shows else { continue };
            self.checked.channels += 1;
            let (label, digest) = (shown.label(), shown.digest);
            match tags.get(&name.tag()).copied().flatten() {
                None => self.find(
                    "tag-missing",
                    name,
                    format!("the channel shows {label} and has no tag"),
                ),
                Some(found) if found == digest => {}
                Some(found) => {
                    let whose = whose(channel, &found);
                    let message =
                        format!("the tag shows {found}, {whose}; the ledger says {digest} ({label})");
                    self.find("tag-differs", name, message);
                }
            }
        }
    }

    async fn releases(&mut self, tags: &BTreeMap<Tag, Option<Digest>>) -> Result<(), AuditError> {
        let state = self.state;
        for (version, binding) in &state.versions {
            let bound = match binding.standing() {
                Standing::Named(bound) if state.is_pruned(&bound.digest) => continue,
                Standing::Named(bound) => bound,
                Standing::Yanked(_) => continue,
                Standing::Contested => {
                    let digests: Vec<String> = binding
                        .bound
                        .iter()
                        .map(|bound| bound.digest.to_string())
                        .collect();
                    self.find(
                        "version-contested",
                        version,
                        format!("released as {}", digests.join(" and ")),
                    );
                    continue;
                }
            };
            self.checked.releases += 1;
            match tags.get(&version.tag()).copied().flatten() {
                None => self.find(
                    "tag-missing",
                    version,
                    format!("the version is {} and has no tag", bound.digest),
                ),
                Some(found) if found == bound.digest => {}
                Some(found) => {
                    let message = format!("the tag shows {found}; the ledger says {}", bound.digest);
                    self.find("tag-differs", version, message);
                }
            }
            self.referrer(version, bound).await?;
        }
        Ok(())
    }

    async fn referrer(&mut self, version: &Version, bound: &Bound) -> Result<(), AuditError> {
        let images = &*self.ledger.images;
        let subject = images.stat_manifest(&Target::Digest(bound.digest)).await;
        let subject = subject.map_err(|source| repository_error(images, &bound.digest, source))?;
        let record = self.opened.view().find(&bound.entry).map(|(_, record, _)| record);
        let referrer = record
            .zip(subject)
            .and_then(|(record, subject)| Referrer::of(record, subject));
        // Without the image there is nothing to refer to, and that is a finding already.
        let Some(referrer) = referrer else { return Ok(()) };
        let digest = referrer.manifest.digest();
        let found = images.stat_manifest(&Target::Digest(digest)).await;
        if found
            .map_err(|source| repository_error(images, &digest, source))?
            .is_none()
        {
            self.find(
                "referrer-missing",
                version,
                format!("the release is not attached to {}", bound.digest),
            );
        }
        Ok(())
    }

    /// Tags that look like the ledger's and that no entry names.
    fn others(&mut self, tags: &BTreeMap<Tag, Option<Digest>>) {
        let state = self.state;
        for (tag, digest) in tags {
            let text = tag.as_str();
            let shows = digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
            let version: Option<Version> = text.parse().ok();
            let channel: Option<Channel> = text.parse().ok();
            if version.is_some_and(|version| !state.versions.contains_key(&version)) {
                self.find(
                    "tag-without-entry",
                    tag,
                    format!("no release made the version tag, which shows {shows}"),
                );
            }
            let is_known = |channel: &Channel| {
                state
                    .channels
                    .get(channel)
                    .is_some_and(|channel| channel.shows.is_some())
            };
            if channel.is_some_and(|channel| !is_known(&channel)) {
                let message = format!("no entry moved the channel of this name; the tag shows {shows}");
                match self.options.other_tags {
                    OtherTags::Findings => self.find("tag-without-entry", tag, message),
                    OtherTags::Unchecked => self.unchecked.push(format!("the tag {tag}: no entry names it")),
                }
            }
        }
    }

    /// Heads of causal mode beside a linear ledger are another ledger.
    async fn heads(&mut self) -> Result<(), AuditError> {
        if self.state.mode != Mode::Linear {
            return Ok(());
        }
        for tag in list(&*self.ledger.home).await? {
            if tag.as_str().starts_with(CAUSAL_PREFIX) {
                self.find(
                    "head-beside",
                    &tag,
                    "a head of causal mode beside a linear ledger",
                );
            }
        }
        Ok(())
    }

    fn report(self) -> AuditReport {
        AuditReport {
            ok: self.findings.is_empty(),
            findings: self.findings.into_iter().collect(),
            checked: self.checked,
            unchecked: self.unchecked,
        }
    }
}

fn named<'a>(
    (version, binding): (&'a Version, &'a Binding),
) -> impl Iterator<Item = (&'a Version, &'a Bound)> {
    binding
        .bound
        .iter()
        .filter(|bound| bound.yanked.is_none())
        .map(move |bound| (version, bound))
}

fn whose(channel: &ChannelState, found: &Digest) -> &'static str {
    if channel.shown.contains(found) {
        "which the channel showed before"
    } else if channel.wanted.contains(found) {
        "which an entry without effect wanted"
    } else {
        "which the ledger never put there"
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
    let mut tags = BTreeSet::new();
    let mut page = Page::first();
    for _ in 0..PAGE_LIMIT {
        let part = repository.list_tags(&page).await;
        let part = part.map_err(|source| repository_error(repository, &"the list of tags", source))?;
        tags.extend(part.tags);
        match part.next {
            Some(next) if page.after.as_ref() != Some(&next) => page.after = Some(next),
            _ => break,
        }
    }
    Ok(tags)
}
