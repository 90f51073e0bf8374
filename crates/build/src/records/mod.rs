//! What earlier builds found out, so that a layer whose files did not change is neither read nor compressed.
//!
//! ```text
//! <cache>/layers/records/<fingerprint>    what a layer with this snapshot became: digests and sizes
//! <cache>/layers/last/<key>               the snapshot of a layer of an image when it was last built
//! <cache>/layers/packages/<key>           what these packages became upon this base: their layers, and what is above to know
//! ```
//!
//! A snapshot (`Snapshot`) is all that decides a layer's bytes, with the identity of each local file (device, inode, size, times)
//! in the place of its content. Its SHA-256 is the fingerprint. So a build that finds the record of a fingerprint, and
//! the layer in its output, need not look into a single file.
//!
//! A file that is rewritten within the clock tick of its last change keeps its identity. So nothing is recorded as
//! long as a file of the layer was changed less than two seconds before the build began, by the clock of the file
//! system itself (git's "racily clean" entries).
//!
//! Everything here may be deleted at any time. Entries carry their own name and a checksum; one that is wrong, cut off,
//! from another version or under another's name is not used, and nothing that fails here fails a build.

mod codec;
mod outline;
mod packed;
mod snapshot;

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cairn_oci::Digest;
use cairn_store::files;

use self::codec::{Decoder, Encoder};
pub(crate) use self::outline::{Outline, Place};
pub(crate) use self::packed::{Below, Packed, key_of_packages};
pub(crate) use self::snapshot::Snapshot;
pub use self::snapshot::{Aspect, Change};

/// First bytes of every file here: its version.
const MAGIC: &[u8] = b"cairn layer record 2
";

/// Longest record, in bytes.
const RECORD_LIMIT: usize = 1024;
/// Longest snapshot that is kept, in bytes: about a million files.
const SNAPSHOT_LIMIT: usize = 64 << 20;
/// How many records are kept; then the oldest go.
const RECORDS: usize = 4096;
/// How many snapshots are kept; then the oldest go.
const SNAPSHOTS: usize = 256;

/// Seconds since 1970, and nanoseconds.
pub(crate) type Time = (i64, u32);

/// The records in a cache directory.
pub struct Records {
    directory: PathBuf,
    scope: String,
    /// What the file system's clock showed before any local file was looked at; none if nothing can be written.
    began: Option<Time>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// What a layer became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Of the compressed layer.
    pub(crate) digest: Digest,
    /// Compressed bytes.
    pub(crate) size: u64,
    /// Of the archive.
    pub(crate) diff_id: Digest,
    /// Bytes of the archive.
    pub(crate) uncompressed: u64,
    /// Regular files in it.
    pub(crate) files: u64,
}

impl Record {
    fn write(&self, encoder: &mut Encoder) {
        encoder.digest(&self.digest);
        encoder.number(self.size);
        encoder.digest(&self.diff_id);
        encoder.number(self.uncompressed);
        encoder.number(self.files);
    }

    fn read(decoder: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            digest: decoder.digest()?,
            size: decoder.number()?,
            diff_id: decoder.digest()?,
            uncompressed: decoder.number()?,
            files: decoder.number()?,
        })
    }
}

impl Records {
    /// The records in the cache directory `cache`, for the image that `scope` names: its store and its name there.
    ///
    /// To be opened before the build: files that change later are not taken for old ones. A cache that cannot be
    /// written is read only.
    #[must_use]
    pub fn open(cache: &Path, scope: &str) -> Self {
        let directory = cache.join("layers");
        let began = clock(&directory);
        Self {
            directory,
            scope: scope.to_owned(),
            began,
        }
    }

    /// The same for whoever builds nothing: not even the cache's directory is made.
    #[must_use]
    pub fn look(cache: &Path, scope: &str) -> Self {
        Self {
            directory: cache.join("layers"),
            scope: scope.to_owned(),
            began: None,
        }
    }

    /// The same, as if the build had begun `seconds` later: for tests, whose files are always new.
    #[must_use]
    pub fn later(mut self, seconds: i64) -> Self {
        self.began = self.began.map(|(at, nanoseconds)| (at + seconds, nanoseconds));
        self
    }

    /// When the build began, by the file system's clock.
    pub(crate) const fn began(&self) -> Option<Time> {
        self.began
    }

    /// What the layer with this fingerprint became, if that is known.
    pub(crate) fn find(&self, fingerprint: &Digest) -> Option<Record> {
        let bytes = files::read(&self.record_path(fingerprint), RECORD_LIMIT).ok()??;
        let mut decoder = Decoder::checked(&bytes, MAGIC)?;
        let of = decoder.digest()?;
        let record = Record::read(&mut decoder)?;
        (of == *fingerprint && decoder.is_at_end()).then_some(record)
    }

