//! Why an image was not built.

use std::io;
use std::path::PathBuf;

use cairn_layer::{LocalError, ReadError, WriteError};
use cairn_oci::json::JsonError;
use cairn_oci::{Digest, Platform};
use cairn_packages::deb::DebError;
use cairn_store::files::FileError;
use cairn_store::{ReadBytes, RepositoryError};

use crate::finding::Finding;
use crate::inputs::FetchError;

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A package is not what it should be.
    #[error(transparent)]
    Package {
        /// Which one, and what is wrong.
        source: Box<DebError>,
    },
    /// The spec asks for what cannot be; the places are in the spec's text.
    #[error("the spec cannot be built")]
    Spec {
        /// Where, and what is wrong.
        findings: Vec<Finding>,
    },
    /// The lock contradicts the spec; the places are in the lock's text.
    #[error("the lock does not fit the spec")]
    Conflict {
        /// Where, and what to do.
        findings: Vec<Finding>,
    },
    /// The lock lacks pins.
    #[error("the lock does not pin {}", missing.join(", "))]
    Unlocked {
        /// What it does not pin.
        missing: Vec<String>,
    },
    /// The platform is none of the spec's.
    #[error("{platform} is not one of the spec's platforms: {}", shown(known))]
    UnknownPlatform {
        /// What was asked for.
        platform: Platform,
        /// The spec's platforms.
        known: Vec<Platform>,
    },
    /// The spec's directory cannot be opened.
    #[error("cannot open the spec's directory")]
    Context {
        /// Why not.
        source: LocalError,
    },
    /// Content of the base is neither in the output nor to be had.
    #[error("{digest} of the base is not here")]
    InputMissing {
        /// What is missing.
        digest: Digest,
    },
    /// The layout or archive with the base does not have what the lock pins, nor does anything else.
    #[error("{base} does not have {digest}, which the lock pins")]
    BaseReplaced {
        /// The layout or archive, and the image in it, as the spec has them.
        base: String,
        /// What is missing.
        digest: Digest,
    },
    /// Content of the base cannot be read.
    #[error("cannot read {digest} of the base")]
    Input {
        /// Which content.
        digest: Digest,
        /// Why not.
        source: RepositoryError,
    },
    /// The base's configuration cannot be had whole.
    #[error("cannot read the configuration {digest} of the base")]
    ConfigContent {
        /// Which configuration.
        digest: Digest,
        /// Why not.
        source: ReadBytes,
    },
    /// The base's configuration is none.
    #[error("the configuration {digest} of the base is not one")]
    Config {
        /// Which configuration.
        digest: Digest,
        /// What is wrong with it.
        source: JsonError,
    },
    /// The file with the root file system cannot be read.
    #[error("cannot read the root file system {}", path.display())]
    OpenRootFs {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file with the root file system is no archive that can be a layer.
    #[error("cannot read the root file system {}", path.display())]
    RootFs {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// The file with the root file system is not the one that the lock pins.
    #[error("the root file system {} is {found}, and the lock pins {expected}", path.display())]
    RootFsChanged {
        /// Which file.
        path: PathBuf,
        /// What the lock pins.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// What the spec fetches cannot be had.
    #[error(transparent)]
    Fetch {
        /// Which URL, and why not.
        source: FetchError,
    },
    /// A layer cannot be written.
    #[error("cannot write the layer `{layer}`")]
    Layer {
        /// Its name.
        layer: String,
        /// Why not.
        source: WriteError,
    },
    /// A scratch file cannot be made.
    #[error("cannot keep the layer `{layer}` until it is whole")]
    Scratch {
        /// Which layer.
        layer: String,
        /// Why not.
        source: FileError,
    },
    /// The output does not take something.
    #[error("cannot write {digest} to {repository}")]
    Write {
        /// The output.
        repository: String,
        /// What was written.
        digest: Digest,
        /// Why not.
        source: RepositoryError,
    },
}

fn shown(platforms: &[Platform]) -> String {
    platforms
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
