//! Images in files, and in the stores of other programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::harness::{Output, Project, Sandbox, run};

fn spec_of_two(sandbox: &Sandbox) {
    let spec = Project::new().spec();
    let both = spec.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    sandbox.write("cairn.toml", both);
    sandbox.write("dist/arm64/app", "for the other machine");
    sandbox.write_app("1");
}

fn read(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    fs::read(sandbox.project().join(name)).expect("the file is there")
}

/// A program of this name that does what the script says.
fn program(sandbox: &Sandbox, name: &str, script: &str) -> PathBuf {
    let path = sandbox.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an own file");
    path.parent().expect("it is in a directory").to_owned()
}

/// `cairn build --load ENGINE` with `programs` before everything else in the path.
fn load(sandbox: &Sandbox, engine: &str, programs: &[PathBuf]) -> Output {
    let mut command = sandbox.command(["--json", "build", "--load", engine]);
    let mut path: Vec<PathBuf> = programs.to_vec();
    path.push("/nowhere".into());
    run(command.env("PATH", std::env::join_paths(path).expect("paths without colons")))
}

#[test]
fn an_image_goes_from_file_to_file_and_stays_what_it_is() {
    let sandbox = Sandbox::new();
    spec_of_two(&sandbox);
    let digest = sandbox
        .cairn(["build", "--output", "oci-archive:a.tar", "--output", "oci:layout"])
        .ok()
        .digest();
    for (from, to, name) in [
        ("oci:layout", "oci-archive:b.tar", "layout:latest"),
        ("oci-archive:a.tar", "oci:other", "a:1"),
        ("oci:other", "oci-archive:c.tar:hello:latest", "hello:latest"),
        ("oci-archive:c.tar", "back:1", ""),
        ("back:1", "docker-archive:d.tar:1.0", ""),
    ] {
        let mut arguments = vec!["copy", from, to];
        if to.starts_with("docker") {
            arguments.extend(["--platform", "linux/arm64"]);
        }
        sandbox.cairn(arguments).ok();
        if name.is_empty() {
            continue;
        }
        let image = sandbox.cairn(["--json", "inspect", to]).ok().json();
        assert_eq!(image["digest"], digest.as_str(), "{from} to {to}");
    }
    // The archive depends on the image and its name, and not on where the image was.
    assert_eq!(read(&sandbox, "a.tar"), read(&sandbox, "c.tar"));
    let one = sandbox
        .cairn(["--json", "inspect", "docker-archive:d.tar:back:1.0"])
        .ok()
        .json();
    assert_eq!(one["images"][0]["platform"], "linux/arm64");
    sandbox
        .cairn(["verify", "docker-archive:d.tar"])
        .ok()
        .prints("whole");
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_written() {
    let sandbox = Sandbox::new();
    spec_of_two(&sandbox);
    let outputs = [
        "build",
        "--output",
        "oci-archive:a.tar",
        "--output",
        "docker-archive:b.tar",
    ];
    sandbox
        .cairn(outputs)
        .fails(1)
        .says("linux/amd64, linux/arm64")
        .says("--platform");
    for name in ["a.tar", "b.tar"] {
        assert!(!sandbox.project().join(name).exists(), "{name} was written");
    }
    let one = [&outputs[..], &["--platform", "linux/amd64"]].concat();
    sandbox.cairn(one).ok();
    sandbox
        .cairn([
            "copy",
            "oci-archive:a.tar",
            "other:1",
            "--platform",
            "linux/s390x",
        ])
        .fails(1)
        .says("it is for linux/amd64");
    sandbox
        .cairn(["copy", "--referrers", "oci-archive:a.tar", "oci-archive:c.tar"])
        .fails(2)
        .says("oci:DIR");
    sandbox
        .cairn(["build", "--output", "team/web:1"])
        .fails(2)
        .says("oci-archive:FILE");
}

#[test]
fn archives_that_are_none_are_the_users_mistake() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["build", "--output", "docker-archive:a.tar"]).ok();
    sandbox.write("text.tar", "no archive");
    for (place, text) in [
        ("oci-archive:nothing.tar", "there is no file nothing.tar"),
        ("oci-archive:text.tar", "it is no tar archive"),
        ("docker-archive:a.tar:other:1", "it has: localhost/hello:latest"),
        ("oci-archive:dist", "dist is not a regular file"),
    ] {
        sandbox.cairn(["inspect", place]).fails(1).says(text);
    }
    sandbox
        .cairn(["inspect", "oci-archive:"])
        .exits(2)
        .says("oci-archive:FILE");
    sandbox
        .cairn(["inspect", "rootfs:dist"])
        .exits(2)
        .says("not supported yet");
}

