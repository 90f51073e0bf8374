//! Trees: what a layer is before it is a layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::listing::{Listing, ResolveError};
use crate::local::LocalFile;
use crate::nodes::{self, Nodes};
use crate::path::TreePath;
use crate::spool::Spooled;

/// What a directory entry says of a file besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permissions with set-user-id, set-group-id and sticky bit: `0..=0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by name. A [`Tree`] takes only those that [`is_allowed_xattr`] allows.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Attributes {
    /// Those of a directory of which nothing else is known: 0755, owner 0:0.
    #[must_use]
    pub fn directory() -> Self {
        Self {
            mode: 0o755,
            ..Self::default()
        }
    }

    /// Those of a file of which nothing else is known: 0755 or 0644, owner 0:0.
    #[must_use]
    pub fn file(executable: bool) -> Self {
        Self {
            mode: if executable { 0o755 } else { 0o644 },
            ..Self::default()
        }
    }
}

/// Whether an extended attribute may stand in a layer that Cairn writes: `security.capability` and `user.*`.
///
/// Everything else belongs to the machine it comes from (SELinux labels, ACLs by number, overlay marks).
#[must_use]
pub fn is_allowed_xattr(name: &[u8]) -> bool {
    let is_user = name.strip_prefix(b"user.").is_some_and(|rest| !rest.is_empty());
    (is_user || name == b"security.capability") && !name.contains(&b'=') && !name.contains(&0)
}

/// Where the content of a file comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// From memory.
    Bytes(Arc<[u8]>),
    /// From a file of the context directory, which is read when the layer is written.
    Local(LocalFile),
    /// From a file that waits for this: what came out of an archive, or was downloaded.
    Spooled(Spooled),
}

impl Source {
    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Local(file) => file.size(),
            Self::Spooled(content) => content.size(),
        }
    }
}

/// What stands at a path.
#[derive(Debug, Clone)]
pub enum Node {
    /// A directory; its children have paths of their own.
    Directory(Attributes),
    /// A regular file.
    File {
        /// Its mode, owner and extended attributes.
        attributes: Attributes,
        /// Its content.
        source: Source,
    },
    /// A symbolic link. Its mode is always 0777.
    Symlink {
        /// What it points at, as it will be written: 1 to 4096 bytes without NUL.
        target: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Another name of a file of this tree that comes before it, and whose attributes it shares.
    Hardlink {
        /// The first name.
        to: TreePath,
    },
    /// Removes what a lower layer has at this path.
    Whiteout,
}

impl Node {
    const fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// Why a node cannot stand where it is put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// There is something at this path already.
    #[error("{path} is there twice")]
    Duplicate {
        /// The path.
        path: TreePath,
    },
    /// Something lies below what is no directory.
    #[error("{path} cannot be there: {ancestor} is not a directory")]
    NotADirectory {
        /// What lies below.
        path: TreePath,
        /// What is no directory.
        ancestor: TreePath,
    },
    /// A name starts with `.wh.`, which layers reserve for whiteouts (image-spec, layer.md).
    #[error("{path} cannot be in a layer: names that start with `.wh.` mean removals")]
    ReservedName {
        /// The path.
        path: TreePath,
    },
    /// A name is so long that it has no whiteout, whose name is four bytes longer.
    #[error("{path} cannot be removed: its name is longer than 251 bytes, or its path than 4092")]
    WhiteoutTooLong {
        /// The path.
        path: TreePath,
    },
    /// A path lies at or below a symbolic link of a lower layer.
    #[error("{path} lies below {link}, a symbolic link of a lower layer: the real path is {resolved}")]
    BelowSymlink {
        /// The path as asked for.
        path: TreePath,
        /// The link.
        link: TreePath,
        /// Where the path leads.
        resolved: String,
    },
    /// A path leads through symbolic links of a lower layer that do not end.
    #[error("{path} lies below a symbolic link of a lower layer that leads nowhere")]
    UnresolvableSymlink {
        /// The path as asked for.
        path: TreePath,
        /// What is wrong with the link.
        source: ResolveError,
    },
    /// A hard link points at nothing, at no regular file, or at what comes after it.
    #[error("{path} cannot be a hard link to {to}: that is no file of this layer that comes before it")]
    Hardlink {
        /// The link.
        path: TreePath,
        /// What it should be a name of.
        to: TreePath,
    },
    /// A mode has bits beyond `0o7777`.
    #[error("the mode {mode:o} of {path} is not between 0 and 7777")]
    Mode {
        /// The path.
        path: TreePath,
        /// The mode.
        mode: u32,
    },
    /// An extended attribute is not on the list of those allowed.
    #[error("{path} has the extended attribute `{name}`; only security.capability and user.* are kept")]
    Xattr {
        /// The path.
        path: TreePath,
        /// The attribute's name, escaped.
        name: String,
    },
    /// A symbolic link's target is empty, longer than 4096 bytes, or has a NUL byte.
    #[error("the target of the symbolic link {path} is empty, longer than 4096 bytes, or has a NUL byte")]
    SymlinkTarget {
        /// The link.
        path: TreePath,
    },
}

/// Paths and what stands there, without contradiction: no path twice, nothing below a file.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: Nodes,
    whiteouts: usize,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for so many more paths that come in order.
    pub fn reserve(&mut self, additional: usize) {
        self.nodes.reserve(additional);
    }

