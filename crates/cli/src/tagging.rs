//! Which tags a person may write by name: not those that Cairn keeps for itself, and not those that a ledger moves.

use std::sync::Arc;

use cairn_ledger::{Ledger, State, TrustPolicy, Version};
use cairn_oci::{Digest, Reference, Tag};

use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// Heads of ledgers, names after content, lists of referrers.
#[must_use]
pub fn is_internal(tag: &Tag) -> bool {
    ["cairn-", "sha256-"]
        .iter()
        .any(|prefix| tag.as_str().starts_with(prefix))
}

/// Fails unless `tags` may be pointed at `digest` in `images`, whose ledger is in `home`.
///
/// A tag that a ledger moves may be put where the ledger says that it is, and nowhere else: that is how one that somebody
/// moved by hand is put back.
///
/// # Errors
///
/// Which tag may not be written, and which command is meant for it.
pub async fn check(
    cairn: &Cairn,
    images: &Reference,
    home: &Reference,
    tags: &[Tag],
    digest: Digest,
) -> Result<(), Failure> {
    if let Some(tag) = tags.iter().find(|tag| is_internal(tag)) {
        return Err(
            Failure::new(Exit::Input, format!("the tag {tag} cannot be written by name")).with_hint(
                "`cairn-…` and `sha256-…` belong to ledgers and referrers: choose another".to_owned(),
            ),
        );
    }
    if tags.is_empty() {
        return Ok(());
    }
    let repository = cairn.open(images).await?;
    let home = if home == images {
        Arc::clone(&repository)
    } else {
        cairn.open(home).await?
    };
    let opened = Ledger::new(home, repository)
        .open(&TrustPolicy::default())
        .await?;
    match opened.state() {
        Some(state) => tags
            .iter()
            .try_for_each(|tag| check_against(state, images, tag, digest)),
        None => Ok(()),
    }
}

fn check_against(state: &State, images: &Reference, tag: &Tag, digest: Digest) -> Result<(), Failure> {
    let channel = state
        .channels
        .iter()
        .find(|(name, _)| name.as_str() == tag.as_str());
    if let Some(shown) = channel.and_then(|(_, channel)| channel.shows.as_ref()) {
        if shown.digest == digest {
            return Ok(());
        }
        let text = format!(
            "{tag} is a channel of the ledger of {images}, and shows {}",
            shown.label()
        );
        return Err(Failure::new(Exit::Conflict, text).with_hint(format!(
            "cairn release VERSION --channel {tag} moves it; so does cairn promote VERSION {tag}"
        )));
    }
    let Ok(version) = tag.as_str().parse::<Version>() else {
        return Ok(());
    };
    if state
        .versions
        .get(&version)
        .is_some_and(|binding| binding.to(&digest).is_some())
    {
        return Ok(());
    }
    let text = format!("{images} has a ledger, so a tag such as {tag} is a version that somebody signs for");
    Err(Failure::new(Exit::Conflict, text).with_hint(format!("cairn release {tag} releases it")))
}
