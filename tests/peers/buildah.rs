//! buildah beside `cairn serve`, and as a reader of what Cairn built.

use super::peer::Peer;
use super::{http, release};
use crate::harness::{Output, Project, Sandbox};

/// buildah with a store of its own, that needs no mount and starts no container.
pub(super) struct Buildah<'a> {
    peer: Peer<'a>,
    directory: String,
}

impl<'a> Buildah<'a> {
    /// None if it is not installed, and then the test is skipped.
    pub(super) fn find(sandbox: &'a Sandbox) -> Option<Self> {
        let peer = Peer::find("buildah", sandbox)?;
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        sandbox.write("../home/config/containers/policy.json", policy);
        Some(Self {
            peer,
            directory: sandbox.root().join("buildah").display().to_string(),
        })
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        let (root, runroot) = (
            format!("{}/root", self.directory),
            format!("{}/run", self.directory),
        );
        let place = ["--storage-driver", "vfs", "--root", &root, "--runroot", &runroot];
        self.peer.run(&[place.as_slice(), arguments].concat())
    }
}

#[test]
fn buildah_pulls_what_was_released_and_pushes_what_it_made_of_it() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(buildah) = Buildah::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    let repository = server.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");
    let digest = release(&sandbox, "1.0.0");
    let prod = format!("{repository}:prod");
    buildah.run(&["pull", "--tls-verify=false", &prod]).ok();
    let inspect = [
        "inspect",
        "--type",
        "image",
        "--format",
        "{{.FromImageDigest}}",
        &prod,
    ];
    assert_eq!(buildah.run(&inspect).ok().digest(), digest);

    // Its own image: the same layer, and a configuration that says more.
    let from = ["from", "--tls-verify=false", "--name", "work", &prod];
    buildah.run(&from).ok();
    buildah.run(&["config", "--env", "MADE_BY=buildah", "work"]).ok();
    let made = format!("docker://{}", server.repository("other/made:1"));
    buildah
        .run(&["commit", "--tls-verify=false", "--format", "oci", "work", &made])
        .ok();
    let made = server.repository("other/made:1");
    let image = sandbox.cairn(["--json", "inspect", &made]).ok().json();
    let environment = image["images"][0]["config"]["config"]["Env"].to_string();
    assert!(environment.contains("MADE_BY=buildah"), "{image}");
    sandbox.cairn(["verify", &made]).ok().prints("whole");
    let pulled = sandbox.cairn(["pull", &made]).ok().digest();
    assert_eq!(pulled, sandbox.tagged(&made));

    // What it made is released as it is.
    let image = format!("{}@{}", server.repository("other/made"), sandbox.tagged(&made));
    let released = ["release", "1.0.0", "--image", &image, "--channel", "prod"];
    assert_eq!(sandbox.cairn(released).ok().line(), image);
    assert_eq!(
        http::manifest(server.host(), "other/made", "prod"),
        http::manifest(server.host(), "other/made", "1")
    );
}
