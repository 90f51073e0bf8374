//! Envelopes read and their signatures verified, on all cores.
//!
//! Reading a ledger is mostly this. Whether a signature verifies does not depend on where its entry stands, so all of them
//! are verified at once, by whatever key any entry lists; which of these keys were listed at an entry's position is
//! [`Verifier`](crate::walk::Verifier)'s business, one entry after the other.
//!
//! ```text
//!   arriving ──▶ belt (packs in, verified entries out, in order, while more is fetched)
//!   note (what was verified of a pack, so that it is not verified again)
//! ```

mod arriving;
mod belt;
mod note;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::authority::Authority;
use crate::entry::Entry;
use crate::envelope::Envelope;
use crate::fold::Record;
use crate::head::HeadError;
use crate::key::{Fingerprint, PublicKey};

pub(crate) use arriving::{Arrived, Arriving};
pub(crate) use belt::Pack;
pub(crate) use note::{Recalled, note};

/// How many envelopes a thread takes at a time.
const PIECE: usize = 32;

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
    fn into_checked(mut self, signers: BTreeSet<Fingerprint>, keys: &Keys) -> Checked {
        // A list that was read has room for more, and all entries are kept.
        self.entry.moves.shrink_to_fit();
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

    /// Tries the keys that were not known before and are now.
    fn retried(&self, keys: &Keys) -> Self {
        let record = &self.record;
        let (now, untried): (BTreeSet<Fingerprint>, _) =
            self.untried.iter().partition(|key| keys.contains_key(key));
        let mut signers = record.signers.clone();
        if let Ok(envelope) = Envelope::parse(&record.envelope, crate::entry::PAYLOAD_TYPE) {
            signers.extend(envelope.signers(|key| keys.get(key).filter(|_| now.contains(key))));
        }
        let record = Arc::new(Record {
            signers,
            ..Record::clone(record)
        });
        Self { record, untried }
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

/// Verifies what is signed by keys that were not known when it was checked, and are now.
pub(crate) fn complete(checked: &mut [Checked], keys: &Keys) {
    let has_late = |one: &Checked| one.untried.iter().any(|key| keys.contains_key(key));
    let late: Vec<usize> = (0..)
        .zip(&*checked)
        .filter_map(|(at, one)| has_late(one).then_some(at))
        .collect();
    let tried = on_all_cores(&late, |at| checked.get(*at).map(|one| one.retried(keys)));
    for (at, tried) in late.into_iter().zip(tried) {
        if let (Some(one), Some(tried)) = (checked.get_mut(at), tried) {
            *one = tried;
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// `work` on each of `items`, in their order.
pub(crate) fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // Asking how many cores there are takes a while.
    if items.len() <= PIECE {
        return items.iter().map(work).collect();
    }
    let threads = cores().min(items.len().div_ceil(PIECE));
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
