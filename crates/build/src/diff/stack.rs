//! Layers on top of each other, as far as their files can be compared.

use std::collections::BTreeMap;
use std::io::{self, Read};

use cairn_layer::{Attributes, Entry, EntryKind, Limits, TreePath, VisitError, read_layer};
use cairn_oci::{Descriptor, Digest, Hasher};
use cairn_store::Repository;

use super::{DiffError, open};
use crate::blocking::{feed, pipe, run};

/// Length of the pieces in which contents are hashed, in bytes.
const PIECE: usize = 64 << 10;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) kind: Kind,
    pub(super) attributes: Attributes,
    pub(super) mtime: i64,
}

/// What kind of thing it is, and what tells it from others of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File { size: u64, digest: Digest },
    Symlink { target: Vec<u8> },
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// What one layer says.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// Paths that it removes from the layers below.
    whiteouts: Vec<TreePath>,
    /// Directories whose content it removes; none: the root's.
    opaque: Vec<Option<TreePath>>,
    additions: Vec<(TreePath, Addition)>,
}

#[derive(Debug)]
enum Addition {
    State(State),
    /// Another name of what stands at this path.
    Link(TreePath),
}

/// The files of some layers.
#[derive(Debug, Clone, Default)]
pub(super) struct Stack {
    pub(super) files: BTreeMap<TreePath, State>,
}

/// Reads a layer, and hashes every file in it.
pub(super) async fn read(
    repository: &dyn Repository,
    layer: &Descriptor,
    limits: &Limits,
) -> Result<Layer, DiffError> {
    let digest = layer.digest;
    let content = open(repository, layer).await?;
    let (sender, reader) = pipe();
    let limits = *limits;
    let work = run(move || {
        let mut layer = Layer::default();
        let read = read_layer(reader, &limits, &mut |entry, content| layer.take(entry, content));
        read.map(|_| layer)
    });
    let (fed, read) = tokio::join!(feed(content, vec![sender]), work);
    fed.map_err(|source| DiffError::LayerContent { digest, source })?;
    read.map_err(|source| DiffError::Layer { digest, source })
}

/// The digest of what `content` has left.
pub(super) fn hashed(content: &mut dyn Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        let length = content.read(&mut piece)?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&piece[..length]);
    }
}

/// Whether what the layers below have can matter: a path is in one of them only, or something is removed.
pub(super) fn refers_below(left: &[Layer], right: &[Layer]) -> bool {
    let removes = |layers: &[Layer]| {
        let mut layers = layers.iter();
        layers.any(|layer| !layer.whiteouts.is_empty() || !layer.opaque.is_empty())
    };
    let paths = |layers: &[Layer]| {
        let mut paths: Vec<TreePath> = layers
            .iter()
            .flat_map(|layer| layer.additions.iter().map(|(path, _)| path.clone()))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    };
    removes(left) || removes(right) || paths(left) != paths(right)
}

impl Layer {
    fn take(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), VisitError> {
        let kind = match &entry.kind {
            EntryKind::Whiteout => {
                self.whiteouts.push(entry.path.clone());
                return Ok(());
            }
            EntryKind::Opaque => {
                self.opaque.push(entry.path.parent());
                return Ok(());
            }
            EntryKind::Hardlink { to } => {
                self.additions
                    .push((entry.path.clone(), Addition::Link(to.clone())));
                return Ok(());
            }
            EntryKind::Directory => Kind::Directory,
            EntryKind::File => Kind::File {
                size: entry.size,
                digest: hashed(content)?,
            },
            EntryKind::Symlink { target } => Kind::Symlink {
                target: target.clone(),
            },
            EntryKind::CharacterDevice { major, minor } => Kind::CharacterDevice {
                major: *major,
                minor: *minor,
            },
            EntryKind::BlockDevice { major, minor } => Kind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            EntryKind::Fifo => Kind::Fifo,
        };
        let state = State {
            kind,
            attributes: entry.attributes.clone(),
            mtime: entry.mtime,
        };
        self.additions.push((entry.path.clone(), Addition::State(state)));
        Ok(())
    }
}

impl Stack {
    /// Puts a layer on top: first what it removes of those below, then what it brings.
    pub(super) fn put(&mut self, layer: Layer) {
        for path in &layer.whiteouts {
            self.files.remove(path);
            self.remove_below(Some(path));
        }
        for directory in &layer.opaque {
            self.remove_below(directory.as_ref());
        }
        for (path, addition) in layer.additions {
            let state = match addition {
                Addition::State(state) => state,
                Addition::Link(to) => match self.files.get(&to) {
                    Some(state) => state.clone(),
                    // A link to what is in no layer: the reader of a whole image would have failed.
                    None => continue,
                },
            };
            if state.kind != Kind::Directory {
                self.remove_below(Some(&path));
            }
            self.files.insert(path, state);
        }
    }

    fn remove_below(&mut self, directory: Option<&TreePath>) {
        let Some(directory) = directory else {
            self.files.clear();
            return;
        };
        let below = self
            .files
            .range(directory.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.as_bytes().starts_with(directory.as_bytes()));
        let below: Vec<_> = below.filter(|path| path.is_under(directory)).cloned().collect();
        for path in below {
            self.files.remove(&path);
        }
    }
}
