//! Writing a tree as a layer.

use std::io::{self, Write};

use tar::EntryType;

use crate::compress::{Compression, WrittenLayer};
use crate::content::Content;
use crate::header::{BLOCK, MAX_MTIME, Member, padding};
use crate::local::LocalError;
use crate::path::TreePath;
use crate::pipeline::Engine;
use crate::segment::Segmenter;
use crate::tree::{Attributes, Node, Source, Tree, TreeError};

/// The mode of a whiteout. Nobody ever sees it on a disk.
const WHITEOUT_MODE: u32 = 0o600;
const SYMLINK_MODE: u32 = 0o777;
/// Zeros at the end of an archive, in bytes.
const END: usize = 2 * BLOCK;

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

/// [`Engine::write_layer`] on one thread and without a cache.
///
/// # Errors
///
/// [`WriteError`].
pub fn write_layer(
    tree: &Tree,
    options: &LayerOptions,
    out: &mut (dyn Write + Send),
) -> Result<WrittenLayer, WriteError> {
    Engine::default().write_layer(tree, options, out)
}

impl Engine {
    /// Writes `tree` as a layer to `out`: archives, compresses and hashes in one pass.
    ///
    /// The same tree and options give the same bytes, whatever the threads and the cache. Memory is bounded by threads ×
    /// segment, whatever the size of a file. If it fails, what was written so far is no layer, and nothing says that
    /// it is one.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn write_layer(
        &self,
        tree: &Tree,
        options: &LayerOptions,
        out: &mut (dyn Write + Send),
    ) -> Result<WrittenLayer, WriteError> {
        check(tree, options)?;
        let (entries, totals) = self.run(options.compression, out, output, |segments| {
            archive(tree, options, segments)
        })?;
        Ok(totals.layer(entries))
    }
}

/// Whether a layer can be written of it.
pub(crate) fn check(tree: &Tree, options: &LayerOptions) -> Result<(), WriteError> {
    if !(1..=MAX_MTIME).contains(&options.mtime) {
        return Err(WriteError::Mtime { mtime: options.mtime });
    }
    tree.check_links().map_err(|source| WriteError::Tree { source })
}

/// Gives the archive to `segments`, and says how many entries it has.
pub(crate) fn archive(
    tree: &Tree,
    options: &LayerOptions,
    segments: &mut Segmenter<'_>,
) -> Result<u64, WriteError> {
    let mut writer = Writer {
        segments,
        mtime: options.mtime,
    };
    let mut entries = 0;
    for (path, node) in tree.iter() {
        writer.node(tree, path, node)?;
        entries += 1;
    }
    writer.segments.extend(&[0; END]);
    Ok(entries)
}

/// How long the archive of `tree` is, in bytes. No file is looked at.
///
/// # Errors
///
/// [`WriteError`], if no layer can be written of it.
pub fn archive_length(tree: &Tree, options: &LayerOptions) -> Result<u64, WriteError> {
    check(tree, options)?;
    let mut length = END as u64;
    for (path, node) in tree.iter() {
        length += header(tree, path, node, options.mtime)?.len() as u64;
        if let Node::File { source, .. } = node {
            length = length.saturating_add(source.size().next_multiple_of(BLOCK as u64));
        }
    }
    Ok(length)
}

const fn output(source: io::Error) -> WriteError {
    WriteError::Output { source }
}

struct Writer<'a, 'b> {
    segments: &'a mut Segmenter<'b>,
    mtime: u64,
}

impl Writer<'_, '_> {
    fn node(&mut self, tree: &Tree, path: &TreePath, node: &Node) -> Result<(), WriteError> {
        let header = header(tree, path, node, self.mtime)?;
        match node {
            Node::File { source, .. } => self.file(path, &header, source),
            _ => self.header(path, &header),
        }
    }

    /// An entry without content.
    fn header(&mut self, path: &TreePath, header: &[u8]) -> Result<(), WriteError> {
        self.segments
            .entry(path.as_bytes(), header.len())
            .map_err(output)?;
        self.segments.extend(header);
        Ok(())
    }

    fn file(&mut self, path: &TreePath, header: &[u8], source: &Source) -> Result<(), WriteError> {
        let size = source.size();
        let small = usize::try_from(size)
            .ok()
            .filter(|size| *size < self.segments.cuts().piece);
        let content = small.map_or(0, |size| size.next_multiple_of(BLOCK));
        let added = header.len() + content;
        self.segments.entry(path.as_bytes(), added).map_err(output)?;
        self.segments.extend(header);
        if small.is_none() {
            self.segments.border().map_err(output)?;
        }
        self.content(path, source)?;
        self.segments.extend(&[0; BLOCK][..padding(size)]);
        if small.is_none() {
            self.segments.border().map_err(output)?;
        }
        Ok(())
    }

    /// The content, with a border wherever a piece of a large file is full. A small file has room for all of it.
    fn content(&mut self, path: &TreePath, source: &Source) -> Result<(), WriteError> {
        let large = source.size() >= self.segments.cuts().piece as u64;
        let mut content = Content::open(path, source)?;
        let mut left = source.size();
        loop {
            if large && self.segments.left_of_piece() == 0 {
                self.segments.border().map_err(output)?;
            }
            let room = if large {
                self.segments.left_of_piece()
            } else {
                usize::MAX
            };
            let length = usize::try_from(left).map_or(room, |left| left.min(room));
            match self.segments.fill(length, |buffer| content.read(buffer))? {
                0 => return Ok(()),
                count => left = left.saturating_sub(count as u64),
            }
        }
    }
}

/// Everything of an entry that comes before its content.
fn header(tree: &Tree, path: &TreePath, node: &Node, mtime: u64) -> Result<Vec<u8>, WriteError> {
    let member = |kind, attributes| member(path.as_bytes(), kind, attributes, mtime);
    Ok(match node {
        Node::Directory(attributes) => member(EntryType::Directory, attributes).encode(),
        Node::File { attributes, source } => Member {
            size: source.size(),
            ..member(EntryType::Regular, attributes)
        }
        .encode(),
        Node::Symlink { target, uid, gid } => {
            let attributes = Attributes {
                mode: SYMLINK_MODE,
                uid: *uid,
                gid: *gid,
                ..Attributes::default()
            };
            Member {
                link: target,
                ..self::member(path.as_bytes(), EntryType::Symlink, &attributes, mtime)
            }
            .encode()
        }
        // A hard link repeats its file's attributes: what unpacks layers sets those of each entry, and all names of a
        // file have one owner and mode.
        Node::Hardlink { to } => {
            let Some(Node::File { attributes, .. }) = tree.get(to) else {
                let source = TreeError::Hardlink {
                    path: path.clone(),
                    to: to.clone(),
                };
                return Err(WriteError::Tree { source });
            };
            Member {
                link: to.as_bytes(),
                ..member(EntryType::Link, attributes)
            }
            .encode()
        }
        Node::Whiteout => {
            let name = path.file_name();
            let directory = &path.as_bytes()[..path.as_bytes().len() - name.len()];
            let marker = [directory, b".wh.", name].concat();
            let attributes = Attributes {
                mode: WHITEOUT_MODE,
                ..Attributes::default()
            };
            self::member(&marker, EntryType::Regular, &attributes, mtime).encode()
        }
    })
}

const fn member<'a>(path: &'a [u8], kind: EntryType, attributes: &'a Attributes, mtime: u64) -> Member<'a> {
    Member {
        path,
        kind,
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        size: 0,
        mtime,
        link: b"",
        xattrs: Some(&attributes.xattrs),
    }
}
