//! Values as bytes: what the remembered state is made of. Numbers are little-endian; a text has its length before it.

use cairn_oci::Digest;
use jiff::{SignedDuration, Timestamp};

use crate::fold::{Outcome, Subject, Verdict, Why};
use crate::name::{Channel, Version};
use crate::state::{Binding, Bound, Shown, Stay};

/// A value that can be written as bytes, and read from the beginning of some.
pub(crate) trait Flat: Sized {
    fn put(&self, to: &mut Vec<u8>);
    /// None if the bytes are not those of one.
    fn take(from: &mut &[u8]) -> Option<Self>;

    /// The value that all of `bytes` are.
    fn whole(mut bytes: &[u8]) -> Option<Self> {
        let value = Self::take(&mut bytes)?;
        bytes.is_empty().then_some(value)
    }
}

fn array<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*head)
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Flat for $number {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                array(from).map(Self::from_le_bytes)
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, i32, i64);

impl Flat for () {
    fn put(&self, _to: &mut Vec<u8>) {}

    fn take(_from: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Flat for Digest {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        array(from).map(Self::from_bytes)
    }
}

fn put_text(text: &str, to: &mut Vec<u8>) {
    // Names of versions and channels are far shorter.
    u16::try_from(text.len()).unwrap_or(u16::MAX).put(to);
    to.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(u16::take(from)?);
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    std::str::from_utf8(text).ok()
}

impl Flat for Version {
    fn put(&self, to: &mut Vec<u8>) {
        put_text(self.as_str(), to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        take_text(from)?.parse().ok()
    }
}

impl Flat for Channel {
    fn put(&self, to: &mut Vec<u8>) {
        put_text(self.as_str(), to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        take_text(from)?.parse().ok()
    }
}

impl Flat for Timestamp {
    fn put(&self, to: &mut Vec<u8>) {
        self.as_second().put(to);
        self.subsec_nanosecond().put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Self::new(i64::take(from)?, i32::take(from)?).ok()
    }
}

impl Flat for SignedDuration {
    fn put(&self, to: &mut Vec<u8>) {
        self.as_secs().put(to);
        self.subsec_nanos().put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (seconds, nanoseconds) = (i64::take(from)?, i32::take(from)?);
        // What another number of nanoseconds would carry over could be too much.
        (nanoseconds.abs() < 1_000_000_000).then(|| Self::new(seconds, nanoseconds))
    }
}

impl<T: Flat> Flat for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            None => to.push(0),
            Some(value) => {
                to.push(1);
                value.put(to);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(None),
            1 => T::take(from).map(Some),
            _ => None,
        }
    }
}

impl<T: Flat> Flat for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(to);
        self.iter().for_each(|one| one.put(to));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = u32::take(from)?;
        (0..count).map(|_| T::take(from)).collect()
    }
}

impl<A: Flat, B: Flat> Flat for (A, B) {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

impl Flat for Shown {
    fn put(&self, to: &mut Vec<u8>) {
        self.digest.put(to);
        self.version.put(to);
        self.entry.put(to);
        self.at.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            digest: Flat::take(from)?,
            version: Flat::take(from)?,
            entry: Flat::take(from)?,
            at: Flat::take(from)?,
        })
    }
}

impl Flat for Stay {
    fn put(&self, to: &mut Vec<u8>) {
        self.longest.put(to);
        self.since.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            longest: Flat::take(from)?,
            since: Flat::take(from)?,
        })
    }
}

impl Flat for Bound {
    fn put(&self, to: &mut Vec<u8>) {
        self.digest.put(to);
        self.entry.put(to);
        self.position.put(to);
        self.at.put(to);
        self.yanked.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            digest: Flat::take(from)?,
            entry: Flat::take(from)?,
            position: Flat::take(from)?,
            at: Flat::take(from)?,
            yanked: Flat::take(from)?,
        })
    }
}

impl Flat for Binding {
    fn put(&self, to: &mut Vec<u8>) {
        self.bound.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Flat::take(from).map(|bound| Self { bound })
    }
}

impl Flat for Subject {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Entry => to.push(0),
            Self::Keys => to.push(1),
            Self::Rules => to.push(2),
            Self::Version(version) => {
                to.push(3);
                version.put(to);
            }
            Self::Channel(channel) => {
                to.push(4);
                channel.put(to);
            }
            Self::Hold(channel) => {
                to.push(5);
                channel.put(to);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::take(from)? {
            0 => Self::Entry,
            1 => Self::Keys,
            2 => Self::Rules,
            3 => Self::Version(Flat::take(from)?),
            4 => Self::Channel(Flat::take(from)?),
            5 => Self::Hold(Flat::take(from)?),
            _ => return None,
        })
    }
}

impl Flat for Verdict {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Effect => to.push(0),
            Self::Void { why, overtaken_by } => {
                let number = Why::ALL.iter().position(|one| one == why).unwrap_or_default();
                to.push(u8::try_from(number + 1).unwrap_or(u8::MAX));
                overtaken_by.put(to);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)?.checked_sub(1) {
            None => Some(Self::Effect),
            Some(number) => Some(Self::Void {
                why: *Why::ALL.get(usize::from(number))?,
                overtaken_by: Flat::take(from)?,
            }),
        }
    }
}

impl Flat for Outcome {
    fn put(&self, to: &mut Vec<u8>) {
        self.effects.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Flat::take(from).map(|effects| Self { effects })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back_and_no_cut_value_is_read() {
        let channel: Channel = "prod".parse().unwrap();
        let mut outcome = Outcome {
            effects: vec![(Subject::Version("1.0".parse().unwrap()), Verdict::Effect)],
        };
        for why in Why::ALL {
            for overtaken_by in [None, Some(Digest::of(b"x"))] {
                let verdict = Verdict::Void { why, overtaken_by };
                outcome.effects.push((Subject::Channel(channel.clone()), verdict));
                outcome.effects.push((Subject::Hold(channel.clone()), verdict));
            }
        }
        let codes: std::collections::BTreeSet<_> = Why::ALL.iter().map(|why| why.code()).collect();
        assert_eq!(codes.len(), Why::ALL.len());
        let mut bytes = Vec::new();
        outcome.put(&mut bytes);
        assert_eq!(Outcome::whole(&bytes).as_ref(), Some(&outcome));
        for end in 0..bytes.len() {
            assert_eq!(Outcome::whole(&bytes[..end]), None, "{end}");
        }
        bytes.push(0);
        assert_eq!(Outcome::whole(&bytes), None);
    }
}
