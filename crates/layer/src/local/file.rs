//! One file of the context directory, read later and only if it is still the same.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::names::Name;
use super::{LocalError, beneath};
use crate::escape::Escaped;

/// A regular file seen in a [`Context`](super::Context): how to open it again beneath the root, and what it was.
///
/// A file that was swapped, or grew, or shrank, or was written to since it was seen, is an error when it is read, and
/// never a layer that mixes two states.
#[derive(Debug, Clone)]
pub struct LocalFile {
    pub(super) directory: Arc<Directory>,
    /// Which of the directory's names.
    pub(super) name: Name,
    pub(super) seen: Identity,
}

/// The directory of a file, shared by all files in it.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) root: Arc<OwnedFd>,
    /// How many bytes were read of all files of the context.
    pub(super) read: Arc<AtomicU64>,
    /// Relative to the root; empty for the root itself.
    pub(super) path: Box<[u8]>,
    /// The names in it, which its files point into.
    pub(super) names: Box<[u8]>,
}

/// By what a file is known to be the same and unchanged, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When its content was changed: seconds since 1970 and nanoseconds. Anybody may set it.
    pub modified: (i64, u32),
    /// When anything of it was changed, by the clock of the file system: seconds since 1970 and nanoseconds.
    pub changed: (i64, u32),
}

impl Identity {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the types of the fields differ between platforms"
    )]
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }

    /// Whether it is the same file with the same content. A file that only got another name, mode or owner is.
    fn has_content_of(&self, other: &Self) -> bool {
        let content = |of: &Self| (of.device, of.inode, of.size, of.modified);
        content(self) == content(other)
    }
}

impl LocalFile {
    /// Its length in bytes when it was seen, which is the length it must have when it is read.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.seen.size
    }

    /// What it was when it was seen.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.seen
    }

    /// Its path in the context, escaped.
    #[must_use]
    pub fn shown(&self) -> String {
        Escaped(&self.path()).to_string()
    }

    fn path(&self) -> Vec<u8> {
        super::join(&self.directory.path, self.name.of(&self.directory.names))
    }

    /// Opens it for reading.
    ///
    /// # Errors
    ///
    /// [`LocalError::Changed`] if there is another file at its path now, or none, or a link;
    /// [`LocalError::Read`] if it may not be read.
    pub fn open(&self) -> Result<LocalReader, LocalError> {
        // Without O_NONBLOCK, opening a pipe that took the file's place would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = beneath::open(self.directory.root.as_fd(), &self.path(), flags);
        let file = opened.map_err(|error| self.open_error(error))?;
        let reader = LocalReader {
            file: File::from(file),
            of: self.clone(),
            left: self.seen.size,
        };
        reader.check_unchanged()?;
        Ok(reader)
    }

    /// Reads all of it. Its size is known before, and is for the caller to judge.
    pub(crate) fn read_to_end(&self) -> Result<Vec<u8>, LocalError> {
        let (mut reader, mut bytes, mut buffer) = (self.open()?, Vec::new(), [0; 16 * 1024]);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(bytes),
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn open_error(&self, error: Errno) -> LocalError {
        match error {
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::XDEV => self.changed(),
            error => self.read_error(error.into()),
        }
    }

    fn changed(&self) -> LocalError {
        LocalError::Changed { path: self.shown() }
    }

    fn read_error(&self, source: io::Error) -> LocalError {
        LocalError::Read {
            path: self.shown(),
            source,
        }
    }
}

/// Reads a [`LocalFile`] from its beginning to its end.
#[derive(Debug)]
pub struct LocalReader {
    file: File,
    of: LocalFile,
    left: u64,
}

impl LocalReader {
    /// Reads the next piece into `buffer` and says how long it is; 0 after the last.
    ///
    /// All pieces together have exactly the size that was seen, or the last call fails.
    ///
    /// # Errors
    ///
    /// [`LocalError::Changed`] if the file ends early, goes on, or was touched meanwhile; [`LocalError::Read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LocalError> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if self.left == 0 {
            self.check_end()?;
            return Ok(0);
        }
        let count = self.read_some(wanted, buffer)?;
        if count == 0 {
            return Err(self.of.changed());
        }
        self.left -= count as u64;
        self.of.directory.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn read_some(&mut self, wanted: usize, buffer: &mut [u8]) -> Result<usize, LocalError> {
        loop {
            match self.file.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(|error| self.of.read_error(error)),
            }
        }
    }

    /// A file of `/proc` says that it is empty and is not, so there the end is tried and not believed. Any other that has
    /// grown says so.
    fn check_end(&mut self) -> Result<(), LocalError> {
        if self.of.seen.size == 0 && self.read_some(1, &mut [0])? > 0 {
            return Err(self.of.changed());
        }
        self.check_unchanged()
    }

    fn check_unchanged(&self) -> Result<(), LocalError> {
        let stat = rustix::fs::fstat(&self.file).map_err(|error| self.of.read_error(error.into()))?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_file && Identity::of(&stat).has_content_of(&self.of.seen) {
            Ok(())
        } else {
            Err(self.of.changed())
        }
    }
}
