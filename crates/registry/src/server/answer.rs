//! Answers: statuses, headers, and how each error is told to the client.

use std::io;
use std::time::Duration;

use cairn_oci::{Digest, json};
use cairn_store::error::MissingBlob;
use cairn_store::{RepositoryError, UploadError};
use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use oci_spec::distribution::ErrorCode;
use serde::Serialize;

use super::body::{self, AnswerBody, WrongLength};
use super::room::Refused;
use crate::wire::{Code, ConditionError, Detail, ErrorBody, RouteError, header};

/// The answer to one request.
pub(super) struct Answer {
    /// In a box, because answers are errors too and errors are to be small.
    pub(super) response: Box<Response<AnswerBody>>,
    /// What the operator should hear of, and the client not.
    pub(super) failure: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Either of the two is an answer; the second ends the handling.
pub(super) type Outcome = Result<Answer, Answer>;

impl Answer {
    /// An answer without a body.
    pub(super) fn new(status: StatusCode) -> Self {
        let mut response = Response::new(body::empty());
        *response.status_mut() = status;
        Self {
            response: Box::new(response),
            failure: None,
        }
    }

    /// The same answer with one more header. Our own values are ASCII; one that is not is left out.
    pub(super) fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.response.headers_mut().append(name, value);
        }
        self
    }

    /// The same answer about content with this digest.
    pub(super) fn about(self, digest: &Digest) -> Self {
        self.with(header::CONTENT_DIGEST, digest.to_string())
            .with(ETAG, header::etag(digest))
    }

    pub(super) fn located(self, path: impl AsRef<str>) -> Self {
        self.with(LOCATION, path)
    }

    /// The same answer with a body whose length is known. A `HEAD` has the length and not the body.
    pub(super) fn body(self, length: u64, content: Option<AnswerBody>) -> Self {
        let mut answer = self.with(CONTENT_LENGTH, length.to_string());
        if let Some(content) = content {
            *answer.response.body_mut() = content;
        }
        answer
    }

    /// A JSON document.
    pub(super) fn json<T: Serialize>(self, content_type: &str, document: &T) -> Self {
        let bytes = json::canonical(document);
        self.with(CONTENT_TYPE, content_type)
            .body(bytes.len() as u64, Some(body::full(bytes)))
    }

    /// An error.
    pub(super) fn error(status: StatusCode, body: &ErrorBody) -> Self {
        Self::new(status).json("application/json", body)
    }

    /// An error with a code of the specification.
    pub(super) fn refuse(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self::error(status, &ErrorBody::new(code.into(), message))
    }

    pub(super) fn bad(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::refuse(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn missing(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::refuse(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn unauthorized(realm: &str) -> Self {
        let message = "a user name and a password are needed, and must be right";
        Self::refuse(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message).with(
            WWW_AUTHENTICATE,
            format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
        )
    }

    pub(super) fn forbidden() -> Self {
        let message = "the rules of this registry do not permit it";
        Self::refuse(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    pub(super) fn too_many_guesses(time: Duration) -> Self {
        let message = "too many passwords to check; wait before the next";
        let seconds = time.as_secs_f64().ceil().max(1.0);
        Self::refuse(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with(RETRY_AFTER, format!("{seconds:.0}"))
    }

    pub(super) fn overloaded() -> Self {
        let body = ErrorBody::new(Code::Other("UNAVAILABLE".to_owned()), "too many requests at once");
        Self::error(StatusCode::SERVICE_UNAVAILABLE, &body).with(RETRY_AFTER, "1")
    }

    pub(super) fn no_room() -> Self {
        let body = ErrorBody::new(
            Code::Other("UNAVAILABLE".to_owned()),
            "there is no room for pushes on the disk; reading goes on",
        );
        Self::error(StatusCode::INSUFFICIENT_STORAGE, &body).with(RETRY_AFTER, "600")
    }

    pub(super) fn too_long(limit: u64) -> Self {
        let message = format!("a blob may have at most {limit} bytes here");
        Self::refuse(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message)
    }

    pub(super) fn too_many_open() -> Self {
        let message = "too many unfinished uploads in this repository; end or cancel some";
        Self::refuse(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with(RETRY_AFTER, "60")
    }

    pub(super) fn too_many() -> Self {
        let message = "too many uploads at once";
        Self::refuse(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with(RETRY_AFTER, "1")
    }

    /// A failure of ours: the client hears that it failed, the operator why.
    fn failed(status: StatusCode, message: &str, failure: RepositoryError) -> Self {
        let body = ErrorBody::new(Code::Other("UNKNOWN".to_owned()), message);
        Self {
            failure: Some(Box::new(failure)),
            ..Self::error(status, &body)
        }
    }
}

impl From<RouteError> for Answer {
    fn from(error: RouteError) -> Self {
        let message = with_cause(&error);
        match error {
            RouteError::Unknown => Self::missing(ErrorCode::Unsupported, message),
            RouteError::Encoding | RouteError::Name(_) => Self::bad(ErrorCode::NameInvalid, message),
            RouteError::Method { allow } => {
                Self::refuse(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
                    .with(ALLOW, allow)
            }
            RouteError::Digest(_) => Self::bad(ErrorCode::DigestInvalid, message),
            RouteError::Tag { write: true, .. } => Self::bad(ErrorCode::ManifestInvalid, message),
            RouteError::Tag { write: false, .. } => Self::missing(ErrorCode::ManifestUnknown, message),
            RouteError::Upload => Self::missing(ErrorCode::BlobUploadUnknown, message),
        }
    }
}

impl From<ConditionError> for Answer {
    fn from(error: ConditionError) -> Self {
        Self::bad(ErrorCode::Unsupported, format!("nothing was written: {error}"))
    }
}

impl From<RepositoryError> for Answer {
    fn from(error: RepositoryError) -> Self {
        let message = with_cause(&error);
        match error {
            RepositoryError::Digest { .. } => Self::bad(ErrorCode::DigestInvalid, message),
            RepositoryError::Size { .. } => Self::bad(ErrorCode::SizeInvalid, message),
            RepositoryError::Manifest { .. } => Self::bad(ErrorCode::ManifestInvalid, message),
            RepositoryError::BlobUnknown { blob, .. } => Self::missing_blob(message, blob),
            RepositoryError::Condition { tag, found, .. } => {
                Self::about_tag(StatusCode::PRECONDITION_FAILED, message, tag, found, false)
            }
            RepositoryError::Sealed { tag, found } => {
                Self::about_tag(StatusCode::CONFLICT, message, tag, found, true)
            }
            RepositoryError::ConditionRequired { tag } => {
                Self::about_tag(StatusCode::PRECONDITION_REQUIRED, message, tag, None, false)
            }
            RepositoryError::Unsupported { .. } => {
                Self::refuse(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
            }
            RepositoryError::Denied { .. } => Self::refuse(StatusCode::FORBIDDEN, ErrorCode::Denied, message),
            RepositoryError::TooLarge { .. } => {
                Self::refuse(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message)
            }
            RepositoryError::Content { source, .. } => broken_content(&source),
            RepositoryError::File { ref source, .. } if is_full(source) => {
                Self::failed(StatusCode::INSUFFICIENT_STORAGE, "the store is full", error)
            }
            RepositoryError::File { ref source, .. } if is_passing(source) => {
                Self::failed(StatusCode::SERVICE_UNAVAILABLE, "the store is busy", error)
                    .with(RETRY_AFTER, "5")
            }
            // Only a mirror speaks to another registry.
            error @ (RepositoryError::Unreachable { .. }
            | RepositoryError::Refused { .. }
            | RepositoryError::Protocol { .. }
            | RepositoryError::Credentials { .. }) => Self::failed(
                StatusCode::BAD_GATEWAY,
                "the registry behind this mirror failed",
                error,
            ),
            other => Self::failed(StatusCode::INTERNAL_SERVER_ERROR, "the store failed", other),
        }
    }
}

impl From<UploadError> for Answer {
    fn from(error: UploadError) -> Self {
        let message = error.to_string();
        match error {
            UploadError::Unknown { .. } => Self::missing(ErrorCode::BlobUploadUnknown, message),
            UploadError::Offset { offset, .. } => Self::refuse(
                StatusCode::RANGE_NOT_SATISFIABLE,
                ErrorCode::BlobUploadInvalid,
                message,
            )
            .with(http::header::RANGE, crate::wire::range::progress(offset)),
            UploadError::Busy { .. } => {
                Self::refuse(StatusCode::CONFLICT, ErrorCode::BlobUploadInvalid, message)
                    .with(RETRY_AFTER, "5")
            }
            UploadError::Content { source, .. } => broken_content(&source),
            UploadError::Repository(error) => error.into(),
        }
    }
}

impl Answer {
    fn missing_blob(message: String, blob: MissingBlob) -> Self {
        let digest = match blob {
            MissingBlob::Known(digest) => Some(digest),
            MissingBlob::Unnamed => None,
        };
        let detail = Detail {
            digest,
            ..Detail::default()
        };
        let body = ErrorBody::new(ErrorCode::ManifestBlobUnknown.into(), message).with_detail(&detail);
        Self::error(StatusCode::BAD_REQUEST, &body)
    }

    fn about_tag(
        status: StatusCode,
        message: String,
        tag: cairn_oci::Tag,
        digest: Option<Digest>,
        sealed: bool,
    ) -> Self {
        let detail = Detail {
            tag: Some(tag),
            digest,
            sealed,
        };
        let body = ErrorBody::new(ErrorCode::Denied.into(), message).with_detail(&detail);
        let answer = Self::error(status, &body);
        match digest {
            Some(digest) => answer.about(&digest),
            None => answer,
        }
    }
}

fn broken_content(error: &io::Error) -> Answer {
    let inner = error.get_ref();
    if let Some(wrong) = inner.and_then(|inner| inner.downcast_ref::<WrongLength>()) {
        return Answer::bad(ErrorCode::SizeInvalid, wrong.to_string());
    }
    match inner.and_then(|inner| inner.downcast_ref::<Refused>()) {
        Some(Refused::TooLong { limit }) => return Answer::too_long(*limit),
        Some(Refused::NoRoom) => return Answer::no_room(),
        None => {}
    }
    if error.kind() == io::ErrorKind::TimedOut {
        let message = "the body stood still for too long";
        return Answer::refuse(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, message);
    }
    Answer::bad(ErrorCode::BlobUploadInvalid, "the body broke off")
}

/// Too many open files, no memory: worth another try.
fn is_passing(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    error.kind() == io::ErrorKind::OutOfMemory || matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The error and its causes in one line, for the client that caused it.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
