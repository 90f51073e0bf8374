//! Registries of others that want to know who comes, and files with credentials that others write and read.

use std::fs;

use super::peer::Peer;
use super::registry::DockerRegistry;
use super::token_server::TokenServer;
use super::{channel, release};
use crate::harness::{Output, PASSWORD, Project, Sandbox, USER, run_with};

/// `ann` with `pass-sentinel`; bcrypt with cost 5.
const USERS: &str = "ann:$2b$05$abcdefghijklmnopqrstuu8G4NV2PGjXvpDcPCFlCAr3Cmb0KNQL.\n";

/// docker-registry with a list of users.
fn with_users(sandbox: &Sandbox) -> Option<DockerRegistry> {
    let users = sandbox.write("../users", USERS);
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        users.display()
    );
    DockerRegistry::start_with(sandbox, &auth)
}

fn login(sandbox: &Sandbox, host: &str, password: &str) -> Output {
    let arguments = ["login", host, "-u", USER, "--password-stdin"];
    let output = run_with(&mut sandbox.command(arguments), password);
    assert!(!output.to_string().contains("sentinel"), "{output}");
    output
}

#[test]
fn a_registry_with_passwords_takes_a_release() {
    let sandbox = Sandbox::new();
    let Some(registry) = with_users(&sandbox) else {
        return;
    };
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    let refused = sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).fails(3);
    refused
        .says("no credentials were given")
        .says(&format!("cairn login {}", registry.host()));
    login(&sandbox, registry.host(), "wrong")
        .fails(3)
        .says("were not accepted");
    login(&sandbox, registry.host(), PASSWORD).ok().says("signed in");
    let digest = release(&sandbox, "1.0.0");
    assert_eq!(channel(&sandbox)["digest"], digest.as_str());
    sandbox.cairn(["logout", registry.host()]).ok();
    sandbox.cairn(["status"]).fails(3);
}

#[test]
fn skopeo_reads_what_cairn_keeps_and_cairn_what_skopeo_and_podman_keep() {
    let sandbox = Sandbox::new();
    let (Some(registry), Some(skopeo)) = (with_users(&sandbox), Peer::find("skopeo", &sandbox)) else {
        return;
    };
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    let host = registry.host();
    login(&sandbox, host, PASSWORD).ok();
    let digest = sandbox.cairn(["push", "--tag", "1"]).ok().digest();
    let image = format!("docker://{host}/team/hello:1");
    let inspect = ["inspect", "--raw", "--tls-verify=false", &image];
    skopeo.run(&inspect).ok();
    sandbox.cairn(["logout", host]).ok();
    skopeo.run(&inspect).exits(1).says("unauthorized");

    for name in ["skopeo", "podman"] {
        let Some(peer) = Peer::find(name, &sandbox) else {
            continue;
        };
        let sign_in = ["login", "--tls-verify=false", "-u", USER, "-p", PASSWORD];
        peer.run(&[sign_in.as_slice(), &[host]].concat()).ok();
        let reference = registry.repository("team/hello:1");
        assert_eq!(sandbox.tagged(&reference), digest);
        // What stands in podman's file counts before Docker's, so that is where a new password goes.
        let kept = login(&sandbox, host, PASSWORD).ok();
        kept.says(
            &sandbox
                .home()
                .join("run/containers/auth.json")
                .display()
                .to_string(),
        );
        skopeo.run(&inspect).ok();
        peer.run(&["logout", host]).ok();
        sandbox
            .cairn(["inspect", &reference])
            .fails(3)
            .says("cairn login");
    }
}

#[test]
fn an_entry_for_a_part_of_a_registry_is_podmans_and_ours() {
    let sandbox = Sandbox::new();
    let (Some(registry), Some(skopeo)) = (with_users(&sandbox), Peer::find("skopeo", &sandbox)) else {
        return;
    };
    let host = registry.host();
    let team = registry.repository("team");
    let sign_in = ["login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, &team];
    skopeo.run(&sign_in).ok();
    let file = sandbox.home().join("run/containers/auth.json");
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains(&format!("\"{team}\""))
    );
    let tags = |name: &str| sandbox.cairn(["tags", &registry.repository(name)]);
    tags("team/hello").ok();
    tags("teams/hello").fails(3).says(&format!("cairn login {host}"));
    // A login to the whole registry leaves it alone, and so does a logout.
    login(&sandbox, host, PASSWORD).ok();
    tags("teams/hello").ok();
    sandbox.cairn(["logout", host]).ok();
    tags("teams/hello").fails(3);
    tags("team/hello").ok();
}

