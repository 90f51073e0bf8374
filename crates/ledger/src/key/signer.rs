//! Whatever holds a private key.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signer as _, SigningKey};

use super::{Fingerprint, KeyError, PublicKey};

/// Length of an Ed25519 seed in bytes.
pub const SEED_LENGTH: usize = 32;

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

    /// Signs `message` (Ed25519: pure, 64 bytes; ECDSA P-256: SHA-256, DER).
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
        let public = PublicKey::ed25519(secret.verifying_key())?;
        Ok(Self { secret, public })
    }

    /// Reads `-----BEGIN PRIVATE KEY-----` (PKCS#8, RFC 5958), as openssl writes it.
    ///
    /// # Errors
    ///
    /// [`KeyError::PrivatePem`] for anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let secret = SigningKey::from_pkcs8_pem(pem.trim()).map_err(KeyError::PrivatePem)?;
        let public = PublicKey::ed25519(secret.verifying_key())?;
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
pub struct SecretText(Zeroizing<String>);

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
        write!(f, "LocalKey({})", self.public.fingerprint())
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
