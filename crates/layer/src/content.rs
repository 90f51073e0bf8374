//! Where the content of files is read, whatever it comes from.

use std::io;

use crate::local::{LocalError, LocalReader};
use crate::path::TreePath;
use crate::spool::Section;
use crate::tree::Source;
use crate::writer::WriteError;

/// A file's content from its beginning to its end.
pub(crate) struct Content<'a> {
    path: &'a TreePath,
    reader: Reader<'a>,
}

enum Reader<'a> {
    Bytes(&'a [u8]),
    Local(LocalReader),
    Spooled(Section<'a>),
}

impl<'a> Content<'a> {
    /// `path` is what messages call it.
    pub(crate) fn open(path: &'a TreePath, source: &'a Source) -> Result<Self, WriteError> {
        let reader = match source {
            Source::Bytes(bytes) => Reader::Bytes(bytes),
            Source::Local(file) => Reader::Local(file.open().map_err(|source| local(path, source))?),
            Source::Spooled(content) => Reader::Spooled(content.section()),
        };
        Ok(Self { path, reader })
    }

    /// Reads the next piece and says how long it is; 0 after the last. All pieces together are exactly as long as the
    /// source says, or the last call fails.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, WriteError> {
        match &mut self.reader {
            Reader::Bytes(left) => {
                let (now, later) = left.split_at(left.len().min(buffer.len()));
                buffer[..now.len()].copy_from_slice(now);
                *left = later;
                Ok(now.len())
            }
            Reader::Local(reader) => reader.read(buffer).map_err(|source| local(self.path, source)),
            Reader::Spooled(section) => read_section(section, buffer).map_err(|source| WriteError::Spooled {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

fn local(path: &TreePath, source: LocalError) -> WriteError {
    let path = path.clone();
    WriteError::Content { path, source }
}

fn read_section(section: &mut Section<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match io::Read::read(section, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
