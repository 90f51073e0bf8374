//! `cairn ledger`

use cairn_oci::Reference;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::ledgers::{EntryOptions, LedgerOptions, mode_text};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;

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
}

/// What `cairn ledger init` takes.
#[derive(Debug, Args)]
pub struct Init {
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
        };
        ledger.repository.as_ref()
    }

    /// Does it.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        match &self.verb {
            Verb::Init(init) => init.run(cairn).await,
            Verb::Head(head) => head.run(cairn).await,
        }
    }
}

impl Init {
    async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let mut open = self.ledger.open(cairn, project.as_ref()).await?;
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

impl Head {
    async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
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
