//! Blue-green: the live channel takes what a slot shows.

use super::{Forward, Plan, draft_in, lifts_a_hold, move_of, nearest, state};
use crate::entry::{Entry, Kind};
use crate::name::Channel;
use crate::open::Opened;
use crate::operation::{Context, OperationError, SwitchRequest};
use crate::state::{Shown, State};

/// Plans that a live channel takes what a slot shows.
///
/// # Errors
///
/// [`OperationError`]: no ledger, a slot that shows nothing or is the live channel itself, a key that may not.
pub fn switch(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    request: &SwitchRequest,
) -> Result<Plan, OperationError> {
    let state = state(opened, repository)?;
    if request.live == request.slot {
        return Err(OperationError::SameChannel {
            channel: request.live.clone(),
        });
    }
    let shown = shown(state, &request.slot)?;
    let mut plan = Plan::new(Kind::Switch);
    plan.version.clone_from(&shown.version);
    plan.digest = Some(shown.digest);
    let forward = Forward {
        state,
        context,
        digest: shown.digest,
        version: shown.version.as_ref(),
        resume: request.resume,
        again: false,
    };
    let Some(one) = forward.plan(&mut plan, &request.live) else {
        return Ok(plan);
    };
    let moves = vec![one];
    let lifts = lifts_a_hold(state, &moves, request.resume);
    let entry = Entry {
        version: shown.version.clone(),
        digest: Some(shown.digest),
        from: Some(move_of(state, &request.slot)),
        moves,
        resume: lifts,
        ..draft_in(state, context, Kind::Switch)
    };
    plan.lacks = super::check_key(state, context, &entry)?;
    plan.entry = Some(entry);
    Ok(plan)
}

/// What a channel shows.
pub(in crate::operation) fn shown<'a>(
    state: &'a State,
    channel: &Channel,
) -> Result<&'a Shown, OperationError> {
    let unknown = || {
        let shown = state
            .channels
            .iter()
            .filter(|(_, channel)| channel.shows.is_some());
        OperationError::UnknownChannel {
            channel: channel.clone(),
            nearest: nearest(channel.as_str(), shown.map(|(name, _)| name), Channel::as_str),
        }
    };
    state.shows(channel).ok_or_else(unknown)
}
