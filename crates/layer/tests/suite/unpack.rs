//! Foreign archives become trees, safely.

use std::io::Write as _;

use cairn_layer::{
    Compression, GlobFilter, LayerOptions, Limits, Tree, UnpackError, UnpackOptions, ZipError, write_layer,
};
use tar::EntryType;

use crate::archives::{Headers, RawZip, lines, unpack_with};
use crate::support::{RawTar, chain, path};

const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;

fn into_opt() -> UnpackOptions {
    UnpackOptions {
        to: Some(path("opt/tool")),
        ..UnpackOptions::default()
    }
}

fn unpacked(archive: &[u8], options: &UnpackOptions) -> Result<Tree, UnpackError> {
    unpack_with(archive, options, &Limits::default())
}

#[track_caller]
fn refused(archive: &[u8], part: &str) {
    match unpacked(archive, &into_opt()) {
        Ok(tree) => panic!("it was unpacked: {:?}", lines(&tree)),
        Err(error) => assert!(chain(&error).contains(part), "{}", chain(&error)),
    }
}

/// A tool as projects publish it: everything below one directory with the version in its name.
fn tool() -> Vec<u8> {
    RawTar::new()
        .member(EntryType::Directory, "./tool-1.2/", "", b"")
        .member(EntryType::Directory, "./tool-1.2/bin/", "", b"")
        .member_with(EntryType::Regular, "./tool-1.2/bin/tool", "", b"#!", |header| {
            header.set_mode(0o755);
            header.set_uid(1000);
            header.set_gid(100);
            header.set_mtime(1_700_000_000);
        })
        .member(EntryType::Symlink, "./tool-1.2/bin/t", "tool", b"")
        .member(
            EntryType::Link,
            "./tool-1.2/bin/again",
            "./tool-1.2/bin/tool",
            b"",
        )
        .file("./tool-1.2/README", b"read me")
        .end()
}

#[test]
fn an_archive_is_put_below_its_destination_without_its_leading_directory() {
    let options = UnpackOptions {
        strip: 1,
        ..into_opt()
    };
    let tree = unpacked(&tool(), &options).unwrap();
    assert_eq!(
        lines(&tree),
        [
            "/opt/tool/README 0644 0:0 \"read me\"",
            "/opt/tool/bin/ 0644 0:0",
            "/opt/tool/bin/again 0755 1000:100 \"#!\"",
            "/opt/tool/bin/t -> tool",
            "/opt/tool/bin/tool = /opt/tool/bin/again",
        ]
    );
    let mut layer = Vec::new();
    write_layer(&tree, &LayerOptions::default(), &mut layer).unwrap();
}

#[test]
fn every_compression_gives_the_same_tree() {
    let tar = tool();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    let wanted = lines(&unpacked(&tar, &into_opt()).unwrap());
    for archive in [gzip, xz, bzip2, zstd] {
        assert_eq!(lines(&unpacked(&archive, &into_opt()).unwrap()), wanted);
    }
}

#[test]
fn globs_choose_what_is_taken_after_the_leading_components_are_gone() {
    let exclude = UnpackOptions {
        strip: 1,
        exclude: GlobFilter::new(["bin/t", "README"]).unwrap(),
        ..UnpackOptions::default()
    };
    let tree = unpacked(&tool(), &exclude).unwrap();
    assert_eq!(
        lines(&tree),
        [
            "/bin/ 0644 0:0",
            "/bin/again 0755 1000:100 \"#!\"",
            "/bin/tool = /bin/again"
        ]
    );
    let only = UnpackOptions {
        strip: 2,
        only: Some(GlobFilter::new(["again"]).unwrap()),
        ..UnpackOptions::default()
    };
    // The link's first name is left out, and its content stays.
    assert_eq!(
        lines(&unpacked(&tool(), &only).unwrap()),
        ["/again 0755 1000:100 \"#!\""]
    );
    let directory = UnpackOptions {
        strip: 1,
        only: Some(GlobFilter::new(["bin/"]).unwrap()),
        ..UnpackOptions::default()
    };
    assert_eq!(unpacked(&tool(), &directory).unwrap().len(), 4);
}

