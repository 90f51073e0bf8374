//! Uploads: whole where that works, in pieces where it does not, and on from where they broke off.
//!
//! ```text
//!   HEAD: is it there? ── yes ──▶ nothing to do
//!     │ no
//!   POST (or what a mount began) ──▶ PUT, the whole of it ──▶ there
//!                                      │ too large, not allowed       │ broke off
//!                                      ▼                              ▼
//!                                    PATCH in pieces ◀── from where GET says it is ── PUT ──▶ there
//! ```
//!
//! What can be resumed: content that can be had again ([`BlobSource`]) from any offset that the registry names, or
//! from the beginning when the registry has forgotten the upload. A mere stream from what is still in memory: its first
//! 4 MiB as long as no more was taken, or the last piece.

mod feed;
mod gate;
mod recover;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::Digest;
use cairn_store::stream::unwrap_verified;
use cairn_store::{BlobSource, ByteStream, RepositoryError, Written};
use futures_util::TryStreamExt;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap};
use http::{Method, StatusCode};
use oci_spec::distribution::ErrorCode;
use reqwest::{Body, Response, Url};

use super::answer::Refusal;
use super::auth::{Access, AuthError};
use super::host::{self, SendError};
use super::remote::Remote;
use super::replay::Replay;
use super::retry;
use super::transport::Request;
use feed::{Feed, FeedError, counted, slices};
use session::Stated;

pub(super) use feed::{Progress, Supply};
pub(super) use gate::Gate;
pub(super) use session::Session;

/// First size of a piece where a registry does not take a blob whole (4 MiB). One of the large registries takes no more.
const PIECE: u64 = 4 << 20;
/// No piece is made smaller than this (64 KiB).
const SMALLEST_PIECE: u64 = 64 << 10;
/// No piece is made larger than this, whatever a registry asks for (64 MiB): pieces are kept in memory.
const LARGEST_PIECE: u64 = 64 << 20;
/// An upload that gets on by this much (1 MiB) may break as often as before.
const STEP: u64 = 1 << 20;

/// How a registry takes blobs, as its answers have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Habits {
    /// Blobs of at least so many bytes go in pieces of at most so many.
    pieces: Option<(u64, u64)>,
    /// It takes no pieces.
    whole_only: bool,
}

/// What went wrong with one request of an upload.
#[derive(Debug)]
enum Fault {
    /// No answer came.
    Lost {
        error: SendError,
        operation: String,
        commits: bool,
    },
    /// A passing trouble.
    Trouble {
        refusal: Box<Refusal>,
        operation: String,
        commits: bool,
    },
    /// The registry has other bytes than those before which this piece should come (416), or says so.
    Misplaced(RepositoryError),
    /// It does not know the upload any more.
    Forgotten(RepositoryError),
    /// What it put together is not what was sent.
    Garbled(RepositoryError),
    /// It takes no body of so many bytes.
    TooLarge(RepositoryError, u64),
    /// It does not take blobs in this way.
    Unsupported(RepositoryError, Method),
    /// What was sent before cannot be had again.
    Spent,
    /// Nothing that another attempt would make better.
    Final(RepositoryError),
    /// The content is at fault.
    Content(RepositoryError),
}

impl From<FeedError> for Fault {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Gone => Self::Spent,
            FeedError::Content(error) => Self::Content(error),
        }
    }
}

impl Remote {
    /// Uploads a blob unless it is there.
    pub(super) async fn upload(
        &self,
        digest: &Digest,
        size: u64,
        supply: Supply<'_>,
    ) -> Result<Written, RepositoryError> {
        let _turn = self.host.uploads.alone(&self.name, digest).await;
        if let Some(found) = self.known_blob(digest).await? {
            return self.present(digest, size, found);
        }
        let _slot = self.host.uploads.slot().await;
        let learned = self.host.learned().habits.pieces;
        let upload = Upload {
            remote: self,
            digest: *digest,
            feed: Feed::new(supply, *digest, size),
            limit: learned.filter(|(from, _)| size >= *from).map(|(_, limit)| limit),
            best: 0,
            stalled: 0,
            garbled: false,
            failure: None,
        };
        upload.run().await
    }

    pub(super) async fn upload_stream(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        self.upload(digest, size, Supply::Once(Replay::new(content)))
            .await
    }

    pub(super) async fn upload_from(
        &self,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
    ) -> Result<Written, RepositoryError> {
        self.upload(digest, size, Supply::Again(source)).await
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
}

/// One blob on its way.
struct Upload<'a> {
    remote: &'a Remote,
    digest: Digest,
    feed: Feed<'a>,
    /// Most bytes of one request; none: it may have all of them.
    limit: Option<u64>,
    /// The furthest that the registry ever was.
    best: u64,
    /// How often it went wrong since then.
    stalled: u32,
    /// Whether the registry once put something else together than was sent.
    garbled: bool,
    /// What went wrong last.
    failure: Option<RepositoryError>,
}

