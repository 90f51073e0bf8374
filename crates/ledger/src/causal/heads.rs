//! Which heads are read, in which order, and how much is spent on those that do not count.
//!
//! 1. The heads that are remembered, by digest: nobody can hide them by a list.
//! 2. The tags as listed, newest first by name. A tag costs one request to look at; its digits must be those of its manifest's
//!    digest, and the ledger must be the right one. A head signed by a key that is known is read. One that only names unknown keys waits.
//! 3. The newest [`KEEP`] that count are read whoever covers them, so that a removed key cannot cover what removed it; older ones only
//!    if no head covers them whose writer is still allowed.
//! 4. What waits is read last, within a budget.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cairn_oci::{Digest, Tag};
use cairn_store::Target;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Before, COUNT_LIMIT, KEEP, LOOK_LIMIT, REFUSED_BYTES, REFUSED_ENTRIES, short_of};
use crate::content;
use crate::entry::{EntryName, Mode};
use crate::finding::{Finding, chain};
use crate::head::{self, CAUSAL_PREFIX, HeadError};
use crate::open::{Ledger, OpenError};
use crate::reading::{self, Budget, CountedHead, Front, Place, Reading};

/// How many tags are looked at, at a time.
const AT_ONCE: usize = 16;
/// The same where only heads are found that count: the next one may cover the rest.
const AT_ONCE_OLD: usize = 4;
/// How many findings of one kind are told one by one.
const TOLD: usize = 8;

/// The heads that were read.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub(super) counting: Vec<Arc<CountedHead>>,
    /// Heads that have nothing beyond those, by the short form of their digest.
    pub(super) covered: BTreeSet<String>,
    /// Those of them that were read before.
    pub(super) seen: BTreeSet<String>,
    pub(super) findings: Vec<Finding>,
    /// Heads that name another ledger, and which.
    pub(super) others: Vec<(Tag, EntryName)>,
}

/// What is at a tag.
enum Look {
    Gone,
    Refused(Tag, HeadError),
    Head(Tag, Box<Front>),
}

struct Reader<'a> {
    ledger: &'a Ledger,
    before: &'a Before,
    place: Place<'a>,
    counting: BTreeMap<Digest, Arc<CountedHead>>,
    waiting: VecDeque<(String, Box<Front>)>,
    budget: Budget,
    findings: Findings,
    others: Vec<(Tag, EntryName)>,
    /// How many tags were looked at, and how many heads were not read.
    looked: usize,
    unread: usize,
}

/// What was found, some of each kind one by one, and the rest as a number: who may push must not fill the screen.
#[derive(Default)]
pub(super) struct Findings {
    told: Vec<Finding>,
    counts: BTreeMap<&'static str, usize>,
}

impl Findings {
    pub(super) fn add(
        &mut self,
        code: &'static str,
        subject: &dyn std::fmt::Display,
        message: impl Into<String>,
    ) {
        let count = self.counts.entry(code).or_default();
        *count += 1;
        if *count <= TOLD {
            self.told.push(Finding::new(code, subject, message));
        }
    }

    pub(super) fn into_all(mut self) -> Vec<Finding> {
        for (code, count) in self.counts {
            if let Some(more) = count.checked_sub(TOLD).filter(|more| *more > 0) {
                let message = format!("{more} more of this kind");
                self.told.push(Finding::new(code, &CAUSAL_PREFIX, message));
            }
        }
        self.told
    }
}

impl Heads {
    pub(super) async fn read(ledger: &Ledger, before: &Before, listed: &[Tag]) -> Result<Self, OpenError> {
        let mut reader = Reader {
            ledger,
            before,
            place: Place {
                repository: &*ledger.home,
                cache: ledger.cache.as_deref(),
                known: &before.known,
            },
            counting: BTreeMap::new(),
            waiting: VecDeque::new(),
            budget: Budget {
                bytes: REFUSED_BYTES,
                entries: REFUSED_ENTRIES,
            },
            findings: Findings::default(),
            others: Vec::new(),
            looked: 0,
            unread: 0,
        };
        let all_there = reader.read_before().await?;
        let seen: BTreeSet<String> = listed
            .iter()
            .map(|tag| short_of(tag).to_owned())
            .filter(|short| all_there && before.seen.contains(short))
            .collect();
        reader.read_listed(listed, &seen).await?;
        reader.settle(true).await?;
        Ok(reader.into_heads(seen))
    }

    /// The ledgers that have a head here.
    pub(super) fn ledgers(&self) -> Vec<EntryName> {
        let all: BTreeSet<EntryName> = self.counting.iter().map(|head| head.statement.ledger).collect();
        all.into_iter().collect()
    }
}

