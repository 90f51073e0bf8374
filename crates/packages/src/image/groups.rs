//! Which packages share a layer.
//!
//! Packages that are made from one source change together: they share a layer, named after the source. If there are more
//! sources than layers, the layers have numbers, and each source has one by a hash of its name: in the order of the
//! hashes, each takes its own or the next that is free, until none is; the others share their own. So only the names of
//! the sources decide: another version of a package moves its own layer alone, and another source few others.

use std::collections::{BTreeMap, BTreeSet};

use cairn_layer::{Listing, Node, Tree, TreePath};
use cairn_oci::Hasher;

use super::world::{Owner, Placed, World};
use super::{AssembleError, Layer};
use crate::installed::Installed;

/// The layer of what belongs to no package.
const SYSTEM: &str = "system";

/// Cuts the image into layers: first what belongs to no package, then the packages, by the names of their layers.
pub(super) fn cut(world: &World<'_>, max_layers: usize) -> Result<Vec<Layer>, AssembleError> {
    let names = layer_names(world, max_layers.max(1));
    let mut layers: BTreeMap<&str, Layer> = BTreeMap::new();
    for (package, name) in world.packages.iter().zip(&names) {
        let layer = layers.entry(name).or_insert_with(|| empty(name));
        layer.packages.push(package.identity().clone());
    }
    let mut system = empty(SYSTEM);
    let lower = lower(world);
    let firsts = firsts(world);
    for (at, directory) in &world.directories {
        if world.base.directories.contains_key(at) {
            // It is there, and keeps the attributes that it has.
            continue;
        }
        let owned: BTreeSet<Owner> = directory
            .owners
            .iter()
            .copied()
            .map(|owner| by_layer(owner, &names))
            .collect();
        for owner in owned {
            let layer = layer_of(owner, &names, &mut layers, &mut system);
            insert(layer, at, Node::Directory(directory.attributes.clone()))?;
        }
    }
    for (at, placed) in &world.files {
        let node = match placed.same.and_then(|same| firsts.get(&same)) {
            Some(first) if *first != at => Node::Hardlink { to: (*first).clone() },
            _ => placed.node.clone(),
        };
        insert(layer_of(placed.owner, &names, &mut layers, &mut system), at, node)?;
    }
    let mut all: Vec<Layer> = Vec::with_capacity(layers.len() + 1);
    if !system.tree.is_empty() {
        all.push(system);
    }
    all.extend(layers.into_values());
    for layer in &mut all {
        layer.packages.sort();
        let completed = layer.tree.complete_parents(&lower);
        completed.map_err(|source| tree_error(&layer.name, source))?;
    }
    Ok(all)
}

fn empty(name: &str) -> Layer {
    Layer {
        name: name.to_owned(),
        packages: Vec::<Installed>::new(),
        tree: Tree::new(),
    }
}

fn tree_error(layer: &str, source: cairn_layer::TreeError) -> AssembleError {
    AssembleError::Tree {
        layer: layer.to_owned(),
        source,
    }
}

fn insert(layer: &mut Layer, at: &TreePath, node: Node) -> Result<(), AssembleError> {
    let inserted = layer.tree.insert(at.clone(), node);
    inserted.map_err(|source| tree_error(&layer.name, source))
}

fn layer_of<'l>(
    owner: Owner,
    names: &[String],
    layers: &'l mut BTreeMap<&str, Layer>,
    system: &'l mut Layer,
) -> &'l mut Layer {
    let name = owner.and_then(|number| names.get(number));
    name.and_then(|name| layers.get_mut(name.as_str()))
        .unwrap_or(system)
}

/// The first package of the same layer, so that each layer is named once.
fn by_layer(owner: Owner, names: &[String]) -> Owner {
    let name = names.get(owner?)?;
    names.iter().position(|other| other == name)
}

/// What all layers together know of directories and links, so that each repeats the same attributes.
fn lower(world: &World<'_>) -> Listing {
    let mut lower = Listing {
        directories: world.base.directories.clone(),
        symlinks: world.base.symlinks.clone(),
        ..Listing::default()
    };
    for (at, directory) in &world.directories {
        // What the base says of a directory of its own stays.
        lower
            .directories
            .entry(at.clone())
            .or_insert_with(|| directory.attributes.clone());
    }
    for (at, Placed { node, .. }) in &world.files {
        if let Node::Symlink { target, .. } = node {
            lower.symlinks.insert(at.clone(), target.clone());
        }
    }
    lower
}

/// The first name of each file that has several.
fn firsts<'w>(world: &'w World<'_>) -> BTreeMap<usize, &'w TreePath> {
    let mut firsts = BTreeMap::new();
    for (at, placed) in &world.files {
        if let Some(same) = placed.same {
            firsts.entry(same).or_insert(at);
        }
    }
    firsts
}

/// The name of each package's layer.
fn layer_names(world: &World<'_>, max_layers: usize) -> Vec<String> {
    let sources: BTreeSet<&str> = world
        .packages
        .iter()
        .map(|package| package.control.source())
        .collect();
    let numbers = if sources.len() <= max_layers {
        BTreeMap::new()
    } else {
        numbers(&sources, max_layers)
    };
    let width = max_layers.to_string().len();
    let name = |source: &str| match numbers.get(source) {
        Some(number) => format!("{:0width$}/{max_layers}", number + 1),
        // A source may be called like the layer of what belongs to none.
        None if source == SYSTEM => format!("{SYSTEM} (source)"),
        None => source.to_owned(),
    };
    world
        .packages
        .iter()
        .map(|package| name(package.control.source()))
        .collect()
}

/// Which of `count` layers each source has, from 0.
fn numbers<'s>(sources: &BTreeSet<&'s str>, count: usize) -> BTreeMap<&'s str, usize> {
    let mut hashed: Vec<(u64, &str)> = sources.iter().map(|source| (hash(source), *source)).collect();
    hashed.sort_unstable();
    let mut is_taken = vec![false; count];
    let mut numbers = BTreeMap::new();
    for (hash, source) in hashed {
        // The remainder is less than the count, which is a usize.
        let own = usize::try_from(hash % count as u64).unwrap_or(0);
        let free = (0..count)
            .map(|step| (own + step) % count)
            .find(|number| !is_taken[*number]);
        let number = free.unwrap_or(own);
        is_taken[number] = true;
        numbers.insert(source, number);
    }
    numbers
}

/// The first eight bytes of a name's SHA-256.
fn hash(name: &str) -> u64 {
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    let digest = hasher.finish();
    digest.as_bytes()[..8]
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_a_source_before_two_share_one() {
        let names: Vec<String> = (0..70).map(|number| format!("source{number}")).collect();
        let sources: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let numbers = numbers(&sources, 64);
        let used: BTreeSet<usize> = numbers.values().copied().collect();
        assert_eq!((numbers.len(), used.len()), (70, 64));
    }

    #[test]
    fn another_source_moves_few_others() {
        let names: Vec<String> = (0..100).map(|number| format!("source{number}")).collect();
        let sources: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let before = numbers(&sources, 64);
        let mut sources = sources;
        sources.insert("another");
        let after = numbers(&sources, 64);
        let moved = before
            .iter()
            .filter(|(name, number)| after[*name] != **number)
            .count();
        assert!(moved <= 16, "{moved} of 100 sources moved");
    }
}
