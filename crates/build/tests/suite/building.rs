//! Images from scratch: what they are, and that they are always the same.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use cairn_build::{BuildError, BuildRequest, Silent, Spec, build};
use cairn_layer::Limits;
use cairn_oci::{Index, Platform, annotations, json, media_type};
use cairn_store::{Repository as _, Target};

use crate::fixture::Project;

const HELLO: &str = r#"[image]
name = "hello"
platforms = ["linux/amd64"]

[[layer]]
name = "app"
copy = [{ from = "dist/{arch}/hello", to = "/usr/bin/hello" }]

[config]
entrypoint = ["/usr/bin/hello"]
env = { B = "2", A = "1" }
expose = [8080]
annotations = { "org.opencontainers.image.source" = "https://example.org/hello" }
"#;

#[tokio::test]
async fn one_platform_gives_a_plain_manifest() {
    let project = Project::hello();
    let built = project.build(HELLO).await.unwrap();
    let (manifest, config) = project.image(&built).await;
    assert_eq!(
        manifest.annotations["org.opencontainers.image.source"],
        "https://example.org/hello"
    );
    assert!(!manifest.annotations.contains_key(annotations::BASE_NAME));
    assert_eq!(config.platform, Platform::new("linux", "amd64"));
    assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(config.config.env, Some(vec!["A=1".to_owned(), "B=2".to_owned()]));
    assert_eq!(config.rootfs.diff_ids, [built.platforms[0].layers[0].diff_id]);
    assert_eq!(config.history.len(), 1);
    assert_eq!(config.history[0].created_by.as_deref(), Some("cairn: layer app"));
    assert_eq!(built.platforms[0].layers[0].files, 1);
}

#[tokio::test]
async fn several_platforms_give_a_sorted_index() {
    let project = Project::hello();
    let spec = HELLO.replace("[\"linux/amd64\"]", "[\"linux/arm64\", \"linux/amd64\"]");
    let built = project.build(&spec).await.unwrap();
    assert_eq!(built.media_type, media_type::INDEX);
    let raw = project
        .repository("out")
        .read_manifest(&Target::Digest(built.digest))
        .await
        .unwrap()
        .unwrap();
    let index: Index = json::parse(raw.bytes(), 1 << 20).unwrap();
    let platforms: Vec<_> = index
        .manifests
        .iter()
        .map(|entry| entry.platform.clone().unwrap().to_string())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    for (entry, image) in index.manifests.iter().zip(&built.platforms) {
        assert_eq!(entry.digest, image.manifest.digest);
        let (_, config) = project.image_at(&entry.digest).await;
        assert_eq!(Some(&config.platform), entry.platform.as_ref());
    }
    assert_ne!(
        built.platforms[0].layers[0].digest,
        built.platforms[1].layers[0].digest
    );
}

#[tokio::test]
async fn a_build_may_be_limited_to_some_platforms() {
    let project = Project::hello();
    let text = HELLO.replace("[\"linux/amd64\"]", "[\"linux/arm64\", \"linux/amd64\"]");
    let lock = project.lock(&text, None).await.unwrap().lock;
    let spec = Spec::parse(&text).unwrap();
    let (arm, riscv) = (
        [Platform::new("linux", "arm64")],
        [Platform::new("linux", "riscv64")],
    );
    let mut request = BuildRequest {
        spec: &spec,
        lock: &lock,
        directory: project.path(),
        platforms: &arm,
        scratch: project.scratch.path(),
        limits: Limits::default(),
        engine: cairn_layer::Engine::default(),
        records: None,
        releases: None,
    };
    let out = project.repository("out");
    let built = build(&request, &project.inputs(), &out, &Silent).await.unwrap();
    assert_eq!(built.media_type, media_type::MANIFEST);
    assert_eq!(built.platforms[0].platform, arm[0]);
    request.platforms = &riscv;
    let error = build(&request, &project.inputs(), &out, &Silent)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux/riscv64 is not one of the spec's platforms: linux/amd64, linux/arm64"
    );
}

