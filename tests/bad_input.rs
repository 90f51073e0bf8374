//! Every mistake gets a clear error and its exit code, and nothing is half done.

use std::net::TcpListener;
use std::os::unix::fs::symlink;

use crate::harness::{Output, Project, Sandbox, Tree};

/// A sandbox with the project written and nothing done yet.
fn sandbox(project: &Project) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_project(project, "1");
    sandbox
}

/// 1.0.0 and 2.0.0 are released, and prod shows 2.0.0.
fn released() -> Sandbox {
    let sandbox = sandbox(&Project::new());
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    sandbox.write_app("2");
    sandbox.cairn(["release", "2.0.0", "--channel", "prod"]).ok();
    sandbox
}

/// Runs `attempt`, and holds the store against what it was before.
#[track_caller]
fn unchanged(sandbox: &Sandbox, attempt: impl FnOnce() -> Output) -> Output {
    let (store, project) = (sandbox.store_tree(), Tree::read(&sandbox.project()));
    let output = attempt();
    assert_eq!(sandbox.store_tree(), store, "the store changed:\n{output}");
    assert_eq!(
        Tree::read(&sandbox.project()),
        project,
        "the project changed:\n{output}"
    );
    output
}

/// Nothing counts of a build that failed: no tag, no manifest, no file with a final name.
#[track_caller]
fn nothing_built(sandbox: &Sandbox, spec: &str) -> Output {
    sandbox.write("cairn.toml", spec);
    let output = sandbox.cairn(["build"]).fails(1);
    let tree = sandbox.store_tree();
    for part in ["refs", "blobs", "_uploads", "scratch"] {
        assert_eq!(
            tree.files(part),
            Vec::<&std::path::Path>::new(),
            "{part} after\n{output}"
        );
    }
    // Locking comes before building and is whole in itself: if it was done, it was done to the end.
    if sandbox.project().join("cairn.lock").exists() {
        sandbox.cairn(["lock"]).ok().says("up to date");
    }
    output
}

#[test]
fn an_unknown_key_is_shown_with_its_line_and_the_nearest() {
    let sandbox = sandbox(&Project::new());
    let spec = Project::new().spec().replace("entrypoint", "entry-point");
    nothing_built(&sandbox, &spec)
        .says("entry-point")
        .says("cairn.toml:10:1")
        .says("did you mean `entrypoint`?");
}

#[test]
fn all_mistakes_are_said_at_once() {
    let sandbox = sandbox(&Project::new());
    let spec = Project::new().spec();
    let spec = spec
        .replace("entrypoint", "entry-point")
        .replace("platforms", "platform");
    nothing_built(&sandbox, &spec)
        .says("entry-point")
        .says("`platform`");
}

#[test]
fn a_missing_file_is_named_with_what_is_there() {
    let sandbox = sandbox(&Project::new());
    let spec = Project::new()
        .spec()
        .replace("dist/{arch}/app", "dist/{arch}/server");
    nothing_built(&sandbox, &spec)
        .says("dist/amd64/server")
        .says("dist/amd64 has: app");
}

#[test]
fn an_output_that_is_none_is_said_before_anything_is_built() {
    let sandbox = sandbox(&Project::new());
    for output in ["hello", "out/image.tar", "registry.example.org/team/hello:1"] {
        unchanged(&sandbox, || sandbox.cairn(["build", "--output", output]))
            .fails(2)
            .says("oci-archive:FILE");
    }
}

#[test]
fn a_misspelled_file_is_named_with_the_one_that_was_probably_meant() {
    let sandbox = sandbox(&Project::new());
    let spec = Project::new().spec().replace("dist/{arch}/", "dits/{arch}/");
    nothing_built(&sandbox, &spec).says("did you mean `dist`?");
}

#[test]
fn a_destination_with_dots_is_refused() {
    let sandbox = sandbox(&Project::new());
    let spec = Project::new()
        .spec()
        .replace("/usr/bin/app\", mode", "/usr/../../etc/app\", mode");
    nothing_built(&sandbox, &spec).says("..").says("cairn.toml:7:");
}

#[test]
fn a_destination_given_twice_is_refused() {
    let sandbox = sandbox(&Project::new());
    let spec = Project::new().spec().replace(
        "mode = \"0755\" }]",
        "mode = \"0755\" }]\nwrite = [{ to = \"/usr/bin/app\", text = \"other\" }]",
    );
    nothing_built(&sandbox, &spec).says("/usr/bin/app");
}

