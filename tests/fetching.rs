//! Files and archives from URLs.

use cairn_oci::Digest;

use crate::harness::{Output, Page, Sandbox, Web};

/// A project whose only layer fetches these: URL, SHA-256, and the rest of the element.
fn fetching(elements: &[(String, Digest, &str)]) -> Sandbox {
    let sandbox = Sandbox::new();
    let elements: String = elements
        .iter()
        .map(|(url, digest, rest)| {
            format!(
                "  {{ url = \"{url}\", sha256 = \"{}\", {rest} }},\n",
                digest.hex()
            )
        })
        .collect();
    sandbox.write(
        "cairn.toml",
        format!(
            "[image]\nname = \"hello\"\nplatforms = [\"linux/amd64\"]\n\n[[layer]]\nname = \"tools\"\nfetch = [\n{elements}]\n"
        ),
    );
    sandbox
}

fn tar() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(2);
    archive
        .append_data(&mut header, "tool-1/bin/tool", &b"#!"[..])
        .expect("it goes into memory");
    archive.into_inner().expect("it goes into memory")
}

/// Nothing of a fetch that failed counts: no lock, no tag, and nothing in the cache.
#[track_caller]
fn nothing_kept(sandbox: &Sandbox, exit: i32) -> Output {
    let output = sandbox.cairn(["build"]).fails(exit);
    assert!(!sandbox.project().join("cairn.lock").exists(), "{output}");
    let tree = sandbox.store_tree();
    for part in ["refs", "cache/sha256", "scratch"] {
        assert!(tree.files(part).is_empty(), "{part} after\n{output}");
    }
    output
}

#[test]
fn what_was_fetched_once_is_built_without_the_url() {
    let archive = tar();
    let web = Web::start([
        ("/tool.tar", Page::Content(archive.clone())),
        ("/plain", Page::Interrupted(b"plain content".to_vec())),
        ("/moved", Page::Redirect("/plain".to_owned())),
    ]);
    let sandbox = fetching(&[
        (
            web.url("/tool.tar"),
            Digest::of(&archive),
            "to = \"/opt/\", extract = true, strip = 1",
        ),
        (
            web.url("/moved"),
            Digest::of(b"plain content"),
            "to = \"/etc/plain\"",
        ),
    ]);
    let digest = sandbox.cairn(["build"]).ok().says("fetch").digest();
    let asked = web.asked();
    assert_eq!(asked.iter().filter(|path| *path == "/tool.tar").count(), 1);
    assert!(
        asked.iter().filter(|path| *path == "/plain").count() > 1,
        "{asked:?}"
    );
    for arguments in [&["build", "--locked"][..], &["build", "--offline"]] {
        assert_eq!(sandbox.cairn(arguments).ok().digest(), digest);
    }
    assert_eq!(web.asked(), asked, "something was asked for again");
    // Without the cache, offline names what is missing.
    std::fs::remove_dir_all(sandbox.store().join("cache")).expect("the cache may go");
    sandbox.cairn(["build", "--offline"]).fails(3).says("is not here");
    assert_eq!(sandbox.cairn(["build"]).ok().digest(), digest);
}

#[test]
fn offline_a_lock_is_completed_from_the_cache_or_all_that_is_missing_is_named() {
    let web = Web::start([
        ("/x", Page::Content(b"x".to_vec())),
        ("/y", Page::Content(b"y".to_vec())),
        ("/z", Page::Content(b"z".to_vec())),
    ]);
    let sandbox = fetching(&[
        (web.url("/x"), Digest::of(b"x"), "to = \"/x\""),
        (web.url("/y"), Digest::of(b"y"), "to = \"/y\""),
        (web.url("/z"), Digest::of(b"z"), "to = \"/z\""),
    ]);
    let digest = sandbox.cairn(["build"]).ok().digest();
    let asked = web.asked();
    // The digests are in the spec, and what has them in the cache.
    std::fs::remove_file(sandbox.project().join("cairn.lock")).expect("it was written");
    assert_eq!(sandbox.cairn(["build", "--offline"]).ok().digest(), digest);
    for content in [b"x", b"z"] {
        let kept = sandbox
            .store()
            .join("cache/sha256")
            .join(Digest::of(content).hex());
        std::fs::remove_file(kept).expect("it was kept");
    }
    let named = |output: Output| {
        output
            .fails(3)
            .says(&format!("{} ({}) is not here", web.url("/x"), Digest::of(b"x")))
            .says(&format!("{} ({}) is not here", web.url("/z"), Digest::of(b"z")))
            .says("cache/sha256, named by the hex digits")
    };
    named(sandbox.cairn(["build", "--offline"]));
    std::fs::remove_file(sandbox.project().join("cairn.lock")).expect("it was written");
    named(sandbox.cairn(["lock", "--offline"]));
    let output = named(sandbox.cairn(["build", "--offline"]));
    assert!(!sandbox.project().join("cairn.lock").exists(), "{output}");
    assert_eq!(web.asked(), asked, "something was asked for");
}

#[test]
fn other_content_is_an_integrity_error_that_shows_both_digests() {
    let web = Web::start([("/x", Page::Content(b"other".to_vec()))]);
    let sandbox = fetching(&[(web.url("/x"), Digest::of(b"x"), "to = \"/x\"")]);
    nothing_kept(&sandbox, 4)
        .says(&Digest::of(b"x").to_string())
        .says(&Digest::of(b"other").to_string());
}

#[test]
fn what_cannot_be_had_is_an_error_of_the_environment() {
    let web = Web::start([
        ("/broken", Page::Truncated(vec![7; 1000])),
        ("/loop", Page::Redirect("/loop".to_owned())),
        ("/away", Page::Redirect("http://192.0.2.1/x".to_owned())),
    ]);
    for (path, said) in [
        ("/missing", "404"),
        ("/broken", "broke off after 500 bytes"),
        ("/loop", "redirects"),
        ("/away", "plain HTTP to another machine"),
    ] {
        let sandbox = fetching(&[(web.url(path), Digest::of(b"x"), "to = \"/x\"")]);
        nothing_kept(&sandbox, 3).says(said);
    }
}

#[test]
fn c3_an_endless_answer_ends_at_the_size_that_the_lock_has() {
    let web = Web::start([("/x", Page::Content(b"x".to_vec())), ("/endless", Page::Endless)]);
    let sandbox = fetching(&[(web.url("/x"), Digest::of(b"x"), "to = \"/x\"")]);
    sandbox.cairn(["build"]).ok();
    // The same pin, at an address where there is no end.
    for file in ["cairn.toml", "cairn.lock"] {
        let text = std::fs::read_to_string(sandbox.project().join(file)).expect("it was written");
        sandbox.write(file, text.replace(&web.url("/x"), &web.url("/endless")));
    }
    std::fs::remove_dir_all(sandbox.store().join("cache")).expect("the cache may go");
    sandbox
        .cairn(["build"])
        .fails(4)
        .says("has 2 bytes, and should have 1");
}

#[test]
fn a_damaged_copy_in_the_cache_is_fetched_again() {
    let web = Web::start([("/x", Page::Content(b"x".to_vec()))]);
    let sandbox = fetching(&[(web.url("/x"), Digest::of(b"x"), "to = \"/x\"")]);
    let digest = sandbox.cairn(["build"]).ok().digest();
    let kept = sandbox.store().join("cache/sha256").join(Digest::of(b"x").hex());
    std::fs::write(kept, b"y").expect("it can be spoiled");
    assert_eq!(sandbox.cairn(["build"]).ok().digest(), digest);
    assert_eq!(web.asked(), ["/x", "/x"]);
}
