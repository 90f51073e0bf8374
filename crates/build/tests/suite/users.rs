//! Users that the spec adds.

use crate::fixture::{BaseImage, Project, read, tag};
use cairn_layer::{EntryKind, Limits, read_layer};
use cairn_oci::{Descriptor, media_type};

const USERS: &str = r#"
[[user]]
name = "app"
uid = 10001
home = "/srv"

[[user]]
name = "worker"
uid = 10002
gid = 50
shell = "/bin/sh"
"#;

fn spec(base: &str, rest: &str) -> String {
    format!("[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n{base}{rest}")
}

const DEBIAN: &str = "[base]\nimage = \"debian:12\"\n";

async fn on_debian() -> Project {
    let project = Project::hello();
    let repository = project.repository("debian");
    let manifest = BaseImage::debian("amd64").write(&repository).await;
    tag(&repository, "12", &manifest).await;
    project
}

/// The files of the first own layer with their content.
async fn files(project: &Project, text: &str) -> String {
    let built = project.build(text).await.unwrap();
    let layer = &built.platforms[0].layers[0];
    assert_eq!(layer.name, "users");
    let descriptor = Descriptor::new(media_type::LAYER_GZIP, layer.digest, layer.size);
    let bytes = read(&project.repository("out"), &descriptor).await;
    let mut all = String::new();
    read_layer(&bytes[..], &Limits::default(), &mut |entry, content| {
        if entry.kind == EntryKind::File {
            let mut text = String::new();
            content.read_to_string(&mut text)?;
            all.push_str(&format!("{} {:o}\n{text}", entry.path, entry.attributes.mode));
        }
        Ok(())
    })
    .unwrap();
    all
}

#[tokio::test]
async fn they_are_merged_into_the_files_of_the_base() {
    let project = on_debian().await;
    insta::assert_snapshot!(files(&project, &spec(DEBIAN, USERS)).await);
}

#[tokio::test]
async fn without_a_base_there_is_root_besides() {
    let project = Project::new();
    insta::assert_snapshot!(files(&project, &spec("", USERS)).await);
}

#[tokio::test]
async fn owners_are_found_by_name() {
    let project = on_debian().await;
    let layer = "[[layer]]\nname = \"own\"\nwrite = [{ to = \"/a\", text = \"\", owner = \"app\" }, { to = \"/b\", text = \"\", owner = \"worker:mail\" }, { to = \"/c\", text = \"\", owner = \"5:staff\" }, { to = \"/d\", text = \"\", owner = \"mail\" }]\n[config]\nuser = \"app\"\n";
    let built = project
        .build(&spec(DEBIAN, &format!("{USERS}{layer}")))
        .await
        .unwrap();
    let listing = project.listing(&built, 1).await;
    let owners: Vec<_> = listing
        .lines()
        .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        owners,
        ["0644 10001 10001", "0644 10002 8", "0644 5 50", "0644 8 8"]
    );
    assert_eq!(project.image(&built).await.1.config.user.as_deref(), Some("app"));
}

#[tokio::test]
async fn clashes_with_the_base_are_findings() {
    let project = on_debian().await;
    let text = spec(
        DEBIAN,
        r#"
[[user]]
name = "mail"
uid = 10001

[[user]]
name = "zero"
uid = 0

[[user]]
name = "fifty"
uid = 50

[[user]]
name = "staff"
uid = 10003

[config]
user = "app:wheel"
"#,
    );
    insta::assert_snapshot!(project.findings(&text).await);
}

#[tokio::test]
async fn groups_are_added_and_joined() {
    let project = on_debian().await;
    let text = r#"
[[user]]
name = "app"
uid = 10001
groups = ["staff", "audio", "staff"]

[[group]]
name = "audio"
gid = 29
members = ["mail", "app"]

[[layer]]
name = "own"
write = [{ to = "/a", text = "", owner = "app:audio" }]
"#;
    insta::assert_snapshot!(files(&project, &spec(DEBIAN, text)).await);
    let built = project.build(&spec(DEBIAN, text)).await.unwrap();
    assert!(project.listing(&built, 1).await.starts_with("0644 10001 29 "));
}

#[tokio::test]
async fn a_group_alone_makes_the_layer_too() {
    let project = Project::new();
    let text = "[[group]]\nname = \"audio\"\ngid = 29\n";
    insta::assert_snapshot!(files(&project, &spec("", text)).await);
}

#[tokio::test]
async fn groups_that_clash_with_the_base_are_findings() {
    let project = on_debian().await;
    let text = spec(
        DEBIAN,
        r#"
[[group]]
name = "staff"
gid = 51

[[group]]
name = "postmen"
gid = 8

[[group]]
name = "audio"
gid = 29
members = ["nobody"]

[[user]]
name = "app"
uid = 10001
groups = ["wheel"]
"#,
    );
    insta::assert_snapshot!(project.findings(&text).await);
}
