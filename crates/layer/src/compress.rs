//! The compressors, and what a layer is once it is compressed.

use std::io;

use cairn_oci::{Digest, media_type};
use libdeflater::CompressionLvl;
use zstd::zstd_safe::{self, CParameter};

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
const GZIP_LEVEL: i32 = 3;
/// The level of zstd; part of the output version.
const ZSTD_LEVEL: i32 = 3;

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

    /// Names everything that decides what a segment is compressed to, besides its bytes: compressor, version, level.
    /// A change of one of them must change it, or a cache would mix them. None if nothing is compressed.
    #[must_use]
    pub const fn rules(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("cairn segment: gzip, libdeflate 1.26, level 3"),
            Self::Zstd => Some("cairn segment: zstd, libzstd 1.5.7, level 3"),
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

/// Compresses segments, each by itself. What it did before never shows.
pub(crate) enum Compressor {
    None,
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Gzip => {
                let level = CompressionLvl::new(GZIP_LEVEL);
                let level = level.map_err(|_| io::Error::other("libdeflate does not know the level"))?;
                Self::Gzip(libdeflater::Compressor::new(level))
            }
            Compression::Zstd => {
                let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                // The descriptor's digest checks more than four bytes could.
                compressor.set_parameter(CParameter::ChecksumFlag(false))?;
                compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
                compressor.set_parameter(CParameter::DictIdFlag(false))?;
                Self::Zstd(compressor)
            }
        })
    }

    /// Puts the compressed `segment` into `packed`, in the place of what was there.
    pub(crate) fn compress(&mut self, segment: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
        let length = match self {
            Self::None => {
                packed.clear();
                packed.extend_from_slice(segment);
                segment.len()
            }
            Self::Gzip(compressor) => {
                packed.resize(compressor.gzip_compress_bound(segment.len()), 0);
                let length = compressor.gzip_compress(segment, packed);
                length.map_err(|error| io::Error::other(error.to_string()))?
            }
            Self::Zstd(compressor) => {
                packed.resize(zstd_safe::compress_bound(segment.len()), 0);
                compressor.compress_to_buffer(segment, &mut packed[..])?
            }
        };
        packed.truncate(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(compressor: &mut Compressor, segment: &[u8]) -> Vec<u8> {
        let mut packed = vec![7; 100];
        compressor.compress(segment, &mut packed).unwrap();
        packed
    }

    #[test]
    fn what_was_compressed_before_does_not_show() {
        let segments: Vec<Vec<u8>> = (0..6_u32)
            .map(|seed| {
                let length = 1_000 + 90_000 * seed;
                (0..length)
                    .flat_map(|i| (i / 7 * (31 + seed)).to_le_bytes())
                    .collect()
            })
            .collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut used = Compressor::new(compression).unwrap();
            for segment in segments.iter().chain(segments.iter().rev()) {
                let fresh = compressed(&mut Compressor::new(compression).unwrap(), segment);
                assert!(compressed(&mut used, segment) == fresh, "{compression:?}");
            }
        }
    }

    #[test]
    fn the_gzip_header_is_fixed() {
        let gzip = compressed(&mut Compressor::new(Compression::Gzip).unwrap(), b"stone");
        assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn the_zstd_header_is_fixed() {
        // RFC 8878, section 3.1.1: magic number; a single segment, no checksum, no dictionary; 5 bytes of content.
        let zstd = compressed(&mut Compressor::new(Compression::Zstd).unwrap(), b"stone");
        assert_eq!(zstd[..6], [0x28, 0xb5, 0x2f, 0xfd, 0x20, 5]);
    }

    #[test]
    fn the_rules_name_the_versions_that_are_linked() {
        assert_eq!(zstd_safe::version_string(), "1.5.7");
    }
}
