//! Why a foreign layer is refused.

use std::io;

use crate::decode::DecodeError;
use crate::path::{PathError, TreePath};

/// Why a visitor does not want to go on.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// Why a layer cannot be read. `at` is a position in the tar archive; texts are escaped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes cannot be read or decompressed.
    #[error("cannot read the layer")]
    Input {
        /// Why.
        source: io::Error,
    },
    /// It decompresses to more than it may.
    #[error("the layer is too large")]
    Decode {
        /// Which limit.
        source: DecodeError,
    },
    /// The output of [`recompress`](crate::recompress) does not take the bytes.
    #[error("cannot write the layer")]
    Output {
        /// Why.
        source: io::Error,
    },
    /// It ends in the middle, or without an end marker where nothing else tells the end.
    #[error("the tar archive ends too early, at byte {at}")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// Something follows the end.
    #[error("there is something at byte {at}, after the end of the tar archive")]
    TrailingData {
        /// Where.
        at: u64,
    },
    /// A header is damaged, or contradicts itself.
    #[error("the tar header at byte {at} has an impossible {field}")]
    Header {
        /// Where the header starts.
        at: u64,
        /// Which field.
        field: &'static str,
    },
    /// A PAX header or long name is damaged, or there are two for one member.
    #[error("the extended tar header for the member at byte {at} is damaged or ambiguous")]
    Extension {
        /// Where the header starts.
        at: u64,
    },
    /// A PAX header or long name is too large.
    #[error("the extended tar header at byte {at} is larger than {limit} bytes")]
    ExtensionTooLarge {
        /// Where the header starts.
        at: u64,
        /// The limit: [`Limits::max_extension`](crate::Limits::max_extension).
        limit: u64,
    },
    /// A sparse file: readers disagree about them (image-spec, layer.md: layers should have none).
    #[error("the member at byte {at} is a sparse file, which a layer should not have")]
    Sparse {
        /// Where the header starts.
        at: u64,
    },
    /// A kind of member that is none of a file system.
    #[error("`{path}` is of the unknown kind `{kind}`")]
    Unsupported {
        /// The member's name.
        path: String,
        /// The header's type flag.
        kind: String,
    },
    /// A name leads out of the image.
    #[error("`{path}` leads out of the image")]
    Escapes {
        /// The name.
        path: String,
    },
    /// A hard link's target leads out of the image, is the root, or is the link itself.
    #[error("the hard link `{path}` cannot lead to `{target}`")]
    Hardlink {
        /// The link's name.
        path: String,
        /// Its target.
        target: String,
    },
    /// A name is no path.
    #[error("the layer has an entry that cannot be in an image")]
    Path {
        /// What is wrong with it.
        source: PathError,
    },
    /// A symbolic link has an impossible target.
    #[error("the target of the symbolic link {path} is empty, too long, or has a NUL byte")]
    SymlinkTarget {
        /// The link.
        path: TreePath,
    },
    /// Something named like a whiteout is none.
    #[error("{path} is no whiteout: those are empty files named `.wh.` and the name that they remove")]
    Whiteout {
        /// The path, as named.
        path: TreePath,
    },
    /// The root is something else than a directory.
    #[error("the layer's root is not a directory")]
    Root,
    /// A path is there twice (image-spec, layer.md: it must not be), and not both times a directory.
    #[error("{path} is there twice")]
    Duplicate {
        /// The path.
        path: TreePath,
    },
    /// Something lies below what this layer says is a file.
    #[error("{path} lies below {ancestor}, which is not a directory")]
    NotADirectory {
        /// What lies below.
        path: TreePath,
        /// What is no directory.
        ancestor: TreePath,
    },
    /// A path leads through symbolic links that do not end.
    #[error("{path} lies below symbolic links that do not end")]
    SymlinkLoop {
        /// The path.
        path: TreePath,
    },
    /// `/etc/passwd` or `/etc/group` is too large.
    #[error("{path} has more than {limit} bytes")]
    AccountFile {
        /// Which.
        path: TreePath,
        /// The limit in bytes.
        limit: u64,
    },
    /// Too many entries.
    #[error("the layer has more than {limit} entries")]
    TooManyEntries {
        /// The limit: [`Limits::max_entries`](crate::Limits::max_entries).
        limit: u64,
    },
    /// Too many bytes of names and attributes.
    #[error("the names and attributes in the layer have more than {limit} bytes")]
    Metadata {
        /// The limit: [`Limits::max_metadata`](crate::Limits::max_metadata).
        limit: u64,
    },
    /// The visitor did not want to go on.
    #[error("cannot use {path}")]
    Visit {
        /// The entry.
        path: TreePath,
        /// What the visitor said.
        source: VisitError,
    },
}

/// Wraps an error of the output, so that it is not taken for one of the input.
#[derive(Debug, thiserror::Error)]
#[error("cannot write")]
pub(crate) struct OutputFailed(#[source] pub(crate) io::Error);

impl ReadError {
    pub(crate) fn from_input(error: io::Error) -> Self {
        let error = match error.downcast::<DecodeError>() {
            Ok(source) => return Self::Decode { source },
            Err(error) => error,
        };
        match error.downcast::<OutputFailed>() {
            Ok(OutputFailed(source)) => Self::Output { source },
            Err(source) => Self::Input { source },
        }
    }
}
