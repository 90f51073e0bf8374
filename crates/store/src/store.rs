//! A set of repositories, with uploads that survive a broken connection.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::{Digest, RepositoryName};

use crate::error::RepositoryError;
use crate::repository::{Page, Repository};
use crate::stream::ByteStream;

/// The name of an upload: 32 lower-case hexadecimal digits, random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadId(String);

/// The text is not the name of an upload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an upload")]
pub struct UploadIdError;

impl UploadId {
    /// A new name that nobody can guess.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32 && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UploadIdError)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an upload cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such upload in this repository.
    #[error("there is no upload {id}")]
    Unknown {
        /// Which one was asked for.
        id: UploadId,
    },
    /// The piece does not begin where the upload ends.
    #[error("the upload {id} is at {offset}, not at {given}")]
    Offset {
        /// Which upload.
        id: UploadId,
        /// Bytes it has.
        offset: u64,
        /// Where the piece begins.
        given: u64,
    },
    /// Reading the piece failed; what came before is kept.
    #[error("the upload {id} broke off")]
    Content {
        /// Which upload.
        id: UploadId,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else has been writing to it all the time.
    #[error("the upload {id} is being written by another request")]
    Busy {
        /// Which upload.
        id: UploadId,
    },
    /// Anything else.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Repositories by name: what a server serves.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Opens a repository. One that nobody has written to is empty; opening makes nothing.
    async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, RepositoryError>;

    /// Names of the repositories that hold something, sorted by bytes, after `page.after`.
    async fn repositories(&self, page: &Page) -> Result<Vec<RepositoryName>, RepositoryError>;

    /// Whether anything was ever written to the repository.
    async fn contains(&self, name: &RepositoryName) -> Result<bool, RepositoryError>;

    /// Starts an upload.
    async fn begin_upload(&self, name: &RepositoryName) -> Result<UploadId, UploadError>;

    /// How many bytes an upload has.
    async fn upload_offset(&self, name: &RepositoryName, id: &UploadId) -> Result<u64, UploadError>;

    /// Appends a piece that begins at `offset`, and returns how many bytes the upload has then. When the
    /// content breaks off, what came is kept.
    async fn append_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        offset: u64,
        content: ByteStream,
    ) -> Result<u64, UploadError>;

    /// Makes the upload the blob `digest`, verified and durable, and returns its size in bytes. On a mismatch
    /// the upload is gone and nothing was stored.
    async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
    ) -> Result<u64, UploadError>;

    /// Drops an upload.
    async fn cancel_upload(&self, name: &RepositoryName, id: &UploadId) -> Result<(), UploadError>;

    /// How many uploads of a repository are unfinished, counted up to `limit`.
    async fn open_uploads(&self, name: &RepositoryName, limit: usize) -> Result<usize, RepositoryError>;

    /// How many bytes can still be written, if the store knows.
    async fn free_space(&self) -> Result<Option<u64>, RepositoryError>;

    /// Brings everything that is derived up to date (for a directory: the `index.json` that other tools read).
    async fn flush(&self) -> Result<(), RepositoryError>;
}
