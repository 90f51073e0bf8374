//! Appending entries, one or several in one head: the commit.
//!
//! Linear mode has exactly one write that counts: the tag `cairn-head`, under the condition that it still points at the
//! head which was read. Packs and config are written before it, by digest, and mean nothing without it.

use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Tag};
use cairn_store::{Condition, RepositoryError, Target};
use jiff::Timestamp;

use crate::causal::{self, Before};
use crate::class::Class;
use crate::content;
use crate::entry::{EntryName, Kind, Mode};
use crate::envelope::Envelope;
use crate::fold::{Outcome, Subject};
use crate::head::{self, BuiltHead, HeadError, HeadInfo, HeadStatement};
use crate::key::{SignError, Signer};
use crate::open::{Ledger, OpenError, Opened};
use crate::pack;
use crate::reading::CountedHead;
use crate::view::View;

/// How often the same head is sent when no answer comes.
const SEND_LIMIT: usize = 5;
/// How often the entry is put on top of what others appended first.
const ROUND_LIMIT: usize = 256;
/// How often heads are merged in causal mode.
const MERGE_LIMIT: usize = 8;

/// What became of entries that were to be appended.
#[derive(Debug)]
pub enum Commit {
    /// They are in the ledger, as opened now.
    Appended(Box<Opened>),
    /// This one of them would have no effect any more; none was appended. The ledger is as it was opened last.
    Overtaken(Box<Opened>, EntryName, Outcome),
}

/// Why it is not known to be in the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The ledger could not be read again.
    #[error("the ledger could not be read again")]
    Open(#[source] OpenError),
    /// A part of the head could not be written: the entry was not appended.
    #[error("nothing was appended: {repository} could not be written")]
    Write {
        /// Which repository.
        repository: String,
        /// Why not.
        source: RepositoryError,
    },
    /// No answer came to the write that counts, however often it was sent.
    #[error("unknown whether the entry {entry} was appended: no answer about the head {head}")]
    Unknown {
        /// The name of the entry.
        entry: EntryName,
        /// The head that was sent.
        head: Digest,
        /// The last failure.
        source: RepositoryError,
    },
    /// Others were faster each time.
    #[error("the entry {entry} was not appended: others were faster {rounds} times")]
    Contended {
        /// The name of the entry.
        entry: EntryName,
        /// How often it was tried.
        rounds: usize,
    },
    /// Causal mode: the entry is written, but heads of others kept appearing.
    #[error(
        "the entry {entry} is written in the head {head} in {repository}, but others kept writing heads beside it, {rounds} times"
    )]
    Unmerged {
        /// The name of the entry.
        entry: EntryName,
        /// The last head that was written.
        head: Digest,
        /// Where.
        repository: String,
        /// How often it was tried to join them.
        rounds: usize,
    },
    /// Linear mode: the head was written over whatever was there, because something on the way removed the condition.
    #[error(
        "{repository} did not honour the condition under which the head {head} was written: what somebody else appended at the same time may be hidden by it"
    )]
    Unconditional {
        /// Which repository.
        repository: String,
        /// The head that was sent.
        head: Digest,
        /// What the repository's client saw.
        source: RepositoryError,
    },
    /// Linear mode: the repository does not honour conditions, as it is reached here.
    #[error(
        "nothing was appended: the ledger is linear, and {repository} does not honour conditions as it is reached from here"
    )]
    NoConditions {
        /// Which repository.
        repository: String,
    },
    /// The head could not be signed.
    #[error("the head could not be signed")]
    Sign(#[source] SignError),
    /// The entry does not fit to the ledger as it is.
    #[error("the entry does not fit to the ledger")]
    Unfit(#[source] HeadError),
}

impl CommitError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Open(error) => error.class(),
            Self::Write { source, .. } => Class::of(source),
            Self::Unfit(_) => Class::Integrity,
            Self::Contended { .. } => Class::Conflict,
            Self::Unknown { .. }
            | Self::Unmerged { .. }
            | Self::Unconditional { .. }
            | Self::NoConditions { .. }
            | Self::Sign(_) => Class::Environment,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) => error.hint(),
            Self::Unknown { .. } | Self::Unmerged { .. } | Self::Contended { .. } => {
                Some("run the same command again: it finds out, and completes what is unfinished".to_owned())
            }
            Self::Unconditional { .. } => Some(
                "find out what stands between (a proxy that removes If-Match?); then run cairn audit, and the same command again, where everybody who appended can do so too".to_owned(),
            ),
            Self::NoConditions { .. } => {
                Some("go round the proxy that removes If-Match and If-None-Match, or correct it".to_owned())
            }
            _ => None,
        }
    }
}

