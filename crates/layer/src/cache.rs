//! Keeping compressed segments, so that unchanged bytes are not compressed again.

use std::fmt;

use crate::compress::Compression;

/// Names a compressed segment: by its uncompressed bytes, and the compressor with its version and level.
///
/// It is the BLAKE3 hash (derive-key mode) of the bytes, with the rules as the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentKey([u8; 32]);

impl SegmentKey {
    /// None if nothing is compressed: then there is nothing to keep.
    pub(crate) fn of(compression: Compression, segment: &[u8]) -> Option<Self> {
        let rules = compression.rules()?;
        let mut hasher = blake3::Hasher::new_derive_key(rules);
        hasher.update(segment);
        Some(Self(*hasher.finalize().as_bytes()))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Lower-case hexadecimal digits.
impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Keeps compressed segments from one build to the next.
///
/// It decides what a build costs and never what comes out. An implementation must give back exactly what was put under
/// a key, or say that it has nothing: it checks its entries. It may forget anything at any time, and an entry that it
/// cannot keep is no error. Several threads use it at once.
pub trait SegmentCache: Send + Sync + fmt::Debug {
    /// Appends the compressed segment of `key` to `into`; `false`, and nothing appended, if it is not there.
    fn get(&self, key: &SegmentKey, into: &mut Vec<u8>) -> bool;

    /// Keeps `compressed` under `key`.
    fn put(&self, key: &SegmentKey, compressed: &[u8]);
}
