//! The contract, over our client and our server, over each local store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;

use cairn_registry::server::ServerConfig;
use cairn_store::conformance;
use cairn_store::{Directory, Memory, Store};
use support::{Running, remote};

async fn check(store: Arc<dyn Store>) {
    let server = Running::start(store, ServerConfig::default()).await;
    let repository = remote(&server.host(), "team/web");
    let sibling = remote(&server.host(), "team/sibling/manifests");
    conformance::check(Arc::new(repository), Arc::new(sibling)).await;
    server.stop().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_over_http_and_memory() {
    check(Arc::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_over_http_and_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    check(Arc::new(Directory::open(directory.path()).unwrap())).await;
}
