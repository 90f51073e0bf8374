//! The context directory: nothing outside of it is ever read, and nothing that changes meanwhile gets into a layer.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests make the directories that they walk"
)]

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use cairn_layer::{
    Attributes, Compression, Context, GlobFilter, LayerOptions, LocalEntry, LocalError, LocalFile, LocalKind,
    Node, Source, Tree, WriteError, write_layer,
};
use rustix::fs::{CWD, RenameFlags};

use crate::support::path;

const SECRET: &[u8] = b"what is outside of the context";
const INSIDE: &[u8] = b"what is inside of the context";

/// A directory with a context in it and a secret beside.
struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("context/sub/deep")).unwrap();
        fs::write(directory.path().join("secret"), SECRET).unwrap();
        fs::write(directory.path().join("context/file"), INSIDE).unwrap();
        fs::write(directory.path().join("context/sub/deep/file"), INSIDE).unwrap();
        Self(directory)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("context").join(name)
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.at(name)).unwrap();
    }

    fn context(&self) -> Context {
        Context::open(&self.at("")).unwrap()
    }

    fn walk(&self, from: &str) -> Result<Vec<LocalEntry>, LocalError> {
        let entries = self.context().walk(from, &GlobFilter::none())?;
        Ok(entries.into_iter().collect())
    }

    fn file(&self, from: &str) -> LocalFile {
        match self.context().kind(from).unwrap() {
            LocalKind::File { file, .. } => file,
            other => panic!("{other:?}"),
        }
    }
}

/// What a walk found, one line each.
fn shown(entries: &[LocalEntry]) -> Vec<String> {
    let line = |entry: &LocalEntry| {
        let path = entry
            .path
            .as_ref()
            .map_or_else(|| ".".to_owned(), ToString::to_string);
        match &entry.kind {
            LocalKind::Directory => format!("{path}/"),
            LocalKind::File { file, .. } => format!("{path} {}", file.size()),
            LocalKind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
        }
    };
    entries.iter().map(line).collect()
}

fn layer_of(file: LocalFile) -> Result<Vec<u8>, WriteError> {
    let mut tree = Tree::new();
    let node = Node::File {
        attributes: Attributes::file(false),
        source: Source::Local(file),
    };
    tree.insert(path("file"), node).unwrap();
    let mut out = Vec::new();
    let options = LayerOptions {
        compression: Compression::None,
        ..LayerOptions::default()
    };
    write_layer(&tree, &options, &mut out).map(|_| out)
}

