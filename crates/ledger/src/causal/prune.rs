//! Deleting the tags of old heads.

use cairn_oci::Digest;
use cairn_store::Target;

use super::{KEEP, short_of};
use crate::head;
use crate::open::{Ledger, OpenError};
use crate::reading::{self, Place, Reading};
use crate::view::View;

/// Most tags that one append deletes.
const DELETE_LIMIT: usize = 16;

/// Deletes tags of heads beyond the newest [`KEEP`] that count. Only what the head `better` contains is deleted, and more: `better`
/// must be there, with all of its packs, and have an entry that the other lacks, so that two who delete at once never delete
/// both of two heads that have the same. Registries that cannot delete tags keep them; that is no error.
pub(crate) async fn prune(ledger: &Ledger, view: &View, better: &Digest) -> Result<(), OpenError> {
    let real = |short: &str| {
        view.covered.contains(short) || view.heads.iter().any(|head| head::short(&head.digest) == short)
    };
    let old: Vec<_> = view
        .listed
        .iter()
        .filter(|tag| real(short_of(tag)))
        .skip(KEEP)
        .collect();
    if old.is_empty() || !is_there(ledger, better).await? {
        return Ok(());
    }
    let place = Place {
        repository: &*ledger.home,
        cache: ledger.cache.as_deref(),
        known: &view.known,
    };
    for tag in old.into_iter().rev().take(DELETE_LIMIT) {
        let target = Target::Tag(tag.clone());
        let manifest = ledger.home.read_manifest(&target).await;
        let Ok(Some(manifest)) = manifest else { continue };
        let digest = manifest.digest();
        if head::short(&digest) != short_of(tag) || digest == *better {
            continue;
        }
        let Ok(front) = reading::front(&*ledger.home, &manifest).await else {
            continue;
        };
        let Ok(Reading::Counts(head)) = place.read(&front, None).await else {
            continue;
        };
        let is_less = head.records.len() < view.records().len() && view.contains(&head);
        if is_less && ledger.home.delete_tag(tag).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a head and all of its packs are in the repository, not only in some memory of it.
async fn is_there(ledger: &Ledger, digest: &Digest) -> Result<bool, OpenError> {
    let failed = |source| ledger.repository_error(source);
    let manifest = ledger
        .home
        .read_manifest(&Target::Digest(*digest))
        .await
        .map_err(failed)?;
    let Some(parts) = manifest.and_then(|manifest| head::parts(&manifest).ok()) else {
        return Ok(false);
    };
    for blob in parts.packs.iter().chain([&parts.config]) {
        if ledger.home.stat_blob(&blob.digest).await.map_err(failed)? != Some(blob.size) {
            return Ok(false);
        }
    }
    Ok(true)
}
