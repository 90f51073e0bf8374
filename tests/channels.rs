//! Channels as people use them: blue and green, holds, versions that are barred, commands that are repeated.

use crate::harness::{Cut, Hosted, Proxy};

#[test]
fn blue_and_green() {
    let world = Hosted::new();
    let first = world.release("1.0.0", "blue");
    world
        .cairn(&["switch", "prod", "green"])
        .fails(1)
        .says("green shows nothing");
    world
        .cairn(&["switch", "prod", "prod"])
        .fails(1)
        .says("to itself");
    let dry = world.cairn(&["switch", "prod", "blue", "--dry-run"]).ok();
    assert_eq!(dry.digest(), first);
    assert_eq!(world.cairn(&["switch", "prod", "blue"]).ok().digest(), first);
    let second = world.release("2.0.0", "green");
    let json = world
        .cairn(&["--json", "switch", "prod", "green", "--reason", "green is green"])
        .ok()
        .json();
    assert_eq!(
        (&json["digest"], &json["previous"], &json["version"]),
        (&second.as_str().into(), &first.as_str().into(), &"2.0.0".into())
    );
    world
        .cairn(&["status"])
        .ok()
        .prints("2.0.0 (from green)")
        .prints("2.0.0 (live in prod)")
        .prints("1.0.0 (idle in prod)");
    // Again, it has nothing to do.
    world
        .cairn(&["switch", "prod", "green"])
        .ok()
        .says("prod shows 2.0.0 already");
    // The idle slot gets the next one; back goes what was live, not what the slot shows now.
    world.release("3.0.0", "blue");
    let back = world
        .cairn(&["rollback", "prod", "--reason", "green was red"])
        .ok();
    assert_eq!(back.digest(), first);
    let prod = world.channel("prod");
    assert_eq!(
        (&prod["took"], &prod["version"]),
        (&"blue".into(), &"1.0.0".into())
    );
    let blue = world.channel("blue");
    assert_eq!(
        (&blue["version"], &blue["slot_of"][0]["live"]),
        (&"3.0.0".into(), &false.into())
    );
    world
        .cairn(&["status"])
        .ok()
        .prints("1.0.0 (held, from blue)")
        .prints("2.0.0 (idle in prod)")
        .prints("3.0.0 (idle in prod)");
    world
        .cairn(&["switch", "prod", "blue"])
        .fails(6)
        .says("prod is held")
        .says("cairn resume prod, or the same command with --resume");
    world.cairn(&["switch", "prod", "blue", "--resume"]).ok();
    assert_eq!(world.channel("prod")["version"], "3.0.0");
    world.cairn(&["audit"]).ok();
}

/// Which slot is live follows from the digest that the live channel shows, however it came there.
#[test]
fn a_slot_is_live_again_when_a_rollback_goes_back_to_what_it_shows() {
    let world = Hosted::new();
    world.release("1.0.0", "blue");
    world.cairn(&["switch", "prod", "blue"]).ok();
    world.release("2.0.0", "green");
    world.cairn(&["switch", "prod", "green"]).ok();
    world.cairn(&["rollback", "prod"]).ok();
    let live = |slot: &str| world.channel(slot)["slot_of"][0]["live"].clone();
    assert_eq!((live("blue"), live("green")), (true.into(), false.into()));
    world
        .cairn(&["status"])
        .ok()
        .prints("1.0.0 (live in prod)")
        .prints("2.0.0 (idle in prod)")
        .prints("1.0.0 (held, from blue)");
    // What no slot was asked for makes none of them live.
    world.cairn(&["resume", "prod"]).ok();
    world.release("3.0.0", "prod");
    assert_eq!((live("blue"), live("green")), (false.into(), false.into()));
    assert!(world.channel("prod")["took"].is_null());
}

