//! `cairn status`

use cairn_ledger::authority::Unmet;
use cairn_ledger::head;
use cairn_ledger::query::{self, Past, StatusRow, WayBack};
use cairn_ledger::{EntryName, Source, Version};
use cairn_oci::Digest;
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::ledgers::{HeadDocument, LedgerOptions, Names, OpenLedger};
use crate::moment::Moment;
use crate::program::Cairn;
use crate::terminal::{counted, minute, short};
use crate::{rules, signing};

/// How much of a commit is shown in a table.
const COMMIT: usize = 12;

/// What `cairn status` takes.
#[derive(Debug, Args)]
pub struct Status {
    /// What the channels showed then: 2026-03-03 (at the end of that day), 2026-03-03T10:02:00Z, or 3d and 2h for as long ago
    #[arg(long, value_name = "TIME")]
    pub at: Option<Moment>,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    ledger: HeadDocument,
    /// With `--at`: which time, and up to which entry.
    past: Option<&'a Past>,
    channels: &'a [StatusRow],
    /// Rules that no signature can meet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unmet: Vec<Unmet>,
}

impl Status {
    /// Prints one line for each channel.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.require_here(cairn).await?;
        if let Some(moment) = self.at {
            return past(cairn, &open, moment);
        }
        let rows = open.ledger.status(&open.opened).await?;
        if cairn.terminal.json {
            let state = open.opened.state();
            let unmet = state.map(|state| state.rules.unmet(&state.authority, cairn.environment.now()));
            return cairn.terminal.document(&Document {
                unmet: unmet.unwrap_or_default(),
                ..document(&open, None, &rows)
            });
        }
        print(cairn, &open, &rows)
    }
}

fn document<'a>(open: &OpenLedger, past: Option<&'a Past>, channels: &'a [StatusRow]) -> Document<'a> {
    Document {
        ledger: HeadDocument::of(open),
        past,
        channels,
        unmet: Vec::new(),
    }
}

/// Prints what the channels showed at another time.
fn past(cairn: &Cairn, open: &OpenLedger, moment: Moment) -> Result<(), Failure> {
    let time = moment.last(cairn.environment.now());
    let Some(past) = query::status_at(&open.opened, time) else {
        let first = open.opened.view().records().first();
        let began = first.map(|first| format!("it began at {} UTC", minute(first.entry.at)));
        let text = format!("the ledger of {} has no entry of {time} or before", open.images);
        return Err(Failure::new(Exit::Input, text).with_hint(began));
    };
    if cairn.terminal.json {
        return cairn.terminal.document(&document(open, Some(&past), &past.rows));
    }
    // As in the history: whose entries are one's own is a courtesy.
    let names = Names::of(signing::own(cairn, open), &open.opened);
    let lines: Vec<Vec<String>> = past.rows.iter().map(|row| past_line(row, &names)).collect();
    if lines.is_empty() {
        cairn
            .terminal
            .say(format!("no channel showed anything at {time}"));
    } else {
        cairn.terminal.table(
            &[
                "CHANNEL",
                "SHOWED",
                "DIGEST",
                "SINCE (UTC)",
                "SEQ",
                "BY",
                "COMMIT",
                "REASON",
            ],
            &lines,
        )?;
    }
    cairn.terminal.say(format!(
        "at {time}, after entry #{} of {} UTC",
        past.seq,
        minute(past.at)
    ));
    if past.later > 0 {
        let later = counted(past.later, "entry before it says", "entries before it say");
        cairn.terminal.warn(format!(
            "{later} a later time: clocks disagree, and the order of entries decides. cairn history shows both"
        ));
    }
    Ok(())
}

fn past_line(row: &StatusRow, names: &Names) -> Vec<String> {
    vec![
        row.name.to_string(),
        shows(row),
        short(&row.digest),
        minute(row.since),
        row.seq.map(|seq| seq.to_string()).unwrap_or_default(),
        names.by(row.key, row.by.as_ref()),
        row.source.as_ref().map(commit).unwrap_or_default(),
        row.reason.clone().unwrap_or_default(),
    ]
}

fn commit(source: &Source) -> String {
    let Some(commit) = &source.commit else {
        return String::new();
    };
    let dirty = if source.dirty == Some(true) { "+" } else { "" };
    match commit.char_indices().nth(COMMIT) {
        Some((end, _)) => format!("{}{dirty}", &commit[..end]),
        None => format!("{commit}{dirty}"),
    }
}

