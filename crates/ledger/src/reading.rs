//! Reading a head: its manifest, its statement, its packs, and whether it counts.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest};
use cairn_store::{RawManifest, Repository};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::base::{Base, Chain, List};
use crate::content;
use crate::entry::{EntryName, Mode};
use crate::envelope::Envelope;
use crate::fold::Record;
use crate::head::{self, HeadError, HeadInfo, HeadStatement, Parts};
use crate::key::{Fingerprint, PublicKey};
use crate::pack;
use crate::verify::{self, Arrived, Arriving, Checked, Keys, Pack, Parsed, Recalled};
use crate::walk::Walk;

/// How many packs are fetched at a time.
const AT_ONCE: usize = 8;
/// Most entries of a pack that changes with each append, or nearly so.
const SMALL: usize = 16;

/// Keeps packs that were read before, and what was verified of them. A pack that it gives is hashed like any other.
pub trait PackCache: Send + Sync + fmt::Debug {
    /// A pack, if it is kept.
    fn get(&self, digest: &Digest) -> Option<Bytes>;

    /// Keeps a pack; failing to is not an error.
    fn put(&self, digest: &Digest, pack: &Bytes);

    /// Whether a pack is kept, as far as that is known without reading it.
    fn has(&self, digest: &Digest) -> bool {
        self.get(digest).is_some()
    }

    /// `length` bytes of a pack from `start` on, not checked.
    fn piece(&self, digest: &Digest, start: usize, length: usize) -> Option<Bytes> {
        let pack = self.get(digest)?;
        pack.get(start..start.checked_add(length)?)
            .map(|piece| pack.slice_ref(piece))
    }

    /// Which signatures of the pack `digest` were verified, as [`PackCache::put_note`] was given it. It is believed if it is
    /// whole, so it must come from where nobody else writes.
    fn note(&self, _digest: &Digest) -> Option<Bytes> {
        None
    }

    /// Keeps which signatures of a pack were verified; failing to is not an error.
    fn put_note(&self, _digest: &Digest, _note: &Bytes) {}
}

/// What was read and verified while one view was made, and those after it that are made from it.
#[derive(Default)]
pub(crate) struct Known(Mutex<Inner>);

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.lock();
        write!(
            f,
            "Known({} packs, {} heads)",
            known.packs.len(),
            known.heads.len()
        )
    }
}

#[derive(Default)]
struct Inner {
    packs: BTreeMap<Digest, Arc<Vec<Checked>>>,
    /// Entries of small packs, by the digest of the envelope: the packs at the end of two heads have most of them in common.
    entries: BTreeMap<Digest, Checked>,
    heads: BTreeMap<Digest, Arc<CountedHead>>,
    last: Option<(Digest, Arc<Walk>)>,
    /// Every key that a ledger ever listed, as far as it was read.
    keys: BTreeMap<EntryName, Arc<Keys>>,
    /// What was remembered of the ledger.
    base: Option<Arc<Base>>,
    /// The entries whose signatures were verified here, and not recalled.
    verified: Vec<EntryName>,
}

impl Known {
    /// Nothing but what was remembered.
    pub(crate) fn of(base: Option<Arc<Base>>) -> Self {
        let known = Self::default();
        known.lock().base = base;
        known
    }

    /// What was remembered of a ledger.
    fn base(&self, ledger: &EntryName) -> Option<Arc<Base>> {
        let base = self.lock().base.clone();
        base.filter(|base| base.ledger == *ledger)
    }

    /// Whether something that was remembered could not be read: then nothing of this is to be believed.
    pub(crate) fn is_damaged(&self) -> bool {
        let base = self.lock().base.clone();
        base.is_some_and(|base| base.is_damaged())
    }

    /// The entries whose signatures were verified here, of any ledger, each perhaps more than once.
    pub(crate) fn verified(&self) -> Vec<EntryName> {
        self.lock().verified.clone()
    }

