//! The configuration of an image (image-spec, config.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};
use crate::{Digest, Platform};

/// Largest configuration that is read, in bytes (8 MiB).
pub const LIMIT: usize = 8 << 20;

/// How containers of the image are made, and which layers it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// For which machine.
    #[serde(flatten)]
    pub platform: Platform,
    /// Defaults for containers.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub config: RunConfig,
    /// The layers by the digest of their uncompressed form, lowest first.
    pub rootfs: RootFs,
    /// One entry for each step; those that are not `empty_layer` are as many as the layers.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<History>,
}

/// Defaults for containers of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// User, or `user:group`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Ports, such as `8080/tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    /// `NAME=value`, in the order given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// What is run, before `cmd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths whose content outlives a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Directory in which it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Labels, ordered by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks it to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker's health check, kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<serde_json::Value>,
}

/// The empty object that the specification uses as the value of a set's members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// The layers of the image, uncompressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step of how the image came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_layer: Option<bool>,
}

/// Writers in Go say `null` for an empty list or structure.
fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_default(config: &RunConfig) -> bool {
    *config == RunConfig::default()
}

impl RootFs {
    /// Layers with these uncompressed digests, lowest first.
    #[must_use]
    pub fn layers(diff_ids: Vec<Digest>) -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids,
        }
    }
}

impl ImageConfig {
    /// Reads a configuration of at most [`LIMIT`] bytes.
    ///
    /// # Errors
    ///
    /// [`JsonError`] when it is too long or not a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse(bytes, LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_is_read_by_oci_spec_and_by_ourselves() {
        let config = ImageConfig {
            created: Some("1970-01-01T00:00:01Z".to_owned()),
            author: None,
            platform: "linux/arm/v7".parse().unwrap(),
            config: RunConfig {
                env: Some(vec!["B=1".to_owned(), "A=2".to_owned()]),
                labels: Some([("k".to_owned(), "v".to_owned())].into()),
                exposed_ports: Some([("8080/tcp".to_owned(), Empty {})].into()),
                ..RunConfig::default()
            },
            rootfs: RootFs::layers(vec![Digest::of(b"")]),
            history: vec![History {
                created_by: Some("layer app".to_owned()),
                ..History::default()
            }],
        };
        let bytes = json::canonical(&config);
        assert_eq!(ImageConfig::parse(&bytes).unwrap(), config);
        let theirs = oci_spec::image::ImageConfiguration::from_reader(&bytes[..]).unwrap();
        assert_eq!(theirs.rootfs().diff_ids().len(), 1);
        assert_eq!(
            theirs.config().as_ref().unwrap().env().as_ref().unwrap()[0],
            "B=1"
        );
    }

    #[test]
    fn null_in_a_configuration_means_empty() {
        let text = r#"{"architecture":"amd64","os":"linux","config":null,"history":null,
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config, RunConfig::default());
        assert_eq!(config.history, []);
        assert_eq!(config.rootfs.diff_ids, []);
    }
}
