//! One upload at the registry: where it is, and how far.

use std::ops::Range;

use cairn_store::RepositoryError;
use http::header::{CONTENT_LENGTH, HeaderMap, LOCATION, RANGE};
use http::{Method, StatusCode};
use reqwest::{Response, Url};

use crate::client::auth::Access;
use crate::client::host::text;
use crate::client::remote::Remote;
use crate::client::transport::Request;
use crate::wire::{Route, header, range};

/// An upload that the registry has begun.
#[derive(Debug, Clone)]
pub(in crate::client) struct Session {
    /// What the next request goes to.
    pub(super) location: Url,
    /// How many bytes the registry has.
    pub(super) offset: u64,
    /// Fewest bytes of a piece that is not the last one.
    pub(super) least: u64,
    /// Up to where bytes were sent at most.
    pub(super) sent: u64,
    /// It states ranges with one byte too many.
    pub(super) exclusive: bool,
}

/// What a registry says about how far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stated {
    /// Nothing.
    Nothing,
    /// `0-0`: nothing, or one byte. Most registries say it of an upload that has nothing.
    Begun,
    /// Up to here.
    End(u64),
}

impl Stated {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        match text(headers, &RANGE).and_then(range::parse_piece) {
            None => Self::Nothing,
            Some(Range { start: 0, end: 1 }) => Self::Begun,
            Some(range) => Self::End(range.end),
        }
    }
}

impl Session {
    fn new(location: Url, headers: &HeaderMap) -> Self {
        let least = text(headers, &header::CHUNK_MIN_LENGTH).and_then(|text| text.trim().parse().ok());
        Self {
            location,
            offset: 0,
            sent: 0,
            least: least.unwrap_or(0),
            exclusive: false,
        }
    }

    /// Where the upload is ended.
    pub(super) fn end(&self, digest: &cairn_oci::Digest) -> Url {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        url
    }
}

/// What became of an upload.
pub(super) enum Status {
    /// It goes on, at its new offset.
    There,
    /// Nobody knows it, or how far it is.
    Gone,
    /// The registry cannot be asked.
    Unknown(RepositoryError),
}

impl Remote {
    /// The request that begins an upload.
    pub(in crate::client) fn begin_request(&self) -> Request {
        let request = self.host.request(&Route::BeginUpload(self.name.clone()));
        request.with(CONTENT_LENGTH, "0")
    }

    /// Begins an upload.
    pub(super) async fn begin(&self) -> Result<Session, RepositoryError> {
        let request = self.begin_request();
        let answer = self.ask(&request).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return self.begun(&request.url, &answer);
        }
        Err(self.refused(&request, answer).await)
    }

    /// The upload that the answer to a request for `from` speaks of.
    pub(in crate::client) fn begun(&self, from: &Url, answer: &Response) -> Result<Session, RepositoryError> {
        let location = self.location(from, answer)?;
        let missing = || self.protocol("an upload was accepted without saying where");
        Ok(Session::new(location.ok_or_else(missing)?, answer.headers()))
    }

    /// Where an upload goes on: `Location`, relative to what was asked.
    fn location(&self, from: &Url, answer: &Response) -> Result<Option<Url>, RepositoryError> {
        let Some(location) = text(answer.headers(), &LOCATION) else {
            return Ok(None);
        };
        let followed = self.host.follow(from, location);
        let refused = |error| self.protocol(format!("the location of an upload is not followed: {error}"));
        followed.map(Some).map_err(refused)
    }

    /// Takes the location that an answer names, if it names one: each counts for the next request only.
    pub(super) fn relocate(&self, session: &mut Session, answer: &Response) -> Result<(), RepositoryError> {
        if let Some(location) = self.location(&session.location, answer)? {
            session.location = location;
        }
        Ok(())
    }

    /// Asks how far an upload is.
    pub(super) async fn status(&self, session: &mut Session) -> Status {
        // What is elsewhere is some storage, which knows nothing of the protocol.
        if !self.host.owns(&session.location) {
            return Status::Gone;
        }
        let mut request = Request::new(Method::GET, session.location.clone()).to(Access::push(&self.name));
        request.stays = true;
        let answer = match self.ask(&request).await {
            Ok(answer) => answer,
            Err(error) => return Status::Unknown(error),
        };
        if !answer.status().is_success() || self.relocate(session, &answer).is_err() {
            return Status::Gone;
        }
        session.offset = match Stated::read(answer.headers()) {
            Stated::Nothing => return Status::Gone,
            Stated::Begun => 0,
            Stated::End(end) => end - u64::from(session.exclusive),
        };
        // Whoever has more than was sent has something else.
        if session.offset > session.sent {
            return Status::Gone;
        }
        Status::There
    }

    /// Tells the registry that nobody goes on with this upload. If it does not hear it, it will find out.
    pub(super) async fn abandon(&self, session: Session) {
        if self.host.owns(&session.location) {
            let request = Request::new(Method::DELETE, session.location).to(Access::push(&self.name));
            drop(self.host.send(&request).await);
        }
    }
}
