//! Signing what waits, and appending it when nothing is missing any more.

use std::collections::BTreeSet;

use crate::class::Class;
use crate::entry::{Entry, Kind};
use crate::key::Signer;
use crate::open::{Ledger, Opened};
use crate::operation::plan::{self, PlannedMove};
use crate::operation::run::Planned;
use crate::operation::{Context, Done, OperationError, Plan};
use crate::project::{Looked, Named};
use crate::state::State;
use crate::waiting::{self, Missing, Standing, Waiting};

/// What became of an approval.
#[derive(Debug)]
pub enum Approved {
    /// The entry is in the ledger.
    Done(Box<Done>),
    /// It is signed, and waits for more.
    Signed(Box<Waiting>),
}

impl Ledger {
    /// Lets an entry wait, with the signature of `signer`; the error says so. One that wants the same is not made again.
    pub(super) async fn wait(
        &self,
        opened: &Opened,
        signer: &dyn Signer,
        entry: &Entry,
    ) -> Result<OperationError, OperationError> {
        let is_there = |one: &&Waiting| one.standing == Standing::Open && one.is_like(entry);
        let list = self.waiting(opened).await.map_err(OperationError::Open)?;
        let waiting = match list.entries.iter().find(is_there) {
            Some(waiting) => waiting.clone(),
            None => {
                let entry = entry.clone().shortened();
                let envelope = entry.sign(signer).map_err(OperationError::Entry)?;
                self.put_waiting(&envelope).await?;
                self.find_waiting(opened, &envelope.name().hex()).await?
            }
        };
        Ok(OperationError::Waiting {
            waiting: Box::new(waiting),
            done: None,
        })
    }

    /// The waiting entry whose name begins like this.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotWaiting`], [`OperationError::Ambiguous`], or that nothing can be read.
    pub async fn find_waiting(&self, opened: &Opened, name: &str) -> Result<Waiting, OperationError> {
        let list = self.waiting(opened).await.map_err(OperationError::Open)?;
        let found: Vec<&Waiting> = list.called(name).collect();
        let name = name.to_owned();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(OperationError::NotWaiting { name }),
            several => Err(OperationError::Ambiguous {
                name,
                count: several.len(),
            }),
        }
    }

    /// Signs a waiting entry; if nothing is missing any more, appends it, completes its channels, and takes its tags away.
    ///
    /// Repeated, it completes what was interrupted.
    ///
    /// # Errors
    ///
    /// [`OperationError::Void`] if it would have no effect any more, [`OperationError::AddsNothing`] if the key's signature is
    /// none that is missing.
    pub async fn approve(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        waiting: &Waiting,
    ) -> Result<Approved, OperationError> {
        let state = plan::state(opened, &self.home.label())?;
        self.check_home(state)?;
        if let Some(error) = void(opened, waiting) {
            return Err(error);
        }
        let planned = Plan::of_entry(state, &waiting.entry);
        let named = Named {
            versions: waiting.entry.version.iter().cloned().collect(),
            channels: waiting
                .entry
                .moves
                .iter()
                .map(|one| one.channel.clone())
                .collect(),
        };
        let checked = match self.check_image(&planned).await {
            Err(error) if error.class() == Class::Integrity => {
                return Err(self.void_since(opened, waiting).await?.unwrap_or(error));
            }
            checked => checked?,
        };
        let Looked { opened, astray } = self
            .check_tags(opened.clone(), &named.channels, &BTreeSet::new())
            .await
            .map_err(OperationError::Tags)?;
        let Some(envelope) = self.signed(state, context, waiting)? else {
            return Ok(Approved::Signed(Box::new(waiting.clone())));
        };
        let mut signers = waiting.signers.clone();
        signers.insert(context.signer.key().fingerprint());
        let lacks = waiting::missing(state, &waiting.entry, &signers);
        let appender = context.signer.key().fingerprint();
        if !lacks.is_empty() || !waiting::can_append(state, &waiting.entry, &appender, context.at) {
            self.put_waiting(&envelope).await?;
            let now = self.find_waiting(&opened, &waiting.name.hex()).await?;
            return Ok(Approved::Signed(Box::new(now)));
        }
        let entry = waiting.entry.clone();
        let label = self.home.label();
        let ready = Planned {
            plan: planned,
            envelope: Some(envelope),
            checked,
            opened,
            astray,
        };
        let again = |opened: &Opened| Ok(Plan::of_entry(plan::state(opened, &label)?, &entry));
        let done = self.append(ready, context, &named, again).await;
        if done.is_ok() {
            // Where tags cannot be deleted it is shown as done, and read no more than that.
            let _kept = self.withdraw(waiting).await;
        }
        done.map(|done| Approved::Done(Box::new(done)))
    }

    /// Why the waiting entry would have no effect by now, whatever it had when the ledger was read.
    async fn void_since(
        &self,
        opened: &Opened,
        waiting: &Waiting,
    ) -> Result<Option<OperationError>, OperationError> {
        let now = self.reopen(opened).await.map_err(OperationError::Open)?;
        let waiting = self.find_waiting(&now, &waiting.name.hex()).await?;
        Ok(void(&now, &waiting))
    }

    /// The envelope with one's own signature, if that is missing and helps; none if it is there and more are missing.
    fn signed(
        &self,
        state: &State,
        context: &Context<'_>,
        waiting: &Waiting,
    ) -> Result<Option<crate::envelope::Envelope>, OperationError> {
        let key = context.signer.key().fingerprint();
        let lacks = waiting::missing(state, &waiting.entry, &waiting.signers);
        let appends = waiting::can_append(state, &waiting.entry, &key, context.at);
        if lacks.is_empty() && appends || matches!(waiting.standing, Standing::Done(_)) {
            return Ok(Some(waiting.envelope.clone()));
        }
        if waiting.signers.contains(&key) {
            return Ok(None);
        }
        if !waiting::adds(state, &waiting.entry, &waiting.signers, &key) {
            let missing = if lacks.is_empty() {
                vec![Missing::Append]
            } else {
                lacks
            };
            let key = state.authority.label(&key);
            return Err(OperationError::AddsNothing { key, missing });
        }
        let signed = waiting.cosigned(context.signer);
        signed
            .map(Some)
            .map_err(|source| OperationError::Entry(crate::entry::EntryError::Sign(source)))
    }
}

/// Why a waiting entry would have no effect any more, if that is so.
fn void(opened: &Opened, waiting: &Waiting) -> Option<OperationError> {
    let Standing::Void { why, by } = waiting.standing else {
        return None;
    };
    let kind = waiting.entry.kind.clone();
    let by = by.and_then(|by| opened.view().position(&by));
    Some(OperationError::Void { kind, why, by })
}

impl Plan {
    /// What an entry that exists would do.
    fn of_entry(state: &State, entry: &Entry) -> Self {
        let moves = entry.moves.iter().map(|one| PlannedMove {
            channel: one.channel.clone(),
            previous: state.shows(&one.channel).cloned(),
            next: entry.digest,
            version: entry.version.clone(),
        });
        let channels: BTreeSet<_> = entry.moves.iter().map(|one| &one.channel).collect();
        let shown = channels.iter().find_map(|channel| state.shows(channel));
        let resumed = shown.filter(|_| entry.kind == Kind::Resume);
        Self {
            version: entry
                .version
                .clone()
                .or_else(|| resumed.and_then(|shown| shown.version.clone())),
            digest: entry.digest.or_else(|| resumed.map(|shown| shown.digest)),
            channels: moves.collect(),
            entry: Some(entry.clone()),
            ..Self::new(entry.kind.clone())
        }
    }
}
