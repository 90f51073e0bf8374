//! Images that no version names: each one that a channel shows gets a tag after its content, because many registries collect what
//! has no tag.

use cairn_oci::{Digest, Tag};
use cairn_store::{Condition, RepositoryError, Target};

use crate::content;
use crate::head;
use crate::name::Channel;
use crate::open::{Ledger, Opened};
use crate::project::ProjectError;
use crate::state::State;

/// `cairn-i-` and the first 16 hexadecimal digits of the digest.
pub(crate) fn tag_of(digest: &Digest) -> Tag {
    let text = format!("cairn-i-{}", head::short(digest));
    #[expect(clippy::expect_used, reason = "letters, digits and `-`, 24 bytes")]
    text.parse().expect("a valid tag")
}

/// Whether a version's tag shows `digest`.
pub(crate) fn has_version_tag(state: &State, digest: &Digest) -> bool {
    state.is_named(digest)
}

impl Ledger {
    /// Keeps what a channel shows.
    pub(crate) async fn keep_shown(&self, opened: &Opened, channel: &Channel) -> Result<(), ProjectError> {
        let state = opened.state();
        let shown = state.and_then(|state| Some((state, state.shows(channel)?.digest)));
        let Some((_, digest)) = shown.filter(|(state, digest)| !has_version_tag(state, digest)) else {
            return Ok(());
        };
        let tag = tag_of(&digest);
        if self.tag_shows(&tag).await? == Some(digest) {
            return Ok(());
        }
        let manifest = self.manifest(channel.as_str(), digest).await?;
        let capabilities = self.images.capabilities().await;
        let condition = match capabilities.map_err(|source| self.tag_error(&tag, source))? {
            capabilities if capabilities.conditions => Condition::IfAbsent,
            _ => Condition::Always,
        };
        let target = Target::Tag(tag.clone());
        match content::write_manifest(&*self.images, &target, &manifest, &condition, &[]).await {
            // Somebody else keeps it.
            Ok(()) | Err(RepositoryError::Condition { .. }) => Ok(()),
            Err(source) => Err(self.tag_error(&tag, source)),
        }
    }
}
