//! Archives of others that lie: nothing comes out that is not what every reader would see.

use cairn_layer::{EntryKind, Limits, Listing, ReadError, describe, read_layer};
use cairn_oci::Digest;
use tar::EntryType;

use crate::support::{RawTar, chain, path, read};

fn read_with(layer: &[u8], limits: &Limits) -> Result<(), ReadError> {
    read_layer(layer, limits, &mut |_, _| Ok(())).map(|_| ())
}

#[test]
fn c8_names_that_lead_out_are_refused() {
    for name in [
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "/..",
        "./../x",
        "a/./../../x",
        "",
    ] {
        let error = RawTar::new().file(name, b"").read().unwrap_err();
        assert!(matches!(error, ReadError::Escapes { .. }), "{name:?}: {error:?}");
        let by_pax = RawTar::new().pax(&[("path", name)]).file("harmless", b"").read();
        assert!(matches!(by_pax, Err(ReadError::Escapes { .. })), "{name:?}");
    }
    let error = RawTar::new()
        .pax(&[("path", "a\0b")])
        .file("harmless", b"")
        .read()
        .unwrap_err();
    assert!(matches!(error, ReadError::Path { .. }), "{error:?}");
}

#[test]
fn c8_other_spellings_of_a_name_mean_the_same() {
    for name in ["etc/x", "./etc/x", "/etc/x", "//etc//x", "././etc/./x"] {
        let entries = RawTar::new().file(name, b"").read().unwrap();
        assert_eq!(entries[0].0.path.as_bytes(), b"etc/x", "{name}");
    }
    let error = RawTar::new()
        .file("./etc/x", b"")
        .file("/etc/x", b"")
        .read()
        .unwrap_err();
    assert!(matches!(error, ReadError::Duplicate { .. }), "{error:?}");
}

#[test]
fn c8_hard_links_stay_inside() {
    let link = |to: &str| {
        RawTar::new()
            .file("a", b"")
            .member(EntryType::Link, "b", to, b"")
            .read()
    };
    for to in ["a", "./a", "/a"] {
        assert!(
            matches!(&link(to).unwrap()[1].0.kind, EntryKind::Hardlink { to } if to.as_bytes() == b"a"),
            "{to}"
        );
    }
    for to in [
        "../etc/shadow",
        "/../etc/shadow",
        "x/../../a",
        "",
        "/",
        ".",
        "b",
        "./b",
    ] {
        let error = link(to).unwrap_err();
        assert!(matches!(error, ReadError::Hardlink { .. }), "{to:?}: {error:?}");
    }
}

#[test]
fn c8_links_may_point_anywhere_and_are_not_followed() {
    for target in ["/etc/passwd", "../../..", "/proc/self/root"] {
        let entries = RawTar::new()
            .member(EntryType::Symlink, "x", target, b"")
            .file("x/y", b"z")
            .read()
            .unwrap();
        assert_eq!(
            entries[0].0.kind,
            EntryKind::Symlink {
                target: target.into()
            }
        );
        assert_eq!(entries[1].0.path.as_bytes(), b"x/y");
    }
    let error = RawTar::new()
        .member(EntryType::Symlink, "x", "", b"")
        .read()
        .unwrap_err();
    assert!(matches!(error, ReadError::SymlinkTarget { .. }), "{error:?}");
}

#[test]
fn c8_nothing_lies_below_a_file_of_the_same_layer() {
    for below in ["a/b", "a/b/c/d"] {
        let error = RawTar::new().file("a", b"").file(below, b"").read().unwrap_err();
        assert!(
            matches!(error, ReadError::NotADirectory { .. }),
            "{below}: {error:?}"
        );
    }
}

#[test]
fn c8_the_root_is_a_directory_and_no_entry() {
    for root in ["./", "/", ".", "././"] {
        let layer = RawTar::new()
            .member(EntryType::Directory, root, "", b"")
            .file("a", b"")
            .end();
        let summary = read_layer(&layer[..], &Limits::default(), &mut |_, _| Ok(())).unwrap();
        assert_eq!(
            (summary.entries, summary.root.map(|root| root.mode)),
            (1, Some(0o644)),
            "{root}"
        );
        let error = RawTar::new()
            .member(EntryType::Symlink, root, "/etc", b"")
            .read()
            .unwrap_err();
        assert!(matches!(error, ReadError::Root), "{root}: {error:?}");
    }
}

