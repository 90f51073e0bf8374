//! Debian root file systems to build upon.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::peer::Peer;
use crate::harness::{Output, Sandbox, skip};

/// A root file system in a tar archive, and what Cairn is to find in it.
#[derive(Debug)]
pub(super) struct RootFileSystem {
    /// The archive, not compressed.
    pub(super) archive: PathBuf,
    /// The lines of `/etc/passwd`.
    pub(super) users: Vec<String>,
    /// Some of the installed packages: `name version architecture`.
    pub(super) packages: Vec<String>,
}

const USERS: [&str; 3] = [
    "root:x:0:0:root:/root:/bin/sh",
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin",
    "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin",
];
const GROUPS: &str = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\n";
const PROGRAMS: [&str; 3] = ["/bin/sh", "/bin/cat", "/usr/bin/id"];
const PACKAGES: [&str; 3] = ["dash", "coreutils", "libc6"];

/// A small one, of programs of this machine with their libraries; none where there is no dpkg.
pub(super) fn installed(sandbox: &Sandbox) -> Option<RootFileSystem> {
    let dpkg = Peer::find("dpkg-query", sandbox)?;
    let ldd = Peer::find("ldd", sandbox)?;
    let status = dpkg.run(&[&["--status"], &PACKAGES[..]].concat()).ok().stdout;
    let format = [
        "--show",
        "--showformat",
        "${Package} ${Version} ${Architecture}\\n",
    ];
    let packages = dpkg.run(&[&format, &PACKAGES[..]].concat()).ok();
    let libraries = libraries(&ldd.run(&PROGRAMS).ok());

    let mut archive = Archive::default();
    for directory in ["/bin", "/lib", "/lib64"] {
        archive.add_merged(directory);
    }
    for file in PROGRAMS
        .iter()
        .copied()
        .chain(libraries.iter().map(String::as_str))
    {
        archive.add_file_of_machine(Path::new(file));
    }
    archive.add_directory("tmp", 0o1777);
    archive.add_file("etc/passwd", 0o644, (USERS.join("\n") + "\n").as_bytes());
    archive.add_file("etc/group", 0o644, GROUPS.as_bytes());
    archive.add_file("var/lib/dpkg/status", 0o644, status.as_bytes());
    Some(RootFileSystem {
        archive: sandbox.write("../installed.tar", archive.finish()),
        users: USERS.map(str::to_owned).to_vec(),
        packages: packages.stdout.lines().map(str::to_owned).collect(),
    })
}

/// The files that `ldd` names: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`
fn libraries(ldd: &Output) -> BTreeSet<String> {
    let words = ldd.stdout.lines().filter(|line| line.starts_with('\t'));
    let words = words.flat_map(str::split_whitespace);
    words
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// A whole one, made by mmdebstrap from the sources of this machine; none where it cannot.
pub(super) fn made_by_mmdebstrap(sandbox: &Sandbox) -> Option<RootFileSystem> {
    let mmdebstrap = Peer::find("mmdebstrap", sandbox)?;
    let archive = sandbox.root().join("debian.tar");
    let Some(suite) = suite() else {
        skip("mmdebstrap cannot be used here: this machine is no Debian");
        return None;
    };
    let mut arguments = vec!["--quiet".to_owned(), "--variant=essential".to_owned()];
    for unused in ["doc", "locale", "man"] {
        arguments.push(format!("--dpkgopt=path-exclude=/usr/share/{unused}/*"));
    }
    for hurry in ["Acquire::Retries \"0\"", "Acquire::http::Timeout \"20\""] {
        arguments.push(format!("--aptopt={hurry}"));
    }
    arguments.push(suite);
    arguments.push(archive.to_str().expect("a path of letters").to_owned());
    arguments.extend(sources());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = mmdebstrap.run(&arguments);
    if output.code != Some(0) {
        let reason = output.stderr.lines().rfind(|line| line.starts_with("E: "));
        skip(&format!(
            "mmdebstrap cannot make a root file system here: {}",
            reason.unwrap_or_default()
        ));
        return None;
    }
    let (users, packages) = contents(&archive);
    Some(RootFileSystem {
        archive,
        users,
        packages,
    })
}

/// The name of this machine's release: `VERSION_CODENAME` of os-release(5).
fn suite() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let is_debian = text.lines().any(|line| line == "ID=debian");
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    is_debian.then(|| name.trim_matches('"').to_owned())
}

