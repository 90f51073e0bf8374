//! Bytes that are read page by page, each checked when it is read first: who needs one value of ten megabytes reads one page.
//!
//! ```text
//!   page · page · … │ sums of the pages · front │ trailer: magic, length of both, sum of both
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cairn_oci::Digest;

use crate::verify::on_all_cores;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of the sum of a page: the beginning of its SHA-256.
const SUM: usize = 8;
/// What the file ends with, before two numbers and a sum.
const MAGIC: &[u8; 16] = b"cairn state v1\r\n";
/// The magic, how long sums and front are, the sum of both.
const TRAILER: usize = 16 + 8 + 8 + 32;
/// Longest sums and front, in bytes.
const END_LIMIT: u64 = 256 << 20;
/// From so many pages on they are read at once.
const MANY: u64 = 64;
/// How many pages are kept.
const KEPT: usize = 1024;

/// Bytes that can be read from any place, such as a file.
pub trait ReadAt: Send + Sync + fmt::Debug {
    /// How many bytes there are.
    fn length(&self) -> u64;

    /// Fills `to` from `offset` on; false if that is not possible.
    fn read_at(&self, to: &mut [u8], offset: u64) -> bool;
}

impl ReadAt for Bytes {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, to: &mut [u8], offset: u64) -> bool {
        let from = usize::try_from(offset).ok().and_then(|start| self.get(start..));
        match from.and_then(|from| from.get(..to.len())) {
            Some(found) => {
                to.copy_from_slice(found);
                true
            }
            None => false,
        }
    }
}

/// Pages that were written by [`write`].
pub(crate) struct Pages {
    source: Box<dyn ReadAt>,
    sums: Vec<[u8; SUM]>,
    length: u64,
    kept: Mutex<BTreeMap<u64, Bytes>>,
    is_damaged: AtomicBool,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} bytes)", self.length)
    }
}

fn sum(page: &[u8]) -> [u8; SUM] {
    let digest = Digest::of(page);
    digest
        .as_bytes()
        .first_chunk::<SUM>()
        .copied()
        .unwrap_or_default()
}

/// `data` in pages, with `front` behind them.
pub(crate) fn write(mut data: Vec<u8>, front: &[u8]) -> Bytes {
    let length = data.len();
    let sums: Vec<u8> = data.chunks(PAGE).flat_map(sum).collect();
    data.extend_from_slice(&sums);
    data.extend_from_slice(front);
    let checked = Digest::of(&data[length..]);
    data.extend_from_slice(MAGIC);
    data.extend_from_slice(&(sums.len() as u64).to_le_bytes());
    data.extend_from_slice(&(front.len() as u64).to_le_bytes());
    data.extend_from_slice(checked.as_bytes());
    data.into()
}

impl Pages {
    /// The pages, and what was written behind them; none if it is damaged, or nothing of this kind.
    pub(crate) fn open(source: Box<dyn ReadAt>) -> Option<(Arc<Self>, Vec<u8>)> {
        let end = source.length().checked_sub(TRAILER as u64)?;
        let mut trailer = [0; TRAILER];
        if !source.read_at(&mut trailer, end) {
            return None;
        }
        let (magic, rest) = trailer.split_first_chunk::<16>()?;
        let (sums, rest) = rest.split_first_chunk::<8>()?;
        let (front, checked) = rest.split_first_chunk::<8>()?;
        let (sums, front) = (u64::from_le_bytes(*sums), u64::from_le_bytes(*front));
        let both = sums.checked_add(front).filter(|both| *both <= END_LIMIT)?;
        let length = end.checked_sub(both)?;
        let fits = sums == length.div_ceil(PAGE as u64).checked_mul(SUM as u64)?;
        if magic != MAGIC || !fits {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(both).ok()?];
        if !source.read_at(&mut bytes, length) || Digest::of(&bytes).as_bytes() != checked {
            return None;
        }
        let front = bytes.split_off(usize::try_from(sums).ok()?);
        let (sums, _) = bytes.as_chunks::<SUM>();
        let pages = Self {
            source,
            sums: sums.to_vec(),
            length,
            kept: Mutex::default(),
            is_damaged: AtomicBool::new(false),
        };
        Some((Arc::new(pages), front))
    }

