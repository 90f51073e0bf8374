//! Any OCI image layout as a repository: `oci:DIR[:TAG]`, `[base] oci`.
//!
//! Here `index.json` is the truth, as for every other tool (image-spec, image-layout.md): a tag is an entry with
//! `org.opencontainers.image.ref.name`, and a manifest belongs to the layout if an entry or an index below one names
//! it. One that loses its last tag leaves the layout; its bytes stay. Writers exclude each other by a lock on the file
//! `oci-layout`, which nothing replaces.

mod entries;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::{Descriptor, Digest, Index, RepositoryName, Tag, json, media_type};

use crate::blobs::Blobs;
use crate::blocking::blocking;
use crate::error::RepositoryError;
use crate::files::{FileError, Fs, PUBLIC, RealFs, TemporaryFile, Writer};
use crate::repository::{
    Blob, Capabilities, Condition, Page, RawManifest, Referrers, ReferrersPage, Repository, TagPage, Target,
    Written,
};
use crate::stream::ByteStream;
use entries::is_untagged;

/// The file that makes a directory an image layout.
pub(crate) const MARKER: &str = "oci-layout";

/// An image layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    path: PathBuf,
    name: RepositoryName,
    writer: Writer,
    blobs: Blobs,
    writable: bool,
}

/// Opens the image layout `path`, which must exist, to read. Blocks.
///
/// # Errors
///
/// [`RepositoryError::File`] if it has no `oci-layout` or `index.json`, [`RepositoryError::Damaged`] if one of them
/// does not have the form it must have.
pub fn open(path: impl Into<PathBuf>) -> Result<Layout, RepositoryError> {
    let layout = Layout::new(Arc::new(RealFs), path.into(), false);
    for file in [MARKER, "index.json"] {
        let path = layout.path.join(file);
        path.metadata().map_err(FileError::on("read", &path))?;
    }
    layout.check_marker()?;
    layout.entries()?;
    Ok(layout)
}

/// Opens the image layout `path` to read and write. It need not exist: nothing is made before the first write. Blocks.
///
/// # Errors
///
/// [`RepositoryError::Damaged`] if it exists and does not have the form it must have.
pub fn create(path: impl Into<PathBuf>) -> Result<Layout, RepositoryError> {
    create_on(Arc::new(RealFs), path)
}

/// [`create`] on another [`Fs`]: for tests that inject faults.
///
/// # Errors
///
/// As [`create`].
pub fn create_on(fs: Arc<dyn Fs>, path: impl Into<PathBuf>) -> Result<Layout, RepositoryError> {
    let layout = Layout::new(fs, path.into(), true);
    layout.check_marker()?;
    layout.entries()?;
    Ok(layout)
}

/// Makes what every image layout has, durably, if it is not there.
pub(crate) fn prepare(writer: &Writer, layout: &Path) -> Result<(), FileError> {
    writer.create_directories(&layout.join("blobs/sha256"))?;
    let marker = json::canonical(&BTreeMap::from([("imageLayoutVersion", "1.0.0")]));
    writer.create(&layout.join(MARKER), &marker, PUBLIC).map(drop)
}

/// An `index.json` with `manifests` in this order.
pub(crate) fn index(manifests: Vec<Descriptor>) -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.into()),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: BTreeMap::new(),
    }
}

impl Layout {
    fn new(fs: Arc<dyn Fs>, path: PathBuf, writable: bool) -> Self {
        let writer = Writer::new(fs, Some(path.clone()));
        let directory = path.file_name().and_then(|name| name.to_str());
        let name = directory.and_then(|name| name.parse().ok());
        Self {
            name: name.unwrap_or_else(fallback_name),
            // Other tools clean `blobs/` by themselves; what they do not know would be in their way there.
            blobs: Blobs::new(writer.clone(), path.join("blobs/sha256"), path.clone()),
            writer,
            path,
            writable,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entries of `index.json`, as they stand there.
    ///
    /// # Errors
    ///
    /// The file that could not be read.
    pub async fn manifests(&self) -> Result<Vec<Descriptor>, RepositoryError> {
        self.run(Self::entries).await
    }

    /// What is meant where no tag is named: the only entry, or the only one with a tag; `None` if that is not clear.
    ///
    /// # Errors
    ///
    /// The file that could not be read.
    pub async fn sole_manifest(&self) -> Result<Option<Descriptor>, RepositoryError> {
        let entries = self.manifests().await?;
        let tagged: Vec<&Descriptor> = entries.iter().filter(|entry| !is_untagged(entry)).collect();
        Ok(match (&entries[..], &tagged[..]) {
            ([only], _) => Some(only.clone()),
            (_, [only]) => Some((*only).clone()),
            _ => None,
        })
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let layout = self.clone();
        blocking(move || work(&layout)).await
    }
}

#[expect(clippy::expect_used, reason = "a constant that follows the grammar")]
fn fallback_name() -> RepositoryName {
    "layout".parse().expect("a repository name")
}

#[async_trait]
impl Repository for Layout {
    fn name(&self) -> &RepositoryName {
        &self.name
    }

    fn label(&self) -> String {
        format!("oci:{}", self.path.display())
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        Ok(Capabilities {
            conditions: self.writable,
            seal: false,
            referrers: Referrers::Native,
            delete_tags: Some(self.writable),
        })
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        let digest = *digest;
        Ok(self.run(move |this| this.blobs.stat(&digest)).await?)
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        self.blobs.read(digest, range).await
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        self.refuse_read_only()?;
        let this = self.clone();
        self.blobs
            .write(*digest, size, content, move || this.prepare())
            .await
    }

    async fn write_spooled(&self, digest: &Digest, file: TemporaryFile) -> Result<Written, RepositoryError> {
        self.refuse_read_only()?;
        let this = self.clone();
        self.blobs
            .write_spooled(*digest, file, move || this.prepare())
            .await
    }

    /// A layout has no siblings.
    async fn mount_blob(&self, _: &Digest, _: &RepositoryName) -> Result<bool, RepositoryError> {
        Ok(false)
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        let target = target.clone();
        self.run(move |this| this.stat(&target)).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        let target = target.clone();
        self.run(move |this| this.read(&target)).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        let (target, manifest, condition) = (target.clone(), manifest.clone(), condition.clone());
        self.run(move |this| this.write(&target, &manifest, &condition))
            .await
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let page = page.clone();
        self.run(move |this| this.tags(&page)).await
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let (subject, artifact_type, page) = (*subject, artifact_type.map(str::to_owned), page.clone());
        self.run(move |this| this.referrers(&subject, artifact_type.as_deref(), &page))
            .await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        let tag = tag.clone();
        self.run(move |this| this.remove_tag(&tag)).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let digest = *digest;
        self.run(move |this| this.remove_manifest(&digest)).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let digest = *digest;
        self.run(move |this| this.remove_blob(&digest)).await
    }
}
