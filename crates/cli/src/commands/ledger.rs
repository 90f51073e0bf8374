//! `cairn ledger`

use cairn_ledger::OperationError;
use cairn_ledger::operation::carry::Carried;
use cairn_oci::{Digest, Reference};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::ledgers::{EntryOptions, LedgerOptions, OpenLedger, mode_text};
use crate::program::Cairn;
use crate::terminal::counted;
use crate::{rules, signing};

/// What `cairn ledger` takes.
#[derive(Debug, Args)]
pub struct LedgerCommand {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is done with a ledger itself.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Starts a ledger; the first release does it too
    Init(Init),
    /// Shows the newest head: the digest that stands for the whole history
    Head(Head),
    /// Shows how the rules of the ledger and those of the spec differ, and writes the spec's into the ledger
    Rules(Rules),
}

/// What `cairn ledger rules` takes.
#[derive(Debug, Args)]
pub struct Rules {
    /// Writes the rules of the spec into the ledger, where they bind
    #[arg(long)]
    pub apply: bool,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

/// What `cairn ledger init` takes.
#[derive(Debug, Args)]
pub struct Init {
    /// Goes on from the ledger that is there, whose newest head this is: after its keys were lost, or at a copy's new home
    #[arg(long, value_name = "HEAD")]
    pub continues: Option<Digest>,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

/// What `cairn ledger head` takes.
#[derive(Debug, Args)]
pub struct Head {
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    genesis: String,
    head: String,
    size: u64,
    at: String,
    mode: String,
}

impl LedgerCommand {
    /// The repository that the command line names.
    pub const fn repository(&self) -> Option<&Reference> {
        let ledger = match &self.verb {
            Verb::Init(init) => &init.ledger,
            Verb::Head(head) => &head.ledger,
            Verb::Rules(rules) => &rules.ledger,
        };
        ledger.repository.as_ref()
    }

    /// Does it.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        match &self.verb {
            Verb::Init(init) => init.run(cairn).await,
            Verb::Head(head) => head.run(cairn).await,
            Verb::Rules(rules) => rules.run(cairn).await,
        }
    }
}

impl Init {
    async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let mut open = self.ledger.open_here(cairn).await?;
        if let Some(head) = &self.continues {
            return self.go_on(cairn, open, head).await;
        }
        if let Some(state) = open.opened.state() {
            let text = format!("{} has a ledger already: {}", open.images, state.ledger);
            return Err(Failure::new(Exit::Input, text).with_hint("nothing to do: release to it".to_owned()));
        }
        if self.entry.dry_run {
            cairn
                .terminal
                .say(format!("would start a ledger for {}", open.images));
            return Ok(());
        }
        let key = signing::find_or_make(cairn)?;
        let context = self.entry.context(cairn, &key, None)?;
        open.initialise(cairn, &context).await?;
        cairn.flush().await?;
        open.opened
            .state()
            .map_or(Ok(()), |state| cairn.terminal.print(state.ledger.to_string()))
    }
}

/// `--json`
#[derive(Serialize)]
struct RulesDocument<'a> {
    repository: String,
    /// Those that bind.
    ledger: &'a cairn_ledger::authority::Rules,
    /// Those that the spec proposes; none without a spec.
    spec: Option<&'a cairn_ledger::authority::Rules>,
}

impl Rules {
    async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = self.ledger.project(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        let Some(state) = open.opened.state() else {
            return Err(open.absent());
        };
        let proposed = project
            .as_ref()
            .map(|project| rules::of_spec(&project.spec.ledger));
        let proposed = proposed.transpose()?;
        if !self.apply {
            show(cairn, &open, &state.rules, proposed.as_ref())?;
            rules::tell_unmet(cairn, &state.rules, &state.authority);
            return Ok(());
        }
        let proposed = proposed.ok_or_else(|| {
            Failure::new(
                Exit::Input,
                "there is no cairn.toml here, so there are no rules to apply",
            )
            .with_hint("go to the spec with -C DIR".to_owned())
        })?;
        open.check_home()?;
        rules::tell_unmet(cairn, &proposed, &state.authority);
        if self.entry.dry_run {
            cairn.terminal.say("would write these rules into the ledger");
            return show(cairn, &open, &state.rules, Some(&proposed));
        }
        let key = signing::require(cairn, &open)?;
        let context = self.entry.context(cairn, &key, None)?;
        let governed = open.ledger.change_rules(&open.opened, &context, &proposed).await;
        cairn.flush().await?;
        let governed = governed?;
        open.remember(cairn, &governed.opened);
        match governed.entry {
            Some(entry) => {
                cairn
                    .terminal
                    .say("the rules of the ledger are those of the spec now");
                cairn.terminal.print(entry.name.to_string())
            }
            None => {
                cairn
                    .terminal
                    .say("the ledger has these rules already: nothing to do");
                Ok(())
            }
        }
    }
}

