//! Other people's clients log in to `cairn serve`, and get what its rules permit.

use super::peer::Peer;
use crate::harness::{Output, Project, Sandbox, Server};

/// The password is `pw`; bcrypt with cost 5.
pub(super) const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q";

const CONFIG: &str = r#"
[access]
htpasswd = "users"

[[access.rule]]
users = ["ann"]
repositories = ["**"]
allow = ["pull", "push"]

[[access.rule]]
anonymous = true
repositories = ["public/*"]
allow = ["pull"]
"#;

fn serve(registry: &Sandbox) -> Server {
    registry.write("users", format!("ann:{HASH}\nbob:{HASH}\n"));
    registry.write("serve.toml", CONFIG);
    let command = registry.command(["serve", "--listen", "127.0.0.1:0", "--config", "serve.toml"]);
    Server::start(command)
}

/// Writes the file in which podman and skopeo keep credentials.
pub(super) fn log_in(peer: &Peer<'_>, sandbox: &Sandbox, host: &str, user: &str, password: &str) -> Output {
    let file = sandbox.root().join("auth.json");
    let file = file.to_str().expect("a path of letters");
    let options = ["login", "--tls-verify=false", "--authfile", file];
    peer.run(&[options.as_slice(), &["-u", user, "-p", password, host]].concat())
}

#[test]
fn podman_and_skopeo_log_in_and_strangers_read_what_is_public() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let (Some(podman), Some(skopeo)) = (Peer::find("podman", &sandbox), Peer::find("skopeo", &sandbox))
    else {
        return;
    };
    let server = serve(&registry);
    let host = server.host();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["build"]).ok();
    log_in(&podman, &sandbox, host, "ann", "wrong").exits(125);
    log_in(&podman, &sandbox, host, "ann", "pw").ok();
    log_in(&skopeo, &sandbox, host, "ann", "pw").ok();
    let auth = sandbox.root().join("auth.json");
    let auth = auth.to_str().expect("a path of letters");
    let layout = sandbox.store().join("repos/hello/_layout");
    let from = format!("oci:{}:built", layout.display());
    let copy = |credentials: &[&str], repository: &str| {
        let to = format!("docker://{host}/{repository}");
        let options = ["--insecure-policy", "copy", "--dest-tls-verify=false"];
        skopeo.run(&[options.as_slice(), credentials, &[&from, &to]].concat())
    };
    for repository in ["public/hello:1", "team/hello:1"] {
        copy(&["--dest-authfile", auth], repository).ok();
        copy(&["--dest-creds", "bob:pw"], repository).exits(1);
        copy(&["--dest-no-creds"], repository).exits(1);
    }
    let inspect = |credentials: &[&str], repository: &str| {
        let image = format!("docker://{host}/{repository}");
        let options = ["inspect", "--raw", "--tls-verify=false"];
        skopeo.run(&[options.as_slice(), credentials, &[&image]].concat())
    };
    inspect(&["--no-creds"], "public/hello:1").ok();
    inspect(&["--no-creds"], "team/hello:1")
        .exits(1)
        .says("unauthorized");
    inspect(&["--creds", "bob:pw"], "team/hello:1")
        .exits(1)
        .says("denied");
    inspect(&["--authfile", auth], "team/hello:1").ok();
}

#[test]
fn a_configuration_that_means_nothing_serves_nothing() {
    let registry = Sandbox::new();
    registry.write("serve.toml", "listne = \"127.0.0.1:0\"\n");
    let wrong = registry.cairn(["serve", "--config", "serve.toml"]).exits(1);
    wrong.says("serve.toml:1:1");
    registry.write("users", "ann:{SHA}nonsense\n");
    let users = registry.cairn(["serve", "--listen", "127.0.0.1:0", "--htpasswd", "users"]);
    users.exits(1).says("htpasswd -B");
    registry
        .cairn(["serve", "--htpasswd", "none"])
        .exits(1)
        .says("none");
}
