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

use super::config::{AccessLog, AccessRecord};

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

/// The body of a request as content: each piece must come within `idle`.
pub(super) fn content(body: Incoming, idle: Duration, received: Arc<AtomicU64>) -> ByteStream {
    Box::pin(stream::try_unfold(
        (body, received),
        move |(mut body, received)| async move {
            loop {
                let frame = tokio::time::timeout(idle, body.frame())
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
                let Some(frame) = frame.transpose().map_err(io::Error::other)? else {
                    return Ok(None);
                };
                if let Ok(piece) = frame.into_data()
                    && !piece.is_empty()
                {
                    received.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    return Ok(Some((piece, (body, received))));
                }
            }
        },
    ))
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
    received: Arc<AtomicU64>,
    log: Arc<dyn AccessLog>,
}

impl Logged {
    pub(super) fn new(
        body: AnswerBody,
        record: AccessRecord,
        received: Arc<AtomicU64>,
        log: Arc<dyn AccessLog>,
    ) -> Self {
        Self {
            body,
            record,
            received,
            log,
        }
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
        self.record.received = self.received.load(Ordering::Relaxed);
        self.log.request(&self.record);
    }
}
