//! Streams of content, checked and counted on their way in or out.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use cairn_store::ByteStream;
use futures_util::{StreamExt, TryStreamExt, stream};

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

/// The same content without its first `count` bytes.
pub(super) fn skip(content: ByteStream, count: u64) -> ByteStream {
    Box::pin(
        content
            .scan(count, |left, piece| {
                let piece = piece.map(|mut piece| {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
                    *left -= skipped as u64;
                    piece.split_off(skipped)
                });
                std::future::ready(Some(piece))
            })
            .try_filter(|piece| std::future::ready(!piece.is_empty())),
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_store::collect;

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
    async fn what_is_skipped_may_span_pieces() {
        for (count, expected) in [(0, "abcdef"), (1, "bcdef"), (3, "def"), (6, ""), (9, "")] {
            let rest = collect(skip(pieces(&["ab", "c", "def"]), count), 10).await;
            assert_eq!(rest.unwrap(), expected, "{count}");
        }
    }
}