impl Upload<'_> {
    async fn run(mut self) -> Result<Written, RepositoryError> {
        let mut session = match self.remote.recall(&self.digest) {
            Some(session) => session,
            None => self.remote.begin().await?,
        };
        loop {
            let fault = match self.advance(&mut session).await {
                Ok(()) => break,
                Err(fault) => fault,
            };
            match self.recover(session, fault).await? {
                Some(next) => session = next,
                None => break,
            }
        }
        self.remote.meter.uploaded_blob();
        self.remote.trust(&self.digest);
        Ok(Written::New)
    }

    /// Sends everything that the registry does not have.
    async fn advance(&mut self, session: &mut Session) -> Result<(), Fault> {
        let limit = self.limit(session)?;
        if session.offset == 0 && limit.is_none() {
            session.sent = self.feed.size();
            return self.finish(session, false).await;
        }
        while session.offset < self.feed.size() {
            self.append(session, limit).await?;
        }
        self.finish(session, true).await
    }

    /// Most bytes of one piece.
    fn limit(&self, session: &Session) -> Result<Option<u64>, Fault> {
        let Some(limit) = self.limit else {
            return Ok(None);
        };
        if session.least > LARGEST_PIECE {
            return Err(Fault::Final(self.remote.protocol(format!(
                "it takes no blob of {} bytes whole, and no pieces of less than {} bytes",
                self.feed.size(),
                session.least
            ))));
        }
        Ok(Some(limit.max(session.least)))
    }

    /// Ends the upload: with all of the content, or with nothing more.
    async fn finish(&mut self, session: &mut Session, is_complete: bool) -> Result<(), Fault> {
        let offset = if is_complete { self.feed.size() } else { 0 };
        let request = self.remote.octets(Method::PUT, session.end(&self.digest));
        let length = self.feed.size() - offset;
        let answer = self.send_rest(&request, offset).await?;
        if !answer.status().is_success() {
            return Err(self.fault(answer, &request, length).await);
        }
        let checked = self.remote.check_digest(&answer, &self.digest);
        checked.map_err(Fault::Final)
    }

    /// Adds a piece of at most `limit` bytes, or all that is missing.
    async fn append(&mut self, session: &mut Session, limit: Option<u64>) -> Result<(), Fault> {
        let offset = session.offset;
        let request = |length: u64| {
            let range = format!("{offset}-{}", offset + length.saturating_sub(1));
            self.remote
                .octets(Method::PATCH, session.location.clone())
                .with(CONTENT_RANGE, &range)
        };
        let (request, answer, length) = match limit {
            None => {
                let length = self.feed.size() - offset;
                let request = request(length);
                session.sent = self.feed.size();
                let answer = self.send_rest(&request, offset).await?;
                (request, answer, length)
            }
            Some(limit) => {
                let piece = self.feed.piece(offset, limit).await?;
                let length = piece.len() as u64;
                let request = request(length);
                session.sent = session.sent.max(offset + length);
                let answer = self.send_piece(&request, &piece).await?;
                (request, answer, length)
            }
        };
        if !answer.status().is_success() {
            return Err(self.fault(answer, &request, length).await);
        }
        self.remote.relocate(session, &answer).map_err(Fault::Final)?;
        self.agree(session, answer.headers(), offset + length)?;
        self.got_on(session.offset);
        Ok(())
    }

    /// Compares what the registry says that it has with what was sent.
    fn agree(&self, session: &mut Session, headers: &HeaderMap, sent: u64) -> Result<(), Fault> {
        let stated = match Stated::read(headers) {
            Stated::Nothing => sent,
            Stated::Begun if sent == 1 => sent,
            Stated::Begun => 0,
            Stated::End(end) => end,
        };
        session.exclusive |= stated == sent + 1;
        if stated == sent || session.exclusive {
            session.offset = sent;
            return Ok(());
        }
        Err(Fault::Misplaced(self.remote.protocol(format!(
            "it says to have {stated} bytes of {}, of which {sent} were sent",
            self.digest
        ))))
    }

    fn got_on(&mut self, offset: u64) {
        if offset >= self.best + STEP {
            self.best = offset;
            self.stalled = 0;
        }
    }

    /// Sends what there is from `offset` on.
    async fn send_rest(&mut self, request: &Request, offset: u64) -> Result<Response, Fault> {
        let host = &self.remote.host;
        let lost = |error: SendError| Fault::lost(error, request);
        let length = self.feed.size() - offset;
        let begun = host.authorizer.begin(&request.access, &request.url).await;
        let mut attempt = begun.map_err(|error| lost(error.into()))?;
        let mut is_first = true;
        loop {
            let content = match self.feed.from(offset).await {
                Err(FeedError::Gone) if !is_first => return Err(lost(AuthError::Late.into())),
                content => content?,
            };
            is_first = false;
            let progress = Arc::new(Progress::default());
            let content = counted(content, Arc::clone(&progress), Arc::clone(&self.remote.meter));
            let body = body(content, length).await;
            let (transport, header) = (&host.transport, attempt.header());
            let sent = transport.send_stream(request.clone(), header, body, length, &progress);
            let sent = sent.await;
            if let Some(broken) = progress.failure() {
                return Err(Fault::Content(self.broken(broken)));
            }
            let mut answer = sent.map_err(|error| lost(error.into()))?;
            let again = host.authorizer.again(&mut attempt, &answer).await;
            if !again.map_err(|error| lost(error.into()))? {
                host.authorizer.sign(&attempt, &mut answer);
                return Ok(answer);
            }
        }
    }

    async fn send_piece(&mut self, request: &Request, piece: &Bytes) -> Result<Response, Fault> {
        let host = &self.remote.host;
        let lost = |error: SendError| Fault::lost(error, request);
        let length = piece.len() as u64;
        let begun = host.authorizer.begin(&request.access, &request.url).await;
        let mut attempt = begun.map_err(|error| lost(error.into()))?;
        loop {
            let progress = Arc::new(Progress::default());
            let content = counted(
                slices(piece),
                Arc::clone(&progress),
                Arc::clone(&self.remote.meter),
            );
            let body = body(content, length).await;
            let (transport, header) = (&host.transport, attempt.header());
            let sent = transport.send_stream(request.clone(), header, body, length, &progress);
            let mut answer = sent.await.map_err(|error| lost(error.into()))?;
            let again = host.authorizer.again(&mut attempt, &answer).await;
            if !again.map_err(|error| lost(error.into()))? {
                host.authorizer.sign(&attempt, &mut answer);
                return Ok(answer);
            }
        }
    }

    fn broken(&self, error: std::io::Error) -> RepositoryError {
        let digest = self.digest;
        unwrap_verified(error, |source| RepositoryError::Content { digest, source })
    }

    /// What an answer that is no success means for the upload.
    async fn fault(&mut self, answer: Response, request: &Request, length: u64) -> Fault {
        let refusal = Refusal::read(answer).await;
        let operation = host::operation(&request.method, &request.url);
        let (status, commits) = (refusal.status, request.method == Method::PUT);
        if retry::is_postponed(status, &refusal.headers) || retry::is_trouble(status) {
            return Fault::Trouble {
                refusal: Box::new(refusal),
                operation,
                commits,
            };
        }
        let codes = [
            ErrorCode::DigestInvalid,
            ErrorCode::SizeInvalid,
            ErrorCode::BlobUploadInvalid,
            ErrorCode::BlobUploadUnknown,
        ];
        let is_about_content = codes.iter().any(|code| refusal.has(code));
        let is_unsupported = refusal.has(&ErrorCode::Unsupported);
        let has_name = !refusal.has(&ErrorCode::NameUnknown);
        let error = refusal.into_error(self.remote.label.to_string(), operation);
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Fault::TooLarge(error, length),
            StatusCode::RANGE_NOT_SATISFIABLE => Fault::Misplaced(error),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Fault::Unsupported(error, request.method.clone())
            }
            StatusCode::BAD_REQUEST if is_unsupported => Fault::Unsupported(error, request.method.clone()),
            StatusCode::BAD_REQUEST if is_about_content => Fault::Garbled(error),
            StatusCode::NOT_FOUND | StatusCode::GONE if has_name => Fault::Forgotten(error),
            _ => Fault::Final(error),
        }
    }
}

impl Fault {
    fn lost(error: SendError, request: &Request) -> Self {
        Self::Lost {
            error,
            operation: host::operation(&request.method, &request.url),
            commits: request.method == Method::PUT,
        }
    }
}

impl Remote {
    fn octets(&self, method: Method, url: Url) -> Request {
        Request::new(method, url)
            .with(CONTENT_TYPE, "application/octet-stream")
            .to(Access::push(&self.name))
    }
}

/// The body of a request. An empty stream with a length of 0 is sent as no body at all.
async fn body(mut content: ByteStream, length: u64) -> Body {
    if length > 0 {
        return Body::wrap_stream(content);
    }
    // At its end it is verified.
    while let Ok(Some(_)) = content.try_next().await {}
    Body::from(Bytes::new())
}
