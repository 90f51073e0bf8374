//! Releases and rollbacks on a registry that others wrote, which knows no conditions and no referrers.

use serde_json::{Value, json};

use super::registry::DockerRegistry;
use super::skopeo::Skopeo;
use super::{channel, http, release};
use crate::harness::{Output, Project, Sandbox, run};

/// 1.0.0 and 2.0.0 are released to prod of `team/hello`; returns their digests.
fn two_releases(sandbox: &Sandbox, registry: &DockerRegistry) -> (String, String) {
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    let first = release(sandbox, "1.0.0");
    sandbox.write_app("2");
    (first, release(sandbox, "2.0.0"))
}

/// Runs `cairn` with the key of `owner`, who works elsewhere.
fn with_key_of(owner: &Sandbox, sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let mut command = sandbox.command(arguments);
    run(command.env("CAIRN_KEY_FILE", owner.key()))
}

#[test]
fn prod_is_the_first_release_again_byte_for_byte() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&sandbox) else {
        return;
    };
    let prod = || http::manifest(registry.host(), "team/hello", "prod");
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    let pushed = sandbox.cairn(["push"]).ok().digest();
    assert_eq!(release(&sandbox, "1.0.0"), pushed);
    let before = prod();
    sandbox.write_app("2");
    let second = release(&sandbox, "2.0.0");
    assert_ne!(prod(), before);
    assert_eq!(channel(&sandbox)["digest"], second.as_str());
    assert_eq!(channel(&sandbox)["way_back"]["ready"], true);

    for _ in 0..2 {
        let back = sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
        assert_eq!(back.digest(), pushed);
        assert_eq!(prod(), before);
        assert_eq!(channel(&sandbox)["agrees"], true);
    }
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    assert_eq!(
        (&status["mode"], &status["size"]),
        (&json!("causal"), &json!(4)),
        "the repeated rollback adds nothing"
    );
}

#[test]
fn history_and_audit_agree_with_what_was_done() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&sandbox) else {
        return;
    };
    let (first, second) = two_releases(&sandbox, &registry);
    sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
    let history = sandbox.cairn(["--json", "history", "prod"]).ok().json();
    let entries = history["entries"].as_array().expect("a list");
    let told: Vec<[&Value; 4]> = entries
        .iter()
        .map(|entry| ["kind", "version", "digest", "reason"].map(|field| &entry[field]))
        .collect();
    let expected = json!([
        ["rollback", "1.0.0", first, "500s"],
        ["release", "2.0.0", second, null],
        ["release", "1.0.0", first, null],
    ]);
    assert_eq!(json!(told), expected);
    let audit = sandbox.cairn(["--json", "audit", "--deep"]).ok().json();
    assert_eq!(audit["ok"], true, "{audit}");
    assert_eq!(audit["unchecked"], json!([]), "{audit}");
    assert_eq!(audit["checked"]["releases"], 2);
}

#[test]
fn a_tag_moved_by_another_tool_is_noticed_and_left_alone() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&sandbox) else {
        return;
    };
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let (_, second) = two_releases(&sandbox, &registry);
    sandbox.write_app("by hand");
    sandbox.cairn(["build"]).ok();
    let layout = sandbox.store().join("repos/hello/_layout");
    skopeo.copy(
        &format!("oci:{}:built", layout.display()),
        &format!("docker://{}:prod", registry.repository("team/hello")),
    );
    let by_hand = http::manifest(registry.host(), "team/hello", "prod");

    let prod = channel(&sandbox);
    assert_eq!(
        (&prod["agrees"], &prod["digest"]),
        (&json!(false), &json!(second))
    );
    sandbox.cairn(["audit"]).exits(4).prints("prod");
    sandbox.cairn(["rollback", "prod"]).exits(6).says("prod");
    assert_eq!(http::manifest(registry.host(), "team/hello", "prod"), by_hand);
}

#[test]
fn skopeo_sees_what_was_released() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&sandbox) else {
        return;
    };
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let (first, second) = two_releases(&sandbox, &registry);
    sandbox.cairn(["rollback", "prod"]).ok();
    let image = |tag: &str| format!("docker://{}:{tag}", registry.repository("team/hello"));
    for (tag, digest) in [("prod", &first), ("1.0.0", &first), ("2.0.0", &second)] {
        assert_eq!(&skopeo.digest(&image(tag)), digest, "{tag}");
    }
    let layout = format!("oci:{}:prod", sandbox.root().join("layout").display());
    skopeo.copy(&image("prod"), &layout);
    assert_eq!(skopeo.digest(&layout), first);
}

#[test]
fn a_client_that_remembers_nothing_sees_the_same_and_may_go_on() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&sandbox) else {
        return;
    };
    let (_, second) = two_releases(&sandbox, &registry);
    sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
    let elsewhere = Sandbox::new();
    let repository = registry.repository("team/hello");
    let status = ["--json", "status", "--repository", &repository];
    let fresh = with_key_of(&sandbox, &elsewhere, &status).ok();
    let fresh = fresh.says("this is the first time").json();
    assert_eq!(fresh, sandbox.cairn(["--json", "status"]).ok().json());

    with_key_of(
        &sandbox,
        &elsewhere,
        &["promote", "2.0.0", "prod", "--repository", &repository],
    )
    .fails(6);
    for arguments in [["resume", "prod"].as_slice(), &["promote", "2.0.0", "prod"]] {
        let arguments = [arguments, &["--repository", &repository]].concat();
        with_key_of(&sandbox, &elsewhere, &arguments).ok();
    }
    assert_eq!(channel(&sandbox)["digest"], second.as_str());
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn doctor_finds_what_it_does_not_do_and_leaves_no_tag() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&sandbox) else {
        return;
    };
    let repository = registry.repository("team/hello");
    let report = sandbox.cairn(["--json", "doctor", &repository]).ok().json();
    assert_eq!(report["ledger"], "causal", "{report}");
    assert_eq!(report["left"], json!([]));
    let findings = report["findings"].as_array().expect("a list");
    let no: Vec<&Value> = findings
        .iter()
        .filter(|found| found["answer"] != "yes" && found["subject"] != "lists-sorted")
        .map(|found| &found["subject"])
        .collect();
    assert_eq!(no, ["conditions", "seal", "referrers", "delete-tags"], "{report}");
    assert_eq!(sandbox.cairn(["tags", "--all", &repository]).ok().stdout, "");
}
