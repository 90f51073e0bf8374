#![expect(
    clippy::disallowed_methods,
    reason = "the tests make the files that they look at, and break records"
)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cairn_layer::{Attributes, Compression, Context, LayerOptions, LocalKind, Node, Source, Tree, TreePath};

use super::*;

const OPTIONS: LayerOptions = LayerOptions {
    mtime: 1,
    compression: Compression::Gzip,
};

/// A cache, and a context with one file.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        let place = Self(directory);
        place.write("file", "content");
        place
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.file(name), content).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("context").join(name)
    }

    /// Opened so long after the files were made that they are settled.
    fn records(&self) -> Records {
        Records::open(&self.0.path().join("cache"), "store image").later(10)
    }

    fn node(&self, name: &str, mode: u32) -> Node {
        let context = Context::open(&self.0.path().join("context")).unwrap();
        let LocalKind::File { file, .. } = context.kind(name).unwrap() else {
            panic!("{name} is no file");
        };
        let attributes = Attributes {
            mode,
            ..Attributes::default()
        };
        Node::File {
            attributes,
            source: Source::Local(file),
        }
    }

    fn snapshot(&self, records: &Records) -> Snapshot {
        Snapshot::of(
            &tree([("srv/file", self.node("file", 0o644))]),
            &OPTIONS,
            records.began(),
        )
    }

    fn only(&self, directory: &str) -> PathBuf {
        let directory = self.0.path().join("cache/layers").join(directory);
        let names = files::list(&directory).unwrap();
        assert_eq!(names.len(), 1, "{names:?}");
        directory.join(&names[0])
    }
}

