//! Whether the program that the image runs is in the image.

use std::collections::VecDeque;
use std::fmt;

use cairn_layer::{Listing, Node, TreePath};
use cairn_oci::Platform;

use super::plan::PlannedLayer;
use crate::records::{Below, Place};

/// How many symbolic links one path may lead through (Linux's own limit).
const MAX_LINKS: usize = 40;

/// Something that is no error, and that somebody should know of before the image is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// In the image for which machine.
    pub platform: Platform,
    /// What it is about.
    pub about: Matter,
}

/// What a warning is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matter {
    /// The program that the image runs.
    Program {
        /// `entrypoint`, or `cmd` where there is no entrypoint.
        key: &'static str,
        /// The program: an absolute path.
        program: String,
        /// Why it would not run.
        problem: Problem,
    },
    /// What a package's scripts would have done.
    Package(cairn_packages::image::Warning),
}

/// Why a program would not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Nothing is there.
    Missing {
        /// Where a symbolic link leads, if one was followed.
        at: Option<String>,
    },
    /// It is a directory.
    Directory,
    /// Nobody may execute it.
    NotExecutable {
        /// Its mode.
        mode: u32,
    },
    /// Its path leads through more than 40 symbolic links.
    Links,
}

impl Warning {
    /// Whether it is for who wants to know all: a package of Cairn's tables has other scripts than those that were looked at.
    #[must_use]
    pub const fn is_minor(&self) -> bool {
        match &self.about {
            Matter::Package(warning) => warning.is_minor(),
            Matter::Program { .. } => false,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, program, problem) = match &self.about {
            Matter::Program {
                key,
                program,
                problem,
            } => (key, program, problem),
            Matter::Package(warning) => {
                write!(f, "{warning}")?;
                if let Some(hint) = warning.hint() {
                    write!(f, "; {hint}")?;
                }
                return write!(f, " ({})", self.platform);
            }
        };
        write!(f, "the {key} {program} ")?;
        match problem {
            Problem::Missing { at: None } => write!(f, "is not in the image"),
            Problem::Missing { at: Some(at) } => {
                write!(f, "leads to {at}, which is not in the image")
            }
            Problem::Directory => write!(f, "is a directory"),
            Problem::NotExecutable { mode } => write!(f, "is not executable: its mode is {mode:04o}"),
            Problem::Links => write!(f, "leads through more than {MAX_LINKS} symbolic links"),
        }?;
        write!(f, " ({})", self.platform)
    }
}

/// What our own layers, and what is known of the base below them, have at a path.
pub(super) struct Stack<'a> {
    layers: &'a [PlannedLayer],
    /// What the layers of packages have together, which are below all others of ours.
    packages: Option<&'a Below>,
    /// What is known of the base: its directories with other than the usual attributes, and its links to directories.
    base: Option<&'a Listing>,
}

/// What one step of a path leads to.
enum Found<'a> {
    Directory,
    /// With its mode.
    File(u32),
    Link(&'a [u8]),
    Missing,
    /// The base may have something there; the lock does not say.
    Unknown,
}

impl<'a> Stack<'a> {
    /// The layers, lowest first, upon a base if there is one.
    pub(super) const fn new(
        layers: &'a [PlannedLayer],
        packages: Option<&'a Below>,
        base: Option<&'a Listing>,
    ) -> Self {
        Self {
            layers,
            packages,
            base,
        }
    }

    /// Why `program` would not run, as far as that can be known.
    pub(super) fn problem(&self, program: &str) -> Option<Problem> {
        let mut ahead: VecDeque<Vec<u8>> = split(program.as_bytes()).collect();
        let (mut real, mut links) = (Vec::new(), 0);
        let missing = |at: &[u8], links| Problem::Missing {
            at: (links > 0).then(|| match TreePath::new(at) {
                Ok(path) => path.to_string(),
                Err(_) => "a name that no file can have".to_owned(),
            }),
        };
        while let Some(name) = ahead.pop_front() {
            if name == b".." {
                real.truncate(real.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = if real.is_empty() {
                name
            } else {
                [&real, &b"/"[..], &name].concat()
            };
            let Ok(path) = TreePath::new(&next) else {
                return Some(missing(&next, links));
            };
            match self.find(&path) {
                Found::Unknown => return None,
                Found::Missing => return Some(missing(&next, links)),
                Found::Directory => real = next,
                Found::File(_) if !ahead.is_empty() => return Some(missing(&next, links)),
                Found::File(mode) => {
                    return (mode & 0o111 == 0).then_some(Problem::NotExecutable { mode });
                }
                Found::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Some(Problem::Links);
                    }
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    let target: Vec<_> = split(target).collect();
                    target.into_iter().rev().for_each(|name| ahead.push_front(name));
                }
            }
        }
        Some(Problem::Directory)
    }

    /// The uppermost layer that has something at `path`, or takes it away, decides.
    fn find(&self, path: &TreePath) -> Found<'a> {
        let layers = self.layers.iter().rev().filter(|layer| !layer.is_of_packages());
        for tree in layers.filter_map(PlannedLayer::tree) {
            match tree.get(path) {
                Some(Node::Directory(_)) => return Found::Directory,
                Some(Node::File { attributes, .. }) => return Found::File(attributes.mode),
                Some(Node::Symlink { target, .. }) => return Found::Link(target),
                Some(Node::Whiteout) => return Found::Missing,
                Some(Node::Hardlink { to }) => {
                    return match tree.get(to) {
                        Some(Node::File { attributes, .. }) => Found::File(attributes.mode),
                        _ => Found::Missing,
                    };
                }
                None => {}
            }
            // What takes the place of a directory takes away what was below it.
            let mut above = path.ancestors().filter_map(|above| tree.get(&above));
            if above.any(|node| !matches!(node, Node::Directory(_))) {
                return Found::Missing;
            }
        }
        if let Some(packages) = self.packages {
            match packages.files.find(path) {
                Place::File(mode) => return Found::File(mode),
                Place::BelowFile => return Found::Missing,
                Place::Nothing => {}
            }
            // The base's are among them.
            if let Some(target) = packages.listing.symlinks.get(path) {
                return Found::Link(target);
            }
            if packages.listing.directories.contains_key(path) {
                return Found::Directory;
            }
        }
        match self.base {
            None => Found::Missing,
            Some(base) => match base.symlinks.get(path) {
                Some(target) => Found::Link(target),
                None if base.directories.contains_key(path) => Found::Directory,
                None => Found::Unknown,
            },
        }
    }
}

/// The names of a path, without those that mean nothing.
fn split(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let names = path.split(|byte| *byte == b'/');
    names
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
}
