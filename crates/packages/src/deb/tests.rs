//! Sound packages, and hostile ones.

use std::process::Command;

use cairn_layer::{Limits, Source};

use super::*;
use crate::sample::{Deb, ar, chain, compressed, flaw, read, read_within, refusal};

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn hello() -> Deb {
    Deb::new("hello 1:2.0-1 amd64")
        .field("Source", "greetings (1:2.0)")
        .info("conffiles", "/etc/hello.conf\nremove-on-upgrade /etc/hello.old\n")
        .info("md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/bin/hello\n")
        .info("postinst", "#!/bin/sh\nset -e\nldconfig\n")
        .info(
            "triggers",
            "# from debhelper\nactivate-noawait  ldconfig # again\n",
        )
        .info("shlibs", "libhello 1 hello\n")
        .directory("", 0o755)
        .directory("etc/", 0o755)
        .file("etc/hello.conf", "greeting = hello\n")
        .program("usr/bin/hello", 0o4755, "#!/bin/sh\n")
        .hardlink("usr/bin/hi", "./usr/bin/hello")
        .symlink("usr/bin/hey", "../../usr/bin/hello")
        .xattr("security.capability", b"\x01\0\0\x02")
        .program("usr/bin/ping", 0o755, "ping")
}

#[test]
fn a_package_says_what_it_is_and_has() {
    let archive = hello().archive();
    assert_eq!(archive.identity().to_string(), "hello 1:2.0-1 amd64");
    assert_eq!(archive.control.source(), "greetings");
    assert_eq!(archive.control.get("description"), Some("a test\n of packages"));
    assert_eq!(archive.conffiles, [path("etc/hello.conf")]);
    assert_eq!(archive.triggers, ["activate-noawait ldconfig"]);
    assert_eq!(archive.scripts.keys().collect::<Vec<_>>(), ["postinst"]);
    assert!(archive.md5sums.unwrap().starts_with(b"d41d"));
    assert_eq!(archive.date, 1_700_000_000);
    let paths: Vec<String> = archive.tree.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "/etc",
            "/etc/hello.conf",
            "/usr/bin/hello",
            "/usr/bin/hey",
            "/usr/bin/hi",
            "/usr/bin/ping"
        ]
    );
    let Some(Node::File { attributes, .. }) = archive.tree.get(&path("usr/bin/hello")) else {
        panic!("no file");
    };
    assert_eq!(attributes.mode, 0o4755);
    assert!(
        matches!(archive.tree.get(&path("usr/bin/hi")), Some(Node::Hardlink { to }) if *to == path("usr/bin/hello"))
    );
    let Some(Node::File {
        attributes,
        source: Source::Spooled(content),
    }) = archive.tree.get(&path("usr/bin/ping"))
    else {
        panic!("no file");
    };
    assert_eq!(attributes.xattrs[&b"security.capability"[..]], b"\x01\0\0\x02");
    let mut text = String::new();
    content.reader().read_to_string(&mut text).unwrap();
    assert_eq!(text, "ping");
}

#[test]
fn the_four_compressions_give_the_same() {
    let deb = hello();
    for (control, data) in [("", ".gz"), (".gz", ".xz"), (".xz", ".zst"), (".zst", "")] {
        let archive = read(&deb.bytes_as(control, data), &deb.identity).unwrap();
        assert_eq!(archive.tree.len(), 6, "{control} {data}");
    }
}

#[test]
fn a_package_may_have_no_files() {
    for deb in [
        Deb::new("meta 1 all"),
        Deb::new("meta 1 all").directory("", 0o755),
    ] {
        assert!(deb.archive().tree.is_empty());
    }
}

