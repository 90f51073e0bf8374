//! What a tree takes, and what it refuses.

use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn file() -> Node {
    Node::File {
        attributes: Attributes::file(false),
        source: Source::Bytes(Arc::from(&b"x"[..])),
    }
}

fn directory(mode: u32) -> Node {
    Node::Directory(Attributes {
        mode,
        ..Attributes::default()
    })
}

fn link(target: &str) -> Node {
    Node::Symlink {
        target: target.into(),
        uid: 0,
        gid: 0,
    }
}

fn tree(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Tree {
    let mut tree = Tree::new();
    for (at, node) in nodes {
        tree.insert(path(at), node).unwrap();
    }
    tree
}

fn order(tree: &Tree) -> Vec<String> {
    tree.iter().map(|(path, _)| path.to_string()).collect()
}

#[test]
fn a3_no_path_is_there_twice() {
    let mut tree = tree([("srv", directory(0o755)), ("a", file())]);
    assert_eq!(
        tree.insert(path("a"), file()),
        Err(TreeError::Duplicate { path: path("a") })
    );
    assert_eq!(
        tree.insert(path("srv"), directory(0o700)),
        Err(TreeError::Duplicate { path: path("srv") })
    );
    assert_eq!(
        tree.insert(path("srv"), file()),
        Err(TreeError::Duplicate { path: path("srv") })
    );
    assert_eq!(
        tree.insert(path("srv"), directory(0o755)),
        Ok(()),
        "an equal directory says nothing new"
    );
    tree.insert_over_directory(path("srv"), directory(0o700)).unwrap();
    assert!(matches!(tree.get(&path("srv")), Some(Node::Directory(attributes)) if attributes.mode == 0o700));
    assert!(tree.insert_over_directory(path("a"), directory(0o700)).is_err());
}

#[test]
fn a3_reserved_names_are_refused() {
    for name in [".wh.a", "a/.wh.b", ".wh..wh..opq", "a/.wh.b/c"] {
        let expected = Err(TreeError::ReservedName { path: path(name) });
        assert_eq!(Tree::new().insert(path(name), file()), expected);
    }
    assert_eq!(Tree::new().insert(path("a/.what"), file()), Ok(()));
}

#[test]
fn a7_nothing_lies_below_a_file_or_a_link() {
    for node in [file(), link("/"), Node::Whiteout] {
        let mut below = tree([("a-b", file())]);
        below.insert(path("a"), node.clone()).unwrap();
        let conflict = TreeError::NotADirectory {
            path: path("a/b/c"),
            ancestor: path("a"),
        };
        assert_eq!(below.insert(path("a/b/c"), file()), Err(conflict.clone()));
        // The other way round; `a-b` stands between the two.
        let mut above = tree([("a-b", file()), ("a/b/c", file())]);
        assert_eq!(above.insert(path("a"), node), Err(conflict));
    }
}

#[test]
fn a4_b6_only_what_a_layer_should_have_is_taken() {
    let with = |name: &str| {
        let xattrs = BTreeMap::from([(name.as_bytes().to_vec(), Vec::new())]);
        let attributes = Attributes {
            xattrs,
            ..Attributes::file(false)
        };
        Tree::new().insert(path("a"), Node::Directory(attributes)).is_ok()
    };
    for good in ["user.a", "security.capability"] {
        assert!(with(good), "{good}");
    }
    for bad in [
        "security.selinux",
        "trusted.overlay.opaque",
        "system.posix_acl_access",
        "user.",
        "user.a=b",
        "",
    ] {
        assert!(!with(bad), "{bad}");
    }
    let mode = Tree::new().insert(path("a"), directory(0o10_000));
    assert_eq!(
        mode,
        Err(TreeError::Mode {
            path: path("a"),
            mode: 0o10_000
        })
    );
    for target in ["", "a\0b", &"x".repeat(4097)] {
        assert!(Tree::new().insert(path("a"), link(target)).is_err());
    }
}

#[test]
fn whiteouts_come_before_their_siblings_and_after_their_directory() {
    let tree = tree([
        ("a", directory(0o755)),
        ("a/b", file()),
        ("a/z", Node::Whiteout),
        ("a/c", Node::Whiteout),
        ("a-b", file()),
        ("z", Node::Whiteout),
        (" ", file()),
    ]);
    assert_eq!(order(&tree), ["/z", "/ ", "/a", "/a-b", "/a/c", "/a/z", "/a/b"]);
}

#[test]
fn a_name_without_room_for_its_whiteout_cannot_be_removed() {
    let remove = |length: usize| Tree::new().insert(path(&"n".repeat(length)), Node::Whiteout);
    assert_eq!(remove(251), Ok(()));
    assert_eq!(
        remove(252),
        Err(TreeError::WhiteoutTooLong {
            path: path(&"n".repeat(252))
        })
    );
}

#[test]
fn a_file_becomes_another_name_of_one_before_it() {
    let mut tree = tree([
        ("a", file()),
        ("b", file()),
        ("d", directory(0o755)),
        ("0", file()),
    ]);
    tree.hardlink(&path("b"), &path("a")).unwrap();
    assert!(matches!(tree.get(&path("b")), Some(Node::Hardlink { to }) if *to == path("a")));
    for (at, to) in [
        ("a", "b"),
        ("a", "d"),
        ("d", "a"),
        ("c", "a"),
        ("a", "a"),
        ("b", "0"),
    ] {
        let expected = TreeError::Hardlink {
            path: path(at),
            to: path(to),
        };
        assert_eq!(tree.hardlink(&path(at), &path(to)), Err(expected), "{at} to {to}");
    }
    assert_eq!((tree.len(), tree.check_links()), (4, Ok(())));
    assert_eq!(order(&tree), ["/0", "/a", "/b", "/d"]);
}

#[test]
fn parents_have_the_attributes_of_the_layers_below() {
    let sticky = Attributes {
        mode: 0o1777,
        uid: 1,
        gid: 2,
        ..Attributes::default()
    };
    let lower = Listing {
        directories: BTreeMap::from([(path("tmp"), sticky.clone())]),
        ..Listing::new()
    };
    let mut tree = tree([
        ("tmp/new/file", file()),
        ("srv/own/file", file()),
        ("srv", directory(0o700)),
    ]);
    tree.complete_parents(&lower).unwrap();
    assert_eq!(
        order(&tree),
        [
            "/srv",
            "/srv/own",
            "/srv/own/file",
            "/tmp",
            "/tmp/new",
            "/tmp/new/file"
        ]
    );
    let attributes = |at| match tree.get(&path(at)) {
        Some(Node::Directory(attributes)) => attributes.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(attributes("tmp"), sticky);
    assert_eq!(attributes("tmp/new"), Attributes::directory());
    assert_eq!(attributes("srv").mode, 0o700);
}

#[test]
fn a7_below_a_symbolic_link_of_a_lower_layer_is_refused_with_the_real_path() {
    let symlinks = BTreeMap::from([
        (path("lib"), b"usr/lib".to_vec()),
        (path("top"), b"/".to_vec()),
        (path("loop"), b"loop".to_vec()),
    ]);
    let lower = Listing {
        symlinks,
        ..Listing::new()
    };
    let refused =
        |nodes: [(&'static str, Node); 1]| tree(nodes).complete_parents(&lower).unwrap_err().to_string();
    let below = refused([("lib/x/libm.so", file())]);
    assert!(
        below.contains("/lib/x/libm.so") && below.contains("/usr/lib/x/libm.so"),
        "{below}"
    );
    assert!(
        refused([("lib", directory(0o755))]).contains("/usr/lib"),
        "a directory would hide the link"
    );
    assert!(refused([("top", directory(0o755))]).ends_with(": the real path is /"));
    assert!(refused([("loop/x", file())]).contains("leads nowhere"));
    // To replace the link itself by a file or another link is fine.
    assert_eq!(tree([("lib", file())]).complete_parents(&lower), Ok(()));
}

#[test]
fn hard_links_need_their_file_before_them() {
    let to = |to: &str| Node::Hardlink { to: path(to) };
    let check = |nodes: [(&'static str, Node); 2]| tree(nodes).check_links();
    assert_eq!(check([("a", file()), ("b", to("a"))]), Ok(()));
    for (case, nodes) in [
        ("after it", [("b", file()), ("a", to("b"))]),
        ("nothing", [("b", file()), ("c", to("a"))]),
        ("a directory", [("a", directory(0o755)), ("b", to("a"))]),
        ("a link", [("a", link("b")), ("b", to("a"))]),
        ("itself", [("a", file()), ("b", to("b"))]),
    ] {
        assert!(matches!(check(nodes), Err(TreeError::Hardlink { .. })), "{case}");
    }
}

/// What a tree must take, said plainly: nothing twice, and nothing below what is no directory.
fn may_stand(model: &BTreeMap<TreePath, bool>, at: &TreePath, is_directory: bool) -> bool {
    let is_free = !model.contains_key(at) || (is_directory && model[at]);
    let above_are_directories = at.ancestors().all(|above| *model.get(&above).unwrap_or(&true));
    let is_bare = is_directory || !model.keys().any(|other| other.is_under(at));
    is_free && above_are_directories && is_bare
}

proptest::proptest! {
    #[test]
    fn a7_a_tree_takes_the_same_whatever_order_paths_come_in(
        named in proptest::collection::vec(("[ab](-|/[ab]){0,5}", proptest::bool::ANY), 0..40),
        is_sorted in proptest::bool::ANY,
    ) {
        let mut named: Vec<(TreePath, bool)> = named.into_iter().map(|(name, is)| (path(&name), is)).collect();
        if is_sorted {
            named.sort();
        }
        let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
        for (at, is_directory) in named {
            let node = if is_directory { directory(0o755) } else { file() };
            let may = may_stand(&model, &at, is_directory);
            proptest::prop_assert_eq!(tree.insert(at.clone(), node).is_ok(), may, "{}", at);
            if may {
                model.insert(at, is_directory);
            }
        }
        tree.complete_parents(&Listing::new()).unwrap();
        let above: Vec<TreePath> = model.keys().flat_map(TreePath::ancestors).collect();
        model.extend(above.into_iter().map(|above| (above, true)));
        let all: Vec<String> = model.keys().map(ToString::to_string).collect();
        proptest::prop_assert_eq!(order(&tree), all);
    }
}
