//! Ended at any moment, by `kill -9` or Ctrl-C: nothing that was said to be done is lost, nothing half done counts, and the
//! same command again finishes the work.
//!
//! `kill -9` leaves the kernel's cache alone, so this says nothing about power loss: crates/store tries that, with a file
//! system that forgets what was not synced.

mod drain;
mod local;
mod server;
mod step;

use crate::harness::Sandbox;

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
