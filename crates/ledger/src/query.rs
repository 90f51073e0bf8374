//! Answers: history, status, one release.

use cairn_oci::Digest;
use cairn_store::{RepositoryError, Target};
use jiff::Timestamp;
use serde::Serialize;

use crate::class::Class;
use crate::entry::{Actor, EntryName, Kind, Run, Source};
use crate::finding::chain;
use crate::fold::{Fold, Record};
use crate::image::{self, Depth};
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::open::{Ledger, Opened};
use crate::state::{Bound, ChannelState, Hold, Shown, Standing, State};
use crate::time;

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// Its position; in causal mode only the name is stable.
    pub seq: u64,
    /// Its name.
    pub name: EntryName,
    /// When, by its author's clock.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// What it does.
    pub kind: Kind,
    /// The version that it is about.
    pub version: Option<Version>,
    /// The channels that it moves or resumes, void or not.
    pub channels: Vec<Channel>,
    /// The digest that it is about.
    pub digest: Option<Digest>,
    /// What the first of the channels showed before.
    pub previous: Option<Digest>,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
    /// The key that signed it; the first one if several did.
    pub key: Option<Fingerprint>,
    /// From which source.
    pub source: Option<Source>,
    /// Its effects that have none.
    pub void: Vec<VoidRow>,
}

/// An effect that has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VoidRow {
    /// On what: a channel, a version, `the keys`, …
    pub subject: String,
    /// Why, in a short word.
    pub why: &'static str,
    /// What overtook it.
    pub overtaken_by: Option<EntryName>,
}

/// All entries, newest first; only those that name `channel` if one is given.
#[must_use]
pub fn history(opened: &Opened, channel: Option<&Channel>) -> Vec<HistoryRow> {
    let mut fold = Fold::new();
    let mut rows = Vec::new();
    for (seq, (record, outcome)) in (0..).zip(opened.view().records().iter().zip(opened.view().outcomes())) {
        let previous = previous(&fold, record);
        fold.apply(record);
        if channel.is_some_and(|channel| record.entry.move_of(channel).is_none()) {
            continue;
        }
        let void = outcome.void().map(|(subject, why, overtaken_by)| VoidRow {
            subject: subject.to_string(),
            why: why.code(),
            overtaken_by,
        });
        rows.push(row(seq, record, previous, void.collect()));
    }
    rows.reverse();
    rows
}

fn previous(fold: &Fold, record: &Record) -> Option<Digest> {
    let channel = &record.entry.moves.first()?.channel;
    fold.state()?.shows(channel).map(|shown| shown.digest)
}

fn row(seq: u64, record: &Record, previous: Option<Digest>, void: Vec<VoidRow>) -> HistoryRow {
    let entry = &record.entry;
    HistoryRow {
        seq,
        name: record.name,
        at: entry.at,
        kind: entry.kind.clone(),
        version: entry.version.clone(),
        channels: entry.moves.iter().map(|one| one.channel.clone()).collect(),
        digest: entry.digest,
        previous,
        actor: entry.actor.clone(),
        reason: entry.reason.clone(),
        key: record.signers.first().copied(),
        source: entry.source.clone(),
        void,
    }
}

/// What a channel shows now, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusRow {
    /// The channel.
    pub name: Channel,
    /// As which version it shows its digest.
    pub version: Option<Version>,
    /// What it shows.
    pub digest: Digest,
    /// Since when.
    #[serde(with = "time")]
    pub since: Timestamp,
    /// Who put it there.
    pub by: Option<Actor>,
    /// By which key.
    pub key: Option<Fingerprint>,
    /// Why.
    pub reason: Option<String>,
    /// Whether the tag shows the same.
    pub agrees: bool,
    /// What the tag shows; none if there is no such tag.
    pub tag: Option<Digest>,
    /// Why nothing moves it forward.
    pub held: Option<HeldRow>,
    /// What `rollback` would go to.
    pub way_back: Option<WayBack>,
}

/// Why a channel is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldRow {
    /// Since when.
    #[serde(with = "time")]
    pub since: Timestamp,
    /// By whom.
    pub by: Actor,
    /// By which key.
    pub key: Fingerprint,
    /// Why.
    pub reason: Option<String>,
    /// The version (or digest) that was left.
    pub left: Option<String>,
}

/// What `rollback` would go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayBack {
    /// As which version.
    pub version: Option<Version>,
    /// The digest.
    pub digest: Digest,
    /// Whether everything that it needs is there.
    pub ready: bool,
    /// What is missing, if something is.
    pub missing: Option<String>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A tag cannot be read.
    #[error("cannot read the tag {tag} in {repository}")]
    Tag {
        /// Which repository.
        repository: String,
        /// Which tag.
        tag: String,
        /// Why not.
        source: RepositoryError,
    },
    /// The way back cannot be looked at.
    #[error("cannot look at the way back of {channel}")]
    WayBack {
        /// Which channel.
        channel: Channel,
        /// Why not.
        source: image::ImageError,
    },
}

impl QueryError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Tag { source, .. } => Class::of(source),
            Self::WayBack { source, .. } => source.class(),
        }
    }
}

impl Ledger {
    /// What each channel shows, whether its tag agrees, and its way back; sorted by name.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the images' repository cannot be asked.
    pub async fn status(&self, opened: &Opened) -> Result<Vec<StatusRow>, QueryError> {
        let mut rows = Vec::new();
        let Some(state) = opened.state() else {
            return Ok(rows);
        };
        for (name, channel) in &state.channels {
            let Some(shown) = &channel.shows else { continue };
            rows.push(self.status_row(opened, state, name, channel, shown).await?);
        }
        Ok(rows)
    }

