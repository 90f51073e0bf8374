//! The rooms, and which may use which: the table of docs/architecture.md, held against what cargo sees.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::harness::workspace;

/// What each room may use, and the lattice ends here.
const ARROWS: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("layer", &["oci"]),
    ("store", &["oci"]),
    ("registry", &["oci", "store"]),
    ("packages", &["oci", "layer"]),
    ("build", &["oci", "layer", "store", "packages"]),
    ("ledger", &["oci", "store"]),
    (
        "cli",
        &["oci", "layer", "store", "registry", "packages", "build", "ledger"],
    ),
];

/// Crates that must not come in, not even through another. docs/dependencies.md has the reasons.
const BANNED: &[&str] = &[
    "tokio-tar",
    "astral-tokio-tar",
    "oci-client",
    "ocidir",
    "serde_yml",
    "serde_yaml",
    "libz-sys",
    "libz-ng-sys",
    "zlib-rs",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .expect("cargo knows the workspace")
}

fn room(name: &str) -> Option<&str> {
    name.strip_prefix("cairn-").filter(|name| *name != "tests")
}

/// The rooms that a package names in its manifest, for its tests too: a test that needs another room stands in the wrong
/// one. Itself it may name, to try a feature.
fn used(package: &Package) -> BTreeSet<&str> {
    let others = package
        .dependencies
        .iter()
        .filter(|other| other.name != *package.name);
    others.filter_map(|other| room(&other.name)).collect()
}

#[test]
fn no_room_uses_one_that_it_may_not() {
    let metadata = metadata();
    let mut rooms = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let Some(name) = room(&package.name) else {
            continue;
        };
        let allowed = ARROWS.iter().find(|(from, _)| *from == name);
        let (from, allowed) = allowed.unwrap_or_else(|| panic!("{name} is not in the table"));
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let excess: Vec<_> = used(package).difference(&allowed).copied().collect();
        assert!(excess.is_empty(), "{from} may not use {excess:?}");
        rooms.insert(name.to_owned());
    }
    let table: BTreeSet<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(rooms, table, "the table has exactly the rooms that exist");
}

/// All that a package needs to run, directly or not.
fn reach<'a>(metadata: &'a Metadata, from: &str) -> BTreeSet<&'a str> {
    let graph = metadata.resolve.as_ref().expect("cargo resolved");
    let nodes: BTreeMap<&PackageId, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name == from)
        .unwrap_or_else(|| panic!("{from} is in the workspace"));
    let mut found = BTreeSet::from([&start.id]);
    let mut next = vec![&start.id];
    while let Some(id) = next.pop() {
        for dependency in &nodes[id].deps {
            let kinds = &dependency.dep_kinds;
            if kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
                && found.insert(&dependency.pkg)
            {
                next.push(&dependency.pkg);
            }
        }
    }
    let names = metadata
        .packages
        .iter()
        .filter(|package| found.contains(&package.id));
    names.map(|package| package.name.as_str()).collect()
}

#[test]
fn builds_and_the_ledger_cannot_reach_a_network() {
    let metadata = metadata();
    for from in ["cairn-build", "cairn-ledger", "cairn-layer", "cairn-packages"] {
        let reached = reach(&metadata, from);
        for barred in ["cairn-registry", "reqwest", "hyper", "hyper-util"] {
            assert!(!reached.contains(barred), "{from} reaches {barred}");
        }
    }
    // The same walk does find it where it is: it is not blind.
    assert!(reach(&metadata, "cairn-cli").contains("reqwest"));
}

#[test]
fn fuzz_targets_and_benchmarks_are_no_members() {
    let metadata = metadata();
    for member in metadata.workspace_packages() {
        for apart in ["fuzz", "benches", "examples"] {
            let directory = workspace().join(apart);
            assert!(
                !member.manifest_path.starts_with(directory.to_str().unwrap()),
                "{} is a member",
                member.name
            );
        }
    }
}

#[test]
fn banned_crates_are_absent() {
    let metadata = metadata();
    for package in &metadata.packages {
        assert!(
            !BANNED.contains(&package.name.as_str()),
            "{} is banned",
            package.name
        );
        if package.name == "tar" {
            let version = &package.version;
            assert!(
                (version.major, version.minor, version.patch) >= (0, 4, 46),
                "tar {version} is older than 0.4.46 (GHSA-3cv2-h65g-fgmm)"
            );
        }
    }
}
