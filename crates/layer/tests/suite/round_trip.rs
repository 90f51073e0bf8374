//! Any tree, written and read back, is the same tree: for us, for the tar crate, and for GNU tar.
#![expect(clippy::disallowed_methods, reason = "GNU tar reads the layer from a file")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use cairn_layer::{Attributes, Compression, Entry, EntryKind, Limits, Listing, Node, Source, Tree, TreePath};
use proptest::prelude::*;

use crate::support::{read, write};
use crate::tools::unescape;

/// A node in a form that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plain {
    Directory(Attributes),
    File(Attributes, Vec<u8>),
    Symlink(Vec<u8>, u32, u32),
    Hardlink(TreePath),
    Whiteout,
    Other(EntryKind),
}

fn plain_node(node: &Node) -> Plain {
    match node {
        Node::Directory(attributes) => Plain::Directory(attributes.clone()),
        Node::File {
            attributes,
            source: Source::Bytes(bytes),
        } => Plain::File(attributes.clone(), bytes.to_vec()),
        Node::File {
            source: Source::Local(_) | Source::Spooled(_),
            ..
        } => panic!("the trees here are in memory"),
        Node::Symlink { target, uid, gid } => Plain::Symlink(target.clone(), *uid, *gid),
        Node::Hardlink { to } => Plain::Hardlink(to.clone()),
        Node::Whiteout => Plain::Whiteout,
    }
}

fn plain_entry((entry, content): (Entry, Vec<u8>)) -> (TreePath, Plain) {
    assert_eq!(entry.mtime, 1);
    let attributes = entry.attributes;
    let plain = match entry.kind {
        EntryKind::Directory => Plain::Directory(attributes),
        EntryKind::File => Plain::File(attributes, content),
        EntryKind::Symlink { target } => Plain::Symlink(target, attributes.uid, attributes.gid),
        EntryKind::Hardlink { to } => Plain::Hardlink(to),
        EntryKind::Whiteout => Plain::Whiteout,
        other => Plain::Other(other),
    };
    (entry.path, plain)
}

/// Any bytes but NUL and those given: the tar crate takes a newline in a PAX record for its end.
fn bytes(but: &'static [u8], lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let byte = (1..=255_u8).prop_map(move |byte| if but.contains(&byte) { b'x' } else { byte });
    prop::collection::vec(byte, lengths)
}

fn component(but: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // Few names, so that trees have directories with several children, and names that sort around a slash.
        6 => prop::sample::select(vec!["a", "a-b", "a.b", "b", "usr", "é", " "]).prop_map(Into::into),
        2 => bytes(but, 1..13),
        1 => bytes(but, 1..256),
        1 => "[a-z]{80,255}".prop_map(String::into_bytes),
    ]
    .prop_map(|name| {
        name.iter()
            .map(|byte| if *byte == b'/' { b'|' } else { *byte })
            .collect()
    })
}

fn tree_path(but: &'static [u8]) -> impl Strategy<Value = TreePath> {
    let depth = prop_oneof![8 => 1..5_usize, 1 => 10..24_usize];
    let components = depth.prop_flat_map(move |depth| prop::collection::vec(component(but), depth));
    components.prop_filter_map("no path", |components| TreePath::new(components.join(&b'/')).ok())
}

fn attributes(but: &'static [u8]) -> impl Strategy<Value = Attributes> {
    let id = || prop_oneof![4 => 0..3_u32, 1 => 2_097_150..2_097_154_u32, 1 => any::<u32>()];
    let name = prop_oneof![
        Just(b"security.capability".to_vec()),
        "user\\.[a-z]{1,8}".prop_map(String::into_bytes),
        Just(b"user.\xff ".to_vec()),
    ];
    let value = bytes(but, 0..40);
    let xattrs = prop_oneof![4 => Just(BTreeMap::new()), 1 => prop::collection::btree_map(name, value, 1..4)];
    (0..=0o7777_u32, id(), id(), xattrs).prop_map(|(mode, uid, gid, xattrs)| Attributes {
        mode,
        uid,
        gid,
        xattrs,
    })
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop::sample::select(vec![
        0, 1, 511, 512, 513, 1023, 1024, 1025, 131_071, 131_072, 131_073,
    ]);
    (sizes, any::<u8>()).prop_map(|(size, seed)| (0..size).map(|at: usize| (at % 251) as u8 ^ seed).collect())
}

