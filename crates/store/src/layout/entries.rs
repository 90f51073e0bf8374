//! `index.json` as the truth: what it names, and how it changes.

use std::collections::BTreeMap;

use cairn_oci::{Descriptor, Digest, Document, Index, Tag, annotations, json, manifest};

use super::{Layout, MARKER, index, prepare};
use crate::blobs::{expect_digest, read_bounded};
use crate::error::{MissingBlob, RepositoryError};
use crate::files::{Lock, PUBLIC};
use crate::memory::{check_condition, page_of, referrer_descriptor};
use crate::repository::{Condition, Page, RawManifest, ReferrersPage, Repository, TagPage, Target};
use crate::transfer::DEPTH_LIMIT;

/// Longest `index.json` that is read, in bytes.
const INDEX_LIMIT: usize = 16 << 20;
/// Most manifests that are looked at below one `index.json`.
const MANIFEST_LIMIT: usize = manifest::ENTRY_LIMIT;

impl Layout {
    pub(super) fn check_marker(&self) -> Result<(), RepositoryError> {
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

    pub(super) fn entries(&self) -> Result<Vec<Descriptor>, RepositoryError> {
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

    pub(super) fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>, RepositoryError> {
        let entries = self.entries()?;
        Ok(entries
            .into_iter()
            .find(|entry| ref_name(entry).as_ref() == Some(tag)))
    }

    /// The entries and every manifest below them, each once.
    pub(super) fn reachable(&self) -> Result<BTreeMap<Digest, Descriptor>, RepositoryError> {
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
    pub(super) fn children(&self, entry: &Descriptor) -> Vec<Descriptor> {
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

    pub(super) fn find(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        match target {
            Target::Tag(tag) => self.tagged(tag),
            Target::Digest(digest) => Ok(self.reachable()?.remove(digest)),
        }
    }

    pub(super) fn stat(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        let Some(entry) = self.find(target)? else {
            return Ok(None);
        };
        let size = self.blobs.stat(&entry.digest)?;
        Ok(size.map(|size| Descriptor::new(entry.media_type, entry.digest, size)))
    }

    pub(super) fn read(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        match self.find(target)? {
            Some(entry) => self.load(&entry),
            None => Ok(None),
        }
    }

    pub(super) fn load(&self, entry: &Descriptor) -> Result<Option<RawManifest>, RepositoryError> {
        let Some(bytes) = self.blobs.read_whole(&entry.digest, manifest::LIMIT)? else {
            return Ok(None);
        };
        let manifest = RawManifest::new(entry.media_type.clone(), bytes);
        expect_digest(entry.digest, manifest.digest())?;
        Ok(Some(manifest))
    }

    pub(super) fn refuse_read_only(&self) -> Result<(), RepositoryError> {
        if self.writable {
            return Ok(());
        }
        Err(self.unsupported("writing (it was opened to read)"))
    }

    pub(super) fn unsupported(&self, operation: &'static str) -> RepositoryError {
        RepositoryError::Unsupported {
            repository: self.label(),
            operation,
        }
    }

    pub(super) fn prepare(&self) -> Result<(), RepositoryError> {
        self.refuse_read_only()?;
        Ok(prepare(&self.writer, &self.path)?)
    }

    pub(super) fn lock(&self) -> Result<Lock, RepositoryError> {
        self.prepare()?;
        Ok(Lock::exclusive(&self.path.join(MARKER))?)
    }

    pub(super) fn store_entries(&self, entries: Vec<Descriptor>) -> Result<(), RepositoryError> {
        let path = self.path.join("index.json");
        Ok(self
            .writer
            .write(&path, &json::canonical(&index(entries)), PUBLIC)?)
    }

    pub(super) fn write(
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

    pub(super) fn insert(&self, manifest: &RawManifest, document: &Document) -> Result<(), RepositoryError> {
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
    pub(super) fn list(
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

    pub(super) fn remove_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
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

    pub(super) fn remove_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
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

    pub(super) fn remove_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.refuse_read_only()?;
        if self.reachable()?.contains_key(digest) {
            return Ok(false);
        }
        Ok(self.blobs.remove(digest)?)
    }

    pub(super) fn tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let mut all: Vec<Tag> = self.entries()?.iter().filter_map(ref_name).collect();
        all.sort_unstable();
        all.dedup();
        let (tags, next) = page_of(all.into_iter(), |tag| tag.as_str().to_owned(), page);
        Ok(TagPage { tags, next })
    }

    pub(super) fn referrers(
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

    pub(super) fn referrer(
        &self,
        entry: &Descriptor,
        subject: &Digest,
    ) -> Result<Option<Descriptor>, RepositoryError> {
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
}

fn ref_name(entry: &Descriptor) -> Option<Tag> {
    entry.annotations.get(annotations::REF_NAME)?.parse().ok()
}

pub(super) fn is_untagged(entry: &Descriptor) -> bool {
    !entry.annotations.contains_key(annotations::REF_NAME)
}

fn lists(document: &Document, digest: &Digest) -> bool {
    document.manifests().iter().any(|child| child.digest == *digest)
}
