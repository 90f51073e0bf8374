//! Why an archive is not unpacked.

use std::io;

use super::zip::ZipError;
use crate::decode::DecodeError;
use crate::path::{PathError, TreePath};
use crate::read_error::ReadError;
use crate::tree::TreeError;

/// Why an archive is not unpacked. Texts are escaped.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The bytes cannot be read or decompressed.
    #[error("cannot read the archive")]
    Input {
        /// Why.
        source: io::Error,
    },
    /// It begins like no archive that is known.
    #[error("it is no archive that can be unpacked: neither tar (plain, gzip, zstd, xz or bzip2) nor zip")]
    Unknown,
    /// It decompresses to more than it may.
    #[error("the archive is too large")]
    TooLarge {
        /// Which limit.
        source: DecodeError,
    },
    /// The tar archive is damaged, ambiguous, or leads out of where it is unpacked.
    #[error("the tar archive is not sound")]
    Tar {
        /// What is wrong.
        source: ReadError,
    },
    /// The zip archive is damaged, ambiguous, or of a kind that is not supported.
    #[error("the zip archive is not sound")]
    Zip {
        /// What is wrong.
        source: ZipError,
    },
    /// A name that no path in an image can have.
    #[error("an entry has a name that cannot be in an image")]
    Path {
        /// What is wrong with it.
        source: PathError,
    },
    /// A device, a named pipe, or something else that only a running system has.
    #[error("{path} is a device or a named pipe, which no image is given")]
    Special {
        /// The entry.
        path: TreePath,
    },
    /// A name that layers reserve for removals (image-spec, layer.md, "Whiteouts").
    #[error("{path} would remove something: names that start with `.wh.` are for layers only")]
    ReservedName {
        /// The entry; of a whiteout, what it would remove.
        path: TreePath,
    },
    /// A symbolic link leads out of the directory into which the archive is unpacked.
    #[error("the symbolic link {path} leads to `{target}`, out of {directory}")]
    Escapes {
        /// The link, in the image.
        path: TreePath,
        /// What it points at.
        target: String,
        /// Into which directory the archive is unpacked.
        directory: String,
    },
    /// A hard link leads to nothing that came before it, or to what is no file.
    #[error("the hard link {path} leads to {to}, which is no file before it in the archive")]
    Hardlink {
        /// The link.
        path: TreePath,
        /// Its target.
        to: TreePath,
    },
    /// An owner's or group's number is too large for programs that keep it in 32 signed bits (CVE-2024-40635).
    #[error("{path} belongs to the id {id}, which is not below 2^31")]
    Id {
        /// The entry.
        path: TreePath,
        /// The number.
        id: u32,
    },
    /// Two entries contradict each other.
    #[error("the archive contradicts itself")]
    Tree {
        /// How.
        source: TreeError,
    },
    /// Nothing is left of it.
    #[error("nothing of the archive is left")]
    Nothing {
        /// What it has at the top: at most eight names.
        names: Vec<String>,
    },
    /// What comes out of the archive cannot be kept.
    #[error("cannot keep what comes out of the archive")]
    Spool {
        /// Why not.
        source: io::Error,
    },
}

impl UnpackError {
    pub(super) fn of_tar(error: ReadError) -> Self {
        match error {
            ReadError::Input { source } => Self::Input { source },
            ReadError::Decode { source } => Self::TooLarge { source },
            ReadError::Header { at: 0, .. } | ReadError::Truncated { at: 0 } => Self::Unknown,
            ReadError::Visit { path, source } => match source.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(source) => Self::Tar {
                    source: ReadError::Visit { path, source },
                },
            },
            source => Self::Tar { source },
        }
    }

    /// What to do about it, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown => Some("leave `extract` away to take the file as it is".to_owned()),
            Self::Escapes { .. } | Self::Special { .. } | Self::ReservedName { .. } => {
                Some("leave it out with `exclude`; a symbolic link can be made with `link`".to_owned())
            }
            Self::Nothing { names } if names.is_empty() => Some("the archive is empty".to_owned()),
            Self::Nothing { names } => Some(format!(
                "at the top, before `strip`, it has: {}",
                names.join(", ")
            )),
            _ => None,
        }
    }
}
