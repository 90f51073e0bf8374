//! Image manifests and indexes (image-spec, manifest.md and image-index.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};
use crate::{Descriptor, MediaType, media_type};

/// Largest manifest or index that is read or written, in bytes: what every registry must accept (4 MiB).
pub const LIMIT: usize = 4 << 20;
/// Most entries of one document: of an index, and of the layers of a manifest.
pub const ENTRY_LIMIT: usize = 10_000;

/// An image manifest: one configuration and an ordered list of layers. Artifacts have the same form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own type. Required in what Cairn writes; others may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What an artifact is, where the configuration's type does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations, ordered by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index: the manifests of several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index' own type. Required in what Cairn writes; others may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations, ordered by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Either of the two documents that a tag can point at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "documents are few and short-lived; most are the large variant"
)]
pub enum Document {
    /// One image or artifact.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// Why bytes are not a manifest or index.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not a JSON document of the right shape, or too long.
    #[error("the {media_type} cannot be read")]
    Json {
        /// What it claims to be.
        media_type: MediaType,
        /// What is wrong with it.
        source: JsonError,
    },
    /// The type is neither a manifest nor an index.
    #[error("{media_type} is neither an image manifest nor an image index")]
    Unknown {
        /// What it claims to be.
        media_type: MediaType,
    },
    /// The document says another type than the one it came with.
    #[error("a document served as {outer} says that it is {inner}")]
    TypeMismatch {
        /// The type it came with.
        outer: MediaType,
        /// The type it names itself.
        inner: MediaType,
    },
    /// It has members of both a manifest and an index, or not those of its type.
    #[error("a document served as {media_type} has the members of another type")]
    Ambiguous {
        /// What it claims to be.
        media_type: MediaType,
    },
    /// `schemaVersion` is not 2.
    #[error("schemaVersion is {found}, not 2")]
    SchemaVersion {
        /// What it says.
        found: u32,
    },
    /// It lists more than [`ENTRY_LIMIT`] entries.
    #[error("it lists {found} entries, more than {ENTRY_LIMIT}")]
    TooMany {
        /// How many it lists.
        found: usize,
    },
}

/// The members that tell the two kinds apart.
#[derive(Deserialize)]
struct Members {
    manifests: Option<serde_json::Value>,
    layers: Option<serde_json::Value>,
    config: Option<serde_json::Value>,
}

impl Document {
    /// Reads `bytes`, which came as `media_type`.
    ///
    /// # Errors
    ///
    /// [`DocumentError`]: among others when the document could be read as both kinds (CVE-2021-41190), or
    /// names a type other than the one that it came with.
    pub fn parse(media_type: &MediaType, bytes: &[u8]) -> Result<Self, DocumentError> {
        let json = |source| DocumentError::Json {
            media_type: media_type.clone(),
            source,
        };
        if !media_type.is_index() && !media_type.is_manifest() {
            return Err(DocumentError::Unknown {
                media_type: media_type.clone(),
            });
        }
        let members: Members = json::parse(bytes, LIMIT).map_err(json)?;
        let is_image = members.layers.is_some() || members.config.is_some();
        if members.manifests.is_some() == is_image || members.manifests.is_some() != media_type.is_index() {
            return Err(DocumentError::Ambiguous {
                media_type: media_type.clone(),
            });
        }
        let document = if media_type.is_index() {
            Self::Index(json::parse(bytes, LIMIT).map_err(json)?)
        } else {
            Self::Manifest(json::parse(bytes, LIMIT).map_err(json)?)
        };
        document.check(media_type)?;
        Ok(document)
    }

    fn check(&self, outer: &MediaType) -> Result<(), DocumentError> {
        let (schema, inner, entries) = match self {
            Self::Manifest(m) => (m.schema_version, &m.media_type, m.layers.len()),
            Self::Index(i) => (i.schema_version, &i.media_type, i.manifests.len()),
        };
        if schema != 2 {
            return Err(DocumentError::SchemaVersion { found: schema });
        }
        if let Some(inner) = inner.as_ref().filter(|inner| *inner != outer) {
            return Err(DocumentError::TypeMismatch {
                outer: outer.clone(),
                inner: inner.clone(),
            });
        }
        if entries > ENTRY_LIMIT {
            return Err(DocumentError::TooMany { found: entries });
        }
        Ok(())
    }

    /// The manifest that this one is about.
    #[must_use]
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(m) => m.subject.as_ref(),
            Self::Index(i) => i.subject.as_ref(),
        }
    }

    /// What the document is, for a list of referrers: its artifact type, else its configuration's type.
    #[must_use]
    pub fn artifact_type(&self) -> Option<String> {
        match self {
            Self::Manifest(m) => m
                .artifact_type
                .clone()
                .or_else(|| Some(m.config.media_type.as_str().to_owned())),
            Self::Index(i) => i.artifact_type.clone(),
        }
    }

    /// Whether containers can be made of it: ledgers, signatures and other artifacts are manifests too.
    #[must_use]
    pub fn is_image(&self) -> bool {
        match self {
            Self::Manifest(m) => m.config.media_type.to_oci() == media_type::CONFIG,
            Self::Index(i) => i.artifact_type.is_none() && !i.manifests.is_empty(),
        }
    }

    /// The document's own annotations.
    #[must_use]
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Manifest(m) => &m.annotations,
            Self::Index(i) => &i.annotations,
        }
    }

    /// The blobs that this document needs beside it: configuration and layers, without those that may only be
    /// stored elsewhere. An index needs none.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Descriptor> {
        match self {
            Self::Manifest(m) => std::iter::once(&m.config)
                .chain(&m.layers)
                .filter(|blob| !blob.media_type.is_nondistributable())
                .collect(),
            Self::Index(_) => Vec::new(),
        }
    }

    /// The manifests that this document lists. A manifest lists none.
    #[must_use]
    pub fn manifests(&self) -> &[Descriptor] {
        match self {
            Self::Manifest(_) => &[],
            Self::Index(i) => &i.manifests,
        }
    }
}

