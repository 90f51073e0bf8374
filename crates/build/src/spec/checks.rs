//! What must hold between the parts of a spec.

use std::collections::BTreeMap;
use std::ops::Range;

use cairn_layer::TreePath;

use super::values::Destination;
use super::{Copy, Fetch, LAYER_LIMIT, Layer, Spec, split_glob};
use crate::document::Findings;
use crate::finding::{Finding, Located};

pub(super) fn check(spec: &Spec, findings: &Findings) {
    check_layer_names(spec, findings);
    check_accounts(spec, findings);
    super::fetch::check(spec, findings);
    for layer in &spec.layers {
        check_destinations(layer, findings);
    }
}

fn check_layer_names(spec: &Spec, findings: &Findings) {
    let names = spec.layers.iter().map(|layer| &layer.name);
    report_repeated(names, findings, |name| {
        format!("the layer `{name}` is given twice")
    });
    if let Some(layer) = spec.layers.get(LAYER_LIMIT) {
        let message = format!(
            "the spec has {} layers, more than {LAYER_LIMIT}",
            spec.layers.len()
        );
        findings.push(Finding::new(message, layer.name.span.clone()));
    }
}

fn check_accounts(spec: &Spec, findings: &Findings) {
    let users = || spec.users.iter();
    report_repeated(users().map(|user| &user.name), findings, |name| {
        format!("the user `{name}` is given twice")
    });
    let ids = users().map(|user| (&user.name.value, &user.uid));
    report_shared(ids, findings, |uid, first, second| {
        format!("the uid {uid} is given to both `{first}` and `{second}`")
    });
    let groups = || spec.groups.iter();
    report_repeated(groups().map(|group| &group.name), findings, |name| {
        format!("the group `{name}` is given twice")
    });
    let ids = groups().map(|group| (&group.name.value, &group.gid));
    report_shared(ids, findings, |gid, first, second| {
        format!("the gid {gid} is given to both `{first}` and `{second}`")
    });
}

fn report_shared<'s>(
    ids: impl Iterator<Item = (&'s String, &'s Located<u32>)>,
    findings: &Findings,
    message: impl Fn(u32, &str, &str) -> String,
) {
    let mut seen: BTreeMap<u32, &str> = BTreeMap::new();
    for (name, id) in ids {
        match seen.get(&id.value) {
            // A name that is there twice has its finding already.
            Some(first) if first != name => {
                findings.push(Finding::new(message(id.value, first, name), id.span.clone()));
            }
            Some(_) => {}
            None => {
                seen.insert(id.value, name);
            }
        }
    }
}

fn report_repeated<'s, T: Ord + 's>(
    values: impl Iterator<Item = &'s Located<T>>,
    findings: &Findings,
    message: impl Fn(&T) -> String,
) {
    let mut seen = BTreeMap::new();
    for located in values {
        if seen.insert(&located.value, ()).is_some() {
            findings.push(Finding::new(message(&located.value), located.span.clone()));
        }
    }
}

/// What a layer puts at a path, as far as the spec alone says it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file or a link: nothing can be below.
    Leaf,
    /// A directory.
    Directory,
    /// A copy, of which only the disk knows what it is.
    Copied,
    Removal,
}

fn check_destinations(layer: &Layer, findings: &Findings) {
    let mut taken: BTreeMap<&TreePath, Kind> = BTreeMap::new();
    let destinations = destinations(layer);
    for (path, kind, span) in &destinations {
        let Some(other) = taken.insert(path, *kind) else {
            continue;
        };
        let message = if (other == Kind::Removal) == (*kind == Kind::Removal) {
            format!("{path} is there twice in the layer `{}`", layer.name.value)
        } else {
            removed_and_added(layer, path)
        };
        findings.push(Finding::new(message, span.clone()));
    }
    for (path, kind, span) in &destinations {
        for ancestor in path.ancestors() {
            if let Some(other) = taken.get(&ancestor)
                && let Some(message) = below(layer, (path, *kind), (&ancestor, *other))
            {
                findings.push(Finding::new(message, span.clone()));
            }
        }
    }
}

/// What is wrong with `path` being below `ancestor`, if anything.
fn below(
    layer: &Layer,
    (path, kind): (&TreePath, Kind),
    (ancestor, other): (&TreePath, Kind),
) -> Option<String> {
    match (kind, other) {
        (_, Kind::Leaf) => Some(format!("{path} cannot be there: {ancestor} is not a directory")),
        (Kind::Removal, Kind::Removal) => Some(format!("{path} is removed with {ancestor} already")),
        (_, Kind::Removal) => Some(removed_and_added(layer, path)),
        (_, Kind::Directory | Kind::Copied) => None,
    }
}

fn removed_and_added(layer: &Layer, path: &TreePath) -> String {
    format!("the layer `{}` both removes and adds {path}", layer.name.value)
}

/// Every path that the spec alone determines, in the order of the text as far as that is known.
fn destinations(layer: &Layer) -> Vec<(TreePath, Kind, Range<usize>)> {
    let at = |located: &Located<TreePath>, kind| (located.value.clone(), kind, located.span.clone());
    let copies = layer
        .copies
        .iter()
        .filter_map(|copy| Some((copied(copy)?, Kind::Copied, copy.to.span.clone())));
    let fetches = layer
        .fetches
        .iter()
        .filter_map(|fetch| Some((fetched(fetch)?, Kind::Leaf, fetch.to.span.clone())));
    let writes = layer.writes.iter().map(|write| at(&write.to, Kind::Leaf));
    let links = layer.links.iter().map(|link| at(&link.from, Kind::Leaf));
    let directories = layer
        .directories
        .iter()
        .map(|directory| at(&directory.to, Kind::Directory));
    let removals = layer.removals.iter().map(|path| at(path, Kind::Removal));
    let mut all: Vec<_> = copies
        .chain(fetches)
        .chain(writes)
        .chain(links)
        .chain(directories)
        .chain(removals)
        .collect();
    all.sort_by_key(|(_, _, span)| span.start);
    all
}

/// Where a fetched file goes, if that does not depend on the platform.
fn fetched(fetch: &Fetch) -> Option<TreePath> {
    let path = fetch.path_for(fetch.url.value.as_str()).ok()?;
    let differs = path.file_name().contains(&b'{');
    (fetch.extract.is_none() && !differs).then_some(path)
}

/// Where a copy goes, if that is one path that is known without looking at the disk.
fn copied(copy: &Copy) -> Option<TreePath> {
    let from = copy.from.value.as_str();
    if from.ends_with('/') || split_glob(from).is_some() {
        return None;
    }
    match &copy.to.value {
        Destination::Exactly(path) => Some(path.clone()),
        Destination::Into(directory) => {
            let name = from
                .rsplit('/')
                .next()
                .filter(|name| !name.contains('{') && *name != ".")?;
            let name = TreePath::new(name).ok()?;
            match directory {
                Some(directory) => directory.join(&name).ok(),
                None => Some(name),
            }
        }
    }
}
