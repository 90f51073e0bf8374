//! `cairn doctor`

mod meaning;

use std::sync::Arc;
use std::time::Duration;

use cairn_oci::Reference;
use cairn_registry::client::Remote;
use cairn_store::examine::{self, Answer, Found, Left, Patience, Scratch, Subject};
use cairn_store::{Repository, RepositoryError, Store, layout};
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Exit, Failure};
use crate::place::Place;
use crate::program::Cairn;
use crate::signing;
use crate::terminal::counted;
use meaning::{Carries, meaning};

/// How long removing may take after a signal.
const GRACE: Duration = Duration::from_secs(20);

/// What `cairn doctor` takes.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The repository: [host/]name, or oci:DIR
    pub repository: Place,
    /// Writes nothing; what can be found out only by writing is listed as not asked
    #[arg(long)]
    pub read_only: bool,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    read_only: bool,
    ledger: Carries,
    summary: &'static str,
    findings: Vec<Row>,
    left: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    found: Found,
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configure: Option<&'static str>,
}

/// What is examined.
enum Patient {
    Remote(Remote),
    Local(Arc<dyn Repository>),
    /// To read only: what is written to a layout and removed again leaves its bytes there.
    Layout(layout::Layout),
}

impl Patient {
    fn repository(&self) -> &dyn Repository {
        match self {
            Self::Remote(remote) => remote,
            Self::Local(local) => &**local,
            Self::Layout(layout) => layout,
        }
    }
}

impl Doctor {
    /// Finds out what the repository does, and says what that means for a ledger.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let patient = self.open(cairn).await?;
        let (found, left) = self.examine(cairn, &patient).await?;
        cairn.flush().await?;
        let found = whole(&patient, self.read_only, &found);
        let ledger = match patient {
            Patient::Layout(_) => Carries::NotApplicable,
            _ => Carries::of(&found),
        };
        self.tell(cairn, ledger, found, &left)
    }

    async fn open(&self, cairn: &Cairn) -> Result<Patient, Failure> {
        match &self.repository {
            Place::Reference(reference) => self.open_reference(cairn, reference).await,
            Place::Layout { directory, .. } => {
                let path = cairn.directory().join(directory);
                if !path.join("oci-layout").exists() {
                    let text = format!("{} is not an OCI image layout", directory.display());
                    return Err(Failure::new(Exit::Input, text));
                }
                Ok(Patient::Layout(layout::open(path)?))
            }
            Place::Archive { .. } => {
                let text = format!("{} is a file, and no repository", self.repository);
                Err(Failure::new(Exit::Input, text)
                    .with_hint("name a repository, of a registry or of the local store".to_owned()))
            }
        }
    }

    async fn open_reference(&self, cairn: &Cairn, reference: &Reference) -> Result<Patient, Failure> {
        let reference = reference.without_target();
        if let Some(host) = &reference.host {
            let remote = cairn.client().await?.repository(host, reference.name)?;
            return Ok(Patient::Remote(remote));
        }
        if !cairn.store().await?.contains(&reference.name).await? {
            let text = format!("the local store has no repository `{reference}`");
            return Err(Failure::new(Exit::Input, text).with_hint(
                "a name without a host is in the local store; for a registry, write its host".to_owned(),
            ));
        }
        Ok(Patient::Local(cairn.open(&reference).await?))
    }

    /// Asks, and removes what was written for it, also after a failure or a signal.
    async fn examine(&self, cairn: &Cairn, patient: &Patient) -> Result<(Vec<Found>, Left), Failure> {
        let failed = |error: std::io::Error| Failure::of(Exit::Environment, &error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let scratch = Scratch::new(signing::random()?);
        if !self.writes(patient) {
            let looked = tokio::select! {
                looked = look(patient) => looked?,
                _ = interrupt.recv() => return Err(stopped(Exit::Interrupted)),
                _ = terminate.recv() => return Err(stopped(Exit::Terminated)),
            };
            return Ok((looked, Left::default()));
        }
        cairn
            .terminal
            .step("examining", format!("with tags {}-*", scratch.name()));
        let examined = tokio::select! {
            examined = examine(patient, &scratch) => examined.map_err(|error| self.refused(error)),
            _ = interrupt.recv() => Err(stopped(Exit::Interrupted)),
            _ = terminate.recv() => Err(stopped(Exit::Terminated)),
        };
        let removing = scratch.remove(patient.repository());
        let left = tokio::select! {
            left = tokio::time::timeout(GRACE, removing), if examined.is_err() => left.ok(),
            left = scratch.remove(patient.repository()), if examined.is_ok() => Some(left),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        };
        tell_left(cairn, &scratch, left.as_ref());
        examined.map(|found| (found, left.unwrap_or_default()))
    }

    fn writes(&self, patient: &Patient) -> bool {
        !self.read_only && !matches!(patient, Patient::Layout(_))
    }

    fn refused(&self, error: RepositoryError) -> Failure {
        let denied = matches!(error, RepositoryError::Denied { .. });
        let failure = Failure::from(error);
        if denied {
            let hint = format!(
                "cairn login, with an account that may push; cairn doctor --read-only {} asks what can be found without \
                 writing",
                self.repository
            );
            return failure.with_hint(hint);
        }
        failure
    }

    fn tell(&self, cairn: &Cairn, ledger: Carries, found: Vec<Found>, left: &Left) -> Result<(), Failure> {
        let unknown = found.iter().any(|one| one.answer == Answer::Unknown);
        let repository = match &self.repository {
            Place::Reference(reference) => reference.without_target().to_string(),
            other => other.to_string(),
        };
        if cairn.terminal.json {
            let row = |found: Found| {
                let meaning = meaning(&found);
                Row {
                    means: meaning.map(|meaning| meaning.means),
                    configure: meaning.and_then(|meaning| meaning.configure),
                    found,
                }
            };
            cairn.terminal.document(&Document {
                repository,
                read_only: self.read_only,
                ledger,
                summary: ledger.sentence(),
                findings: found.into_iter().map(row).collect(),
                left: left.tags.iter().map(ToString::to_string).collect(),
            })?;
        } else {
            print(cairn, ledger, &found)?;
        }
        match ledger {
            Carries::None => Err(Failure::silent(Exit::Input)),
            Carries::Unknown => Err(Failure::silent(Exit::Inconclusive)),
            _ if unknown => Err(Failure::silent(Exit::Inconclusive)),
            _ => Ok(()),
        }
    }
}

