//! The content of an upload: verified on its way out, and had again from where the registry has it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use cairn_oci::{Digest, Hasher};
use cairn_store::stream::unwrap_verified;
use cairn_store::{BlobSource, ByteStream, RepositoryError, from_bytes};
use futures_util::{TryStreamExt, stream};

use crate::client::content;
use crate::client::replay::Replay;
use crate::client::traffic::Meter;

/// How many bytes lie between two states of the hash that are kept (4 MiB).
const INTERVAL: u64 = 4 << 20;
/// Bytes of a piece that go out at once, so that a slow link is seen to move.
const SLICE: usize = 64 << 10;

/// Where the bytes come from.
pub(in crate::client) enum Supply<'a> {
    /// They can be had as often as needed, from any offset.
    Again(&'a dyn BlobSource),
    /// There is one stream of them: from its beginning as long as little of it was taken, and not otherwise.
    Once(Replay),
}

impl Supply<'_> {
    /// `None`: they are gone.
    async fn open(&self, offset: u64) -> Result<Option<ByteStream>, RepositoryError> {
        match self {
            Self::Again(source) => source.open(offset).await.map(Some),
            Self::Once(replay) => Ok(replay.body().map(|body| content::skip(body, offset))),
        }
    }
}

/// Why there is nothing to send.
#[derive(Debug)]
pub(super) enum FeedError {
    /// The content was a stream, and what is wanted of it is gone.
    Gone,
    /// The content cannot be read, or is not what it was said to be.
    Content(RepositoryError),
}

impl From<RepositoryError> for FeedError {
    fn from(error: RepositoryError) -> Self {
        Self::Content(error)
    }
}

/// What the body of a request did, to be asked when the request is over.
#[derive(Debug, Default)]
pub(in crate::client) struct Progress {
    sent: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Progress {
    /// How many bytes were taken so far.
    pub(in crate::client) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Why the content ended before its end, if it did.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fail(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        kind.into()
    }
}

/// The content of one upload.
pub(super) struct Feed<'a> {
    supply: Supply<'a>,
    digest: Digest,
    size: u64,
    marks: Arc<Marks>,
    /// The last piece, and where it begins.
    piece: (u64, Bytes),
    /// What comes after it, if it was read in pieces.
    rest: Option<ByteStream>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(supply: Supply<'a>, digest: Digest, size: u64) -> Self {
        Self {
            supply,
            digest,
            size,
            marks: Arc::default(),
            piece: (0, Bytes::new()),
            rest: None,
        }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Everything from `offset` on.
    pub(super) async fn from(&mut self, offset: u64) -> Result<ByteStream, FeedError> {
        self.rest = None;
        let (at, hasher) = self.marks.before(offset);
        let content = self.supply.open(at).await?.ok_or(FeedError::Gone)?;
        let outgoing = Outgoing {
            content,
            hasher: Some(hasher),
            digest: self.digest,
            size: self.size,
            from: offset,
            held: Bytes::new(),
            marks: Arc::clone(&self.marks),
        };
        Ok(Box::pin(stream::try_unfold(outgoing, Outgoing::step)))
    }

    /// The `length` bytes from `offset` on, or what there is of them.
    pub(super) async fn piece(&mut self, offset: u64, length: u64) -> Result<Bytes, FeedError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (start, piece) = &self.piece;
        let end = start + piece.len() as u64;
        let mut next = match usize::try_from(offset.wrapping_sub(*start)) {
            // A part of it did not arrive.
            Ok(within) if within < piece.len() => BytesMut::from(&piece[within..]),
            _ => BytesMut::new(),
        };
        let goes_on = offset == end || !next.is_empty();
        let mut rest = match self.rest.take().filter(|_| goes_on) {
            Some(rest) => rest,
            None => {
                next.clear();
                self.from(offset).await?
            }
        };
        while next.len() < length {
            let read = rest.try_next().await;
            let digest = self.digest;
            let read = read.map_err(|error| {
                unwrap_verified(error, |source| RepositoryError::Content { digest, source })
            })?;
            match read {
                Some(read) => next.extend_from_slice(&read),
                None => break,
            }
        }
        let next = next.freeze();
        let piece = next.slice(..next.len().min(length));
        let left = next.slice(piece.len()..);
        self.rest = Some(Box::pin(futures_util::StreamExt::chain(from_bytes(left), rest)));
        self.piece = (offset, piece.clone());
        Ok(piece)
    }
}