#[test]
fn c9_a_size_stated_twice_must_be_the_same() {
    let sized = |size: &str, content: &[u8]| RawTar::new().pax(&[("size", size)]).file("a", content).read();
    assert!(sized("5", b"stone").is_ok());
    // The smuggled member is content for who believes the record, and an entry for who does not.
    let hidden = RawTar::new().file("hidden", b"").0;
    let size = hidden.len().to_string();
    let smuggling = RawTar::new().pax(&[("size", &size)]).file("a", b"").0;
    let archive = RawTar([smuggling, hidden].concat()).read();
    assert!(
        matches!(archive, Err(ReadError::Header { field: "size", .. })),
        "{archive:?}"
    );
    for bad in [
        "-1",
        "0x5",
        "",
        " 5",
        "5 ",
        "18446744073709551616",
        "9223372036854775808",
    ] {
        assert!(sized(bad, b"stone").is_err(), "{bad:?}");
    }
}

#[test]
fn c9_headers_that_readers_understand_differently_are_refused() {
    let sparse = [("GNU.sparse.major", "1"), ("GNU.sparse.name", "other")];
    let cases: [(&str, RawTar); 19] = [
        (
            "data of a directory",
            RawTar::new().member(EntryType::Directory, "a/", "", b"data"),
        ),
        (
            "data of a file named like a directory",
            RawTar::new().file("a/", b"data"),
        ),
        (
            "data of a symbolic link",
            RawTar::new().member(EntryType::Symlink, "a", "b", b"data"),
        ),
        (
            "data of a hard link",
            RawTar::new()
                .file("b", b"")
                .member(EntryType::Link, "a", "b", b"data"),
        ),
        (
            "a sparse file of GNU",
            RawTar::new().member(EntryType::GNUSparse, "a", "", b""),
        ),
        ("a sparse file in PAX", RawTar::new().pax(&sparse).file("a", b"")),
        (
            "two PAX headers",
            RawTar::new()
                .pax(&[("path", "b")])
                .pax(&[("path", "c")])
                .file("a", b""),
        ),
        (
            "one key twice",
            RawTar::new().pax(&[("path", "b"), ("path", "c")]).file("a", b""),
        ),
        (
            "two long names",
            RawTar::new()
                .pax(&[("path", "b")])
                .member(EntryType::GNULongName, "././@LongLink", "", b"c\0")
                .file("a", b""),
        ),
        (
            "a long name with something behind its end",
            RawTar::new()
                .member(EntryType::GNULongName, "././@LongLink", "", b"c\0/../x\0")
                .file("a", b""),
        ),
        (
            "a long name that ends beyond its size",
            RawTar::new()
                .member_with(EntryType::GNULongName, "././@LongLink", "", b"long", |header| {
                    header.set_size(2);
                })
                .file("a", b""),
        ),
        (
            "a target that only a long link has",
            RawTar::new()
                .member(EntryType::GNULongLink, "././@LongLink", "", b"b\0")
                .member(EntryType::Symlink, "a", "", b""),
        ),
        (
            "a hard link that only a PAX header has",
            RawTar::new()
                .file("b", b"")
                .pax(&[("linkpath", "b")])
                .member(EntryType::Link, "a", "", b""),
        ),
        (
            "a sparse file's size in star's words",
            RawTar::new().pax(&[("SCHILY.realsize", "9")]).file("a", b""),
        ),
        (
            "a contiguous file named like a directory",
            RawTar::new().member(EntryType::Continuous, "a/", "", b""),
        ),
        (
            "a hard link named like a directory",
            RawTar::new()
                .file("b", b"")
                .member(EntryType::Link, "a/", "b", b""),
        ),
        (
            "an owner of spaces",
            RawTar::new().member_with(EntryType::Regular, "a", "", b"", |header| {
                header.as_old_mut().uid = [b' '; 8];
            }),
        ),
        (
            "a global header that renames",
            RawTar::new()
                .member(EntryType::XGlobalHeader, "g", "", b"10 path=b\n")
                .file("a", b""),
        ),
        (
            "a PAX header for nothing",
            RawTar::new().file("a", b"").pax(&[("path", "b")]),
        ),
    ];
    for (case, archive) in cases {
        assert!(archive.clone().read().is_err(), "{case}: {:?}", archive.read());
    }
}

