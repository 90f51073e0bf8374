//! Signatures of archives, checked: the part of OpenPGP (RFC 9580) that signed Debian archives use.
//!
//! Keys are read and signatures checked, and nothing else: no secret key, no encryption, no trust between keys. What is
//! not understood is refused. The mathematics are `ring`'s; why no whole OpenPGP library stands here is said in
//! `docs/dependencies.md`.
//!
//! - Keys and signatures of version 4: RSA of at least 2048 bits, Ed25519 in both spellings, ECDSA with P-256 and P-384.
//! - SHA-256, SHA-384 and SHA-512. A signature over any other hash counts for nothing, be it over a file or over a key.
//! - A key counts if it signed for itself, is not revoked, has not expired and may sign. A subkey needs its primary key's
//!   word and its own.

mod armor;
mod cleartext;
mod key;
mod keyring;
mod packet;
mod public;
mod signature;
#[cfg(test)]
mod tests;

pub use self::cleartext::CleartextError;
pub(crate) use self::cleartext::split as split_cleartext;
pub use self::key::KeyId;
pub use self::keyring::{Keyring, KeyringError, Signer, Verdict, VerifyError};
