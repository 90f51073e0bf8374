//! What members of a workspace inherit, and their one lock.

use cairn_build::lock::WorkspaceLock;
use cairn_build::spec::BaseSource;
use cairn_build::{Lock, LockRequest, Spec, Update, Workspace, resolve_lock};
use cairn_layer::{Engine, Limits};

use crate::fixture::{BaseImage, Project, render, tag, write_index};

const ROOT: &str = r#"
[workspace]
members = ["web", "services/*"]
exclude = ["services/old"]

[workspace.image]
platforms  = ["linux/amd64", "linux/arm64"]
repository = "registry.example.org/shop/{name}"
created    = "2026-01-31T12:00:00Z"

[workspace.base]
oci     = "vendor/debian:12"
inherit = ["env"]

[workspace.config]
user   = "10001"
env    = { LANG = "C.UTF-8", TZ = "UTC" }
expose = [8080]

[workspace.ledger]
trust = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
"#;

fn member(text: &str, up: &str) -> Spec {
    Spec::parse_member(text, ROOT, up).unwrap_or_else(|findings| panic!("{findings:?}"))
}

fn errors(text: &str, root: &str) -> String {
    let findings = Spec::parse_member(text, root, "../").unwrap_err();
    render(text, &findings)
}

#[test]
fn a_whole_section_is_inherited() {
    let text = "[image]\nname = \"web\"\nworkspace = true\n[base]\nworkspace = true\n[config]\nworkspace = true\n\
                [ledger]\nworkspace = true\n";
    let inherited = member(text, "../");
    let said = Spec::parse(
        r#"
[image]
name       = "web"
platforms  = ["linux/amd64", "linux/arm64"]
repository = "registry.example.org/shop/web"
created    = "2026-01-31T12:00:00Z"

[base]
oci     = "../vendor/debian:12"
inherit = ["env"]

[config]
user   = "10001"
env    = { LANG = "C.UTF-8", TZ = "UTC" }
expose = [8080]

[ledger]
trust = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
"#,
    );
    assert_eq!(inherited, said.unwrap());
}

#[test]
fn one_key_is_inherited_and_what_the_member_says_is_meant() {
    let text = "[image]\nname = \"api\"\nplatforms.workspace = true\n[config]\nworkspace = true\nexpose = [9000]\n\
                env = { TZ = \"CET\" }\n";
    let spec = member(text, "../../");
    assert_eq!(spec.image.platforms.len(), 2);
    assert!(spec.image.repository.is_none() && spec.base.is_none());
    assert_eq!(spec.config.expose.len(), 1);
    assert_eq!(spec.config.env.len(), 1, "a table is taken whole, not mixed");
    assert!(spec.config.user.is_some());
}

#[test]
fn paths_begin_at_the_root() {
    let text = "[image]\nname = \"api\"\nplatforms = [\"linux/amd64\"]\n[base]\noci.workspace = true\n";
    let base = member(text, "../../").base.unwrap();
    let BaseSource::Layout { directory, .. } = base.source.value else {
        panic!("{base:?}");
    };
    assert_eq!(directory, "../../vendor/debian");
}

#[test]
fn what_cannot_be_inherited_is_said_where_it_is_asked_for() {
    let head = "[image]\nname = \"web\"\nplatforms = [\"linux/amd64\"]\n";
    let root = "[workspace]\nmembers = [\"web\"]\n[workspace.config]\nuser = \"nobody\"\nexpose = [\"x\"]\n";
    insta::assert_snapshot!(
        [
            errors(&format!("{head}compression.workspace = true\n"), root),
            errors(&format!("{head}[base]\nworkspace = true\n"), root),
            errors(&format!("{head}[config]\nworkdir.workspace = true\n"), root),
            errors(&format!("{head}[config]\nworkspace = true\n"), root),
            errors(
                "[image]\nname.workspace = true\nplatforms = [\"linux/amd64\"]\n",
                root
            ),
            errors(&format!("{head}[config]\nuser = {{ workspace = false }}\n"), root),
            errors(&format!("{head}[config]\nworkspace = 1\n"), root),
        ]
        .join("\n")
    );
}

#[test]
fn without_a_workspace_there_is_nothing_to_inherit() {
    let text = "[image]\nname = \"a\"\nplatforms.workspace = true\n";
    insta::assert_snapshot!(render(text, &Spec::parse(text).unwrap_err()));
}

#[test]
fn workspaces_that_are_none() {
    let of = |text: &str| render(text, &Workspace::parse(text).unwrap_err());
    insta::assert_snapshot!(
        [
            of("workspace = 1\n"),
            of("[workspace]\n"),
            of("[workspace]\nmembers = [\"/web\", \"../web\", \"a/./b\", \"\", \"services/**\", \"{a,b/c}\"]\n"),
            of("[workspace]\nmember = [\"web\"]\n"),
            of("[workspace]\nmembers = [\"web\"]\n[workspace.image]\nname = \"a\"\n[workspace.layer]\n"),
        ]
        .join("\n")
    );
    assert!(Workspace::parse("[image]\nname = \"a\"\n").unwrap().is_none());
}

