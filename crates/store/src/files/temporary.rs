//! Files that nobody sees until they are whole.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{FileError, Handle, Writer};

/// First characters of the name of a temporary file. No tag, digest or repository begins like this.
pub(crate) const PREFIX: &str = ".tmp-";

/// After so many bytes the disk is told to begin with them.
const WRITE_BACK: u64 = 8 << 20;

/// A file whose content comes in pieces. Dropped, it is gone; published, it is there whole.
pub struct TemporaryFile {
    writer: Writer,
    path: PathBuf,
    handle: Box<dyn Handle>,
    /// Bytes appended here.
    length: u64,
    /// How many of them the disk was told to begin with.
    begun: u64,
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
            length: 0,
            begun: 0,
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
        self.write_all(bytes).map_err(FileError::on("write", &self.path))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.handle.write(bytes)?;
        self.length += bytes.len() as u64;
        if self.length - self.begun >= WRITE_BACK {
            self.handle.write_back(self.begun, self.length - self.begun);
            self.begun = self.length;
        }
        Ok(())
    }

    /// How many bytes were appended.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
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

    /// [`Self::publish`] by another writer, which then knows that the name is durable. The file comes back, flushed, if
    /// its place is in another file system than `to`.
    pub(super) fn publish_by(
        mut self,
        writer: &Writer,
        to: &Path,
        mode: u32,
    ) -> Result<Option<Self>, FileError> {
        self.seal(mode)?;
        writer.forget(to);
        match writer.fs().rename(&self.path, to) {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Ok(Some(self)),
            Err(error) => return Err(FileError::on("rename a new file to", to)(error)),
        }
        writer.settle(to)?;
        Ok(None)
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
        self.write_all(bytes)?;
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
