//! A blob on its way in, taken up again from where it broke off.

use std::io;
use std::sync::Arc;

use cairn_oci::Digest;
use cairn_store::{ByteStream, RepositoryError};
use futures_util::{TryStreamExt, stream};
use http::StatusCode;
use http::header::{CONTENT_RANGE, RANGE};
use reqwest::Response;

use super::answer::{self, Refusal};
use super::content;
use super::host::{self, text};
use super::remote::Remote;
use crate::wire::range;
use crate::wire::route::BlobAction;

/// A download that gets on by this much (1 MiB) may break as often as before.
const STEP: u64 = 1 << 20;

/// A blob, or a part of it, that is being read.
struct Coming {
    remote: Remote,
    digest: Digest,
    /// Size of the whole blob.
    size: u64,
    /// The next byte that is wanted of it.
    next: u64,
    /// Where what is wanted ends.
    end: u64,
    content: ByteStream,
    /// Where it was when `breaks` was last 0.
    step: u64,
    breaks: u32,
}

/// Why the rest of a blob did not come.
#[derive(Debug, thiserror::Error)]
#[error("the blob {digest} broke off after {received} of {size} bytes, tried {attempts} times")]
struct Broken {
    digest: Digest,
    received: u64,
    size: u64,
    attempts: u32,
    source: io::Error,
}

/// The bytes `next..end` of a blob of `size` bytes, of which `content` is the beginning or all.
pub(super) fn coming(
    remote: &Remote,
    digest: &Digest,
    size: u64,
    wanted: std::ops::Range<u64>,
    content: ByteStream,
) -> ByteStream {
    let coming = Coming {
        remote: remote.clone(),
        digest: *digest,
        size,
        next: wanted.start,
        end: wanted.end,
        content,
        step: wanted.start,
        breaks: 0,
    };
    let meter = Arc::clone(&remote.meter);
    content::received(Box::pin(stream::try_unfold(coming, Coming::step)), meter)
}

impl Coming {
    async fn step(mut self) -> io::Result<Option<(bytes::Bytes, Self)>> {
        loop {
            let why = match self.content.try_next().await {
                Ok(Some(piece)) => {
                    self.next += piece.len() as u64;
                    return Ok(Some((piece, self)));
                }
                Ok(None) if self.next >= self.end => return Ok(None),
                Ok(None) => io::ErrorKind::UnexpectedEof.into(),
                // More than was stated: that does not get better.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Err(error) => error,
            };
            self.go_on(why).await?;
        }
    }

    /// Asks for the rest.
    async fn go_on(&mut self, why: io::Error) -> io::Result<()> {
        if self.next >= self.step + STEP {
            (self.step, self.breaks) = (self.next, 0);
        }
        self.breaks += 1;
        let transport = &self.remote.host.transport;
        if self.breaks >= transport.config().retries.attempts {
            return Err(self.broken(why));
        }
        transport.wait(self.breaks, None).await;
        self.content = self.rest().await.map_err(io::Error::other)?;
        Ok(())
    }

    async fn rest(&mut self) -> Result<ByteStream, RepositoryError> {
        let request = self.remote.blob(BlobAction::Read, &self.digest);
        let request = request.with(RANGE, &range::request(&(self.next..self.end)));
        let answer = self.remote.ask(&request).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => self.part(answer),
            StatusCode::OK => self.whole(answer),
            // What is there is shorter than what was said before.
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_FOUND => Err(self.remote.protocol(format!(
                "the blob {} was there, and its bytes from {} on are not",
                self.digest, self.next
            ))),
            _ => {
                let operation = host::operation(&request.method, &request.url);
                let refusal = Refusal::read(answer).await;
                Err(refusal.into_error(self.remote.label.to_string(), operation))
            }
        }
    }

    /// The part must begin where the other ended. It may end before what was asked for.
    fn part(&self, answer: Response) -> Result<ByteStream, RepositoryError> {
        let stated = text(answer.headers(), &CONTENT_RANGE).and_then(range::parse_content);
        match stated {
            Some((part, size)) if part.start == self.next && part.end <= self.end && size == self.size => {
                Ok(content::exactly(answer::content(answer), part.end - part.start))
            }
            _ => Err(self.remote.other_range(&self.digest)),
        }
    }

    /// All of it once more: what came before is skipped.
    fn whole(&self, answer: Response) -> Result<ByteStream, RepositoryError> {
        if answer::length(&answer).is_some_and(|size| size != self.size) {
            return Err(self
                .remote
                .protocol(format!("the blob {} changed its size", self.digest)));
        }
        let content = content::exactly(answer::content(answer), self.size);
        Ok(if self.end == self.size {
            content::skip(content, self.next)
        } else {
            content::cut(content, self.next..self.end)
        })
    }

    fn broken(&self, source: io::Error) -> io::Error {
        io::Error::other(RepositoryError::Unreachable {
            repository: self.remote.label.to_string(),
            source: Box::new(Broken {
                digest: self.digest,
                received: self.next,
                size: self.size,
                attempts: self.breaks,
                source,
            }),
        })
    }
}
