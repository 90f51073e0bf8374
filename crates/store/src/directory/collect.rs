//! Garbage collection, while others read and write.
//!
//! What is kept: everything that a tag reaches (its manifest, the entries of an index, their blobs), the referrers of what
//! is kept, and whatever somebody touched within the grace period. Writing, mounting, and being told that a blob is
//! there all touch it: that is the lease on which an unfinished push relies. An upload that is open prolongs the
//! leases of its repository: nothing that was touched since it began, less the grace period, is taken.
//!
//! Nothing is stopped for it. First everything is marked without a lock. Then, in small steps, the repository is
//! locked, what was written meanwhile is marked too, and what is still neither marked nor touched is removed:
//!
//! ```text
//! lock of the repository   excludes whoever writes a manifest or a tag
//! lock on `_gc`            excludes whoever is about to say that a blob is there (they share it)
//! ```

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cairn_oci::{Digest, Document, RepositoryName};

use super::Directory;
use super::repository::DirectoryRepository;
use crate::blocking::blocking;
use crate::error::RepositoryError;
use crate::files::Lock;
use crate::repository::Target;
use crate::store::UploadId;

/// Manifests that are removed under one lock: each is flushed to the disk.
const MANIFESTS_AT_ONCE: usize = 16;
/// Names of blobs that are looked at together.
const BLOBS_AT_ONCE: usize = 1000;

/// How to collect garbage.
#[derive(Debug, Clone)]
pub struct Collection {
    /// The time.
    pub now: SystemTime,
    /// What was touched within this time is kept.
    pub grace: Duration,
    /// Manifests that are kept as if a tag showed them.
    pub keep: BTreeSet<Digest>,
    /// Only counts.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests.
    pub manifests: u64,
    /// Blobs that are no manifests.
    pub blobs: u64,
    /// Bytes of both. A blob that another repository has too takes no less room afterwards.
    pub bytes: u64,
}

impl Directory {
    /// Removes what nothing reaches and nobody touched within the grace period, while others go on reading and
    /// writing.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Damaged`] and its like if a manifest that is kept cannot be read: what it needs is not known then,
    /// and nothing more is removed. Or the file that could not be read or removed.
    pub async fn collect(
        &self,
        name: &RepositoryName,
        collection: &Collection,
    ) -> Result<Collected, RepositoryError> {
        let (repository, collection) = (self.open_repository(name), collection.clone());
        blocking(move || repository.collect(&collection)).await
    }
}

impl Directory {
    /// Makes a sealed tag an ordinary one, if it shows `digest`: the owner of the disk may, and nobody over a network. Returns
    /// whether there was such a tag.
    ///
    /// # Errors
    ///
    /// The file that could not be read or written.
    pub async fn unseal(
        &self,
        name: &RepositoryName,
        tag: &cairn_oci::Tag,
        digest: &Digest,
    ) -> Result<bool, RepositoryError> {
        let (repository, tag, digest) = (self.open_repository(name), tag.clone(), *digest);
        blocking(move || repository.unseal_tag(&tag, &digest)).await
    }
}

/// What is known to be kept. It only grows, for what was reached stays reached as long as we look.
struct Mark<'c> {
    collection: &'c Collection,
    cutoff: SystemTime,
    reached: BTreeSet<Digest>,
}

