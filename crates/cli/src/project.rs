//! The spec and the lock of the directory that a command acts in.

use std::path::PathBuf;

use cairn_build::lock::Lock;
use cairn_build::resolve::{Dates, LockChange, LockError, LockRequest, Update};
use cairn_build::{Finding, Spec, resolve_lock};
use cairn_layer::Limits;
use cairn_oci::Reference;
use cairn_store::files;

use crate::diagnostic;
use crate::failure::{Exit, Failure};
use crate::offline;
use crate::program::Cairn;

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
    /// The directory that holds both.
    pub directory: PathBuf,
    /// The spec.
    pub spec: Spec,
    spec_text: String,
    lock: Option<(String, Lock)>,
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
        let directory = cairn.directory();
        if !directory.is_dir() {
            return Err(Failure::new(
                Exit::Input,
                format!("{} is not a directory", directory.display()),
            ));
        }
        let Some(spec_text) = read(&directory.join(SPEC), cairn_build::spec::LIMIT)? else {
            return Ok(None);
        };
        let spec = Spec::parse(&spec_text).map_err(|findings| {
            diagnostic::failure(&cairn.terminal, SPEC, &spec_text, &findings, "nothing was done")
        })?;
        let text = read(&directory.join(LOCK), cairn_build::lock::LIMIT)?;
        let lock = match text.filter(|text| !ignored(text)) {
            Some(text) => {
                let lock = Lock::parse(&text);
                let lock = lock.map_err(|findings| {
                    diagnostic::failure(&cairn.terminal, LOCK, &text, &findings, "nothing was done")
                })?;
                Some((text, lock))
            }
            None => None,
        };
        Ok(Some(Self {
            directory,
            spec,
            spec_text,
            lock,
        }))
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
        match &self.lock {
            Some((_, lock)) => lock.missing(&self.spec),
            None => vec![LOCK.to_owned()],
        }
    }

    /// The lock as it is on the disk.
    #[must_use]
    pub fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref().map(|(_, lock)| lock)
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
    pub async fn propose(&self, cairn: &Cairn, update: Update, offline: bool) -> Result<Proposal, Failure> {
        let request = LockRequest {
            spec: &self.spec,
            directory: &self.directory,
            existing: self.lock(),
            update,
            dates: dates(cairn)?,
            scratch: &cairn.store_path()?.join("cache/scratch"),
            limits: Limits::default(),
            engine: cairn.engine(None)?,
        };
        let sources = crate::source::BaseSources::new(cairn, offline);
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
        let before = self.lock.as_ref().map(|(text, _)| text.as_str());
        let text = change.lock.to_text_with_comments_of(before.unwrap_or_default());
        let differs = before != Some(&text);
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
        let Proposal {
            change,
            text,
            differs,
        } = proposal;
        if differs {
            files::write(&self.directory.join(LOCK), text.as_bytes(), files::PUBLIC)?;
        }
        self.lock = Some((text, change.lock.clone()));
        Ok(change)
    }

    fn lock_failure(&self, cairn: &Cairn, error: LockError) -> Failure {
        match error {
            LockError::Conflict { findings } => self.lock_findings(cairn, &findings, "nothing was done"),
            LockError::Spec { findings } => self.spec_findings(cairn, &findings, "nothing was done"),
            error => error.into(),
        }
    }

    /// Findings in the spec's text as one failure that ends in `ending`.
    #[must_use]
    pub fn spec_findings(&self, cairn: &Cairn, findings: &[Finding], ending: &str) -> Failure {
        diagnostic::failure(&cairn.terminal, SPEC, &self.spec_text, findings, ending)
    }

    /// Findings in the lock's text as one failure that ends in `ending`.
    #[must_use]
    pub fn lock_findings(&self, cairn: &Cairn, findings: &[Finding], ending: &str) -> Failure {
        let text = self.lock.as_ref().map_or("", |(text, _)| text.as_str());
        diagnostic::failure(&cairn.terminal, LOCK, text, findings, ending)
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

fn no_spec(cairn: &Cairn) -> Failure {
    Failure::new(
        Exit::Input,
        format!("there is no {SPEC} in {}", cairn.directory().display()),
    )
    .with_hint("cairn init writes one; -C DIR acts in another directory".to_owned())
}

/// Reads a text of at most `limit` bytes; none if there is no such file.
fn read(path: &std::path::Path, limit: usize) -> Result<Option<String>, Failure> {
    use std::io::Read;
    let failed = |error: &std::io::Error| {
        Failure::new(Exit::Input, format!("cannot read {}: {error}", path.display()))
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if bytes.len() > limit {
        return Err(Failure::new(
            Exit::Input,
            format!("{} is longer than {limit} bytes", path.display()),
        ));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| not_text(path, error.as_bytes(), error.utf8_error().valid_up_to()))
}

/// Says where the first byte is that cannot be text, in characters, as findings do.
fn not_text(path: &std::path::Path, bytes: &[u8], valid: usize) -> Failure {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Failure::new(
        Exit::Input,
        format!("{}:{line}:{column} is not UTF-8 text", path.display()),
    )
    .with_hint("save the file as UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_no_text_is_named_with_its_place() {
        let failure = not_text(std::path::Path::new("cairn.toml"), b"a\n\xc3\xa4 = \"\xff", 8);
        assert!(
            failure.to_string().contains("cairn.toml:2:6 is not UTF-8 text"),
            "{failure}"
        );
    }
}