    /// Puts `node` at `path`. Parent directories need not be there yet.
    ///
    /// A directory may be put where an equal one is: two copies into one directory both bring it.
    ///
    /// # Errors
    ///
    /// [`TreeError`]; the tree is then as it was.
    pub fn insert(&mut self, path: TreePath, node: Node) -> Result<(), TreeError> {
        check_node(&path, &node)?;
        let last = self.nodes.last();
        // What comes after everything else, as in a walk, is not there yet and has nothing below it.
        if last.is_some_and(|last| *last >= path) {
            if self.has_equal_directory(&path, &node)? {
                return Ok(());
            }
            if !node.is_directory() {
                self.check_descendants(&path)?;
            }
        }
        self.check_ancestors(&path)?;
        self.whiteouts += usize::from(matches!(node, Node::Whiteout));
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Puts `node` at `path`, in place of a directory that is there.
    ///
    /// For a directory whose attributes are given after it was made on the way to something else.
    ///
    /// # Errors
    ///
    /// As [`Tree::insert`]; only a directory replaces a directory.
    pub fn insert_over_directory(&mut self, path: TreePath, node: Node) -> Result<(), TreeError> {
        check_node(&path, &node)?;
        match self.nodes.get_mut(&path) {
            Some(old) if old.is_directory() && node.is_directory() => *old = node,
            _ => self.insert(path, node)?,
        }
        Ok(())
    }

    /// What stands at `path`.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path.as_bytes())
    }

    /// Makes the file at `path` another name of the file `to`: it gives up its own attributes and content.
    ///
    /// # Errors
    ///
    /// [`TreeError::Hardlink`] if one of them is no file, or `to` does not come first; the tree is then as it was.
    pub fn hardlink(&mut self, path: &TreePath, to: &TreePath) -> Result<(), TreeError> {
        let is_file = |at: &TreePath| matches!(self.get(at), Some(Node::File { .. }));
        let possible = to < path && is_file(to) && is_file(path);
        match self.nodes.get_mut(path).filter(|_| possible) {
            Some(node) => *node = Node::Hardlink { to: to.clone() },
            None => {
                return Err(TreeError::Hardlink {
                    path: path.clone(),
                    to: to.clone(),
                });
            }
        }
        Ok(())
    }

    /// How many paths it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 0
    }

    /// All nodes in the order of the layer: by bytes of the path, but the whiteouts of a directory right after it
    /// and before its other children (image-spec, layer.md: they "SHOULD" precede their siblings).
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        if self.whiteouts == 0 {
            return InOrder::ByPath(self.nodes.iter());
        }
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by(|left, right| order_key(left).cmp(order_key(right)));
        InOrder::Sorted(nodes.into_iter())
    }

    /// Adds every missing parent directory: with the attributes that a lower layer gave it, else 0755 and owner 0:0.
    ///
    /// An entry for a directory replaces the attributes of the one below, so parents must repeat them.
    ///
    /// # Errors
    ///
    /// [`TreeError::BelowSymlink`] if something lies below a symbolic link of a lower layer, or is a directory in
    /// the place of one: the entry would replace the link, and hide what is behind it.
    pub fn complete_parents(&mut self, lower: &Listing) -> Result<(), TreeError> {
        let mut missing = BTreeMap::new();
        let mut previous: Option<&TreePath> = None;
        for (path, node) in self.nodes.iter() {
            if node.is_directory() {
                check_symlink(path, path, lower)?;
            }
            // What is above the one before was looked at for its sake.
            if previous
                .replace(path)
                .is_some_and(|previous| previous.is_at_or_under(path.parent_bytes()))
            {
                continue;
            }
            // One that is there is looked at itself.
            if self.nodes.get(path.parent_bytes()).is_some() {
                continue;
            }
            for ancestor in path.ancestors() {
                if self.nodes.get(ancestor.as_bytes()).is_some() || missing.contains_key(&ancestor) {
                    continue;
                }
                check_symlink(path, &ancestor, lower)?;
                let attributes = lower.directories.get(&ancestor).cloned();
                missing.insert(ancestor, attributes.unwrap_or_else(Attributes::directory));
            }
        }
        for (path, attributes) in missing {
            self.nodes.insert(path, Node::Directory(attributes));
        }
        Ok(())
    }

    /// Checks what [`Tree::insert`] cannot see: that each hard link has its file, and before it.
    pub(crate) fn check_links(&self) -> Result<(), TreeError> {
        for (path, node) in self.nodes.iter() {
            if let Node::Hardlink { to } = node
                && (to >= path || !matches!(self.get(to), Some(Node::File { .. })))
            {
                return Err(TreeError::Hardlink {
                    path: path.clone(),
                    to: to.clone(),
                });
            }
        }
        Ok(())
    }

    fn has_equal_directory(&self, path: &TreePath, node: &Node) -> Result<bool, TreeError> {
        match (self.get(path), node) {
            (None, _) => Ok(false),
            (Some(Node::Directory(old)), Node::Directory(new)) if old == new => Ok(true),
            _ => Err(TreeError::Duplicate { path: path.clone() }),
        }
    }

    fn check_ancestors(&self, path: &TreePath) -> Result<(), TreeError> {
        // What is above a node that is there was checked when it came. In a walk that is mostly the last one.
        let parent = path.parent_bytes();
        if self
            .nodes
            .last()
            .is_some_and(|last| last.is_at_or_under(parent) && last.as_bytes() != parent)
        {
            return Ok(());
        }
        if matches!(self.nodes.get(parent), Some(Node::Directory(_))) {
            return Ok(());
        }
        let mut above = path
            .prefixes()
            .filter_map(|prefix| self.nodes.get_key_value(prefix));
        match above.find(|(_, node)| !node.is_directory()) {
            None => Ok(()),
            Some((ancestor, _)) => Err(TreeError::NotADirectory {
                path: path.clone(),
                ancestor: ancestor.clone(),
            }),
        }
    }

    /// Whether something lies below `path`: all that does starts with `path/`.
    fn check_descendants(&self, path: &TreePath) -> Result<(), TreeError> {
        // Paths such as `a-b` stand between `a` and `a/c`, so that the first one after `a` is not enough.
        let after = self.nodes.after(path).map(|(below, _)| below);
        let mut with_prefix = after.take_while(|below| below.as_bytes().starts_with(path.as_bytes()));
        match with_prefix.find(|below| below.is_under(path)) {
            None => Ok(()),
            Some(below) => Err(TreeError::NotADirectory {
                path: below.clone(),
                ancestor: path.clone(),
            }),
        }
    }
}

