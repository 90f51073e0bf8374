//! Keys that Cairn does not hold itself: of `ssh-agent`, and of a command.

use std::process::Command;

use crate::harness::{Project, Sandbox, SshAgent, run, tool};

/// What `ssh-agent` calls its keys, by type.
const KINDS: [(&str, &str); 2] = [("ed25519", "ann"), ("ecdsa", "bob")];

#[test]
fn a_key_of_ssh_agent_starts_a_ledger_and_signs() {
    for (kind, name) in KINDS {
        let sandbox = Sandbox::new();
        let Some(agent) = SshAgent::start(&sandbox) else {
            return;
        };
        agent.add(kind, name);
        agent.add("rsa", "old");
        sandbox.write_project(&Project::new(), "1");
        agent
            .cairn(["release", "1", "--channel", "prod"], &[("CAIRN_SSH_KEY", name)])
            .ok();
        assert!(!sandbox.key().exists(), "no key is made where one was named");
        sandbox.write_app("2");
        // From here on the ledger says which of the agent's keys is meant.
        agent
            .cairn(["release", "2", "--channel", "prod"], &[])
            .ok()
            .says("  signing          ssh-agent, key SHA256:")
            .says("(role: everything)");
        agent.cairn(["rollback", "prod"], &[]).ok();
        agent.cairn(["history"], &[]).ok().prints("you");
        sandbox.cairn(["audit"]).ok().prints("no finding");
    }
}

#[test]
fn what_an_agent_lacks_is_said() {
    let sandbox = Sandbox::new();
    let Some(agent) = SshAgent::start(&sandbox) else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1", "--channel", "prod"]).ok();
    std::fs::remove_file(sandbox.key()).unwrap();
    agent.add("ed25519", "ann");
    agent
        .cairn(["resume", "prod"], &[])
        .fails(1)
        .says("none of its keys is in the ledger")
        .says("(ann)");
    agent
        .cairn(["resume", "prod"], &[("CAIRN_SSH_KEY", "bob")])
        .fails(1)
        .says("ssh-agent has no key `bob`: it has SHA256:");
    agent.add("rsa", "old");
    agent
        .cairn(["resume", "prod"], &[("CAIRN_SSH_KEY", "old")])
        .fails(1)
        .says("ssh-rsa");
    agent.lock();
    agent
        .cairn(["resume", "prod"], &[("CAIRN_SSH_KEY", "ann")])
        .fails(1)
        .says("it has none, or is locked");
    agent.cairn(["resume", "prod"], &[]).fails(1).says("is locked");
    let gone = [("SSH_AUTH_SOCK", "/nowhere/agent")];
    agent
        .cairn(["resume", "prod"], &gone)
        .fails(1)
        .says("no ssh-agent answers at /nowhere/agent");
    run(sandbox.command(["resume", "prod"]).env("CAIRN_SSH_KEY", "ann"))
        .fails(3)
        .says("SSH_AUTH_SOCK is not");
}

/// A P-256 key of openssl: `CAIRN_SIGNER`, and its public half in PEM.
pub(crate) fn openssl_key(sandbox: &Sandbox, name: &str) -> Option<(String, String)> {
    let openssl = tool("openssl")?;
    let key = sandbox.root().join(format!("{name}.pem"));
    let mut make = Command::new(&openssl);
    make.args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]);
    run(make.arg(&key)).ok();
    let mut show = Command::new(&openssl);
    let public = run(show.args(["pkey", "-pubout", "-in"]).arg(&key)).ok().stdout;
    let signer = format!("{} dgst -sha256 -sign {}", openssl.display(), key.display());
    Some((signer, public))
}

#[test]
fn a_command_signs_with_a_key_of_p256() {
    let sandbox = Sandbox::new();
    let Some((signer, public)) = openssl_key(&sandbox, "own") else {
        return;
    };
    let Some((other, _)) = openssl_key(&sandbox, "other") else {
        return;
    };
    let cairn = |arguments: &[&str], signer: &str| {
        let mut command = sandbox.command(arguments);
        run(command
            .env("CAIRN_SIGNER", signer)
            .env("CAIRN_SIGNER_KEY", &public)
            .env("CI", "true"))
    };
    sandbox.write_project(&Project::new(), "1");
    cairn(&["lock"], &signer).ok();
    cairn(&["release", "1", "--channel", "prod"], &signer).ok();
    cairn(&["--json", "key"], &signer).ok().prints("ecdsa-p256");
    let before = sandbox.store_tree();
    // Another key than it says: seen before anything is written.
    cairn(&["release", "2", "--channel", "prod"], &other)
        .fails(3)
        .says("not a signature by that key");
    cairn(&["release", "2", "--channel", "prod"], "/nowhere/signer --now")
        .fails(3)
        .says("`/nowhere/signer` cannot be run");
    assert_eq!(sandbox.store_tree(), before);
    cairn(&["release", "2", "--channel", "prod"], &signer)
        .ok()
        .says("  signing          ")
        .says("(role: everything)");
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn a_command_whose_key_may_not_is_never_asked_to_sign() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1", "--channel", "prod"]).ok();
    let other = Sandbox::new();
    other.cairn(["key", "new"]).ok();
    let public = other.cairn(["key", "--pem"]).ok().stdout;
    let asked = sandbox.root().join("asked");
    let signer = sandbox.write("signer", format!("touch {}; exit 1", asked.display()));
    let cairn = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        let signer = format!("sh {}", signer.display());
        run(command
            .env("CAIRN_SIGNER", signer)
            .env("CAIRN_SIGNER_KEY", &public))
    };
    sandbox.write_app("2");
    cairn(&["release", "2", "--channel", "prod"])
        .fails(1)
        .says("may not release");
    cairn(&["promote", "1", "staging"])
        .fails(1)
        .says("may not promote to staging");
    assert!(!asked.exists());
    // Asked for its key, it fails, and says so.
    run(sandbox
        .command(["release", "2"])
        .env("CAIRN_SIGNER", format!("sh {}", signer.display())))
    .fails(3)
    .says("the signer `sh` failed (exit status: 1)");
    assert!(asked.exists());
}

#[test]
fn a_first_release_is_not_older_than_the_ledger_that_it_starts() {
    let sandbox = Sandbox::new();
    let Some((signer, public)) = openssl_key(&sandbox, "own") else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    // Each signature is made in another second than the one before.
    let turn = "now=$(date +%s); while [ \"$(date +%s)\" = \"$now\" ]; do :; done";
    let slow = sandbox.write("slow.sh", format!("{turn}\nexec {signer}\n"));
    run(sandbox
        .command(["release", "1", "--channel", "prod"])
        .env("CAIRN_SIGNER", format!("sh {}", slow.display()))
        .env("CAIRN_SIGNER_KEY", &public))
    .ok();
    let history = sandbox.cairn(["--json", "history"]).ok().json();
    let at = |index: usize| history["entries"][index]["at"].as_str().unwrap().to_owned();
    assert!(at(0) >= at(1), "the release says {}, the ledger {}", at(0), at(1));
    let audit = sandbox.cairn(["audit"]).ok();
    assert!(!audit.stdout.contains("clocks"), "{audit}");
}
