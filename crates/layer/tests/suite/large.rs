//! What does not fit into a header's fields: a file above 8 GiB, and names as long as Linux takes them.
#![expect(
    clippy::disallowed_methods,
    reason = "the layer and what goes into it are files with holes, which the tests make"
)]

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::FileExt as _;

use cairn_layer::{
    Attributes, Compression, Context, EntryKind, LayerOptions, Limits, LocalKind, Node, ReadError, Source,
    Tree, TreePath, read_layer, write_layer,
};

use crate::support::{directory, file, path, read, symlink, tree as trees, write};
use crate::tools::{Line, Reader, line};

/// One more than eleven octal digits can say, and one more, so that the last block is not full.
const LARGE: u64 = (8 << 30) + 1;
/// One more than seven octal digits can say.
const HIGH: u32 = 1 << 21;

/// As many as are written at once. Comparing with them is much faster than looking at each byte.
static ZEROS: [u8; 16 << 20] = [0; 16 << 20];

/// Writes zeros as holes, so that an archive of gigabytes takes kilobytes of the disk.
struct Holes<'f>(&'f mut File);

impl Write for Holes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if ZEROS.starts_with(bytes) {
            self.0.seek_relative(bytes.len() as i64)?;
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn attributes(id: u32) -> Attributes {
    Attributes {
        uid: id,
        gid: id + 1,
        ..Attributes::file(true)
    }
}

/// A file with a hole of more than 8 GiB between two others; its name, its size and its owner all need a record.
fn tree_with_a_large_file(context: &Context) -> Tree {
    let Ok(LocalKind::File { file: large, .. }) = context.kind("large") else {
        panic!("it was made");
    };
    let mut tree = trees([
        ("before", file(b"before")),
        ("d", directory()),
        ("z", file(b"after")),
    ]);
    let node = Node::File {
        attributes: attributes(HIGH),
        source: Source::Local(large),
    };
    let name = [b"d/".as_slice(), &[0xff; 200]].concat();
    tree.insert(TreePath::new(name).unwrap(), node).unwrap();
    tree
}

#[test]
fn b5_a_file_above_8_gib_is_listed_by_all_readers() {
    // A file system in memory reads holes without filling pages, which elsewhere takes most of the time.
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let place = place.unwrap();
    let large = File::create(place.path().join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let context = Context::open(place.path()).unwrap();
    let tree = tree_with_a_large_file(&context);

    let mut out = tempfile::NamedTempFile::new().unwrap();
    let options = LayerOptions {
        compression: Compression::None,
        ..LayerOptions::default()
    };
    let written = write_layer(&tree, &options, &mut Holes(out.as_file_mut())).unwrap();
    out.as_file().set_len(written.size).unwrap();
    assert!(written.size > LARGE);
    assert_eq!(
        (written.size, written.digest),
        (written.uncompressed_size, written.diff_id)
    );

    // Our own reader is given what comes before the hole: reading zeros for seconds would prove nothing more.
    let mut start = vec![0; 64 << 10];
    out.as_file().read_exact_at(&mut start, 0).unwrap();
    let mut ours = Vec::new();
    let error = read_layer(&start[..], &Limits::default(), &mut |entry, _| {
        ours.push(entry.clone());
        Ok(())
    });
    assert!(matches!(error, Err(ReadError::Truncated { .. })), "{error:?}");
    let found = ours.last().unwrap();
    assert_eq!((found.size, &found.attributes), (LARGE, &attributes(HIGH)));
    let (end, _) = write(&trees([("z", file(b"after"))]), Compression::None);
    ours.extend(read(&end).unwrap().into_iter().map(|(entry, _)| entry));
    assert_eq!(ours.len() as u64, written.entries);

    for reader in [Reader::GnuTar, Reader::BsdTar] {
        let Some(tool) = reader.find() else { continue };
        let expected: Vec<Line> = ours
            .iter()
            .map(|entry| line(entry, reader.first_second()))
            .collect();
        assert_eq!(tool.list_file(out.path()).unwrap(), expected, "{reader:?}");
    }
}

/// A path of `length` bytes in which every byte but NUL and the slash comes up, divided into components.
fn long_path(length: usize, start: u8) -> TreePath {
    let mut bytes = Vec::new();
    let mut next = start;
    while bytes.len() < length {
        next = next.wrapping_add(1);
        match next {
            0 | b'/' => continue,
            _ if bytes.len() % 250 == 249 && bytes.len() + 1 < length => bytes.push(b'/'),
            _ => bytes.push(next),
        }
    }
    TreePath::new(bytes).unwrap()
}

#[test]
fn b5_paths_and_targets_as_long_as_linux_takes_them_are_listed_by_all_readers() {
    let most = TreePath::MAX;
    let mut tree = Tree::new();
    let mut insert = |path: TreePath, node: Node| tree.insert(path, node).unwrap();
    insert(long_path(most, 1), file(b"x"));
    insert(long_path(most - 1, 101), directory());
    insert(long_path(most, 151), symlink(long_path(most, 7).as_bytes()));
    insert(
        long_path(most, 201),
        Node::Hardlink {
            to: long_path(most, 1),
        },
    );
    insert(
        path("owned"),
        Node::File {
            attributes: attributes(u32::MAX - 1),
            source: Source::Bytes([].into()),
        },
    );
    let (tar, written) = write(&tree, Compression::None);
    let ours = read(&tar).unwrap();
    assert_eq!(ours.len() as u64, written.entries);
    for ((entry, _), (path, node)) in ours.iter().zip(tree.iter()) {
        assert_eq!(&entry.path, path);
        match (&entry.kind, node) {
            (EntryKind::Symlink { target }, Node::Symlink { target: wanted, .. }) => {
                assert_eq!(target, wanted);
            }
            (EntryKind::Hardlink { to }, Node::Hardlink { to: wanted }) => assert_eq!(to, wanted),
            (EntryKind::File, Node::File { .. }) | (EntryKind::Directory, Node::Directory(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    for reader in [Reader::GnuTar, Reader::BsdTar] {
        let Some(tool) = reader.find() else { continue };
        let lines = ours.iter().map(|(entry, _)| line(entry, reader.first_second()));
        assert_eq!(tool.list(&tar).unwrap(), lines.collect::<Vec<_>>(), "{reader:?}");
    }
}