fn print(cairn: &Cairn, open: &OpenLedger, rows: &[StatusRow]) -> Result<(), Failure> {
    // As in the history: whose entries are one's own is a courtesy.
    let names = Names::of(signing::own(cairn, open), &open.opened);
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.to_string(),
                shows(row),
                short(&row.digest),
                minute(row.since),
                names.by(row.key, row.by.as_ref()),
                row.way_back.as_ref().map_or_else(|| "–".to_owned(), way_back),
                row.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() {
        cairn
            .terminal
            .say("no channel shows anything yet: cairn promote VERSION CHANNEL moves one");
        return Ok(());
    }
    cairn.terminal.table(
        &[
            "CHANNEL",
            "SHOWS",
            "DIGEST",
            "SINCE (UTC)",
            "BY",
            "WAY BACK",
            "REASON",
        ],
        &lines,
    )?;
    for row in rows {
        tell(cairn, open, row);
    }
    if rows.iter().any(|row| row.agrees.is_none()) {
        let images = &open.images;
        cairn.terminal.warn(format!(
            "{images} has no image that a channel shows, so no tag and no way back was looked at; where the images are in a repository of their own, it is named too: --repository IMAGES --ledger-repository {images}"
        ));
    }
    if let Some(state) = open.opened.state() {
        rules::tell_unmet(cairn, &state.rules, &state.authority);
    }
    for (seq, entry) in unratified(open, &names) {
        let text = format!(
            "#{seq} was made with --break-glass, by a key that is not in the ledger; cairn ratify {} accepts it",
            head::short(&entry)
        );
        cairn.terminal.warn(cairn.terminal.to_type(text));
    }
    Ok(())
}

/// What was done by breaking the glass and nobody has accepted yet, with its position.
fn unratified(open: &OpenLedger, names: &Names) -> Vec<(u64, EntryName)> {
    let found = names.unratified().filter_map(|name| {
        let (seq, _, _) = open.opened.view().find(name)?;
        Some((seq, *name))
    });
    found.collect()
}

/// The version, and what there is to know of it in a word each: held, live, idle, and that the tag says something else.
fn shows(row: &StatusRow) -> String {
    let version = row.version.as_ref().map(ToString::to_string);
    let mut words = Vec::new();
    if row.held.is_some() {
        words.push("held".to_owned());
    }
    words.extend(row.took.as_ref().map(|slot| format!("from {slot}")));
    for slot in &row.slot_of {
        let word = if slot.live { "live" } else { "idle" };
        words.push(format!("{word} in {}", slot.channel));
    }
    if row.yanked {
        words.push("YANKED".to_owned());
    }
    if row.glass == Some("unratified") {
        words.push("GLASS BROKEN".to_owned());
    }
    if row.agrees == Some(false) {
        words.push("TAG DIFFERS".to_owned());
    }
    let shown = version.unwrap_or_else(|| short(&row.digest));
    match &words[..] {
        [] => shown,
        words => format!("{shown} ({})", words.join(", ")),
    }
}

fn way_back(back: &WayBack) -> String {
    let version = back.version.as_ref().map(ToString::to_string);
    let version = version.unwrap_or_else(|| short(&back.digest));
    match back.ready {
        Some(true) => format!("{version} ready"),
        Some(false) => format!("{version} MISSING BLOBS"),
        None => version,
    }
}

/// A digest with its version: `shown` as that, or any that it was released as.
fn named(open: &OpenLedger, digest: &Digest, shown: Option<&Version>) -> String {
    let any = || {
        open.opened
            .state()?
            .versions_of(digest)
            .next()
            .map(|(version, _)| version)
    };
    match shown.or_else(any) {
        Some(version) => format!("{digest} ({version})"),
        None => digest.to_string(),
    }
}

fn tell(cairn: &Cairn, open: &OpenLedger, row: &StatusRow) {
    if let Some(held) = &row.held {
        let reason = held
            .reason
            .as_ref()
            .map(|reason| format!(": \"{reason}\""))
            .unwrap_or_default();
        let left = held
            .left
            .as_ref()
            .map(|left| format!(" (left {left})"))
            .unwrap_or_default();
        let text = format!(
            "{} is held since {} UTC{reason}{left}; cairn resume {0} lifts it",
            row.name,
            minute(held.since)
        );
        cairn.terminal.say(cairn.terminal.to_type(text));
    }
    if row.agrees == Some(false) {
        let (name, says) = (&row.name, named(open, &row.digest, row.version.as_ref()));
        let text = match &row.tag {
            Some(tag) => format!(
                "the tag {name} shows {}, and the ledger says {says}; cairn record {name} accepts it, cairn repair {name} --forward puts it back",
                named(open, tag, None)
            ),
            None => format!(
                "there is no tag {name}, and the ledger says {says}; cairn repair {name} --forward writes it"
            ),
        };
        cairn.terminal.warn(cairn.terminal.to_type(text));
    }
    if let Some(missing) = row.way_back.as_ref().and_then(|back| back.missing.as_ref()) {
        cairn
            .terminal
            .warn(format!("the way back of {} is broken: {missing}", row.name));
    }
}
