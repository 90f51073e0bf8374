//! The lock, `cairn.lock`: everything that a build takes from elsewhere, pinned.
//!
//! It is written for review: sorted, one line for each thing, and the same text for the same pins. A build adds missing
//! pins and never changes one. A lock that was edited by hand into something else is refused with the place.
//!
//! # What it says of a base
//!
//! A build does not read its base's layers. What it must know of them is the *listing*, one for each platform:
//!
//! - **Directories** whose attributes differ from 0755 and owner 0:0. Our layers repeat the parents of what they
//!   add, and an entry replaces the attributes below; for a directory that has the usual ones, or none at all, the
//!   entry is the same, so those need no line. A Debian base has about twenty lines instead of three thousand.
//! - **Symbolic links that lead to a directory** of the base, such as `/bin`: a destination below one is an error, because
//!   the entry would hide it. Links to files, and links to nothing, are replaced like files.
//! - **Users and groups**: the lines of `/etc/passwd` and `/etc/group`, to which `[[user]]` adds and by which owners
//!   are found.
//! - **Packages**, for whoever reviews a change of the base.
//!
//! In paths and link targets, `%` and every byte that is not printable UTF-8 stand as `%` and two hexadecimal digits.

mod check;
mod comments;
mod debian;
mod listing;
mod reader;
mod text;
mod workspace;
mod writer;

use std::collections::BTreeMap;

use cairn_layer::TreePath;
use cairn_oci::{Descriptor, Digest, Platform};
use jiff::Timestamp;

pub(crate) use self::check::source_text;
pub use self::debian::{Asked, LockedArchive, LockedDebian, LockedPackage};
pub use self::listing::{BaseListing, ListingError};
pub use self::workspace::WorkspaceLock;
use crate::finding::{Finding, Located};
use crate::spec::Spec;

/// The longest lock that is read, in bytes (16 MiB).
pub const LIMIT: usize = 16 << 20;
/// The version of the rules that fix output bytes (`docs/output-1.md`). A lock for another one is refused.
pub const OUTPUT_VERSION: u32 = 1;

/// All pins of one spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The rules that fix output bytes.
    pub output: u32,
    /// When the image says that it was made.
    pub created: Located<Timestamp>,
    /// Whether it is a date of the spec. Otherwise it comes from the inputs, or the lock is from before it said so.
    pub dated_by_spec: bool,
    /// The base, if the spec has one.
    pub base: Option<LockedBase>,
    /// Packages of Debian, if the spec asks for some.
    pub packages: Option<Located<LockedDebian>>,
    /// What the spec fetches, by URL.
    pub fetched: BTreeMap<String, Located<LockedFetch>>,
    /// Where the layers are cut that the spec splits, by the layer's name: the paths with which each part but the first
    /// begins, ascending.
    pub splits: BTreeMap<String, Located<Vec<TreePath>>>,
}

/// What a URL gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedFetch {
    /// Its SHA-256: the one that the spec has.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A base as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedBase {
    /// Where it was found.
    pub source: Located<LockedSource>,
    /// What it is for each platform of the spec.
    pub platforms: BTreeMap<Platform, Located<LockedPlatform>>,
}

/// Where a base was found, and what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockedSource {
    /// An image.
    Image {
        /// The reference, as the spec has it.
        reference: String,
        /// The index, or the manifest where there is no index.
        digest: Digest,
    },
    /// An image in an OCI image layout.
    Layout {
        /// The layout and its tag, as the spec has them.
        layout: String,
        /// The index, or the manifest where there is no index.
        digest: Digest,
    },
    /// An archive of images; which image it is is pinned by platform, because the file may differ by platform.
    Archive {
        /// The file and the image's name, as the spec has them.
        archive: String,
    },
    /// A root file system; its digest differs by platform.
    RootFs {
        /// The path, as the spec has it.
        path: String,
    },
}

/// A base for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPlatform {
    /// From what its layers come.
    pub origin: LockedOrigin,
    /// Its layers, lowest first.
    pub layers: Vec<LockedLayer>,
    /// What a build must know of their content.
    pub listing: BaseListing,
}

/// From what a base's layers come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockedOrigin {
    /// An image.
    Image {
        /// Its manifest for the platform.
        manifest: Digest,
        /// Its configuration, by OCI's media type.
        config: Box<Descriptor>,
    },
    /// A file with a root file system.
    File {
        /// The file's SHA-256. A file that OCI has no media type for (xz) becomes another layer than it is.
        digest: Digest,
    },
}

impl LockedOrigin {
    /// The one digest that stands for all of it: the manifest's or the file's.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        match self {
            Self::Image { manifest, .. } => *manifest,
            Self::File { digest } => *digest,
        }
    }

    /// The configuration; none if it is a file.
    #[must_use]
    pub fn config(&self) -> Option<&Descriptor> {
        match self {
            Self::Image { config, .. } => Some(config),
            Self::File { .. } => None,
        }
    }
}

/// A layer of a base, passed on byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedLayer {
    /// The layer, by OCI's media type.
    pub descriptor: Descriptor,
    /// The digest of its uncompressed form.
    pub diff_id: Digest,
}

impl Lock {
    /// Reads a lock of at most [`LIMIT`] bytes.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text; each hint names `cairn lock`.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        reader::read(text)
    }

    /// Whether `text` is a lock for an earlier output version: [`Self::parse`] refuses it, and locking everything anew is
    /// what helps.
    #[must_use]
    pub fn is_outdated(text: &str) -> bool {
        reader::is_outdated(text)
    }

    /// The lock's text, with the comments that people wrote into `before`.
    ///
    /// A comment above a line stays above it, and one at its end stays there. A line is known by its table (and which one,
    /// by `platform`, `url` or `layer`), its key, and in a list by its element's text, or the first field of that. The
    /// comments of a line that is gone go with it. Doing it again changes nothing. What cannot be carried over so that the
    /// text means the same, within [`LIMIT`], is left out.
    #[must_use]
    pub fn to_text_with_comments_of(&self, before: &str) -> String {
        let plain = self.to_string();
        let commented = comments::carry(before, &plain);
        let means_the_same = |text: &str| Self::parse(text).is_ok_and(|lock| lock == *self);
        within_limit(commented, plain, means_the_same)
    }

    /// What in the lock contradicts the spec, or is not needed by it. Places are in the lock's text, in its order.
    #[must_use]
    pub fn check(&self, spec: &Spec) -> Vec<Finding> {
        check::check(self, spec)
    }

    /// What the spec needs and the lock does not have, each in a few words. Empty: a build can begin.
    #[must_use]
    pub fn missing(&self, spec: &Spec) -> Vec<String> {
        check::missing(self, spec)
    }
}

/// The text with comments, if it may stand for the one without.
fn within_limit(commented: String, plain: String, means_the_same: impl Fn(&str) -> bool) -> String {
    if commented != plain && commented.len() <= LIMIT && means_the_same(&commented) {
        commented
    } else {
        plain
    }
}

/// The lock's own text: the same for the same pins.
impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writer::write(self, f)
    }
}