    fn count_verified(&self, names: impl IntoIterator<Item = EntryName>) {
        self.lock().verified.extend(names);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, envelope: &Bytes) -> Option<Checked> {
        self.lock().entries.get(&Digest::of(envelope)).cloned()
    }

    fn keep_pack(&self, digest: Digest, checked: Vec<Checked>) {
        let mut known = self.lock();
        if checked.len() <= SMALL {
            let entries = checked
                .iter()
                .map(|one| (Digest::of(&one.record.envelope), one.clone()));
            known.entries.extend(entries);
        }
        known.packs.insert(digest, Arc::new(checked));
    }

    /// A head that counts and whose list begins with these entries.
    fn longer(&self, entries: &Entries) -> Option<Arc<CountedHead>> {
        let heads: Vec<_> = self.lock().heads.values().cloned().collect();
        let begins = |head: &Arc<CountedHead>| {
            let records = head.records.rest();
            let mut pairs = records.iter().zip(&entries.rest).rev();
            entries.goes_on_from(head.base.as_ref())
                && head.records.kept() == entries.base.as_ref().map_or(0, |base| base.size())
                && records.len() >= entries.rest.len()
                && pairs.all(|(record, one)| is_same(record, one))
        };
        heads.into_iter().find(begins)
    }

    fn pack(&self, digest: &Digest) -> Option<Arc<Vec<Checked>>> {
        self.lock().packs.get(digest).cloned()
    }

    /// A head that counts.
    pub(crate) fn head(&self, digest: &Digest) -> Option<Arc<CountedHead>> {
        self.lock().heads.get(digest).cloned()
    }

    /// Every head that counts and whose digest begins with these digits.
    pub(crate) fn heads_like(&self, short: &str) -> Vec<Arc<CountedHead>> {
        let known = self.lock();
        let like = known
            .heads
            .values()
            .filter(|head| head::short(&head.info.digest) == short);
        like.cloned().collect()
    }

    /// Every key that was ever listed, as far as the ledger was read; none if nothing of it was.
    pub(crate) fn keys(&self, ledger: &EntryName) -> Option<Arc<Keys>> {
        self.lock().keys.get(ledger).cloned()
    }

    /// Entries may be believed whose head does not count: each of them is signed.
    fn learn(&self, ledger: EntryName, keys: &Keys) {
        let mut known = self.lock();
        let all = Arc::make_mut(known.keys.entry(ledger).or_default());
        all.extend(keys.iter().map(|(name, key)| (*name, key.clone())));
    }

    pub(crate) fn keep(&self, head: &Arc<CountedHead>, walk: Option<&Arc<Walk>>) {
        let mut known = self.lock();
        // Of a linear ledger only the last one is ever needed again.
        if head.mode == Mode::Linear {
            known.heads.clear();
        }
        known.heads.insert(head.info.digest, Arc::clone(head));
        if let Some(walk) = walk {
            known.last = Some((head.info.digest, Arc::clone(walk)));
        }
    }

    /// The entries of a head with what follows from them.
    pub(crate) fn walk(&self, head: &CountedHead) -> Arc<Walk> {
        let last = self.lock().last.clone();
        match last {
            Some((digest, walk)) if digest == head.info.digest => walk,
            _ => Arc::new(Walk::again(head)),
        }
    }

    /// Whether no head was read yet.
    fn is_untouched(&self) -> bool {
        let known = self.lock();
        known.heads.is_empty() && known.last.is_none()
    }

    fn last(&self) -> Option<Arc<Walk>> {
        self.lock().last.as_ref().map(|(_, walk)| Arc::clone(walk))
    }
}

/// How much is read of heads that nobody may have signed.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes of packs.
    pub(crate) bytes: u64,
    /// Entries that are read and verified.
    pub(crate) entries: u64,
}

impl Budget {
    fn take(&mut self, bytes: u64, entries: u64) -> bool {
        let left = self
            .bytes
            .checked_sub(bytes)
            .zip(self.entries.checked_sub(entries));
        if let Some((bytes, entries)) = left {
            *self = Self { bytes, entries };
        }
        left.is_some()
    }
}

