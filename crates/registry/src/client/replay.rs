//! A body that can be sent once more, as long as little of it was taken.
//!
//! A registry that no longer accepts a token says so on seeing the head of a request. By then, no more of the body is
//! gone than what fits between two machines; that much is kept.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use cairn_store::ByteStream;
use futures_util::stream;

/// Most bytes that are kept of one body (4 MiB).
const WINDOW: usize = 4 << 20;

/// Content, and what was taken of it.
pub(super) struct Replay(Arc<Mutex<Shared>>);

struct Shared {
    rest: ByteStream,
    /// Everything that was taken, in order; none if it was more than [`WINDOW`].
    taken: Option<Vec<Bytes>>,
    length: usize,
    /// Which body is the current one: an older one, still held by a connection, takes nothing any more.
    current: usize,
}

impl Replay {
    pub(super) fn new(content: ByteStream) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            rest: content,
            taken: Some(Vec::new()),
            length: 0,
            current: 0,
        })))
    }

    /// The content from its beginning. `None`: too much of it is gone.
    pub(super) fn body(&self) -> Option<ByteStream> {
        let number = {
            let mut shared = lock(&self.0);
            shared.taken.as_ref()?;
            shared.current += 1;
            shared.current
        };
        let shared = Arc::clone(&self.0);
        let mut position = 0;
        Some(Box::pin(stream::poll_fn(move |context| {
            let mut shared = lock(&shared);
            if shared.current != number {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            if let Some(piece) = shared.taken.as_ref().and_then(|taken| taken.get(position)) {
                position += 1;
                return Poll::Ready(Some(Ok(piece.clone())));
            }
            let next = shared.rest.as_mut().poll_next(context);
            if let Poll::Ready(Some(Ok(piece))) = &next {
                shared.keep(piece);
                position += 1;
            }
            next
        })))
    }
}

impl Shared {
    fn keep(&mut self, piece: &Bytes) {
        self.length = self.length.saturating_add(piece.len());
        match &mut self.taken {
            Some(taken) if self.length <= WINDOW => taken.push(piece.clone()),
            taken => *taken = None,
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use cairn_store::collect;
    use futures_util::StreamExt;

    use super::*;

    fn pieces(count: usize, size: usize) -> ByteStream {
        let piece = move |number: usize| Ok(Bytes::from(vec![u8::try_from(number % 256).unwrap(); size]));
        Box::pin(stream::iter((0..count).map(piece)))
    }

    #[tokio::test]
    async fn what_was_taken_comes_again_and_then_the_rest() {
        let replay = Replay::new(pieces(3, 10));
        let mut first = replay.body().unwrap();
        assert_eq!(first.next().await.unwrap().unwrap(), vec![0; 10]);
        let second = collect(replay.body().unwrap(), 100).await.unwrap();
        assert_eq!(second, [[0; 10], [1; 10], [2; 10]].concat());
        // The first body is over: two connections would share the rest.
        assert!(first.next().await.unwrap().is_err());
        let third = collect(replay.body().unwrap(), 100).await.unwrap();
        assert_eq!(third, second);
    }

    #[tokio::test]
    async fn no_more_is_kept_than_the_window() {
        let replay = Replay::new(pieces(5, WINDOW / 4));
        let mut body = replay.body().unwrap();
        for _ in 0..4 {
            assert!(body.next().await.unwrap().is_ok());
        }
        let mut body = replay.body().unwrap();
        let mut length = 0;
        while let Some(piece) = body.next().await {
            length += piece.unwrap().len();
        }
        assert_eq!(length, WINDOW / 4 * 5);
        assert!(replay.body().is_none());
        assert_eq!(lock(&replay.0).taken, None);
    }
}
