//! `cairn history`

use cairn_ledger::query::{self, HistoryRow};
use cairn_ledger::{Channel, Fingerprint};
use clap::Args;
use serde::Serialize;

use crate::commands::moves;
use crate::failure::Failure;
use crate::ledgers::{LedgerOptions, by};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;
use crate::terminal::{minute, short};

/// What `cairn history` takes.
#[derive(Debug, Args)]
pub struct History {
    /// Only what names this channel
    #[arg(value_parser = moves::channel)]
    pub channel: Option<Channel>,
    /// At most this many entries
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    entries: Vec<HistoryRow>,
}

impl History {
    /// Prints the entries, newest first.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        let mut entries = query::history(&open.opened, self.channel.as_ref());
        let nothing = entries.is_empty();
        entries.truncate(self.limit.unwrap_or(usize::MAX));
        if cairn.terminal.json {
            let repository = open.images.to_string();
            return cairn.terminal.document(&Document { repository, entries });
        }
        if let (Some(channel), true) = (&self.channel, nothing) {
            cairn.terminal.say(format!(
                "no entry names {channel}; cairn status lists the channels"
            ));
        }
        // Whose entries are one's own is a courtesy: a key that cannot be read must not hide the history.
        let key = signing::own(cairn, &open);
        let rows: Vec<Vec<String>> = entries.iter().map(|entry| row(entry, key)).collect();
        cairn.terminal.table(
            &[
                "SEQ", "AT", "KIND", "VERSION", "CHANNELS", "DIGEST", "BY", "REASON",
            ],
            &rows,
        )
    }
}

fn row(entry: &HistoryRow, key: Option<Fingerprint>) -> Vec<String> {
    let channels: Vec<&str> = entry.channels.iter().map(Channel::as_str).collect();
    let void: Vec<String> = entry
        .void
        .iter()
        .map(|void| match void.overtaken_by {
            Some(other) => format!("void for {}: {} by {}", void.subject, void.why, short(&other)),
            None => format!("void for {}: {}", void.subject, void.why),
        })
        .collect();
    let mut reason: Vec<String> = entry.reason.iter().cloned().collect();
    if !void.is_empty() {
        reason.push(format!("[{}]", void.join("; ")));
    }
    vec![
        entry.seq.to_string(),
        minute(entry.at),
        entry.kind.as_str().to_owned(),
        entry
            .version
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        channels.join(","),
        entry.digest.as_ref().map(short).unwrap_or_default(),
        by(key, entry.key, Some(&entry.actor)),
        reason.join(" "),
    ]
}