/// The front of a head: what its writer signed, not believed yet.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) digest: Digest,
    pub(crate) parts: Parts,
    pub(crate) envelope: Envelope,
    pub(crate) statement: HeadStatement,
}

/// A head that was read whole and counts.
#[derive(Debug)]
pub(crate) struct CountedHead {
    pub(crate) info: HeadInfo,
    pub(crate) statement: HeadStatement,
    pub(crate) packs: Vec<Descriptor>,
    pub(crate) records: List<Arc<Record>>,
    /// The remembered state that these entries begin with.
    pub(crate) base: Option<Arc<Base>>,
    /// Where keys or rules changed.
    pub(crate) chain: Chain,
    /// How the ledger is appended to.
    pub(crate) mode: Mode,
}

/// The entries of a head: those of a remembered state, and those behind them, verified.
struct Entries {
    base: Option<Arc<Base>>,
    rest: Vec<Checked>,
    /// What follows from all of them, if that is known already; the others are empty then.
    walk: Option<Result<Walk, HeadError>>,
}

impl Entries {
    fn goes_on_from(&self, other: Option<&Arc<Base>>) -> bool {
        match (&self.base, other) {
            (None, None) => true,
            (Some(base), Some(other)) => Arc::ptr_eq(base, other),
            _ => false,
        }
    }
}

/// Whether an entry is stored with the same bytes.
fn is_same(record: &Arc<Record>, one: &Checked) -> bool {
    Arc::ptr_eq(record, &one.record) || record.envelope == one.record.envelope
}

/// Whether a head counts, or that it was not read to its end.
#[derive(Debug)]
pub(crate) enum Reading {
    Counts(Arc<CountedHead>),
    OverBudget,
}

/// Where heads are read from.
pub(crate) struct Place<'a> {
    pub(crate) repository: &'a dyn Repository,
    pub(crate) cache: Option<&'a dyn PackCache>,
    pub(crate) known: &'a Known,
}

/// Reads what a head's writer signed: two small reads.
pub(crate) async fn front(repository: &dyn Repository, manifest: &RawManifest) -> Result<Front, HeadError> {
    let parts = head::parts(manifest)?;
    let config = content::read(repository, &parts.config, head::CONFIG_LIMIT).await;
    let config = config.map_err(HeadError::Content)?;
    let (envelope, statement) = head::statement(&config, &parts.packs)?;
    Ok(Front {
        digest: manifest.digest(),
        parts,
        envelope,
        statement,
    })
}

/// Reads a head and all of its packs from the repository itself, as if nothing were known.
pub(crate) async fn read_head(repository: &dyn Repository, manifest: &RawManifest) -> Result<(), HeadError> {
    let known = Known::default();
    let place = Place {
        repository,
        cache: None,
        known: &known,
    };
    place
        .read(&front(repository, manifest).await?, None)
        .await
        .map(drop)
}

