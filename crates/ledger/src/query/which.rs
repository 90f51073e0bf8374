//! What is this that I see running? From a digest, or a tag, to the release that it belongs to.

use std::collections::BTreeSet;

use cairn_oci::{Digest, Document, Tag};
use cairn_store::{Repository, Target};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::QueryError;
use super::release::{ReleaseBinding, release_binding, shown_by, standing, stays_of};
use super::stay::Stay;
use crate::class::Class;
use crate::image::{self, DEPTH_LIMIT, ImageError, MANIFEST_LIMIT};
use crate::name::{Channel, Version};
use crate::open::{Ledger, Opened};

/// How many images are looked into at a time.
const AT_ONCE: usize = 16;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// A whole digest: of an index, of a manifest, or of a config, which engines call the image ID.
    Digest(Digest),
    /// The first hexadecimal digits of one, in lower case.
    Prefix(String),
    /// A tag: a channel, a version, or any other.
    Tag(Tag),
}

impl Sought {
    fn is(&self, digest: &Digest) -> bool {
        match self {
            Self::Digest(sought) => sought == digest,
            Self::Prefix(prefix) => digest.hex().starts_with(prefix.as_str()),
            Self::Tag(_) => false,
        }
    }
}

/// What a digest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Which {
    /// What the tag shows that was asked about.
    pub tag: Option<Digest>,
    /// The images that it is, or belongs to; the newest first.
    pub found: Vec<Found>,
    /// What was looked into.
    pub searched: Searched,
}

/// What was looked into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// Images that entries name.
    pub images: u64,
    /// How many of them had to be looked into.
    pub opened: u64,
    /// How many of those are not in the repository.
    pub absent: u64,
}

/// An image that the ledger names, and what was asked about is it or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What was asked about.
    pub part: Part,
    /// The image as the ledger names it.
    pub digest: Digest,
    /// As which versions.
    pub versions: Vec<Named>,
    /// The channels that show it.
    pub shown_by: Vec<Channel>,
    /// Where it was shown, and is; the newest stay first.
    pub stays: Vec<Stay>,
}

/// A version of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its name.
    pub version: Version,
    /// `released`, `pruned`, `yanked` or `contested`.
    pub standing: &'static str,
    /// By whom, when, from which source.
    #[serde(flatten)]
    pub binding: ReleaseBinding,
}

/// Which part of an image a digest is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Part {
    /// The image itself: what versions and channels name.
    Image,
    /// The manifest of one platform in an index.
    Manifest {
        /// For which machine, if the index says so.
        platform: Option<String>,
        /// Its digest.
        manifest: Digest,
    },
    /// The config of one platform: the image ID.
    Config {
        /// For which machine, if an index says so.
        platform: Option<String>,
        /// Its digest.
        config: Digest,
    },
}

impl Part {
    const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Image => None,
            Self::Manifest { manifest, .. } => Some(manifest),
            Self::Config { config, .. } => Some(config),
        }
    }
}

impl Ledger {
    /// Finds what the ledger says about a digest or tag. The images that entries name are looked into only if none of them
    /// is what was asked about.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the images' repository cannot be asked.
    pub async fn which(&self, opened: &Opened, sought: &Sought) -> Result<Which, QueryError> {
        let images = named_images(opened);
        let mut which = Which {
            tag: None,
            found: Vec::new(),
            searched: Searched {
                images: images.len() as u64,
                ..Searched::default()
            },
        };
        let mut sought = sought.clone();
        if let Sought::Tag(tag) = &sought {
            which.tag = self.shown_by_tag(tag).await?;
            let known = || super::digest_of(opened, tag.as_str());
            let Some(digest) = which.tag.or_else(known) else {
                return Ok(which);
            };
            sought = Sought::Digest(digest);
        }
        for digest in images.iter().filter(|digest| sought.is(digest)) {
            which.found.push(found(opened, *digest, Part::Image));
        }
        if !which.found.is_empty() {
            return Ok(which);
        }
        for some in images.chunks(AT_ONCE) {
            // Everything the tasks need is moved into them, so that they borrow nothing but the repository.
            let tasks: Vec<_> = some.iter().map(|digest| parts(&*self.images, *digest)).collect();
            let all: Vec<_> = stream::iter(tasks).buffered(AT_ONCE).try_collect().await?;
            for (digest, parts) in some.iter().zip(all) {
                which.searched.opened += 1;
                which.searched.absent += u64::from(parts.is_none());
                let parts = parts.into_iter().flatten();
                let meant = parts.filter(|part| part.digest().is_some_and(|part| sought.is(part)));
                which.found.extend(meant.map(|part| found(opened, *digest, part)));
            }
            if !which.found.is_empty() {
                break;
            }
        }
        Ok(which)
    }

