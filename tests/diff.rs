//! What tells two images apart, and whether an image can be built once more.

use crate::harness::Sandbox;

const SPEC: &str = r#"[image]
name = "conf"
platforms = ["linux/amd64"]

[[layer]]
name = "lib"
write = [{ to = "/usr/lib/app/lib", text = "never changes" }]

[[layer]]
name = "conf"
write = [
  { to = "/etc/app/kept.conf", text = "kept" },
  { to = "/etc/app/port.conf", text = "port = 8080" },
  { to = "/etc/app/OTHER", text = "x" },
]

[config]
env = { LEVEL = "info" }
"#;

/// The image as 1.0.0 on prod; then the spec changes, and the image is 2.0.0.
fn two_releases() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("cairn.toml", SPEC);
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    let changed = SPEC
        .replace("port = 8080\" }", "port = 80\", mode = \"0600\" }")
        .replace("OTHER", "new\u{202e}name")
        .replace("info", "debug");
    sandbox.write("cairn.toml", changed);
    sandbox.cairn(["release", "2.0.0"]).ok();
    sandbox
}

#[test]
fn a_diff_names_files_fields_and_layers() {
    let sandbox = two_releases();
    let output = sandbox.cairn(["diff", "prod", "2.0.0"]).ok();
    let all: Vec<_> = output.stdout.lines().collect();
    let (names, lines) = all.split_at(2);
    assert!(names[0].starts_with("prod  1.0.0, sha256:"), "{output}");
    assert!(names[1].starts_with("2.0.0  sha256:"), "{output}");
    assert!(lines[0].starts_with("linux/amd64  sha256:"), "{output}");
    assert_eq!(
        lines[1..9],
        [
            "files          1 added, 1 removed, 1 changed, 7 the same",
            "  + /etc/app/new\\u{202e}name  1 B",
            "  - /etc/app/OTHER  1 B",
            "  ~ /etc/app/port.conf  size 11 bytes → 9 bytes, content, mode 0644 → 0600",
            "configuration  1 field changed",
            "  ~ config.Env[0]  \"LEVEL=info\" → \"LEVEL=debug\"",
            lines[7],
            lines[8],
        ],
        "{output}"
    );
    assert!(lines[7].starts_with("layers         1 shared ("), "{output}");
    let document = sandbox
        .cairn(["--json", "diff", "1.0.0", "conf:built"])
        .ok()
        .json();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["same"], false);
    let platform = &document["platforms"][0];
    assert_eq!(platform["files"]["removed"][0]["path"], "/etc/app/OTHER");
    assert_eq!(platform["config"][0]["after"], "LEVEL=debug");
    assert_eq!(platform["layers"]["shared"].as_array().unwrap().len(), 1);
    sandbox
        .cairn(["diff", "conf:1.0.0", "prod"])
        .ok()
        .prints("the same image");
}

#[test]
fn a_diff_of_what_is_not_there_says_what_is() {
    let sandbox = two_releases();
    sandbox
        .cairn(["diff", "prod", "staging"])
        .fails(1)
        .says("names a repository");
    sandbox
        .cairn(["diff", "prod", "conf:3"])
        .fails(1)
        .says("there is no conf:3");
    let digest = format!("sha256:{}", "0".repeat(64));
    sandbox
        .cairn(["diff", "prod", &digest])
        .fails(1)
        .says("has no image");
    sandbox.cairn(["diff", "prod", "UPPER:x"]).fails(2).says("UPPER");
}

#[test]
fn what_was_released_can_be_built_once_more_until_the_spec_changes() {
    let sandbox = two_releases();
    sandbox
        .cairn(["verify", "--rebuild"])
        .ok()
        .prints("rebuilt    the same image, byte for byte");
    let output = sandbox.cairn(["verify", "--rebuild", "conf:1.0.0"]);
    assert_eq!(output.code, Some(4), "{output}");
    let findings: Vec<_> = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("FINDING"))
        .collect();
    assert_eq!(
        findings,
        [
            "FINDING    rebuild: linux/amd64, layer 2 of 2 (cairn: layer conf): \
             /etc/app/OTHER is not in the rebuilt layer, or not at the same place",
            "FINDING    rebuild: linux/amd64, config.Env[0]: \"LEVEL=info\" → \"LEVEL=debug\"",
        ],
        "{output}"
    );
    let document = sandbox
        .cairn(["--json", "verify", "--rebuild", "conf:1.0.0"])
        .json();
    assert_eq!(
        (&document["ok"], &document["rebuilt"]),
        (&false.into(), &false.into())
    );
    sandbox.cairn(["verify", "conf:1.0.0"]).ok();
}
