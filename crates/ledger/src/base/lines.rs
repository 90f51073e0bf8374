//! The entries themselves: they stay in the packs that a reader keeps, and are read there one by one.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest};

use super::codec::Flat;
use super::front::{Items, Raw, Sections};
use super::shelf::{Shelf, Source};
use crate::entry::Entry;
use crate::fold::Record;
use crate::key::Fingerprint;
use crate::pack;
use crate::reading::PackCache;
use crate::verify;

/// Where an entry is in its pack, and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) offset: u32,
    pub(super) length: u32,
    /// The beginning of the SHA-256 of the envelope.
    pub(super) sum: [u8; 16],
    /// The keys whose signature verifies, by their number.
    pub(super) signers: Vec<u16>,
}

impl Line {
    pub(super) fn sum_of(envelope: &[u8]) -> [u8; 16] {
        let digest = Digest::of(envelope);
        digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default()
    }
}

impl Flat for Line {
    fn put(&self, to: &mut Vec<u8>) {
        self.offset.put(to);
        self.length.put(to);
        to.extend_from_slice(&self.sum);
        self.signers.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (offset, length) = (u32::take(from)?, u32::take(from)?);
        let (sum, rest) = from.split_first_chunk::<16>()?;
        *from = rest;
        Some(Self {
            offset,
            length,
            sum: *sum,
            signers: Flat::take(from)?,
        })
    }
}

/// The entries of the packs.
#[derive(Debug)]
struct Lines {
    items: Items,
    places: Vec<(Range<usize>, Digest)>,
    signers: Vec<Fingerprint>,
    cache: Arc<dyn PackCache>,
}

pub(super) fn shelf(
    sections: &Sections<'_>,
    size: usize,
    packs: &[Descriptor],
    signers: Vec<Fingerprint>,
    cache: Arc<dyn PackCache>,
) -> Option<Shelf<Arc<Record>>> {
    let (items, count) = sections.items("lines")?;
    let digests = packs.iter().map(|pack| pack.digest);
    let lines = Lines {
        items,
        places: pack::layout(size).into_iter().zip(digests).collect(),
        signers,
        cache,
    };
    (count == size).then(|| Shelf::new(Box::new(lines), size))
}

impl Lines {
    fn read(&self, at: usize) -> Option<Arc<Record>> {
        let line = Line::whole(&self.items.bytes(at)?)?;
        let place = self.places.partition_point(|(range, _)| range.end <= at);
        let (_, pack) = self.places.get(place)?;
        let (start, length) = (line.offset as usize, line.length as usize);
        let is_it = |bytes: &Bytes| Line::sum_of(bytes) == line.sum;
        let piece = self.cache.piece(pack, start, length).filter(is_it);
        let bytes = piece.or_else(|| {
            // Whoever keeps it may find that all of it is damaged, and get it again.
            let whole = self.cache.get(pack)?;
            let bytes = whole.get(start..start + length).map(Bytes::copy_from_slice);
            bytes.filter(is_it)
        })?;
        self.record(&line, bytes)
    }

    fn record(&self, line: &Line, bytes: Bytes) -> Option<Arc<Record>> {
        let (envelope, entry) = Entry::read(&bytes).ok()?;
        let signer = |number: &u16| self.signers.get(usize::from(*number)).copied();
        Some(Arc::new(Record {
            name: envelope.name(),
            envelope: bytes,
            entry,
            signers: line.signers.iter().map(signer).collect::<Option<_>>()?,
        }))
    }
}

/// Fewer are read one by one.
const MANY: usize = 256;

impl Source<Arc<Record>> for Lines {
    fn load(&self, at: usize) -> Option<Arc<Record>> {
        let record = self.read(at);
        if record.is_none() {
            self.items.pages.mark_damaged();
        }
        record
    }

    /// Each pack is read once, and checked whole; what it has is parsed on all cores.
    fn load_all(&self, range: Range<usize>) -> Option<Vec<Arc<Record>>> {
        if range.len() < MANY {
            return None;
        }
        let raw = self.items.all()?;
        let mut found = Vec::with_capacity(range.len());
        let is_asked =
            |(places, _): &&(Range<usize>, Digest)| places.start < range.end && places.end > range.start;
        for (places, pack) in self.places.iter().filter(is_asked) {
            let whole = self.cache.get(pack)?;
            for at in places.start.max(range.start)..places.end.min(range.end) {
                let line = Line::whole(raw.get(at)?)?;
                let (start, length) = (line.offset as usize, line.length as usize);
                let bytes = whole.slice_ref(whole.get(start..start.checked_add(length)?)?);
                found.push((line, bytes));
            }
        }
        let records = verify::on_all_cores(&found, |(line, bytes)| self.record(line, bytes.clone()));
        records.into_iter().collect()
    }

    fn all(&self) -> Option<Raw> {
        self.items.all()
    }
}
