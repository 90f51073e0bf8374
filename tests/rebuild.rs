//! Building again: what a check says of it, and what the last line of a build says.

use crate::harness::{Sandbox, Tree};

/// Layers without local files: those of a test are too new for their identity to be trusted.
const SPEC: &str = r#"[image]
name = "conf"
platforms = ["linux/amd64"]

[[layer]]
name = "conf"
write = [{ to = "/etc/app.conf", text = "port = 8080\n" }]

[[layer]]
name = "data"
dir = [{ to = "/var/lib/app", mode = "0700" }]
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("cairn.toml", SPEC);
    sandbox
}

fn check(sandbox: &Sandbox) -> String {
    let output = sandbox.cairn(["build", "--check"]).ok();
    assert_eq!(output.stderr, "");
    output.stdout
}

#[test]
fn a_check_says_why_and_changes_nothing() {
    let sandbox = sandbox();
    assert_eq!(
        check(&sandbox),
        "there is no cairn.lock: a build would write it first\n"
    );
    assert!(!sandbox.store().exists() && !sandbox.project().join("cairn.lock").exists());
    sandbox.cairn(["build"]).ok();
    assert_eq!(
        check(&sandbox),
        "linux/amd64  up to date\n  layer conf       up to date\n  layer data       up to date\n"
    );
    sandbox.write("cairn.toml", SPEC.replace("8080", "80").replace("0700", "0750"));
    let before = Tree::read(sandbox.root());
    assert_eq!(
        check(&sandbox),
        "linux/amd64  would be rebuilt: 2 of 2 layers
  layer conf       would be rebuilt: 1 changed
    ~ /etc/app.conf  12 B → 10 B
  layer data       would be rebuilt: 1 changed
    ~ /var/lib/app  mode 0700 → 0750
"
    );
    let document = sandbox.cairn(["build", "--check", "--json"]).ok().json();
    assert_eq!(document["changed"], true);
    assert_eq!(
        document["platforms"][0]["layers"][0]["paths"][0]["path"],
        "/etc/app.conf"
    );
    assert!(Tree::read(sandbox.root()) == before, "a check wrote something");
}

#[test]
fn many_changes_are_counted_and_the_first_ten_named() {
    let sandbox = sandbox();
    let with = |text: &str| {
        let writes: Vec<String> = (10..34)
            .map(|number| format!("{{ to = \"/srv/{number}\", text = \"{text}\" }}"))
            .collect();
        format!(
            "{SPEC}\n[[layer]]\nname = \"many\"\nwrite = [{}]\n",
            writes.join(", ")
        )
    };
    sandbox.write("cairn.toml", with("one"));
    sandbox.cairn(["build"]).ok();
    sandbox.write("cairn.toml", with("two"));
    let said = check(&sandbox);
    let lines: Vec<&str> = said.lines().skip(3).collect();
    assert_eq!(lines[0], "  layer many       would be rebuilt: 24 changed");
    assert_eq!(
        (lines[1], lines[10]),
        ("    ~ /srv/10  content", "    ~ /srv/19  content")
    );
    assert_eq!(lines[11..], ["    and 14 more"]);
}

#[test]
fn the_last_line_says_what_was_built_and_what_was_not() {
    let sandbox = sandbox();
    // Without the time, and without the compressed size, which is the compressor's business.
    let last = || {
        let output = sandbox.cairn(["build"]).ok();
        let line = output.stderr.lines().last().unwrap();
        let (_, what) = line.split_once(" s: ").unwrap();
        what.rsplit_once(" read").unwrap().0.to_owned()
    };
    assert_eq!(last(), "2 layers, 5.1 kB");
    assert_eq!(last(), "2 layers as before, nothing");
    sandbox.write("cairn.toml", SPEC.replace("8080", "80"));
    assert_eq!(last(), "2 layers (1 as before), 2.6 kB");
    // The cache decides what it costs, and nothing else.
    let before = sandbox.tagged("conf:built");
    std::fs::remove_dir_all(sandbox.home().join("cache")).unwrap();
    sandbox.cairn(["build"]).ok().says("2 layers as before, ");
    assert_eq!(sandbox.tagged("conf:built"), before);
}
