use std::sync::Arc;

use cairn_layer::{Attributes, Listing, Source};

use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn file(size: usize) -> Node {
    Node::File {
        attributes: Attributes::file(false),
        source: Source::Bytes(Arc::from(vec![0; size])),
    }
}

fn tree(files: &[(&str, usize)]) -> Tree {
    let mut tree = Tree::new();
    for (name, size) in files {
        tree.insert(path(name), file(*size)).unwrap();
    }
    tree.complete_parents(&Listing::default()).unwrap();
    tree
}

/// 40 directories of 50 files of 10 KB each: 20 MB.
fn packages() -> Vec<(String, usize)> {
    let names = (0..40).flat_map(|package| (0..50).map(move |file| format!("lib/p{package:02}/f{file:02}")));
    names.map(|name| (name, 10_000)).collect()
}

fn tree_of(files: &[(String, usize)]) -> Tree {
    let files: Vec<_> = files.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    tree(&files)
}

fn borders(tree: &Tree, most: usize) -> Vec<TreePath> {
    let mut weights = Weights::default();
    weights.add(tree);
    weights.borders(most)
}

fn texts(parts: &[Tree]) -> Vec<String> {
    let part = |part: &Tree| {
        part.iter()
            .map(|(path, _)| path.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    parts.iter().map(part).collect()
}

#[test]
fn a_small_layer_has_no_borders() {
    assert_eq!(borders(&tree(&[("a", 10), ("b", 500_000)]), 64), []);
    assert_eq!(borders(&Tree::new(), 64), []);
}

#[test]
fn borders_stand_between_directories_rather_than_inside() {
    let borders = borders(&tree_of(&packages()), 64);
    assert!((10..=30).contains(&borders.len()), "{borders:?}");
    for border in &borders {
        assert_eq!(border.components().count(), 2, "{border} cuts a directory in two");
    }
}

#[test]
fn there_are_never_more_parts_than_allowed() {
    let tree = tree_of(&packages());
    for most in 1..20 {
        let borders = borders(&tree, most);
        assert!(borders.len() < most, "{most}: {borders:?}");
        assert!(borders.is_sorted_by(|a, b| a < b));
        assert!(split(tree.clone(), &borders).unwrap().len() <= most);
    }
}

#[test]
fn what_is_larger_than_a_part_stands_alone() {
    let mut files = packages();
    files.push(("lib/p20/huge".to_owned(), 30_000_000));
    let tree = tree_of(&files);
    let parts = split(tree.clone(), &borders(&tree, 64)).unwrap();
    let huge = parts
        .iter()
        .find(|part| part.get(&path("lib/p20/huge")).is_some())
        .unwrap();
    let others = huge
        .iter()
        .filter(|(_, node)| matches!(node, Node::File { .. }))
        .count();
    assert!(others <= 10, "{others} files share the part of the large one");
}

#[test]
fn a_file_that_comes_or_goes_touches_one_part() {
    let files = packages();
    let before = tree_of(&files);
    let borders = borders(&before, 64);
    let before = texts(&split(before, &borders).unwrap());
    let mut more = files.clone();
    more.push(("lib/p17/new".to_owned(), 5_000_000));
    let after = texts(&split(tree_of(&more), &borders).unwrap());
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .count();
    assert_eq!((before.len(), changed), (after.len(), 1));
}

#[test]
fn parts_repeat_their_parents_with_their_attributes() {
    let mut tree = Tree::new();
    let owned = Node::Directory(Attributes {
        mode: 0o750,
        uid: 7,
        ..Attributes::default()
    });
    tree.insert(path("srv"), owned).unwrap();
    tree.insert(path("srv/a"), file(1)).unwrap();
    tree.insert(path("srv/b"), file(1)).unwrap();
    let parts = split(tree, &[path("srv/b")]).unwrap();
    assert_eq!(texts(&parts), ["/srv /srv/a", "/srv /srv/b"]);
    for part in &parts {
        let Some(Node::Directory(attributes)) = part.get(&path("srv")) else {
            panic!("no parent");
        };
        assert_eq!((attributes.mode, attributes.uid), (0o750, 7));
    }
}

#[test]
fn hard_links_stay_with_their_file() {
    let mut tree = tree(&[("a/one", 4), ("m/x", 4), ("z/x", 4)]);
    tree.insert(path("z/two"), Node::Hardlink { to: path("a/one") })
        .unwrap();
    let parts = split(tree, &[path("m"), path("z")]).unwrap();
    assert_eq!(texts(&parts), ["/a /a/one /z /z/two", "/m /m/x", "/z /z/x"]);
}

#[test]
fn removals_belong_to_the_part_of_their_path() {
    let mut tree = tree(&[("a/one", 4), ("z/x", 4)]);
    tree.insert(path("usr/share/doc"), Node::Whiteout).unwrap();
    tree.complete_parents(&Listing::default()).unwrap();
    let parts = split(tree, &[path("m"), path("z")]).unwrap();
    assert_eq!(
        texts(&parts),
        ["/a /a/one", "/usr /usr/share /usr/share/doc", "/z /z/x"]
    );
}

#[test]
fn a_part_that_holds_nothing_is_left_out_and_one_is_always_there() {
    let parts = split(tree(&[("a", 1), ("z", 1)]), &[path("m"), path("n")]).unwrap();
    assert_eq!(texts(&parts), ["/a", "/z"]);
    assert_eq!(texts(&split(Tree::new(), &[path("m")]).unwrap()), [""]);
}

#[test]
fn together_the_parts_are_the_layer() {
    let whole = tree_of(&packages());
    let borders = borders(&whole, 64);
    let mut paths = BTreeMap::new();
    for part in split(whole.clone(), &borders).unwrap() {
        paths.extend(
            part.iter()
                .map(|(path, node)| (path.clone(), format!("{node:?}"))),
        );
    }
    let expected: BTreeMap<_, _> = whole
        .iter()
        .map(|(path, node)| (path.clone(), format!("{node:?}")))
        .collect();
    assert_eq!(paths, expected);
}
