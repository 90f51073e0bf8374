//! Garbage collection of the local store, with what the store itself cannot know: what a ledger still speaks of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cairn_ledger::operation::prune::kept_images;
use cairn_ledger::{Ledger, OpenError, TrustPolicy};
use cairn_oci::{Digest, RepositoryName};
use cairn_store::{Collected, Collection, Directory, Page, Repository, Store};

use crate::failure::Failure;
use crate::program::Cairn;

/// How long content waits for a tag, and an upload for whoever began it.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// What was removed from one repository, or would be.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which one.
    pub name: RepositoryName,
    /// Manifests and blobs.
    pub collected: Collected,
    /// Abandoned uploads, and what interrupted writes left.
    pub uploads: u64,
}

/// Collects the garbage of every repository. Beside what tags reach, every digest that a ledger of the store names is kept: it
/// may be somebody's way back. A ledger that cannot be read stops it.
///
/// # Errors
///
/// What could not be read or removed.
pub async fn collect(cairn: &Cairn, grace: Duration, dry_run: bool) -> Result<Vec<Row>, Failure> {
    let store = cairn.store().await?;
    let names = names(store).await?;
    let collection = Collection {
        now: now(cairn),
        grace,
        keep: released(cairn, store, &names).await?,
        dry_run,
    };
    let mut rows = Vec::new();
    for name in names {
        let uploads = if dry_run {
            0
        } else {
            expire(cairn, store, &name, DAY).await?
        };
        let collected = store.collect(&name, &collection).await?;
        rows.push(Row {
            name,
            collected,
            uploads,
        });
    }
    Ok(rows)
}

/// Removes the uploads of a repository that nobody has touched for `life`, and what interrupted writes left.
///
/// # Errors
///
/// The file that could not be removed.
pub async fn expire(
    cairn: &Cairn,
    store: &Directory,
    name: &RepositoryName,
    life: Duration,
) -> Result<u64, Failure> {
    let before = now(cairn).checked_sub(life).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(store.remove_uploads_before(name, before).await? as u64)
}

/// Every repository of the store.
///
/// # Errors
///
/// The directory that could not be read.
pub async fn names(store: &Directory) -> Result<Vec<RepositoryName>, Failure> {
    let (mut all, mut page) = (Vec::new(), Page::first());
    loop {
        let names = store.repositories(&page).await?;
        let Some(last) = names.last() else { return Ok(all) };
        page.after = Some(last.as_str().to_owned());
        all.extend(names);
    }
}

/// Every digest that an entry of a ledger in the store names and that is kept, also of images in other repositories than its own.
async fn released(
    cairn: &Cairn,
    store: &Directory,
    names: &[RepositoryName],
) -> Result<BTreeSet<Digest>, Failure> {
    let mut all = BTreeSet::new();
    for name in names {
        let repository: Arc<dyn Repository> = Arc::new(store.open_repository(name));
        // Whom to believe does not matter here: a digest too many is only kept.
        let policy = TrustPolicy {
            pin: None,
            remembered: None,
        };
        let ledger = Ledger::beside(repository);
        let told = |_: &OpenError| {
            let line = format!("the ledger in {name} cannot be read, so it is not known what it needs");
            cairn.terminal.warn(line);
        };
        let opened = ledger.open(&policy).await.inspect_err(told)?;
        if let Some(state) = opened.state() {
            all.extend(kept_images(&opened, state));
            // What waits for a signature is to be released or shown.
            let waiting = ledger.waiting(&opened).await.inspect_err(told)?;
            all.extend(waiting.entries.iter().filter_map(|one| one.entry.digest));
        }
    }
    Ok(all)
}

fn now(cairn: &Cairn) -> SystemTime {
    let seconds = u64::try_from(cairn.environment.now().as_second()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
