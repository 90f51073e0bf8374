//! What a registry answered, and which error that is.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use cairn_oci::{Digest, Tag};
use cairn_store::error::{Denial, MissingBlob};
use cairn_store::stream::ReadBytes;
use cairn_store::{ByteStream, Condition, RepositoryError, collect};
use futures_util::TryStreamExt;
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, StatusCode};
use oci_spec::distribution::ErrorCode;
use reqwest::Response;
use tokio::time::timeout;

use super::auth::{self, Sent, Standing};
use super::host::text;
use super::transport::Course;
use crate::wire::{ErrorBody, error, header};

/// How long the body of a refusal is read, if nobody said.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that is no success, read.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: ErrorBody,
    raw: Bytes,
    /// As whom it was asked for, if that was said.
    sent: Option<Sent>,
    /// Whose answer it is.
    host: String,
    course: Option<Course>,
}

/// The body of an answer as content.
pub(super) fn content(answer: Response) -> ByteStream {
    let pieces = answer
        .bytes_stream()
        .map_err(|error| io::Error::other(error.without_url()));
    Box::pin(pieces.try_filter(|piece| std::future::ready(!piece.is_empty())))
}

/// How long the answer says its body is. For `HEAD` too, where there is none.
pub(super) fn length(answer: &Response) -> Option<u64> {
    text(answer.headers(), &CONTENT_LENGTH)?.parse().ok()
}

