//! One repository of a registry.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, RepositoryName, Tag, json};
use cairn_store::{
    Blob, BlobSource, ByteStream, Capabilities, Condition, Page, RawManifest, Referrers, ReferrersPage,
    Repository, RepositoryError, TagPage, Target, Written,
};
use http::{HeaderMap, StatusCode};
use reqwest::Response;

use super::answer::{self, Refusal, Unread};
use super::auth::Access;
use super::host::{self, Host};
use super::traffic::{Meter, Traffic};
use super::transport::Request;
use super::upload::Session;
use crate::wire::Route;
use crate::wire::extension::{self, Extensions};

/// What came of a request for something that is read into memory.
#[derive(Debug)]
pub(super) enum Whole {
    /// 200, with headers and body.
    Document(HeaderMap, Bytes),
    /// Any other status.
    Other(Response),
}

/// Only a part of an answer came.
#[derive(Debug, thiserror::Error)]
#[error("the answer to {operation} is not whole")]
struct Incomplete {
    operation: String,
    source: Unfinished,
}

#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("it broke off, tried {attempts} times")]
    Broken { attempts: u32, source: io::Error },
    #[error("it did not come to its end within {0} seconds")]
    Endless(u64),
}

/// One repository of a registry. Clones share their connections and counters.
#[derive(Clone)]
pub struct Remote {
    pub(super) host: Arc<Host>,
    pub(super) name: RepositoryName,
    pub(super) label: Arc<str>,
    pub(super) meter: Arc<Meter>,
    /// Uploads that the registry began when it could not mount.
    pub(super) begun: Arc<Mutex<Vec<(Digest, Session)>>>,
    /// Blobs that the registry missed in a manifest, whatever it says to `HEAD`.
    pub(super) doubted: Arc<Mutex<BTreeSet<Digest>>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.label)
    }
}

impl Remote {
    pub(super) fn new(host: Arc<Host>, name: RepositoryName, total: Arc<Meter>) -> Self {
        let label = format!("{}/{name}", host.name()).into();
        Self {
            host,
            name,
            label,
            meter: Arc::new(Meter::under(total)),
            begun: Arc::default(),
            doubted: Arc::default(),
        }
    }

