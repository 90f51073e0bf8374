//! Doing what was planned.

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::{Digest, Reference};
use jiff::Timestamp;

use crate::append::Commit;
use crate::class::Class;
use crate::entry::{EntryName, Kind};
use crate::envelope::Envelope;
use crate::fold::{Outcome, Subject, Why};
use crate::image::{self, Depth, Parts};
use crate::name::{Channel, Version};
use crate::open::{Ledger, Opened};
use crate::operation::plan::{self, Plan};
use crate::operation::{
    Appended, Blocked, ChannelDone, Context, Done, Obstacle, OperationError, Overwrote, PromoteRequest,
    RecordRequest, Rehearsed, ReleaseRequest, RollbackRequest, SwitchRequest, YankRequest,
};
use crate::project::{Looked, Named};
use crate::state::State;

impl Ledger {
    /// Releases a version: binds it to an image that is there whole, and moves channels to it.
    ///
    /// Repeated with the same digest it appends nothing for the version and completes what is unfinished.
    ///
    /// # Errors
    ///
    /// [`OperationError`]; [`OperationError::Blocked`] if the version is released and a channel was not moved.
    pub async fn release(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        request: &ReleaseRequest,
    ) -> Result<Done, OperationError> {
        let named = Named {
            versions: BTreeSet::from([request.version.clone()]),
            channels: request.channels.clone(),
        };
        let label = self.home.label();
        let waits = waiting_channels(&plan::release(opened, &label, context, request)?);
        if !waits.is_empty() {
            // The version is bound now, and what may move is moved: only the rest waits for signatures.
            let now = ReleaseRequest {
                channels: request.channels.difference(&waits).cloned().collect(),
                ..request.clone()
            };
            let done = Box::pin(self.release(opened, context, &now)).await?;
            let rest = PromoteRequest {
                version: request.version.clone(),
                channels: waits,
                resume: request.resume,
            };
            return self.after(done, context, &rest).await;
        }
        self.run(opened, context, &named, |opened| {
            plan::release(opened, &label, context, request)
        })
        .await
    }

    /// Promotes what is left after `done`; what was done is told with what became of the rest.
    async fn after(
        &self,
        done: Done,
        context: &Context<'_>,
        rest: &PromoteRequest,
    ) -> Result<Done, OperationError> {
        match self.promote(&done.opened, context, rest).await {
            Err(OperationError::Waiting { waiting, .. }) => Err(OperationError::Waiting {
                waiting,
                done: Some(Box::new(done)),
            }),
            other => other,
        }
    }

