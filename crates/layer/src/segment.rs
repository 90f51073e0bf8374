//! Where the archive is cut into segments: by paths and content alone, so that a change of one file changes the segments
//! around it and no others. The rule is part of the output version, and written down in the crate's README.

use std::io::{self, Write};

use cairn_oci::Hasher;

use crate::compress::Compression;

/// The figures of the rule, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// Content of this length or longer gets segments of its own, of this length each.
    pub(crate) piece: usize,
    /// Only after so many bytes the name of an entry may end a segment.
    pub(crate) least: usize,
    /// How far names let segments go on beyond `least`, on average.
    pub(crate) spread: usize,
    /// No entry is added to a segment that would become longer than this.
    pub(crate) most: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Cuts {
    /// zstd looks further back than gzip's 32 KiB, and loses more at each border.
    pub(crate) const fn of(compression: Compression) -> Self {
        match compression {
            Compression::None | Compression::Gzip => Self {
                piece: 512 * KIB,
                least: 256 * KIB,
                spread: 256 * KIB,
                most: MIB,
            },
            Compression::Zstd => Self {
                piece: 2 * MIB,
                least: MIB,
                spread: MIB,
                most: 4 * MIB,
            },
        }
    }

    /// Whether an entry begins a new segment: `length` bytes are in the segment before it, `added` come with it.
    pub(crate) fn border_before(&self, path: &[u8], added: usize, length: usize) -> bool {
        if length == 0 {
            return false;
        }
        if length + added > self.most {
            return true;
        }
        length >= self.least && chosen(path, added, self.spread)
    }
}

/// True of about `added` in `spread` paths.
fn chosen(path: &[u8], added: usize, spread: usize) -> bool {
    let mut hasher = Hasher::new();
    hasher.update(path);
    let digest = hasher.finish();
    let [a, b, c, d, ..] = *digest.as_bytes();
    let number = u32::from_be_bytes([a, b, c, d]);
    u128::from(number) * (spread as u128) < (added as u128) << 32
}

/// Bytes of one segment. Once used, it keeps its room for the next.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// As much as was ever initialised.
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    pub(crate) const fn clear(&mut self) {
        self.used = 0;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.spare(bytes.len()).copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// Room for `length` more bytes.
    fn spare(&mut self, length: usize) -> &mut [u8] {
        let end = self.used + length;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..end]
    }
}

/// Takes segments one after the other.
pub(crate) trait SegmentSink {
    /// Takes a segment, and gives an empty buffer for the next.
    fn take(&mut self, segment: Buffer) -> io::Result<Buffer>;
}

/// Gathers the bytes of an archive until a segment is full.
pub(crate) struct Segmenter<'a> {
    sink: &'a mut dyn SegmentSink,
    cuts: Cuts,
    buffer: Buffer,
}

impl<'a> Segmenter<'a> {
    pub(crate) fn new(compression: Compression, sink: &'a mut dyn SegmentSink) -> Self {
        Self {
            sink,
            cuts: Cuts::of(compression),
            buffer: Buffer::default(),
        }
    }

    pub(crate) const fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// An entry begins that adds `added` bytes to the segment it is in.
    pub(crate) fn entry(&mut self, path: &[u8], added: usize) -> io::Result<()> {
        if self.cuts.border_before(path, added, self.buffer.used) {
            self.border()?;
        }
        Ok(())
    }

    /// Ends the segment, if there is anything in it.
    pub(crate) fn border(&mut self) -> io::Result<()> {
        if self.buffer.used > 0 {
            self.buffer = self.sink.take(std::mem::take(&mut self.buffer))?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Adds `bytes` to the segment, whatever its length.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// How many bytes of a piece are still to come.
    pub(crate) const fn left_of_piece(&self) -> usize {
        self.cuts.piece.saturating_sub(self.buffer.used)
    }

    /// Adds what `read` puts into a buffer of `length` bytes, and gives what it gave: how many bytes those were.
    pub(crate) fn fill<E>(
        &mut self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let count = read(self.buffer.spare(length))?;
        self.buffer.used += count.min(length);
        Ok(count)
    }
}

/// For archives whose entries are not looked at: segments of the length of a piece, whatever is in them.
impl Write for Segmenter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.left_of_piece());
        self.buffer.extend(&bytes[..count]);
        if self.left_of_piece() == 0 {
            self.border()?;
        }
        Ok(count)
    }

    /// Does nothing: a flush would make a border, and so show when it happened.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
