//! Any OCI image layout as a repository: `oci:DIR[:TAG]`, `[base] oci`.
//!
//! Here `index.json` is the truth, as for every other tool (image-spec, image-layout.md): a tag is an entry with
//! `org.opencontainers.image.ref.name`, and a manifest belongs to the layout if an entry or an index below one names
//! it. One that loses its last tag leaves the layout; its bytes stay. Writers exclude each other by a lock on the file
//! `oci-layout`, which nothing replaces.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::{
    Descriptor, Digest, Document, Index, RepositoryName, Tag, annotations, json, manifest, media_type,
};

use crate::blobs::{Blobs, expect_digest, read_bounded};
use crate::blocking::blocking;
use crate::error::{MissingBlob, RepositoryError};
use crate::files::{FileError, Fs, Lock, PUBLIC, RealFs, Writer};
use crate::memory::{check_condition, page_of, referrer_descriptor};
use crate::repository::{
    Blob, Capabilities, Condition, Page, RawManifest, Referrers, ReferrersPage, Repository, TagPage, Target,
    Written,
};
use crate::stream::ByteStream;
use crate::transfer::DEPTH_LIMIT;

/// The file that makes a directory an image layout.
pub(crate) const MARKER: &str = "oci-layout";
/// Longest `index.json` that is read, in bytes.
const INDEX_LIMIT: usize = 16 << 20;
/// Most manifests that are looked at below one `index.json`.
const MANIFEST_LIMIT: usize = manifest::ENTRY_LIMIT;

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

fn ref_name(entry: &Descriptor) -> Option<Tag> {
    entry.annotations.get(annotations::REF_NAME)?.parse().ok()
}

