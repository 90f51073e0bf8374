//! Which pins `cairn lock --update NAME…` moves.

use std::collections::BTreeSet;

use crate::lock::{Lock, source_text};
use crate::spec::Spec;

/// Pins of a spec, chosen by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinNames {
    /// The date.
    pub(super) created: bool,
    /// The base, on all platforms.
    pub(super) base: bool,
    /// All packages.
    pub(super) packages: bool,
    /// Packages.
    pub(super) package_names: BTreeSet<String>,
    /// URLs.
    pub(super) fetched: BTreeSet<String>,
    /// Layers that are split.
    pub(super) splits: BTreeSet<String>,
}

/// A name that is no pin's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the spec has no pin `{name}`")]
pub struct UnknownPin {
    /// The name.
    pub name: String,
    /// The names that there are.
    pub known: Vec<String>,
}

impl PinNames {
    /// The pins that `spec` needs and that `names` name: `created`; `base`, or the base as the spec has it; `packages` for all of them, or
    /// the name of one that `lock` pins or the spec asks for; `fetch` for all URLs, or one URL, whole; the name of a layer that is
    /// split. A name that fits several names all of them.
    ///
    /// # Errors
    ///
    /// The first name that fits none.
    pub fn of(spec: &Spec, lock: Option<&Lock>, names: &[String]) -> Result<Self, UnknownPin> {
        let mut chosen = Self::default();
        for name in names {
            if !chosen.add(spec, lock, name) {
                let name = name.clone();
                return Err(UnknownPin {
                    name,
                    known: known(spec),
                });
            }
        }
        Ok(chosen)
    }

    /// Whether there was something to add.
    fn add(&mut self, spec: &Spec, lock: Option<&Lock>, name: &str) -> bool {
        let created = name == "created";
        let base = base_name(spec).is_some_and(|base| name == "base" || name == base);
        let packages = name == "packages" && spec.packages.is_some();
        let package = has_package(spec, lock, name);
        let urls = spec.fetched().into_keys();
        let urls: Vec<_> = urls.filter(|url| name == "fetch" || name == url).collect();
        let layers: Vec<_> = spec.split_layers().filter(|layer| *layer == name).collect();
        let found = created || base || packages || package || !urls.is_empty() || !layers.is_empty();
        self.created |= created;
        self.base |= base;
        self.packages |= packages;
        self.package_names.extend(package.then(|| name.to_owned()));
        self.fetched.extend(urls);
        self.splits.extend(layers.into_iter().map(str::to_owned));
        found
    }
}

fn base_name(spec: &Spec) -> Option<String> {
    let base = spec.base.as_ref()?;
    Some(source_text(&base.source.value).1)
}

/// Whether the spec asks for a package of this name, or the lock pins one.
fn has_package(spec: &Spec, lock: Option<&Lock>, name: &str) -> bool {
    let Some(packages) = &spec.packages else {
        return false;
    };
    let pinned = lock.and_then(|lock| lock.packages.as_ref());
    let mut pinned = pinned.iter().flat_map(|pinned| pinned.value.platforms.values());
    let mut asked = packages.install.iter();
    asked.any(|asked| asked.value.name() == name)
        || pinned.any(|pinned| pinned.value.iter().any(|found| found.package.name() == name))
}

/// The names that [`PinNames::of`] takes, but for those of packages that nobody asked for.
fn known(spec: &Spec) -> Vec<String> {
    let mut known = vec!["created".to_owned()];
    if let Some(base) = base_name(spec) {
        known.extend(["base".to_owned(), base]);
    }
    if let Some(packages) = &spec.packages {
        known.push("packages".to_owned());
        known.extend(packages.install.iter().map(|asked| asked.value.name().to_owned()));
    }
    let urls = spec.fetched();
    if !urls.is_empty() {
        known.push("fetch".to_owned());
    }
    known.extend(urls.into_keys());
    known.extend(spec.split_layers().map(str::to_owned));
    known
}