fn node(but: &'static [u8]) -> impl Strategy<Value = Node> {
    let target = bytes(but, 1..300);
    prop_oneof![
        3 => attributes(but).prop_map(Node::Directory),
        5 => (attributes(but), content()).prop_map(|(attributes, content)| Node::File {
            attributes,
            source: Source::Bytes(Arc::from(content)),
        }),
        2 => (target, 0..5_u32, 0..5_u32).prop_map(|(target, uid, gid)| Node::Symlink { target, uid, gid }),
        1 => Just(Node::Whiteout),
        // To which file is decided when all are there.
        1 => tree_path(but).prop_map(|to| Node::Hardlink { to }),
    ]
}

prop_compose! {
    pub(crate) fn any_tree(but: &'static [u8])(nodes in prop::collection::vec((tree_path(but), node(but)), 0..24), pick: u32) -> Tree {
        let mut tree = Tree::new();
        let (links, others): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|(_, node)| matches!(node, Node::Hardlink { .. }));
        for (path, node) in others {
            // Conflicts are refused, which other tests prove; here the rest of the tree goes on.
            let _refused = tree.insert(path, node);
        }
        for (path, _) in links {
            let is_file = |(to, node): &(&TreePath, &Node)| *to < &path && matches!(node, Node::File { .. });
            let files: Vec<TreePath> = tree.iter().filter(is_file).map(|(to, _)| to.clone()).collect();
            if let Some(to) = files.get(pick as usize % files.len().max(1)) {
                let _refused = tree.insert(path, Node::Hardlink { to: to.clone() });
            }
        }
        tree
    }
}

/// The names as they stand in the archive.
fn archive_names(tree: &Tree) -> Vec<Vec<u8>> {
    let name = |(path, node): (&TreePath, &Node)| match node {
        Node::Directory(_) => [path.as_bytes(), b"/"].concat(),
        Node::Whiteout => {
            let parent = path.parent().map(|parent| [parent.as_bytes(), b"/"].concat());
            [&parent.unwrap_or_default()[..], b".wh.", path.file_name()].concat()
        }
        _ => path.as_bytes().to_vec(),
    };
    tree.iter().map(name).collect()
}

/// Names and contents, or what links lead to, as the tar crate sees them.
fn by_tar_crate(tar: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path_bytes().into_owned();
        let mut content = entry.link_name_bytes().unwrap_or_default().into_owned();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (name, content)
    });
    entries.collect()
}

/// Names as GNU tar lists them; none where it is not installed.
fn by_gnu_tar(tar: &[u8]) -> Option<Vec<Vec<u8>>> {
    let version = Command::new("tar").arg("--version").output().ok()?;
    if !version.stdout.starts_with(b"tar (GNU tar)") {
        return None;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tar).unwrap();
    let output = Command::new("tar")
        .args(["--list", "--quoting-style=escape", "--file"])
        .arg(file.path())
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{warnings}");
    // GNU tar takes names as bytes anyway, and says that it knows no other way.
    let known = "tar: Ignoring unknown extended header keyword 'hdrcharset'";
    assert!(warnings.lines().all(|warning| warning == known), "{warnings}");
    Some(
        output
            .stdout
            .split_inclusive(|byte| *byte == b'\n')
            .map(unescape)
            .collect(),
    )
}

