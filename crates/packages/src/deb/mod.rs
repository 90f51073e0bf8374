//! Packages of Debian as files: what is in a `.deb` (deb(5)).
//!
//! An [`Archive`] is read from the bytes of a package as they come, and checked to its last one. Nothing of it is run
//! and nothing is written but the contents of its files, to a spool. Refused, with the package and the path, is what two
//! readers could understand differently or what no image is given: members out of order or too many, another
//! compression than the name says, a name, version or architecture other than what the index said, paths and links
//! that lead out, devices, a path that is there twice, and everything beyond [`DebLimits`].

mod ar;
mod control;
mod error;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use cairn_layer::{
    EntryKind, Limits, Node, Spool, Tree, TreePath, UnpackError, UnpackOptions, VisitError, read_layer,
    unpack_tar,
};

pub use self::ar::ArError;
use self::ar::{Member, Members};
pub use self::control::{Control, ControlError};
pub use self::error::{DebError, DebFlaw};
use crate::installed::Installed;

/// How many bytes tell a compression.
const SNIFF: u64 = 6;
/// What `debian-binary` holds.
const FORMAT: &[u8] = b"2.0\n";

/// Bounds for reading a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DebLimits {
    /// Of the archive with the control file. Default: 1,000 members, 64 MiB, which is held in memory.
    pub control: Limits,
    /// Of the archive with the files. Default: 1,000,000 entries, 32 GiB, otherwise as [`Limits::default`].
    pub data: Limits,
}

impl Default for DebLimits {
    fn default() -> Self {
        Self {
            control: Limits {
                max_entries: 1_000,
                max_uncompressed: 64 << 20,
                ratio_allowance: 64 << 20,
                max_metadata: 1 << 20,
                ..Limits::default()
            },
            data: Limits {
                max_entries: 1_000_000,
                max_uncompressed: 32 << 30,
                ..Limits::default()
            },
        }
    }
}

/// What a package is made of.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Its control file.
    pub control: Control,
    /// The files that an administrator may change. In an image they are files as all others.
    pub conffiles: Vec<TreePath>,
    /// The list of MD5 sums of its files, as it has it: for scanners and `debsums`, checked by nobody here.
    pub md5sums: Option<Vec<u8>>,
    /// Its maintainer scripts by name (`preinst`, `postinst`, `prerm`, `postrm`, `config`). Nobody runs them.
    pub scripts: BTreeMap<String, Vec<u8>>,
    /// What it waits for or sets off: the lines of deb-triggers(5), without comments.
    pub triggers: Vec<String>,
    /// When it was made, in seconds since 1970: the date of its first member, which is the changelog's for packages that can be
    /// made again.
    pub date: u64,
    /// Its files, with the modes, owners and capabilities that it gives them.
    pub tree: Tree,
}

impl Archive {
    /// Reads the package `input`, which must be `expected`; contents of files go into `spool`.
    ///
    /// # Errors
    ///
    /// [`DebError`]; what was written to the spool since is then of no use.
    pub fn read(
        input: impl Read,
        expected: &Installed,
        limits: &DebLimits,
        spool: &mut Spool<'_>,
    ) -> Result<Self, DebError> {
        read(input, expected, limits, spool).map_err(|flaw| DebError {
            package: expected.to_string(),
            flaw,
        })
    }

    /// Its name, version and architecture.
    #[must_use]
    pub const fn identity(&self) -> &Installed {
        self.control.identity()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.identity().name()
    }
}

fn read(
    input: impl Read,
    expected: &Installed,
    limits: &DebLimits,
    spool: &mut Spool<'_>,
) -> Result<Archive, DebFlaw> {
    let mut members = Members::new(input).map_err(ar)?;
    let date = read_format(&mut members)?;
    let files = read_control(&mut members, &limits.control)?;
    let archive = archive(files, date)?;
    if archive.identity() != expected {
        return Err(DebFlaw::Other {
            found: archive.identity().to_string(),
        });
    }
    let tree = read_data(&mut members, &limits.data, spool)?;
    match members.next().map_err(ar)? {
        None => Ok(Archive { tree, ..archive }),
        Some(member) => Err(DebFlaw::Surplus { member: member.name }),
    }
}

const fn ar(source: ArError) -> DebFlaw {
    DebFlaw::Ar { source }
}

/// Reads the member that says which format this is; its date is the package's.
fn read_format<R: Read>(members: &mut Members<R>) -> Result<u64, DebFlaw> {
    let wanted = "debian-binary";
    let member = members.next().map_err(ar)?;
    let member = member.ok_or(DebFlaw::Missing { wanted, found: None })?;
    if member.name != wanted {
        let found = Some(member.name);
        return Err(DebFlaw::Missing { wanted, found });
    }
    if member.size != FORMAT.len() as u64 {
        return Err(DebFlaw::Format);
    }
    let mut format = Vec::new();
    let read = members.content().read_to_end(&mut format);
    read.map_err(|source| ar(ArError::Input { source }))?;
    if format == FORMAT {
        return Ok(member.date);
    }
    Err(DebFlaw::Format)
}