#[test]
fn a_path_that_leaves_the_context_through_a_link_is_not_followed() {
    let sandbox = sandbox(&Project::new());
    let secret = sandbox.root().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("app"), "CANARY").unwrap();
    std::fs::remove_dir_all(sandbox.project().join("dist/amd64")).unwrap();
    symlink(&secret, sandbox.project().join("dist/amd64")).unwrap();
    nothing_built(&sandbox, &Project::new().spec()).says("dist/amd64");
}

#[test]
fn a_path_that_leaves_the_context_in_words_is_refused() {
    let sandbox = sandbox(&Project::new());
    std::fs::create_dir(sandbox.root().join("secret")).unwrap();
    std::fs::write(sandbox.root().join("secret/app"), "CANARY").unwrap();
    let spec = Project::new().spec().replace("dist/{arch}/app", "../secret/app");
    nothing_built(&sandbox, &spec).says("../secret/app");
}

#[test]
fn a_version_is_bound_to_one_digest_for_ever() {
    let sandbox = released();
    let before = sandbox.tagged("hello:1.0.0");
    let history = sandbox.cairn(["history"]).ok().stdout;
    sandbox
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .fails(6)
        .says("1.0.0")
        .says(&before)
        .says("hint: ");
    assert_eq!(sandbox.tagged("hello:1.0.0"), before);
    assert_eq!(sandbox.cairn(["history"]).ok().stdout, history);
    // The same digest again is no mistake.
    sandbox.write_app("1");
    sandbox.cairn(["release", "1.0.0"]).ok().says("before");
    assert_eq!(sandbox.cairn(["history"]).ok().stdout, history);
}

#[test]
fn a_version_that_is_taken_is_refused_before_anything_is_uploaded() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let sandbox = sandbox(&Project::new().repository(server.repository("team/hello")));
    sandbox.cairn(["release", "1.0.0"]).ok();
    sandbox.write_app("2");
    let before = registry.store_tree();
    sandbox.cairn(["release", "1.0.0"]).fails(6).says("1.0.0");
    assert_eq!(registry.store_tree(), before, "the registry changed");
}

#[test]
fn a_tag_that_a_ledger_moves_is_not_written_by_hand() {
    let sandbox = released();
    let old = sandbox.tagged("hello:1.0.0");
    sandbox.write_app("3");
    sandbox.cairn(["build"]).ok();
    let prod = sandbox.tagged("hello:prod");
    let copy = |tag: &str| sandbox.cairn(["copy", "hello:built", &format!("hello:{tag}")]);
    for tag in ["cairn-head", "cairn-h-9999999998-0123456789abcdef"] {
        copy(tag).fails(1).says("cannot be written by name");
    }
    copy("prod").fails(6).says("is a channel").says("hint: ");
    copy("7.0.0").fails(6).says("cairn release 7.0.0");
    copy("1.0.0").fails(6);
    sandbox
        .cairn(["push", "--tag", "prod"])
        .fails(6)
        .says("is a channel");
    assert_eq!(sandbox.tagged("hello:prod"), prod);
    assert_eq!(sandbox.tagged("hello:1.0.0"), old);
    sandbox.cairn(["audit"]).ok();
    // What the ledger does not speak of is free, and so is what it says itself.
    copy("candidate").ok();
    sandbox
        .cairn(["copy", &format!("hello@{prod}"), "hello:prod"])
        .ok();
}

#[test]
fn a_first_release_that_is_refused_starts_no_ledger() {
    let sandbox = sandbox(&Project::new());
    sandbox.cairn(["build"]).ok();
    let digest = sandbox.tagged("hello:built");
    sandbox
        .cairn(["release", "1.0.0", "--reason", "a\nb"])
        .fails(2)
        .says("one line");
    let layer = sandbox.layer("hello:built");
    std::fs::remove_file(sandbox.blob("hello", &layer)).expect("the layer is there");
    let image = format!("hello@{digest}");
    sandbox
        .cairn(["release", "1.0.0", "--image", &image])
        .fails(4)
        .says(&layer);
    sandbox.cairn(["history"]).fails(1).says("no ledger");
}

