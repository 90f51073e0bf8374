//! The order of operations that makes writes atomic and durable.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{FileError, Fs, RealFs, TemporaryFile};

/// Most names that a writer remembers to be on the disk. Beyond it, it forgets all and flushes once more.
const REMEMBERED: usize = 16_384;

/// Writes files durably through an [`Fs`]. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fs: Arc<dyn Fs>,
    root: Option<PathBuf>,
    durable: Mutex<BTreeSet<PathBuf>>,
    failed: Mutex<BTreeSet<PathBuf>>,
}

/// What became of a second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// The name was made.
    New,
    /// The name was there.
    Present,
    /// There is no file to link to.
    Missing,
    /// The file system cannot: too many names, another device, not allowed.
    Impossible,
}

impl Writer {
    /// A writer on the file system of this machine.
    #[must_use]
    pub fn real() -> Self {
        Self::new(Arc::new(RealFs), None)
    }

    /// A writer on `fs`.
    ///
    /// Directories within `root` count as durable only once this writer has flushed their parents itself:
    /// another process may just have made them.
    #[must_use]
    pub fn new(fs: Arc<dyn Fs>, root: Option<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                fs,
                root,
                durable: Mutex::default(),
                failed: Mutex::default(),
            }),
        }
    }

    pub(super) fn fs(&self) -> &dyn Fs {
        &*self.shared.fs
    }

    /// See [`super::write`].
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        self.whole(path, bytes)?.publish(path, mode)
    }

    /// See [`super::write_cached`].
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn write_cached(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        self.whole(path, bytes)?.publish_cached(path)
    }

    /// See [`super::create`].
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<bool, FileError> {
        if path.exists() {
            self.ensure_durable([path])?;
            return Ok(false);
        }
        self.whole(path, bytes)?.publish_new(path, mode)
    }

    fn whole(&self, path: &Path, bytes: &[u8]) -> Result<TemporaryFile, FileError> {
        let directory = parent(path);
        self.create_directories(directory)?;
        let mut file = self.temporary(directory)?;
        file.append(bytes)?;
        Ok(file)
    }

    /// Begins a temporary file in `directory`, which must exist.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn temporary(&self, directory: &Path) -> Result<TemporaryFile, FileError> {
        TemporaryFile::create(self.clone(), directory)
    }

    /// Publishes the existing file `from` as `to`, as [`TemporaryFile::publish`] does. On an error it is removed:
    /// a file whose flush failed must not be tried again.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn publish(&self, from: &Path, to: &Path, mode: u32) -> Result<(), FileError> {
        self.create_directories(parent(to))?;
        TemporaryFile::adopt(self.clone(), from)?.publish(to, mode)
    }

    /// Publishes `file`, begun by any writer, as `to`, as [`TemporaryFile::publish`] does. It comes back if it is in
    /// another file system.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub(crate) fn publish_temporary(
        &self,
        file: TemporaryFile,
        to: &Path,
        mode: u32,
    ) -> Result<Option<TemporaryFile>, FileError> {
        self.create_directories(parent(to))?;
        file.publish_by(self, to, mode)
    }

    /// See [`super::remove`].
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn remove(&self, path: &Path) -> Result<bool, FileError> {
        self.forget(path);
        match self.fs().remove(path) {
            Ok(()) => self.sync_directory(parent(path)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FileError::on("remove", path)(error)),
        }
    }

    /// Gives the file `from` the second name `to`, durably.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn link(&self, from: &Path, to: &Path) -> Result<Linked, FileError> {
        self.create_directories(parent(to))?;
        let linked = match self.fs().link(from, to) {
            Ok(()) => Linked::New,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::EXIST) => Linked::Present,
                Some(Errno::NOENT) => return Ok(Linked::Missing),
                Some(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
                    return Ok(Linked::Impossible);
                }
                _ => return Err(FileError::on("link", to)(error)),
            },
        };
        self.ensure_durable([to])?;
        Ok(linked)
    }

    /// See [`super::create_directories`].
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn create_directories(&self, path: &Path) -> Result<(), FileError> {
        if path.is_dir() && (!self.is_within_root(path) || self.durable().contains(path)) {
            return Ok(());
        }
        let above = parent(path);
        if above == path {
            return Ok(());
        }
        self.create_directories(above)?;
        match self.fs().create_directory(path) {
            Ok(()) => self.settle(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.settle_existing(path),
            Err(error) => Err(FileError::on("create the directory", path)(error)),
        }
    }

    /// Another may have made this directory a moment ago. Only what is above the root need not be readable.
    fn settle_existing(&self, path: &Path) -> Result<(), FileError> {
        match self.settle(path) {
            Err(error)
                if self.shared.root.as_deref() == Some(path)
                    && error.source.kind() == io::ErrorKind::PermissionDenied =>
            {
                self.learn(path);
                Ok(())
            }
            other => other,
        }
    }

    fn is_within_root(&self, path: &Path) -> bool {
        self.shared
            .root
            .as_ref()
            .is_some_and(|root| path.starts_with(root))
    }

    /// Begins an empty file that is not durable and that everybody sees at once, such as a resumable upload.
    pub(crate) fn start(&self, path: &Path) -> Result<(), FileError> {
        self.fs()
            .create(path, super::PRIVATE)
            .map(drop)
            .map_err(FileError::on("create", path))
    }

    /// Opens such a file to write at its end.
    pub(crate) fn resume(&self, path: &Path) -> Result<Box<dyn super::Handle>, FileError> {
        self.fs().append(path).map_err(FileError::on("open", path))
    }

    /// Removes such a file; `false` if it was not there.
    pub(crate) fn discard(&self, path: &Path) -> Result<bool, FileError> {
        self.forget(path);
        match self.fs().remove(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FileError::on("remove", path)(error)),
        }
    }

    /// Sets the times of a file to now.
    pub(crate) fn touch(&self, path: &Path) -> Result<(), FileError> {
        self.fs().touch(path).map_err(FileError::on("touch", path))
    }

    /// Opens a file to read, if it is there.
    pub(crate) fn open(&self, path: &Path) -> Result<Option<File>, FileError> {
        match self.fs().open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(FileError::on("open", path)(error)),
        }
    }

    /// The names in a directory, sorted; none if it is not there. Temporary files are left out.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<String>, FileError> {
        let names = self.list_raw(path)?.into_iter();
        Ok(names
            .filter_map(|name| name.into_string().ok())
            .filter(|name| !name.starts_with(super::temporary::PREFIX))
            .collect())
    }

    /// The first `limit` names in a directory after `after` that are `wanted`, sorted; none if it is not there.
    pub(crate) fn list_part(
        &self,
        path: &Path,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, FileError> {
        let wanted = |name: &OsStr| {
            name.to_str()
                .is_some_and(|name| !name.starts_with(super::temporary::PREFIX) && wanted(name))
        };
        match self.fs().list_part(path, after.map(OsStr::new), limit, &wanted) {
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(FileError::on("list", path)(error)),
            Ok(names) => Ok(names
                .into_iter()
                .filter_map(|name| name.into_string().ok())
                .collect()),
        }
    }

    /// Everything in a directory, sorted, temporary files too.
    pub(crate) fn list_all(&self, path: &Path) -> Result<Vec<PathBuf>, FileError> {
        let names = self.list_raw(path)?.into_iter();
        Ok(names.map(|name| path.join(name)).collect())
    }

    fn list_raw(&self, path: &Path) -> Result<Vec<OsString>, FileError> {
        match self.fs().list(path) {
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            other => other.map_err(FileError::on("list", path)),
        }
    }

    /// Makes sure that names which exist are on the disk, whoever made them: at most one flush for each of their
    /// directories, and none for names that this writer knows.
    pub(crate) fn ensure_durable<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a Path>,
    ) -> Result<(), FileError> {
        let unknown: Vec<&Path> = {
            let (durable, failed) = (self.durable(), self.failed());
            paths
                .into_iter()
                .filter(|path| !durable.contains(*path) || failed.contains(parent(path)))
                .collect()
        };
        let directories: BTreeSet<&Path> = unknown.iter().map(|path| parent(path)).collect();
        for directory in directories {
            self.sync_directory(directory)?;
        }
        for path in unknown {
            self.learn(path);
        }
        Ok(())
    }

    /// Makes the name `path` durable with the content that it has now, whoever gave it that content.
    pub(crate) fn flush_name(&self, path: &Path) -> Result<(), FileError> {
        self.forget(path);
        self.ensure_durable([path])
    }

    /// From now on the name `path` is not known to be durable.
    pub(super) fn forget(&self, path: &Path) {
        self.durable().remove(path);
    }

    /// Makes the name `path`, just given, durable.
    pub(super) fn settle(&self, path: &Path) -> Result<(), FileError> {
        self.sync_directory(parent(path))?;
        self.learn(path);
        Ok(())
    }

    /// Flushes a directory. After a failure the operating system may report success although names were lost, so
    /// this writer never believes that directory again.
    fn sync_directory(&self, path: &Path) -> Result<(), FileError> {
        if self.failed().contains(path) {
            let again = io::Error::other("an earlier flush of this directory failed; start again");
            return Err(FileError::on("flush", path)(again));
        }
        self.fs().sync_directory(path).map_err(|error| {
            self.failed().insert(path.to_owned());
            FileError::on("flush", path)(error)
        })
    }

    fn learn(&self, path: &Path) {
        let mut durable = self.durable();
        if durable.len() >= REMEMBERED {
            durable.clear();
        }
        durable.insert(path.to_owned());
    }

    fn durable(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.shared.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory that a name is in; `.` for a bare name, itself for `/`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Not there, or below something that is no directory.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
