//! Row C8: the 33 cases that containerd tries its unpacking with (`TestBreakouts`), put to a reader.
//!
//! Cairn never unpacks to a disk, so an entry can do harm only by what is believed of it: a path outside of the image, a
//! link that is followed, something removed that was not meant. For each case stands here what the entries of the layer
//! are, or why it is refused; and where a path leads in the image that comes out of it.

use cairn_layer::{Entry, EntryKind, Limits, Listing};
use tar::EntryType;

use crate::support::{RawTar, chain, path};

/// A layer, perhaps upon another, and what it is.
struct Case {
    name: &'static str,
    below: RawTar,
    layer: RawTar,
    /// The entries, or the error.
    expected: Result<&'static str, &'static str>,
    /// Paths, and where they lead once both layers are applied.
    leads: &'static [(&'static str, &'static str)],
}

impl RawTar {
    fn dir(self, name: &str) -> Self {
        self.member(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, target: &str, name: &str) -> Self {
        self.member(EntryType::Symlink, name, target, b"")
    }

    fn hardlink(self, to: &str, name: &str) -> Self {
        self.member(EntryType::Link, name, to, b"")
    }
}

fn shown(entry: &Entry) -> String {
    let path = entry.path.as_bytes().escape_ascii();
    match &entry.kind {
        EntryKind::Directory => format!("{path}/"),
        EntryKind::File => format!("{path} {}", entry.size),
        EntryKind::Symlink { target } => format!("{path} -> {}", target.escape_ascii()),
        EntryKind::Hardlink { to } => format!("{path} = {}", to.as_bytes().escape_ascii()),
        EntryKind::Whiteout => format!("no {path}"),
        other => panic!("no case has {other:?}"),
    }
}

impl Case {
    fn check(&self) {
        let name = self.name;
        let found = self.layer.clone().read();
        let found = found
            .map(|entries| {
                let lines: Vec<_> = entries.iter().map(|(entry, _)| shown(entry)).collect();
                lines.join(", ")
            })
            .map_err(|error| chain(&error));
        let expected = self.expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{name}");
        if expected.is_err() {
            return;
        }
        let mut listing = Listing::new();
        for layer in [&self.below, &self.layer] {
            let layer = layer.clone().end();
            listing.apply_layer(&layer[..], &Limits::default()).unwrap();
        }
        for (from, to) in self.leads {
            let found = listing.resolve(&path(from)).unwrap();
            assert_eq!(found, path(to), "{name}: where {from} leads");
        }
    }
}

/// What is below where containerd's case has something below.
fn system() -> RawTar {
    RawTar::new().dir("etc").file("etc/passwd", b"inside")
}

fn through_links() -> Vec<Case> {
    let file = |layer: RawTar, name: &str| layer.file(name, b"stone");
    let case = |name, layer, expected, leads| Case {
        name,
        below: RawTar::new(),
        layer,
        expected,
        leads,
    };
    vec![
        case(
            "a file through an absolute link",
            file(RawTar::new().dir("etc").symlink("/etc", "also"), "/also/x"),
            Ok("etc/, also -> /etc, also/x 5"),
            &[("also/x", "etc/x")],
        ),
        case(
            "a link that goes up on its way",
            file(
                RawTar::new().dir("etc").dir("one").symlink("/one/../etc", "also"),
                "/also/x",
            ),
            Ok("etc/, one/, also -> /one/../etc, also/x 5"),
            &[("also/x", "etc/x")],
        ),
        case(
            "an absolute link to a link",
            file(
                RawTar::new()
                    .dir("etc")
                    .dir("one")
                    .symlink("/etc", "/one/etc")
                    .symlink("/one/etc", "also"),
                "/one/etc/x",
            ),
            Ok("etc/, one/, one/etc -> /etc, also -> /one/etc, one/etc/x 5"),
            &[("also/x", "etc/x"), ("one/etc/x", "etc/x")],
        ),
        case(
            "a relative link to a link",
            file(
                RawTar::new()
                    .dir("etc")
                    .dir("one")
                    .symlink("/etc", "/one/etc")
                    .symlink("./one/etc", "also"),
                "/one/etc/x",
            ),
            Ok("etc/, one/, one/etc -> /etc, also -> ./one/etc, one/etc/x 5"),
            &[("also/x", "etc/x")],
        ),
        case(
            "a file that a link would empty",
            file(RawTar::new().dir("etc"), "etc/x")
                .symlink("/etc", "also")
                .file("/also/x", b""),
            Ok("etc/, etc/x 5, also -> /etc, also/x 0"),
            &[("also/x", "etc/x")],
        ),
    ]
}

/// The hard link `mine` to each of `links`' spellings of `etc/passwd`.
fn hard_links() -> Vec<Case> {
    let case = |name, layer, expected, leads| Case {
        name,
        below: RawTar::new(),
        layer,
        expected,
        leads,
    };
    vec![
        case(
            "a hard link through a relative link that leads out",
            system()
                .dir("out")
                .symlink("../../etc", "out/d")
                .hardlink("/out/d/passwd", "out/mine"),
            Ok("etc/, etc/passwd 6, out/, out/d -> ../../etc, out/mine = out/d/passwd"),
            &[("out/d/passwd", "etc/passwd")],
        ),
        case(
            "a hard link through a link that goes down and out",
            system()
                .dir("out")
                .dir("down")
                .symlink("../down/../../etc", "out/d")
                .hardlink("/out/d/passwd", "out/mine"),
            Ok("etc/, etc/passwd 6, out/, down/, out/d -> ../down/../../etc, out/mine = out/d/passwd"),
            &[("out/d/passwd", "etc/passwd")],
        ),
        case(
            "a hard link through an absolute link",
            system().symlink("/etc", "also").hardlink("/also/passwd", "mine"),
            Ok("etc/, etc/passwd 6, also -> /etc, mine = also/passwd"),
            &[("also/passwd", "etc/passwd")],
        ),
        case(
            "a hard link through a link that goes far up",
            system()
                .symlink("../../../../../../../etc", "also")
                .hardlink("/also/passwd", "mine"),
            Ok("etc/, etc/passwd 6, also -> ../../../../../../../etc, mine = also/passwd"),
            &[("also/passwd", "etc/passwd")],
        ),
        case(
            "a hard link through a link that goes up and out",
            system()
                .symlink("up/../../../etc", "also")
                .hardlink("/also/passwd", "mine"),
            Ok("etc/, etc/passwd 6, also -> up/../../../etc, mine = also/passwd"),
            &[],
        ),
        case(
            "a hard link that goes out by itself",
            system().hardlink("../../../../../etc/passwd", "mine"),
            Err("the hard link `mine` cannot lead to `../../../../../etc/passwd`"),
            &[],
        ),
        case(
            "an absolute hard link",
            system().hardlink("/etc/passwd", "mine"),
            Ok("etc/, etc/passwd 6, mine = etc/passwd"),
            &[("mine", "mine")],
        ),
        case(
            "a hard link to a symbolic link, before what that points at",
            RawTar::new()
                .dir("etc")
                .symlink("/etc/passwd", "one")
                .hardlink("one", "mine")
                .file("/etc/passwd", b"after"),
            Ok("etc/, one -> /etc/passwd, mine = one, etc/passwd 5"),
            &[("one", "etc/passwd")],
        ),
        case(
            "a hard link to a symbolic link that leads out",
            system()
                .symlink("../../../../../etc/passwd", "one")
                .hardlink("/one", "mine"),
            Ok("etc/, etc/passwd 6, one -> ../../../../../etc/passwd, mine = one"),
            &[("one", "etc/passwd")],
        ),
        case(
            "a hard link to an absolute symbolic link",
            system().symlink("/etc/passwd", "one").hardlink("/one", "mine"),
            Ok("etc/, etc/passwd 6, one -> /etc/passwd, mine = one"),
            &[("one", "etc/passwd")],
        ),
        case(
            "a hard link to a path that the machine has too",
            RawTar::new()
                .symlink("/tmp/secret", "/tmp/other")
                .hardlink("/tmp/other", "mine"),
            Ok("tmp/other -> /tmp/secret, mine = tmp/other"),
            &[("tmp/other", "tmp/secret")],
        ),
    ]
}

fn odd_names() -> Vec<Case> {
    let case = |name, layer, expected, leads| Case {
        name,
        below: RawTar::new(),
        layer,
        expected,
        leads,
    };
    let mine = |layer: RawTar, name: &str| layer.hardlink("/etc/passwd", name);
    vec![
        case(
            "a link in the place of the root's parent",
            mine(system().symlink("/etc/", ".."), "mine"),
            Err("`..` leads out of the image"),
            &[],
        ),
        case(
            "a link without a name",
            mine(system().symlink("/etc/", ""), "mine"),
            Err("`` leads out of the image"),
            &[],
        ),
        case(
            "a link whose name goes up",
            mine(system().symlink("/etc/", "also/sub/.."), "/also/mine"),
            Err("`also/sub/..` leads out of the image"),
            &[],
        ),
        case(
            "a directory with a slash at its end",
            mine(system().dir("also/"), "/also/mine"),
            Ok("etc/, etc/passwd 6, also/, also/mine = etc/passwd"),
            &[("also/mine", "also/mine")],
        ),
    ]
}

fn replacements() -> Vec<Case> {
    let case = |name, below, layer, expected, leads| Case {
        name,
        below,
        layer,
        expected,
        leads,
    };
    vec![
        case(
            "a link in the place of a directory",
            system().dir("also"),
            RawTar::new()
                .symlink("/etc", "also")
                .hardlink("/etc/passwd", "/also/mine"),
            Ok("also -> /etc, also/mine = etc/passwd"),
            &[("also/mine", "etc/mine")],
        ),
        case(
            "a relative link in the place of a directory",
            system().dir("also"),
            RawTar::new()
                .symlink("../../etc", "also")
                .hardlink("/etc/passwd", "/also/mine"),
            Ok("also -> ../../etc, also/mine = etc/passwd"),
            &[("also/mine", "etc/mine")],
        ),
        case(
            "a directory in the place of a link",
            system().symlink("/etc", "also"),
            RawTar::new().dir("/also/").hardlink("/etc/passwd", "/also/mine"),
            Ok("also/, also/mine = etc/passwd"),
            &[("also/mine", "also/mine")],
        ),
        case(
            "a directory in the place of a link, and a file in that of a hard link",
            system()
                .symlink("etc", "also")
                .hardlink("/etc/passwd", "/also/mine"),
            RawTar::new().dir("/also/").file("/also/mine", b"different"),
            Ok("also/, also/mine 9"),
            &[("also/mine", "also/mine")],
        ),
    ]
}

fn whiteouts() -> Vec<Case> {
    let case = |name, layer: &str, expected, leads| Case {
        name,
        below: system().file("etc/other", b"").symlink("/etc", "also"),
        layer: RawTar::new().file(layer, b""),
        expected,
        leads,
    };
    vec![
        case(
            "no parent of the root",
            ".wh...",
            Err("/.wh... is no whiteout: those are empty files named `.wh.` and the name that they remove"),
            &[],
        ),
        case(
            "no parent",
            "etc/.wh...",
            Err(
                "/etc/.wh... is no whiteout: those are empty files named `.wh.` and the name that they remove",
            ),
            &[],
        ),
        case(
            "no root",
            ".wh..",
            Err("/.wh.. is no whiteout: those are empty files named `.wh.` and the name that they remove"),
            &[],
        ),
        case(
            "no directory that it is in",
            "etc/.wh..",
            Err(
                "/etc/.wh.. is no whiteout: those are empty files named `.wh.` and the name that they remove",
            ),
            &[],
        ),
        case(
            "no link",
            ".wh.also",
            Ok("no also"),
            &[("also", "also"), ("etc", "etc")],
        ),
        case(
            "no file behind a link",
            "also/.wh.other",
            Ok("no also/other"),
            &[("also", "etc")],
        ),
        case(
            "a directory that is named like a whiteout",
            ".wh.etc/file",
            Err(
                "/.wh.etc/file is no whiteout: those are empty files named `.wh.` and the name that they remove",
            ),
            &[],
        ),
        Case {
            below: system().symlink("/nowhere", "dead"),
            ..case(
                "no file behind a link to nowhere",
                "dead/.wh.etc",
                Ok("no dead/etc"),
                &[("etc", "etc"), ("dead", "nowhere")],
            )
        },
        case(
            "a whiteout on a way up",
            "nowhere/../.wh.etc",
            Err("`nowhere/../.wh.etc` leads out of the image"),
            &[],
        ),
    ]
}

#[test]
fn c8_the_cases_of_containerd_are_refused_or_mean_something_in_the_image() {
    let groups = [
        through_links(),
        hard_links(),
        odd_names(),
        replacements(),
        whiteouts(),
    ];
    let cases: Vec<_> = groups.into_iter().flatten().collect();
    assert_eq!(cases.len(), 33, "all of containerd's");
    for case in &cases {
        case.check();
    }
}
