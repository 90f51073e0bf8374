//! The ledger that a command speaks of: where it is, what is pinned, what is remembered of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_ledger::authority::KeyName;
use cairn_ledger::entry::REASON_LIMIT;
use cairn_ledger::query;
use cairn_ledger::{
    Actor, Authority, Context, Copied, CopyOptions, EntryName, Fingerprint, How, HowTrusted, Ledger, Opened,
    Pin,
};
use cairn_ledger::{Signer, Source, TrustPolicy};
use cairn_oci::{Digest, Reference};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::moment::duration;
use crate::pipeline::Pipeline;
use crate::program::Cairn;
use crate::project::Project;
use crate::remembered::Remembering;
use crate::signing;
use crate::terminal::{Terminal, ago, counted, minute};

/// Which ledger, and whom to believe.
#[derive(Debug, Clone, Default, Args)]
pub struct LedgerOptions {
    /// The images' repository, instead of the spec's
    #[arg(long, value_name = "REF")]
    pub repository: Option<Reference>,
    /// Where the ledger is, if not in the images' repository, instead of what the spec says ([ledger] repository)
    #[arg(long, value_name = "REF")]
    pub ledger_repository: Option<Reference>,
    /// Entries that the ledger must have: sha256:GENESIS[+sha256:ENTRY…] [default: $CAIRN_TRUST, else the spec's]
    #[arg(long, value_name = "PIN")]
    pub trust: Option<Pin>,
    /// Fails if the ledger's head is older than TIME, such as 90m, 24h or 7d: somebody may be hiding newer entries
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub max_age: Option<Duration>,
}

/// How old something may be.
///
/// # Errors
///
/// What clap shows.
pub fn age(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "a number from 1 on, followed by s, m, h or d".to_owned())
}

/// A ledger, read and verified, and the files that belong to it.
#[derive(Debug)]
pub struct OpenLedger {
    /// The repositories.
    pub ledger: Ledger,
    /// What is in it.
    pub opened: Opened,
    /// The images' repository.
    pub images: Reference,
    home: Reference,
    memory: Remembering,
}

/// Where a ledger is, and whom to believe of it.
#[derive(Debug, Clone)]
pub struct LedgerPlace {
    images: Reference,
    home: Reference,
    pin: Option<Pin>,
    max_age: Option<Duration>,
    is_anew: bool,
}

impl LedgerPlace {
    /// The same, to be read, verified and folded from its first entry on, whatever was remembered of it.
    #[must_use]
    pub fn anew(self) -> Self {
        Self {
            is_anew: true,
            ..self
        }
    }

    /// Reads and verifies the ledger, and says nothing of it.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is not the one that is trusted.
    pub async fn open(self, cairn: &Cairn) -> Result<OpenLedger, Failure> {
        OpenLedger::read(cairn, self).await
    }
}

impl LedgerOptions {
    /// Finds, reads and verifies the ledger, and says how it is believed.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is not the one that is trusted.
    pub async fn open(&self, cairn: &Cairn, project: Option<&Project>) -> Result<OpenLedger, Failure> {
        let open = self.place(cairn, project)?.open(cairn).await?;
        open.tell_trust(cairn);
        Ok(open)
    }

    /// The ledger of the project here, or of the repository that was named.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], and when something is wrong with the spec.
    pub async fn open_here(&self, cairn: &Cairn) -> Result<OpenLedger, Failure> {
        let project = self.project(cairn)?;
        self.open(cairn, project.as_ref()).await
    }

    /// The same, where there must be one.
    ///
    /// # Errors
    ///
    /// As [`Self::open_here`], and if there is none.
    pub async fn require_here(&self, cairn: &Cairn) -> Result<OpenLedger, Failure> {
        let open = self.open_here(cairn).await?;
        open.require()?;
        Ok(open)
    }

    /// The same, where entries may be added to it: not to a copy, also not by way of trial.
    ///
    /// # Errors
    ///
    /// As [`Self::require_here`], and if it is a copy.
    pub async fn require_home(&self, cairn: &Cairn) -> Result<OpenLedger, Failure> {
        let open = self.require_here(cairn).await?;
        open.check_home()?;
        Ok(open)
    }

    /// The project here. Where the repository is named, a broken spec must not stand in the way: not at three in the morning.
    ///
    /// # Errors
    ///
    /// When something is wrong with the spec, and no repository is named.
    pub fn project(&self, cairn: &Cairn) -> Result<Option<Project>, Failure> {
        let found = Project::find(cairn);
        if found.is_ok() || self.repository.is_none() {
            return found;
        }
        cairn.terminal.warn(
            "the spec here or its lock cannot be used (cairn build says why): no pin is taken from it, and no [ledger] repository",
        );
        Ok(None)
    }

