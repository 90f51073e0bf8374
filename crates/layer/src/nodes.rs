//! What stands at which path, for paths that mostly come in order.
//!
//! A walk gives its paths sorted. They are put one after the other, which takes half the memory of a tree of half-full
//! pieces, and less time. Only what comes out of order is kept in such a tree, beside them.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Bound;
use std::slice;

use crate::path::TreePath;
use crate::tree::Node;

/// A map from paths to nodes, in the order of [`TreePath`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    /// Sorted; what came after everything that was there of them.
    run: Vec<(TreePath, Node)>,
    /// None of these is in the run.
    others: BTreeMap<TreePath, Node>,
}

impl Nodes {
    /// Makes room for so many more paths.
    pub(crate) fn reserve(&mut self, additional: usize) {
        self.run.reserve(additional);
    }

    /// How many paths there are.
    pub(crate) fn len(&self) -> usize {
        self.run.len() + self.others.len()
    }

    /// The last path.
    pub(crate) fn last(&self) -> Option<&TreePath> {
        let run = self.run.last().map(|(path, _)| path);
        run.max(self.others.last_key_value().map(|(path, _)| path))
    }

    /// Puts `node` at `path`, in place of what was there.
    pub(crate) fn insert(&mut self, path: TreePath, node: Node) {
        let is_last = self.last().is_none_or(|last| *last < path);
        if !is_last && let Some(old) = self.get_mut(&path) {
            *old = node;
        } else if self.run.last().is_none_or(|(last, _)| *last < path) {
            self.run.push((path, node));
        } else {
            self.others.insert(path, node);
        }
    }

    /// What stands at the path of these bytes.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Node> {
        self.get_key_value(path).map(|(_, node)| node)
    }

    /// The path of these bytes, and what stands there.
    pub(crate) fn get_key_value(&self, path: &[u8]) -> Option<(&TreePath, &Node)> {
        match self.find(path) {
            Ok(at) => Some(pair(&self.run[at])),
            Err(_) => self.others.get_key_value(path),
        }
    }

    /// What stands at `path`.
    pub(crate) fn get_mut(&mut self, path: &TreePath) -> Option<&mut Node> {
        match self.find(path.as_bytes()) {
            Ok(at) => Some(&mut self.run[at].1),
            Err(_) => self.others.get_mut(path),
        }
    }

    /// All in order.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            run: self.run.iter().peekable(),
            others: self.others.range::<[u8], _>(..).peekable(),
        }
    }

    /// Those after `path`, in order.
    pub(crate) fn after(&self, path: &TreePath) -> Iter<'_> {
        let start = match self.find(path.as_bytes()) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        let range = (Bound::Excluded(path), Bound::Unbounded);
        Iter {
            run: self.run[start..].iter().peekable(),
            others: self.others.range::<TreePath, _>(range).peekable(),
        }
    }

    fn find(&self, path: &[u8]) -> Result<usize, usize> {
        // A walk asks for the directory that came last.
        if self.run.last().is_some_and(|(last, _)| last.as_bytes() == path) {
            return Ok(self.run.len() - 1);
        }
        self.run.binary_search_by(|(other, _)| other.as_bytes().cmp(path))
    }
}

const fn pair((path, node): &(TreePath, Node)) -> (&TreePath, &Node) {
    (path, node)
}

/// Nodes in order.
pub(crate) struct Iter<'a> {
    run: Peekable<slice::Iter<'a, (TreePath, Node)>>,
    others: Peekable<btree_map::Range<'a, TreePath, Node>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a TreePath, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        let Some((other, _)) = self.others.peek() else {
            return self.run.next().map(pair);
        };
        match self.run.next_if(|(path, _)| path < *other) {
            Some(of_run) => Some(pair(of_run)),
            None => self.others.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.run.len(), None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<u8>> {
        // First some in order, so that there is a run to put the others beside.
        let ascending = (0_u8..60).prop_map(|count| (0..count).map(|number| number * 4).collect());
        (ascending, prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(first, then): (Vec<_>, _)| first.into_iter().chain(then).collect())
    }

    fn path(number: u8) -> TreePath {
        TreePath::new(format!("{number:03}")).unwrap()
    }

    /// A node that can be told from those that came before.
    fn node(number: usize) -> Node {
        Node::Hardlink {
            to: TreePath::new(format!("n{number}")).unwrap(),
        }
    }

    fn shown<'a>(nodes: impl Iterator<Item = (&'a TreePath, &'a Node)>) -> Vec<String> {
        nodes.map(|(path, node)| format!("{path} {node:?}")).collect()
    }

    proptest! {
        #[test]
        fn they_are_as_in_an_ordered_map(numbers in numbers(), probe in any::<u8>()) {
            let (mut nodes, mut model) = (Nodes::default(), BTreeMap::new());
            for (at, number) in numbers.iter().enumerate() {
                nodes.insert(path(*number), node(at));
                model.insert(path(*number), node(at));
                prop_assert_eq!(nodes.last(), model.last_key_value().map(|(path, _)| path));
            }
            prop_assert_eq!(nodes.len(), model.len());
            prop_assert_eq!(shown(nodes.iter()), shown(model.iter()));
            let probe = path(probe);
            let after = model.range::<TreePath, _>((Bound::Excluded(&probe), Bound::Unbounded));
            prop_assert_eq!(shown(nodes.after(&probe)), shown(after));
            prop_assert_eq!(nodes.get(probe.as_bytes()).is_some(), model.contains_key(&probe));
            prop_assert_eq!(nodes.get_mut(&probe).is_some(), model.contains_key(&probe));
        }
    }
}
