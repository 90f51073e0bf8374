//! What a build must know of its base without having the base's layers.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::ops::Bound;

use crate::entry::{Entry, EntryKind};
use crate::limits::Limits;
use crate::path::TreePath;
use crate::read::{ReadSummary, read_layer};
use crate::read_error::{ReadError, VisitError};
use crate::tree::{Attributes, Node, Source, Tree};

/// How many symbolic links one path may lead through (Linux's own limit).
const MAX_LINKS: usize = 40;

/// The most bytes of `/etc/passwd` and of `/etc/group`.
pub const MAX_ACCOUNT_FILE: u64 = 1 << 20;

const PASSWD: &[u8] = b"etc/passwd";
const GROUP: &[u8] = b"etc/group";

/// The directories, symbolic links, users and groups that a stack of layers gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Every directory, with the attributes that the uppermost layer with an entry for it gives it.
    pub directories: BTreeMap<TreePath, Attributes>,
    /// Every symbolic link, with its target.
    pub symlinks: BTreeMap<TreePath, Vec<u8>>,
    /// The content of `/etc/passwd`, if it is a file of that path (and no link).
    pub passwd: Option<Vec<u8>>,
    /// The content of `/etc/group`, if it is a file of that path (and no link).
    pub group: Option<Vec<u8>>,
}

/// Why a path leads to nowhere in an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It leads through more than 40 symbolic links.
    #[error("{path} leads through more than 40 symbolic links")]
    TooManyLinks {
        /// The path.
        path: TreePath,
    },
    /// It leads to the root, which is no entry.
    #[error("{path} leads to the root directory")]
    Root {
        /// The path.
        path: TreePath,
    },
    /// What it leads to is too long to be a path.
    #[error("{path} leads to a path that is too long")]
    TooLong {
        /// The path.
        path: TreePath,
    },
}

/// What one entry of a layer changes.
enum Change {
    Directory(Attributes),
    Symlink(Vec<u8>),
    /// A file, with its content if it is one that is kept.
    File(Option<Vec<u8>>),
}

/// What a whole layer changes: first all that it removes of the layers below, in whatever order it says so.
#[derive(Default)]
struct Changes {
    whiteouts: Vec<TreePath>,
    opaque: Vec<Option<TreePath>>,
    additions: Vec<(TreePath, Change)>,
}

impl Listing {
    /// Nothing: an image from scratch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a layer on top.
    ///
    /// An entry below a symbolic link goes where the link leads, within the image, as the runtimes that unpack layers
    /// do it. A directory that is only mentioned as the parent of something has 0755 and owner 0:0.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; a layer that cannot be read leaves the listing as it was, one that leads below links that do
    /// not end does not, and the listing is not to be used then.
    pub fn apply_layer(&mut self, reader: impl Read, limits: &Limits) -> Result<ReadSummary, ReadError> {
        let mut changes = Changes::default();
        let summary = read_layer(reader, limits, &mut |entry, content| changes.take(entry, content))?;
        self.apply(changes)?;
        Ok(summary)
    }

    /// Puts a layer on top that is still a tree: the same as writing it and applying what was written.
    ///
    /// # Errors
    ///
    /// [`ReadError::SymlinkLoop`], [`ReadError::AccountFile`], and [`ReadError::Visit`] if a local `/etc/passwd` or
    /// `/etc/group` cannot be read.
    pub fn apply_tree(&mut self, tree: &Tree) -> Result<(), ReadError> {
        for (path, _) in tree.iter().filter(|(_, node)| matches!(node, Node::Whiteout)) {
            let real = self.real(path)?;
            self.remove(&real);
        }
        // The directory that was looked at last, and what of it matters to the files in it.
        let mut directory: (&[u8], Surroundings) = (b"", Surroundings::Unclear);
        for (path, node) in tree.iter() {
            if path.parent_bytes() != directory.0 {
                directory = (path.parent_bytes(), self.surroundings(path));
            }
            let is_file = matches!(node, Node::File { .. } | Node::Hardlink { .. });
            if is_file && !is_account_file(path) && self.takes_no_place(path, directory.1) {
                continue;
            }
            if let Some(change) = change(path, node)? {
                self.add(path, change)?;
            }
        }
        Ok(())
    }

    /// What is known of the directory of `path`.
    fn surroundings(&self, path: &TreePath) -> Surroundings {
        let directory = path.parent_bytes();
        let is_known = !directory.is_empty()
            && self.link_on_the_way(path, false).is_none()
            && path.prefixes().all(|above| self.directories.contains_key(above));
        if !is_known {
            return Surroundings::Unclear;
        }
        let start = [directory, b"/"].concat();
        if has_below(&self.directories, &start) || has_below(&self.symlinks, &start) {
            Surroundings::Known
        } else {
            Surroundings::Empty
        }
    }

