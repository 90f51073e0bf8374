//! Requests: sent, redirected, repeated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cairn_store::error::CertificateProblem;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Response, Url};

use super::ClientConfig;
use super::auth::Access;
use super::connect::{Connections, SetupError};
use super::host;
use super::origin::{self, UrlError};
use super::retry::{self, Pause};
use super::tls;
use super::upload::Progress;

/// Most redirects of one request.
const REDIRECT_LIMIT: usize = 5;
/// Most other origins to which connections are kept.
const OTHERS_LIMIT: usize = 16;

/// Whether a request may be sent again when it is not known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is the same as once.
    Safe,
    /// Only when it surely had no effect.
    Never,
}

/// A request whose body, if any, is in memory.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) repeat: Repeat,
    /// What it does in which repository.
    pub(super) access: Access,
    /// Whether redirects to another origin are refused.
    pub(super) stays: bool,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            repeat: Repeat::Safe,
            access: Access::default(),
            stays: false,
        }
    }

    /// The same, doing this.
    pub(super) fn to(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    pub(super) fn with(mut self, name: http::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    /// The request was not sent.
    #[error("cannot connect")]
    Connect(#[source] reqwest::Error),
    /// Connections cannot even be tried.
    #[error("cannot connect")]
    Setup(#[from] SetupError),
    /// The other side did not prove who it is, or not in a way that is believed.
    #[error("the certificate {problem}{detail}")]
    Certificate {
        problem: CertificateProblem,
        detail: String,
    },
    /// The request was sent, and no answer came.
    #[error("the connection broke")]
    Lost(#[source] reqwest::Error),
    /// The request was sent, and then nothing moved.
    #[error("nothing moved for {} seconds", .0.as_secs())]
    Stalled(Duration),
    /// The answer pointed somewhere else, and was not followed.
    #[error("a redirect was not followed")]
    Redirect(#[source] UrlError),
    /// The answer pointed to another host, and only this one was to be asked.
    #[error("a redirect to another host was not followed")]
    Elsewhere,
    /// The answer pointed somewhere else once too often.
    #[error("more than {REDIRECT_LIMIT} redirects")]
    Redirects,
    /// All attempts ended without an answer, the last one so.
    #[error("no answer to {operation}, tried {attempts} times")]
    Repeated {
        operation: String,
        attempts: u32,
        /// Whether none of them had an effect.
        unsent: bool,
        #[source]
        last: Box<TransportError>,
    },
}

/// How an answer was come by; kept among its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    /// How often the request was sent.
    pub(super) attempts: u32,
    /// It was not sent again because the registry asked for so long a pause.
    pub(super) asked: Option<Duration>,
    /// How long the body of a refusal is read.
    pub(super) refusal: Duration,
}

impl TransportError {
    fn of(error: reqwest::Error) -> Self {
        // A URL can hold a signature.
        let error = error.without_url();
        if let Some((problem, detail)) = tls::problem(&error) {
            return Self::Certificate { problem, detail };
        }
        if error.is_connect() || error.is_builder() {
            Self::Connect(error)
        } else {
            Self::Lost(error)
        }
    }

    /// Whether the request surely had no effect.
    pub(super) const fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::Connect(_)
                | Self::Setup(_)
                | Self::Certificate { .. }
                | Self::Repeated { unsent: true, .. }
        )
    }
}

/// Sends requests for one host.
#[derive(Debug)]
pub(super) struct Transport {
    config: Arc<ClientConfig>,
    base: Url,
    own: Connections,
    /// To other origins, each with what belongs to it: our certificate is for one host.
    others: Mutex<BTreeMap<String, Arc<Connections>>>,
}

impl Transport {
    pub(super) fn new(config: Arc<ClientConfig>, base: &Url) -> Result<Self, SetupError> {
        Ok(Self {
            own: Connections::new(&config, base)?,
            config,
            base: base.clone(),
            others: Mutex::default(),
        })
    }

    /// Connections to another origin.
    fn other(&self, url: &Url) -> Result<Arc<Connections>, SetupError> {
        let origin = url.origin().ascii_serialization();
        let others = || self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others().get(&origin) {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(Connections::new(&self.config, url)?);
        if others().len() < OTHERS_LIMIT {
            others().insert(origin, Arc::clone(&new));
        }
        Ok(new)
    }

    fn bounded(&self, url: &Url) -> Result<reqwest::Client, SetupError> {
        if origin::is_same(&self.base, url) {
            return Ok(self.own.bounded.clone());
        }
        Ok(self.other(url)?.bounded.clone())
    }

    fn patient(&self, url: &Url) -> Result<reqwest::Client, SetupError> {
        if origin::is_same(&self.base, url) {
            return self.own.patient(&self.config, url).cloned();
        }
        self.other(url)?.patient(&self.config, url).cloned()
    }

    pub(super) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Sends a request, again and again as far as that is allowed and promises anything. `authorization` goes to the
    /// origin of the request's URL only.
    pub(super) async fn send(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, TransportError> {
        let (mut attempt, mut unsent) = (1, true);
        loop {
            let is_last = attempt >= self.config.retries.attempts;
            match self.redirected(request, authorization).await {
                Ok(answer) => match self.after(request, attempt, is_last, &answer) {
                    Some(Pause::For(pause)) => self.config.pauses.wait(pause).await,
                    asked => return Ok(self.note(answer, attempt, asked)),
                },
                Err(error) => {
                    unsent &= error.is_unsent();
                    if is_last || !may_repeat(&error, request.repeat) {
                        return Err(repeated(error, request, attempt, unsent));
                    }
                    self.wait(attempt, None).await;
                }
            }
            attempt += 1;
        }
    }

    /// What goes before the next attempt; `None`: there is none.
    fn after(&self, request: &Request, attempt: u32, is_last: bool, answer: &Response) -> Option<Pause> {
        let (status, headers) = (answer.status(), answer.headers());
        let again = retry::is_postponed(status, headers)
            || (request.repeat == Repeat::Safe && retry::is_trouble(status));
        if is_last || !again {
            return None;
        }
        let random = self.config.pauses.random();
        Some(self.config.retries.pause(attempt, headers, random))
    }

    /// Waits after attempt number `attempt` (from 1), as long as the registry `asked` for at least.
    pub(super) async fn wait(&self, attempt: u32, asked: Option<Duration>) {
        let pauses = &self.config.pauses;
        let pause = self.config.retries.back_off(attempt, asked, pauses.random());
        pauses.wait(pause).await;
    }

    fn note(&self, mut answer: Response, attempts: u32, pause: Option<Pause>) -> Response {
        let asked = match pause {
            Some(Pause::TooLong(asked)) => Some(asked),
            _ => None,
        };
        answer.extensions_mut().insert(Course {
            attempts,
            asked,
            refusal: self.config.timeouts.refusal,
        });
        answer
    }

    /// Sends a body of which there is only one, once, to a URL that is followed nowhere.
    pub(super) async fn send_stream(
        &self,
        request: Request,
        authorization: Option<&HeaderValue>,
        body: Body,
        size: u64,
        progress: &Progress,
    ) -> Result<Response, TransportError> {
        let mut sent = self
            .patient(&request.url)?
            .request(request.method, request.url)
            .headers(request.headers)
            .header(CONTENT_LENGTH, size)
            .body(body);
        if let Some(authorization) = authorization {
            sent = sent.header(AUTHORIZATION, authorization);
        }
        tokio::select! {
            outcome = sent.send() => {
                let answer = outcome.map_err(TransportError::of)?;
                Ok(self.note(answer, 1, None))
            }
            stalled = self.watch(progress, size) => Err(stalled),
        }
    }

    /// Ends when nothing was sent for too long a time, or when no answer came after the last byte: a registry may have to
    /// put a large blob together before it answers.
    async fn watch(&self, progress: &Progress, size: u64) -> TransportError {
        let timeouts = &self.config.timeouts;
        let mut before = None;
        loop {
            let now = progress.sent();
            let patience = if now < size {
                timeouts.idle
            } else {
                timeouts.answer
            };
            if before == Some((now, patience)) {
                return TransportError::Stalled(patience);
            }
            before = Some((now, patience));
            tokio::time::sleep(patience).await;
        }
    }

    async fn redirected(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, TransportError> {
        let mut url = request.url.clone();
        let mut authorization = authorization;
        for _ in 0..=REDIRECT_LIMIT {
            let answer = self.once(request, url.clone(), authorization).await?;
            let Some(location) = redirection(&request.method, &answer) else {
                return Ok(answer);
            };
            let to = origin::follow(&url, &location, self.config.plain_http);
            let to = to.map_err(TransportError::Redirect)?;
            if request.stays && !origin::is_same(&url, &to) {
                return Err(TransportError::Elsewhere);
            }
            // Stripped for good: a way back to the registry would be somebody else's request.
            authorization = authorization.filter(|_| origin::is_same(&url, &to));
            url = to;
        }
        Err(TransportError::Redirects)
    }

    async fn once(
        &self,
        request: &Request,
        url: Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, TransportError> {
        let mut sent = self
            .bounded(&url)?
            .request(request.method.clone(), url)
            .headers(request.headers.clone());
        if let Some(authorization) = authorization {
            sent = sent.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = &request.body {
            sent = sent.body(body.clone());
        }
        sent.send().await.map_err(TransportError::of)
    }
}

const fn may_repeat(error: &TransportError, repeat: Repeat) -> bool {
    match error {
        TransportError::Connect(_) => true,
        TransportError::Lost(_) | TransportError::Stalled(_) => matches!(repeat, Repeat::Safe),
        TransportError::Setup(_)
        | TransportError::Certificate { .. }
        | TransportError::Redirect(_)
        | TransportError::Elsewhere
        | TransportError::Redirects
        | TransportError::Repeated { .. } => false,
    }
}

/// The error of the last attempt, with how many there were.
fn repeated(error: TransportError, request: &Request, attempts: u32, unsent: bool) -> TransportError {
    if attempts == 1 || !may_repeat(&error, Repeat::Safe) {
        return error;
    }
    TransportError::Repeated {
        operation: host::operation(&request.method, &request.url),
        attempts,
        unsent,
        last: Box::new(error),
    }
}

/// Where an answer to a read points.
fn redirection(method: &Method, answer: &Response) -> Option<String> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if !is_read || !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    Some(answer.headers().get(LOCATION)?.to_str().ok()?.to_owned())
}
