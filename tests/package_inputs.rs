//! Packages on their way: mirrors that break, lie or are gone, several sources, and inputs that are kept beside the image.

use std::path::Path;

use cairn_oci::Digest;

use crate::archive::{Key, Package, Repository};
use crate::harness::{Output, Page, Random, Sandbox, Web};

/// 2026-01-01: the tests' archives are signed then.
const SIGNED_AT: u32 = 1_767_225_600;

fn key() -> Key {
    Key::new(1, SIGNED_AT)
}

/// An archive that never expires.
fn archive(suite: &str, packages: Vec<Package>) -> Repository {
    Repository {
        date: "Thu, 01 Jan 2026 00:00:00 UTC".to_owned(),
        valid_until: None,
        signed_at: SIGNED_AT,
        ..Repository::new(suite, packages)
    }
}

/// The pages of an archive below `/PREFIX/`.
fn pages(prefix: &str, archive: &Repository) -> Vec<(String, Page)> {
    let files = archive.signed(&key()).into_iter();
    files
        .map(|(path, content)| (format!("/{prefix}/{path}"), Page::Content(content)))
        .collect()
}

/// `hello`, which needs `greeting`.
fn packages(version: &str) -> Vec<Package> {
    vec![
        Package::new("hello", version, "amd64")
            .field("Depends", "greeting")
            .file("./usr/share/hello", &format!("hello {version}\n")),
        Package::new("greeting", "2", "all").file("./usr/share/greeting", "good morning\n"),
    ]
}

/// A project that asks for `hello`, with `more` in its section.
fn project(more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("key.gpg", key().keyring());
    write_spec(&sandbox, "", more);
    sandbox
}

fn write_spec(sandbox: &Sandbox, image: &str, more: &str) {
    sandbox.write(
        "cairn.toml",
        format!(
            "[image]\nname = \"hello\"\nplatforms = [\"linux/amd64\"]\n{image}\n[packages.debian]\ninstall = [\"hello\"]\n\
             keyring = \"key.gpg\"\n{more}"
        ),
    );
}

fn section(web: &Web) -> String {
    format!("suite = \"stable\"\nmirror = \"{}\"\n", web.url("/debian"))
}

/// Forgets everything but the project: as a fresh clone on another machine.
fn forget(sandbox: &Sandbox) {
    for directory in [sandbox.store(), sandbox.home(), sandbox.state()] {
        if directory.exists() {
            std::fs::remove_dir_all(&directory).expect("it is ours");
        }
    }
    std::fs::create_dir(sandbox.home()).expect("it was removed");
}

/// Nothing of a build that failed counts.
#[track_caller]
fn nothing_built(sandbox: &Sandbox, output: &Output) {
    let tree = sandbox.store_tree();
    assert!(tree.files("refs").is_empty(), "a reference after\n{output}");
    assert!(tree.files("scratch").is_empty(), "scratch after\n{output}");
}

#[test]
fn packages_come_side_by_side_and_a_line_says_from_where() {
    let web = Web::start(pages("debian", &archive("stable", packages("1"))));
    let sandbox = project(&section(&web));
    let built = sandbox.cairn(["-v", "build"]).ok();
    let built = built
        .says("  packages         2, ")
        .says(&format!("from {}", web.url("/debian")));
    let built = built.says(&format!("hello 1 amd64: from {}", web.url("/debian")));
    let digest = built.digest();
    let asked = web.asked().len();
    let again = sandbox.cairn(["build", "--locked"]).ok();
    assert_eq!(again.digest(), digest);
    assert_eq!(web.asked().len(), asked, "something was asked for again");
}

