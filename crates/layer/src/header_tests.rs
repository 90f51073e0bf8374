//! Which bytes say what.

use std::io::Read as _;

use proptest::prelude::*;

use super::*;

fn member(path: &[u8]) -> Member<'_> {
    Member {
        path,
        kind: EntryType::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 1,
        link: b"",
        xattrs: None,
    }
}

/// The records of the member's PAX header; none if it has no such header.
fn records(member: &Member<'_>) -> Vec<String> {
    let bytes = member.encode();
    let header = Header::from_byte_slice(&bytes[..BLOCK]);
    if header.entry_type() != EntryType::XHeader {
        assert_eq!(bytes.len(), BLOCK);
        return Vec::new();
    }
    let size = usize::try_from(header.size().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&bytes[BLOCK..BLOCK + size]).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// How the tar crate understands the member: its path, link, size, and owner.
fn understood(member: &Member<'_>) -> (Vec<u8>, Option<Vec<u8>>, u64, u64) {
    let bytes = member.encode();
    let mut archive = tar::Archive::new(bytes.chain(std::io::repeat(0)));
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    (
        entry.path_bytes().into_owned(),
        link,
        entry.size(),
        entry.header().uid().unwrap(),
    )
}

#[test]
fn every_byte_of_a_plain_header_is_fixed() {
    let bytes = Member {
        mode: 0o4755,
        uid: 8,
        gid: 0o777_7777,
        size: 513,
        ..member(b"usr/bin/x")
    }
    .encode();
    let mut expected = [0; BLOCK];
    for (at, text) in [
        (0, &b"usr/bin/x"[..]),
        (100, b"0004755\0"),
        (108, b"0000010\0"),
        (116, b"7777777\0"),
        (124, b"00000001001\0"),
        (136, b"00000000001\0"),
        (148, b"011042\0 "),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
    ] {
        expected[at..at + text.len()].copy_from_slice(text);
    }
    assert_eq!(bytes, expected);
}

#[test]
fn the_pax_header_has_a_fixed_name_and_mode() {
    let bytes = member(b"\xff").encode();
    let header = Header::from_byte_slice(&bytes[..BLOCK]);
    assert_eq!(header.path_bytes().as_ref(), b"././@PaxHeader");
    assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o644, 1));
    assert_eq!(bytes.len(), 3 * BLOCK);
}

#[test]
fn b5_pax_stands_only_where_ustar_cannot_say_it() {
    let fits = [
        "a".repeat(100),
        format!("{}/{}", "p".repeat(155), "n".repeat(100)),
        "ü".repeat(50),
    ];
    for path in &fits {
        assert_eq!(records(&member(path.as_bytes())), [""; 0], "{path}");
        assert_eq!(understood(&member(path.as_bytes())).0, path.as_bytes());
    }
    let too_long = [
        "a".repeat(101),
        format!("{}/{}", "p".repeat(156), "n".repeat(99)),
        format!("{}/{}", "p".repeat(10), "n".repeat(101)),
        format!("/{}", "n".repeat(100)),
    ];
    for path in &too_long {
        let records = records(&member(path.as_bytes()));
        assert_eq!(records, [format!("{} path={path}", path.len() + 10)]);
        assert_eq!(understood(&member(path.as_bytes())).0, path.as_bytes());
    }
}

#[test]
fn b5_a_name_is_divided_at_the_last_slash_that_leaves_155_bytes_before_it() {
    let path = ["d".repeat(90), "e".repeat(60), "f".repeat(3), "n".repeat(20)].join("/");
    let bytes = member(path.as_bytes()).encode();
    assert_eq!(bytes[345..500], path.as_bytes()[..155]);
    assert_eq!(bytes[..20], path.as_bytes()[156..]);
    // The slash at the end of a directory's name divides nothing.
    let directory = Member {
        kind: EntryType::Directory,
        ..member(&path.as_bytes()[..151])
    };
    assert_eq!(directory.encode()[..61], [&[b'e'; 60][..], b"/"].concat());
}

#[test]
fn b5_numbers_that_do_not_fit_stand_in_records() {
    let fits = Member {
        size: MAX_ELEVEN_DIGITS,
        uid: 0o777_7777,
        ..member(b"a")
    };
    assert_eq!(records(&fits), [""; 0]);
    let large = Member {
        size: 8 << 30,
        uid: 2_097_152,
        gid: u32::MAX,
        ..member(b"a")
    };
    assert_eq!(
        records(&large),
        ["18 gid=4294967295", "19 size=8589934592", "15 uid=2097152"]
    );
    assert_eq!(understood(&large).2, 8 << 30);
    assert_eq!(large.encode()[2 * BLOCK + 124..][..12], *b"00000000000\0");
}

#[test]
fn b5_names_that_are_no_utf8_are_declared_binary() {
    let link = Member {
        kind: EntryType::Symlink,
        link: b"\xfe",
        ..member(b"a")
    };
    assert_eq!(records(&link), ["21 hdrcharset=BINARY", "14 linkpath=\u{fffd}"]);
    assert_eq!(understood(&link).1.as_deref(), Some(&b"\xfe"[..]));
    assert_eq!(
        records(&member(b"\xff")),
        ["21 hdrcharset=BINARY", "9 path=\u{fffd}"]
    );
}

#[test]
fn b6_extended_attributes_are_sorted_records() {
    let xattrs = BTreeMap::from([
        (b"user.b".to_vec(), b"2".to_vec()),
        (b"user.a".to_vec(), b"1".to_vec()),
    ]);
    let member = Member {
        xattrs: Some(&xattrs),
        ..member(b"a")
    };
    assert_eq!(
        records(&member),
        ["25 SCHILY.xattr.user.a=1", "25 SCHILY.xattr.user.b=2"]
    );
}

proptest! {
    #[test]
    fn b5_the_tar_crate_reads_every_name_back(
        path in "[a-c/]{1,300}".prop_map(|text| text.split('/').filter(|c| !c.is_empty()).collect::<Vec<_>>().join("/")),
        is_directory: bool,
    ) {
        prop_assume!(!path.is_empty());
        let kind = if is_directory { EntryType::Directory } else { EntryType::Regular };
        let name = if is_directory { format!("{path}/") } else { path.clone() };
        prop_assert_eq!(understood(&Member { kind, ..member(path.as_bytes()) }).0, name.into_bytes());
    }
}
