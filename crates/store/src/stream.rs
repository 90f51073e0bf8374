//! Content as a stream of pieces, and its verification on the way.

use std::io;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cairn_oci::{Digest, Hasher};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::error::RepositoryError;

/// Content in pieces. A piece is never empty and seldom larger than 1 MiB.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Content that can be had again: what broke off on its way out goes on from where it broke off.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// The content from the byte at `offset`, which is not beyond its end, to its end. It is not verified here.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not there any more.
    async fn open(&self, offset: u64) -> Result<ByteStream, RepositoryError>;
}

/// One piece.
pub fn from_bytes(bytes: impl Into<Bytes>) -> ByteStream {
    let bytes = bytes.into();
    if bytes.is_empty() {
        return Box::pin(stream::empty());
    }
    Box::pin(stream::once(async move { Ok(bytes) }))
}

/// Why content could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadBytes {
    /// It is longer than allowed.
    #[error("the content is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It broke off.
    #[error("the content broke off")]
    Broken(#[source] io::Error),
}

/// Most bytes that are made room for because somebody says how long content is.
const ROOM_LIMIT: u64 = 16 << 20;

/// Reads at most `limit` bytes into memory.
///
/// # Errors
///
/// [`ReadBytes`], as soon as the limit is passed.
pub async fn collect(content: ByteStream, limit: u64) -> Result<Bytes, ReadBytes> {
    collect_about(content, limit, 0).await
}

/// The same of content that should have `size` bytes.
///
/// # Errors
///
/// As [`collect`].
pub async fn collect_about(mut content: ByteStream, limit: u64, size: u64) -> Result<Bytes, ReadBytes> {
    let room = size.min(limit).min(ROOM_LIMIT);
    let mut all = BytesMut::with_capacity(usize::try_from(room).unwrap_or_default());
    while let Some(piece) = content.try_next().await.map_err(ReadBytes::Broken)? {
        if all.len() as u64 + piece.len() as u64 > limit {
            return Err(ReadBytes::TooLarge { limit });
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The same content, ending in an error unless it has exactly `size` bytes and the digest.
///
/// It stops at the first byte too many. The error is an [`io::Error`] whose inner error is the
/// [`RepositoryError::Size`] or [`RepositoryError::Digest`]. A caller that keeps what it read must wait for the end.
pub fn verified(content: ByteStream, digest: Digest, size: u64) -> ByteStream {
    let check = Check {
        content,
        hasher: Some(Hasher::new()),
        digest,
        size,
    };
    Box::pin(stream::try_unfold(check, Check::step))
}

struct Check {
    content: ByteStream,
    hasher: Option<Hasher>,
    digest: Digest,
    size: u64,
}

impl Check {
    async fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let piece = self.content.next().await.transpose()?;
        let Some(mut hasher) = self.hasher.take() else {
            return Ok(None);
        };
        let Some(piece) = piece else {
            self.end(hasher)?;
            return Ok(None);
        };
        hasher.update(&piece);
        if hasher.length() > self.size {
            return Err(self.wrong_size(self.size + 1));
        }
        self.hasher = Some(hasher);
        Ok(Some((piece, self)))
    }

    fn end(&self, hasher: Hasher) -> io::Result<()> {
        if hasher.length() != self.size {
            return Err(self.wrong_size(hasher.length()));
        }
        let found = hasher.finish();
        if found == self.digest {
            return Ok(());
        }
        let error = RepositoryError::Digest {
            expected: self.digest,
            found,
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn wrong_size(&self, found: u64) -> io::Error {
        let error = RepositoryError::Size {
            digest: self.digest,
            expected: self.size,
            found,
        };
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The [`RepositoryError`] that [`verified`] put into an [`io::Error`], or `other` made of the error itself.
pub fn unwrap_verified(
    error: io::Error,
    other: impl FnOnce(io::Error) -> RepositoryError,
) -> RepositoryError {
    match error.downcast::<RepositoryError>() {
        Ok(inner) => inner,
        Err(error) => other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(pieces: &'static [&'static [u8]], digest: Digest, size: u64) -> Result<Bytes, ReadBytes> {
        let content = stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece))));
        collect(verified(Box::pin(content), digest, size), 100).await
    }

    #[tokio::test]
    async fn content_with_the_stated_digest_passes() {
        assert_eq!(
            read(&[b"ab", b"c"], Digest::of(b"abc"), 3).await.unwrap(),
            &b"abc"[..]
        );
        assert_eq!(read(&[], Digest::of(b""), 0).await.unwrap(), &b""[..]);
    }

    #[tokio::test]
    async fn c1_c2_other_content_and_other_sizes_are_errors() {
        for (size, digest) in [
            (3, Digest::of(b"abd")),
            (2, Digest::of(b"abc")),
            (4, Digest::of(b"abc")),
        ] {
            let error = read(&[b"ab", b"c"], digest, size).await.unwrap_err();
            assert!(matches!(error, ReadBytes::Broken(_)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn reading_stops_at_the_limit() {
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 10])));
        let error = collect(Box::pin(endless), 35).await.unwrap_err();
        assert!(matches!(error, ReadBytes::TooLarge { limit: 35 }));
    }
}