#[test]
fn a_package_that_broke_off_is_gone_on_with_by_the_next_build() {
    let big = Random::new().bytes(200_000);
    let mut all = packages("1");
    let content = crate::archive::Entry::File(0o644, big);
    all[1] = all[1].clone().entry("./usr/share/big", content);
    let archive = archive("stable", all);
    let web = Web::start(pages("debian", &archive));
    let sandbox = project(&section(&web));
    sandbox.cairn(["lock"]).ok();

    let path = format!("/debian/{}", archive.packages[1].file_name());
    let whole = archive.packages[1].deb();
    let mut broken = pages("debian", &archive);
    broken.retain(|(page, _)| *page != path);
    broken.push((path.clone(), Page::Truncated(whole.clone())));
    web.serve(broken.clone());
    let output = sandbox.cairn(["build", "--locked"]).fails(3);
    let output = output
        .says("the package greeting 2 all")
        .says(&web.url(&path))
        .says("it broke off after");
    nothing_built(&sandbox, &output);
    let kept = sandbox
        .store()
        .join("cache/partial")
        .join(format!(".tmp-{}", Digest::of(&whole).hex()));
    let half = kept.metadata().expect("what came is kept").len();
    assert_eq!(half, whole.len() as u64 / 2);

    // From now on the mirror gives what is asked for.
    broken.retain(|(page, _)| *page != path);
    broken.push((path, Page::Interrupted(whole)));
    web.serve(broken);
    sandbox.cairn(["build", "--locked"]).ok();
    let ranges: Vec<_> = web
        .headers()
        .into_iter()
        .filter(|line| line.starts_with("range:"))
        .collect();
    assert_eq!(
        ranges.last(),
        Some(&format!("range: bytes={half}-")),
        "{ranges:?}"
    );
    assert!(!kept.exists());
}

#[test]
fn d1_a_part_that_is_wrong_is_thrown_away_and_a_package_that_was_swapped_is_refused() {
    let archive = archive("stable", packages("1"));
    let web = Web::start(pages("debian", &archive));
    let sandbox = project(&section(&web));
    sandbox.cairn(["lock"]).ok();
    let (path, whole) = (archive.packages[1].file_name(), archive.packages[1].deb());
    // A part of something else, as long as a part can be.
    let partial = sandbox
        .store()
        .join("cache/partial")
        .join(format!(".tmp-{}", Digest::of(&whole).hex()));
    std::fs::create_dir_all(partial.parent().expect("it has one")).expect("a directory");
    std::fs::write(&partial, vec![7; whole.len() - 1]).expect("a part");
    let digest = sandbox.cairn(["build", "--locked"]).ok().digest();

    forget(&sandbox);
    let mut swapped = whole.clone();
    *swapped.last_mut().expect("it has bytes") ^= 1;
    let mut files = pages("debian", &archive);
    files.retain(|(page, _)| !page.ends_with(&path));
    files.push((format!("/debian/{path}"), Page::Content(swapped.clone())));
    web.serve(files.clone());
    let output = sandbox.cairn(["build", "--locked"]).fails(4);
    let output = output
        .says(&web.url(&format!("/debian/{path}")))
        .says(&Digest::of(&whole).to_string());
    nothing_built(&sandbox, &output);
    assert!(sandbox.store_tree().files(&Digest::of(&swapped).hex()).is_empty());
    // Longer than the index says: no more of it is read than that.
    files.pop();
    files.push((format!("/debian/{path}"), Page::Endless));
    web.serve(files);
    let output = sandbox
        .cairn(["build", "--locked"])
        .fails(4)
        .says("and should have");
    nothing_built(&sandbox, &output);

    web.serve(pages("debian", &archive));
    assert_eq!(sandbox.cairn(["build", "--locked"]).ok().digest(), digest);
}

