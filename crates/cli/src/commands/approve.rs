//! `cairn approve`

use cairn_ledger::operation::Approved;
use cairn_ledger::waiting::{Missing, Standing, Waiting};
use cairn_ledger::{Fingerprint, Kind, OperationError, State};
use clap::Args;
use serde::Serialize;

use crate::commands::moves::{self, Moved};
use crate::failure::Failure;
use crate::ledgers::{EntryOptions, LedgerOptions, Names, OpenLedger};
use crate::program::Cairn;
use crate::signing;
use crate::terminal::{minute, short};

/// What `cairn approve` takes.
#[derive(Debug, Args)]
pub struct Approve {
    /// The entry to sign, by the beginning of its name; without one, what waits is listed
    #[arg(value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// Takes the entry back, instead of signing it
    #[arg(long, requires = "name")]
    pub withdraw: bool,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

/// The beginning of an entry's name: hexadecimal digits.
fn name(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match (4..=64).contains(&digits.len()) && digits.bytes().all(is_hex) {
        true => Ok(digits.to_owned()),
        false => Err(
            "the name of an entry has 4 to 64 hexadecimal digits; cairn approve lists those that wait"
                .to_owned(),
        ),
    }
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    waiting: Vec<WaitingDocument>,
}

#[derive(Serialize)]
struct WaitingDocument {
    name: String,
    kind: String,
    version: Option<String>,
    digest: Option<String>,
    channels: Vec<String>,
    actor: String,
    reason: Option<String>,
    at: String,
    signed: Vec<String>,
    missing: Vec<String>,
    standing: &'static str,
    void: Option<&'static str>,
}

impl Approve {
    /// Lists, signs or withdraws.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.require_here(cairn).await?;
        let Some(name) = &self.name else {
            return list(cairn, &open).await;
        };
        open.check_home()?;
        let waiting = open.ledger.find_waiting(&open.opened, name).await?;
        tell(cairn, &open, &waiting);
        if self.withdraw {
            return self.withdraw(cairn, &open, &waiting).await;
        }
        if self.entry.dry_run {
            cairn.terminal.say(format!("would sign {}", waiting.name));
            return Ok(());
        }
        if let Standing::Done(position) = waiting.standing {
            cairn
                .terminal
                .say(format!("it is in the ledger already, as #{position}"));
        }
        let key = signing::require(cairn, &open)?;
        let context = self.entry.context(cairn, &key, None)?;
        let verb = past(&waiting.entry.kind);
        let moved = Moved {
            verb,
            transferred: None,
        };
        match open.ledger.approve(&open.opened, &context, &waiting).await {
            Ok(Approved::Signed(waiting)) => {
                cairn.flush().await?;
                let done = None;
                Err(OperationError::Waiting { waiting, done }.into())
            }
            Ok(Approved::Done(done)) => {
                if done.changed && matches!(done.kind, Kind::Keys | Kind::Rules) {
                    cairn.terminal.say(format!("the {} were changed", done.kind));
                }
                if done.changed && done.kind == Kind::Resume {
                    for one in done.channels.iter().filter(|one| !one.held) {
                        moves::tell_resumed(cairn, &one.channel);
                    }
                }
                moves::finish(cairn, &open, key.fingerprint(), Ok(*done), moved).await
            }
            Err(error) => moves::finish(cairn, &open, key.fingerprint(), Err(error), moved).await,
        }
    }

    async fn withdraw(&self, cairn: &Cairn, open: &OpenLedger, waiting: &Waiting) -> Result<(), Failure> {
        if self.entry.dry_run {
            cairn.terminal.say(format!("would take {} back", waiting.name));
            return Ok(());
        }
        open.ledger
            .withdraw(waiting)
            .await
            .map_err(OperationError::Commit)?;
        cairn.flush().await?;
        cairn.terminal.say(format!("{} no longer waits", waiting.name));
        Ok(())
    }
}

const fn past(kind: &Kind) -> &'static str {
    match kind {
        Kind::Release => "released",
        Kind::Promote => "promoted",
        Kind::Switch => "switched",
        Kind::Resume => "resumed",
        _ => "done",
    }
}

