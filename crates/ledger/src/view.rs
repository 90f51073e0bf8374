//! The view: all entries in order, every signature verified, folded.
//!
//! Everybody reads and verifies everything, so that no state that somebody else computed is ever believed. What was
//! read before need not be moved again: packs are immutable and named by digest, and a [`PackCache`] may keep them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest};
use cairn_store::{RawManifest, Repository};
use jiff::Timestamp;

use crate::authority::{Authority, Rules};
use crate::content;
use crate::entry::{Entry, EntryName, Kind};
use crate::envelope::Envelope;
use crate::finding::Finding;
use crate::fold::{Fold, Outcome, Record};
use crate::head::{self, HeadError, HeadInfo, HeadStatement};
use crate::key::{Fingerprint, PublicKey};
use crate::pack;
use crate::state::State;

/// Keeps packs that were read before. What it gives is verified like anything else.
pub trait PackCache: Send + Sync + fmt::Debug {
    /// A pack, if it is kept.
    fn get(&self, digest: &Digest) -> Option<Bytes>;

    /// Keeps a pack; failing to is not an error.
    fn put(&self, digest: &Digest, pack: &Bytes);
}

/// Checks entries in order: signatures, names, what each one names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verifier {
    genesis: Option<EntryName>,
    keys: BTreeMap<Fingerprint, PublicKey>,
    names: BTreeSet<EntryName>,
    position: usize,
}

impl Verifier {
    /// Takes the next entry.
    pub(crate) fn admit(&mut self, bytes: &Bytes) -> Result<Record, HeadError> {
        let position = self.position;
        let (envelope, entry) = Entry::read(bytes).map_err(|source| HeadError::Entry { position, source })?;
        let name = envelope.name();
        let is_genesis = entry.kind == Kind::Genesis;
        if is_genesis != self.genesis.is_none() || entry.ledger != self.genesis {
            return Err(HeadError::Foreign { position });
        }
        if let Some(names) = entry.names().find(|named| !self.names.contains(named)) {
            return Err(HeadError::Order { position, names });
        }
        if is_genesis {
            self.learn(&entry);
        }
        // An unlisted key that an entry names itself only tells who signed: what it may do is the fold's business.
        let glass = entry.glass.as_ref();
        let named = |key: &Fingerprint| glass.filter(|glass| glass.fingerprint() == *key);
        let signers = envelope.signers(|key| self.keys.get(key).or_else(|| named(key)));
        if signers.is_empty() {
            return Err(HeadError::Unsigned { position });
        }
        if is_genesis {
            check_genesis(&entry, &signers)?;
            self.genesis = Some(name);
        }
        self.learn(&entry);
        self.names.insert(name);
        self.position += 1;
        let envelope = envelope.bytes().clone();
        Ok(Record {
            name,
            envelope,
            entry,
            signers,
        })
    }

    /// Every key that was ever listed can be told apart; what each may do is the fold's business.
    fn learn(&mut self, entry: &Entry) {
        let authority = entry.authority.iter();
        for key in authority.flat_map(Authority::public_keys) {
            self.keys.insert(key.fingerprint(), key.clone());
        }
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

/// A head that was read whole and counts.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedHead {
    pub(crate) info: HeadInfo,
    pub(crate) statement: HeadStatement,
    pub(crate) packs: Vec<Descriptor>,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) verifier: Verifier,
    pub(crate) fold: Fold,
}

/// Reads a head whole and decides whether it counts.
pub(crate) async fn read_head(
    repository: &dyn Repository,
    manifest: &RawManifest,
    cache: Option<&dyn PackCache>,
) -> Result<VerifiedHead, HeadError> {
    let parts = head::parts(manifest)?;
    let config = content::read(repository, &parts.config, head::CONFIG_LIMIT).await;
    let config = config.map_err(HeadError::Content)?;
    let (envelope, statement) = head::statement(&config, &parts.packs)?;
    let mut walk = Walk::default();
    let size = usize::try_from(statement.size).map_err(|_| HeadError::Packs)?;
    for (range, descriptor) in pack::layout(size).into_iter().zip(&parts.packs) {
        let bytes = read_pack(repository, descriptor, range.len(), cache).await?;
        let start = range.start;
        let envelopes =
            pack::read(&bytes, range.len()).map_err(|source| HeadError::Pack { start, source })?;
        for envelope in &envelopes {
            walk.take(envelope)?;
        }
    }
    let state = walk.fold.state().ok_or(HeadError::Size { size: 0 })?;
    let signer = signer(&walk, state, &envelope, statement.at).ok_or(HeadError::Signer)?;
    if statement.ledger != state.ledger {
        return Err(HeadError::Foreign { position: 0 });
    }
    let info = HeadInfo {
        digest: manifest.digest(),
        size: statement.size,
        at: statement.at,
        signer,
    };
    Ok(VerifiedHead {
        info,
        statement,
        packs: parts.packs,
        records: walk.records,
        outcomes: walk.outcomes,
        verifier: walk.verifier,
        fold: walk.fold,
    })
}

