//! `cairn serve --mirror`: another registry's images, served from here.

use crate::harness::{Project, Sandbox, Server};

/// A registry with the image `team/hello:1`, and its digest.
fn registry() -> (Sandbox, Server, String) {
    let sandbox = Sandbox::new();
    let server = sandbox.serve();
    let project = Project::new().repository(server.repository("team/hello"));
    sandbox.write_project(&project, "1");
    let digest = sandbox.cairn(["push", "--tag", "1"]).ok().digest();
    (sandbox, server, digest)
}

fn mirror(sandbox: &Sandbox, of: &str) -> Server {
    Server::start(sandbox.command(["serve", "--listen", "127.0.0.1:0", "--mirror", of]))
}

/// Pulls into a store of its own.
fn pull(reference: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let digest = sandbox.cairn(["pull", reference]).ok().digest();
    (sandbox, digest)
}

#[test]
fn what_was_pulled_once_is_served_without_its_registry() {
    let (behind, mut origin, digest) = registry();
    let sandbox = Sandbox::new();
    let server = mirror(&sandbox, &format!("{}=hub", origin.host()));
    let hub = server.repository("hub/team/hello");
    let (puller, first) = pull(&format!("{hub}:1"));
    assert_eq!(first, digest);
    puller.cairn(["verify", &format!("hub/team/hello@{digest}")]).ok();

    // The tag moves there, and is followed.
    behind.write_app("2");
    let second = behind.cairn(["push", "--tag", "1"]).ok().digest();
    assert_ne!(second, digest);
    assert_eq!(pull(&format!("{hub}:1")).1, second);

    origin.kill9();
    for (name, expected) in [
        (format!("{hub}@{digest}"), &digest),
        (format!("{hub}@{second}"), &second),
    ] {
        assert_eq!(&pull(&name).1, expected);
    }
    assert_eq!(pull(&format!("{hub}:1")).1, second);
    // It is an image of the store like any other.
    drop(server);
    sandbox
        .cairn(["verify", &format!("hub/team/hello@{second}")])
        .ok();
    assert_eq!(sandbox.cairn(["tags", "hub/team/hello"]).ok().stdout, "1\n");
}

#[test]
fn what_is_neither_here_nor_there_to_be_had_is_said() {
    let (_behind, mut origin, digest) = registry();
    let sandbox = Sandbox::new();
    let server = mirror(&sandbox, &format!("{}=hub", origin.host()));
    let hub = server.repository("hub/team/hello");
    sandbox.cairn(["pull", &format!("{hub}:2")]).fails(1);
    origin.kill9();
    sandbox
        .cairn(["pull", &format!("{hub}@{digest}")])
        .fails(3)
        .says("502");
    sandbox
        .cairn(["pull", &format!("{}:1", server.repository("team/hello"))])
        .fails(1);
}

#[test]
fn nobody_pushes_to_a_mirror_and_everything_else_is_as_ever() {
    let (behind, origin, digest) = registry();
    let sandbox = Sandbox::new();
    let server = mirror(&sandbox, &format!("{}=hub", origin.host()));
    let hub = server.repository("hub/team/hello");
    behind
        .cairn(["push", &format!("{hub}:3")])
        .exits(3)
        .says("mirror");
    assert_eq!(
        behind
            .cairn(["tags", &origin.repository("team/hello")])
            .ok()
            .stdout,
        "1\n"
    );
    let own = server.repository("team/hello");
    assert_eq!(behind.cairn(["push", &format!("{own}:3")]).ok().digest(), digest);
    assert_eq!(pull(&format!("{own}:3")).1, digest);
}

#[test]
fn a_ledger_is_read_through_a_mirror() {
    let (behind, origin, _) = registry();
    let released = behind
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .ok()
        .digest();
    let sandbox = Sandbox::new();
    let server = mirror(&sandbox, &format!("{}=/", origin.host()));
    let repository = server.repository("team/hello");
    let reader = Sandbox::new();
    reader
        .cairn(["status", "--repository", &repository])
        .ok()
        .prints("1.0.0");
    // The tag that was pushed beside the ledger is told of through the mirror too.
    reader
        .cairn(["audit", "--repository", &repository])
        .exits(4)
        .prints("tag-without-entry");
    assert_eq!(pull(&format!("{repository}:prod")).1, released);
}

#[test]
fn a_mirror_of_what_is_no_host_is_a_usage_error() {
    let sandbox = Sandbox::new();
    for wrong in ["hub", "https://registry.example.org", "registry.example.org=Hub"] {
        sandbox
            .cairn(["serve", "--listen", "127.0.0.1:0", "--mirror", wrong])
            .exits(2);
    }
    sandbox.write("serve.toml", "[[mirror]]\nhost = \"hub\"\n");
    sandbox
        .cairn(["serve", "--config", "serve.toml"])
        .fails(1)
        .says("serve.toml:2:8");
}
