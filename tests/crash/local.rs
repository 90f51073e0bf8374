//! Commands on the local store, ended at random moments: they have no requests to count.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::clean_or_incomplete;
use crate::harness::{Output, Project, Random, Sandbox, spawn, wait};

/// How often each command is ended.
const ROUNDS: u64 = 24;

/// Runs a command and sends it a signal some time between its start and the time that it usually takes. What is checked
/// holds whenever the signal comes, also if it comes too late.
fn end_some_time(
    sandbox: &Sandbox,
    arguments: &[&str],
    usual: Duration,
    random: &mut Random,
    signal: Signal,
) -> Output {
    let after = usual.mul_f64(random.below(1000) as f64 / 1000.0);
    let mut command = sandbox.command(arguments);
    let child = spawn(&mut command);
    let id = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    std::thread::sleep(after);
    // It is not waited for yet, so its id is still its own.
    rustix::process::kill_process(id.unwrap(), signal).unwrap();
    wait(&command, child)
}

/// How long a release takes here, now.
fn usual(sandbox: &Sandbox) -> Duration {
    let started = Instant::now();
    sandbox.write_app("usual");
    sandbox.cairn(["release", "0.9.0", "--channel", "prod"]).ok();
    started.elapsed()
}

/// What is in the store is what its names say: every blob, and the layout that other tools read.
fn store_is_whole(sandbox: &Sandbox, about: &str) {
    let tree = sandbox.store_tree();
    for path in tree.files("blobs") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let digest = tree.0[path].unwrap();
        assert_eq!(digest.hex(), name, "{about}: {}", path.display());
    }
    // A file in the making has no name that counts until it is whole.
    let counts = |path: &&&std::path::Path| !path.file_name().unwrap().to_str().unwrap().starts_with(".tmp-");
    for path in tree.files("tags").iter().filter(counts) {
        let text = std::fs::read_to_string(sandbox.store().join(path)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text)
            .unwrap_or_else(|error| panic!("{about}: {} is half written: {error}", path.display()));
    }
}

fn releases(signal: Signal) {
    let mut random = Random::new();
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "0");
    sandbox.cairn(["release", "0.1.0", "--channel", "prod"]).ok();
    let usual = usual(&sandbox);
    let mut ended = 0;
    for round in 0..ROUNDS {
        let version = format!("1.0.{round}");
        sandbox.write_app(&version);
        let arguments = ["release", &version, "--channel", "prod"];
        let output = end_some_time(&sandbox, &arguments, usual, &mut random, signal);
        let about = format!("round {round}: {output}");
        ended += u64::from(output.code != Some(0));
        if signal == Signal::INT && !matches!(output.code, Some(0 | 130)) {
            // Before the program could ask for the signal, the system's own way of ending it holds.
            assert_eq!(output.signal, Some(Signal::INT.as_raw()), "{about}");
        }
        store_is_whole(&sandbox, &about);
        clean_or_incomplete(&sandbox, &about);
        let done = sandbox.cairn(arguments).ok().digest();
        sandbox.cairn(["audit", "--deep"]).ok();
        assert_eq!(sandbox.tagged("hello:prod"), done, "{about}");
        assert_eq!(sandbox.tagged(&format!("hello:{version}")), done, "{about}");
    }
    assert!(ended > 0, "nothing was ended in {ROUNDS} rounds of {usual:?}");
    let history = sandbox.cairn(["--json", "history", "--all"]).ok().json();
    let count = history["entries"].as_array().unwrap().len() as u64;
    assert_eq!(
        count,
        ROUNDS + 3,
        "one entry each, the genesis, and the first two: {history:#}"
    );
}

#[test]
fn killed_release() {
    releases(Signal::KILL);
}

#[test]
fn interrupted_release() {
    releases(Signal::INT);
}

#[test]
fn g14_killed_rollback() {
    let mut random = Random::new();
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    let old = sandbox
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .ok()
        .digest();
    let usual = usual(&sandbox);
    for round in 0..ROUNDS {
        let arguments = ["rollback", "prod", "--reason", "a test"];
        let output = end_some_time(&sandbox, &arguments, usual, &mut random, Signal::KILL);
        let about = format!("round {round}: {output}");
        store_is_whole(&sandbox, &about);
        clean_or_incomplete(&sandbox, &about);
        assert_eq!(sandbox.cairn(arguments).ok().digest(), old, "{about}");
        assert_eq!(sandbox.tagged("hello:prod"), old, "{about}");
        sandbox.cairn(["audit", "--deep"]).ok();
        sandbox.cairn(["promote", "0.9.0", "prod", "--resume"]).ok();
    }
    let history = sandbox.cairn(["--json", "history", "--all"]).ok().json();
    let entries = history["entries"].as_array().unwrap();
    let rollbacks = entries.iter().filter(|entry| entry["kind"] == "rollback");
    assert_eq!(rollbacks.count() as u64, ROUNDS, "one entry each: {history:#}");
}
