//! Refusals, as somebody meets them who was woken up: each says what to type next, and that can be typed.

use crate::harness::{Project, Sandbox, Server, run, tag_by_hand};

#[test]
fn a_dry_run_is_refused_where_the_move_itself_would_be() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    for version in ["1", "2"] {
        sandbox.write_app(version);
        sandbox.cairn(["release", version, "--channel", "prod"]).ok();
    }
    let rollback = ["rollback", "prod", "--dry-run"];
    sandbox
        .cairn(rollback)
        .ok()
        .says("all there")
        .says("2 → 1 (not done");
    let would = sandbox
        .cairn(["--json", "rollback", "prod", "--dry-run"])
        .ok()
        .json();
    assert_eq!(would["digest"], sandbox.tagged("hello:1").as_str());
    assert_eq!(
        (
            &would["dry_run"],
            &would["changed"],
            &would["channels"][0]["held"]
        ),
        (&true.into(), &false.into(), &true.into())
    );
    let layer = sandbox.layer("hello:1");
    std::fs::remove_file(sandbox.blob("hello", &layer)).unwrap();
    sandbox.cairn(rollback).fails(4).says(&layer);
    assert_eq!(sandbox.tagged("hello:prod"), sandbox.tagged("hello:2"));
}

#[test]
fn a_dry_run_names_what_somebody_put_on_the_tag() {
    let (sandbox, store) = (Sandbox::new(), Sandbox::new());
    let server = store.serve();
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "1");
    for version in ["1", "2", "3"] {
        sandbox.write_app(version);
        sandbox.cairn(["release", version, "--channel", "prod"]).ok();
    }
    let promote = ["promote", "2", "prod", "--dry-run"];
    tag_by_hand(server.host(), "team/hello", "1", "prod");
    sandbox
        .cairn(promote)
        .ok()
        .says("(1), and the ledger said 3")
        .says("would be overwritten");
    sandbox.write_app("stranger");
    sandbox.cairn(["push", "--tag", "stranger"]).ok();
    tag_by_hand(server.host(), "team/hello", "stranger", "prod");
    sandbox.cairn(promote).fails(6).says("cairn record prod");
}

#[test]
fn a_dry_run_of_a_release_says_of_the_tag_what_the_release_says() {
    let (sandbox, store) = (Sandbox::new(), Sandbox::new());
    let server = store.serve();
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "0");
    // Nothing but a tag: the first release would not begin with what somebody else put there.
    sandbox.cairn(["push", "--tag", "prod"]).ok();
    sandbox.write_app("1");
    for dry in [&["--dry-run"][..], &[]] {
        let typed = [&["release", "1", "--channel", "prod"], dry].concat();
        sandbox
            .cairn(typed)
            .fails(6)
            .says("cairn adopt --channel prod=prod");
    }
    sandbox.cairn(["adopt", "--channel", "prod=prod"]).ok();
    for version in ["1", "2"] {
        sandbox.write_app(version);
        sandbox.cairn(["release", version, "--channel", "prod"]).ok();
    }
    sandbox.write_app("3");
    let release = ["--json", "release", "3", "--channel", "prod"];
    let dry = [&release[..], &["--dry-run"]].concat();
    assert!(sandbox.cairn(&dry).ok().json()["channels"][0]["overwrote"].is_null());
    tag_by_hand(server.host(), "team/hello", "1", "prod");
    let would = sandbox
        .cairn(&dry)
        .ok()
        .says("(1), and the ledger said 2")
        .says("would be overwritten")
        .json();
    // A tag that nobody knows stops both, and nothing is done.
    sandbox.write_app("stranger");
    sandbox.cairn(["push", "--tag", "stranger"]).ok();
    sandbox.write_app("3");
    tag_by_hand(server.host(), "team/hello", "stranger", "prod");
    for typed in [&dry[..], &release] {
        sandbox.cairn(typed).fails(6).says("cairn record prod");
    }
    // The release says of it what the dry run said.
    tag_by_hand(server.host(), "team/hello", "1", "prod");
    let done = sandbox.cairn(release).ok().json();
    assert_eq!(would["channels"][0]["overwrote"]["version"], "1");
    for member in ["previous", "digest", "overwrote", "held"] {
        assert_eq!(
            would["channels"][0][member], done["channels"][0][member],
            "{member}"
        );
    }
    // So does a tag in the place of the version's own; and an image that is named is looked for.
    tag_by_hand(server.host(), "team/hello", "stranger", "4");
    sandbox.write_app("4");
    for dry in [&["--dry-run"][..], &[]] {
        let typed = [&["release", "4"], dry].concat();
        sandbox.cairn(typed).fails(6).says("cairn adopt --tags 4");
    }
}

