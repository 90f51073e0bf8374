//! An image like `examples/hello`, byte for byte: listings and documents to read, then the digest.

use cairn_store::{Repository as _, Target};

use crate::fixture::{Project, read};

const SPEC: &str = r#"[image]
name = "hello"
platforms = ["linux/amd64"]

[[user]]
name = "app"
uid = 10001

[[layer]]
name = "app"
copy = [{ from = "dist/{arch}/hello", to = "/usr/bin/hello", mode = "0755" }]

[config]
entrypoint = ["/usr/bin/hello"]
user = "app"
expose = [8080]
stop-signal = "SIGKILL"
labels = { "org.opencontainers.image.title" = "hello" }
annotations = { "org.opencontainers.image.title" = "hello", "org.opencontainers.image.licenses" = "Apache-2.0" }
"#;

fn pretty(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

#[tokio::test]
async fn hello_has_always_the_same_bytes() {
    let project = Project::hello();
    let built = project.build(SPEC).await.unwrap();
    let mut text = String::new();
    for (number, layer) in built.platforms[0].layers.iter().enumerate() {
        text.push_str(&format!(
            "layer {}\n{}\n",
            layer.name,
            project.listing(&built, number).await
        ));
    }
    let out = project.repository("out");
    let raw = out
        .read_manifest(&Target::Digest(built.digest))
        .await
        .unwrap()
        .unwrap();
    let (manifest, _) = project.image(&built).await;
    let config = read(&out, &manifest.config).await;
    text.push_str(&format!(
        "config\n{}\n\nmanifest\n{}\n\n{}\n",
        pretty(&config),
        pretty(raw.bytes()),
        built.digest
    ));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("hello", text));
}
