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
    /// The ledger as it is now.
    pub opened: Opened,
}

impl Ledger {
    /// Starts a ledger with these keys: linear where the repository honours conditions, else causal.
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
        if let Some(state) = opened.state() {
            return Err(self.exists(state.ledger));
        }
        let capabilities = self.home.capabilities().await;
        let capabilities =
            capabilities.map_err(|source| OperationError::Open(self.repository_error(source)))?;
        let mode = if capabilities.conditions {
            Mode::Linear
        } else {
            Mode::Causal
        };
        let entry = Entry {
            authority: Some(authority),
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
            .commit(&empty, &envelope, context.signer, context.at, mode)
            .await?;
        match commit {
            Commit::Appended(opened) => Ok(Initialised {
                genesis,
                mode,
                opened: *opened,
            }),
            Commit::Overtaken(opened, _) => {
                Err(self.exists(opened.state().map_or(genesis, |state| state.ledger)))
            }
        }
    }

    fn exists(&self, ledger: EntryName) -> OperationError {
        OperationError::Exists {
            repository: self.home.label(),
            ledger,
        }
    }
}