/// Whether what an entry is for would happen: for a release, that its version is bound; for a move, that any channel moves.
pub(crate) fn has_effect(kind: &Kind, outcome: &Outcome) -> bool {
    let is_wanted = |subject: &Subject| match kind {
        Kind::Release => matches!(subject, Subject::Version(_)),
        Kind::Promote | Kind::Switch | Kind::Rollback | Kind::Resume => {
            matches!(subject, Subject::Channel(_))
        }
        _ => true,
    };
    outcome
        .effects
        .iter()
        .any(|(subject, verdict)| is_wanted(subject) && verdict.stands())
}

/// A head with the packs that are new in it, and the view that it makes.
struct Next {
    head: BuiltHead,
    statement: HeadStatement,
    packs: Vec<Descriptor>,
    blobs: Vec<Bytes>,
    view: View,
}

/// `view` with those of `envelopes` on top that it lacks; else the first of them that would have no effect.
fn put_on(view: &View, envelopes: &[Envelope]) -> Result<Result<View, (EntryName, Outcome)>, CommitError> {
    let mut view = view.clone();
    for envelope in envelopes {
        let name = envelope.name();
        if view.has(&name) {
            continue;
        }
        let checked = view.check(envelope.bytes()).map_err(CommitError::Unfit)?;
        view.push(&checked).map_err(CommitError::Unfit)?;
        let pushed = view.records().last().zip(view.outcomes().last());
        if let Some((record, outcome)) = pushed
            && !has_effect(&record.entry.kind, outcome)
        {
            return Ok(Err((name, outcome.clone())));
        }
    }
    Ok(Ok(view))
}

/// The head of `view`, which shares the packs of the head that it was read from.
fn next(view: View, signer: &dyn Signer, at: Timestamp, covers: Vec<String>) -> Result<Next, CommitError> {
    let shared = view.packs.clone();
    let shared_size = view.head().map_or(0, |head| head.size);
    let (packs, blobs) = cut(&view, &shared, usize::try_from(shared_size).unwrap_or(usize::MAX));
    let ledger = view.state().map_or_else(|| Digest::of(b""), |state| state.ledger);
    // What was made of entries of the remembered state is believed only if all of that could be read.
    if view.known.is_damaged() {
        return Err(CommitError::Open(OpenError::Damaged { ledger }));
    }
    let statement = HeadStatement {
        ledger,
        size: view.records().len() as u64,
        packs: head::packs_digest(packs.iter().map(|pack| &pack.digest)),
        at,
        from: view.heads.iter().map(|head| head.digest).collect(),
        covers,
    };
    let head = head::build(&statement, packs.clone(), signer).map_err(CommitError::Sign)?;
    Ok(Next {
        head,
        statement,
        packs,
        blobs,
        view,
    })
}

/// The packs of `view`: those that it shares with the head it was read from, and new ones.
fn cut(view: &View, shared: &[Descriptor], shared_size: usize) -> (Vec<Descriptor>, Vec<Bytes>) {
    let old = pack::layout(shared_size);
    let mut blobs = Vec::new();
    let mut packs = Vec::new();
    for range in pack::layout(view.records().len()) {
        let known = old
            .iter()
            .position(|old| *old == range)
            .and_then(|at| shared.get(at));
        if let Some(known) = known {
            packs.push(known.clone());
            continue;
        }
        let records = view.records().range(range);
        let bytes = pack::write(records.map(|record| &record.envelope));
        packs.push(pack::descriptor(&bytes));
        blobs.push(bytes);
    }
    (packs, blobs)
}

impl Next {
    /// What is to be there before the head is written, as far as it is new.
    fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.blobs.iter().chain([&self.head.config])
    }

    /// The view that whoever reads this head will have.
    fn into_view(self, signer: &dyn Signer) -> View {
        let head = Arc::new(CountedHead {
            info: HeadInfo {
                digest: self.head.manifest.digest(),
                size: self.head.size,
                at: self.statement.at,
                signer: signer.key().fingerprint(),
            },
            mode: self.view.state().map_or(Mode::Linear, |state| state.mode),
            statement: self.statement,
            packs: self.packs,
            records: self.view.records().clone(),
            base: self.view.walk().base.clone(),
            chain: self.view.walk().chain.clone(),
        });
        self.view.known.keep(&head, Some(self.view.walk()));
        self.view.under(&head)
    }
}

