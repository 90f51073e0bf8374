//! The lock's text.

use cairn_build::{Lock, Spec};
use cairn_layer::Attributes;
use proptest::prelude::*;

use crate::fixture::{BaseImage, Project, path, render, tag};

const SPEC: &str = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[base]\nimage = \"debian:12\"\n";

async fn debian_lock() -> Lock {
    let project = Project::new();
    let repository = project.repository("debian");
    let manifest = BaseImage::debian("amd64").write(&repository).await;
    tag(&repository, "12", &manifest).await;
    project.lock(SPEC, None).await.unwrap().lock
}

#[tokio::test]
async fn the_text_is_short_and_can_be_reviewed() {
    let lock = debian_lock().await;
    insta::assert_snapshot!(lock.to_string());
    assert_eq!(Lock::parse(&lock.to_string()).unwrap(), lock);
}

fn errors(text: &str) -> String {
    match Lock::parse(text) {
        Ok(lock) => panic!("taken: {lock:?}"),
        Err(findings) => render(text, &findings),
    }
}

#[tokio::test]
async fn a_lock_changed_by_hand_is_refused_with_the_place() {
    let text = debian_lock().await.to_string();
    let change = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        format!("--- {from} -> {to}\n{}", errors(&changed))
    };
    let all = [
        change("output = 1", "output = 0"),
        change("output = 1", "output = 2"),
        change("output = 1\n", ""),
        change("created = \"2026", "created = \"26"),
        change("platform = \"linux/amd64\"\n", ""),
        change("manifest = \"sha256:", "manifest = \"sha256:0"),
        change("mode = \"0700\"", "mode = \"700\""),
        change("owner = \"0:8\"", "owner = \"0:mail\""),
        change("to = \"usr/bin\"", "to = \"%41\""),
        change("[[base.platform]]", "[[base.platfrom]]"),
        change("size = ", "size = -"),
        change("base-files 12.4+deb12u10 amd64", "base-files"),
        change("image = \"debian:12\"\n", ""),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_lock_for_an_earlier_output_version_is_outdated_and_no_other() {
    assert!(Lock::is_outdated(&LOCK.replace("output = 1", "output = 0")));
    // What else it says may be said by other rules.
    assert!(Lock::is_outdated("output = 0\nother = 7\n"));
    for output in [
        "output = 1",
        "output = 2",
        "output = -1",
        "output = \"0\"",
        "",
        "output = ",
    ] {
        assert!(
            !Lock::is_outdated(&LOCK.replace("output = 1", output)),
            "{output}"
        );
    }
}

#[tokio::test]
async fn pins_that_contradict_the_spec_or_are_not_needed_name_cairn_lock() {
    let text = debian_lock().await.to_string();
    let lock = Lock::parse(&text).unwrap();
    let check = |spec: &str| {
        let spec = Spec::parse(spec).unwrap();
        format!(
            "{}missing: {:?}\n",
            render(&text, &lock.check(&spec)),
            lock.missing(&spec)
        )
    };
    insta::assert_snapshot!(
        [
            SPEC.to_owned(),
            SPEC.replace("debian:12", "debian:13"),
            SPEC.replace("[base]\nimage = \"debian:12\"\n", ""),
            SPEC.replace("linux/amd64", "linux/arm64"),
            SPEC.replace("[base]", "created = \"2026-01-31T12:00:00Z\"\n[base]"),
        ]
        .iter()
        .map(|spec| check(spec))
        .collect::<Vec<_>>()
        .join("---\n")
    );
}

fn any_lock() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, String)> {
    let component = prop::collection::vec(
        any::<u8>().prop_filter("a name", |b| *b != 0 && *b != b'/'),
        1..20,
    );
    (
        component.prop_filter("not a dot", |name| name != b"." && name != b".."),
        prop::collection::vec(any::<u8>(), 1..20),
        "[^\\r\\n\\x00]{0,20}",
    )
}