    /// Where the ledger is.
    ///
    /// # Errors
    ///
    /// When nothing says which, or what is trusted is no pin.
    pub fn place(&self, cairn: &Cairn, project: Option<&Project>) -> Result<LedgerPlace, Failure> {
        let images = match (&self.repository, project) {
            (Some(repository), _) => {
                let images = repository.without_target();
                if project.is_none_or(|project| project.repository() != images) {
                    let home = self.ledger_repository.as_ref();
                    let home = home.map(|home| format!(" --ledger-repository {home}"));
                    let options = format!("--repository {images}{}", home.unwrap_or_default());
                    cairn.terminal.named_by(options);
                }
                images
            }
            (None, Some(project)) => project.repository(),
            (None, None) => return Err(no_repository(cairn)),
        };
        // A repository that was named has its own ledger, unless it is the spec's.
        let project = project.filter(|project| project.repository() == images);
        let home = match (&self.ledger_repository, project) {
            (Some(home), _) => home.without_target(),
            (None, Some(project)) => project.ledger_home(&images),
            (None, None) => images.clone(),
        };
        let pin = self.pin(cairn, project)?;
        Ok(LedgerPlace {
            images,
            home,
            pin,
            max_age: self.max_age,
            is_anew: false,
        })
    }

    fn pin(&self, cairn: &Cairn, project: Option<&Project>) -> Result<Option<Pin>, Failure> {
        if let Some(pin) = &self.trust {
            return Ok(Some(pin.clone()));
        }
        if let Some(text) = cairn.environment.text("CAIRN_TRUST") {
            let pin = text.parse::<Pin>();
            return pin.map(Some).map_err(|error| {
                Failure::of(Exit::Input, &error).with_hint("it is what CAIRN_TRUST says".to_owned())
            });
        }
        let pinned = project.and_then(|project| project.spec.ledger.trust.as_ref());
        Ok(pinned.and_then(|pinned| {
            let (genesis, entries) = pinned.value.split_first()?;
            Some(Pin {
                genesis: *genesis,
                entries: entries.to_vec(),
            })
        }))
    }
}

fn no_repository(cairn: &Cairn) -> Failure {
    let directory = cairn.directory();
    Failure::new(
        Exit::Input,
        format!(
            "there is no cairn.toml in {}, so there is no repository",
            directory.display()
        ),
    )
    .with_hint("name one with --repository REF, or go to the spec with -C DIR".to_owned())
}

impl OpenLedger {
    async fn read(cairn: &Cairn, place: LedgerPlace) -> Result<Self, Failure> {
        let LedgerPlace {
            images,
            home,
            pin,
            max_age,
            is_anew,
        } = place;
        let memory = Remembering::of(cairn, &home)?;
        let policy = TrustPolicy {
            pin,
            remembered: memory.recall()?,
        };
        let repository = cairn.open(&images).await?;
        let home_repository = if home == images {
            Arc::clone(&repository)
        } else {
            cairn.open(&home).await?
        };
        let mut ledger = Ledger::new(home_repository, repository).with_cache(memory.packs());
        if let Some(state) = memory.state().filter(|_| !is_anew) {
            ledger = ledger.with_state(state);
        }
        let opened = ledger.open(&policy).await?;
        cairn.uses_state(&opened, &memory);
        let read = Self {
            ledger,
            opened,
            images,
            home,
            memory,
        };
        read.check_age(cairn, max_age)?;
        Ok(read)
    }

    /// Fails if there is no ledger.
    ///
    /// # Errors
    ///
    /// What to do to have one.
    pub fn require(&self) -> Result<(), Failure> {
        if self.opened.state().is_some() {
            Ok(())
        } else {
            Err(self.absent())
        }
    }

    /// Fails if the ledger is a copy, to which nothing is added.
    ///
    /// # Errors
    ///
    /// Where it is at home.
    pub fn check_home(&self) -> Result<(), Failure> {
        match self.opened.state() {
            Some(state) => Ok(self.ledger.check_home(state)?),
            None => Ok(()),
        }
    }

