//! Every mistake that a spec can have, with the place to which the finding points.

use cairn_build::Spec;

use crate::fixture::render;

/// The smallest spec.
const IMAGE: &str = "[image]\nname = \"hello\"\nplatforms = [\"linux/amd64\"]\n";

fn errors(text: &str) -> String {
    match Spec::parse(text) {
        Ok(spec) => panic!("taken: {spec:?}"),
        Err(findings) => render(text, &findings),
    }
}

/// The findings of each text after [`IMAGE`], one paragraph for each.
fn after_image(texts: &[&str]) -> String {
    let paragraph = |text: &&str| {
        format!(
            "--- {}\n{}",
            text.replace('\n', " ⏎ "),
            errors(&format!("{IMAGE}{text}"))
        )
    };
    texts.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

fn layer(keys: &[&str]) -> String {
    let texts: Vec<String> = keys
        .iter()
        .map(|keys| format!("[[layer]]\nname = \"app\"\n{keys}\n"))
        .collect();
    after_image(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn machines_that_nobody_has_are_typing_errors() {
    insta::assert_snapshot!(errors(
        "[image]\nname = \"hello\"\nplatforms = [\"linux/amd46\", \"linux/x86_64\", \"linux/aarch64\", \"linus/arm64\", \"linux/z80\"]\n"
    ));
}

#[test]
fn a_list_that_is_none_is_shown_as_one() {
    insta::assert_snapshot!(after_image(&[
        "[layer]\nname = \"a\"\n",
        "[[layer]]\nname = \"a\"\ncopy = { from = \"a\", to = \"/a\" }\n",
        "[[layer]]\nname = \"a\"\ncopy = [{ from = \"a\", to = \"/a\", mode = 0755 }]\n",
        "[config]\nentrypoint = \"/bin/sh\"\n",
        "[config]\nenv = [\"A=B\"]\n",
    ]));
}

#[test]
fn all_mistakes_of_a_spec_are_reported_at_once() {
    insta::assert_snapshot!(errors(
        r#"[image]
name = "Hello"
platforms = ["linux"]
create = "inputs"

[base]
image = "registry.example.org/debian"
inherit = ["enviroment"]

[[layer]]
name = "app"
copy = [{ from = "dist/{machine}/hello", to = "usr/bin/hello" }]

[config]
entry-point = ["/usr/bin/hello"]
env = { LOG = 1 }
"#
    ));
}

#[test]
fn a1_unknown_and_duplicate_keys() {
    insta::assert_snapshot!(after_image(&[
        "[config]\nentry-point = [\"/a\"]\n",
        "[config]\nstop_signal = \"SIGTERM\"\n",
        "[config]\nsomething-else = 1\n",
        "[imgae]\nname = \"x\"\n",
        "[config]\nworkdir = \"/a\"\nworkdir = \"/b\"\n",
        "[image]\nname = \"again\"\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ form = \"a\", to = \"/a\" }]\n",
    ]));
}

#[test]
fn a2_nesting_and_length_are_bounded() {
    let deep = format!("x = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let findings = Spec::parse(&deep).unwrap_err();
    assert!(findings[0].message.contains("recurs"), "{findings:?}");
    let tables = format!("x = {}1{}", "{a=".repeat(10_000), "}".repeat(10_000));
    assert!(Spec::parse(&tables).is_err());
    let dotted = format!("{}x = 1", "a.".repeat(10_000));
    assert!(Spec::parse(&dotted).is_err());
    let long = format!("{IMAGE}# {}", "x".repeat(1 << 20));
    let findings = Spec::parse(&long).unwrap_err();
    assert_eq!(
        findings[0].message,
        format!("the text has {} bytes, more than 1048576", long.len())
    );
}

#[test]
fn a3_destinations_that_cannot_be() {
    insta::assert_snapshot!(layer(&[
        "write = [{ to = \"/etc/../x\", text = \"\" }]",
        "write = [{ to = \"etc/x\", text = \"\" }]",
        "write = [{ to = \"/etc//x\", text = \"\" }]",
        "write = [{ to = \"/etc/\\u0000\", text = \"\" }]",
        "write = [{ to = \"/etc/.wh.x\", text = \"\" }, { to = \"/etc/{arch}\", text = \"\" }]",
        "write = [{ to = \"/\", text = \"\" }]",
        "write = [{ to = \"/etc/\", text = \"\" }]",
        "remove = [\"/usr/.wh.share\", \"/\"]",
        "dir = [{ to = \"/a/./b\" }]",
        "link = [{ from = \"/a\", to = \"\" }]",
    ]));
}

#[test]
fn a3_the_same_destination_twice() {
    insta::assert_snapshot!(layer(&[
        "write = [{ to = \"/a\", text = \"1\" }, { to = \"/a\", text = \"2\" }]",
        "copy = [{ from = \"x/tool\", to = \"/bin/\" }]\nlink = [{ from = \"/bin/tool\", to = \"other\" }]",
        "remove = [\"/a\"]\nwrite = [{ to = \"/a\", text = \"\" }]",
        "remove = [\"/a\"]\nwrite = [{ to = \"/a/b\", text = \"\" }]",
        "remove = [\"/a\", \"/a/b\"]",
    ]));
}

#[test]
fn a4_ids_and_modes_that_give_rights_away() {
    insta::assert_snapshot!(after_image(&[
        "[[user]]\nname = \"app\"\nuid = 2147483648\n",
        "[[user]]\nname = \"app\"\nuid = -1\n",
        "[config]\nuser = \"4294967296\"\n",
        "[config]\nuser = \"0:2147483648\"\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", mode = \"4755\" }]\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", mode = \"755\" }]\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", mode = 0o755 }]\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", mode = \"0855\" }]\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", owner = \"a b\" }]\n",
    ]));
}

#[test]
fn a7_something_below_a_file() {
    insta::assert_snapshot!(layer(&[
        "write = [{ to = \"/a/b\", text = \"\" }, { to = \"/a\", text = \"\" }]",
        "link = [{ from = \"/a\", to = \"b\" }]\ndir = [{ to = \"/a/b/c\" }]",
    ]));
}

#[test]
fn a8_names_and_digests() {
    let long = format!(
        "[image]\nname = \"{}\"\nplatforms = [\"linux/amd64\"]\n",
        "a".repeat(256)
    );
    assert!(errors(&long).starts_with("2:8 "));
    insta::assert_snapshot!(after_image(&[
        "[base]\nimage = \"debian@sha512:00\"\n",
        "[base]\nimage = \"debian@sha256:ABCD\"\n",
        "[ledger]\ntrust = \"sha256:77ab\"\n",
        "[ledger]\nrepository = \"registry.example.org/a:latest\"\n",
        "[[layer]]\nname = \"An App\"\n",
        "[[layer]]\nname = \"a\"\n[[layer]]\nname = \"a\"\n",
        "[[user]]\nname = \"10001\"\nuid = 1\n",
        "[[user]]\nname = \"a\"\nuid = 1\n[[user]]\nname = \"a\"\nuid = 1\n",
    ]));
}

#[test]
fn rules_of_channels_that_cannot_be() {
    insta::assert_snapshot!(after_image(&[
        "[ledger]\nchannels = 1\n",
        "[ledger.channels.latest]\n",
        "[ledger.channels.\"1.0\"]\n",
        "[ledger.channels.prod]\nfrom = \"Staging\"\n",
        "[ledger.channels.prod]\nsoak = \"24h\"\n",
        "[ledger.channels.prod]\nfrom = \"staging\"\nsoak = \"24\"\n",
        "[ledger.channels.prod]\nfreeze = [{ from = \"2026-12-24\", until = 2026-12-26T00:00:00Z }]\n",
        "[ledger.channels.prod]\nfreeze = [{ from = 2026-12-26T00:00:00Z, until = 2026-12-24T00:00:00Z }]\n",
        "[ledger.channels.prod]\nfreeze = [{ from = 2026-12-26T00:00:00Z }]\n",
        "[ledger.channels.prod]\nfloor = \"first\"\n",
        "[ledger.channels.prod]\nrequires = { human = 0, ci = \"1\", Bots = 1 }\n",
        "[ledger.channels.prod]\nrequires = [\"human\"]\n",
        "[ledger.channels.prod]\nglass = [\"keys\"]\n",
        "[ledger.channels.prod]\nrequire = { human = 1 }\n",
    ]));
}

#[test]
fn sections_that_are_missing_or_contradict_themselves() {
    insta::assert_snapshot!(format!(
        "{}\n{}\n{}",
        errors("[config]\n"),
        errors("[image]\nname = \"a\"\nplatforms = []\n"),
        after_image(&[
            "[base]\n",
            "[base]\nimage = \"a:1\"\nrootfs = \"b.tar\"\n",
            "[base]\nimage = \"registry.example.org/debian\"\n",
            "[[layer]]\ncopy = [{ to = \"/a\" }]\n",
            "[[user]]\nname = \"a\"\n",
        ])
    ));
}

#[test]
fn values_of_the_wrong_type_or_form() {
    insta::assert_snapshot!(after_image(&[
        "config = 1\n",
        "layer = {}\n",
        "[config]\nentrypoint = \"/a\"\n",
        "[config]\nentrypoint = [1]\n",
        "[config]\nexpose = [0, 70000, \"53/xyz\", true]\n",
        "[config]\nstop-signal = \"TERM\"\n",
        "[config]\nworkdir = \"srv\"\n",
        "[config]\nvolumes = [\"data\"]\n",
        "[config]\nenv = { \"A=B\" = \"c\", C = \"\\u0000\" }\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"../x\", to = \"/a\" }]\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"/x\", to = \"/a\" }]\n",
        "[[layer]]\nname = \"app\"\ncopy = [{ from = \"x\", to = \"/a\", exclude = [\"[\"] }]\n",
        "[[user]]\nname = \"a\"\nuid = 1\nhome = \"here\"\n",
    ]));
}

#[test]
fn dates_that_are_none() {
    let dated = |date: &str| errors(&format!("{IMAGE}created = {date}\n"));
    insta::assert_snapshot!(
        [
            "\"now\"",
            "\"2026-01-31\"",
            "\"1970-01-01T00:00:00Z\"",
            "2026-01-01T00:00:00.5Z",
            "5"
        ]
        .map(dated)
        .join("\n")
    );
    for good in [
        "\"inputs\"",
        "\"2026-01-31T12:00:00+01:00\"",
        "2026-01-31T12:00:00Z",
    ] {
        assert!(
            Spec::parse(&format!("{IMAGE}created = {good}\n")).is_ok(),
            "{good}"
        );
    }
}

#[test]
fn broken_toml_is_reported_without_what_follows_from_it() {
    insta::assert_snapshot!(format!(
        "{}\n{}\n{}",
        errors("[image\nname = \"a\"\n"),
        errors("[image]\nname = \"a\nplatforms = [\"linux/amd64\"]\n"),
        errors("name = 'ä\u{1}\n")
    ));
}

#[test]
fn compressions_capabilities_and_attributes_that_are_none() {
    insta::assert_snapshot!(layer(&[
        "compression = \"xz\"",
        "hardlinks = \"yes\"",
        "copy = [{ from = \"a\", to = \"/a\", capabilities = [\"CAP_NET_RAW\", \"root\"] }]",
        "copy = [{ from = \"a\", to = \"/a\", xattrs = { \"trusted.x\" = \"\", \"security.capability\" = \"\" } }]",
        "copy = [{ from = \"a\", to = \"/a\", dir-mode = \"2775\" }]",
        "copy = [{ from = \"a\", to = \"/a\", allow-secrets = [\"/a\"] }]",
    ]));
}

#[test]
fn health_checks_that_are_none() {
    insta::assert_snapshot!(after_image(&[
        "[config]\nhealthcheck = [\"/a\"]\n",
        "[config]\nhealthcheck = { interval = \"1s\" }\n",
        "[config]\nhealthcheck = { test = \"curl -f localhost\" }\n",
        "[config]\nhealthcheck = { test = [] }\n",
        "[config]\nhealthcheck = { test = [\"/a\"], interval = \"30\", timeout = \"2d\", start-period = \"0s\", retries = 0 }\n",
    ]));
}

#[test]
fn accounts_that_clash_in_the_spec_are_both_named() {
    insta::assert_snapshot!(after_image(&[
        "[[user]]\nname = \"a\"\nuid = 1\n[[user]]\nname = \"b\"\nuid = 1\n",
        "[[group]]\nname = \"a\"\ngid = 1\n[[group]]\nname = \"b\"\ngid = 1\n[[group]]\nname = \"a\"\ngid = 2\n",
    ]));
}
