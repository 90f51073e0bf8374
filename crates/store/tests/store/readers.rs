//! Other tools read what we wrote, with no help from us.

use std::path::Path;
use std::process::{Command, Output};

use cairn_store::{Directory, Repository, Store, layout};

use crate::content::{image, name, points_at, push};

/// Runs a tool; `None`, after saying so, if the machine does not have it.
fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {tool} is not installed");
            None
        }
        output => Some(output.unwrap()),
    }
}

fn succeed(tool: &str, arguments: &[&str]) -> Option<String> {
    let output = run(tool, arguments)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A store with two tags and a referrer.
async fn released(path: &Path) -> String {
    let store = Directory::open(path).unwrap();
    let repository = store.open_repository(&name());
    let (one, two) = (image("one"), image("two"));
    push(&repository, "1.0.0", &one).await.unwrap();
    push(&repository, "2.0.0", &two).await.unwrap();
    push(&repository, "prod", &two).await.unwrap();
    let mut about = match one.manifest.document().unwrap() {
        cairn_oci::Document::Manifest(manifest) => manifest,
        cairn_oci::Document::Index(_) => panic!("an image is no index"),
    };
    about.subject = Some(two.manifest.descriptor());
    let name_key = cairn_oci::annotations::REF_NAME.to_owned();
    about.annotations.insert(name_key, "not-a-tag".to_owned());
    let bytes = cairn_oci::json::canonical(&about);
    let referrer = cairn_store::RawManifest::new(cairn_oci::media_type::MANIFEST, bytes);
    let target = cairn_store::Target::Digest(referrer.digest());
    repository
        .write_manifest(&target, &referrer, &cairn_store::Condition::Always)
        .await
        .unwrap();
    store.flush().await.unwrap();
    repository.layout().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn skopeo_reads_a_repository_of_the_store() {
    let place = tempfile::tempdir().unwrap();
    let layout = released(&place.path().join("store")).await;
    for (tag, label) in [("1.0.0", "one"), ("2.0.0", "two"), ("prod", "two")] {
        let source = format!("oci:{layout}:{tag}");
        let Some(text) = succeed("skopeo", &["inspect", "--format", "{{.Digest}}", &source]) else {
            return;
        };
        assert_eq!(text.trim(), image(label).manifest.digest().to_string());
    }
    let target = format!("dir:{}", place.path().join("copied").display());
    succeed(
        "skopeo",
        &[
            "copy",
            "--insecure-policy",
            &format!("oci:{layout}:1.0.0"),
            &target,
        ],
    );
    let absent = run("skopeo", &["inspect", &format!("oci:{layout}:not-a-tag")]);
    assert!(
        absent.is_none_or(|output| !output.status.success()),
        "an annotation became a tag"
    );
}

#[tokio::test]
async fn umoci_lists_a_repository_of_the_store() {
    let place = tempfile::tempdir().unwrap();
    let layout = released(&place.path().join("store")).await;
    if let Some(text) = succeed("umoci", &["ls", "--layout", &layout]) {
        assert_eq!(text.lines().collect::<Vec<_>>(), ["1.0.0", "2.0.0", "prod"]);
        succeed("umoci", &["stat", "--image", &format!("{layout}:prod"), "--json"]);
    }
}

#[tokio::test]
async fn skopeo_and_a_layout_of_ours_read_each_other() {
    let place = tempfile::tempdir().unwrap();
    let (ours, theirs) = (place.path().join("ours"), place.path().join("theirs"));
    let written = layout::create(&ours).unwrap();
    push(&written, "1.0", &image("one")).await.unwrap();
    push(&written, "2.0", &image("two")).await.unwrap();
    let at = |path: &Path, tag: &str| format!("oci:{}{tag}", path.display());
    let copy = |from: &str, to: &str| {
        // Or skopeo compresses layers on the way.
        succeed(
            "skopeo",
            &["copy", "--insecure-policy", "--preserve-digests", from, to],
        )
    };
    if copy(&at(&ours, ":1.0"), &at(&theirs, ":copied")).is_none() {
        return;
    }
    let read = layout::open(&theirs).unwrap();
    let digest = image("one").manifest.digest();
    assert_eq!(points_at(&read, "copied").await, Some(digest));
    // They add to ours, and we to theirs.
    copy(&at(&theirs, ":copied"), &at(&ours, ":theirs"));
    assert_eq!(points_at(&written, "theirs").await, Some(digest));
    assert_eq!(
        points_at(&written, "2.0").await,
        Some(image("two").manifest.digest())
    );
    push(&layout::create(&theirs).unwrap(), "ours", &image("two"))
        .await
        .unwrap();
    let listed = succeed(
        "skopeo",
        &["inspect", "--format", "{{.Digest}}", &at(&theirs, ":ours")],
    );
    assert_eq!(listed.unwrap().trim(), image("two").manifest.digest().to_string());
    // Without a tag they write an entry without a name.
    let untagged = place.path().join("untagged");
    copy(&at(&ours, ":1.0"), &at(&untagged, ""));
    let sole = layout::open(&untagged).unwrap().sole_manifest().await.unwrap();
    assert_eq!(sole.map(|entry| entry.digest), Some(digest));
}