#[test]
fn what_is_no_image_is_not_released() {
    let sandbox = released();
    let head = sandbox.cairn(["ledger", "head"]).ok().stdout;
    let image = format!("hello@{}", head.trim());
    unchanged(&sandbox, || {
        sandbox
            .cairn(["release", "9.0.0", "--image", &image])
            .fails(1)
            .says("is not an image")
    });
    sandbox
        .cairn(["push", &format!("other@{}", head.trim())])
        .fails(1)
        .says("names a digest");
    sandbox.cairn(["tags", "nosuch"]).fails(1).says("nosuch");
}

#[test]
fn a_repeated_command_names_the_entry_that_stands_for_it() {
    let sandbox = released();
    let entry = |arguments: [&str; 4]| {
        let document = sandbox.cairn([&["--json"], &arguments[..]].concat()).ok().json();
        (document["name"].clone(), document["seq"].clone())
    };
    let release = || entry(["release", "3.0.0", "--channel", "prod"]);
    let first = release();
    assert!(first.0.is_string() && first.1.is_u64(), "{first:?}");
    assert_eq!(release(), first);
    let rollback = || entry(["rollback", "prod", "--reason", "again"]);
    let back = rollback();
    assert_ne!(back, first);
    assert_eq!(rollback(), back);
}

#[test]
fn a_rollback_to_an_unknown_version_changes_nothing() {
    let sandbox = released();
    unchanged(&sandbox, || {
        sandbox
            .cairn(["rollback", "prod", "7.0.0"])
            .fails(1)
            .says("7.0.0")
    });
    unchanged(&sandbox, || {
        sandbox.cairn(["rollback", "staging"]).fails(1).says("staging")
    });
    unchanged(&sandbox, || {
        sandbox.cairn(["promote", "7.0.0", "prod"]).fails(1).says("7.0.0")
    });
}

#[test]
fn a_rollback_whose_blob_is_gone_leaves_the_channel_where_it_is() {
    let sandbox = released();
    let layer = sandbox.layer("hello:1.0.0");
    let shown = sandbox.tagged("hello:prod");
    std::fs::remove_file(sandbox.blob("hello", &layer)).unwrap();
    unchanged(&sandbox, || {
        sandbox
            .cairn(["rollback", "prod", "--reason", "try"])
            .fails(4)
            .says(&layer)
    });
    assert_eq!(sandbox.tagged("hello:prod"), shown);
    sandbox.cairn(["status"]).ok().prints("MISSING BLOBS");
    sandbox.cairn(["audit"]).exits(4).prints(&layer);
}

#[test]
fn a_held_channel_is_not_moved_by_a_release() {
    let sandbox = released();
    sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
    let shown = sandbox.tagged("hello:prod");
    sandbox.write_app("3");
    sandbox
        .cairn(["release", "3.0.0", "--channel", "prod"])
        .fails(6)
        .says("prod is held since")
        .says("\"500s\"")
        .says("cairn resume prod");
    assert_eq!(sandbox.tagged("hello:prod"), shown);
    // Released it is: the pipeline's image is not lost.
    sandbox.cairn(["show", "3.0.0"]).ok().prints("released");
    assert_ne!(sandbox.tagged("hello:3.0.0"), shown);
    sandbox.cairn(["audit"]).ok();
    // Lifting the hold in words is the way through.
    let done = sandbox
        .cairn(["promote", "3.0.0", "prod", "--resume"])
        .ok()
        .digest();
    assert_eq!(sandbox.tagged("hello:prod"), done);
}

#[test]
fn a_pipeline_without_a_key_makes_none() {
    let sandbox = sandbox(&Project::new());
    sandbox.cairn(["build"]).ok();
    unchanged(&sandbox, || {
        let mut command = sandbox.command(["release", "1.0.0", "--channel", "prod"]);
        crate::harness::run(command.env("CI", "true"))
            .fails(1)
            .says("CI is set")
            .says("hint: set CAIRN_KEY")
    });
    assert!(!sandbox.key().exists(), "no key is made");
}

#[test]
fn a_key_that_is_none_is_never_shown() {
    let sandbox = released();
    let secret = "-----BEGIN PRIVATE KEY-----\nSENTINEL0000\n-----END PRIVATE KEY-----";
    for text in [secret, "SENTINEL0000"] {
        unchanged(&sandbox, || {
            let mut command = sandbox.command(["rollback", "prod"]);
            let output = crate::harness::run(command.env("CAIRN_KEY", text))
                .fails(1)
                .says("CAIRN_KEY");
            assert!(!output.stderr.contains("SENTINEL"), "the key is shown:\n{output}");
            output
        });
    }
}