fn tree(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Tree {
    let mut tree = Tree::new();
    for (path, node) in nodes {
        tree.insert(TreePath::new(path).unwrap(), node).unwrap();
    }
    tree
}

fn record() -> Record {
    Record {
        digest: Digest::of(b"layer"),
        size: 300,
        diff_id: Digest::of(b"archive"),
        uncompressed: 70_000,
        files: 1,
    }
}

#[test]
fn a_record_comes_back_for_the_same_snapshot_only() {
    let place = Place::new();
    let records = place.records();
    let snapshot = place.snapshot(&records);
    assert_eq!(records.find(&snapshot.fingerprint()), None);
    records.keep(&snapshot, &record());
    assert_eq!(place.records().find(&snapshot.fingerprint()), Some(record()));
    let again = place.snapshot(&place.records());
    assert_eq!(place.records().find(&again.fingerprint()), Some(record()));
    place.write("file", "Content");
    let changed = place.snapshot(&place.records());
    assert_eq!(place.records().find(&changed.fingerprint()), None);
}

#[test]
fn everything_that_decides_the_bytes_is_in_the_fingerprint() {
    let place = Place::new();
    let node = |mode| place.node("file", mode);
    let bytes = |text: &str| Node::File {
        attributes: Attributes::file(false),
        source: Source::Bytes(Arc::from(text.as_bytes())),
    };
    let link = |target: &str, uid| Node::Symlink {
        target: target.into(),
        uid,
        gid: 0,
    };
    let with_xattr = || {
        let mut attributes = Attributes::directory();
        attributes.xattrs.insert(b"user.a".to_vec(), b"1".to_vec());
        Node::Directory(attributes)
    };
    let trees = [
        tree([]),
        tree([("a", node(0o644))]),
        tree([("b", node(0o644))]),
        tree([("a", node(0o755))]),
        tree([("a", bytes("1"))]),
        tree([("a", bytes("2"))]),
        tree([("a", link("x", 0))]),
        tree([("a", link("y", 0))]),
        tree([("a", link("x", 1))]),
        tree([("a", Node::Whiteout)]),
        tree([("a", Node::Directory(Attributes::directory()))]),
        tree([("a", with_xattr())]),
        tree([("a", bytes("1")), ("ab", bytes("1"))]),
        tree([("a", bytes("1")), ("b", bytes("1"))]),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for tree in &trees {
        for options in [
            OPTIONS,
            LayerOptions { mtime: 2, ..OPTIONS },
            LayerOptions {
                compression: Compression::Zstd,
                ..OPTIONS
            },
        ] {
            let fingerprint = Snapshot::of(tree, &options, None).fingerprint();
            assert!(seen.insert(fingerprint), "{tree:?} {options:?}");
        }
    }
}

#[test]
fn each_part_of_an_identity_counts() {
    let place = Place::new();
    let fingerprint = || place.snapshot(&place.records()).fingerprint();
    let first = fingerprint();
    let modified = fs::metadata(place.file("file")).unwrap().modified().unwrap();
    // Another inode with the same size and time.
    place.write("other", "content");
    fs::File::options()
        .write(true)
        .open(place.file("other"))
        .and_then(|file| file.set_modified(modified))
        .unwrap();
    fs::rename(place.file("other"), place.file("file")).unwrap();
    let swapped = fingerprint();
    assert_ne!(swapped, first);
    // Only the time that nobody can set.
    fs::hard_link(place.file("file"), place.file("name")).unwrap();
    let linked = fingerprint();
    assert_ne!(linked, swapped);
    let touched = fs::File::options().write(true).open(place.file("file")).unwrap();
    touched
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(7))
        .unwrap();
    assert_ne!(fingerprint(), linked);
}

#[test]
fn files_that_are_too_new_are_not_recorded() {
    let place = Place::new();
    let now = Records::open(&place.0.path().join("cache"), "store image");
    for (later, settled) in [(0, false), (1, false), (3, true)] {
        let records = Records::open(&place.0.path().join("cache"), "store image").later(later);
        let snapshot = place.snapshot(&records);
        assert_eq!(snapshot.is_settled(), settled, "{later}");
        records.keep(&snapshot, &record());
        assert_eq!(now.find(&snapshot.fingerprint()).is_some(), settled, "{later}");
    }
}

/// A modification time may be far in the future, but not that of a write that may happen during the build.
#[test]
fn a_modification_time_close_to_the_build_is_too_new() {
    let place = Place::new();
    let now = fs::metadata(place.file("file")).unwrap().modified().unwrap();
    for (modified, settled) in [(10, false), (11, false), (9, false), (100, true)] {
        let file = fs::File::options().write(true).open(place.file("file")).unwrap();
        file.set_modified(now + Duration::from_secs(modified)).unwrap();
        let snapshot = place.snapshot(&place.records());
        assert_eq!(snapshot.is_settled(), settled, "{modified}");
    }
}

#[test]
fn a_broken_record_is_not_used() {
    let place = Place::new();
    let records = place.records();
    let snapshot = place.snapshot(&records);
    records.keep(&snapshot, &record());
    let path = place.only("records");
    let whole = fs::read(&path).unwrap();
    let find = || records.find(&snapshot.fingerprint());
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(find(), None, "cut to {length}");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(find(), None, "bit at {at}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(find(), None, "with more at its end");
    fs::write(&path, vec![0; 10 << 20]).unwrap();
    assert_eq!(find(), None, "far too long");
    fs::write(&path, &whole).unwrap();
    assert_eq!(find(), Some(record()));
}

#[test]
fn a_record_of_another_version_is_not_used() {
    let place = Place::new();
    let records = place.records();
    let snapshot = place.snapshot(&records);
    records.keep(&snapshot, &record());
    let path = place.only("records");
    let mut other = fs::read(&path).unwrap();
    other.truncate(other.len() - 32);
    let version = MAGIC.len() - 2;
    other[version] += 1;
    // Its checksum is right.
    let checksum = Digest::of(&other);
    other.extend_from_slice(checksum.as_bytes());
    fs::write(&path, other).unwrap();
    assert_eq!(records.find(&snapshot.fingerprint()), None);
}

#[test]
fn a_record_under_another_name_is_not_used() {
    let place = Place::new();
    let records = place.records();
    let snapshot = place.snapshot(&records);
    records.keep(&snapshot, &record());
    let path = place.only("records");
    let other = Digest::of(b"another");
    fs::rename(&path, path.with_file_name(other.hex())).unwrap();
    assert_eq!(records.find(&other), None);
    records.keep_last("app", &snapshot);
    let path = place.only("last");
    let other = records.last_path(&records.key("other"));
    fs::rename(path, other).unwrap();
    assert!(records.last("other").is_none() && records.last("app").is_none());
}

#[test]
fn a_broken_snapshot_is_not_used() {
    let place = Place::new();
    let records = place.records();
    records.keep_last("app", &place.snapshot(&records));
    let path = place.only("last");
    let whole = fs::read(&path).unwrap();
    assert!(records.last("app").is_some());
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(&path, flipped).unwrap();
        assert!(records.last("app").is_none(), "bit at {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert!(records.last("app").is_none(), "cut to {at}");
    }
}

/// Whatever a body says, reading it ends.
#[test]
fn hostile_bodies_are_none() {
    let far = [&[0][..], &[0xff; 9], &[1]].concat();
    for body in [&b""[..], b"\x05", b"\x00\x09a", b"\x00\x00\x01a\x09", &far] {
        assert!(Snapshot::from_body(body).is_none(), "{body:?}");
    }
}

#[test]
fn the_oldest_records_go() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..9_u64 {
        let path = directory.path().join(format!("{number}"));
        fs::write(&path, "x").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - number))
            .unwrap();
    }
    forget_oldest(directory.path(), 9);
    assert_eq!(files::list(directory.path()).unwrap().len(), 9);
    forget_oldest(directory.path(), 8);
    assert_eq!(
        files::list(directory.path()).unwrap(),
        ["0", "1", "2", "3", "4", "5"]
    );
}

