//! Entries of an archive become nodes of a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use cairn_oci::Hasher;

use super::{Spool, UnpackError, UnpackOptions};
use crate::decode::CHUNK;
use crate::escape::Escaped;
use crate::glob::GlobFilter;
use crate::path::TreePath;
use crate::spool::Spooled;
use crate::tree::{Attributes, Node, Source, Tree, is_allowed_xattr};

/// Numbers of owners and groups end here.
const ID_LIMIT: u32 = 1 << 31;
/// How many names an error lists.
const NAMES_SHOWN: usize = 8;

/// An entry, by the name that the archive has for it, without `.` and `..`.
pub(super) struct Member {
    pub(super) path: TreePath,
    pub(super) attributes: Attributes,
}

/// What an entry is.
pub(super) enum Content<'a> {
    Directory,
    File(&'a mut dyn Read),
    Symlink(Vec<u8>),
    Hardlink(TreePath),
    Special,
    Removal,
}

/// A file, and where all of its names come to stand.
struct Collected {
    attributes: Attributes,
    content: Spooled,
    names: BTreeSet<TreePath>,
}

pub(super) struct Collector<'a, 's> {
    options: &'a UnpackOptions,
    spool: &'a mut Spool<'s>,
    tree: Tree,
    files: Vec<Collected>,
    /// Which file each name of the archive means, also those that are left out: a link to them may be taken.
    by_name: BTreeMap<TreePath, usize>,
    top: BTreeSet<Vec<u8>>,
    buffer: Vec<u8>,
}

impl<'a, 's> Collector<'a, 's> {
    pub(super) fn new(options: &'a UnpackOptions, spool: &'a mut Spool<'s>) -> Self {
        Self {
            options,
            spool,
            tree: Tree::new(),
            files: Vec::new(),
            by_name: BTreeMap::new(),
            top: BTreeSet::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Takes one entry. Errors of the content's reader come back as [`UnpackError::Input`].
    pub(super) fn add(&mut self, member: Member, content: Content<'_>) -> Result<(), UnpackError> {
        self.note_top(&member.path);
        let path = self.destination(&member.path, matches!(content, Content::Directory))?;
        match content {
            Content::File(content) => return self.file(member, path, content),
            Content::Hardlink(to) => return self.hardlink(member.path, path, &to),
            _ => {}
        }
        let Some(path) = path else {
            return Ok(());
        };
        let attributes = checked(&path, member.attributes)?;
        let node = match content {
            Content::Symlink(target) => {
                self.check_target(&path, &target)?;
                Node::Symlink {
                    target,
                    uid: attributes.uid,
                    gid: attributes.gid,
                }
            }
            Content::Special => return Err(UnpackError::Special { path }),
            Content::Removal => return Err(UnpackError::ReservedName { path }),
            Content::Directory | Content::File(_) | Content::Hardlink(_) => Node::Directory(attributes),
        };
        let inserted = self.tree.insert_over_directory(path, node);
        inserted.map_err(|source| UnpackError::Tree { source })
    }

    /// The tree, if anything is in it.
    pub(super) fn finish(mut self) -> Result<Tree, UnpackError> {
        let tree = |source| UnpackError::Tree { source };
        self.spool
            .out
            .flush()
            .map_err(|source| UnpackError::Spool { source })?;
        for file in self.files {
            let mut names = file.names.into_iter();
            let Some(first) = names.next() else {
                continue;
            };
            let node = Node::File {
                attributes: file.attributes,
                source: Source::Spooled(file.content),
            };
            self.tree.insert(first.clone(), node).map_err(tree)?;
            for name in names {
                let to = first.clone();
                self.tree.insert(name, Node::Hardlink { to }).map_err(tree)?;
            }
        }
        if self.tree.is_empty() {
            let names = self.top.iter().map(|name| Escaped(name).to_string());
            return Err(UnpackError::Nothing {
                names: names.collect(),
            });
        }
        Ok(self.tree)
    }

    fn note_top(&mut self, path: &TreePath) {
        if self.top.len() < NAMES_SHOWN
            && let Some(first) = path.components().next()
        {
            self.top.insert(first.to_vec());
        }
    }

    /// Where an entry comes to stand; none if it is left out.
    fn destination(&self, name: &TreePath, is_directory: bool) -> Result<Option<TreePath>, UnpackError> {
        let kept: Vec<&[u8]> = name.components().skip(self.options.strip).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let path_error = |source| UnpackError::Path { source };
        let path = TreePath::new(kept.join(&b'/')).map_err(path_error)?;
        if matches(&self.options.exclude, &path, is_directory) {
            return Ok(None);
        }
        if let Some(only) = &self.options.only
            && !matches(only, &path, is_directory)
        {
            return Ok(None);
        }
        match &self.options.to {
            Some(directory) => directory.join(&path).map(Some).map_err(path_error),
            None => Ok(Some(path)),
        }
    }

    fn file(
        &mut self,
        member: Member,
        path: Option<TreePath>,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let attributes = match &path {
            Some(path) => checked(path, member.attributes)?,
            None => member.attributes,
        };
        let content = self.keep(content)?;
        let number = self.files.len();
        self.files.push(Collected {
            attributes,
            content,
            names: path.into_iter().collect(),
        });
        match self.by_name.insert(member.path, number) {
            None => Ok(()),
            // Two entries with one name: left out or not, readers would disagree about what it is.
            Some(before) => self.contradiction(before, number),
        }
    }

    fn contradiction(&self, before: usize, now: usize) -> Result<(), UnpackError> {
        let mut names = [before, now].into_iter().flat_map(|at| &self.files[at].names);
        match names.next() {
            Some(path) => Err(UnpackError::Tree {
                source: crate::tree::TreeError::Duplicate { path: path.clone() },
            }),
            None => Ok(()),
        }
    }

    fn hardlink(&mut self, name: TreePath, path: Option<TreePath>, to: &TreePath) -> Result<(), UnpackError> {
        let Some(number) = self.by_name.get(to).copied() else {
            return Err(UnpackError::Hardlink {
                path: name,
                to: to.clone(),
            });
        };
        self.files[number].names.extend(path);
        match self.by_name.insert(name, number) {
            Some(before) if before != number => self.contradiction(before, number),
            _ => Ok(()),
        }
    }

    /// Copies content into the spool.
    fn keep(&mut self, content: &mut dyn Read) -> Result<Spooled, UnpackError> {
        let offset = self.spool.written;
        let mut hasher = Hasher::new();
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(UnpackError::Input { source }),
            };
            let piece = &self.buffer[..count];
            hasher.update(piece);
            let written = self.spool.out.write_all(piece);
            written.map_err(|source| UnpackError::Spool { source })?;
            self.spool.written += count as u64;
        }
        let (file, size) = (self.spool.file.clone(), hasher.length());
        Ok(Spooled::new(file, offset, size, hasher.finish()))
    }

