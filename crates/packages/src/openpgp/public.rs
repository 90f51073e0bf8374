//! Public keys' numbers, and what `ring` makes of them.

use ring::digest::{self, SHA256, SHA384, SHA512};
use ring::signature::{self as sig, RsaPublicKeyComponents, UnparsedPublicKey};

use super::packet::{Cursor, Malformed};

/// The object identifier of Ed25519 as OpenPGP first had it (RFC 9580, section 9.2).
const OID_ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// A hash that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// By its number (RFC 9580, section 9.5); none of those that are weak, nor of those that nobody uses.
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            8 => Some(Self::Sha256),
            9 => Some(Self::Sha384),
            10 => Some(Self::Sha512),
            _ => None,
        }
    }

    pub(super) fn of(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

/// The numbers of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Numbers {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ed25519([u8; 32]),
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Good,
    Bad,
    /// The key and the hash are a pair that `ring` does not have.
    Unsupported,
}

impl Numbers {
    /// Reads what follows the algorithm's number in a key; none if the algorithm is not known here.
    pub(super) fn read(algorithm: u8, cursor: &mut Cursor<'_>) -> Result<Option<Self>, Malformed> {
        Ok(match algorithm {
            // RSA, and RSA to sign with only.
            1 | 3 => Some(Self::Rsa {
                modulus: cursor.number()?.to_vec(),
                exponent: cursor.number()?.to_vec(),
            }),
            19 => {
                let curve = oid(cursor)?;
                let point = cursor.number()?.to_vec();
                match curve {
                    OID_P256 => Some(Self::P256(point)),
                    OID_P384 => Some(Self::P384(point)),
                    _ => None,
                }
            }
            22 if oid(cursor)? == OID_ED25519 => {
                let point = cursor.number()?;
                let point = point.strip_prefix(&[0x40]).ok_or(Malformed)?;
                Some(Self::Ed25519(point.try_into().map_err(|_| Malformed)?))
            }
            27 => Some(Self::Ed25519(cursor.take(32)?.try_into().map_err(|_| Malformed)?)),
            _ => None,
        })
    }

    /// Checks the numbers of a signature over `message`. `algorithm` is the signature's, and must be one of this key.
    pub(super) fn check(&self, algorithm: u8, hash: Hash, message: &[u8], signature: &[u8]) -> Checked {
        let mut cursor = Cursor(signature);
        let result = match (self, algorithm) {
            (Self::Rsa { modulus, exponent }, 1 | 3) => cursor
                .number()
                .and_then(|number| rsa(modulus, exponent, hash, message, number)),
            (Self::Ed25519(key), 22) => pair(&mut cursor, 32).map(|both| ed25519(key, hash, message, &both)),
            (Self::Ed25519(key), 27) => cursor.take(64).map(|both| ed25519(key, hash, message, both)),
            (Self::P256(key), 19) if hash == Hash::Sha256 => {
                pair(&mut cursor, 32).map(|both| verify(&sig::ECDSA_P256_SHA256_FIXED, key, message, &both))
            }
            (Self::P384(key), 19) if hash == Hash::Sha384 => {
                pair(&mut cursor, 48).map(|both| verify(&sig::ECDSA_P384_SHA384_FIXED, key, message, &both))
            }
            _ => return Checked::Unsupported,
        };
        match result {
            Ok(true) if cursor.is_empty() => Checked::Good,
            _ => Checked::Bad,
        }
    }
}

fn oid<'b>(cursor: &mut Cursor<'b>) -> Result<&'b [u8], Malformed> {
    let length = usize::from(cursor.byte()?);
    cursor.take(length)
}

/// Two numbers, each filled with zeros to `length`.
fn pair(cursor: &mut Cursor<'_>, length: usize) -> Result<Vec<u8>, Malformed> {
    let first = filled(cursor.number()?, length)?;
    let second = filled(cursor.number()?, length)?;
    Ok([first, second].concat())
}

fn filled(number: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let zeros = length.checked_sub(number.len()).ok_or(Malformed)?;
    Ok([vec![0; zeros], number.to_vec()].concat())
}

fn rsa(
    modulus: &[u8],
    exponent: &[u8],
    hash: Hash,
    message: &[u8],
    number: &[u8],
) -> Result<bool, Malformed> {
    let parameters = match hash {
        Hash::Sha256 => &sig::RSA_PKCS1_2048_8192_SHA256,
        Hash::Sha384 => &sig::RSA_PKCS1_2048_8192_SHA384,
        Hash::Sha512 => &sig::RSA_PKCS1_2048_8192_SHA512,
    };
    let key = RsaPublicKeyComponents {
        n: modulus,
        e: exponent,
    };
    let signature = filled(number, modulus.len())?;
    Ok(key.verify(parameters, message, &signature).is_ok())
}

/// OpenPGP signs the hash with Ed25519, which hashes again.
fn ed25519(key: &[u8; 32], hash: Hash, message: &[u8], signature: &[u8]) -> bool {
    verify(&sig::ED25519, key, hash.of(message).as_ref(), signature)
}

fn verify(
    algorithm: &'static dyn sig::VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key)
        .verify(message, signature)
        .is_ok()
}
