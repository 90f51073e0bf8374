//! One registry: how it wants to be asked, and what was learned about it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_store::{Referrers, RepositoryError};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};
use tokio::sync::OnceCell;

use super::credentials::Challenge;
use super::origin;
use super::transport::{Request, Transport, TransportError};
use crate::wire::Route;
use crate::wire::extension::Extensions;

/// One registry.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    base: Url,
    pub(super) transport: Transport,
    authorization: Mutex<Option<HeaderValue>>,
    pub(super) announced: OnceCell<Extensions>,
    learned: Mutex<Learned>,
    /// Held while an index of referrers under a fallback tag is read, changed and written.
    pub(super) fallback: tokio::sync::Mutex<()>,
}

/// What answers have shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Learned {
    pub(super) referrers: Option<Referrers>,
    pub(super) delete_tags: Option<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(super) fn new(name: String, base: Url, transport: Transport) -> Self {
        Self {
            name,
            base,
            transport,
            authorization: Mutex::default(),
            announced: OnceCell::new(),
            learned: Mutex::default(),
            fallback: tokio::sync::Mutex::default(),
        }
    }

    /// The host as references name it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The URL of an endpoint.
    pub(super) fn url(&self, route: &Route) -> Url {
        let mut url = self.base.clone();
        url.set_path(&route.path());
        url
    }

    /// A request to an endpoint.
    pub(super) fn request(&self, route: &Route) -> Request {
        Request::new(route.method(), self.url(route))
    }

    pub(super) fn learned(&self) -> Learned {
        *lock(&self.learned)
    }

    pub(super) fn learn(&self, change: impl FnOnce(&mut Learned)) {
        change(&mut lock(&self.learned));
    }

    /// Resolves what an answer to a request for `from` points at.
    pub(super) fn follow(&self, from: &Url, text: &str) -> Result<Url, origin::UrlError> {
        origin::follow(from, text, self.transport.config().plain_http)
    }

    /// Whether the URL belongs to this registry.
    pub(super) fn owns(&self, url: &Url) -> bool {
        origin::is_same(&self.base, url)
    }

    /// What goes into `Authorization` for `url`: nothing, unless it belongs to this registry.
    pub(super) fn authorization(&self, url: &Url) -> Option<HeaderValue> {
        lock(&self.authorization).clone().filter(|_| self.owns(url))
    }

    /// Sends a request, and once more with credentials if the registry asks for them and there are any.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, TransportError> {
        let authorization = self.authorization(&request.url);
        let answer = self.transport.send(request, authorization.as_ref()).await?;
        if authorization.is_some() || !self.asks_for_us(&answer) {
            return Ok(answer);
        }
        let Some(basic) = self.credentials() else {
            return Ok(answer);
        };
        let answer = self.transport.send(request, Some(&basic)).await?;
        // Remembered once they are known to be right.
        if answer.status() != StatusCode::UNAUTHORIZED {
            *lock(&self.authorization) = Some(basic);
        }
        Ok(answer)
    }

    /// Whether this registry itself, and not where it redirected to, asks for a password.
    fn asks_for_us(&self, answer: &Response) -> bool {
        answer.status() == StatusCode::UNAUTHORIZED
            && self.owns(answer.url())
            && Challenge::of(answer.headers()) == Challenge::Basic
    }

    fn credentials(&self) -> Option<HeaderValue> {
        self.transport.config().credentials.basic(&self.name)?.header()
    }
}

/// Why a registry that was asked did not answer, for reads.
pub(super) fn unreachable(repository: &str, error: TransportError) -> RepositoryError {
    match error {
        TransportError::Redirect(source) => RepositoryError::Protocol {
            repository: repository.to_owned(),
            detail: format!("a redirect is not followed: {source}"),
        },
        TransportError::Redirects => RepositoryError::Protocol {
            repository: repository.to_owned(),
            detail: error.to_string(),
        },
        error => RepositoryError::Unreachable {
            repository: repository.to_owned(),
            source: Box::new(error),
        },
    }
}

/// Why a registry that was told to write did not answer.
pub(super) fn unknown(repository: &str, operation: String, error: TransportError) -> RepositoryError {
    if error.is_unsent() {
        return unreachable(repository, error);
    }
    RepositoryError::OutcomeUnknown {
        repository: repository.to_owned(),
        operation,
        source: Box::new(error),
    }
}

/// What a registry is asked with, for messages: `PUT /v2/…` without the query, which can hold a signature.
pub(super) fn operation(method: &Method, url: &Url) -> String {
    format!("{method} {}", url.path())
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