#[test]
fn inputs_that_were_pushed_beside_the_image_build_it_when_the_mirror_is_gone() {
    let web = Web::start(pages("debian", &archive("stable", packages("1"))));
    let sandbox = project(&section(&web));
    let registry = Sandbox::new();
    let server = registry.serve();
    let repository = server.repository("team/hello");
    write_spec(
        &sandbox,
        &format!("repository = \"{repository}\"\n"),
        &section(&web),
    );
    let pushed = sandbox.cairn(["push", "--with-inputs", "--tag", "one"]).ok();
    let pushed = pushed.says("2 inputs kept: ");
    let digest = pushed.line().rsplit('@').next().expect("a digest").to_owned();
    sandbox
        .cairn(["push", "--with-inputs"])
        .ok()
        .says("0 blobs, 0 B;");

    // The mirror is empty, and nothing is here.
    web.serve(Vec::<(String, Page)>::new());
    forget(&sandbox);
    let asked = web.asked().len();
    let built = sandbox.cairn(["-v", "build", "--locked"]).ok();
    assert_eq!(web.asked().len(), asked, "the mirror comes after what is kept");
    let built = built
        .says(&format!("from kept in {repository}"))
        .says("hello 1 amd64");
    assert_eq!(built.digest(), digest);
    // A copy with what refers to the image has them too.
    let copy = server.repository("team/copy");
    sandbox
        .cairn([
            "copy",
            "--referrers",
            &format!("{repository}:one"),
            &format!("{copy}:one"),
        ])
        .ok();
    write_spec(&sandbox, &format!("repository = \"{copy}\"\n"), &section(&web));
    forget(&sandbox);
    assert_eq!(sandbox.cairn(["build", "--locked"]).ok().digest(), digest);

    // And without either, each place is named, and nothing is half done.
    write_spec(
        &sandbox,
        &format!("repository = \"{}\"\n", server.repository("team/none")),
        &section(&web),
    );
    forget(&sandbox);
    let output = sandbox.cairn(["build", "--locked"]).fails(3);
    let output = output
        .says("the package hello 1 amd64 (sha256:")
        .says("the package greeting 2 all (sha256:")
        .says("the cache: not there")
        .says("kept in the local store: not there")
        .says(&format!("kept in {}: not there", server.repository("team/none")))
        .says(&format!("{}: ", web.url("/debian/pool/hello_1_amd64.deb")))
        .says("HTTP status 404")
        .says("--with-inputs");
    nothing_built(&sandbox, &output);
}

#[test]
fn inputs_that_are_kept_in_the_local_store_do_without_network() {
    let web = Web::start(pages("debian", &archive("stable", packages("1"))));
    let sandbox = project(&section(&web));
    sandbox.cairn(["push", "--with-inputs", "--tag", "one"]).ok();
    // Garbage collection leaves them as long as the image has a tag.
    sandbox.cairn(["store", "gc", "--grace", "1s"]).ok();
    for directory in [sandbox.store().join("cache"), sandbox.home().join("cache")] {
        std::fs::remove_dir_all(directory).expect("the cache may go");
    }
    sandbox.cairn(["build", "--offline"]).ok();
    forget(&sandbox);
    sandbox
        .cairn(["build", "--offline"])
        .fails(3)
        .says("the package hello 1 amd64, ")
        .says("the package greeting 2 all, ")
        .says("is not here");
}

#[test]
fn a_dated_archive_has_what_the_mirror_has_no_more() {
    let then = archive("stable", packages("1"));
    let mut all = pages("debian", &then);
    all.extend(pages("snapshot/20260101T000000Z", &then));
    let web = Web::start(all);
    let snapshot = web.url("/snapshot/20260101T000000Z");
    let sandbox = project(&format!("{}snapshot = \"{snapshot}\"\n", section(&web)));
    let digest = sandbox.cairn(["build"]).ok().digest();
    // The mirror has gone on.
    let mut all = pages("debian", &archive("stable", packages("2")));
    all.extend(pages("snapshot/20260101T000000Z", &then));
    web.serve(all.clone());
    forget(&sandbox);
    let built = sandbox.cairn(["build", "--locked"]).ok();
    let built = built.says(&format!("from {snapshot}"));
    assert_eq!(built.digest(), digest);
    // Without a mirror it is the archive itself.
    std::fs::remove_file(sandbox.project().join("cairn.lock")).expect("it was written");
    write_spec(
        &sandbox,
        "",
        &format!("suite = \"stable\"\nsnapshot = \"{snapshot}\"\n"),
    );
    assert_eq!(sandbox.cairn(["build"]).ok().digest(), digest);
    // Neither has it: all places are named.
    web.serve(Vec::<(String, Page)>::new());
    write_spec(
        &sandbox,
        "",
        &format!("{}snapshot = \"{snapshot}\"\n", section(&web)),
    );
    std::fs::remove_file(sandbox.project().join("cairn.lock")).expect("it was written");
    web.serve(all);
    sandbox.cairn(["lock"]).ok();
    web.serve(Vec::<(String, Page)>::new());
    forget(&sandbox);
    sandbox
        .cairn(["build", "--locked"])
        .fails(3)
        .says(&web.url("/debian/pool/hello_2_amd64.deb"))
        .says(&format!("{snapshot}/pool/hello_2_amd64.deb"));
}

