//! `index.json`: what other tools read instead of `refs/`.
//!
//! It lists every tag (with `org.opencontainers.image.ref.name`, as `skopeo oci:DIR:TAG` and umoci expect) and every
//! referrer (untagged, as `oras discover --oci-layout` expects). Other untagged manifests are left out: those
//! below an index are reached through it, and superseded ones would make the file grow with every move of a tag.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_oci::{Descriptor, Digest, Index, annotations, json};

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
        let path = self.layout().join("index.json");
        let before = self.before(&path)?;
        let known = known_referrers(before.as_deref().unwrap_or_default());
        let bytes = json::canonical(&layout::index(entries(self.refs(), known)?));
        if before.as_deref() == Some(&bytes[..]) {
            return Ok(());
        }
        Ok(self.writer().write(&path, &bytes, PUBLIC)?)
    }

    /// The file as it is; none if there is none, or if it is too long to be looked at.
    fn before(&self, path: &Path) -> Result<Option<Vec<u8>>, RepositoryError> {
        match read_bounded(self.writer(), path, LIMIT) {
            Err(RepositoryError::TooLarge { .. }) => Ok(None),
            other => Ok(other?.map(Into::into)),
        }
    }
}

/// The referrers that an `index.json` lists. What is said of a manifest never changes, so their files need not be read again:
/// a repository may have thousands. Nothing is taken from a file that is not one that this wrote.
fn known_referrers(index: &[u8]) -> BTreeMap<Digest, Descriptor> {
    let read = json::parse::<Index>(index, LIMIT);
    let Some(index) = read.ok().filter(|read| json::canonical(read) == index) else {
        return BTreeMap::new();
    };
    let untagged = index
        .manifests
        .into_iter()
        .filter(|entry| entry.annotations.is_empty());
    untagged.map(|entry| (entry.digest, entry)).collect()
}

/// Tags in their order, then untagged referrers by digest.
fn entries(refs: &Refs, known: BTreeMap<Digest, Descriptor>) -> Result<Vec<Descriptor>, RepositoryError> {
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
    let untagged = referrers(refs, known)?.into_values();
    entries.extend(untagged.filter(|entry| !tagged.contains(&entry.digest)));
    Ok(entries)
}

fn referrers(
    refs: &Refs,
    mut known: BTreeMap<Digest, Descriptor>,
) -> Result<BTreeMap<Digest, Descriptor>, RepositoryError> {
    let mut all = BTreeMap::new();
    for subject in refs.subjects()? {
        for digest in refs.referrer_digests(&subject)? {
            let descriptor = match known.remove(&digest) {
                Some(descriptor) => Some(descriptor),
                None => refs.referrer(&subject, &digest)?,
            };
            // One that is gone by now was deleted after the list was made.
            let Some(mut descriptor) = descriptor else {
                continue;
            };
            // A manifest that names itself in an annotation must not become a tag by that.
            descriptor.annotations.clear();
            all.insert(descriptor.digest, descriptor);
        }
    }
    Ok(all)
}
