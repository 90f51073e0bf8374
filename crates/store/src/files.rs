//! The one module that writes files.
//!
//! A file counts when its final name exists, and it has its final name only when its bytes are on the disk:
//!
//! ```text
//! open(".tmp-…", O_CREAT | O_EXCL, 0600)      in the same file system as the final name
//! write, write, …
//! fchmod(final mode)                          whatever the umask
//! fsync(file)                                 an error here ends that file: it is removed, never retried
//! rename(".tmp-…", final)
//! fsync(directory)                            and before it, the parent of each directory that was made
//! ```
//!
//! Whoever is interrupted leaves a `.tmp-…` file and nothing else. [`Fs`] is the seam between this order and the
//! operating system: tests put an implementation there that fails at the k-th operation or records what a
//! power loss could leave. Everybody else uses the functions below, which act on the real file system.

mod fs;
mod leftovers;
mod lock;
mod temporary;
mod writer;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use fs::{Fs, Handle, RealFs};
pub use leftovers::{LEFT_BEHIND, discard_leftovers};
pub use lock::Lock;
pub(crate) use lock::Tried;
pub use temporary::TemporaryFile;
pub use writer::{Linked, Writer};

/// Mode of content that everybody may read.
pub const PUBLIC: u32 = 0o644;
/// Mode of keys and other secrets.
pub const PRIVATE: u32 = 0o600;

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was tried: `write`, `rename`, `flush`, …
    pub action: &'static str,
    /// Which file or directory.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: the same `action` and `path` around any cause.
    pub(crate) fn on<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |source| Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Replaces or makes the file `path`, atomically and durably, with exactly the permission bits `mode`.
/// Missing directories are made.
///
/// # Errors
///
/// [`FileError`]. Unless only the last flush of the directory failed, the old file is still there.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    Writer::real().write(path, bytes, mode)
}

/// Makes the file `path` as [`write()`] does, unless something is there: then `false`, and nothing was written.
/// Of several writers at once exactly one gets `true`.
///
/// # Errors
///
/// [`FileError`].
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<bool, FileError> {
    Writer::real().create(path, bytes, mode)
}

/// Replaces or makes the file `path` atomically, but does not wait for the disk: for what can be made again, and is
/// checked before it is used. Missing directories are made.
///
/// # Errors
///
/// [`FileError`].
pub fn write_cached(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    Writer::real().write_cached(path, bytes)
}

/// All of the regular file `path`, if it is there and has at most `limit` bytes.
///
/// # Errors
///
/// [`FileError`].
pub fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    let Some(file) = Writer::real().open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(FileError::on("read", path))?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// The names in a directory that are UTF-8, sorted, without temporary files; none if it is not there.
///
/// # Errors
///
/// [`FileError`].
pub fn list(directory: &Path) -> Result<Vec<String>, FileError> {
    Writer::real().list(directory)
}

/// How many bytes somebody without special rights can still write to the file system of `path`, or of the nearest
/// directory above it that exists.
///
/// # Errors
///
/// [`FileError`].
pub fn free_space(path: &Path) -> Result<u64, FileError> {
    let mut place = path;
    loop {
        match rustix::fs::statvfs(place) {
            Ok(found) => return Ok(found.f_bavail.saturating_mul(found.f_frsize)),
            Err(rustix::io::Errno::NOENT) => match place.parent() {
                Some(above) if !above.as_os_str().is_empty() => place = above,
                _ => return Err(FileError::on("look at", path)(io::ErrorKind::NotFound.into())),
            },
            Err(errno) => return Err(FileError::on("look at", place)(errno.into())),
        }
    }
}

/// Sets the times of the file `path` to now, without waiting for the disk: it was of use.
///
/// # Errors
///
/// [`FileError`].
pub fn touch(path: &Path) -> Result<(), FileError> {
    Writer::real().touch(path)
}

/// Removes the file `path` without waiting for the disk; `false` if it was not there.
///
/// # Errors
///
/// [`FileError`].
pub fn discard(path: &Path) -> Result<bool, FileError> {
    Writer::real().discard(path)
}

/// Removes the file `path` durably; `false` if it was not there.
///
/// # Errors
///
/// [`FileError`].
pub fn remove(path: &Path) -> Result<bool, FileError> {
    Writer::real().remove(path)
}

/// Makes the directory `path` and its missing parents, durably, with mode 0755 less the umask.
///
/// # Errors
///
/// [`FileError`].
pub fn create_directories(path: &Path) -> Result<(), FileError> {
    Writer::real().create_directories(path)
}

/// Begins a file whose content comes in pieces; missing directories are made. It must be published under a
/// name in the same file system, most simply in `directory`.
///
/// # Errors
///
/// [`FileError`].
pub fn temporary(directory: &Path) -> Result<TemporaryFile, FileError> {
    let writer = Writer::real();
    writer.create_directories(directory)?;
    writer.temporary(directory)
}
