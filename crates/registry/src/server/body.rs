//! Bodies of requests and answers: counted, bounded in time, streamed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cairn_store::ByteStream;
use futures_util::{TryStreamExt, stream};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::config::AccessRecord;
use super::dispatch::Begun;

/// The body of an answer.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// Nothing.
pub(super) fn empty() -> AnswerBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// All at once.
pub(super) fn full(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Piece by piece.
pub(super) fn streamed(content: ByteStream) -> AnswerBody {
    StreamBody::new(content.map_ok(Frame::data)).boxed_unsync()
}

/// Fewer bytes than these within the time that a body may stand still count as standing still.
const TRICKLE: u64 = 1024;

/// The body of a request as content: [`TRICKLE`] bytes, or its end, must come within `idle`, again and again.
pub(super) fn content(body: Incoming, idle: Duration, received: Arc<AtomicU64>) -> ByteStream {
    let state = Receiving {
        body,
        received,
        idle,
        left: idle,
        since: 0,
    };
    Box::pin(stream::try_unfold(state, Receiving::step))
}

struct Receiving {
    body: Incoming,
    received: Arc<AtomicU64>,
    idle: Duration,
    /// How long may still be waited; what this side takes its time for does not count.
    left: Duration,
    /// Bytes that came since the waiting began.
    since: u64,
}

impl Receiving {
    async fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let begun = Instant::now();
            let frame = tokio::time::timeout(self.left, self.body.frame())
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            self.left = self.left.saturating_sub(begun.elapsed());
            let Some(frame) = frame.transpose().map_err(io::Error::other)? else {
                return Ok(None);
            };
            let Ok(piece) = frame.into_data() else { continue };
            if piece.is_empty() {
                continue;
            }
            self.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
            self.since += piece.len() as u64;
            if self.since >= TRICKLE {
                (self.since, self.left) = (0, self.idle);
            }
            return Ok(Some((piece, self)));
        }
    }
}

/// Content that ends in an error unless it has exactly `length` bytes.
pub(super) fn exactly(content: ByteStream, length: u64) -> ByteStream {
    let wrong = move || io::Error::new(io::ErrorKind::InvalidData, WrongLength { stated: length });
    Box::pin(stream::try_unfold(
        (content, length),
        move |(mut content, left)| async move {
            match content.try_next().await? {
                Some(piece) => {
                    let left = left.checked_sub(piece.len() as u64).ok_or_else(wrong)?;
                    Ok(Some((piece, (content, left))))
                }
                None if left == 0 => Ok(None),
                None => Err(wrong()),
            }
        },
    ))
}

/// A piece is not as long as its `Content-Range` says.
#[derive(Debug, thiserror::Error)]
#[error("the piece is not the {stated} bytes that it states")]
pub(super) struct WrongLength {
    stated: u64,
}

/// Reads and drops up to `limit` bytes, so that a client that is still sending can read the answer: closing a
/// connection with unread data resets it.
pub(super) async fn discard(mut content: ByteStream, limit: u64) {
    let mut left = limit;
    while let Ok(Some(piece)) = content.try_next().await {
        match left.checked_sub(piece.len() as u64) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// An answer's body that tells the log how much went out, when it is dropped.
pub(super) struct Logged {
    body: AnswerBody,
    record: AccessRecord,
    begun: Begun,
}

impl Logged {
    pub(super) const fn new(body: AnswerBody, record: AccessRecord, begun: Begun) -> Self {
        Self { body, record, begun }
    }
}

impl Body for Logged {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.record.sent += frame.data_ref().map_or(0, |piece| piece.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.record.received = self.begun.received.load(Ordering::Relaxed);
        self.record.elapsed = self.begun.since.elapsed();
        self.begun.shared.metrics.count_request(&self.record);
        self.begun.shared.config.log.request(&self.record);
    }
}
