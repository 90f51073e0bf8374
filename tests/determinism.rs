//! The same spec and files give the same bytes, wherever and however they are built; and which bytes these are.

use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use cairn_oci::Digest;

use crate::harness::{Sandbox, binary, golden, run, workspace};
use crate::matrix::SITE;

/// What stands in for the program: its bytes are fixed, as a compiled one's are not.
const PROGRAM: &[u8] = b"#!/bin/sh\necho 'Hello, World! Version 1'\n";

/// A project: paths, contents, and whether the owner may execute.
type Files = Vec<(&'static str, Vec<u8>, bool)>;

/// `examples/hello`, with a program of fixed bytes.
fn hello() -> Files {
    let spec = std::fs::read(workspace().join("examples/hello/cairn.toml")).unwrap();
    vec![
        ("cairn.toml", spec, false),
        ("dist/amd64/hello", PROGRAM.to_vec(), true),
    ]
}

/// The project of the matrix, with few and small files.
fn site() -> Files {
    let page = |text: &str| text.repeat(500).into_bytes();
    vec![
        ("cairn.toml", SITE.as_bytes().to_vec(), false),
        ("static/index.html", page("<p>hello</p>\n"), false),
        ("static/b/two.js", page("two();\n"), false),
        ("static/b/two.js.map", page("{}\n"), false),
        ("static/a/one.js", page("one();\n"), false),
        ("static/a-b", page("between a and a/\n"), false),
        ("static/ä", page("not ASCII\n"), false),
        ("static/run.sh", page("#!/bin/sh\n"), true),
        ("dist/amd64/app", page("for amd64\n"), true),
        ("dist/arm64/app", page("for arm64\n"), true),
    ]
}

/// Where and how a build is done.
struct Machine {
    reversed: bool,
    umask: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// Modes of files and directories, as a checkout under this umask leaves them.
    modes: (u32, u32),
    /// Age of the files.
    age: Duration,
}

const ONE: Machine = Machine {
    reversed: false,
    umask: "022",
    environment: &[("TZ", "UTC"), ("LANG", "C")],
    modes: (0o644, 0o755),
    age: Duration::ZERO,
};

const OTHER: Machine = Machine {
    reversed: true,
    umask: "077",
    environment: &[
        ("TZ", "Asia/Kathmandu"),
        ("LANG", "tr_TR.UTF-8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("TMPDIR", "/var/tmp"),
        ("USER", "somebody"),
        ("NO_COLOR", "1"),
        ("COLUMNS", "40"),
        ("RAYON_NUM_THREADS", "1"),
        ("TOKIO_WORKER_THREADS", "1"),
    ],
    modes: (0o600, 0o700),
    age: Duration::from_secs(20 * 365 * 24 * 3600),
};

/// Lays the files out as `machine` has them.
fn lay_out(sandbox: &Sandbox, files: &Files, machine: &Machine) {
    let order: Vec<_> = if machine.reversed {
        files.iter().rev().collect()
    } else {
        files.iter().collect()
    };
    for (path, content, executable) in order {
        let file = sandbox.write(path, content);
        let mode = machine.modes.0 | if *executable { machine.modes.1 & 0o111 } else { 0 };
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        touch(&file, machine.age);
        for directory in file.ancestors().skip(1).take_while(|up| *up != sandbox.root()) {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(machine.modes.1)).unwrap();
        }
    }
}

fn touch(file: &Path, age: Duration) {
    let file = std::fs::File::open(file).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) - age;
    file.set_modified(modified).unwrap();
}

/// Builds, and gives the digest.
fn build(sandbox: &Sandbox, machine: &Machine) -> String {
    let mut shell = Command::new("sh");
    sandbox.confine(&mut shell);
    shell.envs(machine.environment.iter().copied());
    shell
        .arg("-c")
        .arg(format!("umask {}; exec \"$0\" build", machine.umask))
        .arg(binary());
    run(&mut shell).ok().digest()
}

