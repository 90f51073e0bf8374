//! What an image was made of, as its release remembers it, so that another machine need not make its layers again.
//!
//! A *build record* is a document of its own. Its digest is in the signed entry of the release, and nothing is believed of
//! one that is known in any other way: that is for whoever reads it ([`Releases`]).
//!
//! Of each own layer it says the *input*: a digest that names everything that decides the layer's bytes. That is the archive
//! (paths, attributes, links, contents, and where it is cut into segments, which follows from them), and the rules that
//! make a layer of it (output version, compressor, its version, its level). So the input is known once all files were
//! read, and nothing needs to be compressed. A build computes the `diff_id` itself and takes digest and size: whoever
//! unpacks the layer checks it against that `diff_id`.

use std::fmt;

use async_trait::async_trait;
use cairn_layer::Compression;
use cairn_oci::Digest;
use cairn_oci::json::{self, JsonError};
use serde::{Deserialize, Serialize};

use crate::build::{Built, BuiltLayer};
use crate::lock::{self, Lock, OUTPUT_VERSION};

/// The longest build record that is written or read, in bytes: a lock, escaped, and what stands beside it.
pub const LIMIT: usize = 2 * lock::LIMIT;
/// Version of the document.
const SCHEMA: u32 = 1;

/// What an image was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRecord {
    schema: u32,
    /// The rules that fix output bytes.
    pub output: u32,
    /// The spec.
    pub spec: RecordedSpec,
    /// The text of the image's lock, without comments.
    pub lock: String,
    /// The images, sorted by platform.
    pub platforms: Vec<RecordedPlatform>,
}

/// Which spec it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedSpec {
    /// Of the text of `cairn.toml`.
    pub digest: Digest,
    /// Of the text of the workspace's `cairn.toml`, if the image is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Digest>,
}

/// The image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedPlatform {
    /// `os/architecture[/variant]`
    pub platform: String,
    /// Its own layers, lowest first; those of the base are in the lock.
    pub layers: Vec<RecordedLayer>,
}

/// One own layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedLayer {
    /// Names everything that it was made of.
    pub input: Digest,
    /// Of the archive.
    pub diff_id: Digest,
    /// Of the compressed layer.
    pub digest: Digest,
    /// Compressed bytes.
    pub size: u64,
    /// Bytes of the archive.
    pub uncompressed: u64,
    /// The layer's media type.
    pub media_type: String,
}

/// Why bytes are no build record that this program can use.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They are not such a document.
    #[error("it is not a build record")]
    Json(#[source] JsonError),
    /// A newer program wrote it.
    #[error("it is a build record of schema {found}; this Cairn knows {SCHEMA}")]
    Schema {
        /// Its schema.
        found: u32,
    },
    /// Its layers follow other rules.
    #[error("it is of output version {found}; this Cairn makes {OUTPUT_VERSION}")]
    Output {
        /// Its output version.
        found: u32,
    },
}

/// The version of a document, whatever else is in it.
#[derive(Deserialize)]
struct Versions {
    schema: u32,
    output: u32,
}

impl BuildRecord {
    /// The record of what was just `built` from a spec and `lock`.
    #[must_use]
    pub fn of(built: &Built, spec: RecordedSpec, lock: &Lock) -> Self {
        let platforms = built.platforms.iter().map(|image| RecordedPlatform {
            platform: image.platform.to_string(),
            layers: image.layers.iter().map(RecordedLayer::of).collect(),
        });
        Self {
            schema: SCHEMA,
            output: OUTPUT_VERSION,
            spec,
            lock: lock.to_string(),
            platforms: platforms.collect(),
        }
    }

    /// Canonical JSON: the same for the same build.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        json::canonical(self)
    }

    /// Reads one that was written by the rules that this program builds by.
    ///
    /// # Errors
    ///
    /// [`RecordError`]: another schema and another output version are errors too, for nothing of them may be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let lax: Versions = json::parse(bytes, LIMIT).map_err(RecordError::Json)?;
        if lax.schema != SCHEMA {
            return Err(RecordError::Schema { found: lax.schema });
        }
        if lax.output != OUTPUT_VERSION {
            return Err(RecordError::Output { found: lax.output });
        }
        json::parse(bytes, LIMIT).map_err(RecordError::Json)
    }

    /// All layers, of all platforms.
    pub fn layers(&self) -> impl Iterator<Item = &RecordedLayer> {
        self.platforms.iter().flat_map(|image| &image.layers)
    }
}

