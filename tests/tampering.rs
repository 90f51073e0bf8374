//! Somebody changes what is stored, or takes it back to yesterday: it is noticed, said, and built upon by nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Output, Project, Sandbox, Tree, run};

fn released() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    sandbox.write_app("2");
    sandbox.cairn(["release", "2.0.0", "--channel", "prod"]).ok();
    sandbox
}

/// A copy of the whole store, with modes.
fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).ok();
}

/// The digests of what a manifest in the store consists of, and its own.
fn parts(sandbox: &Sandbox, tag: &str) -> Vec<String> {
    let shown = sandbox.store().join("repos/hello/_layout/refs/tags").join(tag);
    let shown: Value = serde_json::from_slice(&fs::read(shown).unwrap()).unwrap();
    let own = find_digest(&shown).unwrap();
    let manifest: Value = serde_json::from_slice(&fs::read(sandbox.blob("hello", &own)).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let digests = layers.iter().chain([&manifest["config"]]).filter_map(find_digest);
    digests.chain([own]).collect()
}

fn find_digest(value: &Value) -> Option<String> {
    let object = value.as_object()?;
    match object.get("digest") {
        Some(Value::String(digest)) => Some(digest.clone()),
        _ => object.values().find_map(find_digest),
    }
}

/// Somebody who has read nothing of this ledger before.
fn stranger(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let state = tempfile::tempdir().unwrap();
    run(sandbox.command(arguments).env("CAIRN_STATE", state.path()))
}

#[test]
fn g1_a_changed_bit_of_the_ledger_is_found_by_whoever_reads_it() {
    let sandbox = released();
    let whole = sandbox.root().join("whole");
    copy(&sandbox.store(), &whole);
    let parts = parts(&sandbox, "cairn-head");
    assert!(parts.len() >= 3, "a pack, a config, a manifest: {parts:?}");
    for digest in parts {
        sandbox.spoil_blob("hello", &digest);
        let before = sandbox.store_tree();
        let audit = stranger(&sandbox, &["audit"]);
        assert_eq!(audit.code, Some(4), "{digest}: {audit}");
        sandbox.write_app("3");
        let release = stranger(&sandbox, &["rollback", "prod"]);
        assert_eq!(release.code, Some(4), "{digest}: {release}");
        let after = sandbox.store_tree();
        assert_eq!(after.files("tags"), before.files("tags"), "{digest}");
        fs::remove_dir_all(sandbox.store()).unwrap();
        copy(&whole, &sandbox.store());
    }
    stranger(&sandbox, &["audit", "--deep"]).ok();
}

#[test]
fn e5_a_changed_bit_of_an_image_is_found() {
    let sandbox = released();
    for digest in parts(&sandbox, "1.0.0") {
        sandbox.spoil_blob("hello", &digest);
        sandbox.cairn(["verify", "hello:1.0.0"]).exits(4);
        sandbox.cairn(["audit", "--deep"]).exits(4);
        // The same bit again: it is as it was.
        sandbox.spoil_blob("hello", &digest);
        sandbox.cairn(["verify", "hello:1.0.0"]).ok();
    }
}

#[test]
fn e10_an_older_store_is_recognised_by_who_saw_the_newer() {
    let sandbox = released();
    let yesterday = sandbox.root().join("yesterday");
    copy(&sandbox.store(), &yesterday);
    sandbox.write_app("3");
    sandbox.cairn(["release", "3.0.0", "--channel", "prod"]).ok();
    fs::remove_dir_all(sandbox.store()).unwrap();
    copy(&yesterday, &sandbox.store());

    for command in [
        ["status"].as_slice(),
        &["audit"],
        &["rollback", "prod"],
        &["promote", "1.0.0", "prod"],
    ] {
        let before = Tree::read(&sandbox.store().join("repos"));
        let output = sandbox.cairn(command).exits(4);
        output.says("hint: ");
        assert_eq!(Tree::read(&sandbox.store().join("repos")), before);
    }
    // Whoever never saw it cannot know, and nothing else is wrong with it.
    stranger(&sandbox, &["audit", "--deep"]).ok();
}

#[test]
fn another_ledger_in_its_place_is_refused() {
    let sandbox = released();
    let other = released();
    fs::remove_dir_all(sandbox.store()).unwrap();
    copy(&other.store(), &sandbox.store());
    let before = sandbox.store_tree();
    sandbox.cairn(["status"]).exits(4);
    sandbox.cairn(["rollback", "prod"]).fails(4);
    assert_eq!(sandbox.store_tree(), before);
}

#[test]
fn a_pin_is_held_against_the_ledger() {
    let sandbox = released();
    let history = sandbox.cairn(["--json", "history"]).ok().json();
    let entries = history["entries"].as_array().unwrap();
    let genesis = entries.last().unwrap()["name"].as_str().unwrap();
    stranger(&sandbox, &["status", "--trust", genesis]).ok();
    let wrong = format!("sha256:{}", "0".repeat(64));
    stranger(&sandbox, &["status", "--trust", &wrong]).fails(4);
    stranger(&sandbox, &["rollback", "prod", "--trust", &wrong]).fails(4);
}

#[test]
fn a_tag_that_somebody_moved_is_reported_and_not_overwritten() {
    let sandbox = released();
    // An image that this channel never had.
    sandbox.write_app("somebody's");
    sandbox.cairn(["build"]).ok();
    let foreign = sandbox.tagged("hello:built");
    let prod = sandbox.tagged("hello:prod");
    let tags = sandbox.store().join("repos/hello/_layout/refs/tags");
    fs::copy(tags.join("built"), tags.join("prod")).expect("both are files");
    assert_eq!(sandbox.tagged("hello:prod"), foreign);
    sandbox.cairn(["status"]).ok().says(&foreign);
    sandbox.cairn(["audit"]).exits(4).prints(&foreign);
    let promoted = sandbox.cairn(["promote", "1.0.0", "prod"]).exits(6);
    promoted.says("cairn repair prod --forward");
    assert_eq!(sandbox.tagged("hello:prod"), foreign, "what is unknown is left");
    sandbox.cairn(["repair", "prod", "--forward"]).ok();
    assert_eq!(sandbox.tagged("hello:prod"), prod);
    sandbox.cairn(["audit"]).ok();
}
