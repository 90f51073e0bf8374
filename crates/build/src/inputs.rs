//! What is handed in: the only ways in which locking and building reach anything but the spec's directory.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::{Descriptor, Digest, Reference, RepositoryName};
use cairn_packages::debian;
use cairn_packages::openpgp::Keyring;
use cairn_store::{Blob, ByteStream, Repository, RepositoryError};
use jiff::Timestamp;

use crate::lock::LockedPackage;
use crate::spec::Debian;

/// Why the content of a URL cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody has it, or nobody may be asked.
    #[error("{}", not_here(missing))]
    Missing {
        /// URLs, at least one, and what they should give.
        missing: Vec<(String, Digest)>,
    },
    /// It is something else.
    #[error("{url} gives {found}, and should give {expected}")]
    Digest {
        /// Which URL.
        url: String,
        /// What the spec says.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// It is longer or shorter than the lock says.
    #[error("{url} has {found} bytes, and should have {expected}")]
    Size {
        /// Which URL.
        url: String,
        /// What the lock says.
        expected: u64,
        /// What came; `expected + 1` means "more".
        found: u64,
    },
    /// Packages are in none of the places where they may be.
    #[error("{}", nowhere(packages))]
    Nowhere {
        /// At least one.
        packages: Vec<Nowhere>,
    },
    /// It could not be asked for, or read.
    #[error("cannot fetch {url}")]
    Failed {
        /// Which URL.
        url: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be kept where it is needed.
    #[error("cannot keep what {url} gives")]
    Keep {
        /// Which URL.
        url: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl FetchError {
    /// What `url` should give is not here.
    pub fn missing(url: impl Into<String>, digest: Digest) -> Self {
        Self::Missing {
            missing: vec![(url.into(), digest)],
        }
    }
}

/// A package that could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nowhere {
    /// Its name, version and architecture.
    pub package: String,
    /// What it is.
    pub digest: Digest,
    /// Where it was looked for, and what came of that.
    pub tried: Vec<(String, String)>,
}

impl fmt::Display for Nowhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            package,
            digest,
            tried,
        } = self;
        write!(f, "the package {package} ({digest}) cannot be had")?;
        for (at, (place, why)) in tried.iter().enumerate() {
            let before = if at == 0 { ": " } else { "; " };
            write!(f, "{before}{place}: {why}")?;
        }
        Ok(())
    }
}

fn nowhere(packages: &[Nowhere]) -> String {
    let texts: Vec<_> = packages.iter().map(ToString::to_string).collect();
    texts.join(". ")
}

fn not_here(missing: &[(String, Digest)]) -> String {
    let named: Vec<_> = missing
        .iter()
        .map(|(url, digest)| format!("{url} ({digest})"))
        .collect();
    let are = if missing.len() == 1 { "is" } else { "are" };
    format!("{} {are} not here", named.join(", "))
}

/// Takes the inputs that are missing out of results, so that all of them can be named at once.
#[derive(Debug, Default)]
pub(crate) struct Missing(Vec<(String, Digest)>);

impl Missing {
    /// What was had; none if it is missing, which is noted.
    pub(crate) fn note<T>(&mut self, result: Result<T, FetchError>) -> Result<Option<T>, FetchError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(FetchError::Missing { missing }) => {
                self.0.extend(missing);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// All that was missing.
    pub(crate) fn into_error(mut self) -> Result<(), FetchError> {
        self.0.sort();
        self.0.dedup();
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(FetchError::Missing { missing: self.0 })
        }
    }
}

/// Where the content of URLs comes from. By itself, from nowhere.
#[async_trait]
pub trait Fetcher: Send + Sync {
    /// What `url` gives, which is `digest` and, where that is known, has `size` bytes. It is verified here, and by
    /// whoever reads it too.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    async fn fetch(&self, url: &str, digest: &Digest, size: Option<u64>) -> Result<Blob, FetchError> {
        let _ = size;
        Err(FetchError::missing(url, *digest))
    }

    /// As [`Self::fetch`], for a package that a lock pins: it may also be at a plain HTTP address, or in a directory of this
    /// machine.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    async fn fetch_package(&self, package: &LockedPackage) -> Result<Blob, FetchError> {
        self.fetch(&package.url, &package.digest, Some(package.size))
            .await
    }

    /// Is told which packages will be asked for next, each digest once, so that they can come side by side. Those that nobody
    /// has are left to [`Self::fetch_package`].
    ///
    /// # Errors
    ///
    /// [`FetchError`], if one that somebody has cannot be had.
    async fn expect_packages(&self, packages: &[&LockedPackage]) -> Result<(), FetchError> {
        let _ = packages;
        Ok(())
    }
}

/// Where locking looks for what is not pinned yet. Image layouts and root file systems need no source: they are files
/// beside the spec.
#[async_trait]
pub trait Sources: Fetcher {
    /// The repository in which the base image `reference` lives. It need not have the image.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    async fn base_image(&self, reference: &Reference) -> Result<Arc<dyn Repository>, RepositoryError>;

    /// The archives of packages for what the spec asks for, with the keys that may sign them.
    ///
    /// # Errors
    ///
    /// If there are none, or they cannot be read.
    async fn debian(&self, wanted: &Debian) -> Result<DebianSources, AnyError> {
        let suites: Vec<_> = wanted
            .archives()
            .map(|archive| archive.suite.value.as_str())
            .collect();
        Err(format!("no source of packages is known for `{}`", suites.join(", ")).into())
    }

    /// A file of an archive; none if it is not there. Whoever asks verifies it.
    ///
    /// # Errors
    ///
    /// If it cannot be had, or is longer than the limit.
    async fn debian_file(&self, wanted: &debian::Wanted) -> Result<Option<Vec<u8>>, debian::FetchError> {
        let _ = wanted;
        Ok(None)
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Where packages come from.
#[derive(Debug, Clone)]
pub struct DebianSources {
    /// Archives; the first counts where two have the same version of a package.
    pub sources: Vec<SignedSource>,
    /// The time by which signatures and dates are judged, of what is no snapshot.
    pub now: Timestamp,
}

/// A suite of an archive.
#[derive(Debug, Clone)]
pub struct SignedSource {
    /// Where it is.
    pub source: debian::Source,
    /// The keys that may sign it.
    pub keyring: Keyring,
    /// The time of which it is on purpose, and by which it is judged.
    pub snapshot: Option<Timestamp>,
}

/// The files of archives, by way of the sources.
pub(crate) struct ArchiveFiles<'a>(pub(crate) &'a dyn Sources);

#[async_trait]
impl debian::Fetch for ArchiveFiles<'_> {
    async fn fetch(&self, wanted: &debian::Wanted) -> Result<Option<Vec<u8>>, debian::FetchError> {
        self.0.debian_file(wanted).await
    }
}

/// Where a build finds the content that the lock names: nothing else can be asked for.
///
/// It is asked only for what neither the output nor a layout beside the spec has.
#[async_trait]
pub trait Inputs: Fetcher + fmt::Debug {
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

impl Fetcher for RepositoryInputs {}

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