    /// Whether a file at `path` takes the place of nothing, and so changes nothing here.
    fn takes_no_place(&self, path: &TreePath, surroundings: Surroundings) -> bool {
        match surroundings {
            Surroundings::Empty => true,
            Surroundings::Known => !self.directories.contains_key(path) && !self.symlinks.contains_key(path),
            Surroundings::Unclear => false,
        }
    }

    /// Where `path` leads when every symbolic link in it is followed, its last component included.
    ///
    /// Links are followed within the image: an absolute target starts at its root, and `..` ends there. What is
    /// not known of is taken to be no link.
    ///
    /// # Errors
    ///
    /// [`ResolveError`].
    pub fn resolve(&self, path: &TreePath) -> Result<TreePath, ResolveError> {
        let real = self.follow(path, true)?;
        if real.is_empty() {
            return Err(ResolveError::Root { path: path.clone() });
        }
        TreePath::new(real).map_err(|_| ResolveError::TooLong { path: path.clone() })
    }

    /// Where an entry at `path` really stands: as [`Listing::resolve`], but a link in the last component is the
    /// entry itself.
    ///
    /// # Errors
    ///
    /// [`ResolveError`].
    pub fn resolve_parent(&self, path: &TreePath) -> Result<TreePath, ResolveError> {
        let real = self.follow(path, false)?;
        TreePath::new(real).map_err(|_| ResolveError::TooLong { path: path.clone() })
    }

    /// The first symbolic link that `path` leads through; itself counts if `and_itself`.
    #[must_use]
    pub fn link_on_the_way(&self, path: &TreePath, and_itself: bool) -> Option<&TreePath> {
        if self.symlinks.is_empty() {
            return None;
        }
        let itself = and_itself.then(|| path.as_bytes());
        let mut places = path.prefixes().chain(itself);
        places.find_map(|place| Some(self.symlinks.get_key_value(place)?.0))
    }

    fn follow(&self, path: &TreePath, follow_last: bool) -> Result<Vec<u8>, ResolveError> {
        if self.link_on_the_way(path, follow_last).is_none() {
            return Ok(path.as_bytes().to_vec());
        }
        let mut ahead: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        let mut real: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    real.truncate(real.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = if real.is_empty() {
                name
            } else {
                [&real, &b"/"[..], &name].concat()
            };
            let Some(target) = self.link_at(&next).filter(|_| follow_last || !ahead.is_empty()) else {
                real = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(ResolveError::TooManyLinks { path: path.clone() });
            }
            if target.starts_with(b"/") {
                real.clear();
            }
            for component in target.split(|byte| *byte == b'/').rev() {
                ahead.push_front(component.to_vec());
            }
        }
        Ok(real)
    }

    fn link_at(&self, path: &[u8]) -> Option<&Vec<u8>> {
        self.symlinks.get(path)
    }

    fn apply(&mut self, changes: Changes) -> Result<(), ReadError> {
        for path in changes.whiteouts {
            let real = self.real(&path)?;
            self.remove(&real);
        }
        for directory in changes.opaque {
            match directory {
                None => *self = Self::default(),
                Some(directory) => match self.resolve(&directory) {
                    Ok(real) => self.remove_below(&real),
                    Err(ResolveError::Root { .. }) => *self = Self::default(),
                    Err(_) => return Err(ReadError::SymlinkLoop { path: directory }),
                },
            }
        }
        changes
            .additions
            .into_iter()
            .try_for_each(|(path, change)| self.add(&path, change))
    }

    fn real(&self, path: &TreePath) -> Result<TreePath, ReadError> {
        self.resolve_parent(path)
            .map_err(|_| ReadError::SymlinkLoop { path: path.clone() })
    }

    fn add(&mut self, path: &TreePath, change: Change) -> Result<(), ReadError> {
        let real = self.real(path)?;
        if !real.prefixes().all(|above| self.directories.contains_key(above)) {
            for above in real.ancestors() {
                self.directories
                    .entry(above)
                    .or_insert_with(Attributes::directory);
            }
        }
        match change {
            Change::Directory(attributes) => {
                self.remove_exactly(&real);
                self.directories.insert(real, attributes);
            }
            Change::Symlink(target) => {
                self.remove(&real);
                self.symlinks.insert(real, target);
            }
            Change::File(content) => {
                self.remove(&real);
                if let Some(kept) = self.account_file(&real) {
                    *kept = content;
                }
            }
        }
        Ok(())
    }

