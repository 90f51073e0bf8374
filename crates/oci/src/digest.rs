//! Content addresses: `sha256:` and 64 lower-case hexadecimal digits.
//!
//! The image specification registers other algorithms; registries must support only SHA-256, and Cairn
//! neither makes nor accepts another (image-spec, descriptor.md, "Registered algorithms").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::text;

/// Length of a SHA-256 digest in bytes.
pub const LENGTH: usize = 32;

/// The hexadecimal digits.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The SHA-256 of some content.
///
/// Ordered by its bytes, which is also the order of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; LENGTH]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `:` between algorithm and value.
    #[error("`{text}` is not a digest: it has no algorithm (expected sha256:<64 hexadecimal digits>)")]
    NoAlgorithm {
        /// What was given.
        text: String,
    },
    /// The algorithm is not `sha256`.
    #[error("`{text}` uses the algorithm `{algorithm}`; Cairn reads sha256 only")]
    Algorithm {
        /// What was given.
        text: String,
        /// The part before the colon.
        algorithm: String,
    },
    /// The value is not 64 lower-case hexadecimal digits.
    #[error("`{text}` is not a digest: after sha256: come 64 lower-case hexadecimal digits")]
    Value {
        /// What was given.
        text: String,
    },
}

impl Digest {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Takes the 32 bytes of a finished SHA-256.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The value without its algorithm: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.with_hex(str::to_owned)
    }

    /// Gives the 64 digits to `take`.
    fn with_hex<R>(&self, take: impl FnOnce(&str) -> R) -> R {
        let mut digits = [0; LENGTH * 2];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
        }
        #[expect(clippy::expect_used, reason = "hexadecimal digits")]
        take(std::str::from_utf8(&digits).expect("ASCII"))
    }

    /// The digest whose value is `hex`, 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`DigestError::Value`] for anything else.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        parse_hex(hex)
            .map(Self)
            .ok_or_else(|| DigestError::Value { text: hex.to_owned() })
    }
}

fn parse_hex(hex: &str) -> Option<[u8; LENGTH]> {
    let digits = hex.as_bytes();
    if digits.len() != LENGTH * 2 {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let owned = || text.to_owned();
        let (algorithm, value) = text
            .split_once(':')
            .ok_or_else(|| DigestError::NoAlgorithm { text: owned() })?;
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm {
                text: owned(),
                algorithm: algorithm.to_owned(),
            });
        }
        parse_hex(value)
            .map(Self)
            .ok_or_else(|| DigestError::Value { text: owned() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.with_hex(|digits| f.write_str(digits))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, str::parse)
    }
}

/// Hashes content that comes in pieces.
#[derive(Clone, Default)]
pub struct Hasher {
    state: sha2::Sha256,
    length: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// How many bytes it has seen.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_and_bytes_are_inverse() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(Digest::from_hex(&digest.hex()), Ok(digest));
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"stone ");
        hasher.update(b"on stone");
        assert_eq!(hasher.length(), 14);
        assert_eq!(hasher.finish(), Digest::of(b"stone on stone"));
    }

    #[test]
    fn a8_other_spellings_are_refused() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        for text in [
            "",
            "e3b0",
            &upper,
            "sha256:",
            "sha512:00",
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            "sha256:zz",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text} was taken");
        }
    }
}
