//! Images that existed before, brought in: their versions in order, then what channels show.

use std::collections::BTreeMap;

use cairn_oci::Digest;

use super::{PlannedMove, check_key, draft_in, move_of, state};
use crate::authority::Lack;
use crate::entry::{Entry, EntryName, Kind, Nonce};
use crate::name::{Channel, Version};
use crate::open::Opened;
use crate::operation::adopt::{AdoptRequest, Skipped, WhySkipped};
use crate::operation::{Blocked, Context, Obstacle, OperationError};
use crate::state::{Standing, State};

/// What an adoption would do.
#[derive(Debug, Clone, Default)]
pub struct AdoptPlan {
    /// The entries in their order. A move's `after` is right for the first one on its channel; each other one stands on the
    /// one before ([`AdoptPlan::entries`] are named only when they are signed).
    pub entries: Vec<Entry>,
    /// Versions that are bound to these digests already.
    pub known: Vec<(Version, Digest)>,
    /// What cannot be brought in, and why.
    pub skipped: Vec<Skipped>,
    /// What the channels show and would show.
    pub channels: Vec<PlannedMove>,
    /// Channels that would not be moved, and why.
    pub blocked: Vec<Blocked>,
    /// Signatures that the rules of channels require beside one's own.
    pub lacks: Vec<Lack>,
}

/// Plans to bring in images.
///
/// # Errors
///
/// [`OperationError`]: no ledger, or a key that may not.
pub fn adopt(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    request: &AdoptRequest,
) -> Result<AdoptPlan, OperationError> {
    let state = state(opened, repository)?;
    let mut plan = AdoptPlan::default();
    let mut adopted = Vec::new();
    for (version, digest) in &request.versions {
        match standing(state, version, *digest) {
            None => {
                adopted.push((version.clone(), *digest));
                let entry = Entry {
                    version: Some(version.clone()),
                    digest: Some(*digest),
                    ..draft_in(state, context, Kind::Adopt)
                };
                plan.push(state, context, entry)?;
            }
            Some(Ok(())) => plan.known.push((version.clone(), *digest)),
            Some(Err(why)) => plan.skipped.push(Skipped {
                subject: version.to_string(),
                digest: *digest,
                why,
            }),
        }
    }
    let mut shows: BTreeMap<&Channel, Option<Digest>> = BTreeMap::new();
    for (channel, digest) in &request.channels {
        let now = state.shows(channel);
        let current = shows
            .entry(channel)
            .or_insert_with(|| now.map(|shown| shown.digest));
        // One that was brought in before goes on from where it is: it is not walked through its past again.
        let was_shown = state
            .channels
            .get(channel)
            .is_some_and(|channel| channel.has_shown(digest));
        if *current == Some(*digest) || was_shown {
            continue;
        }
        if let Some(hold) = state
            .channels
            .get(channel)
            .and_then(|channel| channel.hold.as_ref())
        {
            plan.blocked.push(Blocked {
                channel: channel.clone(),
                why: Obstacle::held(state, hold),
            });
            continue;
        }
        *current = Some(*digest);
        let version = version_of(state, &adopted, digest);
        plan.channels.push(PlannedMove {
            channel: channel.clone(),
            previous: now.cloned(),
            next: Some(*digest),
            version: version.clone(),
        });
        let entry = Entry {
            version,
            digest: Some(*digest),
            moves: vec![move_of(state, channel)],
            ..draft_in(state, context, Kind::Adopt)
        };
        plan.push(state, context, entry)?;
    }
    Ok(plan)
}

impl AdoptPlan {
    fn push(&mut self, state: &State, context: &Context<'_>, entry: Entry) -> Result<(), OperationError> {
        self.lacks.extend(check_key(state, context, &entry)?);
        let nonce = nonce(context, self.entries.len());
        self.entries.push(Entry { nonce, ..entry });
        Ok(())
    }
}

/// Each entry has a nonce of its own, made from the one that the operation was given.
fn nonce(context: &Context<'_>, index: usize) -> Nonce {
    let mut seed = context.nonce.to_vec();
    seed.extend_from_slice(&(index as u64).to_be_bytes());
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&Digest::of(&seed).as_bytes()[..16]);
    Nonce(nonce)
}

/// What is known of the version: nothing, that it is bound to `digest`, or why it cannot be.
fn standing(state: &State, version: &Version, digest: Digest) -> Option<Result<(), WhySkipped>> {
    let binding = state.versions.get(version)?;
    Some(match binding.standing() {
        Standing::Named(bound) if bound.digest == digest => Ok(()),
        Standing::Named(bound) => Err(WhySkipped::Bound(bound.digest)),
        Standing::Yanked(_) => Err(WhySkipped::Yanked),
        Standing::Contested => Err(WhySkipped::Contested),
    })
}

/// The version that names `digest`: of those that are brought in the last one in their order, else one that is known.
fn version_of(state: &State, adopted: &[(Version, Digest)], digest: &Digest) -> Option<Version> {
    let adopted = adopted.iter().rev().find(|(_, one)| one == digest);
    let is_named = |version: &Version| {
        let binding = state.versions.get(version);
        binding.is_some_and(
            |binding| matches!(binding.standing(), Standing::Named(bound) if bound.digest == *digest),
        )
    };
    let known = || {
        state
            .versions_of(digest)
            .map(|(version, _)| version)
            .find(|version| is_named(version))
    };
    adopted.map(|(version, _)| version).or_else(known).cloned()
}

/// Lets each move stand on the entry before it on its channel.
pub(in crate::operation) fn chain(entry: &mut Entry, last: &BTreeMap<Channel, EntryName>) {
    for one in &mut entry.moves {
        if let Some(name) = last.get(&one.channel) {
            one.after = Some(*name);
        }
    }
}