fn is_untagged(entry: &Descriptor) -> bool {
    !entry.annotations.contains_key(annotations::REF_NAME)
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

    fn check_marker(&self) -> Result<(), RepositoryError> {
        let path = self.path.join(MARKER);
        let Some(bytes) = read_bounded(&self.writer, &path, 4096)? else {
            return Ok(());
        };
        let damaged = |detail: &str| RepositoryError::Damaged {
            path: path.clone(),
            detail: detail.to_owned(),
        };
        let marker: serde_json::Value =
            json::parse(&bytes, 4096).map_err(|_| damaged("it is not a JSON document"))?;
        match marker
            .get("imageLayoutVersion")
            .and_then(serde_json::Value::as_str)
        {
            Some(version) if version.starts_with("1.") => Ok(()),
            _ => Err(damaged("imageLayoutVersion is not 1.0.0")),
        }
    }

    fn entries(&self) -> Result<Vec<Descriptor>, RepositoryError> {
        let path = self.path.join("index.json");
        let Some(bytes) = read_bounded(&self.writer, &path, INDEX_LIMIT)? else {
            return Ok(Vec::new());
        };
        let index: Index = json::parse(&bytes, INDEX_LIMIT).map_err(|_| RepositoryError::Damaged {
            path,
            detail: "it is not an image index".to_owned(),
        })?;
        Ok(index.manifests)
    }

    fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>, RepositoryError> {
        let entries = self.entries()?;
        Ok(entries
            .into_iter()
            .find(|entry| ref_name(entry).as_ref() == Some(tag)))
    }

    /// The entries and every manifest below them, each once.
    fn reachable(&self) -> Result<BTreeMap<Digest, Descriptor>, RepositoryError> {
        let (mut seen, mut level) = (BTreeMap::new(), self.entries()?);
        for _ in 0..=DEPTH_LIMIT {
            let mut below = Vec::new();
            for entry in level {
                if seen.len() < MANIFEST_LIMIT && !seen.contains_key(&entry.digest) {
                    below.extend(self.children(&entry));
                    seen.insert(entry.digest, entry);
                }
            }
            level = below;
        }
        Ok(seen)
    }

    /// The manifests that an index lists. One that is missing or damaged lists none; reading it says why.
    fn children(&self, entry: &Descriptor) -> Vec<Descriptor> {
        if !entry.media_type.is_index() {
            return Vec::new();
        }
        let document = self
            .load(entry)
            .ok()
            .flatten()
            .and_then(|raw| raw.document().ok());
        document.map_or_else(Vec::new, |document| document.manifests().to_vec())
    }

    fn find(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        match target {
            Target::Tag(tag) => self.tagged(tag),
            Target::Digest(digest) => Ok(self.reachable()?.remove(digest)),
        }
    }

    fn stat(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        let Some(entry) = self.find(target)? else {
            return Ok(None);
        };
        let size = self.blobs.stat(&entry.digest)?;
        Ok(size.map(|size| Descriptor::new(entry.media_type, entry.digest, size)))
    }

    fn read(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        match self.find(target)? {
            Some(entry) => self.load(&entry),
            None => Ok(None),
        }
    }

    fn load(&self, entry: &Descriptor) -> Result<Option<RawManifest>, RepositoryError> {
        let Some(bytes) = self.blobs.read_whole(&entry.digest, manifest::LIMIT)? else {
            return Ok(None);
        };
        let manifest = RawManifest::new(entry.media_type.clone(), bytes);
        expect_digest(entry.digest, manifest.digest())?;
        Ok(Some(manifest))
    }

    fn refuse_read_only(&self) -> Result<(), RepositoryError> {
        if self.writable {
            return Ok(());
        }
        Err(self.unsupported("writing (it was opened to read)"))
    }

    fn unsupported(&self, operation: &'static str) -> RepositoryError {
        RepositoryError::Unsupported {
            repository: self.label(),
            operation,
        }
    }

    fn prepare(&self) -> Result<(), RepositoryError> {
        self.refuse_read_only()?;
        Ok(prepare(&self.writer, &self.path)?)
    }

    fn lock(&self) -> Result<Lock, RepositoryError> {
        self.prepare()?;
        Ok(Lock::exclusive(&self.path.join(MARKER))?)
    }

    fn store_entries(&self, entries: Vec<Descriptor>) -> Result<(), RepositoryError> {
        let path = self.path.join("index.json");
        Ok(self
            .writer
            .write(&path, &json::canonical(&index(entries)), PUBLIC)?)
    }

    fn write(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        let digest = manifest.digest();
        if matches!(condition, Condition::Seal) {
            return Err(self.unsupported("sealing tags"));
        }
        if let Target::Digest(expected) = target {
            expect_digest(*expected, digest)?;
        }
        let document = manifest
            .document()
            .map_err(|source| RepositoryError::Manifest { digest, source })?;
        let _lock = self.lock()?;
        if let Target::Tag(tag) = target {
            let found = self.tagged(tag)?.map(|entry| (entry.digest, false));
            check_condition(tag, digest, condition, found)?;
        }
        self.insert(manifest, &document)?;
        self.list(target, manifest, &document)
    }

    fn insert(&self, manifest: &RawManifest, document: &Document) -> Result<(), RepositoryError> {
        let blobs = document.blobs();
        if let Some(missing) = self.blobs.first_missing(blobs.iter().map(|blob| &blob.digest))? {
            return Err(RepositoryError::BlobUnknown {
                manifest: manifest.digest(),
                blob: MissingBlob::Known(missing),
            });
        }
        self.blobs.write_whole(&manifest.digest(), manifest.bytes())
    }

    /// Enters a manifest into `index.json`: under its tag, or untagged unless it is listed or reachable already.
    /// Untagged entries that are reachable through it leave the list.
    fn list(
        &self,
        target: &Target,
        manifest: &RawManifest,
        document: &Document,
    ) -> Result<(), RepositoryError> {
        let digest = manifest.digest();
        let mut entry = Descriptor {
            artifact_type: document.subject().and_then(|_| document.artifact_type()),
            ..manifest.descriptor()
        };
        let mut entries = self.entries()?;
        match target {
            Target::Tag(tag) => {
                let name = tag.to_string();
                entries.retain(|other| other.annotations.get(annotations::REF_NAME) != Some(&name));
                entries.retain(|other| other.digest != digest || !is_untagged(other));
                entry.annotations.insert(annotations::REF_NAME.to_owned(), name);
                entries.push(entry);
            }
            Target::Digest(_) if self.reachable()?.contains_key(&digest) => {}
            Target::Digest(_) => entries.push(entry),
        }
        entries.retain(|other| !is_untagged(other) || !lists(document, &other.digest));
        self.store_entries(entries)
    }

    fn remove_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        self.refuse_read_only()?;
        let path = self.path.join(MARKER);
        let Some(_lock) = Lock::existing(&path)? else {
            return Ok(false);
        };
        let mut entries = self.entries()?;
        let Some(place) = entries
            .iter()
            .position(|entry| ref_name(entry).as_ref() == Some(tag))
        else {
            return Ok(false);
        };
        entries.remove(place);
        self.store_entries(entries)?;
        Ok(true)
    }

    fn remove_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.refuse_read_only()?;
        let path = self.path.join(MARKER);
        let Some(_lock) = Lock::existing(&path)? else {
            return Ok(false);
        };
        if !self.reachable()?.contains_key(digest) {
            return Ok(false);
        }
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.digest != *digest);
        self.store_entries(entries)?;
        Ok(self.blobs.remove(digest)?)
    }

    fn remove_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.refuse_read_only()?;
        if self.reachable()?.contains_key(digest) {
            return Ok(false);
        }
        Ok(self.blobs.remove(digest)?)
    }

    fn tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let mut all: Vec<Tag> = self.entries()?.iter().filter_map(ref_name).collect();
        all.sort_unstable();
        all.dedup();
        let (tags, next) = page_of(all.into_iter(), |tag| tag.as_str().to_owned(), page);
        Ok(TagPage { tags, next })
    }

    fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let mut found = Vec::new();
        for entry in self.reachable()?.values() {
            found.extend(self.referrer(entry, subject)?);
        }
        found.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        });
        let (manifests, next) = page_of(found.into_iter(), |entry| entry.digest.to_string(), page);
        Ok(ReferrersPage { manifests, next })
    }

    fn referrer(&self, entry: &Descriptor, subject: &Digest) -> Result<Option<Descriptor>, RepositoryError> {
        let Some(manifest) = self.load(entry)? else {
            return Ok(None);
        };
        // What is no manifest that we can read has no subject that we could know.
        let Ok(document) = manifest.document() else {
            return Ok(None);
        };
        let about = document.subject().is_some_and(|found| found.digest == *subject);
        Ok(about.then(|| referrer_descriptor(&manifest, &document)))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let layout = self.clone();
        blocking(move || work(&layout)).await
    }
}

fn lists(document: &Document, digest: &Digest) -> bool {
    document.manifests().iter().any(|child| child.digest == *digest)
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
