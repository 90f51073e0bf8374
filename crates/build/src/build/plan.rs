//! What the layers of one platform's image will hold, found before anything is written.

use std::ops::Bound;

use cairn_layer::{Attributes, Context, Listing, Node, Tree, TreeError, TreePath};
use cairn_oci::{ImageConfig, Platform};

use super::accounts::Accounts;
use super::layers::LayerPlanner;
use crate::finding::Finding;
use crate::lock::{BaseListing, Lock};
use crate::spec::Spec;

/// Everything that one platform's image is made of.
pub(super) struct PlatformPlan {
    pub(super) platform: Platform,
    pub(super) base_config: Option<ImageConfig>,
    /// Our own layers, lowest first.
    pub(super) layers: Vec<PlannedLayer>,
}

/// One of our own layers, before it is written.
pub(super) struct PlannedLayer {
    pub(super) name: String,
    pub(super) tree: Tree,
}

/// Name of the layer that brings users and groups.
const USERS: &str = "users";

/// Puts the layers together, or says all that is in the way.
pub(super) fn plan(
    spec: &Spec,
    lock: &Lock,
    platform: &Platform,
    base_config: Option<ImageConfig>,
    context: &Context,
) -> Result<PlatformPlan, Vec<Finding>> {
    let base = lock.base.as_ref().and_then(|base| base.platforms.get(platform));
    let nothing = BaseListing::default();
    let listing = base.map_or(&nothing, |base| &base.value.listing);
    let mut findings = Vec::new();
    let accounts = Accounts::merge(spec, listing, &mut findings);
    if let Err(finding) = accounts.resolve(spec.config.user.as_ref()) {
        findings.push(finding);
    }
    let mut lower = listing.to_listing();
    let mut layers = Vec::new();
    if let Some(user) = spec.users.first() {
        match users_layer(&accounts, &lower) {
            Ok(tree) => layers.push(PlannedLayer {
                name: USERS.to_owned(),
                tree,
            }),
            Err(error) => findings.push(Finding::new(error.to_string(), user.name.span.clone())),
        }
    }
    for layer in &spec.layers {
        let planner = LayerPlanner::new(layer, platform, context, &accounts, &lower);
        let tree = planner.plan(&mut findings);
        cover(&mut lower, &tree);
        layers.push(PlannedLayer {
            name: layer.name.value.clone(),
            tree,
        });
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(PlatformPlan {
        platform: platform.clone(),
        base_config,
        layers,
    })
}

fn users_layer(accounts: &Accounts, lower: &Listing) -> Result<Tree, TreeError> {
    let mut tree = accounts.tree()?;
    tree.complete_parents(lower)?;
    Ok(tree)
}

/// Puts a layer that is planned on top of what is known of the layers below.
fn cover(lower: &mut Listing, tree: &Tree) {
    for (path, node) in tree.iter() {
        match node {
            Node::Directory(attributes) => {
                lower.symlinks.remove(path);
                set_directory(lower, path, attributes);
            }
            Node::Symlink { target, .. } => {
                forget(lower, path);
                lower.symlinks.insert(path.clone(), target.clone());
            }
            Node::File { .. } | Node::Hardlink { .. } | Node::Whiteout => forget(lower, path),
        }
    }
}

/// Directories that are as usual need not be known of, which keeps large trees cheap.
fn set_directory(lower: &mut Listing, path: &TreePath, attributes: &Attributes) {
    if *attributes == Attributes::directory() {
        lower.directories.remove(path);
    } else {
        lower.directories.insert(path.clone(), attributes.clone());
    }
}

/// Takes out `path` and what is below.
fn forget(lower: &mut Listing, path: &TreePath) {
    take_out(&mut lower.directories, path);
    take_out(&mut lower.symlinks, path);
}

fn take_out<V>(map: &mut std::collections::BTreeMap<TreePath, V>, path: &TreePath) {
    map.remove(path);
    let after = map
        .range((Bound::Excluded(path), Bound::Unbounded))
        .map(|(below, _)| below);
    let with_prefix = after.take_while(|below| below.as_bytes().starts_with(path.as_bytes()));
    let below: Vec<TreePath> = with_prefix
        .filter(|below| below.is_under(path))
        .cloned()
        .collect();
    for path in below {
        map.remove(&path);
    }
}
