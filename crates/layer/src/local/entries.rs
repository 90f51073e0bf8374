//! What a walk found.

use std::iter::Flatten;
use std::{slice, vec};

use super::{LocalEntry, LocalKind};
use crate::path::TreePath;

/// What a walk found, in the order of [`TreePath`], the start first.
///
/// They are kept in pieces as they were found, so that whoever takes them one by one frees them on the way.
#[derive(Debug, Clone, Default)]
pub struct LocalEntries {
    /// Each is sorted; all of one comes before all of the next.
    pieces: Vec<Vec<LocalEntry>>,
}

impl LocalEntries {
    /// What was found in each directory, sorted, and in which one; the directories may come in any order.
    pub(super) fn in_order(found: Vec<(Option<TreePath>, Vec<LocalEntry>)>) -> Self {
        let mut pieces = Vec::with_capacity(found.len() + 1);
        for (_, entries) in found {
            cut(entries, &mut pieces);
        }
        pieces.sort_unstable_by(|left, right| path(left.first()).cmp(&path(right.first())));
        Self { pieces }
    }

    /// The same with `start` before all others.
    pub(super) fn starting_with(mut self, start: LocalEntry) -> Self {
        self.pieces.insert(0, vec![start]);
        self
    }

    /// All in order.
    pub fn iter(&self) -> Flatten<slice::Iter<'_, Vec<LocalEntry>>> {
        self.pieces.iter().flatten()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(Vec::is_empty)
    }

    /// Leaves only those of which `wanted` is true.
    pub fn retain(&mut self, wanted: impl Fn(&LocalEntry) -> bool) {
        for piece in &mut self.pieces {
            piece.retain(&wanted);
        }
    }
}

impl IntoIterator for LocalEntries {
    type Item = LocalEntry;
    type IntoIter = Flatten<vec::IntoIter<Vec<LocalEntry>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter().flatten()
    }
}

impl<'a> IntoIterator for &'a LocalEntries {
    type Item = &'a LocalEntry;
    type IntoIter = Flatten<slice::Iter<'a, Vec<LocalEntry>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn path(entry: Option<&LocalEntry>) -> Option<&[u8]> {
    entry?.path.as_ref().map(TreePath::as_bytes)
}

/// Cuts what one directory has where that which is below one of its own directories comes between.
fn cut(entries: Vec<LocalEntry>, pieces: &mut Vec<Vec<LocalEntry>>) {
    let mut borders: Vec<usize> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.kind, LocalKind::Directory))
        .map(|(at, directory)| at + 1 + between(directory, &entries[at + 1..]))
        .collect();
    borders.sort_unstable();
    let mut rest = entries.into_iter();
    let mut at = 0;
    for border in borders {
        let piece: Vec<_> = rest.by_ref().take(border - at).collect();
        at = border;
        pieces.extend((!piece.is_empty()).then_some(piece));
    }
    let piece: Vec<_> = rest.collect();
    pieces.extend((!piece.is_empty()).then_some(piece));
}

/// How many of those after a directory come before what is in it: `a-b` stands between `a` and `a/c`.
fn between(directory: &LocalEntry, after: &[LocalEntry]) -> usize {
    let directory = path(Some(directory)).unwrap_or_default();
    let is_between = |entry: &&LocalEntry| {
        let rest = path(Some(entry)).and_then(|path| path.strip_prefix(directory));
        rest.and_then(<[u8]>::first).is_some_and(|next| *next < b'/')
    };
    after.iter().take_while(is_between).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names in which much stands around the slash, so that directories and their neighbours mix.
    fn paths() -> impl Strategy<Value = std::collections::BTreeSet<Vec<u8>>> {
        let name = prop::collection::vec(prop::sample::select(&b"a-.0"[..]), 1..4)
            .prop_filter("dots", |name| name[..] != b"."[..] && name[..] != b".."[..]);
        let path = prop::collection::vec(name, 1..5).prop_map(|names| names.join(&b'/'));
        prop::collection::btree_set(path, 0..40)
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_give_the_order_of_paths(paths in paths(), turn in any::<usize>()) {
            let mut all: Vec<TreePath> = paths.iter().map(|path| TreePath::new(path).unwrap()).collect();
            let above: Vec<_> = all.iter().flat_map(TreePath::ancestors).collect();
            all.extend(above);
            all.sort();
            all.dedup();
            let mut found: Vec<(Option<TreePath>, Vec<LocalEntry>)> = Vec::new();
            for path in &all {
                let entry = LocalEntry { path: Some(path.clone()), kind: kind(path, &all) };
                match found.iter_mut().find(|(directory, _)| *directory == path.parent()) {
                    Some((_, entries)) => entries.push(entry),
                    None => found.push((path.parent(), vec![entry])),
                }
            }
            let turn = turn % found.len().max(1);
            found.rotate_left(turn);
            let entries = LocalEntries::in_order(found);
            prop_assert_eq!(entries.len(), all.len());
            let ordered: Vec<_> = entries.into_iter().map(|entry| entry.path.unwrap()).collect();
            prop_assert_eq!(ordered, all);
        }
    }

    fn kind(path: &TreePath, all: &[TreePath]) -> LocalKind {
        if all.iter().any(|other| other.is_under(path)) {
            return LocalKind::Directory;
        }
        LocalKind::Symlink {
            target: b"x".to_vec(),
        }
    }
}