impl RecordedLayer {
    fn of(layer: &BuiltLayer) -> Self {
        Self {
            input: layer_input(layer.compression, &layer.diff_id),
            diff_id: layer.diff_id,
            digest: layer.digest,
            size: layer.size,
            uncompressed: layer.uncompressed,
            media_type: layer.compression.media_type().to_owned(),
        }
    }
}

/// Names everything that decides the bytes of a layer: the archive `diff_id`, and the rules that are applied to it.
pub(crate) fn layer_input(compression: Compression, diff_id: &Digest) -> Digest {
    let rules = compression.rules().unwrap_or("cairn segment: none");
    Digest::of(format!("cairn layer input\noutput {OUTPUT_VERSION}\n{rules}\n{diff_id}\n").as_bytes())
}

/// A layer that a release has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedLayer {
    /// The release's version.
    pub version: String,
    /// The layer.
    pub layer: RecordedLayer,
}

/// What releases that are trusted were made of: handed to a build, which asks for it only where it would have to compress.
#[async_trait]
pub trait Releases: Send + Sync + fmt::Debug {
    /// Their layers, those of the newest release first. Only what somebody signed for who may release.
    async fn layers(&self) -> &[ReleasedLayer];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> BuildRecord {
        let digest = |text: &str| Digest::of(text.as_bytes());
        BuildRecord {
            schema: SCHEMA,
            output: OUTPUT_VERSION,
            spec: RecordedSpec {
                digest: digest("spec"),
                workspace: None,
            },
            lock: "output = 1\n".to_owned(),
            platforms: vec![RecordedPlatform {
                platform: "linux/amd64".to_owned(),
                layers: vec![RecordedLayer {
                    input: layer_input(Compression::Gzip, &digest("archive")),
                    diff_id: digest("archive"),
                    digest: digest("layer"),
                    size: 5,
                    uncompressed: 7,
                    media_type: Compression::Gzip.media_type().to_owned(),
                }],
            }],
        }
    }

    #[test]
    fn a_record_comes_back_and_its_bytes_are_fixed() {
        let bytes = record().to_bytes();
        assert_eq!(BuildRecord::parse(&bytes).unwrap(), record());
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
    }

    #[test]
    fn nothing_is_read_of_another_schema_or_output_version() {
        let newer = BuildRecord {
            schema: 2,
            ..record()
        };
        let error = BuildRecord::parse(&newer.to_bytes()).unwrap_err();
        assert!(matches!(error, RecordError::Schema { found: 2 }), "{error}");
        let other = BuildRecord {
            output: OUTPUT_VERSION + 1,
            ..record()
        };
        let error = BuildRecord::parse(&other.to_bytes()).unwrap_err();
        assert!(matches!(error, RecordError::Output { .. }), "{error}");
        let bytes = String::from_utf8(record().to_bytes()).unwrap();
        for wrong in [
            bytes.replacen('{', "{\"more\":1,", 1),
            bytes.replacen('{', "{\"schema\":1,", 1),
            bytes.clone() + "x",
        ] {
            let error = BuildRecord::parse(wrong.as_bytes()).unwrap_err();
            assert!(matches!(error, RecordError::Json(_)), "{wrong}");
        }
    }

    #[test]
    fn the_input_names_the_archive_and_the_rules() {
        let archive = Digest::of(b"archive");
        let inputs = [
            layer_input(Compression::None, &archive),
            layer_input(Compression::Gzip, &archive),
            layer_input(Compression::Zstd, &archive),
            layer_input(Compression::Gzip, &Digest::of(b"other")),
        ];
        let different: std::collections::BTreeSet<_> = inputs.iter().collect();
        assert_eq!(different.len(), inputs.len());
    }
}