    /// That there is no ledger.
    #[must_use]
    pub fn absent(&self) -> Failure {
        let start = "the first cairn release starts one; so do cairn adopt, which brings in tags that are there, and cairn ledger init";
        if self.images.host.is_some() {
            return Failure::new(Exit::Input, format!("{} has no ledger", self.home))
                .with_hint(format!("{start}. One that is elsewhere: --ledger-repository REF"));
        }
        Failure::new(
            Exit::Input,
            format!("{} in the local store has no ledger", self.images),
        )
        .with_hint(format!(
            "{start}. A repository of a registry has its host in its name: registry.example.org/{}",
            self.images
        ))
    }

    /// Says how the ledger is believed; then it is remembered.
    pub fn tell_trust(&self, cairn: &Cairn) {
        for finding in self.opened.findings() {
            cairn.terminal.warn(format!(
                "{}: {}: {}",
                finding.code, finding.subject, finding.message
            ));
        }
        let (Some(state), Some(head)) = (self.opened.state(), self.opened.head()) else {
            return;
        };
        let mode = self
            .opened
            .mode()
            .map(|mode| mode_text(&mode))
            .unwrap_or_default();
        let entries = entries_text(
            self.opened.view().records().len() as u64,
            self.opened.verified_entries() as u64,
        );
        cairn.terminal.step(
            "ledger",
            format!("{entries}; head of {} UTC ({mode})", minute(head.at)),
        );
        if let Some(ahead) = ahead(head.at, cairn.environment.now()) {
            cairn.terminal.warn(format!(
                "that is {ahead} from now: a clock is wrong, here or where it was written, and how old the head is cannot be told"
            ));
        }
        if self.opened.how_trusted() == HowTrusted::FirstSeen {
            cairn.terminal.warn(format!(
                "this is the first time that you see the ledger {} of {}; it is remembered from now on. To be sure, pin it: [ledger] trust = \"{0}\"",
                state.ledger, self.home
            ));
        }
        self.remember(cairn, &self.opened);
    }

    fn check_age(&self, cairn: &Cairn, max_age: Option<Duration>) -> Result<(), Failure> {
        let (Some(most), Some(head)) = (max_age, self.opened.head()) else {
            return Ok(());
        };
        let age = cairn.environment.now().as_second() - head.at.as_second();
        if age <= i64::try_from(most.as_secs()).unwrap_or(i64::MAX) {
            return Ok(());
        }
        let text = format!(
            "the ledger's head is of {} UTC, {} ago; --max-age allows {}",
            minute(head.at),
            ago(age),
            ago(i64::try_from(most.as_secs()).unwrap_or(i64::MAX))
        );
        Err(Failure::new(Exit::Integrity, text)
            .with_hint("somebody may be hiding newer entries; or nothing was released since".to_owned()))
    }

    /// Keeps what was seen, so that nobody can show an older ledger from now on.
    ///
    /// Failing to is a warning: what was done is done.
    pub fn remember(&self, cairn: &Cairn, opened: &Opened) {
        if let Err(error) = self.memory.keep(opened) {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            cairn.terminal.warn(format!(
                "what was seen of the ledger is not remembered: {error}: {cause}"
            ));
        }
    }

    /// Copies the ledger and every image that it names into the repository `to`.
    ///
    /// # Errors
    ///
    /// [`cairn_ledger::CopyError`], and when what was seen at the destination cannot be read.
    pub async fn copy_to(
        &self,
        cairn: &Cairn,
        to: &Reference,
        watch: &Arc<dyn cairn_store::transfer::Watch>,
    ) -> Result<Copied, Failure> {
        let memory = Remembering::of(cairn, to)?;
        let remembered = memory.recall()?;
        let mount = crate::place::siblings(&[&self.images, &self.home], to);
        let there = Ledger::beside(cairn.open(to).await?);
        let options = CopyOptions {
            mount: &mount,
            watch: Some(watch),
            remembered: remembered.as_ref(),
        };
        let copied = self.ledger.copy_to(&self.opened, &there, options).await?;
        let seen = Self {
            ledger: there,
            opened: copied.opened.clone(),
            images: to.clone(),
            home: to.clone(),
            memory,
        };
        seen.remember(cairn, &seen.opened);
        Ok(copied)
    }

