//! Ended at any moment, by `kill -9` or Ctrl-C: nothing that was said to be done is lost, nothing half done counts, and the
//! same command again finishes the work.
//!
//! `kill -9` leaves the kernel's cache alone, so this says nothing about power loss: crates/store tries that, with a file
//! system that forgets what was not synced.

mod drain;
mod local;
mod outage;
mod server;
mod step;

use crate::harness::{Output, Sandbox};

/// What an audit may find after a crash: names that were not written yet. Nothing else may be amiss.
const INCOMPLETE: &[&str] = &["tag-missing", "tag-differs", "referrer-missing"];

fn clean_or_incomplete(sandbox: &Sandbox, about: &str) {
    let audit = sandbox.cairn(["--json", "audit"]);
    match audit.code {
        Some(0) => {}
        // Before the ledger begins there is nothing to audit.
        Some(1) if audit.stderr.contains("has no ledger") => {}
        Some(4) => {
            let report = audit.json();
            for finding in report["findings"].as_array().expect("a list") {
                let code = finding["code"].as_str().expect("a code");
                assert!(INCOMPLETE.contains(&code), "{about}: {finding}");
            }
        }
        _ => panic!("{about}: {audit}"),
    }
}

/// Runs the command again to its end; then everything is whole.
fn completed<const N: usize>(sandbox: &Sandbox, arguments: &[String; N], about: &str) -> Output {
    let again = sandbox.cairn(arguments);
    assert_eq!(again.code, Some(0), "{about}: again: {again}");
    let audit = sandbox.cairn(["audit", "--deep"]);
    assert_eq!(audit.code, Some(0), "{about}: after it was completed: {audit}");
    again
}

/// The ledger's entries, newest first; none of them is void.
fn history(sandbox: &Sandbox, about: &str) -> Vec<serde_json::Value> {
    let history = sandbox.cairn(["--json", "history", "--all"]).ok().json();
    let entries = history["entries"].as_array().expect("a list").clone();
    for entry in &entries {
        assert_eq!(entry["void"], serde_json::json!([]), "{about}: {history:#}");
    }
    entries
}

/// What the channel prod shows by the ledger, which its tag agrees with.
fn prod(sandbox: &Sandbox, about: &str) -> String {
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    let prod = &status["channels"][0];
    assert_eq!(prod["agrees"], true, "{about}: {status:#}");
    prod["digest"].as_str().expect("a digest").to_owned()
}
