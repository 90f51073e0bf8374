//! What a stack of layers gives.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::writer::{LayerOptions, write_layer};

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn directory(mode: u32) -> Node {
    Node::Directory(Attributes {
        mode,
        ..Attributes::default()
    })
}

fn file(content: &[u8]) -> Node {
    Node::File {
        attributes: Attributes::file(false),
        source: Source::Bytes(Arc::from(content)),
    }
}

fn link(target: &str) -> Node {
    Node::Symlink {
        target: target.into(),
        uid: 0,
        gid: 0,
    }
}

fn tree<const N: usize>(nodes: [(&str, Node); N]) -> Tree {
    let mut tree = Tree::new();
    for (at, node) in nodes {
        tree.insert(path(at), node).unwrap();
    }
    tree
}

fn layer<const N: usize>(nodes: [(&str, Node); N]) -> Vec<u8> {
    let tree = tree(nodes);
    let mut out = Vec::new();
    write_layer(&tree, &LayerOptions::default(), &mut out).unwrap();
    out
}

/// A layer that no tree of ours would give: entries by name and kind, in this order.
fn foreign(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, link) in entries {
        let member = crate::header::Member {
            path: name.as_bytes(),
            kind: *kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 1,
            link: link.as_bytes(),
            xattrs: None,
        };
        out.extend(member.encode());
    }
    out.extend([0; 1024]);
    out
}

fn stack(layers: &[Vec<u8>]) -> Listing {
    let mut listing = Listing::new();
    for layer in layers {
        listing.apply_layer(&layer[..], &Limits::default()).unwrap();
    }
    listing
}

fn directories(listing: &Listing) -> Vec<String> {
    listing.directories.keys().map(ToString::to_string).collect()
}

const DIRECTORY: tar::EntryType = tar::EntryType::Directory;
const FILE: tar::EntryType = tar::EntryType::Regular;
const LINK: tar::EntryType = tar::EntryType::Symlink;

#[test]
fn the_uppermost_entry_for_a_directory_counts() {
    let base = layer([
        ("tmp", directory(0o1777)),
        ("etc", directory(0o755)),
        ("etc/passwd", file(b"root")),
    ]);
    let top = layer([
        ("tmp", directory(0o700)),
        ("etc/group", file(b"wheel")),
        ("srv/x", file(b"")),
    ]);
    let listing = stack(&[base, top]);
    assert_eq!(directories(&listing), ["/etc", "/srv", "/tmp"]);
    assert_eq!(listing.directories[&path("tmp")].mode, 0o700);
    assert_eq!(
        listing.directories[&path("srv")],
        Attributes::directory(),
        "only mentioned as a parent"
    );
    assert_eq!(
        (listing.passwd.as_deref(), listing.group.as_deref()),
        (Some(&b"root"[..]), Some(&b"wheel"[..]))
    );
}

#[test]
fn c10_whiteouts_remove_what_is_below_and_nothing_of_their_own_layer() {
    let base = || {
        layer([
            ("a", directory(0o755)),
            ("a/old", directory(0o755)),
            ("a/old/deep", directory(0o755)),
            ("a/old-too", directory(0o755)),
            ("a/link", link("/x")),
            ("etc/passwd", file(b"root")),
        ])
    };
    let listing = stack(&[
        base(),
        layer([("a/old", Node::Whiteout), ("a/link", Node::Whiteout)]),
    ]);
    assert_eq!(directories(&listing), ["/a", "/a/old-too", "/etc"]);
    assert!(listing.symlinks.is_empty());
    assert_eq!(
        stack(&[base(), layer([("etc/passwd", Node::Whiteout)])]).passwd,
        None
    );
    assert_eq!(stack(&[base(), layer([("etc", Node::Whiteout)])]).passwd, None);

    // Whatever the order, removals come first (image-spec, layer.md: they hide only what lower layers have).
    for late in [
        [("a/.wh.old", FILE, ""), ("a/old/new/", DIRECTORY, "")],
        [("a/old/new/", DIRECTORY, ""), ("a/.wh.old", FILE, "")],
    ] {
        assert_eq!(
            directories(&stack(&[base(), foreign(&late)])),
            ["/a", "/a/old", "/a/old-too", "/a/old/new", "/etc"]
        );
    }
}

#[test]
fn c10_an_opaque_marker_empties_its_directory_even_when_it_comes_late() {
    let base = || {
        layer([
            ("a", directory(0o700)),
            ("a/old", directory(0o755)),
            ("b", directory(0o755)),
        ])
    };
    for late in [
        [("a/.wh..wh..opq", FILE, ""), ("a/new/", DIRECTORY, "")],
        [("a/new/", DIRECTORY, ""), ("a/.wh..wh..opq", FILE, "")],
    ] {
        let listing = stack(&[base(), foreign(&late)]);
        assert_eq!(directories(&listing), ["/a", "/a/new", "/b"]);
        assert_eq!(
            listing.directories[&path("a")].mode,
            0o700,
            "the directory itself stays"
        );
    }
    assert_eq!(
        stack(&[base(), foreign(&[(".wh..wh..opq", FILE, "")])]),
        Listing::new()
    );
}

