//! Starting a ledger that goes on from another: after its keys were lost, or at a copy's new home.
//!
//! Nothing is taken over by saying so. What the old one had is brought in again, entry by entry, in the first head: versions
//! and trails by `adopt`, holds by a closing `rollback`, then what is barred or no longer kept, and the rules.

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::{Digest, Tag};
use cairn_store::{Condition, Target};
use jiff::Timestamp;

use crate::append::{Commit, CommitError};
use crate::authority::{Authority, Rules};
use crate::content;
use crate::entry::{Continues, Entry, EntryName, Kind, Mode, Move};
use crate::envelope::Envelope;
use crate::head;
use crate::name::{Channel, Version};
use crate::open::{Ledger, Opened};
use crate::operation::{ChannelDone, Context, Done, OperationError, plan};
use crate::project::Named;
use crate::state::{Bound, Shown, Standing, State};
use crate::trust::{HowTrusted, TrustPolicy};
use crate::view::View;

/// What the tag of a head begins with that another ledger goes on from.
pub const OLD_PREFIX: &str = "cairn-old-";

/// What a new ledger would take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Versions that name an image.
    pub versions: usize,
    /// Channels that show one.
    pub channels: usize,
    /// Versions that name several images, and are left behind.
    pub contested: usize,
}

impl Carried {
    /// Of the ledger in this state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let is_contested = |standing: Standing<'_>| matches!(standing, Standing::Contested);
        let contested = state
            .versions
            .values()
            .filter(|one| is_contested(one.standing()))
            .count();
        Self {
            versions: state.versions.len() - contested,
            channels: state.channels.values().filter(|one| one.shows.is_some()).count(),
            contested,
        }
    }
}

/// A ledger that goes on from another.
#[derive(Debug, Clone)]
pub struct Continued {
    /// The name of its genesis: what is pinned.
    pub genesis: EntryName,
    /// How it is appended to.
    pub mode: Mode,
    /// The ledger as it is now.
    pub opened: Opened,
    /// Tags of heads of the old one that cannot be deleted: as long as they are there, the repository has two ledgers, and whoever
    /// has no pin reads neither.
    pub left: Vec<Tag>,
}

/// Entries being made, each of which names the ones before.
struct Carrier<'a> {
    context: &'a Context<'a>,
    ledger: EntryName,
    last: BTreeMap<Channel, EntryName>,
    envelopes: Vec<Envelope>,
}

impl Carrier<'_> {
    /// An entry of the new ledger.
    fn draft(&self, kind: Kind) -> Entry {
        Entry {
            ledger: Some(self.ledger),
            chain: Some(self.ledger),
            source: None,
            ..plan::draft(self.context, kind)
        }
    }

    fn add(&mut self, entry: &Entry) -> Result<(), OperationError> {
        let envelope = entry.sign(self.context.signer).map_err(OperationError::Entry)?;
        for one in &entry.moves {
            self.last.insert(one.channel.clone(), envelope.name());
        }
        self.envelopes.push(envelope);
        Ok(())
    }

    fn move_of(&self, channel: &Channel) -> Vec<Move> {
        vec![Move {
            channel: channel.clone(),
            after: self.last.get(channel).copied(),
        }]
    }

    fn versions(&mut self, state: &State) -> Result<(), OperationError> {
        let mut bound: Vec<(&Version, &Bound)> = bindings(state).collect();
        bound.sort_by_key(|(_, bound)| bound.position);
        for (version, bound) in bound {
            self.add(&Entry {
                version: Some(version.clone()),
                digest: Some(bound.digest),
                ..self.draft(Kind::Adopt)
            })?;
        }
        Ok(())
    }

    /// What it showed, oldest first, and what it shows.
    fn channel(&mut self, state: &State, channel: &Channel) -> Result<(), OperationError> {
        let Some(current) = state.channels.get(channel) else {
            return Ok(());
        };
        for shown in current.trail.iter().chain(&current.shows) {
            self.add(&Entry {
                version: named(state, shown),
                digest: Some(shown.digest),
                moves: self.move_of(channel),
                ..self.draft(Kind::Adopt)
            })?;
        }
        let Some((hold, shown)) = current.hold.as_ref().zip(current.shows.as_ref()) else {
            return Ok(());
        };
        // What it was rolled back from comes first, so that the hold says so here too.
        if let Some(left) = hold.left.as_ref().filter(|left| left.digest != shown.digest) {
            self.add(&Entry {
                version: named(state, left),
                digest: Some(left.digest),
                moves: self.move_of(channel),
                ..self.draft(Kind::Adopt)
            })?;
        }
        self.add(&Entry {
            version: named(state, shown),
            digest: Some(shown.digest),
            moves: self.move_of(channel),
            hold: Some(true),
            reason: hold.reason.clone().or_else(|| self.context.reason.clone()),
            ..self.draft(Kind::Rollback)
        })
    }

    /// What is barred or no longer kept, after all that has led there.
    fn bars(&mut self, state: &State) -> Result<(), OperationError> {
        let shows = |digest: Digest| {
            let mut shown = state
                .channels
                .values()
                .filter_map(|channel| channel.shows.as_ref());
            shown.any(|shown| shown.digest == digest)
        };
        let mut pruned = BTreeSet::new();
        for (version, bound) in bindings(state) {
            let entry = |kind| Entry {
                version: Some(version.clone()),
                digest: Some(bound.digest),
                ..self.draft(kind)
            };
            let (prune, yank) = (entry(Kind::Prune), entry(Kind::Yank));
            let is_pruned = state.is_pruned(&bound.digest) && !shows(bound.digest);
            if is_pruned && pruned.insert(bound.digest) {
                self.add(&prune)?;
            }
            if bound.yanked.is_some() {
                self.add(&yank)?;
            }
        }
        Ok(())
    }
}