/// A piece as the body of a request.
pub(super) fn slices(piece: &Bytes) -> ByteStream {
    let piece = piece.clone();
    let starts = (0..piece.len()).step_by(SLICE);
    Box::pin(stream::iter(starts.map(move |start| {
        Ok(piece.slice(start..piece.len().min(start + SLICE)))
    })))
}

/// The same content, noting how far it went.
pub(super) fn counted(content: ByteStream, progress: Arc<Progress>, meter: Arc<Meter>) -> ByteStream {
    let failed = Arc::clone(&progress);
    Box::pin(
        content
            .inspect_ok(move |piece| {
                progress.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                meter.uploaded(piece.len() as u64);
            })
            .map_err(move |error| failed.fail(error)),
    )
}

/// States of the hash at some offsets, so that an upload which goes on in the middle need not read what came before.
#[derive(Debug, Default)]
struct Marks(Mutex<Vec<Hasher>>);

impl Marks {
    /// The last state that is not beyond `offset`, and where it is.
    fn before(&self, offset: u64) -> (u64, Hasher) {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = marks.iter().rev().find(|hasher| hasher.length() <= offset);
        let hasher = found.cloned().unwrap_or_default();
        (hasher.length(), hasher)
    }

    fn note(&self, hasher: &Hasher) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = marks.last().map_or(0, Hasher::length);
        if hasher.length() >= last + INTERVAL {
            marks.push(hasher.clone());
        }
    }
}

/// Content on its way out, verified against what it is to become.
///
/// The last piece is held back until the digest is known to be right: a registry never gets the whole of wrong content.
struct Outgoing {
    content: ByteStream,
    /// Of everything up to where `content` is; none when all was given out.
    hasher: Option<Hasher>,
    digest: Digest,
    size: u64,
    /// What comes before this was read for the hash only.
    from: u64,
    held: Bytes,
    marks: Arc<Marks>,
}

impl Outgoing {
    async fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let Some(mut hasher) = self.hasher.take() else {
            return Ok(None);
        };
        while let Some(piece) = self.content.try_next().await? {
            let start = hasher.length();
            hasher.update(&piece);
            if hasher.length() > self.size {
                return Err(self.wrong_size(self.size + 1));
            }
            self.marks.note(&hasher);
            let before = usize::try_from(self.from.saturating_sub(start)).unwrap_or(usize::MAX);
            let piece = piece.slice(before.min(piece.len())..);
            if hasher.length() == self.size {
                self.held = piece;
            } else if !piece.is_empty() {
                self.hasher = Some(hasher);
                return Ok(Some((piece, self)));
            }
        }
        if hasher.length() != self.size {
            return Err(self.wrong_size(hasher.length()));
        }
        let found = hasher.finish();
        if found != self.digest {
            let expected = self.digest;
            return Err(invalid(RepositoryError::Digest { expected, found }));
        }
        let last = std::mem::take(&mut self.held);
        Ok((!last.is_empty()).then_some((last, self)))
    }

    fn wrong_size(&self, found: u64) -> io::Error {
        invalid(RepositoryError::Size {
            digest: self.digest,
            expected: self.size,
            found,
        })
    }
}