#[test]
fn c10_whiteouts_go_through_links_within_the_image() {
    let base = layer([
        ("lib", link("usr/lib")),
        ("usr/lib/old", directory(0o755)),
        ("out", link("../../usr")),
    ]);
    let through = |name: &str| directories(&stack(&[base.clone(), foreign(&[(name, FILE, "")])]));
    assert_eq!(through("lib/.wh.old"), ["/usr", "/usr/lib"]);
    assert_eq!(through("out/.wh.lib"), ["/usr"], "`..` ends at the root");
    let gone = stack(&[base.clone(), foreign(&[(".wh.lib", FILE, "")])]);
    assert_eq!(
        directories(&gone),
        ["/usr", "/usr/lib", "/usr/lib/old"],
        "the link goes, not what is behind it"
    );
    assert!(!gone.symlinks.contains_key(&path("lib")));
}

#[test]
fn c8_entries_below_links_stay_within_the_image() {
    for target in ["/usr/lib", "usr/lib", "../../../usr/lib", "/../usr/./lib/"] {
        let listing = stack(&[foreign(&[("lib", LINK, target), ("lib/x/", DIRECTORY, "")])]);
        assert_eq!(
            directories(&listing),
            ["/usr", "/usr/lib", "/usr/lib/x"],
            "{target}"
        );
    }
}

#[test]
fn c8_links_that_do_not_end_are_refused() {
    let mut listing = Listing::new();
    let looping = foreign(&[("a", LINK, "b"), ("b", LINK, "a"), ("a/x", FILE, "")]);
    let error = listing.apply_layer(&looping[..], &Limits::default()).unwrap_err();
    assert!(matches!(error, ReadError::SymlinkLoop { .. }), "{error:?}");
}

#[test]
fn an_entry_replaces_what_was_there() {
    let base = || {
        layer([
            ("d", directory(0o755)),
            ("d/sub", directory(0o755)),
            ("l", link("d")),
        ])
    };
    let by_file = stack(&[base(), layer([("d", file(b"")), ("l", file(b""))])]);
    assert_eq!(by_file, Listing::new());
    let by_link = stack(&[base(), layer([("d", link("/x"))])]);
    assert_eq!(directories(&by_link), [""; 0]);
    assert_eq!(by_link.symlinks[&path("d")], b"/x");
    let by_directory = stack(&[base(), layer([("l", directory(0o711))])]);
    assert_eq!(directories(&by_directory), ["/d", "/d/sub", "/l"]);
    assert!(by_directory.symlinks.is_empty());
    let hardlink = stack(&[
        layer([("etc/passwd", file(b"root"))]),
        foreign(&[("x", FILE, ""), ("etc/passwd", tar::EntryType::Link, "x")]),
    ]);
    assert_eq!(hardlink.passwd, None, "its content is not known");
}

#[test]
fn paths_are_resolved_like_the_kernel_does() {
    let symlinks = [
        ("lib", "usr/lib"),
        ("usr/lib/now", "v2"),
        ("top", "/"),
        ("up", "../.."),
        ("abs", "/lib/now"),
    ];
    let symlinks = symlinks.map(|(at, target)| (path(at), target.as_bytes().to_vec()));
    let listing = Listing {
        symlinks: BTreeMap::from(symlinks),
        ..Listing::new()
    };
    for (from, to) in [
        ("x/y", "x/y"),
        ("lib", "usr/lib"),
        ("lib/now/x", "usr/lib/v2/x"),
        ("abs", "usr/lib/v2"),
        ("top/up/lib/a", "usr/lib/a"),
    ] {
        assert_eq!(listing.resolve(&path(from)), Ok(path(to)), "{from}");
    }
    assert_eq!(listing.resolve_parent(&path("abs")), Ok(path("abs")));
    assert_eq!(listing.resolve_parent(&path("lib/now")), Ok(path("usr/lib/now")));
    assert_eq!(
        listing.resolve(&path("up")),
        Err(ResolveError::Root { path: path("up") })
    );
}

#[test]
fn chains_of_links_end_at_forty() {
    let chain = |length: usize| {
        let link = |at: usize| (path(&at.to_string()), (at + 1).to_string().into_bytes());
        Listing {
            symlinks: (0..length).map(link).collect(),
            ..Listing::new()
        }
    };
    assert_eq!(chain(40).resolve(&path("0")), Ok(path("40")));
    assert!(matches!(
        chain(41).resolve(&path("0")),
        Err(ResolveError::TooManyLinks { .. })
    ));
}

