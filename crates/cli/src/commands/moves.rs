//! What the commands that append have in common: the arguments, the way there, and telling what was done.

use cairn_ledger::image::Parts;
use cairn_ledger::operation::{Appended, Blocked, ChannelDone, Note, Overwrote, Plan, PlannedMove};
use cairn_ledger::query;
use cairn_ledger::state::Shown;
use cairn_ledger::waiting::Missing;
use cairn_ledger::{Channel, Context, Done, Fingerprint, Kind, Ledger, Opened, OperationError, Version};
use cairn_oci::Digest;
use cairn_store::transfer::{Count, Transferred};
use clap::Args;
use serde::Serialize;

use crate::commands::show;
use crate::failure::{Exit, Failure};
use crate::ledgers::{
    EntryOptions, GlassOption, LedgerOptions, Names, OpenLedger, mode_text, tell_nothing_changed,
};
use crate::program::Cairn;
use crate::signing::{self, SigningKey};
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

/// What every command takes that appends an entry about an image that is there already.
#[derive(Debug, Args)]
pub struct AppendOptions {
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

/// What every command takes that moves a channel to what is there already.
#[derive(Debug, Args)]
pub struct MoveOptions {
    /// Which ledger, and what is written into it.
    #[command(flatten)]
    pub append: AppendOptions,
    /// Whether the key need not be in the ledger.
    #[command(flatten)]
    pub glass: GlassOption,
}

/// A ledger that is there, and the key that signs what is appended to it.
pub struct Ready {
    /// The ledger.
    pub open: OpenLedger,
    key: SigningKey,
    glass: GlassOption,
}

impl MoveOptions {
    /// [`AppendOptions::ready`], and then [`AppendOptions::carry_out`].
    ///
    /// # Errors
    ///
    /// As they.
    pub async fn carry_out(
        &self,
        cairn: &Cairn,
        verb: &'static str,
        plan: impl FnOnce(&Opened, &str, &Context<'_>) -> Result<Plan, Failure>,
        deed: impl AsyncFnOnce(&Ledger, &Opened, &Context<'_>) -> Result<Done, OperationError>,
    ) -> Result<(), Failure> {
        let ready = self.append.ready(cairn, self.glass).await?;
        self.append.carry_out(cairn, &ready, verb, plan, deed).await
    }
}

impl AppendOptions {
    /// Reads the ledger, and finds the key.
    ///
    /// # Errors
    ///
    /// When there is no ledger or no key.
    pub async fn ready(&self, cairn: &Cairn, glass: GlassOption) -> Result<Ready, Failure> {
        let open = self.ledger.require_home(cairn).await?;
        let key = signing::require_for(cairn, &open, glass)?;
        Ok(Ready { open, key, glass })
    }

    /// With `--dry-run` prints what `plan` says of the home of this name; else does the `deed`, tells it, and remembers.
    ///
    /// # Errors
    ///
    /// Why the deed was not done, or not whole; or would not be done.
    pub async fn carry_out(
        &self,
        cairn: &Cairn,
        ready: &Ready,
        verb: &'static str,
        plan: impl FnOnce(&Opened, &str, &Context<'_>) -> Result<Plan, Failure>,
        deed: impl AsyncFnOnce(&Ledger, &Opened, &Context<'_>) -> Result<Done, OperationError>,
    ) -> Result<(), Failure> {
        let Ready { open, key, glass } = ready;
        let context = glass.on(self.entry.context(cairn, key, None)?);
        if self.entry.dry_run {
            let plan = plan(&open.opened, &open.ledger.home().label(), &context)?;
            return rehearse(cairn, open, key.fingerprint(), verb, plan, false).await;
        }
        let done = deed(&open.ledger, &open.opened, &context).await;
        let moved = Moved {
            verb,
            transferred: None,
        };
        finish(cairn, open, key.fingerprint(), done, moved).await
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
    dry_run: bool,
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
    overwrote: Option<OverwroteDocument>,
}

/// What a channel's tag showed instead of what the ledger said.
#[derive(Serialize)]
struct OverwroteDocument {
    digest: Digest,
    version: Option<String>,
}

impl From<&Overwrote> for OverwroteDocument {
    fn from(overwrote: &Overwrote) -> Self {
        Self {
            digest: overwrote.digest,
            version: overwrote.version.as_ref().map(ToString::to_string),
        }
    }
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
        let blocked = match &result {
            Err(OperationError::Blocked { blocked, .. }) => blocked.as_slice(),
            _ => &[],
        };
        tell(cairn, key, done, &moved, blocked);
    }
    if let Some(name) = done.and_then(broke_glass) {
        let text = format!(
            "the glass was broken; somebody else accepts it with: cairn ratify {}",
            cairn_ledger::head::short(&name)
        );
        cairn.terminal.warn(cairn.terminal.to_type(text));
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

/// Says that a hold was lifted.
pub fn tell_resumed(cairn: &Cairn, channel: &Channel) {
    cairn
        .terminal
        .say(format!("{channel} is no longer held: releases may move it again"));
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
    let channel = |one: &ChannelDone| ChannelDocument {
        name: one.channel.to_string(),
        previous: one.previous.as_ref().map(|shown| shown.digest),
        digest: one.now.as_ref().map(|shown| shown.digest),
        held: one.held,
        complete: one.projected,
        overwrote: one.overwrote.as_ref().map(OverwroteDocument::from),
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
        dry_run: false,
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

/// What was done; what became of channels that are `blocked` is somebody else's doing.
fn tell(cairn: &Cairn, key: Fingerprint, done: &Done, moved: &Moved, blocked: &[Blocked]) {
    let terminal = &cairn.terminal;
    tell_checked(cairn, moved.verb, done.version.as_ref(), done.checked.as_ref());
    let is_again = done
        .notes
        .iter()
        .any(|note| matches!(note, Note::AlreadyReleased { .. }));
    if let ("released", false, Some(version), Some(digest)) =
        (moved.verb, is_again, &done.version, &done.digest)
    {
        terminal.step(moved.verb, format!("{version}  {digest}"));
    }
    let names = Names::of(Some(key), &done.opened);
    for note in &done.notes {
        terminal.say(terminal.to_type(note_text(note, &names, &done.opened, cairn)));
    }
    let mut now = Vec::new();
    let mut held = Vec::new();
    let is_blocked = |one: &&ChannelDone| blocked.iter().any(|blocked| blocked.channel == one.channel);
    for channel in done.channels.iter().filter(|one| !is_blocked(one)) {
        let name = &channel.channel;
        let label = |shown: &Option<Shown>| shown.as_ref().map_or_else(|| "–".to_owned(), Shown::label);
        if channel.moved() {
            let hold = if channel.held { ", held" } else { "" };
            terminal.step(
                name.as_str(),
                format!("{} → {}{hold}", label(&channel.previous), label(&channel.now)),
            );
            if channel.projected {
                now.push(format!("{name} now names {}", label(&channel.now)));
            }
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
    // Whatever becomes of a rollback's move, it holds the channel.
    let holds = done.changed && done.kind == Kind::Rollback;
    for channel in done
        .channels
        .iter()
        .filter(|one| holds && one.held && is_blocked(one))
    {
        let text = format!("{0} is held now; cairn resume {0} lifts it", channel.channel);
        terminal.say(terminal.to_type(text));
    }
    let after = match held.is_empty() {
        true => String::new(),
        false => terminal.to_type(format!(". Resume releases with: {}", held.join("; "))),
    };
    tell_nothing_changed(terminal, &now, &after);
    tell_overwritten(cairn, &done.channels);
}

/// Says of a rollback that all of its target is there.
fn tell_checked(cairn: &Cairn, verb: &str, version: Option<&Version>, checked: Option<&Parts>) {
    let Some(parts) = checked.filter(|_| verb == "rolled back") else {
        return;
    };
    let version = version.map_or_else(String::new, ToString::to_string);
    cairn.terminal.step(
        &format!("checking {version}"),
        format!(
            "{}, {}: all there",
            counted(parts.indexes + parts.manifests, "manifest", "manifests"),
            counted(parts.blobs, "blob", "blobs")
        ),
    );
}

fn overwritten_text(channel: &Channel, overwrote: &Overwrote, said: Option<&Shown>) -> String {
    let version = overwrote.version.as_ref();
    let version = version.map_or_else(String::new, |version| format!(" ({version})"));
    let said = said.map_or_else(|| "nothing".to_owned(), Shown::label);
    format!(
        "the tag {channel} showed {}{version}, and the ledger said {said}: somebody moved it by hand, or a run was cut off",
        overwrote.digest
    )
}

/// Says what tags showed that nobody may have meant to be overwritten.
pub fn tell_overwritten(cairn: &Cairn, channels: &[ChannelDone]) {
    for channel in channels {
        let Some(overwrote) = &channel.overwrote else {
            continue;
        };
        let name = &channel.channel;
        let text = overwritten_text(name, overwrote, channel.previous.as_ref());
        let target = match &overwrote.version {
            Some(version) => version.to_string(),
            None => overwrote.digest.to_string(),
        };
        let next = format!("{text}. It is overwritten; if it was meant: cairn rollback {name} {target}");
        cairn.terminal.warn(cairn.terminal.to_type(next));
    }
}

/// One sentence about what there was not to do.
fn note_text(note: &Note, names: &Names, opened: &Opened, cairn: &Cairn) -> String {
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
            let deed = query::deed(opened, entry).map(|one| show::deed(&one, names));
            format!(
                "{version} was yanked before, {}",
                deed.unwrap_or_else(|| short(entry))
            )
        }
        Note::StillShown { channel, now } => {
            let has_way_back = opened
                .state()
                .is_some_and(|state| state.way_back(channel).is_some());
            let how = match has_way_back {
                true => format!("cairn rollback {channel} leaves it"),
                false => format!("it has no way back; cairn promote VERSION {channel} leaves it"),
            };
            format!("{channel} shows {} and goes on doing so: {how}", now.label())
        }
        Note::Agrees { channel, now } => format!(
            "the tag {channel} shows {}, as the ledger says: nothing to record",
            now.label()
        ),
        Note::NotHeld { channel } => format!("{channel} is not held: nothing to do"),
    }
}

/// Looks at all that would stop a plan, and prints what would be done if `key` signed it now. The image is not looked for if it is
/// `absent`, because it would only be pushed.
///
/// # Errors
///
/// As the command itself would fail: also why a channel would not be moved.
pub async fn rehearse(
    cairn: &Cairn,
    open: &OpenLedger,
    key: Fingerprint,
    verb: &str,
    plan: Plan,
    absent: bool,
) -> Result<(), Failure> {
    let plan = plan.foreseen(&open.opened, &key);
    let rehearsed = open.ledger.rehearse(&open.opened, &plan, absent).await?;
    tell_checked(cairn, verb, plan.version.as_ref(), rehearsed.checked.as_ref());
    print_plan(cairn, open, key, &plan, &rehearsed.overwrites)
}

fn print_plan(
    cairn: &Cairn,
    open: &OpenLedger,
    key: Fingerprint,
    plan: &Plan,
    overwrites: &[(Channel, Overwrote)],
) -> Result<(), Failure> {
    let terminal = &cairn.terminal;
    if let (Kind::Yank, Some(_), Some(version)) = (&plan.kind, &plan.entry, &plan.version) {
        terminal.step("yanked", format!("{version} (not done: --dry-run)"));
    }
    let names = Names::of(Some(key), &open.opened);
    for note in &plan.notes {
        terminal.say(terminal.to_type(note_text(note, &names, &open.opened, cairn)));
    }
    for planned in &plan.channels {
        if let Some(text) = planned_text(plan, planned) {
            terminal.step(planned.channel.as_str(), format!("{text} (not done: --dry-run)"));
        }
    }
    for lack in &plan.lacks {
        terminal.warn(format!(
            "{} would wait for {}",
            lack.channel,
            Missing::Group(lack.clone()).text()
        ));
    }
    for (channel, overwrote) in overwrites {
        let said = open.opened.state().and_then(|state| state.shows(channel));
        let text = overwritten_text(channel, overwrote, said);
        terminal.warn(format!("{text}. It would be overwritten"));
    }
    if !plan.blocked.is_empty() {
        let texts: Vec<String> = plan.blocked.iter().map(Blocked::would_text).collect();
        let hint = plan
            .hint(&open.opened)
            .map_or_else(String::new, |hint| format!("; {hint}"));
        return Err(Failure::new(Exit::Conflict, texts.join("; "))
            .with_hint(format!("nothing was done: --dry-run{hint}")));
    }
    if terminal.json {
        return terminal.document(&planned_document(open, plan, overwrites));
    }
    match plan.digest {
        Some(digest) => terminal.print(open.images.at_digest(digest).to_string()),
        None => Ok(()),
    }
}

/// The document of what would be done: its channels as they would be, and no entry.
fn planned_document(open: &OpenLedger, plan: &Plan, overwrites: &[(Channel, Overwrote)]) -> Document {
    let state = open.opened.state();
    let channels = plan.channels.iter().map(|planned| {
        let current = state.and_then(|state| state.channel(&planned.channel));
        let is_held = current.is_some_and(|current| current.hold.is_some());
        let entry = plan.entry.as_ref();
        let holds = entry.and_then(|entry| entry.hold);
        let lifts = entry.is_some_and(|entry| entry.resume || entry.kind == Kind::Resume);
        let overwrote = overwrites.iter().find(|(one, _)| *one == planned.channel);
        ChannelDocument {
            name: planned.channel.to_string(),
            previous: planned.previous.as_ref().map(|shown| shown.digest),
            digest: plan.would_show(planned),
            held: holds.unwrap_or(is_held && !lifts),
            complete: false,
            overwrote: overwrote.map(|(_, overwrote)| overwrote.into()),
        }
    });
    let first = plan.channels.first();
    Document {
        repository: open.images.to_string(),
        reference: plan
            .digest
            .map(|digest| open.images.at_digest(digest).to_string()),
        version: plan.version.as_ref().map(ToString::to_string),
        channels: channels.collect(),
        digest: plan.digest,
        previous: first.and_then(|planned| Some(planned.previous.as_ref()?.digest)),
        seq: None,
        name: None,
        mode: open
            .opened
            .mode()
            .map(|mode| mode_text(&mode))
            .unwrap_or_default(),
        changed: false,
        dry_run: true,
        uploaded: Count::default(),
        reused: Count::default(),
    }
}

/// What would become of a channel; none if it stays as it is.
fn planned_text(plan: &Plan, planned: &PlannedMove) -> Option<String> {
    let is_blocked = plan
        .blocked
        .iter()
        .any(|blocked| blocked.channel == planned.channel);
    plan.entry.as_ref().filter(|_| !is_blocked)?;
    if plan.kind == Kind::Resume {
        return Some("is held → is no longer held".to_owned());
    }
    let previous = planned.previous.as_ref();
    let same =
        previous.is_some_and(|shown| Some(shown.digest) == planned.next && shown.version == planned.version);
    let next = match (&planned.version, &planned.next) {
        (Some(version), _) => version.to_string(),
        (None, Some(digest)) => short(digest),
        (None, None) => "–".to_owned(),
    };
    let previous = previous.map_or_else(|| "–".to_owned(), Shown::label);
    (!same).then(|| format!("{previous} → {next}"))
}
