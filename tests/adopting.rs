//! `cairn adopt`: a repository that had tags before it had a ledger.

use crate::harness::{Hosted, tag_by_hand};

/// A server with a repository that others pushed to for years.
fn pushed_to(tags: &[&str]) -> Hosted {
    let hosted = Hosted::new();
    for tag in tags {
        hosted.sandbox.write_app(tag);
        hosted.cairn(&["push", "--tag", tag]).ok();
    }
    hosted
}

#[test]
fn a_history_of_tags_becomes_versions_in_their_order_and_channels_begin_where_they_are() {
    let world = pushed_to(&["1.2.0", "1.10.0", "1.9.0", "nightly", "2.0.0-rc.1", "2.0.0"]);
    tag_by_hand(world.server.host(), "team/hello", "1.10.0", "prod");
    let dry = world
        .cairn(&["adopt", "--tags", "*", "--channel", "prod=prod", "--dry-run"])
        .ok()
        .says("would start a ledger")
        .says("1.9.0");
    assert!(!dry.stderr.contains("made a signing key"), "{dry}");
    let adopt = [
        "adopt",
        "--tags",
        "*",
        "--channel",
        "prod=prod",
        "--reason",
        "as it was",
    ];
    world
        .cairn(&adopt)
        .ok()
        .says("started a ledger")
        .says("nightly: `nightly` is not a version")
        .says("prod now names 1.10.0; nothing that runs was changed");
    let history = world.cairn(&["--json", "history"]).ok().json();
    let rows = history["entries"].as_array().expect("entries");
    let versions: Vec<_> = rows
        .iter()
        .rev()
        .map(|row| row["version"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(
        versions,
        ["", "1.2.0", "1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0", "1.10.0"]
    );
    assert!(
        rows[..6]
            .iter()
            .all(|row| row["kind"] == "adopt" && row["reason"] == "as it was")
    );
    world.cairn(&["audit"]).ok();
    // Again, and nothing is appended.
    world
        .cairn(&adopt)
        .ok()
        .says("nothing to adopt: the ledger has all of it");
    // From here on it is like any other ledger.
    world.cairn(&["promote", "2.0.0", "prod"]).ok();
    let back = world.cairn(&["rollback", "prod"]).ok();
    assert_eq!(back.digest(), world.tagged("1.10.0"));
}

#[test]
fn a_channel_may_begin_with_what_it_showed_one_after_the_other_and_without_a_version() {
    let world = pushed_to(&["1.0.0", "stable-2", "stable-3"]);
    world
        .cairn(&[
            "adopt",
            "--tags",
            "1.*",
            "--channel",
            "prod=1.0.0",
            "--channel",
            "prod=stable-2",
            "--channel",
            "prod=stable-3",
        ])
        .ok();
    let status = world.cairn(&["--json", "status"]).ok().json();
    let prod = &status["channels"][0];
    let third = world.tagged("stable-3");
    assert_eq!(
        (&prod["digest"], &prod["version"]),
        (&third.as_str().into(), &serde_json::Value::Null)
    );
    // It has no version: a tag after its content keeps it whatever becomes of the others.
    assert_eq!(world.tagged(&format!("cairn-i-{}", &third[7..23])), third);
    assert_eq!(world.tagged("prod"), third);
    assert_eq!(
        world.cairn(&["rollback", "prod"]).ok().digest(),
        world.tagged("stable-2")
    );
    let left = format!("sha256:{}", &world.tagged("1.0.0")[7..]);
    assert_eq!(world.cairn(&["rollback", "prod", &left]).ok().digest(), left);
    world.cairn(&["audit"]).ok();
}

#[test]
fn what_cannot_be_adopted_is_named_and_all_else_is() {
    let world = pushed_to(&["1.0.0", "2.0.0"]);
    world
        .cairn(&["adopt"])
        .fails(2)
        .says("nothing says what to adopt");
    world
        .cairn(&["adopt", "--channel", "prod"])
        .fails(2)
        .says("prod=1.4.2");
    world
        .cairn(&["adopt", "--channel", "prod=3.0.0"])
        .fails(1)
        .says("there is no such tag");
    world
        .cairn(&["adopt", "--tags", "9.*"])
        .fails(1)
        .says("no ledger was started");
    world.cairn(&["history"]).fails(1).says("has no ledger");
    world.cairn(&["adopt", "--tags", "1.*"]).ok();
    // A tag of a channel that shows what nobody adopts stops it before anything is appended.
    world.sandbox.write_app("hotfix");
    world.cairn(&["push", "--tag", "hotfix"]).ok();
    tag_by_hand(world.server.host(), "team/hello", "hotfix", "prod");
    world
        .cairn(&["adopt", "--tags", "2.*", "--channel", "prod=2.0.0"])
        .fails(6)
        .says("cairn adopt --channel prod=prod");
    let json = world
        .cairn(&["--json", "adopt", "--tags", "*", "--channel", "prod=prod"])
        .ok()
        .json();
    assert_eq!(json["adopted"][0]["version"], "2.0.0");
    assert_eq!(json["known"][0]["version"], "1.0.0");
    assert_eq!(json["channels"][0]["digest"], world.tagged("hotfix").as_str());
    let skipped = json["skipped"].as_array().expect("skipped");
    assert!(skipped.iter().any(|one| one["tag"] == "hotfix"), "{json}");
    world.cairn(&["audit"]).ok();
}

#[test]
fn what_a_dry_run_says_of_adopting_is_what_is_done() {
    let world = pushed_to(&["1.0.0", "2.0.0"]);
    let dry = ["adopt", "--tags", "*", "--channel", "live=2.0.0", "--dry-run"];
    world
        .cairn(&dry)
        .ok()
        .says("live             – → 2.0.0 (not done");
    let would = world.cairn(&[&["--json"], &dry[..]].concat()).ok().json();
    assert_eq!(would["adopted"].as_array().map(Vec::len), Some(2));
    assert_eq!(would["channels"][0]["digest"], world.tagged("2.0.0").as_str());
    assert_eq!(
        (&would["dry_run"], &would["changed"]),
        (&true.into(), &false.into())
    );
    // A pattern that no tag fits is not the same as a ledger that has everything.
    world
        .cairn(&["adopt", "--tags", "v*", "--dry-run"])
        .fails(1)
        .says("can be adopted");
    world.cairn(&dry[..5]).ok().says("live             – → 2.0.0");
    for arguments in [
        &["adopt", "--tags", "v*"][..],
        &["adopt", "--tags", "v*", "--dry-run"],
    ] {
        world
            .cairn(arguments)
            .ok()
            .says("nothing to adopt: no tag of")
            .says("fits v*");
    }
}

#[test]
fn only_what_is_new_is_verified_and_packs_that_nothing_needs_do_not_pile_up() {
    let world = pushed_to(&["seed"]);
    let adopt = |range: std::ops::Range<u32>| {
        for number in range {
            tag_by_hand(world.server.host(), "team/hello", "seed", &format!("1.{number}"));
        }
        world.cairn(&["adopt", "--tags", "1.*"]).ok()
    };
    adopt(0..3);
    world.cairn(&["status"]).ok().says("4 entries read and verified");
    world.cairn(&["status"]).ok().says("4 entries, verified before");
    let packs = || {
        let packs = world.sandbox.state().join("packs");
        let names = list(&packs).into_iter();
        names.filter(|name| !name.ends_with(".verified")).count()
    };
    adopt(3..80);
    adopt(80..81);
    world
        .cairn(&["status"])
        .ok()
        .says("82 entries: 1 verified now, 81 before");
    // Each of these has a pack of its own at the end.
    for number in 81..90 {
        adopt(number..number + 1);
        world.cairn(&["status"]).ok();
    }
    let many = packs();
    adopt(90..150);
    world.cairn(&["status"]).ok();
    let needed = packs();
    assert!(needed < many, "{needed} of {many}");
    // Whatever is removed is read again.
    std::fs::remove_dir_all(world.sandbox.state().join("packs")).unwrap();
    world.cairn(&["history", "--all"]).ok().prints("1.149");
    world.cairn(&["audit"]).ok();
}

fn list(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
