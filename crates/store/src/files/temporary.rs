//! Files that nobody sees until they are whole.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{FileError, Handle, Writer};

/// First characters of the name of a temporary file. No tag, digest or repository begins like this.
pub(crate) const PREFIX: &str = ".tmp-";

/// A file whose content comes in pieces. Dropped, it is gone; published, it is there whole.
pub struct TemporaryFile {
    writer: Writer,
    path: PathBuf,
    handle: Box<dyn Handle>,
    published: bool,
}

impl fmt::Debug for TemporaryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl TemporaryFile {
    pub(super) fn create(writer: Writer, directory: &Path) -> Result<Self, FileError> {
        let path =
            directory.join(random_name().map_err(FileError::on("name a temporary file in", directory))?);
        let handle = writer
            .fs()
            .create(&path, super::PRIVATE)
            .map_err(FileError::on("create", &path))?;
        Ok(Self::new(writer, path, handle))
    }

    /// Takes an existing file over: from here on it is published or removed.
    pub(super) fn adopt(writer: Writer, path: &Path) -> Result<Self, FileError> {
        let handle = writer.fs().append(path).map_err(FileError::on("open", path))?;
        Ok(Self::new(writer, path.to_owned(), handle))
    }

    fn new(writer: Writer, path: PathBuf, handle: Box<dyn Handle>) -> Self {
        Self {
            writer,
            path,
            handle,
            published: false,
        }
    }

    /// Where the content is while it is not published, for reading it back.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    ///
    /// [`FileError`]; the file can then only be dropped.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.handle
            .write(bytes)
            .map_err(FileError::on("write", &self.path))
    }

    /// Makes it the file `to`, whose directory must exist, durably and with exactly the permission bits `mode`.
    /// What was there is replaced.
    ///
    /// # Errors
    ///
    /// [`FileError`]; unless only the last flush of the directory failed, `to` is as it was.
    pub fn publish(mut self, to: &Path, mode: u32) -> Result<(), FileError> {
        self.seal(mode)?;
        // The name was durable with what it had; from here on it is not, until the directory is flushed again.
        self.writer.forget(to);
        self.writer
            .fs()
            .rename(&self.path, to)
            .map_err(FileError::on("rename a new file to", to))?;
        self.published = true;
        self.writer.settle(to)
    }

    /// Makes it the file `to` as [`Self::publish`] does, private, and without waiting for the disk.
    pub(super) fn publish_cached(mut self, to: &Path) -> Result<(), FileError> {
        self.writer
            .fs()
            .rename(&self.path, to)
            .map_err(FileError::on("rename a new file to", to))?;
        self.published = true;
        Ok(())
    }

    /// Like [`Self::publish`], unless something is at `to`: then `false`, and this file is gone.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn publish_new(mut self, to: &Path, mode: u32) -> Result<bool, FileError> {
        self.seal(mode)?;
        match self.writer.fs().rename_new(&self.path, to) {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(FileError::on("rename a new file to", to)(error)),
        }
        self.writer.settle(to)?;
        Ok(true)
    }

    fn seal(&mut self, mode: u32) -> Result<(), FileError> {
        self.handle
            .set_mode(mode)
            .map_err(FileError::on("set the mode of", &self.path))?;
        self.handle.sync().map_err(FileError::on("flush", &self.path))
    }
}

impl io::Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.handle.write(bytes)?;
        Ok(bytes.len())
    }

    /// Does nothing: nothing is buffered here, and [`TemporaryFile::publish`] waits for the disk.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.published {
            // Nothing depends on it: what stays behind is a file that no reader looks at.
            drop(self.writer.fs().remove(&self.path));
        }
    }
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let random = u64::from_le_bytes(bytes);
    Ok(format!("{PREFIX}{random:016x}"))
}