/// What GNU tar writes in each of its formats, read by us.
#[test]
fn b5_what_gnu_tar_writes_is_read_whatever_its_format() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join("root").join(name);
    let long = format!("{}/{}", "d".repeat(90), "n".repeat(60));
    let longer = format!("{}/{}", "d".repeat(90), "n".repeat(200));
    std::fs::create_dir_all(at(&long).parent().unwrap()).unwrap();
    std::fs::write(at("file"), vec![b'x'; 1000]).unwrap();
    std::fs::hard_link(at("file"), at("other")).unwrap();
    std::os::unix::fs::symlink("t".repeat(150), at("link")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::Mode::from_raw_mode(0o640),
    )
    .unwrap();
    std::fs::write(at(&long), "long").unwrap();
    std::fs::write(at(&longer), "longer").unwrap();
    for format in ["gnu", "oldgnu", "posix", "ustar", "v7"] {
        let mut create = Command::new("tar");
        create.args([
            "--create",
            "--sort=name",
            "--format",
            format,
            "--file=-",
            "--directory",
        ]);
        let tar = create
            .arg(at(""))
            .arg(".")
            .output()
            .map_or_else(|_| Vec::new(), |output| output.stdout);
        let Some(listed) = (!tar.is_empty()).then(|| by_gnu_tar(&tar)).flatten() else {
            println!("skipped: there is no GNU tar");
            return;
        };
        let entries: Vec<_> = read(&tar).unwrap().into_iter().map(|(entry, _)| entry).collect();
        // The older formats leave out what they cannot say; the root is listed first, and is no entry.
        let trim = |name: &Vec<u8>| {
            let name = name.strip_prefix(b"./").unwrap();
            name.strip_suffix(b"/").unwrap_or(name).to_vec()
        };
        let names: Vec<_> = entries
            .iter()
            .map(|entry| entry.path.as_bytes().to_vec())
            .collect();
        assert_eq!(
            names,
            listed[1..].iter().map(trim).collect::<Vec<_>>(),
            "{format}"
        );
        let is = |name: &str, kind: EntryKind| {
            entries
                .iter()
                .any(|entry| entry.path.as_bytes() == name.as_bytes() && entry.kind == kind)
        };
        assert!(is("file", EntryKind::File), "{format}");
        assert!(is("pipe", EntryKind::Fifo) || format == "v7", "{format}");
        assert!(
            is(
                "other",
                EntryKind::Hardlink {
                    to: TreePath::new("file").unwrap()
                }
            ),
            "{format}"
        );
        if matches!(format, "gnu" | "oldgnu" | "posix") {
            assert!(
                is(&long, EntryKind::File) && is(&longer, EntryKind::File),
                "{format}"
            );
            assert!(
                is(
                    "link",
                    EntryKind::Symlink {
                        target: vec![b't'; 150]
                    }
                ),
                "{format}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_tree_is_read_back_as_it_was(mut tree in any_tree(b""), complete: bool) {
        if complete {
            tree.complete_parents(&Listing::new()).unwrap();
        }
        let expected: Vec<_> = tree.iter().map(|(path, node)| (path.clone(), plain_node(node))).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (layer, written) = write(&tree, compression);
            let entries: Vec<_> = read(&layer).unwrap().into_iter().map(plain_entry).collect();
            prop_assert_eq!(&entries, &expected);
            prop_assert_eq!(written.entries, expected.len() as u64);
        }
    }

    #[test]
    fn a_tree_gives_the_listing_that_its_layer_gives(tree in any_tree(b"")) {
        let (mut by_tree, mut by_layer) = (Listing::new(), Listing::new());
        by_tree.apply_tree(&tree).unwrap();
        let (layer, _) = write(&tree, Compression::Gzip);
        by_layer.apply_layer(&layer[..], &Limits::default()).unwrap();
        prop_assert_eq!(by_tree, by_layer);
    }

    #[test]
    fn b5_the_tar_crate_reads_any_tree_as_we_do(tree in any_tree(b"\n")) {
        let (tar, _) = write(&tree, Compression::None);
        let content = |node: &Node| match plain_node(node) {
            Plain::File(_, content) => content,
            Plain::Symlink(target, ..) => target,
            Plain::Hardlink(to) => to.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let contents = tree.iter().map(|(_, node)| content(node));
        let expected: Vec<_> = archive_names(&tree).into_iter().zip(contents).collect();
        prop_assert_eq!(by_tar_crate(&tar), expected);
    }

    #[test]
    fn b5_gnu_tar_lists_any_tree_as_we_do(tree in any_tree(b"")) {
        match by_gnu_tar(&write(&tree, Compression::None).0) {
            Some(names) => prop_assert_eq!(names, archive_names(&tree)),
            None => println!("skipped: there is no GNU tar"),
        }
    }
}
