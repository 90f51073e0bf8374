//! `cairn doctor`: what it finds, and that it leaves nothing.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Cut, Project, Proxy, Sandbox};

/// The answer to one question of a report.
fn answer<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("a list");
    let found = findings.iter().find(|found| found["subject"] == subject);
    &found.unwrap_or_else(|| panic!("no {subject} in {report}"))["answer"]
}

#[test]
fn a_server_of_ours_carries_a_linear_ledger_and_is_left_as_it_was() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let sandbox = Sandbox::new();
    let repository = server.repository("team/hello");
    let report = sandbox.cairn(["--json", "doctor", &repository]).ok().json();
    assert_eq!(report["ledger"], "linear");
    assert_eq!(report["left"], json!([]));
    assert_eq!(report["findings"].as_array().expect("a list").len(), 18);
    sandbox
        .cairn(["doctor", &repository])
        .ok()
        .prints("ledger  linear")
        .prints("announced, tried, and confirmed");
    assert_eq!(sandbox.cairn(["tags", "--all", &repository]).ok().stdout, "");
}

#[test]
fn a_repository_in_use_keeps_its_tags() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let sandbox = Sandbox::new();
    let repository = server.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    let before = sandbox.cairn(["tags", "--all", &repository]).ok().stdout;
    sandbox.cairn(["doctor", &format!("{repository}:prod")]).ok();
    assert_eq!(sandbox.cairn(["tags", "--all", &repository]).ok().stdout, before);
    sandbox.cairn(["audit", "--deep"]).ok();
}

#[test]
fn looking_only_writes_nothing() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let proxy = Proxy::start(server.host());
    let sandbox = Sandbox::new();
    let repository = proxy.repository("team/hello");
    let report = sandbox
        .cairn(["--json", "doctor", "--read-only", &repository])
        .ok()
        .json();
    assert_eq!(answer(&report, "conditions"), "yes");
    assert_eq!(answer(&report, "tags-move"), "not-asked");
    let lines: Vec<String> = proxy
        .exchanges()
        .into_iter()
        .map(|exchange| exchange.line)
        .collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.starts_with("GET ")),
        "{lines:?}"
    );
}

#[test]
fn interrupted_it_removes_what_it_wrote() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let proxy = Proxy::start(server.host());
    let sandbox = Sandbox::new();
    let repository = proxy.repository("team/hello");
    let mut stopped = 0;
    for (count, signal, code) in [
        (8, Signal::INT, 130),
        (20, Signal::TERM, 143),
        (40, Signal::INT, 130),
    ] {
        let mut command = sandbox.command(["doctor", &repository]);
        let run = proxy.interrupt(&mut command, count, Cut::After, signal);
        stopped += usize::from(run.at.is_some());
        run.output.exits(code).says("stopped");
        let tags = sandbox
            .cairn(["tags", "--all", &server.repository("team/hello")])
            .ok();
        assert_eq!(tags.stdout, "", "interrupted at request {count}");
    }
    assert_eq!(stopped, 3);
}

#[test]
fn the_local_store_and_a_layout_are_examined_as_far_as_there_is_something_to_ask() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["build", "--output", "oci:out:1"]).ok();
    let tags = || sandbox.cairn(["tags", "--all", "hello"]).ok().stdout;
    let before = tags();
    let report = sandbox.cairn(["--json", "doctor", "hello"]).ok().json();
    assert_eq!(report["ledger"], "linear");
    assert_eq!(answer(&report, "digest-header"), "not-applicable");
    assert_eq!(tags(), before);

    let index = std::fs::read(sandbox.project().join("out/index.json")).expect("a layout");
    let report = sandbox.cairn(["--json", "doctor", "oci:out"]).ok().json();
    assert_eq!(report["ledger"], "not-applicable");
    assert_eq!(answer(&report, "conditions"), "not-applicable");
    let after = std::fs::read(sandbox.project().join("out/index.json")).expect("a layout");
    assert_eq!(after, index);

    sandbox
        .cairn(["doctor", "nothing"])
        .exits(1)
        .says("no repository `nothing`");
    sandbox
        .cairn(["doctor", "oci:nowhere"])
        .exits(1)
        .says("not an OCI image layout");
    sandbox
        .cairn(["doctor", "oci-archive:x.tar"])
        .exits(1)
        .says("no repository");
    sandbox.cairn(["doctor", "127.0.0.1:1/x"]).exits(3);
}
