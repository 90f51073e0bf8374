//! `cairn init --from`: from a Dockerfile to an image.

use crate::harness::Sandbox;

#[test]
fn a_dockerfile_becomes_a_spec_that_builds() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "Dockerfile",
        "FROM scratch\n# The agent\nCOPY bin /opt/\nUSER 7\nENTRYPOINT [\"/opt/agent\"]\n",
    );
    sandbox.write("bin/agent", "x");
    sandbox.write(".dockerignore", "target\n");
    sandbox
        .cairn(["init", "--name", "agent", "--from", "Dockerfile"])
        .ok()
        .says("nothing in it is marked CHECK")
        .says(".dockerignore is not read: write .cairnignore");
    let spec = std::fs::read_to_string(sandbox.project().join("cairn.toml")).unwrap();
    assert!(
        spec.contains("# The agent") && spec.contains("from = \"bin/\", to = \"/opt/\""),
        "{spec}"
    );
    sandbox.cairn(["build"]).ok();
    sandbox
        .cairn(["init", "--from", "Dockerfile"])
        .fails(1)
        .says("exists already");
}

#[test]
fn a_dockerfile_that_is_none_writes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("Dockerfile", "FROM a\nFRUM b\n");
    sandbox
        .cairn(["init", "--from", "Dockerfile"])
        .fails(1)
        .says("line 2: `FRUM` is no instruction");
    sandbox
        .cairn(["init", "--from", "Missing"])
        .fails(1)
        .says("Missing");
    assert!(!sandbox.project().join("cairn.toml").exists());
}