/// The files in which this machine's sources stand, sorted. Without them mmdebstrap would choose a host itself.
fn sources() -> Vec<String> {
    let directory = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    let parts = directory.map(|entry| entry.path());
    let mut files: Vec<String> = parts
        .filter(|path| {
            path.extension()
                .is_some_and(|name| name == "list" || name == "sources")
        })
        .chain(
            [PathBuf::from("/etc/apt/sources.list")]
                .into_iter()
                .filter(|path| path.is_file()),
        )
        .map(|path| path.to_str().expect("a path of letters").to_owned())
        .collect();
    files.sort();
    files
}

/// The lines of `/etc/passwd`, and the installed packages by `/var/lib/dpkg/status`.
fn contents(archive: &Path) -> (Vec<String>, Vec<String>) {
    let file = fs::File::open(archive).expect("the archive is there");
    let mut archive = tar::Archive::new(file);
    let (mut users, mut packages) = (Vec::new(), Vec::new());
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").into_owned();
        let wanted = match path.strip_prefix(".").unwrap_or(&path).to_str() {
            Some("etc/passwd") => &mut users,
            Some("var/lib/dpkg/status") => &mut packages,
            _ => continue,
        };
        let text = std::io::read_to_string(&mut entry).expect("a text");
        wanted.extend(text.lines().map(str::to_owned));
    }
    (users, stanzas(&packages))
}

/// `name version architecture` of each stanza.
fn stanzas(lines: &[String]) -> Vec<String> {
    let field = |stanza: &[String], name: &str| {
        let value = stanza.iter().find_map(|line| line.strip_prefix(name));
        value.expect("the field is in each stanza").to_owned()
    };
    lines
        .split(String::is_empty)
        .filter(|stanza| !stanza.is_empty())
        .map(|stanza| {
            ["Package: ", "Version: ", "Architecture: "]
                .map(|name| field(stanza, name))
                .join(" ")
        })
        .collect()
}

/// A tar archive as Debian's tools write them: names with `./`, each directory before what is in it.
#[derive(Default)]
struct Archive {
    builder: Option<tar::Builder<Vec<u8>>>,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    fn add(&mut self, path: &Path, mut header: tar::Header, content: &[u8]) {
        header.set_size(content.len() as u64);
        header.set_mtime(1);
        let builder = self.builder.get_or_insert_with(|| tar::Builder::new(Vec::new()));
        let added = builder.append_data(&mut header, Path::new(".").join(path), content);
        added.expect("memory takes everything");
    }

    fn add_parents(&mut self, path: &str) {
        let parents: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        for parent in parents
            .iter()
            .rev()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.add_directory(parent.to_str().expect("a path of letters"), 0o755);
        }
    }

    fn add_directory(&mut self, path: &str, mode: u32) {
        if self.directories.insert(PathBuf::from(path)) {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(mode);
            self.add(Path::new(path), header, &[]);
        }
    }

    fn add_file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.add_parents(path);
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        self.add(Path::new(path), header, content);
    }

    /// A directory that is a symbolic link into `/usr`, where this machine is merged so.
    fn add_merged(&mut self, directory: &str) {
        if let Ok(target) = fs::read_link(directory) {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(target).expect("a short path");
            header.set_mode(0o777);
            self.add(Path::new(&directory[1..]), header, &[]);
        }
    }

    /// A program or library, where it really is, with what its name leads to.
    fn add_file_of_machine(&mut self, file: &Path) {
        let parent = file.parent().expect("a file has a directory");
        let parent = fs::canonicalize(parent).expect("the directory is there");
        let path = parent.join(file.file_name().expect("a file has a name"));
        let content = fs::read(&path).expect("the file can be read");
        self.add_file(&path.to_str().expect("a path of letters")[1..], 0o755, &content);
    }

    fn finish(self) -> Vec<u8> {
        let builder = self.builder.expect("something was added");
        builder.into_inner().expect("memory takes everything")
    }
}
