//! A release's signature, checked without any of Cairn's code: fetched as others fetch it, verified by openssl.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::peer::Peer;
use super::{http, release};
use crate::harness::{Project, Sandbox};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The bundle that is attached to an image, by the referrers API.
fn bundle(host: &str, repository: &str, digest: &str) -> Value {
    let referrers = http::get(host, &format!("/v2/{repository}/referrers/{digest}")).json();
    let mut referrers = referrers["manifests"].as_array().expect("a list").clone();
    // The build record is another referrer.
    referrers.retain(|referrer| referrer["artifactType"] == BUNDLE);
    assert_eq!(referrers.len(), 1, "{referrers:?}");
    let manifest = referrers[0]["digest"].as_str().expect("a digest");
    let manifest = http::manifest(host, repository, manifest).json();
    assert_eq!(manifest["subject"]["digest"], digest);
    assert_eq!(manifest["layers"][0]["mediaType"], BUNDLE);
    let blob = manifest["layers"][0]["digest"].as_str().expect("a digest");
    http::get(host, &format!("/v2/{repository}/blobs/{blob}")).json()
}

fn decoded(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("a text");
    STANDARD.decode(text).expect("base64")
}

/// What a DSSE envelope's signature is over: its pre-authentication encoding (DSSE protocol, "Signature Definition").
fn signed_bytes(envelope: &Value) -> Vec<u8> {
    let payload_type = envelope["payloadType"].as_str().expect("a text");
    let payload = decoded(&envelope["payload"]);
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), &payload].concat()
}

#[test]
fn openssl_verifies_a_release_by_the_public_key() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(openssl) = Peer::find("openssl", &sandbox) else {
        return;
    };
    let server = registry.serve();
    sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "1");
    let digest = release(&sandbox, "1.0.0");
    let envelope = bundle(server.host(), "team/hello", &digest)["dsseEnvelope"].clone();
    let statement: Value = serde_json::from_slice(&decoded(&envelope["payload"])).expect("JSON");
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        digest["sha256:".len()..]
    );
    assert_eq!(statement["predicate"]["version"], "1.0.0");

    let signed = signed_bytes(&envelope);
    sandbox.write("cairn.pub", sandbox.cairn(["key", "--pem"]).ok().stdout);
    sandbox.write("signature", decoded(&envelope["signatures"][0]["sig"]));
    let verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "cairn.pub",
        "-rawin",
        "-in",
        "signed",
        "-sigfile",
        "signature",
    ];
    sandbox.write("signed", &signed);
    openssl.run(&verify).ok().prints("Verified Successfully");
    let mut forged = signed;
    *forged.last_mut().expect("a statement is not empty") ^= 1;
    sandbox.write("signed", forged);
    openssl.run(&verify).exits(1);
}
