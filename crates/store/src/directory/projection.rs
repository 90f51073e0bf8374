//! `index.json`: what other tools read instead of `refs/`.
//!
//! It lists every tag (with `org.opencontainers.image.ref.name`, as `skopeo oci:DIR:TAG` and umoci expect) and every
//! referrer (untagged, as `oras discover --oci-layout` expects). Other untagged manifests are left out: those
//! below an index are reached through it, and superseded ones would make the file grow with every move of a tag.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_oci::{Descriptor, Digest, annotations, json};

use super::refs::Refs;
use super::repository::DirectoryRepository;
use crate::blobs::read_bounded;
use crate::error::RepositoryError;
use crate::files::PUBLIC;
use crate::layout;

/// Longest `index.json` that is compared, in bytes; a longer one is written without looking.
const LIMIT: usize = 256 << 20;

impl DirectoryRepository {
    /// Rewrites `index.json` from `refs/`, if it changes. A repository that nobody wrote to stays as it is.
    pub(super) fn project(&self) -> Result<(), RepositoryError> {
        let Some(_lock) = self.lock_existing()? else {
            return Ok(());
        };
        let bytes = json::canonical(&layout::index(entries(self.refs())?));
        let path = self.layout().join("index.json");
        if self.holds(&path, &bytes)? {
            return Ok(());
        }
        Ok(self.writer().write(&path, &bytes, PUBLIC)?)
    }

    fn holds(&self, path: &Path, bytes: &[u8]) -> Result<bool, RepositoryError> {
        match read_bounded(self.writer(), path, LIMIT) {
            Err(RepositoryError::TooLarge { .. }) => Ok(false),
            other => Ok(other?.as_deref() == Some(bytes)),
        }
    }
}

/// Tags in their order, then untagged referrers by digest.
fn entries(refs: &Refs) -> Result<Vec<Descriptor>, RepositoryError> {
    let mut entries = Vec::new();
    for tag in refs.tags()? {
        if let Some(found) = refs.tag(&tag)? {
            let mut descriptor = found.descriptor;
            descriptor
                .annotations
                .insert(annotations::REF_NAME.to_owned(), tag.to_string());
            entries.push(descriptor);
        }
    }
    let tagged: BTreeSet<Digest> = entries.iter().map(|entry| entry.digest).collect();
    let untagged = referrers(refs)?.into_values();
    entries.extend(untagged.filter(|entry| !tagged.contains(&entry.digest)));
    Ok(entries)
}

fn referrers(refs: &Refs) -> Result<BTreeMap<Digest, Descriptor>, RepositoryError> {
    let mut all = BTreeMap::new();
    for subject in refs.subjects()? {
        for mut descriptor in refs.referrers(&subject)? {
            // A manifest that names itself in an annotation must not become a tag by that.
            descriptor.annotations.clear();
            all.insert(descriptor.digest, descriptor);
        }
    }
    Ok(all)
}