    async fn status_row(
        &self,
        opened: &Opened,
        state: &State,
        name: &Channel,
        channel: &ChannelState,
        shown: &Shown,
    ) -> Result<StatusRow, QueryError> {
        let tag = self.images.stat_manifest(&Target::Tag(name.tag())).await;
        let tag = tag.map_err(|source| QueryError::Tag {
            repository: self.images.label(),
            tag: name.to_string(),
            source,
        })?;
        let tag = tag.map(|descriptor| descriptor.digest);
        let record = opened.view().find(&shown.entry).map(|(_, record, _)| record);
        Ok(StatusRow {
            name: name.clone(),
            version: shown.version.clone(),
            digest: shown.digest,
            since: shown.at,
            by: record.map(|record| record.entry.actor.clone()),
            key: record.and_then(|record| record.signers.first().copied()),
            reason: record.and_then(|record| record.entry.reason.clone()),
            agrees: tag == Some(shown.digest),
            tag,
            held: channel.hold.as_ref().map(held_row),
            way_back: self.way_back(state, name).await?,
        })
    }

    async fn way_back(&self, state: &State, channel: &Channel) -> Result<Option<WayBack>, QueryError> {
        let Some(shown) = state.way_back(channel) else {
            return Ok(None);
        };
        let missing = match image::check(&*self.images, shown.digest, Depth::Presence).await {
            Ok(_) => None,
            Err(error) if error.class() == Class::Integrity => Some(chain(&error)),
            Err(source) => {
                return Err(QueryError::WayBack {
                    channel: channel.clone(),
                    source,
                });
            }
        };
        Ok(Some(WayBack {
            version: shown.version.clone(),
            digest: shown.digest,
            ready: missing.is_none(),
            missing,
        }))
    }
}

fn held_row(hold: &Hold) -> HeldRow {
    HeldRow {
        since: hold.at,
        by: hold.actor.clone(),
        key: hold.by,
        reason: hold.reason.clone(),
        left: hold.left.as_ref().map(Shown::label),
    }
}

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its name.
    pub version: Version,
    /// `released`, `yanked` or `contested`.
    pub standing: &'static str,
    /// What it was bound to: one, or several if it is contested.
    pub bound: Vec<ReleaseBinding>,
    /// The channels that show one of these digests.
    pub shown_by: Vec<Channel>,
}

/// What a version was bound to, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleaseBinding {
    /// The manifest or index.
    pub digest: Digest,
    /// The release's position.
    pub seq: u64,
    /// The release's name.
    pub name: EntryName,
    /// When, by its author's clock.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// Who released it.
    pub actor: Option<Actor>,
    /// By which key.
    pub key: Option<Fingerprint>,
    /// Why.
    pub reason: Option<String>,
    /// From which source.
    pub source: Option<Source>,
    /// In which run of a pipeline.
    pub run: Option<Run>,
    /// Digest of the build record.
    pub record: Option<Digest>,
    /// The entry that barred it.
    pub yanked: Option<EntryName>,
}

/// What a name stands for: what the channel shows, or what the version is bound to; none if the ledger knows
/// neither, or if the version is contested.
#[must_use]
pub fn digest_of(opened: &Opened, name: &str) -> Option<Digest> {
    let state = opened.state()?;
    if let Ok(channel) = name.parse::<Channel>() {
        return state.shows(&channel).map(|shown| shown.digest);
    }
    let binding = state.versions.get(&name.parse::<Version>().ok()?)?;
    match &binding.bound[..] {
        [only] => Some(only.digest),
        _ => None,
    }
}

/// What is known of a version; none if it was never released.
#[must_use]
pub fn show(opened: &Opened, version: &Version) -> Option<Release> {
    let state = opened.state()?;
    let binding = state.versions.get(version)?;
    let standing = match binding.standing() {
        Standing::Named(_) => "released",
        Standing::Yanked(_) => "yanked",
        Standing::Contested => "contested",
    };
    let shows = |channel: &ChannelState| {
        channel
            .shows
            .as_ref()
            .is_some_and(|shown| binding.to(&shown.digest).is_some())
    };
    let shown_by = state
        .channels
        .iter()
        .filter(|(_, channel)| shows(channel))
        .map(|(name, _)| name.clone());
    Some(Release {
        version: version.clone(),
        standing,
        bound: binding
            .bound
            .iter()
            .map(|bound| release_binding(opened, bound))
            .collect(),
        shown_by: shown_by.collect(),
    })
}

fn release_binding(opened: &Opened, bound: &Bound) -> ReleaseBinding {
    let record = opened.view().find(&bound.entry).map(|(_, record, _)| record);
    let entry = record.map(|record| &record.entry);
    ReleaseBinding {
        digest: bound.digest,
        seq: bound.position,
        name: bound.entry,
        at: bound.at,
        actor: entry.map(|entry| entry.actor.clone()),
        key: record.and_then(|record| record.signers.first().copied()),
        reason: entry.and_then(|entry| entry.reason.clone()),
        source: entry.and_then(|entry| entry.source.clone()),
        run: entry.and_then(|entry| entry.run.clone()),
        record: entry.and_then(|entry| entry.record),
        yanked: bound.yanked,
    }
}
