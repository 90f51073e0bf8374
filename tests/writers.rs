//! Many processes that append at once: on the local store, on `cairn serve`, and where the last writer wins.

use std::collections::BTreeSet;
use std::thread;

use crate::harness::{Output, Project, Sandbox};
use crate::peers::registry::DockerRegistry;

/// Runs `count` releases of one image at once, each a process of its own, and returns what they say.
fn releases(sandboxes: &[Sandbox], count: usize, image: &str) -> Vec<Output> {
    thread::scope(|scope| {
        let start = |number: usize| {
            let sandbox = &sandboxes[number % sandboxes.len()];
            let version = format!("1.0.{number}");
            scope.spawn(move || sandbox.cairn(["release", version.as_str(), "--image", image]))
        };
        let running: Vec<_> = (0..count).map(start).collect();
        running
            .into_iter()
            .map(|one| one.join().expect("it ran"))
            .collect()
    })
}

/// Every version that was acknowledged is in the history, once, and the positions have no gap.
fn all_once(sandbox: &Sandbox, outputs: &[Output]) {
    let history = sandbox.cairn(["--json", "history", "--all"]).ok().json();
    let entries = history["entries"].as_array().expect("a list");
    let seqs: Vec<u64> = entries
        .iter()
        .map(|entry| entry["seq"].as_u64().expect("a number"))
        .collect();
    assert!(
        seqs.iter().rev().copied().eq(0..seqs.len() as u64),
        "gapless: {seqs:?}"
    );
    let names: BTreeSet<String> = entries.iter().map(|entry| entry["name"].to_string()).collect();
    assert_eq!(names.len(), entries.len(), "each once");
    for (number, output) in outputs.iter().enumerate() {
        assert_eq!(output.code, Some(0), "{output}");
        let version = format!("1.0.{number}");
        let made = entries
            .iter()
            .filter(|entry| entry["version"] == version.as_str());
        assert_eq!(made.count(), 1, "{version}");
    }
}

#[test]
fn g11_64_processes_that_append_at_once_to_the_local_store_are_all_there_once() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "0");
    let digest = sandbox.cairn(["release", "0.1.0"]).ok().digest();
    let sandboxes = [sandbox];
    let outputs = releases(&sandboxes, 64, &format!("hello@{digest}"));
    all_once(&sandboxes[0], &outputs);
    sandboxes[0].cairn(["audit"]).ok();
}

#[test]
fn g11_64_processes_that_append_at_once_to_a_server_are_all_there_once() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let repository = server.repository("team/hello");
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new().repository(&repository), "0");
    let digest = sandbox.cairn(["release", "0.1.0"]).ok().digest();
    let sandboxes = [sandbox];
    let outputs = releases(&sandboxes, 64, &format!("{repository}@{digest}"));
    all_once(&sandboxes[0], &outputs);
    sandboxes[0].cairn(["audit"]).ok();
}

/// Two pipelines without memory of each other and one person who reads.
#[test]
fn g11_16_processes_where_the_last_writer_wins_lose_nothing_and_all_readers_agree() {
    let first = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&first) else {
        return;
    };
    let repository = registry.repository("team/hello");
    first.write_project(&Project::new().repository(&repository), "0");
    let digest = first.cairn(["release", "0.1.0"]).ok().digest();
    let sandboxes: Vec<Sandbox> = (0..4).map(|_| colleague(&first, &repository)).collect();
    let image = format!("{repository}@{digest}");
    let outputs = releases(&sandboxes, 16, &image);
    for output in &outputs {
        assert_eq!(output.code, Some(0), "{output}");
    }
    let stranger = Sandbox::new();
    stranger.write_project(&Project::new().repository(&repository), "0");
    let readers: Vec<&Sandbox> = sandboxes.iter().chain([&first, &stranger]).collect();
    let histories: Vec<serde_json::Value> = readers
        .iter()
        .map(|reader| reader.cairn(["--json", "history", "--all"]).ok().json()["entries"].clone())
        .collect();
    assert!(
        histories.iter().all(|history| *history == histories[0]),
        "readers differ"
    );
    let entries = histories[0].as_array().expect("a list");
    assert_eq!(entries.len(), 18, "the genesis, the first release, and 16 more");
    first.cairn(["audit"]).ok();
}

/// A sandbox with the key of another.
fn colleague(of: &Sandbox, repository: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new().repository(repository), "0");
    let key = sandbox.key();
    std::fs::create_dir_all(key.parent().expect("a directory")).expect("made");
    std::fs::copy(of.key(), key).expect("copied");
    sandbox
}