enum Sent {
    Accepted,
    Refused,
}

/// What is appended, and by whom.
struct Batch<'a> {
    envelopes: &'a [Envelope],
    signer: &'a dyn Signer,
    at: Timestamp,
}

impl Batch<'_> {
    /// What errors name: the last one, which is the one that the others were made for.
    fn name(&self) -> EntryName {
        self.envelopes
            .last()
            .map_or_else(|| Digest::of(b""), Envelope::name)
    }

    fn is_in(&self, view: &View) -> bool {
        let mut envelopes = self.envelopes.iter();
        envelopes.all(|envelope| view.has(&envelope.name()))
    }
}

impl Ledger {
    /// Appends `envelopes` in one head, in their order, on top of what was opened: all of them or none. Those that
    /// are in the ledger already are not appended again. The head is signed by `signer` and is of the time `at`; how it is committed
    /// follows from the ledger's genesis, which is the first of the envelopes if the ledger is empty.
    ///
    /// # Errors
    ///
    /// [`CommitError`]; [`CommitError::Unknown`] and [`CommitError::Unmerged`] leave it open whether they are in the ledger.
    pub async fn append_all(
        &self,
        opened: &Opened,
        envelopes: &[Envelope],
        signer: &dyn Signer,
        at: Timestamp,
    ) -> Result<Commit, CommitError> {
        let batch = Batch {
            envelopes,
            signer,
            at,
        };
        if batch.is_in(&opened.view) {
            return Ok(Commit::Appended(Box::new(opened.clone())));
        }
        let view = match put_on(&opened.view, envelopes)? {
            Ok(view) => view,
            Err((entry, outcome)) => {
                return Ok(Commit::Overtaken(Box::new(opened.clone()), entry, outcome));
            }
        };
        match view.state().map(|state| state.mode) {
            Some(Mode::Causal) => self.commit_causal(opened, &batch).await,
            _ => self.commit_linear(opened, view, &batch).await,
        }
    }

    /// Writes the first head of a ledger in linear mode in the place of `old`, the head of another. None if something else is
    /// there meanwhile.
    pub(crate) async fn begin_instead(
        &self,
        old: Digest,
        envelopes: &[Envelope],
        signer: &dyn Signer,
        at: Timestamp,
    ) -> Result<Option<View>, CommitError> {
        let batch = Batch {
            envelopes,
            signer,
            at,
        };
        let Ok(view) = put_on(&View::default(), envelopes)? else {
            return Ok(None);
        };
        let next = next(view, signer, at, Vec::new())?;
        self.write_parts(&next).await?;
        match self.send_linear(&next, Some(old), batch.name()).await? {
            Sent::Accepted => Ok(Some(next.into_view(signer))),
            Sent::Refused => Ok(None),
        }
    }

    async fn commit_linear(
        &self,
        opened: &Opened,
        view: View,
        batch: &Batch<'_>,
    ) -> Result<Commit, CommitError> {
        let entry = batch.name();
        let capabilities = self.home.capabilities().await;
        if !capabilities
            .map_err(|source| self.write_error(source))?
            .conditions
        {
            return Err(CommitError::NoConditions {
                repository: self.home.label(),
            });
        }
        let mut current = opened.clone();
        let mut view = view;
        let mut turn = None;
        for _ in 0..ROUND_LIMIT {
            let next = next(view, batch.signer, batch.at, Vec::new())?;
            self.write_parts(&next).await?;
            let parent = current.head().map(|head| head.digest);
            match self.send_linear(&next, parent, entry).await? {
                Sent::Accepted => {
                    let view = next.into_view(batch.signer);
                    return Ok(Commit::Appended(Box::new(Opened { view, ..current })));
                }
                Sent::Refused => {
                    // All who were overtaken would be again by the first of them; one after the other they are not.
                    if turn.is_none() {
                        turn = self.home.turn().await;
                    }
                    current = self.reopen(&current).await.map_err(CommitError::Open)?;
                    if batch.is_in(&current.view) {
                        return Ok(Commit::Appended(Box::new(current)));
                    }
                }
            }
            view = match put_on(&current.view, batch.envelopes)? {
                Ok(view) => view,
                Err((entry, outcome)) => {
                    return Ok(Commit::Overtaken(Box::new(current), entry, outcome));
                }
            };
        }
        Err(CommitError::Contended {
            entry,
            rounds: ROUND_LIMIT,
        })
    }

