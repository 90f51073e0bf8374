//! Locks between processes and threads.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

use super::{FileError, PRIVATE};

/// A lock on a file (`flock`), released when dropped and by the operating system when the process ends.
///
/// Each lock has a file description of its own, so two locks exclude each other also within one process. Waiting
/// blocks the thread.
#[derive(Debug)]
pub struct Lock {
    /// Holds the lock as long as it is open.
    _file: File,
}

/// What became of an attempt to lock without waiting.
#[derive(Debug)]
pub(crate) enum Tried {
    /// The lock is held.
    Held(Lock),
    /// Somebody else holds it.
    Busy,
    /// There is no such file.
    Missing,
}

impl Lock {
    /// Waits until nobody else has a lock on `path`. The file is made if it is missing; its directory must exist.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn exclusive(path: &Path) -> Result<Self, FileError> {
        Self::wait(path, FlockOperation::LockExclusive)
    }

    /// Waits until nobody has an exclusive lock on `path`. The file is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn shared(path: &Path) -> Result<Self, FileError> {
        Self::wait(path, FlockOperation::LockShared)
    }

    /// Like [`Self::exclusive`], but a file that is not there, or no longer once the wait is over, gives `None`.
    pub(crate) fn existing(path: &Path) -> Result<Option<Self>, FileError> {
        loop {
            let file = match OpenOptions::new().read(true).write(true).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(FileError::on("lock", path)(error)),
            };
            if let Some(lock) = Self::hold(path, file, FlockOperation::LockExclusive)? {
                return Ok(Some(lock));
            }
        }
    }

    /// Like [`Self::existing`], but without waiting for whoever holds the lock.
    pub(crate) fn try_existing(path: &Path) -> Result<Tried, FileError> {
        Self::try_opened(path, OpenOptions::new().read(true).write(true))
    }

    /// Locks a directory that is there, without waiting for whoever holds the lock. Nothing is written.
    pub(crate) fn try_directory(path: &Path) -> Result<Tried, FileError> {
        Self::try_opened(path, OpenOptions::new().read(true))
    }

    fn try_opened(path: &Path, how: &OpenOptions) -> Result<Tried, FileError> {
        loop {
            let file = match how.open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tried::Missing),
                Err(error) => return Err(FileError::on("lock", path)(error)),
            };
            match Self::hold(path, file, FlockOperation::NonBlockingLockExclusive) {
                Ok(Some(lock)) => return Ok(Tried::Held(lock)),
                Ok(None) => {}
                Err(error) if error.source.kind() == io::ErrorKind::WouldBlock => return Ok(Tried::Busy),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(path: &Path, operation: FlockOperation) -> Result<Self, FileError> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(PRIVATE)
                .open(path)
                .map_err(FileError::on("lock", path))?;
            if let Some(lock) = Self::hold(path, file, operation)? {
                return Ok(lock);
            }
        }
    }

    /// Locks `file`, unless `path` is another file by the time the lock is held: then the lock would exclude nobody.
    fn hold(path: &Path, file: File, operation: FlockOperation) -> Result<Option<Self>, FileError> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))
            .map_err(|errno| FileError::on("lock", path)(errno.into()))?;
        let held = file.metadata().map_err(FileError::on("lock", path))?;
        match path.metadata() {
            Ok(now) if (now.dev(), now.ino()) == (held.dev(), held.ino()) => Ok(Some(Self { _file: file })),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::on("lock", path)(error)),
            _ => Ok(None),
        }
    }
}
