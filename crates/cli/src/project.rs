//! The spec and the lock of the directory that a command acts in.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_build::lock::Lock;
use cairn_build::resolve::{Dates, LockChange, LockError, LockRequest, Update};
use cairn_build::{BuildRecord, Built, Finding, RecordedSpec, Spec, build_record, resolve_lock};
use cairn_layer::Limits;
use cairn_oci::{Digest, Reference};

use crate::diagnostic;
use crate::failure::{Exit, Failure};
use crate::lock_file::LockFile;
use crate::offline;
use crate::program::Cairn;
use crate::text_file;
use crate::workspace::{self, Place, Root};

/// The file with the spec.
pub const SPEC: &str = "cairn.toml";
/// The file with the lock.
pub const LOCK: &str = "cairn.lock";

/// A lock that is not written yet.
#[derive(Debug)]
pub struct Proposal {
    /// The lock, and how its pins differ from what is on the disk.
    pub change: LockChange,
    text: String,
    /// Whether the text differs from what is on the disk.
    pub differs: bool,
}

/// A spec, and its lock as it is on the disk.
#[derive(Debug)]
pub struct Project {
    /// The directory that holds the spec.
    pub directory: PathBuf,
    /// The spec.
    pub spec: Spec,
    spec_text: String,
    /// What messages call the spec's file.
    spec_name: String,
    /// The workspace that the image is in, if it is in one.
    workspace: Option<Root>,
    file: LockFile,
}

impl Project {
    /// Reads both.
    ///
    /// # Errors
    ///
    /// When there is no spec, or when something is wrong with either; all findings at once.
    pub fn load(cairn: &Cairn) -> Result<Self, Failure> {
        match Self::find(cairn)? {
            Some(project) => Ok(project),
            None => Err(no_spec(cairn)),
        }
    }

    /// Reads both, if there is a spec.
    ///
    /// # Errors
    ///
    /// When something is wrong with either.
    pub fn find(cairn: &Cairn) -> Result<Option<Self>, Failure> {
        Self::find_with(cairn, |_| false)
    }