fn invalid(error: RepositoryError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use cairn_store::collect;

    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> ByteStream {
        let pieces = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        Box::pin(stream::iter(pieces))
    }

    fn once(content: &'static [&'static str], size: u64) -> Feed<'static> {
        Feed::new(
            Supply::Once(Replay::new(pieces(content))),
            Digest::of(b"abcdef"),
            size,
        )
    }

    async fn sent(feed: &mut Feed<'_>, from: u64) -> (Bytes, Option<RepositoryError>) {
        let progress = Arc::new(Progress::default());
        let content = feed.from(from).await.unwrap();
        let mut content = counted(content, Arc::clone(&progress), Arc::default());
        let mut all = BytesMut::new();
        while let Ok(Some(piece)) = content.try_next().await {
            all.extend_from_slice(&piece);
        }
        assert_eq!(progress.sent(), all.len() as u64);
        let failure = progress.failure().map(|error| error.downcast().unwrap());
        (all.freeze(), failure)
    }

    #[tokio::test]
    async fn c1_wrong_content_never_goes_out_whole() {
        let (all, failure) = sent(&mut once(&["ab", "cdef"], 6), 0).await;
        assert!(all == "abcdef" && failure.is_none());
        let (all, failure) = sent(&mut once(&["ab", "cdeX"], 6), 0).await;
        assert!(all == "ab" && matches!(failure, Some(RepositoryError::Digest { .. })));
        let (all, failure) = sent(&mut once(&["ab", "cdef", "g"], 6), 0).await;
        assert!(all == "ab" && matches!(failure, Some(RepositoryError::Size { found: 7, .. })));
        let (_, failure) = sent(&mut once(&["ab"], 6), 0).await;
        assert!(matches!(failure, Some(RepositoryError::Size { found: 2, .. })));
        let (all, failure) = sent(&mut once(&[], 0), 0).await;
        assert!(all.is_empty() && matches!(failure, Some(RepositoryError::Digest { .. })));
    }

    #[tokio::test]
    async fn a_stream_begins_again_in_the_middle_as_long_as_it_is_kept() {
        let mut feed = once(&["ab", "cdef"], 6);
        for from in [0, 3, 6, 0] {
            let (all, failure) = sent(&mut feed, from).await;
            assert!(failure.is_none());
            let from = usize::try_from(from).unwrap();
            assert_eq!(all, &b"abcdef"[from..]);
        }
    }

    #[tokio::test]
    async fn pieces_go_on_where_they_ended_or_in_their_middle() {
        let mut feed = once(&["abc", "def"], 6);
        for (offset, length, expected) in [
            (0, 2, "ab"),
            (1, 2, "bc"),
            (3, 2, "de"),
            (3, 9, "def"),
            (6, 1, ""),
            (0, 6, "abcdef"),
        ] {
            let piece = feed.piece(offset, length).await.unwrap();
            assert_eq!(piece, expected, "{length} from {offset}");
        }
        let error = once(&["abc", "deX"], 6).piece(0, 6).await.unwrap_err();
        assert!(matches!(
            error,
            FeedError::Content(RepositoryError::Digest { .. })
        ));
    }

    /// Zeros, and from where they were asked for.
    struct Zeros(Mutex<Vec<u64>>);

    const SIZE: u64 = 3 * INTERVAL + 5;

    #[async_trait]
    impl BlobSource for Zeros {
        async fn open(&self, offset: u64) -> Result<ByteStream, RepositoryError> {
            self.0.lock().unwrap().push(offset);
            let piece = Bytes::from(vec![0; 1 << 20]);
            let mut left = SIZE - offset;
            Ok(Box::pin(stream::iter(std::iter::from_fn(move || {
                let length = left.min(1 << 20);
                left -= length;
                (length > 0).then(|| Ok(piece.slice(..usize::try_from(length).unwrap())))
            }))))
        }
    }

    #[tokio::test]
    async fn what_can_be_had_again_is_read_from_the_last_mark() {
        let zeros = Zeros(Mutex::default());
        let digest = Digest::of(&vec![0; usize::try_from(SIZE).unwrap()]);
        let mut feed = Feed::new(Supply::Again(&zeros), digest, SIZE);
        for (from, opened) in [
            (0, 0),
            (2 * INTERVAL + 7, 2 * INTERVAL),
            (3, 0),
            (SIZE, 3 * INTERVAL),
        ] {
            let content = feed.from(from).await.unwrap();
            let all = collect(content, SIZE).await.unwrap();
            assert_eq!(all.len() as u64, SIZE - from);
            assert_eq!(zeros.0.lock().unwrap().pop(), Some(opened));
        }
    }

    #[tokio::test]
    async fn a_stream_that_is_gone_is_said_to_be() {
        let zeros = Zeros(Mutex::default()).open(0).await.unwrap();
        let digest = Digest::of(&vec![0; usize::try_from(SIZE).unwrap()]);
        let mut feed = Feed::new(Supply::Once(Replay::new(zeros)), digest, SIZE);
        // Pieces follow each other without anything being kept but the last.
        let mut offset = 0;
        while offset < SIZE {
            offset += feed.piece(offset, INTERVAL).await.unwrap().len() as u64;
        }
        assert!(!feed.piece(SIZE - 1, 1).await.unwrap().is_empty());
        assert!(matches!(feed.piece(0, 1).await, Err(FeedError::Gone)));
        assert!(matches!(feed.from(0).await.map(drop), Err(FeedError::Gone)));
    }
}
