//! The small files that say what a repository holds: `refs/` in its layout.
//!
//! ```text
//! refs/tags/<tag>                       descriptor, and whether sealed
//! refs/manifests/<hex>                  descriptor, and the digest of its subject
//! refs/referrers/<subject hex>/<hex>    descriptor as a list of referrers shows it
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

/// Longest file here, in bytes: a referrer's descriptor repeats the annotations of its manifest, escaped.
const LIMIT: usize = 4 * manifest::LIMIT;

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
        self.read(&self.tags.join(tag.as_str()))
    }

    pub(super) fn put_tag(&self, tag: &Tag, value: &TagRef) -> Result<(), RepositoryError> {
        self.put(&self.tags.join(tag.as_str()), value)
    }

    pub(super) fn remove_tag(&self, tag: &Tag) -> Result<bool, FileError> {
        self.writer.remove(&self.tags.join(tag.as_str()))
    }

    /// All tags, sorted by bytes. Files whose names are no tags are not ours.
    pub(super) fn tags(&self) -> Result<Vec<Tag>, FileError> {
        let names = self.writer.list(&self.tags)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    pub(super) fn manifest(&self, digest: &Digest) -> Result<Option<ManifestRef>, RepositoryError> {
        self.read(&self.manifests.join(digest.hex()))
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

    /// The manifests about `subject`, sorted by digest.
    pub(super) fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RepositoryError> {
        let directory = self.referrers.join(subject.hex());
        let names = self.writer.list(&directory)?;
        let paths = names.iter().map(|name| directory.join(name));
        // One that is gone by now was deleted after the list was made.
        paths.filter_map(|path| self.read(&path).transpose()).collect()
    }

    /// Everything that has referrers, sorted.
    pub(super) fn subjects(&self) -> Result<Vec<Digest>, FileError> {
        let names = self.writer.list(&self.referrers)?;
        Ok(names
            .iter()
            .filter_map(|name| Digest::from_hex(name).ok())
            .collect())
    }

    fn referrer_path(&self, subject: &Digest, digest: &Digest) -> PathBuf {
        self.referrers.join(subject.hex()).join(digest.hex())
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
