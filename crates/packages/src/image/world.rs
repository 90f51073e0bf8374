//! The image under way: each path once, with its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::sync::Arc;

use cairn_layer::{Attributes, Listing, Node, Source, TreePath};

use super::AssembleError;
use crate::deb::Archive;

/// The longest file that is looked into, in bytes (16 MiB).
const MAX_LOOKED_INTO: u64 = 16 << 20;

/// Which package something belongs to, by its place in the sorted list; none: to no package alone.
pub(super) type Owner = Option<usize>;

/// A directory, and all that have it.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) attributes: Attributes,
    pub(super) owners: BTreeSet<Owner>,
}

/// A file or a link.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// A file or a symbolic link.
    pub(super) node: Node,
    pub(super) owner: Owner,
    /// Names of one file have the same number, one for each file of a package that has several names.
    pub(super) same: Option<usize>,
}

/// All paths of the packages, resolved.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) packages: &'a [Archive],
    pub(super) base: &'a Listing,
    /// The links of the base and of all packages: through these, paths are resolved.
    pub(super) links: Listing,
    pub(super) directories: BTreeMap<TreePath, Directory>,
    pub(super) files: BTreeMap<TreePath, Placed>,
}

impl World<'_> {
    /// The number of the package called so, of whatever architecture.
    pub(super) fn package(&self, name: &str) -> Option<usize> {
        self.packages.iter().position(|package| package.name() == name)
    }

    /// How an owner is called in a message.
    pub(super) fn name(&self, owner: Owner) -> String {
        match owner {
            Some(number) => self.packages[number].name().to_owned(),
            None => "what Cairn adds".to_owned(),
        }
    }

    /// Whether something stands at `path`, also in the base as far as that is known.
    pub(super) fn has(&self, path: &TreePath) -> bool {
        self.files.contains_key(path)
            || self.directories.contains_key(path)
            || self.base.directories.contains_key(path)
            || self.base.symlinks.contains_key(path)
    }

    /// Whether a file is at `path` after all links of packages are followed.
    pub(super) fn leads_to_file(&self, path: &TreePath) -> bool {
        let real = self.links.resolve(path);
        real.is_ok_and(|real| self.files.contains_key(&real))
    }

    /// The content of the file at `path`, links followed; none if there is no file of a package.
    pub(super) fn read(&self, path: &TreePath) -> Result<Option<Vec<u8>>, AssembleError> {
        let Ok(real) = self.links.resolve(path) else {
            return Ok(None);
        };
        let Some(Placed { node, owner, .. }) = self.files.get(&real) else {
            return Ok(None);
        };
        let Node::File { source, .. } = node else {
            return Ok(None);
        };
        read(source).map(Some).map_err(|source| AssembleError::Read {
            path: real.clone(),
            package: self.name(*owner),
            source,
        })
    }

    /// Files directly in `directory` whose names end in `ending`, by name.
    pub(super) fn files_in(&self, directory: &str, ending: &str) -> Vec<TreePath> {
        let is_there = |path: &&TreePath| {
            path.parent()
                .is_some_and(|parent| parent.as_bytes() == directory.as_bytes())
                && path.as_bytes().ends_with(ending.as_bytes())
        };
        self.files.keys().filter(is_there).cloned().collect()
    }

    /// Adds a directory, unless something is there.
    pub(super) fn add_directory(&mut self, owner: Owner, path: &TreePath, attributes: Attributes) {
        let Ok(path) = self.links.resolve(path) else {
            return;
        };
        if self.files.contains_key(&path) || self.base.directories.contains_key(&path) {
            return;
        }
        let directory = self.directories.entry(path).or_insert_with(|| Directory {
            attributes,
            owners: BTreeSet::new(),
        });
        directory.owners.insert(owner);
    }

    /// Adds a file or a link, unless something is there; says whether it did.
    pub(super) fn add(&mut self, owner: Owner, path: &TreePath, node: Node) -> bool {
        let Ok(path) = self.links.resolve_parent(path) else {
            return false;
        };
        if self.has(&path) {
            return false;
        }
        if let Node::Symlink { target, .. } = &node {
            self.links.symlinks.insert(path.clone(), target.clone());
        }
        let same = None;
        self.files.insert(path, Placed { node, owner, same });
        true
    }

    /// Gives what a package has at `path` other attributes; extended ones stay.
    pub(super) fn change(&mut self, path: &TreePath, mode: u32, uid: u32, gid: u32) {
        let Ok(path) = self.links.resolve(path) else {
            return;
        };
        let file = self.files.get_mut(&path).map(|placed| &mut placed.node);
        let attributes = match file {
            Some(Node::File { attributes, .. }) => Some(attributes),
            _ => self
                .directories
                .get_mut(&path)
                .map(|directory| &mut directory.attributes),
        };
        if let Some(attributes) = attributes {
            (attributes.mode, attributes.uid, attributes.gid) = (mode, uid, gid);
        }
    }
}

/// A file of 0644 that belongs to root.
pub(super) fn text(content: impl Into<Vec<u8>>) -> Node {
    Node::File {
        attributes: Attributes::file(false),
        source: Source::Bytes(Arc::from(content.into())),
    }
}

/// A symbolic link that belongs to root.
pub(super) fn link(target: &[u8]) -> Node {
    Node::Symlink {
        target: target.to_vec(),
        uid: 0,
        gid: 0,
    }
}

/// A path that is written in this crate's tables, or made of such and of names without a slash.
#[expect(
    clippy::expect_used,
    reason = "the tables are checked by a test, and names of packages are no longer than paths"
)]
pub(super) fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a path of a table")
}

fn read(source: &Source) -> io::Result<Vec<u8>> {
    if source.size() > MAX_LOOKED_INTO {
        return Err(io::Error::other(format!(
            "it has more than {MAX_LOOKED_INTO} bytes"
        )));
    }
    let mut bytes = Vec::new();
    match source {
        Source::Bytes(known) => bytes.extend_from_slice(known),
        Source::Spooled(content) => {
            content.reader().read_to_end(&mut bytes)?;
        }
        Source::Local(_) => return Err(io::Error::other("it is no file of a package")),
    }
    Ok(bytes)
}
