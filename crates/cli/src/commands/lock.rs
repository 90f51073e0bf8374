//! `cairn lock`

use cairn_build::PinChange;
use cairn_build::resolve::{PinNames, UnknownPin, Update};
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::project::Project;

/// What `cairn lock` takes.
#[derive(Debug, Args)]
pub struct Lock {
    /// Resolves pins anew, and shows what moved: `created`, `base` or the base as the spec has it, `packages` or a package,
    /// `fetch` or a URL, the name of a split layer [default: all]
    #[arg(long, value_name = "NAME", num_args = 0..)]
    pub update: Option<Vec<String>>,
    /// Writes nothing, and fails if the lock would change
    #[arg(long)]
    pub locked: bool,
    /// Asks no registry and no URL for anything
    #[arg(long)]
    pub offline: bool,
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
        let (mut project, update) = self.load(cairn)?;
        let proposal = project.propose(cairn, update, self.offline).await?;
        let differs = proposal.differs;
        if self.locked {
            if differs {
                return Err(would_change(project.lock_name(), &proposal.change.changes));
            }
        } else {
            for pin in &proposal.change.changes {
                cairn.terminal.step("pin", pin_text(pin));
            }
        }
        let change = project.accept(proposal)?;
        let lock = project.lock_name();
        if differs {
            cairn.terminal.say(format!("wrote {lock}"));
        } else {
            cairn.terminal.say(format!("{lock} is up to date"));
        }
        if cairn.terminal.json {
            let lock = project.lock_path().display().to_string();
            let changes = change.changes.iter().map(change_document).collect();
            return cairn.terminal.document(&Document { lock, changes });
        }
        Ok(())
    }

    fn load(&self, cairn: &Cairn) -> Result<(Project, Update), Failure> {
        match self.update.as_deref() {
            None => Ok((Project::load(cairn)?, Update::Reconcile)),
            Some([]) => Ok((Project::load_to_update(cairn)?, Update::All)),
            Some(names) => {
                let project = Project::load(cairn)?;
                let names = PinNames::of(&project.spec, project.lock(), names);
                let names = names.map_err(|error| unknown_pin(&error))?;
                Ok((project, Update::Named(names)))
            }
        }
    }
}

fn unknown_pin(error: &UnknownPin) -> Failure {
    Failure::of(Exit::Input, error).with_hint(format!("it has: {}", error.known.join(", ")))
}

/// `--locked`, and what would change.
fn would_change(lock: &str, changes: &[PinChange]) -> Failure {
    let pins: Vec<_> = changes.iter().map(pin_text).collect();
    let what = if pins.is_empty() {
        "its text is not as cairn lock writes it".to_owned()
    } else {
        pins.join("; ")
    };
    Failure::new(
        Exit::Input,
        format!("--locked is given, and {lock} would change: {what}"),
    )
    .with_hint(format!("run cairn lock without --locked, and commit {lock}"))
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