#[test]
fn a_missing_lock_is_an_error_in_a_pipeline() {
    let base = sandbox(&Project::new());
    base.cairn(["build", "--output", "oci:base:1"]).ok();
    let spec = Project::new().with("\n[base]\noci = \"base:1\"\n").spec();
    base.write("cairn.toml", spec);
    std::fs::remove_file(base.project().join("cairn.lock")).unwrap();
    unchanged(&base, || {
        let mut command = base.command(["build"]);
        crate::harness::run(command.env("CI", "true"))
            .fails(1)
            .says("hint: run cairn lock")
    });
    unchanged(&base, || base.cairn(["build", "--locked"]).fails(1));
    base.cairn(["lock"]).ok();
    let mut command = base.command(["build"]);
    crate::harness::run(command.env("CI", "true")).ok();
}

#[test]
fn a_server_that_is_not_there_is_named() {
    // A port that was free a moment ago: nobody listens on it now.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let repository = format!("127.0.0.1:{port}/team/hello");
    let sandbox = sandbox(&Project::new().repository(&repository));
    sandbox.cairn(["build"]).ok();
    unchanged(&sandbox, || {
        sandbox
            .cairn(["push"])
            .fails(3)
            .says(&format!("127.0.0.1:{port}"))
    });
    unchanged(&sandbox, || {
        sandbox
            .cairn(["pull", &format!("{repository}:1")])
            .fails(3)
            .says(&repository)
    });
    unchanged(&sandbox, || sandbox.cairn(["status"]).fails(3));
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).fails(3);
    assert!(
        !sandbox.key().exists(),
        "no key is made for a ledger that cannot be read"
    );
}

#[test]
fn a_blob_that_does_not_match_is_not_taken() {
    let registry = sandbox(&Project::new());
    registry.cairn(["build"]).ok();
    let layer = registry.layer("hello:built");
    let server = registry.serve();
    registry.spoil_blob("hello", &layer);

    let sandbox = Sandbox::new();
    sandbox
        .cairn(["pull", &server.repository("hello:built")])
        .fails(4)
        .says(&layer);
    let tree = sandbox.store_tree();
    assert!(tree.files("tags").is_empty(), "a tag without its image: {tree:?}");
    assert!(
        !sandbox.blob("hello", &layer).exists(),
        "bytes that are not its digest"
    );
}

/// A registry of one answer: to whatever is asked, these bytes as a manifest.
fn liar(bytes: &'static [u8]) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let reader = BufReader::new(connection.try_clone().unwrap());
            let head: Vec<String> = reader
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n",
                bytes.len()
            );
            let _gone = connection.write_all(answer.as_bytes());
            if head.first().is_some_and(|line| line.starts_with("GET")) {
                let _gone = connection.write_all(bytes);
            }
        }
    });
    host
}

