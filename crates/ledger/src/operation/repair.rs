//! A tag that somebody moved by hand: what it shows, and putting it back.

use cairn_oci::Digest;
use cairn_store::{RepositoryError, Target};

use super::{OperationError, plan};
use crate::content;
use crate::name::Channel;
use crate::open::{Ledger, Opened};
use crate::project::ProjectError;
use crate::state::Shown;
use crate::trust::HowTrusted;

/// How often the tag is written again because somebody else moved it meanwhile.
const ROUND_LIMIT: usize = 8;

/// A channel's tag that shows again what the ledger says.
#[derive(Debug, Clone)]
pub struct Repaired {
    /// The channel.
    pub channel: Channel,
    /// What its tag showed; none if there was no such tag.
    pub found: Option<Digest>,
    /// What it shows now, and the ledger says.
    pub now: Shown,
    /// Whether the tag was written.
    pub changed: bool,
    /// The ledger as it is now.
    pub opened: Opened,
}

impl Ledger {
    /// What a channel's tag shows, whatever the ledger says; none if there is no such tag.
    ///
    /// # Errors
    ///
    /// [`OperationError::Tags`] if the images' repository cannot be asked.
    pub async fn found_at(&self, channel: &Channel) -> Result<Option<Digest>, OperationError> {
        self.tag_shows(&channel.tag()).await.map_err(OperationError::Tags)
    }

    /// Moves a channel's tag to what the ledger says, also from what the ledger does not know. Nothing is appended.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: no ledger, a channel that shows nothing, a ledger of which nothing is known but what it
    /// says itself, a repository that refuses.
    pub async fn repair(&self, opened: &Opened, channel: &Channel) -> Result<Repaired, OperationError> {
        let label = self.home.label();
        self.check_home(plan::state(opened, &label)?)?;
        let found = self.found_at(channel).await?;
        let opened = self
            .force(opened.clone(), channel)
            .await
            .map_err(OperationError::Tags)?;
        let now = plan::shown(plan::state(&opened, &label)?, channel)?.clone();
        Ok(Repaired {
            channel: channel.clone(),
            found,
            changed: found != Some(now.digest),
            now,
            opened,
        })
    }

    /// Writes the tag until it shows what the ledger says.
    async fn force(&self, opened: Opened, channel: &Channel) -> Result<Opened, ProjectError> {
        let mut opened = opened;
        let tag = channel.tag();
        for _ in 0..ROUND_LIMIT {
            let found = self.tag_shows(&tag).await?;
            let unknown = self.check_known(&opened, channel, found).is_err();
            if unknown {
                // What looks unknown may only be newer than what was read.
                opened = self.look_again(&opened).await?;
            }
            if let (true, Err(error)) = (
                opened.how_trusted() == HowTrusted::FirstSeen,
                self.check_known(&opened, channel, found),
            ) {
                return Err(error);
            }
            let Some(expected) = opened.state().and_then(|state| state.shows(channel)) else {
                return Ok(opened);
            };
            let expected = expected.digest;
            let kept = self.keep_shown(&opened, channel).await;
            if found == Some(expected) {
                return kept.map(|()| opened);
            }
            let manifest = match kept {
                Ok(()) => self.manifest(channel.as_str(), expected).await,
                Err(error) => Err(error),
            };
            let manifest = match manifest {
                Ok(manifest) => manifest,
                Err(error) => {
                    opened = self.unless_moved_on(&opened, channel, error).await?;
                    continue;
                }
            };
            let condition = self.while_it_shows(&tag, found).await?;
            let target = Target::Tag(tag.clone());
            match content::write_manifest(&*self.images, &target, &manifest, &condition, &[]).await {
                // Read again: the next round sees whether it stayed.
                Ok(()) | Err(RepositoryError::Condition { .. }) => opened = self.look_again(&opened).await?,
                Err(source) => return Err(self.tag_error(&tag, source)),
            }
        }
        Err(ProjectError::Moving {
            channel: channel.clone(),
        })
    }
}
