//! Keys that are trusted, and what they say of a text.

use std::fmt;

use jiff::Timestamp;

use super::armor::{dearmor, is_armored};
use super::key::{Certificate, KeyId, PublicKey, UsableKey};
use super::packet::{Malformed, packets};
use super::signature::{Outcome, Signature, hash_name, kind};

/// The most signatures that one text is looked at for.
const MAX_SIGNATURES: usize = 32;

/// Keys that are trusted.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<UsableKey>,
}

/// Why bytes are no keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// They are larger than [`Keyring::LIMIT`].
    #[error("a keyring has at most {} bytes", Keyring::LIMIT)]
    TooLarge,
    /// They are no OpenPGP packets, neither as bytes nor as text.
    #[error("it is no OpenPGP keyring, neither binary nor armored")]
    Malformed,
    /// There is no key that is understood.
    #[error("it has no key of a known kind (version 4 with RSA, Ed25519, or ECDSA on P-256 or P-384)")]
    NoKey,
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The fingerprint of the primary key: 40 upper-case hexadecimal digits.
    pub primary: String,
    /// When it was signed.
    pub created: Timestamp,
}

/// What became of one signature that did not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No key of the keyring made it.
    UnknownKey(Vec<KeyId>),
    /// It is over another text, or damaged.
    Bad(KeyId),
    /// It uses a hash that can be forged.
    WeakHash(KeyId, &'static str),
    /// Its key counts for nothing; the text says why.
    Key(KeyId, &'static str),
    /// It expired, or comes from the future.
    OutOfTime(KeyId),
    /// It is of a kind that is not understood.
    Unsupported,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(ids) if ids.is_empty() => f.write_str("one does not say whose it is"),
            Self::UnknownKey(ids) => write!(f, "the key {} is not in the keyring", ids[0]),
            Self::Bad(id) => write!(f, "the signature of {id} is over something else"),
            Self::WeakHash(id, hash) => write!(f, "the signature of {id} uses {hash}"),
            Self::Key(id, why) => write!(f, "the key {id} {why}"),
            Self::OutOfTime(id) => write!(f, "the signature of {id} has expired, or comes from the future"),
            Self::Unsupported => f.write_str("one is of a kind that is not understood"),
        }
    }
}

/// Why a text is not signed by anybody who is trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There are no signatures, or they are damaged.
    #[error("its signature is missing or damaged")]
    Malformed,
    /// No signature counts, or one was tampered with.
    #[error("no signature counts: {}", shown(verdicts))]
    Untrusted {
        /// Of each signature that does not count, why.
        verdicts: Vec<Verdict>,
    },
}

fn shown(verdicts: &[Verdict]) -> String {
    let shown: Vec<_> = verdicts.iter().map(ToString::to_string).collect();
    shown.join("; ")
}

impl Keyring {
    /// The most bytes of a keyring: 8 MiB.
    pub const LIMIT: usize = 8 << 20;

