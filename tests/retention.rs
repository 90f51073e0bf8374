//! Retention: `cairn prune`, then `cairn store gc`; what channels need stays, and the ledger stays true.

use serde_json::Value;

use crate::harness::{Output, Project, Sandbox};

/// Releases `versions` in order, each of other content, to prod.
fn release(sandbox: &Sandbox, versions: &[&str]) -> Vec<String> {
    let release = |version: &&str| {
        sandbox.write_app(version);
        sandbox
            .cairn(["release", version, "--channel", "prod"])
            .ok()
            .digest()
    };
    versions.iter().map(release).collect()
}

fn shop() -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "0");
    let digests = release(&sandbox, &["1.0.0", "2.0.0", "3.0.0", "4.0.0"]);
    (sandbox, digests)
}

/// Collects what was not touched this second: until nothing more goes, for times have whole seconds.
fn collect(sandbox: &Sandbox, gone: &[String]) {
    let begun = std::time::Instant::now();
    while gone.iter().any(|digest| sandbox.blob("hello", digest).exists()) {
        assert!(begun.elapsed() < crate::harness::LIMIT, "it is never removed");
        sandbox.cairn(["store", "gc", "--grace", "1s"]).ok();
    }
}

fn pruned(output: &Output) -> Vec<String> {
    let lines = output.stdout.lines();
    lines
        .map(|line| line.rsplit('@').next().expect("a digest").to_owned())
        .collect()
}

#[test]
fn old_images_go_and_the_way_back_stays() {
    let (sandbox, digests) = shop();
    let layers: Vec<String> = ["1.0.0", "2.0.0"]
        .iter()
        .map(|version| sandbox.layer(&format!("hello:{version}")))
        .collect();
    let rehearsed = sandbox
        .cairn(["prune", "--keep", "1", "--channel-steps", "1", "--dry-run"])
        .ok()
        .says("would prune      1.0.0");
    assert_eq!(pruned(&rehearsed), digests[..2]);
    assert!(sandbox.blob("hello", &digests[0]).exists());
    let done = sandbox
        .cairn([
            "prune",
            "--keep",
            "1",
            "--channel-steps",
            "1",
            "--reason",
            "quarterly",
        ])
        .ok()
        .says("deleted 2 tags");
    assert_eq!(pruned(&done), digests[..2]);
    sandbox
        .cairn(["audit"])
        .ok()
        .prints("note         pruned")
        .prints("no finding");
    collect(&sandbox, &[&digests[..2], &layers[..]].concat());
    sandbox.cairn(["audit"]).ok().prints("no finding");
    sandbox
        .cairn(["history"])
        .ok()
        .prints("[pruned]")
        .prints("quarterly");
    sandbox
        .cairn(["show", "1.0.0"])
        .ok()
        .prints("standing    pruned: its image is no longer kept")
        .prints(" UTC by you: \"quarterly\" (#");
    let shown = sandbox.cairn(["--json", "show", "1.0.0"]).ok().json();
    assert_eq!(
        (&shown["standing"], &shown["bound"][0]["pruned"]["reason"]),
        (&"pruned".into(), &"quarterly".into())
    );
    sandbox
        .cairn(["which", &digests[0]])
        .ok()
        .prints("its image is no longer kept");
    sandbox
        .cairn(["rollback", "prod", "1.0.0"])
        .fails(6)
        .says("no longer kept")
        .says("cairn show 1.0.0 says who pruned it");
    sandbox.cairn(["audit", "--way-back", "1"]).ok();
    sandbox
        .cairn(["audit", "--way-back", "2"])
        .exits(4)
        .prints("way-back-broken: prod: step 2 back, 2.0.0: the image was pruned");
    assert_eq!(sandbox.cairn(["rollback", "prod"]).ok().digest(), digests[2]);
    // Repeated, there is nothing to do, and no key is needed for it.
    std::fs::remove_file(sandbox.key()).expect("an own key");
    sandbox
        .cairn(["prune", "--keep", "1", "--channel-steps", "1"])
        .ok()
        .says("nothing to prune");
    // The copy has what is kept, and the whole history.
    sandbox.cairn(["copy", "hello", "mirror", "--ledger"]).ok();
    sandbox
        .cairn(["audit", "--repository", "mirror"])
        .ok()
        .prints("no finding");
    sandbox
        .cairn(["show", "1.0.0", "--repository", "mirror"])
        .ok()
        .prints("no longer kept");
}

