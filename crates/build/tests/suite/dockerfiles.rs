//! Dockerfiles as people write them, and the specs that they become. The goldens are meant to be read.

use std::path::Path;

use cairn_build::Spec;
use cairn_build::dockerfile::{DockerfileError, LIMIT, Surroundings, Translation, translate};
use cairn_oci::Platform;
use proptest::prelude::*;

fn translated(text: &str) -> Result<Translation, DockerfileError> {
    let name = "app".parse().unwrap();
    let platform = Platform::new("linux", "amd64");
    translate(
        text,
        &Surroundings {
            name: &name,
            platform: &platform,
            is_directory: &|path| matches!(path, "bin" | "src").then_some(true),
        },
    )
}

#[test]
fn dockerfiles_become_specs() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerfiles");
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().path().file_name()?.to_str()?.to_owned()))
        .filter_map(|name| Some(name.strip_suffix(".dockerfile")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 20);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&directory);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for name in names {
        let text = std::fs::read_to_string(directory.join(format!("{name}.dockerfile"))).unwrap();
        let translation = translated(&text).unwrap();
        settings.bind(|| insta::assert_snapshot!(name.as_str(), translation.text));
        assert_eq!(translation.findings, [], "{name}: {}", translation.text);
        // Each comment of the Dockerfile is still there.
        for line in text
            .lines()
            .skip(1)
            .filter_map(|line| line.trim().strip_prefix("# "))
        {
            assert!(translation.text.contains(line), "{name}: {line}");
        }
    }
}

#[test]
fn names_become_those_that_docker_means() {
    for (image, full) in [
        ("debian:12", "docker.io/library/debian:12"),
        ("debian", "docker.io/library/debian:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("registry.example.org/a/b:1", "registry.example.org/a/b:1"),
    ] {
        let text = translated(&format!("FROM {image}\n")).unwrap().text;
        let base = Spec::parse(&text).unwrap().base.unwrap().source.value;
        assert!(
            format!("{base:?}").len() > 10 && text.contains(&format!("\"{full}\"")),
            "{text}"
        );
    }
    assert_eq!(
        Spec::parse(&translated("FROM scratch\n").unwrap().text)
            .unwrap()
            .base,
        None
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, message) in [
        ("", "it has no FROM"),
        ("FROM a\nENV A=\0\n", "line 2: there is a NUL character"),
        ("RUN x\n", "line 1: RUN before the first FROM"),
        ("FROM a\n\nFRUM b\n", "line 3: `FRUM` is no instruction"),
        ("FROM a b c\n", "line 1: FROM has the form `FROM image [AS name]`"),
        (
            "FROM a\nCOPY x\n",
            "line 2: COPY needs a source and a destination",
        ),
        ("FROM a\nRUN <<E\nx\n", "line 2: the heredoc `E` does not end"),
        ("FROM a\nENV A\n", "line 2: ENV A without a value"),
        (
            "# escape=x\nFROM a\n",
            "line 1: the escape character is \\ or `, not `x`",
        ),
        (
            "FROM a\nHEALTHCHECK curl\n",
            "line 2: HEALTHCHECK has the form `HEALTHCHECK CMD …` or `HEALTHCHECK NONE`",
        ),
    ] {
        assert_eq!(translated(text).unwrap_err().to_string(), message);
    }
    assert_eq!(translated(&"#".repeat(LIMIT + 1)), Err(DockerfileError::TooLong));
}

#[test]
fn a_variable_that_doubles_itself_ends_soon() {
    let text = format!("FROM a\nENV A=xxxxxxxx\n{}", "ENV A=$A$A\n".repeat(60));
    let error = translated(&text).unwrap_err();
    assert_eq!(error.to_string(), "line 16: a value is longer than 65536 bytes");
}

#[test]
fn more_layers_than_a_spec_may_have_are_an_error() {
    let text = format!("FROM a\n{}", "COPY a /b\n".repeat(101));
    assert_eq!(
        translated(&text).unwrap_err().to_string(),
        "line 102: this makes more than 100 layers"
    );
}

#[test]
fn control_characters_are_written_out() {
    let text = "FROM a\n# \x1b[2J\u{202e}\nENV A=\"x\x1by\"\nRUN x\x07y\nCOPY a\x1b /b\u{202e}\n";
    let spec = translated(text).unwrap().text;
    assert!(!spec.contains(['\x1b', '\x07', '\u{202e}']), "{spec}");
    assert_eq!(Spec::parse(&spec).unwrap().config.env["A"], "x\x1by");
}

proptest! {
    /// Whatever is read: no panic, and what comes out is a spec, or says why not.
    #[test]
    fn anything_is_a_spec_or_an_error(
        lines in proptest::collection::vec(
            prop_oneof![
                ".{0,40}",
                "(RUN|COPY|ADD|ENV|LABEL|USER|EXPOSE|WORKDIR|CMD|VOLUME|HEALTHCHECK|STOPSIGNAL|ARG|SHELL) .{0,30}",
                "(COPY|ADD) (--from=[a-c0] |--chown=[a-z:0-9]{1,4} |--chmod=[0-9]{3,4} )?[a-c./*{}$]{1,6} [a-c./{}]{1,5}",
                "RUN (mkdir -p|ln -s|chown -R a|chmod 4755|useradd -u 7|rm -rf) [a-c/. ]{1,9}",
                "(ENV|LABEL) [A-C]=[$A-C{}:\"'\\\\ -]{0,9}",
                "FROM [a-c]{1,2}( AS [a-c])?",
            ],
            0..12,
        )
    ) {
        let text = format!("FROM a\n{}\n", lines.join("\n"));
        if let Ok(translation) = translated(&text) {
            prop_assert!(translation.findings.is_empty(), "{:#?}\n{}", translation.findings, translation.text);
        }
    }
}
