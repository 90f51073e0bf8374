//! The fault matrix of the ledger, over HTTP: every write of every operation is lost once, and once done without an answer. The matrix
//! is that of `crates/ledger/tests`, which may not know of registries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_registry::client::{Client, ClientConfig};

use crate::harness::Sandbox;
use crate::peers::registry::DockerRegistry;

#[path = "../crates/ledger/tests/ledger/matrix.rs"]
#[expect(dead_code, reason = "less is tried where each write costs requests")]
mod matrix;
#[path = "../crates/ledger/tests/ledger/support.rs"]
#[expect(dead_code, reason = "it has what the other tests of the ledger need besides")]
mod support;

use matrix::{Care, break_every_write};
use support::Repo;

/// Another repository of this registry each time.
async fn over_http(place: &str, host: &str) {
    let client = Client::new(ClientConfig::default());
    let number = AtomicU64::new(0);
    break_every_write(place, Care::Twice, async || {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let name = format!("team/web-{number}").parse().expect("a name");
        Arc::new(client.repository(host, name).expect("a host")) as Repo
    })
    .await;
}

#[tokio::test]
async fn g14_every_write_broken_on_a_server_leaves_a_command_that_completes() {
    let registry = Sandbox::new();
    let server = registry.serve();
    over_http("cairn serve", server.host()).await;
}

#[tokio::test]
async fn g14_every_write_broken_where_the_last_writer_wins_leaves_a_command_that_completes() {
    let sandbox = Sandbox::new();
    let Some(registry) = DockerRegistry::start(&sandbox) else {
        return;
    };
    over_http("docker-registry", registry.host()).await;
}