async fn list(cairn: &Cairn, open: &OpenLedger) -> Result<(), Failure> {
    let list = open
        .ledger
        .waiting(&open.opened)
        .await
        .map_err(OperationError::Open)?;
    for finding in &list.findings {
        let (code, subject, message) = (&finding.code, &finding.subject, &finding.message);
        cairn.terminal.warn(format!("{code}: {subject}: {message}"));
    }
    let Some(state) = open.opened.state() else {
        return Err(open.absent());
    };
    if cairn.terminal.json {
        return cairn.terminal.document(&Document {
            repository: open.images.to_string(),
            waiting: list.entries.iter().map(|one| document(state, one)).collect(),
        });
    }
    if list.entries.is_empty() {
        cairn.terminal.say("nothing waits for a signature");
        return Ok(());
    }
    let names = Names::of(signing::own(cairn, open), &open.opened);
    let row = |one: &Waiting| {
        vec![
            one.short(),
            what(one),
            minute(one.entry.at),
            signers(&names, one).join(", "),
            standing_text(open, one),
        ]
    };
    let rows: Vec<Vec<String>> = list.entries.iter().map(row).collect();
    cairn
        .terminal
        .table(&["NAME", "WHAT", "SINCE (UTC)", "SIGNED BY", "WAITS FOR"], &rows)
}

/// What is about to be signed: nobody signs what they have not seen.
fn tell(cairn: &Cairn, open: &OpenLedger, waiting: &Waiting) {
    let names = Names::of(signing::own(cairn, open), &open.opened);
    let terminal = &cairn.terminal;
    let reason = waiting.entry.reason.as_ref();
    let reason = reason.map(|reason| format!(": \"{reason}\"")).unwrap_or_default();
    let by = signers(&names, waiting).join(", ");
    terminal.step("entry", format!("{}  {}", waiting.short(), what(waiting)));
    terminal.step("by", format!("{by}, {} UTC{reason}", minute(waiting.entry.at)));
    if let Some(digest) = &waiting.entry.digest {
        terminal.step("image", digest.to_string());
    }
    if let Some(authority) = &waiting.entry.authority {
        for grant in &authority.keys {
            terminal.step("key", crate::roles::line(grant));
        }
        terminal.step("threshold", authority.threshold.to_string());
    }
    for line in waiting.entry.rules.iter().flat_map(crate::rules::lines) {
        terminal.step("rule", line);
    }
}

fn signers(names: &Names, waiting: &Waiting) -> Vec<String> {
    let label = |key: &Fingerprint| names.by(Some(*key), None);
    waiting.signers.iter().map(label).collect()
}

/// `promote 1.4.2 to prod`
fn what(waiting: &Waiting) -> String {
    let entry = &waiting.entry;
    let version = entry.version.as_ref().map(ToString::to_string);
    let subject = version.or_else(|| entry.digest.as_ref().map(short));
    let channels: Vec<String> = entry.moves.iter().map(|one| one.channel.to_string()).collect();
    let mut words = vec![entry.kind.to_string()];
    words.extend(subject);
    if !channels.is_empty() {
        let to = if entry.kind == Kind::Resume { "" } else { "to " };
        words.push(format!("{to}{}", channels.join(", ")));
    }
    words.join(" ")
}

fn standing_text(open: &OpenLedger, waiting: &Waiting) -> String {
    match waiting.standing {
        Standing::Open => {
            let missing: Vec<String> = waiting.missing.iter().map(Missing::text).collect();
            missing.join(", and ")
        }
        Standing::Done(position) => format!("done: #{position}"),
        Standing::Void { why, by } => {
            let by = by.and_then(|by| open.opened.view().find(&by));
            let by = by.map_or_else(String::new, |(seq, _, _)| format!(" (#{seq})"));
            format!("void: {why}{by}")
        }
    }
}

fn document(state: &State, waiting: &Waiting) -> WaitingDocument {
    let entry = &waiting.entry;
    let (standing, void) = match waiting.standing {
        Standing::Open => ("open", None),
        Standing::Done(_) => ("done", None),
        Standing::Void { why, .. } => ("void", Some(why.code())),
    };
    WaitingDocument {
        name: waiting.name.to_string(),
        kind: entry.kind.to_string(),
        version: entry.version.as_ref().map(ToString::to_string),
        digest: entry.digest.as_ref().map(ToString::to_string),
        channels: entry.moves.iter().map(|one| one.channel.to_string()).collect(),
        actor: entry.actor.id.clone(),
        reason: entry.reason.clone(),
        at: entry.at.to_string(),
        signed: waiting
            .signers
            .iter()
            .map(|key| state.authority.label(key).to_string())
            .collect(),
        missing: waiting.missing.iter().map(Missing::text).collect(),
        standing,
        void,
    }
}
