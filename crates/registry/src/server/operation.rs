//! For operators: whether the server lives, whether it is ready, and what it counted.
//!
//! `/healthz` and `/readyz` are answered on the registry's own address, without a password and without a limit; with
//! `/metrics` also on an address of their own, which only operators should reach.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::answer::Answer;
use super::body::{self, AnswerBody};
use super::{ServerError, Shared};

/// Most connections to the operators' address at once.
const CONNECTIONS: usize = 32;
/// How long one of them may stay, whatever it does.
const LIFE: Duration = Duration::from_secs(60);

/// An answer in words.
fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    let text = text.into();
    Answer::new(status)
        .with(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(text.len() as u64, Some(body::full(text)))
}

/// The answer, if `path` is for operators and not part of the registry.
pub(super) async fn health(shared: &Shared, path: &str) -> Option<Answer> {
    match path {
        "/healthz" => Some(text(StatusCode::OK, "ok\n")),
        "/readyz" => Some(ready(shared).await),
        _ => None,
    }
}

/// Not ready are a server that is stopping, and one whose store cannot be read. One whose disk is full still serves.
async fn ready(shared: &Shared) -> Answer {
    if shared.is_stopping() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match shared.store.free_space().await {
        Ok(Some(free)) if free < shared.config.limits.free_space => {
            text(StatusCode::OK, "ready, but there is no room for pushes\n")
        }
        Ok(_) => text(StatusCode::OK, "ready\n"),
        Err(error) => {
            shared.config.log.failure(&error);
            text(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read\n")
        }
    }
}

async fn answer(shared: &Shared, request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n").with(ALLOW, "GET, HEAD");
    }
    let path = request.uri().path();
    if path == "/metrics" {
        let free = shared.store.free_space().await.ok().flatten();
        let page = shared.metrics.render(free);
        return Answer::new(StatusCode::OK)
            .with(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .body(page.len() as u64, Some(body::full(page)));
    }
    let found = health(shared, path).await;
    found.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "/healthz, /readyz or /metrics\n"))
}

/// An address for operators that is listened on.
#[derive(Debug)]
pub struct Operation {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: TcpListener,
    pub(super) local_addr: SocketAddr,
}

impl Operation {
    pub(super) async fn bind(shared: Arc<Shared>, address: SocketAddr) -> Result<Self, ServerError> {
        let bind = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        Ok(Self {
            shared,
            listener,
            local_addr,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers until it is dropped: also while the registry finishes what it has begun.
    pub async fn serve(self) -> Infallible {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = super::connection::next(&slots, &self.listener).await;
            let Some((stream, _, slot)) = accepted else {
                continue;
            };
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let shared = Arc::clone(&shared);
                    async move {
                        Ok::<Response<AnswerBody>, Infallible>(*answer(&shared, &request).await.response)
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(LIFE)
                    .serve_connection(TokioIo::new(stream), service);
                drop(tokio::time::timeout(LIFE, connection).await);
                drop(slot);
            });
        }
    }
}
