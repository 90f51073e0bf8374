//! The base goes into the output byte for byte.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_layer::{Engine, Limits, WrittenLayer};
use cairn_oci::{Descriptor, Digest, Hasher, ImageConfig, Platform, config};
use cairn_store::archive::{self, Archive};
use cairn_store::files::{self, TemporaryFile};
use cairn_store::transfer::Transferred;
use cairn_store::{
    ByteStream, Repository as _, RepositoryError, Written, collect, from_bytes, layout, verified,
};
use futures_util::TryStreamExt;

use super::{Build, BuildError};
use crate::blocking::{file_stream, run};
use crate::lock::{LockedLayer, LockedOrigin, LockedPlatform, LockedSource, source_text};
use crate::resolve::RECOMPRESSION;
use crate::spec::BaseSource;

/// What messages call the layer that a root file system becomes.
const ROOTFS: &str = "base";

/// A base's configuration, read and as it came.
pub(super) struct BaseConfig {
    pub(super) config: ImageConfig,
    bytes: Bytes,
}

impl Build<'_> {
    pub(super) fn locked(&self, platform: &Platform) -> Option<&LockedPlatform> {
        let base = self.request.lock.base.as_ref()?;
        base.platforms.get(platform).map(|locked| &locked.value)
    }

    /// The base's configuration; none for a root file system, and without a base.
    pub(super) async fn base_config(&self, platform: &Platform) -> Result<Option<BaseConfig>, BuildError> {
        let Some(LockedPlatform {
            origin: LockedOrigin::Image { config, .. },
            ..
        }) = self.locked(platform)
        else {
            return Ok(None);
        };
        let digest = config.digest;
        let content = self.open_input(platform, config).await?;
        let bytes = collect(verified(content, digest, config.size), config::LIMIT as u64).await;
        let bytes = bytes.map_err(|source| BuildError::ConfigContent { digest, source })?;
        let config = ImageConfig::parse(&bytes).map_err(|source| BuildError::Config { digest, source })?;
        Ok(Some(BaseConfig { config, bytes }))
    }

    /// Keeps the base's configuration in the output, so that the next build needs no input. It is no part of the image,
    /// and does not count as transferred.
    pub(super) async fn keep_base_config(&self, base: &BaseConfig) -> Result<(), BuildError> {
        let (digest, size) = (Digest::of(&base.bytes), base.bytes.len() as u64);
        let written = self
            .output
            .write_blob(&digest, size, from_bytes(base.bytes.clone()))
            .await;
        written
            .map(|_| ())
            .map_err(|source| self.write_error(digest, source))
    }

    /// From the output if it has the blob, else from where else it can be had.
    async fn open_input(&self, platform: &Platform, blob: &Descriptor) -> Result<ByteStream, BuildError> {
        let digest = blob.digest;
        let found = self.output.read_blob(&digest, None).await;
        match found.map_err(|source| BuildError::Input { digest, source })? {
            Some(found) => Ok(found.content),
            None => self.open_foreign(platform, blob).await,
        }
    }

    /// From the layout or archive beside the spec, if the base is one, else from the inputs.
    async fn open_foreign(&self, platform: &Platform, blob: &Descriptor) -> Result<ByteStream, BuildError> {
        let digest = blob.digest;
        let failed = |source| BuildError::Input { digest, source };
        let base = self.request.spec.base.as_ref().map(|base| &base.source.value);
        if let Some(BaseSource::Layout { directory, .. }) = base {
            let path = self.request.directory.join(directory);
            let layout = run(move || layout::open(path)).await.map_err(failed)?;
            if let Some(found) = layout.read_blob(&digest, None).await.map_err(failed)? {
                return Ok(found.content);
            }
        }
        if let Some(BaseSource::Archive { file, .. }) = base {
            let archive = self.archive(file.expand(platform)).await.map_err(failed)?;
            if let Some(found) = archive.read_blob(&digest, None).await.map_err(failed)? {
                return Ok(found.content);
            }
        }
        let opened = self.inputs.open(blob).await.map_err(failed)?;
        opened.ok_or_else(|| match base {
            Some(base @ (BaseSource::Layout { .. } | BaseSource::Archive { .. })) => {
                BuildError::BaseReplaced {
                    base: source_text(base).1,
                    digest,
                }
            }
            _ => BuildError::InputMissing { digest },
        })
    }

    /// The archive `file`, opened once: one that is compressed has to be decompressed for it.
    async fn archive(&self, file: String) -> Result<Archive, RepositoryError> {
        let mut archives = self.archives.lock().await;
        if let Some(opened) = archives.get(&file) {
            return Ok(opened.clone());
        }
        let (path, scratch) = (
            self.request.directory.join(&file),
            self.request.scratch.to_owned(),
        );
        let opened = run(move || archive::open(path, &scratch)).await?;
        archives.insert(file, opened.clone());
        Ok(opened)
    }

    /// Makes sure that the base's layers are in the output, and gives their descriptors.
    pub(super) async fn pass_base_on(
        &self,
        platform: &Platform,
        transferred: &mut Transferred,
    ) -> Result<Vec<Descriptor>, BuildError> {
        let Some(locked) = self.locked(platform) else {
            return Ok(Vec::new());
        };
        let mut descriptors = Vec::new();
        for layer in &locked.layers {
            let written = match &locked.origin {
                LockedOrigin::Image { .. } => self.pass_blob_on(platform, &layer.descriptor).await?,
                LockedOrigin::File { digest } => self.pass_rootfs_on(platform, *digest, layer).await?,
            };
            transferred.count(layer.descriptor.size, written);
            self.progress
                .base_layer(platform, &layer.descriptor, written == Written::Present);
            descriptors.push(layer.descriptor.clone());
        }
        Ok(descriptors)
    }

    async fn pass_blob_on(&self, platform: &Platform, blob: &Descriptor) -> Result<Written, BuildError> {
        let digest = blob.digest;
        let failed = |source| self.write_error(digest, source);
        if self.output.stat_blob(&digest).await.map_err(failed)? == Some(blob.size) {
            return Ok(Written::Present);
        }
        for sibling in self.inputs.siblings() {
            if self.output.mount_blob(&digest, sibling).await.map_err(failed)? {
                return Ok(Written::Present);
            }
        }
        let content = self.open_foreign(platform, blob).await?;
        self.output
            .write_blob(&digest, blob.size, content)
            .await
            .map_err(failed)
    }

    /// The file is always read, even if the output has the layer: it must still be the one that is pinned.
    async fn pass_rootfs_on(
        &self,
        platform: &Platform,
        pinned: Digest,
        layer: &LockedLayer,
    ) -> Result<Written, BuildError> {
        let Some(path) = self.rootfs_path(platform) else {
            return Err(BuildError::InputMissing { digest: pinned });
        };
        check_file(&path, pinned).await?;
        let digest = layer.descriptor.digest;
        if digest == pinned {
            let content = file_stream(&path)
                .await
                .map_err(|source| BuildError::OpenRootFs { path, source })?;
            let written = self
                .output
                .write_blob(&digest, layer.descriptor.size, content)
                .await;
            return written.map_err(|source| self.write_error(digest, source));
        }
        // The lock says what the file becomes; nothing has to become it where it is already.
        let may_reuse = self.request.records.is_some() || self.request.releases.is_some();
        if may_reuse && self.has_blob(&digest, layer.descriptor.size).await? {
            return Ok(Written::Present);
        }
        let (limits, scratch) = (self.request.limits, self.request.scratch.to_owned());
        let engine = self.request.engine.clone();
        let (written, file) = run(move || recompress_file(&path, &limits, &scratch, &engine)).await?;
        if written.digest != digest {
            let source = RepositoryError::Digest {
                expected: digest,
                found: written.digest,
            };
            return Err(self.write_error(digest, source));
        }
        self.store_spooled(&written, file).await
    }

    fn rootfs_path(&self, platform: &Platform) -> Option<PathBuf> {
        let spec = self.request.spec.base.as_ref()?;
        let locked = self.request.lock.base.as_ref()?;
        match (&spec.source.value, &locked.source.value) {
            (BaseSource::RootFs(path), LockedSource::RootFs { .. }) => {
                Some(self.request.directory.join(path.expand(platform)))
            }
            _ => None,
        }
    }
}