#[test]
fn c1_a_manifest_that_does_not_match_is_not_taken() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let host =
        liar(br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}"#);
    let sandbox = Sandbox::new();
    let reference = format!("{host}/team/hello@{digest}");
    sandbox.cairn(["pull", &reference]).fails(4).says(&digest);
    sandbox.cairn(["inspect", &reference]).fails(4);
    let tree = sandbox.store_tree();
    assert!(tree.files("blobs").is_empty(), "something was taken: {tree:?}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sandbox = Sandbox::new();
    sandbox
        .cairn(["serve", "--listen", &address])
        .fails(3)
        .says(&address)
        .says("hint: choose another address");
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let sandbox = released();
    std::fs::write(sandbox.store().join("version"), "9999\n").unwrap();
    for command in [
        ["build"].as_slice(),
        &["release", "3.0.0"],
        &["rollback", "prod"],
        &["status"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        unchanged(&sandbox, || {
            let output = sandbox.cairn(command).fails(3);
            output.says("9999").says("hint: use a newer Cairn")
        });
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let sandbox = released();
    for command in [
        ["relase", "1.0.0"].as_slice(),
        &[],
        &["release"],
        &["release", "latest"],
        &["release", "1.0.0+build"],
        &["release", "3.0.0", "--channel", "1.0"],
        &["release", "3.0.0", "--channel", "latest"],
        &["promote", "1.0.0"],
        &["rollback"],
        &["rollback", "prod", "--no-such"],
        &["pull", "UPPER/case:1"],
        &["pull"],
        &["serve", "--listen", "everywhere"],
        &["--color", "sometimes", "status"],
        &["status", "--trust", "md5:00"],
    ] {
        unchanged(&sandbox, || {
            let output = sandbox.cairn(command).exits(2);
            assert!(output.stdout.is_empty(), "data although it failed:\n{output}");
            output
        });
    }
}

#[test]
fn a_name_without_a_host_is_local_and_the_error_says_so() {
    let sandbox = Sandbox::new();
    sandbox
        .cairn(["pull", "debian:12"])
        .fails(1)
        .says("`debian:12` has no host")
        .says("hint: to fetch it from a registry");
}

#[test]
fn plain_http_goes_to_loopback_only() {
    // A proxy of ours sees what would leave the machine, without anything leaving it.
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let mut lines = Vec::new();
        while let Some(line) = refuse_one(&proxy) {
            lines.push(line);
        }
        lines
    });
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env(name, &address);
        }
        crate::harness::run(&mut command)
            .fails(3)
            .says("registry.invalid")
    };
    run(&["tags", "registry.invalid:5000/team/hello"]);
    run(&["--plain-http", "tags", "plain.registry.invalid:5000/team/hello"]);
    // An empty line ends the proxy.
    let stop = std::net::TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    drop(stop);
    let asked = asked.join().unwrap();
    let (plain, secret): (Vec<_>, Vec<_>) = asked.iter().partition(|line| line.starts_with("GET http://"));
    assert!(!secret.is_empty() && !plain.is_empty(), "{asked:?}");
    for line in secret {
        assert!(line.starts_with("CONNECT registry.invalid:5000 "), "{asked:?}");
    }
    for line in plain {
        assert!(
            line.starts_with("GET http://plain.registry.invalid:5000/v2/"),
            "{asked:?}"
        );
    }
}

/// The first line of one connection, which is then told that there is no way; none if it said nothing.
fn refuse_one(proxy: &TcpListener) -> Option<String> {
    use std::io::{BufRead, BufReader, Write};
    let (mut connection, _) = proxy.accept().unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return None;
    }
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap_or(0) > 2 {
        line.clear();
    }
    let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _gone = connection.write_all(answer);
    Some(first.trim_end().to_owned())
}

#[test]
fn a_server_without_tls_listens_on_loopback_only() {
    let sandbox = Sandbox::new();
    sandbox
        .cairn(["serve", "--listen", "0.0.0.0:0"])
        .fails(1)
        .says("plain HTTP")
        .says("--plain-http");
}

#[test]
fn names_of_others_are_inert_on_a_terminal() {
    let sandbox = sandbox(&Project::new().with("labels = { \"a\" = \"\\u001b[2Jgone\" }\n"));
    sandbox.cairn(["build"]).ok();
    let shown = sandbox.cairn(["inspect", "hello:built"]).ok();
    assert!(!shown.stdout.contains('\x1b'), "an escape went through:\n{shown}");
    assert!(shown.stdout.contains("\\x1b[2Jgone"), "{shown}");
}

#[test]
fn what_is_not_there_comes_with_the_command_that_shows_what_is() {
    let sandbox = sandbox(&Project::new());
    sandbox.cairn(["release", "1.0.0"]).ok();
    let status = sandbox.cairn(["status"]).ok();
    status.says("no channel shows anything yet: cairn promote VERSION CHANNEL");
    sandbox.cairn(["promote", "1.0.0", "prod"]).ok();
    let history = sandbox.cairn(["history", "elsewhere"]).ok();
    history.says("no entry names elsewhere; cairn status lists the channels");
    let back = sandbox.cairn(["rollback", "elsewhere"]).fails(1);
    back.says("hint: cairn status lists the channels");
    let promote = sandbox.cairn(["promote", "77.1", "prod"]).fails(1);
    promote.says("hint: cairn history shows what there is");
}

#[test]
fn a_reason_of_nothing_is_no_reason() {
    let sandbox = released();
    sandbox.cairn(["rollback", "prod", "--reason", ""]).ok();
    let newest = &sandbox.cairn(["--json", "history"]).ok().json()["entries"][0];
    assert_eq!(
        (&newest["kind"], &newest["reason"]),
        (&"rollback".into(), &serde_json::Value::Null)
    );
}