    /// Moves channels to a version that was released.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn promote(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        request: &PromoteRequest,
    ) -> Result<Done, OperationError> {
        let named = Named {
            versions: BTreeSet::from([request.version.clone()]),
            channels: request.channels.clone(),
        };
        let label = self.home.label();
        let waits = waiting_channels(&plan::promote(opened, &label, context, request)?);
        if !waits.is_empty() {
            let now = PromoteRequest {
                channels: request.channels.difference(&waits).cloned().collect(),
                ..request.clone()
            };
            let rest = PromoteRequest {
                channels: waits,
                ..request.clone()
            };
            let done = Box::pin(self.promote(opened, context, &now)).await?;
            return Box::pin(self.after(done, context, &rest)).await;
        }
        self.run(opened, context, &named, |opened| {
            plan::promote(opened, &label, context, request)
        })
        .await
    }

    /// Moves a channel back to what it showed, and holds it.
    ///
    /// Safe to repeat: while the last entry that touched the channel is a rollback and no target is named, it appends nothing.
    ///
    /// # Errors
    ///
    /// [`OperationError`]; [`OperationError::Image`] names a blob that the target lacks, and then nothing was changed.
    pub async fn rollback(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        request: &RollbackRequest,
    ) -> Result<Done, OperationError> {
        let named = Named {
            channels: BTreeSet::from([request.channel.clone()]),
            ..Named::default()
        };
        let label = self.home.label();
        self.run(opened, context, &named, |opened| {
            plan::rollback(opened, &label, context, request)
        })
        .await
    }

    /// Lifts the hold of a channel.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn resume(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        channel: &Channel,
    ) -> Result<Done, OperationError> {
        let named = Named {
            channels: BTreeSet::from([channel.clone()]),
            ..Named::default()
        };
        let label = self.home.label();
        self.run(opened, context, &named, |opened| {
            plan::resume(opened, &label, context, channel)
        })
        .await
    }

    /// Lets a live channel take what a slot shows.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn switch(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        request: &SwitchRequest,
    ) -> Result<Done, OperationError> {
        let label = self.home.label();
        self.run(opened, context, &on_channel(&request.live), |opened| {
            plan::switch(opened, &label, context, request)
        })
        .await
    }

    /// Bars a version: nothing moves to it any more, and no way back leads to it. What shows it goes on doing so.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn yank(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        request: &YankRequest,
    ) -> Result<Done, OperationError> {
        let named = Named {
            versions: BTreeSet::from([request.version.clone()]),
            ..Named::default()
        };
        let label = self.home.label();
        self.run(opened, context, &named, |opened| {
            plan::yank(opened, &label, context, request)
        })
        .await
    }

    /// Accepts what somebody's hand put on a channel's tag.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn record(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        request: &RecordRequest,
    ) -> Result<Done, OperationError> {
        let label = self.home.label();
        self.run(opened, context, &on_channel(&request.channel), |opened| {
            plan::record(opened, &label, context, request)
        })
        .await
    }

    /// Plan, check, append, project. An answer for which nothing was appended is given only for a version whose image is kept: one that
    /// was pruned since the ledger was read asks for another answer.
    pub(super) async fn run(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        named: &Named,
        plan: impl Fn(&Opened) -> Result<Plan, OperationError>,
    ) -> Result<Done, OperationError> {
        let done = self.run_once(opened, context, named, &plan).await;
        match pruned_since(opened, named, &done) {
            Some(now) => self.run_once(&now, context, named, &plan).await,
            None => done,
        }
    }

    async fn run_once(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        named: &Named,
        plan: &impl Fn(&Opened) -> Result<Plan, OperationError>,
    ) -> Result<Done, OperationError> {
        self.check_home(plan::state(opened, &self.home.label())?)?;
        let (mut opened, mut first) = (opened.clone(), plan(opened)?);
        if !first.lacks.is_empty() {
            (opened, first, _) = self.check_target(opened, first, plan).await?;
        }
        if let (false, Some(entry)) = (first.lacks.is_empty(), &first.entry) {
            return Err(self.wait(&opened, context.signer, entry).await?);
        }
        let Looked { opened, astray } = self
            .check_tags(opened, &named.channels, &by_hand(&first))
            .await
            .map_err(OperationError::Tags)?;
        if let Err(error) = self.check_version_tag(&first).await {
            // The tag may only be newer than the view: then the plan itself says what is wrong.
            let now = self.reopen(&opened).await.map_err(OperationError::Open)?;
            plan(&now)?;
            return Err(error);
        }
        let (opened, first, checked) = self.check_target(opened, first, plan).await?;
        let envelope = match &first.entry {
            Some(entry) => {
                let entry = entry.clone().shortened();
                Some(entry.sign(context.signer).map_err(OperationError::Entry)?)
            }
            None => None,
        };
        let planned = Planned {
            plan: first,
            envelope,
            checked,
            opened,
            astray,
        };
        self.append(planned, context, named, plan).await
    }

    /// Looks at all that would stop a plan before anything is appended, beside the rules: whether this is the ledger's home, the tags
    /// of the channels, and the image, unless it is `absent` because it would only be pushed. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`OperationError`], as the operation itself would fail.
    pub async fn rehearse(
        &self,
        opened: &Opened,
        plan: &Plan,
        absent: bool,
    ) -> Result<Rehearsed, OperationError> {
        let state = plan::state(opened, &self.home.label())?;
        self.check_home(state)?;
        let channels = plan.channels.iter().map(|planned| planned.channel.clone());
        let looked = self
            .check_tags(opened.clone(), &channels.collect(), &by_hand(plan))
            .await
            .map_err(OperationError::Tags)?;
        self.check_version_tag(plan).await?;
        let overwrites = plan.channels.iter().filter_map(|planned| {
            let channel = &planned.channel;
            let digest = looked.astray.get(channel).copied()?;
            let is_repeated = plan.entry.is_none() && is_repeated(plan, opened, channel, &digest);
            let stays = is_repeated || plan.would_show(planned) == Some(digest);
            let version = plan::version_of(state, channel, &digest);
            (!stays).then(|| (channel.clone(), Overwrote { digest, version }))
        });
        let overwrites = overwrites.collect();
        let checked = if absent {
            None
        } else {
            self.check_image(plan).await?
        };
        Ok(Rehearsed { overwrites, checked })
    }

    /// As [`Ledger::rehearse`], for a release that would start the ledger.
    ///
    /// # Errors
    ///
    /// [`OperationError`], as the release itself would fail.
    pub async fn rehearse_first(
        &self,
        opened: &Opened,
        request: &ReleaseRequest,
        absent: bool,
    ) -> Result<(), OperationError> {
        if !absent {
            self.look_at(&request.version.to_string(), request.digest).await?;
        }
        let looked = self
            .check_tags(opened.clone(), &request.channels, &BTreeSet::new())
            .await;
        // There is no ledger that could be an old copy.
        looked.map_err(|error| OperationError::Tags(error.of_new_ledger()))?;
        self.check_version(&request.version, request.digest)
            .await
            .map_err(OperationError::Tags)
    }

    /// Appends what was planned and signed, and completes what others see of it.
    pub(super) async fn append(
        &self,
        planned: Planned,
        context: &Context<'_>,
        named: &Named,
        plan: impl Fn(&Opened) -> Result<Plan, OperationError>,
    ) -> Result<Done, OperationError> {
        let before = planned.opened.clone();
        let mut done = Finished {
            plan: Plan {
                entry: None,
                ..planned.plan
            },
            entry: None,
            outcome: None,
            opened: planned.opened,
            at: context.at,
            astray: planned.astray,
        };
        if let Some(envelope) = planned.envelope {
            let envelopes = std::slice::from_ref(&envelope);
            match self
                .append_all(&done.opened, envelopes, context.signer, context.at)
                .await?
            {
                Commit::Appended(now) => {
                    let found = now.view().find(&envelope.name());
                    done.outcome = found.map(|(_, _, outcome)| outcome.clone());
                    done.entry = found.map(|(seq, record, _)| Appended {
                        seq,
                        name: record.name,
                    });
                    done.opened = *now;
                }
                Commit::Overtaken(now, _, outcome) => {
                    let again = plan(&now)?;
                    // What was wanted may be there by somebody else's hand; else its author is told.
                    let is_there = again.entry.is_none();
                    done.outcome = (!is_there).then_some(outcome);
                    done.plan = Plan { entry: None, ..again };
                    done.opened = *now;
                }
            }
        }
        if let Some((why, by)) = done.void_apart() {
            let kind = done.plan.kind;
            let by = by.and_then(|by| done.opened.view().position(&by));
            return Err(OperationError::Void { kind, why, by });
        }
        self.finish(done, &before, named, planned.checked).await
    }

    async fn finish(
        &self,
        finished: Finished,
        before: &Opened,
        named: &Named,
        checked: Option<Parts>,
    ) -> Result<Done, OperationError> {
        let blocked = finished.blocked();
        let projected = self.project(finished.opened.clone(), named).await;
        let (opened, failed) = match projected {
            Ok(opened) => (opened, None),
            Err(error) => (finished.opened.clone(), Some(error)),
        };
        let done = finished.into_done(before, opened, named, checked, failed.is_none());
        match failed {
            Some(source) => Err(OperationError::Unfinished {
                done: Box::new(done),
                source,
            }),
            None if blocked.is_empty() => Ok(done),
            None => Err(OperationError::Blocked {
                done: Box::new(done),
                blocked,
            }),
        }
    }

    /// A tag that somebody put where the version's tag belongs stops a release before anything is appended.
    async fn check_version_tag(&self, plan: &Plan) -> Result<(), OperationError> {
        let is_release = plan
            .entry
            .as_ref()
            .is_some_and(|entry| entry.kind == Kind::Release);
        match (&plan.version, plan.digest) {
            (Some(version), Some(digest)) if is_release => self
                .check_version(version, digest)
                .await
                .map_err(OperationError::Tags),
            _ => Ok(()),
        }
    }

    /// Checks that what would be shown is there. What is missing may only have been pruned by an entry that is newer than the view:
    /// then the plan is another one.
    async fn check_target(
        &self,
        opened: Opened,
        first: Plan,
        plan: &impl Fn(&Opened) -> Result<Plan, OperationError>,
    ) -> Result<(Opened, Plan, Option<Parts>), OperationError> {
        let error = match self.check_image(&first).await {
            Ok(checked) => return Ok((opened, first, checked)),
            Err(error) if error.class() == Class::Integrity => error,
            Err(error) => return Err(error),
        };
        let now = self.reopen(&opened).await.map_err(OperationError::Open)?;
        let again = plan(&now)?;
        let is_same = again.entry.is_some() && again.digest == first.digest;
        if is_same || !again.lacks.is_empty() {
            return Err(error);
        }
        let checked = self.check_image(&again).await?;
        Ok((now, again, checked))
    }

    /// Everything that would be shown must be there before anything is appended.
    pub(super) async fn check_image(&self, plan: &Plan) -> Result<Option<Parts>, OperationError> {
        let is_needed = plan
            .entry
            .as_ref()
            .is_some_and(|entry| !matches!(entry.kind, Kind::Resume | Kind::Yank));
        let Some(digest) = plan.digest.filter(|_| is_needed) else {
            return Ok(None);
        };
        let target = plan
            .version
            .as_ref()
            .map_or_else(|| digest.to_string(), Version::to_string);
        self.look_at(&target, digest).await.map(Some)
    }

    /// What there is of the image that is called `target`, all of it.
    async fn look_at(&self, target: &str, digest: Digest) -> Result<Parts, OperationError> {
        let parts = image::check(&*self.images, digest, Depth::Presence).await;
        parts.map_err(|source| OperationError::Image {
            target: target.to_owned(),
            source,
        })
    }

    /// Whether entries may be added to the ledger here: one that was copied elsewhere is read there, and appended to only at its
    /// home.
    ///
    /// # Errors
    ///
    /// [`OperationError::Copy`].
    pub fn check_home(&self, state: &State) -> Result<(), OperationError> {
        let here = self.home.label();
        if is_at_home(state, &here) {
            return Ok(());
        }
        Err(OperationError::Copy {
            here,
            home: state.home.clone(),
        })
    }
}

