//! Layers that are somewhere else: what must be fetched of a base, and images that are pushed without having all layers here.
//!
//! The lock has all that a build must know of a base. So an image can be pushed whose base's layers were never here: they are
//! at the destination, or the registry mounts them there, or they are passed through from their registry, and none of
//! them touches the disk. The same goes for own layers whose digest is known, from a build that this machine remembers or
//! from a release, if the destination has them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cairn_build::Lock;
use cairn_oci::{Descriptor, Digest, Platform, RepositoryName};
use cairn_store::files::TemporaryFile;
use cairn_store::{
    Blob, ByteStream, Condition, Overlay, RawManifest, Repository, RepositoryError, Target, Written,
};

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

/// A repository of the local store, together with layers that are not in it: those of a base, and those that the
/// destination of a push has.
///
/// What can be whole there is written there. A manifest that names one of the layers cannot: a store never has a
/// manifest without its blobs. It is held here until it has been pushed, and forgotten with this.
#[derive(Debug)]
pub struct Distant {
    local: Arc<dyn Repository>,
    /// Where the layers of the base are, with their sizes in bytes.
    base: Option<(Arc<dyn Repository>, BTreeMap<Digest, u64>)>,
    destination: Arc<dyn Repository>,
    /// Blobs that were not here when they were asked for, and that the destination has.
    there: Mutex<BTreeSet<Digest>>,
    held: Mutex<BTreeMap<Digest, RawManifest>>,
}

impl Distant {
    /// What `local` lacks counts as present if `destination`, to which the image is pushed, has it.
    #[must_use]
    pub fn new(local: Arc<dyn Repository>, destination: Arc<dyn Repository>) -> Self {
        Self {
            local,
            base: None,
            destination,
            there: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// The same, with `layers`, and their sizes in bytes, in the repository `base`.
    #[must_use]
    pub fn with_base(self, base: Arc<dyn Repository>, layers: BTreeMap<Digest, u64>) -> Self {
        Self {
            base: Some((base, layers)),
            ..self
        }
    }

    /// Whether the manifest `digest` is held here, because something that it names is not in the local store.
    #[must_use]
    pub fn holds(&self, digest: &Digest) -> bool {
        lock(&self.held).contains_key(digest)
    }

    fn find_held(&self, target: &Target) -> Option<RawManifest> {
        match target {
            Target::Digest(digest) => lock(&self.held).get(digest).cloned(),
            Target::Tag(_) => None,
        }
    }

    /// The base's repository and the size, if the blob is one of its layers that are not here.
    fn in_base(&self, digest: &Digest) -> Option<(&Arc<dyn Repository>, u64)> {
        let (base, layers) = self.base.as_ref()?;
        Some((base, *layers.get(digest)?))
    }

    fn is_elsewhere(&self, digest: &Digest) -> bool {
        self.in_base(digest).is_some() || lock(&self.there).contains(digest)
    }

    /// Whether a part of what `manifest` names is not in the local store.
    fn needs_distant(&self, manifest: &RawManifest) -> Result<bool, RepositoryError> {
        let digest = manifest.digest();
        let document = manifest
            .document()
            .map_err(|source| RepositoryError::Manifest { digest, source })?;
        Ok(document
            .blobs()
            .iter()
            .any(|blob| self.is_elsewhere(&blob.digest))
            || document.manifests().iter().any(|child| self.holds(&child.digest)))
    }

    fn is_here_now(&self, digest: &Digest) {
        lock(&self.there).remove(digest);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Overlay for Distant {
    fn below(&self) -> &dyn Repository {
        &*self.local
    }

    fn label(&self) -> String {
        let elsewhere = self.base.as_ref().map_or(&self.destination, |(base, _)| base);
        format!("{} or {}", self.local.label(), elsewhere.label())
    }

    /// A layer of the base counts as present: the lock says that it is there, and whoever needs it finds out.
    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        if let Some((_, size)) = self.in_base(digest) {
            return Ok(Some(size));
        }
        if let Some(size) = self.local.stat_blob(digest).await? {
            return Ok(Some(size));
        }
        let found = self.destination.stat_blob(digest).await?;
        if found.is_some() {
            lock(&self.there).insert(*digest);
        }
        Ok(found)
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        let elsewhere = lock(&self.there).contains(digest);
        let from = match self.in_base(digest) {
            Some((base, _)) => base,
            None if elsewhere => &self.destination,
            None => &self.local,
        };
        from.read_blob(digest, range).await
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        let written = self.local.write_blob(digest, size, content).await?;
        self.is_here_now(digest);
        Ok(written)
    }

    async fn write_spooled(&self, digest: &Digest, file: TemporaryFile) -> Result<Written, RepositoryError> {
        let written = self.local.write_spooled(digest, file).await?;
        self.is_here_now(digest);
        Ok(written)
    }

    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        let mounted = self.local.mount_blob(digest, from).await?;
        if mounted {
            self.is_here_now(digest);
        }
        Ok(mounted)
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
            lock(&self.held).insert(manifest.digest(), manifest.clone());
            return Ok(());
        }
        self.local.write_manifest(target, manifest, condition).await
    }
}