async fn check_file(path: &Path, pinned: Digest) -> Result<(), BuildError> {
    let failed = |source| BuildError::OpenRootFs {
        path: path.to_owned(),
        source,
    };
    if !tokio::fs::metadata(path).await.map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    let mut content = file_stream(path).await.map_err(failed)?;
    let mut hasher = Hasher::new();
    while let Some(piece) = content.try_next().await.map_err(failed)? {
        hasher.update(&piece);
    }
    let found = hasher.finish();
    if found == pinned {
        return Ok(());
    }
    Err(BuildError::RootFsChanged {
        path: path.to_owned(),
        expected: pinned,
        found,
    })
}

/// The same archive in the compression that its pinned layer has.
fn recompress_file(
    path: &Path,
    limits: &Limits,
    scratch: &Path,
    engine: &Engine,
) -> Result<(WrittenLayer, TemporaryFile), BuildError> {
    let file = files::temporary(scratch);
    let mut file = file.map_err(|source| BuildError::Scratch {
        layer: ROOTFS.to_owned(),
        source,
    })?;
    let archive = File::open(path).map_err(|source| BuildError::OpenRootFs {
        path: path.to_owned(),
        source,
    })?;
    let written = engine.recompress(archive, limits, RECOMPRESSION, &mut file);
    let written = written.map_err(|source| BuildError::RootFs {
        path: path.to_owned(),
        source,
    })?;
    Ok((written, file))
}
