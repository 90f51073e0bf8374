//! `cairn status`

use cairn_ledger::Fingerprint;
use cairn_ledger::query::StatusRow;
use cairn_oci::Digest;
use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::ledgers::{LedgerOptions, OpenLedger, by, mode_text};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;
use crate::terminal::{minute, short};

/// What `cairn status` takes.
#[derive(Debug, Args)]
pub struct Status {
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    repository: String,
    mode: Option<String>,
    size: u64,
    head: Option<Digest>,
    at: Option<String>,
    channels: &'a [StatusRow],
}

impl Status {
    /// Prints one line for each channel.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        let rows = open.ledger.status(&open.opened).await?;
        if cairn.terminal.json {
            return cairn.terminal.document(&document(&open, &rows));
        }
        // As in the history: a courtesy.
        print(cairn, signing::own(cairn, &open), &rows)
    }
}

fn document<'a>(open: &OpenLedger, channels: &'a [StatusRow]) -> Document<'a> {
    let head = open.opened.head();
    Document {
        repository: open.images.to_string(),
        mode: open.opened.mode().map(|mode| mode_text(&mode)),
        size: head.map_or(0, |head| head.size),
        head: head.map(|head| head.digest),
        at: head.map(|head| head.at.to_string()),
        channels,
    }
}

fn print(cairn: &Cairn, key: Option<Fingerprint>, rows: &[StatusRow]) -> Result<(), Failure> {
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.to_string(),
                shows(row),
                short(&row.digest),
                minute(row.since),
                by(key, row.key, row.by.as_ref()),
                way_back(row),
            ]
        })
        .collect();
    cairn
        .terminal
        .table(&["CHANNEL", "SHOWS", "DIGEST", "SINCE", "BY", "WAY BACK"], &lines)?;
    if rows.is_empty() {
        cairn
            .terminal
            .say("no channel shows anything yet: cairn promote VERSION CHANNEL moves one");
    }
    for row in rows {
        tell(cairn, row);
    }
    Ok(())
}

fn shows(row: &StatusRow) -> String {
    let version = row
        .version
        .as_ref()
        .map_or_else(|| short(&row.digest), ToString::to_string);
    if row.held.is_some() {
        format!("{version} (held)")
    } else {
        version
    }
}

fn way_back(row: &StatusRow) -> String {
    match &row.way_back {
        None => "–".to_owned(),
        Some(back) => {
            let version = back
                .version
                .as_ref()
                .map_or_else(|| short(&back.digest), ToString::to_string);
            format!("{version} {}", if back.ready { "ready" } else { "MISSING BLOBS" })
        }
    }
}

fn tell(cairn: &Cairn, row: &StatusRow) {
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
        cairn.terminal.say(format!(
            "{} is held since {}{reason}{left}; cairn resume {0} lifts it",
            row.name,
            minute(held.since)
        ));
    }
    if !row.agrees {
        let tag = row
            .tag
            .map_or_else(|| "nothing".to_owned(), |tag| tag.to_string());
        cairn.terminal.warn(format!(
            "the tag {} shows {tag}, and the ledger says {}",
            row.name, row.digest
        ));
    }
    if let Some(missing) = row.way_back.as_ref().and_then(|back| back.missing.as_ref()) {
        cairn
            .terminal
            .warn(format!("the way back of {} is broken: {missing}", row.name));
    }
}