/// The versions that name one image, barred or not.
fn bindings(state: &State) -> impl Iterator<Item = (&Version, &Bound)> {
    let one = |(version, binding)| {
        let binding: &crate::state::Binding = binding;
        match binding.standing() {
            Standing::Named(bound) | Standing::Yanked(bound) => Some((version, bound)),
            _ => None,
        }
    };
    state.versions.iter().filter_map(one)
}

/// The version under which it was shown, if that still names it.
fn named(state: &State, shown: &Shown) -> Option<Version> {
    let version = shown.version.as_ref()?;
    let mut all = bindings(state);
    let is_it = all.any(|(name, bound)| name == version && bound.digest == shown.digest);
    is_it.then(|| version.clone())
}

impl Ledger {
    /// Starts a ledger with these keys in the place of `old`, which was read here, and brings in what that one had. Its head
    /// is kept under a tag of its own.
    ///
    /// # Errors
    ///
    /// [`OperationError::OtherHead`] if `head` is not the one that was read; [`OperationError::Commit`].
    pub async fn continue_from(
        &self,
        old: &Opened,
        context: &Context<'_>,
        authority: Authority,
        head: &Digest,
    ) -> Result<Continued, OperationError> {
        authority.check().map_err(OperationError::Authority)?;
        let state = plan::state(old, &self.home.label())?;
        let found = old.head().map(|head| head.digest);
        if found != Some(*head) {
            return Err(OperationError::OtherHead { named: *head, found });
        }
        let mode = self.mode_here().await?;
        let genesis = Entry {
            authority: Some(authority),
            mode: Some(mode),
            home: Some(self.home.label()),
            continues: Some(Continues {
                ledger: state.ledger,
                head: *head,
            }),
            ..plan::draft(context, Kind::Genesis)
        };
        let genesis = genesis.sign(context.signer).map_err(OperationError::Entry)?;
        let mut carrier = Carrier {
            context,
            ledger: genesis.name(),
            last: BTreeMap::new(),
            envelopes: vec![genesis],
        };
        carrier.versions(state)?;
        for channel in state.channels.keys() {
            carrier.channel(state, channel)?;
        }
        carrier.bars(state)?;
        if state.rules != Rules::default() {
            carrier.add(&Entry {
                rules: Some(state.rules.clone()),
                ..carrier.draft(Kind::Rules)
            })?;
        }
        let (genesis, envelopes) = (carrier.ledger, carrier.envelopes);
        let (opened, left) = self.replace(old, &envelopes, context, mode).await?;
        let opened = self.complete(opened, state, context.at).await?;
        self.clear_waiting(old).await;
        Ok(Continued {
            genesis,
            mode,
            opened,
            left,
        })
    }

