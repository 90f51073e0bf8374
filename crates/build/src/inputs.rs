//! What is handed in: the only ways in which locking and building reach anything but the spec's directory.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::{Descriptor, Reference, RepositoryName};
use cairn_store::{ByteStream, Repository, RepositoryError};

/// Where locking looks for what is not pinned yet. Image layouts and root file systems need no source: they are files
/// beside the spec.
#[async_trait]
pub trait Sources: Send + Sync {
    /// The repository in which the base image `reference` lives. It need not have the image.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    async fn base_image(&self, reference: &Reference) -> Result<Arc<dyn Repository>, RepositoryError>;
}

/// Where a build finds the content that the lock names: nothing else can be asked for.
///
/// It is asked only for what neither the output nor a layout beside the spec has.
#[async_trait]
pub trait Inputs: Send + Sync + fmt::Debug {
    /// The content of a blob, if it can be had. The build verifies it.
    ///
    /// # Errors
    ///
    /// If something that should have it fails.
    async fn open(&self, blob: &Descriptor) -> Result<Option<ByteStream>, RepositoryError>;

    /// Repositories beside the build's output, in the same store, from which a blob can be mounted.
    fn siblings(&self) -> &[RepositoryName] {
        &[]
    }
}

/// Content from repositories, the first that has it.
#[derive(Debug, Default)]
pub struct RepositoryInputs {
    /// Where to look, in this order.
    pub repositories: Vec<Arc<dyn Repository>>,
    /// See [`Inputs::siblings`].
    pub siblings: Vec<RepositoryName>,
}

#[async_trait]
impl Inputs for RepositoryInputs {
    async fn open(&self, blob: &Descriptor) -> Result<Option<ByteStream>, RepositoryError> {
        for repository in &self.repositories {
            if let Some(found) = repository.read_blob(&blob.digest, None).await? {
                return Ok(Some(found.content));
            }
        }
        Ok(None)
    }

    fn siblings(&self) -> &[RepositoryName] {
        &self.siblings
    }
}
