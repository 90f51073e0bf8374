//! Keys with their subkeys (RFC 9580, sections 5.5 and 10.1).

use std::fmt;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::packet::{Cursor, Malformed};
use super::public::Numbers;
use super::signature::{Outcome, Signature, kind};

/// The last eight bytes of a key's fingerprint: how signatures name their keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key of version 4, or a subkey: its packet.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    body: Vec<u8>,
    /// Seconds since 1970.
    pub(super) created: u32,
    pub(super) numbers: Numbers,
}

impl PublicKey {
    /// Reads the body of a packet; none if its version or algorithm is not known here.
    pub(super) fn read(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor(body);
        if cursor.byte()? != 4 || body.len() > usize::from(u16::MAX) {
            return Ok(None);
        }
        let created = cursor.u32()?;
        let algorithm = cursor.byte()?;
        Ok(Numbers::read(algorithm, &mut cursor)?.map(|numbers| Self {
            body: body.to_vec(),
            created,
            numbers,
        }))
    }

    /// Its bytes as they are hashed for fingerprints and for signatures over it (section 5.2.4).
    fn hashed(&self) -> Vec<u8> {
        let length = u16::try_from(self.body.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[0x99][..], &length, &self.body].concat()
    }

    /// Its fingerprint: 20 bytes. It finds keys, and nothing is trusted for it.
    pub(super) fn fingerprint(&self) -> [u8; 20] {
        let mut fingerprint = [0; 20];
        fingerprint.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.hashed()).as_ref());
        fingerprint
    }

    pub(super) fn id(&self) -> KeyId {
        let mut id = [0; 8];
        id.copy_from_slice(&self.fingerprint()[12..]);
        KeyId(id)
    }
}

/// A key that may be used to check with, and until when.
#[derive(Debug, Clone)]
pub(super) struct UsableKey {
    pub(super) key: PublicKey,
    /// The primary key's; its own if it is one.
    pub(super) primary: [u8; 20],
    /// Why it counts for nothing, whatever the time.
    pub(super) flaw: Option<&'static str>,
    /// Seconds since 1970; none: never.
    pub(super) expires: Option<i64>,
}

/// A primary key, as its packets say it.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) primary: PublicKey,
    /// Signatures right after the key.
    pub(super) direct: Vec<Signature>,
    /// Of each name: what is hashed of it, and the signatures after it.
    pub(super) names: Vec<(Vec<u8>, Vec<Signature>)>,
    /// Subkeys, as far as they are known here, and the signatures after each.
    pub(super) subkeys: Vec<(Option<PublicKey>, Vec<Signature>)>,
}

impl Certificate {
    pub(super) const fn new(primary: PublicKey) -> Self {
        Self {
            primary,
            direct: Vec::new(),
            names: Vec::new(),
            subkeys: Vec::new(),
        }
    }

    /// All keys of it, with what is wrong with them.
    pub(super) fn keys(&self) -> Vec<UsableKey> {
        let primary = self.primary.fingerprint();
        let own = self.primary_key(primary);
        let subkeys = self.subkeys.iter().filter_map(|(key, signatures)| {
            let key = key.as_ref()?;
            Some(self.subkey(key, signatures, &own))
        });
        std::iter::once(own.clone()).chain(subkeys).collect()
    }

    fn primary_key(&self, primary: [u8; 20]) -> UsableKey {
        let hashed = self.primary.hashed();
        let by_self = |signature: &&Signature, rest: &[u8]| {
            signature.check(&self.primary.numbers, &[&hashed, rest]) == Outcome::Good
        };
        let direct = self
            .direct
            .iter()
            .filter(|signature| signature.kind == kind::DIRECT);
        let direct = direct.filter(|signature| by_self(signature, &[]));
        let named = self.names.iter().flat_map(|(name, signatures)| {
            let certifying = signatures
                .iter()
                .filter(|signature| matches!(signature.kind, 0x10..=0x13));
            certifying.filter(move |signature| by_self(signature, name))
        });
        // The newest word counts.
        let newest = direct.chain(named).max_by_key(|signature| signature.created);
        let mut revoked = self
            .direct
            .iter()
            .filter(|signature| signature.kind == kind::KEY_REVOKED);
        let flaw = match newest {
            _ if revoked.any(|signature| signature.may_be_by(&self.primary.numbers, &[&hashed])) => {
                Some("was revoked")
            }
            None => Some("has no signature of its own that counts"),
            Some(newest) if !newest.may_sign(true) => Some("may not sign"),
            Some(_) => None,
        };
        UsableKey {
            expires: expiry(&self.primary, newest),
            key: self.primary.clone(),
            primary,
            flaw,
        }
    }

    fn subkey(&self, key: &PublicKey, signatures: &[Signature], own: &UsableKey) -> UsableKey {
        let (primary, hashed) = (self.primary.hashed(), key.hashed());
        let by_primary = |signature: &&Signature| {
            signature.check(&self.primary.numbers, &[&primary, &hashed]) == Outcome::Good
        };
        let bindings = signatures
            .iter()
            .filter(|signature| signature.kind == kind::SUBKEY);
        let newest = bindings
            .filter(by_primary)
            .max_by_key(|signature| signature.created);
        let mut revoked = signatures
            .iter()
            .filter(|signature| signature.kind == kind::SUBKEY_REVOKED);
        let back = newest.and_then(Signature::embedded).is_some_and(|back| {
            back.kind == kind::PRIMARY && back.check(&key.numbers, &[&primary, &hashed]) == Outcome::Good
        });
        let flaw = match newest {
            // A primary key that may only certify has subkeys that sign.
            _ if own.flaw.is_some_and(|flaw| flaw != "may not sign") => own.flaw,
            _ if revoked
                .any(|signature| signature.may_be_by(&self.primary.numbers, &[&primary, &hashed])) =>
            {
                Some("was revoked")
            }
            None => Some("is not bound to its primary key"),
            Some(newest) if !newest.may_sign(false) => Some("may not sign"),
            Some(_) if !back => Some("does not say itself whose it is"),
            Some(_) => None,
        };
        let expires = [expiry(key, newest), own.expires].into_iter().flatten().min();
        UsableKey {
            key: key.clone(),
            primary: own.primary,
            flaw,
            expires,
        }
    }
}

/// When the key is over, or the word that makes it one; in seconds since 1970.
fn expiry(key: &PublicKey, newest: Option<&Signature>) -> Option<i64> {
    let newest = newest?;
    let of_key = newest
        .key_lifetime
        .map(|lifetime| i64::from(key.created) + i64::from(lifetime));
    [of_key, newest.end()].into_iter().flatten().min()
}