/// All nodes in the order of the layer.
enum InOrder<'a> {
    ByPath(nodes::Iter<'a>),
    Sorted(std::vec::IntoIter<(&'a TreePath, &'a Node)>),
}

impl<'a> Iterator for InOrder<'a> {
    type Item = (&'a TreePath, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::ByPath(nodes) => nodes.next(),
            Self::Sorted(nodes) => nodes.next(),
        }
    }
}

fn check_node(path: &TreePath, node: &Node) -> Result<(), TreeError> {
    if path.components().any(|name| name.starts_with(b".wh.")) {
        return Err(TreeError::ReservedName { path: path.clone() });
    }
    match node {
        Node::Directory(attributes) | Node::File { attributes, .. } => check_attributes(path, attributes),
        Node::Symlink { target, .. } if !is_symlink_target(target) => {
            Err(TreeError::SymlinkTarget { path: path.clone() })
        }
        Node::Whiteout if !has_whiteout(path) => Err(TreeError::WhiteoutTooLong { path: path.clone() }),
        Node::Symlink { .. } | Node::Hardlink { .. } | Node::Whiteout => Ok(()),
    }
}

/// Whether `.wh.` fits before its name.
fn has_whiteout(path: &TreePath) -> bool {
    let more = b".wh.".len();
    path.file_name().len() + more <= TreePath::MAX_COMPONENT && path.as_bytes().len() + more <= TreePath::MAX
}

fn check_attributes(path: &TreePath, attributes: &Attributes) -> Result<(), TreeError> {
    if attributes.mode > 0o7777 {
        return Err(TreeError::Mode {
            path: path.clone(),
            mode: attributes.mode,
        });
    }
    match attributes.xattrs.keys().find(|name| !is_allowed_xattr(name)) {
        None => Ok(()),
        Some(name) => {
            let name = crate::escape::Escaped(name).to_string();
            Err(TreeError::Xattr {
                path: path.clone(),
                name,
            })
        }
    }
}

pub(crate) fn is_symlink_target(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= TreePath::MAX && !target.contains(&0)
}

fn check_symlink(path: &TreePath, at: &TreePath, lower: &Listing) -> Result<(), TreeError> {
    if !lower.symlinks.contains_key(at) {
        return Ok(());
    }
    let (path, link) = (path.clone(), at.clone());
    match lower.resolve(&path) {
        Ok(resolved) => Err(TreeError::BelowSymlink {
            path,
            link,
            resolved: resolved.to_string(),
        }),
        Err(ResolveError::Root { .. }) => Err(TreeError::BelowSymlink {
            path,
            link,
            resolved: "/".to_owned(),
        }),
        Err(source) => Err(TreeError::UnresolvableSymlink { path, source }),
    }
}

/// The path with a zero byte before the name of a whiteout: no name has one, so it comes before its siblings.
fn order_key<'a>((path, node): &(&'a TreePath, &Node)) -> impl Iterator<Item = u8> + use<'a> {
    let bytes = path.as_bytes();
    let (directory, name) = bytes.split_at(bytes.len() - path.file_name().len());
    let mark: &[u8] = if matches!(node, Node::Whiteout) { &[0] } else { &[] };
    directory.iter().chain(mark).chain(name).copied()
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
