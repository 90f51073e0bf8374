//! The durable store on disk (layout: `docs/architecture.md`, "Store on disk").
//!
//! ```text
//! <store>/version                              format version
//! <store>/repos/<name>/_layout/                an OCI image layout: see [`repository`]
//! <store>/repos/<name>/_gc                     a lock: see [`Directory::collect`]
//! <store>/repos/<name>/_uploads/<id>           resumable uploads, and files being written (`.tmp-…`)
//! <store>/cache/sha256/<hex>                   fetched inputs: see [`Directory::cache_read`]
//! ```
//!
//! Any number of processes may work on a store at once. What they agree on is the file system: names that appear
//! whole by a rename, and a lock on `_layout/oci-layout` for everything that reads, compares and then writes.

mod cache;
mod collect;
mod guard;
mod partial;
mod projection;
mod refs;
mod repository;
mod sealed;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cairn_oci::{Digest, Hasher, RepositoryName};

use crate::blocking::blocking;
use crate::error::RepositoryError;
use crate::files::{self, FileError, Fs, RealFs, Writer};
use crate::memory::page_of;
use crate::repository::{Page, Repository};
use crate::store::{Store, UploadError, UploadId};
use crate::stream::ByteStream;
use sealed::Sealed;

pub use collect::{Collected, Collection};
pub use guard::VERSION;
pub use partial::Partial;
pub use repository::DirectoryRepository;

/// The file of a repository that is locked by whoever says that a blob is there, and by whoever removes one.
const LEASES: &str = "_gc";

/// Most repositories of whose sealed tags something is remembered.
const KNOWN_SEALED: usize = 64;

/// A store in a directory. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: Writer,
    /// Repositories whose `index.json` this process has made old.
    dirty: Mutex<BTreeSet<RepositoryName>>,
    /// Hashes of the uploads of which this process has seen every byte.
    hashes: Mutex<BTreeMap<PathBuf, Hasher>>,
    /// What sealed tags are known to reach.
    sealed: Mutex<BTreeMap<RepositoryName, Sealed>>,
}

