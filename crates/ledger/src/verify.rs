//! Envelopes read and their signatures verified, on all cores.
//!
//! Reading a ledger is mostly this. Whether a signature verifies does not depend on where its entry stands, so all of them
//! are verified at once, by whatever key any entry lists; which of these keys were listed at an entry's position is
//! [`Verifier`](crate::walk::Verifier)'s business, one entry after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::entry::Entry;
use crate::envelope::Envelope;
use crate::fold::Record;
use crate::head::HeadError;
use crate::key::{Fingerprint, PublicKey};
use cairn_oci::{Digest, json};

/// How many envelopes a thread takes at a time.
const PIECE: usize = 64;
/// Longest note of what was verified, in bytes.
const NOTE_LIMIT: usize = 4 << 20;

/// The keys by which signatures are verified.
pub(crate) type Keys = BTreeMap<Fingerprint, PublicKey>;

/// An entry with the keys whose signature verifies, of all that were known when it was checked.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) record: Arc<Record>,
    /// Keys that are said to have signed too, and were not known.
    pub(crate) untried: BTreeSet<Fingerprint>,
}

/// An envelope that was read.
pub(crate) struct Parsed {
    pub(crate) envelope: Envelope,
    pub(crate) entry: Entry,
}

/// Reads envelopes, each with its position.
pub(crate) fn parse(lines: &[(usize, Bytes)]) -> Result<Vec<Parsed>, HeadError> {
    let parsed = on_all_cores(lines, |(position, bytes)| {
        let position = *position;
        match Entry::read(bytes) {
            Ok((envelope, entry)) => Ok(Parsed { envelope, entry }),
            Err(source) => Err(HeadError::Entry { position, source }),
        }
    });
    parsed.into_iter().collect()
}

/// Adds the keys that `entry` lists. Keys that no entry may list yet do no harm: see the head of this page.
pub(crate) fn learn(keys: &mut Keys, entry: &Entry) {
    for key in entry.authority.iter().flat_map(Authority::public_keys) {
        keys.insert(key.fingerprint(), key.clone());
    }
}

/// Verifies every signature by one of `keys`, or by the unlisted key that the entry names itself.
pub(crate) fn check(parsed: Vec<Parsed>, keys: &Keys) -> Vec<Checked> {
    let signers = on_all_cores(&parsed, |one| {
        let glass = one.entry.glass.as_ref();
        let named = |key: &Fingerprint| glass.filter(|glass| glass.fingerprint() == *key);
        one.envelope.signers(|key| keys.get(key).or_else(|| named(key)))
    });
    let checked = parsed.into_iter().zip(signers);
    checked
        .map(|(one, signers)| one.into_checked(signers, keys))
        .collect()
}

impl Parsed {
    fn into_checked(self, signers: BTreeSet<Fingerprint>, keys: &Keys) -> Checked {
        let glass = self.entry.glass.as_ref().map(PublicKey::fingerprint);
        let ids = self.envelope.signatures().iter().map(|signature| signature.key);
        let untried = ids.filter(|key| !keys.contains_key(key) && glass != Some(*key));
        Checked {
            untried: untried.collect(),
            record: Arc::new(Record {
                name: self.envelope.name(),
                envelope: self.envelope.bytes().clone(),
                entry: self.entry,
                signers,
            }),
        }
    }
}

impl Checked {
    /// Reads and verifies one envelope.
    pub(crate) fn one(position: usize, bytes: &Bytes, keys: &Keys) -> Result<Self, HeadError> {
        let parsed = parse(&[(position, bytes.clone())])?;
        let mut keys = keys.clone();
        for one in &parsed {
            learn(&mut keys, &one.entry);
        }
        let mut checked = check(parsed, &keys);
        checked.pop().ok_or(HeadError::Size { size: 0 })
    }

    /// The entry as it counts where only `keys` are listed.
    pub(crate) fn under(&self, keys: &Keys) -> Arc<Record> {
        let record = &self.record;
        let glass = record.entry.glass.as_ref();
        let named = |key: &Fingerprint| glass.is_some_and(|glass| glass.fingerprint() == *key);
        let is_listed = |key: &Fingerprint| keys.contains_key(key) || named(key);
        let has_untried = self.untried.iter().any(|key| keys.contains_key(key));
        if !has_untried && record.signers.iter().all(is_listed) {
            return Arc::clone(record);
        }
        let mut signers: BTreeSet<Fingerprint> = record.signers.iter().copied().filter(is_listed).collect();
        let again = Envelope::parse(&record.envelope, crate::entry::PAYLOAD_TYPE);
        if let (true, Ok(envelope)) = (has_untried, again) {
            signers.extend(envelope.signers(|key| keys.get(key).filter(|_| self.untried.contains(key))));
        }
        Arc::new(Record {
            signers,
            ..Record::clone(record)
        })
    }
}

