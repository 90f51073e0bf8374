//! One ledger's files, as they are: `INSTA_UPDATE=always cargo test -p cairn-ledger` writes them anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_ledger::head;
use cairn_oci::Document;
use cairn_store::Target;
use serde_json::{Value, json};

use crate::support::*;

fn opened_up(envelope: &[u8]) -> Value {
    let mut envelope: Value = serde_json::from_slice(envelope).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    envelope["payload"] = serde_json::from_slice(&payload).unwrap();
    envelope
}

async fn blob(world: &World, digest: cairn_oci::Digest) -> Vec<u8> {
    let content = world
        .repo
        .read_blob(&digest, None)
        .await
        .unwrap()
        .unwrap()
        .content;
    cairn_store::collect(content, 1 << 20).await.unwrap().to_vec()
}

#[tokio::test]
async fn the_files_of_a_small_ledger_are_these() {
    let world = World::new();
    world.init().await;
    world.release("1.0.0", &["prod"]).await;
    world.release("2.0.0", &["prod"]).await;
    world.rollback("prod").await;
    world.resume("prod").await;
    let target = Target::Tag(head::linear_tag());
    let raw = world.repo.read_manifest(&target).await.unwrap().unwrap();
    let Document::Manifest(manifest) = raw.document().unwrap() else {
        panic!("an index")
    };
    let config = blob(&world, manifest.config.digest).await;
    let pack = blob(&world, manifest.layers[0].digest).await;
    let entries: Vec<Value> = pack
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(opened_up)
        .collect();
    let golden = json!({
        "1 head": serde_json::from_slice::<Value>(raw.bytes()).unwrap(),
        "2 config (payload decoded)": opened_up(&config),
        "3 entries (payloads decoded)": entries,
        "4 names": world.open().await.view().names().map(|name| name.to_string()).collect::<Vec<_>>(),
        "5 digest of the head": raw.digest().to_string(),
    });
    let text = serde_json::to_string_pretty(&golden).unwrap();
    insta::with_settings!({ snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("small-ledger", text);
    });
}