/// Who signed the head, if one of them may: a key that is listed after the last entry, or the unlisted one that made the last
/// entry, in effect.
fn signer(walk: &Walk, state: &State, envelope: &Envelope, at: Timestamp) -> Option<Fingerprint> {
    let last = walk.records.last()?;
    let glass = last.entry.glass.as_ref();
    let named = |key: &Fingerprint| glass.filter(|glass| glass.fingerprint() == *key);
    let signers = envelope.signers(|key| walk.verifier.keys.get(key).or_else(|| named(key)));
    let broke = state.glass.get(&last.name).map(|glass| glass.key);
    let may = |key: &&Fingerprint| state.authority.may_write_heads(key, at) || broke == Some(**key);
    signers.iter().find(may).copied()
}

#[derive(Default)]
struct Walk {
    verifier: Verifier,
    fold: Fold,
    records: Vec<Arc<Record>>,
    outcomes: Vec<Outcome>,
}

impl Walk {
    fn take(&mut self, envelope: &Bytes) -> Result<(), HeadError> {
        let record = self.verifier.admit(envelope)?;
        self.outcomes.push(self.fold.apply(&record));
        self.records.push(Arc::new(record));
        Ok(())
    }
}

async fn read_pack(
    repository: &dyn Repository,
    descriptor: &Descriptor,
    entries: usize,
    cache: Option<&dyn PackCache>,
) -> Result<Bytes, HeadError> {
    let is_it = |bytes: &Bytes| Digest::of(bytes) == descriptor.digest;
    if let Some(bytes) = cache
        .and_then(|cache| cache.get(&descriptor.digest))
        .filter(is_it)
    {
        return Ok(bytes);
    }
    let bytes = content::read(repository, descriptor, pack::limit(entries)).await;
    let bytes = bytes.map_err(HeadError::Content)?;
    if let Some(cache) = cache {
        cache.put(&descriptor.digest, &bytes);
    }
    Ok(bytes)
}

/// All entries of a ledger, in order, and what follows from them.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) verifier: Verifier,
    pub(crate) fold: Fold,
    /// The packs of the best head, which the next head shares.
    pub(crate) packs: Vec<Descriptor>,
    pub(crate) head: Option<HeadInfo>,
    /// All heads that count and are not covered by another one; the best first.
    pub(crate) heads: Vec<HeadInfo>,
    /// What is already covered by those, by the short form of its digest.
    pub(crate) covered: BTreeSet<String>,
    pub(crate) findings: Vec<Finding>,
}

impl View {
    /// The view of one head.
    pub(crate) fn of(head: VerifiedHead) -> Self {
        let mut covered: BTreeSet<String> = head.statement.covers.iter().cloned().collect();
        covered.extend(head.statement.from.iter().map(head::short));
        Self {
            records: head.records,
            outcomes: head.outcomes,
            verifier: head.verifier,
            fold: head.fold,
            packs: head.packs,
            heads: vec![head.info.clone()],
            head: Some(head.info),
            covered,
            findings: Vec::new(),
        }
    }

    /// What follows from the entries; none for an empty ledger.
    #[must_use]
    pub const fn state(&self) -> Option<&State> {
        self.fold.state()
    }

    /// The entries in order.
    #[must_use]
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// What became of each entry, in the same order.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// An entry with its position and what became of it.
    #[must_use]
    pub fn find(&self, name: &EntryName) -> Option<(u64, &Record, &Outcome)> {
        let position = self.fold.position(name)?;
        let at = usize::try_from(position).ok()?;
        Some((position, self.records.get(at)?, self.outcomes.get(at)?))
    }

    /// The names of the entries in order.
    pub fn names(&self) -> impl Iterator<Item = EntryName> {
        self.records.iter().map(|record| record.name)
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

    /// Takes an entry at the end.
    pub(crate) fn push(&mut self, envelope: &Bytes) -> Result<(), HeadError> {
        let record = self.verifier.admit(envelope)?;
        self.outcomes.push(self.fold.apply(&record));
        self.records.push(Arc::new(record));
        Ok(())
    }
}
