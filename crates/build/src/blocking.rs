//! Content that comes asynchronously, read by code that waits for it; and files the other way round.

use std::io::{self, Read};
use std::path::Path;

use bytes::{Buf, Bytes, BytesMut};
use cairn_store::ByteStream;
use futures_util::{StreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task;

/// How many pieces may wait for a slow reader.
const QUEUE: usize = 4;
/// Length of the pieces in which files are read, in bytes.
const PIECE: usize = 256 << 10;

/// Runs `work` where waiting is allowed. A panic in it goes on here.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shutting down cancels such work, and then nobody waits for the result.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Reads what [`feed`] sends.
#[derive(Debug)]
pub(crate) struct PieceReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

pub(crate) type PieceSender = mpsc::Sender<io::Result<Bytes>>;

/// A reader, and what gives it its content.
pub(crate) fn pipe() -> (PieceSender, PieceReader) {
    let (sender, pieces) = mpsc::channel(QUEUE);
    let reader = PieceReader {
        pieces,
        current: Bytes::new(),
    };
    (sender, reader)
}

/// Sends `content` to every reader, to its end; one that has stopped reading is passed over.
///
/// # Errors
///
/// The error in which the content ended. The readers get one that says the same, so that none takes it for the end.
pub(crate) async fn feed(mut content: ByteStream, readers: Vec<PieceSender>) -> io::Result<()> {
    while let Some(piece) = content.next().await {
        for reader in &readers {
            let copy = match &piece {
                Ok(piece) => Ok(piece.clone()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // A reader that has stopped has said why itself.
            reader.send(copy).await.unwrap_or_default();
        }
        piece?;
    }
    Ok(())
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The content of the file at `path`.
pub(crate) async fn file_stream(path: &Path) -> io::Result<ByteStream> {
    let file = tokio::fs::File::open(path).await?;
    Ok(Box::pin(stream::try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE);
        let length = file.read_buf(&mut piece).await?;
        Ok((length > 0).then(|| (piece.freeze(), file)))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_both(content: Vec<io::Result<Bytes>>) -> (io::Result<()>, [io::Result<Vec<u8>>; 2]) {
        let (one, first) = pipe();
        let (two, second) = pipe();
        let read = |mut reader: PieceReader| {
            run(move || {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map(|_| bytes)
            })
        };
        let content: ByteStream = Box::pin(stream::iter(content));
        let (fed, first, second) = tokio::join!(feed(content, vec![one, two]), read(first), read(second));
        (fed, [first, second])
    }

    #[tokio::test]
    async fn every_reader_gets_all_of_the_content() {
        let pieces = (0..100u8).map(|byte| Ok(Bytes::from(vec![byte; 3])));
        let wanted: Vec<u8> = (0..100u8).flat_map(|byte| [byte; 3]).collect();
        let (fed, both) = read_both(pieces.collect()).await;
        fed.unwrap();
        for read in both {
            assert_eq!(read.unwrap(), wanted);
        }
    }

    #[tokio::test]
    async fn an_error_reaches_every_reader_and_is_not_taken_for_the_end() {
        let pieces = vec![Ok(Bytes::from_static(b"x")), Err(io::Error::other("broken"))];
        let (fed, both) = read_both(pieces).await;
        assert_eq!(fed.unwrap_err().to_string(), "broken");
        for read in both {
            assert_eq!(read.unwrap_err().to_string(), "broken");
        }
    }

    #[tokio::test]
    async fn a_reader_that_stops_does_not_hold_up_the_others() {
        let (one, first) = pipe();
        let (two, mut second) = pipe();
        drop(first);
        let content: ByteStream = Box::pin(stream::iter((0..50).map(|_| Ok(Bytes::from_static(b"abc")))));
        let read = run(move || {
            let mut bytes = Vec::new();
            second.read_to_end(&mut bytes).map(|_| bytes.len())
        });
        let (fed, length) = tokio::join!(feed(content, vec![one, two]), read);
        fed.unwrap();
        assert_eq!(length.unwrap(), 150);
    }
}
