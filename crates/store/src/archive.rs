//! Images in one file: `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME:TAG]`, `[base] archive`.
//!
//! [`open`] reads both forms, found out by content: the tar archive of an image layout (image-spec, image-layout.md),
//! and what `docker save` writes (a `manifest.json` that names configuration and layers by their paths). An archive that
//! is both is read as a layout, because that keeps the manifests byte for byte. It is read in place by an index of its
//! members; nothing is unpacked.
//!
//! [`pack`] makes an archive of an image: the same bytes for the same image and names. Each archive that it makes is an
//! image layout; one for Docker has a `manifest.json` beside it, so that `docker load` of every version can read it.

mod docker;
mod error;
mod index;
mod member;
mod names;
mod pack;
mod spool;
mod tar_stream;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, MediaType, RepositoryName, Tag, manifest};
use futures_util::stream;

pub use self::error::PackError;
use self::member::Span;
pub use self::names::{ImageName, ImageNameError, split_name};
pub use self::pack::{Package, pack};
use crate::blobs::expect_digest;
use crate::blocking::blocking;
use crate::error::RepositoryError;
use crate::files::FileError;
use crate::memory::{page_of, referrer_descriptor};
use crate::repository::{
    Blob, Capabilities, Condition, Page, RawManifest, Referrers, ReferrersPage, Repository, TagPage, Target,
    Written,
};
use crate::stream::{ByteStream, from_bytes};

/// Bytes read from the disk at once.
const PIECE: u64 = 256 << 10;

/// The two forms of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An image layout in a tar archive: one image, or an index of several.
    Oci,
    /// What `docker load` of every version reads: one image for one platform.
    Docker,
}

impl Format {
    /// Its name as a transport.
    #[must_use]
    pub const fn transport(self) -> &'static str {
        match self {
            Self::Oci => "oci-archive",
            Self::Docker => "docker-archive",
        }
    }
}

/// An archive, opened to read. Clones share the open file.
#[derive(Debug, Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    name: RepositoryName,
    /// The archive, or its decompressed copy, which has no name any more.
    file: Arc<File>,
    content: Content,
}

/// What is in an archive.
#[derive(Debug)]
struct Content {
    format: Format,
    images: Vec<Image>,
    /// Every manifest that an image leads to, as far as it is there.
    manifests: BTreeMap<Digest, MediaType>,
    blobs: BTreeMap<Digest, Place>,
}

/// An image as the archive lists it.
#[derive(Debug)]
struct Image {
    /// All its names, as they stand there: tags, or names with tags. Untrusted text.
    names: Vec<String>,
    descriptor: Descriptor,
}

/// Where content is.
#[derive(Debug, Clone)]
enum Place {
    Member(Span),
    /// A manifest that the archive does not have and that follows from what it has.
    Made(Bytes),
}

/// Opens the archive `path`. One that is compressed with gzip is decompressed into a temporary file of the directory
/// `scratch`, which is made if it is not there. Blocks.
///
/// # Errors
///
/// [`RepositoryError::Damaged`] if it is no archive of images, or a hostile one; [`RepositoryError::File`] if it cannot be
/// read. That content has its digest is checked when it is read.
pub fn open(path: impl Into<PathBuf>, scratch: &Path) -> Result<Archive, RepositoryError> {
    let path = path.into();
    let file = spool::decompressed(open_file(&path)?, &path, scratch)?;
    let members = member::scan(&file, &path)?;
    let content = index::read(&members, &file, &path)?;
    let stem = path.file_stem().and_then(|name| name.to_str());
    let name = stem.and_then(|name| name.parse().ok());
    Ok(Archive {
        inner: Arc::new(Inner {
            name: name.unwrap_or_else(fallback_name),
            path,
            file: Arc::new(file),
            content,
        }),
    })
}

fn open_file(path: &Path) -> Result<File, RepositoryError> {
    let read_error = FileError::on("read", path);
    // Looked at before it is opened: a FIFO would wait for a writer.
    if !path.metadata().map_err(&read_error)?.is_file() {
        return Err(read_error(std::io::Error::other("it is not a regular file")).into());
    }
    Ok(File::open(path).map_err(&read_error)?)
}

#[expect(clippy::expect_used, reason = "a constant that follows the grammar")]
fn fallback_name() -> RepositoryName {
    "archive".parse().expect("a repository name")
}

fn damaged(path: &Path, detail: impl Into<String>) -> RepositoryError {
    RepositoryError::Damaged {
        path: path.to_owned(),
        detail: detail.into(),
    }
}

impl Archive {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What it was found to be.
    #[must_use]
    pub fn format(&self) -> Format {
        self.inner.content.format
    }

    /// The names of its images, each as it stands there. Untrusted text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let images = self.inner.content.images.iter();
        images.flat_map(|image| image.names.iter().map(String::as_str))
    }

    /// The image that goes by `name`: its name as it stands there, or the end of it (`hello:1`, `1`). Without a name,
    /// the only image. None if there is no such image, or several.
    #[must_use]
    pub fn select(&self, name: Option<&str>) -> Option<&Descriptor> {
        let images = &self.inner.content.images;
        let Some(name) = name else {
            return sole(images.iter());
        };
        let exact = |image: &&Image| image.names.iter().any(|found| found == name);
        let end = |image: &&Image| image.names.iter().any(|found| names::ends_with(found, name));
        if images.iter().any(|image| exact(&image)) {
            return sole(images.iter().filter(exact));
        }
        sole(images.iter().filter(end))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }

    fn unsupported(&self) -> RepositoryError {
        RepositoryError::Unsupported {
            repository: self.label(),
            operation: "writing (archives are read, or written anew)",
        }
    }
}

