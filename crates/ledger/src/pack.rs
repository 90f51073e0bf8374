//! Packs: envelopes one after the other, one on a line.
//!
//! A list of entries is cut into packs at multiples of 4,096, 256 and 16, as large as fit, plus a tail of up to
//! 15. So two heads share all packs but the last few, and an append moves one small pack.

use std::io::BufRead as _;
use std::ops::Range;

use bytes::Bytes;
use cairn_oci::Descriptor;

use crate::envelope::ENVELOPE_LIMIT;

/// The media type of a pack.
pub const MEDIA_TYPE: &str = "application/vnd.cairn.ledger.pack.v1";
/// The sizes at which packs are aligned, in entries; none is larger than the first.
pub const SIZES: [usize; 3] = [4096, 256, 16];
/// Most entries of a ledger that is read.
pub const ENTRY_LIMIT: usize = 10_000_000;

/// Longest pack of `entries` entries, in bytes.
#[must_use]
pub const fn limit(entries: usize) -> u64 {
    (entries * (ENVELOPE_LIMIT + 1)) as u64
}

/// How a list of `size` entries is cut.
#[must_use]
pub fn layout(size: usize) -> Vec<Range<usize>> {
    let mut packs = Vec::new();
    let mut start = 0;
    for step in SIZES {
        while size - start >= step {
            packs.push(start..start + step);
            start += step;
        }
    }
    if start < size {
        packs.push(start..size);
    }
    packs
}

/// Writes a pack.
#[must_use]
pub fn write<'a>(envelopes: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let mut bytes = Vec::new();
    for envelope in envelopes {
        bytes.extend_from_slice(envelope);
        bytes.push(b'\n');
    }
    bytes.into()
}

/// Describes a pack.
#[must_use]
pub fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::of(MEDIA_TYPE, bytes)
}

/// Why bytes are not the expected pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The last line does not end.
    #[error("the pack breaks off")]
    Torn,
    /// Another number of envelopes than its place says.
    #[error("the pack has {found} envelopes instead of {expected}")]
    Count {
        /// How many its place says.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// An envelope is longer than any may be.
    #[error("an envelope of {length} bytes is over the limit of {ENVELOPE_LIMIT}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// Cuts a pack that must hold `expected` envelopes.
///
/// # Errors
///
/// [`PackError`].
pub fn read(bytes: &Bytes, expected: usize) -> Result<Vec<Bytes>, PackError> {
    if !bytes.ends_with(b"\n") {
        return Err(PackError::Torn);
    }
    let mut lines = Vec::with_capacity(expected.min(SIZES[0]));
    let mut rest: &[u8] = bytes;
    while let Some((line, others)) = split(rest) {
        lines.push(bytes.slice_ref(line));
        rest = others;
    }
    if lines.len() != expected {
        let found = lines.len();
        return Err(PackError::Count { expected, found });
    }
    match lines.iter().find(|line| line.len() > ENVELOPE_LIMIT) {
        Some(line) => Err(PackError::TooLong { length: line.len() }),
        None => Ok(lines),
    }
}

/// What stands before the first line feed, and behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // This looks at many bytes at a time, and `position` does not.
    let mut rest = bytes;
    let length = rest.skip_until(b'\n').ok()?;
    let line = bytes.get(..length)?.strip_suffix(b"\n")?;
    Some((line, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g5_packs_are_aligned_gapless_and_few_for_every_size() {
        for size in (0..=600).chain([4095, 4096, 4097, 10_000, 100_000]) {
            let packs = layout(size);
            let mut end = 0;
            for pack in &packs {
                assert_eq!(pack.start, end, "{size}");
                end = pack.end;
                let length = pack.len();
                let is_tail = pack.end == size && length < 16;
                assert!(
                    is_tail || (SIZES.contains(&length) && pack.start % length == 0),
                    "{size}: {pack:?}"
                );
            }
            assert_eq!(end, size);
            assert!(packs.len() <= size / 4096 + 31, "{size}: {}", packs.len());
        }
    }

    #[test]
    fn an_append_leaves_all_full_packs_as_they_are() {
        for size in 0..600 {
            let (before, after) = (layout(size), layout(size + 1));
            let shared = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
            let full = before.iter().filter(|pack| pack.len() >= 16).count();
            let merges = (size + 1) % 256 == 0;
            assert!(shared >= full || merges, "{size}");
        }
    }

    #[test]
    fn g10_a_pack_cut_anywhere_is_refused() {
        let envelopes = [Bytes::from_static(b"{1}"), Bytes::from_static(b"{2}")];
        let bytes = write(envelopes.iter());
        assert_eq!(read(&bytes, 2).unwrap(), envelopes);
        for end in 0..bytes.len() {
            assert!(read(&bytes.slice(..end), 2).is_err(), "{end}");
        }
        assert_eq!(
            read(&bytes, 3),
            Err(PackError::Count {
                expected: 3,
                found: 2
            })
        );
    }
}
