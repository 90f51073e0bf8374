//! What a copy takes: globs, the ignore file, and what looks like a secret.

use crate::fixture::Project;

fn spec(copies: &str) -> String {
    format!(
        "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nname = \"app\"\ncopy = [{copies}]\n"
    )
}

/// The paths of the only layer.
async fn paths(project: &Project, copies: &str) -> Vec<String> {
    let built = project.build(&spec(copies)).await.unwrap();
    let listing = project.listing(&built, 0).await;
    let path = |line: &str| {
        line.split_once(" /")
            .map_or_else(String::new, |(_, path)| format!("/{path}"))
    };
    listing.lines().map(path).collect()
}

fn wheels() -> Project {
    let project = Project::new();
    for path in [
        "dist/a.whl",
        "dist/b.whl",
        "dist/b.txt",
        "dist/amd64/c.whl",
        "dist/unpacked.whl/code.py",
        "conf/top.toml",
        "conf/a/one.toml",
        "conf/a/b/two.toml",
        "conf/a/b/two.txt",
        "conf/empty/readme.txt",
        "pages/[id].js",
    ] {
        project.file(path, path, 0o644);
    }
    project
}

#[tokio::test]
async fn globs_keep_the_path_below_their_directory() {
    let project = wheels();
    for (copies, expected) in [
        (
            "{ from = \"dist/*.whl\", to = \"/w/\" }",
            &[
                "/w",
                "/w/a.whl",
                "/w/b.whl",
                "/w/unpacked.whl",
                "/w/unpacked.whl/code.py",
            ][..],
        ),
        (
            "{ from = \"dist/*.whl\", to = \"/w/\", exclude = [\"b*\", \"unpacked.whl/\"] }",
            &["/w", "/w/a.whl"],
        ),
        ("{ from = \"dist/{arch}/?.whl\", to = \"/\" }", &["/c.whl"]),
        (
            "{ from = \"conf/**/*.toml\", to = \"/etc/\" }",
            &[
                "/etc",
                "/etc/a",
                "/etc/a/b",
                "/etc/a/b/two.toml",
                "/etc/a/one.toml",
                "/etc/top.toml",
            ],
        ),
        (
            "{ from = \"con*/a/*.toml\", to = \"/etc/\" }",
            &["/etc", "/etc/conf", "/etc/conf/a", "/etc/conf/a/one.toml"],
        ),
        ("{ from = \"pages/\\\\[id\\\\].js\", to = \"/\" }", &["/[id].js"]),
    ] {
        assert_eq!(paths(&project, copies).await, expected, "{copies}");
    }
}

#[tokio::test]
async fn a_glob_that_takes_nothing_is_an_error() {
    let project = wheels();
    insta::assert_snapshot!(
        project
            .findings(&spec(
                "{ from = \"dist/*.tar\", to = \"/w/\" }, { from = \"dits/*.whl\", to = \"/w/\" }"
            ))
            .await
    );
}

#[tokio::test]
async fn globs_look_at_nothing_that_cannot_match() {
    let project = wheels();
    // What is outside may be anything, even what no layer can hold.
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        project.path().join("conf/empty/pipe"),
        rustix::fs::Mode::RUSR,
    )
    .unwrap();
    let found = paths(&project, "{ from = \"conf/a/*.toml\", to = \"/etc/\" }").await;
    assert_eq!(found, ["/etc", "/etc/one.toml"]);
    let found = paths(&project, "{ from = \"conf/**/*.toml\", to = \"/etc/\" }").await;
    assert_eq!(found.len(), 6);
}

#[tokio::test]
async fn the_ignore_file_and_exclude_both_leave_out() {
    let project = wheels();
    project.file(".cairnignore", "# built\n*.txt\n!b.txt\n/conf/a/b/\n", 0o644);
    assert_eq!(
        paths(
            &project,
            "{ from = \"dist/\", to = \"/w\", exclude = [\"*.whl\", \"amd64\"] }"
        )
        .await,
        ["/w", "/w/b.txt"]
    );
    assert_eq!(
        paths(&project, "{ from = \"conf\", to = \"/\" }").await,
        [
            "/conf",
            "/conf/a",
            "/conf/a/one.toml",
            "/conf/empty",
            "/conf/top.toml"
        ]
    );
    assert_eq!(
        paths(&project, "{ from = \"./conf/**/*.toml\", to = \"/\" }").await,
        ["/a", "/a/one.toml", "/top.toml"]
    );
}

#[tokio::test]
async fn what_the_spec_names_is_not_ignored_in_silence() {
    let project = wheels();
    project.file(".cairnignore", "*.txt\n/conf/\n", 0o644);
    insta::assert_snapshot!(
        project
            .findings(&spec(
                "{ from = \"dist/b.txt\", to = \"/w/\" }, { from = \"conf/a/\", to = \"/etc\" }, { from = \"conf/*.toml\", to = \"/etc/\" }"
            ))
            .await
    );
}

#[tokio::test]
async fn b9_an_ignore_file_that_cannot_be_honoured_is_refused() {
    let copies = "{ from = \"dist/\", to = \"/w\" }";
    let mut all = String::new();
    for content in ["ok\n[\n", "\u{1}"] {
        let project = wheels();
        match content {
            "\u{1}" => std::fs::write(project.path().join(".cairnignore"), b"a\n\xff\n").unwrap(),
            text => project.file(".cairnignore", text, 0o644),
        }
        all.push_str(&project.findings(&spec(copies)).await);
    }
    for target in ["dist/b.txt", "/etc/passwd", "nowhere"] {
        let project = wheels();
        std::os::unix::fs::symlink(target, project.path().join(".cairnignore")).unwrap();
        all.push_str(&project.findings(&spec(copies)).await);
    }
    let project = wheels();
    project.file(".cairnignore", &"a\n".repeat(40_000), 0o644);
    all.push_str(&project.findings(&spec(copies)).await);
    let project = wheels();
    std::fs::create_dir(project.path().join(".cairnignore")).unwrap();
    all.push_str(&project.findings(&spec(copies)).await);
    insta::assert_snapshot!(all);
}

const KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----\n";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// Each with a name in a tree of its own.
#[tokio::test]
async fn b8_what_looks_like_a_secret_is_refused() {
    let pem = format!("{CERTIFICATE}-----BEGIN RSA PRIVATE KEY-----\nMIIE\n");
    let mut all = String::new();
    for (path, content) in [
        (".git/HEAD", "ref: refs/heads/main\n"),
        ("vendor/lib/.git/config", "[remote]\n"),
        (".hg/store/x", ""),
        (".env", "TOKEN=1\n"),
        ("config/.env.production", "TOKEN=1\n"),
        (".envrc", "export TOKEN=1\n"),
        (".ssh/id_rsa", KEY),
        ("deploy/id_ed25519", "encrypted"),
        ("tls/server.pem", &pem),
        ("tls/server.key", "-----BEGIN EC PRIVATE KEY-----\n"),
        ("tls/key", "-----BEGIN PRIVATE KEY-----\n"),
        ("ssh_host_rsa_key", KEY),
        ("putty.ppk", "PuTTY-User-Key-File-3: ssh-rsa\n"),
        (
            "service-account.json",
            "{\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n\"}",
        ),
        (".gnupg/private-keys-v1.d/x.key", ""),
        (
            ".docker/config.json",
            "{\"auths\": {\"r\": {\"auth\": \"eDp5\"}}}",
        ),
        (
            ".config/containers/auth.json",
            "{\"auths\": {\"r\": {\"auth\": \"eDp5\"}}}",
        ),
        (".npmrc", "//registry.example.org/:_authToken=npm_123\n"),
        (".yarnrc.yml", "npmAuthToken: \"npm_123\"\n"),
        (".netrc", "machine example.org login a password b\n"),
        (".aws/credentials", "[default]\n"),
        (".kube/config", "users:\n- user:\n    client-key-data: eDp5\n"),
        (".git-credentials", ""),
        (".pypirc", ""),
        (".pgpass", ""),
        (".cargo/credentials.toml", ""),
        ("infra/terraform.tfstate", "{}"),
    ] {
        let project = Project::new();
        project.file(&format!("tree/{path}"), content, 0o600);
        project.file("tree/app", "", 0o755);
        let findings = project
            .findings(&spec("{ from = \"tree/\", to = \"/srv\" }"))
            .await;
        all.push_str(findings.lines().next().unwrap_or_default());
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn b8_what_only_looks_a_bit_like_one_is_copied() {
    let project = Project::new();
    for (path, content) in [
        (".gitignore", "target\n"),
        (".github/workflows/ci.yml", ""),
        (".env.example", "TOKEN=\n"),
        (".env.production.sample", "TOKEN=\n"),
        ("environment.js", ""),
        ("id_rsa.pub", "ssh-rsa AAAA\n"),
        ("etc/ssl/cert.pem", CERTIFICATE),
        ("certs/ca.key", "not a key at all"),
        ("docs/key", "C major"),
        (
            "src/tls_key.rs",
            "const BEGIN: &str = \"-----BEGIN PRIVATE KEY-----\";",
        ),
        ("config.json", "{\"auth\": true}"),
        (".docker/config.json", "{\"credsStore\": \"desktop\"}"),
        (
            ".npmrc",
            "registry=https://registry.example.org/\n//registry.example.org/:_authToken=${NPM_TOKEN}\n",
        ),
        ("credentials.json", "{\"kind\": \"schema\"}"),
        ("node_modules/https/test/fixtures/key.pem", KEY),
        ("node_modules/dotenv/tests/.env", "BASIC=basic\n"),
        ("lib/python3.11/site-packages/trustme/id_rsa", KEY),
    ] {
        project.file(&format!("tree/{path}"), content, 0o644);
    }
    std::os::unix::fs::symlink("../outside", project.path().join("tree/.env")).unwrap();
    let found = paths(&project, "{ from = \"tree/\", to = \"/srv\" }").await;
    assert!(found.len() > 30, "{found:?}");
}

#[tokio::test]
async fn b8_secrets_are_let_through_by_name_excluded_or_ignored() {
    let project = Project::new();
    project.file("tree/.env", "A=1\n", 0o644);
    project.file("tree/keys/id_rsa", KEY, 0o600);
    project.file("tree/app", "", 0o755);
    let text = spec(
        "{ from = \"tree/\", to = \"/srv\", allow-secrets = [\".env\"] }, { from = \"tree/.env\", to = \"/e/\" }, { from = \"tree/k*/*\", to = \"/k/\" }",
    );
    insta::assert_snapshot!(project.findings(&text).await);
    for copies in [
        "{ from = \"tree/\", to = \"/srv\", allow-secrets = [\".env\", \"keys/\"] }",
        "{ from = \"tree/\", to = \"/srv\", allow-secrets = [\"**\"] }",
        "{ from = \"tree/\", to = \"/srv\", exclude = [\".env\", \"keys/\"] }",
        "{ from = \"tree/keys/id_rsa\", to = \"/srv/\", allow-secrets = [\"id_rsa\"] }",
    ] {
        paths(&project, copies).await;
    }
    project.file(".cairnignore", ".env\nid_rsa\n", 0o644);
    assert_eq!(
        paths(&project, "{ from = \"tree/\", to = \"/srv\" }").await,
        ["/srv", "/srv/app", "/srv/keys"]
    );
}
