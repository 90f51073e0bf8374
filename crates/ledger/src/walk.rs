//! Entries taken one after the other: what each names must stand before it, and its keys must have been listed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::{Base, Chain, List};

use crate::authority::Rules;
use crate::entry::{Entry, EntryName, Kind};
use crate::fold::{Fold, Outcome, Record, Subject};
use crate::head::HeadError;
use crate::key::Fingerprint;
use crate::reading::CountedHead;
use crate::verify::{Checked, Keys, learn};

/// Checks entries in order: keys, names, what each one names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verifier {
    genesis: Option<EntryName>,
    pub(crate) keys: Keys,
}

impl Verifier {
    /// After entries of `genesis` that listed `keys`.
    pub(crate) const fn passed(genesis: EntryName, keys: Keys) -> Self {
        let genesis = Some(genesis);
        Self { genesis, keys }
    }

    /// Takes the next entry, after those of `fold`.
    fn admit(&mut self, checked: &Checked, fold: &Fold) -> Result<Arc<Record>, HeadError> {
        let position = usize::try_from(fold.length()).unwrap_or(usize::MAX);
        let entry = &checked.record.entry;
        let is_genesis = entry.kind == Kind::Genesis;
        if is_genesis != self.genesis.is_none() || entry.ledger != self.genesis {
            return Err(HeadError::Foreign { position });
        }
        if let Some(names) = entry.names().find(|named| fold.position(named).is_none()) {
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
    pub(crate) records: List<Arc<Record>>,
    pub(crate) outcomes: List<Outcome>,
    /// The names of the entries.
    pub(crate) names: List<EntryName>,
    /// The positions at which keys or rules changed in effect, with the list of keys where that changed.
    pub(crate) chain: Chain,
    pub(crate) verifier: Verifier,
    pub(crate) fold: Fold,
    /// The remembered state that it goes on from.
    pub(crate) base: Option<Arc<Base>>,
}

impl Walk {
    /// Takes an entry at the end.
    pub(crate) fn take(&mut self, checked: &Checked) -> Result<(), HeadError> {
        let record = self.verifier.admit(checked, &self.fold)?;
        self.add(record);
        Ok(())
    }

    /// The walk over the entries of a head that was admitted before.
    pub(crate) fn again(head: &CountedHead) -> Self {
        let records = &head.records;
        let base = head.base.as_ref().filter(|base| base.size() == records.kept());
        let mut walk = base.map(Base::walk).unwrap_or_default();
        for record in records.range(walk.records.len()..records.len()) {
            walk.verifier.pass(record);
            walk.add(Arc::clone(record));
        }
        walk
    }

    fn add(&mut self, record: Arc<Record>) {
        let outcome = self.fold.apply(&record);
        let mut effects = outcome.effects.iter();
        if effects.any(|(on, verdict)| matches!(on, Subject::Keys | Subject::Rules) && verdict.stands()) {
            self.chain
                .push((self.records.len(), record.entry.authority.clone()));
        }
        self.outcomes.push(outcome);
        self.names.push(record.name);
        self.records.push(record);
    }

    /// How many entries are not in the remembered state.
    pub(crate) const fn new_count(&self) -> usize {
        self.records.new_count()
    }

    /// The keys that signed entries of the remembered state, by their number there.
    pub(crate) fn signers(&self) -> Vec<Fingerprint> {
        self.base
            .as_ref()
            .map(|base| base.signers.clone())
            .unwrap_or_default()
    }
}
