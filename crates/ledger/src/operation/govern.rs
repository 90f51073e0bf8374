//! Changing keys and rules, and accepting what an unlisted key did.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::authority::{Authority, AuthorityError, Grant, Rules};
use crate::entry::{Entry, EntryName, Kind};
use crate::key::{Fingerprint, PublicKey, Signer};
use crate::open::{Ledger, Opened};
use crate::operation::run::Planned;
use crate::operation::{Appended, Context, Done, OperationError, Plan, plan};
use crate::project::Named;
use crate::state::State;
use crate::waiting;

/// A change of the list of keys.
#[derive(Debug, Clone)]
pub enum KeyChange {
    /// Lists a key, or lists it with other words.
    Put(Box<Grant>),
    /// Lists a key no more.
    Remove(Fingerprint),
    /// Another recovery key, or none.
    Recovery(Option<Box<PublicKey>>),
    /// How many keys must sign a change of keys or rules.
    Threshold(u32),
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Governed {
    /// The entry; none if there was nothing to change.
    pub entry: Option<Appended>,
    /// The ledger as it is now.
    pub opened: Opened,
}

impl From<Done> for Governed {
    fn from(done: Done) -> Self {
        Self {
            entry: done.entry,
            opened: done.opened,
        }
    }
}

/// The list of keys with `changes`.
///
/// # Errors
///
/// [`OperationError::Authority`] if the list could not be used, or nobody could change it again after `at`;
/// [`OperationError::UnknownKey`].
pub fn changed(
    authority: &Authority,
    changes: &[KeyChange],
    at: Timestamp,
) -> Result<Authority, OperationError> {
    let mut authority = authority.clone();
    for change in changes {
        match change {
            KeyChange::Put(grant) => {
                let key = grant.key.fingerprint();
                match authority.keys.iter_mut().find(|one| one.key.fingerprint() == key) {
                    Some(one) => one.clone_from(grant),
                    None => authority.keys.push(Grant::clone(grant)),
                }
            }
            KeyChange::Remove(key) => {
                let before = authority.keys.len();
                authority.keys.retain(|one| one.key.fingerprint() != *key);
                if authority.keys.len() == before {
                    let name = key.to_string();
                    return Err(OperationError::UnknownKey { name });
                }
            }
            KeyChange::Recovery(key) => authority.recovery = key.as_deref().cloned(),
            KeyChange::Threshold(threshold) => authority.threshold = *threshold,
        }
    }
    authority.check().map_err(OperationError::Authority)?;
    // Keys whose time is over cannot change anything, so they do not keep the door open.
    let may = |grant: &&Grant| grant.may(&Kind::Keys, None, at);
    let able = authority.keys.iter().filter(may).count();
    if able < authority.threshold as usize {
        let threshold = authority.threshold;
        return Err(OperationError::Authority(AuthorityError::Threshold {
            threshold,
            able,
        }));
    }
    Ok(authority)
}

impl Ledger {
    /// Changes the list of keys. With `recovery` that key alone signs the entry, and the context's signer, which must be listed
    /// afterwards, appends it.
    ///
    /// # Errors
    ///
    /// [`OperationError::Waiting`] if more signatures are needed, or another key has to append it; others as ever.
    pub async fn change_keys(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        changes: &[KeyChange],
        recovery: Option<&dyn Signer>,
    ) -> Result<Governed, OperationError> {
        let signer = recovery.unwrap_or(context.signer);
        let label = self.home.label();
        let plan = |opened: &Opened| {
            let state = plan::state(opened, &label)?;
            let authority = changed(&state.authority, changes, context.at)?;
            let mut plan = Plan::new(Kind::Keys);
            if authority != state.authority {
                plan.entry = Some(Entry {
                    authority: Some(authority),
                    ..plan::draft_in(state, context, Kind::Keys)
                });
                may_change(state, context, &Kind::Keys, &signer.key().fingerprint())?;
            }
            Ok(plan)
        };
        self.govern(opened, context, signer, plan).await
    }

