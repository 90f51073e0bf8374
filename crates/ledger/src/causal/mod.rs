//! Causal mode: for repositories where the last writer wins, lists may be old, cut off or in any order, and writes may come late.
//!
//! Every head has a tag of its own, so nothing is ever overwritten, and everybody folds the view: the best head,
//! then what the others have beyond it. Who may push and holds no key can write tags and delete them, and nothing else: what a tag
//! points at counts only if a key of the ledger signed it, a name in a list is never believed, and what does not count costs little.
//! What is decided here, and why, is in `docs/decisions/0010-reading-heads-in-causal-mode.md`.

mod heads;
mod prune;

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_oci::{Digest, Tag};
use cairn_store::{Page, RepositoryError};

use crate::entry::EntryName;
use crate::finding::{Finding, chain};
use crate::fold::Record;
use crate::head::{self, CAUSAL_PREFIX, HeadError};
use crate::open::{Ledger, OpenError};
use crate::reading::{CountedHead, Known};
use crate::view::View;

pub(crate) use prune::prune;

/// How many heads are kept.
pub(crate) const KEEP: usize = 32;
/// Most tags that are looked at.
pub(crate) const LOOK_LIMIT: usize = 16_384;
/// Most heads of one ledger that are read.
pub(crate) const COUNT_LIMIT: usize = 1_024;
/// How much is read of heads that turn out not to count, in bytes of packs.
pub(crate) const REFUSED_BYTES: u64 = 256 << 20;
/// The same, in entries.
pub(crate) const REFUSED_ENTRIES: u64 = 1_000_000;
/// Most pages of a list of tags.
const PAGE_LIMIT: usize = 10_000;

/// The tags of heads, newest first by their names, which are only a hint.
pub(crate) async fn list(ledger: &Ledger) -> Result<Vec<Tag>, OpenError> {
    let mut tags = BTreeSet::new();
    let mut page = Page::first();
    for _ in 0..PAGE_LIMIT {
        let part = ledger.home.list_tags(&page).await;
        let part = part.map_err(|source| ledger.repository_error(source))?;
        tags.extend(
            part.tags
                .into_iter()
                .filter(|tag| tag.as_str().starts_with(CAUSAL_PREFIX)),
        );
        match part.next {
            Some(next) if page.after.as_ref() != Some(&next) => page.after = Some(next),
            _ => return Ok(tags.into_iter().collect()),
        }
    }
    let source = RepositoryError::TooLarge {
        subject: "the list of tags".to_owned(),
        limit: PAGE_LIMIT as u64,
    };
    Err(ledger.repository_error(source))
}

/// The 16 digits of a head's digest that its tag ends with.
pub(crate) fn short_of(tag: &Tag) -> &str {
    tag.as_str().rsplit('-').next().unwrap_or_default()
}

/// What a reader knows before it lists anything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Before {
    /// The genesis that is pinned or remembered.
    pub(crate) expected: Option<EntryName>,
    /// Heads that were seen or written: they are read first, by digest, whether they are listed or not.
    pub(crate) heads: Vec<Digest>,
    /// Heads that have nothing beyond those, by the short form of their digest.
    pub(crate) seen: BTreeSet<String>,
    /// Whether those heads were seen by an earlier command: then it is told if no tag names them any more.
    pub(crate) is_remembered: bool,
    /// What was read and verified already.
    pub(crate) known: Arc<Known>,
}

impl Before {
    /// After `view` was read or written.
    pub(crate) fn of(view: &View) -> Self {
        Self {
            expected: view.state().map(|state| state.ledger),
            heads: view.head_digests(),
            seen: view.seen.clone(),
            is_remembered: false,
            known: Arc::clone(&view.known),
        }
    }
}

