//! The contract in the middle.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_oci::manifest::DocumentError;
use cairn_oci::{Descriptor, Digest, Document, MediaType, RepositoryName, Tag};

use crate::blobs::{FileSource, expect_digest};
use crate::error::RepositoryError;
use crate::files::{Lock, TemporaryFile};
use crate::stream::{BlobSource, ByteStream};

/// What a manifest is read or written by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Whatever the tag points at.
    Tag(Tag),
    /// Exactly this.
    Digest(Digest),
}

impl Target {
    /// The tags that writing `manifest` here points at it, each under its condition: this one, or none. Fails if it is not the
    /// manifest of this digest.
    pub(crate) fn tags_for(
        &self,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<Vec<(Tag, Condition)>, RepositoryError> {
        match self {
            Self::Digest(expected) => expect_digest(*expected, manifest.digest()).map(|()| Vec::new()),
            Self::Tag(tag) => Ok(vec![(tag.clone(), condition.clone())]),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Tag> for Target {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Target {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// Under which condition a tag is written.
///
/// Where [`Capabilities::conditions`] holds, checking and writing are one atomic step across threads,
/// connections and processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Whatever is there. A sealed tag still does not move.
    Always,
    /// Nothing is there. The same digest there already is a failure too.
    IfAbsent,
    /// Exactly this is there.
    IfMatch(Digest),
    /// Nothing is there, or the same digest; and from then on the tag is immutable.
    Seal,
}

/// A manifest or index exactly as it is stored, with the media type it is stored under.
#[derive(Clone, PartialEq, Eq)]
pub struct RawManifest {
    media_type: MediaType,
    digest: Digest,
    bytes: Bytes,
}

impl RawManifest {
    /// Takes `bytes` as they are and hashes them.
    pub fn new(media_type: impl Into<MediaType>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            media_type: media_type.into(),
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// SHA-256 of the bytes, computed here and never taken from anybody.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Media type, digest and size.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest, self.bytes.len() as u64)
    }

    /// Reads the bytes strictly.
    ///
    /// # Errors
    ///
    /// See [`Document::parse`].
    pub fn document(&self) -> Result<Document, DocumentError> {
        Document::parse(&self.media_type, &self.bytes)
    }
}

impl fmt::Debug for RawManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RawManifest({} {} {} bytes)",
            self.media_type,
            self.digest,
            self.bytes.len()
        )
    }
}

/// A blob, or a part of it, as it comes.
pub struct Blob {
    /// Length of the whole blob in bytes, whatever part was asked for.
    pub size: u64,
    /// The bytes asked for, **not** verified: see [`crate::verified`].
    pub content: ByteStream,
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// What a write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The content was not there and was moved.
    New,
    /// The content was there already; nothing was moved.
    Present,
}

/// Who keeps the list of referrers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referrers {
    /// The repository does, from the `subject` of the manifests written to it.
    Native,
    /// The writer does, in an index under the tag `sha256-<hex>`; concurrent writers may lose entries.
    FallbackTag,
}

/// What a repository can do. Callers branch on this and never on host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Condition::IfAbsent`] and [`Condition::IfMatch`] are honoured, atomically.
    pub conditions: bool,
    /// [`Condition::Seal`] is honoured.
    pub seal: bool,
    /// Who keeps the list of referrers.
    pub referrers: Referrers,
    /// Tags can be deleted by name. `None`: not known before it is tried.
    pub delete_tags: Option<bool>,
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where to go on: `next` of the page before. A local repository also takes any tag or digest here.
    pub after: Option<String>,
    /// Most entries wanted, at least 1. A registry may return more or fewer.
    pub limit: usize,
}

impl Page {
    /// The first page, of up to 1,000 entries.
    #[must_use]
    pub const fn first() -> Self {
        Self {
            after: None,
            limit: 1000,
        }
    }
}

/// A part of the list of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPage {
    /// The tags. Local repositories sort them by bytes; other registries may not.
    pub tags: Vec<Tag>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

/// A part of the list of referrers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrersPage {
    /// Descriptors with `artifactType` and annotations.
    pub manifests: Vec<Descriptor>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

/// That it is one's turn: see [`Repository::turn`].
#[derive(Debug)]
pub struct Turn {
    _lock: Lock,
}

impl Turn {
    pub(crate) const fn new(lock: Lock) -> Self {
        Self { _lock: lock }
    }
}

