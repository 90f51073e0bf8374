//! The view: all entries in order, every signature verified, folded.
//!
//! Everybody reads and verifies everything, so that no state that somebody else computed is ever believed. What was
//! read before need not be moved again: packs are immutable and named by digest, and a [`PackCache`] may keep them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Tag};

use crate::authority::Authority;
use crate::base::{self, Briefs, List};
use crate::entry::EntryName;
use crate::finding::Finding;
use crate::fold::{Outcome, Record};
use crate::head::{HeadError, HeadInfo};
pub use crate::reading::PackCache;
use crate::reading::{CountedHead, Known};
use crate::state::State;
use crate::verify::Checked;
use crate::walk::Walk;

/// All entries of a ledger, in order, and what follows from them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub(crate) walk: Arc<Walk>,
    /// The packs of the best head, which the next head shares.
    pub(crate) packs: Vec<Descriptor>,
    pub(crate) head: Option<HeadInfo>,
    /// All heads that count and have something that the best one lacks; the best first.
    pub(crate) heads: Vec<HeadInfo>,
    /// Heads that have nothing beyond the view, by the short form of their digest.
    pub(crate) covered: BTreeSet<String>,
    /// Those of them that were read, and need not be read again by whoever remembers this view.
    pub(crate) seen: BTreeSet<String>,
    /// The tags of heads, as they were listed.
    pub(crate) listed: Vec<Tag>,
    pub(crate) findings: Vec<Finding>,
    /// What was read to make it.
    pub(crate) known: Arc<Known>,
}

impl View {
    /// The view of one head.
    pub(crate) fn of(head: &CountedHead, walk: Arc<Walk>, known: Arc<Known>) -> Self {
        Self {
            walk,
            packs: head.packs.clone(),
            heads: vec![head.info.clone()],
            head: Some(head.info.clone()),
            known,
            ..Self::default()
        }
    }

    /// The same entries, as the one head `head` has them now.
    pub(crate) fn under(self, head: &CountedHead) -> Self {
        Self {
            packs: head.packs.clone(),
            heads: vec![head.info.clone()],
            head: Some(head.info.clone()),
            ..self
        }
    }

    pub(crate) const fn walk(&self) -> &Arc<Walk> {
        &self.walk
    }

    /// What follows from the entries; none for an empty ledger.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.walk.fold.state()
    }

    /// The entries in order.
    #[must_use]
    pub fn records(&self) -> &List<Arc<Record>> {
        &self.walk.records
    }

    /// What became of each entry, in the same order.
    #[must_use]
    pub fn outcomes(&self) -> &List<Outcome> {
        &self.walk.outcomes
    }

    /// The entries in brief. None of them if what was remembered is damaged: then no answer is believed.
    pub(crate) fn briefs(&self) -> Briefs {
        Briefs::of(&self.walk).unwrap_or_default()
    }

    /// The digests that entries name, in the order of the entries.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.briefs().iter().filter_map(|brief| brief.digest).collect()
    }

    /// The lists of keys that were in effect, and are, in their order.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = &Authority> {
        let first = self
            .walk
            .records
            .first()
            .and_then(|genesis| genesis.entry.authority.as_ref());
        let changed = self
            .walk
            .chain
            .iter()
            .filter_map(|(_, authority)| authority.as_ref());
        first.into_iter().chain(changed)
    }

    /// An entry with its position and what became of it.
    #[must_use]
    pub fn find(&self, name: &EntryName) -> Option<(u64, &Record, &Outcome)> {
        let position = self.position(name)?;
        let at = usize::try_from(position).ok()?;
        Some((position, self.walk.records.get(at)?, self.walk.outcomes.get(at)?))
    }

    /// Where an entry stands.
    pub(crate) fn position(&self, name: &EntryName) -> Option<u64> {
        self.walk.fold.position(name)
    }

    /// Whether it has this entry.
    pub(crate) fn has(&self, name: &EntryName) -> bool {
        self.position(name).is_some()
    }

    /// The names of the entries in order.
    pub fn names(&self) -> impl Iterator<Item = EntryName> {
        self.walk.names.iter().copied()
    }

    /// The head that was read; in causal mode the best one.
    #[must_use]
    pub const fn head(&self) -> Option<&HeadInfo> {
        self.head.as_ref()
    }

    /// What did not count, and why.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether it has all entries of `head`.
    pub(crate) fn contains(&self, head: &CountedHead) -> bool {
        let mut records = self.beyond(head);
        records.all(|record| self.has(&record.name))
    }

    /// The entries of `head`, without those at its beginning that this has for certain.
    pub(crate) fn beyond<'a>(&self, head: &'a CountedHead) -> base::ListIter<'a, Arc<Record>> {
        let (mine, other) = (&self.walk.records, &head.records);
        let skipped = match (mine.base(), other.base()) {
            (Some(mine_base), Some(base)) if Arc::ptr_eq(mine_base, base) => mine.kept().min(other.kept()),
            _ => 0,
        };
        other.range(skipped..other.len())
    }

    /// An entry of another head, its signatures verified by the keys that the entries here list.
    pub(crate) fn check(&self, envelope: &Bytes) -> Result<Checked, HeadError> {
        Checked::one(self.walk.records.len(), envelope, &self.walk.verifier.keys)
    }

    /// Whether an entry that [`View::check`] gave may come in: its signers are those whose keys are listed here, whichever its
    /// own head knew.
    pub(crate) fn takes_in(&self, checked: &Checked) -> bool {
        let record = checked.under(&self.walk.verifier.keys);
        self.state().is_some_and(|state| state.takes_in(&record))
    }

    /// Takes an entry at the end.
    pub(crate) fn push(&mut self, checked: &Checked) -> Result<(), HeadError> {
        Arc::make_mut(&mut self.walk).take(checked)
    }

    /// The digests of the heads that it was made from.
    pub(crate) fn head_digests(&self) -> Vec<Digest> {
        self.heads.iter().map(|head| head.digest).collect()
    }
}
