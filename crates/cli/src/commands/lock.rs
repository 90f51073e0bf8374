//! `cairn lock`

use cairn_build::PinChange;
use cairn_build::resolve::Update;
use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::program::Cairn;
use crate::project::{LOCK, Project};

/// What `cairn lock` takes.
#[derive(Debug, Args)]
pub struct Lock {
    /// Resolves everything anew, and shows what moved
    #[arg(long)]
    pub update: bool,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    /// The file.
    lock: String,
    changes: Vec<ChangeDocument>,
}

#[derive(Serialize)]
struct ChangeDocument {
    subject: String,
    /// None: the pin is new.
    before: Option<String>,
    /// None: the pin is dropped.
    after: Option<String>,
}

fn change_document(change: &PinChange) -> ChangeDocument {
    ChangeDocument {
        subject: change.subject.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
    }
}

impl Lock {
    /// Resolves what is not pinned.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let (mut project, update) = if self.update {
            (Project::load_to_update(cairn)?, Update::All)
        } else {
            (Project::load(cairn)?, Update::Reconcile)
        };
        let change = project.resolve(cairn, update).await?;
        for pin in &change.changes {
            cairn.terminal.step("pin", pin_text(pin));
        }
        if change.changes.is_empty() {
            cairn.terminal.say(format!("{LOCK} is up to date"));
        } else {
            cairn.terminal.say(format!("wrote {LOCK}"));
        }
        if cairn.terminal.json {
            let lock = project.directory.join(LOCK).display().to_string();
            let changes = change.changes.iter().map(change_document).collect();
            return cairn.terminal.document(&Document { lock, changes });
        }
        Ok(())
    }
}

/// `the base x: old → new`
pub fn pin_text(pin: &PinChange) -> String {
    match (&pin.before, &pin.after) {
        (Some(before), Some(after)) => format!("{}: {before} → {after}", pin.subject),
        (None, Some(after)) => format!("{}: {after}", pin.subject),
        (Some(before), None) => format!("{}: {before}, dropped", pin.subject),
        (None, None) => pin.subject.clone(),
    }
}
