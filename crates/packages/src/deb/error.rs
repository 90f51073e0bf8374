//! Why a package is refused.

use cairn_layer::{PathError, TreePath, UnpackError};

use super::ar::ArError;
use super::control::ControlError;

/// Why a package is refused: which, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the package {package}")]
pub struct DebError {
    /// The package, as it was asked for: `NAME VERSION ARCHITECTURE`.
    pub package: String,
    /// What is wrong with its file.
    #[source]
    pub flaw: DebFlaw,
}

/// What is wrong with the file of a package. Texts are escaped.
#[derive(Debug, thiserror::Error)]
pub enum DebFlaw {
    /// The outer archive is damaged.
    #[error("it is not sound as an ar archive")]
    Ar {
        /// How.
        source: ArError,
    },
    /// It says to be of another format than 2.0.
    #[error("its `debian-binary` does not say 2.0, the one format that is known")]
    Format,
    /// A member is missing.
    #[error("it has no {wanted} where that should be{}", .found.as_ref().map(|name| format!(", but `{name}`")).unwrap_or_default())]
    Missing {
        /// What should be there: `debian-binary`, `control.tar`, `data.tar`.
        wanted: &'static str,
        /// What is there instead; none at the end.
        found: Option<String>,
    },
    /// A member is compressed in a way that is not known, or not in the way that its name says.
    #[error("its member `{member}` is not compressed as its name should say: none, .gz, .xz or .zst")]
    Compression {
        /// Which.
        member: String,
    },
    /// Something follows the last member.
    #[error("it has a member `{member}` behind its data")]
    Surplus {
        /// Which.
        member: String,
    },
    /// The archive with what dpkg is told is damaged.
    #[error("its control archive is not sound")]
    ControlArchive {
        /// How.
        source: cairn_layer::ReadError,
    },
    /// Something in the control archive is no file at its top.
    #[error("its control archive has {path}, which is no file at the top")]
    ControlMember {
        /// Which.
        path: TreePath,
    },
    /// The control file is none.
    #[error("its control file is not sound")]
    Control {
        /// What is wrong.
        source: ControlError,
    },
    /// It is another package than the one that was asked for.
    #[error("it says to be {found}")]
    Other {
        /// Name, version and architecture, as the control file has them.
        found: String,
    },
    /// The list of its configuration files names something that is no path.
    #[error("its list of configuration files has an impossible line")]
    Conffile {
        /// What is wrong.
        source: PathError,
    },
    /// The archive with its files is damaged, or has something that no image is given.
    #[error("its files are not sound")]
    Data {
        /// What is wrong.
        source: UnpackError,
    },
    /// A symbolic link leads out of the image.
    #[error("the symbolic link {path} leads to `{target}`, above the root")]
    Climbs {
        /// The link.
        path: TreePath,
        /// What it points at.
        target: String,
    },
}
