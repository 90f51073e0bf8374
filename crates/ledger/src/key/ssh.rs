//! Keys and signatures as SSH writes them: `ssh-ed25519` (RFC 8709) and `ecdsa-sha2-nistp256` (RFC 5656).
//!
//! SSH signs what it is given with the same algorithms as an entry is signed with; only what is wrapped around the
//! numbers differs. So a key of `ssh-agent` signs entries, and its signature is rewritten, never made anew.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use cairn_oci::Digest;

use super::public::{KeyError, PublicKey, p256_signature};

const ED25519: &str = "ssh-ed25519";
const P256: &str = "ecdsa-sha2-nistp256";
/// The curve, as RFC 5656 §10.1 names it.
const P256_CURVE: &[u8] = b"nistp256";
/// Longest line of a public key, in bytes.
const LINE_LIMIT: usize = 8 << 10;

/// Why something of SSH's cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// Not a line of a public key.
    #[error("not a line of a type and base64")]
    Line,
    /// The line says one type and its base64 another.
    #[error("the line says `{line}`, and its base64 `{blob}`")]
    Types {
        /// What the line says, cut to 64 characters.
        line: String,
        /// What the base64 says, cut to 64 characters.
        blob: String,
    },
    /// A key of another algorithm, such as RSA, or one that signs more than it is given (`sk-…`).
    #[error("a key of the type `{found}`: ssh-ed25519 and ecdsa-sha2-nistp256 can be used")]
    Type {
        /// Which, cut to 64 characters.
        found: String,
    },
    /// The bytes break off, or go on after their end.
    #[error("its bytes are damaged")]
    Damaged,
    /// The numbers are none that can be used.
    #[error("its numbers cannot be used")]
    Numbers,
}

/// Takes what SSH writes as a `string` (RFC 4251 §5): four bytes of length, then so many bytes. None if they are not there.
#[must_use]
pub fn take_string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(string)
}

/// The fingerprint that `ssh-add -l` and `ssh-keygen -l` show: of SSH's form of the key, and so another than ours.
#[must_use]
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Digest::of(blob).as_bytes()))
}

/// The type that a key's blob states, cut to 64 characters.
#[must_use]
pub fn key_type(mut blob: &[u8]) -> Option<String> {
    take_string(&mut blob).map(word)
}

/// Reads the blob of a public key.
///
/// # Errors
///
/// [`SshError`] for other types and damaged bytes.
pub fn public_key(mut blob: &[u8]) -> Result<PublicKey, SshError> {
    let kind = take_string(&mut blob).ok_or(SshError::Damaged)?;
    let key = match kind {
        kind if kind == ED25519.as_bytes() => {
            let bytes = take_string(&mut blob).ok_or(SshError::Damaged)?;
            let bytes = <&[u8; 32]>::try_from(bytes).map_err(|_| SshError::Damaged)?;
            PublicKey::from_ed25519(bytes)
        }
        kind if kind == P256.as_bytes() => {
            if take_string(&mut blob) != Some(P256_CURVE) {
                return Err(SshError::Damaged);
            }
            PublicKey::from_p256(take_string(&mut blob).ok_or(SshError::Damaged)?)
        }
        other => return Err(SshError::Type { found: word(other) }),
    };
    if !blob.is_empty() {
        return Err(SshError::Damaged);
    }
    key.map_err(|_| SshError::Numbers)
}

/// Rewrites a signature: Ed25519 as its 64 bytes, ECDSA as DER. Whether it verifies is for the caller to find out.
///
/// # Errors
///
/// [`SshError`] for other types and damaged bytes.
pub fn signature(mut blob: &[u8]) -> Result<Vec<u8>, SshError> {
    let kind = take_string(&mut blob).ok_or(SshError::Damaged)?;
    let mut value = take_string(&mut blob).ok_or(SshError::Damaged)?;
    if !blob.is_empty() {
        return Err(SshError::Damaged);
    }
    match kind {
        kind if kind == ED25519.as_bytes() => Ok(value.to_vec()),
        kind if kind == P256.as_bytes() => {
            let numbers = number(&mut value).zip(number(&mut value));
            let (r, s) = numbers.filter(|_| value.is_empty()).ok_or(SshError::Damaged)?;
            p256_signature(r, s).ok_or(SshError::Numbers)
        }
        other => Err(SshError::Type { found: word(other) }),
    }
}

