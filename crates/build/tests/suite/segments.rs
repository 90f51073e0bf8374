//! The cache of compressed segments on disk: whatever is in it, the layer is the same.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests damage and remove what the cache wrote"
)]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_build::{SegmentCounts, SegmentDirectory};
use cairn_layer::{
    Attributes, Engine, LayerOptions, Node, SegmentCache, Source, Tree, TreePath, WrittenLayer,
};

const ROOM: u64 = 1 << 30;

/// Some segments, each of which is worth keeping.
fn tree() -> Tree {
    let mut tree = Tree::new();
    for number in 0..3_u32 {
        let content: Vec<u8> = (0..300_000_u32)
            .flat_map(|i| (i / 5 * (number + 7)).to_le_bytes())
            .collect();
        let node = Node::File {
            attributes: Attributes::file(false),
            source: Source::Bytes(Arc::from(content)),
        };
        tree.insert(TreePath::new(format!("{number}")).unwrap(), node)
            .unwrap();
    }
    tree
}

/// Writes the layer with the cache at `path`, as a new process would.
fn written(path: &Path, room: u64) -> (WrittenLayer, SegmentCounts, Arc<SegmentDirectory>) {
    let segments = Arc::new(SegmentDirectory::open(path, room));
    let engine = Engine {
        threads: NonZeroUsize::new(2).unwrap(),
        cache: Some(Arc::clone(&segments) as Arc<dyn SegmentCache>),
    };
    let layer = engine
        .write_layer(&tree(), &LayerOptions::default(), &mut std::io::sink())
        .unwrap();
    segments.tidy();
    (layer, segments.counts(), segments)
}

fn reference() -> WrittenLayer {
    cairn_layer::write_layer(&tree(), &LayerOptions::default(), &mut std::io::sink()).unwrap()
}

/// All files of the cache.
fn entries(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let parts = fs::read_dir(path.join("segments")).unwrap();
    let files = parts.flat_map(|part| fs::read_dir(part.unwrap().path()).unwrap());
    files
        .map(|file| file.unwrap().path())
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

#[test]
fn what_was_compressed_once_is_not_compressed_again() {
    let cache = tempfile::tempdir().unwrap();
    let (layer, cold, _) = written(cache.path(), ROOM);
    assert_eq!((layer, cold.found), (reference(), 0));
    assert_eq!(entries(cache.path()).len() as u64, cold.added);
    let (layer, warm, _) = written(cache.path(), ROOM);
    assert_eq!((layer, warm.added), (reference(), 0));
    assert_eq!((warm.found, warm.found_bytes), (cold.added, cold.added_bytes));
}

/// The entry with another checksum, as if it had been written so.
fn sealed(entry: &[u8]) -> Vec<u8> {
    let content = &entry[..entry.len() - 32];
    [content, blake3::hash(content).as_bytes()].concat()
}

fn with(entry: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut changed = entry.to_vec();
    changed[at] ^= byte;
    changed
}

#[test]
fn entries_that_are_wrong_are_thrown_away_and_made_anew() {
    let cache = tempfile::tempdir().unwrap();
    let (expected, cold, _) = written(cache.path(), ROOM);
    let whole = entries(cache.path());
    let mut two = whole.iter();
    let (file, entry) = two.next().unwrap();
    let (_, other) = two.next().unwrap();
    let length = entry.len();
    let mut wrong: Vec<(String, Vec<u8>)> = vec![
        ("empty".to_owned(), Vec::new()),
        ("another entry".to_owned(), other.clone()),
        ("longer".to_owned(), [&entry[..], b"x"].concat()),
        ("zeros".to_owned(), vec![0; length]),
        ("another format".to_owned(), sealed(&with(entry, 14, 3))),
        ("another key".to_owned(), sealed(&with(entry, 20, 1))),
        ("another length".to_owned(), sealed(&with(entry, 48, 1))),
        (
            "longer, and says so".to_owned(),
            sealed(&[&entry[..], b"more"].concat()),
        ),
    ];
    for end in [1, 15, 16, 47, 48, 56, 57, length / 2, length - 32, length - 1] {
        wrong.push((format!("cut off at {end}"), entry[..end].to_vec()));
    }
    for at in [
        0,
        15,
        16,
        47,
        48,
        55,
        56,
        length / 2,
        length - 33,
        length - 32,
        length - 1,
    ] {
        wrong.push((format!("another bit in byte {at}"), with(entry, at, 0x10)));
    }
    for (what, bytes) in wrong {
        fs::write(file, bytes).unwrap();
        let (layer, counts, _) = written(cache.path(), ROOM);
        assert_eq!(layer, expected, "{what}");
        assert_eq!((counts.added, counts.found), (1, cold.added - 1), "{what}");
        assert!(entries(cache.path()) == whole, "{what}");
    }
}

#[test]
fn any_part_of_the_cache_may_be_deleted() {
    let cache = tempfile::tempdir().unwrap();
    let (expected, cold, _) = written(cache.path(), ROOM);
    let whole = entries(cache.path());
    for file in whole.keys().step_by(2) {
        fs::remove_file(file).unwrap();
    }
    let (layer, half, _) = written(cache.path(), ROOM);
    assert_eq!((layer, half.added), (expected, cold.added.div_ceil(2)));
    fs::remove_dir_all(cache.path()).unwrap();
    let (layer, none, _) = written(cache.path(), ROOM);
    assert_eq!((layer, none), (expected, cold));
    assert!(entries(cache.path()) == whole);
}

#[test]
fn the_cache_may_go_while_a_layer_is_written() {
    let cache = tempfile::tempdir().unwrap();
    let expected = reference();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let _gone = fs::remove_dir_all(cache.path().join("segments"));
                std::thread::yield_now();
            }
        });
        for _ in 0..10 {
            assert_eq!(written(cache.path(), ROOM).0, expected);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

#[test]
fn a_cache_that_cannot_be_written_is_said_once_and_fails_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("cache");
    fs::write(&file, "no directory").unwrap();
    let (layer, counts, segments) = written(&file, ROOM);
    assert_eq!((layer, counts.found), (reference(), 0));
    assert!(segments.take_trouble().is_some());
    assert!(segments.take_trouble().is_none());
}

#[test]
fn the_oldest_entries_go_when_there_is_no_room() {
    let cache = tempfile::tempdir().unwrap();
    let (expected, ..) = written(cache.path(), ROOM);
    // Of what is there the newest is kept where two share a directory, and room for one of the largest each.
    let whole = entries(cache.path());
    let largest = whole.values().map(Vec::len).max().unwrap() as u64;
    let (layer, ..) = written(cache.path(), 16 * largest);
    assert_eq!(layer, expected);
    for (index, file) in whole.keys().enumerate() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(index as u64);
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    // A segment that is gone is written again, and its directory is tidied.
    let (oldest, _) = whole.first_key_value().unwrap();
    fs::remove_file(oldest).unwrap();
    let (layer, ..) = written(cache.path(), 16 * largest);
    assert_eq!(layer, expected);
    let mut by_part: BTreeMap<&Path, u64> = BTreeMap::new();
    let left = entries(cache.path());
    for (file, entry) in &left {
        *by_part.entry(file.parent().unwrap()).or_default() += entry.len() as u64;
    }
    let tidied = by_part[oldest.parent().unwrap()];
    assert!(tidied <= largest, "{tidied} bytes where {largest} may be");
    let (layer, counts, _) = written(cache.path(), 0);
    assert_eq!((layer, counts.found), (expected, left.len() as u64));
}