    fn account_file(&mut self, path: &TreePath) -> Option<&mut Option<Vec<u8>>> {
        match path.as_bytes() {
            PASSWD => Some(&mut self.passwd),
            GROUP => Some(&mut self.group),
            _ => None,
        }
    }

    fn remove(&mut self, path: &TreePath) {
        self.remove_exactly(path);
        self.remove_below(path);
    }

    fn remove_exactly(&mut self, path: &TreePath) {
        self.directories.remove(path);
        self.symlinks.remove(path);
        if let Some(kept) = self.account_file(path) {
            *kept = None;
        }
    }

    fn remove_below(&mut self, directory: &TreePath) {
        remove_range(&mut self.directories, directory);
        remove_range(&mut self.symlinks, directory);
        if directory.as_bytes() == b"etc" {
            (self.passwd, self.group) = (None, None);
        }
    }
}

/// Whether a path begins with `start`, which ends in a slash.
/// What a listing knows of a directory.
#[derive(Debug, Clone, Copy)]
enum Surroundings {
    /// It is there, no link leads to it, and nothing is known of what it has.
    Empty,
    /// It is there, no link leads to it, and it has directories or links.
    Known,
    /// Anything else; the root too.
    Unclear,
}

fn has_below<V>(map: &BTreeMap<TreePath, V>, start: &[u8]) -> bool {
    let from = (Bound::Included(start), Bound::Unbounded);
    let first = map.range::<[u8], _>(from).next();
    first.is_some_and(|(path, _)| path.as_bytes().starts_with(start))
}

fn remove_range<V>(map: &mut BTreeMap<TreePath, V>, directory: &TreePath) {
    let after = map.range::<TreePath, _>(directory..).map(|(path, _)| path);
    let with_prefix = after.take_while(|path| path.as_bytes().starts_with(directory.as_bytes()));
    let below: Vec<_> = with_prefix
        .filter(|path| path.is_under(directory))
        .cloned()
        .collect();
    for path in below {
        map.remove(&path);
    }
}

impl Changes {
    fn take(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), VisitError> {
        let path = entry.path.clone();
        match &entry.kind {
            EntryKind::Whiteout => self.whiteouts.push(path),
            EntryKind::Opaque => self.opaque.push(path.parent()),
            EntryKind::Directory => {
                self.additions
                    .push((path, Change::Directory(entry.attributes.clone())));
            }
            EntryKind::Symlink { target } => self.additions.push((path, Change::Symlink(target.clone()))),
            EntryKind::File => {
                let content = read_account_file(entry, content)?;
                self.additions.push((path, Change::File(content)));
            }
            EntryKind::Hardlink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => self.additions.push((path, Change::File(None))),
        }
        Ok(())
    }
}

/// What a node adds; nothing if it only removes.
fn change(path: &TreePath, node: &Node) -> Result<Option<Change>, ReadError> {
    Ok(Some(match node {
        Node::Whiteout => return Ok(None),
        Node::Directory(attributes) => Change::Directory(attributes.clone()),
        Node::Symlink { target, .. } => Change::Symlink(target.clone()),
        Node::File { source, .. } => Change::File(account_content(path, source)?),
        Node::Hardlink { .. } => Change::File(None),
    }))
}

fn is_account_file(path: &TreePath) -> bool {
    matches!(path.as_bytes(), PASSWD | GROUP)
}

fn check_account_size(path: &TreePath, size: u64) -> Result<(), ReadError> {
    if size > MAX_ACCOUNT_FILE {
        return Err(ReadError::AccountFile {
            path: path.clone(),
            limit: MAX_ACCOUNT_FILE,
        });
    }
    Ok(())
}

fn read_account_file(entry: &Entry, content: &mut dyn Read) -> Result<Option<Vec<u8>>, VisitError> {
    if !is_account_file(&entry.path) {
        return Ok(None);
    }
    check_account_size(&entry.path, entry.size)?;
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn account_content(path: &TreePath, source: &Source) -> Result<Option<Vec<u8>>, ReadError> {
    if !is_account_file(path) {
        return Ok(None);
    }
    check_account_size(path, source.size())?;
    match source {
        Source::Bytes(bytes) => Ok(Some(bytes.to_vec())),
        Source::Local(file) => match file.read_to_end() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) => Err(ReadError::Visit {
                path: path.clone(),
                source: source.into(),
            }),
        },
        Source::Spooled(content) => {
            let mut bytes = Vec::new();
            let read = content.reader().read_to_end(&mut bytes);
            let read = read.map_err(|source| ReadError::Visit {
                path: path.clone(),
                source: source.into(),
            });
            read.map(|_| Some(bytes))
        }
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
