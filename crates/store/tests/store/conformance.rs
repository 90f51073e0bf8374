//! The contract, for every local implementation.

use std::sync::Arc;

use cairn_store::conformance::{Expectations, check, check_with};
use cairn_store::{Directory, Memory, Store, layout};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract() {
    let store = Memory::new();
    let open = async |name: &str| store.repository(&name.parse().unwrap()).await.unwrap();
    check(open("team/web").await, open("team/base").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn directory_keeps_the_contract() {
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path().join("store")).unwrap();
    let open = async |name: &str| store.repository(&name.parse().unwrap()).await.unwrap();
    check(open("team/web").await, open("team/base").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn layout_keeps_the_contract() {
    let place = tempfile::tempdir().unwrap();
    let expected = Expectations {
        mounts: false,
        keeps_untagged: false,
        ..Expectations::default()
    };
    let open = |name: &str| Arc::new(layout::create(place.path().join(name)).unwrap());
    check_with(open("one"), open("two"), expected).await;
}
