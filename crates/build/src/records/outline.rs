//! Where layers have files, and whether those may be executed: enough to say if a program is there.
//!
//! Paths are sorted; of each there is how many bytes it shares with the one before, the rest of it, and its mode.

use std::collections::BTreeMap;

use cairn_layer::{Node, Tree, TreePath};

use super::codec::{Decoder, Encoder};

/// The regular files of layers of which no two have the same path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outline(Vec<u8>);

/// What an outline has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file with this mode.
    File(u32),
    /// Something below a file, where nothing can be.
    BelowFile,
    /// No file.
    Nothing,
}

impl Outline {
    /// The files of all `trees`.
    pub(crate) fn of<'t>(trees: impl Iterator<Item = &'t Tree>) -> Self {
        let mut modes: BTreeMap<&TreePath, u32> = BTreeMap::new();
        for tree in trees {
            for (path, node) in tree.iter() {
                let file = match node {
                    Node::Hardlink { to } => tree.get(to),
                    _ => Some(node),
                };
                if let Some(Node::File { attributes, .. }) = file {
                    modes.insert(path, attributes.mode);
                }
            }
        }
        let mut encoder = Encoder::new(b"");
        let mut previous: &[u8] = &[];
        for (path, mode) in modes {
            let path = path.as_bytes();
            let shared = previous
                .iter()
                .zip(path)
                .take_while(|(left, right)| left == right);
            let shared = shared.count();
            encoder.number(shared as u64);
            encoder.string(&path[shared..]);
            encoder.number(mode.into());
            previous = path;
        }
        Self(encoder.body())
    }

    pub(super) fn write(&self, encoder: &mut Encoder) {
        encoder.string(&self.0);
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Option<Self> {
        Some(Self(decoder.string()?.to_vec()))
    }

    /// What is at `path`. All of the outline is gone through: it is asked a few times in a build.
    pub(crate) fn find(&self, path: &TreePath) -> Place {
        self.search(path.as_bytes()).unwrap_or(Place::Nothing)
    }

    fn search(&self, wanted: &[u8]) -> Option<Place> {
        let mut decoder = Decoder::new(&self.0);
        let mut path: Vec<u8> = Vec::new();
        while !decoder.is_at_end() {
            let shared = decoder.length()?;
            path.truncate(shared);
            path.extend_from_slice(decoder.string()?);
            let mode = u32::try_from(decoder.number()?).ok()?;
            if path == wanted {
                return Some(Place::File(mode));
            }
            if wanted
                .strip_prefix(&path[..])
                .is_some_and(|rest| rest.starts_with(b"/"))
            {
                return Some(Place::BelowFile);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use cairn_layer::{Attributes, Source};

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn files_are_found_with_their_modes_and_nothing_else_is() {
        let mut tree = Tree::new();
        for (at, mode) in [("usr/bin/a", 0o755), ("usr/bin/ab", 0o644)] {
            let attributes = Attributes {
                mode,
                ..Attributes::default()
            };
            let source = Source::Bytes(b"x".as_slice().into());
            tree.insert(path(at), Node::File { attributes, source }).unwrap();
        }
        let to = path("usr/bin/a");
        tree.insert(path("usr/bin/link"), Node::Hardlink { to }).unwrap();
        let outline = Outline::of([&tree, &Tree::new()].into_iter());
        let found = [
            "usr/bin/a",
            "usr/bin/ab",
            "usr/bin/link",
            "usr/bin/a/b",
            "usr/bin",
            "x",
        ];
        assert_eq!(
            found.map(|at| outline.find(&path(at))),
            [
                Place::File(0o755),
                Place::File(0o644),
                Place::File(0o755),
                Place::BelowFile,
                Place::Nothing,
                Place::Nothing
            ]
        );
    }
}
