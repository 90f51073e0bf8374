//! Packages of Debian by the whole program: what it says when they cannot be had, and what comes of them when they can.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::archive::{Entry, Key, Package, Repository};
use crate::harness::{Output, Page, Sandbox, Web};

/// 2026-01-01: the tests' archives are signed then.
const SIGNED_AT: u32 = 1_767_225_600;
const INRELEASE: &str = "dists/stable/InRelease";

fn key() -> Key {
    Key::new(1, SIGNED_AT)
}

/// An archive that never expires.
fn archive() -> Repository {
    let hello = Package::new("hello", "1.0-1", "amd64")
        .field("Depends", "greeting")
        .entry("./usr/", Entry::Directory(0o755))
        .entry("./usr/bin/", Entry::Directory(0o755))
        .entry(
            "./usr/bin/hello",
            Entry::File(0o755, b"#!/bin/sh\necho hello\n".to_vec()),
        );
    let greeting = Package::new("greeting", "2", "all").file("./usr/share/greeting", "good morning\n");
    let adduser = Package::new("adduser", "3", "all").control_file("postinst", "#!/bin/sh\nmystery --now\n");
    Repository {
        date: "Thu, 01 Jan 2026 00:00:00 UTC".to_owned(),
        valid_until: None,
        signed_at: SIGNED_AT,
        ..Repository::new("stable", vec![hello, greeting, adduser])
    }
}

/// A project that takes packages from `mirror`, or from wherever the environment says.
fn project(mirror: Option<&str>) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("key.gpg", key().keyring());
    spec(&sandbox, mirror, "stable", "\"hello\"");
    sandbox
}

fn spec(sandbox: &Sandbox, mirror: Option<&str>, suite: &str, install: &str) {
    let mirror = mirror.map(|mirror| format!("mirror = \"{mirror}\"\n"));
    sandbox.write(
        "cairn.toml",
        format!(
            "[image]\nname = \"hello\"\nplatforms = [\"linux/amd64\"]\n\n[packages.debian]\nsuite = \"{suite}\"\n{}\
             keyring = \"key.gpg\"\ninstall = [{install}]\n",
            mirror.unwrap_or_default()
        ),
    );
}

/// A directory with the files of an archive beside the project.
fn mirror_directory(sandbox: &Sandbox, files: &BTreeMap<String, Vec<u8>>) -> PathBuf {
    for (path, content) in files {
        sandbox.write(&format!("mirror/{path}"), content);
    }
    sandbox.project().join("mirror")
}

fn url(directory: &Path) -> String {
    format!("file:{}", directory.display())
}

/// No lock, no image, and nothing half written.
#[track_caller]
fn nothing_is_there(sandbox: &Sandbox, output: &Output) {
    assert!(
        !sandbox.project().join("cairn.lock").exists(),
        "a lock after\n{output}"
    );
    no_image(sandbox, output);
}

#[track_caller]
fn no_image(sandbox: &Sandbox, output: &Output) {
    if sandbox.store().exists() {
        let tree = sandbox.store_tree();
        assert!(tree.files("refs").is_empty(), "a reference after\n{output}");
        assert!(tree.files("scratch").is_empty(), "scratch after\n{output}");
    }
}

#[test]
fn the_mirror_may_be_a_directory_that_the_spec_or_the_environment_names_and_is_not_needed_twice() {
    let sandbox = project(None);
    let directory = mirror_directory(&sandbox, &archive().signed(&key()));
    let mut command = sandbox.command(["build"]);
    command.env("CAIRN_DEBIAN_MIRROR", url(&directory));
    let by_environment = crate::harness::run(&mut command).ok().digest();
    let lock = std::fs::read_to_string(sandbox.project().join("cairn.lock")).expect("a lock");
    assert!(lock.contains("created = \"2026-01-01T00:00:00Z\""), "{lock}");
    std::fs::remove_dir_all(&directory).expect("it is ours");
    let again = sandbox.cairn(["build", "--locked"]).ok();
    assert_eq!(again.digest(), by_environment);
    let again = again.says("nothing read");
    assert!(!again.stderr.contains("mirror"), "{again}");
    // Without the records of what packages became, the packages are read again, from the store's cache.
    std::fs::remove_dir_all(sandbox.home().join("cache")).expect("it is ours");
    assert_eq!(sandbox.cairn(["build", "--locked"]).ok().digest(), by_environment);

    let other = project(None);
    let directory = mirror_directory(&other, &archive().signed(&key()));
    spec(&other, Some(&url(&directory)), "stable", "\"hello\"");
    let by_spec = other.cairn(["build"]).ok().digest();
    assert_eq!(by_spec, by_environment, "where packages came from does not show");
}