#[test]
fn a_pipeline_that_releases_onto_a_held_channel_is_told_and_moves_nothing() {
    let world = Hosted::new();
    let first = world.release("1.0.0", "prod");
    world.release("2.0.0", "prod");
    world
        .cairn(&["rollback", "prod", "--reason", "500s on checkout"])
        .ok();
    let key = std::fs::read_to_string(world.sandbox.key()).expect("the key that was made");
    world.sandbox.write_app("3.0.0");
    let mut pipeline = world.sandbox.command(["release", "3.0.0", "--channel", "prod"]);
    pipeline.env("CI", "true").env("CAIRN_KEY", &key);
    crate::harness::run(&mut pipeline)
        .fails(6)
        .says("released")
        .says("prod is held since")
        .says("500s on checkout")
        .says("3.0.0 is released, but prod was not moved; cairn resume prod, then cairn promote 3.0.0 prod");
    assert_eq!(world.channel("prod")["digest"], first.as_str());
    let tag = world.server.repository("team/hello:prod");
    assert_eq!(world.sandbox.tagged(&tag), first);
    // Repeated by whoever restarts the job, nothing changes, and it is told again.
    crate::harness::run(&mut pipeline)
        .fails(6)
        .says("prod is held since");
    world.cairn(&["resume", "prod"]).ok();
    world.cairn(&["promote", "3.0.0", "prod"]).ok();
    assert_eq!(world.channel("prod")["version"], "3.0.0");
}

#[test]
fn a_rollback_repeated_after_a_time_out_goes_one_step_and_not_two() {
    let world = Hosted::new();
    let proxy = Proxy::start(world.server.host());
    world.release("1.0.0", "prod");
    let second = world.release("2.0.0", "prod");
    world.release("3.0.0", "prod");
    let repository = proxy.repository("team/hello");
    // A first time, so that it is known which request is the one that counts.
    let status = ["status", "--repository", &repository];
    world.sandbox.cairn(status).ok();
    let rollback = [
        "rollback",
        "prod",
        "--reason",
        "500s",
        "--repository",
        &repository,
    ];
    let mut steps = 0;
    for request in 1.. {
        let mut command = world.sandbox.command(rollback);
        let cut = proxy.interrupt(&mut command, request, Cut::After, rustix::process::Signal::KILL);
        let Some(at) = cut.at else { break };
        assert!(request < 200, "it does not end");
        // The same command again, as the hint says, or as anybody would.
        let again = world.sandbox.cairn(rollback).ok();
        assert_eq!(again.digest(), second, "stopped after {at}");
        assert_eq!(
            world.channel("prod")["digest"],
            second.as_str(),
            "stopped after {at}"
        );
        if at.contains("cairn-head") && at.starts_with("PUT") {
            steps += 1;
        }
        world.cairn(&["resume", "prod"]).ok();
        world.cairn(&["promote", "3.0.0", "prod"]).ok();
    }
    assert_eq!(steps, 1, "the request that counts was among them");
    world.cairn(&["audit"]).ok();
}

#[test]
fn a_version_that_was_yanked_is_no_target_and_no_way_back() {
    let world = Hosted::new();
    let first = world.release("1.0.0", "prod");
    world.release("2.0.0", "prod");
    world.release("3.0.0", "prod");
    world
        .cairn(&["yank", "4.0.0"])
        .fails(1)
        .says("4.0.0 was never released");
    world
        .cairn(&["yank", "2.0.0", "--dry-run"])
        .ok()
        .says("2.0.0 (not done: --dry-run)");
    world
        .cairn(&["yank", "2.0.0", "--reason", "loses data"])
        .ok()
        .says("no way back leads to it");
    world
        .cairn(&["yank", "2.0.0"])
        .ok()
        .says("2.0.0 was yanked before");
    world
        .cairn(&["promote", "2.0.0", "prod"])
        .fails(6)
        .says("2.0.0 was yanked");
    world.cairn(&["status"]).ok().prints("1.0.0 ready");
    // What is shown goes on being shown, and that is said.
    world
        .cairn(&["yank", "3.0.0"])
        .ok()
        .says("prod shows 3.0.0 and goes on doing so: cairn rollback prod leaves it");
    world.cairn(&["status"]).ok().prints("YANKED");
    assert_eq!(world.channel("prod")["yanked"], true);
    assert_eq!(world.cairn(&["rollback", "prod"]).ok().digest(), first);
    assert_eq!(world.channel("prod")["yanked"], false);
    world.cairn(&["audit"]).ok();
}