#[test]
fn an_archive_that_changed_under_way_is_not_copied() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["build", "--output", "oci-archive:a.tar"]).ok();
    let mut bytes = read(&sandbox, "a.tar");
    // The last member is the layer; two zero blocks and the filling of its last block come after it.
    let last = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("there is a layer");
    bytes[last] ^= 1;
    sandbox.write("a.tar", bytes);
    sandbox
        .cairn(["copy", "oci-archive:a.tar", "back:1"])
        .fails(4)
        .says("has the digest");
    sandbox.cairn(["inspect", "back:1"]).fails(1);
    sandbox.write("b.tar", "what was there");
    sandbox
        .cairn(["copy", "oci-archive:a.tar", "oci-archive:b.tar"])
        .fails(4);
    assert_eq!(read(&sandbox, "b.tar"), b"what was there");
    sandbox
        .cairn(["verify", "oci-archive:a.tar"])
        .exits(4)
        .prints("digest");
}

#[test]
fn podman_and_docker_are_fed_what_a_file_would_hold() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    for (engine, transport) in [("podman", "oci-archive"), ("docker", "docker-archive")] {
        let kept = sandbox.project().join(format!("{engine}.tar"));
        let script = format!(
            "test \"$*\" = load || exit 9\n/bin/cat >'{}'\necho 'Loaded image: localhost/hello:latest'",
            kept.display()
        );
        let programs = program(&sandbox, engine, &script);
        let built = load(&sandbox, engine, &[programs]).ok();
        assert_eq!(built.json()["loaded"], "localhost/hello:latest");
        let output = format!("{transport}:file.tar");
        sandbox.cairn(["build", "--output", &output]).ok();
        assert_eq!(
            read(&sandbox, &format!("{engine}.tar")),
            read(&sandbox, "file.tar")
        );
    }
}

#[test]
fn an_engine_that_is_missing_or_fails_is_named_with_its_own_words() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    load(&sandbox, "podman", &[])
        .fails(3)
        .says("podman is not installed")
        .says("docker-archive:FILE");
    let script = "/bin/cat >/dev/null\nprintf 'no \\033[31mspace\\n\\nleft\\n' >&2\nexit 125";
    let programs = program(&sandbox, "docker", script);
    load(&sandbox, "docker", &[programs])
        .fails(3)
        .says("docker load failed: exit status: 125: no \\x1b[31mspace; left");
    // One that does not listen to the end.
    let programs = program(&sandbox, "podman", "exit 0");
    let deaf = load(&sandbox, "podman", &[programs]);
    assert!(matches!(deaf.code, Some(0 | 3)), "{deaf}");
}

#[test]
fn a_compressed_archive_is_a_base_and_is_not_needed_again() {
    let sandbox = Sandbox::new();
    spec_of_two(&sandbox);
    sandbox
        .cairn(["build", "--output", "oci-archive:base.tar:12"])
        .ok();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &read(&sandbox, "base.tar")).expect("memory takes everything");
    sandbox.write("base.tar.gz", gzip.finish().expect("memory takes everything"));
    let spec = fs::read_to_string(sandbox.project().join("cairn.toml")).expect("a spec");
    let upon = |base: &str| {
        let spec = spec.replace("\"hello\"", "\"upon\"");
        sandbox.write("cairn.toml", format!("{spec}\n[base]\narchive = \"{base}\"\n"));
    };
    let mut digests = Vec::new();
    for base in ["base.tar", "base.tar.gz", "base.tar.gz:12"] {
        upon(base);
        sandbox.cairn(["lock"]).ok();
        digests.push(sandbox.cairn(["build", "--locked", "--offline"]).ok().digest());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    let scratch = fs::read_dir(sandbox.store().join("cache/scratch")).expect("it was made");
    assert_eq!(scratch.count(), 0, "a temporary file was left");
    sandbox.cairn(["verify"]).ok().prints("whole");
    fs::remove_file(sandbox.project().join("base.tar.gz")).expect("an own file");
    let again = sandbox.cairn(["build", "--locked", "--offline"]).ok().digest();
    assert_eq!(again, digests[0]);
    sandbox.cairn(["lock", "--update"]).fails(1).says("base.tar.gz");
}
