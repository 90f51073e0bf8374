//! What runs: podman pulls from `cairn serve`, by the channel's tag.

use super::hello::Hello;
use super::podman::Podman;
use super::{channel, release};
use crate::harness::Sandbox;

/// Runs what prod shows, and holds what runs against the ledger.
#[track_caller]
fn runs(podman: &Podman, sandbox: &Sandbox, repository: &str, name: &str, expected: &str) {
    let image = format!("{repository}:prod");
    let container = podman.start(name, &image);
    assert_eq!(container.answer(), format!("Hello, World! {expected}\n"));
    let digest = channel(sandbox)["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(container.digest(), digest);
    let digests = podman
        .run(&["image", "inspect", "--format", "{{json .RepoDigests}}", &image])
        .ok();
    let digests: Vec<String> = serde_json::from_str(&digests.stdout).expect("a list");
    assert!(digests.contains(&format!("{repository}@{digest}")), "{digests:?}");
}

#[test]
fn a_channel_runs_what_was_released_and_what_was_rolled_back() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(podman) = Podman::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    let repository = server.repository("team/hello");
    let hello = Hello::write(&sandbox);
    hello.set(&repository);
    hello.build();
    let first = release(&sandbox, "1.0.0");
    runs(&podman, &sandbox, &repository, "first", "Version 1");
    hello.change("Version 1", "Version 2");
    release(&sandbox, "2.0.0");
    runs(&podman, &sandbox, &repository, "second", "Version 2");
    let back = sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
    assert_eq!(back.digest(), first);
    runs(&podman, &sandbox, &repository, "third", "Version 1");
}
