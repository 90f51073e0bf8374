//! Compressing and hashing in one pass.

use std::io::{self, Write};

use cairn_oci::{Digest, Hasher, media_type};
use flate2::write::GzEncoder;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: runs everywhere.
    #[default]
    Gzip,
    /// zstd: smaller and faster; some old runtimes cannot read it.
    Zstd,
}

/// The level of gzip; part of the output version.
const GZIP_LEVEL: u32 = 6;
/// The level of zstd; part of the output version.
const ZSTD_LEVEL: i32 = 3;

/// The compressors are always given pieces of this many bytes, so that their output cannot depend on how the content
/// was read.
pub(crate) const CHUNK: usize = 128 * 1024;

impl Compression {
    /// The media type of a layer that is compressed so.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::None => media_type::LAYER,
            Self::Gzip => media_type::LAYER_GZIP,
            Self::Zstd => media_type::LAYER_ZSTD,
        }
    }
}

/// What was written: everything that a descriptor and a config say about a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenLayer {
    /// Of the compressed bytes: the descriptor's digest.
    pub digest: Digest,
    /// Compressed bytes.
    pub size: u64,
    /// Of the tar archive: what the config's `rootfs.diff_ids` lists.
    pub diff_id: Digest,
    /// Bytes of the tar archive.
    pub uncompressed_size: u64,
    /// Entries of the tar archive.
    pub entries: u64,
}

/// Takes the bytes of a tar archive, hashes them, compresses them, hashes the result, and passes it on.
pub(crate) struct LayerSink<'a> {
    chunk: Vec<u8>,
    uncompressed: Hasher,
    encoder: Encoder<'a>,
}

enum Encoder<'a> {
    None(HashingWriter<'a>),
    Gzip(GzEncoder<HashingWriter<'a>>),
    Zstd(zstd::Encoder<'static, HashingWriter<'a>>),
}

struct HashingWriter<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
}

impl Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<'a> LayerSink<'a> {
    pub(crate) fn new(compression: Compression, out: &'a mut dyn Write) -> io::Result<Self> {
        let out = HashingWriter {
            out,
            hasher: Hasher::new(),
        };
        Ok(Self {
            chunk: Vec::with_capacity(CHUNK),
            uncompressed: Hasher::new(),
            encoder: Encoder::new(compression, out)?,
        })
    }

    /// Writes what is left, and says what it was.
    pub(crate) fn finish(mut self, entries: u64) -> io::Result<WrittenLayer> {
        self.pass_on()?;
        let out = self.encoder.finish()?;
        out.out.flush()?;
        Ok(WrittenLayer {
            size: out.hasher.length(),
            digest: out.hasher.finish(),
            uncompressed_size: self.uncompressed.length(),
            diff_id: self.uncompressed.finish(),
            entries,
        })
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.uncompressed.update(&self.chunk);
        self.encoder.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl Write for LayerSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK {
            self.pass_on()?;
        }
        Ok(count)
    }

    /// Does nothing: a flush would end a block, and so show when it happened.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> Encoder<'a> {
    fn new(compression: Compression, out: HashingWriter<'a>) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(out),
            Compression::Gzip => Self::Gzip(gzip_header().write(out, flate2::Compression::new(GZIP_LEVEL))),
            Compression::Zstd => Self::Zstd(zstd_encoder(out)?),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::None(out) => out.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<HashingWriter<'a>> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// No name, no comment, no time; the operating system "unknown" (RFC 1952, section 2.3.1).
fn gzip_header() -> flate2::GzBuilder {
    flate2::GzBuilder::new().mtime(0).operating_system(255)
}

fn zstd_encoder(out: HashingWriter<'_>) -> io::Result<zstd::Encoder<'static, HashingWriter<'_>>> {
    let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
    // The descriptor's digest checks more than four bytes could.
    encoder.include_checksum(false)?;
    encoder.include_contentsize(false)?;
    encoder.include_dictid(false)?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(compression: Compression, content: &[u8], piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sink = LayerSink::new(compression, &mut out).unwrap();
        for piece in content.chunks(piece) {
            sink.write_all(piece).unwrap();
        }
        let written = sink.finish(0).unwrap();
        assert_eq!(
            (written.digest, written.size),
            (Digest::of(&out), out.len() as u64)
        );
        assert_eq!(written.diff_id, Digest::of(content));
        out
    }

    #[test]
    fn the_bytes_do_not_depend_on_how_the_content_arrives() {
        let content: Vec<u8> = (0..700_000_u32)
            .flat_map(|i| (i / 7 * 31).to_le_bytes())
            .collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let whole = compressed(compression, &content, content.len());
            for piece in [511, 4096, CHUNK, CHUNK + 1] {
                assert!(
                    compressed(compression, &content, piece) == whole,
                    "{compression:?} in pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn the_gzip_header_is_fixed() {
        let gzip = compressed(Compression::Gzip, b"stone", 5);
        assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn the_zstd_header_is_fixed() {
        // RFC 8878, section 3.1.1: magic number; no content size, no checksum, no dictionary; a window of 2 MiB.
        let zstd = compressed(Compression::Zstd, b"stone", 5);
        assert_eq!(zstd[..6], [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]);
    }

    #[test]
    fn a_failing_output_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut full = Full;
            let written = LayerSink::new(compression, &mut full).and_then(|mut sink| {
                sink.write_all(&[7; 1024])?;
                sink.finish(0)
            });
            assert_eq!(
                written.unwrap_err().kind(),
                io::ErrorKind::StorageFull,
                "{compression:?}"
            );
        }
    }
}
