//! Answers: history, status now and then, one release, what a digest is.
//!
//! All of them follow from entries that were read and verified; only [`Ledger::status`](crate::Ledger::status) and
//! [`Ledger::which`](crate::Ledger::which) also look at what is in the repository.

use cairn_oci::Digest;
use cairn_store::RepositoryError;

use crate::class::Class;
use crate::image;
use crate::name::{Channel, Version};
use crate::open::Opened;

mod history;
mod names;
mod release;
mod status;
mod stay;
mod which;

pub use history::{HistoryFilter, HistoryPage, HistoryRow, VoidRow, history, history_page};
pub use names::key_names;
pub use release::{Deed, Release, ReleaseBinding, deed, show};
pub use status::{HeldRow, Past, SlotOf, StatusRow, WayBack, status_at};
pub(crate) use stay::moved;
pub use stay::{Stay, stays};
pub use which::{Found, Part, Searched, Sought, Which};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A tag cannot be read.
    #[error("cannot read the tag {tag} in {repository}")]
    Tag {
        /// Which repository.
        repository: String,
        /// Which tag.
        tag: String,
        /// Why not.
        source: RepositoryError,
    },
    /// The way back cannot be looked at.
    #[error("cannot look at the way back of {channel}")]
    WayBack {
        /// Which channel.
        channel: Channel,
        /// Why not.
        source: image::ImageError,
    },
    /// An image cannot be looked into.
    #[error("cannot look into the image {digest}")]
    Image {
        /// Which image.
        digest: Digest,
        /// Why not.
        source: image::ImageError,
    },
}

impl QueryError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Tag { source, .. } => Class::of(source),
            Self::WayBack { source, .. } | Self::Image { source, .. } => source.class(),
        }
    }
}

/// What a name stands for: what the channel shows, or what the version is bound to; none if the ledger knows
/// neither, or if the version is contested.
#[must_use]
pub fn digest_of(opened: &Opened, name: &str) -> Option<Digest> {
    let state = opened.state()?;
    if let Ok(channel) = name.parse::<Channel>() {
        return state.shows(&channel).map(|shown| shown.digest);
    }
    let binding = state.versions.get(&name.parse::<Version>().ok()?)?;
    match &binding.bound[..] {
        [only] => Some(only.digest),
        _ => None,
    }
}