    /// Keeps what the layer of `snapshot` became, unless its files are too new to be known again.
    pub(crate) fn keep(&self, snapshot: &Snapshot, record: &Record) {
        if !snapshot.is_settled() {
            return;
        }
        let mut encoder = Encoder::new(MAGIC);
        encoder.digest(&snapshot.fingerprint());
        record.write(&mut encoder);
        let path = self.record_path(&snapshot.fingerprint());
        self.put(&path, &encoder.finish(), RECORDS);
    }

    /// The snapshot of the layer `layer` when it was last built.
    pub(crate) fn last(&self, layer: &str) -> Option<Snapshot> {
        let key = self.key(layer);
        let bytes = files::read(&self.last_path(&key), SNAPSHOT_LIMIT).ok()??;
        let mut decoder = Decoder::checked(&bytes, MAGIC)?;
        if decoder.digest()? != key {
            return None;
        }
        let fingerprint = decoder.digest()?;
        Snapshot::from_body(decoder.rest()).filter(|last| last.fingerprint() == fingerprint)
    }

    /// Keeps `snapshot` as the last of the layer `layer`, unless it is kept already.
    pub(crate) fn keep_last(&self, layer: &str, snapshot: &Snapshot) {
        let key = self.key(layer);
        let path = self.last_path(&key);
        let mut head = Encoder::new(MAGIC);
        head.digest(&key);
        head.digest(&snapshot.fingerprint());
        if snapshot.body().len() + RECORD_LIMIT > SNAPSHOT_LIMIT || begins_with(&path, head.bytes()) {
            return;
        }
        head.raw(snapshot.body());
        self.put(&path, &head.finish(), SNAPSHOTS);
    }

    /// What packages became, by [`key_of_packages`].
    pub(crate) fn find_packed(&self, key: &Digest) -> Option<Packed> {
        let bytes = files::read(&self.packed_path(key), SNAPSHOT_LIMIT).ok()??;
        let mut decoder = Decoder::checked(&bytes, MAGIC)?;
        let packed = (decoder.digest()? == *key).then(|| Packed::read(&mut decoder))??;
        decoder.is_at_end().then_some(packed)
    }

    /// Keeps what packages became.
    pub(crate) fn keep_packed(&self, key: &Digest, packed: &Packed) {
        let mut encoder = Encoder::new(MAGIC);
        encoder.digest(key);
        packed.write(&mut encoder);
        let bytes = encoder.finish();
        if bytes.len() <= SNAPSHOT_LIMIT {
            self.put(&self.packed_path(key), &bytes, SNAPSHOTS);
        }
    }

    fn packed_path(&self, key: &Digest) -> PathBuf {
        self.directory.join("packages").join(key.hex())
    }

    fn key(&self, layer: &str) -> Digest {
        Digest::of(format!("{}\0{layer}", self.scope).as_bytes())
    }

    fn record_path(&self, fingerprint: &Digest) -> PathBuf {
        self.directory.join("records").join(fingerprint.hex())
    }

    fn last_path(&self, key: &Digest) -> PathBuf {
        self.directory.join("last").join(key.hex())
    }

    /// Whoever cannot keep a record builds again: that is no error.
    fn put(&self, path: &Path, bytes: &[u8], most: usize) {
        if self.began.is_none() || files::write_cached(path, bytes).is_err() {
            return;
        }
        if let Some(directory) = path.parent() {
            forget_oldest(directory, most);
        }
    }
}

/// Whether the file at `path` begins with `head`; its checksum is not looked at, that is for who reads it.
fn begins_with(path: &Path, head: &[u8]) -> bool {
    use std::io::Read as _;
    let mut start = vec![0; head.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == head
}

/// The time of a file just made in `directory`.
fn clock(directory: &Path) -> Option<Time> {
    let file = files::temporary(directory).ok()?;
    let metadata = file.path().symlink_metadata().ok()?;
    Some((metadata.ctime(), u32::try_from(metadata.ctime_nsec()).ok()?))
}

/// Leaves three quarters of `most` files if there are more.
fn forget_oldest(directory: &Path, most: usize) {
    let Ok(names) = files::list(directory) else {
        return;
    };
    if names.len() <= most {
        return;
    }
    let written = |path: &Path| {
        path.symlink_metadata()
            .map(|metadata| (metadata.mtime(), metadata.mtime_nsec()))
    };
    let mut aged: Vec<_> = names
        .iter()
        .map(|name| directory.join(name))
        .filter_map(|path| Some((written(&path).ok()?, path)))
        .collect();
    aged.sort();
    for (_, path) in aged.iter().take(names.len() - most / 4 * 3) {
        // What cannot be removed is tried again the next time.
        let _kept = files::discard(path);
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
