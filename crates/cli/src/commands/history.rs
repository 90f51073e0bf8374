//! `cairn history`

use std::num::NonZeroUsize;

use cairn_ledger::query::{self, HistoryFilter, HistoryRow};
use cairn_ledger::{Channel, Kind, Version};
use clap::Args;
use serde::Serialize;

use crate::commands::moves;
use crate::failure::{Exit, Failure};
use crate::ledgers::{LedgerOptions, Names};
use crate::moment::Moment;
use crate::program::Cairn;
use crate::signing;
use crate::terminal::{counted, minute, short};

/// What `cairn history` takes.
#[derive(Debug, Args)]
pub struct History {
    /// Only what names this channel
    #[arg(value_name = "CHANNEL", value_parser = moves::channel)]
    pub channel: Option<Channel>,
    /// Only what names this channel; may be repeated
    #[arg(long = "channel", value_name = "C", value_parser = moves::channel)]
    pub channels: Vec<Channel>,
    /// Only what is about this version
    #[arg(long, value_parser = moves::version)]
    pub version: Option<Version>,
    /// Only entries of this kind, such as release or rollback; may be repeated
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    pub kinds: Vec<Kind>,
    /// Only entries of whose author this is part of the name, or that a key of this name or beginning of a fingerprint signed
    #[arg(long, visible_alias = "by", value_name = "TEXT")]
    pub actor: Option<String>,
    /// Only entries from then on: 2026-03-03, 2026-03-03T10:02:00Z, or 3d and 2h for as long ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Only entries up to then; a day counts to its end
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// At most this many entries
    #[arg(long, value_name = "N", default_value = "20")]
    pub limit: NonZeroUsize,
    /// Only entries before this position: the next page
    #[arg(long, value_name = "SEQ", value_parser = sequence)]
    pub before: Option<u64>,
    /// Every entry, instead of a page
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Reads the name of a kind.
fn kind(text: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(Kind::as_str).collect();
        format!("`{text}` is no kind of entry; there are: {}", names.join(", "))
    })
}

/// Reads a position, as `12` or `#12`.
fn sequence(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    digits
        .parse()
        .map_err(|_| format!("`{text}` is no position: 12 or #12"))
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    entries: Vec<HistoryRow>,
    /// How many more there are that are older.
    older: u64,
    /// `--before` for the next page.
    before: Option<u64>,
}

impl History {
    /// Prints the entries, newest first.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let mut filter = self.filter(cairn)?;
        let open = self.ledger.require_here(cairn).await?;
        // Whose entries are one's own is a courtesy: a key that cannot be read must not hide the history.
        let names = Names::of(signing::own(cairn, &open), &open.opened);
        // `you` and the names of keys, as the table says.
        let key = match filter.actor.as_deref() {
            Some("you") => names.own,
            Some(name) => names.key_of(name),
            None => None,
        };
        filter.actor = key.map(|key| key.to_string()).or(filter.actor);
        let page = query::history_page(&open.opened, &filter);
        let (before, older) = (page.next(), page.older);
        let entries = page.rows;
        if cairn.terminal.json {
            let repository = open.images.to_string();
            return cairn.terminal.document(&Document {
                repository,
                entries,
                older,
                before,
            });
        }
        if entries.is_empty() {
            self.tell_nothing(cairn, &filter);
            return Ok(());
        }
        let rows: Vec<Vec<String>> = entries.iter().map(|entry| row(entry, &names)).collect();
        cairn.terminal.table(
            &[
                "SEQ", "AT (UTC)", "KIND", "VERSION", "CHANNELS", "DIGEST", "BY", "REASON",
            ],
            &rows,
        )?;
        if let Some(before) = before {
            let older = counted(older, "older entry", "older entries");
            cairn
                .terminal
                .say(format!("{older}: the same command with --before {before}"));
        }
        Ok(())
    }

    fn filter(&self, cairn: &Cairn) -> Result<HistoryFilter, Failure> {
        let now = cairn.environment.now();
        let (since, until) = (
            self.since.map(|since| since.first(now)),
            self.until.map(|until| until.last(now)),
        );
        if let Some((since, until)) = since.zip(until).filter(|(since, until)| since > until) {
            let text = format!("--since {since} is after --until {until}: no entry can be in between");
            return Err(Failure::new(Exit::Usage, text));
        }
        Ok(HistoryFilter {
            channels: self.channel.iter().chain(&self.channels).cloned().collect(),
            version: self.version.clone(),
            kinds: self.kinds.clone(),
            actor: self.actor.clone().filter(|actor| !actor.is_empty()),
            since,
            until,
            before: self.before,
            limit: (!self.all).then_some(self.limit.get()),
        })
    }

    fn tell_nothing(&self, cairn: &Cairn, filter: &HistoryFilter) {
        let only_channel = HistoryFilter {
            channels: filter.channels.clone(),
            limit: filter.limit,
            ..HistoryFilter::default()
        };
        let line = match &filter.channels[..] {
            [channel] if *filter == only_channel => {
                let text = format!("no entry names {channel}; cairn status lists the channels");
                cairn.terminal.to_type(text)
            }
            _ => "no entry is like that".to_owned(),
        };
        cairn.terminal.say(line);
    }
}

/// Who made it, and whose signatures it has besides.
fn by(entry: &HistoryRow, names: &Names) -> String {
    let author = names.by(entry.key, Some(&entry.actor));
    let others = entry.signers.iter().filter(|key| Some(**key) != entry.key);
    let all = std::iter::once(author).chain(others.map(|key| names.by(Some(*key), None)));
    match entry.signers.len() {
        1 => all.take(1).collect(),
        _ => all.collect::<Vec<_>>().join(" + "),
    }
}

fn row(entry: &HistoryRow, names: &Names) -> Vec<String> {
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
    if entry.pruned && entry.kind == Kind::Release {
        reason.push("[pruned]".to_owned());
    }
    if !void.is_empty() {
        reason.push(format!("[{}]", void.join("; ")));
    }
    let version = entry.version.as_ref().map(ToString::to_string);
    vec![
        entry.seq.to_string(),
        minute(entry.at),
        format!("{}{}", entry.kind, names.mark(&entry.name)),
        version.unwrap_or_default(),
        channels.join(","),
        entry.digest.as_ref().map(short).unwrap_or_default(),
        by(entry, names),
        reason.join(" "),
    ]
}
