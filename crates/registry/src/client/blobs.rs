//! Blobs of a registry.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_oci::{Digest, RepositoryName};
use cairn_store::error::MissingBlob;
use cairn_store::{Blob, RawManifest, RepositoryError, from_bytes};
use http::StatusCode;
use http::header::{CONTENT_RANGE, RANGE};
use reqwest::Response;

use super::answer;
use super::auth::AuthError;
use super::coming::coming;
use super::content;
use super::host::{self, SendError, text};
use super::remote::Remote;
use super::transport::Request;
use super::upload::Session;
use crate::wire::route::BlobAction;
use crate::wire::{Query, Route, header, range};

/// Most uploads that are remembered after a registry began them instead of mounting.
const BEGUN_LIMIT: usize = 64;

impl Remote {
    pub(super) fn blob(&self, action: BlobAction, digest: &Digest) -> Request {
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
        let Some(size) = self.size(digest, &answer).await? else {
            return Ok(None);
        };
        let content = content::exactly(answer::content(answer), size);
        Ok(Some(Blob {
            size,
            content: coming(self, digest, size, 0..size, content),
        }))
    }

    /// The size of the blob whose content `answer` is. Without one, the body would have no bound.
    async fn size(&self, digest: &Digest, answer: &Response) -> Result<Option<u64>, RepositoryError> {
        match answer::length(answer) {
            Some(size) => Ok(Some(size)),
            None => self.head_blob(digest).await,
        }
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
                // The range was ignored: what comes before it is thrown away.
                let Some(size) = self.size(digest, &answer).await? else {
                    return Ok(None);
                };
                let part = wanted.start.min(size)..wanted.end.min(size);
                let content = content::cut(content::exactly(answer::content(answer), size), part.clone());
                Ok(Some(Blob {
                    size,
                    content: coming(self, digest, size, part, content),
                }))
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
        let (part, size) = right.ok_or_else(|| self.other_range(digest))?;
        let content = content::exactly(answer::content(answer), part.end - part.start);
        Ok(Blob {
            size,
            content: coming(self, digest, size, part, content),
        })
    }

    pub(super) fn other_range(&self, digest: &Digest) -> RepositoryError {
        self.protocol(format!("another range of {digest} came than was asked for"))
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
        if self.doubted().contains(digest) {
            return Ok(false);
        }
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
                self.remember(*digest, self.begun(&request.url, &answer)?);
                Ok(false)
            }
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => Ok(false),
            _ => Err(self.refused(&request, answer).await),
        }
    }

    fn remember(&self, digest: Digest, session: Session) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.len() < BEGUN_LIMIT {
            begun.push((digest, session));
        }
    }

    /// The upload of this blob that the registry began instead of mounting it.
    pub(super) fn recall(&self, digest: &Digest) -> Option<Session> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let position = begun.iter().position(|(known, _)| known == digest)?;
        Some(begun.swap_remove(position).1)
    }

    /// The size of a blob that is there, unless the registry has just said that a manifest lacks it: some say to `HEAD` what
    /// they remember, and not what they have.
    pub(super) async fn known_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        if self.doubted().contains(digest) {
            return Ok(None);
        }
        self.head_blob(digest).await
    }

    /// Believes no more that the blob is there, or any blob of the manifest if it is not known which one is missing.
    pub(super) fn doubt(&self, manifest: &RawManifest, blob: MissingBlob) {
        let named = manifest.document().map(|document| {
            let blobs = document.blobs().into_iter();
            blobs.map(|blob| blob.digest).collect::<BTreeSet<_>>()
        });
        let named = named.unwrap_or_default();
        let mut doubted = self.doubted();
        match blob {
            MissingBlob::Known(digest) if named.contains(&digest) => drop(doubted.insert(digest)),
            _ => doubted.extend(named),
        }
    }

    /// The blob was uploaded.
    pub(super) fn trust(&self, digest: &Digest) {
        self.doubted().remove(digest);
    }

    fn doubted(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
