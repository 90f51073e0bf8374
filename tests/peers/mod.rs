//! Cairn beside tools that others wrote: they read what it writes, and it reads what they write.
//!
//! A test whose tool is missing, or cannot work on this machine, is skipped (CONTRIBUTING.md, "Tests with other tools").

mod archives;
mod base;
mod buildah;
mod crane;
mod debian;
mod distribution;
mod docker_registry;
mod examples;
mod hello;
mod http;
mod layout;
mod login;
mod machine;
mod nginx;
mod openssl;
mod peer;
mod place;
mod podman;
pub(crate) mod registry;
mod root_file_system;
mod run;
mod secure;
mod service;
mod sign_in;
mod skopeo;
mod tls;
mod token_server;

use serde_json::Value;

use crate::harness::Sandbox;

/// Releases `version` to prod, and returns the digest.
#[track_caller]
fn release(sandbox: &Sandbox, version: &str) -> String {
    sandbox
        .cairn(["release", version, "--channel", "prod"])
        .ok()
        .digest()
}

/// What `cairn status` says of the only channel.
#[track_caller]
fn channel(sandbox: &Sandbox) -> Value {
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    status["channels"][0].clone()
}