    /// Reads a keyring, binary or armored. Keys of unknown kinds are left out.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub fn read(bytes: &[u8]) -> Result<Self, KeyringError> {
        if bytes.len() > Self::LIMIT {
            return Err(KeyringError::TooLarge);
        }
        let malformed = |Malformed| KeyringError::Malformed;
        let certificates = if is_armored(bytes) {
            let text = std::str::from_utf8(bytes).map_err(|_| KeyringError::Malformed)?;
            certificates(&dearmor(text, "PUBLIC KEY BLOCK").map_err(malformed)?)
        } else {
            certificates(bytes)
        };
        let keys: Vec<_> = certificates
            .map_err(malformed)?
            .iter()
            .flat_map(Certificate::keys)
            .collect();
        if keys.is_empty() {
            return Err(KeyringError::NoKey);
        }
        Ok(Self { keys })
    }

    /// Takes the keys of `other` as well.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Whether it has no key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Only the keys of these fingerprints, 40 hexadecimal digits each, and the subkeys of such a primary key.
    #[must_use]
    pub fn restricted(&self, fingerprints: &[String]) -> Self {
        let named = |fingerprint: &[u8; 20]| {
            let text = hex(fingerprint);
            fingerprints.iter().any(|named| named.eq_ignore_ascii_case(&text))
        };
        let keys = self.keys.iter();
        let keys = keys.filter(|usable| named(&usable.primary) || named(&usable.key.fingerprint()));
        Self {
            keys: keys.cloned().collect(),
        }
    }

    /// Checks signatures, armored or not, over the bytes of a file, at the time `at`.
    ///
    /// One that counts is enough, unless a key of this keyring has another that is over something else: then somebody
    /// tampered with it.
    ///
    /// # Errors
    ///
    /// [`VerifyError`].
    pub fn verify(&self, content: &[u8], signatures: &[u8], at: Timestamp) -> Result<Signer, VerifyError> {
        if is_armored(signatures) {
            let text = std::str::from_utf8(signatures).map_err(|_| VerifyError::Malformed)?;
            let packets = dearmor(text, "SIGNATURE").map_err(|Malformed| VerifyError::Malformed)?;
            return self.verify_packets(&packets, at, &|signature| over_file(signature, content));
        }
        self.verify_packets(signatures, at, &|signature| over_file(signature, content))
    }

    /// Checks the signatures of a text that is signed where it stands; `signed` has line ends of two bytes.
    pub(crate) fn verify_cleartext(
        &self,
        signed: &[u8],
        signatures: &[u8],
        at: Timestamp,
    ) -> Result<Signer, VerifyError> {
        self.verify_packets(signatures, at, &|signature| {
            matches!(signature.kind, kind::BINARY | kind::TEXT).then(|| signed.to_vec())
        })
    }

    fn verify_packets(
        &self,
        bytes: &[u8],
        at: Timestamp,
        content: &dyn Fn(&Signature) -> Option<Vec<u8>>,
    ) -> Result<Signer, VerifyError> {
        let packets = packets(bytes).map_err(|Malformed| VerifyError::Malformed)?;
        let other = packets.iter().any(|packet| packet.tag != 2);
        if packets.is_empty() || other || packets.len() > MAX_SIGNATURES {
            return Err(VerifyError::Malformed);
        }
        let (mut signer, mut verdicts) = (None, Vec::new());
        for packet in packets {
            let signature = Signature::read(packet.body).map_err(|Malformed| VerifyError::Malformed)?;
            let checked = match &signature {
                None => Err(Verdict::Unsupported),
                Some(signature) => match content(signature) {
                    None => Err(Verdict::Unsupported),
                    Some(content) => self.check(signature, &content, at.as_second()),
                },
            };
            match checked {
                Ok(found) => {
                    signer.get_or_insert(found);
                }
                Err(verdict) => verdicts.push(verdict),
            }
        }
        let is_tampered = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Bad(_)));
        match signer.filter(|_| !is_tampered) {
            Some(signer) => Ok(signer),
            None => Err(VerifyError::Untrusted { verdicts }),
        }
    }

    fn check(&self, signature: &Signature, content: &[u8], at: i64) -> Result<Signer, Verdict> {
        let issuers = signature.issuers();
        let mut verdict = Verdict::UnknownKey(issuers.to_vec());
        for usable in &self.keys {
            let id = usable.key.id();
            if !issuers.contains(&id) {
                continue;
            }
            verdict = match signature.check(&usable.key.numbers, &[content]) {
                Outcome::Bad => Verdict::Bad(id),
                Outcome::WeakHash(number) => Verdict::WeakHash(id, hash_name(number)),
                Outcome::Unsupported => Verdict::Unsupported,
                Outcome::Good if signature.is_out_of_time(at) => Verdict::OutOfTime(id),
                Outcome::Good => match flaw(usable, signature, at) {
                    Some(why) => Verdict::Key(id, why),
                    None => {
                        return Ok(Signer {
                            primary: hex(&usable.primary),
                            created: Timestamp::from_second(i64::from(signature.created)).unwrap_or_default(),
                        });
                    }
                },
            };
        }
        Err(verdict)
    }
}

fn flaw(usable: &UsableKey, signature: &Signature, at: i64) -> Option<&'static str> {
    if signature.created < usable.key.created {
        return Some("is younger than its signature");
    }
    let has_expired = usable.expires.is_some_and(|expires| expires <= at);
    usable.flaw.or(has_expired.then_some("has expired"))
}

/// What a signature over a file hashes: its bytes, or its lines with line ends of two bytes.
fn over_file(signature: &Signature, content: &[u8]) -> Option<Vec<u8>> {
    match signature.kind {
        kind::BINARY => Some(content.to_vec()),
        kind::TEXT => {
            let lines: Vec<_> = content.split(|byte| *byte == b'\n').collect();
            let lines = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            Some(lines.collect::<Vec<_>>().join(&b"\r\n"[..]))
        }
        _ => None,
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, Malformed> {
    let mut found: Vec<Certificate> = Vec::new();
    // What follows a primary key that is not understood belongs to it, and is left out with it.
    let mut is_known = false;
    let mut place = Place::Primary;
    for packet in packets(bytes)? {
        match packet.tag {
            6 => {
                let primary = PublicKey::read(packet.body)?;
                is_known = primary.is_some();
                found.extend(primary.map(Certificate::new));
                place = Place::Primary;
            }
            tag @ (2 | 13 | 14 | 17) if is_known => {
                if let Some(last) = found.last_mut() {
                    add(last, &mut place, tag, packet.body)?;
                }
            }
            // Markers, trust of a local program, padding, and what belongs to an unknown key.
            2 | 10 | 12 | 13 | 14 | 17 | 21 => {}
            _ => return Err(Malformed),
        }
    }
    Ok(found)
}

/// What the next signature is over.
enum Place {
    Primary,
    Name,
    Subkey,
}

fn add(certificate: &mut Certificate, place: &mut Place, tag: u8, body: &[u8]) -> Result<(), Malformed> {
    match tag {
        13 | 17 => {
            let mark = if tag == 13 { 0xb4 } else { 0xd1 };
            let length = u32::try_from(body.len()).map_err(|_| Malformed)?;
            let hashed = [&[mark][..], &length.to_be_bytes(), body].concat();
            certificate.names.push((hashed, Vec::new()));
            *place = Place::Name;
        }
        14 => {
            certificate.subkeys.push((PublicKey::read(body)?, Vec::new()));
            *place = Place::Subkey;
        }
        _ => {
            let signatures = match place {
                Place::Primary => Some(&mut certificate.direct),
                Place::Name => certificate.names.last_mut().map(|(_, signatures)| signatures),
                Place::Subkey => certificate.subkeys.last_mut().map(|(_, signatures)| signatures),
            };
            // One that is damaged or of another version says nothing.
            if let (Some(signatures), Ok(Some(signature))) = (signatures, Signature::read(body)) {
                signatures.push(signature);
            }
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
