//! DSSE envelopes: what is signed, exactly, and by whom.
//!
//! The signature is over the pre-authentication encoding (DSSE v1.0, protocol.md):
//!
//! ```text
//! "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload
//! ```
//!
//! The payload is never serialised again: what is stored is what was signed.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cairn_oci::{Digest, json};
use serde::{Deserialize, Serialize};

use crate::key::{Fingerprint, PublicKey, SignError, Signer};

/// Longest payload, in bytes: what every key service signs in one go.
pub const PAYLOAD_LIMIT: usize = 4095;
/// Most signatures of one envelope.
pub const SIGNATURE_LIMIT: usize = 16;
/// Longest envelope, in bytes.
pub const ENVELOPE_LIMIT: usize = 12 << 10;

/// A payload with its type and its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    bytes: Bytes,
    payload: Bytes,
    payload_type: Cow<'static, str>,
    signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Which key is said to have made it.
    pub key: Fingerprint,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow, rename = "payloadType")]
    payload_type: Cow<'a, str>,
    #[serde(borrow)]
    signatures: Vec<WireSignature<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature<'a> {
    #[serde(borrow)]
    keyid: Cow<'a, str>,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

/// Why bytes are not an envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON of the right shape: unknown or repeated members, trailing bytes, too long.
    #[error("not a DSSE envelope")]
    Json(#[source] json::JsonError),
    /// A member is not standard base64 with padding.
    #[error("`{member}` is not standard base64")]
    Base64 {
        /// Which member.
        member: &'static str,
        /// Where it breaks off.
        source: base64::DecodeError,
    },
    /// A key id is not a fingerprint.
    #[error("a signature has the key id `{keyid}`, which is not a fingerprint")]
    KeyId {
        /// What it says, cut to 64 characters.
        keyid: String,
    },
    /// The payload is of another type than the one expected here.
    #[error("the payload is of type `{found}`, not `{expected}`")]
    Type {
        /// What is expected.
        expected: &'static str,
        /// What it says, cut to 64 characters.
        found: String,
    },
    /// The payload is too long.
    #[error("a payload of {length} bytes is over the limit of {PAYLOAD_LIMIT}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// There is no signature, or more than [`SIGNATURE_LIMIT`].
    #[error("{count} signatures: there must be 1 to {SIGNATURE_LIMIT}")]
    Signatures {
        /// How many there are.
        count: usize,
    },
    /// A line break within the envelope, which would break a pack into other lines.
    #[error("the envelope has a line break")]
    LineBreak,
}

/// The bytes that are signed.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Signs `payload`.
    ///
    /// # Errors
    ///
    /// [`SignError`], also when what the signer gave does not verify.
    pub fn sign(payload_type: &str, payload: Vec<u8>, signer: &dyn Signer) -> Result<Self, SignError> {
        let message = pre_authentication_encoding(payload_type, &payload);
        let signature = signer.sign(&message)?;
        let key = signer.key().fingerprint();
        if !signer.key().verifies(&message, &signature) {
            return Err(SignError::Wrong { key });
        }
        let signatures = vec![Signature {
            key,
            bytes: signature,
        }];
        Ok(Self::assemble(
            payload_type.to_owned().into(),
            payload.into(),
            signatures,
        ))
    }

    /// The same payload with these signatures instead, sorted by key.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Signatures`] if there is none, or too many.
    pub fn with_signatures(&self, signatures: &[Signature]) -> Result<Self, EnvelopeError> {
        let count = signatures.len();
        if !(1..=SIGNATURE_LIMIT).contains(&count) {
            return Err(EnvelopeError::Signatures { count });
        }
        let mut signatures = signatures.to_vec();
        signatures.sort_by_key(|signature| signature.key);
        Ok(Self::assemble(
            self.payload_type.clone(),
            self.payload.clone(),
            signatures,
        ))
    }

    fn assemble(payload_type: Cow<'static, str>, payload: Bytes, signatures: Vec<Signature>) -> Self {
        let wire = Wire {
            payload: STANDARD.encode(&payload).into(),
            payload_type: Cow::Borrowed(&payload_type),
            signatures: signatures
                .iter()
                .map(|signature| WireSignature {
                    keyid: signature.key.to_string().into(),
                    sig: STANDARD.encode(&signature.bytes).into(),
                })
                .collect(),
        };
        Self {
            bytes: json::canonical(&wire).into(),
            payload,
            payload_type,
            signatures,
        }
    }

    /// Reads an envelope strictly, whose payload must be of `expected` type.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`]; signatures are not verified here: see [`Envelope::signers`].
    pub fn parse(bytes: &Bytes, expected: &'static str) -> Result<Self, EnvelopeError> {
        let wire: Wire<'_> = json::parse(bytes, ENVELOPE_LIMIT).map_err(EnvelopeError::Json)?;
        if bytes.contains(&b'\n') {
            return Err(EnvelopeError::LineBreak);
        }
        if wire.payload_type != expected {
            let found = wire.payload_type.chars().take(64).collect();
            return Err(EnvelopeError::Type { expected, found });
        }
        let payload = decode("payload", &wire.payload)?;
        if payload.len() > PAYLOAD_LIMIT {
            return Err(EnvelopeError::TooLong {
                length: payload.len(),
            });
        }
        if !(1..=SIGNATURE_LIMIT).contains(&wire.signatures.len()) {
            let count = wire.signatures.len();
            return Err(EnvelopeError::Signatures { count });
        }
        let signatures = wire.signatures.iter().map(signature).collect::<Result<_, _>>()?;
        Ok(Self {
            bytes: bytes.clone(),
            payload: payload.into(),
            payload_type: Cow::Borrowed(expected),
            signatures,
        })
    }

    /// SHA-256 of the payload: the name of what it states.
    #[must_use]
    pub fn name(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// The envelope exactly as it was read or made.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The signed bytes.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The type of the payload.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The signatures as they stand, verified or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The keys whose signature verifies, each once however often it signed (RUSTSEC-2020-0024). `known`
    /// gives the key of a fingerprint.
    pub fn signers<'a>(
        &self,
        known: impl Fn(&Fingerprint) -> Option<&'a PublicKey>,
    ) -> BTreeSet<Fingerprint> {
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        let verifies = |signature: &&Signature| {
            known(&signature.key).is_some_and(|key| key.verifies(&message, &signature.bytes))
        };
        self.signatures
            .iter()
            .filter(verifies)
            .map(|signature| signature.key)
            .collect()
    }
}