/// The ledger as it was found in the end, if nothing was appended for a version and its image was pruned since the ledger was read.
fn pruned_since(before: &Opened, named: &Named, done: &Result<Done, OperationError>) -> Option<Opened> {
    let done = match done {
        Ok(done) => done,
        Err(OperationError::Blocked { done, .. }) => done,
        Err(_) => return None,
    };
    let digest = done
        .digest
        .filter(|_| !named.versions.is_empty() && !done.changed)?;
    let is_pruned = |opened: &Opened| opened.state().is_some_and(|state| state.is_pruned(&digest));
    (!is_pruned(before) && is_pruned(&done.opened)).then(|| done.opened.clone())
}

fn on_channel(channel: &Channel) -> Named {
    Named {
        channels: BTreeSet::from([channel.clone()]),
        ..Named::default()
    }
}

/// What a tag may show although the ledger does not know it: just that is to be accepted.
fn by_hand(plan: &Plan) -> BTreeSet<Digest> {
    let is_record = plan.kind == Kind::Record;
    plan.digest.into_iter().filter(|_| is_record).collect()
}

/// Whether the repository that is called `here` is the one in which the ledger is appended to.
pub(crate) fn is_at_home(state: &State, here: &str) -> bool {
    is_same_home(&state.home, here)
}