#[test]
fn without_a_grace_period_everything_that_is_needed_stays() {
    let (sandbox, digests) = shop();
    sandbox.cairn(["rollback", "prod"]).ok();
    let kept = sandbox
        .cairn(["--json", "store", "gc", "--grace", "1s"])
        .ok()
        .json();
    assert_eq!(kept["repositories"][0]["name"], "hello");
    for version in ["1.0.0", "2.0.0", "3.0.0", "4.0.0"] {
        sandbox
            .cairn(["verify", &format!("hello:{version}")])
            .ok()
            .prints("whole");
    }
    sandbox.cairn(["rollback", "prod", "1.0.0"]).ok();
    assert_eq!(sandbox.tagged("hello:prod"), digests[0]);
    sandbox.cairn(["audit"]).ok();
}

#[test]
fn a_pruned_version_that_is_built_again_counts_again() {
    let (sandbox, digests) = shop();
    sandbox
        .cairn(["prune", "--keep", "1", "--channel-steps", "0"])
        .ok();
    collect(&sandbox, &digests[..1]);
    sandbox.write_app("1.0.0");
    let again = sandbox.cairn(["release", "1.0.0"]).ok().digest();
    assert_eq!(again, digests[0]);
    sandbox.cairn(["rollback", "prod", "1.0.0"]).ok();
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn what_a_pin_names_and_what_is_young_stays() {
    let (sandbox, digests) = shop();
    let entries = sandbox.cairn(["--json", "history"]).ok().json();
    let name = |seq: usize| {
        entries["entries"][4 - seq]["name"]
            .as_str()
            .expect("a name")
            .to_owned()
    };
    let pin = format!("{}+{}", name(0), name(1));
    let done = sandbox
        .cairn([
            "prune",
            "--keep",
            "0",
            "--channel-steps",
            "0",
            "--trust",
            &pin,
            "--dry-run",
        ])
        .ok();
    assert_eq!(
        pruned(&done),
        digests[1..3],
        "the first is pinned, the last is on prod"
    );
    let young = sandbox
        .cairn(["--json", "prune", "--keep", "0", "--keep-within", "1d"])
        .ok()
        .json();
    assert_eq!(young["pruned"], Value::Array(Vec::new()));
    sandbox.cairn(["prune", "--keep", "-1"]).fails(2);
    sandbox.cairn(["prune"]).fails(2);
}

/// A seal can be taken off only where the store is.
#[test]
fn a_server_keeps_its_seals_until_its_owner_takes_them_off() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let sandbox = Sandbox::new();
    let repository = server.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "0");
    let digests = release(&sandbox, &["1.0.0", "2.0.0", "3.0.0"]);
    sandbox
        .cairn(["prune", "--keep", "1", "--channel-steps", "0"])
        .ok()
        .says("the tag 1.0.0 is still there")
        .says("cairn store gc --pruned there");
    sandbox.cairn(["audit"]).ok().prints("no finding");
    assert!(registry.blob("team/hello", &digests[0]).exists());
    let here = [
        "prune",
        "--keep",
        "1",
        "--channel-steps",
        "0",
        "--repository",
        "team/hello",
    ];
    // Also what was sealed when the first of them was looked at.
    let deleted = registry.cairn(here).ok().says("deleted 2 tags");
    assert!(!deleted.stderr.contains("still there"), "{deleted}");
    sandbox.cairn(["audit"]).ok().prints("no finding");
    sandbox
        .cairn(["pull", &format!("{repository}@{}", digests[0])])
        .fails(1);
}

/// The server keeps what is sealed against everybody; whoever owns its store does not have to.
#[test]
fn what_a_server_has_sealed_goes_where_its_store_is() {
    let (sandbox, store) = (Sandbox::new(), Sandbox::new());
    let server = store.serve();
    let repository = server.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "0");
    let digests = release(&sandbox, &["1.0.0", "2.0.0", "3.0.0"]);
    let prune = ["prune", "--keep", "1", "--channel-steps", "1"];
    sandbox
        .cairn(prune)
        .ok()
        .says("the tag 1.0.0 is still there")
        .says("cairn store gc --pruned there");
    let would = store
        .cairn(["store", "gc", "--pruned", "--dry-run"])
        .ok()
        .says("team/hello: 1 pruned image would go");
    assert_eq!(would.stdout, "");
    assert!(store.blob("team/hello", &digests[0]).exists());
    // Without being asked, the garbage collection takes no seal off.
    store.cairn(["store", "gc", "--grace", "1s"]).ok();
    assert_eq!(store.tagged("team/hello:1.0.0"), digests[0]);
    store
        .cairn(["store", "gc", "--pruned"])
        .ok()
        .says("team/hello: 1 pruned image taken away, with 1 tag");
    sandbox
        .cairn(["pull", &format!("{repository}@{}", digests[0])])
        .fails(1);
    sandbox.cairn(["audit", "--deep"]).ok().prints("no finding");
    sandbox.cairn(prune).ok().says("nothing to prune");
    assert_eq!(sandbox.cairn(["rollback", "prod"]).ok().digest(), digests[1]);
}
