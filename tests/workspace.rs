//! Several images in one place, from the lock to the rollback.

use std::fs;

use serde_json::Value;

use crate::harness::{Output, Sandbox};

const ROOT: &str = r#"
[workspace]
members = ["web", "services/*"]

[workspace.image]
platforms  = ["linux/amd64"]
repository = "REPOSITORY/{name}"

[workspace.config]
cmd = ["/srv/file"]
"#;

fn member(name: &str) -> String {
    format!(
        "[image]\nname = \"{name}\"\nworkspace = true\n\n[[layer]]\nname = \"data\"\n\
         copy = [{{ from = \"file\", to = \"/srv/\" }}]\n\n[config]\nworkspace = true\n"
    )
}

/// `web`, `api` and `jobs`, to be pushed to `repository`.
fn shop(repository: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("cairn.toml", ROOT.replace("REPOSITORY", repository));
    for (directory, name) in [("web", "web"), ("services/api", "api"), ("services/jobs", "jobs")] {
        sandbox.write(&format!("{directory}/cairn.toml"), member(name));
        sandbox.write(&format!("{directory}/file"), name);
    }
    // Neither a spec nor a directory: what a glob finds besides.
    sandbox.write("services/README", "");
    sandbox.write("services/notes/today", "");
    sandbox
}

fn in_directory(sandbox: &Sandbox, directory: &str, arguments: &[&str]) -> Output {
    let directory = sandbox.project().join(directory);
    let directory = directory.to_str().expect("a path in UTF-8");
    sandbox.cairn([&["-C", directory], arguments].concat())
}

fn lock_of(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.project().join("cairn.lock")).expect("a lock")
}

fn lines(output: &Output) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (name, rest) = line.split_once("  ").expect("a name and what is said of it");
        (name.to_owned(), rest.trim().to_owned())
    };
    output.stdout.lines().map(line).collect()
}

#[test]
fn one_lock_and_every_image_built_side_by_side() {
    let sandbox = shop("registry.example.org/shop");
    let built = sandbox
        .cairn(["build", "--workspace"])
        .ok()
        .says("web:   layer data");
    let built = lines(&built);
    let names: Vec<_> = built.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["api", "jobs", "web"]);
    let lock = lock_of(&sandbox);
    for name in names {
        assert!(lock.contains(&format!("[image.\"{name}\"]\n")), "{lock}");
    }
    assert!(!sandbox.project().join("web/cairn.lock").exists());

    // The image is the same however it is chosen, and the lock stays as it is.
    for output in [
        sandbox.cairn(["build", "-p", "web", "--locked"]),
        in_directory(&sandbox, "web", &["build", "--locked"]),
        in_directory(&sandbox, "services/api", &["build", "-p", "web", "--locked"]),
    ] {
        assert_eq!(output.ok().digest(), built[2].1);
    }
    let two = sandbox
        .cairn(["build", "-p", "web", "-p", "api", "--locked"])
        .ok();
    assert_eq!(lines(&two), [built[0].clone(), built[2].clone()]);
    assert_eq!(lock_of(&sandbox), lock);
    sandbox.cairn(["verify", "--workspace", "--rebuild"]).ok();

    let document = sandbox.cairn(["build", "--workspace", "--json"]).ok().json();
    assert_eq!(document["schema"], 1);
    for (image, (name, digest)) in document["images"].as_array().expect("a list").iter().zip(&built) {
        assert_eq!(
            (image["name"].as_str(), &image["exit"]),
            (Some(name.as_str()), &Value::from(0))
        );
        assert_eq!(image["report"]["digest"].as_str(), Some(digest.as_str()));
    }
}

