//! What is in a directory, to see whether something changed it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_oci::Digest;

/// The files below a directory by path, with their digests; directories without.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Option<Digest>>);

impl Tree {
    /// Reads it; what is not there has nothing in it.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.add(root, root);
        tree
    }

    fn add(&mut self, root: &Path, directory: &Path) {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return;
        };
        for entry in entries {
            let entry = entry.expect("an entry can be read");
            let path = entry.path();
            let below = path.strip_prefix(root).expect("it is below").to_owned();
            if entry.file_type().expect("a type").is_dir() {
                self.0.insert(below, None);
                self.add(root, &path);
            } else {
                let bytes = std::fs::read(&path).expect("a file can be read");
                self.0.insert(below, Some(Digest::of(&bytes)));
            }
        }
    }

    /// The files alone, whose path has `part` as one of its components.
    pub(crate) fn files(&self, part: &str) -> Vec<&Path> {
        let files = self.0.iter().filter(|(_, digest)| digest.is_some());
        let named = files.filter(|(path, _)| path.iter().any(|component| component == part));
        named.map(|(path, _)| path.as_path()).collect()
    }
}
