//! Build records: what a released image was made of.
//!
//! A record is a document that the builder writes and reads; here it is bytes with a digest. It is attached to the image, so
//! that it is kept and copied as long as the image is. What is attached to an image, anybody may have attached who may push.
//! So a record is never looked for there: it is read by the digest that a release has signed, and only of releases that
//! stand.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest};
use cairn_store::{RepositoryError, Target};

use crate::content::{self, ContentError};
use crate::image::ImageError;
use crate::name::Version;
use crate::open::{Ledger, Opened};
use crate::referrer::Referrer;
use crate::state::{Bound, Standing};

/// The type of a build record, and the artifact type of the manifest that attaches it.
pub const MEDIA_TYPE: &str = "application/vnd.cairn.build.v1+json";
/// How many releases are looked at besides those that channels show.
pub const RECENT: usize = 16;

/// A release that stands, and the record that it has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The release's version.
    pub version: Version,
    /// Digest of the record.
    pub record: Digest,
}

/// The build records of the releases that channels show, and of the newest [`RECENT`] others; newest first, each record
/// once.
///
/// Only releases that stand: one that is void, barred, pruned or bound to several digests says nothing, nor does one by an
/// unlisted key that nobody has accepted.
#[must_use]
pub fn recent(opened: &Opened) -> Vec<Recorded> {
    let Some(state) = opened.state() else {
        return Vec::new();
    };
    let shown: BTreeSet<Digest> = state
        .channels
        .values()
        .filter_map(|channel| Some(channel.shows.as_ref()?.digest))
        .collect();
    let standing = state
        .versions
        .iter()
        .filter_map(|(version, binding)| match binding.standing() {
            Standing::Named(bound) => Some((version, bound)),
            _ => None,
        })
        .filter(|(_, bound)| !state.is_pruned(&bound.digest))
        .filter(|(_, bound)| (state.glass.get(&bound.entry)).is_none_or(|glass| glass.ratified.is_some()));
    let by_position: BTreeMap<u64, (&Version, &Bound)> = standing
        .map(|(version, bound)| (bound.position, (version, bound)))
        .collect();
    let (mut recorded, mut others) = (Vec::<Recorded>::new(), 0);
    for (version, bound) in by_position.into_values().rev() {
        let is_shown = shown.contains(&bound.digest);
        if !is_shown && others == RECENT {
            continue;
        }
        others += usize::from(!is_shown);
        let record = opened
            .view()
            .find(&bound.entry)
            .and_then(|(_, record, _)| record.entry.record);
        if let Some(record) = record.filter(|record| recorded.iter().all(|known| known.record != *record)) {
            recorded.push(Recorded {
                version: version.clone(),
                record,
            });
        }
    }
    recorded
}

impl Ledger {
    /// Attaches a build record to the image `image`, and gives the digest that the release is to sign.
    ///
    /// # Errors
    ///
    /// [`ImageError`] if the image is not there, or the record cannot be written.
    pub async fn attach_record(&self, image: Digest, record: Bytes) -> Result<Digest, ImageError> {
        let repository = || self.images.label();
        let failed = |source| ImageError::Repository {
            repository: repository(),
            digest: image,
            source,
        };
        let digest = Digest::of(&record);
        match self.write_record(image, record).await.map_err(failed)? {
            true => Ok(digest),
            false => Err(ImageError::Manifest {
                repository: repository(),
                digest: image,
            }),
        }
    }

    /// Whether the image is there, and so the record was attached to it.
    pub(crate) async fn write_record(&self, image: Digest, record: Bytes) -> Result<bool, RepositoryError> {
        let Some(subject) = self.images.stat_manifest(&Target::Digest(image)).await? else {
            return Ok(false);
        };
        let referrer = Referrer::new(MEDIA_TYPE, record, subject.clone(), BTreeMap::new());
        referrer.write(&*self.images, &subject).await?;
        Ok(true)
    }

    /// Reads the build record `digest`, of at most `limit` bytes: exactly the bytes that the digest names.
    ///
    /// # Errors
    ///
    /// [`ContentError`].
    pub async fn read_record(&self, digest: Digest, limit: u64) -> Result<Bytes, ContentError> {
        let size = self.images.stat_blob(&digest).await;
        let size = size.map_err(|source| ContentError::Repository { digest, source })?;
        let size = size.ok_or(ContentError::Missing { digest })?;
        content::read(&*self.images, &Descriptor::new(MEDIA_TYPE, digest, size), limit).await
    }
}