/// Whether two labels may name the same repository. A local store has no host, and is served under any loopback address.
fn is_same_home(home: &str, here: &str) -> bool {
    let (Ok(home), Ok(here)) = (home.parse::<Reference>(), here.parse::<Reference>()) else {
        return home == here;
    };
    let is_local = |reference: &Reference| reference.host.as_deref().is_none_or(is_loopback);
    home.name == here.name && (home.host == here.host || (is_local(&home) && is_local(&here)))
}

fn is_loopback(host: &str) -> bool {
    host.starts_with("127.")
        || host.starts_with("[::1]")
        || host == "localhost"
        || host.starts_with("localhost:")
}

/// The channels whose rules require more signatures, unless these are all that there is to do.
fn waiting_channels(plan: &Plan) -> BTreeSet<Channel> {
    let waits: BTreeSet<Channel> = plan.lacks.iter().map(|lack| lack.channel.clone()).collect();
    let moves = plan.entry.iter().flat_map(|entry| &entry.moves);
    let others = moves.filter(|one| !waits.contains(&one.channel)).count();
    let binds = plan
        .entry
        .as_ref()
        .is_some_and(|entry| entry.kind == Kind::Release);
    if binds || others > 0 {
        waits
    } else {
        BTreeSet::new()
    }
}

/// What is to be appended, if anything, with all that was looked at before.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) envelope: Option<Envelope>,
    pub(super) checked: Option<Parts>,
    pub(super) opened: Opened,
    pub(super) astray: BTreeMap<Channel, Digest>,
}

/// An operation whose entry, if any, is in the ledger.
struct Finished {
    plan: Plan,
    entry: Option<Appended>,
    /// What became of the entry, or would have.
    outcome: Option<Outcome>,
    opened: Opened,
    /// When it was asked for.
    at: Timestamp,
    /// What tags showed before.
    astray: BTreeMap<Channel, Digest>,
}