    /// A link leads where its text says; other links on the way are not followed.
    fn check_target(&self, path: &TreePath, target: &[u8]) -> Result<(), UnpackError> {
        let Some(directory) = &self.options.to else {
            return Ok(());
        };
        let mut at: Vec<&[u8]> = if target.starts_with(b"/") {
            Vec::new()
        } else {
            let mut above: Vec<_> = path.components().collect();
            above.pop();
            above
        };
        let inside = |at: &[&[u8]]| {
            let mut names = at.iter();
            directory.components().all(|name| names.next() == Some(&name))
        };
        for component in target.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    at.pop();
                }
                name => at.push(name),
            }
        }
        if inside(&at) {
            return Ok(());
        }
        Err(UnpackError::Escapes {
            path: path.clone(),
            target: Escaped(target).to_string(),
            directory: directory.to_string(),
        })
    }
}

/// Whether a filter matches the path, or a directory above it.
fn matches(filter: &GlobFilter, path: &TreePath, is_directory: bool) -> bool {
    path.ancestors().any(|above| filter.excludes(&above, true)) || filter.excludes(path, is_directory)
}

/// Without the attributes that belong to the machine on which the archive was made.
fn checked(path: &TreePath, mut attributes: Attributes) -> Result<Attributes, UnpackError> {
    for id in [attributes.uid, attributes.gid] {
        if id >= ID_LIMIT {
            let path = path.clone();
            return Err(UnpackError::Id { path, id });
        }
    }
    attributes.xattrs.retain(|name, _| is_allowed_xattr(name));
    Ok(attributes)
}
