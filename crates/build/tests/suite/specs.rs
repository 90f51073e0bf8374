//! Specs that are right.

use cairn_build::Spec;
use cairn_build::spec::{BaseSource, Destination, Inherit};
use proptest::prelude::*;

/// Every key of the format that this version supports.
const WHOLE: &str = r#"
[image]
name = "team/hello"
repository = "registry.example.org/team/hello"
platforms = ["linux/amd64", "linux/arm/v7"]
created = "2026-01-31T12:00:00Z"
compression = "zstd"

[base]
image = "registry.example.org/debian:12"
inherit = ["env", "user", "workdir", "labels", "entrypoint", "cmd", "expose", "volumes", "stop-signal", "healthcheck"]

[[user]]
name = "app"
uid = 10001
gid = 10002
groups = ["audio", "mail"]
home = "/srv"
shell = "/bin/sh"

[[group]]
name = "audio"
gid = 29
members = ["app"]

[[layer]]
name = "app"
compression = "none"
hardlinks = true
copy = [{ from = "dist/{arch}/hello", to = "/usr/bin/hello", mode = "0755", owner = "root", capabilities = ["net_raw", "net_bind_service"] },
        { from = "static/", to = "/srv/static/", exclude = ["**/*.map"], dir-mode = "0750", allow-secrets = [".env"] }]
fetch = [{ url = "https://example.org/tool-{arch}{variant}.tar.gz", to = "/opt/tool/", extract = true, strip = 1, exclude = ["doc/"], only = ["bin/"], owner = "root", mode = "0755", sha256 = { "linux/amd64" = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "linux/arm/v7" = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" } },
         { url = "http://127.0.0.1:8000/file?x=1", to = "/srv/", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }]
write = [{ to = "/etc/hello.conf", text = "port = 8080\n", mode = "0600", owner = "app:app", xattrs = { "user.note" = "kept" } }]
link = [{ from = "/usr/bin/hi", to = "/usr/bin/hello" }]
dir = [{ to = "/var/lib/hello/", owner = "app", mode = "0750" }]
remove = ["/usr/share/doc"]

[config]
entrypoint = ["/usr/bin/hello"]
cmd = []
workdir = "/"
user = "app"
env = { RUST_LOG = "info" }
expose = [8080, "53/udp"]
volumes = ["/var/lib/hello"]
stop-signal = "SIGTERM"
healthcheck = { test = ["/bin/check"], interval = "30s", timeout = "500ms", start-period = "1m", start-interval = "2s", retries = 3 }
labels = { a = "b" }
annotations = { "org.opencontainers.image.source" = "https://example.org/hello" }

[ledger]
trust = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a+sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
repository = "registry.example.org/team/hello-ledger"

[ledger.channels.prod]
from = "staging"
soak = "1d12h"
freeze = [{ from = "2026-12-24T00:00:00Z", until = 2026-12-26T23:59:59+01:00 }]
floor = "v1.4.0"
requires = { human = 2, ci = 1 }
glass = ["resume", "rollback", "resume"]

[ledger.channels.staging]
"#;

#[test]
fn every_key_is_read() {
    let spec = Spec::parse(WHOLE).unwrap();
    insta::assert_debug_snapshot!(spec);
}

#[test]
fn a_bare_number_as_port_may_be_spelled_in_any_base() {
    let text = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[config]\nexpose = [0x1f90, 8_080]\n";
    let spec = Spec::parse(text).unwrap();
    assert_eq!(spec.config.expose.into_iter().collect::<Vec<_>>(), ["8080/tcp"]);
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec =
        Spec::parse("[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[base]\noci = \"dir:1.0\"\n")
            .unwrap();
    let base = spec.base.unwrap();
    assert_eq!(base.inherit, Inherit::defaults());
    let layout = BaseSource::Layout {
        directory: "dir".to_owned(),
        tag: Some("1.0".parse().unwrap()),
    };
    assert_eq!(base.source.value, layout);
    assert!(spec.layers.is_empty() && spec.config.entrypoint.is_none());
}

#[test]
fn placeholders_take_the_values_of_the_platform() {
    let spec = Spec::parse(
        "[image]\nname = \"a\"\nplatforms = [\"linux/arm/v7\"]\n[[layer]]\nname = \"l\"\ncopy = [{ from = \"{os}-{arch}-{variant}\", to = \"/\" }]\n",
    )
    .unwrap();
    let copy = &spec.layers[0].copies[0];
    assert_eq!(
        copy.from.value.expand(spec.platforms().next().unwrap()),
        "linux-arm-v7"
    );
    assert_eq!(copy.to.value, Destination::Into(None));
}

fn check_findings(text: &str) {
    if let Err(findings) = Spec::parse(text) {
        assert!(!findings.is_empty());
        for finding in findings {
            assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
            assert!(finding.line_column(text) >= (1, 1));
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,200}") {
        check_findings(&text);
    }

    /// Pieces of a real spec, put together at random, reach further than noise does.
    #[test]
    fn any_mixture_of_a_specs_lines_is_read_or_refused_without_panic(
        lines in prop::collection::vec(prop::sample::select(WHOLE.lines().collect::<Vec<_>>()), 0..30),
        (at, noise) in (0..2000usize, "[\\[\\]{}\"'=,.#ä0\\n]{0,3}"),
    ) {
        let mut text = lines.join("\n");
        let at = text.floor_char_boundary(at.min(text.len()));
        text.insert_str(at, &noise);
        check_findings(&text);
    }
}