    /// Changes the rules of all channels.
    ///
    /// # Errors
    ///
    /// As [`Ledger::change_keys`].
    pub async fn change_rules(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        rules: &Rules,
    ) -> Result<Governed, OperationError> {
        rules.check().map_err(OperationError::Rules)?;
        let label = self.home.label();
        let plan = |opened: &Opened| {
            let state = plan::state(opened, &label)?;
            let mut plan = Plan::new(Kind::Rules);
            if *rules != state.rules {
                plan.entry = Some(Entry {
                    rules: Some(rules.clone()),
                    ..plan::draft_in(state, context, Kind::Rules)
                });
                may_change(state, context, &Kind::Rules, &context.signer.key().fingerprint())?;
            }
            Ok(plan)
        };
        self.govern(opened, context, context.signer, plan).await
    }

    /// Accepts what an unlisted key did.
    ///
    /// # Errors
    ///
    /// [`OperationError::NoGlass`] if there is nothing to accept, [`OperationError::NotAllowed`] also to whoever did it.
    pub async fn ratify(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        name: &EntryName,
    ) -> Result<Governed, OperationError> {
        let label = self.home.label();
        let key = context.signer.key().fingerprint();
        let plan = |opened: &Opened| {
            let state = plan::state(opened, &label)?;
            let glass = state.glass.get(name).ok_or_else(|| OperationError::NoGlass {
                name: name.to_string(),
            })?;
            let mut plan = Plan::new(Kind::Ratify);
            if glass.ratified.is_none() {
                if glass.key == key {
                    return Err(not_allowed(state, context, &Kind::Ratify, &key));
                }
                may_change(state, context, &Kind::Ratify, &key)?;
                plan.entry = Some(Entry {
                    ratifies: Some(*name),
                    ..plan::draft_in(state, context, Kind::Ratify)
                });
            }
            Ok(plan)
        };
        self.govern(opened, context, context.signer, plan).await
    }

    async fn govern(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        signer: &dyn Signer,
        plan: impl Fn(&Opened) -> Result<Plan, OperationError>,
    ) -> Result<Governed, OperationError> {
        let state = plan::state(opened, &self.home.label())?;
        self.check_home(state)?;
        let first = plan(opened)?;
        let mut envelope = None;
        if let Some(entry) = &first.entry {
            let key = signer.key().fingerprint();
            let appender = context.signer.key().fingerprint();
            let lacks = waiting::missing(state, entry, &BTreeSet::from([key]));
            if !lacks.is_empty() || !waiting::can_append(state, entry, &appender, context.at) {
                return Err(self.wait(opened, signer, entry).await?);
            }
            envelope = Some(entry.sign(signer).map_err(OperationError::Entry)?);
        }
        let planned = Planned {
            plan: first,
            envelope,
            checked: None,
            opened: opened.clone(),
            astray: BTreeMap::new(),
        };
        let done = self.append(planned, context, &Named::default(), plan).await;
        done.map(Governed::from)
    }
}

/// Whether `key` may make entries of `kind`, which are about no channel; the recovery key may change keys.
fn may_change(
    state: &State,
    context: &Context<'_>,
    kind: &Kind,
    key: &Fingerprint,
) -> Result<(), OperationError> {
    let recovery = state.authority.recovery.as_ref().map(PublicKey::fingerprint);
    let is_recovery = *kind == Kind::Keys && recovery == Some(*key);
    if is_recovery || state.authority.may(key, kind, None, context.at) {
        return Ok(());
    }
    Err(not_allowed(state, context, kind, key))
}

fn not_allowed(state: &State, context: &Context<'_>, kind: &Kind, key: &Fingerprint) -> OperationError {
    OperationError::NotAllowed {
        key: state.authority.label(key),
        kind: kind.clone(),
        channel: None,
        may: plan::who_may(state, context, kind, None),
    }
}