#[test]
fn members_are_what_the_globs_name_themselves() {
    let workspace = Workspace::parse(ROOT).unwrap().unwrap();
    for (path, is_member) in [
        ("web", true),
        ("services/api", true),
        ("services/old", false),
        ("services", false),
        ("services/api/deep", false),
        ("web/sub", false),
        ("", false),
    ] {
        assert_eq!(workspace.has_member(path), is_member, "{path}");
    }
    assert!(!workspace.has_image);
    let slashes = Workspace::parse("[workspace]\nmembers = [\"./web/\"]\n")
        .unwrap()
        .unwrap();
    assert!(slashes.has_member("web"));
}

const SPEC: &str = r#"
[image]
name      = "a"
platforms = ["linux/amd64"]

[base]
image = "debian:12"

[[layer]]
name  = "data"
copy  = [{ from = "data/", to = "/srv/" }]
split = "auto"

[config]
cmd = ["/bin/sh"]
"#;

async fn project() -> Project {
    let project = Project::new();
    project.file("data/file", "content\n", 0o644);
    let images = [BaseImage::debian("amd64"), BaseImage::debian("arm64")];
    write_index(&project.repository("debian"), "12", &images).await;
    project
}

#[tokio::test]
async fn one_lock_has_the_pins_of_every_image() {
    let project = project().await;
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    let small = project.lock("[image]\nname = \"b\"\nplatforms = [\"linux/amd64\"]\n", None);
    let small = small.await.unwrap().lock;
    let images = [("team/b.x".to_owned(), small), ("a".to_owned(), lock.clone())];
    let workspace = WorkspaceLock {
        images: images.into_iter().collect(),
    };
    let text = workspace.to_string();
    assert_eq!(WorkspaceLock::parse(&text).unwrap(), workspace);
    assert_eq!(WorkspaceLock::parse(&text).unwrap().to_string(), text);
    // Each part is what the image's own lock would be, but for the names of tables.
    let own = lock.to_string();
    let own: Vec<_> = own
        .lines()
        .filter(|line| !line.starts_with(['#', '[']) && !line.starts_with("output"))
        .collect();
    let part = text.split("[image.\"team/b.x\"]").next().unwrap();
    let part: Vec<_> = part
        .lines()
        .filter(|line| !line.starts_with(['#', '[']) && !line.starts_with("output"))
        .collect();
    assert_eq!(own.join("\n").trim(), part.join("\n").trim());
    for table in [
        "[image.\"a\".base]",
        "[[image.\"a\".base.platform]]",
        "[[image.\"a\".split]]",
    ] {
        assert!(text.contains(&format!("\n{table}\n")), "{table}\n{text}");
    }

    let commented = text.replace("[image.\"a\"]\n", "# Ours.\n[image.\"a\"]\n");
    assert_eq!(workspace.to_text_with_comments_of(&commented), commented);
}

#[test]
fn locks_of_workspaces_that_are_none() {
    let of = |text: &str| render(text, &WorkspaceLock::parse(text).unwrap_err());
    insta::assert_snapshot!(
        [
            of("output = 1\ncreated = \"2026-01-31T12:00:00Z\"\n"),
            of("output = 1\n[image.\"a\"]\ncreated = 1\nbase = 1\nextra = 1\n"),
            of("output = 1\n[image.\"A b\"]\ncreated = \"2026-01-31T12:00:00Z\"\n"),
            of("output = 1\nimage = []\n"),
            of("output = 0\n[image.\"a\"]\n"),
        ]
        .join("\n")
    );
}

#[tokio::test]
async fn images_of_a_workspace_are_built_upon_the_same_base() {
    let project = project().await;
    let first = project.lock(SPEC, None).await.unwrap().lock;
    let repository = project.repository("debian");
    let mut moved = BaseImage::debian("amd64");
    moved.created = Some("2026-04-01T00:00:00Z".to_owned());
    tag(&repository, "12", &moved.write(&repository).await).await;

    let base = |lock: &Lock| lock.base.clone().unwrap();
    let resolve = async |platforms: &str, update: Update| {
        let spec = Spec::parse(&SPEC.replace("\"linux/amd64\"", platforms)).unwrap();
        let request = LockRequest {
            spec: &spec,
            directory: project.path(),
            existing: None,
            siblings: &[&first],
            update,
            dates: project.dates,
            scratch: project.path(),
            limits: Limits::default(),
            engine: Engine::default(),
        };
        resolve_lock(&request, &project).await.unwrap().lock
    };
    let second = resolve("\"linux/amd64\"", Update::Reconcile).await;
    assert_eq!(base(&second), base(&first));
    assert_eq!(second.created, first.created);
    let updated = resolve("\"linux/amd64\"", Update::All).await;
    assert_ne!(base(&updated), base(&first));
}
