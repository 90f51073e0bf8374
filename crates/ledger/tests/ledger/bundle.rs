//! What others read: the bundle is verified here by nothing of ours, with the rules of DSSE and Ed25519 alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_ledger::key::Signer as _;
use cairn_store::{Page, Target};
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde_json::Value;

use crate::support::*;

async fn bundle_of(world: &World, digest: cairn_oci::Digest) -> (Value, Value) {
    let page = world
        .repo
        .list_referrers(&digest, None, &Page::first())
        .await
        .unwrap();
    assert_eq!(page.manifests.len(), 1, "one referrer for one release");
    let target = Target::Digest(page.manifests[0].digest);
    let manifest = world.repo.read_manifest(&target).await.unwrap().unwrap();
    let manifest: Value = serde_json::from_slice(manifest.bytes()).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let blob = world.repo.read_blob(&layer, None).await.unwrap().unwrap();
    let bytes = cairn_store::collect(blob.content, 1 << 20).await.unwrap();
    (manifest, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn a_release_is_attached_as_a_bundle_that_verifies_with_the_public_key() {
    let world = World::new();
    world.init().await;
    let done = world.release("1.0.0", &["prod"]).await;
    world.release("1.0.0", &["prod"]).await;
    let digest = done.digest.unwrap();
    let (manifest, bundle) = bundle_of(&world, digest).await;

    const TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    assert_eq!(manifest["artifactType"], TYPE);
    assert_eq!(manifest["layers"][0]["mediaType"], TYPE);
    assert_eq!(manifest["subject"]["digest"], digest.to_string());
    assert_eq!(
        manifest["annotations"]["dev.sigstore.bundle.content"],
        "dsse-envelope"
    );
    assert_eq!(
        manifest["annotations"]["dev.sigstore.bundle.predicateType"],
        "urn:cairn:entry:v1"
    );
    assert_eq!(bundle["mediaType"], TYPE);
    let hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        .as_str()
        .unwrap();
    assert_eq!(hint, world.key.key().fingerprint().to_string());

    let envelope = &bundle["dsseEnvelope"];
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let payload_type = envelope["payloadType"].as_str().unwrap();
    let mut signed = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    signed.extend(&payload);
    let signature = STANDARD
        .decode(envelope["signatures"][0]["sig"].as_str().unwrap())
        .unwrap();
    let key = VerifyingKey::from_public_key_pem(&world.key.key().to_pem()).unwrap();
    key.verify(&signed, &Signature::from_slice(&signature).unwrap())
        .unwrap();
    signed[40] ^= 1;
    assert!(
        key.verify(&signed, &Signature::from_slice(&signature).unwrap())
            .is_err()
    );

    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "urn:cairn:entry:v1");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.hex());
    assert_eq!(statement["predicate"]["version"], "1.0.0");
}

#[tokio::test]
async fn g15_what_is_attached_is_what_the_ledger_stores() {
    let world = World::new();
    world.init().await;
    let done = world.release("1.0.0", &[]).await;
    let (_, bundle) = bundle_of(&world, done.digest.unwrap()).await;
    let opened = world.open().await;
    let stored: Value = serde_json::from_slice(&opened.view().records()[1].envelope).unwrap();
    assert_eq!(stored["payload"], bundle["dsseEnvelope"]["payload"]);
    assert_eq!(
        stored["signatures"][0]["sig"],
        bundle["dsseEnvelope"]["signatures"][0]["sig"]
    );
    let payload = STANDARD.decode(stored["payload"].as_str().unwrap()).unwrap();
    assert_eq!(cairn_oci::Digest::of(&payload), done.entry.unwrap().name);
}
