//! A disk that forgets what was not flushed.
//!
//! Stricter than real file systems, which keep the order of many operations: here every change that was not flushed
//! may be kept, dropped or (a write) torn after its first sector, whatever became of the others.

#![expect(
    clippy::disallowed_methods,
    reason = "makes disks as a power loss leaves them"
)]

use std::collections::BTreeMap;
use std::path::Path;

use super::record::Operation;
use crate::content::Random;

const SECTOR: usize = 512;

/// What becomes of a change that was not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Dropped,
    Kept,
    Torn,
}

const FATES: [Fate; 3] = [Fate::Dropped, Fate::Kept, Fate::Torn];

/// Names that one operation sets (to a node) or removes, together.
type Change = Vec<(String, Option<usize>)>;

#[derive(Debug)]
enum Node {
    File {
        flushed: Vec<u8>,
        pending: Vec<Vec<u8>>,
    },
    Directory {
        current: BTreeMap<String, usize>,
        flushed: BTreeMap<String, usize>,
        pending: Vec<Change>,
    },
}

#[derive(Debug)]
pub(super) struct Disk {
    nodes: Vec<Node>,
    handles: BTreeMap<usize, usize>,
}

impl Node {
    fn directory() -> Self {
        Self::Directory {
            current: BTreeMap::new(),
            flushed: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    fn pending(&self) -> usize {
        match self {
            Self::File { pending, .. } => pending.len(),
            Self::Directory { pending, .. } => pending.len(),
        }
    }
}

impl Disk {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::directory()],
            handles: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { path, handle } => {
                let node = self.add(Node::File {
                    flushed: Vec::new(),
                    pending: Vec::new(),
                });
                self.change(path, Some(node));
                self.handles.insert(*handle, node);
            }
            Operation::Open { path, handle } => {
                let node = self.find(path);
                self.handles.insert(*handle, node);
            }
            Operation::Write { handle, bytes } => {
                if let Node::File { pending, .. } = &mut self.nodes[self.handles[handle]] {
                    pending.push(bytes.clone());
                }
            }
            Operation::Sync { handle, .. } => self.sync(self.handles[handle]),
            Operation::SyncDirectory { path } => self.sync(self.find(path)),
            Operation::Rename { from, to } => self.rename(from, to),
            Operation::Link { from, to } => {
                let node = self.find(from);
                self.change(to, Some(node));
            }
            Operation::Remove { path } => self.change(path, None),
            Operation::CreateDirectory { path } => {
                let node = self.add(Node::directory());
                self.change(path, Some(node));
            }
            Operation::Acknowledge(_) => {}
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &str) -> usize {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(0, |node, part| match &self.nodes[node] {
            Node::Directory { current, .. } => current[part],
            Node::File { .. } => panic!("{path}: a file is no directory"),
        })
    }

    fn change(&mut self, path: &str, node: Option<usize>) {
        let (parent, name) = split(path);
        self.change_in(parent, vec![(name.to_owned(), node)]);
    }

    fn change_in(&mut self, parent: &str, change: Change) {
        let directory = self.find(parent);
        let Node::Directory { current, pending, .. } = &mut self.nodes[directory] else {
            panic!("{parent} is no directory")
        };
        set(current, &change);
        pending.push(change);
    }

    /// Within a directory both names change together; between two, either may be lost alone.
    fn rename(&mut self, from: &str, to: &str) {
        let node = self.find(from);
        let ((source, old), (target, new)) = (split(from), split(to));
        if source == target {
            self.change_in(source, vec![(old.to_owned(), None), (new.to_owned(), Some(node))]);
        } else {
            self.change(to, Some(node));
            self.change(from, None);
        }
    }

    fn sync(&mut self, node: usize) {
        match &mut self.nodes[node] {
            Node::File { flushed, pending } => flushed.extend(pending.drain(..).flatten()),
            Node::Directory { flushed, pending, .. } => {
                for change in pending.drain(..) {
                    set(flushed, &change);
                }
            }
        }
    }

    /// Fates of all changes that were not flushed: every combination if there are few, else all alike, each one
    /// against the others, and samples.
    pub(super) fn fates(&self, samples: u64, random: &mut Random) -> Vec<Vec<Fate>> {
        let outstanding: usize = self.nodes.iter().map(Node::pending).sum();
        let Ok(outstanding) = u32::try_from(outstanding) else {
            return Vec::new();
        };
        if outstanding <= 3 {
            return (0..3_usize.pow(outstanding))
                .map(|number| {
                    (0..outstanding)
                        .map(|place| FATES[number / 3_usize.pow(place) % 3])
                        .collect()
                })
                .collect();
        }
        let count = outstanding as usize;
        let mut all = vec![
            vec![Fate::Dropped; count],
            vec![Fate::Kept; count],
            vec![Fate::Torn; count],
        ];
        for _ in 0..samples {
            all.push((0..count).map(|_| FATES[random.below(3) as usize]).collect());
        }
        all
    }

    /// Writes to the empty directory `root` what is left.
    pub(super) fn after_power_loss(&self, fates: &[Fate], root: &Path) {
        let mut place = 0;
        let mut of_node = Vec::new();
        for node in &self.nodes {
            of_node.push(&fates[place..place + node.pending()]);
            place += node.pending();
        }
        self.leave(0, root, &of_node);
    }

    fn leave(&self, node: usize, path: &Path, fates: &[&[Fate]]) {
        match &self.nodes[node] {
            Node::File { flushed, pending } => {
                std::fs::write(path, content(flushed, pending, fates[node])).unwrap();
            }
            Node::Directory { flushed, pending, .. } => {
                let mut names = flushed.clone();
                for (change, fate) in pending.iter().zip(fates[node]) {
                    if *fate == Fate::Kept {
                        set(&mut names, change);
                    }
                }
                if !path.exists() {
                    std::fs::create_dir(path).unwrap();
                }
                for (name, child) in names {
                    self.leave(child, &path.join(name), fates);
                }
            }
        }
    }
}

/// What was dropped before something that was kept reads as zeros.
fn content(flushed: &[u8], pending: &[Vec<u8>], fates: &[Fate]) -> Vec<u8> {
    let mut content = flushed.to_vec();
    let mut end = content.len();
    for (bytes, fate) in pending.iter().zip(fates) {
        let kept = match fate {
            Fate::Dropped => 0,
            Fate::Kept => bytes.len(),
            Fate::Torn => bytes.len().min(SECTOR),
        };
        if kept > 0 {
            content.resize(end, 0);
            content.extend_from_slice(&bytes[..kept]);
        }
        end += bytes.len();
    }
    content
}

fn set(names: &mut BTreeMap<String, usize>, change: &Change) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
