//! Distribution v3 (`registry`) as the server: its tags can be deleted, and it sorts and pages its lists.

use serde_json::json;

use super::registry::DockerRegistry;
use super::{channel, http, release};
use crate::harness::{Project, Sandbox};

#[test]
fn a_release_and_a_rollback_on_distribution_v3() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start_v3(&sandbox) else {
        return;
    };
    let prod = || http::manifest(registry.host(), "team/hello", "prod");
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    let first = release(&sandbox, "1.0.0");
    let before = prod();
    sandbox.write_app("2");
    let second = release(&sandbox, "2.0.0");
    assert_ne!(prod(), before);
    assert_eq!(channel(&sandbox)["digest"], second.as_str());

    let back = sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
    assert_eq!(back.digest(), first);
    assert_eq!(prod(), before, "byte for byte");
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    assert_eq!(
        (&status["mode"], &status["size"]),
        (&json!("causal"), &json!(4)),
        "it honours no conditions"
    );
    let audit = sandbox.cairn(["--json", "audit", "--deep"]).ok().json();
    assert_eq!(
        [&audit["ok"], &audit["unchecked"], &audit["checked"]["releases"]],
        [&json!(true), &json!([]), &json!(2)],
        "{audit}"
    );
}

#[test]
fn what_was_pushed_to_distribution_v3_is_pulled_and_copied_elsewhere() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start_v3(&sandbox) else {
        return;
    };
    sandbox.write_project(&Project::new().repository(registry.repository("team/hello")), "1");
    let digest = sandbox.cairn(["push", "--tag", "b", "--tag", "a"]).ok().digest();
    let tagged = registry.repository("team/hello:a");
    let listed = sandbox.cairn(["tags", &registry.repository("team/hello")]).ok();
    assert_eq!(listed.stdout, "a\nb\n");

    let elsewhere = Sandbox::new();
    assert_eq!(elsewhere.cairn(["pull", &tagged]).ok().digest(), digest);
    let copy = registry.repository("other/copy:once");
    assert_eq!(elsewhere.cairn(["copy", &tagged, &copy]).ok().digest(), digest);
    assert_eq!(
        http::manifest(registry.host(), "other/copy", "once"),
        http::manifest(registry.host(), "team/hello", "a")
    );
    elsewhere.cairn(["verify", &copy]).ok().prints("whole");
}
