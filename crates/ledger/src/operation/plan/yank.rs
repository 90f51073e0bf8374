//! Barring a version.

use cairn_oci::Digest;

use super::{Note, Plan, check_key, draft_in, nearest, state};
use crate::entry::{Entry, Kind};
use crate::name::Version;
use crate::open::Opened;
use crate::operation::{Context, OperationError, YankRequest};
use crate::state::{Binding, Standing};

/// Plans to bar a version.
///
/// # Errors
///
/// [`OperationError`]: no ledger, an unknown version, one that was released as several images and none of them named, a key
/// that may not.
pub fn yank(
    opened: &Opened,
    repository: &str,
    context: &Context<'_>,
    request: &YankRequest,
) -> Result<Plan, OperationError> {
    let state = state(opened, repository)?;
    let version = &request.version;
    let Some(binding) = state.versions.get(version) else {
        return Err(OperationError::UnknownVersion {
            version: version.clone(),
            nearest: nearest(version.as_str(), state.versions.keys(), Version::as_str),
        });
    };
    let digest = which(version, binding, request.digest)?;
    let mut plan = Plan::new(Kind::Yank);
    plan.version = Some(version.clone());
    plan.digest = Some(digest);
    if let Some(entry) = binding.to(&digest).and_then(|bound| bound.yanked) {
        plan.notes.push(Note::AlreadyYanked {
            version: version.clone(),
            entry,
        });
        return Ok(plan);
    }
    for (channel, current) in &state.channels {
        if let Some(now) = current.shows.as_ref().filter(|now| now.digest == digest) {
            plan.notes.push(Note::StillShown {
                channel: channel.clone(),
                now: now.clone(),
            });
        }
    }
    let entry = Entry {
        version: Some(version.clone()),
        digest: Some(digest),
        ..draft_in(state, context, Kind::Yank)
    };
    check_key(state, context, &entry)?;
    plan.entry = Some(entry);
    Ok(plan)
}

/// Which of a version's bindings is meant: the one named, else the only one.
fn which(version: &Version, binding: &Binding, named: Option<Digest>) -> Result<Digest, OperationError> {
    if let Some(digest) = named {
        return match binding.to(&digest) {
            Some(bound) => Ok(bound.digest),
            None => Err(OperationError::NotBound {
                version: version.clone(),
                digest,
            }),
        };
    }
    match binding.standing() {
        Standing::Named(bound) | Standing::Yanked(bound) => Ok(bound.digest),
        Standing::Contested => Err(OperationError::Contested {
            version: version.clone(),
            digests: binding.bound.iter().map(|bound| bound.digest).collect(),
        }),
    }
}
