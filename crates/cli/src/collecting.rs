//! Garbage collection of the local store, with what the store itself cannot know: what a ledger still speaks of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cairn_ledger::operation::prune::kept_images;
use cairn_ledger::operation::{Dropped, Unseal};
use cairn_ledger::{Ledger, OpenError, Opened, TrustPolicy};
use cairn_oci::{Digest, RepositoryName, Tag};
use cairn_store::{Collected, Collection, Directory, Page, Repository, RepositoryError, Store, Target};

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
    /// Images that the repository's ledger says are no longer kept, and that were still there.
    pub pruned: u64,
    /// What was deleted of them, and what was not.
    pub dropped: Dropped,
}

/// What is collected.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// What was written or asked for within this time is kept.
    pub grace: Duration,
    /// Also what a ledger says is no longer kept goes, with its seals.
    pub pruned: bool,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// The seals of a repository of the local store: its owner may take them off.
#[derive(Debug)]
pub struct Seals<'a> {
    /// The store.
    pub store: &'a Directory,
    /// Which repository.
    pub name: &'a RepositoryName,
}

#[async_trait]
impl Unseal for Seals<'_> {
    async fn unseal(&self, tag: &Tag, digest: &Digest) -> Result<(), RepositoryError> {
        self.store.unseal(self.name, tag, digest).await.map(|_| ())
    }
}

/// Collects the garbage of every repository. Beside what tags reach, every digest that a ledger of the store names is kept: it
/// may be somebody's way back. A ledger that cannot be read stops it.
///
/// # Errors
///
/// What could not be read or removed.
pub async fn collect(cairn: &Cairn, wish: Wish) -> Result<Vec<Row>, Failure> {
    let Wish {
        grace,
        pruned,
        dry_run,
    } = wish;
    let store = cairn.store().await?;
    let names = names(store).await?;
    let mut taken = if pruned {
        drop_pruned(cairn, store, &names, dry_run).await?
    } else {
        BTreeMap::new()
    };
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
        let (pruned, dropped) = taken.remove(&name).unwrap_or_default();
        rows.push(Row {
            name,
            collected,
            uploads,
            pruned,
            dropped,
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

/// Deletes what is still there of images that the ledger beside them says are no longer kept: how many there were, and what became
/// of them, by repository.
async fn drop_pruned(
    cairn: &Cairn,
    store: &Directory,
    names: &[RepositoryName],
    dry_run: bool,
) -> Result<BTreeMap<RepositoryName, (u64, Dropped)>, Failure> {
    let mut all = BTreeMap::new();
    for name in names {
        let (ledger, opened) = open(cairn, store, name).await?;
        let Some(state) = opened.state() else { continue };
        let mut there = 0;
        for digest in state.pruned.keys() {
            let found = ledger.images().stat_manifest(&Target::Digest(*digest)).await?;
            there += u64::from(found.is_some());
        }
        let dropped = if dry_run {
            Dropped::default()
        } else {
            ledger.drop_pruned(&opened, Some(&Seals { store, name })).await?
        };
        all.insert(name.clone(), (there, dropped));
    }
    Ok(all)
}

/// The ledger of a repository of the store. Whom to believe does not matter: where a digest is only kept, one too many does no harm,
/// and nothing else is done without being asked for.
async fn open(cairn: &Cairn, store: &Directory, name: &RepositoryName) -> Result<(Ledger, Opened), Failure> {
    let repository: Arc<dyn Repository> = Arc::new(store.open_repository(name));
    let ledger = Ledger::beside(repository);
    let told = |_: &OpenError| {
        let line = format!("the ledger in {name} cannot be read, so it is not known what it needs");
        cairn.terminal.warn(line);
    };
    let opened = ledger.open(&TrustPolicy::default()).await.inspect_err(told)?;
    Ok((ledger, opened))
}

/// Every digest that an entry of a ledger in the store names and that is kept, also of images in other repositories than its own.
/// A ledger that is elsewhere is not read: images of the store that it speaks of are kept by their tags.
async fn released(
    cairn: &Cairn,
    store: &Directory,
    names: &[RepositoryName],
) -> Result<BTreeSet<Digest>, Failure> {
    let mut all = BTreeSet::new();
    for name in names {
        let (ledger, opened) = open(cairn, store, name).await?;
        if let Some(state) = opened.state() {
            all.extend(kept_images(&opened, state));
            // What waits for a signature is to be released or shown.
            let waiting = ledger.waiting(&opened).await?;
            all.extend(waiting.entries.iter().filter_map(|one| one.entry.digest));
        }
    }
    Ok(all)
}

fn now(cairn: &Cairn) -> SystemTime {
    let seconds = u64::try_from(cairn.environment.now().as_second()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
