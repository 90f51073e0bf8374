//! One small layer with every kind of node: what is in it, readable, and then the digests of its bytes.
//!
//! If one of these changes, the output version must (docs/output-1.md). `INSTA_UPDATE=always` blesses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use cairn_layer::{
    Attributes, Compression, LayerOptions, Limits, Node, Source, Tree, TreePath, describe, write_layer,
};

use crate::support::{directory, file, path, symlink, tree};

fn every_kind_of_node() -> Tree {
    let capability = BTreeMap::from([
        (b"security.capability".to_vec(), vec![1, 0, 0, 2]),
        (b"user.note".to_vec(), b"a stone".to_vec()),
    ]);
    let program = Attributes {
        mode: 0o4755,
        uid: 0,
        gid: 10,
        xattrs: capability,
    };
    let long = format!("srv/{}/{}", "d".repeat(120), "n".repeat(60));
    let longer = format!("srv/{}", "x".repeat(120));
    let nodes = [
        ("etc", directory()),
        ("etc/hello.conf", file(b"port = 8080\n")),
        ("etc/old.conf", Node::Whiteout),
        (
            "srv",
            Node::Directory(Attributes {
                mode: 0o1777,
                uid: 3_000_000,
                gid: 1,
                ..Attributes::default()
            }),
        ),
        (&long, file(b"name and prefix\n")),
        (&longer, file(b"PAX\n")),
        (
            "usr/bin/hello",
            Node::File {
                attributes: program,
                source: Source::Bytes(Arc::from(&b"#!"[..])),
            },
        ),
        (
            "usr/bin/hi",
            Node::Hardlink {
                to: path("usr/bin/hello"),
            },
        ),
        ("usr/bin/link", symlink(b"../../etc/hello.conf")),
        ("usr/bin/zeros", file(&[0; 1500])),
        ("usr/bin-b", file(b"")),
        ("é\n", file(b"UTF-8")),
    ];
    let mut tree = tree(nodes);
    tree.insert(TreePath::new(b"\xff").unwrap(), symlink(b"\xfe"))
        .unwrap();
    tree.complete_parents(&cairn_layer::Listing::new()).unwrap();
    tree
}

#[test]
fn every_kind_of_node_gives_these_bytes() {
    let tree = every_kind_of_node();
    let mut text = String::new();
    for mtime in [1, 1_700_000_000] {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut layer = Vec::new();
            let written = write_layer(&tree, &LayerOptions { mtime, compression }, &mut layer).unwrap();
            if compression == Compression::None {
                writeln!(
                    text,
                    "mtime {mtime}\n\n{}",
                    describe(&layer[..], &Limits::default()).unwrap()
                )
                .unwrap();
            }
            writeln!(text, "{compression:?}: {} entries", written.entries).unwrap();
            writeln!(text, "  {} {} bytes", written.digest, written.size).unwrap();
            writeln!(
                text,
                "  {} {} bytes uncompressed",
                written.diff_id, written.uncompressed_size
            )
            .unwrap();
        }
        text.push('\n');
    }
    insta::with_settings!({
        snapshot_path => "../golden",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => "MODE UID GID SIZE MTIME TYPE SHA256 PATH",
    }, { insta::assert_snapshot!("every-kind-of-node", text) });
}

#[test]
fn an_empty_tree_is_two_blocks_of_zeros() {
    let mut layer = Vec::new();
    let options = LayerOptions {
        compression: Compression::None,
        ..LayerOptions::default()
    };
    let written = write_layer(&Tree::new(), &options, &mut layer).unwrap();
    assert_eq!(layer, [0; 1024]);
    // The diff_id of the empty layer that everybody knows.
    let known = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(
        (written.diff_id.to_string().as_str(), written.digest),
        (known, written.diff_id)
    );
}
