//! A registry as a [`cairn_store::Repository`].
//!
//! ```text
//!   Remote (one repository) ──▶ Host (one registry: what it announced) ──▶ Authorizer (credentials, tokens)
//!                                 │
//!                                 ▼
//!                               Transport (requests, redirects, retries) ──▶ reqwest
//! ```
//!
//! Three rules hold for every request. Credentials go to exactly the host they belong to: a redirect, an upload location
//! or a next page at another origin gets none. Plain HTTP is spoken to loopback only, unless it was allowed, and never
//! after HTTPS. What the registry says about content is checked: digests are computed here, sizes are bounded.

mod answer;
mod auth;
mod blobs;
mod coming;
mod connect;
mod content;
mod download;
mod examine;
mod host;
mod lists;
mod login;
mod manifests;
mod origin;
mod pinned;
mod recollection;
mod referrers;
mod remote;
mod replay;
mod retry;
mod tls;
mod traffic;
mod transport;
mod upload;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_oci::RepositoryName;

pub use auth::{Basic, Credential, Credentials, CredentialsError, Identity, NoCredentials, Secret};
pub use connect::{Proxies, SetupError};
pub use download::{DownloadError, Landing};
pub use login::{Login, LoginError};
pub use origin::PlainHttp;
pub use recollection::{NoRecollection, Recollection};
pub use remote::Remote;
pub use retry::{Pauses, Retries, SystemPauses};
pub use tls::{Certificates, CertificatesError, HostTls, Pem, SystemCertificates};
pub use traffic::Traffic;

use host::Host;
use traffic::Meter;
use transport::Transport;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Who we are, to which host.
    pub credentials: Arc<dyn Credentials>,
    /// Whom to trust in TLS, and as whom to come.
    pub certificates: Arc<dyn Certificates>,
    /// Proxies on the way to other machines.
    pub proxies: Proxies,
    /// Whether hosts other than loopback may be spoken to without TLS.
    pub plain_http: PlainHttp,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// When to give up waiting.
    pub timeouts: Timeouts,
    /// When and how often to ask again.
    pub retries: Retries,
    /// How to wait before that.
    pub pauses: Arc<dyn Pauses>,
    /// What is remembered of registries.
    pub recollection: Arc<dyn Recollection>,
    /// Most blobs that are uploaded to one registry at once.
    pub uploads: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            credentials: Arc::new(NoCredentials),
            certificates: Arc::new(SystemCertificates),
            proxies: Proxies::default(),
            plain_http: PlainHttp::LoopbackOnly,
            user_agent: concat!("cairn/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            pauses: Arc::new(SystemPauses),
            recollection: Arc::new(NoRecollection),
            uploads: 4,
        }
    }
}

/// When to give up waiting. There is no limit on the whole of a blob's transfer: slow is not dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// While nothing at all moves.
    pub idle: Duration,
    /// For the answer to an upload of which everything was sent.
    pub answer: Duration,
    /// For the whole of what is read into memory: a manifest, a page of a list. A server that sends a byte now and then is never
    /// idle.
    pub document: Duration,
    /// For the body of a refusal, which is good for a message only.
    pub refusal: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(600),
            document: Duration::from_secs(300),
            refusal: Duration::from_secs(10),
        }
    }
}

/// Why a client or a repository of it could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host is not one.
    #[error(
        "`{host}` is not the host of a registry: expected a name with a dot, an address or localhost, and a port if need be"
    )]
    Host {
        /// What was given.
        host: String,
    },
    /// TLS, a proxy, or the HTTP client itself could not be set up.
    #[error("cannot set up connections")]
    Setup(#[from] SetupError),
}

/// Speaks to registries. One per process: it keeps connections, and what was learned about each host.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
    total: Arc<Meter>,
}

impl Client {
    /// A client. Nothing is connected yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config: Arc::new(config),
            hosts: Mutex::default(),
            total: Arc::default(),
        }
    }

    /// The repository `name` at `host`, which is a name or an address with or without a port, as in a
    /// reference. Nothing is connected yet. `docker.io` is where Docker Hub's registry is not: it is asked at
    /// `registry-1.docker.io`, and names of one part are below `library/` there.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn repository(&self, host: &str, name: RepositoryName) -> Result<Remote, ClientError> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = match hosts.get(host) {
            Some(known) => Arc::clone(known),
            None => {
                let new = Arc::new(self.open(host)?);
                hosts.insert(host.to_owned(), Arc::clone(&new));
                new
            }
        };
        let name = origin::name_at(host.name(), name);
        Ok(Remote::new(host, name, Arc::clone(&self.total)))
    }

    fn open(&self, host: &str) -> Result<Host, ClientError> {
        let bad = || ClientError::Host {
            host: host.to_owned(),
        };
        let mut base = origin::base(host, self.config.plain_http).ok_or_else(bad)?;
        let tls = self.config.certificates.find(host);
        if tls.map_err(SetupError::from)?.always {
            base = origin::secure(host).ok_or_else(bad)?;
        }
        let transport = Transport::new(Arc::clone(&self.config), &base)?;
        Ok(Host::new(
            host.to_owned(),
            base,
            transport,
            Arc::clone(&self.config),
        ))
    }

    /// What this client has moved so far, to and from all repositories.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.total.traffic()
    }
}
