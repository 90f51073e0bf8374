//! Every spec in docs/spec.md is read, and built with the files that it copies.

use std::collections::BTreeSet;

use cairn_build::spec::{BaseSource, schema};
use cairn_build::{Spec, Workspace};
use cairn_layer::Compression;
use cairn_store::layout;
use serde_json::Value;

use crate::base_archives;
use crate::fixture::{BaseImage, Project, debian_tree, pack, write_index};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec.md");

fn blocks() -> Vec<String> {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let blocks = document.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    blocks.map(str::to_owned).collect()
}

/// Whether a block is the root of a workspace, or a member.
fn is_of_workspace(block: &str) -> bool {
    block.contains("[workspace]") || block.contains("workspace = true")
}

/// Whole specs that need no other.
fn specs() -> Vec<String> {
    let is_whole = |block: &String| block.contains("[image]") && !is_of_workspace(block);
    blocks().into_iter().filter(is_whole).collect()
}

/// Makes what `from` names: a directory with a few files, or a file.
fn make(project: &Project, from: &str) {
    let from = from
        .replace("**/*", "deep/one")
        .replace('*', "one")
        .replace("{os}", "linux");
    for architecture in ["amd64", "arm64"] {
        let from = from.replace("{arch}", architecture);
        match from.strip_suffix('/') {
            Some(directory) => {
                project.file(&format!("{directory}/file"), "content\n", 0o644);
                project.file(&format!("{directory}/deep/file"), "content\n", 0o644);
            }
            None => project.file(&from, "content\n", 0o755),
        }
    }
}

/// Makes the base, for both architectures.
async fn make_base(project: &Project, source: &BaseSource) {
    let images = || ["amd64", "arm64"].map(BaseImage::debian);
    match source {
        BaseSource::Image(reference) => {
            let repository = project.store.open(&reference.name);
            let tag_name = reference.tag.as_ref().unwrap().to_string();
            write_index(&repository, &tag_name, &images()).await;
        }
        BaseSource::RootFs(template) => {
            let (bytes, _) = pack(&debian_tree(), Compression::Zstd);
            for architecture in ["amd64", "arm64"] {
                let path = project
                    .path()
                    .join(template.as_str().replace("{arch}", architecture));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, &bytes).unwrap();
            }
        }
        BaseSource::Layout { directory, tag: name } => {
            let layout = layout::create(project.path().join(directory)).unwrap();
            write_index(&layout, name.as_ref().unwrap().as_str(), &images()).await;
        }
        BaseSource::Archive { file, .. } => {
            for image in images() {
                let path = file.expand(&image.platform);
                let path = project.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                base_archives::write_image(&image, &path).await;
            }
        }
    }
}

#[tokio::test]
async fn every_spec_in_the_documentation_is_built() {
    let specs = specs();
    assert!(specs.len() > 15, "{}", specs.len());
    for text in &specs {
        let project = Project::new();
        let spec = Spec::parse(text).unwrap_or_else(|findings| panic!("{text}\n{findings:?}"));
        for copy in spec.layers.iter().flat_map(|layer| &layer.copies) {
            make(&project, copy.from.value.as_str());
        }
        // What the documented URLs give nobody can make here: the suite `fetches` builds with content of its own.
        if spec.layers.iter().any(|layer| !layer.fetches.is_empty()) {
            continue;
        }
        // The same with a mirror: the suite `packages` has one.
        if spec.packages.is_some() {
            continue;
        }
        if let Some(base) = &spec.base {
            make_base(&project, &base.source.value).await;
        }
        let built = project.build(text).await;
        assert!(built.is_ok(), "{text}\n{built:?}");
    }
}

#[test]
fn every_member_in_the_documentation_inherits_from_the_workspace_above_it() {
    let (mut root, mut members) = (None, 0);
    for block in blocks().into_iter().filter(|block| is_of_workspace(block)) {
        if block.contains("[workspace]") {
            Workspace::parse(&block).unwrap().unwrap();
            root = Some(block);
            continue;
        }
        let root = root.as_deref().unwrap();
        Spec::parse_member(&block, root, "../").unwrap_or_else(|findings| panic!("{block}\n{findings:?}"));
        assert!(Spec::parse(&block).is_err(), "{block}");
        members += 1;
    }
    assert!(members > 1, "{members}");
}

/// The keys of each table in the schema, as `table.key`.
fn keys(name: &str, table: &Value, all: &mut BTreeSet<(String, String)>) {
    let Some(properties) = table["properties"].as_object() else {
        return;
    };
    for (key, value) in properties {
        all.insert((name.to_owned(), key.clone()));
        // What a member of a workspace may say instead is the same everywhere.
        let says_it_itself = |form: &&Value| form["required"] != serde_json::json!(["workspace"]);
        let value = match value["anyOf"].as_array() {
            Some(forms) => forms.iter().find(says_it_itself).unwrap_or(value),
            None => value,
        };
        let inner = if value["type"] == "array" {
            &value["items"]
        } else {
            value
        };
        keys(key, inner, all);
    }
}

/// Whether a spec has `key` in a table called `name`, at any depth.
fn has(value: &toml::Value, at: &str, name: &str, key: &str) -> bool {
    match value {
        toml::Value::Table(table) => {
            (at == name && table.contains_key(key))
                || table.iter().any(|(inner, value)| has(value, inner, name, key))
        }
        toml::Value::Array(elements) => elements.iter().any(|element| has(element, at, name, key)),
        _ => false,
    }
}

#[test]
fn every_key_is_in_an_example() {
    let is_spec = |block: &&String| block.contains("[image]") || block.contains("[workspace]");
    let specs: Vec<toml::Value> = blocks()
        .iter()
        .filter(is_spec)
        .map(|text| toml::Value::Table(toml::from_str(text).unwrap()))
        .collect();
    let mut all = BTreeSet::new();
    keys("", &schema(), &mut all);
    let missing: Vec<_> = all
        .iter()
        .filter(|(name, key)| !specs.iter().any(|spec| has(spec, "", name, key)))
        .collect();
    assert!(
        missing.is_empty(),
        "without an example in {DOCUMENT}: {missing:?}"
    );
}