    async fn write_parts(&self, next: &Next) -> Result<(), CommitError> {
        for blob in next.parts() {
            content::write(&*self.home, blob)
                .await
                .map_err(|source| self.write_error(source))?;
        }
        Ok(())
    }

    fn write_error(&self, source: RepositoryError) -> CommitError {
        let repository = self.home.label();
        CommitError::Write { repository, source }
    }

    /// The one write that counts: in linear mode under the condition that the tag still shows `parent`.
    async fn send_linear(
        &self,
        next: &Next,
        parent: Option<Digest>,
        entry: EntryName,
    ) -> Result<Sent, CommitError> {
        let condition = parent.map_or(Condition::IfAbsent, Condition::IfMatch);
        self.send(next, head::linear_tag(), &condition, entry).await
    }

    /// Sends the head to `tag`. The same head is sent again after an unknown answer. Under a condition nothing can arrive late once the
    /// tag has moved on, because no tag ever points at the parent again; a tag of its own shows nothing else ever.
    async fn send(
        &self,
        next: &Next,
        tag: Tag,
        condition: &Condition,
        entry: EntryName,
    ) -> Result<Sent, CommitError> {
        let head = next.head.manifest.digest();
        let target = Target::Tag(tag);
        let parts: Vec<Bytes> = next.parts().cloned().collect();
        let mut unknown = None;
        for _ in 0..SEND_LIMIT {
            let sent = content::write_manifest(&*self.home, &target, &next.head.manifest, condition, &parts);
            match sent.await {
                Ok(()) => return Ok(Sent::Accepted),
                Err(RepositoryError::Condition {
                    found: Some(found), ..
                }) if found == head => return Ok(Sent::Accepted),
                Err(RepositoryError::Condition { .. }) => return Ok(Sent::Refused),
                Err(source @ RepositoryError::ConditionIgnored { .. }) => {
                    let repository = self.home.label();
                    return Err(CommitError::Unconditional {
                        repository,
                        head,
                        source,
                    });
                }
                Err(source) if unknown.is_some() || is_unknown(&source) => unknown = Some(source),
                Err(source) => return Err(self.write_error(source)),
            }
        }
        match unknown {
            Some(source) => Err(CommitError::Unknown { entry, head, source }),
            None => Ok(Sent::Refused),
        }
    }

    /// Writes the view and the batch as a head, and lists again, until one head has everything that is there.
    async fn commit_causal(&self, opened: &Opened, batch: &Batch<'_>) -> Result<Commit, CommitError> {
        let entry = batch.name();
        let mut view = opened.view.clone();
        let mut written = None;
        for _ in 0..MERGE_LIMIT {
            let with_mine = match put_on(&view, batch.envelopes)? {
                Ok(with_mine) => with_mine,
                Err((entry, outcome)) => {
                    let now = Opened {
                        view,
                        ..opened.clone()
                    };
                    return Ok(Commit::Overtaken(Box::new(now), entry, outcome));
                }
            };
            let covers = causal::covers(&view);
            let next = next(with_mine, batch.signer, batch.at, covers)?;
            self.write_parts(&next).await?;
            let tag = head::causal_tag(next.head.size, &next.head.manifest.digest());
            self.send(&next, tag, &Condition::Always, entry).await?;
            written = Some(next.head.manifest.digest());
            let before = Before::of(&next.into_view(batch.signer));
            view = causal::read_view(self, &before)
                .await
                .map_err(CommitError::Open)?;
            if let ([best], true) = (&view.heads[..], batch.is_in(&view)) {
                let best = best.digest;
                causal::prune(self, &view, &best)
                    .await
                    .map_err(CommitError::Open)?;
                return Ok(Commit::Appended(Box::new(Opened {
                    view,
                    ..opened.clone()
                })));
            }
        }
        let head = written.unwrap_or(entry);
        Err(CommitError::Unmerged {
            entry,
            head,
            repository: self.home.label(),
            rounds: MERGE_LIMIT,
        })
    }
}

/// Whether the write may have been done although it failed.
const fn is_unknown(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::OutcomeUnknown { .. })
}
