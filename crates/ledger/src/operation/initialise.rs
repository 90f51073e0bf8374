//! Starting a ledger.

use crate::append::Commit;
use crate::authority::Authority;
use crate::entry::{Entry, EntryName, Kind, Mode};
use crate::open::{Ledger, Opened};
use crate::operation::{Context, OperationError, plan};
use crate::trust::{HowTrusted, TrustPolicy};
use crate::view::View;

/// A ledger that was started.
#[derive(Debug, Clone)]
pub struct Initialised {
    /// The name of its genesis: what is pinned.
    pub genesis: EntryName,
    /// How it is appended to.
    pub mode: Mode,
    /// Whether it was started now; not if the same key had started one with the same keys.
    pub changed: bool,
    /// The ledger as it is now.
    pub opened: Opened,
}

impl Ledger {
    /// How a ledger that is started here is appended to.
    pub(super) async fn mode_here(&self) -> Result<Mode, OperationError> {
        let capabilities = self.home.capabilities().await;
        let capabilities =
            capabilities.map_err(|source| OperationError::Open(self.repository_error(source)))?;
        Ok(match capabilities.conditions {
            true => Mode::Linear,
            false => Mode::Causal,
        })
    }

    /// Starts a ledger with these keys: linear where the repository honours conditions, else causal.
    ///
    /// Repeated by the same signer with the same keys it changes nothing, so that it can be run again after a failure.
    ///
    /// # Errors
    ///
    /// [`OperationError::Exists`] if there is one; [`OperationError::Commit`] if it is not known to be written.
    pub async fn initialise(
        &self,
        context: &Context<'_>,
        authority: Authority,
    ) -> Result<Initialised, OperationError> {
        authority.check().map_err(OperationError::Authority)?;
        let opened = self
            .open(&TrustPolicy::default())
            .await
            .map_err(OperationError::Open)?;
        if opened.state().is_some() {
            return self.started_before(opened, context, &authority);
        }
        let mode = self.mode_here().await?;
        let entry = Entry {
            authority: Some(authority.clone()),
            mode: Some(mode),
            home: Some(self.home.label()),
            ..plan::draft(context, Kind::Genesis)
        };
        let envelope = entry.sign(context.signer).map_err(OperationError::Entry)?;
        let genesis = envelope.name();
        let empty = Opened {
            view: View::default(),
            policy: TrustPolicy::default(),
            how: HowTrusted::Pinned,
        };
        let commit = self
            .append_all(&empty, &[envelope], context.signer, context.at)
            .await?;
        match commit {
            Commit::Appended(opened) => Ok(Initialised {
                genesis,
                mode,
                changed: true,
                opened: *opened,
            }),
            Commit::Overtaken(opened, ..) => self.started_before(*opened, context, &authority),
        }
    }

    fn started_before(
        &self,
        opened: Opened,
        context: &Context<'_>,
        authority: &Authority,
    ) -> Result<Initialised, OperationError> {
        let key = context.signer.key().fingerprint();
        let genesis = opened.view().records().first();
        let same = genesis.filter(|genesis| {
            genesis.signers.contains(&key) && genesis.entry.authority.as_ref() == Some(authority)
        });
        let repository = || self.home.label();
        match (
            same.map(|genesis| genesis.name),
            opened.state().map(|state| (state.ledger, state.mode)),
        ) {
            (Some(genesis), Some((_, mode))) => Ok(Initialised {
                genesis,
                mode,
                changed: false,
                opened,
            }),
            (None, Some((ledger, _))) => Err(OperationError::Exists {
                repository: repository(),
                ledger,
            }),
            (_, None) => Err(OperationError::NoLedger {
                repository: repository(),
            }),
        }
    }
}