/// Reads the heads that no better one covers, and makes the view of them.
pub(crate) async fn read_view(ledger: &Ledger, before: &Before) -> Result<View, OpenError> {
    let listed = list(ledger).await?;
    let mut heads = heads::Heads::read(ledger, before, &listed).await?;
    if heads.counting.is_empty() && !heads.others.is_empty() {
        // Nothing of what is expected is here: whose it is then is told.
        let anybody = Before {
            expected: None,
            ..before.clone()
        };
        heads = heads::Heads::read(ledger, &anybody, &listed).await?;
    }
    let repository = ledger.home.label();
    let ledgers = heads.ledgers();
    if let [first, second, ..] = ledgers[..] {
        return Err(OpenError::TwoLedgers {
            repository,
            first,
            second,
        });
    }
    if heads.counting.is_empty() && !heads.findings.is_empty() {
        let findings = heads.findings;
        return Err(OpenError::NoHead { repository, findings });
    }
    let others = std::mem::take(&mut heads.others);
    let mut view = merge(heads, &before.known);
    // Heads of the ledger that this one goes on from may be there for ever, where tags cannot be deleted.
    let continued = view.state().and_then(|state| state.continues.as_ref());
    let continued = continued.map(|continued| continued.ledger);
    let mut told = heads::Findings::default();
    for (tag, ledger) in others.iter().filter(|(_, ledger)| Some(*ledger) != continued) {
        told.add("other-ledger", tag, format!("a head of another ledger, {ledger}"));
    }
    view.findings.extend(told.into_all());
    if before.is_remembered {
        let names: BTreeSet<&str> = listed.iter().map(short_of).collect();
        for head in &view.heads {
            if !names.contains(head::short(&head.digest).as_str()) {
                let message = "it was seen before, and no tag that is listed names it any more; the next entry brings it back";
                view.findings
                    .push(Finding::new("head-unlisted", &head.digest, message));
            }
        }
    }
    Ok(View { listed, ..view })
}

/// The best head, then what the others have beyond it, in their own order.
fn merge(mut heads: heads::Heads, known: &Arc<Known>) -> View {
    // The longest chain is the newest authority.
    heads.counting.sort_by_key(|head| {
        let info = &head.info;
        std::cmp::Reverse((head.chain.len(), info.size, std::cmp::Reverse(info.digest)))
    });
    let mut in_order = heads.counting.into_iter();
    let Some(best) = in_order.next() else {
        return View {
            findings: heads.findings,
            known: Arc::clone(known),
            ..View::default()
        };
    };
    let mut others: Vec<Arc<CountedHead>> = in_order.collect();
    others.sort_by_key(|head| (std::cmp::Reverse(head.info.size), head.info.digest));
    let mut view = View::of(&best, known.walk(&best), Arc::clone(known));
    view.findings = heads.findings;
    view.covered = heads.covered;
    view.seen = heads.seen;
    let mut left_out = LeftOut::default();
    for other in others {
        let short = head::short(&other.info.digest);
        if view.contains(&other) {
            view.seen.insert(short.clone());
            view.covered.insert(short);
        } else if take_beyond(&mut view, &other, &mut left_out) {
            view.heads.push(other.info.clone());
        }
    }
    view.findings.extend(left_out.findings.into_all());
    for head in &view.heads {
        view.covered.remove(&head::short(&head.digest));
    }
    view
}

/// What was not taken in: each entry is told once, in however many heads it stands.
#[derive(Default)]
struct LeftOut {
    told: BTreeSet<EntryName>,
    findings: heads::Findings,
}

/// Whether anything of it was taken.
fn take_beyond(view: &mut View, other: &CountedHead, left_out: &mut LeftOut) -> bool {
    let mut is_taken = false;
    for record in view.beyond(other).cloned().collect::<Vec<_>>() {
        if view.has(&record.name) {
            continue;
        }
        let why = match take(view, &record) {
            Ok(true) => {
                is_taken = true;
                None
            }
            Ok(false) => Some("its key is no longer allowed".to_owned()),
            Err(error) => Some(chain(&error)),
        };
        if let Some(why) = why.filter(|_| left_out.told.insert(record.name)) {
            left_out
                .findings
                .add("entry-left-out", &record.name, format!("left out: {why}"));
        }
    }
    is_taken
}

/// Takes an entry of another head; false if nobody signed it who may bring entries in.
fn take(view: &mut View, record: &Record) -> Result<bool, HeadError> {
    let checked = view.check(&record.envelope)?;
    let is_allowed = view.takes_in(&checked);
    if is_allowed {
        view.push(&checked)?;
    }
    Ok(is_allowed)
}

/// The covered heads that are still listed, newest first, as many as a head may name.
pub(crate) fn covers(view: &View) -> Vec<String> {
    let from: BTreeSet<String> = view.heads.iter().map(|head| head::short(&head.digest)).collect();
    let is_covered = |short: &&str| view.covered.contains(*short) && !from.contains(*short);
    let mut covers: Vec<String> = view
        .listed
        .iter()
        .map(short_of)
        .filter(is_covered)
        .take(head::COVER_LIMIT)
        .map(str::to_owned)
        .collect();
    covers.sort();
    covers.dedup();
    covers
}
