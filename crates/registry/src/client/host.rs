//! One registry: how it wants to be asked, and what was learned about it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_store::{Capabilities, Referrers, RepositoryError};
use http::{HeaderMap, Method};
use reqwest::{Response, Url};
use tokio::sync::OnceCell;

use super::ClientConfig;
use super::auth::{Access, AuthError, Authorizer};
use super::origin;
use super::transport::{Request, Transport, TransportError};
use super::upload::{Gate, Habits};
use crate::wire::Route;
use crate::wire::extension::Extensions;

/// One registry.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    base: Url,
    pub(super) transport: Transport,
    pub(super) authorizer: Authorizer,
    pub(super) announced: OnceCell<Extensions>,
    /// Whether what is remembered does not count in this run.
    afresh: AtomicBool,
    learned: Mutex<Learned>,
    /// Held while an index of referrers under a fallback tag is read, changed and written.
    pub(super) fallback: tokio::sync::Mutex<()>,
    pub(super) uploads: Gate,
}

/// What answers have shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Learned {
    pub(super) referrers: Option<Referrers>,
    pub(super) delete_tags: Option<bool>,
    pub(super) habits: Habits,
    /// Lists that go on say so.
    pub(super) links: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(super) fn new(name: String, base: Url, transport: Transport, config: Arc<ClientConfig>) -> Self {
        Self {
            uploads: Gate::new(config.uploads),
            authorizer: Authorizer::new(name.clone(), base.clone(), config),
            name,
            base,
            transport,
            announced: OnceCell::new(),
            afresh: AtomicBool::new(false),
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
        Request::new(route.method(), self.url(route)).to(Access::to(route))
    }

    /// What earlier runs found out. What this one asked counts more.
    pub(super) fn recall(&self) -> Option<Capabilities> {
        if self.announced.initialized() || self.afresh.load(Ordering::Relaxed) {
            return None;
        }
        self.transport.config().recollection.recall(&self.name)
    }

    /// Tells later runs.
    pub(super) fn keep(&self, capabilities: &Capabilities) {
        self.transport
            .config()
            .recollection
            .keep(&self.name, capabilities);
    }

    /// What earlier runs found out is wrong.
    pub(super) fn forget(&self) {
        self.ask_afresh();
        self.transport.config().recollection.forget(&self.name);
    }

    pub(super) fn ask_afresh(&self) {
        self.afresh.store(true, Ordering::Relaxed);
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

    /// Sends a request, and again with the authorization that the registry asks for, as far as it can be had.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, SendError> {
        let mut attempt = self.authorizer.begin(&request.access, &request.url).await?;
        loop {
            let mut answer = self.transport.send(request, attempt.header()).await?;
            if !self.authorizer.again(&mut attempt, &answer).await? {
                self.authorizer.sign(&attempt, &mut answer);
                return Ok(answer);
            }
        }
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It could not be authorized, and so had no effect.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// It was not sent, or its answer did not come.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl SendError {
    /// Whether the request surely had no effect.
    pub(super) const fn is_unsent(&self) -> bool {
        match self {
            Self::Auth(_) => true,
            Self::Transport(error) => error.is_unsent(),
        }
    }
}

/// Why a request could not be authorized.
fn unauthorized(repository: &str, error: AuthError) -> RepositoryError {
    let repository = repository.to_owned();
    match error {
        AuthError::Credentials(source) => RepositoryError::Credentials {
            repository,
            source: Box::new(source),
        },
        AuthError::Token(error) if error.is_denial() => RepositoryError::Denied {
            repository,
            denial: error.denial(),
            detail: error.to_string(),
        },
        AuthError::Token(error) if error.is_temporary() => RepositoryError::Unreachable {
            repository,
            source: Box::new(error),
        },
        AuthError::Realm(_) | AuthError::Token(_) => RepositoryError::Protocol {
            repository,
            detail: format!("no token can be had: {error}"),
        },
        error @ (AuthError::Late | AuthError::Setup(_)) => RepositoryError::Unreachable {
            repository,
            source: Box::new(error),
        },
    }
}

/// Why a registry that was asked did not answer, for reads.
pub(super) fn unreachable(repository: &str, error: SendError) -> RepositoryError {
    let error = match error {
        SendError::Auth(error) => return unauthorized(repository, error),
        SendError::Transport(error) => error,
    };
    match error {
        TransportError::Redirect(source) => RepositoryError::Protocol {
            repository: repository.to_owned(),
            detail: format!("a redirect is not followed: {source}"),
        },
        TransportError::Certificate { problem, detail } => RepositoryError::Certificate {
            repository: repository.to_owned(),
            problem,
            detail,
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
pub(super) fn unknown(repository: &str, operation: String, error: SendError) -> RepositoryError {
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
