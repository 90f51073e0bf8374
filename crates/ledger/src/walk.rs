//! Entries taken one after the other: what each names must stand before it, and its keys must have been listed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::authority::{Authority, Rules};
use crate::entry::{Entry, EntryName, Kind};
use crate::fold::{Fold, Outcome, Record, Subject};
use crate::head::HeadError;
use crate::key::Fingerprint;
use crate::verify::{Checked, Keys, learn};

/// Checks entries in order: keys, names, what each one names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verifier {
    genesis: Option<EntryName>,
    pub(crate) keys: Keys,
    names: BTreeSet<EntryName>,
    position: usize,
}

impl Verifier {
    /// Takes the next entry.
    fn admit(&mut self, checked: &Checked) -> Result<Arc<Record>, HeadError> {
        let position = self.position;
        let entry = &checked.record.entry;
        let is_genesis = entry.kind == Kind::Genesis;
        if is_genesis != self.genesis.is_none() || entry.ledger != self.genesis {
            return Err(HeadError::Foreign { position });
        }
        if let Some(names) = entry.names().find(|named| !self.names.contains(named)) {
            return Err(HeadError::Order { position, names });
        }
        if is_genesis {
            learn(&mut self.keys, entry);
        }
        let record = checked.under(&self.keys);
        if record.signers.is_empty() {
            return Err(HeadError::Unsigned { position });
        }
        if is_genesis {
            check_genesis(entry, &record.signers)?;
        }
        self.pass(&record);
        Ok(record)
    }

    /// Goes past an entry that was admitted.
    fn pass(&mut self, record: &Record) {
        self.genesis.get_or_insert(record.name);
        // Every key that was ever listed can be told apart; what each may do is the fold's business.
        learn(&mut self.keys, &record.entry);
        self.names.insert(record.name);
        self.position += 1;
    }
}

fn check_genesis(entry: &Entry, signers: &BTreeSet<Fingerprint>) -> Result<(), HeadError> {
    let refused = |detail: String| HeadError::Genesis { detail };
    let authority = entry
        .authority
        .as_ref()
        .ok_or_else(|| refused("it lists no keys".to_owned()))?;
    authority.check().map_err(|error| refused(error.to_string()))?;
    let rules = entry.rules.as_ref().map_or(Ok(()), Rules::check);
    rules.map_err(|error| refused(error.to_string()))?;
    if !authority.threshold_met(signers, &Kind::Keys, entry.at) {
        return Err(refused("it is not signed by enough of its own keys".to_owned()));
    }
    Ok(())
}

/// A list of entries from the genesis on, and what follows from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walk {
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) verifier: Verifier,
    pub(crate) fold: Fold,
}

impl Walk {
    /// Takes an entry at the end.
    pub(crate) fn take(&mut self, checked: &Checked) -> Result<(), HeadError> {
        let record = self.verifier.admit(checked)?;
        self.outcomes.push(self.fold.apply(&record));
        self.records.push(record);
        Ok(())
    }

    /// The walk over entries that were admitted before, in this order.
    pub(crate) fn again(records: &[Arc<Record>]) -> Self {
        let mut walk = Self::default();
        for record in records {
            walk.verifier.pass(record);
            walk.outcomes.push(walk.fold.apply(record));
            walk.records.push(Arc::clone(record));
        }
        walk
    }

    /// The positions at which keys or rules changed in effect, with the list of keys where that changed.
    pub(crate) fn chain(&self) -> Vec<(usize, Option<Authority>)> {
        let is_change = |outcome: &Outcome| {
            let mut effects = outcome.effects.iter();
            effects.any(|(on, verdict)| matches!(on, Subject::Keys | Subject::Rules) && verdict.stands())
        };
        let changed = (0..).zip(&self.outcomes).zip(&self.records);
        changed
            .filter(|((_, outcome), _)| is_change(outcome))
            .map(|((at, _), record)| (at, record.entry.authority.clone()))
            .collect()
    }
}
