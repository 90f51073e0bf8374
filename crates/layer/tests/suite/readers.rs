//! Odd archives, read by us and by others: either all see the same entries, or we refuse the archive.
//!
//! The archives are sequences of members whose headers are put together at random from what tools write, what the formats leave
//! open, and what attacks were made of. Whatever passes our reader, GNU tar and bsdtar must list entry by entry as we do.

use cairn_layer::{Entry, EntryKind};
use proptest::prelude::*;
use tar::{EntryType, Header};

use crate::support::{RawTar, read};
use crate::tools::{Line, Reader, line};

const NAMES: [&str; 12] = [
    "a",
    "b",
    "a/b",
    "./c",
    "/d",
    "e/",
    "f//g",
    "./",
    "a -> b",
    ".wh.x",
    "u/.wh..wh..opq",
    "a/../b",
];
const KINDS: &[u8] = b"000000\x00001122355567gxLKSVMDANZ";
const SIZES: [&str; 4] = ["0", "3", "512", "1000"];

/// A change of a header's field that some reader may take otherwise than the next.
#[derive(Debug, Clone)]
enum Quirk {
    None,
    /// GNU's magic, for which the prefix field is something else.
    Gnu,
    /// No magic, as before 1988.
    V7,
    /// Neither.
    Magic,
    Prefix(&'static str),
    /// The size in GNU's binary form.
    BinarySize,
    /// The size with spaces before it, or without an end.
    Size([u8; 12]),
    /// The size of something else.
    OtherSize(u64),
    Mode([u8; 8]),
    Uid([u8; 8]),
    Gid(u32),
    /// A checksum as some old tools made it, over signed bytes; then with a name that makes a difference.
    SignedSum,
    BadSum,
    /// No NUL before the end of the name.
    FullName,
    Device(u32, u32),
}

fn quirk() -> impl Strategy<Value = Quirk> {
    prop_oneof![
        8 => Just(Quirk::None),
        2 => Just(Quirk::Gnu),
        1 => Just(Quirk::V7),
        1 => Just(Quirk::Magic),
        2 => prop::sample::select(vec!["p", "p/", "/p", "..", "p/q"]).prop_map(Quirk::Prefix),
        1 => Just(Quirk::BinarySize),
        1 => prop::sample::select(vec![*b"          3 ", *b"000000000003", *b"3\0\0\0\0\0\0\0\0\0\0\0", *b"3\x004\0\0\0\0\0\0\0\0\0", *b" 3 4        "]).prop_map(Quirk::Size),
        1 => prop::sample::select(vec![0, 3, 512, 1024]).prop_map(Quirk::OtherSize),
        1 => prop::sample::select(vec![*b"100644 \0", *b"0007777\0", *b"\0\0\0\0\0\0\0\0", *b"     644"]).prop_map(Quirk::Mode),
        1 => prop::sample::select(vec![*b"\x80\0\0\0\0\0\0\x07", *b"7777777\0", *b"77777777", *b"        "]).prop_map(Quirk::Uid),
        1 => (0..3_000_000_u32).prop_map(Quirk::Gid),
        1 => Just(Quirk::SignedSum),
        1 => Just(Quirk::BadSum),
        1 => Just(Quirk::FullName),
        1 => (0..300_u32, 0..300_u32).prop_map(|(major, minor)| Quirk::Device(major, minor)),
    ]
}

impl Quirk {
    fn apply(&self, header: &mut Header) {
        match self {
            Self::None | Self::SignedSum | Self::BadSum => {}
            Self::Gnu => header.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0"),
            Self::V7 => header.as_mut_bytes()[257..265].fill(0),
            Self::Magic => header.as_mut_bytes()[257..265].copy_from_slice(b"ustar\x0001"),
            Self::Prefix(prefix) => {
                header.as_mut_bytes()[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
            }
            Self::BinarySize => {
                let size = header.entry_size().unwrap();
                let field = &mut header.as_old_mut().size;
                *field = [0; 12];
                field[0] = 0x80;
                field[4..].copy_from_slice(&size.to_be_bytes());
            }
            Self::Size(field) => header.as_old_mut().size = *field,
            Self::OtherSize(size) => header.set_size(*size),
            Self::Mode(field) => header.as_old_mut().mode = *field,
            Self::Uid(field) => header.as_old_mut().uid = *field,
            Self::Gid(gid) => header.set_gid(u64::from(*gid)),
            Self::FullName => header.as_old_mut().name.fill(b'n'),
            Self::Device(major, minor) => {
                header.set_device_major(*major).unwrap();
                header.set_device_minor(*minor).unwrap();
            }
        }
    }

    /// After the checksum was made.
    fn spoil(&self, block: &mut [u8]) {
        let sum: i64 = match self {
            Self::BadSum => 1,
            Self::SignedSum => {
                block[0] = 0xe9;
                let others = (block.iter().enumerate()).filter(|(at, _)| !(148..156).contains(at));
                others.map(|(_, byte)| i64::from(byte.cast_signed())).sum::<i64>() + 8 * 32
            }
            _ => return,
        };
        block[148..156].copy_from_slice(format!("{:06o}\0 ", sum.max(0)).as_bytes());
    }
}

type Records = Vec<(&'static str, &'static str)>;

fn records() -> impl Strategy<Value = Records> {
    let record = prop::sample::select(vec![
        ("path", "z"),
        ("path", "a"),
        ("path", "dir/"),
        ("path", "../x"),
        ("path", ""),
        ("path", "nul\0x"),
        ("path", "/abs"),
        ("linkpath", "a"),
        ("linkpath", "../../x"),
        ("linkpath", ""),
        ("size", "3"),
        ("size", "0"),
        ("size", "512"),
        ("size", "03"),
        ("size", ""),
        ("uid", "7"),
        ("uid", "4294967295"),
        ("gid", "4294967296"),
        ("gid", "-1"),
        ("mtime", "7"),
        ("mtime", "-1"),
        ("mtime", ""),
        ("uname", "root"),
        ("gname", "wheel"),
        ("hdrcharset", "BINARY"),
        ("charset", "ISO-IR 8859 1 1998"),
        ("comment", "x"),
        ("SCHILY.realsize", "9"),
        ("SCHILY.filetype", "directory"),
        ("SCHILY.dev", "1"),
        ("SCHILY.devmajor", "1"),
        ("SCHILY.xattr.user.a", "b"),
        ("LIBARCHIVE.xattr.user.a", "Yg=="),
        ("LIBARCHIVE.symlinktype", "dir"),
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.size", "9"),
        ("GNU.sparse.realsize", "9"),
        ("GNU.sparse.map", "0,3"),
        ("GNU.sparse.numblocks", "1"),
        ("GNU.dumpdir", "Yx\0\0"),
        ("GNU.volume.filename", "v"),
        ("RHT.security.selinux", "x"),
        ("a=b", "c"),
    ]);
    prop::collection::vec(record, 1..4)
}

#[derive(Debug, Clone)]
enum Piece {
    Member {
        kind: u8,
        name: &'static str,
        link: &'static str,
        size: usize,
        quirk: Quirk,
    },
    Pax(Records),
    Global(Records),
    Long(u8, &'static str),
    Zeros,
}

fn piece() -> impl Strategy<Value = Piece> {
    let member = (
        prop::sample::select(KINDS),
        prop::sample::select(&NAMES[..]),
        prop::sample::select(vec!["", "", "a", "b", "../x", "/a"]),
        prop::sample::select(&SIZES[..]),
        quirk(),
    );
    let member = member.prop_map(|(kind, name, link, size, quirk)| Piece::Member {
        kind,
        name,
        link,
        // Only files have content, mostly.
        size: if matches!(kind, b'0' | 0 | b'7') {
            size.parse().unwrap()
        } else {
            0
        },
        quirk,
    });
    let long = (
        prop::sample::select(vec![b'L', b'K']),
        prop::sample::select(vec!["long\0", "long", "l\0x\0", "../l\0", "\0", "dir/\0"]),
    );
    prop_oneof![
        9 => member,
        3 => records().prop_map(Piece::Pax),
        1 => records().prop_map(Piece::Global),
        1 => long.prop_map(|(kind, content)| Piece::Long(kind, content)),
        1 => Just(Piece::Zeros),
    ]
}

fn archive(pieces: &[Piece]) -> Vec<u8> {
    let mut tar = RawTar::new();
    for piece in pieces {
        tar = match piece {
            Piece::Member {
                kind,
                name,
                link,
                size,
                quirk,
            } => {
                let at = tar.0.len();
                let content = vec![b'c'; *size];
                let kind = EntryType::new(*kind);
                let mut tar = tar.member_with(kind, name, link, &content, |header| quirk.apply(header));
                quirk.spoil(&mut tar.0[at..at + 512]);
                tar
            }
            Piece::Pax(records) => tar.pax(records),
            Piece::Global(records) => {
                let from = RawTar::new().pax(records).0;
                let content = &from[512..512 + pax_size(&from)];
                tar.member(EntryType::XGlobalHeader, "g", "", content)
            }
            Piece::Long(kind, content) => {
                tar.member(EntryType::new(*kind), "././@LongLink", "", content.as_bytes())
            }
            Piece::Zeros => {
                tar.0.extend([0; 512]);
                tar
            }
        };
    }
    tar.end()
}

fn pax_size(header: &[u8]) -> usize {
    let digits = std::str::from_utf8(&header[124..135]).unwrap();
    usize::from_str_radix(digits, 8).unwrap()
}

/// Spellings of a path that mean the same.
fn plain(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts.filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

/// Whether `theirs` is what a reader should list for `entry`, in whatever spelling the archive has it.
fn is_same(entry: &Entry, theirs: &Line) -> bool {
    let ours = line(entry, &theirs.time);
    let name = &theirs.name[..];
    let is_named = match &entry.kind {
        // Go writes a target of other letters than ASCII's into the PAX record alone, and bsdtar then shows none.
        EntryKind::Symlink { .. } if plain(name) == entry.path.as_bytes() => true,
        EntryKind::Symlink { target } => divided(name, b" -> ", |path, to| {
            plain(path) == entry.path.as_bytes() && to == target
        }),
        EntryKind::Hardlink { to: target } => divided(name, b" link to ", |path, to| {
            plain(path) == entry.path.as_bytes() && plain(to) == target.as_bytes()
        }),
        _ => plain(name) == plain(&ours.name),
    };
    // How a kind is shown is no matter where it is the same: GNU tar tells contiguous files from others, and bsdtar shows a
    // hard link as a file if the mode says so.
    let is_kind = match (&entry.kind, theirs.mode.as_bytes()[0]) {
        (EntryKind::Hardlink { .. }, kind) => matches!(kind, b'h' | b'-'),
        (EntryKind::File | EntryKind::Whiteout | EntryKind::Opaque, kind) => matches!(kind, b'C' | b'-'),
        (_, kind) => kind == ours.mode.as_bytes()[0],
    };
    let what = |line: &Line| (line.mode[1..].to_owned(), line.uid, line.gid, line.size);
    is_named && is_kind && what(&ours) == what(theirs)
}

fn divided(name: &[u8], between: &[u8], is_it: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    let mut places = 0..name.len().saturating_sub(between.len() - 1);
    places.any(|at| name[at..].starts_with(between) && is_it(&name[..at], &name[at + between.len()..]))
}

fn agree(reader: Reader, pieces: &[Piece]) -> Result<(), TestCaseError> {
    let tar = archive(pieces);
    let Ok(ours) = read(&tar) else { return Ok(()) };
    let Some(tool) = reader.find() else { return Ok(()) };
    let theirs = tool.list(&tar).map_err(TestCaseError::fail)?;
    // The root is listed by others and is no entry for us.
    let theirs: Vec<_> = theirs
        .iter()
        .filter(|line| !plain(&line.name).is_empty())
        .collect();
    prop_assert_eq!(theirs.len(), ours.len(), "{:?}\n{:?}", theirs, ours);
    for ((entry, _), theirs) in ours.iter().zip(theirs) {
        prop_assert!(is_same(entry, theirs), "{:?}\n{:?}", theirs, entry);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn c9_gnu_tar_lists_an_odd_archive_as_we_do_or_we_refuse_it(pieces in prop::collection::vec(piece(), 1..6)) {
        agree(Reader::GnuTar, &pieces)?;
    }

    #[test]
    fn c9_bsdtar_lists_an_odd_archive_as_we_do_or_we_refuse_it(pieces in prop::collection::vec(piece(), 1..6)) {
        agree(Reader::BsdTar, &pieces)?;
    }
}
