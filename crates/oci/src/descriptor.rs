//! Descriptors: what content is, how long it is, and its digest (image-spec, descriptor.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, MediaType, Platform};

/// Points at content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its length in bytes; never negative, never above 2^63 − 1.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where else the content may be. Cairn never fetches from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations, ordered by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// For which machine, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact is, in an index and in a list of referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// Sizes are signed 64-bit integers in the specification; a negative one is an attack (image-spec#1285).
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = i64::deserialize(deserializer)?;
    u64::try_from(size).map_err(|_| serde::de::Error::custom(format_args!("the size {size} is negative")))
}

impl Descriptor {
    /// A descriptor with nothing but the three required fields.
    pub fn new(media_type: impl Into<MediaType>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Describes `bytes`.
    pub fn of(media_type: impl Into<MediaType>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// The same content, for `platform`.
    #[must_use]
    pub fn with_platform(self, platform: Platform) -> Self {
        Self {
            platform: Some(platform),
            ..self
        }
    }

    /// Describes `{}`, the configuration of an artifact that has none.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(crate::media_type::EMPTY, b"{}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn c2_negative_and_fractional_sizes_are_refused() {
        let with = |size: &str| {
            format!(
                r#"{{"mediaType":"x","digest":"{}","size":{size}}}"#,
                Digest::of(b"")
            )
        };
        assert!(json::parse::<Descriptor>(with("0").as_bytes(), 1000).is_ok());
        for size in ["-1", "1.5", "9223372036854775808", "\"1\""] {
            assert!(
                json::parse::<Descriptor>(with(size).as_bytes(), 1000).is_err(),
                "{size}"
            );
        }
    }

    #[test]
    fn the_empty_descriptor_is_the_one_of_the_specification() {
        let text = String::from_utf8(json::canonical(&Descriptor::empty())).unwrap();
        assert_eq!(
            text,
            r#"{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","mediaType":"application/vnd.oci.empty.v1+json","size":2}"#
        );
    }
}
