//! Work that waits for the disk, away from the threads that serve connections.

use std::io;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::stream::ByteStream;

/// Pieces between the connection and the disk.
const IN_FLIGHT: usize = 4;

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    join(tokio::task::spawn_blocking(work)).await
}

async fn join<T>(handle: JoinHandle<T>) -> T {
    match handle.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and will drop this future.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What a writing thread receives.
pub(crate) enum Piece {
    /// More content.
    Bytes(Bytes),
    /// The content is complete.
    End,
}

/// The receiving side of [`pump`].
pub(crate) struct Pieces(mpsc::Receiver<Piece>);

impl Pieces {
    /// The next piece; `None` when the content broke off or the caller went away.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        self.0.blocking_recv()
    }
}

/// Runs `work` on a thread that may block and feeds it `content`. Gives what the work gave, and the error with
/// which the content broke off, if it did. When this future is dropped, the work sees the content break off.
pub(crate) async fn pump<T: Send + 'static>(
    content: ByteStream,
    work: impl FnOnce(Pieces) -> T + Send + 'static,
) -> (T, io::Result<()>) {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    // Started at once, so that it runs while the content is fed.
    let working = tokio::task::spawn_blocking(move || work(Pieces(receiver)));
    let fed = feed(content, sender).await;
    let worked = join(working).await;
    (worked, fed)
}

async fn feed(mut content: ByteStream, sender: mpsc::Sender<Piece>) -> io::Result<()> {
    while let Some(piece) = content.try_next().await? {
        if sender.send(Piece::Bytes(piece)).await.is_err() {
            // The work has ended early and says why itself.
            return Ok(());
        }
    }
    drop(sender.send(Piece::End).await);
    Ok(())
}
