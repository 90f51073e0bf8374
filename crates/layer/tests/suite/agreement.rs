//! Other readers see in a layer what we do: names, kinds, modes, owners, sizes, links and times.
#![expect(
    clippy::disallowed_methods,
    reason = "umoci unpacks from and to directories that the tests make and read"
)]

use std::collections::BTreeMap;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cairn_layer::{Attributes, Compression, Node, Source, Tree, TreePath, WrittenLayer};
use cairn_oci::Digest;
use proptest::prelude::*;

use crate::round_trip::any_tree;
use crate::support::{directory, file, read, symlink, tree, write};
use crate::tools::{Line, Reader, Tool, line, program, skip};

fn with(mode: u32, uid: u32, gid: u32, content: &[u8]) -> Node {
    Node::File {
        attributes: Attributes {
            mode,
            uid,
            gid,
            xattrs: BTreeMap::new(),
        },
        source: Source::Bytes(Arc::from(content)),
    }
}

/// Names that are hard to write down, and everything at the borders of what a header can say.
fn hard_tree() -> Tree {
    let mut nodes: Vec<(Vec<u8>, Node)> = Vec::new();
    let names: [&[u8]; 18] = [
        b" leading",
        b"trailing ",
        b"-rf",
        b"a -> b",
        b"a link to b",
        b"back\\slash",
        b"back\\012slash",
        b"new\nline",
        b"tab\t",
        b"\x1b[2J",
        b"\x7f",
        b"\"quoted\" 'twice'",
        b"*?[x]{a,b}",
        "grüße/日本語/👋".as_bytes(),
        b"latin-\xe9",
        b"\xff\xfe\xc0\xaf",
        b"\xed\xa0\x80 half of a pair",
        b"c:\\windows\\con.",
    ];
    for name in names {
        nodes.push(([b"names/", name].concat(), file(name)));
    }
    // Around what the name field and the prefix field hold: 100, and 155 before a slash.
    for length in [98, 99, 100, 101, 154, 155, 156, 254, 255] {
        let name = "n".repeat(length);
        nodes.push((format!("long/{name}").into_bytes(), file(b"")));
        let divided = format!("{}/{}", "p".repeat(length), "n".repeat(100));
        nodes.push((divided.into_bytes(), file(b"")));
        let target = "t".repeat(length);
        nodes.push((
            format!("long/link-{length}").into_bytes(),
            symlink(target.as_bytes()),
        ));
    }
    nodes.push((b"long/deep/".to_vec(), directory()));
    nodes.last_mut().unwrap().0.pop();
    nodes.push((
        format!("long/deep/{}", vec!["0123456789abcdef"; 100].join("/")).into_bytes(),
        file(b"deep"),
    ));
    nodes.push((b"long/link-far".to_vec(), symlink("far/".repeat(1000).as_bytes())));
    for mode in [0, 0o1, 0o644, 0o1777, 0o2755, 0o4755, 0o6711, 0o7000, 0o7777] {
        nodes.push((format!("modes/{mode:04o}").into_bytes(), with(mode, 0, 0, b"x")));
        let attributes = Attributes {
            mode,
            ..Attributes::default()
        };
        nodes.push((
            format!("modes/d{mode:04o}").into_bytes(),
            Node::Directory(attributes),
        ));
    }
    for id in [
        1,
        65_534,
        65_535,
        2_097_151,
        2_097_152,
        2_147_483_647,
        4_294_967_294,
    ] {
        nodes.push((format!("ids/{id}").into_bytes(), with(0o600, id, id, b"")));
        nodes.push((format!("ids/u{id}").into_bytes(), with(0o600, id, 0, b"")));
    }
    for size in [1, 511, 512, 513, 10_239, 10_240, 524_287, 524_288, 1_048_577] {
        nodes.push((format!("sizes/{size}").into_bytes(), file(&vec![b'x'; size])));
    }
    let hardlink = |to: &str| Node::Hardlink {
        to: TreePath::new(to).unwrap(),
    };
    nodes.push((b"modes/link".to_vec(), hardlink("modes/4755")));
    nodes.push((
        format!("o/{}", "o".repeat(150)).into_bytes(),
        hardlink("ids/2097152"),
    ));
    nodes.push((
        b"z-link".to_vec(),
        hardlink(&format!("{}/{}", "p".repeat(156), "n".repeat(100))),
    ));
    tree(nodes)
}

fn ours(tar: &[u8], reader: Reader) -> Vec<Line> {
    let entries = read(tar).unwrap();
    entries
        .iter()
        .map(|(entry, _)| line(entry, reader.first_second()))
        .collect()
}

