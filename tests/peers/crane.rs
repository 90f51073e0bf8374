//! crane beside `cairn serve`, and Cairn beside the registry that is in crane.

use serde_json::Value;

use super::peer::Peer;
use super::registry::Started;
use super::{http, release};
use crate::harness::{Project, Sandbox};

/// A layout with one image of the project, and the image's digest.
fn layout(sandbox: &Sandbox) -> (String, String) {
    sandbox.write_project(&Project::new(), "1");
    let digest = sandbox.cairn(["build"]).ok().digest();
    let layout = sandbox.root().join("image").display().to_string();
    sandbox
        .cairn(["copy", &format!("hello@{digest}"), &format!("oci:{layout}:1")])
        .ok();
    (layout, digest)
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn crane_pushes_tags_copies_lists_pulls_and_deletes() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(crane) = Peer::find("crane", &sandbox) else {
        return;
    };
    let server = registry.serve();
    let (layout, digest) = layout(&sandbox);
    let say = |arguments: &[&str]| crane.run(arguments).ok().stdout;
    let repository = server.repository("team/hello");
    let (first, copy) = (format!("{repository}:1"), server.repository("other/copy:once"));
    say(&["push", "--index", &layout, &first]);
    say(&["tag", &first, "latest"]);
    assert_eq!(lines(&say(&["ls", &repository])), ["1", "latest"]);
    assert_eq!(lines(&say(&["catalog", server.host()])), ["team/hello"]);
    say(&["copy", &first, &copy]);
    let pushed = say(&["digest", &copy]);
    assert_eq!(
        http::manifest(server.host(), "other/copy", "once"),
        http::manifest(server.host(), "team/hello", "latest")
    );
    // It wraps what it pushes from a layout into the layout's own index.
    let index = http::manifest(server.host(), "team/hello", "1").json();
    assert_eq!(index["manifests"][0]["digest"], digest.as_str());
    for image in [format!("{repository}@{digest}"), copy.clone()] {
        say(&["validate", "--remote", &image]);
    }

    let back = sandbox.root().join("back");
    say(&["pull", "--format", "oci", &copy, back.to_str().expect("letters")]);
    let pulled = std::fs::read(back.join("index.json")).expect("crane wrote a layout");
    let pulled: Value = serde_json::from_slice(&pulled).expect("JSON");
    assert_eq!(pulled["manifests"][0]["digest"], pushed.trim());

    say(&["delete", &copy]);
    assert_eq!(http::manifest(server.host(), "other/copy", "once").status, 404);
    sandbox.cairn(["verify", &first]).ok().prints("whole");
}

#[test]
fn crane_reads_what_cairn_released_and_cannot_move_what_is_sealed() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(crane) = Peer::find("crane", &sandbox) else {
        return;
    };
    let server = registry.serve();
    let repository = server.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");
    let first = release(&sandbox, "1.0.0");
    sandbox.write_app("2");
    let second = release(&sandbox, "2.0.0");
    let image = |tag: &str| format!("{repository}:{tag}");
    for (tag, digest) in [("1.0.0", &first), ("2.0.0", &second), ("prod", &second)] {
        assert_eq!(
            &crane.run(&["digest", &image(tag)]).ok().digest(),
            digest,
            "{tag}"
        );
    }
    crane.run(&["validate", "--remote", &image("prod")]).ok();
    crane
        .run(&["copy", &image("2.0.0"), &image("1.0.0")])
        .exits(1)
        .says("tag 1.0.0 is sealed");
    crane
        .run(&["copy", &image("2.0.0"), &image("cairn-head")])
        .exits(1)
        .says("cairn-head");
    assert_eq!(sandbox.tagged(&image("1.0.0")), first);
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn cairn_pushes_releases_and_rolls_back_on_the_registry_of_crane() {
    let sandbox = Sandbox::new();
    let Some(crane) = Peer::find("crane", &sandbox) else {
        return;
    };
    let disk = sandbox.root().join("crane").display().to_string();
    std::fs::create_dir(&disk).expect("a directory in an own one");
    let registry = Started::new(|host| {
        let serve = ["registry", "serve", "--address", host, "--disk", &disk];
        crane.command(&serve)
    });
    let repository = registry.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");
    let first = release(&sandbox, "1.0.0");
    sandbox.write_app("2");
    let second = release(&sandbox, "2.0.0");
    let prod = format!("{repository}:prod");
    assert_eq!(crane.run(&["digest", &prod]).ok().digest(), second);
    assert_eq!(sandbox.cairn(["rollback", "prod"]).ok().digest(), first);
    assert_eq!(crane.run(&["digest", &prod]).ok().digest(), first);
    crane.run(&["validate", "--remote", &prod]).ok();
    sandbox.cairn(["audit", "--deep"]).ok().prints("no finding");

    let elsewhere = Sandbox::new();
    assert_eq!(elsewhere.cairn(["pull", &prod]).ok().digest(), first);
    let copy = registry.repository("other/copy:once");
    assert_eq!(elsewhere.cairn(["copy", &prod, &copy]).ok().digest(), first);
    elsewhere.cairn(["verify", &copy]).ok().prints("whole");
}
