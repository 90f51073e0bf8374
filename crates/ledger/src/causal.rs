//! Causal mode: for repositories where the last writer wins.
//!
//! Every head has a tag of its own, so nothing is ever overwritten, and everybody folds the view: the best head,
//! then what the others have beyond it. Correct for one writer at a time; concurrent writers find each other's entries and
//! are told, but the rounds and the order of entries under contention are still to be hardened.

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::{Digest, Tag};
use cairn_store::{Page, RepositoryError, Target};

use crate::entry::EntryName;
use crate::finding::{Finding, chain};
use crate::fold::{Subject, Verdict};
use crate::head::{self, CAUSAL_PREFIX};
use crate::open::{Ledger, OpenError};
use crate::view::{VerifiedHead, View};

/// Most heads that are read; a ledger keeps 32.
pub(crate) const READ_LIMIT: usize = 64;
/// How many heads are kept.
pub(crate) const KEEP: usize = 32;
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
fn short_of(tag: &Tag) -> &str {
    tag.as_str().rsplit('-').next().unwrap_or_default()
}

#[derive(Default)]
struct Heads {
    counting: Vec<VerifiedHead>,
    covered: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Heads {
    async fn read(&mut self, ledger: &Ledger, tag: &Tag) -> Result<(), OpenError> {
        let manifest = ledger.home.read_manifest(&Target::Tag(tag.clone())).await;
        let Some(manifest) = manifest.map_err(|source| ledger.repository_error(source))? else {
            return Ok(());
        };
        if self
            .counting
            .iter()
            .any(|head| head.info.digest == manifest.digest())
        {
            return Ok(());
        }
        match ledger.read_one_head(&manifest).await? {
            Ok(head) => {
                self.covered.extend(head.statement.covers.iter().cloned());
                self.covered.extend(head.statement.from.iter().map(head::short));
                self.counting.push(head);
            }
            Err(error) => self
                .findings
                .push(Finding::new("head-refused", tag, chain(&error))),
        }
        Ok(())
    }
}

/// Reads the heads that no better one covers, and makes the view of them.
pub(crate) async fn read_view(ledger: &Ledger, expected: Option<EntryName>) -> Result<View, OpenError> {
    let tags = list(ledger).await?;
    let mut heads = Heads::default();
    let mut unread = Vec::new();
    for tag in &tags {
        if heads.covered.contains(short_of(tag)) {
            continue;
        }
        if heads.counting.len() + heads.findings.len() >= READ_LIMIT {
            unread.push(tag);
            continue;
        }
        heads.read(ledger, tag).await?;
    }
    for tag in unread {
        heads.findings.push(Finding::new(
            "head-unread",
            tag,
            format!("more than {READ_LIMIT} heads"),
        ));
    }
    let covered = std::mem::take(&mut heads.covered);
    heads
        .counting
        .retain(|head| !covered.contains(&head::short(&head.info.digest)));
    let repository = ledger.home.label();
    choose_ledger(&mut heads, expected, &repository)?;
    if heads.counting.is_empty() && !heads.findings.is_empty() {
        let findings = heads.findings;
        return Err(OpenError::NoHead { repository, findings });
    }
    Ok(merge(heads, covered))
}

/// Keeps the heads of one ledger: the one expected, else the only one.
fn choose_ledger(heads: &mut Heads, expected: Option<EntryName>, repository: &str) -> Result<(), OpenError> {
    let ledgers: BTreeSet<EntryName> = heads.counting.iter().map(|head| head.statement.ledger).collect();
    let mut others = ledgers.iter();
    let wanted = expected.filter(|name| ledgers.contains(name));
    if let (None, Some(first), Some(second)) = (wanted, others.next(), others.next()) {
        return Err(OpenError::TwoLedgers {
            repository: repository.to_owned(),
            first: *first,
            second: *second,
        });
    }
    let Some(wanted) = wanted else { return Ok(()) };
    for head in heads
        .counting
        .iter()
        .filter(|head| head.statement.ledger != wanted)
    {
        let message = format!("a head of another ledger, {}", head.statement.ledger);
        heads
            .findings
            .push(Finding::new("other-ledger", &head.info.digest, message));
    }
    heads.counting.retain(|head| head.statement.ledger == wanted);
    Ok(())
}

/// How often keys or rules changed: the longest chain is the newest authority.
fn chain_length(head: &VerifiedHead) -> usize {
    let changes = |(subject, verdict): &(Subject, Verdict)| {
        matches!(subject, Subject::Keys | Subject::Rules) && verdict.stands()
    };
    head.outcomes
        .iter()
        .filter(|outcome| outcome.effects.iter().any(changes))
        .count()
}

/// The best head, then what the others have beyond it, in their own order.
fn merge(mut heads: Heads, covered: BTreeSet<String>) -> View {
    heads.counting.sort_by_key(|head| {
        let info = &head.info;
        std::cmp::Reverse((chain_length(head), info.size, std::cmp::Reverse(info.digest)))
    });
    let mut heads_in_order = heads.counting.into_iter();
    let Some(best) = heads_in_order.next() else {
        return View {
            findings: heads.findings,
            ..View::default()
        };
    };
    let mut others: Vec<VerifiedHead> = heads_in_order.collect();
    others.sort_by_key(|head| (std::cmp::Reverse(head.info.size), head.info.digest));
    let mut view = View::of(best);
    view.findings = heads.findings;
    view.covered.extend(covered);
    for other in others {
        // A head names a limited number of those it covers; an older one that adds nothing is no second head.
        if is_within(&view, &other) {
            view.covered.insert(head::short(&other.info.digest));
            continue;
        }
        take_beyond(&mut view, &other);
        view.heads.push(other.info);
    }
    view
}

fn is_within(view: &View, other: &VerifiedHead) -> bool {
    let mut records = other.records.iter();
    records.all(|record| view.fold.position(&record.name).is_some())
}

fn take_beyond(view: &mut View, other: &VerifiedHead) {
    for record in &other.records {
        if view.fold.position(&record.name).is_some() {
            continue;
        }
        let is_allowed = view.state().is_some_and(|state| state.takes_in(record));
        if !is_allowed {
            let message = "left out: its key is no longer allowed";
            view.findings
                .push(Finding::new("entry-left-out", &record.name, message));
        } else if let Err(error) = view.push(&record.envelope) {
            let message = format!("left out: {}", chain(&error));
            view.findings
                .push(Finding::new("entry-left-out", &record.name, message));
        }
    }
}

/// Deletes the tags of heads all of whose entries are in the view and beyond the newest [`KEEP`]. Registries that cannot
/// delete tags keep them; that is no error.
pub(crate) async fn prune(ledger: &Ledger, view: &View, kept: &Digest) -> Result<(), OpenError> {
    let tags = list(ledger).await?;
    let mut by_age: BTreeMap<usize, &Tag> = BTreeMap::new();
    for (age, tag) in tags.iter().enumerate().skip(KEEP) {
        if view.covered.contains(short_of(tag)) && short_of(tag) != head::short(kept) {
            by_age.insert(age, tag);
        }
    }
    for tag in by_age.values() {
        if ledger.home.delete_tag(tag).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The covered heads that are still listed, newest first, as many as a head may name.
pub(crate) fn covers(view: &View, listed: &[Tag]) -> Vec<String> {
    let from: BTreeSet<String> = view.heads.iter().map(|head| head::short(&head.digest)).collect();
    let is_covered = |short: &&str| view.covered.contains(*short) && !from.contains(*short);
    let mut covers: Vec<String> = listed
        .iter()
        .map(short_of)
        .filter(is_covered)
        .take(head::COVER_LIMIT)
        .map(str::to_owned)
        .collect();
    covers.sort();
    covers
}

/// A list of tags may be late: what was just written is known all the same.
pub(crate) fn with_own(mut view: View, written: View) -> View {
    let lacks_it = written
        .records
        .iter()
        .any(|record| view.fold.position(&record.name).is_none());
    if !lacks_it {
        return view;
    }
    if view
        .records
        .iter()
        .all(|record| written.fold.position(&record.name).is_some())
    {
        return View {
            findings: view.findings,
            ..written
        };
    }
    for record in &written.records {
        if view.fold.position(&record.name).is_none() && view.push(&record.envelope).is_err() {
            let message = "left out: it does not fit to what others appended";
            view.findings
                .push(Finding::new("entry-left-out", &record.name, message));
        }
    }
    view.heads.extend(written.heads);
    view
}