    async fn shown_by_tag(&self, tag: &Tag) -> Result<Option<Digest>, QueryError> {
        let found = self.images.stat_manifest(&Target::Tag(tag.clone())).await;
        let found = found.map_err(|source| QueryError::Tag {
            repository: self.images.label(),
            tag: tag.to_string(),
            source,
        })?;
        Ok(found.map(|found| found.digest))
    }
}

/// The images that entries name, those of the newest entries first.
fn named_images(opened: &Opened) -> Vec<Digest> {
    let mut seen = BTreeSet::new();
    let named: Vec<Digest> = opened.view().digests();
    let newest_first = named.into_iter().rev();
    newest_first.filter(|digest| seen.insert(*digest)).collect()
}

fn found(opened: &Opened, digest: Digest, part: Part) -> Found {
    let is_meant = |other: &Digest| *other == digest;
    let versions = opened.state().map(|state| {
        let bound = state.versions_of(&digest);
        let named = bound.map(|(version, bound)| Named {
            version: version.clone(),
            standing: state
                .versions
                .get(version)
                .map_or("released", |binding| standing(state, binding)),
            binding: release_binding(opened, bound),
        });
        named.collect()
    });
    Found {
        part,
        digest,
        versions: versions.unwrap_or_default(),
        shown_by: opened
            .state()
            .map(|state| shown_by(state, is_meant))
            .unwrap_or_default(),
        stays: stays_of(opened, is_meant),
    }
}

/// The manifests and configs of an image, each once; none if it is not in the repository.
async fn parts(images: &dyn Repository, digest: Digest) -> Result<Option<BTreeSet<Part>>, QueryError> {
    let failed = |source| QueryError::Image { digest, source };
    let mut parts = BTreeSet::new();
    let mut level: Vec<(Digest, Option<String>)> = vec![(digest, None)];
    for _ in 0..DEPTH_LIMIT {
        let mut below = Vec::new();
        for (one, platform) in level {
            let manifest = match image::read_manifest(images, one).await {
                Ok(manifest) => manifest,
                Err(ImageError::Manifest { .. }) if one == digest => return Ok(None),
                // A part that is lost cannot be looked into; whoever wants to know what is lost asks the audit.
                Err(error) if error.class() == Class::Integrity => continue,
                Err(error) => return Err(failed(error)),
            };
            match manifest.document() {
                Ok(Document::Manifest(manifest)) => {
                    let config = manifest.config.digest;
                    parts.insert(Part::Config { platform, config });
                }
                Ok(Document::Index(index)) => below.extend(index.manifests.iter().map(|child| {
                    let platform = child.platform.as_ref().map(ToString::to_string);
                    (child.digest, platform)
                })),
                Err(_) => {}
            }
        }
        for (manifest, platform) in &below {
            parts.insert(Part::Manifest {
                platform: platform.clone(),
                manifest: *manifest,
            });
        }
        if below.is_empty() || parts.len() > MANIFEST_LIMIT {
            break;
        }
        level = below;
    }
    Ok(Some(parts))
}
