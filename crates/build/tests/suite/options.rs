//! Keys that change how a layer or a configuration is written: compression, attributes, health checks, annotations.

use cairn_build::BuildError;
use cairn_layer::{Limits, read_layer};
use cairn_oci::{Index, json, media_type};
use cairn_store::{Repository as _, Target};

use crate::fixture::{BaseImage, Project, read, render, tag};

fn spec(platforms: &str, rest: &str) -> String {
    format!("[image]\nname = \"a\"\nplatforms = [{platforms}]\n{rest}")
}

const AMD64: &str = "\"linux/amd64\"";

#[tokio::test]
async fn each_layer_is_compressed_as_it_says_or_as_the_image_says() {
    let project = Project::new();
    let text = r#"compression = "zstd"

[[user]]
name = "app"
uid = 10001

[[layer]]
name = "default"
write = [{ to = "/a", text = "" }]

[[layer]]
name = "gzip"
compression = "gzip"
write = [{ to = "/a", text = "" }]

[[layer]]
name = "none"
compression = "none"
write = [{ to = "/a", text = "" }]
"#;
    let built = project.build(&spec(AMD64, text)).await.unwrap();
    let (manifest, config) = project.image(&built).await;
    let types: Vec<_> = manifest
        .layers
        .iter()
        .map(|layer| layer.media_type.to_string())
        .collect();
    assert_eq!(
        types,
        [
            media_type::LAYER_ZSTD,
            media_type::LAYER_ZSTD,
            media_type::LAYER_GZIP,
            media_type::LAYER
        ]
    );
    // The compression is no part of what a layer is.
    let diff_ids = &config.rootfs.diff_ids;
    assert!(diff_ids[1] == diff_ids[2] && diff_ids[2] == diff_ids[3]);
    assert_eq!(manifest.layers[3].digest, diff_ids[3]);
    assert!(project.listing(&built, 0).await.contains("etc/passwd"));
}

/// The extended attributes of the first own layer, by path and name, with their values in hexadecimal.
async fn xattrs(project: &Project, text: &str) -> Vec<String> {
    let built = project.build(text).await.unwrap();
    let (manifest, _) = project.image(&built).await;
    let bytes = read(&project.repository("out"), &manifest.layers[0]).await;
    let mut found = Vec::new();
    read_layer(&bytes[..], &Limits::default(), &mut |entry, _| {
        for (name, value) in &entry.attributes.xattrs {
            let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            found.push(format!(
                "{} {} {value}",
                entry.path,
                String::from_utf8_lossy(name)
            ));
        }
        Ok(())
    })
    .unwrap();
    found
}

#[tokio::test]
async fn b6_capabilities_and_attributes_are_sorted_and_only_on_files() {
    let project = Project::hello();
    let text = r#"
[[layer]]
name = "app"
copy = [{ from = "dist/amd64/hello", to = "/bin/hello", capabilities = ["net_bind_service"], xattrs = { "user.b" = "2", "user.a" = "1" } },
        { from = "dist/", to = "/srv", xattrs = { "user.dist" = "" } }]
write = [{ to = "/bin/x", text = "", mode = "0755", capabilities = ["net_raw", "bpf"] }]
"#;
    insta::assert_snapshot!(xattrs(&project, &spec(AMD64, text)).await.join("\n"));
}

#[tokio::test]
async fn capabilities_on_a_whole_directory_are_refused() {
    let project = Project::hello();
    let text = "[[layer]]\nname = \"app\"\ncopy = [{ from = \"dist/\", to = \"/srv\", capabilities = [\"net_raw\"] }]\n";
    insta::assert_snapshot!(project.findings(&spec(AMD64, text)).await);
}

#[tokio::test]
async fn a_copy_may_give_its_directories_a_mode() {
    let project = Project::hello();
    let text = "[[layer]]\nname = \"app\"\ncopy = [{ from = \"dist\", to = \"/srv\", mode = \"0640\", dir-mode = \"0750\", owner = \"7\" }]\n";
    let built = project.build(&spec(AMD64, text)).await.unwrap();
    let listing = project.listing(&built, 0).await;
    let modes: Vec<_> = listing.lines().map(|line| &line[..8]).collect();
    assert_eq!(
        modes,
        ["0750 7 7", "0750 7 7", "0640 7 7", "0750 7 7", "0640 7 7"]
    );
}

#[tokio::test]
async fn a_health_check_has_dockers_form() {
    let project = Project::new();
    let text = r#"[config.healthcheck]
test = ["/bin/check", "--quick"]
interval = "30s"
timeout = "500ms"
start-period = "1m30s"
start-interval = "5s"
retries = 3
"#;
    let built = project.build(&spec(AMD64, text)).await.unwrap();
    let (_, config) = project.image(&built).await;
    assert_eq!(
        config.config.healthcheck.unwrap(),
        serde_json::json!({
            "Test": ["CMD", "/bin/check", "--quick"],
            "Interval": 30_000_000_000_u64,
            "Timeout": 500_000_000,
            "StartPeriod": 90_000_000_000_u64,
            "StartInterval": 5_000_000_000_u64,
            "Retries": 3,
        })
    );
}