/// One repository.
///
/// Every write is atomic: afterwards it is there whole, or not at all. "Written" is said only when it would
/// survive a power loss (as far as the implementation keeps anything at all). Reads of what is not there give
/// `None`.
#[async_trait]
pub trait Repository: Send + Sync + fmt::Debug {
    /// Its name in its store or registry.
    fn name(&self) -> &RepositoryName;

    /// How to call it in messages: the name, with the host where there is one.
    fn label(&self) -> String {
        self.name().to_string()
    }

    /// What it can do.
    ///
    /// # Errors
    ///
    /// When it has to be asked and does not answer.
    async fn capabilities(&self) -> Result<Capabilities, RepositoryError>;

    /// Size of a blob in bytes, if it is there.
    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError>;

    /// A blob, or the bytes of it in `range` (cut to the blob's length). The content is not verified here:
    /// wrap whole reads in [`crate::verified`].
    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError>;

    /// Writes a blob from a stream and verifies size and digest; on a mismatch nothing is there afterwards.
    /// If it is there already, the stream need not be read.
    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError>;

    /// Writes a blob whose content can be had again, as [`Self::write_blob`] does. A repository that is far away goes on from
    /// where the connection broke, as far as it can; with a mere stream it can only begin.
    async fn write_blob_from(
        &self,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
    ) -> Result<Written, RepositoryError> {
        self.write_blob(digest, size, source.open(0).await?).await
    }

    /// Writes a blob that waits in `file`, as [`Self::write_blob`] does. The file is gone afterwards.
    ///
    /// The caller has hashed the bytes while it appended them: they **are** `digest`, and the file's length is the
    /// blob's. A repository in the same file system takes the file as it is, flushed and renamed, and does not read it
    /// again; every other is given its content, and verifies it.
    async fn write_spooled(&self, digest: &Digest, file: TemporaryFile) -> Result<Written, RepositoryError> {
        let source = FileSource(file.path());
        self.write_blob_from(digest, file.length(), &source).await
    }

    /// Makes a blob of the repository `from`, in the same store or registry, available here without moving it.
    /// `false`: it cannot be done, write it instead.
    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError>;

    /// A manifest's descriptor, if it is there.
    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError>;

    /// A manifest, bytes exactly as stored; its digest has been checked if it was read by digest.
    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError>;

    /// Writes a manifest. Its blobs must be there; manifests listed by an index, and a subject, need not.
    /// With a digest as target the condition must be [`Condition::Always`].
    ///
    /// What a sealed tag reaches keeps the media type under which it was sealed: the same bytes under another one are
    /// refused with [`RepositoryError::Sealed`].
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Condition`] and [`RepositoryError::Sealed`] say that nothing was written;
    /// [`RepositoryError::OutcomeUnknown`] that it is not known.
    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError>;

    /// Writes a manifest by its digest and points several tags at it, each under a condition.
    ///
    /// A repository of this machine writes nothing at all if one of the conditions does not hold. Others
    /// write one tag after the other, and stop at the first that may not be written.
    ///
    /// # Errors
    ///
    /// As [`Self::write_manifest`].
    async fn write_tagged(
        &self,
        manifest: &RawManifest,
        tags: &[(Tag, Condition)],
    ) -> Result<(), RepositoryError> {
        let by_digest = Target::Digest(manifest.digest());
        self.write_manifest(&by_digest, manifest, &Condition::Always)
            .await?;
        for (tag, condition) in tags {
            self.write_manifest(&Target::Tag(tag.clone()), manifest, condition)
                .await?;
        }
        Ok(())
    }

    /// Waits until nobody else who asks has the turn, and has it until it is dropped; none where that is not known, or if it
    /// takes too long. It is a courtesy among those who write under conditions and were overtaken, so that the next attempt is not in vain:
    /// nobody is kept from writing.
    async fn turn(&self) -> Option<Turn> {
        None
    }

    /// A page of tags.
    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError>;

    /// A page of the manifests whose subject is `subject`, only those of `artifact_type` if one is given.
    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError>;

    /// Deletes a tag; `false` if it was not there. A sealed one is refused.
    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError>;

    /// Deletes a manifest and every tag that points at it; `false` if it was not there. Refused if a sealed tag
    /// points at it, or at an index above it.
    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError>;

    /// Deletes a blob; `false` if it was not there. Refused if what a sealed tag shows needs it.
    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError>;
}
