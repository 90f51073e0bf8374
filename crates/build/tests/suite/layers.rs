//! What goes where in a layer.

use crate::fixture::{BaseImage, Project, tag};

async fn on_debian() -> Project {
    let project = Project::hello();
    let repository = project.repository("debian");
    let manifest = BaseImage::debian("amd64").write(&repository).await;
    tag(&repository, "12", &manifest).await;
    project
}

fn spec(layers: &str) -> String {
    format!("[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[base]\nimage = \"debian:12\"\n{layers}")
}

/// The listings of all own layers, without times and digests.
async fn listings(project: &Project, text: &str) -> String {
    let built = project.build(text).await.unwrap();
    let mut all = String::new();
    for (number, layer) in built.platforms[0].layers.iter().enumerate() {
        all.push_str(&format!("{}:\n", layer.name));
        for line in project.listing(&built, number).await.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (mode, owner, kind) = (words[0], &words[1..3], words[5]);
            all.push_str(&format!(
                "  {kind} {mode} {} {}\n",
                owner.join(":"),
                words[7..].join(" ")
            ));
        }
    }
    all
}

#[tokio::test]
async fn copies_go_where_the_table_says() {
    let project = Project::new();
    project.file("tree/a", "a", 0o600);
    project.file("tree/sub/b", "b", 0o711);
    project.file("tree/sub/b.map", "m", 0o644);
    std::fs::create_dir(project.path().join("tree/empty")).unwrap();
    std::os::unix::fs::symlink("a", project.path().join("tree/link")).unwrap();
    let layer = |name: &str, copy: &str| format!("[[layer]]\nname = \"{name}\"\ncopy = [{{ {copy} }}]\n");
    let text = [
        "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n".to_owned(),
        layer("file-exactly", "from = \"tree/a\", to = \"/x/y\""),
        layer("file-into", "from = \"tree/a\", to = \"/x/\""),
        layer("file-into-root", "from = \"tree/a\", to = \"/\", mode = \"0400\""),
        layer("link", "from = \"tree/link\", to = \"/x/\""),
        layer("directory-exactly", "from = \"tree\", to = \"/x/y\""),
        layer(
            "directory-into",
            "from = \"tree/sub\", to = \"/x/\", owner = \"7\"",
        ),
        layer(
            "content",
            "from = \"tree/\", to = \"/x\", owner = \"7:8\", exclude = [\"**/*.map\", \"link\"]",
        ),
        layer("content-into-root", "from = \"tree/sub/\", to = \"/\""),
    ];
    insta::assert_snapshot!(listings(&project, &text.concat()).await);
}

#[tokio::test]
async fn directories_keep_what_a_lower_layer_gave_them() {
    let project = on_debian().await;
    project.file("root/tmp/x", "", 0o644);
    project.file("root/var/mail/y", "", 0o644);
    let text = spec(
        r#"[[layer]]
name = "content"
copy = [{ from = "root/", to = "/" }]

[[layer]]
name = "owned"
copy = [{ from = "root/", to = "/", owner = "mail" }]

[[layer]]
name = "made"
dir = [{ to = "/data", mode = "0750", owner = "mail:staff" }, { to = "/tmp", mode = "0700" }]
copy = [{ from = "root/tmp", to = "/data/tmp" }]

[[layer]]
name = "above"
write = [{ to = "/data/file", text = "" }, { to = "/tmp/file", text = "" }, { to = "/root/.profile", text = "" }]
"#,
    );
    insta::assert_snapshot!(listings(&project, &text).await);
}

#[tokio::test]
async fn removals_become_whiteouts() {
    let project = on_debian().await;
    let text = spec(
        r#"[[layer]]
name = "thin"
remove = ["/usr/share/doc/", "/etc/mtab", "/bin"]

[[layer]]
name = "again"
write = [{ to = "/bin/tool", text = "not a link any more" }, { to = "/usr/share/doc/README", text = "" }]
"#,
    );
    insta::assert_snapshot!(listings(&project, &text).await);
}

#[tokio::test]
async fn a7_destinations_below_links_and_files_are_refused_with_the_real_path() {
    let project = on_debian().await;
    project.file("some/a", "", 0o644);
    project.file("some/b/c", "", 0o644);
    let text = spec(
        r#"[[layer]]
name = "app"
copy = [{ from = "dist/amd64/hello", to = "/bin/hello" },
        { from = "some/", to = "/bin" },
        { from = "some/", to = "/srv" },
        { from = "some/a", to = "/srv/b" },
        { from = "some", to = "/srv/a" }]
dir = [{ to = "/bin" }]
remove = ["/bin/sh", "/etc"]

[[layer]]
name = "both"
copy = [{ from = "some/", to = "/srv" }]
remove = ["/srv/b"]

[[layer]]
name = "link"
link = [{ from = "/opt", to = "/usr/local" }]

[[layer]]
name = "below"
write = [{ to = "/opt/x", text = "" }]
"#,
    );
    insta::assert_snapshot!(project.findings(&text).await);
}

#[tokio::test]
async fn a_link_may_be_replaced_by_a_file() {
    let project = on_debian().await;
    let text = spec(
        "[[layer]]\nname = \"a\"\nwrite = [{ to = \"/bin\", text = \"\" }, { to = \"/etc/mtab/x\", text = \"\" }]\n",
    );
    insta::assert_snapshot!(listings(&project, &text).await);
}

#[tokio::test]
async fn files_named_like_whiteouts_are_refused() {
    let project = Project::new();
    project.file("tree/.wh.passwd", "", 0o644);
    let text = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nname = \"l\"\ncopy = [{ from = \"tree/\", to = \"/etc\" }]\n";
    insta::assert_snapshot!(project.findings(text).await);
}
