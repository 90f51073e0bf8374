//! Tests of the crate as its callers see it.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests make the files that a spec copies"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod base_archives;
mod bases;
mod building;
mod differences;
mod dockerfiles;
mod documented;
mod fetches;
mod fixture;
mod golden;
mod layers;
mod locking;
mod locks;
mod options;
mod packages;
mod packed;
mod records;
mod releases;
mod schema;
mod segments;
mod selecting;
mod spec_errors;
mod specs;
mod splits;
#[path = "../../../packages/tests/support/mod.rs"]
mod support;
mod users;
mod verifying;
mod workspaces;
