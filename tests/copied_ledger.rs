//! `cairn copy --ledger`: the whole history goes where the images go.

use crate::harness::{Output, Project, Sandbox, Server};

/// Runs `cairn` on one repository, with no spec.
fn on(sandbox: &Sandbox, repository: &str, arguments: &[&str]) -> Output {
    sandbox.cairn(arguments.iter().copied().chain(["--repository", repository]))
}

/// A server with two releases of `team/hello` on prod, and one more server.
fn servers(sandbox: &Sandbox, stores: [&Sandbox; 2]) -> [Server; 2] {
    let servers = stores.map(Sandbox::serve);
    let repository = servers[0].repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    sandbox.write_app("2");
    sandbox.cairn(["release", "2.0.0", "--channel", "prod"]).ok();
    servers
}

#[test]
fn a_ledger_copied_to_another_server_passes_an_audit_and_is_rolled_back_there() {
    let sandbox = Sandbox::new();
    let stores = [Sandbox::new(), Sandbox::new()];
    let [from, to] = servers(&sandbox, stores.each_ref());
    let (from, to) = (from.repository("team/hello"), to.repository("team/hello"));
    let copy = ["--json", "copy", "--ledger", &from, &to];
    let copied = sandbox.cairn(copy).ok().json();
    assert_eq!(
        (&copied["images"], &copied["entries"]),
        (&2.into(), &3.into()),
        "{copied}"
    );
    assert_eq!(copied["changed"], true);
    on(&sandbox, &to, &["audit", "--deep", "--strict"])
        .ok()
        .prints("no finding");

    let again = sandbox.cairn(copy).ok().json();
    assert_eq!(again["changed"], false);
    assert_eq!(again["uploaded"]["blobs"], 0, "{again}");

    let first = on(&sandbox, &to, &["rollback", "prod", "--reason", "500s"]).ok();
    first.prints("@sha256:");
    on(&sandbox, &to, &["audit"]).ok();
    let status = on(&sandbox, &to, &["--json", "status"]).ok().json();
    assert_eq!(status["channels"][0]["version"], "1.0.0");
    // The copy is newer now, and nothing overwrites it.
    sandbox.cairn(copy).exits(6).says("which the source lacks");
    sandbox.cairn(["copy", "--ledger", &to, &from]).ok();
    let status = on(&sandbox, &from, &["--json", "status"]).ok().json();
    assert_eq!(status["channels"][0]["version"], "1.0.0");
}

#[test]
fn the_local_store_keeps_a_copy_that_is_read_only() {
    let sandbox = Sandbox::new();
    let stores = [Sandbox::new(), Sandbox::new()];
    let [from, _to] = servers(&sandbox, stores.each_ref());
    let from = from.repository("team/hello");
    let copied = sandbox.cairn(["copy", "--ledger", &from, "backup/hello"]).ok();
    copied.says("has a copy").prints("backup/hello");
    on(&sandbox, "backup/hello", &["audit"]).ok();
    let added = Sandbox::new();
    added.cairn(["key", "new"]).ok();
    let public = added.cairn(["key", "--pem"]).ok().stdout;
    let status = on(&sandbox, "backup/hello", &["--json", "status"]).ok().json();
    let image = format!(
        "backup/hello@{}",
        status["channels"][0]["digest"].as_str().expect("a digest")
    );
    let deeds: [&[&str]; 13] = [
        &["rollback", "prod"],
        &["resume", "prod"],
        &["promote", "1.0.0", "prod"],
        &["yank", "1.0.0"],
        &["record", "prod"],
        &["repair", "--forward", "prod"],
        &["prune", "--keep", "1"],
        &["adopt", "--tags", "*"],
        &["ledger", "rules", "--apply"],
        &["key", "add", &public, "--name", "ada", "--role", "everything"],
        &["key", "threshold", "1"],
        &["release", "3.0.0", "--image", &image],
        &["release", "3.0.0"],
    ];
    for deed in deeds {
        // By way of trial they say the same.
        for dry in [&[][..], &["--dry-run"]] {
            let deed = [deed, dry].concat();
            on(&sandbox, "backup/hello", &deed).exits(1).says("is a copy");
        }
    }
    on(&sandbox, "backup/hello", &["approve"]).ok();
}

