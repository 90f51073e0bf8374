//! Lifting a hold.

use super::{Note, Plan, PlannedMove, check_key, draft_in, move_of, nearest, state, unmet};
use crate::entry::{Entry, Kind};
use crate::name::Channel;
use crate::open::Opened;
use crate::operation::{Context, OperationError};

/// Plans to lift the hold of a channel.
///
/// # Errors
///
/// [`OperationError`]: no ledger, an unknown channel, a key that may not.
pub fn resume(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    channel: &Channel,
) -> Result<Plan, OperationError> {
    let state = state(opened, repository)?;
    let Some(current) = state.channels.get(channel) else {
        let nearest = nearest(channel.as_str(), state.channels.keys(), Channel::as_str);
        return Err(OperationError::UnknownChannel {
            channel: channel.clone(),
            nearest,
        });
    };
    let mut plan = Plan::new(Kind::Resume);
    let shown = current.shows.as_ref();
    plan.version = shown.and_then(|shown| shown.version.clone());
    plan.digest = shown.map(|shown| shown.digest);
    plan.channels.push(PlannedMove {
        channel: channel.clone(),
        previous: current.shows.clone(),
        next: plan.digest,
        version: plan.version.clone(),
    });
    if current.hold.is_none() {
        plan.notes.push(Note::NotHeld {
            channel: channel.clone(),
        });
        return Ok(plan);
    }
    if let Some(blocked) = unmet(state, context, channel) {
        plan.blocked.push(blocked);
        return Ok(plan);
    }
    let entry = Entry {
        moves: vec![move_of(state, channel)],
        ..draft_in(state, context, Kind::Resume)
    };
    plan.lacks = check_key(state, context, &entry)?;
    plan.entry = Some(entry);
    Ok(plan)
}