    /// The bytes of `range`; none if a page is damaged, and from then on [`Self::is_damaged`].
    pub(crate) fn read(&self, range: Range<u64>) -> Option<Vec<u8>> {
        let read = self.try_read(range);
        if read.is_none() {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        read
    }

    /// Whether anything could not be read.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Something that was read is not what it should be.
    pub(crate) fn mark_damaged(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    fn try_read(&self, range: Range<u64>) -> Option<Vec<u8>> {
        if range.start > range.end || range.end > self.length {
            return None;
        }
        if range.end - range.start > MANY * PAGE as u64 {
            return self.read_many(range);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(range.end - range.start).ok()?);
        let mut at = range.start;
        while at < range.end {
            let page = self.page(at / PAGE as u64)?;
            let start = usize::try_from(at % PAGE as u64).ok()?;
            let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let end = start.saturating_add(wanted).min(page.len());
            bytes.extend_from_slice(page.get(start..end)?);
            at += (end - start) as u64;
        }
        Some(bytes)
    }

    /// The same for many pages, which are not kept: who reads a long range reads it once.
    fn read_many(&self, range: Range<u64>) -> Option<Vec<u8>> {
        let page = PAGE as u64;
        let first = range.start / page * page;
        let end = range.end.div_ceil(page).checked_mul(page)?.min(self.length);
        let mut bytes = vec![0; usize::try_from(end - first).ok()?];
        if !self.source.read_at(&mut bytes, first) {
            return None;
        }
        let sums = self.sums.get(usize::try_from(first / page).ok()?..)?;
        let pages: Vec<_> = bytes.chunks(PAGE).zip(sums).collect();
        if pages.len() != bytes.len().div_ceil(PAGE)
            || !on_all_cores(&pages, |(page, expected)| sum(page) == **expected)
                .into_iter()
                .all(|is_right| is_right)
        {
            return None;
        }
        bytes.truncate(usize::try_from(range.end - first).ok()?);
        bytes.drain(..usize::try_from(range.start - first).ok()?);
        Some(bytes)
    }

    fn page(&self, number: u64) -> Option<Bytes> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = kept.get(&number) {
            return Some(page.clone());
        }
        let start = number.checked_mul(PAGE as u64)?;
        let length = self.length.checked_sub(start)?.min(PAGE as u64);
        let mut page = vec![0; usize::try_from(length).ok()?];
        let expected = self.sums.get(usize::try_from(number).ok()?)?;
        if length == 0 || !self.source.read_at(&mut page, start) || sum(&page) != *expected {
            return None;
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let page = Bytes::from(page);
        kept.insert(number, page.clone());
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bytes {
        let data: Vec<u8> = (0..3 * PAGE + 100).map(|at| (at % 251) as u8).collect();
        write(data, b"front")
    }

    #[test]
    fn what_was_written_is_read_across_pages() {
        let (pages, front) = Pages::open(Box::new(sample())).unwrap();
        assert_eq!(front, b"front");
        for range in [0..1, 4090..4100, 0..12_388, 12_288..12_388, 5..5] {
            let expected: Vec<u8> = range.clone().map(|at| (at % 251) as u8).collect();
            assert_eq!(pages.read(range.clone()), Some(expected), "{range:?}");
        }
        assert!(!pages.is_damaged());
        assert_eq!(pages.read(12_388..12_389), None);
        assert!(pages.is_damaged());
    }

    #[test]
    fn a_long_range_is_read_at_once_and_checked_as_a_short_one() {
        let length = 70 * PAGE + 100;
        let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let whole = write(data.clone(), b"front");
        let read = |bytes: Bytes, range: Range<usize>| {
            let (pages, _) = Pages::open(Box::new(bytes)).unwrap();
            let read = pages.read(range.start as u64..range.end as u64);
            assert_eq!(read.is_none(), pages.is_damaged());
            read
        };
        for range in [
            0..length,
            1..length,
            5000..length - 1,
            PAGE..66 * PAGE,
            0..64 * PAGE + 1,
        ] {
            assert_eq!(read(whole.clone(), range.clone()).as_deref(), Some(&data[range]));
        }
        for at in [0, 4095, 4096, 40 * PAGE, length - 1] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            assert_eq!(read(bytes.into(), 0..length), None, "{at}");
        }
    }

    #[test]
    fn no_damaged_byte_and_no_shorter_file_is_believed() {
        let whole = sample();
        let intact = Pages::open(Box::new(whole.clone())).unwrap().0.read(0..12_388);
        for at in (0..whole.len()).step_by(37).chain(whole.len() - 64..whole.len()) {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            let read = Pages::open(Box::new(Bytes::from(bytes))).map(|(pages, _)| pages.read(0..12_388));
            assert!(read.flatten().is_none(), "{at}");
        }
        for end in (0..whole.len()).step_by(61) {
            let read = Pages::open(Box::new(whole.slice(..end))).map(|(pages, _)| pages.read(0..12_388));
            assert!(read.is_none(), "{end}");
        }
        assert!(intact.is_some());
    }
}
