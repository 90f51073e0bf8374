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
