//! Keys that sign entries and heads.
//!
//! A public key is written as its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7; for Ed25519 RFC 8410), so that the
//! algorithm is part of it. Its fingerprint is `SHA256:` and the unpadded base64 of the SHA-256 of those bytes;
//! `openssl pkey -pubin -in cairn.pub -outform DER | openssl dgst -sha256 -binary | base64` prints the same.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use cairn_oci::Digest;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of an Ed25519 seed in bytes.
pub const SEED_LENGTH: usize = 32;

/// What comes before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410 §4).
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// How a key signs. ECDSA P-256 will be added for key services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// Pure Ed25519 (RFC 8032), verified strictly: no small-order points, no malleable signatures.
    Ed25519,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519 => f.write_str("ed25519"),
        }
    }
}

/// What names a key: the SHA-256 of its SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(Digest);

/// The text is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a key's fingerprint: SHA256: and 43 characters of base64")]
pub struct FingerprintError {
    /// What was given.
    pub text: String,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let bytes = text
            .strip_prefix("SHA256:")
            .and_then(|value| STANDARD_NO_PAD.decode(value).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes
            .map(|bytes| Self(Digest::from_bytes(bytes)))
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
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    fingerprint: Fingerprint,
}

/// Why something is not a key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not the SubjectPublicKeyInfo of an Ed25519 key.
    #[error("not the SubjectPublicKeyInfo of an Ed25519 key")]
    Form,
    /// The bytes have the right form but are no point of the curve, or a weak one.
    #[error("not a usable Ed25519 key")]
    Point,
    /// Not the PEM text of a public key.
    #[error("not the PEM text of an Ed25519 public key")]
    PublicPem(#[source] ed25519_dalek::pkcs8::spki::Error),
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
            _ => None,
        }
    }
}

impl PublicKey {
    fn new(key: VerifyingKey) -> Result<Self, KeyError> {
        if key.is_weak() {
            return Err(KeyError::Point);
        }
        let fingerprint = Fingerprint(Digest::of(&spki(&key)));
        Ok(Self { key, fingerprint })
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for any other algorithm and for keys that verify anything.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let bytes = der.strip_prefix(&ED25519_PREFIX).ok_or(KeyError::Form)?;
        let bytes = <&[u8; 32]>::try_from(bytes).map_err(|_| KeyError::Form)?;
        Self::new(VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?)
    }

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is not an Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Self::new(VerifyingKey::from_public_key_pem(pem).map_err(KeyError::PublicPem)?)
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        spki(&self.key)
    }

    /// `-----BEGIN PUBLIC KEY-----`, as `cosign verify-attestation --key` and openssl read it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        #[expect(clippy::expect_used, reason = "32 bytes always have an encoding")]
        self.key
            .to_public_key_pem(LineEnding::LF)
            .expect("an Ed25519 key in PEM")
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        Algorithm::Ed25519
    }

    /// What it is called.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether `signature` is this key's signature of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

fn spki(key: &VerifyingKey) -> Vec<u8> {
    [&ED25519_PREFIX[..], key.as_bytes()].concat()
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

/// Why no signature was made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The signer does not answer, or has no such key any more.
    #[error("the signer of key {key} did not sign")]
    Unavailable {
        /// Which key.
        key: Fingerprint,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the signer gave is not a signature by its key.
    #[error("what the signer of key {key} gave is not a signature by that key")]
    Wrong {
        /// Which key.
        key: Fingerprint,
    },
}

/// Whatever holds a private key.
pub trait Signer: Send + Sync {
    /// Its public half.
    fn key(&self) -> &PublicKey;

    /// Signs `message` (for Ed25519: pure, 64 bytes).
    ///
    /// # Errors
    ///
    /// [`SignError::Unavailable`] when it cannot.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A private key held in memory; wiped when it is dropped.
pub struct LocalKey {
    secret: SigningKey,
    public: PublicKey,
}

impl LocalKey {
    /// The key of 32 random bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`], which no random seed gives.
    pub fn from_seed(seed: &[u8; SEED_LENGTH]) -> Result<Self, KeyError> {
        let secret = SigningKey::from_bytes(seed);
        let public = PublicKey::new(secret.verifying_key())?;
        Ok(Self { secret, public })
    }

    /// Reads `-----BEGIN PRIVATE KEY-----` (PKCS#8, RFC 5958), as openssl writes it.
    ///
    /// # Errors
    ///
    /// [`KeyError::PrivatePem`] for anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let secret = SigningKey::from_pkcs8_pem(pem.trim()).map_err(KeyError::PrivatePem)?;
        let public = PublicKey::new(secret.verifying_key())?;
        Ok(Self { secret, public })
    }

    /// `-----BEGIN PRIVATE KEY-----`: the secret itself. It is wiped when the value is dropped.
    #[must_use]
    pub fn to_pem(&self) -> SecretText {
        let bytes = KeypairBytes {
            secret_key: self.secret.to_bytes(),
            public_key: None,
        };
        #[expect(clippy::expect_used, reason = "32 bytes always have an encoding")]
        let text = bytes.to_pkcs8_pem(LineEnding::LF).expect("an Ed25519 key in PEM");
        SecretText(text)
    }
}

/// A private key as text, which no debug output shows.
pub struct SecretText(ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing<String>);

impl SecretText {
    /// The text. Whoever writes it to a file gives that file mode 0600.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({})", self.public.fingerprint)
    }
}

impl Signer for LocalKey {
    fn key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.secret.sign(message).to_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8032 §7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn key() -> LocalKey {
        LocalKey::from_seed(&hex(SEED).try_into().unwrap()).unwrap()
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        assert_eq!(key().sign(&[0x72]).unwrap(), hex(SIGNATURE));
        assert!(key().key().verifies(&[0x72], &hex(SIGNATURE)));
        assert!(!key().key().verifies(&[0x73], &hex(SIGNATURE)));
        assert!(!key().key().verifies(&[0x72], &hex(SIGNATURE)[..63]));
    }

    #[test]
    fn text_forms_are_inverse() {
        let key = key();
        let public = PublicKey::from_pem(&key.key().to_pem()).unwrap();
        assert_eq!(&public, key.key());
        assert_eq!(
            LocalKey::from_pem(key.to_pem().expose()).unwrap().key(),
            key.key()
        );
        let fingerprint = public.fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!(PublicKey::from_spki(&public.to_spki()).unwrap(), public);
    }

    #[test]
    fn weak_keys_and_other_forms_are_refused() {
        let mut identity = ED25519_PREFIX.to_vec();
        identity.extend([1; 1]);
        identity.extend([0; 31]);
        assert!(matches!(PublicKey::from_spki(&identity), Err(KeyError::Point)));
        assert!(matches!(
            PublicKey::from_spki(&identity[..43]),
            Err(KeyError::Form)
        ));
        assert!(matches!(PublicKey::from_spki(&[]), Err(KeyError::Form)));
        assert!(LocalKey::from_pem("-----BEGIN PRIVATE KEY-----").is_err());
        assert!("SHA256:zz".parse::<Fingerprint>().is_err());
    }

    #[test]
    fn debug_output_keeps_the_secret() {
        let text = format!("{:?} {:?}", key(), key().to_pem());
        assert!(
            !text.contains("4ccd") && !text.contains("BEGIN") && !text.contains("TM0I"),
            "{text}"
        );
    }
}