#[test]
fn stripping_everything_away_says_what_is_at_the_top() {
    let options = UnpackOptions {
        strip: 3,
        ..into_opt()
    };
    let error = unpacked(&tool(), &options).unwrap_err();
    assert_eq!(
        error.hint().unwrap(),
        "at the top, before `strip`, it has: tool-1.2"
    );
}

#[test]
fn what_is_no_archive_is_said_so() {
    for bytes in [&b""[..], b"#!/bin/sh\n", &[0xff; 4096], b"7z\xbc\xaf\x27\x1c"] {
        let error = unpacked(bytes, &into_opt()).unwrap_err();
        let is_known = matches!(error, UnpackError::Unknown | UnpackError::Nothing { .. });
        assert!(is_known, "{error:?}");
    }
}

#[test]
fn links_must_not_lead_out_of_the_destination() {
    let link = |target: &str| {
        RawTar::new()
            .member(EntryType::Symlink, "bin/link", target, b"")
            .end()
    };
    for bad in [
        "../../other",
        "/etc/passwd",
        "../../../../etc",
        "/opt/tool/../x",
        "/opt/too",
    ] {
        refused(&link(bad), "out of /opt/tool");
    }
    for good in ["../lib/x", "..", "/opt/tool/lib", "x/../../y", "/opt/tool"] {
        assert!(unpacked(&link(good), &into_opt()).is_ok(), "{good}");
    }
    // In the root of the image there is no outside.
    assert!(unpacked(&link("/etc/passwd"), &UnpackOptions::default()).is_ok());
}

#[test]
fn d5_c8_entries_that_lead_out_are_refused() {
    let tar = |name: &str| RawTar::new().file(name, b"x").end();
    for name in ["../x", "a/../../x", "..", "a/.."] {
        refused(&tar(name), "leads out of the image");
        refused(
            &RawZip::new().entry(name, FILE, b"x").end(),
            "leads out of the image",
        );
    }
    refused(
        &RawTar::new()
            .member(EntryType::Link, "a", "../../etc/shadow", b"")
            .end(),
        "cannot lead to",
    );
    refused(
        &RawTar::new()
            .member(EntryType::Link, "a", "etc/shadow", b"")
            .end(),
        "no file before it",
    );
    // A slash or a dot in front means nothing.
    let tree = unpacked(&RawTar::new().file("/./x", b"x").end(), &into_opt()).unwrap();
    assert_eq!(lines(&tree), ["/opt/tool/x 0644 0:0 \"x\""]);
}

#[test]
fn d5_nothing_is_written_through_a_link() {
    let tar = RawTar::new()
        .member(EntryType::Symlink, "a", "b", b"")
        .file("a/x", b"x");
    refused(&tar.end(), "is not a directory");
    let zip = RawZip::new().entry("a", SYMLINK, b"b").entry("a/x", FILE, b"x");
    refused(&zip.end(), "is not a directory");
    let behind = RawZip::new().entry("a/x", FILE, b"x").entry("a", SYMLINK, b"b");
    refused(&behind.end(), "is not a directory");
}

#[test]
fn c11_devices_pipes_and_whiteouts_are_refused_unless_left_out() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let tar = RawTar::new()
            .file("x", b"x")
            .member(kind, "dev/null", "", b"")
            .end();
        refused(&tar, "device or a named pipe");
        let options = UnpackOptions {
            exclude: GlobFilter::new(["dev"]).unwrap(),
            ..into_opt()
        };
        assert!(unpacked(&tar, &options).is_ok());
    }
    refused(
        &RawTar::new().file("etc/.wh.passwd", b"").end(),
        "would remove something",
    );
    refused(
        &RawTar::new().file("etc/.wh..wh..opq", b"").end(),
        "would remove something",
    );
    refused(
        &RawZip::new().entry(".wh.x", FILE, b"").end(),
        "would remove something",
    );
    refused(
        &RawZip::new().entry("null", 0o020_666, b"").end(),
        "device or a named pipe",
    );
}

