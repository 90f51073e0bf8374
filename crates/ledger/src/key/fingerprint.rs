//! What names a key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cairn_oci::{Digest, text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What names a key: the SHA-256 of its SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(Digest);

/// How much of one is shown where there is little room. All of it is ASCII, and 50 characters.
const SHOWN: usize = "SHA256:".len() + 10;

/// The text is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a key's fingerprint: SHA256: and 43 characters of base64")]
pub struct FingerprintError {
    /// What was given.
    pub text: String,
}

impl Fingerprint {
    /// Of a SubjectPublicKeyInfo in DER.
    pub(super) fn of(spki: &[u8]) -> Self {
        Self(Digest::of(spki))
    }

    /// `SHA256:` and the first ten characters, with `…`.
    #[must_use]
    pub fn shortened(&self) -> String {
        let text = self.to_string();
        format!("{}…", &text[..SHOWN])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        let value = text.strip_prefix("SHA256:");
        let length = value.and_then(|value| STANDARD_NO_PAD.decode_slice(value, &mut bytes).ok());
        (length == Some(bytes.len()))
            .then(|| Self(Digest::from_bytes(bytes)))
            .ok_or_else(|| FingerprintError {
                text: text.to_owned(),
            })
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, str::parse)
    }
}