fn agree_on_the_hard_tree(reader: Reader) {
    let Some(tool) = reader.find() else { return };
    let mut tree = hard_tree();
    tree.insert(TreePath::new("gone").unwrap(), Node::Whiteout)
        .unwrap();
    let (tar, _) = write(&tree, Compression::None);
    let theirs = tool.list(&tar).unwrap();
    let ours = ours(&tar, reader);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn b5_gnu_tar_lists_hard_names_modes_owners_and_links_as_we_do() {
    agree_on_the_hard_tree(Reader::GnuTar);
}

#[test]
fn b5_bsdtar_lists_hard_names_modes_owners_and_links_as_we_do() {
    agree_on_the_hard_tree(Reader::BsdTar);
}

/// An OCI layout with one image of one layer, tagged `1`.
fn layout(at: &Path, layer: &[u8], written: &WrittenLayer) {
    let blobs = at.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        (digest, bytes.len())
    };
    let (layer_digest, layer_size) = put(layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        written.diff_id
    );
    let (config_digest, config_size) = put(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{config_size}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{layer_digest}","size":{layer_size}}}]}}"#
    );
    let (digest, size) = put(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},"annotations":{{"org.opencontainers.image.ref.name":"1"}}}}]}}"#
    );
    std::fs::write(at.join("index.json"), index).unwrap();
    std::fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Path, then what a disk says of it.
type OnDisk = BTreeMap<Vec<u8>, (u32, u32, u32, u64, i64, Vec<u8>)>;

fn walk(root: &Path, directory: &Path, found: &mut OnDisk) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let target = if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else {
            Vec::new()
        };
        let size = if metadata.is_file() { metadata.len() } else { 0 };
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let said = (
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
            size,
            metadata.mtime(),
            target,
        );
        found.insert(name, said);
        if metadata.is_dir() {
            walk(root, &path, found);
        }
    }
}

#[test]
fn b5_umoci_unpacks_hard_names_modes_owners_and_links_as_they_were() {
    let Some(umoci) = program("umoci") else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root unpacks owners and modes as they are");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut tree = hard_tree();
    tree.complete_parents(&cairn_layer::Listing::new()).unwrap();
    let (layer, written) = write(&tree, Compression::Gzip);
    let image = place.path().join("image");
    layout(&image, &layer, &written);
    let bundle = place.path().join("bundle");
    let mut command = Command::new(umoci);
    command
        .arg("unpack")
        .arg("--image")
        .arg(format!("{}:1", image.display()))
        .arg(&bundle);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let root = bundle.join("rootfs");
    let (mut found, mut expected) = (OnDisk::new(), OnDisk::new());
    walk(&root, &root, &mut found);
    for (path, node) in tree.iter() {
        let (attributes, size, target) = match node {
            Node::Directory(attributes) => (attributes.clone(), 0, Vec::new()),
            Node::File { attributes, source } => (attributes.clone(), source.size(), Vec::new()),
            Node::Symlink { target, uid, gid } => {
                let attributes = Attributes {
                    mode: 0o777,
                    uid: *uid,
                    gid: *gid,
                    xattrs: BTreeMap::new(),
                };
                (attributes, 0, target.clone())
            }
            Node::Hardlink { to } => match tree.get(to) {
                Some(Node::File { attributes, source }) => (attributes.clone(), source.size(), Vec::new()),
                other => panic!("{other:?}"),
            },
            Node::Whiteout => continue,
        };
        let said = (attributes.mode, attributes.uid, attributes.gid, size, 1, target);
        expected.insert(path.as_bytes().to_vec(), said);
    }
    for (path, said) in &expected {
        assert_eq!(found.get(path), Some(said), "{}", path.escape_ascii());
    }
    assert_eq!(found.len(), expected.len());
    let inode = |name: &str| std::fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("modes/link"), inode("modes/4755"), "one file");
}

fn agree(tool: Option<Tool>, reader: Reader, tree: &Tree) -> Result<(), TestCaseError> {
    if let Some(tool) = tool {
        let (tar, _) = write(tree, Compression::None);
        let theirs = tool.list(&tar).map_err(TestCaseError::fail)?;
        prop_assert_eq!(theirs, ours(&tar, reader));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn b5_gnu_tar_lists_every_field_of_any_tree_as_we_do(tree in any_tree(b"")) {
        agree(Reader::GnuTar.find(), Reader::GnuTar, &tree)?;
    }

    #[test]
    fn b5_bsdtar_lists_every_field_of_any_tree_as_we_do(tree in any_tree(b"")) {
        agree(Reader::BsdTar.find(), Reader::BsdTar, &tree)?;
    }
}
