//! One request: who asks, what for, which function answers, and what the log hears.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cairn_oci::RepositoryName;
use cairn_store::{ByteStream, Repository};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use oci_spec::distribution::ErrorCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::access::{Action, Identity, Scope};
use super::answer::{Answer, Outcome};
use super::body::{self, Logged};
use super::config::{AccessRecord, ServerConfig};
use super::{Shared, blobs, discovery, identity, lists, manifests, operation, uploads};
use crate::wire::route::{BlobAction, ManifestAction, UploadAction};
use crate::wire::{Query, Route, RouteError, header};

/// Longest unread rest of a request that is read before an error is answered, in bytes (16 MiB).
pub(super) const DISCARD_LIMIT: u64 = 16 << 20;

/// What hyper calls for each request of a connection.
pub(super) struct Service {
    shared: Arc<Shared>,
    peer: SocketAddr,
}

impl Service {
    pub(super) const fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        Self { shared, peer }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Logged>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (shared, peer) = (Arc::clone(&self.shared), self.peer);
        Box::pin(async move {
            let mut call = Call::new(&shared, peer, request);
            let begun = Begun {
                received: Arc::clone(&call.received),
                permit: Arc::clone(&shared.requests).try_acquire_owned().ok(),
                shared: Arc::clone(&shared),
                since: Instant::now(),
            };
            let health = operation::health(&shared, call.parts.uri.path()).await;
            if let Some(answer) = health {
                return Ok(logged(answer, call.record(), begun));
            }
            if begun.permit.is_none() {
                return Ok(logged(Answer::overloaded(), call.record(), begun));
            }
            let identified = call.identify().await;
            let record = call.record();
            let answer = call.run(identified).await;
            Ok(logged(answer, record, begun))
        })
    }
}

/// What a request holds until its answer has gone out.
pub(super) struct Begun {
    pub(super) shared: Arc<Shared>,
    pub(super) since: Instant,
    /// Bytes of the body that were read.
    pub(super) received: Arc<AtomicU64>,
    /// None: there was no room for it.
    permit: Option<OwnedSemaphorePermit>,
}

fn logged(answer: Answer, record: AccessRecord, begun: Begun) -> Response<Logged> {
    if let Some(failure) = answer.failure {
        begun.shared.metrics.count_failure();
        begun.shared.config.log.failure(failure.as_ref());
    }
    let (mut parts, body) = answer.response.into_parts();
    parts
        .headers
        .insert(header::API_VERSION, HeaderValue::from_static("registry/2.0"));
    let record = AccessRecord {
        status: parts.status.as_u16(),
        ..record
    };
    Response::from_parts(parts, Logged::new(body, record, begun))
}

/// A request, taken apart.
pub(super) struct Call {
    shared: Arc<Shared>,
    peer: SocketAddr,
    who: Identity,
    route: Result<Route, RouteError>,
    parts: Parts,
    query: Option<Query>,
    incoming: Option<Incoming>,
    received: Arc<AtomicU64>,
}

impl Call {
    fn new(shared: &Arc<Shared>, peer: SocketAddr, request: Request<Incoming>) -> Self {
        let (parts, incoming) = request.into_parts();
        Self {
            shared: Arc::clone(shared),
            peer,
            who: Identity::Anonymous,
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            incoming: Some(incoming),
            received: Arc::default(),
            route: Route::parse(&parts.method, parts.uri.path()),
            parts,
        }
    }

