//! Keys that sign: Ed25519, as OpenPGP packets of version 4.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA512, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// A key pair. The same seed gives the same key.
pub(crate) struct Key {
    pair: Ed25519KeyPair,
    created: u32,
    body: Vec<u8>,
}

impl Key {
    pub(crate) fn new(seed: u8, created: u32) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let point = [&[0x40], pair.public_key().as_ref()].concat();
        let oid = [9, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
        let body = [&[4][..], &created.to_be_bytes(), &[22], &oid, &number(&point)].concat();
        Self { pair, created, body }
    }

    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.hashed())
            .as_ref()
            .to_vec()
    }

    /// A keyring with it alone: the key, a name, and its signature over both.
    pub(crate) fn keyring(&self) -> Vec<u8> {
        self.keyring_with(&[], &[])
    }

    /// The same, with further packets after the key, and further subpackets in its signature.
    pub(crate) fn keyring_with(&self, after_key: &[u8], subpackets: &[u8]) -> Vec<u8> {
        let name = b"Archive <archive@example.org>";
        let length = u32::try_from(name.len()).unwrap().to_be_bytes();
        let over = [&self.hashed()[..], &[0xb4], &length, name].concat();
        let own = self.signature(0x13, &over, self.created, subpackets);
        [&packet(6, &self.body)[..], after_key, &packet(13, name), &own].concat()
    }

    /// The packet by which it takes itself back.
    pub(crate) fn revocation(&self) -> Vec<u8> {
        self.signature(0x20, &self.hashed(), self.created + 1, &[])
    }

    /// A signature of `kind` over bytes, as a packet.
    pub(crate) fn signature(&self, kind: u8, over: &[u8], created: u32, subpackets: &[u8]) -> Vec<u8> {
        let fingerprint = self.fingerprint();
        let hashed = [
            &[5, 2][..],
            &created.to_be_bytes(),
            &[22, 33, 4],
            &fingerprint,
            subpackets,
        ]
        .concat();
        let length = u16::try_from(hashed.len()).unwrap().to_be_bytes();
        let head = [&[4, kind, 22, 10][..], &length, &hashed].concat();
        let size = u32::try_from(head.len()).unwrap().to_be_bytes();
        let hash = digest(&SHA512, &[over, &head, &[4, 0xff], &size].concat());
        let signed = self.pair.sign(hash.as_ref());
        let (r, s) = signed.as_ref().split_at(32);
        let body = [&head[..], &[0, 0], &hash.as_ref()[..2], &number(r), &number(s)].concat();
        packet(2, &body)
    }

    /// A text that is signed where it stands.
    pub(crate) fn clearsign(&self, text: &str, created: u32) -> Vec<u8> {
        let text = text.trim_end_matches('\n');
        let signature = self.signature(1, text.replace('\n', "\r\n").as_bytes(), created, &[]);
        let escaped: Vec<_> = text
            .lines()
            .map(|line| {
                if line.starts_with('-') {
                    format!("- {line}")
                } else {
                    line.to_owned()
                }
            })
            .collect();
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{}\n{}",
            escaped.join("\n"),
            armor("SIGNATURE", &signature)
        )
        .into_bytes()
    }

    fn hashed(&self) -> Vec<u8> {
        let length = u16::try_from(self.body.len()).unwrap().to_be_bytes();
        [&[0x99][..], &length, &self.body].concat()
    }
}

pub(crate) fn armor(kind: &str, bytes: &[u8]) -> String {
    let data = STANDARD.encode(bytes);
    let lines: Vec<&str> = (0..data.len())
        .step_by(64)
        .map(|at| &data[at..data.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN PGP {kind}-----\n\n{}\n-----END PGP {kind}-----\n",
        lines.join("\n")
    )
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xc0 | tag, 255][..], &length, body].concat()
}

fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    let bits = bytes
        .first()
        .map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize);
    [&u16::try_from(bits).unwrap().to_be_bytes()[..], bytes].concat()
}