#[test]
fn what_dpkg_deb_makes_is_read_and_what_it_lists_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("hello");
    let script = format!(
        "mkdir -p {0}/DEBIAN {0}/usr/bin {0}/usr/share/doc/hello && printf 'Package: hello\\nVersion: 1\\nArchitecture: all\\nMaintainer: Ann <ann@example.org>\\nDescription: x\\n' > {0}/DEBIAN/control && echo x > {0}/usr/bin/hello && ln {0}/usr/bin/hello {0}/usr/bin/hi && ln -s hello {0}/usr/bin/hey && echo free > {0}/usr/share/doc/hello/copyright",
        root.display()
    );
    assert!(
        Command::new("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    );
    for compression in ["xz", "gzip", "none", "zstd"] {
        let target = directory.path().join(format!("{compression}.deb"));
        let made = Command::new("dpkg-deb")
            .args(["--root-owner-group", &format!("-Z{compression}"), "-b"])
            .args([&root, &target])
            .output();
        let Ok(made) = made else {
            eprintln!("skipped: there is no dpkg-deb");
            return;
        };
        if !made.status.success() && compression == "zstd" {
            continue;
        }
        assert!(made.status.success(), "{made:?}");
        let bytes = std::fs::read(&target).unwrap();
        let archive = read(&bytes, &"hello 1 all".parse().unwrap()).unwrap();
        let listed = Command::new("dpkg-deb").arg("-c").arg(&target).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(
            archive.tree.len() + 1,
            listed.lines().count(),
            "{compression}: {listed}"
        );
    }
}

#[test]
fn d1_another_package_than_the_index_said_is_refused() {
    let deb = hello();
    for other in [
        "hello 1:2.0-2 amd64",
        "hullo 1:2.0-1 amd64",
        "hello 1:2.0-1 arm64",
    ] {
        let text = refusal(&deb.bytes(), &other.parse().unwrap());
        assert_eq!(
            text,
            format!("cannot use the package {other}: it says to be hello 1:2.0-1 amd64")
        );
    }
}

#[test]
fn d6_lying_sizes_and_odd_headers_are_refused() {
    let deb = hello();
    let bytes = deb.bytes();
    // The size of the second member, control.tar.zst, stands at 8 + 60 + 4 + 48.
    for size in [
        "0",
        "1",
        "9999999999",
        "-1",
        "+12",
        "0x10",
        "1e3",
        "",
        " 12",
        "12 3",
    ] {
        let mut bytes = bytes.clone();
        bytes[120..130].copy_from_slice(format!("{size:<10}").as_bytes());
        assert!(read(&bytes, &deb.identity).is_err(), "{size:?} was taken");
    }
    for (at, byte) in [
        (0, b'?'),
        (8, b'D'),
        (66, b'x'),
        (67, b'x'),
        (68, b'1'),
        (70, b'1'),
        (72, b'/'),
        (130, b'x'),
    ] {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        assert!(read(&bytes, &deb.identity).is_err(), "a {byte} at {at} was taken");
    }
    let text = refusal(&bytes[..bytes.len() - 5], &deb.identity);
    assert!(
        text.contains("the package ends in the middle of `data.tar.zst`"),
        "{text}"
    );
}

#[test]
fn d6_every_cut_is_refused() {
    let deb = hello();
    let bytes = deb.bytes_as("", "");
    for length in (0..bytes.len()).step_by(97) {
        assert!(
            read(&bytes[..length], &deb.identity).is_err(),
            "{length} bytes were taken"
        );
    }
}

#[test]
fn d6_members_out_of_order_or_too_many_are_refused() {
    let deb = hello();
    let (control, data) = (deb.control_tar(), deb.data_tar());
    let binary = ("debian-binary", &b"2.0\n"[..]);
    let (control, data) = (("control.tar", &control[..]), ("data.tar", &data[..]));
    assert!(read(&ar(&[binary, control, data]), &deb.identity).is_ok());
    for (members, said) in [
        (
            &[control, data][..],
            "it has no debian-binary where that should be, but `control.tar`",
        ),
        (
            &[binary, data, control],
            "it has no control.tar where that should be, but `data.tar`",
        ),
        (&[binary, control], "it has no data.tar where that should be"),
        (
            &[binary, control, data, ("_gpgorigin", b"x")],
            "it has a member `_gpgorigin` behind its data",
        ),
        (
            &[binary, control, data, data],
            "it has a member `data.tar` behind its data",
        ),
        (
            &[binary, control, control, data],
            "it has no data.tar where that should be, but `control.tar`",
        ),
        (
            &[("debian-binary", b"2.1\n"), control, data],
            "its `debian-binary` does not say 2.0, the one format that is known",
        ),
        (
            &[("debian-binary", b"2.0\n\n"), control, data],
            "its `debian-binary` does not say 2.0, the one format that is known",
        ),
    ] {
        let text = refusal(&ar(members), &deb.identity);
        assert_eq!(text, format!("cannot use the package {}: {said}", deb.identity));
    }
}

#[test]
fn d6_odd_compression_is_refused() {
    let deb = hello();
    let (control, data) = (compressed(".gz", &deb.control_tar()), deb.data_tar());
    let xz = compressed(".xz", &data);
    for (name, bytes) in [
        ("data.tar.bz2", &xz[..]),
        ("data.tar.lzma", &xz),
        ("data.tar.gz", &xz),
        ("data.tar", &xz),
        ("data.tar.xz", &data),
        ("data.tar.xz.gz", &xz),
        ("data.tar.XZ", &xz),
    ] {
        let members = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", &control),
            (name, bytes),
        ]);
        let text = refusal(&members, &deb.identity);
        assert!(
            text.contains(&format!(
                "its member `{name}` is not compressed as its name should say"
            )),
            "{text}"
        );
    }
    let behind = [&xz[..], b"more"].concat();
    let members = [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar.gz", &control),
        ("data.tar.xz", &behind),
    ];
    assert!(read(&ar(&members), &deb.identity).is_err());
}

