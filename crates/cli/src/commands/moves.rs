//! What release, promote, rollback and resume have in common: the arguments, and telling what was done.

use cairn_ledger::operation::{Appended, Note, Plan};
use cairn_ledger::waiting::Missing;
use cairn_ledger::{Channel, Done, Fingerprint, Kind, OperationError, Version};
use cairn_oci::Digest;
use cairn_store::transfer::{Count, Transferred};
use serde::Serialize;

use crate::failure::Failure;
use crate::ledgers::{Names, OpenLedger, mode_text, tell_nothing_changed};
use crate::program::Cairn;
use crate::terminal::{ago, counted, short};

/// Reads a version, with the hint that belongs to a wrong one.
///
/// # Errors
///
/// What clap shows.
pub fn version(text: &str) -> Result<Version, String> {
    text.parse::<Version>()
        .map_err(|error| with_hint(&error, error.hint()))
}

/// Reads a channel, with the hint that belongs to a wrong one.
///
/// # Errors
///
/// What clap shows.
pub fn channel(text: &str) -> Result<Channel, String> {
    text.parse::<Channel>()
        .map_err(|error| with_hint(&error, error.hint()))
}

fn with_hint(error: &dyn std::error::Error, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}

/// What was asked for, and what it moved besides.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// `released`, `promoted`, …
    pub verb: &'static str,
    /// What was uploaded before.
    pub transferred: Option<Transferred>,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    reference: Option<String>,
    version: Option<String>,
    channels: Vec<ChannelDocument>,
    digest: Option<Digest>,
    previous: Option<Digest>,
    seq: Option<u64>,
    name: Option<Digest>,
    mode: String,
    changed: bool,
    uploaded: Count,
    reused: Count,
}

#[derive(Serialize)]
struct ChannelDocument {
    name: String,
    previous: Option<Digest>,
    digest: Option<Digest>,
    held: bool,
    complete: bool,
}

/// Tells what was done, remembers the ledger as it is now, and fails if not everything was done.
///
/// # Errors
///
/// Why the operation was not done, or not whole.
pub async fn finish(
    cairn: &Cairn,
    open: &OpenLedger,
    key: Fingerprint,
    result: Result<Done, OperationError>,
    moved: Moved,
) -> Result<(), Failure> {
    cairn.flush().await?;
    let done = match &result {
        Ok(done) => Some(done),
        Err(error) => error.done(),
    };
    if let Some(done) = done {
        open.remember(cairn, &done.opened);
        tell(cairn, key, done, &moved);
    }
    if let Some(name) = done.and_then(broke_glass) {
        cairn.terminal.warn(format!(
            "the glass was broken; somebody else accepts it with: cairn ratify {name}"
        ));
    }
    match result {
        Ok(done) => print(cairn, open, &done, &moved),
        Err(error) => {
            if let (true, Some(done)) = (cairn.terminal.json, error.done()) {
                print(cairn, open, done, &moved)?;
            }
            Err(error.into())
        }
    }
}

/// The entry that was appended now, if a key made it that is not in the ledger.
fn broke_glass(done: &Done) -> Option<Digest> {
    let name = done.entry?.name;
    let glass = &done.opened.state()?.glass;
    glass.contains_key(&name).then_some(name)
}

fn print(cairn: &Cairn, open: &OpenLedger, done: &Done, moved: &Moved) -> Result<(), Failure> {
    let shown = done
        .channels
        .iter()
        .find_map(|channel| channel.now.as_ref())
        .map(|shown| shown.digest);
    let digest = done.digest.or(shown);
    let reference = digest.map(|digest| open.images.at_digest(digest).to_string());
    if !cairn.terminal.json {
        return reference.map_or(Ok(()), |reference| cairn.terminal.print(reference));
    }
    let transferred = moved.transferred.unwrap_or_default();
    let entry = done.entry.or_else(|| standing(done));
    let channel = |one: &cairn_ledger::operation::ChannelDone| ChannelDocument {
        name: one.channel.to_string(),
        previous: one.previous.as_ref().map(|shown| shown.digest),
        digest: one.now.as_ref().map(|shown| shown.digest),
        held: one.held,
        complete: one.projected,
    };
    cairn.terminal.document(&Document {
        repository: open.images.to_string(),
        reference,
        version: done.version.as_ref().map(ToString::to_string),
        channels: done.channels.iter().map(channel).collect(),
        digest,
        previous: done
            .channels
            .first()
            .and_then(|one| one.previous.as_ref())
            .map(|shown| shown.digest),
        seq: entry.map(|entry| entry.seq),
        name: entry.map(|entry| entry.name),
        mode: mode_text(&done.mode),
        changed: done.changed,
        uploaded: transferred.uploaded,
        reused: transferred.reused,
    })
}

/// The entry that stands for what was asked, where there was nothing to append: whoever repeats a command after a lost
/// answer learns the same name.
fn standing(done: &Done) -> Option<Appended> {
    let shown = done
        .channels
        .iter()
        .find_map(|channel| channel.now.as_ref())
        .map(|shown| shown.entry);
    let state = done.opened.state()?;
    let bound = || {
        state
            .versions
            .get(done.version.as_ref()?)?
            .to(&done.digest?)
            .map(|bound| bound.entry)
    };
    let name = if done.kind == Kind::Release {
        bound().or(shown)
    } else {
        shown.or_else(bound)
    }?;
    let (seq, _, _) = done.opened.view().find(&name)?;
    Some(Appended { seq, name })
}