#[test]
fn packages_and_suites_that_are_not_there_are_named_with_the_nearest_names() {
    let sandbox = project(None);
    let directory = url(&mirror_directory(&sandbox, &archive().signed(&key())));
    spec(&sandbox, Some(&directory), "stable", "\"helo\"");
    let output = sandbox.cairn(["build"]).fails(1);
    let output = output
        .says("there is no package `helo`; near it are hello")
        .says("cairn.toml:");
    nothing_is_there(&sandbox, &output);
    spec(&sandbox, Some(&directory), "stable", "\"hello=9\"");
    let output = sandbox.cairn(["build"]).fails(1);
    let output = output.says("there is no `hello=9`; there is 1.0-1 for amd64");
    nothing_is_there(&sandbox, &output);
    spec(&sandbox, Some(&directory), "unstable", "\"hello\"");
    let output = sandbox.cairn(["lock"]);
    let output = output
        .says("dists/unstable/InRelease")
        .says("is there a suite `unstable`?");
    assert!(matches!(output.code, Some(1 | 3)), "{output}");
    nothing_is_there(&sandbox, &output);
}

#[test]
fn d3_an_index_that_expired_or_is_older_than_one_seen_before_is_refused() {
    let web = Web::start(Vec::<(String, Page)>::new());
    let sandbox = project(Some(&web.url("/debian")));
    let old = Repository {
        valid_until: Some("Thu, 08 Jan 2026 00:00:00 UTC".to_owned()),
        ..archive()
    };
    let serve = |archive: &Repository| {
        let files = archive.signed(&key()).into_iter();
        web.serve(files.map(|(path, content)| (format!("/debian/{path}"), Page::Content(content))));
    };
    serve(&old);
    let output = sandbox.cairn(["build"]).fails(4);
    let output = output
        .says(&web.url(&format!("/debian/{INRELEASE}")))
        .says("it expired at 2026-01-08");
    nothing_is_there(&sandbox, &output);

    serve(&archive());
    sandbox.cairn(["lock"]).ok();
    let before = std::fs::read(sandbox.project().join("cairn.lock")).expect("a lock");
    serve(&Repository {
        date: "Wed, 31 Dec 2025 00:00:00 UTC".to_owned(),
        ..archive()
    });
    let output = sandbox
        .cairn(["lock", "--update"])
        .fails(4)
        .says("was seen before");
    let after = std::fs::read(sandbox.project().join("cairn.lock")).expect("a lock");
    assert_eq!(before, after, "{output}");
}

#[test]
fn d1_d2_what_is_not_signed_by_the_keyring_or_not_what_was_signed_is_refused() {
    let good = archive().signed(&key());
    let unsigned = archive().signed(&Key::new(2, SIGNED_AT));
    let mut tail = good.clone();
    tail.get_mut(INRELEASE)
        .expect("it is there")
        .extend_from_slice(b"SHA256:\n more\n");
    let mut index = good.clone();
    for (path, content) in &mut index {
        if path.contains("binary-amd64") {
            *content = content.iter().map(|byte| byte ^ 1).collect();
        }
    }
    for (files, named, says) in [
        (&unsigned, INRELEASE, "is not signed by a key that is trusted"),
        (&tail, INRELEASE, "is not a signed text"),
        (&index, "binary-amd64", "has the SHA-256"),
    ] {
        let sandbox = project(None);
        let directory = mirror_directory(&sandbox, files);
        spec(&sandbox, Some(&url(&directory)), "stable", "\"hello\"");
        let output = sandbox.cairn(["build"]).fails(4).says(named).says(says);
        nothing_is_there(&sandbox, &output);
    }
}

#[test]
fn d1_a_package_in_a_directory_that_is_another_or_too_short_is_refused() {
    let archive = archive();
    let name = archive.packages[0].file_name();
    let whole = archive.packages[0].deb();
    let mut swapped = whole.clone();
    *swapped.last_mut().expect("it has bytes") ^= 1;
    for content in [swapped, whole[..whole.len() / 2].to_vec()] {
        let sandbox = project(None);
        let directory = mirror_directory(&sandbox, &archive.signed(&key()));
        spec(&sandbox, Some(&url(&directory)), "stable", "\"hello\"");
        sandbox.cairn(["lock"]).ok();
        sandbox.write(&format!("mirror/{name}"), &content);
        let output = sandbox.cairn(["build", "--locked"]).fails(4).says(&name);
        no_image(&sandbox, &output);
        sandbox.write(&format!("mirror/{name}"), &whole);
        sandbox.cairn(["build", "--locked"]).ok();
    }
}

#[test]
fn what_is_known_of_a_packages_other_scripts_is_for_who_asks_for_all() {
    let sandbox = project(None);
    let directory = mirror_directory(&sandbox, &archive().signed(&key()));
    spec(&sandbox, Some(&url(&directory)), "stable", "\"adduser\"");
    let quiet = sandbox.cairn(["build"]).ok();
    assert!(!quiet.stderr.contains("adduser has other scripts"), "{quiet}");
    // Also where nothing is read again.
    let all = sandbox.cairn(["-v", "build"]).ok();
    all.says("warning: the package adduser has other scripts than those that are replaced");
}