/// An `mpint` (RFC 4251 §5) of at most 256 bits.
fn number(bytes: &mut &[u8]) -> Option<[u8; 32]> {
    let string = take_string(bytes)?;
    let digits = string.strip_prefix(&[0]).unwrap_or(string);
    let mut number = [0; 32];
    let start = number.len().checked_sub(digits.len())?;
    number[start..].copy_from_slice(digits);
    Some(number)
}

/// Reads a line of `authorized_keys` or of a `.pub` file, without options before the type.
pub(super) fn line(text: &str) -> Result<PublicKey, KeyError> {
    read_line(text).map_err(KeyError::Ssh)
}

fn read_line(text: &str) -> Result<PublicKey, SshError> {
    if text.len() > LINE_LIMIT || text.contains(['\n', '\r']) {
        return Err(SshError::Line);
    }
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
        return Err(SshError::Line);
    };
    let blob = STANDARD.decode(encoded).map_err(|_| SshError::Line)?;
    let stated = key_type(&blob).ok_or(SshError::Damaged)?;
    if stated != kind {
        return Err(SshError::Types {
            line: word(kind.as_bytes()),
            blob: stated,
        });
    }
    public_key(&blob)
}

fn word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by ssh-keygen (OpenSSH 9.2).
    const LINE_ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICn+ojUZ+9iV7cGAXc/HjrhQP4PYstZIMqvBgAbjk+zs ann@example.org";

    fn string(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes()[..], bytes].concat()
    }

    #[test]
    fn a_line_is_read_with_and_without_a_comment() {
        let key = PublicKey::from_text(LINE_ED25519).unwrap();
        let bare = LINE_ED25519.rsplit_once(' ').unwrap().0;
        assert_eq!(PublicKey::from_text(&format!("  {bare}\n")).unwrap(), key);
        assert_eq!(key.algorithm().to_string(), "ed25519");
        assert_eq!(PublicKey::from_text(&key.to_pem()).unwrap(), key);
    }

    #[test]
    fn other_lines_are_refused_and_say_why() {
        let rsa = [string(b"ssh-rsa"), string(&[1, 0, 1]), string(&[7; 64])].concat();
        let rsa = format!("ssh-rsa {}", STANDARD.encode(rsa));
        let lying = LINE_ED25519.replace("ssh-ed25519 ", "ecdsa-sha2-nistp256 ");
        let weak = [string(ED25519.as_bytes()), string(&[0; 32])].concat();
        let weak = format!("ssh-ed25519 {}", STANDARD.encode(weak));
        let long = [string(ED25519.as_bytes()), string(&[7; 32]), vec![0]].concat();
        let long = format!("ssh-ed25519 {}", STANDARD.encode(long));
        for (text, says) in [
            ("", "not a line"),
            ("ssh-ed25519", "not a line"),
            ("ssh-ed25519 ====", "not a line"),
            ("ssh-ed25519 AAAA", "damaged"),
            (&format!("{LINE_ED25519}\n{LINE_ED25519}"), "not a line"),
            (&rsa, "ssh-rsa"),
            (&lying, "the line says"),
            (&weak, "numbers"),
            (&long, "damaged"),
        ] {
            let error = PublicKey::from_text(text).unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(says), "{text}: {cause}");
        }
    }

    #[test]
    fn signatures_are_rewritten_and_damaged_ones_refused() {
        let ed25519 = [string(ED25519.as_bytes()), string(&[5; 64])].concat();
        assert_eq!(signature(&ed25519), Ok(vec![5; 64]));
        let numbers = |r: &[u8], s: &[u8]| {
            let both = [string(r), string(s)].concat();
            [string(P256.as_bytes()), string(&both)].concat()
        };
        // r = 1, s = 0x80: the mpint of s has a zero in front, and so has its DER.
        assert_eq!(
            signature(&numbers(&[1], &[0, 0x80])),
            Ok(vec![0x30, 7, 2, 1, 1, 2, 2, 0, 0x80])
        );
        assert_eq!(signature(&numbers(&[], &[1])), Err(SshError::Numbers));
        assert_eq!(signature(&numbers(&[0xff; 32], &[1])), Err(SshError::Numbers));
        assert_eq!(signature(&numbers(&[1; 34], &[1])), Err(SshError::Damaged));
        let whole = numbers(&[1], &[1]);
        for end in 0..whole.len() {
            assert!(signature(&whole[..end]).is_err(), "{end}");
        }
        assert_eq!(signature(&[whole, vec![0]].concat()), Err(SshError::Damaged));
        let huge = [&u32::MAX.to_be_bytes()[..], &[0; 8]].concat();
        assert_eq!(signature(&huge), Err(SshError::Damaged));
    }
}