async fn look(patient: &Patient) -> Result<Vec<Found>, RepositoryError> {
    match patient {
        Patient::Remote(remote) => remote.look().await,
        other => examine::look(other.repository()).await,
    }
}

async fn examine(patient: &Patient, scratch: &Scratch) -> Result<Vec<Found>, RepositoryError> {
    let patience = Patience::default();
    match patient {
        Patient::Remote(remote) => remote.examine(scratch, patience).await,
        other => {
            let mut found = examine::contract(other.repository(), scratch).await?;
            found.extend(examine::examine(other.repository(), scratch, patience).await?);
            Ok(found)
        }
    }
}

fn stopped(exit: Exit) -> Failure {
    Failure::new(exit, "stopped; nothing is known of the repository")
}

fn tell_left(cairn: &Cairn, scratch: &Scratch, left: Option<&Left>) {
    let Some(left) = left else {
        let name = scratch.name();
        cairn.terminal.warn(format!(
            "what was written may still be there: tags {name}-*; delete them in the registry"
        ));
        return;
    };
    if !left.tags.is_empty() {
        let tags: Vec<&str> = left.tags.iter().map(cairn_oci::Tag::as_str).collect();
        cairn.terminal.warn(format!(
            "the registry does not let these tags be deleted: {}; nothing needs them",
            tags.join(", ")
        ));
    } else if !left.is_nothing() {
        let count = left.manifests.len() as u64;
        cairn.terminal.detail(format!(
            "{} and {} without a tag are the registry's to collect",
            counted(count, "manifest", "manifests"),
            counted(left.blobs as u64, "blob", "blobs")
        ));
    }
}

/// Every question once, in order: what was not asked or does not apply is listed as such.
fn whole(patient: &Patient, read_only: bool, found: &[Found]) -> Vec<Found> {
    let absent = |subject: Subject| match (patient, subject) {
        (Patient::Layout(_), Subject::ManifestSize | Subject::Write | Subject::TagsMove) if !read_only => {
            Found::new(
                subject,
                Answer::NotAsked,
                "a layout keeps the bytes of what is removed, so nothing is written",
            )
        }
        (
            Patient::Layout(_),
            Subject::Artifacts | Subject::ListsWhole | Subject::ListsSorted | Subject::TagsFresh,
        ) => Found::new(subject, Answer::NotAsked, ""),
        (Patient::Layout(_), _) => Found::new(subject, Answer::NotApplicable, "a layout is files"),
        (Patient::Local(_), Subject::ChunkedUploads | Subject::DigestHeader) => {
            Found::new(subject, Answer::NotApplicable, "of a registry alone")
        }
        _ if read_only => Found::new(subject, Answer::NotAsked, "only by writing"),
        _ => Found::new(
            subject,
            Answer::Unknown,
            "not asked, for what it needs cannot be written",
        ),
    };
    let answer = |subject: Subject| {
        let found = found.iter().find(|one| one.subject == subject);
        found.cloned().unwrap_or_else(|| absent(subject))
    };
    Subject::ALL.into_iter().map(answer).collect()
}

fn print(cairn: &Cairn, ledger: Carries, found: &[Found]) -> Result<(), Failure> {
    let terminal = &cairn.terminal;
    let row = |one: &Found| vec![name(one.subject), one.answer.to_string(), one.detail.clone()];
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    terminal.table(&["CHECK", "ANSWER", "SEEN"], &rows)?;
    terminal.print("")?;
    terminal.print(format!("ledger  {}", ledger.sentence()))?;
    for one in found {
        let Some(meaning) = meaning(one) else { continue };
        terminal.print(format!("{}: {}", name(one.subject), meaning.means))?;
        if let Some(configure) = meaning.configure {
            terminal.print(format!("  configure: {configure}"))?;
        }
    }
    Ok(())
}

/// `tags-move`, as in the JSON document.
fn name(subject: Subject) -> String {
    let text = cairn_oci::json::canonical(&subject);
    String::from_utf8_lossy(&text).trim_matches('"').to_owned()
}
