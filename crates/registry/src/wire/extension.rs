//! Extension discovery (distribution-spec, `extensions/_oci.md`): how a server says that it honours conditions.

use serde::{Deserialize, Serialize};

/// Longest discovery document that is read, in bytes (64 KiB).
pub const LIMIT: usize = 64 << 10;
/// The name of Cairn's extension.
pub const NAME: &str = "_cairn";
/// `IfAbsent` and `IfMatch` are honoured atomically, and confirmed.
pub const CONDITIONS: &str = "conditions-v1";
/// `Seal` is honoured, and confirmed.
pub const SEAL: &str = "seal-v1";
/// Tags may be deleted by name.
pub const DELETE_TAGS: &str = "delete-tags-v1";

/// Where the extension is described.
const URL: &str = "https://example.org/cairn/docs/registry.md";

/// The document at `/v2/_oci/ext/discover`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// What the registry supports beyond the specification.
    #[serde(default)]
    pub extensions: Vec<Extension>,
}

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name, which begins with `_`.
    pub name: String,
    /// Where it is described. Never fetched.
    #[serde(default)]
    pub url: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What of it is there.
    #[serde(default)]
    pub endpoints: Vec<String>,
}

impl Extensions {
    /// What a server with these features of Cairn's extension announces.
    #[must_use]
    pub fn announcing(features: &[&str]) -> Self {
        let cairn = Extension {
            name: NAME.to_owned(),
            url: URL.to_owned(),
            description: format!("writes to tags under a condition: {}", features.join(", ")),
            endpoints: features.iter().map(|&feature| feature.to_owned()).collect(),
        };
        Self {
            extensions: vec![cairn],
        }
    }

    /// Whether Cairn's extension is there at all.
    #[must_use]
    pub fn is_cairn(&self) -> bool {
        self.extensions.iter().any(|extension| extension.name == NAME)
    }

    /// Whether Cairn's extension announces `feature`.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.extensions
            .iter()
            .any(|extension| extension.name == NAME && extension.endpoints.iter().any(|e| e == feature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_count_only_under_cairns_name() {
        let announced = Extensions::announcing(&[CONDITIONS]);
        assert!(announced.has(CONDITIONS) && !announced.has(SEAL));
        let mut other = announced;
        other.extensions[0].name = "_other".to_owned();
        assert!(!other.has(CONDITIONS) && !other.is_cairn());
    }
}
