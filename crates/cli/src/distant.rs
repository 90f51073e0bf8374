//! A base whose layers are somewhere else: what must be fetched of it, and images that are pushed without fetching it.
//!
//! The lock has all that a build must know of a base. So an image can be pushed whose base's layers were never here: they are
//! at the destination, or the registry mounts them there, or they are passed through from their registry, and none of
//! them touches the disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cairn_build::Lock;
use cairn_oci::{Descriptor, Digest, Platform};
use cairn_store::{Blob, Condition, Overlay, RawManifest, Repository, RepositoryError, Target};

use crate::failure::Failure;
use crate::program::Cairn;

/// The layers of the locked base that neither `local` nor the cache has, with their sizes in bytes.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn absent_layers(
    cairn: &Cairn,
    local: &dyn Repository,
    lock: &Lock,
    platforms: &[Platform],
) -> Result<BTreeMap<Digest, u64>, Failure> {
    let mut absent = BTreeMap::new();
    let locked = lock.base.iter().flat_map(|base| &base.platforms);
    let wanted = locked.filter(|(platform, _)| platforms.is_empty() || platforms.contains(platform));
    for layer in wanted.flat_map(|(_, locked)| &locked.value.layers) {
        let Descriptor { digest, size, .. } = &layer.descriptor;
        if !absent.contains_key(digest) && !is_here(cairn, local, digest, *size).await? {
            absent.insert(*digest, *size);
        }
    }
    Ok(absent)
}

/// Whether `local` or the cache has a blob of `size` bytes.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn is_here(
    cairn: &Cairn,
    local: &dyn Repository,
    digest: &Digest,
    size: u64,
) -> Result<bool, Failure> {
    Ok(local.stat_blob(digest).await? == Some(size)
        || cairn.store().await?.cache_read(digest).await?.is_some())
}

/// A repository of the local store, together with base layers that are not in it.
///
/// What can be whole there is written there. A manifest that names one of the layers cannot: a store never has a
/// manifest without its blobs. It is held here until it has been pushed, and forgotten with this.
#[derive(Debug)]
pub struct Distant {
    local: Arc<dyn Repository>,
    base: Arc<dyn Repository>,
    layers: BTreeMap<Digest, u64>,
    held: Mutex<BTreeMap<Digest, RawManifest>>,
}

impl Distant {
    /// `layers`, with their sizes in bytes, are in `base`; everything else is in `local`.
    #[must_use]
    pub fn new(local: Arc<dyn Repository>, base: Arc<dyn Repository>, layers: BTreeMap<Digest, u64>) -> Self {
        Self {
            local,
            base,
            layers,
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Digest, RawManifest>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_held(&self, target: &Target) -> Option<RawManifest> {
        match target {
            Target::Digest(digest) => self.held().get(digest).cloned(),
            Target::Tag(_) => None,
        }
    }

    /// Whether a part of what `manifest` names is not in the local store.
    fn needs_distant(&self, manifest: &RawManifest) -> Result<bool, RepositoryError> {
        let digest = manifest.digest();
        let document = manifest
            .document()
            .map_err(|source| RepositoryError::Manifest { digest, source })?;
        let held = self.held();
        Ok(document
            .blobs()
            .iter()
            .any(|blob| self.layers.contains_key(&blob.digest))
            || document
                .manifests()
                .iter()
                .any(|child| held.contains_key(&child.digest)))
    }
}

#[async_trait]
impl Overlay for Distant {
    fn below(&self) -> &dyn Repository {
        &*self.local
    }

    fn label(&self) -> String {
        format!("{} or {}", self.local.label(), self.base.label())
    }

    /// A layer that is elsewhere counts as present: the lock says that it is there, and whoever needs it finds out.
    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        match self.layers.get(digest) {
            Some(size) => Ok(Some(*size)),
            None => self.local.stat_blob(digest).await,
        }
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        let from = if self.layers.contains_key(digest) {
            &self.base
        } else {
            &self.local
        };
        from.read_blob(digest, range).await
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        match self.find_held(target) {
            Some(manifest) => Ok(Some(manifest.descriptor())),
            None => self.local.stat_manifest(target).await,
        }
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        match self.find_held(target) {
            Some(manifest) => Ok(Some(manifest)),
            None => self.local.read_manifest(target).await,
        }
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        if matches!(target, Target::Digest(_)) && self.needs_distant(manifest)? {
            self.held().insert(manifest.digest(), manifest.clone());
            return Ok(());
        }
        self.local.write_manifest(target, manifest, condition).await
    }
}
