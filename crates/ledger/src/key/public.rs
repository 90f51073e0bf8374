//! Keys that verify.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::spki::der::pem;
use p256::ecdsa;
use p256::ecdsa::signature::Verifier as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fingerprint, ssh};

/// What comes before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410 §4).
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What comes before the 65 bytes of an uncompressed point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480 §2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Length of an uncompressed point of P-256 in bytes (SEC 1 §2.3.3).
const POINT_LENGTH: usize = 65;

/// The label of a public key in PEM (RFC 7468 §13).
const PEM_LABEL: &str = "PUBLIC KEY";

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// Pure Ed25519 (RFC 8032), verified strictly: no small-order points, no malleable signatures.
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5); a signature is ASN.1 in exactly DER. Key services make either of the
    /// two values of `s`, so both are accepted.
    EcdsaP256,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
        })
    }
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Apart, because every entry has room for a key, and few have one.
    key: Box<Key>,
    fingerprint: Fingerprint,
}

#[derive(Clone, PartialEq, Eq)]
enum Key {
    Ed25519(VerifyingKey),
    P256(ecdsa::VerifyingKey),
}

/// Why something is not a key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not the SubjectPublicKeyInfo of a key that can be used here.
    #[error("not the SubjectPublicKeyInfo of an Ed25519 or ECDSA P-256 key")]
    Form,
    /// The bytes have the right form but are no point of the curve, or a weak one.
    #[error("not a usable {algorithm} key")]
    Point {
        /// What it would be.
        algorithm: Algorithm,
    },
    /// Not the PEM text of a public key.
    #[error("not the PEM text of a public key")]
    PublicPem(#[source] pem::Error),
    /// PEM of something else.
    #[error("PEM of a `{label}`, not of a public key")]
    Label {
        /// What it says it is, cut to 64 characters.
        label: String,
    },
    /// A line of OpenSSH that cannot be used.
    #[error("not a public key of OpenSSH that can be used")]
    Ssh(#[source] ssh::SshError),
    /// Not the PEM text of a private key.
    #[error("not the PEM text of an Ed25519 private key (PKCS#8, not encrypted)")]
    PrivatePem(#[source] ed25519_dalek::pkcs8::Error),
}

impl KeyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PrivatePem(_) => {
                Some("`openssl genpkey -algorithm ed25519` and `cairn key new` make such keys".to_owned())
            }
            Self::Label { label } if label.contains("PRIVATE") => {
                Some("never give away a private key: `openssl pkey -in KEY -pubout` and `cairn key --pem` show the public half".to_owned())
            }
            Self::PublicPem(_) | Self::Ssh(_) | Self::Form => Some(
                "give the public key of an Ed25519 or ECDSA P-256 key: PEM, or a line `ssh-ed25519 AAAA…`".to_owned(),
            ),
            _ => None,
        }
    }
}

impl PublicKey {
    pub(super) fn ed25519(key: VerifyingKey) -> Result<Self, KeyError> {
        if key.is_weak() {
            return Err(KeyError::Point {
                algorithm: Algorithm::Ed25519,
            });
        }
        Ok(Self::of(Key::Ed25519(key)))
    }

    fn of(key: Key) -> Self {
        let fingerprint = Fingerprint::of(&key.spki());
        Self {
            key: Box::new(key),
            fingerprint,
        }
    }

    /// The Ed25519 key of these 32 bytes (RFC 8032 §5.1.5).
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`] if they are no point, or a weak one.
    pub fn from_ed25519(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let algorithm = Algorithm::Ed25519;
        Self::ed25519(VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point { algorithm })?)
    }

    /// The P-256 key of an uncompressed point (SEC 1 §2.3.3): 65 bytes, of which the first is 4.
    ///
    /// # Errors
    ///
    /// [`KeyError::Form`] for another form of the point, [`KeyError::Point`] if it is not on the curve.
    pub fn from_p256(point: &[u8]) -> Result<Self, KeyError> {
        if point.len() != POINT_LENGTH || point.first() != Some(&4) {
            return Err(KeyError::Form);
        }
        let key = ecdsa::VerifyingKey::from_sec1_bytes(point);
        let key = key.map_err(|_| KeyError::Point {
            algorithm: Algorithm::EcdsaP256,
        })?;
        Ok(Self::of(Key::P256(key)))
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for any other algorithm and for keys that verify anything.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(point) = der.strip_prefix(&P256_PREFIX) {
            return Self::from_p256(point);
        }
        let bytes = der.strip_prefix(&ED25519_PREFIX).ok_or(KeyError::Form)?;
        Self::from_ed25519(<&[u8; 32]>::try_from(bytes).map_err(|_| KeyError::Form)?)
    }

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is no key that can be used.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::decode_vec(text.trim().as_bytes()).map_err(KeyError::PublicPem)?;
        if label != PEM_LABEL {
            let label = label.chars().take(64).collect();
            return Err(KeyError::Label { label });
        }
        Self::from_spki(&der)
    }

    /// Reads a public key as people have it: PEM, or a line of OpenSSH (`ssh-ed25519 AAAA… comment`).
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with("-----BEGIN") {
            return Self::from_pem(text);
        }
        ssh::line(text)
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        self.key.spki()
    }

    /// `-----BEGIN PUBLIC KEY-----`, as `cosign verify-attestation --key` and openssl read it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        #[expect(clippy::expect_used, reason = "91 bytes at most always have an encoding")]
        pem::encode_string(PEM_LABEL, pem::LineEnding::LF, &self.to_spki()).expect("a public key in PEM")
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match *self.key {
            Key::Ed25519(_) => Algorithm::Ed25519,
            Key::P256(_) => Algorithm::EcdsaP256,
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether `signature` is this key's signature of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &*self.key {
            Key::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Key::P256(key) => {
                // A second encoding of the same two numbers would be a second signature.
                let is_der = |parsed: &ecdsa::Signature| parsed.to_der().as_bytes() == signature;
                ecdsa::Signature::from_der(signature)
                    .is_ok_and(|parsed| is_der(&parsed) && key.verify(message, &parsed).is_ok())
            }
        }
    }
}

impl Key {
    fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => [&ED25519_PREFIX[..], key.as_bytes()].concat(),
            Self::P256(key) => [&P256_PREFIX[..], key.to_sec1_point(false).as_bytes()].concat(),
        }
    }
}

/// The DER of an ECDSA signature from its two numbers, each 32 bytes, the most significant first (as JOSE and PKCS #11
/// have it).
///
/// None if one of them is zero or not below the order of the curve.
#[must_use]
pub fn p256_signature(r: [u8; 32], s: [u8; 32]) -> Option<Vec<u8>> {
    let signature = ecdsa::Signature::from_scalars(r, s).ok()?;
    Some(signature.to_der().as_bytes().to_vec())
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.fingerprint)
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.fingerprint.cmp(&other.fingerprint)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.to_spki()))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let der = STANDARD.decode(text).map_err(Error::custom)?;
        Self::from_spki(&der).map_err(Error::custom)
    }
}
