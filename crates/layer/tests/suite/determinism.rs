//! The same tree gives the same layer, wherever it comes from and in whatever order.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests make the directories that they walk"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cairn_layer::{
    Attributes, Compression, Context, GlobFilter, Listing, LocalKind, Node, Source, Tree, TreePath,
    WrittenLayer,
};
use proptest::prelude::*;

use crate::support::{directory, file, path, write};

/// All of `context`, put below `/srv`.
fn layer_of(context: &Path) -> WrittenLayer {
    let context = Context::open(context).unwrap();
    let mut tree = Tree::new();
    for entry in context.walk(".", &GlobFilter::none()).unwrap() {
        let Some(below) = entry.path else { continue };
        let node = match entry.kind {
            LocalKind::Directory => directory(),
            LocalKind::File { file, executable } => Node::File {
                attributes: Attributes::file(executable),
                source: Source::Local(file),
            },
            LocalKind::Symlink { target } => Node::Symlink {
                target,
                uid: 0,
                gid: 0,
            },
        };
        tree.insert(path("srv").join(&below).unwrap(), node).unwrap();
    }
    tree.complete_parents(&Listing::new()).unwrap();
    write(&tree, Compression::Gzip).1
}

const FILES: [&str; 6] = ["b", "a", "a-b", "d/x", "d/y", "z/deep/down"];

/// Makes the same files in the order given, with these permissions and times.
fn make(at: &Path, order: &[usize], mode: u32, modified: u64, hardlinks: bool) {
    for &index in order {
        let name = FILES[index];
        let file = at.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        // Two of them have one content, so that they can be one file with two names.
        let content = if name.starts_with("d/") { "same" } else { name };
        let twin = at.join(if name == "d/x" { "d/y" } else { "d/x" });
        if hardlinks && name.starts_with("d/") && twin.exists() {
            fs::hard_link(twin, &file).unwrap();
        } else {
            fs::write(&file, content).unwrap();
        }
        let opened = fs::File::options().write(true).open(&file).unwrap();
        opened
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(modified))
            .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(mode | 0o700)).unwrap();
    }
    symlink("../a", at.join("d/link")).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// B7: hard links in any order are files. B10: what umask, chmod or a tool did to the modes does not show.
    #[test]
    fn b7_b10_order_modes_times_and_hard_links_on_disk_do_not_show(
        order in Just((0..FILES.len()).collect::<Vec<_>>()).prop_shuffle(),
        mode in prop::sample::select(vec![0o600, 0o644, 0o666, 0o604, 0o6640]),
        modified in 0..4_000_000_000_u64,
        hardlinks: bool,
    ) {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(one.path(), &[0, 1, 2, 3, 4, 5], 0o644, 1, false);
        make(other.path(), &order, mode, modified, hardlinks);
        prop_assert_eq!(layer_of(one.path()), layer_of(other.path()));
    }

    #[test]
    fn the_order_of_insertion_does_not_show(
        order in Just((0..FILES.len()).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let layer = |order: &[usize]| {
            let mut tree = Tree::new();
            for &index in order {
                tree.insert(path(FILES[index]), file(FILES[index].as_bytes())).unwrap();
            }
            tree.complete_parents(&Listing::new()).unwrap();
            write(&tree, Compression::Zstd)
        };
        prop_assert_eq!(layer(&order), layer(&[0, 1, 2, 3, 4, 5]));
    }
}

#[test]
fn whether_the_owner_may_execute_a_file_does_show() {
    let digest = |mode| {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), &[0, 1, 2, 3, 4, 5], mode, 1, false);
        layer_of(directory.path()).digest
    };
    assert_ne!(digest(0o644), digest(0o744));
    assert_eq!(
        digest(0o655),
        digest(0o644),
        "the group's right to execute does not count"
    );
}

#[test]
fn content_in_memory_and_on_disk_give_the_same_layer() {
    let directory = tempfile::tempdir().unwrap();
    let content = vec![7; 300_000];
    fs::write(directory.path().join("f"), &content).unwrap();
    let LocalKind::File { file: local, .. } = Context::open(directory.path()).unwrap().kind("f").unwrap()
    else {
        panic!("a file");
    };
    let with = |source| {
        let mut tree = Tree::new();
        tree.insert(
            path("f"),
            Node::File {
                attributes: Attributes::file(false),
                source,
            },
        )
        .unwrap();
        write(&tree, Compression::Gzip)
    };
    assert_eq!(with(Source::Local(local)), with(Source::Bytes(content.into())));
}

#[test]
fn entries_come_sorted_however_the_disk_has_them() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path(), &[5, 3, 1, 0, 4, 2], 0o644, 1, false);
    let entries = Context::open(directory.path())
        .unwrap()
        .walk("", &GlobFilter::none())
        .unwrap();
    let paths: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry.path.as_ref())
        .map(TreePath::to_string)
        .collect();
    assert_eq!(
        paths,
        [
            "/a",
            "/a-b",
            "/b",
            "/d",
            "/d/link",
            "/d/x",
            "/d/y",
            "/z",
            "/z/deep",
            "/z/deep/down"
        ]
    );
}
