//! `cairn key`

pub mod change;

use cairn_ledger::authority::{Grant, Group};
use cairn_ledger::{Fingerprint, Signer};
use cairn_oci::Reference;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::failure::Failure;
use crate::ledgers::LedgerOptions;
use crate::program::Cairn;
use crate::roles;
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
    /// Lists a key in the ledger, or changes what it may do
    Add(change::Add),
    /// Takes a key out of the ledger
    Remove(change::Remove),
    /// Says how many keys must sign a change of keys or rules
    Threshold(change::Threshold),
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
    recovery: Option<String>,
    keys: &'a [Grant],
}

impl Key {
    /// The repository that the command line names.
    pub const fn repository(&self) -> Option<&Reference> {
        match &self.verb {
            Some(Verb::List(list)) => list.ledger.repository.as_ref(),
            Some(Verb::Add(add)) => add.options.ledger.repository.as_ref(),
            Some(Verb::Remove(remove)) => remove.options.ledger.repository.as_ref(),
            Some(Verb::Threshold(threshold)) => threshold.options.ledger.repository.as_ref(),
            Some(Verb::New) | None => None,
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
            Some(Verb::Add(add)) => add.run(cairn).await,
            Some(Verb::Remove(remove)) => remove.run(cairn).await,
            Some(Verb::Threshold(threshold)) => threshold.run(cairn).await,
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
        let open = self.ledger.open_here(cairn).await?;
        let Some(state) = open.opened.state() else {
            return Err(open.absent());
        };
        let authority = &state.authority;
        if cairn.terminal.json {
            return cairn.terminal.document(&ListDocument {
                repository: open.images.to_string(),
                threshold: authority.threshold,
                recovery: authority
                    .recovery
                    .as_ref()
                    .map(|key| key.fingerprint().to_string()),
                keys: &authority.keys,
            });
        }
        let own = signing::own(cairn, &open);
        let mut rows: Vec<Vec<String>> = authority.keys.iter().map(|grant| row(grant, own)).collect();
        if let Some(recovery) = &authority.recovery {
            let fingerprint = recovery.fingerprint().to_string();
            rows.push(vec![
                fingerprint,
                "recovery".to_owned(),
                String::new(),
                "keys, alone".to_owned(),
            ]);
        }
        let head = ["KEY", "NAME", "GROUPS", "MAY", "UNTIL"];
        cairn.terminal.table(&head, &rows)?;
        if authority.threshold > 1 {
            cairn.terminal.say(format!(
                "{} keys must sign a change of keys or rules",
                authority.threshold
            ));
        }
        Ok(())
    }
}

fn row(grant: &Grant, own: Option<Fingerprint>) -> Vec<String> {
    let fingerprint = grant.key.fingerprint();
    let name = grant.name.as_ref().map(ToString::to_string);
    let you = (own == Some(fingerprint)).then_some("(you)".to_owned());
    let groups: Vec<&str> = grant.groups.iter().map(Group::as_str).collect();
    vec![
        fingerprint.to_string(),
        name.into_iter().chain(you).collect::<Vec<_>>().join(" "),
        groups.join(", "),
        roles::text(grant),
        grant.until.map(|until| until.to_string()).unwrap_or_default(),
    ]
}
