//! `cairn key`

use cairn_ledger::Signer;
use cairn_oci::Reference;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::failure::Failure;
use crate::ledgers::LedgerOptions;
use crate::program::Cairn;
use crate::project::Project;
use crate::signing::{self, Origin};

/// What `cairn key` takes.
#[derive(Debug, Args)]
pub struct Key {
    /// Prints the public half in PEM, as cosign and openssl read it
    #[arg(long)]
    pub pem: bool,
    /// What to do; nothing: show the key.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a key in the configuration directory
    New,
    /// Lists the keys of the ledger, and what each may do
    List(List),
}

/// What `cairn key list` takes.
#[derive(Debug, Args)]
pub struct List {
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    key: String,
    algorithm: String,
    origin: String,
    pem: String,
}

/// `--json` of the list
#[derive(Serialize)]
struct ListDocument<'a> {
    repository: String,
    threshold: u32,
    keys: &'a [cairn_ledger::authority::Grant],
}

impl Key {
    /// The repository that the command line names.
    pub const fn repository(&self) -> Option<&Reference> {
        match &self.verb {
            Some(Verb::List(list)) => list.ledger.repository.as_ref(),
            _ => None,
        }
    }

    /// Shows, makes or lists keys.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        match &self.verb {
            None => self.show(cairn),
            Some(Verb::New) => {
                let (key, path) = signing::make(cairn)?;
                cairn
                    .terminal
                    .say(format!("made a signing key in {}", path.display()));
                cairn.terminal.print(key.key().fingerprint().to_string())
            }
            Some(Verb::List(list)) => list.run(cairn).await,
        }
    }

    fn show(&self, cairn: &Cairn) -> Result<(), Failure> {
        let key = signing::require_of(cairn, None)?;
        if self.pem {
            return cairn.terminal.bytes(key.key().to_pem().as_bytes());
        }
        let origin = match &key.origin {
            Origin::Variable => "CAIRN_KEY".to_owned(),
            Origin::File(path) => path.display().to_string(),
            Origin::Agent(comment) => format!("ssh-agent ({comment})"),
            Origin::Command(program) => format!("CAIRN_SIGNER ({program})"),
        };
        if !cairn.terminal.json {
            cairn.terminal.detail(format!("from {origin}"));
            return cairn.terminal.print(key.key().fingerprint().to_string());
        }
        cairn.terminal.document(&Document {
            key: key.key().fingerprint().to_string(),
            algorithm: key.key().algorithm().to_string(),
            origin,
            pem: key.key().to_pem(),
        })
    }
}

impl List {
    async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        let Some(state) = open.opened.state() else {
            return Err(open.absent());
        };
        let authority = &state.authority;
        if cairn.terminal.json {
            return cairn.terminal.document(&ListDocument {
                repository: open.images.to_string(),
                threshold: authority.threshold,
                keys: &authority.keys,
            });
        }
        let rows: Vec<Vec<String>> = authority.keys.iter().map(row).collect();
        cairn.terminal.table(&["KEY", "MAY", "ON", "UNTIL"], &rows)
    }
}

fn row(grant: &cairn_ledger::authority::Grant) -> Vec<String> {
    let kinds = |role: &cairn_ledger::authority::Role| match &role.kinds {
        None => "everything".to_owned(),
        Some(kinds) => kinds
            .iter()
            .map(cairn_ledger::Kind::as_str)
            .collect::<Vec<_>>()
            .join(","),
    };
    let channels = |role: &cairn_ledger::authority::Role| match &role.channels {
        None => "all channels".to_owned(),
        Some(channels) => channels
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
    };
    vec![
        grant.key.fingerprint().to_string(),
        grant.roles.iter().map(kinds).collect::<Vec<_>>().join("; "),
        grant.roles.iter().map(channels).collect::<Vec<_>>().join("; "),
        grant.until.map(|until| until.to_string()).unwrap_or_default(),
    ]
}
