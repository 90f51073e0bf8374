//! Bytes of records: numbers, digests and strings, with a checksum at the end.

use cairn_oci::Digest;

/// Bytes of a digest.
const DIGEST: usize = 32;

/// Writes what [`Decoder`] reads.
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(magic: &[u8]) -> Self {
        Self {
            bytes: magic.to_vec(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes room for so many more bytes.
    pub(super) fn reserve(&mut self, additional: usize) {
        self.bytes.reserve(additional);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn digest(&mut self, digest: &Digest) {
        self.raw(digest.as_bytes());
    }

    /// Seven bits a byte, the lowest first; all but the last have the top bit set (LEB128).
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(0x80 | (number & 0x7f) as u8);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Small numbers of either sign are short: 0, -1, 1, -2, ….
    pub(super) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(super) fn string(&mut self, string: &[u8]) {
        self.number(string.len() as u64);
        self.raw(string);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// All of it, without a checksum.
    pub(super) fn body(self) -> Vec<u8> {
        self.bytes
    }

    /// All of it, with its checksum.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let checksum = Digest::of(&self.bytes);
        self.digest(&checksum);
        self.bytes
    }
}

/// Reads bytes that may be anything: each method gives none where they are not what is asked for.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What stands between `magic` and the checksum, if both are right.
    pub(super) fn checked(bytes: &'a [u8], magic: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        let rest = content.strip_prefix(magic)?;
        (Digest::of(content).as_bytes() == checksum).then_some(Self { bytes: rest })
    }

    pub(super) const fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) const fn is_at_end(self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        Some(Digest::from_bytes(self.take(DIGEST)?.try_into().ok()?))
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let unsigned = [0, 1, 127, 128, 1 << 35, u64::MAX];
        let signed = [0, 1, -1, i64::MAX, i64::MIN];
        let mut encoder = Encoder::new(b"");
        unsigned.iter().for_each(|number| encoder.number(*number));
        signed.iter().for_each(|number| encoder.signed(*number));
        let bytes = encoder.body();
        let mut decoder = Decoder::new(&bytes);
        for number in unsigned {
            assert_eq!(decoder.number(), Some(number));
        }
        for number in signed {
            assert_eq!(decoder.signed(), Some(number));
        }
        assert!(decoder.is_at_end());
        assert_eq!(decoder.number(), None);
    }

    #[test]
    fn numbers_that_are_too_long_are_none() {
        assert_eq!(Decoder::new(&[0xff; 11]).number(), None);
        let mut beyond = [0x80; 10];
        beyond[9] = 2;
        assert_eq!(Decoder::new(&beyond).number(), None);
    }
}