/// Everything under `blobs`, by its digest: equal digests of images could hide a blob that is left over.
fn blobs(sandbox: &Sandbox) -> Vec<String> {
    let tree = sandbox.store_tree();
    let files = tree.files("blobs");
    files.iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn a6_two_machines_give_one_digest() {
    for files in [hello(), site()] {
        let (one, other) = (Sandbox::new(), Sandbox::new());
        lay_out(&one, &files, &ONE);
        lay_out(&other, &files, &OTHER);
        assert_eq!(build(&one, &ONE), build(&other, &OTHER));
        assert_eq!(blobs(&one), blobs(&other));
        let lock = |sandbox: &Sandbox| std::fs::read(sandbox.project().join("cairn.lock")).unwrap();
        assert_eq!(lock(&one), lock(&other), "the locks");
    }
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// What a checkout or a generator under umask 000 leaves: everybody may write it, and the image does not say so.
#[test]
fn b10_files_that_were_made_under_umask_000_are_as_always() {
    let open = Machine {
        umask: "000",
        modes: (0o666, 0o777),
        ..ONE
    };
    for files in [hello(), site()] {
        let (one, other) = (Sandbox::new(), Sandbox::new());
        lay_out(&one, &files, &ONE);
        lay_out(&other, &files, &open);
        assert_eq!(build(&one, &ONE), build(&other, &open));
        assert_eq!(blobs(&one), blobs(&other));
    }
    let sandbox = Sandbox::new();
    lay_out(&sandbox, &hello(), &open);
    let digest = build(&sandbox, &open);
    let manifest = json(&sandbox, &digest);
    let layers = manifest["layers"].as_array().unwrap().iter();
    let layers: String = layers
        .map(|layer| listing(&sandbox, layer["digest"].as_str().unwrap()))
        .collect();
    let modes: Vec<_> = layers.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let is_as_always = |mode: &&str| matches!(*mode, "0755" | "0644");
    assert!(modes.len() > 3 && modes.iter().all(is_as_always), "{layers}");
}

#[test]
fn building_again_gives_the_same_with_caches_warm_cold_and_stale() {
    let sandbox = Sandbox::new();
    let files = site();
    lay_out(&sandbox, &files, &ONE);
    let first = build(&sandbox, &ONE);
    let blobs_before = blobs(&sandbox);
    assert_eq!(build(&sandbox, &ONE), first, "warm");
    for (path, _, _) in &files {
        touch(&sandbox.project().join(path), Duration::from_secs(86_400));
    }
    assert_eq!(build(&sandbox, &ONE), first, "touched");
    // Fetched inputs and foreign blobs are in the store's cache, records and segments in the user's.
    std::fs::remove_dir_all(sandbox.store().join("cache")).unwrap();
    assert_eq!(build(&sandbox, &ONE), first, "cold cache of the store");
    let cache = sandbox.home().join("cache/cairn");
    assert!(!files_below(&cache).is_empty(), "the user's cache is elsewhere");
    std::fs::remove_dir_all(&cache).unwrap();
    assert_eq!(build(&sandbox, &ONE), first, "cold cache of the user");
    std::fs::remove_dir_all(sandbox.store().join("cache")).unwrap();
    std::fs::remove_dir_all(&cache).unwrap();
    assert_eq!(build(&sandbox, &ONE), first, "both caches cold");
    assert_eq!(blobs(&sandbox), blobs_before);
    std::fs::remove_dir_all(sandbox.store()).unwrap();
    assert_eq!(build(&sandbox, &ONE), first, "no store");
    // What counts does count: a byte, with the file's size and time as they were.
    let page = sandbox.project().join("static/index.html");
    let changed = String::from_utf8(std::fs::read(&page).unwrap())
        .unwrap()
        .replacen("hello", "hallo", 1);
    std::fs::write(&page, changed).unwrap();
    touch(&page, Duration::from_secs(86_400));
    assert_ne!(build(&sandbox, &ONE), first, "a changed byte");
}

#[test]
fn the_bytes_of_hello_are_the_golden_ones() {
    let sandbox = Sandbox::new();
    lay_out(&sandbox, &hello(), &ONE);
    let digest = build(&sandbox, &ONE);
    let manifest = json(&sandbox, &digest);
    let config = json(&sandbox, manifest["config"]["digest"].as_str().unwrap());
    let mut text = String::new();
    for layer in manifest["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        writeln!(text, "layer {digest}").unwrap();
        text.push_str(&listing(&sandbox, digest));
        text.push('\n');
    }
    writeln!(text, "config\n{config:#}\n").unwrap();
    writeln!(text, "manifest\n{manifest:#}\n").unwrap();
    writeln!(text, "{digest}").unwrap();
    golden("tests/golden/hello.txt", &text);
}

fn json(sandbox: &Sandbox, digest: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(sandbox.blob("hello", digest)).unwrap()).unwrap()
}

/// `mode uid:gid mtime size digest path`, one line for each entry, as another reader of tar sees them.
fn listing(sandbox: &Sandbox, digest: &str) -> String {
    let bytes = std::fs::read(sandbox.blob("hello", digest)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(&bytes[..]));
    let mut text = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let target = entry.link_name().unwrap();
        let target = target.map(|target| format!(" -> {}", target.display()));
        writeln!(
            text,
            "{:?} {:04o} {}:{} {} {} {} {}{}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            content.len(),
            if content.is_empty() {
                "-".to_owned()
            } else {
                Digest::of(&content).to_string()
            },
            entry.path().unwrap().display(),
            target.unwrap_or_default(),
        )
        .unwrap();
    }
    text
}
