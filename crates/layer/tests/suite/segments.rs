//! Layers in segments: the same bytes for any number of threads and any cache, and few new ones for a small change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Read as _, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use cairn_layer::{
    Compression, Context, Engine, LayerOptions, Limits, LocalKind, Node, SegmentCache, SegmentKey, Source,
    Tree, WriteError, WrittenLayer, decoder, sniff,
};
use cairn_oci::Digest;
use proptest::prelude::*;

use crate::support::{chain, directory, file, path, tree, write};

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

/// Bytes that compress to about a half, different for each seed.
fn content(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        write!(bytes, "{} ", state % 5000).unwrap();
    }
    bytes.truncate(length);
    bytes
}

/// Many small files, some larger, and some that are cut into pieces.
fn large_tree() -> Tree {
    static TREE: LazyLock<Tree> = LazyLock::new(make_large_tree);
    TREE.clone()
}

fn make_large_tree() -> Tree {
    let mut nodes = vec![("d".to_owned(), directory())];
    for number in 0..400_u32 {
        let length = match number % 100 {
            7 => 700_000,
            9 => 512 << 10,
            11 => (1 << 20) + 1,
            13 => 511 << 10,
            _ => 1000 + (number as usize * 97) % 9000,
        };
        nodes.push((format!("d/{number:04}"), file(&content(number, length))));
    }
    tree(nodes)
}

fn options(compression: Compression) -> LayerOptions {
    LayerOptions {
        compression,
        ..LayerOptions::default()
    }
}

fn engine(threads: usize, cache: Option<Arc<dyn SegmentCache>>) -> Engine {
    Engine {
        threads: NonZeroUsize::new(threads).unwrap(),
        cache,
    }
}

fn written(engine: &Engine, tree: &Tree, compression: Compression) -> (Vec<u8>, WrittenLayer) {
    let mut bytes = Vec::new();
    let written = engine
        .write_layer(tree, &options(compression), &mut bytes)
        .unwrap();
    (bytes, written)
}

/// A cache in memory that counts what it is given.
#[derive(Debug, Default)]
struct Kept {
    entries: Mutex<BTreeMap<SegmentKey, Vec<u8>>>,
    puts: AtomicUsize,
    gets: AtomicUsize,
}

impl Kept {
    fn puts(&self) -> usize {
        self.puts.swap(0, Ordering::SeqCst)
    }
}

impl SegmentCache for Kept {
    fn get(&self, key: &SegmentKey, into: &mut Vec<u8>) -> bool {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let entries = self.entries.lock().unwrap();
        entries
            .get(key)
            .map(|kept| into.extend_from_slice(kept))
            .is_some()
    }

