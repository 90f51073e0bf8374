//! Garbage: `cairn store gc`, and the server's own.

use std::time::Instant;

use crate::harness::{LIMIT, Project, Sandbox, Server};

/// Collects until this is removed: the grace period has to pass.
fn collect(sandbox: &Sandbox, garbage: &str) {
    let begun = Instant::now();
    while sandbox.blob("hello", garbage).exists() {
        assert!(begun.elapsed() < LIMIT, "{garbage} is never removed");
        sandbox.cairn(["store", "gc", "--grace", "1s"]).ok();
    }
}

#[test]
fn what_was_released_is_kept_and_what_was_only_built_goes() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    let released = sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    let released = released.line().to_owned();
    sandbox.write_app("2");
    let built = sandbox.cairn(["build"]).ok().digest();
    sandbox.write_app("3");
    sandbox.cairn(["release", "3.0.0", "--channel", "prod"]).ok();
    let dry = sandbox.cairn(["store", "gc", "--dry-run"]).ok();
    dry.says("would remove 0 B in 1 repository");
    // Superseded heads of the ledger go too: the newest has all of it.
    collect(&sandbox, &built);
    sandbox.cairn(["verify", &released]).ok().prints("whole");
    sandbox.cairn(["verify", "hello:built"]).ok().prints("whole");
    sandbox.cairn(["rollback", "prod"]).ok();
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

/// Two releases of `project` on prod, a build between them that is collected, and the first release's tag gone before: the ledger keeps
/// its image, whose digest this is.
fn collected_without_the_first_tag(sandbox: &Sandbox, project: &Project) -> String {
    sandbox.write_project(project, "1");
    let first = sandbox
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .ok()
        .digest();
    sandbox.write_app("2");
    let built = sandbox.cairn(["build"]).ok().digest();
    sandbox.write_app("3");
    sandbox.cairn(["release", "3.0.0", "--channel", "prod"]).ok();
    let tag = sandbox.store().join("repos/hello/_layout/refs/tags/1.0.0");
    std::fs::remove_file(tag).expect("a tag of an own store");
    collect(sandbox, &built);
    assert!(sandbox.blob("hello", &first).exists());
    first
}

/// The tag of a version can be deleted, and the ledger still leads back there.
#[test]
fn g13_the_ledger_keeps_what_it_names() {
    let sandbox = Sandbox::new();
    collected_without_the_first_tag(&sandbox, &Project::new());
    sandbox.cairn(["rollback", "prod", "1.0.0"]).ok();
}

/// What the ledger needs is kept wherever the images are, if the ledger is in the same store.
#[test]
fn a_ledger_in_a_repository_of_its_own_keeps_the_images_of_the_other() {
    let sandbox = Sandbox::new();
    let project = Project::new().with("\n[ledger]\nrepository = \"hello-ledger\"\n");
    let first = collected_without_the_first_tag(&sandbox, &project);
    assert_eq!(sandbox.cairn(["rollback", "prod"]).ok().digest(), first);
    sandbox
        .cairn(["audit", "--way-back", "0"])
        .exits(4)
        .prints("tag-missing: 1.0.0");
}

#[test]
fn e7_a_server_collects_while_it_serves() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    registry.write("serve.toml", "[gc]\nevery = \"1s\"\ngrace = \"2s\"\n");
    let options = ["-v", "serve", "--listen", "127.0.0.1:0", "--config", "serve.toml"];
    let server = Server::start(registry.command(options));
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "1");
    let first = sandbox.cairn(["push", "--tag", "latest"]).ok().digest();
    let gone = registry.blob("team/hello", &first);
    let begun = Instant::now();
    let mut version = 1;
    while gone.exists() {
        assert!(begun.elapsed() < LIMIT, "nothing is ever removed");
        version += 1;
        sandbox.write_app(&version.to_string());
        sandbox.cairn(["push", "--tag", "latest"]).ok();
    }
    let latest = server.repository("team/hello:latest");
    sandbox.cairn(["verify", &latest]).ok().prints("whole");
}