    /// Starts a ledger with the key of `signer` as its owner, in the place of the one that was opened, with all that this had.
    ///
    /// # Errors
    ///
    /// When `head` is not its head, or it cannot be written.
    pub async fn go_on(
        &mut self,
        cairn: &Cairn,
        context: &Context<'_>,
        head: &Digest,
        what: &str,
    ) -> Result<String, Failure> {
        let authority = Authority::single(context.signer.key().clone());
        let begun = self
            .ledger
            .continue_from(&self.opened, context, authority, head)
            .await?;
        cairn.terminal.say(format!(
            "started a ledger for {} ({}) with {what} of the old one, whose head is kept as {}. Pin it: [ledger] trust = \"{}\"",
            self.home,
            mode_text(&begun.mode),
            cairn_ledger::operation::carry::old_tag(head),
            begun.genesis
        ));
        if !begun.left.is_empty() {
            let heads = counted(begun.left.len() as u64, "head", "heads");
            cairn.terminal.warn(format!(
                "{} does not let {heads} of the old ledger be deleted, so it has two ledgers now: whoever has no pin is refused (exit 4) until they pin this one: [ledger] trust = \"{}\", --trust or CAIRN_TRUST",
                self.home, begun.genesis
            ));
        }
        self.opened = begun.opened;
        self.remember(cairn, &self.opened);
        Ok(begun.genesis.to_string())
    }

    /// Starts a ledger with the key of `signer` as its owner.
    ///
    /// # Errors
    ///
    /// When there is one, or it cannot be written.
    pub async fn initialise(&mut self, cairn: &Cairn, context: &Context<'_>) -> Result<(), Failure> {
        let authority = Authority::single(context.signer.key().clone());
        if let Some(host) = &self.home.host {
            // The mode is for ever: no older answer decides it.
            let home = cairn.client().await?.repository(host, self.home.name.clone())?;
            home.ask_afresh();
        }
        let initialised = self.ledger.initialise(context, authority).await?;
        let place = if self.home.host.is_none() {
            "local store, "
        } else {
            ""
        };
        cairn.terminal.say(format!(
            "started a ledger for {} ({place}{}). Pin it: [ledger] trust = \"{}\"",
            self.home,
            mode_text(&initialised.mode),
            initialised.genesis
        ));
        self.opened = initialised.opened;
        self.remember(cairn, &self.opened);
        Ok(())
    }
}

/// With `--json`, what is said of a whole ledger: which it is, and which head was read.
#[derive(Debug, Serialize)]
pub struct HeadDocument {
    repository: String,
    mode: Option<String>,
    size: u64,
    head: Option<Digest>,
    at: Option<String>,
}

impl HeadDocument {
    /// Of the ledger as it was opened.
    #[must_use]
    pub fn of(open: &OpenLedger) -> Self {
        let head = open.opened.head();
        Self {
            repository: open.images.to_string(),
            mode: open.opened.mode().map(|mode| mode_text(&mode)),
            size: head.map_or(0, |head| head.size),
            head: head.map(|head| head.digest),
            at: head.map(|head| head.at.to_string()),
        }
    }
}

/// `linear` or `causal`.
#[must_use]
pub fn mode_text(mode: &cairn_ledger::Mode) -> String {
    format!("{mode:?}").to_lowercase()
}

/// By how many seconds clocks that the network sets may differ.
const SKEW: i64 = 300;

/// How far ahead of `now` the time `at` is, if no skew of clocks explains it.
#[must_use]
pub fn ahead(at: Timestamp, now: Timestamp) -> Option<String> {
    let seconds = at.as_second() - now.as_second();
    (seconds > SKEW).then(|| ago(seconds))
}

/// How many entries were read, and how many of them were verified now.
fn entries_text(all: u64, verified: u64) -> String {
    let entries = counted(all, "entry", "entries");
    match all.saturating_sub(verified) {
        0 => format!("{entries} read and verified"),
        before if before == all => format!("{entries}, verified before"),
        before => format!("{entries}: {verified} verified now, {before} before"),
    }
}

/// What a command that appends is told.
#[derive(Debug, Clone, Default, Args)]
pub struct EntryOptions {
    /// Why, for whoever reads the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// Says what would be done, and does nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a command that moves channels is told when nobody who may do it is there.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct GlassOption {
    /// Signs although the key is not in the ledger, where the channel's rules allow it; it stays a finding of audit until
    /// somebody ratifies it
    #[arg(long)]
    pub break_glass: bool,
}