fn tell(cairn: &Cairn, key: Fingerprint, done: &Done, moved: &Moved) {
    let terminal = &cairn.terminal;
    if let (true, Some(parts)) = (moved.verb == "rolled back", &done.checked) {
        let version = done
            .version
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        terminal.step(
            &format!("checking {version}"),
            format!(
                "{}, {}: all there",
                counted(parts.indexes + parts.manifests, "manifest", "manifests"),
                counted(parts.blobs, "blob", "blobs")
            ),
        );
    }
    if let (true, Some(version), Some(digest)) = (moved.verb == "released", &done.version, &done.digest) {
        terminal.step(moved.verb, format!("{version}  {digest}"));
    }
    let names = Names::of(Some(key), &done.opened);
    for note in &done.notes {
        terminal.say(note_text(note, &names, cairn));
    }
    let mut now = Vec::new();
    let mut held = Vec::new();
    for channel in &done.channels {
        let name = &channel.channel;
        let label = |shown: &Option<cairn_ledger::state::Shown>| {
            shown
                .as_ref()
                .map_or_else(|| "–".to_owned(), cairn_ledger::state::Shown::label)
        };
        if channel.moved() {
            let hold = if channel.held { ", held" } else { "" };
            terminal.step(
                name.as_str(),
                format!("{} → {}{hold}", label(&channel.previous), label(&channel.now)),
            );
            now.push(format!("{name} now names {}", label(&channel.now)));
            if channel.held {
                held.push(format!("cairn resume {name}"));
            }
        } else if label(&channel.previous) != label(&channel.now) {
            let same = format!(
                "{} → {}, the same image",
                label(&channel.previous),
                label(&channel.now)
            );
            terminal.step(name.as_str(), same);
        }
    }
    let after = match held.is_empty() {
        true => String::new(),
        false => format!(". Resume releases with: {}", held.join("; ")),
    };
    tell_nothing_changed(terminal, &now, &after);
}

/// One sentence about what there was not to do.
fn note_text(note: &Note, names: &Names, cairn: &Cairn) -> String {
    match note {
        Note::AlreadyReleased { version, .. } => format!("{version} was released as this before"),
        Note::AlreadyShows { channel, now } => format!("{channel} shows {} already", now.label()),
        Note::MovedOn { channel, now } => {
            format!(
                "{channel} showed it and has moved on to {}: it is not moved again",
                now.label()
            )
        }
        Note::AlreadyRolledBack {
            channel,
            at,
            by: signer,
            actor,
            left,
            now,
        } => {
            let ago = ago(cairn.environment.now().as_second() - at.as_second());
            let who = names.by(*signer, Some(actor));
            let left = left
                .as_ref()
                .map(|left| format!(" (left {})", left.label()))
                .unwrap_or_default();
            format!(
                "{channel} was rolled back {ago} ago by {who}{left}: nothing to do. One further back: cairn rollback {channel} --leave {}",
                now.label()
            )
        }
        Note::AlreadyLeft { channel, leave, now } => {
            format!(
                "{channel} does not show {leave} (it shows {}): nothing to do",
                now.label()
            )
        }
        Note::AlreadyYanked { version, entry } => {
            format!("{version} was yanked before, by the entry {}", short(entry))
        }
        Note::StillShown { channel, now } => format!(
            "{channel} shows {} and goes on doing so: cairn rollback {channel} leaves it",
            now.label()
        ),
        Note::Agrees { channel, now } => format!(
            "the tag {channel} shows {}, as the ledger says: nothing to record",
            now.label()
        ),
        Note::NotHeld { channel } => format!("{channel} is not held: nothing to do"),
    }
}

/// Prints what would be done.
///
/// # Errors
///
/// When stdout cannot be written.
pub fn print_plan(cairn: &Cairn, open: &OpenLedger, plan: &Plan) -> Result<(), Failure> {
    let terminal = &cairn.terminal;
    if plan.entry.is_none() {
        terminal.say("would append nothing");
    }
    for planned in &plan.channels {
        let previous = planned
            .previous
            .as_ref()
            .map_or_else(|| "–".to_owned(), cairn_ledger::state::Shown::label);
        let next = match (&planned.version, &planned.next) {
            (Some(version), _) => version.to_string(),
            (None, Some(digest)) => short(digest),
            (None, None) => "–".to_owned(),
        };
        terminal.step(
            planned.channel.as_str(),
            format!("{previous} → {next} (not done: --dry-run)"),
        );
    }
    for blocked in &plan.blocked {
        terminal.warn(blocked.text());
    }
    for lack in &plan.lacks {
        terminal.warn(format!(
            "{} would wait for {}",
            lack.channel,
            Missing::Group(lack.clone()).text()
        ));
    }
    match plan.digest {
        Some(digest) => terminal.print(open.images.at_digest(digest).to_string()),
        None => Ok(()),
    }
}