impl Refusal {
    /// Reads at most 64 KiB of the answer's body, for a short time; a longer one, or one that breaks off, counts as none.
    pub(super) async fn read(answer: Response) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let sent = answer.extensions().get().cloned();
        let host = answer.url().host_str().unwrap_or_default().to_owned();
        let course: Option<Course> = answer.extensions().get().copied();
        let patience = course.map_or(PATIENCE, |course| course.refusal);
        let raw = timeout(patience, collect(content(answer), error::LIMIT as u64)).await;
        let raw = raw.ok().and_then(Result::ok).unwrap_or_default();
        Self {
            status,
            headers,
            body: ErrorBody::parse(&raw),
            raw,
            sent,
            host,
            course,
        }
    }

    /// The same after so many attempts, the last of which was so because it `asked` for too long a pause.
    pub(super) fn repeated(mut self, attempts: u32, asked: Option<Duration>) -> Self {
        self.course = Some(Course {
            attempts,
            asked,
            refusal: PATIENCE,
        });
        self
    }

    /// The registry's own words, cut to 200 characters.
    pub(super) fn words(&self) -> String {
        let mut words = self.body.text();
        if words.is_empty() {
            let text = String::from_utf8_lossy(&self.raw);
            words = text.lines().next().unwrap_or_default().trim().to_owned();
        }
        // Some servers repeat what they were sent.
        let words = match &self.sent {
            Some(sent) => sent.redact(words),
            None => words,
        };
        error::bounded(&words)
    }

    /// The body as it came, as far as it was read.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    pub(super) fn has(&self, code: &ErrorCode) -> bool {
        self.body.has(code)
    }

    /// The digest that the tag has now, by the answer.
    fn found(&self) -> Option<Digest> {
        let named = self.body.detail().and_then(|detail| detail.digest);
        named
            .or_else(|| text(&self.headers, &header::CONTENT_DIGEST)?.parse().ok())
            .or_else(|| header::parse_etag(text(&self.headers, &ETAG)?))
    }

    /// Whether a tag of Cairn's server is sealed.
    fn sealed(&self) -> bool {
        self.status == StatusCode::CONFLICT && self.body.detail().is_some_and(|detail| detail.sealed)
    }

    /// The error of a request that is about nothing in particular.
    pub(super) fn into_error(self, repository: String, operation: String) -> RepositoryError {
        let detail = match self.course.and_then(|course| course.asked) {
            // More words could push this one out.
            Some(asked) => format!("it asks to wait for {} seconds", asked.as_secs()),
            None => self.words(),
        };
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RepositoryError::Denied {
                denial: self.denial(),
                detail: self.explain(detail),
                repository,
            },
            status => RepositoryError::Refused {
                repository,
                status: status.as_u16(),
                operation,
                detail,
                attempts: self.course.map_or(1, |course| course.attempts),
            },
        }
    }

    fn denial(&self) -> Denial {
        let standing = self.sent.as_ref().map_or(Standing::Nobody, |sent| sent.standing);
        match standing {
            Standing::Elsewhere => Denial::Elsewhere,
            Standing::Nobody => Denial::NoCredentials,
            Standing::Unchecked if self.status == StatusCode::UNAUTHORIZED => Denial::NotAccepted,
            Standing::Unchecked | Standing::Known => Denial::Insufficient,
        }
    }

    /// The status, and what can be said about it.
    fn explain(&self, words: String) -> String {
        let status = format!("HTTP status {}", self.status.as_u16());
        if matches!(self.denial(), Denial::Elsewhere) {
            return format!("{status} from {}", error::bounded(&self.host));
        }
        if !words.is_empty() {
            return words;
        }
        if self.status != StatusCode::UNAUTHORIZED {
            return status;
        }
        let schemes = auth::schemes(&self.headers);
        let is_known = |scheme: &String| matches!(scheme.as_str(), "basic" | "bearer");
        if schemes.is_empty() {
            format!("{status}, without saying how to authenticate")
        } else if schemes.iter().any(is_known) {
            status
        } else {
            let schemes = error::bounded(&schemes.join(", "));
            format!("{status}; it wants {schemes}, which Cairn does not know")
        }
    }

    /// The error of a write to `tag`, or of its deletion.
    pub(super) fn into_tag_error(
        self,
        repository: String,
        operation: String,
        tag: &Tag,
        condition: &Condition,
    ) -> RepositoryError {
        let tag = tag.clone();
        match self.status {
            _ if self.sealed() => RepositoryError::Sealed {
                // A manifest's deletion is refused for a tag that only the server knows of.
                tag: self.body.detail().and_then(|detail| detail.tag).unwrap_or(tag),
                found: self.found(),
            },
            StatusCode::PRECONDITION_FAILED if *condition != Condition::Always => {
                RepositoryError::Condition {
                    tag,
                    condition: condition.clone(),
                    found: self.found(),
                }
            }
            StatusCode::PRECONDITION_REQUIRED => RepositoryError::ConditionRequired { tag },
            _ => self.into_error(repository, operation),
        }
    }

    /// The tag that the answer is about, where the request named none.
    pub(super) fn tag(&self) -> Option<Tag> {
        self.body.detail()?.tag
    }

    /// The blob that a manifest lacks, if that is what the answer is about.
    pub(super) fn missing_blob(&self) -> Option<MissingBlob> {
        let lacks = self.has(&ErrorCode::ManifestBlobUnknown) || self.has(&ErrorCode::BlobUnknown);
        lacks.then(|| match self.body.named_digest() {
            Some(digest) => MissingBlob::Known(digest),
            None => MissingBlob::Unnamed,
        })
    }
}

/// Why the body of an answer was not read whole.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is longer than it may be.
    TooLarge,
    /// It broke off.
    Broken(io::Error),
    /// It did not come to its end in this time.
    Endless(Duration),
}

/// Reads a body of at most `limit` bytes within `time`.
pub(super) async fn bounded(answer: Response, limit: usize, time: Duration) -> Result<Bytes, Unread> {
    let limit = limit as u64;
    if length(&answer).is_some_and(|length| length > limit) {
        return Err(Unread::TooLarge);
    }
    match timeout(time, collect(content(answer), limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(ReadBytes::TooLarge { .. })) => Err(Unread::TooLarge),
        Ok(Err(ReadBytes::Broken(source))) => Err(Unread::Broken(source)),
        Err(_) => Err(Unread::Endless(time)),
    }
}
