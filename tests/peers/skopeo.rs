//! skopeo beside `cairn serve`.

use serde_json::json;

use super::peer::Peer;
use super::{channel, http, release};
use crate::harness::{Output, Project, Sandbox};

/// skopeo, told that loopback has no TLS, and to ask no policy of the machine's.
#[derive(Debug)]
pub(super) struct Skopeo<'a>(Peer<'a>);

impl<'a> Skopeo<'a> {
    /// None if it is not installed, and then the test is skipped.
    pub(super) fn find(sandbox: &'a Sandbox) -> Option<Self> {
        Some(Self(Peer::find("skopeo", sandbox)?))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.0.run(&[&["--insecure-policy"], arguments].concat())
    }

    /// Copies one image, or all of an index.
    #[track_caller]
    pub(super) fn copy(&self, from: &str, to: &str) {
        self.copy_with(&["--preserve-digests"], from, to);
    }

    /// Copies with options that say more.
    #[track_caller]
    pub(super) fn copy_with(&self, options: &[&str], from: &str, to: &str) {
        let plain = [
            "copy",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ];
        self.run(&[&plain, options, &[from, to]].concat()).ok();
    }

    /// The digest of an image's manifest or index.
    #[track_caller]
    pub(super) fn digest(&self, image: &str) -> String {
        let format = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}"];
        self.run(&[&format, [image].as_slice()].concat()).ok().digest()
    }

    /// The tags of a repository, sorted.
    #[track_caller]
    fn tags(&self, repository: &str) -> Vec<String> {
        let output = self.run(&["list-tags", "--tls-verify=false", repository]).ok();
        let listed: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let tags = listed["Tags"].as_array().expect("a list");
        let mut tags: Vec<_> = tags
            .iter()
            .map(|tag| tag.as_str().expect("a text").to_owned())
            .collect();
        tags.sort();
        tags
    }
}

#[test]
fn an_image_goes_out_and_comes_back_as_it_was() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "1");
    let digest = release(&sandbox, "1.0.0");
    let from = format!("docker://{}:prod", server.repository("team/hello"));
    let layout = format!("oci:{}:prod", sandbox.root().join("layout").display());
    let to = format!("docker://{}:back", server.repository("other/copy"));
    skopeo.copy(&from, &layout);
    assert_eq!(skopeo.digest(&layout), digest);
    skopeo.copy(&layout, &to);
    assert_eq!(skopeo.digest(&to), digest);
    assert_eq!(
        http::manifest(server.host(), "other/copy", "back"),
        http::manifest(server.host(), "team/hello", "prod")
    );
    let copy = server.repository("other/copy:back");
    sandbox.cairn(["verify", &copy]).ok().prints("whole");
}

#[test]
fn skopeo_lists_and_deletes_without_touching_the_ledger() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "1");
    let digest = release(&sandbox, "1.0.0");
    let (released, copied) = (server.repository("team/hello"), server.repository("other/copy"));
    let repository = |name: &str| format!("docker://{name}");
    assert_eq!(
        skopeo.tags(&repository(&released)),
        ["1.0.0", "cairn-head", "prod"]
    );

    let copy = format!("docker://{copied}:once");
    skopeo.copy(&format!("docker://{released}:prod"), &copy);
    assert_eq!(skopeo.tags(&repository(&copied)), ["once"]);
    skopeo.run(&["delete", "--tls-verify=false", &copy]).ok();
    assert_eq!(skopeo.tags(&repository(&copied)), Vec::<String>::new());
    assert_eq!(http::manifest(server.host(), "other/copy", &digest).status, 404);

    let head = format!("docker://{released}:cairn-head");
    let refused = skopeo.run(&["delete", "--tls-verify=false", &head]).exits(1);
    refused.says("cairn-head");
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn an_image_that_skopeo_brought_is_released_by_its_digest() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["build"]).ok();
    let layout = sandbox.store().join("repos/hello/_layout");
    let shop = server.repository("acme/shop");
    // As Docker writes them: other media types, and so another digest than the one that was built.
    skopeo.copy_with(
        &["--format", "v2s2"],
        &format!("oci:{}:built", layout.display()),
        &format!("docker://{shop}:build-812"),
    );
    let digest = skopeo.digest(&format!("docker://{shop}:build-812"));
    let docker = http::manifest(server.host(), "acme/shop", "build-812");
    assert!(
        docker
            .text()
            .contains("application/vnd.docker.distribution.manifest.v2+json")
    );

    std::fs::remove_file(sandbox.project().join("cairn.toml")).expect("an own file");
    let image = format!("{shop}@{digest}");
    let arguments = ["release", "1.4.2", "--image", &image, "--channel", "prod"];
    let released = sandbox.cairn(arguments).ok();
    assert_eq!(released.line(), image);
    assert_eq!(http::manifest(server.host(), "acme/shop", "prod"), docker);
    let status = sandbox
        .cairn(["--json", "status", "--repository", &shop])
        .ok()
        .json();
    assert_eq!(status["channels"][0]["version"], json!("1.4.2"));
}

#[test]
fn what_skopeo_moves_by_hand_is_said_and_not_believed() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "1");
    let first = release(&sandbox, "1.0.0");
    sandbox.write_app("2");
    let second = release(&sandbox, "2.0.0");
    let image = |tag: &str| format!("docker://{}:{tag}", server.repository("team/hello"));
    skopeo.copy(&image("1.0.0"), &image("prod"));
    let prod = channel(&sandbox);
    assert_eq!(
        [&prod["digest"], &prod["tag"], &prod["agrees"]],
        [&json!(second), &json!(first), &json!(false)]
    );
    sandbox.cairn(["audit"]).exits(4).prints("prod");
}
