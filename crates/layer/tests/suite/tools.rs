//! Other readers of tar: what GNU tar and bsdtar list, line by line.
#![expect(
    clippy::disallowed_methods,
    reason = "other tools are found on the search path, and read from files"
)]

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_layer::{Entry, EntryKind};

/// What a reader lists of one entry, in what is common to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Kind and permissions as `ls` shows them; a hard link is `h`.
    pub(crate) mode: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// As the tool shows it.
    pub(crate) time: String,
    /// The name as it stands in the archive, with ` -> ` or ` link to ` and the target of a link.
    pub(crate) name: Vec<u8>,
}

/// A reader of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    GnuTar,
    BsdTar,
}

impl Reader {
    /// The tool, if it is installed; says so if not, as CONTRIBUTING.md asks ("Tests with other tools").
    pub(crate) fn find(self) -> Option<Tool> {
        let (program, says) = match self {
            Self::GnuTar => ("tar", "tar (GNU tar)"),
            Self::BsdTar => ("bsdtar", "bsdtar "),
        };
        let output = Command::new(program).arg("--version").output();
        let is_it = output.is_ok_and(|output| output.stdout.starts_with(says.as_bytes()));
        if !is_it {
            skip(&format!("{says} is not installed"));
        }
        is_it.then_some(Tool {
            reader: self,
            program,
        })
    }

    /// How it shows one second after 1970.
    pub(crate) const fn first_second(self) -> &'static str {
        match self {
            Self::GnuTar => "1970-01-01 00:00:01",
            Self::BsdTar => "Jan 1 1970",
        }
    }
}

/// A reader that is installed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    reader: Reader,
    program: &'static str,
}

impl Tool {
    /// What it lists; or what it says, if it does not take the archive.
    pub(crate) fn list(self, tar: &[u8]) -> Result<Vec<Line>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(tar).unwrap();
        self.list_file(file.path())
    }

    /// What it lists of the archive in a file.
    pub(crate) fn list_file(self, file: &Path) -> Result<Vec<Line>, String> {
        let mut command = Command::new(self.program);
        command
            .args(["--list", "--verbose", "--numeric-owner"])
            .env("TZ", "UTC");
        match self.reader {
            Reader::GnuTar => command
                .args(["--full-time", "--quoting-style=escape"])
                .env("LC_ALL", "C"),
            Reader::BsdTar => command.env("LC_ALL", "C.UTF-8"),
        };
        let output = command.arg("--file").arg(file).output().unwrap();
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(warnings);
        }
        let lines = output.stdout.split_inclusive(|byte| *byte == b'\n');
        Ok(lines.map(|line| self.parse(&unescape(line))).collect())
    }

    fn parse(self, line: &[u8]) -> Line {
        let mut rest = line;
        let mut word = || {
            let start = rest.iter().position(|byte| *byte != b' ').unwrap();
            let length = rest[start..].iter().position(|byte| *byte == b' ').unwrap();
            let word = String::from_utf8(rest[start..start + length].to_vec()).unwrap();
            rest = &rest[start + length..];
            word
        };
        let mode = word();
        let (uid, gid) = match self.reader {
            Reader::GnuTar => {
                let owner = word();
                let (uid, gid) = owner.split_once('/').unwrap();
                (uid.to_owned(), gid.to_owned())
            }
            Reader::BsdTar => {
                let _links = word();
                (word(), word())
            }
        };
        let size = word();
        let words = match self.reader {
            Reader::GnuTar => 2,
            Reader::BsdTar => 3,
        };
        let time: Vec<_> = (0..words).map(|_| word()).collect();
        Line {
            mode,
            uid: uid.parse().unwrap(),
            gid: gid.parse().unwrap(),
            // Of devices the numbers stand there.
            size: size.parse().unwrap_or(0),
            time: time.join(" "),
            name: rest[1..].to_vec(),
        }
    }
}

/// The line that every reader should show of an entry.
pub(crate) fn line(entry: &Entry, time: &str) -> Line {
    let (kind, name) = match &entry.kind {
        EntryKind::Directory => ('d', [entry.path.as_bytes(), b"/"].concat()),
        EntryKind::File | EntryKind::Opaque => ('-', entry.path.as_bytes().to_vec()),
        EntryKind::Symlink { target } => ('l', [entry.path.as_bytes(), b" -> ", target].concat()),
        EntryKind::Hardlink { to } => ('h', [entry.path.as_bytes(), b" link to ", to.as_bytes()].concat()),
        EntryKind::CharacterDevice { .. } => ('c', entry.path.as_bytes().to_vec()),
        EntryKind::BlockDevice { .. } => ('b', entry.path.as_bytes().to_vec()),
        EntryKind::Fifo => ('p', entry.path.as_bytes().to_vec()),
        EntryKind::Whiteout => {
            let name = entry.path.file_name();
            let directory = &entry.path.as_bytes()[..entry.path.as_bytes().len() - name.len()];
            ('-', [directory, b".wh.", name].concat())
        }
    };
    Line {
        mode: format!("{kind}{}", permissions(entry.attributes.mode)),
        uid: entry.attributes.uid,
        gid: entry.attributes.gid,
        size: entry.size,
        time: time.to_owned(),
        name,
    }
}

/// As `ls -l` shows them.
fn permissions(mode: u32) -> String {
    let mut text = String::new();
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Undoes how both write bytes that a terminal does not show: `\n`, `\\`, `\303`.
pub(crate) fn unescape(line: &[u8]) -> Vec<u8> {
    let mut bytes = line.strip_suffix(b"\n").unwrap().iter().copied();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        name.push(match bytes.next().unwrap() {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            digit @ b'0'..=b'7' => {
                let mut octal = || u32::from(bytes.next().unwrap() - b'0');
                u8::try_from(u32::from(digit - b'0') * 64 + octal() * 8 + octal()).unwrap()
            }
            other => other,
        });
    }
    name
}

/// The path of a program.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join(OsStr::new(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Counts the test as skipped, for a reason that names the tool; then the test returns.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(list) = std::env::var_os("CAIRN_TEST_SKIPPED").filter(|list| !list.is_empty()) else {
        return;
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("layer").to_owned();
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&list)
        .unwrap();
    file.write_all(format!("{test}: {reason}\n").as_bytes()).unwrap();
}
