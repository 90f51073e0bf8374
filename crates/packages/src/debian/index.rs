//! Indexes of packages: `Packages`, one paragraph for each.

use cairn_oci::Digest;

use super::relation::{Atom, Unreadable, atoms, groups};
use crate::control::paragraphs;
use crate::installed::{Installed, InstalledError};

/// An index, and the archive that it belongs to.
#[derive(Debug, Clone)]
pub struct Index {
    /// The archive's root: paths of packages are below it.
    pub uri: String,
    /// The suite, such as `bookworm-updates`.
    pub suite: String,
    /// The component; empty for a directory with an index itself.
    pub component: String,
    /// The index: all its bytes, verified.
    pub bytes: Vec<u8>,
}

/// A package as an index describes it. Texts are the index's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package<'b> {
    pub(super) name: &'b str,
    pub(super) version: &'b str,
    pub(super) architecture: &'b str,
    pub(super) multi_arch: &'b str,
    pub(super) source: &'b str,
    pub(super) priority: &'b str,
    pub(super) is_essential: bool,
    pub(super) depends: &'b str,
    pub(super) pre_depends: &'b str,
    pub(super) recommends: &'b str,
    pub(super) provides: &'b str,
    pub(super) conflicts: &'b str,
    pub(super) breaks: &'b str,
    pub(super) filename: &'b str,
    pub(super) size: u64,
    pub(super) installed_kib: u64,
    pub(super) digest: Digest,
}

/// What is wrong with an index whose hash is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A line is neither a field nor the continuation of one, or is there twice.
    #[error("line {line} of the index is not a field, or repeats one")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// A package lacks a field, or it cannot be read.
    #[error("the package at line {line} of the index has no {field} that can be read")]
    Field {
        /// Where the package begins, from 1.
        line: usize,
        /// Which field.
        field: &'static str,
    },
    /// A package's name, version or architecture cannot be.
    #[error("the package at line {line} of the index cannot be")]
    Package {
        /// Where the package begins, from 1.
        line: usize,
        /// What is wrong.
        source: InstalledError,
    },
    /// A package has only hashes that can be forged.
    #[error("the package at line {line} of the index has no SHA-256")]
    WeakHash {
        /// Where the package begins, from 1.
        line: usize,
    },
}

const FIELDS: [&str; 18] = [
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Priority",
    "Essential",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Filename",
    "Size",
    "Installed-Size",
    "SHA256",
    "Protected",
];

impl Index {
    pub(super) fn packages(&self) -> Result<Vec<Package<'_>>, IndexError> {
        let paragraphs = paragraphs(&self.bytes, FIELDS).map_err(|(line, _)| IndexError::Line { line })?;
        paragraphs
            .iter()
            .map(|found| package(found.line, &found.fields))
            .collect()
    }
}

fn package<'b>(line: usize, fields: &[Option<&'b [u8]>; 18]) -> Result<Package<'b>, IndexError> {
    let text = |at: usize| -> Result<&'b str, IndexError> {
        let unreadable = |_| IndexError::Field {
            line,
            field: FIELDS[at],
        };
        std::str::from_utf8(fields[at].unwrap_or_default()).map_err(unreadable)
    };
    let number = |at: usize| {
        text(at)?.parse::<u64>().map_err(|_| IndexError::Field {
            line,
            field: FIELDS[at],
        })
    };
    let (name, version, architecture) = (text(0)?, text(1)?, text(2)?);
    Installed::check(name, version, architecture).map_err(|source| IndexError::Package { line, source })?;
    let filename = text(13)?;
    if !is_path(filename) {
        return Err(IndexError::Field {
            line,
            field: FIELDS[13],
        });
    }
    let hash = text(16)?;
    Ok(Package {
        name,
        version,
        architecture,
        multi_arch: text(3)?,
        // `Source: glibc (2.36-9)` names a version where it is another.
        source: text(4)?
            .split([' ', '('])
            .next()
            .filter(|source| !source.is_empty())
            .unwrap_or(name),
        priority: text(5)?,
        is_essential: [6, 17].into_iter().any(|at| fields[at] == Some(b"yes")),
        depends: text(7)?,
        pre_depends: text(8)?,
        recommends: text(9)?,
        provides: text(10)?,
        conflicts: text(11)?,
        breaks: text(12)?,
        filename,
        size: number(14)?,
        installed_kib: number(15).unwrap_or(0),
        digest: match hash {
            "" => return Err(IndexError::WeakHash { line }),
            hash => Digest::from_hex(hash).map_err(|_| IndexError::Field {
                line,
                field: FIELDS[16],
            })?,
        },
    })
}

/// A path below an archive's root, without anything that leads elsewhere or that a URL understands differently.
fn is_path(path: &str) -> bool {
    let component = |part: &str| !matches!(part, "" | "." | "..");
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\?#%\"<>`{}|^".contains(&byte);
    let path = path.strip_prefix("./").unwrap_or(path);
    path.len() <= 4096 && path.bytes().all(plain) && path.split('/').all(component)
}

impl<'b> Package<'b> {
    /// What it cannot be without: `Pre-Depends` and `Depends`.
    pub(super) fn requirements(&self) -> Result<Vec<Vec<Atom<'b>>>, Unreadable> {
        let mut all = groups(self.pre_depends)?;
        all.extend(groups(self.depends)?);
        Ok(all)
    }

    /// What it cannot be beside: `Conflicts` and `Breaks`.
    pub(super) fn enemies(&self) -> Result<Vec<Atom<'b>>, Unreadable> {
        let mut all = atoms(self.conflicts)?;
        all.extend(atoms(self.breaks)?);
        Ok(all)
    }
}