proptest! {
    #[test]
    fn text_and_value_are_inverse_for_any_bytes((name, bytes, line) in any_lock(), mode in 0..0o10000u32) {
        let mut lock = Lock::parse(LOCK).unwrap();
        let platform = lock.base.as_mut().unwrap().platforms.values_mut().next().unwrap();
        let listing = &mut platform.value.listing;
        let xattrs = [(bytes.clone(), name.clone())].into();
        let attributes = Attributes { mode, uid: u32::MAX, gid: 7, xattrs };
        let at = path("a").join(&cairn_layer::TreePath::new(&name).unwrap()).unwrap();
        listing.directories.insert(at.clone(), attributes);
        listing.links.insert(at, bytes);
        listing.users.push(line);
        let text = lock.to_string();
        let read = Lock::parse(&text).map_err(|findings| TestCaseError::fail(render(&text, &findings)))?;
        prop_assert_eq!(read, lock);
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic(at in 0..LOCK.len(), noise in "[\\[\\]{}\"=,%a0\\n]{0,4}") {
        let mut text = LOCK.to_owned();
        text.insert_str(at, &noise);
        if let Err(findings) = Lock::parse(&text) {
            render(&text, &findings);
        }
    }
}

#[tokio::test]
async fn comments_stay_at_their_lines() {
    let lock = debian_lock().await;
    let plain = lock.to_string();
    let mut before = plain.clone();
    for (from, to) in [
        (
            "output = 1\n",
            "# Ask the platform team first.\noutput = 1 # \"frozen\"\n",
        ),
        ("\n[base]\n", "# Above a blank line.\n\n[base]   # the # base\n"),
        ("[[base.platform]]\n", "# Only one.\n[[base.platform]]\n"),
        ("users = [\n", "users = [ # people\n  # The first.\n"),
    ] {
        before = before.replacen(from, to, 1);
    }
    before.push_str("# The end.");
    let kept = lock.to_text_with_comments_of(&before);
    for wanted in [
        "\n# Ask the platform team first.\noutput = 1 # \"frozen\"\n",
        "\n\n# Above a blank line.\n[base] # the # base\n",
        "\n# Only one.\n[[base.platform]]\n",
        "\nusers = [ # people\n  # The first.\n"
            .replace("  # The", "# The")
            .as_str(),
    ] {
        assert!(kept.contains(wanted), "no {wanted:?} in {kept}");
    }
    assert!(kept.ends_with("\n# The end.\n"));
    assert_eq!(kept.matches("# Pins what").count(), 1);
    assert_eq!(lock.to_text_with_comments_of(&kept), kept);
    assert_eq!(lock.to_text_with_comments_of(&plain), plain);

    let mut scratch = lock.clone();
    scratch.base = None;
    let rest = scratch.to_text_with_comments_of(&kept);
    assert_eq!(rest.matches('#').count(), 4, "{rest}");
}

proptest! {
    #[test]
    fn random_comments_survive(comments in prop::collection::vec((0..40usize, any::<bool>(), "[ -~\u{e4}]{0,20}"), 0..12)) {
        let lock = Lock::parse(FETCHES).unwrap();
        let plain = lock.to_string();
        let mut lines: Vec<String> = plain.lines().map(str::to_owned).collect();
        let mut written = Vec::new();
        for (at, at_end, comment) in comments {
            let comment = format!("#{}", comment.trim_end());
            let at = 1 + at % (lines.len() - 1);
            if !at_end || lines[at].is_empty() || lines[at].ends_with('\u{1}') || lines[at].starts_with('#') {
                lines.insert(at, comment.clone());
            } else {
                // The mark says that the line has a comment.
                lines[at] = format!("{} {comment}\u{1}", lines[at]);
            }
            written.push(comment);
        }
        let before = lines.join("\n").replace('\u{1}', "");
        prop_assert_eq!(&Lock::parse(&before).unwrap(), &lock);
        let kept = lock.to_text_with_comments_of(&before);
        prop_assert_eq!(&Lock::parse(&kept).unwrap(), &lock);
        for comment in &written {
            prop_assert!(kept.lines().any(|line| line.ends_with(comment.as_str())), "no {} in {}", comment, kept);
        }
        prop_assert_eq!(lock.to_text_with_comments_of(&kept), kept);
    }

    #[test]
    fn any_text_before_is_survived(before in "([\\[\\]{}\"'=,#a \n\\\\]|\"\"\"|'{3}|\\[\\[fetch\\]\\]|url = ){0,60}") {
        let lock = Lock::parse(FETCHES).unwrap();
        let kept = lock.to_text_with_comments_of(&before);
        prop_assert_eq!(Lock::parse(&kept).unwrap(), lock);
    }
}

const FETCHES: &str = r##"output = 1
created = "2026-03-01T10:20:30Z"

[[fetch]]
url = "https://example.org/a#\"b"
digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
size = 7

[[fetch]]
url = "https://example.org/b"
digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
size = 7

[[split]]
layer = "app"
borders = [
  "/a#b",
  "/a'",
]
"##;

const LOCK: &str = r#"output = 1
created = "2026-03-01T10:20:30Z"

[base]
rootfs = "debian.tar"

[[base.platform]]
platform = "linux/amd64"
file = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
layers = []
directories = []
links = []
users = []
groups = []
packages = []
"#;
