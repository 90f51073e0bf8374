//! The history: entries, newest first.

use std::collections::{BTreeMap, VecDeque};

use cairn_oci::Digest;
use jiff::Timestamp;
use serde::Serialize;

use crate::base::{Brief, Briefs};
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
    fn wants(&self, seq: u64, brief: &Brief<'_>, actor: Option<&Sought>) -> bool {
        let names = |channel: &Channel| {
            let name = channel.as_str();
            brief.from == Some(name) || brief.channels.into_iter().any(|one| one == name)
        };
        let version = self.version.as_ref().map(Version::as_str);
        self.before.is_none_or(|before| seq < before)
            && self.since.is_none_or(|since| brief.at >= since)
            && self.until.is_none_or(|until| brief.at <= until)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| brief.is(kind)))
            && (version.is_none() || version == brief.version)
            && (self.channels.is_empty() || self.channels.iter().any(names))
            && actor.is_none_or(|actor| actor.made(brief))
    }
}

/// The actor that is asked for.
struct Sought {
    /// In lower case.
    id: String,
    /// The numbers of the keys whose fingerprint begins so.
    keys: Vec<u16>,
}

impl Sought {
    fn of(actor: &str, briefs: &Briefs) -> Self {
        Self {
            id: actor.to_lowercase(),
            keys: briefs.numbers(|key| key.to_string().starts_with(actor)),
        }
    }

    fn made(&self, brief: &Brief<'_>) -> bool {
        brief.is_signed_by(&self.keys) || brief.actor.to_lowercase().contains(&self.id)
    }
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
    let briefs = view.briefs();
    let actor = filter.actor.as_deref().map(|actor| Sought::of(actor, &briefs));
    let mut shows: BTreeMap<&str, Digest> = BTreeMap::new();
    let (mut rows, mut older) = (VecDeque::new(), 0);
    for (seq, brief) in (0..).zip(briefs.iter()) {
        if filter.wants(seq, &brief, actor.as_ref()) {
            let first = brief.channels.into_iter().next();
            rows.push_back((seq, first.and_then(|channel| shows.get(channel).copied())));
            if rows.len() > filter.limit.unwrap_or(usize::MAX) {
                rows.pop_front();
                older += 1;
            }
        }
        if let Some(digest) = brief.digest {
            shows.extend(brief.moved.map(|channel| (channel, digest)));
        }
    }
    let place = |seq: u64| usize::try_from(seq).unwrap_or(usize::MAX);
    if let (Some((first, _)), Some((last, _))) = (rows.front(), rows.back())
        && (last - first) / 8 <= rows.len() as u64
    {
        view.records().fill(place(*first)..place(*last) + 1);
    }
    let newest_first = rows.into_iter().rev();
    let rows = newest_first.filter_map(|(seq, previous)| {
        let at = place(seq);
        let (record, outcome) = (view.records().get(at)?, view.outcomes().get(at)?);
        Some(row(opened, seq, record, outcome, previous))
    });
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