/// `work` on each of `items`, in their order.
pub(crate) fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // How many cores there are is asked only where it matters: the answer is read from several files.
    let pieces = items.len().div_ceil(PIECE);
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = if pieces > 1 { pieces.min(cores()) } else { 1 };
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, Vec<R>)> = Vec::new();
    let run = || {
        let mut mine = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            let start = piece * PIECE;
            if start >= items.len() {
                return mine;
            }
            let end = items.len().min(start + PIECE);
            mine.push((piece, items[start..end].iter().map(&work).collect()));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            match thread.join() {
                Ok(mine) => done.extend(mine),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    done.sort_by_key(|(piece, _)| *piece);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

/// What was verified of a pack, so that it is not verified again. It is kept where only its reader writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    schema: u32,
    /// Which pack.
    pack: Digest,
    /// The keys that signed.
    keys: Vec<Fingerprint>,
    /// For each entry, which of them: two digits each.
    signers: Vec<String>,
}

/// Writes down what was verified of `pack`: SHA-256 of the rest, a line feed, the rest.
pub(crate) fn note(pack: &Digest, checked: &[Checked]) -> Bytes {
    let all: BTreeSet<Fingerprint> = checked
        .iter()
        .flat_map(|one| one.record.signers.iter().copied())
        .collect();
    let keys: Vec<Fingerprint> = all.into_iter().collect();
    let number = |key: &Fingerprint| keys.binary_search(key).unwrap_or_default();
    let signers = checked.iter().map(|one| {
        let signers = one.record.signers.iter();
        signers.map(|key| format!("{:04x}", number(key))).collect()
    });
    let body = json::canonical(&Note {
        schema: 1,
        pack: *pack,
        signers: signers.collect(),
        keys: keys.clone(),
    });
    let mut bytes = Digest::of(&body).to_string().into_bytes();
    bytes.push(b'\n');
    bytes.extend(body);
    bytes.into()
}

/// The entries of `pack` as a note says that they were verified; none if the note is damaged or of something else.
pub(crate) fn recall(pack: &Digest, note: &[u8], parsed: Vec<Parsed>) -> Result<Vec<Checked>, Vec<Parsed>> {
    let Some((keys, signers)) = read_note(pack, note).filter(|(_, signers)| signers.len() == parsed.len())
    else {
        return Err(parsed);
    };
    let fits = |(one, signers): (&Parsed, &Vec<usize>)| {
        let ids: BTreeSet<Fingerprint> = one
            .envelope
            .signatures()
            .iter()
            .map(|signature| signature.key)
            .collect();
        signers
            .iter()
            .all(|number| keys.get(*number).is_some_and(|key| ids.contains(key)))
    };
    if !parsed.iter().zip(&signers).all(fits) {
        return Err(parsed);
    }
    let recalled = parsed.into_iter().zip(signers).map(|(one, numbers)| {
        let signers: BTreeSet<Fingerprint> = numbers
            .iter()
            .filter_map(|number| keys.get(*number).copied())
            .collect();
        let mut checked = one.into_checked(signers, &Keys::new());
        // A signature that did not verify then is tried again when its key is listed: that is rare, and never wrong.
        checked.untried = checked
            .untried
            .difference(&checked.record.signers)
            .copied()
            .collect();
        checked
    });
    Ok(recalled.collect())
}

fn read_note(pack: &Digest, note: &[u8]) -> Option<(Vec<Fingerprint>, Vec<Vec<usize>>)> {
    let at = note.iter().position(|byte| *byte == b'\n')?;
    let (sum, body) = (note.get(..at)?, note.get(at + 1..)?);
    if sum != Digest::of(body).to_string().as_bytes() {
        return None;
    }
    let note: Note = json::parse(body, NOTE_LIMIT).ok()?;
    if note.schema != 1 || note.pack != *pack {
        return None;
    }
    let numbers = |text: &String| -> Option<Vec<usize>> {
        let digits = text.as_bytes().chunks(4);
        digits
            .map(|digits| usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
            .collect()
    };
    let signers: Option<Vec<_>> = note.signers.iter().map(numbers).collect();
    Some((note.keys, signers?))
}
