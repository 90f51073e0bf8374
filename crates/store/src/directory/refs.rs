//! The small files that say what a repository holds: `refs/` in its layout.
//!
//! ```text
//! refs/tags/<tag>                       descriptor, and whether sealed
//! refs/manifests/<hex>                  descriptor, and the digest of its subject
//! refs/referrers/<subject hex>/<hex>    descriptor as a list of referrers shows it
//! refs/shown                            what `index.json` was made from: see [`super::projection`]
//! ```
//!
//! Each is canonical JSON, replaced whole. Who reads, compares and writes holds the repository's lock.

use std::path::{Path, PathBuf};

use cairn_oci::{Descriptor, Digest, Tag, json, manifest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blobs::read_bounded;
use crate::error::RepositoryError;
use crate::files::{FileError, PUBLIC, Writer};
use crate::memory::PageOfReferrers;
use crate::repository::{Page, ReferrersPage, TagPage};

/// Longest file here, in bytes: a referrer's descriptor repeats the annotations of its manifest, escaped.
const LIMIT: usize = 4 * manifest::LIMIT;

/// Names of referrers that are read from a directory at once (about 100 bytes each).
const NAMES_AT_ONCE: usize = 4096;

/// What a tag points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TagRef {
    #[serde(flatten)]
    pub(super) descriptor: Descriptor,
    pub(super) sealed: bool,
}

/// A manifest that the repository holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestRef {
    #[serde(flatten)]
    pub(super) descriptor: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Digest>,
}

/// The directory `refs/`.
#[derive(Debug, Clone)]
pub(super) struct Refs {
    writer: Writer,
    tags: PathBuf,
    manifests: PathBuf,
    referrers: PathBuf,
}

impl Refs {
    pub(super) fn new(writer: Writer, layout: &Path) -> Self {
        Self {
            writer,
            tags: layout.join("refs/tags"),
            manifests: layout.join("refs/manifests"),
            referrers: layout.join("refs/referrers"),
        }
    }

    pub(super) fn tag(&self, tag: &Tag) -> Result<Option<TagRef>, RepositoryError> {
        self.read(&self.tag_path(tag))
    }

    /// Where the files of the tags are.
    pub(super) fn tags_directory(&self) -> &Path {
        &self.tags
    }

    fn tag_path(&self, tag: &Tag) -> PathBuf {
        self.tags.join(tag.as_str())
    }

    pub(super) fn put_tag(&self, tag: &Tag, value: &TagRef) -> Result<(), RepositoryError> {
        self.put(&self.tag_path(tag), value)
    }

    pub(super) fn remove_tag(&self, tag: &Tag) -> Result<bool, FileError> {
        self.writer.remove(&self.tag_path(tag))
    }

