//! Questions to a ledger, as somebody asks them who was woken up: what runs, since when, what came before, what is this.

use serde_json::Value;

use crate::harness::{Output, Project, Sandbox, run};

/// Two releases on `prod`, the first of them on `staging` too, and a rollback.
fn told() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox
        .cairn(["release", "1.0.0", "--channel", "prod", "--channel", "staging"])
        .ok();
    sandbox.write_app("2");
    sandbox
        .cairn([
            "release",
            "2.0.0",
            "--channel",
            "prod",
            "--reason",
            "new greeting",
        ])
        .ok();
    sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
    sandbox
}

fn seqs(output: &Output) -> Vec<String> {
    let lines = output.stdout.lines().skip(1);
    lines
        .map(|line| line.split_whitespace().next().expect("a position").to_owned())
        .collect()
}

#[test]
fn the_history_has_pages_and_filters() {
    let sandbox = told();
    let page = sandbox.cairn(["history", "--limit", "3"]).ok();
    assert_eq!(seqs(&page), ["3", "2", "1"]);
    let page = page.says("1 older entry: the same command with --before 1");
    drop(page);
    let last = sandbox.cairn(["history", "--limit", "3", "--before", "#1"]).ok();
    assert_eq!(seqs(&last), ["0"]);
    assert!(!last.stderr.contains("older"));
    let found = |arguments: &[&str]| seqs(&sandbox.cairn([&["history"], arguments].concat()).ok());
    assert_eq!(found(&["staging"]), ["1"]);
    assert_eq!(found(&["--channel", "prod", "--kind", "release"]), ["2", "1"]);
    assert_eq!(found(&["--version", "1.0.0"]), ["3", "1"]);
    assert_eq!(
        found(&["--actor", "you", "--since", "2h", "--until", "0s"]),
        ["3", "2", "1", "0"]
    );
    let none = sandbox.cairn(["history", "--until", "2020-01-01"]).ok();
    assert!(none.stdout.is_empty());
    drop(none.says("no entry is like that"));
    sandbox
        .cairn(["history", "--since", "1h", "--until", "2h"])
        .fails(2);
    sandbox.cairn(["history", "--since", "yesterday"]).fails(2);
    sandbox.cairn(["history", "--kind", "deploy"]).fails(2);
    let page = sandbox.cairn(["--json", "history", "--limit", "1"]).ok().json();
    assert_eq!(
        (&page["older"], &page["before"]),
        (&Value::from(3), &Value::from(3))
    );
    assert_eq!(page["entries"][0]["void"], Value::Array(Vec::new()));
}

#[test]
fn a_narrow_terminal_gets_paragraphs() {
    let sandbox = told();
    let narrow = run(sandbox.command(["history", "--limit", "1"]).env("COLUMNS", "60")).ok();
    assert_eq!(
        narrow
            .stdout
            .lines()
            .filter(|line| !line.starts_with("AT "))
            .collect::<Vec<_>>()[..3],
        ["SEQ       3", "KIND      rollback", "VERSION   1.0.0"]
    );
    assert!(narrow.stdout.lines().all(|line| line.chars().count() <= 60));
}

#[test]
fn the_channels_of_another_time() {
    let sandbox = told();
    let entries = sandbox.cairn(["--json", "history"]).ok().json();
    let at = |seq: usize| {
        entries["entries"][3 - seq]["at"]
            .as_str()
            .expect("a time")
            .to_owned()
    };
    sandbox
        .cairn(["status", "--at", "0s"])
        .ok()
        .prints("1.0.0 (held)")
        .says("after entry #3");
    sandbox
        .cairn(["status", "--at", "2020-01-01"])
        .fails(1)
        .says("hint: it began at ");
    // Several entries may say the same second: then the last of them counts.
    let document = sandbox.cairn(["--json", "status", "--at", &at(1)]).ok().json();
    assert_eq!(document["past"]["time"], Value::from(at(1)));
    let seq = document["past"]["seq"].as_u64().expect("a position");
    let shown = &document["channels"][0];
    let expected = if seq == 2 { "2.0.0" } else { "1.0.0" };
    assert_eq!(
        (&shown["name"], &shown["version"]),
        (&Value::from("prod"), &Value::from(expected))
    );
    assert_eq!(shown["agrees"], Value::Null);
}

