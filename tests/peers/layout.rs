//! A repository of the store is an OCI image layout: other tools read it while no `cairn` runs.

use rustix::process::Signal;

use super::peer::Peer;
use super::release;
use super::skopeo::Skopeo;
use crate::harness::{APP, Project, Sandbox};

/// The layout of a repository in the sandbox's store.
fn layout(sandbox: &Sandbox, repository: &str) -> String {
    let layout = sandbox.store().join("repos").join(repository).join("_layout");
    layout.to_str().expect("a path of letters").to_owned()
}

#[test]
fn skopeo_reads_each_tag_of_the_store() {
    let sandbox = Sandbox::new();
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    let first = release(&sandbox, "1.0.0");
    sandbox.write_app("2");
    let second = release(&sandbox, "2.0.0");
    sandbox.cairn(["rollback", "prod"]).ok();
    let tags = [
        ("built", &second),
        ("1.0.0", &first),
        ("2.0.0", &second),
        ("prod", &first),
    ];
    for (tag, digest) in tags {
        let image = format!("oci:{}:{tag}", layout(&sandbox, "hello"));
        assert_eq!(&skopeo.digest(&image), digest, "{tag}");
    }
}

#[test]
fn umoci_lists_and_unpacks_what_is_in_the_store() {
    let sandbox = Sandbox::new();
    let Some(umoci) = Peer::find("umoci", &sandbox) else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    release(&sandbox, "1.0.0");
    let layout = layout(&sandbox, "hello");
    let listed = umoci.run(&["ls", "--layout", &layout]).ok();
    let mut tags: Vec<&str> = listed.stdout.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1.0.0", "built", "cairn-head", "prod"]);
    let bundle = sandbox.root().join("bundle");
    let directory = bundle.to_str().expect("a path of letters");
    let image = format!("{layout}:prod");
    umoci
        .run(&["unpack", "--rootless", "--image", &image, directory])
        .ok();
    let read = |path| std::fs::read(path).expect("the file is there");
    assert_eq!(
        read(bundle.join("rootfs/usr/bin/app")),
        read(sandbox.project().join(APP))
    );
}

#[test]
fn skopeo_reads_what_was_served_once_the_server_has_stopped() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "1");
    let digest = release(&sandbox, "1.0.0");
    server.signal(Signal::TERM);
    server.wait();
    let image = format!("oci:{}:prod", layout(&registry, "team/hello"));
    assert_eq!(skopeo.digest(&image), digest);
}