#[test]
fn variables_that_name_files_mean_the_same_to_podman() {
    let sandbox = Sandbox::new();
    let (Some(registry), Some(podman)) = (with_users(&sandbox), Peer::find("podman", &sandbox)) else {
        return;
    };
    let host = registry.host();
    let repository = registry.repository("team/hello");
    // A good password in the home directory; and one in a file that a variable names, or none.
    login(&sandbox, host, PASSWORD).ok();
    let home = sandbox.home().join(".docker/config.json");
    let good = fs::read_to_string(&home).unwrap();
    let directory = sandbox.root().join("named");
    fs::create_dir(&directory).unwrap();
    for (variable, value) in [
        ("DOCKER_CONFIG", directory.clone()),
        ("REGISTRY_AUTH_FILE", directory.join("config.json")),
    ] {
        if variable == "REGISTRY_AUTH_FILE" {
            // Podman 4.3 falls back from this one, and later ones do not; nor does Cairn.
            fs::remove_file(&home).unwrap();
        }
        for (content, is_known) in [(good.as_str(), true), ("{}", false)] {
            fs::write(directory.join("config.json"), content).unwrap();
            let mut theirs = podman.command(&["login", "--get-login", host]);
            let theirs = run_with(theirs.env(variable, &value), "");
            assert_eq!(theirs.code == Some(0), is_known, "{theirs}");
            let mut cairn = sandbox.command(["tags", &repository]);
            run_with(cairn.env(variable, &value), "").exits(if is_known { 0 } else { 3 });
        }
    }
}

#[test]
fn a_registry_with_tokens_takes_a_release_and_mounts_blobs() {
    let sandbox = Sandbox::new();
    let Some(tokens) = TokenServer::start(&sandbox) else {
        return;
    };
    let Some(registry) = DockerRegistry::start_with(&sandbox, &tokens.configuration()) else {
        return;
    };
    let host = registry.host();
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    sandbox.cairn(["push"]).fails(3).says("no credentials were given");
    login(&sandbox, host, "another")
        .fails(3)
        .says("answers 401: wrong password");
    login(&sandbox, host, PASSWORD).ok();
    tokens.granted();

    let digest = release(&sandbox, "1.0.0");
    assert_eq!(channel(&sandbox)["digest"], digest.as_str());
    let granted = tokens.granted();
    assert!(
        granted.iter().all(|line| line.starts_with("ann: ")),
        "{granted:?}"
    );
    assert!(
        granted.contains(&"ann: repository:team/hello:pull,push".to_owned()),
        "{granted:?}"
    );
    // Two commands, each with one token for reading and one for writing at the most.
    assert!(granted.len() <= 4, "{granted:?}");

    let copied = sandbox.cairn([
        "--json",
        "copy",
        &registry.repository("team/hello:1.0.0"),
        &registry.repository("public/hello:1.0.0"),
    ]);
    let copied = copied.ok().json();
    assert_eq!(copied["digest"], digest.as_str());
    // The configuration and the layer; the manifest is sent.
    assert_eq!(copied["reused"]["blobs"], 2, "{copied}");
    let mount = "ann: repository:public/hello:pull,push repository:team/hello:pull";
    assert!(tokens.granted().contains(&mount.to_owned()));

    sandbox.cairn(["logout", host]).ok();
    sandbox
        .cairn(["inspect", &registry.repository("public/hello:1.0.0")])
        .ok();
    assert_eq!(tokens.granted(), ["nobody: repository:public/hello:pull"]);
    sandbox
        .cairn(["inspect", &registry.repository("team/hello:1.0.0")])
        .fails(3);
}

#[test]
fn skopeo_gets_tokens_for_what_cairn_keeps() {
    let sandbox = Sandbox::new();
    let (Some(tokens), Some(skopeo)) = (TokenServer::start(&sandbox), Peer::find("skopeo", &sandbox)) else {
        return;
    };
    let Some(registry) = DockerRegistry::start_with(&sandbox, &tokens.configuration()) else {
        return;
    };
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    login(&sandbox, registry.host(), PASSWORD).ok();
    sandbox.cairn(["push", "--tag", "1"]).ok();
    let image = format!("docker://{}", registry.repository("team/hello:1"));
    skopeo
        .run(&["inspect", "--raw", "--tls-verify=false", &image])
        .ok();
    // Deleting is an action of its own here, and the challenge says so.
    let digest = sandbox.tagged(&registry.repository("team/hello:1"));
    tokens.granted();
    let repository = registry.repository("team/hello");
    skopeo
        .run(&[
            "delete",
            "--tls-verify=false",
            &format!("docker://{repository}@{digest}"),
        ])
        .ok();
    sandbox
        .cairn(["inspect", &registry.repository("team/hello:1")])
        .fails(1);
}