#[test]
fn an_image_that_leaves_the_workspace_leaves_the_lock() {
    let sandbox = shop("registry.example.org/shop");
    sandbox.cairn(["lock", "--workspace"]).ok();
    fs::remove_dir_all(sandbox.project().join("services/jobs")).expect("an own directory");
    sandbox.cairn(["build", "--workspace"]).ok();
    assert!(lock_of(&sandbox).contains("\"jobs\""), "a build drops nothing");
    sandbox.cairn(["lock", "-p", "web"]).ok().says("wrote cairn.lock");
    assert!(!lock_of(&sandbox).contains("\"jobs\""));
    in_directory(&sandbox, "web", &["lock"])
        .ok()
        .says("../cairn.lock is up to date");
}

#[test]
fn a_failure_stops_neither_other_builds_nor_hides_behind_them() {
    let sandbox = shop("registry.example.org/shop");
    sandbox.cairn(["lock", "--workspace"]).ok();
    fs::remove_file(sandbox.project().join("services/api/file")).expect("an own file");
    let output = sandbox
        .cairn(["build", "--workspace"])
        .exits(1)
        .says("api: error: ");
    let built: Vec<_> = lines(&output).into_iter().map(|(name, _)| name).collect();
    assert_eq!(built, ["jobs", "web"]);
    let document = sandbox.cairn(["build", "--workspace", "--json"]).exits(1).json();
    assert_eq!(document["images"][0]["exit"], 1);
    assert_eq!(document["images"][0]["report"], Value::Null);
    assert_eq!(document["images"][1]["exit"], 0);
}

