//! Where each path of a package comes to stand.
//!
//! A package is made for a file system that has links already: `/bin` leads to `usr/bin`, `/var/run` to `/run`. All of
//! these, those that packages bring and those of the base, are known before anything is placed, so that the order
//! of packages does not matter: what lies below a link stands where the link leads, and a directory that another package
//! has as a link is that link.

use std::collections::{BTreeMap, BTreeSet};

use cairn_layer::{Listing, Node, TreePath};

use super::world::{Directory, Owner, Placed, World, link, path};
use super::{AssembleError, conflict, table};
use crate::deb::Archive;

/// The directories that are links into `/usr` (Debian, "UsrMerge").
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];
/// How often links are looked at again because links lie below links.
const ROUNDS: usize = 8;

pub(super) fn place<'a>(packages: &'a [Archive], base: &'a Listing) -> Result<World<'a>, AssembleError> {
    let merged = merged(packages, base);
    let mut world = World {
        packages,
        base,
        links: links(packages, base, &merged)?,
        directories: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    for name in &merged {
        let target = world.links.symlinks[name].clone();
        let placed = Placed {
            node: link(&target),
            owner: None,
            same: None,
        };
        world.files.insert(name.clone(), placed);
    }
    let mut same = 0;
    for (number, package) in packages.iter().enumerate() {
        let mut names = file_names(package);
        for (at, node) in package.tree.iter() {
            match node {
                Node::Directory(attributes) => {
                    let real = world.links.resolve(at);
                    let real = match real {
                        Ok(real) => real,
                        Err(cairn_layer::ResolveError::Root { .. }) => continue,
                        Err(_) => return Err(endless(at, package)),
                    };
                    let directory = world.directories.entry(real).or_insert_with(|| Directory {
                        attributes: attributes.clone(),
                        owners: BTreeSet::new(),
                    });
                    directory.owners.insert(Some(number));
                }
                Node::Symlink { target, .. } => {
                    let real = world.links.resolve_parent(at).map_err(|_| endless(at, package))?;
                    if !is_merged_away(&real, target, &world.links, &merged) {
                        put(&mut world, number, at, node.clone(), None)?;
                    }
                }
                Node::File { .. } => {
                    let names = names.remove(at).unwrap_or_default();
                    same += 1;
                    let group = (!names.is_empty()).then_some(same);
                    for name in std::iter::once(at).chain(names) {
                        put(&mut world, number, name, node.clone(), group)?;
                    }
                }
                Node::Hardlink { .. } | Node::Whiteout => {}
            }
        }
    }
    check(&world)?;
    Ok(world)
}

fn endless(path: &TreePath, package: &Archive) -> AssembleError {
    AssembleError::Links {
        path: path.clone(),
        package: package.name().to_owned(),
    }
}

/// The links into `/usr` that Cairn makes: those that the base lacks and packages need.
///
/// A base that has a directory there is not merged, and stays so.
fn merged(packages: &[Archive], base: &Listing) -> Vec<TreePath> {
    let is_needed = |name: &TreePath| {
        packages.iter().any(|package| {
            let mut paths = package.tree.iter();
            paths.any(|(at, node)| {
                at.is_under(name) || (at == name && (is_directory(node) || leads_into_usr(name, node)))
            })
        })
    };
    let other = |name: &TreePath| {
        let mut nodes = packages.iter().filter_map(|package| package.tree.get(name));
        nodes.any(|node| !is_directory(node) && !leads_into_usr(name, node))
    };
    let names = MERGED.iter().map(|name| path(name));
    names
        .filter(|name| !base.directories.contains_key(name) && !base.symlinks.contains_key(name))
        .filter(|name| is_needed(name) && !other(name))
        .collect()
}

const fn is_directory(node: &Node) -> bool {
    matches!(node, Node::Directory(_))
}

fn leads_into_usr(name: &TreePath, node: &Node) -> bool {
    let Node::Symlink { target, .. } = node else {
        return false;
    };
    let target = target.strip_prefix(b"/").unwrap_or(target);
    target.strip_prefix(b"usr/") == Some(name.as_bytes())
}

/// All links by which paths are resolved: the base's, those into `/usr`, those that the table makes, the packages'.
fn links(packages: &[Archive], base: &Listing, merged: &[TreePath]) -> Result<Listing, AssembleError> {
    let mut fixed = Listing {
        symlinks: base.symlinks.clone(),
        ..Listing::default()
    };
    for name in merged {
        let target = [b"usr/", name.as_bytes()].concat();
        fixed.symlinks.insert(name.clone(), target);
    }
    let by_table = packages.iter().flat_map(|package| table::links(package.name()));
    for (at, target) in by_table {
        if !base.directories.contains_key(&at) {
            fixed.symlinks.entry(at).or_insert_with(|| target.to_vec());
        }
    }
    let mut links = fixed.clone();
    for _ in 0..ROUNDS {
        let mut next = fixed.clone();
        for package in packages {
            for (at, node) in package.tree.iter() {
                let Node::Symlink { target, .. } = node else {
                    continue;
                };
                let real = links.resolve_parent(at).map_err(|_| endless(at, package))?;
                if is_merged_away(&real, target, &fixed, merged) || merged.contains(&real) {
                    continue;
                }
                if base.directories.contains_key(&real) {
                    return Err(AssembleError::BaseDirectory {
                        path: real,
                        package: package.name().to_owned(),
                    });
                }
                next.symlinks.insert(real, target.clone());
            }
        }
        if next == links {
            return Ok(links);
        }
        links = next;
    }
    match packages.first().zip(links.symlinks.keys().next()) {
        Some((package, at)) => Err(endless(at, package)),
        None => Ok(links),
    }
}

/// Whether a link is one of those into `/usr`, or leads from one of the two names of a file to the other: both are
/// one name once `/bin` is `/usr/bin`.
fn is_merged_away(real: &TreePath, target: &[u8], links: &Listing, merged: &[TreePath]) -> bool {
    if merged.contains(real) {
        return true;
    }
    let from = match target.first() {
        Some(b'/') => Vec::new(),
        _ => real
            .parent()
            .map(|parent| parent.as_bytes().to_vec())
            .unwrap_or_default(),
    };
    let mut names: Vec<&[u8]> = from
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    let target = TreePath::new(names.join(&b'/'));
    target.is_ok_and(|target| links.resolve_parent(&target).is_ok_and(|target| target == *real))
}

/// The other names of each file that has several.
fn file_names(package: &Archive) -> BTreeMap<&TreePath, Vec<&TreePath>> {
    let mut names: BTreeMap<&TreePath, Vec<&TreePath>> = BTreeMap::new();
    for (at, node) in package.tree.iter() {
        if let Node::Hardlink { to } = node {
            names.entry(to).or_default().push(at);
        }
    }
    names
}

fn put(
    world: &mut World<'_>,
    number: usize,
    at: &TreePath,
    node: Node,
    same: Option<usize>,
) -> Result<(), AssembleError> {
    let package = &world.packages[number];
    let real = world.links.resolve_parent(at).map_err(|_| endless(at, package))?;
    let real = table::diverted(world.packages, package.name(), &real).unwrap_or(real);
    if world.base.directories.contains_key(&real) {
        return Err(AssembleError::BaseDirectory {
            path: real,
            package: package.name().to_owned(),
        });
    }
    let owner: Owner = Some(number);
    let placed = Placed { node, owner, same };
    let Some(other) = world.files.get(&real) else {
        world.files.insert(real, placed);
        return Ok(());
    };
    if conflict::replaces(world, &real, other, &placed)? {
        world.files.insert(real, placed);
    }
    Ok(())
}

/// Nothing lies below a file, and no directory is a file.
pub(super) fn check(world: &World<'_>) -> Result<(), AssembleError> {
    for (at, placed) in &world.files {
        if let Some(directory) = world.directories.get(at) {
            let other = directory.owners.iter().next().copied().flatten();
            return Err(AssembleError::Conflict {
                path: at.clone(),
                first: world.name(placed.owner),
                second: world.name(other),
            });
        }
        below_file(world, at, placed.owner)?;
    }
    for (at, directory) in &world.directories {
        let owner = directory.owners.iter().next().copied().flatten();
        below_file(world, at, owner)?;
    }
    Ok(())
}

fn below_file(world: &World<'_>, at: &TreePath, owner: Owner) -> Result<(), AssembleError> {
    for above in at.ancestors() {
        if let Some(file) = world.files.get(&above) {
            return Err(AssembleError::BelowFile {
                path: at.clone(),
                package: world.name(owner),
                file: above,
                other: world.name(file.owner),
            });
        }
    }
    Ok(())
}
