//! Why a lock cannot be made.

use std::io;
use std::path::PathBuf;

use cairn_layer::{LocalError, ReadError};
use cairn_oci::json::JsonError;
use cairn_oci::manifest::DocumentError;
use cairn_oci::{Digest, MediaType, Platform};
use cairn_packages::InstalledError;
use cairn_packages::deb::DebError;
use cairn_packages::debian::{ArchiveError, ResolveError};
use cairn_packages::status::StatusError;
use cairn_store::{ReadBytes, RepositoryError};

use crate::finding::Finding;
use crate::inputs::FetchError;
use crate::lock::ListingError;

/// Why a lock cannot be made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock contradicts the spec; the places are in the lock's text.
    #[error("the lock does not fit the spec")]
    Conflict {
        /// Where, and what to do.
        findings: Vec<Finding>,
    },
    /// The spec asks for what is not there; the places are in the spec's text.
    #[error("the spec asks for what is not there")]
    Spec {
        /// Where, and what is there.
        findings: Vec<Finding>,
    },
    /// The spec's directory cannot be opened.
    #[error("cannot open the spec's directory")]
    Context {
        /// Why not.
        source: LocalError,
    },
    /// What the spec fetches cannot be had.
    #[error(transparent)]
    Fetch {
        /// Which URL, and why not.
        source: FetchError,
    },
    /// The base's repository cannot be opened or read.
    #[error("cannot read the base {base}")]
    Repository {
        /// The base, as the spec has it.
        base: String,
        /// Why not.
        source: RepositoryError,
    },
    /// The base's manifest is none.
    #[error("the manifest {digest} of the base {base} cannot be read")]
    Manifest {
        /// The base, as the spec has it.
        base: String,
        /// Which manifest.
        digest: Digest,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The repository gave a manifest other than the one that was asked for.
    #[error("the manifest {expected} of the base {base} is {found} bytes of something else")]
    OtherManifest {
        /// The base, as the spec has it.
        base: String,
        /// What was asked for.
        expected: Digest,
        /// How many bytes came.
        found: u64,
    },
    /// Something that a manifest names is not there.
    #[error("the base {base} lacks {digest}")]
    Missing {
        /// The base, as the spec has it.
        base: String,
        /// What is missing.
        digest: Digest,
    },
    /// It is not an image.
    #[error("the base {base} is not an image: its manifest {manifest} has a part of type {media_type}")]
    NotAnImage {
        /// The base, as the spec has it.
        base: String,
        /// The manifest.
        manifest: Digest,
        /// The type that images do not have.
        media_type: MediaType,
    },
    /// The configuration cannot be had whole.
    #[error("cannot read the configuration {digest} of the base {base}")]
    ConfigContent {
        /// The base, as the spec has it.
        base: String,
        /// Which configuration.
        digest: Digest,
        /// Why not.
        source: ReadBytes,
    },
    /// The configuration is none.
    #[error("the configuration {digest} of the base {base} is not one")]
    Config {
        /// The base, as the spec has it.
        base: String,
        /// Which configuration.
        digest: Digest,
        /// What is wrong with it.
        source: JsonError,
    },
    /// Manifest and configuration do not have equally many layers.
    #[error("the base {base} has {layers} layers and {diff_ids} uncompressed digests of layers")]
    LayerCount {
        /// The base, as the spec has it.
        base: String,
        /// Layers of the manifest.
        layers: usize,
        /// Layers of the configuration.
        diff_ids: usize,
    },
    /// A layer breaks off.
    #[error("the layer {digest} of the base {base} breaks off")]
    LayerContent {
        /// The base, as the spec has it.
        base: String,
        /// Which layer.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A layer is none.
    #[error("cannot read the layer {digest} of the base {base}")]
    Layer {
        /// The base, as the spec has it.
        base: String,
        /// Which layer.
        digest: Digest,
        /// Why not.
        source: ReadError,
    },
    /// A layer is not the one that the configuration means.
    #[error("the layer {digest} of the base {base} is {found} uncompressed, and should be {expected}")]
    DiffId {
        /// The base, as the spec has it.
        base: String,
        /// Which layer.
        digest: Digest,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The file with the root file system cannot be opened.
    #[error("cannot open the root file system {}", path.display())]
    OpenRootFs {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The root file system is not a regular file.
    #[error("the root file system {} is not a regular file", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// The file with the root file system is no archive that can be a layer.
    #[error("cannot read the root file system {}", path.display())]
    RootFs {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// The file with the root file system changed while it was read.
    #[error("the root file system {} changed while it was read", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// A package is not what it should be.
    #[error(transparent)]
    Package {
        /// Which one, and what is wrong.
        source: Box<DebError>,
    },
    /// There is no archive of packages to ask.
    #[error("cannot find packages of Debian")]
    DebianSources {
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An archive of packages cannot be read, or not be trusted.
    #[error(transparent)]
    DebianArchive {
        /// Which file, and why not.
        source: Box<ArchiveError>,
    },
    /// What is asked for cannot be had.
    #[error("for {platform}")]
    Debian {
        /// For which platform.
        platform: Platform,
        /// Why not.
        source: ResolveError,
    },
    /// A package of an index cannot be.
    #[error("an index has a package that cannot be")]
    DebianPackage {
        /// What is wrong.
        source: InstalledError,
    },
    /// The base's record of installed packages is damaged.
    #[error("cannot read which packages the base {base} has")]
    Packages {
        /// The base, as the spec has it.
        base: String,
        /// What is wrong with the record.
        source: StatusError,
    },
    /// The base's listing cannot be pinned.
    #[error("cannot pin the base {base}")]
    Listing {
        /// The base, as the spec has it.
        base: String,
        /// Why not.
        source: ListingError,
    },
}