impl Place<'_> {
    /// Reads a head whole and decides whether it counts.
    pub(crate) async fn read(
        &self,
        front: &Front,
        budget: Option<&mut Budget>,
    ) -> Result<Reading, HeadError> {
        if let Some(head) = self.known.head(&front.digest) {
            return Ok(Reading::Counts(head));
        }
        if let Some(head) = self.before_base(front) {
            return Ok(Reading::Counts(head));
        }
        let mut unlimited = Budget {
            bytes: u64::MAX,
            entries: u64::MAX,
        };
        let budget = budget.unwrap_or(&mut unlimited);
        let (bytes, entries) = (budget.bytes, budget.entries);
        let entries_of = match self.on_base(front, budget).await? {
            Some(entries) => Some(entries),
            None => self.packs(front, budget).await?,
        };
        let Some(entries_of) = entries_of else {
            return Ok(Reading::OverBudget);
        };
        let head = self.count(front, entries_of)?;
        *budget = Budget { bytes, entries };
        Ok(Reading::Counts(head))
    }

    /// A head that is the beginning of the remembered state.
    fn before_base(&self, front: &Front) -> Option<Arc<CountedHead>> {
        let base = self.known.base(&front.statement.ledger)?;
        let size = usize::try_from(front.statement.size).ok()?;
        let longer = base.longer(size, &front.parts.packs)?;
        let head = Arc::new(begins(front, &longer)?);
        self.known.keep(&head, None);
        Some(head)
    }

    /// The entries of a head that is proven to begin with those of the remembered state: only what is behind them is verified.
    async fn on_base(&self, front: &Front, budget: &mut Budget) -> Result<Option<Entries>, HeadError> {
        let base = self.known.base(&front.statement.ledger);
        let (Some(base), Some(cache)) = (base, self.cache) else {
            return Ok(None);
        };
        let size = usize::try_from(front.statement.size).map_err(|_| HeadError::Packs)?;
        let shared = base.shared(&front.parts.packs);
        let places: Vec<_> = pack::layout(size)
            .into_iter()
            .zip(front.parts.packs.iter().cloned())
            .collect();
        let (same, others) = places.split_at(shared.min(places.len()));
        let cost = others
            .iter()
            .map(|(_, pack)| pack.size)
            .fold(0_u64, u64::saturating_add);
        let start = same.last().map_or(0, |(range, _)| range.end);
        // Two that have little in common are read from the beginning.
        if size < base.size() || !budget.take(cost, (size - start) as u64) {
            return Ok(None);
        }
        // Their entries are read there when they are needed.
        for (range, descriptor) in same {
            if !cache.has(&descriptor.digest) {
                fetch(self.repository, Some(cache), descriptor.clone(), range.len()).await?;
            }
        }
        let tasks: Vec<_> = others
            .iter()
            .map(|(range, pack)| fetch(self.repository, Some(cache), pack.clone(), range.len()))
            .collect();
        let fetched: Vec<Bytes> = stream::iter(tasks).buffered(AT_ONCE).try_collect().await?;
        let mut lines = Vec::new();
        for ((range, _), bytes) in others.iter().zip(&fetched) {
            let start = range.start;
            let some = pack::read(bytes, range.len()).map_err(|source| HeadError::Pack { start, source })?;
            lines.extend(some);
        }
        let Some(proof) = base.proof(shared, &lines) else {
            return Ok(None);
        };
        for pack in proof {
            let digest = Digest::of(&pack);
            if !cache.has(&digest) {
                cache.put(&digest, &pack);
            }
        }
        let rest = self.verify_behind(&base, others, &lines)?;
        let base = Some(base);
        Ok(Some(Entries {
            base,
            rest,
            walk: None,
        }))
    }

    /// Verifies the entries behind those of `base`; `lines` are those of the packs at `places`.
    fn verify_behind(
        &self,
        base: &Base,
        places: &[(Range<usize>, Descriptor)],
        lines: &[Bytes],
    ) -> Result<Vec<Checked>, HeadError> {
        let begin = places.first().map_or(0, |(range, _)| range.start);
        let mut keys = base.keys().clone();
        let mut packs = Vec::new();
        for (range, descriptor) in places.iter().filter(|(range, _)| range.end > base.size()) {
            let start = range.start.max(base.size());
            let lines = lines.get(start - begin..range.end - begin).unwrap_or_default();
            let numbered: Vec<(usize, Bytes)> = (start..).zip(lines.iter().cloned()).collect();
            let parsed = verify::parse(&numbered)?;
            parsed.iter().for_each(|one| verify::learn(&mut keys, &one.entry));
            packs.push((descriptor.digest, start == range.start, parsed));
        }
        let mut rest = Vec::new();
        for (digest, is_whole, parsed) in packs {
            match self.known.pack(&digest) {
                Some(known) if is_whole => rest.extend(known.iter().cloned()),
                _ if is_whole => {
                    let checked = self.check(&digest, parsed, &keys);
                    self.known.keep_pack(digest, checked.clone());
                    rest.extend(checked);
                }
                _ => rest.extend(self.check_known(parsed, &keys)),
            }
        }
        Ok(rest)
    }

    /// The packs of a head with every signature verified; none if that would be over the budget.
    async fn packs(&self, front: &Front, budget: &mut Budget) -> Result<Option<Entries>, HeadError> {
        let size = usize::try_from(front.statement.size).map_err(|_| HeadError::Packs)?;
        let places: Vec<_> = pack::layout(size)
            .into_iter()
            .zip(front.parts.packs.iter().cloned())
            .collect();
        // The first one says whether it is this ledger at all.
        let mut first = None;
        for (range, descriptor) in places.iter().take(1) {
            if self.known.pack(&descriptor.digest).is_none() {
                if !budget.take(descriptor.size, 0) {
                    return Ok(None);
                }
                let bytes = fetch(self.repository, self.cache, descriptor.clone(), range.len()).await?;
                check_first(&bytes, range.len(), front)?;
                first = Some(bytes);
            }
        }
        let known: Vec<_> = places
            .iter()
            .map(|(_, descriptor)| self.known.pack(&descriptor.digest))
            .collect();
        let new = || places.iter().zip(&known).filter(|(_, known)| known.is_none());
        let sizes = new().map(|((_, descriptor), _)| descriptor.size);
        let cost = sizes.fold(0_u64, u64::saturating_add);
        if !budget.take(cost, front.statement.size) {
            return Ok(None);
        }
        let tasks: Vec<_> = new()
            .skip(usize::from(first.is_some()))
            .map(|((range, descriptor), _)| {
                fetch(self.repository, self.cache, descriptor.clone(), range.len())
            })
            .collect();
        let mut fetched = stream::iter(first.map(Ok)).chain(stream::iter(tasks).buffered(AT_ONCE));
        let mut arriving = Arriving::new(self.known.is_untouched());
        for ((range, descriptor), known) in places.iter().zip(&known) {
            let digest = descriptor.digest;
            match known {
                Some(known) => arriving.pass(digest, Ok(known.to_vec())),
                None => match fetched.next().await.transpose()? {
                    Some(bytes) => self.arrived(range, digest, &bytes, &mut arriving),
                    None => return Ok(None),
                },
            }
        }
        let Arrived {
            packs,
            verified,
            walk,
        } = arriving.end()?;
        self.known.count_verified(verified);
        let mut rest = Vec::new();
        for pack in packs {
            if let (Some(cache), true) = (self.cache, pack.is_new) {
                cache.put_note(&pack.digest, &verify::note(&pack.digest, &pack.checked));
            }
            if walk.is_none() {
                rest.extend(pack.checked.iter().cloned());
            }
            self.known.keep_pack(pack.digest, pack.checked);
        }
        Ok(Some(Entries {
            base: None,
            rest,
            walk,
        }))
    }

    /// Sends a pack that was fetched on its way, but for what need not be verified again.
    fn arrived(&self, range: &Range<usize>, digest: Digest, bytes: &Bytes, arriving: &mut Arriving) {
        let start = range.start;
        let lines = match pack::read(bytes, range.len()) {
            Ok(lines) => lines,
            Err(source) => return arriving.pass(digest, Err(HeadError::Pack { start, source })),
        };
        let known: Vec<_> = lines
            .iter()
            .filter(|_| lines.len() <= SMALL)
            .map_while(|line| self.known.entry(line))
            .collect();
        if known.len() == lines.len() {
            return arriving.pass(digest, Ok(known));
        }
        let note = self.cache.and_then(|cache| cache.note(&digest));
        let recalled = note.and_then(|note| Recalled::read(&digest, &note, lines.len()));
        let pack = Pack {
            start,
            lines: (start..).zip(lines).skip(known.len()).collect(),
            recalled,
        };
        arriving.push(digest, known, pack);
    }

    /// Verifies a pack, unless that was done before.
    fn check(&self, digest: &Digest, parsed: Vec<Parsed>, keys: &Keys) -> Vec<Checked> {
        let Some(cache) = self.cache else {
            return self.check_known(parsed, keys);
        };
        let note = cache.note(digest);
        let recalled = match note.and_then(|note| Recalled::read(digest, &note, parsed.len())) {
            Some(recalled) => recalled.apply(0, parsed),
            None => Err(parsed),
        };
        recalled.unwrap_or_else(|parsed| {
            let checked = self.check_known(parsed, keys);
            cache.put_note(digest, &verify::note(digest, &checked));
            checked
        })
    }

    /// Verifies what another small pack did not have already.
    fn check_known(&self, parsed: Vec<Parsed>, keys: &Keys) -> Vec<Checked> {
        let verify = |parsed: Vec<Parsed>| {
            let checked = verify::check(parsed, keys);
            self.known
                .count_verified(checked.iter().map(|one| one.record.name));
            checked
        };
        if parsed.len() > SMALL {
            return verify(parsed);
        }
        let one = |parsed: Parsed| {
            let known = self.known.entry(parsed.envelope.bytes());
            known.map_or_else(|| verify(vec![parsed]), |known| vec![known])
        };
        parsed.into_iter().flat_map(one).collect()
    }

    /// Whether a head whose packs are known counts.
    fn count(&self, front: &Front, mut entries: Entries) -> Result<Arc<CountedHead>, HeadError> {
        let walk = if let Some(walk) = entries.walk.take() {
            walk?
        } else {
            let longer = self.known.longer(&entries);
            if let Some(head) = longer.and_then(|longer| begins(front, &Longer::of(&longer))) {
                let head = Arc::new(head);
                self.known.keep(&head, None);
                return Ok(head);
            }
            self.fold(&entries)?
        };
        let ledger = walk.fold.state().map(|state| state.ledger);
        if ledger != Some(front.statement.ledger) {
            return Err(HeadError::Foreign { position: 0 });
        }
        self.known.learn(front.statement.ledger, &walk.verifier.keys);
        let signer = signer(&walk, front).ok_or(HeadError::Signer)?;
        let walk = Arc::new(walk);
        let head = Arc::new(CountedHead {
            info: HeadInfo {
                digest: front.digest,
                size: front.statement.size,
                at: front.statement.at,
                signer,
            },
            statement: front.statement.clone(),
            packs: front.parts.packs.clone(),
            records: walk.records.clone(),
            base: walk.base.clone(),
            chain: walk.chain.clone(),
            mode: walk.fold.state().map_or(Mode::Causal, |state| state.mode),
        });
        self.known.keep(&head, Some(&walk));
        Ok(head)
    }

    /// What follows from the entries, after as many of them as were folded before.
    fn fold(&self, entries: &Entries) -> Result<Walk, HeadError> {
        let on_base = || entries.base.as_ref().map(Base::walk).unwrap_or_default();
        let mut walk = self.continued(entries).unwrap_or_else(on_base);
        for checked in entries.rest.iter().skip(walk.new_count()) {
            walk.take(checked)?;
        }
        Ok(walk)
    }

    /// The walk that was made last, if this list begins with all of its entries.
    fn continued(&self, entries: &Entries) -> Option<Walk> {
        let last = self.known.last()?;
        let mut pairs = last.records.rest().iter().zip(&entries.rest);
        let begins = entries.goes_on_from(last.base.as_ref())
            && last.new_count() <= entries.rest.len()
            && pairs.all(|(record, one)| is_same(record, one));
        begins.then(|| Walk::clone(&last))
    }
}