impl Directory {
    /// Opens the store at `path`. It need not exist: nothing is made before the first write. Blocks.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NewerVersion`], [`RepositoryError::Unsafe`] if somebody else could change the store, or
    /// the file that could not be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RepositoryError> {
        Self::open_on(Arc::new(RealFs), path)
    }

    /// Opens the store at `path` on another [`Fs`]: for tests that inject faults.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_on(fs: Arc<dyn Fs>, path: impl Into<PathBuf>) -> Result<Self, RepositoryError> {
        let path = path.into();
        let writer = Writer::new(fs, Some(path.clone()));
        guard::check_place(&path)?;
        guard::check_version(&writer, &path)?;
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                writer,
                dirty: Mutex::default(),
                hashes: Mutex::default(),
                sealed: Mutex::default(),
            }),
        })
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// One repository. Nothing is made before the first write to it.
    #[must_use]
    pub fn open_repository(&self, name: &RepositoryName) -> DirectoryRepository {
        DirectoryRepository::new(self.clone(), name.clone())
    }

    /// Brings the `index.json` of one repository up to date, whoever wrote to it.
    ///
    /// # Errors
    ///
    /// The file that could not be read or written.
    pub async fn flush_repository(&self, name: &RepositoryName) -> Result<(), RepositoryError> {
        let repository = self.open_repository(name);
        self.dirty().remove(name);
        let (flushed, repository) = blocking(move || (repository.project(), repository)).await;
        if flushed.is_err() {
            self.mark_dirty(repository.name());
        }
        flushed
    }

    /// Brings every `index.json` up to date: for a start after a crash.
    ///
    /// # Errors
    ///
    /// The file that could not be read or written.
    pub async fn flush_all(&self) -> Result<(), RepositoryError> {
        let store = self.clone();
        for name in blocking(move || store.names()).await? {
            self.flush_repository(&name).await?;
        }
        Ok(())
    }

    fn writer(&self) -> &Writer {
        &self.shared.writer
    }

    fn repository_path(&self, name: &RepositoryName) -> PathBuf {
        self.shared.path.join("repos").join(name.as_str())
    }

    /// Makes the store itself, if it is not there.
    fn prepare(&self) -> Result<(), RepositoryError> {
        guard::ensure_version(self.writer(), &self.shared.path)
    }

    fn mark_dirty(&self, name: &RepositoryName) {
        let mut dirty = self.dirty();
        if !dirty.contains(name) {
            dirty.insert(name.clone());
        }
    }

    fn dirty(&self) -> MutexGuard<'_, BTreeSet<RepositoryName>> {
        self.shared.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hashes(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Hasher>> {
        self.shared.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a repository's sealed tags. Whoever takes it holds the repository's lock, and gives it back.
    fn take_sealed(&self, name: &RepositoryName) -> Sealed {
        let mut sealed = self.shared.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        sealed.remove(name).unwrap_or_default()
    }

    fn keep_sealed(&self, name: &RepositoryName, known: Sealed) {
        let mut sealed = self.shared.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if sealed.len() >= KNOWN_SEALED {
            sealed.clear();
        }
        sealed.insert(name.clone(), known);
    }

    /// Names of all repositories, sorted by bytes. Symbolic links are not followed.
    fn names(&self) -> Result<Vec<RepositoryName>, RepositoryError> {
        let root = self.shared.path.join("repos");
        let (mut found, mut open) = (Vec::new(), vec![String::new()]);
        while let Some(prefix) = open.pop() {
            for part in self.writer().list(&root.join(&prefix))? {
                let text = if prefix.is_empty() {
                    part
                } else {
                    format!("{prefix}/{part}")
                };
                let Ok(name) = text.parse::<RepositoryName>() else {
                    continue;
                };
                let path = root.join(&text);
                if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    continue;
                }
                if is_repository(&path) {
                    found.push(name);
                }
                open.push(text);
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

fn is_repository(path: &Path) -> bool {
    path.join("_layout/oci-layout").is_file()
}

#[async_trait]
impl Store for Directory {
    async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, RepositoryError> {
        Ok(Arc::new(self.open_repository(name)))
    }

    async fn repositories(&self, page: &Page) -> Result<Vec<RepositoryName>, RepositoryError> {
        let store = self.clone();
        let names = blocking(move || store.names()).await?;
        Ok(page_of(names.into_iter(), |name| name.as_str().to_owned(), page).0)
    }

    async fn contains(&self, name: &RepositoryName) -> Result<bool, RepositoryError> {
        let path = self.repository_path(name);
        Ok(blocking(move || is_repository(&path)).await)
    }

    async fn begin_upload(&self, name: &RepositoryName) -> Result<UploadId, UploadError> {
        let repository = self.open_repository(name);
        blocking(move || repository.begin_upload()).await
    }

    async fn upload_offset(&self, name: &RepositoryName, id: &UploadId) -> Result<u64, UploadError> {
        let (repository, id) = (self.open_repository(name), id.clone());
        blocking(move || repository.upload_offset(&id)).await
    }

    async fn append_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        offset: u64,
        content: ByteStream,
    ) -> Result<u64, UploadError> {
        self.open_repository(name)
            .append_upload(id, offset, content)
            .await
    }

    async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
    ) -> Result<u64, UploadError> {
        self.open_repository(name).finish_upload(id, digest).await
    }

    async fn cancel_upload(&self, name: &RepositoryName, id: &UploadId) -> Result<(), UploadError> {
        let (repository, id) = (self.open_repository(name), id.clone());
        blocking(move || repository.cancel_upload(&id)).await
    }

    async fn open_uploads(&self, name: &RepositoryName, limit: usize) -> Result<usize, RepositoryError> {
        let repository = self.open_repository(name);
        Ok(blocking(move || repository.open_uploads(limit)).await?)
    }

    async fn free_space(&self) -> Result<Option<u64>, RepositoryError> {
        let path = self.path().to_owned();
        Ok(blocking(move || files::free_space(&path)).await.map(Some)?)
    }

    async fn flush(&self) -> Result<(), RepositoryError> {
        let dirty = self.dirty().clone();
        for name in dirty {
            self.flush_repository(&name).await?;
        }
        Ok(())
    }
}

impl From<FileError> for UploadError {
    fn from(error: FileError) -> Self {
        RepositoryError::from(error).into()
    }
}
