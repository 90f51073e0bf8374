//! `cairn lock`: what it writes, what it says, and what it refuses to do.

use std::fs;

use serde_json::json;

use crate::harness::{Project, Sandbox};

fn lock_text(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.project().join("cairn.lock")).expect("a lock")
}

#[test]
fn json_says_what_changed_and_locked_writes_nothing() {
    let sandbox = Sandbox::new();
    let dated = Project::new()
        .spec()
        .replace("[[layer]]", "created = \"2026-01-31T12:00:00Z\"\n\n[[layer]]");
    sandbox.write_project(&Project::new(), "1");
    sandbox
        .cairn(["lock", "--locked"])
        .fails(1)
        .says("created: 1970-01-01T00:00:01Z")
        .says("run cairn lock without --locked");
    assert!(!sandbox.project().join("cairn.lock").exists());
    let first = sandbox.cairn(["--json", "lock", "--offline"]).ok().json();
    assert_eq!(first["schema"], 1);
    assert!(
        first["lock"]
            .as_str()
            .is_some_and(|path| path.ends_with("cairn.lock"))
    );
    let created = json!({ "subject": "created", "before": null, "after": "1970-01-01T00:00:01Z" });
    assert_eq!(first["changes"], json!([created]));
    sandbox.cairn(["lock", "--locked"]).ok().says("up to date");

    sandbox.write("cairn.toml", dated);
    let before = lock_text(&sandbox);
    sandbox
        .cairn(["lock", "--locked"])
        .fails(1)
        .says("created: 1970-01-01T00:00:01Z → 2026-01-31T12:00:00Z");
    assert_eq!(lock_text(&sandbox), before);
    sandbox.write("cairn.lock", format!("{before}# Ours.\n"));
    sandbox.cairn(["lock"]).ok().says("wrote cairn.lock");
    assert!(lock_text(&sandbox).ends_with("created-from = \"spec\"\n# Ours.\n"));

    sandbox.write("cairn.toml", Project::new().spec());
    sandbox
        .cairn(["build"])
        .fails(1)
        .says("cairn.lock:3:11")
        .says("`cairn lock` makes the lock fit the spec");
    sandbox.cairn(["lock"]).ok();
    assert_eq!(lock_text(&sandbox), format!("{before}# Ours.\n"));
}

#[test]
fn a_name_that_is_no_pin_is_refused_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox
        .cairn(["lock", "--update", "base"])
        .fails(1)
        .says("the spec has no pin `base`")
        .says("it has: created");
    assert!(!sandbox.project().join("cairn.lock").exists());
    sandbox.cairn(["lock", "--update", "created"]).ok();
}
