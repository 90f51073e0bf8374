//! Media types of OCI content, and Docker's names for the same things.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type, kept as the text that was given.
///
/// Text and not an enumeration, because a registry must pass on types it has never heard of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

/// `application/vnd.oci.image.manifest.v1+json`
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.index.v1+json`
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// `application/vnd.oci.image.config.v1+json`
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An uncompressed layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer compressed with gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer compressed with zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The type of the two bytes `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer, uncompressed, as containerd names it.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer, compressed with zstd, as containerd names it.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker's layer, compressed with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Every manifest type that Cairn can read, for `Accept` headers.
pub const MANIFESTS: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

impl MediaType {
    /// Wraps `text`, whatever it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an image index, OCI's or Docker's.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self.as_str(), INDEX | DOCKER_INDEX)
    }

    /// Whether this is an image manifest, OCI's or Docker's.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(self.as_str(), MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether content of this type may be stored elsewhere only (deprecated "foreign" layers).
    #[must_use]
    pub fn is_nondistributable(&self) -> bool {
        self.as_str()
            .starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self
                .as_str()
                .starts_with("application/vnd.docker.image.rootfs.foreign.")
    }

    /// OCI's name for a Docker type; every other type is itself.
    #[must_use]
    pub fn to_oci(&self) -> Self {
        Self::from(match self.as_str() {
            DOCKER_MANIFEST => MANIFEST,
            DOCKER_INDEX => INDEX,
            DOCKER_CONFIG => CONFIG,
            DOCKER_LAYER => LAYER,
            DOCKER_LAYER_GZIP => LAYER_GZIP,
            DOCKER_LAYER_ZSTD => LAYER_ZSTD,
            other => other,
        })
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl PartialEq<&str> for MediaType {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_names_of_oci_spec() {
        use oci_spec::image::MediaType as Theirs;
        for (theirs, ours) in [
            (Theirs::ImageManifest, MANIFEST),
            (Theirs::ImageIndex, INDEX),
            (Theirs::ImageConfig, CONFIG),
            (Theirs::ImageLayer, LAYER),
            (Theirs::ImageLayerGzip, LAYER_GZIP),
            (Theirs::ImageLayerZstd, LAYER_ZSTD),
            (Theirs::EmptyJSON, EMPTY),
        ] {
            assert_eq!(theirs.to_string(), ours);
        }
    }

    #[test]
    fn docker_names_become_oci_names_and_others_stay() {
        for (docker, oci) in [
            (DOCKER_MANIFEST, MANIFEST),
            (DOCKER_INDEX, INDEX),
            (DOCKER_CONFIG, CONFIG),
            (DOCKER_LAYER, LAYER),
            (DOCKER_LAYER_GZIP, LAYER_GZIP),
            (DOCKER_LAYER_ZSTD, LAYER_ZSTD),
            (EMPTY, EMPTY),
        ] {
            assert_eq!(MediaType::from(docker).to_oci(), oci);
        }
    }
}