#[test]
fn names_are_there_once_and_directories_as_the_last_says() {
    refused(
        &RawTar::new().file("x", b"1").file("./x", b"2").end(),
        "/x is there twice",
    );
    refused(
        &RawZip::new()
            .entry("x", FILE, b"1")
            .entry("./x", FILE, b"2")
            .end(),
        "there twice",
    );
    let twice = RawTar::new()
        .member(EntryType::Directory, "d", "", b"")
        .member_with(EntryType::Directory, "d", "", b"", |header| {
            header.set_mode(0o700);
        });
    assert_eq!(
        lines(&unpacked(&twice.end(), &into_opt()).unwrap()),
        ["/opt/tool/d/ 0700 0:0"]
    );
    // Without its leading component it is there twice.
    let options = UnpackOptions {
        strip: 1,
        ..into_opt()
    };
    let two = RawTar::new().file("a/x", b"1").file("b/x", b"2").end();
    let error = unpacked(&two, &options).unwrap_err();
    assert!(
        chain(&error).contains("/opt/tool/x is there twice"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a4_ids_that_turn_negative_are_refused() {
    let tar = RawTar::new().pax(&[("uid", "2147483648")]).file("x", b"x");
    refused(&tar.end(), "not below 2^31");
}

#[test]
fn attributes_of_another_machine_are_left_behind() {
    let tar = RawTar::new()
        .pax(&[
            ("SCHILY.xattr.security.selinux", "s"),
            ("SCHILY.xattr.user.a", "b"),
        ])
        .file("x", b"x");
    let tree = unpacked(&tar.end(), &into_opt()).unwrap();
    let (_, node) = tree.iter().next().unwrap();
    let cairn_layer::Node::File { attributes, .. } = node else {
        panic!("{node:?}");
    };
    assert_eq!(attributes.xattrs.keys().collect::<Vec<_>>(), [b"user.a"]);
}

#[test]
fn c7_bombs_are_refused_before_they_go_off() {
    let limits = Limits {
        ratio_allowance: 1 << 16,
        ..Limits::default()
    };
    let zeros = vec![0; 4 << 20];
    let tar = RawTar::new().file("zeros", &zeros).end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
    gzip.write_all(&tar).unwrap();
    let zip = RawZip::new().entry("zeros", FILE, &zeros).end();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(9));
    bzip2.write_all(&tar).unwrap();
    for bomb in [gzip.finish().unwrap(), zip.clone(), bzip2.finish().unwrap()] {
        let error = unpack_with(&bomb, &into_opt(), &limits).unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge { .. }), "{error:?}");
    }
    let small = Limits {
        max_uncompressed: 1 << 20,
        ..Limits::default()
    };
    for bomb in [tar, zip] {
        let error = unpack_with(&bomb, &into_opt(), &small).unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge { .. }), "{error:?}");
    }
    // It says that it is small, and is not.
    let lying = RawZip::new().entry_with("zeros", FILE, &zeros, |local, listed| {
        (local.size, listed.size) = (100, 100);
    });
    refused(&lying.end(), "is damaged");
}

#[test]
fn c9_archives_that_two_readers_understand_differently_are_refused() {
    let sized = RawTar::new()
        .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")])
        .file("sparse", b"x");
    refused(&sized.end(), "sparse");
    let mut trailing = RawTar::new().file("x", b"x").end();
    trailing.extend(RawTar::new().file("y", b"y").end());
    refused(&trailing, "after the end");
    let truncated = &tool()[..2048];
    refused(truncated, "ends too early");
}

#[test]
fn a_zip_keeps_modes_and_links_and_nothing_of_its_times() {
    let zip = RawZip::new()
        .entry("tool/", DIRECTORY, b"")
        .entry("tool/run", PROGRAM, b"#!")
        .entry("tool/link", SYMLINK, b"run")
        .entry("tool/empty", FILE, b"")
        .entry_with("tool/dos.txt", 0, b"text", |_, listed| {
            (listed.system, listed.attributes) = (0, 0x20);
        });
    let tree = unpacked(&zip.end(), &into_opt()).unwrap();
    assert_eq!(
        lines(&tree),
        [
            "/opt/tool/tool/ 0755 0:0",
            "/opt/tool/tool/dos.txt 0644 0:0 \"text\"",
            "/opt/tool/tool/empty 0644 0:0 \"\"",
            "/opt/tool/tool/link -> run",
            "/opt/tool/tool/run 0755 0:0 \"#!\"",
        ]
    );
    let (mut layer, options) = (
        Vec::new(),
        LayerOptions {
            compression: Compression::None,
            ..LayerOptions::default()
        },
    );
    write_layer(&tree, &options, &mut layer).unwrap();
}

