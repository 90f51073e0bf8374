//! What channels show, now and at another time.

use cairn_oci::Digest;
use cairn_store::Target;
use jiff::Timestamp;
use serde::Serialize;

use super::QueryError;
use crate::class::Class;
use crate::entry::{Actor, Entry, EntryName, Run, Source};
use crate::finding::chain;
use crate::fold::{Fold, Record};
use crate::image::{self, Depth};
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::open::{Ledger, Opened};
use crate::state::{ChannelState, Hold, Shown, State};
use crate::time;
use crate::view::View;

/// What a channel shows, and what is known about it.
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
    /// The position of the entry that put it there; in causal mode only its name is stable.
    pub seq: Option<u64>,
    /// The name of that entry.
    pub entry: EntryName,
    /// Who put it there.
    pub by: Option<Actor>,
    /// By which key.
    pub key: Option<Fingerprint>,
    /// Why.
    pub reason: Option<String>,
    /// From which source the image was made, as its release says.
    pub source: Option<Source>,
    /// In which run of a pipeline it was released.
    pub run: Option<Run>,
    /// Whether the tag shows the same; none for another time than now, and where the repository has the ledger and no image.
    pub agrees: Option<bool>,
    /// What the tag shows now; none if there is no such tag.
    pub tag: Option<Digest>,
    /// Why nothing moves it forward.
    pub held: Option<HeldRow>,
    /// What `rollback` would go to.
    pub way_back: Option<WayBack>,
    /// Whether what it shows is barred: it was yanked after it came there.
    pub yanked: bool,
    /// `unratified` or `ratified`, if an unlisted key put it there.
    pub glass: Option<&'static str>,
    /// The slot from which it took what it shows, by `switch`: blue and green.
    pub took: Option<Channel>,
    /// The channels that took what this one showed, by `switch`.
    pub slot_of: Vec<SlotOf>,
}

/// A channel that took what another one, its slot, showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotOf {
    /// The channel that takes.
    pub channel: Channel,
    /// Whether what it shows was taken from this slot, which still shows it; else the slot is idle.
    pub live: bool,
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
    /// Whether everything that it needs is there; none where the tag was not looked at either.
    pub ready: Option<bool>,
    /// What is missing, if something is.
    pub missing: Option<String>,
}

/// What the ledger said at another time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Past {
    /// The time that was asked for.
    #[serde(with = "time")]
    pub time: Timestamp,
    /// The position of the last entry that says this time or an earlier one.
    pub seq: u64,
    /// Its name.
    pub name: EntryName,
    /// What it says.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// How many entries before it say a later time than was asked for: then clocks disagree, and order decides.
    pub later: u64,
    /// What each channel showed.
    #[serde(skip)]
    pub rows: Vec<StatusRow>,
}