    fn put(&self, key: &SegmentKey, compressed: &[u8]) {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.entries.lock().unwrap().insert(*key, compressed.to_vec());
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let tree = large_tree();
    for compression in COMPRESSIONS {
        let alone = written(&engine(1, None), &tree, compression);
        assert_eq!(alone.1.digest, Digest::of(&alone.0));
        for threads in [2, 3, 8, 100] {
            assert!(
                written(&engine(threads, None), &tree, compression) == alone,
                "{compression:?} with {threads} threads"
            );
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_cache() {
    let tree = large_tree();
    for compression in COMPRESSIONS {
        let without = written(&engine(1, None), &tree, compression);
        for threads in [1, 4] {
            let cache = Arc::new(Kept::default());
            let with = engine(threads, Some(Arc::clone(&cache) as Arc<dyn SegmentCache>));
            assert!(
                written(&with, &tree, compression) == without,
                "cold, {compression:?}"
            );
            let segments = cache.puts();
            assert_eq!(segments > 0, compression != Compression::None);
            assert!(
                written(&with, &tree, compression) == without,
                "warm, {compression:?}"
            );
            assert_eq!(cache.puts(), 0);
            let mut number = 0;
            cache.entries.lock().unwrap().retain(|_, _| {
                number += 1;
                number % 2 == 0
            });
            assert!(
                written(&with, &tree, compression) == without,
                "half deleted, {compression:?}"
            );
            assert_eq!(cache.puts(), segments.div_ceil(2));
        }
    }
}

#[test]
fn each_compression_has_segments_of_its_own_in_the_cache() {
    let (tree, cache) = (large_tree(), Arc::new(Kept::default()));
    let with = engine(2, Some(Arc::clone(&cache) as Arc<dyn SegmentCache>));
    for compression in COMPRESSIONS {
        assert!(
            written(&with, &tree, compression) == write(&tree, compression),
            "{compression:?}"
        );
    }
}

#[test]
fn the_archive_does_not_show_how_it_is_cut() {
    let tree = large_tree();
    let (tar, plain) = write(&tree, Compression::None);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let (layer, said) = write(&tree, compression);
        let mut unpacked = Vec::new();
        let mut decoder = decoder(&layer[..], sniff(&layer), &Limits::default()).unwrap();
        decoder.read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == tar, "{compression:?}");
        assert_eq!(said.diff_id, plain.diff_id);
    }
}

/// The lengths of the archive's segments, from the gzip members.
fn segments(layer: &[u8]) -> Vec<(usize, Digest)> {
    let (mut rest, mut found) = (layer, Vec::new());
    while !rest.is_empty() {
        let mut member = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        decoder.read_to_end(&mut member).unwrap();
        rest = decoder.into_inner();
        found.push((member.len(), Digest::of(&member)));
    }
    found
}

/// If this changes, the output version must (docs/output-1.md).
#[test]
fn these_are_the_segments_of_a_tree() {
    let mut text = String::new();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let (_, said) = write(&large_tree(), compression);
        writeln!(text, "{compression:?}: {} bytes", said.size).unwrap();
        writeln!(text, "  {}", said.digest).unwrap();
    }
    for (length, digest) in segments(&write(&large_tree(), Compression::Gzip).0) {
        writeln!(text, "{length:>8} {digest}").unwrap();
    }
    insta::with_settings!({
        snapshot_path => "../golden",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => "the layer in both compressions; the segments: length, digest of the uncompressed bytes",
    }, { insta::assert_snapshot!("segments", text) });
}

#[derive(Debug, Clone)]
enum Change {
    Removed(usize),
    Added(usize, usize),
    Replaced(usize, usize),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..400_usize).prop_map(Change::Removed),
        (0..400_usize, 0..20_000_usize).prop_map(|(at, length)| Change::Added(at, length)),
        (0..400_usize, 0..20_000_usize).prop_map(|(at, length)| Change::Replaced(at, length)),
    ]
}

