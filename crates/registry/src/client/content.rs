//! Streams of content, checked and counted on their way in or out.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cairn_oci::Digest;
use cairn_store::{ByteStream, verified};
use futures_util::{TryStreamExt, stream};

use super::traffic::Meter;

/// Content that ends in an error unless it has exactly `length` bytes; it stops at the first one too many.
pub(super) fn exactly(content: ByteStream, length: u64) -> ByteStream {
    Box::pin(stream::try_unfold(
        (content, length),
        |(mut content, left)| async move {
            match content.try_next().await? {
                Some(piece) => match left.checked_sub(piece.len() as u64) {
                    Some(left) => Ok(Some((piece, (content, left)))),
                    None => Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "more content than was stated",
                    )),
                },
                None if left == 0 => Ok(None),
                None => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "less content than was stated",
                )),
            }
        },
    ))
}

/// The bytes of `range`, out of content that begins at 0.
pub(super) fn cut(content: ByteStream, range: Range<u64>) -> ByteStream {
    Box::pin(stream::try_unfold(
        (content, 0_u64),
        move |(mut content, mut at)| {
            let range = range.clone();
            async move {
                while at < range.end {
                    let Some(piece) = content.try_next().await? else {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    };
                    let (first, end) = (at, at + piece.len() as u64);
                    at = end;
                    let within = |position: u64| {
                        usize::try_from(position.clamp(first, end) - first).unwrap_or(piece.len())
                    };
                    let part = piece.slice(within(range.start)..within(range.end));
                    if !part.is_empty() {
                        return Ok(Some((part, (content, at))));
                    }
                }
                Ok(None)
            }
        },
    ))
}

/// The same content, counted as received.
pub(super) fn received(content: ByteStream, meter: Arc<Meter>) -> ByteStream {
    Box::pin(content.inspect_ok(move |piece| meter.downloaded(piece.len() as u64)))
}

/// What an upload's content did, to be asked when the request is over.
#[derive(Debug, Default)]
pub(super) struct Progress {
    sent: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Progress {
    /// How many bytes were taken so far.
    pub(super) fn sent(&self) -> u64 {
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

/// Content on its way out, verified against what it is to become.
///
/// The last piece is held back until the digest is known to be right: a registry never gets the whole of wrong content.
pub(super) fn outgoing(
    content: ByteStream,
    digest: Digest,
    size: u64,
    progress: Arc<Progress>,
    meter: Arc<Meter>,
) -> ByteStream {
    let state = (verified(content, digest, size), None::<Bytes>, progress, meter);
    Box::pin(stream::try_unfold(
        state,
        |(mut content, mut held, progress, meter)| async move {
            loop {
                let next = content.try_next().await.map_err(|error| progress.fail(error))?;
                let ended = next.is_none();
                if let Some(piece) = std::mem::replace(&mut held, next) {
                    progress.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    meter.uploaded(piece.len() as u64);
                    if ended {
                        // The stream is over: what comes next is nothing.
                        content = Box::pin(stream::empty());
                    }
                    return Ok(Some((piece, (content, held, progress, meter))));
                }
                if ended {
                    return Ok(None);
                }
            }
        },
    ))
}

#[cfg(test)]
mod tests {
    use cairn_store::{RepositoryError, collect, from_bytes};

    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> ByteStream {
        Box::pin(stream::iter(
            pieces
                .iter()
                .map(|piece| Ok(Bytes::from_static(piece.as_bytes()))),
        ))
    }

    #[tokio::test]
    async fn a_cut_spans_pieces() {
        for (range, expected) in [(0..4, "abcd"), (1..3, "bc"), (2..2, ""), (3..6, "def")] {
            let part = collect(cut(pieces(&["ab", "c", "def"]), range.clone()), 10)
                .await
                .unwrap();
            assert_eq!(part, expected, "{range:?}");
        }
        assert!(collect(cut(pieces(&["ab"]), 0..3), 10).await.is_err());
    }

    #[tokio::test]
    async fn c2_a_stream_of_another_length_is_an_error() {
        assert!(collect(exactly(pieces(&["ab", "c"]), 3), 10).await.is_ok());
        for length in [0, 2, 4] {
            assert!(
                collect(exactly(pieces(&["ab", "c"]), length), 10).await.is_err(),
                "{length}"
            );
        }
    }

    #[tokio::test]
    async fn wrong_content_never_goes_out_whole() {
        let send = |content, size| {
            let progress = Arc::new(Progress::default());
            let stream = outgoing(
                content,
                Digest::of(b"abc"),
                size,
                Arc::clone(&progress),
                Arc::default(),
            );
            async move { (collect(stream, 10).await, progress) }
        };
        let (sent, progress) = send(pieces(&["ab", "c"]), 3).await;
        assert_eq!(sent.unwrap(), "abc");
        assert_eq!(progress.sent(), 3);
        let (sent, progress) = send(pieces(&["ab", "d"]), 3).await;
        assert!(sent.is_err() && progress.sent() == 2);
        let failure = progress.failure().unwrap().downcast::<RepositoryError>().unwrap();
        assert!(matches!(failure, RepositoryError::Digest { .. }));
        let (sent, progress) = send(from_bytes(&b""[..]), 3).await;
        assert!(sent.is_err() && progress.sent() == 0);
    }
}