fn decode(member: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD
        .decode(text)
        .map_err(|source| EnvelopeError::Base64 { member, source })
}

fn signature(wire: &WireSignature<'_>) -> Result<Signature, EnvelopeError> {
    let key = wire.keyid.parse().map_err(|_| EnvelopeError::KeyId {
        keyid: wire.keyid.chars().take(64).collect(),
    })?;
    Ok(Signature {
        key,
        bytes: decode("sig", &wire.sig)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LocalKey;

    const TYPE: &str = "application/vnd.in-toto+json";

    fn signed() -> (LocalKey, Envelope) {
        let key = LocalKey::from_seed(&[7; 32]).unwrap();
        let envelope = Envelope::sign(TYPE, b"{\"a\":1}".to_vec(), &key).unwrap();
        (key, envelope)
    }

    fn text(envelope: &Envelope) -> String {
        String::from_utf8(envelope.bytes().to_vec()).unwrap()
    }

    fn parse(text: &str) -> Result<Envelope, EnvelopeError> {
        Envelope::parse(&Bytes::copy_from_slice(text.as_bytes()), TYPE)
    }

    #[test]
    fn the_pre_authentication_encoding_is_that_of_the_specification() {
        // The example of DSSE's protocol.md.
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn what_was_signed_is_read_and_verifies() {
        let (key, envelope) = signed();
        let read = Envelope::parse(envelope.bytes(), TYPE).unwrap();
        assert_eq!(read, envelope);
        assert_eq!(read.name(), Digest::of(b"{\"a\":1}"));
        let signers = read.signers(|_| Some(key.key()));
        assert_eq!(signers.len(), 1);
        assert!(read.signers(|_| None).is_empty());
    }

    #[test]
    fn g1_a_flipped_byte_anywhere_never_verifies_as_something_else() {
        let (key, envelope) = signed();
        for at in 0..envelope.bytes().len() {
            for bit in 0..8 {
                let mut bytes = envelope.bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let Ok(read) = Envelope::parse(&bytes.into(), TYPE) else {
                    continue;
                };
                assert!(
                    read.signers(|id| (*id == key.key().fingerprint()).then_some(key.key()))
                        .is_empty(),
                    "byte {at} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn g7_a_key_that_signed_twice_counts_once() {
        let (key, envelope) = signed();
        let one = &text(&envelope);
        let start = one.find("[{").unwrap() + 1;
        let signature = &one[start..one.len() - 2];
        let twice = one.replace(signature, &format!("{signature},{signature}"));
        let read = parse(&twice).unwrap();
        assert_eq!(read.signatures().len(), 2);
        assert_eq!(read.signers(|_| Some(key.key())).len(), 1);
        assert_eq!(read.name(), envelope.name());
    }

    #[test]
    fn g7_other_forms_are_refused() {
        let good = text(&signed().1);
        let bad = [
            good.replacen('{', "{\"x\":1,", 1),
            good.replacen('{', "{\"payloadType\":\"a\",", 1),
            format!("{good} x"),
            good.replace("\",\"payloadType", "=\",\"payloadType"),
            good.replace("SHA256:", "sha256:"),
            good.replace(TYPE, "text/plain"),
            good.replace(",\"payloadType", ",\n\"payloadType"),
            good[..good.find(",\"signatures").unwrap()].to_owned() + ",\"signatures\":[]}",
        ];
        for text in &bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
