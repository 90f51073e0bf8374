//! Large layers in parts: `split = "auto"`.
//!
//! A layer that is split becomes several layers, its *parts*. Each part holds a range of paths, so that a file that
//! changes moves one part and leaves the others as they are. The *borders* between the parts are chosen once, when the
//! image is locked, and pinned: afterwards only a path decides to which part it belongs, never its size or its content.
//!
//! ```text
//!   borders       lib/m            lib/z            share
//!   paths     a … lib/l | lib/m … lib/y | lib/z … sh | share … z
//!   parts         0     |       1       |      2     |     3
//! ```
//!
//! - A path belongs to the part whose border is the last one that is not greater than it, in the order of
//!   [`TreePath`]. What comes before the first border belongs to the first part.
//! - A hard link belongs to the part of the file that it is a name of.
//! - Each part repeats the directories above what it holds, with the attributes that they have in the layer.
//! - A part that holds nothing is left out.

use std::collections::BTreeMap;

use cairn_layer::{Node, Tree, TreeError, TreePath};

/// A part is not smaller than this many bytes, unless something larger than a part stands after it.
const LEAST_PART: u64 = 1 << 20;
/// So many parts are aimed at, where the layer is large enough: with it, one file of average size touches less than two
/// hundredths of the image.
const PARTS_WANTED: usize = 64;
/// What a path costs besides its content: a header, and half of a block of padding.
const ENTRY: u64 = 512 + 256;

/// Paths with how many bytes each brings, of one layer for all platforms.
///
/// If a path differs between platforms, the larger size counts.
#[derive(Debug, Default)]
pub(crate) struct Weights(BTreeMap<TreePath, u64>);

impl Weights {
    /// Adds the paths of one platform's tree. A hard link weighs nothing: it goes where its file goes.
    pub(crate) fn add(&mut self, tree: &Tree) {
        for (path, node) in tree.iter() {
            let bytes = match node {
                Node::File { source, .. } => ENTRY.saturating_add(source.size()),
                Node::Hardlink { .. } => continue,
                Node::Directory(_) | Node::Symlink { .. } | Node::Whiteout => ENTRY,
            };
            let weight = self.0.entry(path.clone()).or_default();
            *weight = bytes.max(*weight);
        }
    }

    /// Chooses borders for at most `most` parts. The same paths and sizes give the same borders.
    pub(crate) fn borders(&self, most: usize) -> Vec<TreePath> {
        let total: u64 = self.0.values().sum();
        let most = most.max(1);
        let wanted = usize::try_from(total / LEAST_PART).unwrap_or(usize::MAX);
        let wanted = wanted.clamp(1, PARTS_WANTED.min(most)) as u64;
        let mut limit = total.div_ceil(wanted).max(LEAST_PART);
        loop {
            let borders = self.cut(limit);
            if borders.len() < most {
                return borders;
            }
            // Parts are between half and the whole of the limit, so the first try may give more than were wanted.
            limit = limit.saturating_add(limit.div_ceil(8));
        }
    }

    /// Cuts so that no part is larger than `limit`, unless a single path is.
    ///
    /// Among the places at which a part would be between a half and the whole of the limit, the one nearest to the
    /// root is taken, so that what belongs together stays together; of several, the last.
    fn cut(&self, limit: u64) -> Vec<TreePath> {
        let entries: Vec<_> = self.0.iter().collect();
        let mut borders: Vec<TreePath> = Vec::new();
        let mut start = 0;
        while start < entries.len() {
            let Some(next) = end_of_part(&entries[start..], limit).map(|end| start + end) else {
                break;
            };
            borders.push(entries[next].0.clone());
            start = next;
        }
        borders
    }
}

/// How many of the entries the next part takes; none: all of them.
fn end_of_part(entries: &[(&TreePath, &u64)], limit: u64) -> Option<usize> {
    let mut sum = 0_u64;
    let mut best: Option<(usize, usize)> = None;
    for (at, (path, weight)) in entries.iter().enumerate() {
        if at > 0 && sum >= limit / 2 {
            let depth = path.components().count();
            if best.is_none_or(|(least, _)| depth <= least) {
                best = Some((depth, at));
            }
        }
        sum = sum.saturating_add(**weight);
        if sum > limit {
            // What is larger than a part stands alone, except for a little that comes before it.
            let alone = if sum - **weight > limit / 8 { at } else { at + 1 };
            let end = best.map_or(alone.max(1), |(_, end)| end);
            return (end < entries.len()).then_some(end);
        }
    }
    None
}

/// Cuts `tree` at `borders`, which ascend. There is always at least one part.
///
/// The tree must have its parents: see [`Tree::complete_parents`].
///
/// # Errors
///
/// [`TreeError`], of a tree that is none.
pub(crate) fn split(tree: Tree, borders: &[TreePath]) -> Result<Vec<Tree>, TreeError> {
    if borders.is_empty() {
        return Ok(vec![tree]);
    }
    let mut parts = vec![Tree::new(); borders.len() + 1];
    for (path, node) in tree.iter() {
        let place = match node {
            Node::Hardlink { to } => to,
            _ => path,
        };
        let part = &mut parts[part_of(place, borders)];
        for directory in path.ancestors() {
            if part.get(&directory).is_none()
                && let Some(node @ Node::Directory(_)) = tree.get(&directory)
            {
                part.insert(directory, node.clone())?;
            }
        }
        part.insert(path.clone(), node.clone())?;
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() {
        parts.push(tree);
    }
    Ok(parts)
}

fn part_of(path: &TreePath, borders: &[TreePath]) -> usize {
    borders.partition_point(|border| border <= path)
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