/// The descriptor that all of `images` have in common.
fn sole<'a>(mut images: impl Iterator<Item = &'a Image>) -> Option<&'a Descriptor> {
    let first = &images.next()?.descriptor;
    images
        .all(|other| other.descriptor.digest == first.digest)
        .then_some(first)
}

impl Inner {
    fn find(&self, target: &Target) -> Option<(Digest, &MediaType)> {
        let digest = match target {
            Target::Digest(digest) => *digest,
            Target::Tag(tag) => {
                let named = |image: &&Image| {
                    let mut names = image.names.iter();
                    names.any(|name| names::ends_with(name, tag.as_str()))
                };
                sole(self.content.images.iter().filter(named))?.digest
            }
        };
        Some((digest, self.content.manifests.get(&digest)?))
    }

    fn manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        let Some((digest, media_type)) = self.find(target) else {
            return Ok(None);
        };
        let Some(place) = self.content.blobs.get(&digest) else {
            return Ok(None);
        };
        let bytes = index::read_place(place, &self.file, &self.path, manifest::LIMIT as u64)?;
        let manifest = RawManifest::new(media_type.clone(), bytes);
        expect_digest(digest, manifest.digest())?;
        Ok(Some(manifest))
    }

    fn referrers(&self, subject: &Digest, wanted: Option<&str>) -> Result<Vec<Descriptor>, RepositoryError> {
        let mut found = Vec::new();
        for digest in self.content.manifests.keys() {
            let Some(manifest) = self.manifest(&Target::Digest(*digest))? else {
                continue;
            };
            // What is no manifest that we can read has no subject that we could know.
            let Ok(document) = manifest.document() else {
                continue;
            };
            if document.subject().is_some_and(|found| found.digest == *subject) {
                found.push(referrer_descriptor(&manifest, &document));
            }
        }
        found.retain(|entry| wanted.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)));
        Ok(found)
    }
}

/// The bytes of `span`, as they come.
fn content(file: Arc<File>, span: Span) -> ByteStream {
    Box::pin(stream::try_unfold((file, span), |(file, span)| async move {
        if span.size == 0 {
            return Ok(None);
        }
        let length = span.size.min(PIECE);
        let (read, file) = blocking(move || {
            let part = Span {
                offset: span.offset,
                size: length,
            };
            (part.read(&file), file)
        })
        .await;
        let rest = Span {
            offset: span.offset + length,
            size: span.size - length,
        };
        Ok(Some((Bytes::from(read?), (file, rest))))
    }))
}

#[async_trait]
impl Repository for Archive {
    fn name(&self) -> &RepositoryName {
        &self.inner.name
    }

    fn label(&self) -> String {
        let transport = self.inner.content.format.transport();
        format!("{transport}:{}", self.inner.path.display())
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        Ok(Capabilities {
            conditions: false,
            seal: false,
            referrers: Referrers::Native,
            delete_tags: Some(false),
        })
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        Ok(self.inner.content.blobs.get(digest).map(Place::size))
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        let Some(place) = self.inner.content.blobs.get(digest) else {
            return Ok(None);
        };
        let size = place.size();
        let range = range.unwrap_or(0..size);
        let (start, end) = (range.start.min(size), range.end.min(size));
        let length = end.saturating_sub(start);
        let content = match place {
            Place::Member(span) => content(
                Arc::clone(&self.inner.file),
                Span {
                    offset: span.offset + start,
                    size: length,
                },
            ),
            Place::Made(bytes) => {
                let from = usize::try_from(start).unwrap_or(bytes.len());
                let to = usize::try_from(start + length).unwrap_or(bytes.len());
                from_bytes(bytes.slice(from..to))
            }
        };
        Ok(Some(Blob { size, content }))
    }

    async fn write_blob(&self, _: &Digest, _: u64, _: ByteStream) -> Result<Written, RepositoryError> {
        Err(self.unsupported())
    }

    async fn mount_blob(&self, _: &Digest, _: &RepositoryName) -> Result<bool, RepositoryError> {
        Err(self.unsupported())
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        let Some((digest, media_type)) = self.inner.find(target) else {
            return Ok(None);
        };
        let size = self.inner.content.blobs.get(&digest).map(Place::size);
        Ok(size.map(|size| Descriptor::new(media_type.clone(), digest, size)))
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        let target = target.clone();
        self.run(move |inner| inner.manifest(&target)).await
    }

    async fn write_manifest(
        &self,
        _: &Target,
        _: &RawManifest,
        _: &Condition,
    ) -> Result<(), RepositoryError> {
        Err(self.unsupported())
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let mut all: Vec<Tag> = self.names().filter_map(names::tag_of).collect();
        all.sort_unstable();
        all.dedup();
        let (tags, next) = page_of(all.into_iter(), |tag| tag.as_str().to_owned(), page);
        Ok(TagPage { tags, next })
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let (subject, wanted) = (*subject, artifact_type.map(str::to_owned));
        let found = self
            .run(move |inner| inner.referrers(&subject, wanted.as_deref()))
            .await?;
        let (manifests, next) = page_of(found.into_iter(), |entry| entry.digest.to_string(), page);
        Ok(ReferrersPage { manifests, next })
    }

    async fn delete_tag(&self, _: &Tag) -> Result<bool, RepositoryError> {
        Err(self.unsupported())
    }

    async fn delete_manifest(&self, _: &Digest) -> Result<bool, RepositoryError> {
        Err(self.unsupported())
    }

    async fn delete_blob(&self, _: &Digest) -> Result<bool, RepositoryError> {
        Err(self.unsupported())
    }
}

impl Place {
    fn size(&self) -> u64 {
        match self {
            Self::Member(span) => span.size,
            Self::Made(bytes) => bytes.len() as u64,
        }
    }
}