#[test]
fn what_is_this_that_i_see_running() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let sandbox = Sandbox::new();
    let repository = server.repository("team/hello");
    let spec = Project::new().repository(&repository).spec();
    sandbox.write(
        "cairn.toml",
        spec.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]"),
    );
    sandbox.write_app("1");
    sandbox.write("dist/arm64/app", "for the other machine\n");
    let index = sandbox
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .ok()
        .digest();
    sandbox.write_app("2");
    sandbox.cairn(["release", "2.0.0", "--channel", "prod"]).ok();

    let image = format!("{repository}@{index}");
    let seen = sandbox.cairn(["which", &image]).ok();
    let seen = seen
        .prints(&format!("is          the image {index}"))
        .prints("version     1.0.0");
    drop(seen.prints("shown by    no channel now").prints("(#1)"));
    let document = sandbox.cairn(["--json", "inspect", &image]).ok().json();
    let platform = &document["images"][1];
    let manifest = platform["digest"].as_str().expect("a digest").to_owned();
    let raw = std::fs::read(registry.blob("team/hello", &manifest)).expect("a manifest");
    let raw: Value = serde_json::from_slice(&raw).expect("a manifest");
    let config = raw["config"]["digest"].as_str().expect("a config").to_owned();
    let of = format!("linux/arm64 of {index}");
    // As a cluster shows it, and as an engine does.
    sandbox
        .cairn(["which", &format!("docker-pullable://{repository}@{manifest}")])
        .ok()
        .prints(&format!("the manifest {manifest} for {of}"));
    sandbox
        .cairn(["which", &config["sha256:".len()..][..12]])
        .ok()
        .prints(&format!("the config {config} for {of}"))
        .prints("version     1.0.0");
    sandbox
        .cairn(["which", "prod"])
        .ok()
        .prints("version     2.0.0")
        .prints("until now (#2)");

    sandbox
        .cairn(["which", "sha256:00000000000000000000"])
        .fails(1)
        .says("searched: the 2 images that entries name, with the manifests and configs of each");
    sandbox
        .cairn(["which", "canary"])
        .fails(1)
        .says("has no tag canary");
    sandbox.cairn(["which", "sha256:12"]).fails(2);
    // A tag that somebody moved by hand shows something else than the ledger says.
    let tags = registry.store().join("repos/team/hello/_layout/refs/tags");
    std::fs::copy(tags.join("1.0.0"), tags.join("prod")).expect("a tag of an own store");
    sandbox
        .cairn(["which", "prod"])
        .ok()
        .prints("version     1.0.0")
        .says("warning: the tag prod shows");
    let document = sandbox.cairn(["--json", "which", &manifest]).ok().json();
    // Nothing changed for the other machine, so that both releases have it.
    for (found, version) in [(&document["found"][0], "2.0.0"), (&document["found"][1], "1.0.0")] {
        assert_eq!(found["part"]["kind"], "manifest");
        assert_eq!(found["part"]["platform"], "linux/arm64");
        assert_eq!(found["versions"][0]["version"], version);
    }
}

#[test]
fn channels_and_versions_are_compared_by_name() {
    let sandbox = told();
    sandbox
        .cairn(["diff", "prod", "staging"])
        .ok()
        .prints("prod  1.0.0, sha256:")
        .prints("the same image");
    let document = sandbox.cairn(["--json", "diff", "prod", "2.0.0"]).ok().json();
    assert_eq!(document["before"]["version"], "1.0.0");
    assert_eq!(document["after"]["version"], "2.0.0");
    assert_eq!(document["same"], false);
}

