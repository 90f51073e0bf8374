//! What the layers of one platform's image will hold, found before anything is written.

use std::ops::Range;
use std::sync::Arc;

use cairn_layer::{Compression, Context, Listing, Node, Tree, TreeError};
use cairn_oci::Platform;

use super::accounts::Accounts;
use super::base::BaseConfig;
use super::fetch::Fetched;
use super::layers::LayerPlanner;
use crate::document::chain;
use crate::finding::Finding;
use crate::lock::{BaseListing, Lock};
use crate::records::{Below, Outline, Record};
use crate::spec::{LAYER_LIMIT, Spec};
use crate::split;

/// Everything that one platform's image is made of.
pub(super) struct PlatformPlan {
    pub(super) platform: Platform,
    pub(super) base_config: Option<BaseConfig>,
    /// Our own layers, lowest first.
    pub(super) layers: Vec<PlannedLayer>,
    /// What packages are for the layers above them.
    pub(super) packages: Option<Below>,
}

/// Our own layers of one platform's image, lowest first, and what should be known of them.
pub(crate) struct Plan {
    pub(crate) layers: Vec<PlannedLayer>,
    /// What packages are for the layers above them.
    pub(super) packages: Option<Below>,
}

/// One of our own layers, before it is written.
pub(crate) struct PlannedLayer<B = Body> {
    pub(crate) name: String,
    /// Which part of a layer that is split, counted from 1, and of how many.
    pub(super) part: Option<(usize, usize)>,
    pub(super) compression: Compression,
    pub(super) body: B,
}

/// What is known of a layer before it is written.
pub(crate) enum Body {
    /// What is in it.
    Tree(Tree),
    /// What it became when it was written; the output has it.
    Known(Record),
}

impl PlannedLayer {
    /// Apart from what it is, and that.
    pub(super) fn divide(self) -> (PlannedLayer<()>, Body) {
        let Self {
            name,
            part,
            compression,
            body,
        } = self;
        let layer = PlannedLayer {
            name,
            part,
            compression,
            body: (),
        };
        (layer, body)
    }

    /// What is in it; none if it is known from an earlier build what it became.
    pub(crate) const fn tree(&self) -> Option<&Tree> {
        match &self.body {
            Body::Tree(tree) => Some(tree),
            Body::Known(_) => None,
        }
    }

    /// Whether it is one of those for packages.
    pub(super) fn is_of_packages(&self) -> bool {
        self.name.starts_with(PACKAGES)
    }
}

impl PlannedLayer<()> {
    /// With this in it.
    pub(super) fn with<B>(self, body: B) -> PlannedLayer<B> {
        let Self {
            name,
            part,
            compression,
            ..
        } = self;
        PlannedLayer {
            name,
            part,
            compression,
            body,
        }
    }
}

impl<B> PlannedLayer<B> {
    /// Its name among the layers of all platforms of the image.
    pub(super) fn key(&self, platform: &Platform) -> String {
        match self.part {
            Some((part, of)) => format!("{platform} {} {part}/{of}", self.name),
            None => format!("{platform} {}", self.name),
        }
    }
}

impl PlannedLayer<Tree> {
    /// How many regular files it has.
    pub(super) fn files(&self) -> u64 {
        let nodes = self.body.iter();
        nodes
            .filter(|(_, node)| matches!(node, Node::File { .. }))
            .count() as u64
    }
}

/// What the names of layers with packages begin with. No layer of a spec can have a name with a colon.
const PACKAGES: &str = "debian:";
/// Name of the layer that brings users and groups.
const USERS: &str = "users";