impl Reader<'_> {
    /// Reads the heads that were seen before. Returns whether all of them are there.
    async fn read_before(&mut self) -> Result<bool, OpenError> {
        let mut all_there = true;
        for digest in &self.before.heads {
            if let Some(head) = self.place.known.head(digest) {
                self.counting.insert(*digest, head);
                continue;
            }
            let target = Target::Digest(*digest);
            let manifest = self.ledger.home.read_manifest(&target).await;
            let front = match manifest {
                Ok(Some(manifest)) => reading::front(&*self.ledger.home, &manifest).await,
                Ok(None) => {
                    all_there = false;
                    continue;
                }
                Err(source) if content::is_integrity(&source) => Err(HeadError::Manifest(source)),
                Err(source) => return Err(self.ledger.repository_error(source)),
            };
            match front {
                Ok(front) if self.before.expected == Some(front.statement.ledger) => {
                    self.read_one(&digest.to_string(), &front, false).await?;
                }
                Ok(_) => {}
                Err(error) => self.refuse(&digest.to_string(), error, *digest)?,
            }
            all_there &= self.counting.contains_key(digest);
        }
        Ok(all_there)
    }

    async fn read_listed(&mut self, listed: &[Tag], seen: &BTreeSet<String>) -> Result<(), OpenError> {
        let mut tags = listed.iter().peekable();
        let (mut real, mut at_once) = (0, AT_ONCE);
        while tags.peek().is_some() && self.counted_ledgers() < 2 {
            let covered = self.covered();
            let mut batch = Vec::new();
            while batch.len() < at_once {
                let Some(tag) = tags.next() else { break };
                let short = short_of(tag);
                let known = self.place.known.heads_like(short);
                if seen.contains(short) || !known.is_empty() {
                    real += 1;
                    for head in known {
                        if self.is_wanted(head.statement.ledger) {
                            self.counting.insert(head.info.digest, head);
                        }
                    }
                } else if !is_name(tag) {
                    let message = "its name is not that of a head";
                    self.findings.add("head-refused", tag, message);
                } else if real + batch.len() >= KEEP && covered.contains(short) {
                } else if self.looked >= LOOK_LIMIT || self.counting.len() >= COUNT_LIMIT {
                    self.unread += 1;
                } else {
                    self.looked += 1;
                    batch.push(tag.clone());
                }
            }
            let before = self.counting.len();
            self.look_at(batch).await?;
            self.settle(false).await?;
            let found = self.counting.len() - before;
            real += found;
            at_once = match (found, real) {
                (0, _) => (at_once * 2).min(4 * AT_ONCE),
                (_, real) if real < KEEP => AT_ONCE,
                _ => AT_ONCE_OLD,
            };
        }
        Ok(())
    }

    async fn look_at(&mut self, batch: Vec<Tag>) -> Result<(), OpenError> {
        let looks: Vec<_> = batch.into_iter().map(|tag| look(self.ledger, tag)).collect();
        let looks: Vec<Look> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        for look in looks {
            match look {
                Look::Gone => {}
                Look::Refused(tag, error) => self.findings.add("head-refused", &tag, chain(&error)),
                Look::Head(tag, front) if !self.is_wanted(front.statement.ledger) => {
                    self.others.push((tag, front.statement.ledger));
                }
                Look::Head(tag, front) => self.waiting.push_back((tag.to_string(), front)),
            }
        }
        Ok(())
    }

    fn is_wanted(&self, ledger: EntryName) -> bool {
        self.before.expected.is_none_or(|expected| expected == ledger)
    }

    /// Reads what waits and is signed by a key that is known; the rest only at the `end`, or as long as no key is known at all.
    async fn settle(&mut self, end: bool) -> Result<(), OpenError> {
        loop {
            let mut waiting = std::mem::take(&mut self.waiting).into_iter();
            let mut again = VecDeque::new();
            let mut is_new = false;
            for (subject, front) in waiting.by_ref() {
                match self.is_signed(&front) {
                    Some(true) if self.counting.len() >= COUNT_LIMIT => self.unread += 1,
                    Some(true) => is_new |= self.read_one(&subject, &front, false).await?,
                    Some(false) => self.refuse(&subject, HeadError::Signer, front.digest)?,
                    None => again.push_back((subject, front)),
                }
            }
            self.waiting = again;
            if is_new {
                continue;
            }
            let may_try = end || self.counting.is_empty();
            if !may_try || self.counted_ledgers() > 1 {
                return Ok(());
            }
            let Some((subject, front)) = self.waiting.pop_front() else {
                return Ok(());
            };
            self.read_one(&subject, &front, true).await?;
        }
    }

    /// Whether a key of the ledger signed it; nothing if a key may have that is not known.
    fn is_signed(&self, front: &Front) -> Option<bool> {
        let keys = self.place.known.keys(&front.statement.ledger)?;
        let mut ids = front.envelope.signatures().iter().map(|signature| signature.key);
        if !front.envelope.signers(|key| keys.get(key)).is_empty() {
            return Some(true);
        }
        ids.all(|key| keys.contains_key(&key)).then_some(false)
    }

    /// Reads a head whole. Returns whether it counts.
    async fn read_one(&mut self, subject: &str, front: &Front, is_doubtful: bool) -> Result<bool, OpenError> {
        if self.counting.contains_key(&front.digest) {
            return Ok(false);
        }
        let budget = is_doubtful.then_some(&mut self.budget);
        match self.place.read(front, budget).await {
            Ok(Reading::Counts(head)) if head.mode == Mode::Causal => {
                self.counting.insert(front.digest, head);
                Ok(true)
            }
            Ok(Reading::Counts(_)) => self
                .refuse(subject, HeadError::Mode, front.digest)
                .map(|()| false),
            Ok(Reading::OverBudget) => {
                self.unread += 1;
                Ok(false)
            }
            Err(error) => self.refuse(subject, error, front.digest).map(|()| false),
        }
    }

    fn refuse(&mut self, subject: &str, error: HeadError, digest: Digest) -> Result<(), OpenError> {
        if error.is_environment() {
            return Err(OpenError::Unreadable {
                repository: self.ledger.home.label(),
                digest,
                source: error,
            });
        }
        self.findings.add("head-refused", &subject, chain(&error));
        Ok(())
    }

    fn counted_ledgers(&self) -> usize {
        let all: BTreeSet<EntryName> = self.counting.values().map(|head| head.statement.ledger).collect();
        all.len()
    }

    /// What the heads cover whose writer the newest chain still allows.
    fn covered(&self) -> BTreeSet<String> {
        let newest = self.counting.values().max_by_key(|head| head.chain.len());
        let authority = newest.and_then(|head| {
            let mut lists = head.chain.iter().rev();
            let changed = lists.find_map(|(_, authority)| authority.as_ref());
            changed.or_else(|| head.records.first()?.entry.authority.as_ref())
        });
        let mut covered = BTreeSet::new();
        for head in self.counting.values() {
            let may =
                |authority: &crate::Authority| authority.may_write_heads(&head.info.signer, head.info.at);
            if authority.is_some_and(may) {
                covered.extend(head.statement.covers.iter().cloned());
                covered.extend(head.statement.from.iter().map(head::short));
            }
        }
        covered
    }

    fn into_heads(mut self, seen: BTreeSet<String>) -> Heads {
        let unread = self.unread + self.waiting.len();
        if unread > 0 {
            let message = format!(
                "{unread} tags of heads were not read: more than {LOOK_LIMIT} tags, {COUNT_LIMIT} heads, or too much that nobody of the ledger signed; whether they hide anything is not known"
            );
            self.findings.add("heads-unread", &CAUSAL_PREFIX, message);
        }
        let mut covered = self.covered();
        covered.extend(seen.iter().cloned());
        Heads {
            covered,
            seen,
            counting: self.counting.into_values().collect(),
            findings: self.findings.into_all(),
            others: self.others,
        }
    }
}

