//! What the layers of one platform's image will hold, found before anything is written.

use cairn_layer::{Context, Listing, Tree, TreeError};
use cairn_oci::Platform;

use super::accounts::Accounts;
use super::base::BaseConfig;
use super::layers::LayerPlanner;
use crate::document::chain;
use crate::finding::Finding;
use crate::lock::{BaseListing, Lock};
use crate::spec::Spec;

/// Everything that one platform's image is made of.
pub(super) struct PlatformPlan {
    pub(super) platform: Platform,
    pub(super) base_config: Option<BaseConfig>,
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
    base_config: Option<BaseConfig>,
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
        if let Err(error) = lower.apply_tree(&tree) {
            findings.push(Finding::new(chain(&error), layer.name.span.clone()));
        }
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
