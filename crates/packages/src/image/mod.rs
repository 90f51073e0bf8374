//! Packages of Debian as layers of an image.
//!
//! [`assemble`] puts packages into one tree without running anything of them, and cuts it into layers, one for each group
//! of packages that change together. What maintainer scripts would have done and an image needs is done from tables
//! (`docs/packages.md` lists them); what is neither known to be harmless nor done is a [`Warning`].
//!
//! ```text
//!   deb::Archive ─┐                     ┌─▶ accounts, certificates, alternatives, ─┐
//!   deb::Archive ─┼─▶ World: one path, ─┤   tmpfiles.d, the table by packages      ├─▶ groups ─▶ layers
//!   Listing ──────┘   one owner         └─▶ status.d                               ┘
//! ```

mod accounts;
mod alternatives;
mod certificates;
mod conflict;
mod groups;
mod place;
mod records;
mod scripts;
mod subject;
mod table;
mod tmpfiles;
mod words;
mod world;

use std::collections::BTreeMap;

use cairn_layer::{Listing, Tree, TreeError, TreePath};
use serde::{Deserialize, Serialize};

pub use self::scripts::{Advice, Doubt};
use crate::deb::Archive;
use crate::installed::Installed;

/// How many layers of packages there are at most, unless it is said otherwise: with a base and layers of one's own they stay
/// below the 100 that every runtime takes.
pub const MAX_LAYERS: usize = 64;

/// Names the code and the tables of this program that make layers of packages: another one may make other layers of the
/// same packages.
pub const CODE: &str = env!("CAIRN_PACKAGES_CODE");

/// What an image of packages depends on besides the packages.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// What the base has; [`Listing::new`] without one.
    pub base: &'a Listing,
    /// Debian's name of the image's architecture, such as `amd64`.
    pub architecture: &'a str,
    /// The most layers for groups of packages, one more being for what belongs to no package; at least 1.
    pub max_layers: usize,
}

/// Packages as layers.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// The layers, lowest first. Each has the directories above its paths, and no path but a directory's is in two.
    pub layers: Vec<Layer>,
    /// What may matter and was not done, by package.
    pub warnings: Vec<Warning>,
}

/// One layer: the packages of one source, or of several if there are too many sources.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name, which stays the same as long as the sources of the packages stay: `system`, a source's name, or a number.
    pub name: String,
    /// The packages in it, sorted.
    pub packages: Vec<Installed>,
    /// Its files.
    pub tree: Tree,
}

/// Something that maintainer scripts would have done, or may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The package.
    pub package: String,
    /// What is in doubt.
    pub doubt: Doubt,
}

impl Warning {
    /// Whether it is about a package of the table whose script is another one than that which was looked at: what the table
    /// says is done, and most often still is all.
    #[must_use]
    pub const fn is_minor(&self) -> bool {
        matches!(self.doubt, Doubt::Changed { .. })
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.doubt.hint()
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the package {} {}", self.package, self.doubt)
    }
}

/// Why packages do not make an image together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A package is there twice.
    #[error("the package {package} is there twice")]
    Twice {
        /// Its name and architecture.
        package: String,
    },
    /// Two packages have different files at one path, and neither says that it replaces the other's.
    #[error("{path} is in {first} and in {second}, and neither says that it replaces the other's")]
    Conflict {
        /// The path in the image.
        path: TreePath,
        /// One package, or what else has it.
        first: String,
        /// The other.
        second: String,
    },
    /// Something lies below what another package has as a file.
    #[error("{path} of {package} lies below {file} of {other}, which is no directory")]
    BelowFile {
        /// What lies below.
        path: TreePath,
        /// Its package.
        package: String,
        /// What is no directory.
        file: TreePath,
        /// The package of that.
        other: String,
    },
    /// Symbolic links of packages, or of the base, lead nowhere.
    #[error("{path} of {package} lies below symbolic links that do not end")]
    Links {
        /// The path.
        path: TreePath,
        /// Its package.
        package: String,
    },
    /// A package replaces a directory of the base by something else.
    #[error("{path} is a directory in the base, and none in {package}")]
    BaseDirectory {
        /// The path.
        path: TreePath,
        /// The package.
        package: String,
    },
    /// A file that is looked into cannot be read back, or is too large for what it is.
    #[error("cannot read {path} of {package}")]
    Read {
        /// The path.
        path: TreePath,
        /// Its package.
        package: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that users, groups or directories are taken from cannot be understood.
    #[error("line {line} of {path} cannot be understood")]
    Line {
        /// The file.
        path: TreePath,
        /// Which line, from 1.
        line: usize,
    },
    /// What is made does not go into a layer.
    #[error("the layer {layer} cannot be made")]
    Tree {
        /// Its name.
        layer: String,
        /// Why.
        source: TreeError,
    },
}

/// Puts `packages` into layers. Their order does not count.
///
/// # Errors
///
/// [`AssembleError`].
pub fn assemble(mut packages: Vec<Archive>, options: &Options<'_>) -> Result<Assembly, AssembleError> {
    packages.sort_by(|left, right| order(left).cmp(&order(right)));
    for pair in packages.windows(2) {
        let (left, right) = (pair[0].identity(), pair[1].identity());
        if (left.name(), left.architecture()) == (right.name(), right.architecture()) {
            let package = format!("{}:{}", left.name(), left.architecture());
            return Err(AssembleError::Twice { package });
        }
    }
    let mut world = place::place(&packages, options.base)?;
    let accounts = accounts::settle(&mut world)?;
    table::apply(&mut world, &accounts)?;
    alternatives::apply(&mut world);
    certificates::apply(&mut world)?;
    tmpfiles::apply(&mut world, &accounts)?;
    records::apply(&mut world, options.architecture);
    // What was added may lie below a file of a package.
    place::check(&world)?;
    let warnings = scripts::judge(&world);
    Ok(Assembly {
        layers: groups::cut(&world, options.max_layers)?,
        warnings,
    })
}

/// `base-files` has the first word about the directories that many packages have.
fn order(package: &Archive) -> (bool, &Installed) {
    (package.name() != "base-files", package.identity())
}

/// Counts how often each name is there.
fn names(packages: &[Archive]) -> BTreeMap<&str, usize> {
    let mut names = BTreeMap::new();
    for package in packages {
        *names.entry(package.name()).or_default() += 1;
    }
    names
}

#[cfg(test)]
mod tests;
