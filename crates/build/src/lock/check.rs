//! Whether a lock is the lock of a spec.

use std::collections::BTreeSet;

use cairn_oci::Platform;

use super::{Lock, LockedSource};
use crate::finding::Finding;
use crate::spec::{BaseSource, Created, Spec};

const HINT: &str = "`cairn lock` makes the lock fit the spec";

/// What the lock would call the spec's base.
pub(crate) fn source_text(source: &BaseSource) -> (&'static str, String) {
    match source {
        BaseSource::Image(reference) => ("image", reference.to_string()),
        BaseSource::Layout {
            directory,
            tag: Some(tag),
        } => ("oci", format!("{directory}:{tag}")),
        BaseSource::Layout { directory, tag: None } => ("oci", directory.clone()),
        BaseSource::Archive { file, name } => {
            let name = name.iter().map(|name| format!(":{name}"));
            (
                "archive",
                std::iter::once(file.as_str().to_owned()).chain(name).collect(),
            )
        }
        BaseSource::RootFs(path) => ("rootfs", path.as_str().to_owned()),
    }
}

fn locked_text(source: &LockedSource) -> (&'static str, String) {
    match source {
        LockedSource::Image { reference, .. } => ("image", reference.clone()),
        LockedSource::Layout { layout, .. } => ("oci", layout.clone()),
        LockedSource::Archive { archive } => ("archive", archive.clone()),
        LockedSource::RootFs { path } => ("rootfs", path.clone()),
    }
}

impl Lock {
    /// Whether the lock pins the very base that the spec names.
    #[must_use]
    pub fn has_base_of(&self, spec: &Spec) -> bool {
        match (&self.base, &spec.base) {
            (Some(locked), Some(base)) => {
                locked_text(&locked.source.value) == source_text(&base.source.value)
            }
            _ => false,
        }
    }
}

pub(super) fn check(lock: &Lock, spec: &Spec) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Created::At(time) = spec.image.created.value
        && time != lock.created.value
    {
        let message = format!(
            "the lock says that the image is of {}, the spec says {time}",
            lock.created.value
        );
        findings.push(Finding::new(message, lock.created.span.clone()).with_hint(HINT));
    }
    if spec.image.created.value == Created::Inputs && lock.dated_by_spec {
        let message = "the lock has a date that the spec had, and the spec has none any more";
        findings.push(Finding::new(message, lock.created.span.clone()).with_hint(HINT));
    }
    if let Some(base) = &lock.base {
        if lock.has_base_of(spec) {
            findings.extend(surplus_platforms(lock, spec));
        } else {
            let pinned = locked_text(&base.source.value).1;
            let message = match &spec.base {
                Some(base) => format!(
                    "the lock pins the base `{pinned}`, the spec has `{}`",
                    source_text(&base.source.value).1
                ),
                None => format!("the lock pins the base `{pinned}`, the spec has none"),
            };
            findings.push(Finding::new(message, base.source.span.clone()).with_hint(HINT));
        }
    }
    findings.extend(super::debian::other(lock, spec).map(|finding| finding.with_hint(HINT)));
    findings.extend(other_fetches(lock, spec));
    findings.extend(surplus_splits(lock, spec));
    findings.sort_by_key(|finding| finding.span.start);
    findings
}

/// What the lock says of URLs that the spec does not have, or for which it has another SHA-256.
fn other_fetches(lock: &Lock, spec: &Spec) -> Vec<Finding> {
    let wanted = spec.fetched();
    let mut findings = Vec::new();
    for (url, locked) in &lock.fetched {
        let pinned = locked.value.digest;
        let message = match wanted.get(url) {
            None => format!("the lock pins {url}, which the spec does not fetch"),
            Some(digest) if *digest != pinned => {
                format!("the lock says that {url} is {pinned}, the spec says {digest}")
            }
            Some(_) => continue,
        };
        findings.push(Finding::new(message, locked.span.clone()).with_hint(HINT));
    }
    findings
}

fn surplus_splits(lock: &Lock, spec: &Spec) -> Vec<Finding> {
    let wanted: BTreeSet<&str> = spec.split_layers().collect();
    let surplus = lock
        .splits
        .iter()
        .filter(|(layer, _)| !wanted.contains(layer.as_str()));
    let finding = |(layer, borders): (&String, &crate::finding::Located<_>)| {
        let message = format!("the lock pins borders of the layer `{layer}`, which the spec does not split");
        Finding::new(message, borders.span.clone()).with_hint(HINT)
    };
    surplus.map(finding).collect()
}

fn surplus_platforms(lock: &Lock, spec: &Spec) -> Vec<Finding> {
    let wanted: BTreeSet<&Platform> = spec.platforms().collect();
    let pinned = lock.base.iter().flat_map(|base| &base.platforms);
    let surplus = pinned.filter(|(platform, _)| !wanted.contains(platform));
    let finding = |(platform, locked): (&Platform, &crate::finding::Located<_>)| {
        let message = format!("the lock pins the base for {platform}, which is not a platform of the spec");
        Finding::new(message, locked.span.clone()).with_hint(HINT)
    };
    surplus.map(finding).collect()
}

pub(super) fn missing(lock: &Lock, spec: &Spec) -> Vec<String> {
    let mut missing = missing_base(lock, spec);
    missing.extend(super::debian::missing(lock, spec));
    let urls = spec.fetched().into_keys();
    missing.extend(urls.filter(|url| !lock.fetched.contains_key(url)));
    let unsplit = spec
        .split_layers()
        .filter(|layer| !lock.splits.contains_key(*layer));
    missing.extend(unsplit.map(|layer| format!("the borders of the layer {layer}")));
    missing
}

fn missing_base(lock: &Lock, spec: &Spec) -> Vec<String> {
    let Some(base) = &spec.base else {
        return Vec::new();
    };
    let name = source_text(&base.source.value).1;
    let pinned = lock.base.as_ref().filter(|_| lock.has_base_of(spec));
    let is_pinned = |platform: &&Platform| pinned.is_some_and(|base| base.platforms.contains_key(*platform));
    let platforms = spec.platforms().filter(|platform| !is_pinned(platform));
    platforms
        .map(|platform| format!("the base {name} for {platform}"))
        .collect()
}