#[test]
fn a_release_of_all_and_the_way_back() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let sandbox = shop(&server.repository("shop"));
    let first = sandbox
        .cairn(["release", "1.0.0", "--workspace", "--channel", "prod"])
        .ok();
    let first = lines(&first);
    assert_eq!(first.len(), 3);
    for (name, reference) in &first {
        assert!(
            reference.starts_with(&format!("{}/{name}@sha256:", server.repository("shop"))),
            "{reference}"
        );
    }
    sandbox.write("web/file", "web 2");
    sandbox.write("services/api/file", "api 2");
    sandbox
        .cairn(["release", "2.0.0", "-p", "web", "-p", "api", "--channel", "prod"])
        .ok();
    let status = sandbox.cairn(["status", "--workspace"]).ok();
    for line in ["api:\n", "jobs:\n", "web:\n", "prod     2.0.0", "prod     1.0.0"] {
        assert!(status.stdout.contains(line), "{}", status.stdout);
    }

    // One that has no way back ends it: what comes after is named, and was not touched.
    sandbox
        .cairn(["rollback", "prod", "--workspace", "--reason", "broken"])
        .says("jobs: error: ")
        .says("not tried after the failure: web");
    let shown = |name: &str| {
        let status = sandbox.cairn(["status", "-p", name, "--json"]).ok().json();
        status["channels"][0]["version"].as_str().map(str::to_owned)
    };
    assert_eq!(shown("api").as_deref(), Some("1.0.0"));
    assert_eq!(shown("web").as_deref(), Some("2.0.0"));
    sandbox
        .cairn(["rollback", "prod", "-p", "web", "--reason", "broken"])
        .ok()
        .says("cairn resume prod (add -p web)");
    assert_eq!(shown("web").as_deref(), Some("1.0.0"));
    sandbox.cairn(["audit", "--workspace"]).ok();
    sandbox.cairn(["push", "--workspace", "--tag", "test"]).ok();
    let tags = sandbox.cairn(["tags", "--workspace", "--json"]).ok().json();
    assert_eq!(tags["images"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_several_images_cannot_have_together_is_a_usage_error() {
    let sandbox = shop("registry.example.org/shop");
    for (arguments, says) in [
        (&["build"][..], "a workspace of several images: api, jobs, web"),
        (&["build", "-p", "wep"], "no image `wep`"),
        (&["build", "-p", "web", "--workspace"], "cannot be used with"),
        (&["build", "--workspace", "--output", "oci:out"], "oci:out/{name}"),
        (&["push", "registry.example.org/a", "--workspace"], "is one image"),
        (&["verify", "oci:out", "--workspace"], "is one image"),
        (
            &["status", "--repository", "registry.example.org/a", "--workspace"],
            "is one image",
        ),
        (
            &["pull", "registry.example.org/a", "--workspace"],
            "this verb takes none",
        ),
        (&["key", "-p", "web"], "this verb takes none"),
    ] {
        sandbox.cairn(arguments).exits(2).says(says);
    }
    assert!(!sandbox.project().join("cairn.lock").exists());
    let alone = Sandbox::new();
    alone
        .cairn(["build", "--workspace"])
        .exits(2)
        .says("is in no workspace");

    sandbox
        .cairn(["build", "--workspace", "--output", "oci:out/{name}:1"])
        .ok();
    for name in ["api", "jobs", "web"] {
        assert!(
            sandbox
                .project()
                .join("out")
                .join(name)
                .join("index.json")
                .is_file()
        );
    }
}

#[test]
fn workspaces_that_do_not_fit_together_are_refused() {
    let sandbox = shop("registry.example.org/shop");
    sandbox.write("tools/cairn.toml", member("tools"));
    let refused = in_directory(&sandbox, "tools", &["build"]).exits(1);
    refused
        .says("`tools` is in the workspace of ../cairn.toml, which does not list it")
        .says("`exclude`");

    sandbox.write("services/twin/cairn.toml", member("web"));
    sandbox
        .cairn(["build", "--workspace"])
        .exits(1)
        .says("two images of the workspace are called `web`");
    sandbox.write("services/twin/cairn.toml", "[image]\nname = 1\n");
    sandbox
        .cairn(["build", "--workspace"])
        .exits(1)
        .says("services/twin/cairn.toml:2:8");
    fs::remove_dir_all(sandbox.project().join("services/twin")).expect("an own directory");

    sandbox.cairn(["lock", "--workspace"]).ok();
    let lock = lock_of(&sandbox).replace("[image.\"web\"]\n", "[image.\"web\"]\nextra = 1\n");
    sandbox.write("cairn.lock", &lock);
    in_directory(&sandbox, "web", &["build"])
        .exits(1)
        .says("../cairn.lock:")
        .says("unknown key `extra`");

    let root = ROOT
        .replace("REPOSITORY", "registry.example.org/shop")
        .replace("\"web\",", "\"web\", \"missing\",");
    sandbox.write("cairn.toml", root);
    sandbox
        .cairn(["build", "--workspace"])
        .exits(1)
        .says("a member `missing`, which has no cairn.toml");
    sandbox.write("cairn.toml", "[workspace]\nmembers = [\"**\"]\n");
    sandbox
        .cairn(["build", "--workspace"])
        .exits(1)
        .says("cairn.toml:2:12");
    in_directory(&sandbox, "web", &["build"])
        .exits(1)
        .says("../cairn.toml:2:12");
}

#[test]
fn a_root_may_be_an_image_and_an_excluded_spec_stands_alone() {
    let sandbox = shop("registry.example.org/shop");
    let root = ROOT.replace(
        "members = [\"web\", \"services/*\"]",
        "members = [\"web\"]\nexclude = [\"services\", \"services/*\"]",
    );
    let root = root.replace("REPOSITORY", "registry.example.org/shop");
    sandbox.write(
        "cairn.toml",
        format!(
            "{}{root}",
            member("shop").replace("from = \"file\"", "from = \"web/file\"")
        ),
    );
    let built = lines(&sandbox.cairn(["build", "--workspace"]).ok());
    let names: Vec<_> = built.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["shop", "web"]);
    assert_eq!(sandbox.cairn(["build"]).ok().digest(), built[0].1);

    let alone = member("api").replace("workspace = true\n", "");
    let alone = alone.replace(
        "name = \"api\"\n",
        "name = \"api\"\nplatforms = [\"linux/amd64\"]\n",
    );
    sandbox.write("services/api/cairn.toml", alone);
    in_directory(&sandbox, "services/api", &["build"]).ok();
    assert!(sandbox.project().join("services/api/cairn.lock").is_file());
}
