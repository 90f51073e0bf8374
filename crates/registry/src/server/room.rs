//! Whether there is room: on the disk, in one blob, in a repository.

use std::io;
use std::sync::Arc;

use cairn_oci::RepositoryName;
use cairn_store::ByteStream;
use futures_util::{TryStreamExt, stream};

use super::Shared;
use super::answer::Answer;
use super::dispatch::Call;

/// After so many bytes of an upload the disk is looked at again (64 MiB).
const LOOK_EVERY: u64 = 64 << 20;

/// Why content is not taken any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the blob is longer than {limit} bytes")]
    TooLong { limit: u64 },
    #[error("there is no room on the disk")]
    NoRoom,
}

impl Shared {
    /// Whether `needed` more bytes would leave the floor free. A store that does not know how much is free has room.
    async fn has_room(&self, needed: u64) -> bool {
        let free = self.store.free_space().await.ok().flatten();
        let floor = self.config.limits.free_space;
        free.is_none_or(|free| free.checked_sub(needed).is_some_and(|left| left >= floor))
    }
}

/// 507 if the body, as long as it says that it is, does not fit on the disk.
pub(super) async fn check_disk(call: &Call) -> Result<(), Answer> {
    if call.shared().has_room(call.content_length().unwrap_or(0)).await {
        return Ok(());
    }
    Err(Answer::no_room())
}

/// 413 if the body would make the blob longer than it may be.
pub(super) fn check_length(call: &Call, offset: u64) -> Result<(), Answer> {
    let limit = call.config().limits.blob;
    let length = call.content_length().unwrap_or(0);
    if offset.checked_add(length).is_some_and(|end| end <= limit) {
        return Ok(());
    }
    Err(Answer::too_long(limit))
}

/// 429 if the repository has too many uploads that nobody ended.
pub(super) async fn check_open_uploads(call: &Call, name: &RepositoryName) -> Result<(), Answer> {
    let limit = call.config().limits.open_uploads;
    if call.shared().store.open_uploads(name, limit).await? < limit {
        return Ok(());
    }
    Err(Answer::too_many_open())
}

/// The same content, ending in [`Refused`] when it grows beyond what a blob may have, or the disk fills up meanwhile.
pub(super) fn bounded(call: &Call, offset: u64, content: ByteStream) -> ByteStream {
    let state = Bounded {
        shared: Arc::clone(call.shared_arc()),
        content,
        at: offset,
        unchecked: 0,
    };
    Box::pin(stream::try_unfold(state, Bounded::step))
}

struct Bounded {
    shared: Arc<Shared>,
    content: ByteStream,
    at: u64,
    unchecked: u64,
}

impl Bounded {
    async fn step(mut self) -> io::Result<Option<(bytes::Bytes, Self)>> {
        let Some(piece) = self.content.try_next().await? else {
            return Ok(None);
        };
        let limit = self.shared.config.limits.blob;
        self.at = self.at.saturating_add(piece.len() as u64);
        self.unchecked += piece.len() as u64;
        if self.at > limit {
            return Err(io::Error::other(Refused::TooLong { limit }));
        }
        if self.unchecked >= LOOK_EVERY {
            self.unchecked = 0;
            if !self.shared.has_room(0).await {
                return Err(io::Error::other(Refused::NoRoom));
            }
        }
        Ok(Some((piece, self)))
    }
}