/// The same files, prepared as differently as a test can do it.
#[tokio::test]
async fn a6_umask_times_order_and_place_do_not_show() {
    let names: Vec<String> = (0..40)
        .map(|number| format!("static/{}/file-{number}", number % 7))
        .collect();
    let spec = HELLO.replace("}]\n", "},\n{ from = \"static/\", to = \"/srv\" }]\n");
    let (first, second) = (Project::hello(), Project::hello());
    for name in &names {
        first.file(name, name, 0o644);
    }
    for name in names.iter().rev() {
        second.file(name, name, 0o600);
        let file = std::fs::File::open(second.path().join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
            .unwrap();
    }
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(second.path().join("static/3"), private).unwrap();
    let (one, two) = (
        first.build(&spec).await.unwrap(),
        second.build(&spec).await.unwrap(),
    );
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.platforms[0].layers[0].files, 41);
}

#[tokio::test]
async fn a_second_build_writes_nothing_and_says_so() {
    let project = Project::hello();
    let one = project.build(HELLO).await.unwrap();
    assert_eq!(
        (one.transferred.uploaded.blobs, one.transferred.reused.blobs),
        (3, 0)
    );
    let two = project.build(HELLO).await.unwrap();
    assert_eq!(
        (two.transferred.uploaded.blobs, two.transferred.reused.blobs),
        (0, 3)
    );
    assert_eq!(two.digest, one.digest);
    assert!(two.platforms[0].layers[0].reused && !one.platforms[0].layers[0].reused);
    let left: Vec<_> = std::fs::read_dir(project.scratch.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_date_in_the_spec_is_the_time_of_everything() {
    let project = Project::hello();
    let spec = HELLO.replace("[[layer]]", "created = \"2026-01-31T12:00:00Z\"\n[[layer]]");
    let built = project.build(&spec).await.unwrap();
    let (_, config) = project.image(&built).await;
    assert_eq!(config.created.as_deref(), Some("2026-01-31T12:00:00Z"));
    assert_eq!(config.history[0].created.as_deref(), Some("2026-01-31T12:00:00Z"));
    let listing = project.listing(&built, 0).await;
    assert!(
        listing.lines().all(|line| line.contains(" 1769860800 ")),
        "{listing}"
    );
}

#[tokio::test]
async fn a_date_from_outside_is_not_the_time_of_files() {
    let mut project = Project::hello();
    project.dates.source_date_epoch = Some(1_700_000_000);
    let built = project.build(HELLO).await.unwrap();
    let (_, config) = project.image(&built).await;
    assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    let without = Project::hello().build(HELLO).await.unwrap();
    assert_eq!(built.platforms[0].layers, without.platforms[0].layers);
}

#[tokio::test]
async fn what_cannot_be_copied_is_reported_all_at_once_and_nothing_is_built() {
    let project = Project::hello();
    project.file("dist/amd64/other", "", 0o644);
    std::os::unix::fs::symlink("/etc", project.path().join("out")).unwrap();
    let spec = r#"[image]
name = "hello"
platforms = ["linux/amd64", "linux/arm64"]

[[layer]]
name = "app"
copy = [{ from = "dist/{arch}/helo", to = "/usr/bin/hello" },
        { from = "nothing/at/all", to = "/a" },
        { from = "out/passwd", to = "/b" },
        { from = "dist/amd64/hello/", to = "/c" },
        { from = ".", to = "/d/" },
        { from = "dist", to = "/e", owner = "nobody" }]

[config]
user = "app"
"#;
    insta::assert_snapshot!(project.findings(spec).await);
    let tags = project
        .repository("out")
        .list_tags(&cairn_store::Page::first())
        .await
        .unwrap();
    assert!(tags.tags.is_empty());
}

#[tokio::test]
async fn a_build_without_the_pins_that_it_needs_is_refused() {
    let project = Project::hello();
    let scratch = project.lock(HELLO, None).await.unwrap().lock;
    let spec = HELLO.replace("[[layer]]", "[base]\nimage = \"debian:12\"\n[[layer]]");
    let error = project
        .build_locked(&spec, &scratch, &project.inputs())
        .await
        .unwrap_err();
    assert!(matches!(&error, BuildError::Unlocked { missing } if missing.len() == 1));
    assert_eq!(
        error.to_string(),
        "the lock does not pin the base debian:12 for linux/amd64"
    );
}

/// A spec from scratch with one layer of `parts` whose program is `program`.
fn running(program: &str, parts: &str) -> String {
    format!(
        "[image]\nname = \"hello\"\nplatforms = [\"linux/amd64\"]\n\n[[layer]]\nname = \"app\"\n{parts}\n\n[config]\n{program}\n"
    )
}

async fn warnings(spec: &str) -> Vec<String> {
    let project = Project::hello();
    project.file("data", "no program\n", 0o644);
    let built = project.build(spec).await.unwrap();
    built.warnings.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_program_that_is_in_the_image_is_no_warning() {
    let copy = "copy = [{ from = \"dist/amd64/hello\", to = \"/usr/bin/hello\" }]\n";
    for (program, more) in [
        ("entrypoint = [\"/usr/bin/hello\"]", ""),
        ("entrypoint = [\"/usr/bin/../bin/./hello\"]", ""),
        // Links are followed within the image.
        (
            "entrypoint = [\"/run\"]",
            "link = [{ from = \"/bin\", to = \"usr/bin\" }, { from = \"/run\", to = \"/bin/hello\" }]",
        ),
        // `PATH` finds it, or not.
        ("entrypoint = [\"hello\"]", ""),
        // A volume brings it.
        ("entrypoint = [\"/opt/x\"]\nvolumes = [\"/opt\"]", ""),
        // The arguments of a program are no program.
        ("entrypoint = [\"/usr/bin/hello\"]\ncmd = [\"/nowhere\"]", ""),
        ("", ""),
    ] {
        let spec = running(program, &format!("{copy}{more}"));
        assert_eq!(warnings(&spec).await, Vec::<String>::new(), "{spec}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_in_the_image_is_a_warning() {
    let copy = "copy = [{ from = \"dist/amd64/hello\", to = \"/usr/bin/hello\" }, { from = \"data\", to = \"/data\" }]\n";
    for (program, more, expected) in [
        (
            "entrypoint = [\"/usr/bin/helo\"]",
            "",
            "the entrypoint /usr/bin/helo is not in the image (linux/amd64)",
        ),
        (
            "cmd = [\"/data\"]",
            "",
            "the cmd /data is not executable: its mode is 0644 (linux/amd64)",
        ),
        (
            "entrypoint = [\"/usr/bin\"]",
            "",
            "the entrypoint /usr/bin is a directory (linux/amd64)",
        ),
        (
            "entrypoint = [\"/data/x\"]",
            "",
            "the entrypoint /data/x is not in the image (linux/amd64)",
        ),
        (
            "entrypoint = [\"/run\"]",
            "link = [{ from = \"/run\", to = \"lib/x\" }]",
            "the entrypoint /run leads to /lib, which is not in the image (linux/amd64)",
        ),
        (
            "entrypoint = [\"/a\"]",
            "link = [{ from = \"/a\", to = \"b\" }, { from = \"/b\", to = \"a\" }]",
            "the entrypoint /a leads through more than 40 symbolic links (linux/amd64)",
        ),
        (
            "entrypoint = [\"/usr/bin/hello\"]",
            "\n[[layer]]\nname = \"less\"\nremove = [\"/usr/bin\"]",
            "the entrypoint /usr/bin/hello is not in the image (linux/amd64)",
        ),
    ] {
        let spec = running(program, &format!("{copy}{more}"));
        assert_eq!(warnings(&spec).await, [expected], "{spec}");
    }
}