impl GlassOption {
    /// The context with what was asked for.
    #[must_use]
    pub fn on(self, context: Context<'_>) -> Context<'_> {
        Context {
            break_glass: self.break_glass,
            ..context
        }
    }
}

/// A reason that an entry can hold: known before anything is built.
fn reason(text: &str) -> Result<String, String> {
    if text.len() > REASON_LIMIT {
        return Err(format!(
            "it has {} bytes; at most {REASON_LIMIT} fit into an entry",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("it has a line break or another control character; write it on one line".to_owned());
    }
    Ok(text.to_owned())
}

impl EntryOptions {
    /// Everything that the entry says beside what it does.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub fn context<'a>(
        &self,
        cairn: &Cairn,
        signer: &'a dyn Signer,
        source: Option<Source>,
    ) -> Result<Context<'a>, Failure> {
        let pipeline = Pipeline::of(&cairn.environment);
        Ok(Context {
            signer,
            at: cairn.environment.now(),
            nonce: signing::random()?,
            actor: actor(pipeline.actor, signer),
            // Scripts pass a variable that may be empty; a reason of nothing is none.
            reason: self.reason.clone().filter(|reason| !reason.trim().is_empty()),
            source,
            run: pipeline.run,
            break_glass: false,
        })
    }
}

/// In a pipeline, whoever it says started it; else the key stands for itself.
fn actor(claimed: Option<String>, signer: &dyn Signer) -> Actor {
    match claimed {
        Some(id) => Actor {
            id,
            how: How::Claimed,
        },
        None => Actor {
            id: signer.key().fingerprint().to_string(),
            how: How::Key,
        },
    }
}

/// Who is who: which key is one's own, and what the ledger calls the others.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// One's own key.
    pub own: Option<Fingerprint>,
    names: BTreeMap<Fingerprint, KeyName>,
    glass: BTreeMap<EntryName, bool>,
}

impl Names {
    /// Those of a ledger.
    #[must_use]
    pub fn of(own: Option<Fingerprint>, opened: &Opened) -> Self {
        Self {
            own,
            names: query::key_names(opened),
            glass: opened
                .state()
                .into_iter()
                .flat_map(|state| &state.glass)
                .map(|(name, glass)| (*name, glass.ratified.is_some()))
                .collect(),
        }
    }

    /// What is to be said of an entry that a key made which the ledger does not list.
    #[must_use]
    pub fn mark(&self, entry: &EntryName) -> &'static str {
        match self.glass.get(entry) {
            Some(true) => " (break-glass, ratified)",
            Some(false) => " (break-glass)",
            None => "",
        }
    }

    /// The entries of such keys that nobody has accepted yet.
    pub fn unratified(&self) -> impl Iterator<Item = &EntryName> {
        self.glass
            .iter()
            .filter(|(_, ratified)| !**ratified)
            .map(|(name, _)| name)
    }

    /// The key that is called so.
    #[must_use]
    pub fn key_of(&self, name: &str) -> Option<Fingerprint> {
        let called = |(_, known): &(&Fingerprint, &KeyName)| known.as_str().eq_ignore_ascii_case(name);
        self.names.iter().find(called).map(|(key, _)| *key)
    }

    /// `you` if the entry was signed by one's own key, else who signed it.
    #[must_use]
    pub fn by(&self, key: Option<Fingerprint>, actor: Option<&Actor>) -> String {
        match (key, actor) {
            (Some(key), _) if Some(key) == self.own => "you".to_owned(),
            (_, Some(actor)) if actor.how != How::Key => format!("{} ({})", actor.id, how_text(actor.how)),
            (Some(key), _) => match self.names.get(&key) {
                Some(name) => name.to_string(),
                None => key.shortened(),
            },
            (None, Some(actor)) => actor.id.clone(),
            (None, None) => String::new(),
        }
    }
}

const fn how_text(how: How) -> &'static str {
    match how {
        How::Key => "key",
        How::Claimed => "claimed",
        How::Oidc => "oidc",
    }
}

/// The line that ends every move: what a channel's move does not do.
pub fn tell_nothing_changed(terminal: &Terminal, moves: &[String], after: &str) {
    if !moves.is_empty() {
        terminal.say(format!(
            "{}; nothing that runs was changed{after}",
            moves.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_from_the_future_is_told_and_a_small_skew_is_not() {
        let now: Timestamp = "2026-11-22T00:32:00Z".parse().unwrap();
        let at = |text: &str| ahead(text.parse().unwrap(), now);
        assert_eq!(at("2026-11-21T00:32:00Z"), None);
        assert_eq!(at("2026-11-22T00:37:00Z"), None);
        assert_eq!(at("2026-11-22T00:37:01Z").as_deref(), Some("5 min"));
        assert_eq!(at("2026-11-23T00:32:00Z").as_deref(), Some("24 h"));
    }
}