    /// The registry's host, with the port if there is one.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.name()
    }

    /// From now on nothing counts that earlier runs found out about this registry: what it can do is asked again.
    pub fn ask_afresh(&self) {
        self.host.ask_afresh();
    }

    /// What was moved through this value and its clones so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }

    /// Sends a request that changes nothing, or that may be repeated.
    pub(super) async fn ask(&self, request: &Request) -> Result<Response, RepositoryError> {
        let answer = self.host.send(request).await;
        answer.map_err(|error| host::unreachable(&self.label, error))
    }

    /// Sends a request for what is read into memory: at most `limit` bytes of a success. What breaks off is asked for again.
    pub(super) async fn ask_whole(
        &self,
        request: &Request,
        limit: usize,
        subject: &str,
    ) -> Result<Whole, RepositoryError> {
        let transport = &self.host.transport;
        let (timeouts, attempts) = (transport.config().timeouts, transport.config().retries.attempts);
        let mut attempt = 1;
        loop {
            let answer = self.ask(request).await?;
            if answer.status() != StatusCode::OK {
                return Ok(Whole::Other(answer));
            }
            let headers = answer.headers().clone();
            let why = match answer::bounded(answer, limit, timeouts.document).await {
                Ok(bytes) => return Ok(Whole::Document(headers, bytes)),
                Err(Unread::TooLarge) => {
                    return Err(RepositoryError::TooLarge {
                        subject: subject.to_owned(),
                        limit: limit as u64,
                    });
                }
                Err(Unread::Broken(_)) if attempt < attempts => {
                    transport.wait(attempt, None).await;
                    attempt += 1;
                    continue;
                }
                Err(Unread::Broken(source)) => Unfinished::Broken {
                    attempts: attempt,
                    source,
                },
                Err(Unread::Endless(time)) => Unfinished::Endless(time.as_secs()),
            };
            return Err(RepositoryError::Unreachable {
                repository: self.label.to_string(),
                source: Box::new(Incomplete {
                    operation: host::operation(&request.method, &request.url),
                    source: why,
                }),
            });
        }
    }

    pub(super) async fn refused(&self, request: &Request, answer: Response) -> RepositoryError {
        let operation = host::operation(&request.method, &request.url);
        let refusal = Refusal::read(answer).await;
        refusal.into_error(self.label.to_string(), operation)
    }

    pub(super) fn protocol(&self, detail: impl Into<String>) -> RepositoryError {
        RepositoryError::Protocol {
            repository: self.label.to_string(),
            detail: detail.into(),
        }
    }

    pub(super) fn unsupported(&self, operation: &'static str) -> RepositoryError {
        RepositoryError::Unsupported {
            repository: self.label.to_string(),
            operation,
        }
    }

    /// What the registry announces beyond the specification; asked once for each host.
    pub(super) async fn announced(&self) -> Result<&Extensions, RepositoryError> {
        let announced = &self.host.announced;
        announced.get_or_try_init(|| self.discover()).await
    }

    async fn discover(&self) -> Result<Extensions, RepositoryError> {
        // The endpoint is the whole registry's; where tokens are for repositories, ours must do.
        let request = self
            .host
            .request(&Route::Discover(None))
            .to(Access::pull(&self.name));
        let whole = self.ask_whole(&request, extension::LIMIT, "the list of extensions");
        let answer = match whole.await? {
            // Some registries answer any path with a page of their own.
            Whole::Document(_, bytes) => return Ok(json::parse(&bytes, extension::LIMIT).unwrap_or_default()),
            Whole::Other(answer) => answer,
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Err(self.refused(&request, answer).await)
            }
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                Err(self.refused(&request, answer).await)
            }
            _ => Ok(Extensions::default()),
        }
    }

    /// Fails unless the registry announced that it honours `condition`. Sent to another registry, it would be
    /// ignored, and the write done.
    pub(super) async fn check_condition(&self, condition: &Condition) -> Result<(), RepositoryError> {
        let (feature, operation) = match condition {
            Condition::Always => return Ok(()),
            Condition::IfAbsent | Condition::IfMatch(_) => {
                (extension::CONDITIONS, "writes under a condition")
            }
            Condition::Seal => (extension::SEAL, "sealing a tag"),
        };
        if self.announced().await?.has(feature) {
            return Ok(());
        }
        self.host.forget();
        Err(self.unsupported(operation))
    }
}

#[async_trait]
impl Repository for Remote {
    fn name(&self) -> &RepositoryName {
        &self.name
    }

    fn label(&self) -> String {
        self.label.to_string()
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        if let Some(recalled) = self.host.recall() {
            return Ok(recalled);
        }
        let announced = self.announced().await?;
        let referrers = if announced.is_cairn() {
            Referrers::Native
        } else {
            self.who_keeps_referrers().await?
        };
        let delete_tags = if announced.is_cairn() {
            Some(announced.has(extension::DELETE_TAGS))
        } else {
            self.host.learned().delete_tags
        };
        let capabilities = Capabilities {
            conditions: announced.has(extension::CONDITIONS),
            seal: announced.has(extension::SEAL),
            referrers,
            delete_tags,
        };
        // A repository that is not there yet says nothing about the registry.
        if announced.is_cairn() || self.host.learned().referrers.is_some() {
            self.host.keep(&capabilities);
        }
        Ok(capabilities)
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        self.known_blob(digest).await
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        match range {
            None => self.get_blob(digest).await,
            Some(range) => self.get_range(digest, range).await,
        }
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        self.upload_stream(digest, size, content).await
    }

    async fn write_blob_from(
        &self,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
    ) -> Result<Written, RepositoryError> {
        self.upload_from(digest, size, source).await
    }

    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        self.mount(digest, from).await
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.head_manifest(target).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.get_manifest(target).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        self.put_manifest(target, manifest, condition).await
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        self.tags(page).await
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        self.referrers(subject, artifact_type, page).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        self.remove_tag(tag).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.remove_manifest(digest).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.remove_blob(digest).await
    }
}