#[test]
fn what_a_pipeline_says_of_itself_is_kept_and_shown_as_claimed() {
    let sandbox = told();
    sandbox.write_app("3");
    let key = std::fs::read_to_string(sandbox.key()).expect("a key");
    let long = "x".repeat(5000);
    let variables = [
        ("CI", "true"),
        ("CAIRN_KEY", key.as_str()),
        ("JENKINS_URL", "https://jenkins.example.org/"),
        ("BUILD_ID", "153"),
        ("BUILD_TAG", "jenkins-shop-153"),
        ("BUILD_URL", "https://jenkins.example.org/job/shop/153/"),
        ("BUILD_USER_ID", "ada\x1b[31m"),
        ("GIT_COMMIT", "ffac537e6cbbf934b08745a378932722df287a53"),
        ("GIT_BRANCH", long.as_str()),
        ("GIT_URL", "https://ada:secret@git.example.org/shop.git"),
    ];
    let mut command = sandbox.command(["release", "3.0.0", "--channel", "staging"]);
    run(command.envs(variables)).ok();
    // Another person reads it.
    std::fs::remove_file(sandbox.key()).expect("an own key");
    sandbox
        .cairn(["history", "--version", "3.0.0"])
        .ok()
        .prints("ada [31m (claimed)");
    let shown = sandbox.cairn(["show", "3.0.0"]).ok();
    let shown = shown.prints("run         https://jenkins.example.org/job/shop/153/");
    let shown = shown.prints("commit      ffac537e6cbbf934b08745a378932722df287a53");
    drop(shown.prints("source      https://git.example.org/shop.git\n"));
    sandbox
        .cairn(["status", "--at", "0s"])
        .ok()
        .prints("ffac537e6cbb\n");
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    assert_eq!(status["channels"][1]["by"]["how"], "claimed");
    assert_eq!(status["channels"][1]["run"]["id"], "jenkins-shop-153");
    assert!(
        !sandbox
            .cairn(["--json", "history"])
            .ok()
            .stdout
            .contains("secret")
    );
}

#[test]
fn g8_a_head_that_is_too_old_fails_every_verb_that_reads_it() {
    let sandbox = told();
    let begun = std::time::Instant::now();
    // The head's time has whole seconds.
    while begun.elapsed() < crate::harness::LIMIT {
        if sandbox.cairn(["status", "--max-age", "1s"]).code == Some(4) {
            break;
        }
    }
    let reading: [&[&str]; 8] = [
        &["history"],
        &["status", "--at", "0s"],
        &["show", "1.0.0"],
        &["which", "prod"],
        &["diff", "prod", "staging"],
        &["audit"],
        &["ledger", "head"],
        &["key", "list"],
    ];
    for arguments in reading {
        sandbox
            .cairn([arguments, &["--max-age", "1s"]].concat())
            .fails(4)
            .says("--max-age allows 1 s");
        sandbox.cairn([arguments, &["--max-age", "1h"]].concat()).ok();
    }
    let elsewhere = format!("{}-copy", "hello");
    sandbox
        .cairn(["copy", "hello", &elsewhere, "--ledger", "--max-age", "1s"])
        .fails(4);
    sandbox.cairn(["status", "--max-age", "soon"]).fails(2);
}

#[test]
fn every_image_of_a_workspace_answers() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "cairn.toml",
        "[workspace]\nmembers = [\"web\", \"api\"]\n\n[workspace.image]\nplatforms = [\"linux/amd64\"]\n",
    );
    for name in ["web", "api"] {
        let spec = format!(
            "[image]\nname = \"{name}\"\nworkspace = true\n\n[[layer]]\nname = \"data\"\n\
             copy = [{{ from = \"file\", to = \"/srv/\" }}]\n\n[config]\ncmd = [\"/srv/file\"]\n"
        );
        sandbox.write(&format!("{name}/cairn.toml"), spec);
        sandbox.write(&format!("{name}/file"), name);
    }
    sandbox
        .cairn(["release", "1.0.0", "--workspace", "--channel", "prod"])
        .ok();
    let web = sandbox
        .cairn(["which", "-p", "web", "prod", "--json"])
        .ok()
        .json();
    let digest = web["found"][0]["digest"].as_str().expect("a digest").to_owned();
    // It is enough if one image knows it.
    let found = sandbox.cairn(["which", "--workspace", &digest]).ok();
    assert!(
        found.stdout.contains("version     1.0.0") && !found.stderr.contains("error"),
        "{found}"
    );
    let unknown = format!("sha256:{}", "0".repeat(64));
    sandbox
        .cairn(["which", "--workspace", &unknown])
        .fails(1)
        .says("web: error: the ledger of web knows nothing of ");
    for verb in [
        &["history"][..],
        &["status"],
        &["status", "--at", "0s"],
        &["show", "1.0.0"],
    ] {
        let document = sandbox
            .cairn([verb, &["--workspace", "--json"]].concat())
            .ok()
            .json();
        let names: Vec<_> = document["images"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|image| (image["name"].as_str(), image["report"]["repository"].as_str()))
            .collect();
        assert_eq!(names, [(Some("api"), Some("api")), (Some("web"), Some("web"))]);
    }
    sandbox
        .cairn(["which", "--workspace", "web:prod"])
        .fails(2)
        .says("is one image");
}