#[test]
fn c9_what_git_and_gnu_tar_write_is_understood() {
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(200));
    let entries = RawTar::new()
        .member(
            EntryType::XGlobalHeader,
            "pax_global_header",
            "",
            b"18 comment=abcdef\n",
        )
        .member(
            EntryType::GNULongName,
            "././@LongLink",
            "",
            format!("{long}\0").as_bytes(),
        )
        .member(EntryType::GNULongLink, "././@LongLink", "", b"target\0")
        .member_with(EntryType::Symlink, "n", "t", b"", |header| {
            // GNU's own magic, and a time before 1970 in its binary form.
            header.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0");
            header.as_old_mut().mtime = [0xff; 12];
        })
        .pax(&[
            ("mtime", "-1.5"),
            ("uid", "4000000000"),
            ("atime", "7"),
            ("LIBARCHIVE.creationtime", "1"),
        ])
        .file("a", b"x")
        .read()
        .unwrap();
    assert_eq!(entries[0].0.path.as_bytes(), long.as_bytes());
    assert_eq!(
        entries[0].0.kind,
        EntryKind::Symlink {
            target: b"target".to_vec()
        }
    );
    assert_eq!(entries[0].0.mtime, -1);
    assert_eq!(
        (entries[1].0.mtime, entries[1].0.attributes.uid),
        (-2, 4_000_000_000)
    );
}

#[test]
fn c9_damaged_headers_are_refused() {
    let with = |change: fn(&mut tar::Header)| {
        RawTar::new()
            .member_with(EntryType::Regular, "a", "", b"", change)
            .read()
    };
    let negative: fn(&mut tar::Header) = |header| header.as_old_mut().size = [0xff; 12];
    for (field, change) in [
        ("size", negative),
        ("size", |header| header.as_old_mut().size = *b"0000000000x\0"),
        ("uid", |header| {
            header.as_old_mut().uid = [0x80, 0, 0, 1, 0, 0, 0, 0];
        }),
        ("mode", |header| header.as_old_mut().mode = *b"0000999\0"),
    ] {
        let error = with(change).unwrap_err();
        assert!(
            matches!(error, ReadError::Header { at: 0, field: named } if named == field),
            "{field}: {error:?}"
        );
    }
    let mut archive = RawTar::new().file("a", b"").end();
    archive[0] = b'b';
    assert!(matches!(
        read(&archive),
        Err(ReadError::Header {
            at: 0,
            field: "checksum"
        })
    ));
    let unknown = RawTar::new().member(EntryType::new(b'V'), "a", "", b"").read();
    assert!(
        matches!(unknown, Err(ReadError::Unsupported { .. })),
        "{unknown:?}"
    );
}

#[test]
fn c9_long_headers_and_many_names_are_bounded() {
    let limits = Limits {
        max_extension: 4096,
        max_metadata: 10_000,
        max_entries: 50,
        ..Limits::default()
    };
    let long = "x".repeat(5000);
    let error = read_with(
        &RawTar::new().pax(&[("comment", &long)]).file("a", b"").end()[..],
        &limits,
    )
    .unwrap_err();
    assert!(
        matches!(error, ReadError::ExtensionTooLarge { limit: 4096, .. }),
        "{error:?}"
    );

    let many = |count: usize, name: &str| {
        (0..count)
            .fold(RawTar::new(), |tar, number| {
                tar.file(&format!("{number}{name}"), b"")
            })
            .end()
    };
    assert!(read_with(&many(50, "")[..], &limits).is_ok());
    let error = read_with(&many(51, "")[..], &limits).unwrap_err();
    assert!(
        matches!(error, ReadError::TooManyEntries { limit: 50 }),
        "{error:?}"
    );
    let few_bytes = Limits {
        max_metadata: 1000,
        ..limits
    };
    let error = read_with(&many(50, &"n".repeat(80))[..], &few_bytes).unwrap_err();
    assert!(matches!(error, ReadError::Metadata { limit: 1000 }), "{error:?}");
}