#[test]
fn a_huge_account_file_is_refused() {
    let content = vec![b'x'; usize::try_from(MAX_ACCOUNT_FILE).unwrap() + 1];
    let largest = layer([
        ("etc/passwd", file(&content[1..])),
        ("srv/passwd", file(&content)),
    ]);
    assert_eq!(
        stack(&[largest]).passwd.map(|passwd| passwd.len()),
        Some(content.len() - 1)
    );
    let mut listing = Listing::new();
    let error = listing
        .apply_layer(&layer([("etc/group", file(&content))])[..], &Limits::default())
        .unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::AccountFile {
                limit: MAX_ACCOUNT_FILE,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(listing, Listing::new());
}

#[test]
fn a_tree_on_top_is_the_same_as_its_layer_on_top() {
    let base = layer([
        ("etc", directory(0o700)),
        ("etc/passwd", file(b"root")),
        ("etc/group", file(b"root")),
        ("old", directory(0o755)),
        ("lib", link("usr/lib")),
    ]);
    let nodes = || {
        [
            ("etc/passwd", file(b"root\napp")),
            ("etc/group", Node::Whiteout),
            ("old", Node::Whiteout),
            ("tmp", directory(0o1777)),
            ("lib", file(b"")),
            ("lib64", link("lib")),
        ]
    };
    let mut listing = stack(std::slice::from_ref(&base));
    listing.apply_tree(&tree(nodes())).unwrap();
    assert_eq!(listing, stack(&[base, layer(nodes())]));
    assert_eq!(
        (listing.passwd.as_deref(), listing.group),
        (Some(&b"root\napp"[..]), None)
    );
}

/// A directory that has nothing is not looked into for each file: what does have something, or lies behind a link, is.
#[test]
fn files_of_a_tree_take_the_place_of_what_is_below_them() {
    let base = layer([
        ("srv/app/was/deep", directory(0o700)),
        ("srv/app/link", link("was")),
        ("real/in/old", directory(0o700)),
        ("way", link("real")),
        ("full/was", directory(0o700)),
    ]);
    let nodes = || {
        [
            ("full/a", file(b"")),
            ("full/was", file(b"")),
            ("new", directory(0o711)),
            ("new/a", file(b"")),
            ("new/b", directory(0o711)),
            ("new/c", file(b"")),
            ("srv/app/link", file(b"")),
            ("srv/app/was", file(b"")),
            ("way/in/a", file(b"")),
            ("way/in/old", file(b"")),
        ]
    };
    let mut listing = stack(std::slice::from_ref(&base));
    listing.apply_tree(&tree(nodes())).unwrap();
    assert_eq!(listing, stack(&[base, layer(nodes())]));
    let expected = ["/full", "/new", "/new/b", "/real", "/real/in", "/srv", "/srv/app"];
    assert_eq!(directories(&listing), expected);
    assert_eq!(listing.symlinks.keys().collect::<Vec<_>>(), [&path("way")]);
}

/// Short paths that meet each other, and what stands at each.
fn nodes() -> impl Strategy<Value = Vec<(String, u8)>> {
    let path = proptest::sample::select(vec![
        "a",
        "b",
        "l",
        "a/b",
        "a/c",
        "a/l",
        "a/b/c",
        "l/a",
        "l/b/c",
        "b/a/c",
        "etc/group",
    ]);
    proptest::collection::vec((path.prop_map(str::to_owned), 0_u8..6), 0..12)
}

/// As much of it as makes a tree.
fn made(nodes: &[(String, u8)]) -> Tree {
    let mut tree = Tree::new();
    for (at, kind) in nodes {
        let node = match kind {
            0 => directory(0o700),
            1 => link("a"),
            2 => link("b/a"),
            3 => Node::Whiteout,
            _ => file(b"group"),
        };
        // What contradicts what is there is left out.
        drop(tree.insert(path(at), node));
    }
    tree
}

proptest! {
    #[test]
    fn any_tree_on_top_is_the_same_as_its_layer_on_top(lower in nodes(), upper in nodes(), completed in any::<bool>()) {
        let mut listing = Listing::new();
        listing.apply_tree(&made(&lower)).unwrap();
        let mut tree = made(&upper);
        if completed && tree.complete_parents(&listing).is_err() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        write_layer(&tree, &LayerOptions::default(), &mut bytes).unwrap();
        let mut other = listing.clone();
        let both = (listing.apply_tree(&tree), other.apply_layer(&bytes[..], &Limits::default()));
        prop_assert_eq!(both.0.is_ok(), both.1.is_ok());
        if both.0.is_ok() {
            prop_assert_eq!(listing, other);
        }
    }
}
