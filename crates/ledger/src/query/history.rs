//! The history: entries, newest first.

use std::collections::{BTreeMap, VecDeque};

use cairn_oci::Digest;
use jiff::Timestamp;
use serde::Serialize;

use super::stay::moved;
use crate::entry::{Actor, EntryName, Kind, Run, Source};
use crate::fold::{Outcome, Record};
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::open::Opened;
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
    /// The key of whoever made it; none if several signed and it does not say which of them that was.
    pub key: Option<Fingerprint>,
    /// All keys that signed it.
    pub signers: Vec<Fingerprint>,
    /// From which source.
    pub source: Option<Source>,
    /// In which run of a pipeline.
    pub run: Option<Run>,
    /// Whether its image is no longer kept.
    pub pruned: bool,
    /// `unratified` or `ratified`, if an unlisted key did it.
    pub glass: Option<&'static str>,
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

/// Which entries are wanted. What is empty or absent asks for nothing in particular; what is there must hold all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Those that move, hold or resume one of these channels, or take from it.
    pub channels: Vec<Channel>,
    /// Those about this version.
    pub version: Option<Version>,
    /// Those of one of these kinds.
    pub kinds: Vec<Kind>,
    /// Those whose actor has this text in its name, in upper or lower case, or whose key's fingerprint begins with it.
    pub actor: Option<String>,
    /// Those that say this time or a later one.
    pub since: Option<Timestamp>,
    /// Those that say this time or an earlier one.
    pub until: Option<Timestamp>,
    /// Those before this position.
    pub before: Option<u64>,
    /// At most this many: the newest.
    pub limit: Option<usize>,
}

/// A part of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The entries, newest first.
    pub rows: Vec<HistoryRow>,
    /// How many more there are that are older and wanted too.
    pub older: u64,
}

impl HistoryPage {
    /// What [`HistoryFilter::before`] has to be for the next page; none if this is the last one.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.rows.last().filter(|_| self.older > 0).map(|row| row.seq)
    }
}

impl HistoryFilter {
    fn wants(&self, seq: u64, record: &Record) -> bool {
        let entry = &record.entry;
        let names = |channel: &Channel| {
            let from = entry.from.as_ref().map(|from| &from.channel);
            entry.move_of(channel).is_some() || from == Some(channel)
        };
        self.before.is_none_or(|before| seq < before)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at <= until)
            && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && (self.version.is_none() || self.version == entry.version)
            && (self.channels.is_empty() || self.channels.iter().any(names))
            && self.actor.as_deref().is_none_or(|actor| is_by(record, actor))
    }
}

fn is_by(record: &Record, actor: &str) -> bool {
    let id = record.entry.actor.id.to_lowercase();
    let mut keys = record.signers.iter().map(ToString::to_string);
    id.contains(&actor.to_lowercase()) || keys.any(|key| key.starts_with(actor))
}

/// All entries, newest first; only those that name `channel` if one is given.
#[must_use]
pub fn history(opened: &Opened, channel: Option<&Channel>) -> Vec<HistoryRow> {
    let filter = HistoryFilter {
        channels: channel.into_iter().cloned().collect(),
        ..HistoryFilter::default()
    };
    history_page(opened, &filter).rows
}

/// The newest entries that the filter wants.
#[must_use]
pub fn history_page(opened: &Opened, filter: &HistoryFilter) -> HistoryPage {
    let view = opened.view();
    let mut shows: BTreeMap<&Channel, Digest> = BTreeMap::new();
    let (mut rows, mut older) = (VecDeque::new(), 0);
    for (seq, (record, outcome)) in (0..).zip(view.records().iter().zip(view.outcomes())) {
        if filter.wants(seq, record) {
            let first = record.entry.moves.first();
            let previous = first.and_then(|one| shows.get(&one.channel).copied());
            rows.push_back((seq, record, outcome, previous));
            if rows.len() > filter.limit.unwrap_or(usize::MAX) {
                rows.pop_front();
                older += 1;
            }
        }
        if let Some(digest) = record.entry.digest {
            shows.extend(moved(&record.entry, outcome).map(|channel| (channel, digest)));
        }
    }
    let newest_first = rows.into_iter().rev();
    let rows =
        newest_first.map(|(seq, record, outcome, previous)| row(opened, seq, record, outcome, previous));
    HistoryPage {
        rows: rows.collect(),
        older,
    }
}

/// `unratified` or `ratified`, if an unlisted key made the entry and it has effect.
pub(super) fn glass(opened: &Opened, entry: &EntryName) -> Option<&'static str> {
    let glass = opened.state()?.glass.get(entry)?;
    Some(if glass.ratified.is_some() {
        "ratified"
    } else {
        "unratified"
    })
}

fn row(
    opened: &Opened,
    seq: u64,
    record: &Record,
    outcome: &Outcome,
    previous: Option<Digest>,
) -> HistoryRow {
    let entry = &record.entry;
    let void = outcome.void().map(|(subject, why, overtaken_by)| VoidRow {
        subject: subject.to_string(),
        why: why.code(),
        overtaken_by,
    });
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
        key: record.author(),
        signers: record.signers.iter().copied().collect(),
        source: entry.source.clone(),
        run: entry.run.clone(),
        pruned: entry.digest.is_some_and(|digest| {
            let state = opened.state();
            state.is_some_and(|state| state.is_pruned(&digest))
        }),
        glass: glass(opened, &record.name),
        void: void.collect(),
    }
}
