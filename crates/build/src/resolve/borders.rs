//! Where the layers are cut that the spec splits.

use std::collections::BTreeMap;

use cairn_layer::{Context, TreePath};
use cairn_oci::Hasher;

use super::{LockError, LockRequest, fetch};
use crate::build::{Fetched, plan};
use crate::finding::{Finding, Located};
use crate::inputs::Sources;
use crate::lock::Lock;
use crate::spec::LAYER_LIMIT;
use crate::split::Weights;

/// The borders that are pinned already, and new ones for what is not.
///
/// `lock` has everything but the borders: to choose them, the layers are put together as a build does it.
pub(super) async fn resolve(
    request: &LockRequest<'_>,
    lock: &Lock,
    kept: Option<&Lock>,
    sources: &dyn Sources,
) -> Result<BTreeMap<String, Located<Vec<TreePath>>>, LockError> {
    let spec = request.spec;
    let named = request.update.named();
    let pinned = |layer: &str| {
        let kept = kept.filter(|_| named.is_none_or(|names| !names.splits.contains(layer)));
        kept.and_then(|kept| kept.splits.get(layer)).cloned()
    };
    let mut splits: BTreeMap<_, _> = spec
        .split_layers()
        .filter_map(|layer| Some((layer.to_owned(), pinned(layer)?)))
        .collect();
    let missing: Vec<_> = spec
        .split_layers()
        .filter(|layer| !splits.contains_key(*layer))
        .collect();
    if missing.is_empty() {
        return Ok(splits);
    }
    let fetched = fetch::all(request, lock, sources).await?;
    let mut weights = weigh(request, lock, &fetched)?;
    let parts: usize = splits.values().map(|borders| borders.value.len() + 1).sum();
    let most = room(request, lock).saturating_sub(parts) / missing.len();
    for layer in missing {
        let borders = weights.remove(layer).unwrap_or_default().borders(most);
        splits.insert(layer.to_owned(), Located::nowhere(borders));
    }
    Ok(splits)
}

/// How many parts the layers that are split may have in all, beside the layers that are there anyway.
fn room(request: &LockRequest<'_>, lock: &Lock) -> usize {
    let spec = request.spec;
    let platforms = lock.base.iter().flat_map(|base| base.platforms.values());
    let below = platforms.map(|base| base.value.layers.len()).max().unwrap_or(0);
    let whole = spec.layers.len() - spec.split_layers().count();
    LAYER_LIMIT.saturating_sub(below + whole + usize::from(spec.has_accounts()))
}

/// What the layers hold that are split, on all platforms.
fn weigh(
    request: &LockRequest<'_>,
    lock: &Lock,
    fetched: &Fetched,
) -> Result<BTreeMap<String, Weights>, LockError> {
    let spec = request.spec;
    let context = Context::open(request.directory);
    let context = context.map_err(|source| LockError::Context { source })?;
    let mut weights: BTreeMap<String, Weights> = BTreeMap::new();
    let mut findings: Vec<Finding> = Vec::new();
    for platform in spec.platforms() {
        match plan(spec, lock, platform, &context, fetched) {
            Ok(plan) => {
                for layer in plan.layers {
                    if let Some(tree) = layer.tree() {
                        weights.entry(layer.name.clone()).or_default().add(tree);
                    }
                }
            }
            Err(more) => findings.extend(more),
        }
    }
    if findings.is_empty() {
        return Ok(weights);
    }
    findings.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
    findings.dedup();
    Err(LockError::Spec { findings })
}

/// The borders in few words: how many parts they make, and what tells them from others.
pub(super) fn text(borders: &[TreePath]) -> String {
    let mut hasher = Hasher::new();
    for border in borders {
        hasher.update(border.as_bytes());
        hasher.update(&[0]);
    }
    let hex = hasher.finish().hex();
    format!("{} parts, cut at {}", borders.len() + 1, &hex[..12])
}
