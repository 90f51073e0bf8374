//! What somebody's hand put on a channel's tag, accepted.

use super::switch::shown;
use super::{Note, Plan, PlannedMove, check_key, draft_in, move_of, state, version_of};
use crate::entry::{Entry, Kind};
use crate::open::Opened;
use crate::operation::{Context, OperationError, RecordRequest};

/// Plans to accept what a channel's tag shows.
///
/// # Errors
///
/// [`OperationError`]: no ledger, a channel that shows nothing, a key that may not.
pub fn record(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    request: &RecordRequest,
) -> Result<Plan, OperationError> {
    let state = state(opened, repository)?;
    let channel = &request.channel;
    let now = shown(state, channel)?;
    let mut plan = Plan::new(Kind::Record);
    let version = version_of(state, channel, &request.found);
    plan.version.clone_from(&version);
    plan.digest = Some(request.found);
    plan.channels.push(PlannedMove {
        channel: channel.clone(),
        previous: Some(now.clone()),
        next: Some(request.found),
        version: version.clone(),
    });
    if now.digest == request.found {
        plan.version.clone_from(&now.version);
        plan.notes.push(Note::Agrees {
            channel: channel.clone(),
            now: now.clone(),
        });
        return Ok(plan);
    }
    let entry = Entry {
        version,
        digest: Some(request.found),
        moves: vec![move_of(state, channel)],
        ..draft_in(state, context, Kind::Record)
    };
    check_key(state, context, &entry)?;
    plan.entry = Some(entry);
    Ok(plan)
}