/// Puts the layers together, or says all that is in the way. None is split yet.
pub(crate) fn plan(
    spec: &Spec,
    lock: &Lock,
    platform: &Platform,
    context: &Context,
    fetched: &Fetched,
) -> Result<Plan, Vec<Finding>> {
    let base = lock.base.as_ref().and_then(|base| base.platforms.get(platform));
    let nothing = BaseListing::default();
    let listing = base.map_or(&nothing, |base| &base.value.listing);
    let mut findings = Vec::new();
    let mut lower = listing.to_listing();
    let Plan { mut layers, packages } = packages_layers(spec, platform, fetched, &mut lower, &mut findings);
    // Packages bring users and groups too.
    let merged = (!layers.is_empty()).then(|| BaseListing::of(&lower, Vec::new()));
    let listing = match &merged {
        Some(Ok(listing)) => listing,
        Some(Err(error)) => {
            findings.push(Finding::new(error.to_string(), packages_span(spec)));
            listing
        }
        None => listing,
    };
    let accounts = Accounts::merge(spec, listing, &mut findings);
    if let Err(finding) = accounts.resolve(spec.config.user.as_ref()) {
        findings.push(finding);
    }
    let ignored = super::ignore::read(context).unwrap_or_else(|finding| {
        findings.push(finding);
        Arc::default()
    });
    if spec.has_accounts() {
        match users_layer(&accounts, &lower) {
            Ok(tree) => layers.push(PlannedLayer {
                name: USERS.to_owned(),
                part: None,
                compression: spec.image.compression,
                body: Body::Tree(tree),
            }),
            Err(error) => findings.push(Finding::new(error.to_string(), accounts_span(spec))),
        }
    }
    for (number, layer) in spec.layers.iter().enumerate() {
        let planner = LayerPlanner::new(layer, platform, (context, &ignored), &accounts, &lower);
        let tree = planner.plan(number, fetched, &mut findings);
        if let Err(error) = lower.apply_tree(&tree) {
            findings.push(Finding::new(chain(&error), layer.name.span.clone()));
        }
        layers.push(PlannedLayer {
            name: layer.name.value.clone(),
            part: None,
            compression: layer.compression.unwrap_or(spec.image.compression),
            body: Body::Tree(tree),
        });
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(Plan { layers, packages })
}

/// The layers of packages, which come first; `lower` then has what they bring.
fn packages_layers(
    spec: &Spec,
    platform: &Platform,
    fetched: &Fetched,
    lower: &mut Listing,
    findings: &mut Vec<Finding>,
) -> Plan {
    let finding = |error: &dyn std::error::Error| Finding::new(chain(error), packages_span(spec));
    let planned = |name, body| PlannedLayer {
        name,
        part: None,
        compression: spec.image.compression,
        body,
    };
    if let Some(packed) = fetched.packages.known(platform) {
        let layers = packed.layers.iter();
        lower.clone_from(&packed.below.listing);
        return Plan {
            layers: layers
                .map(|(name, record)| planned(name.clone(), Body::Known(*record)))
                .collect(),
            packages: Some(packed.below.clone()),
        };
    }
    let nothing = Plan {
        layers: Vec::new(),
        packages: None,
    };
    let assembly = match fetched.packages.assemble(platform, lower) {
        Ok(Some(assembly)) => assembly,
        Ok(None) => return nothing,
        Err(error) => {
            findings.push(finding(&error));
            return nothing;
        }
    };
    for layer in &assembly.layers {
        if let Err(error) = lower.apply_tree(&layer.tree) {
            findings.push(finding(&error));
        }
    }
    let below = Below {
        listing: lower.clone(),
        files: Outline::of(assembly.layers.iter().map(|layer| &layer.tree)),
        doubts: assembly.warnings,
    };
    let layers = assembly.layers.into_iter();
    Plan {
        layers: layers
            .map(|layer| planned(format!("{PACKAGES}{}", layer.name), Body::Tree(layer.tree)))
            .collect(),
        packages: Some(below),
    }
}

fn packages_span(spec: &Spec) -> Range<usize> {
    spec.packages
        .as_ref()
        .map_or(0..0, |packages| packages.span.clone())
}

/// Where the spec begins to add users or groups.
fn accounts_span(spec: &Spec) -> Range<usize> {
    let users = spec.users.iter().map(|user| &user.name.span);
    let spans = users.chain(spec.groups.iter().map(|group| &group.name.span));
    spans.min_by_key(|span| span.start).cloned().unwrap_or_default()
}

fn users_layer(accounts: &Accounts, lower: &Listing) -> Result<Tree, TreeError> {
    let mut tree = accounts.tree()?;
    tree.complete_parents(lower)?;
    Ok(tree)
}

/// Cuts the layers for which the lock has borders, and sees that there are not more layers than runtimes take.
pub(super) fn split(
    spec: &Spec,
    lock: &Lock,
    platform: &Platform,
    planned: Plan,
) -> Result<Plan, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut layers = Vec::new();
    for layer in planned.layers {
        let borders = lock.splits.get(&layer.name);
        let (borders, layer, tree) = match (borders, layer.divide()) {
            (Some(borders), (layer, Body::Tree(tree))) => (borders, layer, tree),
            (_, (layer, body)) => {
                layers.push(layer.with(body));
                continue;
            }
        };
        match split::split(tree, &borders.value) {
            Ok(parts) => layers.extend(named_parts(&layer.name, layer.compression, parts)),
            Err(error) => findings.push(Finding::new(error.to_string(), name_span(spec, &layer.name))),
        }
    }
    let base = lock.base.as_ref().and_then(|base| base.platforms.get(platform));
    let below = base.map_or(0, |base| base.value.layers.len());
    findings.extend(too_many_layers(spec, lock, platform, below, layers.len()));
    if findings.is_empty() {
        Ok(Plan { layers, ..planned })
    } else {
        Err(findings)
    }
}

fn too_many_layers(
    spec: &Spec,
    lock: &Lock,
    platform: &Platform,
    below: usize,
    own: usize,
) -> Option<Finding> {
    let all = below + own;
    if all <= LAYER_LIMIT {
        return None;
    }
    let message = format!(
        "the image for {platform} has {all} layers, {below} of them its base's: more than {LAYER_LIMIT}"
    );
    let span = spec.layers.last().map_or(0..0, |layer| layer.name.span.clone());
    let finding = Finding::new(message, span);
    Some(if lock.splits.is_empty() {
        finding
    } else {
        finding.with_hint("`cairn lock --update` chooses fewer parts for the layers that are split")
    })
}

fn named_parts(name: &str, compression: Compression, parts: Vec<Tree>) -> impl Iterator<Item = PlannedLayer> {
    let count = parts.len();
    parts.into_iter().enumerate().map(move |(at, tree)| PlannedLayer {
        name: name.to_owned(),
        part: (count > 1).then_some((at + 1, count)),
        compression,
        body: Body::Tree(tree),
    })
}

fn name_span(spec: &Spec, name: &str) -> Range<usize> {
    let layer = spec.layers.iter().find(|layer| layer.name.value == name);
    layer.map_or(0..0, |layer| layer.name.span.clone())
}
