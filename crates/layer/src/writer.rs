//! Writing a tree as a layer.

use std::io::{self, Read as _, Write};

use tar::EntryType;

use crate::compress::{CHUNK, Compression, LayerSink, WrittenLayer};
use crate::header::{BLOCK, MAX_MTIME, Member, padding};
use crate::local::LocalError;
use crate::path::TreePath;
use crate::spool::Spooled;
use crate::tree::{Attributes, Node, Source, Tree, TreeError};

/// The mode of a whiteout. Nobody ever sees it on a disk.
const WHITEOUT_MODE: u32 = 0o600;
const SYMLINK_MODE: u32 = 0o777;

/// What a layer's bytes depend on besides its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerOptions {
    /// Modification time of every entry, in seconds since 1970: 1 to 8,589,934,591 (0 upsets tools).
    pub mtime: u64,
    /// How it is compressed.
    pub compression: Compression,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self {
            mtime: 1,
            compression: Compression::default(),
        }
    }
}

/// Why a layer cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The time cannot be said in a header.
    #[error("the modification time {mtime} is not between 1 and {MAX_MTIME} seconds after 1970")]
    Mtime {
        /// The time.
        mtime: u64,
    },
    /// The tree is not one that a layer can hold.
    #[error("the tree cannot be written as a layer")]
    Tree {
        /// What is wrong.
        source: TreeError,
    },
    /// A file's content cannot be read.
    #[error("cannot read the content of {path}")]
    Content {
        /// The file's path in the image.
        path: TreePath,
        /// What is wrong with the file in the context.
        source: LocalError,
    },
    /// What came out of an archive, or was downloaded, cannot be read back.
    #[error("cannot read the content of {path} back")]
    Spooled {
        /// The file's path in the image.
        path: TreePath,
        /// Why not.
        source: io::Error,
    },
    /// The output does not take the bytes.
    #[error("cannot write the layer")]
    Output {
        /// Why.
        source: io::Error,
    },
}

/// Writes `tree` as a layer to `out`: archives, compresses and hashes in one pass.
///
/// The same tree and options give the same bytes. Memory is bounded whatever the size of a file. If it fails, what was
/// written so far is no layer, and nothing says that it is one.
///
/// # Errors
///
/// [`WriteError`].
pub fn write_layer(
    tree: &Tree,
    options: &LayerOptions,
    out: &mut dyn Write,
) -> Result<WrittenLayer, WriteError> {
    if !(1..=MAX_MTIME).contains(&options.mtime) {
        return Err(WriteError::Mtime { mtime: options.mtime });
    }
    tree.check_links().map_err(|source| WriteError::Tree { source })?;
    let sink = LayerSink::new(options.compression, out).map_err(output)?;
    let mut writer = Writer {
        sink,
        mtime: options.mtime,
        buffer: vec![0; CHUNK],
    };
    let mut entries = 0;
    for (path, node) in tree.iter() {
        writer.node(tree, path, node)?;
        entries += 1;
    }
    writer.write(&[0; 2 * BLOCK])?;
    writer.sink.finish(entries).map_err(output)
}

const fn output(source: io::Error) -> WriteError {
    WriteError::Output { source }
}

struct Writer<'a> {
    sink: LayerSink<'a>,
    mtime: u64,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn node(&mut self, tree: &Tree, path: &TreePath, node: &Node) -> Result<(), WriteError> {
        match node {
            Node::Directory(attributes) => self.header(&self.member(path, EntryType::Directory, attributes)),
            Node::File { attributes, source } => {
                let size = source.size();
                self.header(&Member {
                    size,
                    ..self.member(path, EntryType::Regular, attributes)
                })?;
                self.content(path, source)
            }
            Node::Symlink { target, uid, gid } => self.symlink(path, target, *uid, *gid),
            Node::Hardlink { to } => self.hardlink(tree, path, to),
            Node::Whiteout => self.whiteout(path),
        }
    }

    fn member<'a>(&self, path: &'a TreePath, kind: EntryType, attributes: &'a Attributes) -> Member<'a> {
        Member {
            path: path.as_bytes(),
            kind,
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            size: 0,
            mtime: self.mtime,
            link: b"",
            xattrs: Some(&attributes.xattrs),
        }
    }

    fn symlink(&mut self, path: &TreePath, target: &[u8], uid: u32, gid: u32) -> Result<(), WriteError> {
        let attributes = Attributes {
            mode: SYMLINK_MODE,
            uid,
            gid,
            ..Attributes::default()
        };
        self.header(&Member {
            link: target,
            ..self.member(path, EntryType::Symlink, &attributes)
        })
    }

    /// A hard link repeats its file's attributes: what unpacks layers sets those of each entry, and all names of a
    /// file have one owner and mode.
    fn hardlink(&mut self, tree: &Tree, path: &TreePath, to: &TreePath) -> Result<(), WriteError> {
        let Some(Node::File { attributes, .. }) = tree.get(to) else {
            let source = TreeError::Hardlink {
                path: path.clone(),
                to: to.clone(),
            };
            return Err(WriteError::Tree { source });
        };
        self.header(&Member {
            link: to.as_bytes(),
            ..self.member(path, EntryType::Link, attributes)
        })
    }

    fn whiteout(&mut self, path: &TreePath) -> Result<(), WriteError> {
        let name = path.file_name();
        let directory = &path.as_bytes()[..path.as_bytes().len() - name.len()];
        let marker = [directory, b".wh.", name].concat();
        let attributes = Attributes {
            mode: WHITEOUT_MODE,
            ..Attributes::default()
        };
        self.header(&Member {
            path: &marker,
            ..self.member(path, EntryType::Regular, &attributes)
        })
    }

    fn header(&mut self, member: &Member<'_>) -> Result<(), WriteError> {
        let bytes = member.encode();
        self.write(&bytes)
    }

    fn content(&mut self, path: &TreePath, source: &Source) -> Result<(), WriteError> {
        match source {
            Source::Bytes(bytes) => self.write(bytes)?,
            Source::Local(file) => {
                let failed = |source| WriteError::Content {
                    path: path.clone(),
                    source,
                };
                let mut reader = file.open().map_err(failed)?;
                loop {
                    let count = reader.read(&mut self.buffer).map_err(failed)?;
                    if count == 0 {
                        break;
                    }
                    self.sink.write_all(&self.buffer[..count]).map_err(output)?;
                }
            }
            Source::Spooled(content) => self.spooled(path, content)?,
        }
        self.write(&[0; BLOCK][..padding(source.size())])
    }

    fn spooled(&mut self, path: &TreePath, content: &Spooled) -> Result<(), WriteError> {
        let mut reader = content.reader();
        loop {
            match reader.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.sink.write_all(&self.buffer[..count]).map_err(output)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let path = path.clone();
                    return Err(WriteError::Spooled { path, source });
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.sink.write_all(bytes).map_err(output)
    }
}