/// The next member, which must be the archive `wanted`, compressed as its name says: its first bytes.
fn open<R: Read>(members: &mut Members<R>, wanted: &'static str) -> Result<Vec<u8>, DebFlaw> {
    use cairn_layer::{Encoding, sniff};

    let member = members.next().map_err(ar)?;
    let Some(Member { name, .. }) = member else {
        return Err(DebFlaw::Missing { wanted, found: None });
    };
    let Some(ending) = name.strip_prefix(wanted) else {
        let found = Some(name);
        return Err(DebFlaw::Missing { wanted, found });
    };
    let mut first = Vec::new();
    let read = members.content().take(SNIFF).read_to_end(&mut first);
    read.map_err(|source| ar(ArError::Input { source }))?;
    match (ending, sniff(&first)) {
        ("", Encoding::Tar) | (".gz", Encoding::Gzip) | (".xz", Encoding::Xz) | (".zst", Encoding::Zstd) => {
            Ok(first)
        }
        _ => Err(DebFlaw::Compression { member: name }),
    }
}

type Files = BTreeMap<Vec<u8>, Vec<u8>>;

fn read_control<R: Read>(members: &mut Members<R>, limits: &Limits) -> Result<Files, DebFlaw> {
    let first = open(members, "control.tar")?;
    let mut files = Files::new();
    let mut visit = |entry: &cairn_layer::Entry, content: &mut dyn Read| -> Result<(), VisitError> {
        if entry.kind != EntryKind::File || entry.path.ancestors().next().is_some() {
            let path = entry.path.clone();
            return Err(DebFlaw::ControlMember { path }.into());
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        files.insert(entry.path.as_bytes().to_vec(), bytes);
        Ok(())
    };
    let whole = Cursor::new(first).chain(members.content());
    match read_layer(whole, limits, &mut visit) {
        Ok(_) => Ok(files),
        Err(cairn_layer::ReadError::Visit { path, source }) => match source.downcast::<DebFlaw>() {
            Ok(flaw) => Err(*flaw),
            Err(source) => {
                let source = cairn_layer::ReadError::Visit { path, source };
                Err(DebFlaw::ControlArchive { source })
            }
        },
        Err(source) => Err(DebFlaw::ControlArchive { source }),
    }
}

fn archive(mut files: Files, date: u64) -> Result<Archive, DebFlaw> {
    let missing = DebFlaw::Missing {
        wanted: "control file",
        found: None,
    };
    let control = files.remove(&b"control"[..]).ok_or(missing)?;
    let control = Control::parse(control).map_err(|source| DebFlaw::Control { source })?;
    let scripts = ["preinst", "postinst", "prerm", "postrm", "config"];
    let scripts = scripts.iter().filter_map(|name| {
        let script = files.remove(name.as_bytes())?;
        Some(((*name).to_owned(), script))
    });
    Ok(Archive {
        control,
        scripts: scripts.collect(),
        conffiles: conffiles(files.get(&b"conffiles"[..]))?,
        triggers: triggers(files.get(&b"triggers"[..])),
        md5sums: files.remove(&b"md5sums"[..]),
        date,
        tree: Tree::new(),
    })
}

/// One absolute path on each line; those that go away with an upgrade are marked, and no files of this version
/// (deb-conffiles(5)).
fn conffiles(text: Option<&Vec<u8>>) -> Result<Vec<TreePath>, DebFlaw> {
    let text = text.map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with("remove-on-upgrade "));
    let paths = lines.map(TreePath::from_absolute);
    paths
        .collect::<Result<_, _>>()
        .map_err(|source| DebFlaw::Conffile { source })
}

fn triggers(text: Option<&Vec<u8>>) -> Vec<String> {
    let text = text.map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

fn read_data<R: Read>(
    members: &mut Members<R>,
    limits: &Limits,
    spool: &mut Spool<'_>,
) -> Result<Tree, DebFlaw> {
    let first = open(members, "data.tar")?;
    let whole = Cursor::new(first).chain(members.content());
    let tree = match unpack_tar(whole, &UnpackOptions::default(), limits, spool) {
        Ok(tree) => tree,
        // A package that only depends on others may have no files.
        Err(UnpackError::Nothing { names }) if names.is_empty() => Tree::new(),
        Err(source) => return Err(DebFlaw::Data { source }),
    };
    for (path, node) in tree.iter() {
        if let Node::Symlink { target, .. } = node
            && climbs(path, target)
        {
            return Err(DebFlaw::Climbs {
                path: path.clone(),
                target: target.escape_ascii().to_string(),
            });
        }
    }
    Ok(tree)
}

/// Whether the text of a link leads above the root, whatever other links stand on the way.
fn climbs(path: &TreePath, target: &[u8]) -> bool {
    let mut depth = match target.first() {
        Some(b'/') => 0,
        _ => path.ancestors().count(),
    };
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests;
