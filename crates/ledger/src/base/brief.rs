//! What questions ask of every entry, in few bytes: so only the entries that are shown are read in their packs.

use std::sync::Arc;

use cairn_oci::Digest;
use jiff::Timestamp;

use super::Base;
use super::codec::Flat;
use super::front::Raw;
use crate::entry::Kind;
use crate::fold::{Outcome, Record};
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::query::moved;
use crate::walk::Walk;

/// What is written for a kind that has no number.
const UNKNOWN: u8 = u8::MAX;

/// An entry in brief.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brief<'a> {
    pub(crate) at: Timestamp,
    pub(crate) digest: Option<Digest>,
    kind: Result<&'static Kind, &'a str>,
    pub(crate) version: Option<&'a str>,
    /// The channel that it takes from.
    pub(crate) from: Option<&'a str>,
    /// The actor's name.
    pub(crate) actor: &'a str,
    signers: &'a [u8],
    /// The channels that it names.
    pub(crate) channels: Texts<'a>,
    /// The channels that it moved.
    pub(crate) moved: Texts<'a>,
}

/// Texts one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts<'a>(&'a [u8]);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        take_text(&mut self.0)
    }
}

/// All entries of a ledger in brief.
#[derive(Debug, Default)]
pub(crate) struct Briefs {
    raw: Raw,
    /// The keys by their number.
    signers: Vec<Fingerprint>,
    base: Option<Arc<Base>>,
}

impl Briefs {
    /// Those of `walk`; none if the remembered ones cannot be read: then nothing that was made of the ledger is believed.
    pub(crate) fn of(walk: &Walk) -> Option<Self> {
        let kept = walk.base.as_ref().map(|base| base.briefs());
        let mut briefs = Self {
            raw: kept.unwrap_or_else(|| Some(Raw::default()))?,
            signers: walk.signers(),
            base: walk.base.clone(),
        };
        for (record, outcome) in walk.records.rest().iter().zip(walk.outcomes.rest()) {
            briefs.push(record, outcome)?;
        }
        Some(briefs)
    }

    /// All of them, in the order of the entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Brief<'_>> {
        (0..self.raw.len()).map_while(|at| {
            let brief = self.raw.get(at).and_then(Brief::read);
            if let (None, Some(base)) = (&brief, &self.base) {
                base.mark_damaged();
            }
            brief
        })
    }

    /// The numbers of the keys that are meant.
    pub(crate) fn numbers(&self, is_meant: impl Fn(&Fingerprint) -> bool) -> Vec<u16> {
        let meant = (0..).zip(&self.signers).filter(|(_, key)| is_meant(key));
        meant.map(|(number, _)| number).collect()
    }

    pub(super) const fn raw(&self) -> &Raw {
        &self.raw
    }

    fn push(&mut self, record: &Record, outcome: &Outcome) -> Option<()> {
        let signers = numbers(record, &mut self.signers)?;
        let (entry, to) = (&record.entry, &mut self.raw.bytes);
        entry.at.put(to);
        entry.digest.put(to);
        match Kind::ALL.iter().position(|kind| *kind == entry.kind) {
            Some(number) => u8::try_from(number).ok()?.put(to),
            None => {
                UNKNOWN.put(to);
                put_text(entry.kind.as_str(), to)?;
            }
        }
        put_optional(entry.version.as_ref().map(Version::as_str), to)?;
        put_optional(entry.from.as_ref().map(|from| from.channel.as_str()), to)?;
        put_text(&entry.actor.id, to)?;
        put_bytes(to, |to| {
            signers.iter().for_each(|number| number.put(to));
            Some(())
        })?;
        let mut channels = entry.moves.iter().map(|one| one.channel.as_str());
        put_bytes(to, |to| channels.try_for_each(|name| put_text(name, to)))?;
        let mut moved = moved(entry, outcome).map(Channel::as_str);
        put_bytes(to, |to| moved.try_for_each(|name| put_text(name, to)))?;
        self.raw.ends.push(u32::try_from(self.raw.bytes.len()).ok()?);
        Some(())
    }
}

impl<'a> Brief<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let from = &mut bytes;
        let brief = Self {
            at: Flat::take(from)?,
            digest: Flat::take(from)?,
            kind: match u8::take(from)? {
                UNKNOWN => Err(take_text(from)?),
                number => Ok(Kind::ALL.get(usize::from(number))?),
            },
            version: take_optional(from)?,
            from: take_optional(from)?,
            actor: take_text(from)?,
            signers: take_bytes(from)?,
            channels: Texts(take_bytes(from)?),
            moved: Texts(take_bytes(from)?),
        };
        bytes.is_empty().then_some(brief)
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, kind: &Kind) -> bool {
        match self.kind {
            Ok(known) => known == kind,
            Err(name) => matches!(kind, Kind::Unknown(other) if other == name),
        }
    }

    /// Whether one of the keys with these numbers signed it.
    pub(crate) fn is_signed_by(&self, keys: &[u16]) -> bool {
        let (numbers, _) = self.signers.as_chunks::<2>();
        numbers
            .iter()
            .any(|number| keys.contains(&u16::from_le_bytes(*number)))
    }
}

/// The numbers of the keys that signed an entry; those that have none yet get one.
pub(super) fn numbers(record: &Record, signers: &mut Vec<Fingerprint>) -> Option<Vec<u16>> {
    let number = |key: &Fingerprint| {
        let at = signers.iter().position(|known| known == key).unwrap_or_else(|| {
            signers.push(*key);
            signers.len() - 1
        });
        u16::try_from(at).ok()
    };
    record.signers.iter().map(number).collect()
}

/// Writes the length of what `write` writes, and that.
fn put_bytes(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let start = to.len();
    0_u32.put(to);
    write(to)?;
    let length = u32::try_from(to.len() - start - 4).ok()?;
    to.get_mut(start..start + 4)?
        .copy_from_slice(&length.to_le_bytes());
    Some(())
}

fn put_text(text: &str, to: &mut Vec<u8>) -> Option<()> {
    put_bytes(to, |to| {
        to.extend_from_slice(text.as_bytes());
        Some(())
    })
}

fn put_optional(text: Option<&str>, to: &mut Vec<u8>) -> Option<()> {
    u8::from(text.is_some()).put(to);
    text.map_or(Some(()), |text| put_text(text, to))
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::take(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

fn take_text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(from)?).ok()
}

fn take_optional<'a>(from: &mut &'a [u8]) -> Option<Option<&'a str>> {
    match u8::take(from)? {
        0 => Some(None),
        1 => take_text(from).map(Some),
        _ => None,
    }
}
