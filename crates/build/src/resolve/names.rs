//! Which pins `cairn lock --update NAME…` moves.

use std::collections::BTreeSet;

use crate::lock::source_text;
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
    /// The pins that `spec` needs and that `names` name: `created`; `base`, or the base as the spec has it; `packages` for all of them; `fetch` for all
    /// URLs, or one URL, whole; the name of a layer that is split. A name that fits several names all of them.
    ///
    /// # Errors
    ///
    /// The first name that fits none.
    pub fn of(spec: &Spec, names: &[String]) -> Result<Self, UnknownPin> {
        let mut chosen = Self::default();
        for name in names {
            if !chosen.add(spec, name) {
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
    fn add(&mut self, spec: &Spec, name: &str) -> bool {
        let created = name == "created";
        let base = base_name(spec).is_some_and(|base| name == "base" || name == base);
        let packages = name == "packages" && spec.packages.is_some();
        let urls = spec.fetched().into_keys();
        let urls: Vec<_> = urls.filter(|url| name == "fetch" || name == url).collect();
        let layers: Vec<_> = spec.split_layers().filter(|layer| *layer == name).collect();
        let found = created || base || packages || !urls.is_empty() || !layers.is_empty();
        self.created |= created;
        self.base |= base;
        self.packages |= packages;
        self.fetched.extend(urls);
        self.splits.extend(layers.into_iter().map(str::to_owned));
        found
    }
}

fn base_name(spec: &Spec) -> Option<String> {
    let base = spec.base.as_ref()?;
    Some(source_text(&base.source.value).1)
}

/// All names that [`PinNames::of`] takes.
fn known(spec: &Spec) -> Vec<String> {
    let mut known = vec!["created".to_owned()];
    if let Some(base) = base_name(spec) {
        known.extend(["base".to_owned(), base]);
    }
    if spec.packages.is_some() {
        known.push("packages".to_owned());
    }
    let urls = spec.fetched();
    if !urls.is_empty() {
        known.push("fetch".to_owned());
    }
    known.extend(urls.into_keys());
    known.extend(spec.split_layers().map(str::to_owned));
    known
}