#[test]
fn the_highest_version_of_all_sources_is_taken_and_the_lock_says_from_where() {
    let mut all = pages("debian", &archive("stable", packages("1")));
    let fixed = Package::new("greeting", "2+fixed", "all").file("./usr/share/greeting", "good evening\n");
    all.extend(pages("security", &archive("stable-security", vec![fixed])));
    let vendor = Key::new(2, SIGNED_AT);
    let tool = Package::new("tool", "9", "amd64").file("./usr/share/tool", "tool\n");
    let files = archive("stable", vec![tool]).signed(&vendor).into_iter();
    all.extend(files.map(|(path, content)| (format!("/vendor/{path}"), Page::Content(content))));
    let web = Web::start(all);
    let more = format!(
        "{}[[packages.debian.source]]\nsuite = \"stable-security\"\nmirror = \"{}\"\n\
         [[packages.debian.source]]\nsuite = \"stable\"\nmirror = \"{}\"\nkeyring = \"vendor.gpg\"\n",
        section(&web),
        web.url("/security"),
        web.url("/vendor"),
    );
    let sandbox = project(&more);
    sandbox.write("vendor.gpg", vendor.keyring());
    let spec = std::fs::read_to_string(sandbox.project().join("cairn.toml")).expect("it was written");
    sandbox.write("cairn.toml", spec.replace("[\"hello\"]", "[\"hello\", \"tool\"]"));
    sandbox.cairn(["build"]).ok();
    let lock = std::fs::read_to_string(sandbox.project().join("cairn.lock")).expect("it was written");
    for expected in [
        format!(
            "package = \"greeting 2+fixed all\", url = \"{}/pool/greeting_2+fixed_all.deb\", suite = \"stable-security\"",
            web.url("/security")
        ),
        format!(
            "package = \"tool 9 amd64\", url = \"{}/pool/tool_9_amd64.deb\"",
            web.url("/vendor")
        ),
        format!(
            "{{ uri = \"{}\", suite = \"stable-security\", date = ",
            web.url("/security")
        ),
    ] {
        assert!(lock.contains(&expected), "{expected}\n{lock}");
    }
    sandbox.cairn(["lock", "--locked"]).ok();
    // Each source has its own keys: what signs one does not sign another.
    sandbox.write("vendor.gpg", key().keyring());
    sandbox
        .cairn(["lock", "--update"])
        .fails(4)
        .says(&web.url("/vendor/dists/stable/InRelease"));
}

#[test]
fn no_credentials_go_to_archives_and_plain_http_is_enough_for_what_is_signed() {
    let archive = archive("stable", packages("1"));
    let other = Web::start(pages("debian", &archive));
    // Everything is at another host.
    let moved = archive.signed(&key()).into_keys();
    let web = Web::start(moved.map(|path| {
        (
            format!("/debian/{path}"),
            Page::Redirect(other.url(&format!("/debian/{path}"))),
        )
    }));
    let sandbox = project(&section(&web));
    let known = [web.host(), other.host()].map(|host| format!("\"{host}\":{{\"auth\":\"dTpw\"}}"));
    let config = sandbox.home().join(".docker/config.json");
    std::fs::create_dir_all(config.parent().expect("it has one")).expect("a directory");
    std::fs::write(&config, format!("{{\"auths\":{{{}}}}}", known.join(","))).expect("a file");
    sandbox.cairn(["build"]).ok();
    for web in [&web, &other] {
        assert!(!web.headers().is_empty());
        let secret = web
            .headers()
            .into_iter()
            .find(|line| line.starts_with("authorization:") || line.starts_with("cookie:"));
        assert_eq!(secret, None);
    }
    // An address with a password is none.
    let with_password = section(&web).replace("http://", "http://u:p@");
    write_spec(&sandbox, "", &with_password);
    sandbox
        .cairn(["build"])
        .fails(1)
        .says("is not the address of an archive");
}

