//! Compressed segments of layers, kept in files, so that unchanged bytes are not compressed again.
//!
//! ```text
//! <cache>/segments/<first digit>/<key>
//! ```
//!
//! A file is: its format, the key, the length of the segment, the segment, and the BLAKE3 hash of all of that. What is
//! wrong, cut off, from another format or under another's key is thrown away and never used. Nothing waits for
//! the disk. All of it may be deleted at any time, also while a build runs; what cannot be kept fails no build.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cairn_layer::{SegmentCache, SegmentKey};
use cairn_store::files::{self, FileError};

/// First bytes of every file: the format, and its version.
const FORMAT: &[u8; 16] = b"cairn segment 1\n";
/// Bytes of a key, and of a hash.
const HASH: usize = 32;
/// Where the segment begins.
const HEADER: usize = FORMAT.len() + HASH + 8;
/// The longest segment that is kept, in bytes (16 MiB).
const LIMIT: usize = 16 << 20;
/// Into how many directories the files are divided; each has its part of the room.
const PARTS: usize = 16;

/// A cache of segments in a directory. Any number of processes may use it at once.
#[derive(Debug)]
pub struct SegmentDirectory {
    path: PathBuf,
    /// Most bytes of all files.
    room: u64,
    /// Bytes written to each part since it was last tidied.
    written: [AtomicU64; PARTS],
    trouble: Mutex<Option<FileError>>,
    /// Segments that were found, and their compressed bytes.
    found: [AtomicU64; 2],
    /// Segments that were not, and their compressed bytes.
    added: [AtomicU64; 2],
}

/// What was found in a cache and what was not, by this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentCounts {
    /// Segments that were found.
    pub found: u64,
    /// Their compressed bytes.
    pub found_bytes: u64,
    /// Segments that were compressed.
    pub added: u64,
    /// Their compressed bytes.
    pub added_bytes: u64,
}

impl SegmentDirectory {
    /// The cache below `cache`, whose files may take up to `room` bytes. Nothing is made before the first segment.
    #[must_use]
    pub fn open(cache: &Path, room: u64) -> Self {
        Self {
            path: cache.join("segments"),
            room,
            written: Default::default(),
            trouble: Mutex::default(),
            found: Default::default(),
            added: Default::default(),
        }
    }

    /// What became of the segments that were asked for.
    #[must_use]
    pub fn counts(&self) -> SegmentCounts {
        let [found, found_bytes] = self.found.each_ref().map(|count| count.load(Ordering::Relaxed));
        let [added, added_bytes] = self.added.each_ref().map(|count| count.load(Ordering::Relaxed));
        SegmentCounts {
            found,
            found_bytes,
            added,
            added_bytes,
        }
    }

    /// Why the first segment that was not kept was not, if there is one. Nothing more is written after it.
    #[must_use]
    pub fn take_trouble(&self) -> Option<FileError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Removes the files that were not of use for the longest time, until the others fit. Only where something was written.
    pub fn tidy(&self) {
        for part in 0..PARTS {
            if self.written[part].load(Ordering::Relaxed) > 0 {
                // What processes left that were killed. What cannot be removed now may be next time.
                let _later = files::discard_leftovers(&self.part_path(part), files::LEFT_BEHIND);
                self.tidy_part(part);
            }
        }
    }

    fn part_path(&self, part: usize) -> PathBuf {
        self.path.join(format!("{part:x}"))
    }

    fn tidy_part(&self, part: usize) {
        self.written[part].store(0, Ordering::Relaxed);
        let directory = self.part_path(part);
        let Ok(names) = files::list(&directory) else {
            return;
        };
        let described = names.into_iter().filter_map(|name| {
            let metadata = directory.join(&name).symlink_metadata().ok()?;
            Some((metadata.mtime(), metadata.mtime_nsec(), name, metadata.len()))
        });
        let mut oldest_first: Vec<_> = described.collect();
        oldest_first.sort_unstable();
        let mut taken: u64 = oldest_first.iter().map(|(.., length)| length).sum();
        for (.., name, length) in oldest_first {
            if taken <= self.room / PARTS as u64 {
                return;
            }
            // Another process may have removed it; what cannot be removed is tried again next time.
            let _gone = files::discard(&directory.join(name));
            taken -= length;
        }
    }

    fn place(&self, key: &SegmentKey) -> (usize, PathBuf) {
        let part = usize::from(key.as_bytes()[0] >> 4);
        (part, self.part_path(part).join(key.to_string()))
    }

    fn note(&self, error: FileError) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert(error);
    }

    fn is_in_trouble(&self) -> bool {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl SegmentCache for SegmentDirectory {
    fn get(&self, key: &SegmentKey, into: &mut Vec<u8>) -> bool {
        let (_, path) = self.place(key);
        let Ok(Some(entry)) = files::read(&path, LIMIT + HEADER + HASH) else {
            return false;
        };
        let Some(segment) = decode(&entry, key) else {
            let _gone = files::discard(&path);
            return false;
        };
        into.extend_from_slice(segment);
        // Without this it only counts as older than it is.
        let _touched = files::touch(&path);
        count(&self.found, segment.len());
        true
    }

    fn put(&self, key: &SegmentKey, compressed: &[u8]) {
        count(&self.added, compressed.len());
        if compressed.len() > LIMIT || self.is_in_trouble() {
            return;
        }
        let (part, path) = self.place(key);
        let entry = encode(key, compressed);
        let mut kept = files::write_cached(&path, &entry);
        if kept
            .as_ref()
            .is_err_and(|error| error.source.kind() == ErrorKind::NotFound)
        {
            // Somebody has just deleted the cache.
            kept = files::write_cached(&path, &entry);
        }
        if let Err(error) = kept {
            return self.note(error);
        }
        let length = entry.len() as u64;
        let written = self.written[part].fetch_add(length, Ordering::Relaxed) + length;
        if written > self.room / PARTS as u64 / 4 {
            self.tidy_part(part);
        }
    }
}

fn count(counts: &[AtomicU64; 2], bytes: usize) {
    counts[0].fetch_add(1, Ordering::Relaxed);
    counts[1].fetch_add(bytes as u64, Ordering::Relaxed);
}

fn encode(key: &SegmentKey, segment: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(HEADER + segment.len() + HASH);
    entry.extend_from_slice(FORMAT);
    entry.extend_from_slice(key.as_bytes());
    entry.extend_from_slice(&(segment.len() as u64).to_le_bytes());
    entry.extend_from_slice(segment);
    let hash = blake3::hash(&entry);
    entry.extend_from_slice(hash.as_bytes());
    entry
}

/// The segment in an entry, if the entry is right and that of `key`.
fn decode<'a>(entry: &'a [u8], key: &SegmentKey) -> Option<&'a [u8]> {
    let (content, hash) = entry.split_at_checked(entry.len().checked_sub(HASH)?)?;
    let rest = content.strip_prefix(FORMAT)?.strip_prefix(key.as_bytes())?;
    let (length, segment) = rest.split_first_chunk::<8>()?;
    let whole = u64::from_le_bytes(*length) == segment.len() as u64;
    (whole && blake3::hash(content).as_bytes() == hash).then_some(segment)
}
