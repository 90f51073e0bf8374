//! Blobs of a registry.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use cairn_oci::{Digest, RepositoryName};
use cairn_store::stream::unwrap_verified;
use cairn_store::{Blob, ByteStream, RepositoryError, Written, from_bytes};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{Method, StatusCode};
use reqwest::{Body, Response, Url};

use super::answer::{self, Refusal};
use super::auth::{Access, AuthError};
use super::content::{self, Progress};
use super::host::{self, SendError, text};
use super::remote::Remote;
use super::replay::Replay;
use super::transport::Request;
use crate::wire::route::BlobAction;
use crate::wire::{Query, Route, header, range};

/// Most uploads that are remembered after a registry began them instead of mounting.
const BEGUN_LIMIT: usize = 64;

impl Remote {
    fn blob(&self, action: BlobAction, digest: &Digest) -> Request {
        self.host
            .request(&Route::Blob(action, self.name.clone(), *digest))
    }

    pub(super) async fn head_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        let request = self.blob(BlobAction::Stat, digest);
        let answer = self.ask(&request).await?;
        match answer.status() {
            StatusCode::OK => {
                self.check_digest(&answer, digest)?;
                let length = answer::length(&answer);
                length
                    .map(Some)
                    .ok_or_else(|| self.protocol(format!("the size of the blob {digest} is not stated")))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(&request, answer).await),
        }
    }

    /// A header that names another digest is a lie about this content, or about that.
    pub(super) fn check_digest(&self, answer: &Response, expected: &Digest) -> Result<(), RepositoryError> {
        let Some(stated) = text(answer.headers(), &header::CONTENT_DIGEST) else {
            return Ok(());
        };
        match stated.parse::<Digest>() {
            Ok(found) if found == *expected => Ok(()),
            Ok(found) => Err(RepositoryError::Digest {
                expected: *expected,
                found,
            }),
            Err(_) => Err(self.protocol(format!(
                "the answer about {expected} names no digest that can be read"
            ))),
        }
    }

    pub(super) async fn get_blob(&self, digest: &Digest) -> Result<Option<Blob>, RepositoryError> {
        let request = self.blob(BlobAction::Read, digest);
        let answer = self.ask(&request).await?;
        match answer.status() {
            StatusCode::OK => self.whole(digest, answer).await,
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(&request, answer).await),
        }
    }

    async fn whole(&self, digest: &Digest, answer: Response) -> Result<Option<Blob>, RepositoryError> {
        let size = match answer::length(&answer) {
            Some(size) => size,
            // Without a size the body would have no bound.
            None => match self.head_blob(digest).await? {
                Some(size) => size,
                None => return Ok(None),
            },
        };
        let content = content::exactly(answer::content(answer), size);
        Ok(Some(Blob {
            size,
            content: content::received(content, Arc::clone(&self.meter)),
        }))
    }

    pub(super) async fn get_range(
        &self,
        digest: &Digest,
        wanted: Range<u64>,
    ) -> Result<Option<Blob>, RepositoryError> {
        if wanted.is_empty() {
            return self.nothing_of(digest).await;
        }
        let request = self
            .blob(BlobAction::Read, digest)
            .with(RANGE, &range::request(&wanted));
        let answer = self.ask(&request).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => self.part(digest, answer, &wanted).map(Some),
            StatusCode::OK => {
                let whole = self.whole(digest, answer).await?;
                Ok(whole.map(|blob| cut(blob, &wanted)))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => self.nothing_of(digest).await,
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(&request, answer).await),
        }
    }

    async fn nothing_of(&self, digest: &Digest) -> Result<Option<Blob>, RepositoryError> {
        let size = self.head_blob(digest).await?;
        Ok(size.map(|size| Blob {
            size,
            content: from_bytes(Bytes::new()),
        }))
    }

    /// The part must be the one that was asked for: bytes of another place would be wrong unnoticed.
    fn part(&self, digest: &Digest, answer: Response, wanted: &Range<u64>) -> Result<Blob, RepositoryError> {
        let stated = text(answer.headers(), &CONTENT_RANGE).and_then(range::parse_content);
        let right =
            stated.filter(|(part, size)| part.start == wanted.start && part.end == wanted.end.min(*size));
        let Some((part, size)) = right else {
            return Err(self.protocol(format!("another range of {digest} came than was asked for")));
        };
        let content = content::exactly(answer::content(answer), part.end - part.start);
        Ok(Blob {
            size,
            content: content::received(content, Arc::clone(&self.meter)),
        })
    }

    pub(super) async fn remove_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let request = self.blob(BlobAction::Delete, digest);
        let answer = self.ask(&request).await?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::METHOD_NOT_ALLOWED => Err(self.unsupported("deleting blobs")),
            _ => Err(self.refused(&request, answer).await),
        }
    }

    /// Anything but 201 means that the blob has to be written; some registries answer 4xx where they cannot mount.
    pub(super) async fn mount(
        &self,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool, RepositoryError> {
        let mut request = self.begin_request();
        let query = Query::default()
            .with("mount", &digest.to_string())
            .with("from", from.as_str());
        request.url.set_query(Some(&query.to_string()));
        request.access = request.access.and_pull(from);
        let answer = match self.host.send(&request).await {
            // Who may not read there cannot mount from there.
            Err(SendError::Auth(AuthError::Token(error))) if error.is_denial() => return Ok(false),
            answer => answer.map_err(|error| host::unreachable(&self.label, error))?,
        };
        match answer.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                self.remember(*digest, self.location(&request.url, &answer)?);
                Ok(false)
            }
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => Ok(false),
            _ => Err(self.refused(&request, answer).await),
        }
    }

    fn remember(&self, digest: Digest, url: Url) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.len() < BEGUN_LIMIT {
            begun.push((digest, url));
        }
    }

    fn recall(&self, digest: &Digest) -> Option<Url> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let position = begun.iter().position(|(known, _)| known == digest)?;
        Some(begun.swap_remove(position).1)
    }

    fn begin_request(&self) -> Request {
        let request = self.host.request(&Route::BeginUpload(self.name.clone()));
        request.with(CONTENT_LENGTH, "0")
    }

    /// Where an upload goes on: `Location`, relative to what was asked.
    fn location(&self, from: &Url, answer: &Response) -> Result<Url, RepositoryError> {
        let missing = || self.protocol("an upload was accepted without saying where");
        let location = text(answer.headers(), &LOCATION).ok_or_else(missing)?;
        self.host
            .follow(from, location)
            .map_err(|error| self.protocol(format!("the location of an upload is not followed: {error}")))
    }

    async fn begin(&self) -> Result<Url, RepositoryError> {
        let request = self.begin_request();
        let answer = self.ask(&request).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return self.location(&request.url, &answer);
        }
        Err(self.refused(&request, answer).await)
    }

    pub(super) async fn upload(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        if let Some(found) = self.head_blob(digest).await? {
            return self.present(digest, size, found);
        }
        let location = match self.recall(digest) {
            Some(location) => location,
            None => self.begin().await?,
        };
        let progress = Arc::new(Progress::default());
        let meter = Arc::clone(&self.meter);
        let content = content::outgoing(content, *digest, size, Arc::clone(&progress), meter);
        let outcome = self.put_stream(&location, digest, size, content, &progress).await;
        if let Some(broken) = progress.failure() {
            self.abandon(location).await;
            return Err(unwrap_verified(broken, |source| RepositoryError::Content {
                digest: *digest,
                source,
            }));
        }
        self.uploaded(digest, &location, outcome).await
    }

    fn present(&self, digest: &Digest, expected: u64, found: u64) -> Result<Written, RepositoryError> {
        if found == expected {
            return Ok(Written::Present);
        }
        Err(RepositoryError::Size {
            digest: *digest,
            expected,
            found,
        })
    }

    async fn put_stream(
        &self,
        location: &Url,
        digest: &Digest,
        size: u64,
        content: ByteStream,
        progress: &Progress,
    ) -> Result<Response, SendError> {
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let (authorizer, transport) = (&self.host.authorizer, &self.host.transport);
        let mut attempt = authorizer.begin(&Access::push(&self.name), &url).await?;
        let request = Request::new(Method::PUT, url).with(CONTENT_TYPE, "application/octet-stream");
        // An empty stream with a length of 0 is sent as no body at all.
        let content = if size == 0 {
            drained(content).await
        } else {
            content
        };
        let replay = Replay::new(content);
        while let Some(body) = replay.body() {
            let body = match size {
                0 => Body::from(Bytes::new()),
                _ => Body::wrap_stream(body),
            };
            let sent = transport.send_stream(request.clone(), attempt.header(), body, size, progress);
            let mut answer = sent.await?;
            if !authorizer.again(&mut attempt, &answer).await? {
                authorizer.sign(&attempt, &mut answer);
                return Ok(answer);
            }
        }
        Err(AuthError::Late.into())
    }

    async fn uploaded(
        &self,
        digest: &Digest,
        location: &Url,
        outcome: Result<Response, SendError>,
    ) -> Result<Written, RepositoryError> {
        let operation = host::operation(&Method::PUT, location);
        match outcome {
            Ok(answer) if answer.status().is_success() => {
                self.check_digest(&answer, digest)?;
                self.meter.uploaded_blob();
                Ok(Written::New)
            }
            Ok(answer) => {
                let refusal = Refusal::read(answer).await;
                Err(refusal.into_error(self.label.to_string(), operation))
            }
            Err(error) => {
                // Blobs are named by their content: if it is there now, it was this upload or one just like it.
                if !error.is_unsent() && matches!(self.head_blob(digest).await, Ok(Some(_))) {
                    self.meter.uploaded_blob();
                    return Ok(Written::New);
                }
                Err(host::unknown(&self.label, operation, error))
            }
        }
    }

    /// Tells the registry that nobody goes on with this upload. If it does not hear it, it will find out.
    async fn abandon(&self, location: Url) {
        if self.host.owns(&location) {
            let request = Request::new(Method::DELETE, location).to(Access::push(&self.name));
            drop(self.host.send(&request).await);
        }
    }
}

/// Runs content that must be empty to its end, where it is verified.
async fn drained(mut content: ByteStream) -> ByteStream {
    use futures_util::TryStreamExt;
    while let Ok(Some(_)) = content.try_next().await {}
    from_bytes(Bytes::new())
}

fn cut(blob: Blob, wanted: &Range<u64>) -> Blob {
    let end = wanted.end.min(blob.size);
    let content = content::cut(blob.content, wanted.start.min(end)..end);
    Blob { content, ..blob }
}
