//! One release.

use cairn_oci::Digest;
use jiff::Timestamp;
use serde::Serialize;

use super::history::glass;
use super::stay::{Stay, stays_where};
use crate::entry::{Actor, EntryName, Run, Source};
use crate::fold::Record;
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::open::Opened;
use crate::state::{Binding, Bound, Standing, State};
use crate::time;

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its name.
    pub version: Version,
    /// `released`, `pruned`, `yanked` or `contested`.
    pub standing: &'static str,
    /// Whether the image is no longer kept.
    pub pruned: bool,
    /// What it was bound to: one, or several if it is contested.
    pub bound: Vec<ReleaseBinding>,
    /// The channels that show one of these digests.
    pub shown_by: Vec<Channel>,
    /// Where these digests were shown, and are; the newest stay first.
    pub stays: Vec<Stay>,
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
    /// By what it was barred.
    pub yanked: Option<Deed>,
    /// What says that the image is no longer kept.
    pub pruned: Option<Deed>,
    /// `unratified` or `ratified`, if an unlisted key released it.
    pub glass: Option<&'static str>,
}

/// An entry that changed what a version is worth: who made it, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// Its position.
    pub seq: u64,
    /// Its name.
    pub name: EntryName,
    /// When, by its author's clock.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// By which key.
    pub key: Option<Fingerprint>,
    /// Why.
    pub reason: Option<String>,
}

/// What is known of a version; none if it was never released.
#[must_use]
pub fn show(opened: &Opened, version: &Version) -> Option<Release> {
    let state = opened.state()?;
    let binding = state.versions.get(version)?;
    let bound = binding.bound.iter();
    Some(Release {
        version: version.clone(),
        standing: standing(state, binding),
        pruned: binding.bound.iter().any(|bound| state.is_pruned(&bound.digest)),
        bound: bound.map(|bound| release_binding(opened, bound)).collect(),
        shown_by: shown_by(state, |digest| binding.to(digest).is_some()),
        stays: stays_of(opened, |digest| binding.to(digest).is_some()),
    })
}

/// What a version is worth now, in one word.
pub(super) fn standing(state: &State, binding: &Binding) -> &'static str {
    match binding.standing() {
        Standing::Named(bound) if state.is_pruned(&bound.digest) => "pruned",
        Standing::Named(_) => "released",
        Standing::Yanked(_) => "yanked",
        Standing::Contested => "contested",
    }
}

/// The channels that show one of the digests that `is_meant` says.
pub(super) fn shown_by(state: &State, is_meant: impl Fn(&Digest) -> bool) -> Vec<Channel> {
    let channels = state.channels.iter().filter(|(_, channel)| {
        let shows = channel.shows.as_ref();
        shows.is_some_and(|shown| is_meant(&shown.digest))
    });
    channels.map(|(name, _)| name.clone()).collect()
}

/// The stays of these digests, the newest first.
pub(super) fn stays_of(opened: &Opened, is_meant: impl Fn(&Digest) -> bool) -> Vec<Stay> {
    let mut stays = stays_where(opened.view(), is_meant);
    stays.reverse();
    stays
}

pub(super) fn release_binding(opened: &Opened, bound: &Bound) -> ReleaseBinding {
    let record = opened.view().find(&bound.entry).map(|(_, record, _)| record);
    let entry = record.map(|record| &record.entry);
    ReleaseBinding {
        digest: bound.digest,
        seq: bound.position,
        name: bound.entry,
        at: bound.at,
        actor: entry.map(|entry| entry.actor.clone()),
        key: record.and_then(Record::author),
        reason: entry.and_then(|entry| entry.reason.clone()),
        source: entry.and_then(|entry| entry.source.clone()),
        run: entry.and_then(|entry| entry.run.clone()),
        record: entry.and_then(|entry| entry.record),
        yanked: bound.yanked.and_then(|name| deed(opened, &name)),
        pruned: opened
            .state()
            .and_then(|state| deed(opened, state.pruned.get(&bound.digest)?)),
        glass: glass(opened, &bound.entry),
    }
}

/// Who made an entry, when and why; none if the ledger lacks it.
#[must_use]
pub fn deed(opened: &Opened, name: &EntryName) -> Option<Deed> {
    let (seq, record, _) = opened.view().find(name)?;
    Some(Deed {
        seq,
        name: *name,
        at: record.entry.at,
        actor: record.entry.actor.clone(),
        key: record.author(),
        reason: record.entry.reason.clone(),
    })
}
