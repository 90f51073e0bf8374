//! Stays: from when to when a channel showed what.

use std::collections::BTreeMap;

use cairn_oci::Digest;
use jiff::Timestamp;
use serde::Serialize;

use crate::base::Brief;
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
pub(crate) fn moved<'a>(entry: &'a Entry, outcome: &'a Outcome) -> impl Iterator<Item = &'a Channel> {
    let effects = outcome.effects.iter().filter(|_| entry.kind != Kind::Resume);
    effects.filter_map(|(subject, verdict)| match subject {
        Subject::Channel(channel) if verdict.stands() => Some(channel),
        _ => None,
    })
}

/// Every stay of every channel, in the order in which they began.
#[must_use]
pub fn stays(view: &View) -> Vec<Stay> {
    stays_where(view, |_| true)
}

/// What a channel shows while the entries are gone through.
struct Showing<'a> {
    digest: Digest,
    version: Option<&'a str>,
    /// Where its stay is, if that is wanted.
    index: Option<usize>,
}

/// Every stay of the digests that are meant, in the order in which they began.
pub(super) fn stays_where(view: &View, is_meant: impl Fn(&Digest) -> bool) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let briefs = view.briefs();
    let mut showing: BTreeMap<&str, Showing<'_>> = BTreeMap::new();
    for (seq, brief) in briefs.iter().enumerate() {
        let Some(digest) = brief.digest else { continue };
        for channel in brief.moved {
            if let Some(before) = showing.get(channel) {
                if before.digest == digest && before.version == brief.version {
                    continue;
                }
                if let Some(before) = before.index.and_then(|index| stays.get_mut(index)) {
                    before.until = Some(brief.at);
                }
            }
            let stay = is_meant(&digest)
                .then(|| stay(view, seq, &brief, digest, channel))
                .flatten();
            let shown = Showing {
                digest,
                version: brief.version,
                index: stay.is_some().then_some(stays.len()),
            };
            stays.extend(stay);
            showing.insert(channel, shown);
        }
    }
    stays
}

fn stay(view: &View, seq: usize, brief: &Brief<'_>, digest: Digest, channel: &str) -> Option<Stay> {
    Some(Stay {
        channel: channel.parse().ok()?,
        digest,
        version: brief.version.map(str::parse).transpose().ok()?,
        seq: seq as u64,
        name: *view.walk().names.get(seq)?,
        since: brief.at,
        until: None,
    })
}