impl Manifest {
    /// An image manifest as Cairn writes it.
    #[must_use]
    pub fn image(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.into()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// An artifact as Cairn writes it: empty configuration, `layers`, and what it is.
    pub fn artifact(artifact_type: impl Into<String>, layers: Vec<Descriptor>) -> Self {
        Self {
            artifact_type: Some(artifact_type.into()),
            ..Self::image(Descriptor::empty(), layers)
        }
    }
}

impl Index {
    /// An index as Cairn writes it, its manifests sorted by platform.
    #[must_use]
    pub fn images(mut manifests: Vec<Descriptor>) -> Self {
        manifests.sort_by(|a, b| (&a.platform, a.digest).cmp(&(&b.platform, b.digest)));
        Self {
            schema_version: 2,
            media_type: Some(media_type::INDEX.into()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Manifest {
        Manifest::image(
            Descriptor::of(media_type::CONFIG, b"{}"),
            vec![Descriptor::of(media_type::LAYER, b"x")],
        )
    }

    #[test]
    fn what_we_write_is_read_by_oci_spec() {
        let bytes = json::canonical(&image());
        let theirs = oci_spec::image::ImageManifest::from_reader(&bytes[..]).unwrap();
        assert_eq!(theirs.layers().len(), 1);
        let index = Index::images(vec![
            Descriptor::of(media_type::MANIFEST, &bytes).with_platform(Platform::new("linux", "arm64")),
            Descriptor::of(media_type::MANIFEST, &bytes).with_platform(Platform::new("linux", "amd64")),
        ]);
        let theirs = oci_spec::image::ImageIndex::from_reader(&json::canonical(&index)[..]).unwrap();
        assert_eq!(
            theirs.manifests()[0].platform().as_ref().unwrap().architecture(),
            &oci_spec::image::Arch::Amd64
        );
    }

    use crate::Platform;

    #[test]
    fn containers_can_be_made_of_images_and_indexes_of_them() {
        let image = image();
        let entry = Descriptor::of(media_type::MANIFEST, &json::canonical(&image));
        let index = Index::images(vec![entry]);
        let docker = Manifest {
            config: Descriptor::of(media_type::DOCKER_CONFIG, b"{}"),
            ..image.clone()
        };
        for document in [
            Document::Manifest(image.clone()),
            Document::Manifest(docker),
            Document::Index(index.clone()),
        ] {
            assert!(document.is_image(), "{document:?}");
        }
        let artifact = Manifest {
            config: Descriptor::of("application/vnd.oci.empty.v1+json", b"{}"),
            ..image
        };
        let list = Index {
            artifact_type: Some("application/x".to_owned()),
            ..index
        };
        for document in [
            Document::Manifest(artifact),
            Document::Index(list),
            Document::Index(Index::images(Vec::new())),
        ] {
            assert!(!document.is_image(), "{document:?}");
        }
    }

    #[test]
    fn c4_a_document_of_two_kinds_is_refused() {
        let text = String::from_utf8(json::canonical(&image())).unwrap();
        let both = text.replacen('{', r#"{"manifests":[],"#, 1);
        for media_type in [media_type::MANIFEST, media_type::INDEX] {
            let error = Document::parse(&media_type.into(), both.as_bytes()).unwrap_err();
            assert!(matches!(error, DocumentError::Ambiguous { .. }), "{error:?}");
        }
        let error = Document::parse(&media_type::DOCKER_MANIFEST.into(), text.as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::TypeMismatch { .. }), "{error:?}");
    }

    #[test]
    fn an_unknown_type_and_schema_1_are_refused() {
        assert!(Document::parse(&"text/plain".into(), b"{}").is_err());
        let text = String::from_utf8(json::canonical(&image()))
            .unwrap()
            .replace(":2}", ":1}");
        let error = Document::parse(&media_type::MANIFEST.into(), text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, DocumentError::SchemaVersion { found: 1 }),
            "{error:?}"
        );
    }

    #[test]
    fn c5_an_index_with_too_many_entries_is_refused() {
        let index = |entries: usize| {
            let entry = Descriptor::new("m", crate::Digest::of(b"x"), 1);
            let bytes = json::canonical(&Index::images(vec![entry; entries]));
            Document::parse(&MediaType::from(media_type::INDEX), &bytes)
        };
        assert!(index(ENTRY_LIMIT).is_ok());
        let refused = index(ENTRY_LIMIT + 1).unwrap_err();
        assert!(
            matches!(refused, DocumentError::TooMany { found } if found == ENTRY_LIMIT + 1),
            "{refused}"
        );
        // Far too many are not even looked at.
        let refused = index(100_000).unwrap_err();
        assert!(
            matches!(
                refused,
                DocumentError::Json {
                    source: JsonError::TooLarge { .. },
                    ..
                }
            ),
            "{refused}"
        );
    }
}