/// A list of entries that counts, and is longer than that of a head.
pub(crate) struct Longer<'a> {
    pub(crate) ledger: EntryName,
    pub(crate) records: &'a List<Arc<Record>>,
    pub(crate) base: Option<&'a Arc<Base>>,
    pub(crate) chain: &'a Chain,
    pub(crate) mode: Mode,
}

impl<'a> Longer<'a> {
    fn of(head: &'a CountedHead) -> Self {
        Self {
            ledger: head.statement.ledger,
            records: &head.records,
            base: head.base.as_ref(),
            chain: &head.chain,
            mode: head.mode,
        }
    }
}

/// The head that is the beginning of `longer`, if it counts by a listed key.
fn begins(front: &Front, longer: &Longer<'_>) -> Option<CountedHead> {
    let size = usize::try_from(front.statement.size).ok()?;
    let records = longer.records.beginning(size)?;
    let chain: Vec<_> = longer
        .chain
        .iter()
        .filter(|(at, _)| *at < size)
        .cloned()
        .collect();
    let changed = chain.iter().rev().find_map(|(_, authority)| authority.as_ref());
    let genesis = records.first().cloned();
    let authority = changed.or_else(|| genesis.as_ref()?.entry.authority.as_ref())?;
    let key = |id: &Fingerprint| authority.public_keys().find(|key| key.fingerprint() == *id);
    let signers = front.envelope.signers(key);
    let at = front.statement.at;
    let signer = signers
        .into_iter()
        .find(|key| authority.may_write_heads(key, at))?;
    if front.statement.ledger != longer.ledger {
        return None;
    }
    Some(CountedHead {
        info: HeadInfo {
            digest: front.digest,
            size: front.statement.size,
            at,
            signer,
        },
        statement: front.statement.clone(),
        packs: front.parts.packs.clone(),
        base: longer.base.cloned(),
        records,
        chain,
        mode: longer.mode,
    })
}