/// A cache that cannot be made, because a file is where it should be, is no cache.
#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let place = Place::new();
    let records = Records::open(&place.file("file"), "store image").later(10);
    assert_eq!(records.began(), None);
    let snapshot = place.snapshot(&records);
    records.keep(&snapshot, &record());
    records.keep_last("app", &snapshot);
    assert_eq!(records.find(&snapshot.fingerprint()), None);
    assert!(records.last("app").is_none());
}

#[test]
fn changes_are_told_apart() {
    let place = Place::new();
    for name in ["same", "longer", "rewritten", "touched", "mode", "gone"] {
        place.write(name, "12");
    }
    let node = |name: &str, mode| place.node(name, mode);
    let records = place.records();
    let before = tree([
        ("gone", node("gone", 0o644)),
        ("kind", Node::Whiteout),
        (
            "link",
            Node::Symlink {
                target: b"a".to_vec(),
                uid: 0,
                gid: 0,
            },
        ),
        ("longer", node("longer", 0o644)),
        ("mode", node("mode", 0o644)),
        ("rewritten", node("rewritten", 0o644)),
        ("same", node("same", 0o644)),
        ("touched", node("touched", 0o644)),
    ]);
    records.keep_last("app", &Snapshot::of(&before, &OPTIONS, records.began()));
    place.write("longer", "123");
    let file = fs::File::options()
        .write(true)
        .open(place.file("rewritten"))
        .unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::hard_link(place.file("touched"), place.file("name")).unwrap();
    let after = tree([
        ("kind", Node::Directory(Attributes::directory())),
        (
            "link",
            Node::Symlink {
                target: b"b".to_vec(),
                uid: 0,
                gid: 5,
            },
        ),
        ("longer", node("longer", 0o644)),
        ("mode", node("mode", 0o600)),
        ("new", node("same", 0o644)),
        ("rewritten", node("rewritten", 0o644)),
        ("same", node("same", 0o644)),
        ("touched", node("touched", 0o644)),
    ]);
    let now = Snapshot::of(&after, &OPTIONS, records.began());
    let last = records.last("app").unwrap();
    assert!(now.has_rules_of(&last));
    let other = LayerOptions { mtime: 2, ..OPTIONS };
    assert!(!Snapshot::of(&after, &other, None).has_rules_of(&last));
    let changed = |aspects: &[Aspect]| Change::Changed(aspects.to_vec());
    let wanted = [
        ("gone", Change::Removed),
        ("kind", changed(&[Aspect::Kind])),
        ("link", changed(&[Aspect::Content, Aspect::Owner((0, 0), (0, 5))])),
        ("longer", changed(&[Aspect::Size(2, 3)])),
        ("mode", changed(&[Aspect::Mode(0o644, 0o600)])),
        ("new", Change::Added),
        ("rewritten", changed(&[Aspect::Written])),
        ("touched", changed(&[Aspect::Touched])),
    ];
    let found: Vec<_> = now.changes_since(&last).into_iter().collect();
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|(path, change)| (path.as_bytes().to_vec(), change))
        .collect();
    assert_eq!(found, wanted);
}
