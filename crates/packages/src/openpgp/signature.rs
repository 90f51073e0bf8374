//! One signature (RFC 9580, section 5.2).

use super::key::KeyId;
use super::packet::{Cursor, Malformed, Subpacket, subpackets};
use super::public::{Checked, Hash, Numbers};

/// What a signature is over (section 5.2.1).
pub(super) mod kind {
    pub(in super::super) const BINARY: u8 = 0x00;
    pub(in super::super) const TEXT: u8 = 0x01;
    pub(in super::super) const SUBKEY: u8 = 0x18;
    pub(in super::super) const PRIMARY: u8 = 0x19;
    pub(in super::super) const DIRECT: u8 = 0x1f;
    pub(in super::super) const KEY_REVOKED: u8 = 0x20;
    pub(in super::super) const SUBKEY_REVOKED: u8 = 0x28;
}

/// The bit of the key flags that lets a key sign data (section 5.2.3.29).
const MAY_SIGN: u8 = 0x02;

/// A signature of version 4. Only what it signs itself is looked at, but who made it.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    pub(super) kind: u8,
    algorithm: u8,
    hash: u8,
    /// What is hashed after the signed bytes.
    trailer: Vec<u8>,
    numbers: Vec<u8>,
    /// Seconds since 1970.
    pub(super) created: u32,
    /// Seconds after its creation; none: never.
    lifetime: Option<u32>,
    /// Seconds after the creation of the key that it is over; none: never.
    pub(super) key_lifetime: Option<u32>,
    flags: Option<u8>,
    issuers: Vec<KeyId>,
    embedded: Option<Vec<u8>>,
    /// It has a part that must be understood and is not.
    is_critical: bool,
}

/// What became of checking one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    Bad,
    WeakHash(u8),
    Unsupported,
}

impl Signature {
    /// Reads the body of a packet; none if its version is another.
    pub(super) fn read(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor(body);
        if cursor.byte()? != 4 {
            return Ok(None);
        }
        let (kind, algorithm, hash) = (cursor.byte()?, cursor.byte()?, cursor.byte()?);
        let length = usize::from(cursor.u16()?);
        let hashed = cursor.take(length)?;
        let length = usize::from(cursor.u16()?);
        let unhashed = cursor.take(length)?;
        // The first two bytes of the hash are there for a quick look only.
        cursor.take(2)?;
        let head = &body[..6 + hashed.len()];
        let size = u32::try_from(head.len()).map_err(|_| Malformed)?;
        let mut signature = Self {
            kind,
            algorithm,
            hash,
            trailer: [head, &[4, 0xff], &size.to_be_bytes()].concat(),
            numbers: cursor.rest().to_vec(),
            created: 0,
            lifetime: None,
            key_lifetime: None,
            flags: None,
            issuers: Vec::new(),
            embedded: None,
            is_critical: false,
        };
        let mut dates = 0;
        for subpacket in subpackets(hashed)? {
            dates += usize::from(subpacket.kind == 2);
            signature.take_hashed(&subpacket)?;
            signature.take_issuer(&subpacket)?;
        }
        for subpacket in subpackets(unhashed)? {
            signature.take_issuer(&subpacket)?;
            // It signs itself, so it may stand where nothing is signed.
            if subpacket.kind == 32 && signature.embedded.is_none() {
                signature.embedded = Some(subpacket.body.to_vec());
            }
        }
        if dates == 1 {
            Ok(Some(signature))
        } else {
            Err(Malformed)
        }
    }

    fn take_hashed(&mut self, subpacket: &Subpacket<'_>) -> Result<(), Malformed> {
        let mut body = Cursor(subpacket.body);
        match subpacket.kind {
            2 => self.created = body.u32()?,
            3 => self.lifetime = Some(body.u32()?).filter(|seconds| *seconds > 0),
            9 => self.key_lifetime = Some(body.u32()?).filter(|seconds| *seconds > 0),
            27 => self.flags = Some(subpacket.body.first().copied().unwrap_or(0)),
            32 => self.embedded = Some(subpacket.body.to_vec()),
            // What they say changes nothing here: exportable, trust, revocable, preferences, issuer, and the like.
            4..=7 | 11 | 12 | 16 | 21..=26 | 28..=31 | 33..=35 => {}
            _ => self.is_critical |= subpacket.is_critical,
        }
        Ok(())
    }

    fn take_issuer(&mut self, subpacket: &Subpacket<'_>) -> Result<(), Malformed> {
        match (subpacket.kind, subpacket.body) {
            (16, body) => self.issuers.push(KeyId::from_bytes(body).ok_or(Malformed)?),
            (33, [4, fingerprint @ ..]) => {
                let last = fingerprint.get(12..).unwrap_or_default();
                self.issuers.push(KeyId::from_bytes(last).ok_or(Malformed)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Who says to have made it. Nothing but a hint at which key to try.
    pub(super) fn issuers(&self) -> &[KeyId] {
        &self.issuers
    }

    /// Whether it lets the key that it is over sign data; `unsaid` if it says nothing of what the key is for.
    pub(super) fn may_sign(&self, unsaid: bool) -> bool {
        self.flags.map_or(unsaid, |flags| flags & MAY_SIGN != 0)
    }

    /// The signature in it, by which a subkey says whose it is.
    pub(super) fn embedded(&self) -> Option<Self> {
        Self::read(self.embedded.as_deref()?).ok().flatten()
    }

    /// Whether it has expired at `time`, or comes from after it; in seconds since 1970.
    pub(super) fn is_out_of_time(&self, time: i64) -> bool {
        i64::from(self.created) > time || self.end().is_some_and(|end| end <= time)
    }

    /// When it expires, in seconds since 1970; none: never.
    pub(super) fn end(&self) -> Option<i64> {
        let lifetime = self.lifetime?;
        Some(i64::from(self.created) + i64::from(lifetime))
    }

    /// Whether it is of `key`, or cannot be checked: what takes trust away counts also then, as with the SHA-1 of old revocations.
    pub(super) fn may_be_by(&self, key: &Numbers, message: &[&[u8]]) -> bool {
        self.check(key, message) != Outcome::Bad
    }

    /// Checks it over `message` with a key.
    pub(super) fn check(&self, key: &Numbers, message: &[&[u8]]) -> Outcome {
        let Some(hash) = Hash::from_number(self.hash) else {
            return Outcome::WeakHash(self.hash);
        };
        if self.is_critical {
            return Outcome::Unsupported;
        }
        let mut signed = message.concat();
        signed.extend_from_slice(&self.trailer);
        match key.check(self.algorithm, hash, &signed, &self.numbers) {
            Checked::Good => Outcome::Good,
            Checked::Bad => Outcome::Bad,
            Checked::Unsupported => Outcome::Unsupported,
        }
    }
}

/// The name of a hash by its number, for messages.
pub(super) const fn hash_name(number: u8) -> &'static str {
    match number {
        1 => "MD5",
        2 => "SHA-1",
        3 => "RIPEMD-160",
        _ => "a hash that is not SHA-256, SHA-384 or SHA-512",
    }
}
