//! What keys are called.

use std::collections::BTreeMap;

use crate::authority::{Authority, KeyName};
use crate::key::Fingerprint;
use crate::open::Opened;

/// The name of every key that the ledger has, or had, one for. A key that was taken out keeps its last name, unless another key has
/// that now.
#[must_use]
pub fn key_names(opened: &Opened) -> BTreeMap<Fingerprint, KeyName> {
    let mut names = BTreeMap::new();
    let Some(state) = opened.state() else { return names };
    opened
        .view()
        .authorities()
        .for_each(|authority| names.extend(named(authority)));
    let now: BTreeMap<Fingerprint, KeyName> = named(&state.authority).collect();
    names.retain(|key, name| !now.values().any(|other| other == name) && !state.authority.knows(key));
    names.extend(now);
    names
}

fn named(authority: &Authority) -> impl Iterator<Item = (Fingerprint, KeyName)> {
    let one = |grant: &crate::authority::Grant| Some((grant.key.fingerprint(), grant.name.clone()?));
    authority.keys.iter().filter_map(one)
}