    /// All tags, sorted by bytes. Files whose names are no tags are not ours.
    pub(super) fn tags(&self) -> Result<Vec<Tag>, FileError> {
        let names = self.writer.list(&self.tags)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// A page of the tags, sorted by bytes.
    pub(super) fn tags_page(&self, page: &Page) -> Result<TagPage, FileError> {
        let limit = page.limit.max(1);
        let names = self.writer.list_part(
            &self.tags,
            page.after.as_deref(),
            limit.saturating_add(1),
            |name| name.parse::<Tag>().is_ok(),
        )?;
        let more = names.len() > limit;
        let tags: Vec<Tag> = names
            .iter()
            .take(limit)
            .filter_map(|name| name.parse().ok())
            .collect();
        let next = tags.last().filter(|_| more).map(ToString::to_string);
        Ok(TagPage { tags, next })
    }

    pub(super) fn manifest(&self, digest: &Digest) -> Result<Option<ManifestRef>, RepositoryError> {
        self.read(&self.manifests.join(digest.hex()))
    }

    /// All manifests, sorted by digest.
    pub(super) fn manifests(&self) -> Result<Vec<Digest>, FileError> {
        let names = self.writer.list(&self.manifests)?;
        Ok(names
            .iter()
            .filter_map(|name| Digest::from_hex(name).ok())
            .collect())
    }

    /// The digests of the manifests about `subject`, sorted.
    pub(super) fn referrer_digests(&self, subject: &Digest) -> Result<Vec<Digest>, FileError> {
        let names = self.writer.list(&self.subject_path(subject))?;
        Ok(names
            .iter()
            .filter_map(|name| Digest::from_hex(name).ok())
            .collect())
    }

    pub(super) fn manifest_path(&self, digest: &Digest) -> PathBuf {
        self.manifests.join(digest.hex())
    }

    pub(super) fn has_manifest(&self, digest: &Digest) -> bool {
        self.manifests.join(digest.hex()).exists()
    }

    pub(super) fn put_manifest(&self, value: &ManifestRef) -> Result<(), RepositoryError> {
        self.put(&self.manifests.join(value.descriptor.digest.hex()), value)
    }

    pub(super) fn remove_manifest(&self, digest: &Digest) -> Result<bool, FileError> {
        self.writer.remove(&self.manifests.join(digest.hex()))
    }

    pub(super) fn put_referrer(&self, subject: &Digest, value: &Descriptor) -> Result<(), RepositoryError> {
        self.put(&self.referrer_path(subject, &value.digest), value)
    }

    pub(super) fn remove_referrer(&self, subject: &Digest, digest: &Digest) -> Result<bool, FileError> {
        self.writer.remove(&self.referrer_path(subject, digest))
    }

    /// What a list of referrers shows of `digest`, which is about `subject`.
    pub(super) fn referrer(
        &self,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, RepositoryError> {
        self.read(&self.referrer_path(subject, digest))
    }

    /// A page of the manifests about `subject`, sorted by digest. It ends early when its descriptors have
    /// [`manifest::LIMIT`] bytes, so that it takes no more memory than that, whatever their annotations are.
    pub(super) fn referrers_page(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let directory = self.subject_path(subject);
        let mut found = PageOfReferrers::new(page.limit);
        let mut after = match page.after.as_deref() {
            None => None,
            Some(text) => match text.strip_prefix("sha256:") {
                Some(hex) => Some(hex.to_owned()),
                None if text < "sha256:" => None,
                None => return Ok(found.end()),
            },
        };
        loop {
            let names = self
                .writer
                .list_part(&directory, after.as_deref(), NAMES_AT_ONCE, |_| true)?;
            for name in &names {
                // One that is gone by now was deleted after the list was made.
                let Some(entry) = self.read::<Descriptor>(&directory.join(name))? else {
                    continue;
                };
                let wanted =
                    artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted));
                if wanted && !found.add(entry) {
                    return Ok(found.more());
                }
            }
            if names.len() < NAMES_AT_ONCE {
                return Ok(found.end());
            }
            after = names.last().cloned();
        }
    }

    /// Everything that has referrers, sorted.
    pub(super) fn subjects(&self) -> Result<Vec<Digest>, FileError> {
        let names = self.writer.list(&self.referrers)?;
        Ok(names
            .iter()
            .filter_map(|name| Digest::from_hex(name).ok())
            .collect())
    }

    /// The directory of the referrers of `subject`.
    pub(super) fn subject_path(&self, subject: &Digest) -> PathBuf {
        self.referrers.join(subject.hex())
    }

    fn referrer_path(&self, subject: &Digest, digest: &Digest) -> PathBuf {
        self.subject_path(subject).join(digest.hex())
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, RepositoryError> {
        let Some(bytes) = read_bounded(&self.writer, path, LIMIT)? else {
            return Ok(None);
        };
        json::parse(&bytes, LIMIT)
            .map(Some)
            .map_err(|_| RepositoryError::Damaged {
                path: path.to_owned(),
                detail: "it does not hold a descriptor".to_owned(),
            })
    }

    /// Writes `value` unless the file holds exactly that already; either way it is durable afterwards.
    fn put<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), RepositoryError> {
        let bytes = json::canonical(value);
        if read_bounded(&self.writer, path, LIMIT)?.as_deref() == Some(&bytes[..]) {
            // Another process may have put this value there, in place of one that we flushed.
            return Ok(self.writer.flush_name(path)?);
        }
        Ok(self.writer.write(path, &bytes, PUBLIC)?)
    }
}