#[test]
fn c9_a_path_is_there_once_but_a_directory_may_be_twice() {
    let twice = |first: RawTar| first.file("a", b"").read();
    assert!(matches!(
        twice(RawTar::new().file("a", b"")),
        Err(ReadError::Duplicate { .. })
    ));
    let first_a_directory = RawTar::new().member(EntryType::Directory, "a/", "", b"");
    assert!(matches!(
        twice(first_a_directory.clone()),
        Err(ReadError::Duplicate { .. })
    ));
    let directories =
        first_a_directory.member_with(EntryType::Directory, "./a", "", b"", |h| h.set_mode(0o700));
    let mut listing = Listing::new();
    listing
        .apply_layer(&directories.end()[..], &Limits::default())
        .unwrap();
    assert_eq!(listing.directories[&path("a")].mode, 0o700, "the last one counts");
}

#[test]
fn c10_whiteouts_are_what_the_specification_says() {
    let kind_of = |name: &str| {
        RawTar::new()
            .file(name, b"")
            .read()
            .map(|entries| entries[0].0.clone())
    };
    let whiteout = kind_of("a/.wh.b").unwrap();
    assert_eq!(
        (whiteout.path.as_bytes(), whiteout.kind),
        (&b"a/b"[..], EntryKind::Whiteout)
    );
    let opaque = kind_of("a/.wh..wh..opq").unwrap();
    assert_eq!(
        (opaque.path.parent().unwrap().as_bytes(), opaque.kind),
        (&b"a"[..], EntryKind::Opaque)
    );
    assert_eq!(kind_of(".wh..x").unwrap().path.as_bytes(), b".x");
    for bad in [
        ".wh.",
        "a/.wh.",
        ".wh..",
        ".wh...",
        ".wh..wh.x",
        ".wh.a/b",
        ".wh..wh.plnk/1",
        ".wh..wh..opq/a",
    ] {
        let error = kind_of(bad).unwrap_err();
        assert!(matches!(error, ReadError::Whiteout { .. }), "{bad}: {error:?}");
    }
    for bad in [
        RawTar::new().file(".wh.a", b"content"),
        RawTar::new().member(EntryType::Directory, ".wh.a", "", b""),
        RawTar::new().member(EntryType::Symlink, ".wh.a", "x", b""),
    ] {
        assert!(matches!(bad.read(), Err(ReadError::Whiteout { .. })));
    }
    // A whiteout hides what is below, so the same name may be new in the same layer; but no whiteout is there twice.
    assert!(RawTar::new().file(".wh.a", b"").file("a", b"").read().is_ok());
    assert!(
        RawTar::new()
            .file(".wh.a", b"")
            .file(".wh.a", b"")
            .read()
            .is_err()
    );
}

#[test]
fn c11_devices_and_special_modes_are_told_and_not_made() {
    let layer = RawTar::new()
        .member_with(EntryType::Char, "dev/null", "", b"", |header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            header.set_mode(0o666);
        })
        .member_with(EntryType::Block, "dev/sda", "", b"", |header| {
            header.set_device_major(8).unwrap();
            header.set_device_minor(0).unwrap();
        })
        .member(EntryType::Fifo, "pipe", "", b"")
        .member_with(EntryType::Regular, "su", "", b"", |header| {
            header.set_mode(0o104_755);
            header.set_uid(7);
        })
        .end();
    let text = describe(&layer[..], &Limits::default()).unwrap();
    let empty = Digest::of(b"").hex();
    let expected = format!(
        "0666 0 0 0 0 c - /dev/null -> 1:3\n0644 0 0 0 0 b - /dev/sda -> 8:0\n0644 0 0 0 0 p - /pipe\n\
         4755 7 0 0 0 f {empty} /su\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn c19_names_of_others_are_shown_escaped() {
    let error = RawTar::new().file("../\x1b[2J", b"").read().unwrap_err();
    assert_eq!(error.to_string(), r"`../\x1b[2J` leads out of the image");
    let text = describe(&RawTar::new().file("a\nb", b"").end()[..], &Limits::default()).unwrap();
    assert!(text.ends_with("/a\\x0ab\n"), "{text}");
}

#[test]
fn whatever_the_visitor_says_is_the_cause() {
    let layer = RawTar::new().file("a", b"").end();
    let error = read_layer(&layer[..], &Limits::default(), &mut |_, _| Err("no room".into())).unwrap_err();
    assert_eq!(chain(&error), "cannot use /a: no room");
}
