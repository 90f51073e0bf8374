//! What the tests of this crate share: a server of ours on a free port, and a client that does not wait long.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "only tests use this, and each test program a part of it"
)]

pub(crate) mod picky;
pub(crate) mod registry;
pub(crate) mod tokens;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cairn_oci::{Descriptor, Manifest, RepositoryName, Tag, json, media_type};
use cairn_registry::client::{
    Basic, Client, ClientConfig, Credential, Credentials, CredentialsError, Pauses, Remote, Retries, Timeouts,
};
use cairn_registry::server::{Server, ServerConfig, ServerError};
use cairn_store::{Memory, RawManifest, Repository, Store, Target, from_bytes};
use http::Method;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server of ours that is running.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    pub(crate) async fn start(store: Arc<dyn Store>, config: ServerConfig) -> Self {
        let bound = Server::new(store, config)
            .bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let address = bound.local_addr();
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(bound.serve(async move { drop(stopped.await) }));
        Self { address, stop, done }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Tells it to stop; the result comes when it has.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), ServerError>> {
        self.stop.send(()).unwrap();
        self.done
    }
}

/// One account for one host.
#[derive(Debug)]
pub(crate) struct Account(
    pub(crate) String,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

#[async_trait::async_trait]
impl Credentials for Account {
    async fn find(
        &self,
        host: &str,
        _: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialsError> {
        let basic = || Basic {
            user: self.1.to_owned(),
            secret: self.2.to_owned(),
        };
        Ok((host == self.0).then(|| Credential::Basic(basic())))
    }
}

pub(crate) fn config() -> ClientConfig {
    ClientConfig {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(20),
            ..Timeouts::default()
        },
        retries: Retries {
            attempts: 3,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(5),
        },
        ..ClientConfig::default()
    }
}

/// Notes the pauses that it is told to make, and makes none. All of them are as long as they may be.
#[derive(Debug, Default)]
pub(crate) struct Noted(Mutex<Vec<Duration>>);

impl Noted {
    /// In milliseconds.
    pub(crate) fn pauses(&self) -> Vec<u128> {
        self.0.lock().unwrap().iter().map(Duration::as_millis).collect()
    }
}

#[async_trait::async_trait]
impl Pauses for Noted {
    async fn wait(&self, pause: Duration) {
        self.0.lock().unwrap().push(pause);
    }

    fn random(&self) -> u32 {
        u32::MAX
    }
}

pub(crate) fn remote(host: &str, name: &str) -> Remote {
    Client::new(config())
        .repository(host, name.parse().unwrap())
        .unwrap()
}

/// Writes the blobs of a small image and returns its manifest, which is not written.
pub(crate) async fn image(repository: &dyn Repository, label: &str) -> RawManifest {
    let config = format!("{{\"label\":\"{label}\"}}").into_bytes();
    let layer = format!("layer {label}").into_bytes();
    let config_descriptor = Descriptor::of(media_type::CONFIG, &config);
    let layer_descriptor = Descriptor::of(media_type::LAYER, &layer);
    for (descriptor, bytes) in [(&config_descriptor, config), (&layer_descriptor, layer)] {
        repository
            .write_blob(&descriptor.digest, descriptor.size, from_bytes(bytes))
            .await
            .unwrap();
    }
    raw(&Manifest::image(config_descriptor, vec![layer_descriptor]))
}

pub(crate) fn raw(manifest: &Manifest) -> RawManifest {
    RawManifest::new(media_type::MANIFEST, json::canonical(manifest))
}

/// A request as a fake server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: http::Uri,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.uri)
    }

    pub(crate) fn is_authorized(&self) -> bool {
        self.headers.contains_key(http::header::AUTHORIZATION)
    }
}

pub(crate) type FakeBody = UnsyncBoxBody<Bytes, io::Error>;
pub(crate) type FakeAnswer = http::Response<FakeBody>;

/// A server that answers whatever the test wants, and remembers what it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// `answer` gives `None` to break the connection instead of answering.
    pub(crate) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Option<FakeAnswer>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, remembered) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&remembered));
                let service = hyper::service::service_fn(move |request| {
                    let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                    async move {
                        let request = take(request).await?;
                        seen.lock().unwrap().push(request.clone());
                        let broken = || io::Error::from(io::ErrorKind::ConnectionReset);
                        answer(request).await.ok_or_else(broken)
                    }
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests of this method there were.
    pub(crate) fn count(&self, method: &Method) -> usize {
        self.seen().iter().filter(|seen| seen.method == *method).count()
    }
}

async fn take(request: http::Request<hyper::body::Incoming>) -> io::Result<Seen> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Seen {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body,
    })
}

/// An answer with headers and a body.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> FakeAnswer {
    let mut builder = http::Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let body = Full::new(body.into()).map_err(|never| match never {});
    builder.body(body.boxed_unsync()).unwrap()
}

/// An answer whose body never ends.
pub(crate) fn endless(status: u16, headers: &[(&str, &str)]) -> FakeAnswer {
    let piece = Bytes::from(vec![b' '; 64 << 10]);
    let pieces = futures_util::stream::repeat_with(move || Ok(Frame::data(piece.clone())));
    let (parts, _) = answer(status, headers, "").into_parts();
    http::Response::from_parts(parts, StreamBody::new(pieces).boxed_unsync())
}

