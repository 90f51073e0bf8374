//! Several people at once, on one registry.

use std::thread;

use crate::harness::{Output, Project, Sandbox};

/// How many act at once.
const PEOPLE: usize = 6;

/// A sandbox with its own store and memory, and the key of another: colleagues who share a pipeline's key.
fn colleague(of: &Sandbox, repository: &str, version: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new().repository(repository), version);
    let key = sandbox.key();
    std::fs::create_dir_all(key.parent().unwrap()).unwrap();
    std::fs::copy(of.key(), key).unwrap();
    sandbox
}

/// A first person who released 0.1.0, and the others.
fn people(repository: &str) -> (Sandbox, Vec<Sandbox>) {
    let first = Sandbox::new();
    first.write_project(&Project::new().repository(repository), "0");
    first.cairn(["release", "0.1.0", "--channel", "prod"]).ok();
    let others = (1..=PEOPLE).map(|number| colleague(&first, repository, &number.to_string()));
    let others = others.collect();
    (first, others)
}

fn at_once(people: &[Sandbox], arguments: impl Fn(usize) -> Vec<String> + Sync) -> Vec<Output> {
    thread::scope(|scope| {
        let arguments = &arguments;
        let running: Vec<_> = people
            .iter()
            .enumerate()
            .map(|(number, person)| scope.spawn(move || person.cairn(arguments(number))))
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn g11_releases_at_once_are_all_in_the_ledger_once() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let repository = server.repository("team/hello");
    let (first, others) = people(&repository);
    let outputs = at_once(&others, |number| {
        words(&["release", &format!("1.0.{number}"), "--channel", "prod"])
    });
    let moved = outputs.iter().filter(|output| output.code == Some(0)).count();
    assert!(moved > 0, "nobody moved the channel");
    for output in &outputs {
        assert!(matches!(output.code, Some(0 | 6)), "done, or overtaken: {output}");
    }
    let history = first.cairn(["--json", "history", "--all"]).ok().json();
    let entries = history["entries"].as_array().unwrap();
    for number in 0..PEOPLE {
        let version = format!("1.0.{number}");
        let same = entries.iter().filter(|entry| entry["version"] == *version);
        assert_eq!(same.count(), 1, "{version}: {history:#}");
        first.cairn(["show", &version]).ok().prints("released");
    }
    first.cairn(["audit", "--deep"]).ok();
    let status = first.cairn(["--json", "status"]).ok().json();
    assert_eq!(status["channels"][0]["agrees"], true);
    assert_eq!(status["size"], entries.len());
}

#[test]
fn g11_one_version_is_bound_once() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let repository = server.repository("team/hello");
    let (first, others) = people(&repository);
    // Each has another image.
    let outputs = at_once(&others, |_| words(&["release", "1.0.0"]));
    let bound: Vec<&Output> = outputs.iter().filter(|output| output.code == Some(0)).collect();
    assert_eq!(bound.len(), 1, "one wins: {outputs:#?}");
    for output in outputs.iter().filter(|output| output.code != Some(0)) {
        assert_eq!(output.code, Some(6), "{output}");
    }
    let tagged = first.tagged(&format!("{repository}:1.0.0"));
    assert_eq!(tagged, bound[0].digest());
    first.cairn(["audit", "--deep"]).ok();
}

#[test]
fn rollbacks_at_once_go_back_one_step() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let repository = server.repository("team/hello");
    let (first, others) = people(&repository);
    for version in ["0.2.0", "0.3.0"] {
        first.write_app(version);
        first.cairn(["release", version, "--channel", "prod"]).ok();
    }
    let expected = first.tagged(&format!("{repository}:0.2.0"));
    let outputs = at_once(&others, |_| words(&["rollback", "prod", "--reason", "500s"]));
    for output in outputs {
        let output = output.ok();
        assert_eq!(output.digest(), expected, "{output}");
    }
    assert_eq!(first.tagged(&format!("{repository}:prod")), expected);
    let history = first.cairn(["--json", "history", "--all"]).ok().json();
    let effective = history["entries"].as_array().unwrap().iter();
    let rollbacks =
        effective.filter(|entry| entry["kind"] == "rollback" && entry["void"] == serde_json::json!([]));
    assert_eq!(rollbacks.count(), 1, "{history:#}");
    first.cairn(["audit"]).ok();
}

#[test]
fn builds_at_once_in_one_store_give_one_image() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    let digests: Vec<String> = thread::scope(|scope| {
        let builds: Vec<_> = (0..PEOPLE)
            .map(|_| scope.spawn(|| sandbox.cairn(["build"]).ok().digest()))
            .collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    sandbox.cairn(["verify"]).ok();
}
