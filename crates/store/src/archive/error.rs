//! Why an archive was not made.

use std::io;

use cairn_oci::{Digest, MediaType};

use super::Format;
use crate::error::RepositoryError;
use crate::transfer::TransferError;

/// Why an image cannot be put into an archive.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The image, or a part of it, cannot be read.
    #[error(transparent)]
    Source(Box<TransferError>),
    /// The form has room for one platform.
    #[error("{} has room for one platform, and the image has {}", .format.transport(), .platforms.join(", "))]
    Platforms {
        /// The form.
        format: Format,
        /// What the image has; untrusted text.
        platforms: Vec<String>,
    },
    /// The form has no way to say how a layer is compressed.
    #[error("{} has no layers of the type {media_type}, and {layer} is one", .format.transport())]
    LayerType {
        /// The form.
        format: Format,
        /// The layer.
        layer: Digest,
        /// Its type.
        media_type: MediaType,
    },
    /// A signature, a ledger, or something else that no container can be made of.
    #[error("{digest} is no image but {media_type}")]
    NotAnImage {
        /// The manifest.
        digest: Digest,
        /// Its configuration's type.
        media_type: MediaType,
    },
    /// The content of the image broke off, or is not what its digest says.
    #[error("the image cannot be read to its end")]
    Content(#[source] RepositoryError),
    /// The connection to where the content is broke off.
    #[error("the image cannot be read to its end")]
    Broken(#[source] io::Error),
    /// The archive cannot be written.
    #[error("the archive cannot be written")]
    Write(#[source] RepositoryError),
}

impl From<TransferError> for PackError {
    fn from(error: TransferError) -> Self {
        Self::Source(Box::new(error))
    }
}