/// `day` has released 1 and 2 to prod, with the ledger in a repository of its own; `night` has the key and no spec. Gives the
/// repositories of the images and of the ledger.
fn ledger_elsewhere(server: &Server, day: &Sandbox, night: &Sandbox) -> [String; 2] {
    let [images, ledger] = ["team/hello", "team/hello-ledger"].map(|name| server.repository(name));
    let elsewhere = format!("\n[ledger]\nrepository = \"{ledger}\"\n");
    day.write_project(&Project::new().repository(&images).with(&elsewhere), "1");
    for version in ["1", "2"] {
        day.write_app(version);
        day.cairn(["release", version, "--channel", "prod"]).ok();
    }
    std::fs::create_dir_all(night.key().parent().unwrap()).unwrap();
    std::fs::copy(day.key(), night.key()).unwrap();
    [images, ledger]
}

#[test]
fn without_a_checkout_the_next_command_is_told_whole_also_for_a_ledger_elsewhere() {
    let (day, night, store) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    let server = store.serve();
    let [images, ledger] = ledger_elsewhere(&server, &day, &night);
    night
        .cairn(["status", "--repository", &images])
        .fails(1)
        .says("--ledger-repository REF");
    let named = format!("--repository {images} --ledger-repository {ledger}");
    let cairn = |typed: &str| night.cairn(typed.split(' ').chain(named.split(' ')));
    cairn("status").ok().prints("1 ready");
    cairn("rollback prod")
        .ok()
        .says(&format!("cairn resume prod (add {named})"));
    cairn("promote 2 prod").fails(6).says(&format!(
        "hint: cairn resume prod, or the same command with --resume (add {named})"
    ));
    cairn("resume prod").ok();
    cairn("promote 2 prod").ok();
    // With a spec there is nothing to add.
    let back = day.cairn(["rollback", "prod"]).ok();
    assert!(!back.stderr.contains("(add "), "{back}");
}

#[test]
fn a_repository_that_has_only_the_ledger_is_no_place_where_images_are_missing() {
    let (day, night, store) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    let server = store.serve();
    let [images, ledger] = ledger_elsewhere(&server, &day, &night);
    let named = format!("--repository IMAGES --ledger-repository {ledger}");
    let status = night.cairn(["status", "--repository", &ledger]).ok();
    for wrong in ["TAG DIFFERS", "MISSING BLOBS", "cairn repair"] {
        assert!(!format!("{status}").contains(wrong), "{status}");
    }
    status.prints("2").says(&named);
    night
        .cairn(["rollback", "prod", "--repository", &ledger])
        .fails(4)
        .says(&named);
    night
        .cairn(["status", "--repository", &images, "--ledger-repository", &ledger])
        .ok()
        .prints("1 ready");
    // Without a spec the ledger is named to be copied too.
    let copy = server.repository("team/copy");
    night
        .cairn(["copy", &images, &copy, "--ledger"])
        .fails(1)
        .says("--ledger-repository REF");
    night
        .cairn(["copy", &images, &copy, "--ledger", "--ledger-repository", &ledger])
        .ok();
    night.cairn(["audit", "--repository", &copy]).ok();
    night
        .cairn(["rollback", "prod", "--repository", &copy])
        .fails(1)
        .says(&named);
}

#[test]
fn a_dry_run_of_what_a_hold_refuses_says_how_the_hold_is_lifted() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    for version in ["1", "2"] {
        sandbox.write_app(version);
        sandbox.cairn(["release", version, "--channel", "prod"]).ok();
    }
    sandbox.cairn(["rollback", "prod"]).ok();
    sandbox.write("elsewhere/note", "");
    let away = ["-C", "elsewhere", "--repository", "hello"];
    let typed = [&["promote", "2", "prod", "--dry-run"], &away[..]].concat();
    let hint = "cairn resume prod, or the same command with --resume";
    let refused = sandbox.cairn(typed).fails(6).says(hint);
    refused.says("(add --repository hello)");
    // What was typed wrong is told the same way.
    let nowhere = format!("sha256:{}", "1".repeat(64));
    let typed = [&["rollback", "prod", &nowhere], &away[..]].concat();
    let refused = sandbox.cairn(typed).fails(1);
    refused.says("cairn history shows what there is (add --repository hello)");
}

#[test]
fn a_repository_where_none_is_taken_says_how_it_is_named() {
    let sandbox = Sandbox::new();
    for typed in [
        &["status", "registry.example.org/team/shop"][..],
        &["rollback", "registry.example.org/team/shop", "prod"],
    ] {
        sandbox
            .cairn(typed)
            .fails(2)
            .says("a repository is named with --repository");
    }
    sandbox
        .cairn(["status", "--repository", "team/shop"])
        .fails(1)
        .says("team/shop in the local store has no ledger")
        .says("registry.example.org/team/shop");
}

#[test]
fn a_key_of_another_form_is_known_for_what_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1", "--channel", "prod"]).ok();
    for (text, hint) in [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "ssh-add FILE"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n", "it is encrypted"),
        ("ssh-ed25519 AAAA ann", "it is the public half"),
        ("nonsense", "cairn key new"),
    ] {
        let path = sandbox.write("key", text);
        let mut command = sandbox.command(["promote", "1", "staging"]);
        run(command.env("CAIRN_KEY_FILE", path)).fails(1).says(hint);
    }
}
