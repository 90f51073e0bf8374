//! Debian's skopeo against our server: there and back again, same bytes.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::sync::Arc;

use cairn_oci::{Descriptor, Index, Manifest, Platform, json, media_type};
use cairn_registry::server::ServerConfig;
use cairn_store::{Condition, Directory, RawManifest, Repository, Target, from_bytes};
use program::{installed, run};
use support::{Running, raw, remote};

/// An empty layer and the configuration that skopeo wants to see.
async fn image(repository: &dyn Repository, architecture: &str) -> RawManifest {
    let layer = vec![0_u8; 1024];
    let layer_descriptor = Descriptor::of(media_type::LAYER, &layer);
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer_descriptor.digest] },
    });
    let config = json::canonical(&config);
    let config_descriptor = Descriptor::of(media_type::CONFIG, &config);
    for (descriptor, bytes) in [(&config_descriptor, config), (&layer_descriptor, layer)] {
        let written = repository.write_blob(&descriptor.digest, descriptor.size, from_bytes(bytes));
        written.await.unwrap();
    }
    raw(&Manifest::image(config_descriptor, vec![layer_descriptor]))
}

async fn index(repository: &dyn Repository) -> RawManifest {
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let manifest = image(repository, architecture).await;
        let target = Target::Digest(manifest.digest());
        repository
            .write_manifest(&target, &manifest, &Condition::Always)
            .await
            .unwrap();
        entries.push(
            manifest
                .descriptor()
                .with_platform(Platform::new("linux", architecture)),
        );
    }
    RawManifest::new(media_type::INDEX, json::canonical(&Index::images(entries)))
}

async fn skopeo(home: &Path, arguments: &[&str]) -> String {
    let policy = ["--insecure-policy"];
    run("skopeo", &[&policy[..], arguments].concat(), home).await
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_takes_an_index_and_brings_it_back_unchanged() {
    if installed("skopeo").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Directory::open(directory.path().join("store")).unwrap();
    let server = Running::start(Arc::new(store), ServerConfig::default()).await;
    let remote_from = remote(&server.host(), "team/from");
    let index = index(&remote_from).await;
    let tag = Target::Tag("1.0".parse().unwrap());
    remote_from
        .write_manifest(&tag, &index, &Condition::Always)
        .await
        .unwrap();

    let host = server.host();
    let (from, to) = (
        format!("docker://{host}/team/from:1.0"),
        format!("docker://{host}/team/to:1.0"),
    );
    let layout = format!("oci:{}:1.0", directory.path().join("layout").display());
    let home = directory.path();
    skopeo(
        home,
        &[
            "copy",
            "--all",
            "--preserve-digests",
            "--src-tls-verify=false",
            &from,
            &layout,
        ],
    )
    .await;
    skopeo(
        home,
        &[
            "copy",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
            &layout,
            &to,
        ],
    )
    .await;

    let there = remote(&host, "team/to").read_manifest(&tag).await.unwrap();
    assert_eq!(there, Some(index.clone()));
    let inspected = skopeo(
        home,
        &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &to],
    )
    .await;
    assert_eq!(inspected.trim(), index.digest().to_string());
    let listed = skopeo(
        home,
        &[
            "list-tags",
            "--tls-verify=false",
            &format!("docker://{host}/team/to"),
        ],
    )
    .await;
    assert!(listed.contains("\"1.0\""), "{listed}");
    skopeo(home, &["delete", "--tls-verify=false", &to]).await;
    assert_eq!(remote(&host, "team/to").read_manifest(&tag).await.unwrap(), None);
}
