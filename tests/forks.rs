//! A key that was removed, and whose owner goes on from before: where the last writer wins, and everybody who may push can write heads.

use std::path::Path;
use std::process::Command;

use crate::harness::{Output, Project, Sandbox, run};
use crate::peers::registry::DockerRegistry;

/// All that a registry keeps, copied; what is there already stays.
fn copy_content(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    run(copy.arg("-an").arg(from.join("docker-registry")).arg(to)).ok();
}

fn codes(audit: &Output) -> Vec<String> {
    let report = audit.json();
    let findings = report["findings"].as_array().expect("a list");
    let code = |finding: &serde_json::Value| finding["code"].as_str().expect("a code").to_owned();
    findings.iter().map(code).collect()
}

/// Releases of somebody who was removed, on a copy of the registry from before the removal, and pushed back: `count` of them.
fn fork_of_a_removed_key(count: usize) {
    let (owner, removed) = (Sandbox::new(), Sandbox::new());
    let Some(registry) = DockerRegistry::start(&owner) else {
        return;
    };
    let repository = registry.repository("team/hello");
    owner.write_project(&Project::new().repository(&repository), "1");
    let first = owner
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .ok()
        .digest();
    removed.cairn(["key", "new"]).ok();
    let public = removed.cairn(["key", "--pem"]).ok().stdout;
    owner
        .cairn(["key", "add", &public, "--name", "eve", "--role", "everything"])
        .ok();

    // As it was before the removal.
    let elsewhere = Sandbox::new();
    copy_content(owner.root(), elsewhere.root());
    owner.cairn(["key", "remove", "eve"]).ok();
    owner.write_app("2");
    let second = owner
        .cairn(["release", "2.0.0", "--channel", "prod"])
        .ok()
        .digest();

    let copy = DockerRegistry::start(&elsewhere).expect("it is installed");
    let there = copy.repository("team/hello");
    for number in 0..count {
        let evil = format!("evil {number}");
        removed.write_project(&Project::new().repository(&there), &evil);
        let version = format!("6.6.{number}");
        removed.cairn(["release", &version, "--channel", "prod"]).ok();
    }
    copy_content(elsewhere.root(), owner.root());

    let stranger = Sandbox::new();
    stranger.write_project(&Project::new().repository(&repository), "1");
    for reader in [&owner, &stranger] {
        let status = reader.cairn(["--json", "status"]).ok();
        assert_eq!(
            status.json()["channels"][0]["digest"],
            second.as_str(),
            "{status}"
        );
        status.says("entry-left-out");
        let audit = reader.cairn(["--json", "audit"]).exits(4);
        let (left_out, others): (Vec<_>, Vec<_>) = codes(&audit)
            .into_iter()
            .partition(|code| code == "entry-left-out");
        assert_eq!(left_out.len(), count, "each once: {audit}");
        // What the releases left of tags is named too.
        assert!(others.iter().all(|code| code == "tag-without-entry"), "{audit}");
        let history = reader.cairn(["--json", "history", "--all"]).ok();
        assert!(!history.stdout.contains("6.6."), "{history}");
    }
    // The removed one is told so, and writes nothing.
    removed.write_project(&Project::new().repository(&repository), "evil");
    removed
        .cairn(["release", "6.7.0", "--channel", "prod"])
        .exits(1)
        .says("SHA256:");
    let back = owner.cairn(["rollback", "prod", "--reason", "a test"]).ok();
    let back = back.says("entry-left-out");
    assert_eq!(back.digest(), first);
    let status = stranger.cairn(["--json", "status"]).ok().json();
    assert_eq!(status["channels"][0]["digest"], first.as_str(), "{status}");
}

#[test]
fn a_removed_key_that_forks_from_before_its_removal_is_a_finding_and_never_taken_in() {
    fork_of_a_removed_key(1);
}

#[test]
fn a_removed_key_that_forks_with_a_longer_head_is_a_finding_and_never_taken_in() {
    fork_of_a_removed_key(6);
}