/// Who signed the head, if one of them may: a key that is listed after the last entry, or the unlisted one that made the last
/// entry, in effect.
fn signer(walk: &Walk, front: &Front) -> Option<Fingerprint> {
    let state = walk.fold.state()?;
    let broke = state.glass.get(walk.names.last()?).map(|glass| glass.key);
    let last = broke.and_then(|_| walk.records.last());
    let glass = last.and_then(|last| last.entry.glass.as_ref());
    let named = |key: &Fingerprint| glass.filter(|glass: &&PublicKey| glass.fingerprint() == *key);
    let keys = &walk.verifier.keys;
    let signers = front.envelope.signers(|key| keys.get(key).or_else(|| named(key)));
    let at = front.statement.at;
    let may = |key: &&Fingerprint| state.authority.may_write_heads(key, at) || broke == Some(**key);
    signers.iter().find(may).copied()
}

/// Whether a pack begins with the genesis that the head's writer names.
fn check_first(bytes: &Bytes, entries: usize, front: &Front) -> Result<(), HeadError> {
    let lines = pack::read(bytes, entries).map_err(|source| HeadError::Pack { start: 0, source })?;
    let first = verify::parse(
        &lines
            .into_iter()
            .take(1)
            .map(|line| (0, line))
            .collect::<Vec<_>>(),
    )?;
    let is_it = |name: Digest| name == front.statement.ledger;
    if first.first().is_some_and(|first| is_it(first.envelope.name())) {
        return Ok(());
    }
    Err(HeadError::Foreign { position: 0 })
}

async fn fetch(
    repository: &dyn Repository,
    cache: Option<&dyn PackCache>,
    descriptor: Descriptor,
    entries: usize,
) -> Result<Bytes, HeadError> {
    let is_it = |bytes: &Bytes| Digest::of(bytes) == descriptor.digest;
    if let Some(bytes) = cache
        .and_then(|cache| cache.get(&descriptor.digest))
        .filter(is_it)
    {
        return Ok(bytes);
    }
    let bytes = content::read(repository, &descriptor, pack::limit(entries)).await;
    let bytes = bytes.map_err(HeadError::Content)?;
    if let Some(cache) = cache {
        cache.put(&descriptor.digest, &bytes);
    }
    Ok(bytes)
}