#[test]
fn d6_bombs_are_not_unpacked() {
    let limits = DebLimits {
        data: Limits {
            max_uncompressed: 1 << 20,
            ..Limits::default()
        },
        ..DebLimits::default()
    };
    let zeros = "\0".repeat(4 << 20);
    let deb = Deb::new("bomb 1 all").file("zeros", &zeros);
    assert!(deb.read().is_ok());
    let text = chain(&read_within(&deb.bytes(), &deb.identity, &limits).unwrap_err());
    assert!(
        text.contains("it decompresses to more than 1048576 bytes"),
        "{text}"
    );
    let deb = Deb::new("bomb 1 all").info("templates", &"\0".repeat(65 << 20));
    let text = chain(&deb.read().unwrap_err());
    assert!(text.contains("more than"), "{text}");
}

#[test]
fn d6_what_leads_out_or_is_no_file_is_refused_by_name() {
    use tar::EntryType;
    for (deb, said) in [
        (
            Deb::new("x 1 all").file("../etc/passwd", ""),
            "`./../etc/passwd` leads out of the image",
        ),
        (
            Deb::new("x 1 all").file("a/../../b", ""),
            "`./a/../../b` leads out of the image",
        ),
        (
            Deb::new("x 1 all").symlink("usr/x", "../../etc"),
            "the symbolic link /usr/x leads to `../../etc`, above the root",
        ),
        (
            Deb::new("x 1 all").symlink("x", "/../etc"),
            "the symbolic link /x leads to `/../etc`, above the root",
        ),
        (
            Deb::new("x 1 all").hardlink("x", "../etc/shadow"),
            "the hard link `./x` cannot lead to `../etc/shadow`",
        ),
        (
            Deb::new("x 1 all").hardlink("x", "etc/shadow"),
            "the hard link /x leads to /etc/shadow, which is no file before it in the archive",
        ),
        (
            Deb::new("x 1 all").member(EntryType::Char, "dev/null", 0o666, "", b""),
            "/dev/null is a device or a named pipe, which no image is given",
        ),
        (
            Deb::new("x 1 all").member(EntryType::Fifo, "run/x", 0o666, "", b""),
            "/run/x is a device or a named pipe, which no image is given",
        ),
        (
            Deb::new("x 1 all").file("x", "1").file("x", "2"),
            "/x is there twice",
        ),
        (
            Deb::new("x 1 all").symlink("x", "/etc").file("x/passwd", ""),
            "/x/passwd",
        ),
        (
            Deb::new("x 1 all").file("x", "").file("x/y", ""),
            "/x/y lies below /x, which is not a directory",
        ),
        (Deb::new("x 1 all").file("a/.wh.b", ""), "would remove something"),
    ] {
        let text = chain(&deb.read().unwrap_err());
        assert!(
            text.starts_with("cannot use the package x 1 all: ") && text.contains(said),
            "{text}"
        );
    }
}

#[test]
fn d6_an_odd_control_archive_is_refused() {
    for (deb, said) in [
        (
            Deb::new("x 1 all").field("Version", "2"),
            "the control file has the field Version twice",
        ),
        (
            Deb::new("x 1 all").field("Has\u{1}control", "2"),
            "line 5 of the control file is no field",
        ),
        (
            Deb::new("x 1 all").field("A", "b\n\nPackage: y"),
            "line 7 of the control file is no field",
        ),
        (
            Deb::new("x 1 all").info("a/postinst", ""),
            "its control archive has /a/postinst, which is no file at the top",
        ),
        (Deb::new("x 1 all").info("control", ""), "is there twice"),
        (
            Deb::new("x 1 all").info("conffiles", "/etc/../x\n"),
            "its list of configuration files has an impossible line",
        ),
    ] {
        let text = chain(&deb.read().unwrap_err());
        assert!(text.contains(said), "{text}");
    }
    assert!(matches!(
        flaw(&Deb::new("x 1 all").info("../x", "")),
        DebFlaw::ControlArchive { .. }
    ));
}

#[test]
fn d6_scripts_are_kept_as_text_and_nothing_else_is_done_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", mark.display());
    let mut deb = Deb::new("x 1 all");
    for name in ["preinst", "postinst", "prerm", "postrm", "config"] {
        deb = deb.info(name, &script);
    }
    let archive = deb.archive();
    assert_eq!(archive.scripts.len(), 5);
    assert!(!mark.exists());
}

proptest::proptest! {
    /// Whatever a few bytes are changed to: read, or refused, and never more than the package says.
    #[test]
    fn d6_changed_bytes_do_no_harm(changes in proptest::collection::vec((0_usize..4_000, proptest::num::u8::ANY), 1..6)) {
        let deb = hello();
        let mut bytes = deb.bytes_as("", "");
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(archive) = read(&bytes, &deb.identity) {
            proptest::prop_assert_eq!(archive.identity(), &deb.identity);
        }
    }
}