/// The rules of both, with what tells them apart: `-` only in the ledger, `+` only in the spec.
fn show(
    cairn: &Cairn,
    open: &OpenLedger,
    ledger: &cairn_ledger::authority::Rules,
    spec: Option<&cairn_ledger::authority::Rules>,
) -> Result<(), Failure> {
    if cairn.terminal.json {
        let repository = open.images.to_string();
        return cairn.terminal.document(&RulesDocument {
            repository,
            ledger,
            spec,
        });
    }
    let here = rules::lines(ledger);
    let there = spec.map_or_else(|| here.clone(), rules::lines);
    let same = here
        .iter()
        .filter(|line| there.contains(line))
        .map(|line| format!("  {line}"));
    let gone = here
        .iter()
        .filter(|line| !there.contains(line))
        .map(|line| format!("- {line}"));
    let new = there
        .iter()
        .filter(|line| !here.contains(line))
        .map(|line| format!("+ {line}"));
    let mut lines: Vec<String> = same.chain(gone).chain(new).collect();
    // By channel, whatever stands in front.
    lines.sort_by(|one, other| one[2..].split(':').next().cmp(&other[2..].split(':').next()));
    if lines.is_empty() {
        cairn.terminal.say("no channel has rules");
    }
    lines.iter().try_for_each(|line| cairn.terminal.print(line))?;
    if spec.is_some_and(|spec| spec != ledger) {
        cairn
            .terminal
            .say("the spec has other rules than the ledger; cairn ledger rules --apply writes them into it");
    }
    Ok(())
}

impl Init {
    async fn go_on(&self, cairn: &Cairn, mut open: OpenLedger, head: &Digest) -> Result<(), Failure> {
        let Some(state) = open.opened.state() else {
            return Err(open.absent());
        };
        let found = open.opened.head().map(|found| found.digest);
        if found != Some(*head) {
            // Known before a key is made for it.
            return Err(OperationError::OtherHead { named: *head, found }.into());
        }
        let carried = Carried::of(state);
        let what = format!(
            "{} and {}",
            counted(carried.versions as u64, "version", "versions"),
            counted(carried.channels as u64, "channel", "channels")
        );
        if carried.contested > 0 {
            cairn.terminal.warn(format!(
                "{} of the old ledger {} several images, and will be left behind",
                counted(carried.contested as u64, "version", "versions"),
                if carried.contested == 1 { "names" } else { "name" }
            ));
        }
        if self.entry.dry_run {
            cairn.terminal.say(format!(
                "would start a ledger for {} with {what} of {}",
                open.images, state.ledger
            ));
            return Ok(());
        }
        let key = signing::find_or_make(cairn)?;
        let context = self.entry.context(cairn, &key, None)?;
        let genesis = open.go_on(cairn, &context, head, &what).await?;
        cairn.flush().await?;
        cairn.terminal.print(genesis)
    }
}

impl Head {
    async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.open_here(cairn).await?;
        let (Some(state), Some(head), Some(mode)) =
            (open.opened.state(), open.opened.head(), open.opened.mode())
        else {
            return Err(open.absent());
        };
        if !cairn.terminal.json {
            return cairn.terminal.print(head.digest.to_string());
        }
        cairn.terminal.document(&Document {
            repository: open.images.to_string(),
            genesis: state.ledger.to_string(),
            head: head.digest.to_string(),
            size: head.size,
            at: head.at.to_string(),
            mode: mode_text(&mode),
        })
    }
}