/// What each channel showed at `time`: the state after the last entry that says this time or an earlier one. None if there is
/// no such entry.
#[must_use]
pub fn status_at(opened: &Opened, time: Timestamp) -> Option<Past> {
    let records = opened.view().records();
    let times: Vec<Timestamp> = opened.view().briefs().iter().map(|brief| brief.at).collect();
    let last = times.iter().rposition(|at| *at <= time)?;
    let mut fold = Fold::new();
    let is_now = last + 1 == times.len();
    if !is_now {
        records.fill(0..last + 1);
        for record in records.range(0..last + 1) {
            fold.apply(record);
        }
    }
    let state = if is_now { opened.state() } else { fold.state() }?;
    let rows = state.channels.iter().filter_map(|(name, channel)| {
        let shown = channel.shows.as_ref()?;
        let mut row = row(opened.view(), state, name, channel, shown);
        row.way_back = state.way_back(name).map(unchecked);
        row.took = channel.took().cloned();
        row.slot_of = slot_of(state, name);
        Some(row)
    });
    let record = records.get(last)?;
    Some(Past {
        time,
        seq: last as u64,
        name: record.name,
        at: record.entry.at,
        later: times.iter().take(last).filter(|at| **at > time).count() as u64,
        rows: rows.collect(),
    })
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
            let tag = self.images.stat_manifest(&Target::Tag(name.tag())).await;
            let tag = tag.map_err(|source| QueryError::Tag {
                repository: self.images.label(),
                tag: name.to_string(),
                source,
            })?;
            let tag = tag.map(|descriptor| descriptor.digest);
            rows.push(StatusRow {
                agrees: Some(tag == Some(shown.digest)),
                tag,
                way_back: self.way_back(state, name).await?,
                took: channel.took().cloned(),
                slot_of: slot_of(state, name),
                ..row(opened.view(), state, name, channel, shown)
            });
        }
        if !self.has_images(&rows).await? {
            for row in &mut rows {
                row.agrees = None;
                row.way_back = row.way_back.take().map(|back| WayBack {
                    ready: None,
                    missing: None,
                    ..back
                });
            }
        }
        Ok(rows)
    }

    /// Whether the repository has a tag of a channel, or an image that one shows. One that has only the ledger has neither: the images
    /// are in another, and nothing can be said of them here.
    async fn has_images(&self, rows: &[StatusRow]) -> Result<bool, QueryError> {
        if rows.is_empty() || rows.iter().any(|row| row.tag.is_some()) {
            return Ok(true);
        }
        for row in rows {
            let shown = self.images.stat_manifest(&Target::Digest(row.digest)).await;
            let shown = shown.map_err(|source| QueryError::Tag {
                repository: self.images.label(),
                tag: row.name.to_string(),
                source,
            })?;
            if shown.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
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
            ready: Some(missing.is_none()),
            missing,
            ..unchecked(shown)
        }))
    }
}

fn unchecked(shown: &Shown) -> WayBack {
    WayBack {
        version: shown.version.clone(),
        digest: shown.digest,
        ready: None,
        missing: None,
    }
}

/// What follows from entries alone.
fn row(view: &View, state: &State, name: &Channel, channel: &ChannelState, shown: &Shown) -> StatusRow {
    let found = view.find(&shown.entry);
    let record = found.map(|(_, record, _)| record);
    let entry = record.map(|record| &record.entry);
    let made = made_by(view, state, shown);
    StatusRow {
        name: name.clone(),
        version: shown.version.clone(),
        digest: shown.digest,
        since: shown.at,
        seq: found.map(|(seq, _, _)| seq),
        entry: shown.entry,
        by: entry.map(|entry| entry.actor.clone()),
        key: record.and_then(Record::author),
        reason: entry.and_then(|entry| entry.reason.clone()),
        source: made.and_then(|entry| entry.source.clone()),
        run: made.and_then(|entry| entry.run.clone()),
        agrees: None,
        tag: None,
        held: channel.hold.as_ref().map(held_row),
        way_back: None,
        took: None,
        yanked: state.is_barred(&shown.digest),
        glass: state.glass.get(&shown.entry).map(|glass| match glass.ratified {
            Some(_) => "ratified",
            None => "unratified",
        }),
        slot_of: Vec::new(),
    }
}

/// The entry that released what is shown: where it came from stands there, not in the promotion.
fn made_by<'a>(view: &'a View, state: &State, shown: &Shown) -> Option<&'a Entry> {
    let bound = match &shown.version {
        Some(version) => state.versions.get(version)?.to(&shown.digest)?,
        None => state.versions_of(&shown.digest).next()?.1,
    };
    view.find(&bound.entry).map(|(_, record, _)| &record.entry)
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

/// The channels that took from `slot` by a switch.
fn slot_of(state: &State, slot: &Channel) -> Vec<SlotOf> {
    let digest = |channel: &Channel| state.shows(channel).map(|shown| shown.digest);
    let of = state
        .channels
        .iter()
        .filter(|(_, channel)| channel.slots.contains(slot));
    of.map(|(name, channel)| SlotOf {
        channel: name.clone(),
        live: channel.took() == Some(slot) && digest(name) == digest(slot),
    })
    .collect()
}