/// Whether a tag has the form of a head's.
fn is_name(tag: &Tag) -> bool {
    let parts = tag
        .as_str()
        .strip_prefix(CAUSAL_PREFIX)
        .and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(rank, short)| {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_rank = rank.len() == 10 && rank.bytes().all(|byte| byte.is_ascii_digit());
        is_rank && short.len() == 16 && short.bytes().all(is_hex)
    })
}

/// Reads the manifest at a tag, and if it may be a head, what its writer signed.
async fn look(ledger: &Ledger, tag: Tag) -> Result<Look, OpenError> {
    let manifest = match ledger.home.read_manifest(&Target::Tag(tag.clone())).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(Look::Gone),
        Err(source) if content::is_integrity(&source) => {
            return Ok(Look::Refused(tag, HeadError::Manifest(source)));
        }
        Err(source) => return Err(ledger.repository_error(source)),
    };
    let digest = manifest.digest();
    if head::short(&digest) != short_of(&tag) {
        return Ok(Look::Refused(tag, HeadError::Tag { found: digest }));
    }
    match reading::front(&*ledger.home, &manifest).await {
        Ok(front) => Ok(Look::Head(tag, Box::new(front))),
        Err(source) if source.is_environment() => Err(OpenError::Unreadable {
            repository: ledger.home.label(),
            digest,
            source,
        }),
        Err(error) => Ok(Look::Refused(tag, error)),
    }
}