#[test]
fn d3_d4_each_mirror_is_verified_and_judged_by_its_date() {
    let good = archive("stable", packages("1"));
    let expired = Repository {
        valid_until: Some("Thu, 08 Jan 2026 00:00:00 UTC".to_owned()),
        ..good.clone()
    };
    let web = Web::start(pages("debian", &expired));
    let sandbox = project(&section(&web));
    let refused = |code: i32, text: &str| {
        let output = sandbox.cairn(["lock", "--update"]).fails(code).says(text);
        output.says("InRelease")
    };
    refused(4, "it expired at 2026-01-08T00:00:00Z");
    assert!(!sandbox.project().join("cairn.lock").exists());
    // As a snapshot of that time it is what it should be.
    web.serve(pages("debian/20260105T000000Z", &expired));
    let dated = format!(
        "suite = \"stable\"\nmirror = \"{}/{{snapshot}}\"\nsnapshot = 2026-01-05T00:00:00Z\n",
        web.url("/debian")
    );
    write_spec(&sandbox, "", &dated);
    sandbox.cairn(["lock"]).ok();

    // A state that is older than the one that the lock knows of.
    let newer = Repository {
        date: "Fri, 02 Jan 2026 00:00:00 UTC".to_owned(),
        ..archive("stable", packages("2"))
    };
    write_spec(&sandbox, "", &section(&web));
    web.serve(pages("debian", &newer));
    sandbox.cairn(["lock"]).ok();
    let lock = std::fs::read_to_string(sandbox.project().join("cairn.lock")).expect("it was written");
    web.serve(pages("debian", &good));
    refused(4, "was seen before");
    let after = std::fs::read_to_string(sandbox.project().join("cairn.lock")).expect("it was written");
    assert_eq!(after, lock);

    // A second mirror without a signature that counts is not believed because the first has one.
    let stranger = Key::new(9, SIGNED_AT);
    let mut all = pages("debian", &newer);
    let files = archive("stable", packages("99")).signed(&stranger).into_iter();
    all.extend(files.map(|(path, content)| (format!("/other/{path}"), Page::Content(content))));
    web.serve(all);
    let more = format!(
        "{}[[packages.debian.source]]\nsuite = \"stable\"\nmirror = \"{}\"\n",
        section(&web),
        web.url("/other")
    );
    write_spec(&sandbox, "", &more);
    sandbox
        .cairn(["lock"])
        .fails(4)
        .says(&web.url("/other/dists/stable/InRelease"));
    let after = std::fs::read_to_string(sandbox.project().join("cairn.lock")).expect("it was written");
    assert_eq!(after, lock);
}

#[test]
fn one_package_is_updated_and_the_others_keep_their_versions() {
    let web = Web::start(pages("debian", &archive("stable", packages("1"))));
    let sandbox = project(&section(&web));
    sandbox.cairn(["lock"]).ok();
    let mut all = packages("1");
    all.extend(packages("2"));
    all.push(Package::new("greeting", "3", "all").file("./usr/share/greeting", "hello\n"));
    all.remove(3);
    web.serve(pages("debian", &archive("stable", all)));
    let updated = sandbox.cairn(["lock", "--update", "hello"]).ok();
    let updated = updated.says("the package hello:amd64 for linux/amd64: 1 → 2");
    assert!(!updated.to_string().contains("greeting"), "{updated}");
    let updated = sandbox.cairn(["lock", "--update", "greeting"]).ok();
    updated.says("the package greeting:all for linux/amd64: 2 → 3");
    sandbox
        .cairn(["lock", "--update", "nothing"])
        .fails(1)
        .says("the spec has no pin `nothing`")
        .says("packages, hello");
}

/// A keyring that the tests write is where the spec says.
#[test]
fn a_keyring_that_is_not_there_is_named() {
    let web = Web::start(pages("debian", &archive("stable", packages("1"))));
    let sandbox = project(&section(&web));
    std::fs::remove_file(sandbox.project().join(Path::new("key.gpg"))).expect("it was written");
    sandbox.cairn(["lock"]).fails(1).says("key.gpg");
}