impl Finished {
    /// Why an entry that is about no channel and no version has no effect.
    fn void_apart(&self) -> Option<(Why, Option<EntryName>)> {
        let is_apart = |subject: &Subject| matches!(subject, Subject::Keys | Subject::Rules | Subject::Entry);
        let mut void = self.outcome.iter().flat_map(Outcome::void);
        void.find(|(subject, _, _)| is_apart(subject))
            .map(|(_, why, by)| (why, by))
    }

    /// The channels that were not moved: by the plan, or because the entry's effect is void.
    fn blocked(&self) -> Vec<Blocked> {
        let mut blocked = self.plan.blocked.clone();
        for (subject, why, by) in self.outcome.iter().flat_map(Outcome::void) {
            if let Subject::Channel(channel) = subject {
                let why = self.obstacle(channel, why, by);
                blocked.push(Blocked {
                    channel: channel.clone(),
                    why,
                });
            }
        }
        blocked
    }

    fn obstacle(&self, channel: &Channel, why: Why, by: Option<EntryName>) -> Obstacle {
        let Some(state) = self.opened.state() else {
            return Obstacle::Void(why);
        };
        let channel = state.channels.get(channel);
        let hold = channel.and_then(|channel| channel.hold.as_ref());
        let is_release = self.plan.kind.is_forward();
        if let (Why::Held | Why::Overtaken, true, Some(hold)) = (why, is_release, hold) {
            return Obstacle::held(state, hold);
        }
        let (Why::Overtaken | Why::SlotMoved, Some(by)) = (why, by) else {
            return Obstacle::Void(why);
        };
        let found = self.opened.view().find(&by);
        let record = found.map(|(_, record, _)| record);
        Obstacle::Overtaken {
            by,
            seq: found.map(|(seq, _, _)| seq),
            kind: record.map(|record| record.entry.kind.clone()),
            key: record.and_then(|record| Some(state.authority.label(&record.author()?))),
            now: channel.and_then(|channel| channel.shows.clone()),
        }
    }

    fn into_done(
        self,
        before: &Opened,
        opened: Opened,
        named: &Named,
        checked: Option<Parts>,
        projected: bool,
    ) -> Done {
        let channels = named.channels.iter().map(|channel| {
            let astray = self.astray.get(channel).copied();
            let astray = astray
                .filter(|found| self.entry.is_some() || !is_repeated(&self.plan, before, channel, found));
            channel_done(before, &opened, channel, projected, astray)
        });
        let channels = channels.collect();
        Done {
            kind: self.plan.kind,
            at: self.at,
            changed: self.entry.is_some(),
            entry: self.entry,
            version: self.plan.version,
            digest: self.plan.digest,
            channels,
            mode: opened.mode().unwrap_or(crate::entry::Mode::Linear),
            checked,
            notes: self.plan.notes,
            opened,
        }
    }
}

/// Whether a rollback for which nothing is appended is a repetition, and the tag still shows what it left: that is what the
/// repetition is for.
fn is_repeated(plan: &Plan, before: &Opened, channel: &Channel, found: &Digest) -> bool {
    let state = before.state().and_then(|state| state.channels.get(channel));
    let last = state.and_then(|state| state.last.as_ref());
    let left = state
        .and_then(|state| state.hold.as_ref()?.left.as_ref())
        .is_none_or(|left| left.digest == *found);
    let is_rollback = last.is_some_and(|last| last.kind == Kind::Rollback);
    plan.kind == Kind::Rollback && is_rollback && left
}

/// What became of a channel whose tag was `astray` before.
pub(super) fn channel_done(
    before: &Opened,
    now: &Opened,
    channel: &Channel,
    projected: bool,
    astray: Option<Digest>,
) -> ChannelDone {
    let shows = |opened: &Opened| opened.state().and_then(|state| state.shows(channel)).cloned();
    let current = now.state().and_then(|state| state.channels.get(channel));
    let current_digest = current.and_then(|current| Some(current.shows.as_ref()?.digest));
    let overwritten = astray.filter(|found| projected && Some(*found) != current_digest);
    ChannelDone {
        channel: channel.clone(),
        previous: shows(before),
        now: shows(now),
        held: current.is_some_and(|channel| channel.hold.is_some()),
        projected,
        overwrote: overwritten.map(|digest| Overwrote {
            digest,
            version: now
                .state()
                .and_then(|state| plan::version_of(state, channel, &digest)),
        }),
    }
}
