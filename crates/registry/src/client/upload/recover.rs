//! What an upload goes on with when a request of it has failed.

use std::time::Duration;

use cairn_store::RepositoryError;
use http::Method;

use super::session::{Session, Status};
use super::{Fault, PIECE, SMALLEST_PIECE, Upload};
use crate::client::auth::AuthError;
use crate::client::host::{self, SendError};
use crate::client::retry;
use crate::client::transport::TransportError;

impl Upload<'_> {
    /// What to go on with after `fault`. `None`: the blob is there all the same.
    pub(super) async fn recover(
        &mut self,
        session: Session,
        fault: Fault,
    ) -> Result<Option<Session>, RepositoryError> {
        match fault {
            Fault::Content(error) => {
                self.remote.abandon(session).await;
                Err(error)
            }
            Fault::Final(error) => Err(error),
            Fault::Spent => Err(self.spent()),
            Fault::TooLarge(error, length) => {
                if !self.smaller(length) {
                    return Err(error);
                }
                self.failure = Some(error);
                self.go_on(session).await.map(Some)
            }
            Fault::Unsupported(error, method) => {
                if !self.otherwise(&method) {
                    return Err(error);
                }
                self.failure = Some(error);
                self.again(session).await.map(Some)
            }
            Fault::Garbled(error) => {
                if std::mem::replace(&mut self.garbled, true) {
                    return Err(error);
                }
                self.stall(error).await?;
                self.again(session).await.map(Some)
            }
            Fault::Forgotten(error) => {
                self.stall(error).await?;
                self.again(session).await.map(Some)
            }
            Fault::Misplaced(error) => self.misplaced(session, error).await.map(Some),
            Fault::Trouble {
                refusal,
                operation,
                commits,
            } => {
                let asked = retry::asked(&refusal.headers);
                let error = refusal.repeated(self.stalled + 1, self.too_long(asked));
                let error = error.into_error(self.remote.label.to_string(), operation);
                if self.too_long(asked).is_some() {
                    return Err(error);
                }
                if commits && self.is_there().await {
                    return Ok(None);
                }
                self.stall_for(error, asked).await?;
                self.go_on(session).await.map(Some)
            }
            Fault::Lost {
                error,
                operation,
                commits,
            } => self.lost(session, error, operation, commits).await,
        }
    }

    async fn lost(
        &mut self,
        session: Session,
        error: SendError,
        operation: String,
        commits: bool,
    ) -> Result<Option<Session>, RepositoryError> {
        // Blobs are named by their content: if it is there now, it was this upload or one just like it.
        if commits && !error.is_unsent() && self.is_there().await {
            return Ok(None);
        }
        let error = match error {
            SendError::Auth(AuthError::Late) | SendError::Transport(_) => {
                self.tried(error, operation, commits)
            }
            SendError::Auth(_) => return Err(host::unreachable(&self.remote.label, error)),
        };
        self.stall(error).await?;
        // Something between may not let large bodies through, and not say so.
        if self.stalled > 1 && self.limit.is_none() && !self.remote.host.learned().habits.whole_only {
            self.limit = (self.feed.size() > PIECE).then_some(PIECE);
        }
        self.go_on(session).await.map(Some)
    }

    /// The error of a request without an answer, with how often that happened.
    fn tried(&self, error: SendError, operation: String, commits: bool) -> RepositoryError {
        let error = match error {
            SendError::Transport(last) if self.stalled > 0 => TransportError::Repeated {
                operation: operation.clone(),
                attempts: self.stalled + 1,
                unsent: last.is_unsent(),
                last: Box::new(last),
            }
            .into(),
            error => error,
        };
        if commits {
            host::unknown(&self.remote.label, operation, error)
        } else {
            host::unreachable(&self.remote.label, error)
        }
    }

    async fn misplaced(
        &mut self,
        session: Session,
        error: RepositoryError,
    ) -> Result<Session, RepositoryError> {
        let before = session.offset;
        self.stall(error).await?;
        if self.stalled > 2 {
            return self.again(session).await;
        }
        let mut session = self.go_on(session).await?;
        if before == 0 && session.offset == 0 && session.sent > 0 {
            // It says `0-0` and does not take the beginning: so it has one byte.
            session.offset = 1;
        }
        Ok(session)
    }

    /// Asks how far the upload is, and begins anew if nobody knows.
    async fn go_on(&mut self, mut session: Session) -> Result<Session, RepositoryError> {
        match self.remote.status(&mut session).await {
            Status::There if session.offset > 0 && self.remote.host.learned().habits.whole_only => {
                self.again(session).await
            }
            Status::There => {
                self.got_on(session.offset);
                Ok(session)
            }
            Status::Gone => self.remote.begin().await,
            // It was asked again and again already.
            Status::Unknown(error) => Err(self.failure.take().unwrap_or(error)),
        }
    }

    /// Begins anew.
    async fn again(&mut self, session: Session) -> Result<Session, RepositoryError> {
        self.remote.abandon(session).await;
        self.remote.begin().await
    }

    async fn is_there(&mut self) -> bool {
        matches!(self.remote.head_blob(&self.digest).await, Ok(Some(size)) if size == self.feed.size())
    }

    /// Makes pieces smaller than `length`, which was too large.
    fn smaller(&mut self, length: u64) -> bool {
        if length <= SMALLEST_PIECE {
            return false;
        }
        // The largest power of two below it.
        let below = 1 << (length - 1).ilog2();
        let limit = PIECE.min(below).max(SMALLEST_PIECE);
        self.in_pieces(self.feed.size(), limit);
        true
    }

    /// Sends in pieces what is not taken whole, or whole what is not taken in pieces.
    fn otherwise(&mut self, refused: &Method) -> bool {
        match (self.limit, refused) {
            (None, &Method::PUT) => {
                self.in_pieces(0, PIECE);
                true
            }
            // Only because an upload had broken off.
            (_, &Method::PATCH) if self.remote.host.learned().habits.pieces.is_none() => {
                self.limit = None;
                self.remote.host.learn(|learned| learned.habits.whole_only = true);
                true
            }
            _ => false,
        }
    }

    fn in_pieces(&mut self, from: u64, limit: u64) {
        self.limit = Some(limit);
        self.remote.host.learn(|learned| {
            let (before, least) = learned.habits.pieces.unwrap_or((u64::MAX, u64::MAX));
            learned.habits.pieces = Some((before.min(from), least.min(limit)));
        });
    }

    /// Waits before another attempt, if there may be one.
    async fn stall(&mut self, error: RepositoryError) -> Result<(), RepositoryError> {
        self.stall_for(error, None).await
    }

    async fn stall_for(
        &mut self,
        error: RepositoryError,
        asked: Option<Duration>,
    ) -> Result<(), RepositoryError> {
        self.stalled += 1;
        let transport = &self.remote.host.transport;
        if self.stalled >= transport.config().retries.attempts {
            return Err(error);
        }
        self.failure = Some(error);
        transport.wait(self.stalled, asked).await;
        Ok(())
    }

    fn too_long(&self, asked: Option<Duration>) -> Option<Duration> {
        let longest = self.remote.host.transport.config().retries.longest;
        asked.filter(|asked| *asked > longest)
    }

    /// Why an upload whose content is gone has failed: what made it begin anew.
    fn spent(&mut self) -> RepositoryError {
        self.failure.take().unwrap_or_else(|| RepositoryError::Content {
            digest: self.digest,
            source: std::io::Error::other("the stream was read before"),
        })
    }
}