    /// Reads both to resolve everything anew: a lock for an earlier output version is as good as none.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_to_update(cairn: &Cairn) -> Result<Self, Failure> {
        Self::find_with(cairn, Lock::is_outdated)?.ok_or_else(|| no_spec(cairn))
    }

    fn find_with(cairn: &Cairn, ignored: fn(&str) -> bool) -> Result<Option<Self>, Failure> {
        let directory = cairn.project_directory();
        if !directory.is_dir() {
            return Err(Failure::new(
                Exit::Input,
                format!("{} is not a directory", directory.display()),
            ));
        }
        let Some(spec_text) = text_file::read(&directory.join(SPEC), cairn_build::spec::LIMIT)? else {
            return Ok(None);
        };
        match Place::of(cairn, &directory, &spec_text)? {
            Place::Alone => Self::alone(cairn, directory, spec_text, ignored).map(Some),
            Place::Member(root) => Self::member(cairn, &directory, spec_text, root, ignored).map(Some),
            Place::Root(root) => Err(no_image(cairn, &root)?),
        }
    }

    fn alone(
        cairn: &Cairn,
        directory: PathBuf,
        spec_text: String,
        ignored: fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let spec = Spec::parse(&spec_text).map_err(|findings| {
            diagnostic::failure(&cairn.terminal, SPEC, &spec_text, &findings, "nothing was done")
        })?;
        let file = LockFile::read(cairn, &directory, None, ignored)?;
        Ok(Self {
            directory,
            spec,
            spec_text,
            spec_name: SPEC.to_owned(),
            workspace: None,
            file,
        })
    }

    fn member(
        cairn: &Cairn,
        directory: &Path,
        spec_text: String,
        root: Root,
        ignored: fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        // The way to the root is counted in real directories.
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        let spec = root.parse(cairn, &directory, &spec_text)?;
        let name = spec.image.name.value.to_string();
        let file = LockFile::read(cairn, &root.directory, Some(name), ignored)?;
        Ok(Self {
            spec_name: workspace::shown(cairn, &directory.join(SPEC)),
            directory,
            spec,
            spec_text,
            workspace: Some(root),
            file,
        })
    }

    /// The file with the lock, as messages call it.
    #[must_use]
    pub fn lock_name(&self) -> &str {
        &self.file.shown
    }

    /// Where the file with the lock is.
    #[must_use]
    pub fn lock_path(&self) -> &Path {
        self.file.path()
    }

    /// Where push, release and rollback act.
    #[must_use]
    pub fn repository(&self) -> Reference {
        let image = &self.spec.image;
        match &image.repository {
            Some(repository) => repository.value.clone(),
            None => Reference::repository(None, image.name.value.clone()),
        }
    }

    /// Where the ledger of the images in `images` is.
    #[must_use]
    pub fn ledger_home(&self, images: &Reference) -> Reference {
        let home = self
            .spec
            .ledger
            .repository
            .as_ref()
            .filter(|_| *images == self.repository());
        home.map_or_else(|| images.clone(), |home| home.value.clone())
    }

    /// The image's repository in the local store.
    #[must_use]
    pub fn local(&self) -> Reference {
        Reference::repository(None, self.spec.image.name.value.clone())
    }

    /// What the spec needs and the lock does not have.
    #[must_use]
    pub fn missing_pins(&self) -> Vec<String> {
        match self.lock() {
            Some(lock) => lock.missing(&self.spec),
            None => vec![self.lock_name().to_owned()],
        }
    }

    /// The lock as it is on the disk.
    #[must_use]
    pub fn lock(&self) -> Option<&Lock> {
        self.file.lock()
    }

    /// Resolves what `update` allows, and writes the lock if it changed. With `offline`, no registry and no URL is asked.
    ///
    /// # Errors
    ///
    /// When something cannot be resolved; then the lock is as it was.
    pub async fn resolve(
        &mut self,
        cairn: &Cairn,
        update: Update,
        offline: bool,
    ) -> Result<LockChange, Failure> {
        let proposal = self.propose(cairn, update, offline).await?;
        self.accept(proposal)
    }

    /// Resolves what `update` allows, and writes nothing. With `offline`, no registry and no URL is asked.
    ///
    /// # Errors
    ///
    /// When something cannot be resolved.
    pub async fn propose(
        &mut self,
        cairn: &Cairn,
        update: Update,
        offline: bool,
    ) -> Result<Proposal, Failure> {
        if let Some(workspace) = self.workspace.as_ref().filter(|_| update != Update::AddMissing) {
            let members = workspace.members(cairn)?.into_iter();
            self.file.retain(&members.map(|member| member.name).collect());
        }
        let siblings: Vec<_> = self.file.others().collect();
        let request = LockRequest {
            spec: &self.spec,
            directory: &self.directory,
            existing: self.lock(),
            siblings: &siblings,
            update,
            dates: dates(cairn)?,
            scratch: &cairn.store_path()?.join("cache/scratch"),
            limits: Limits::default(),
            engine: cairn.engine(None)?,
        };
        let sources = crate::source::BaseSources::new(cairn, &self.directory, offline);
        let from_pins = request.update != Update::All;
        let change = match resolve_lock(&request, &sources).await {
            Ok(change) => change,
            Err(error) => {
                let missing = if offline {
                    offline::lock_failure(cairn, self, &error, from_pins).await?
                } else {
                    None
                };
                return Err(missing.unwrap_or_else(|| self.lock_failure(cairn, error)));
            }
        };
        let text = self.file.text_with(&change.lock);
        let differs = self.file.text() != Some(&text);
        Ok(Proposal {
            change,
            text,
            differs,
        })
    }

    /// Writes a lock, if it differs from what is on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then the lock is as it was.
    pub fn accept(&mut self, proposal: Proposal) -> Result<LockChange, Failure> {
        let Proposal { change, text, .. } = proposal;
        self.file.write(text, change.lock.clone())?;
        Ok(change)
    }

    fn lock_failure(&self, cairn: &Cairn, error: LockError) -> Failure {
        match error {
            LockError::Conflict { findings } => self.lock_findings(cairn, &findings, "nothing was done"),
            LockError::Spec { findings } => self.spec_findings(cairn, &findings, "nothing was done"),
            error => error.into(),
        }
    }

    /// What the image `built` was made of, for whoever reads its release; none if it is too long to be read.
    #[must_use]
    pub fn build_record(&self, built: &Built) -> Option<Bytes> {
        let spec = RecordedSpec {
            digest: Digest::of(self.spec_text.as_bytes()),
            workspace: self
                .workspace
                .as_ref()
                .map(|workspace| Digest::of(workspace.text.as_bytes())),
        };
        let record = BuildRecord::of(built, spec, self.lock()?).to_bytes();
        (record.len() <= build_record::LIMIT).then(|| record.into())
    }

    /// Findings in the spec's text as one failure that ends in `ending`.
    #[must_use]
    pub fn spec_findings(&self, cairn: &Cairn, findings: &[Finding], ending: &str) -> Failure {
        diagnostic::failure(
            &cairn.terminal,
            &self.spec_name,
            &self.spec_text,
            findings,
            ending,
        )
    }

    /// Findings in the lock's text as one failure that ends in `ending`.
    #[must_use]
    pub fn lock_findings(&self, cairn: &Cairn, findings: &[Finding], ending: &str) -> Failure {
        let text = self.file.text().unwrap_or_default();
        diagnostic::failure(&cairn.terminal, self.lock_name(), text, findings, ending)
    }
}

/// `SOURCE_DATE_EPOCH`: read here, for the lock, and nowhere else.
fn dates(cairn: &Cairn) -> Result<Dates, Failure> {
    let Some(text) = cairn.environment.text("SOURCE_DATE_EPOCH") else {
        return Ok(Dates::default());
    };
    match text.parse() {
        Ok(seconds) => Ok(Dates {
            source_date_epoch: Some(seconds),
        }),
        // Falling back to another date would change the image in silence.
        Err(_) => Err(Failure::new(
            Exit::Input,
            format!("SOURCE_DATE_EPOCH is `{text}`, not seconds since 1970"),
        )),
    }
}

/// The root of a workspace says which images there are; it is none itself.
fn no_image(cairn: &Cairn, root: &Root) -> Result<Failure, Failure> {
    let members = root.members(cairn)?;
    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    let text = format!("this is a workspace of several images: {}", names.join(", "));
    let hint = "-p NAME acts on one of them, --workspace on all".to_owned();
    Ok(Failure::new(Exit::Usage, text).with_hint(hint))
}

fn no_spec(cairn: &Cairn) -> Failure {
    Failure::new(
        Exit::Input,
        format!("there is no {SPEC} in {}", cairn.project_directory().display()),
    )
    .with_hint("cairn init writes one; -C DIR acts in another directory".to_owned())
}
