//! What sealed tags reach: it is never deleted, and never means anything else.
//!
//! A sealed tag never moves, so what it reaches is worked out once in each process, and remembered. Only the owner of the disk takes a
//! seal off, perhaps in another process: so what refuses is looked at again.

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::{Digest, Document, Tag, manifest};

use super::repository::DirectoryRepository;
use crate::error::RepositoryError;
use crate::repository::{RawManifest, Repository};

/// Most digests that are remembered of one repository (about 200 bytes each). Beyond it everything is read each time.
const REMEMBERED: usize = 100_000;

/// What is known of the sealed tags of one repository.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// Tags of which everything is known.
    tags: BTreeSet<Tag>,
    /// What they reach, and the tag that does.
    reached: BTreeMap<Digest, (Tag, Digest)>,
}

impl DirectoryRepository {
    /// An error if a sealed tag reaches `digest`: as its manifest, below its index, or as a blob of one of them. The
    /// caller holds the lock.
    pub(super) fn refuse_sealed_content(&self, digest: &Digest) -> Result<(), RepositoryError> {
        let mut sealed = self.store().take_sealed(self.name());
        let refused = self.find_sealed(digest, &mut sealed);
        self.store().keep_sealed(self.name(), sealed);
        match refused? {
            Some((tag, root)) => Err(RepositoryError::Sealed {
                tag,
                found: Some(root),
            }),
            None => Ok(()),
        }
    }

    fn find_sealed(
        &self,
        digest: &Digest,
        sealed: &mut Sealed,
    ) -> Result<Option<(Tag, Digest)>, RepositoryError> {
        if let Some((tag, root)) = sealed.reached.get(digest) {
            let found = self.refs().tag(tag)?;
            if found.is_some_and(|found| found.sealed && found.descriptor.digest == *root) {
                return Ok(Some((tag.clone(), *root)));
            }
            *sealed = Sealed::default();
        }
        for tag in self.refs().tags()? {
            if sealed.tags.contains(&tag) {
                continue;
            }
            let Some(found) = self.refs().tag(&tag)?.filter(|found| found.sealed) else {
                continue;
            };
            let root = found.descriptor.digest;
            let (reached, is_whole) = self.reached(root)?;
            let is_it = reached.contains(digest);
            if is_whole && sealed.reached.len() + reached.len() <= REMEMBERED {
                sealed.tags.insert(tag.clone());
                let known = reached.into_iter().map(|digest| (digest, (tag.clone(), root)));
                sealed.reached.extend(known);
            }
            if is_it {
                return Ok(Some((tag, root)));
            }
        }
        Ok(None)
    }

    /// Everything that `root` reaches, and whether all of its manifests are there: others may still come.
    fn reached(&self, root: Digest) -> Result<(BTreeSet<Digest>, bool), RepositoryError> {
        let (mut reached, mut open, mut is_whole) = (BTreeSet::from([root]), vec![root], true);
        while let Some(at) = open.pop() {
            let Some(document) = self.read_document(&at)? else {
                is_whole = false;
                continue;
            };
            reached.extend(document.blobs().iter().map(|blob| blob.digest));
            let below = document.manifests().iter().map(|entry| entry.digest);
            open.extend(below.filter(|digest| reached.insert(*digest)));
        }
        Ok((reached, is_whole))
    }

    /// A manifest that the repository holds, read. What is missing or damaged names nothing.
    fn read_document(&self, digest: &Digest) -> Result<Option<Document>, RepositoryError> {
        let Some(known) = self.refs().manifest(digest)? else {
            return Ok(None);
        };
        let bytes = self.blobs().read_whole(digest, manifest::LIMIT)?;
        let manifest = bytes.map(|bytes| RawManifest::new(known.descriptor.media_type, bytes));
        Ok(manifest
            .filter(|manifest| manifest.digest() == *digest)
            .and_then(|manifest| manifest.document().ok()))
    }
}
