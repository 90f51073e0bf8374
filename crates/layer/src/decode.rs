//! Decompressing what others wrote, within bounds.

use std::io::{self, BufRead, BufReader, Read};

use crate::limits::Limits;

/// How a layer or a root file system is compressed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Tar,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
    /// xz: for a root file system that is given as a file; no layer is ever so.
    Xz,
    /// bzip2: as xz.
    Bzip2,
}

/// Bytes read at once.
pub(crate) const CHUNK: usize = 128 * 1024;
/// How many bytes [`sniff`] looks at.
const SNIFF: usize = 6;

/// Why compressed bytes are not decompressed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It gives more bytes than allowed.
    #[error("it decompresses to more than {limit} bytes")]
    TooLarge {
        /// The limit: [`Limits::max_uncompressed`].
        limit: u64,
    },
    /// It gives far more bytes than it has.
    #[error("it decompresses to more than {limit} times its size")]
    Ratio {
        /// The limit: [`Limits::max_ratio`].
        limit: u64,
    },
}

/// Tells the encoding from the first bytes of a file; what is not known is taken for a tar archive.
#[must_use]
pub fn sniff(first_bytes: &[u8]) -> Encoding {
    // Zstandard's skippable frames have sixteen magic numbers (RFC 8878, section 3.1.2).
    match first_bytes {
        [0x1f, 0x8b, ..] => Encoding::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Encoding::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Encoding::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Encoding::Xz,
        _ => Encoding::Tar,
    }
}

/// Decompresses `reader`: all members of gzip, all frames of zstd, all streams of xz and
/// bzip2, one after the other.
///
/// Bytes after the last that are none are an error. Reading fails with a [`DecodeError`] inside of the
/// [`io::Error`] when more comes out than `limits` allow, and with the decompressor's own error when a window
/// or dictionary is larger than they allow.
///
/// # Errors
///
/// If the decompressor cannot be made.
pub fn decoder<R: BufRead>(reader: R, encoding: Encoding, limits: &Limits) -> io::Result<impl Read + use<R>> {
    let input = CountingReader {
        inner: reader,
        count: 0,
    };
    let inner = match encoding {
        Encoding::Tar => Inner::Tar(input),
        Encoding::Gzip => Inner::Gzip(flate2::bufread::MultiGzDecoder::new(input)),
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(limits.max_window_log)?;
            Inner::Zstd(decoder)
        }
        Encoding::Xz => {
            let memory = 1 << limits.max_window_log;
            let stream = liblzma::stream::Stream::new_stream_decoder(memory, liblzma::stream::CONCATENATED)?;
            Inner::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Encoding::Bzip2 => Inner::Bzip2(bzip2::bufread::MultiBzDecoder::new(input)),
    };
    Ok(Bounded {
        inner,
        produced: 0,
        limits: *limits,
    })
}

/// Tells the encoding of `reader` by its first bytes, and decompresses it.
pub(crate) fn sniffing_decoder<R: Read>(
    mut reader: R,
    limits: &Limits,
) -> io::Result<(Encoding, impl Read + use<R>)> {
    let mut first = Vec::with_capacity(SNIFF);
    reader.by_ref().take(SNIFF as u64).read_to_end(&mut first)?;
    let encoding = sniff(&first);
    let whole = io::Cursor::new(first).chain(reader);
    let reader = BufReader::with_capacity(CHUNK, whole);
    Ok((encoding, decoder(reader, encoding, limits)?))
}

struct CountingReader<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for CountingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count += count as u64;
        self.inner.consume(count);
    }
}

enum Inner<R: BufRead> {
    Tar(CountingReader<R>),
    Gzip(flate2::bufread::MultiGzDecoder<CountingReader<R>>),
    Zstd(zstd::Decoder<'static, CountingReader<R>>),
    Xz(liblzma::bufread::XzDecoder<CountingReader<R>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<CountingReader<R>>),
}

impl<R: BufRead> Inner<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tar(reader) => reader.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
        }
    }

    fn consumed(&self) -> u64 {
        match self {
            Self::Tar(reader) => reader.count,
            Self::Gzip(decoder) => decoder.get_ref().count,
            Self::Zstd(decoder) => decoder.get_ref().count,
            Self::Xz(decoder) => decoder.get_ref().count,
            Self::Bzip2(decoder) => decoder.get_ref().count,
        }
    }
}

struct Bounded<R: BufRead> {
    inner: Inner<R>,
    produced: u64,
    limits: Limits,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.produced += count as u64;
        self.check().map_err(io::Error::other)?;
        Ok(count)
    }
}

impl<R: BufRead> Bounded<R> {
    fn check(&self) -> Result<(), DecodeError> {
        if self.produced > self.limits.max_uncompressed {
            return Err(DecodeError::TooLarge {
                limit: self.limits.max_uncompressed,
            });
        }
        let by_ratio = self.inner.consumed().saturating_mul(self.limits.max_ratio);
        if self.produced > by_ratio.saturating_add(self.limits.ratio_allowance) {
            return Err(DecodeError::Ratio {
                limit: self.limits.max_ratio,
            });
        }
        Ok(())
    }
}
