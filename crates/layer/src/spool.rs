//! Content that waits in a file until a layer is written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use cairn_oci::Digest;

/// A part of a file that stays open: what came out of an archive, or what was downloaded.
///
/// The file may have no name any more. Nobody may write to it as long as this is there.
#[derive(Debug, Clone)]
pub struct Spooled {
    file: Arc<File>,
    offset: u64,
    size: u64,
    digest: Digest,
}

impl Spooled {
    /// `size` bytes of `file` from `offset` on, whose SHA-256 is known to be `digest`.
    #[must_use]
    pub const fn new(file: Arc<File>, offset: u64, size: u64, digest: Digest) -> Self {
        Self {
            file,
            offset,
            size,
            digest,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What it is: two that have the same digest have the same content.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Reads it from the first byte on. A file that has become shorter is an error.
    #[must_use]
    pub fn reader(&self) -> impl Read + use<'_> {
        self.section()
    }

    pub(crate) fn section(&self) -> Section<'_> {
        Section::new(&self.file, self.offset, self.size)
    }
}

/// Reads a part of a file, wherever the file's own position is.
#[derive(Debug, Clone)]
pub(crate) struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl<'a> Section<'a> {
    pub(crate) const fn new(file: &'a File, at: u64, length: u64) -> Self {
        Self {
            file,
            at,
            left: length,
        }
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