/// An answer whose body breaks off after these bytes.
pub(crate) fn broken(status: u16, headers: &[(&str, &str)], bytes: impl Into<Bytes>) -> FakeAnswer {
    let pieces = [
        Ok(Frame::data(bytes.into())),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ];
    // A pause for what was sent: hyper throws away what is still in its buffer when the body fails.
    let pieces = futures_util::StreamExt::then(futures_util::stream::iter(pieces), |piece| async {
        if piece.is_err() {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        piece
    });
    let (parts, _) = answer(status, headers, "").into_parts();
    http::Response::from_parts(parts, StreamBody::new(pieces).boxed_unsync())
}

/// An answer whose body stands still after these bytes.
pub(crate) fn stalled(status: u16, headers: &[(&str, &str)], bytes: impl Into<Bytes>) -> FakeAnswer {
    let first = futures_util::stream::iter([Ok(Frame::data(bytes.into()))]);
    let pieces = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    let (parts, _) = answer(status, headers, "").into_parts();
    http::Response::from_parts(parts, StreamBody::new(pieces).boxed_unsync())
}

/// An answer whose body begins with these bytes, and then gives a space now and then, for ever.
pub(crate) fn dripping(status: u16, headers: &[(&str, &str)], bytes: impl Into<Bytes>) -> FakeAnswer {
    let drops = futures_util::stream::unfold(bytes.into(), |next| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Some((Ok(Frame::data(next)), Bytes::from_static(b" ")))
    });
    let (parts, _) = answer(status, headers, "").into_parts();
    http::Response::from_parts(parts, StreamBody::new(drops).boxed_unsync())
}

/// A plain HTTP client that follows and repeats nothing.
pub(crate) fn http_client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // A server with a short timeout may close a kept connection in the moment of its next use.
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

/// Something between client and server that changes requests and answers.
pub(crate) async fn proxy<Q, A>(to: SocketAddr, request: Q, response: A) -> Fake
where
    Q: Fn(&mut Seen) -> Option<FakeAnswer> + Send + Sync + 'static,
    A: Fn(&Seen, &mut http::HeaderMap) + Send + Sync + 'static,
{
    let client = http_client();
    let (request, response) = (Arc::new(request), Arc::new(response));
    Fake::start(move |mut seen| {
        let (client, request, response) = (client.clone(), Arc::clone(&request), Arc::clone(&response));
        async move {
            if let Some(own) = request(&mut seen) {
                return Some(own);
            }
            let url = format!("http://{to}{}", seen.uri);
            let forwarded = client
                .request(seen.method.clone(), url)
                .headers(seen.headers.clone())
                .body(seen.body.clone());
            let answered = forwarded.send().await.unwrap();
            let (status, mut headers) = (answered.status(), answered.headers().clone());
            response(&seen, &mut headers);
            let body = Full::new(answered.bytes().await.unwrap()).map_err(|never| match never {});
            let mut answer = http::Response::new(body.boxed_unsync());
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            Some(answer)
        }
    })
    .await
}

pub(crate) fn tag(text: &str) -> Target {
    Target::Tag(text.parse::<Tag>().unwrap())
}

pub(crate) fn with_account(host: &str) -> Remote {
    let credentials = Arc::new(Account(host.to_owned(), "ann", "sentinel"));
    let client = Client::new(ClientConfig {
        credentials,
        ..config()
    });
    client.repository(host, "a".parse().unwrap()).unwrap()
}

/// An answer that fits every request, as long as it is not looked at closely.
pub(crate) async fn fake(answers: impl Fn(&Seen) -> Option<FakeAnswer> + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen| {
        let answer = answers(&seen);
        async move { answer }
    })
    .await
}

pub(crate) fn manifest_answer(bytes: &[u8], headers: &[(&str, &str)]) -> FakeAnswer {
    let mut all = vec![("content-type", media_type::MANIFEST)];
    all.extend(headers);
    answer(200, &all, bytes.to_vec())
}

pub(crate) fn small() -> RawManifest {
    raw(&Manifest::artifact("application/vnd.test", vec![]))
}

/// The text of an error and of everything behind it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// A server that wants Basic, and answers those who have it.
pub(crate) async fn locked(answers: impl Fn(&Seen) -> FakeAnswer + Send + Sync + 'static) -> Fake {
    fake(move |seen| {
        Some(if seen.is_authorized() {
            answers(seen)
        } else {
            answer(401, &[("www-authenticate", "Basic realm=\"x\"")], "")
        })
    })
    .await
}

pub(crate) async fn our_server() -> Running {
    Running::start(Arc::new(Memory::new()), ServerConfig::default()).await
}

/// Our server behind something that does the write and loses the answer.
pub(crate) async fn forgetful(server: &Running) -> Fake {
    let client = http_client();
    let to = server.address;
    Fake::start(move |seen| {
        let client = client.clone();
        async move {
            let url = format!("http://{to}{}", seen.uri);
            let forwarded = client
                .request(seen.method.clone(), url)
                .headers(seen.headers.clone())
                .body(seen.body.clone());
            let answered = forwarded.send().await.unwrap();
            let is_write = seen.method == Method::PUT;
            let headers: Vec<(String, String)> = answered
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let status = answered.status().as_u16();
            let body = answered.bytes().await.unwrap();
            (!is_write).then(|| answer(status, &headers, body))
        }
    })
    .await
}
