//! Compressed layers of others: read to the last byte, and never more of it than allowed.

use std::io::{self, Read, Write as _};

use cairn_layer::{Compression, DecodeError, Limits, ReadError, decoder, read_layer, recompress, sniff};
use cairn_oci::Digest;

use crate::support::{RawTar, chain, directory, file, read, symlink, tree, write};

const GIB: u64 = 1 << 30;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn none(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

type Encode = fn(&[u8]) -> Vec<u8>;
const ENCODINGS: [(&str, Encode); 5] = [
    ("tar", none),
    ("gzip", gzip),
    ("zstd", zstd),
    ("xz", xz),
    ("bzip2", bzip2),
];

/// Text that compresses, but not to nothing.
fn some_tar() -> Vec<u8> {
    let content: Vec<u8> = (0..40_000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let tree = tree([
        ("a", directory()),
        ("a/file", file(&content)),
        ("a/link", symlink(b"file")),
    ]);
    write(&tree, Compression::None).0
}

fn read_with(layer: impl Read, limits: &Limits) -> Result<(), ReadError> {
    read_layer(layer, limits, &mut |_, _| Ok(())).map(|_| ())
}

#[test]
fn c6_the_digests_are_those_of_all_bytes() {
    let mut tar = some_tar();
    // What GNU tar adds to fill its records belongs to the layer too.
    tar.resize(tar.len() + 4096, 0);
    for (name, encode) in ENCODINGS {
        let layer = encode(&tar);
        let summary = read_layer(&layer[..], &Limits::default(), &mut |_, _| Ok(())).unwrap();
        assert_eq!(
            (summary.digest, summary.size),
            (Digest::of(&layer), layer.len() as u64),
            "{name}"
        );
        assert_eq!(
            (summary.diff_id, summary.uncompressed_size),
            (Digest::of(&tar), tar.len() as u64),
            "{name}"
        );
        assert_eq!(summary.entries, 3);
    }
}

#[test]
fn recompressing_keeps_the_archive_byte_for_byte() {
    let mut tar = some_tar();
    tar.resize(tar.len() + 10_240, 0);
    let mut by_encoding = Vec::new();
    for (name, encode) in ENCODINGS {
        let mut out = Vec::new();
        let written = recompress(&encode(&tar)[..], &Limits::default(), Compression::Gzip, &mut out).unwrap();
        let mut plain = Vec::new();
        decoder(&out[..], sniff(&out), &Limits::default())
            .unwrap()
            .read_to_end(&mut plain)
            .unwrap();
        assert!(plain == tar, "{name}");
        assert_eq!(
            (written.digest, written.diff_id, written.entries),
            (Digest::of(&out), Digest::of(&tar), 3)
        );
        by_encoding.push(out);
    }
    assert!(by_encoding.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn recompressing_says_which_side_failed() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let tar = some_tar();
    let error = recompress(&tar[..], &Limits::default(), Compression::None, &mut Full).unwrap_err();
    assert!(matches!(error, ReadError::Output { .. }), "{error:?}");
    let error = recompress(
        &tar[..2000],
        &Limits::default(),
        Compression::None,
        &mut io::sink(),
    )
    .unwrap_err();
    assert!(matches!(error, ReadError::Truncated { .. }), "{error:?}");
}

#[test]
fn c7_ten_gibibytes_of_zeros_are_not_unpacked() {
    let zeros = || io::repeat(0).take(10 * GIB);
    let gzip = flate2::read::GzEncoder::new(zeros(), flate2::Compression::fast());
    let zstd = zstd::stream::read::Encoder::new(zeros(), 1).unwrap();
    let bombs: [(&str, Box<dyn Read>); 2] = [("gzip", Box::new(gzip)), ("zstd", Box::new(zstd))];
    for (name, bomb) in bombs {
        let error = read_with(bomb, &Limits::default()).unwrap_err();
        let is_ratio = matches!(
            error,
            ReadError::Decode {
                source: DecodeError::Ratio { limit: 200 }
            }
        );
        assert!(is_ratio, "{name}: {error:?}");
    }
}

#[test]
fn c7_a_bomb_inside_of_a_file_is_reported_whatever_the_visitor_says() {
    let limits = Limits {
        ratio_allowance: 1 << 16,
        ..Limits::default()
    };
    let layer = gzip(&RawTar::new().file("zeros", &vec![0; 8 << 20]).end());
    let result = read_layer(&layer[..], &limits, &mut |_, content| {
        // A visitor that hides the error does not hide it from us.
        io::copy(content, &mut io::sink())
            .map_err(|_| "cannot copy".into())
            .map(|_| ())
    });
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Decode {
                source: DecodeError::Ratio { .. }
            }
        ),
        "{error:?}"
    );
}

#[test]
fn c7_more_bytes_than_allowed_are_refused() {
    let tar = some_tar();
    let exactly = Limits {
        max_uncompressed: tar.len() as u64,
        ..Limits::default()
    };
    let less = Limits {
        max_uncompressed: tar.len() as u64 - 1,
        ..exactly
    };
    for (name, encode) in ENCODINGS {
        assert!(read_with(&encode(&tar)[..], &exactly).is_ok(), "{name}");
        let error = read_with(&encode(&tar)[..], &less).unwrap_err();
        assert!(
            matches!(
                error,
                ReadError::Decode {
                    source: DecodeError::TooLarge { .. }
                }
            ),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn c7_a_huge_window_is_refused_before_it_is_allocated() {
    // A frame header that asks for a window of 2 GiB (RFC 8878, section 3.1.1.1.2), then a block of zeros.
    let frame = [
        0x28,
        0xb5,
        0x2f,
        0xfd,
        0x00,
        (31 - 10) << 3,
        0x03,
        0x00,
        0x10,
        0x00,
    ];
    let error = read_with(&frame[..], &Limits::default()).unwrap_err();
    assert!(chain(&error).contains("too much memory"), "{}", chain(&error));

    let small = Limits {
        max_window_log: 16,
        ..Limits::default()
    };
    assert!(read_with(&xz(&some_tar())[..], &small).is_err());
}

#[test]
fn c7_bytes_after_the_end_are_refused() {
    for (name, encode) in ENCODINGS {
        let layer = [encode(&some_tar()), b"and more".to_vec()].concat();
        assert!(read_with(&layer[..], &Limits::default()).is_err(), "{name}");
        let inside = encode(&[some_tar(), b"and more".to_vec()].concat());
        let error = read_with(&inside[..], &Limits::default()).unwrap_err();
        assert!(
            matches!(error, ReadError::TrailingData { .. }),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn several_members_frames_and_streams_are_one_layer() {
    let tar = some_tar();
    let (first, second) = tar.split_at(tar.len() / 2);
    for (name, encode) in ENCODINGS {
        let layer = [encode(first), encode(second)].concat();
        assert_eq!(read(&layer).unwrap(), read(&tar).unwrap(), "{name}");
    }
    // A skippable frame says nothing (RFC 8878, section 3.1.2).
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let layer = [&skippable[..], &zstd(&tar), &skippable].concat();
    assert_eq!(read(&layer).unwrap(), read(&tar).unwrap());
}

#[test]
fn c2_a_layer_cut_anywhere_is_refused() {
    let tar = some_tar();
    for (name, encode) in ENCODINGS {
        let layer = encode(&tar);
        // Of the end marker, one block is enough.
        let most = if name == "tar" {
            layer.len() - 1024
        } else {
            layer.len() - 1
        };
        for cut in (0..most).step_by(997).chain(most.saturating_sub(40)..=most) {
            // Nothing at all is an empty gzip, and no empty tar.
            let result = read_with(&layer[..cut], &Limits::default());
            assert!(result.is_err(), "{name} cut at {cut} of {}", layer.len());
        }
    }
}

#[test]
fn an_archive_without_end_marker_is_whole_only_if_something_else_says_so() {
    let unmarked = RawTar::new().file("a", b"content").0;
    assert!(matches!(read(&unmarked), Err(ReadError::Truncated { .. })));
    assert_eq!(read(&gzip(&unmarked)).unwrap().len(), 1);
}

#[test]
fn a_flipped_bit_is_noticed_or_changes_the_digest() {
    let layer = gzip(&some_tar());
    let whole = read_layer(&layer[..], &Limits::default(), &mut |_, _| Ok(())).unwrap();
    for at in (0..layer.len()).step_by(211) {
        let mut flipped = layer.clone();
        flipped[at] ^= 1;
        if let Ok(summary) = read_layer(&flipped[..], &Limits::default(), &mut |_, _| Ok(())) {
            assert_ne!(summary.digest, whole.digest, "bit flipped at {at}");
        }
    }
}