impl DirectoryRepository {
    fn collect(&self, collection: &Collection) -> Result<Collected, RepositoryError> {
        let mut mark = Mark {
            collection,
            cutoff: self.cutoff(collection)?,
            reached: BTreeSet::new(),
        };
        self.mark(&mut mark)?;
        let mut collected = Collected::default();
        let stale = |digest: &Digest, mark: &Mark<'_>| {
            !mark.reached.contains(digest) && self.is_stale_manifest(digest, mark.cutoff)
        };
        let manifests = self.refs().manifests()?;
        let candidates: Vec<Digest> = manifests
            .into_iter()
            .filter(|digest| stale(digest, &mark))
            .collect();
        for some in candidates.chunks(MANIFESTS_AT_ONCE) {
            let Some(_locks) = self.lock_to_collect(&mut mark)? else {
                return Ok(collected);
            };
            for digest in some.iter().filter(|digest| stale(digest, &mark)) {
                collected.bytes += self.blobs().stat(digest)?.unwrap_or(0);
                collected.manifests += 1;
                if !collection.dry_run {
                    self.forget_manifest(digest)?;
                }
            }
        }
        self.collect_blobs(&mut mark, &mut collected)?;
        Ok(collected)
    }

    fn collect_blobs(&self, mark: &mut Mark<'_>, collected: &mut Collected) -> Result<(), RepositoryError> {
        let stale = |digest: &Digest, mark: &Mark<'_>| {
            !mark.reached.contains(digest)
                && !self.refs().has_manifest(digest)
                && is_old(&self.blobs().path(digest), mark.cutoff)
        };
        let mut after = None;
        loop {
            let names = self.blobs().names_after(after.as_deref(), BLOBS_AT_ONCE)?;
            let Some(last) = names.last().cloned() else {
                return Ok(());
            };
            let digests = names.iter().filter_map(|name| Digest::from_hex(name).ok());
            let candidates: Vec<Digest> = digests.filter(|digest| stale(digest, mark)).collect();
            if !candidates.is_empty() {
                let Some(_locks) = self.lock_to_collect(mark)? else {
                    return Ok(());
                };
                for digest in candidates.iter().filter(|digest| stale(digest, mark)) {
                    collected.bytes += self.blobs().stat(digest)?.unwrap_or(0);
                    collected.blobs += 1;
                    if !mark.collection.dry_run {
                        // One that comes back after a power loss is garbage again: nothing waits for the disk.
                        self.writer().discard(&self.blobs().path(digest))?;
                    }
                }
            }
            after = Some(last);
        }
    }

    /// The locks under which something may be removed, with everything marked that was written until then. None if the
    /// repository is gone.
    fn lock_to_collect(&self, mark: &mut Mark<'_>) -> Result<Option<(Lock, Lock)>, RepositoryError> {
        let Some(repository) = self.lock_existing()? else {
            return Ok(None);
        };
        // Later than the lock above, as whoever writes takes them; nobody takes them the other way round.
        let leases = Lock::exclusive(&self.lease_path())?;
        mark.cutoff = mark.cutoff.min(self.cutoff(mark.collection)?);
        self.mark(mark)?;
        Ok(Some((repository, leases)))
    }

    /// Nothing that was touched since then is taken.
    fn cutoff(&self, collection: &Collection) -> Result<SystemTime, RepositoryError> {
        let mut from = collection.now;
        for path in self.writer().list_all(&self.uploads())? {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_none_or(|name| name.parse::<UploadId>().is_err()) {
                continue;
            }
            // One that ended meanwhile has touched its blob.
            if let Ok(metadata) = path.symlink_metadata() {
                // Not every file system knows when a file was made.
                let begun = metadata.created().or_else(|_| metadata.modified());
                from = from.min(begun.unwrap_or(SystemTime::UNIX_EPOCH));
            }
        }
        Ok(from
            .checked_sub(collection.grace)
            .unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn mark(&self, mark: &mut Mark<'_>) -> Result<(), RepositoryError> {
        for digest in &mark.collection.keep {
            self.reach(*digest, &mut mark.reached)?;
        }
        for tag in self.refs().tags()? {
            if let Some(found) = self.refs().tag(&tag)? {
                self.reach(found.descriptor.digest, &mut mark.reached)?;
            }
        }
        for digest in self.refs().manifests()? {
            if !mark.reached.contains(&digest) && !self.is_stale_manifest(&digest, mark.cutoff) {
                self.reach(digest, &mut mark.reached)?;
            }
        }
        self.mark_referrers(mark)
    }

    /// Referrers of what is kept, and theirs.
    fn mark_referrers(&self, mark: &mut Mark<'_>) -> Result<(), RepositoryError> {
        let subjects = self.refs().subjects()?;
        loop {
            let before = mark.reached.len();
            for subject in subjects
                .iter()
                .filter(|subject| mark.reached.contains(*subject))
                .collect::<Vec<_>>()
            {
                for referrer in self.refs().referrer_digests(subject)? {
                    self.reach(referrer, &mut mark.reached)?;
                }
            }
            if mark.reached.len() == before {
                return Ok(());
            }
        }
    }

    /// Marks a manifest and everything below it. What an index names and the repository does not have is no damage.
    fn reach(&self, digest: Digest, reached: &mut BTreeSet<Digest>) -> Result<(), RepositoryError> {
        let mut open = vec![digest];
        while let Some(digest) = open.pop() {
            if !reached.insert(digest) || !self.refs().has_manifest(&digest) {
                continue;
            }
            let Some(manifest) = self.read(&Target::Digest(digest))? else {
                continue;
            };
            let document = manifest
                .document()
                .map_err(|source| RepositoryError::Manifest { digest, source })?;
            match &document {
                // Also layers that may be kept elsewhere: if they are here, somebody wanted them here.
                Document::Manifest(manifest) => {
                    let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
                    reached.extend(blobs.map(|blob| blob.digest));
                }
                Document::Index(index) => open.extend(index.manifests.iter().map(|entry| entry.digest)),
            }
        }
        Ok(())
    }

    fn is_stale_manifest(&self, digest: &Digest, cutoff: SystemTime) -> bool {
        is_old(&self.blobs().path(digest), cutoff) && is_old(&self.refs().manifest_path(digest), cutoff)
    }

    fn lease_path(&self) -> PathBuf {
        self.store()
            .repository_path(crate::Repository::name(self))
            .join(super::LEASES)
    }
}

/// Whether nobody has touched the file since `cutoff`. One that is gone is old.
fn is_old(path: &Path, cutoff: SystemTime) -> bool {
    let Ok(metadata) = path.symlink_metadata() else {
        return true;
    };
    changed(&metadata).is_none_or(|changed| changed < cutoff)
}

/// When the file was last touched, by anybody and in any way.
fn changed(metadata: &std::fs::Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}
