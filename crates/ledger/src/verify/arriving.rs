//! The packs of one head on their way: verified, and folded as far as they are.

use cairn_oci::Digest;

use super::belt::{Batch, Belt, Done, Pack};
use super::{Checked, complete};
use crate::entry::EntryName;
use crate::head::HeadError;
use crate::walk::Walk;

/// A pack that was read and verified.
pub(crate) struct Verified {
    pub(crate) digest: Digest,
    pub(crate) checked: Vec<Checked>,
    /// Whether its signatures were verified now.
    pub(crate) is_new: bool,
}

/// All packs of a head.
pub(crate) struct Arrived {
    pub(crate) packs: Vec<Verified>,
    /// The entries whose signatures were verified now.
    pub(crate) verified: Vec<EntryName>,
    /// What follows from all entries, or why they are no ledger, if they were to be folded.
    pub(crate) walk: Option<Result<Walk, HeadError>>,
}

/// Packs in the order of the list.
pub(crate) struct Arriving {
    belt: Belt,
    /// Of each pack: its digest, how many entries it has, whether it is verified now.
    packs: Vec<(Digest, usize, bool)>,
    checked: Vec<Checked>,
    verified: Vec<EntryName>,
    error: Option<HeadError>,
    walk: Option<Result<Walk, HeadError>>,
}

impl Arriving {
    /// Nothing yet. What is done is folded from the beginning if `folds`.
    pub(crate) fn new(folds: bool) -> Self {
        Self {
            belt: Belt::new(),
            packs: Vec::new(),
            checked: Vec::new(),
            verified: Vec::new(),
            error: None,
            walk: folds.then(|| Ok(Walk::default())),
        }
    }

    /// Takes the next pack, of which nothing is to be verified, or why it cannot be read.
    pub(crate) fn pass(&mut self, digest: Digest, known: Result<Vec<Checked>, HeadError>) {
        let entries = known.as_ref().map_or(0, Vec::len);
        self.packs.push((digest, entries, false));
        self.belt.pass(known);
        self.fold_ready();
    }

    /// Takes the next pack, which begins with entries that are known.
    pub(crate) fn push(&mut self, digest: Digest, known: Vec<Checked>, pack: Pack) {
        let entries = known.len() + pack.lines.len();
        self.packs.push((digest, entries, pack.recalled.is_none()));
        self.belt.pass(Ok(known));
        self.belt.push(pack);
        self.fold_ready();
    }

    /// All packs, or why one of them cannot be read.
    pub(crate) fn end(mut self) -> Result<Arrived, HeadError> {
        while let Some(done) = self.belt.next() {
            self.add(done);
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut checked = self.checked;
        complete(&mut checked, &self.belt.keys());
        let mut checked = checked.into_iter();
        let packs = self.packs.into_iter().map(|(digest, entries, is_new)| Verified {
            digest,
            checked: checked.by_ref().take(entries).collect(),
            is_new,
        });
        Ok(Arrived {
            packs: packs.collect(),
            verified: self.verified,
            walk: self.walk,
        })
    }

    fn fold_ready(&mut self) {
        while let Some(done) = self.belt.ready() {
            self.add(done);
        }
    }

    /// The first entry that cannot be read is what is wrong with the head, and only then one that cannot be folded.
    fn add(&mut self, done: Done) {
        let Batch { checked, is_new } = match done {
            Ok(_) if self.error.is_some() => return,
            Ok(batch) => batch,
            Err(error) => {
                self.error.get_or_insert(error);
                return;
            }
        };
        if let Some(Ok(walk)) = &mut self.walk
            && let Err(error) = checked.iter().try_for_each(|one| walk.take(one))
        {
            self.walk = Some(Err(error));
        }
        if is_new {
            self.verified.extend(checked.iter().map(|one| one.record.name));
        }
        self.checked.extend(checked);
    }
}
