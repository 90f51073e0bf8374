//! Notes of what was verified, so that it is not verified again.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_oci::{Digest, json};
use serde::{Deserialize, Serialize};

use super::{Checked, Keys, Parsed};
use crate::key::Fingerprint;

/// Longest note, in bytes.
const NOTE_LIMIT: usize = 4 << 20;

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

/// Who signed the entries of a pack, as a note says.
#[derive(Debug)]
pub(crate) struct Recalled {
    keys: Vec<Fingerprint>,
    /// For each entry, which of the keys.
    signers: Vec<Vec<usize>>,
}

impl Recalled {
    /// What the note says of `pack`, which has so many entries; none if it is damaged or of something else.
    pub(crate) fn read(pack: &Digest, note: &[u8], entries: usize) -> Option<Self> {
        let (keys, signers) = read_note(pack, note)?;
        (signers.len() == entries).then_some(Self { keys, signers })
    }

    /// The entries of the pack that stand there from `first` on; none of them if the note cannot be of them.
    pub(crate) fn apply(&self, first: usize, parsed: Vec<Parsed>) -> Result<Vec<Checked>, Vec<Parsed>> {
        let end = first + parsed.len();
        let Some(signers) = self.signers.get(first..end) else {
            return Err(parsed);
        };
        let fits = |(one, signers): (&Parsed, &Vec<usize>)| {
            let ids = one.envelope.signatures().iter().map(|signature| signature.key);
            let ids: BTreeSet<Fingerprint> = ids.collect();
            signers
                .iter()
                .all(|number| self.keys.get(*number).is_some_and(|key| ids.contains(key)))
        };
        if !parsed.iter().zip(signers).all(fits) {
            return Err(parsed);
        }
        let recalled = parsed.into_iter().zip(signers).map(|(one, numbers)| {
            let signers = numbers
                .iter()
                .filter_map(|number| self.keys.get(*number).copied());
            let mut checked = one.into_checked(signers.collect(), &Keys::new());
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
