//! What a stack of layers contains, as far as a lock pins it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use cairn_layer::{
    Entry, EntryKind, Limits, Listing, ReadError, ReadSummary, TreePath, VisitError, read_layer,
};
use cairn_packages::Installed;
use cairn_packages::status::{self, StatusError};
use cairn_store::ByteStream;

use crate::blocking::{feed, pipe, run};

/// What the layers read so far contain together.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) listing: Listing,
    records: Records,
}

/// Why a layer could not be put on top.
pub(super) enum AddError {
    /// It broke off, or is not what its descriptor says.
    Content(io::Error),
    /// It is no layer.
    Layer(ReadError),
}

/// The files in which dpkg records what is installed, by path.
#[derive(Debug, Default)]
struct Records {
    status: BTreeMap<TreePath, Vec<u8>>,
    /// Which of [`IMAGE_LISTS`] are there.
    image_lists: BTreeSet<&'static str>,
}

/// Files by which an archive of images says what it has.
const IMAGE_LISTS: [&str; 3] = ["manifest.json", "oci-layout", "repositories"];

impl Contents {
    /// Puts a layer on top, reading it as it comes, to its end.
    pub(super) async fn add_stream(
        self,
        content: ByteStream,
        limits: &Limits,
    ) -> Result<(Self, ReadSummary), AddError> {
        let (to_listing, for_listing) = pipe();
        let (to_records, for_records) = pipe();
        let Self { mut listing, records } = self;
        let (first, second) = (*limits, *limits);
        let listed = run(move || {
            listing
                .apply_layer(for_listing, &first)
                .map(|summary| (listing, summary))
        });
        let recorded = run(move || records.apply_layer(for_records, &second));
        let (fed, listed, recorded) =
            tokio::join!(feed(content, vec![to_listing, to_records]), listed, recorded);
        fed.map_err(AddError::Content)?;
        let (listing, summary) = listed.map_err(AddError::Layer)?;
        let (records, _) = recorded.map_err(AddError::Layer)?;
        Ok((Self { listing, records }, summary))
    }

    /// As [`Contents::add_stream`], from something that can be read twice. Gives both summaries.
    pub(super) fn add_twice(
        &mut self,
        first: impl Read,
        second: impl Read,
        limits: &Limits,
    ) -> Result<(ReadSummary, ReadSummary), ReadError> {
        let listed = self.listing.apply_layer(first, limits)?;
        let (records, recorded) = std::mem::take(&mut self.records).apply_layer(second, limits)?;
        self.records = records;
        Ok((listed, recorded))
    }

    /// Whether this is no root file system but what `docker save` and its like write: an archive of images.
    pub(super) fn is_archive_of_images(&self) -> bool {
        let has = |list| self.records.image_lists.contains(list);
        has("oci-layout") || (has("manifest.json") && has("repositories"))
    }

    /// The packages that the layers record as installed.
    pub(super) fn packages(&self) -> Result<Vec<Installed>, StatusError> {
        let mut packages = Vec::new();
        for record in self.records.status.values() {
            packages.extend(status::read(record)?);
        }
        packages.sort();
        packages.dedup();
        Ok(packages)
    }
}

impl Records {
    fn apply_layer(mut self, reader: impl Read, limits: &Limits) -> Result<(Self, ReadSummary), ReadError> {
        let mut removed: Vec<TreePath> = Vec::new();
        let mut added = BTreeMap::new();
        let mut total = 0;
        let summary = read_layer(reader, limits, &mut |entry, content| {
            match &entry.kind {
                EntryKind::Whiteout => removed.push(entry.path.clone()),
                EntryKind::Opaque => removed.extend(entry.path.parent()),
                EntryKind::File if is_record(&entry.path) => {
                    added.insert(entry.path.clone(), read_record(entry, content, &mut total)?);
                }
                EntryKind::File => {
                    let list = IMAGE_LISTS
                        .iter()
                        .find(|list| list.as_bytes() == entry.path.as_bytes());
                    self.image_lists.extend(list);
                }
                _ => {}
            }
            Ok(())
        })?;
        self.status.retain(|path, _| {
            !removed
                .iter()
                .any(|removed| path == removed || path.is_under(removed))
        });
        self.status.extend(added);
        Ok((self, summary))
    }
}

/// `status` itself, or a file of `status.d` that is no list of checksums.
fn is_record(path: &TreePath) -> bool {
    let in_directory = path
        .parent()
        .is_some_and(|parent| parent.as_bytes() == status::DIRECTORY.as_bytes());
    path.as_bytes() == status::PATH.as_bytes() || (in_directory && !path.as_bytes().ends_with(b".md5sums"))
}

/// The records of one layer have a bound together; what is beyond is as damaged as one record that is too long.
fn read_record(entry: &Entry, content: &mut dyn Read, total: &mut u64) -> Result<Vec<u8>, VisitError> {
    *total += entry.size;
    if *total > status::LIMIT as u64 {
        let length = usize::try_from(*total).unwrap_or(usize::MAX);
        return Err(Box::new(StatusError::TooLarge { length }));
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    Ok(bytes)
}