    /// What waited for signatures of the old ledger's keys waits in vain. Where it cannot be deleted, nobody looks at it any more.
    async fn clear_waiting(&self, old: &Opened) {
        let Ok(list) = self.waiting(old).await else { return };
        for one in &list.entries {
            let _kept = self.withdraw(one).await;
        }
    }

    /// Keeps the old head under another name, and writes the new one in its place. Old heads that cannot be deleted are named.
    async fn replace(
        &self,
        old: &Opened,
        envelopes: &[Envelope],
        context: &Context<'_>,
        mode: Mode,
    ) -> Result<(Opened, Vec<Tag>), OperationError> {
        let failed = |source| OperationError::Open(self.repository_error(source));
        let linear = Target::Tag(head::linear_tag());
        let at_tag = self.home.stat_manifest(&linear).await.map_err(failed)?;
        let heads: Vec<(Digest, Tag)> = old
            .view
            .heads
            .iter()
            .map(|one| (one.digest, old_tag(&one.digest)))
            .collect();
        for (digest, tag) in heads {
            let manifest = self
                .home
                .read_manifest(&Target::Digest(digest))
                .await
                .map_err(failed)?;
            if let Some(manifest) = manifest {
                let tag = Target::Tag(tag);
                let kept = content::write_manifest(&*self.home, &tag, &manifest, &Condition::Always, &[]);
                kept.await.map_err(failed)?;
            }
        }
        let empty = Opened {
            view: View::default(),
            policy: TrustPolicy::default(),
            how: HowTrusted::Pinned,
        };
        if let (Mode::Linear, Some(found)) = (mode, &at_tag) {
            let begun = self
                .begin_instead(found.digest, envelopes, context.signer, context.at)
                .await?;
            let view = begun.ok_or_else(|| OperationError::OtherHead {
                named: found.digest,
                found: None,
            })?;
            return Ok((Opened { view, ..empty }, Vec::new()));
        }
        // Where nothing is written under a condition, an old head at that tag would be read as the ledger's.
        if at_tag.is_some() {
            self.home.delete_tag(&head::linear_tag()).await.map_err(failed)?;
        }
        let old_tags = crate::causal::list(self).await.map_err(OperationError::Open)?;
        let commit = self
            .append_all(&empty, envelopes, context.signer, context.at)
            .await?;
        let opened = match commit {
            Commit::Appended(opened) => *opened,
            Commit::Overtaken(_, name, _) => {
                return Err(OperationError::Commit(CommitError::Contended {
                    entry: name,
                    rounds: 1,
                }));
            }
        };
        let mut left = Vec::new();
        for tag in old_tags {
            // Where tags cannot be deleted there are two ledgers from now on, and a pin says which is meant.
            if self.home.delete_tag(&tag).await.is_err() {
                left.push(tag);
            }
        }
        Ok((opened, left))
    }

    /// Attaches the new entries to the images, and looks at the tags.
    async fn complete(&self, opened: Opened, state: &State, at: Timestamp) -> Result<Opened, OperationError> {
        let shown = state
            .channels
            .iter()
            .filter(|(_, channel)| channel.shows.is_some());
        let named = Named {
            versions: bindings(state).map(|(version, _)| version.clone()).collect(),
            channels: shown.map(|(name, _)| name.clone()).collect(),
        };
        match self.project(opened.clone(), &named).await {
            Ok(opened) => Ok(opened),
            Err(source) => {
                let channel = |channel: &Channel| ChannelDone {
                    channel: channel.clone(),
                    previous: state.shows(channel).cloned(),
                    now: state.shows(channel).cloned(),
                    held: false,
                    projected: false,
                    overwrote: None,
                };
                let done = Done {
                    kind: Kind::Genesis,
                    at,
                    changed: true,
                    entry: None,
                    version: None,
                    digest: None,
                    channels: named.channels.iter().map(channel).collect(),
                    mode: opened.mode().unwrap_or(Mode::Linear),
                    checked: None,
                    notes: Vec::new(),
                    opened,
                };
                Err(OperationError::Unfinished {
                    done: Box::new(done),
                    source,
                })
            }
        }
    }
}

/// The tag under which an old head is kept.
#[must_use]
pub fn old_tag(head: &Digest) -> Tag {
    let text = format!("{OLD_PREFIX}{}", head::short(head));
    #[expect(clippy::expect_used, reason = "letters, digits and `-`, 26 bytes")]
    text.parse().expect("a valid tag")
}