fn changed(change: &Change) -> Tree {
    let (skipped, added) = match change {
        Change::Removed(at) => (Some(*at), None),
        Change::Added(at, length) => (None, Some((format!("d/{at:04}-new"), *length))),
        Change::Replaced(at, length) => (Some(*at), Some((format!("d/{at:04}"), *length))),
    };
    let skipped = skipped.map(|at| path(&format!("d/{at:04}")));
    let mut tree = Tree::new();
    for (place, node) in large_tree()
        .iter()
        .filter(|(place, _)| Some(*place) != skipped.as_ref())
    {
        tree.insert(place.clone(), node.clone()).unwrap();
    }
    if let Some((place, length)) = added {
        tree.insert(path(&place), file(&content(99_999, length))).unwrap();
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What changes is the segment of the file, and the few up to the next border that both agree on.
    #[test]
    fn a_change_of_one_small_file_changes_few_segments(change in changes()) {
        static BEFORE: LazyLock<BTreeSet<(usize, Digest)>> =
            LazyLock::new(|| segments(&write(&large_tree(), Compression::Gzip).0).into_iter().collect());
        let after = segments(&write(&changed(&change), Compression::Gzip).0);
        let new: Vec<_> = after.iter().filter(|segment| !BEFORE.contains(segment)).collect();
        let bytes: usize = new.iter().map(|(length, _)| length).sum();
        prop_assert!(new.len() <= 5 && bytes <= 3 << 20, "{change:?} changes {new:?}");
    }

    #[test]
    fn any_sizes_give_the_same_layer_with_threads(
        lengths in prop::collection::vec(0..1_600_000_usize, 1..6),
        threads in 2..5_usize,
    ) {
        let nodes = lengths.iter().enumerate().map(|(number, length)| {
            (format!("{number}"), file(&content(7, *length)))
        });
        let tree = tree(nodes);
        for compression in COMPRESSIONS {
            let with = written(&engine(threads, None), &tree, compression);
            prop_assert!(with == write(&tree, compression));
        }
    }
}

/// Takes so many bytes, and then no more.
struct Until(usize);

impl Write for Until {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.min(bytes.len()) {
            0 if !bytes.is_empty() => Err(io::ErrorKind::StorageFull.into()),
            count => {
                self.0 -= count;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn b11_an_output_that_fails_at_any_byte_is_an_error_with_threads_too() {
    let tree = large_tree();
    for compression in COMPRESSIONS {
        let whole = write(&tree, compression).1;
        let size = usize::try_from(whole.size).unwrap();
        for threads in [1, 2, 8] {
            let engine = engine(threads, None);
            let rooms = (0..10).map(|part| size * part / 10).chain([1, size - 1]);
            for room in rooms {
                let failed = engine.write_layer(&tree, &options(compression), &mut Until(room));
                let WriteError::Output { source } = failed.unwrap_err() else {
                    panic!("the output failed");
                };
                assert_eq!(
                    source.kind(),
                    io::ErrorKind::StorageFull,
                    "{compression:?} {threads} {room}"
                );
            }
            let enough = engine.write_layer(&tree, &options(compression), &mut Until(size));
            assert_eq!(enough.unwrap(), whole);
        }
    }
}

#[test]
fn an_output_that_fails_before_the_second_segment_is_there_still_says_why() {
    let tree = large_tree();
    let engine = engine(8, None);
    // Which thread is first is not ours to choose: often enough it is the one that writes.
    for _ in 0..200 {
        let failed = engine.write_layer(&tree, &options(Compression::None), &mut Until(1));
        let WriteError::Output { source } = failed.unwrap_err() else {
            panic!("the output failed");
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }
}

/// A tree of files in `context`, the last of which is changed after it was seen.
#[expect(clippy::disallowed_methods, reason = "the test makes the files that it reads")]
fn seen_then(context: &std::path::Path, change: impl FnOnce(&std::path::Path)) -> Tree {
    let mut tree = Tree::new();
    for number in 0..8_u32 {
        let name = format!("{number}");
        std::fs::write(context.join(&name), content(number, 900_000)).unwrap();
        let LocalKind::File { file, .. } = Context::open(context).unwrap().kind(&name).unwrap() else {
            panic!("a file");
        };
        let node = Node::File {
            attributes: cairn_layer::Attributes::file(false),
            source: Source::Local(file),
        };
        tree.insert(path(&name), node).unwrap();
    }
    change(&context.join("7"));
    tree
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test changes the files that it reads"
)]
fn b2_b3_a_file_that_changed_is_an_error_with_threads_too() {
    let grow = |file: &std::path::Path| {
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        file.write_all(b"more").unwrap();
    };
    let shrink = |file: &std::path::Path| {
        std::fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(500_000)
            .unwrap();
    };
    let replace = |file: &std::path::Path| {
        std::fs::remove_file(file).unwrap();
        std::os::unix::fs::symlink("0", file).unwrap();
    };
    let changes: [&dyn Fn(&std::path::Path); 3] = [&grow, &shrink, &replace];
    for change in changes {
        for threads in [1, 2, 8] {
            let context = tempfile::tempdir().unwrap();
            let tree = seen_then(context.path(), change);
            let failed = engine(threads, None).write_layer(&tree, &LayerOptions::default(), &mut io::sink());
            let error = failed.unwrap_err();
            assert!(matches!(error, WriteError::Content { .. }), "{}", chain(&error));
        }
    }
}

/// Notes the most bytes of segments that a cache was shown before the output had them: what is in memory at once.
#[derive(Debug, Default)]
struct Ahead {
    seen: AtomicUsize,
    written: AtomicUsize,
    most: AtomicUsize,
}

impl SegmentCache for Ahead {
    fn get(&self, _: &SegmentKey, _: &mut Vec<u8>) -> bool {
        let seen = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let ahead = seen.saturating_sub(self.written.load(Ordering::SeqCst));
        self.most.fetch_max(ahead, Ordering::SeqCst);
        false
    }

    fn put(&self, _: &SegmentKey, _: &[u8]) {}
}

struct Slow(Arc<Ahead>);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for _ in 0..2000 {
            std::thread::yield_now();
        }
        self.0.written.fetch_add(1, Ordering::SeqCst);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn memory_is_bounded_by_threads_and_not_by_the_layer() {
    let nodes = (0..120).map(|number| (format!("{number:04}"), file(&content(number, 512 << 10))));
    let tree = tree(nodes);
    for threads in [1, 2, 4] {
        let ahead = Arc::new(Ahead::default());
        let engine = engine(threads, Some(Arc::clone(&ahead) as Arc<dyn SegmentCache>));
        let mut slow = Slow(Arc::clone(&ahead));
        engine
            .write_layer(&tree, &LayerOptions::default(), &mut slow)
            .unwrap();
        let most = ahead.most.load(Ordering::SeqCst);
        assert!(
            most <= 3 * threads + 4,
            "{most} segments at once with {threads} threads"
        );
    }
}