fn assert_changed(file: LocalFile) {
    let error = layer_of(file).unwrap_err();
    assert!(
        matches!(
            error,
            WriteError::Content {
                source: LocalError::Changed { .. },
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn b1_links_in_a_copied_directory_are_stored_and_never_followed() {
    let sandbox = Sandbox::new();
    sandbox.link("../../secret", "sub/out");
    sandbox.link("/etc", "sub/absolute");
    sandbox.link("deep", "sub/inside");
    sandbox.link("nowhere", "sub/dangling");
    let entries = sandbox.walk("sub").unwrap();
    assert_eq!(
        shown(&entries),
        [
            "./",
            "/absolute -> /etc",
            "/dangling -> nowhere",
            "/deep/",
            "/deep/file 29",
            "/inside -> deep",
            "/out -> ../../secret",
        ]
    );
}

#[test]
fn b1_a_from_that_leads_out_is_refused_and_names_the_link() {
    let sandbox = Sandbox::new();
    sandbox.link("../secret", "out");
    sandbox.link("/", "root");
    sandbox.link("sub/../..", "up");
    sandbox.link("root/etc", "twice");
    for (from, through) in [
        ("../secret", None),
        ("sub/../../secret", None),
        ("/etc", None),
        ("..", None),
        ("out", Some("out")),
        ("root/etc/passwd", Some("root")),
        ("root", Some("root")),
        ("up/secret", Some("up")),
        ("twice", Some("root")),
    ] {
        match sandbox.walk(from) {
            Err(LocalError::Escapes { from: named, link }) => {
                assert_eq!((&named[..], link.as_deref()), (from, through));
            }
            other => panic!("{from}: {other:?}"),
        }
    }
}

#[test]
fn a_from_may_lead_through_links_that_stay_inside() {
    let sandbox = Sandbox::new();
    sandbox.link("sub/deep", "current");
    sandbox.link("loop", "loop");
    for from in ["current/", "current/.", "./sub//deep", "current/../deep"] {
        assert_eq!(shown(&sandbox.walk(from).unwrap()), ["./", "/file 29"], "{from}");
    }
    assert_eq!(
        shown(&sandbox.walk("current").unwrap()),
        [". -> sub/deep"],
        "the link itself"
    );
    assert_eq!(shown(&sandbox.walk("current/file").unwrap()), [". 29"]);
    assert!(matches!(
        sandbox.walk("loop/"),
        Err(LocalError::TooManyLinks { .. })
    ));
    assert_eq!(shown(&sandbox.walk("loop").unwrap()), [". -> loop"]);
}

#[test]
fn what_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    for from in ["nothing", "sub/nothing", "file/below", "nothing/"] {
        assert!(
            matches!(sandbox.walk(from), Err(LocalError::Missing { from: named }) if named == from),
            "{from}"
        );
    }
    assert!(matches!(
        sandbox.walk("file/"),
        Err(LocalError::NotADirectory { .. })
    ));
    assert!(matches!(
        Context::open(&sandbox.at("nothing")),
        Err(LocalError::Open { .. })
    ));
    assert!(matches!(
        Context::open(&sandbox.at("file")),
        Err(LocalError::Open { .. })
    ));
    assert_eq!(sandbox.context().names("."), ["file", "sub"]);
    assert_eq!(sandbox.context().names("sub/deep"), ["file"]);
    assert_eq!(sandbox.context().names("../"), [""; 0]);
}

#[test]
fn names_come_sorted_however_the_disk_has_them() {
    let sandbox = Sandbox::new();
    let mut names: Vec<String> = (0..40)
        .map(|number| format!("{}", number * 7919 % 1000))
        .collect();
    for name in &names {
        fs::write(sandbox.at("sub/deep").join(name), "").unwrap();
    }
    names.push("file".to_owned());
    names.sort();
    assert_eq!(sandbox.context().names("sub/deep"), names);
}

#[test]
fn excluded_directories_are_not_even_looked_at() {
    let sandbox = Sandbox::new();
    rustix::fs::mkfifoat(
        CWD,
        sandbox.at("sub/deep/pipe"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    assert!(matches!(sandbox.walk("."), Err(LocalError::Special { .. })));
    let walk = |pattern: &str| {
        let filter = GlobFilter::new([pattern]).unwrap();
        sandbox
            .context()
            .walk(".", &filter)
            .map(|entries| shown(&entries.into_iter().collect::<Vec<_>>()))
    };
    assert_eq!(walk("**/deep/").unwrap(), ["./", "/file 29", "/sub/"]);
    assert_eq!(walk("sub").unwrap(), ["./", "/file 29"]);
    assert_eq!(
        walk("**/pipe").unwrap(),
        ["./", "/file 29", "/sub/", "/sub/deep/", "/sub/deep/file 29"]
    );
}

/// While one thread swaps the file for a link to the secret and back, no layer ever has the secret.
#[test]
fn b2_a_file_swapped_for_a_link_never_lets_the_outside_in() {
    const ROUNDS: u32 = 2000;
    let sandbox = Sandbox::new();
    sandbox.link("../secret", "other");
    let (stop, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
    let (file, other) = (sandbox.at("file"), sandbox.at("other"));
    let (mut written, mut refused) = (0_u32, 0_u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &file, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..ROUNDS {
            match sandbox.context().kind("file") {
                Ok(LocalKind::File { file, .. }) => match layer_of(file) {
                    Ok(layer) => {
                        written += 1;
                        assert!(layer[512..].starts_with(INSIDE));
                    }
                    Err(error) => {
                        refused += 1;
                        let is_changed = matches!(
                            error,
                            WriteError::Content {
                                source: LocalError::Changed { .. },
                                ..
                            }
                        );
                        assert!(is_changed, "{error:?}");
                    }
                },
                // As a link it leads out; and in between it may be another kind than a moment before.
                Ok(LocalKind::Symlink { .. }) => {}
                Ok(LocalKind::Directory) => panic!("there is no directory"),
                Err(LocalError::Escapes { .. } | LocalError::Missing { .. } | LocalError::Read { .. }) => {
                    refused += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!(
        "{} swaps, {written} layers written, {refused} refused",
        swaps.into_inner()
    );
    assert!(written + refused > 0);
}

#[test]
fn b2_a_file_that_was_replaced_is_refused() {
    type Replace = fn(&Sandbox);
    let replace: [(&str, Replace); 5] = [
        ("another file", |sandbox| {
            fs::rename(sandbox.at("sub/deep/file"), sandbox.at("file")).unwrap();
        }),
        ("a link to the outside", |sandbox| {
            fs::remove_file(sandbox.at("file")).unwrap();
            sandbox.link("../secret", "file");
        }),
        ("nothing", |sandbox| fs::remove_file(sandbox.at("file")).unwrap()),
        ("a directory", |sandbox| {
            fs::remove_file(sandbox.at("file")).unwrap();
            fs::create_dir(sandbox.at("file")).unwrap();
        }),
        ("a pipe", |sandbox| {
            fs::remove_file(sandbox.at("file")).unwrap();
            rustix::fs::mkfifoat(CWD, sandbox.at("file"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        }),
    ];
    for (by, replace) in replace {
        let sandbox = Sandbox::new();
        let file = sandbox.file("file");
        replace(&sandbox);
        println!("replaced by {by}");
        assert_changed(file);
    }
}

#[test]
fn b2_a_directory_on_the_way_that_became_a_link_is_refused() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("sub/deep/file");
    fs::rename(sandbox.at("sub"), sandbox.at("moved")).unwrap();
    sandbox.link("moved", "sub");
    assert_changed(file);
}

#[test]
fn b3_a_file_that_grew_or_shrank_or_was_written_to_is_refused() {
    let change: [fn(&fs::File); 3] = [
        |file| file.set_len(INSIDE.len() as u64 + 1).unwrap(),
        |file| file.set_len(1).unwrap(),
        |file| {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(7))
                .unwrap();
        },
    ];
    for change in change {
        let sandbox = Sandbox::new();
        let file = sandbox.file("file");
        change(&fs::File::options().write(true).open(sandbox.at("file")).unwrap());
        assert_changed(file);
    }
}

#[test]
fn b3_a_file_that_changes_while_it_is_read_is_refused() {
    let read_on = |change: fn(&mut fs::File)| {
        let sandbox = Sandbox::new();
        let mut reader = sandbox.file("file").open().unwrap();
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 10);
        change(&mut fs::File::options().append(true).open(sandbox.at("file")).unwrap());
        loop {
            match reader.read(&mut [0; 10]) {
                Ok(0) => panic!("it was taken for the whole file"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let grow = read_on(|file| file.write_all(b"more").unwrap());
    assert!(matches!(grow, LocalError::Changed { .. }), "{grow:?}");
    let shrink = read_on(|file| file.set_len(12).unwrap());
    assert!(matches!(shrink, LocalError::Changed { .. }), "{shrink:?}");
}

#[test]
fn b4_pipes_and_sockets_are_named_and_not_waited_for() {
    let sandbox = Sandbox::new();
    rustix::fs::mkfifoat(
        CWD,
        sandbox.at("sub/pipe"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let error = sandbox.walk("sub").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`sub/pipe` is a named pipe, which cannot be in a layer"
    );
    fs::remove_file(sandbox.at("sub/pipe")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.at("sub/socket")).unwrap();
    let error = sandbox.walk("sub/socket").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`sub/socket` is a socket, which cannot be in a layer"
    );
}

#[test]
fn b4_devices_are_refused() {
    let error = Context::open(Path::new("/dev"))
        .unwrap()
        .kind("null")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`null` is a character device, which cannot be in a layer"
    );
}

#[test]
fn b4_a_file_of_proc_says_that_it_is_empty_and_is_refused() {
    let context = Context::open(Path::new("/proc")).unwrap();
    let LocalKind::File { file, .. } = context.kind("version").unwrap() else {
        panic!("a file")
    };
    assert_eq!(file.size(), 0);
    assert_changed(file);
}

#[test]
fn b11_an_output_that_fails_at_any_byte_fails_the_layer() {
    struct Until(usize);
    impl io::Write for Until {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(count)
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut tree = Tree::new();
    tree.insert(path("file"), crate::support::file(INSIDE)).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let options = LayerOptions {
            compression,
            ..LayerOptions::default()
        };
        let whole = write_layer(&tree, &options, &mut Vec::new()).unwrap();
        for room in 0..usize::try_from(whole.size).unwrap() {
            let error = write_layer(&tree, &options, &mut Until(room)).unwrap_err();
            assert!(
                matches!(error, WriteError::Output { .. }),
                "{compression:?} {room}: {error:?}"
            );
        }
        let room = usize::try_from(whole.size).unwrap();
        assert_eq!(write_layer(&tree, &options, &mut Until(room)).unwrap(), whole);
    }
}

#[test]
fn names_that_are_no_text_are_copied_as_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let sandbox = Sandbox::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff\n");
    fs::write(sandbox.at("sub").join(name), "x").unwrap();
    let entries = sandbox.walk("sub").unwrap();
    assert_eq!(
        entries.last().unwrap().path.as_ref().unwrap().as_bytes(),
        b"\xff\n"
    );
    assert_eq!(sandbox.context().names("sub"), ["deep", r"\xff\x0a"]);
}

/// What is read is counted, over all files of a context.
#[test]
fn bytes_that_are_read_are_counted() {
    let sandbox = Sandbox::new();
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(5));
    let context = sandbox.context().counting(std::sync::Arc::clone(&counter));
    for entry in context.walk(".", &GlobFilter::none()).unwrap() {
        if let LocalKind::File { file, .. } = entry.kind {
            layer_of(file).unwrap();
        }
    }
    let files = 2 * INSIDE.len() as u64;
    assert_eq!(counter.load(Ordering::Relaxed), 5 + files);
}