#[tokio::test]
async fn a_health_check_is_inherited_if_it_is_named_and_may_be_switched_off() {
    let project = Project::new();
    let mut base = BaseImage::debian("amd64");
    let theirs = serde_json::json!({ "Test": ["CMD-SHELL", "true"], "Retries": 1 });
    base.config.healthcheck = Some(theirs.clone());
    let repository = project.repository("debian");
    let manifest = base.write(&repository).await;
    tag(&repository, "12", &manifest).await;
    for (rest, expected) in [
        ("", None),
        ("inherit = [\"healthcheck\"]\n", Some(theirs)),
        (
            "inherit = [\"healthcheck\"]\n[config]\nhealthcheck = { test = \"NONE\" }\n",
            Some(serde_json::json!({ "Test": ["NONE"] })),
        ),
    ] {
        let text = spec(AMD64, &format!("[base]\nimage = \"debian:12\"\n{rest}"));
        let built = project.build(&text).await.unwrap();
        assert_eq!(
            project.image(&built).await.1.config.healthcheck,
            expected,
            "{rest}"
        );
    }
}

#[tokio::test]
async fn annotations_stand_at_the_manifests_and_at_the_index() {
    let project = Project::new();
    let text = "[config]\nannotations = { \"org.opencontainers.image.title\" = \"a\" }\n";
    let built = project
        .build(&spec("\"linux/amd64\", \"linux/arm64\"", text))
        .await
        .unwrap();
    let out = project.repository("out");
    let raw = out
        .read_manifest(&Target::Digest(built.digest))
        .await
        .unwrap()
        .unwrap();
    let index: Index = json::parse(raw.bytes(), 1 << 20).unwrap();
    assert_eq!(index.annotations["org.opencontainers.image.title"], "a");
    for entry in &index.manifests {
        let (manifest, _) = project.image_at(&entry.digest).await;
        assert_eq!(manifest.annotations, index.annotations);
    }
}

#[tokio::test]
async fn what_cannot_be_removed_below_a_link_says_what_can() {
    let project = Project::new();
    let repository = project.repository("debian");
    let manifest = BaseImage::debian("amd64").write(&repository).await;
    tag(&repository, "12", &manifest).await;
    let text = spec(
        AMD64,
        "[base]\nimage = \"debian:12\"\n[[layer]]\nname = \"app\"\nremove = [\"/bin/sh\"]\n",
    );
    match project.build(&text).await {
        Err(BuildError::Spec { findings }) => insta::assert_snapshot!(render(&text, &findings)),
        other => panic!("{other:?}"),
    }
}

/// In whatever order the names were made, and so come from the disk.
#[tokio::test]
async fn b7_hard_links_all_name_the_first_path() {
    let text = "[[layer]]\nname = \"app\"\nhardlinks = true\ncopy = [{ from = \"tree/\", to = \"/srv\" }, { from = \"tree/c\", to = \"/bin/\" }, { from = \"tree/c\", to = \"/bin/own\", mode = \"0700\" }]\n";
    let mut digests = Vec::new();
    for names in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]] {
        let project = Project::new();
        let [first, others @ ..] = names;
        project.file(&format!("tree/{first}"), "one", 0o644);
        project.file("tree/z", "one", 0o644);
        for other in others {
            let tree = project.path().join("tree");
            std::fs::hard_link(tree.join(first), tree.join(other)).unwrap();
        }
        let built = project.build(&spec(AMD64, text)).await.unwrap();
        if digests.is_empty() {
            insta::assert_snapshot!(project.listing(&built, 0).await);
        }
        digests.push(built.digest);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[tokio::test]
async fn b7_without_the_key_hard_links_are_files_of_their_own() {
    let project = Project::new();
    project.file("tree/a", "one", 0o644);
    let tree = project.path().join("tree");
    std::fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    let text = "[[layer]]\nname = \"app\"\ncopy = [{ from = \"tree/\", to = \"/srv\" }]\n";
    let built = project.build(&spec(AMD64, text)).await.unwrap();
    assert_eq!(built.platforms[0].layers[0].files, 2);
}

#[tokio::test]
async fn a_root_file_system_that_is_missing_is_a_finding_in_the_spec() {
    let project = Project::new();
    let text = spec(AMD64, "[base]\nrootfs = \"vendor/{arch}.tar\"\n");
    match project.lock(&text, None).await {
        Err(cairn_build::LockError::Spec { findings }) => assert_eq!(
            render(&text, &findings),
            "5:10 there is no `vendor/amd64.tar`\n    at: \"vendor/{arch}.tar\"\n"
        ),
        other => panic!("{other:?}"),
    }
}