/// What waits for signatures goes along, and can be signed where the copy is at home.
#[test]
fn entries_that_wait_are_copied_too() {
    let sandbox = Sandbox::new();
    let stores = [Sandbox::new(), Sandbox::new()];
    let [from, to] = servers(&sandbox, stores.each_ref());
    let (from, to) = (from.repository("team/hello"), to.repository("team/hello"));
    let other = Sandbox::new();
    other.cairn(["key", "new"]).ok();
    let public = other.cairn(["key", "--pem"]).ok().stdout;
    let add = ["key", "add", &public, "--name", "ada", "--role", "everything"];
    sandbox
        .cairn(add.iter().copied().chain(["--threshold", "2"]))
        .ok();
    sandbox.cairn(["key", "threshold", "1"]).fails(6);
    let copied = sandbox.cairn(["copy", "--ledger", &from, &to]).ok();
    copied.says("1 entry waits for signatures there too");
    on(&sandbox, &to, &["audit"]).ok().prints("no finding");
    let list = on(&sandbox, &to, &["--json", "approve"]).ok().json();
    assert_eq!(list["waiting"][0]["standing"], "open", "{list}");
    let name = list["waiting"][0]["name"].as_str().expect("a name").to_owned();
    on(&other, &to, &["approve", &name])
        .ok()
        .says("the keys were changed");
    // What is done does not wait any more, wherever it is copied to.
    let again = sandbox
        .cairn(["--json", "copy", "--ledger", &to, &from])
        .ok()
        .json();
    assert_eq!(again["waiting"], 0, "{again}");
    on(&sandbox, &from, &["audit"]).ok().prints("no finding");
}

/// Who remembers more than a restored backup has is refused, and told how the rest comes back.
#[test]
fn what_a_restored_backup_lacks_comes_back_from_a_copy() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    sandbox.cairn(["copy", "--ledger", "hello", "old"]).ok();
    sandbox.write_app("2");
    sandbox.cairn(["release", "2.0.0", "--channel", "prod"]).ok();
    sandbox.cairn(["copy", "--ledger", "hello", "new"]).ok();
    let repositories = sandbox.store().join("repos");
    std::fs::remove_dir_all(repositories.join("hello")).expect("an own store");
    std::fs::rename(repositories.join("old"), repositories.join("hello")).expect("an own store");
    let refused = sandbox.cairn(["status"]).exits(4);
    refused.says("ROLLBACK").says("cairn copy COPY hello --ledger");
    sandbox.cairn(["copy", "--ledger", "new", "hello"]).ok();
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    assert_eq!(status["channels"][0]["version"], "2.0.0");
    sandbox.cairn(["audit", "--deep"]).ok().prints("no finding");
}

#[test]
fn another_ledger_and_places_without_room_are_refused() {
    let sandbox = Sandbox::new();
    let stores = [Sandbox::new(), Sandbox::new()];
    let [from, to] = servers(&sandbox, stores.each_ref());
    let (from, to) = (from.repository("team/hello"), to.repository("team/hello"));
    let other = Sandbox::new();
    other.write_project(&Project::new().repository(&to), "other");
    other.cairn(["release", "9.0.0", "--channel", "prod"]).ok();
    let before = other.cairn(["tags", "--all", &to]).ok().stdout;
    let refused = sandbox.cairn(["copy", "--ledger", &from, &to]).exits(6);
    refused.says("another ledger").says("nothing was written");
    assert_eq!(other.cairn(["tags", "--all", &to]).ok().stdout, before);

    for destination in ["oci:out", "oci-archive:x.tar", "hello:1.0.0"] {
        sandbox.cairn(["copy", "--ledger", &from, destination]).exits(2);
    }
    let tagged = format!("{from}:prod");
    sandbox
        .cairn(["copy", "--ledger", &tagged, "x"])
        .exits(2)
        .says("leave the tag out");
    sandbox.cairn(["copy", "--ledger", &from, &from]).exits(2);
    sandbox
        .cairn(["copy", "--ledger", "--platform", "linux/amd64", &from, "x"])
        .exits(2);
}

#[test]
fn inspect_prints_one_platform_and_exact_bytes() {
    let sandbox = Sandbox::new();
    let spec = Project::new().spec();
    let both = spec.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    assert_ne!(both, spec);
    sandbox.write("cairn.toml", both);
    sandbox.write_app("1");
    sandbox.write("dist/arm64/app", "arm64");
    let outputs = ["--output", "oci:out:1", "--output", "oci-archive:x.tar:1"];
    sandbox.cairn(["build"].into_iter().chain(outputs)).ok();
    for place in ["hello:built", "oci:out:1", "oci-archive:x.tar"] {
        sandbox
            .cairn(["inspect", place, "--config"])
            .exits(1)
            .says("--platform");
        let arm = ["inspect", place, "--platform", "linux/arm64"];
        let with = |flag: &'static str| sandbox.cairn(arm.into_iter().chain([flag])).ok();
        let report = with("--json").json();
        assert_eq!(report["images"].as_array().expect("a list").len(), 1, "{place}");
        let raw = with("--raw").stdout;
        let digest = cairn_oci::Digest::of(raw.as_bytes()).to_string();
        assert_eq!(report["digest"], digest.as_str(), "{place}");
        let manifest: serde_json::Value = serde_json::from_str(&raw).expect("a manifest");
        let config = with("--config").stdout;
        let digest = cairn_oci::Digest::of(config.as_bytes()).to_string();
        assert_eq!(manifest["config"]["digest"], digest.as_str(), "{place}");
        assert!(config.contains("\"arm64\""), "{place}");
        sandbox
            .cairn(["inspect", place, "--platform", "linux/riscv64"])
            .exits(1)
            .says("linux/arm64");
    }
}