#[test]
fn d5_the_directory_of_a_zip_and_its_files_must_agree() {
    // CVE-2024-24789, and everything like it.
    type Change = fn(&mut Headers, &mut Headers);
    let changes: [(&str, Change); 6] = [
        ("say different things", |local, _| local.name = b"y".to_vec()),
        ("say different things", |local, _| local.name = b"xx".to_vec()),
        ("say different things", |local, _| local.size += 1),
        ("say different things", |local, _| local.method = 0),
        ("say different things", |_, listed| listed.at += 1),
        ("is damaged", |local, listed| {
            (local.checksum, listed.checksum) = (1, 1);
        }),
    ];
    for (part, change) in changes {
        refused(
            &RawZip::new().entry_with("x", FILE, b"content", change).end(),
            part,
        );
    }
    let in_front = [
        b"#!/bin/sh\n".to_vec(),
        RawZip::new().entry("x", FILE, b"x").end(),
    ]
    .concat();
    assert!(unpacked(&in_front, &into_opt()).is_err());
    let mut behind = RawZip::new().entry("x", FILE, b"x").end();
    behind.push(0);
    refused(&behind, "no end");
    let two_ends = RawZip::new().entry("x", FILE, b"x").end_with(|end| {
        let second = [&b"PK\x05\x06"[..], &[0; 18]].concat();
        end[20] = second.len() as u8;
        end.extend(second);
    });
    refused(&two_ends, "more than one");
}

#[test]
fn c7_files_of_a_zip_that_share_bytes_are_refused() {
    let mut first = None;
    let zip = RawZip::new().entry_with("x", FILE, b"x", |_, listed| first = Some(listed.clone()));
    let shared = zip.listed(&first.unwrap());
    let error = unpacked(&shared.end(), &into_opt()).unwrap_err();
    assert!(
        matches!(
            &error,
            UnpackError::Zip {
                source: ZipError::Overlap { .. }
            }
        ),
        "{error:?}"
    );
}

#[test]
fn zips_of_kinds_that_are_not_supported_are_said_so() {
    let with = |change: fn(&mut Headers, &mut Headers)| {
        RawZip::new().entry_with("x", FILE, b"content", change).end()
    };
    refused(
        &with(|local, listed| (local.flags, listed.flags) = (1, 1)),
        "is encrypted",
    );
    refused(
        &with(|local, listed| (local.method, listed.method) = (12, 12)),
        "method 12",
    );
    refused(&with(|_, listed| listed.size = u32::MAX), "zip64");
    refused(
        &RawZip::new()
            .entry("x", FILE, b"x")
            .end_with(|end| end[8..12].fill(0xff)),
        "zip64",
    );
    refused(
        &RawZip::new().entry("x", FILE, b"x").end_with(|end| end[4] = 1),
        "one part of several",
    );
    refused(&RawZip::new().entry("a\\b", FILE, b"x").end(), "backslash");
    refused(
        &RawZip::new().entry("x/", FILE, b"").end(),
        "cannot be what it says",
    );
    refused(
        &RawZip::new().entry("x", SYMLINK, b"").end(),
        "cannot be what it says",
    );
    let empty = unpacked(&RawZip::new().end(), &into_opt()).unwrap_err();
    assert_eq!(empty.hint().unwrap(), "the archive is empty");
}

#[test]
fn a_zip_cut_off_or_changed_anywhere_is_an_error_and_never_a_panic() {
    let whole = RawZip::new()
        .entry("d/", DIRECTORY, b"")
        .entry("d/x", FILE, b"some content")
        .entry("d/l", SYMLINK, b"x")
        .end();
    for length in 0..whole.len() {
        assert!(unpacked(&whole[..length], &into_opt()).is_err(), "{length} bytes");
    }
    let wanted = lines(&unpacked(&whole, &into_opt()).unwrap());
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        // Bytes that say nothing to us, such as times, may be anything.
        if let Ok(tree) = unpacked(&changed, &into_opt()) {
            let names = lines(&tree).len();
            assert_eq!(names, wanted.len(), "byte {at}");
        }
    }
}
