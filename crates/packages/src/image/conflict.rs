//! Two packages with one path.

use cairn_layer::{Node, Source, TreePath};

use super::AssembleError;
use super::world::{Placed, World};
use crate::deb::Archive;
use crate::debian::relation;

/// Whether `new` takes the place of `old`, which has the same path. Equal files are no conflict: the first stays.
///
/// # Errors
///
/// [`AssembleError::Conflict`] if neither package says that it replaces files of the other (Debian Policy, section 7.6.1).
pub(super) fn replaces(
    world: &World<'_>,
    path: &TreePath,
    old: &Placed,
    new: &Placed,
) -> Result<bool, AssembleError> {
    if is_equal(&old.node, &new.node) {
        return Ok(false);
    }
    if let (Some(first), Some(second)) = (old.owner, new.owner)
        && first != second
    {
        let (first, second) = (&world.packages[first], &world.packages[second]);
        match (says_so(first, second), says_so(second, first)) {
            (_, true) => return Ok(true),
            (true, false) => return Ok(false),
            (false, false) => {}
        }
    }
    Err(AssembleError::Conflict {
        path: path.clone(),
        first: world.name(old.owner),
        second: world.name(new.owner),
    })
}

fn is_equal(left: &Node, right: &Node) -> bool {
    match (left, right) {
        (
            Node::File {
                attributes: left_attributes,
                source: Source::Spooled(left),
            },
            Node::File {
                attributes: right_attributes,
                source: Source::Spooled(right),
            },
        ) => left_attributes == right_attributes && left.digest() == right.digest(),
        (Node::Symlink { target: left, .. }, Node::Symlink { target: right, .. }) => left == right,
        _ => false,
    }
}

/// Whether `package` says that it replaces files of `other`.
fn says_so(package: &Archive, other: &Archive) -> bool {
    let field = package.control.get("Replaces").unwrap_or_default();
    let named = relation::atoms(field).unwrap_or_default();
    let other = other.identity();
    named
        .iter()
        .any(|atom| atom.name == other.name() && atom.takes(other.version()))
}
