//! Stays: from when to when a channel showed what.

use std::collections::BTreeMap;

use cairn_oci::Digest;
use jiff::Timestamp;
use serde::Serialize;

use crate::entry::{Entry, EntryName, Kind};
use crate::fold::{Outcome, Subject};
use crate::name::{Channel, Version};
use crate::time;
use crate::view::View;

/// A channel showed one digest from one entry on until another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stay {
    /// Which channel.
    pub channel: Channel,
    /// What it showed.
    pub digest: Digest,
    /// As which version.
    pub version: Option<Version>,
    /// The position of the entry that put it there.
    pub seq: u64,
    /// The name of that entry.
    pub name: EntryName,
    /// That entry's own time.
    #[serde(with = "time")]
    pub since: Timestamp,
    /// The own time of the entry that put something else there; none: it is there now.
    #[serde(with = "time::option")]
    pub until: Option<Timestamp>,
}

/// The channels that an entry moved, by what became of it. That a hold is lifted moves nothing.
pub(super) fn moved<'a>(entry: &'a Entry, outcome: &'a Outcome) -> impl Iterator<Item = &'a Channel> {
    let effects = outcome.effects.iter().filter(|_| entry.kind != Kind::Resume);
    effects.filter_map(|(subject, verdict)| match subject {
        Subject::Channel(channel) if verdict.stands() => Some(channel),
        _ => None,
    })
}

/// Every stay of every channel, in the order in which they began.
#[must_use]
pub fn stays(view: &View) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let mut open: BTreeMap<&Channel, usize> = BTreeMap::new();
    for (seq, (record, outcome)) in (0..).zip(view.records().iter().zip(view.outcomes())) {
        let entry = &record.entry;
        let Some(digest) = entry.digest else { continue };
        for channel in moved(entry, outcome) {
            let before = open.get(channel).copied().and_then(|index| stays.get_mut(index));
            if let Some(before) = before {
                if before.digest == digest && before.version == entry.version {
                    continue;
                }
                before.until = Some(entry.at);
            }
            open.insert(channel, stays.len());
            stays.push(Stay {
                channel: channel.clone(),
                digest,
                version: entry.version.clone(),
                seq,
                name: record.name,
                since: entry.at,
                until: None,
            });
        }
    }
    stays
}