    fn record(&self) -> AccessRecord {
        AccessRecord {
            method: self.parts.method.to_string(),
            path: self.parts.uri.path().to_owned(),
            endpoint: self.route.as_ref().map_or("other", Route::kind),
            user: match &self.who {
                Identity::User(user) => Some(user.clone()),
                Identity::Anonymous => None,
            },
            peer: Some(self.peer),
            status: 0,
            received: 0,
            sent: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// Writes run in a task of their own: hyper drops a request whose connection broke, and a write must not be
    /// cut in the middle, but see the broken content and keep what came.
    async fn run(mut self, identified: Result<(), Answer>) -> Answer {
        if matches!(self.parts.method, Method::GET | Method::HEAD) {
            return self.answer(identified).await;
        }
        let task = tokio::spawn(async move { self.answer(identified).await });
        task.await
            .unwrap_or_else(|_| Answer::new(StatusCode::INTERNAL_SERVER_ERROR))
    }

    async fn answer(&mut self, identified: Result<(), Answer>) -> Answer {
        let answer = match identified.and_then(|()| self.route()) {
            Ok(route) => self.dispatch(route).await,
            Err(refused) => Err(refused),
        };
        match answer {
            Ok(answer) => answer,
            Err(refused) => {
                self.discard().await;
                refused
            }
        }
    }

    async fn identify(&mut self) -> Result<(), Answer> {
        self.who = identity::identify(&self.shared, &self.parts.headers, self.peer.ip()).await?;
        Ok(())
    }

    fn route(&self) -> Result<Route, Answer> {
        let route = self.route.clone();
        if route.is_err() && self.who == Identity::Anonymous {
            // Strangers are challenged wherever they knock.
            self.config().check_route(&self.who, &Route::Ping)?;
        }
        let route = route?;
        self.config().check_route(&self.who, &route)?;
        Ok(route)
    }

    /// Whether whoever asks may do this too.
    pub(super) fn permits(&self, action: Action, name: &RepositoryName, scope: Scope<'_>) -> bool {
        self.config().permits(&self.who, action, name, scope)
    }

    /// Refuses it otherwise.
    pub(super) fn check(
        &self,
        action: Action,
        name: &RepositoryName,
        scope: Scope<'_>,
    ) -> Result<(), Answer> {
        self.config().check(&self.who, action, name, scope)
    }

    async fn dispatch(&mut self, route: Route) -> Outcome {
        match route {
            Route::Ping => discovery::ping(),
            Route::Catalog => lists::catalog(self).await,
            Route::Discover(name) => discovery::discover(self, name).await,
            Route::Tags(name) => lists::tags(self, &name).await,
            Route::Referrers(name, subject) => lists::referrers(self, &name, &subject).await,
            Route::Blob(BlobAction::Read, name, digest) => blobs::read(self, &name, &digest).await,
            Route::Blob(BlobAction::Stat, name, digest) => blobs::stat(self, &name, &digest).await,
            Route::Blob(BlobAction::Delete, name, digest) => blobs::delete(self, &name, &digest).await,
            Route::BeginUpload(name) => uploads::begin(self, &name).await,
            Route::Upload(UploadAction::Status, name, id) => uploads::status(self, &name, &id).await,
            Route::Upload(UploadAction::Append, name, id) => uploads::append(self, &name, &id).await,
            Route::Upload(UploadAction::Finish, name, id) => uploads::finish(self, &name, &id).await,
            Route::Upload(UploadAction::Cancel, name, id) => uploads::cancel(self, &name, &id).await,
            Route::Manifest(ManifestAction::Read, name, target) => {
                manifests::read(self, &name, &target).await
            }
            Route::Manifest(ManifestAction::Stat, name, target) => {
                manifests::stat(self, &name, &target).await
            }
            Route::Manifest(ManifestAction::Write, name, target) => {
                manifests::write(self, &name, &target).await
            }
            Route::Manifest(ManifestAction::Delete, name, target) => {
                manifests::delete(self, &name, &target).await
            }
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) const fn shared_arc(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn config(&self) -> &ServerConfig {
        &self.shared.config
    }

    pub(super) async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, Answer> {
        Ok(self.shared.store.repository(name).await?)
    }

    /// The query; a request whose query is broken is refused where it is read.
    pub(super) fn query(&self) -> Result<&Query, Answer> {
        let broken = || Answer::bad(ErrorCode::Unsupported, "the query is not well encoded");
        self.query.as_ref().ok_or_else(broken)
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A header as text; not there, and not text, are both `None`.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// How long the body says that it is, in bytes.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(&CONTENT_LENGTH)?.parse().ok()
    }

    /// The body, once.
    pub(super) fn take_content(&mut self) -> ByteStream {
        let idle = self.shared.config.limits.body_timeout;
        match self.incoming.take() {
            Some(incoming) => body::content(incoming, idle, Arc::clone(&self.received)),
            None => cairn_store::from_bytes(bytes::Bytes::new()),
        }
    }

    /// Reads what is left of a body that nobody asked for. A client that waits for `100 Continue` sends none.
    async fn discard(&mut self) {
        if self.incoming.is_some() && !self.parts.headers.contains_key(EXPECT) {
            let discarded = body::discard(self.take_content(), DISCARD_LIMIT);
            let limit = self.shared.config.limits.body_timeout;
            // Whoever has not sent it by then loses the answer.
            drop(tokio::time::timeout(limit, discarded).await);
        }
    }
}
