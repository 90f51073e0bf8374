//! A registry over any [`Store`].
//!
//! ```text
//!   accept ──▶ connection ──▶ dispatch ──▶ one function per endpoint ──▶ Store
//!   (limits)   (timeouts)     (who, what)  (blobs uploads manifests lists)
//! ```
//!
//! HTTP/1.1, over TLS if there is a certificate. What is acknowledged with 201 or 202 is in the store.

mod access;
mod answer;
mod blobs;
mod body;
mod config;
mod connection;
mod discovery;
mod dispatch;
mod htpasswd;
mod identity;
mod lists;
mod manifests;
mod metrics;
mod operation;
mod room;
mod tls;
mod uploads;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_store::{RepositoryError, Store};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use access::{Action, ActionError, Identity, RepositoryPattern, Rule, Scope, Who};
pub use config::{
    AccessLog, AccessRecord, Accounts, Authenticator, BasicAuth, Challenge, Limits, NoLog, PasswordList,
    Pattern, PatternError, ServerConfig, Verdict,
};
pub use htpasswd::{Htpasswd, HtpasswdError};
pub use metrics::Metrics;
pub use operation::Operation;
pub use tls::{Tls, TlsError};

/// A store and the rules under which it is served.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What every connection and request uses.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    config: ServerConfig,
    uploads: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    stopping: AtomicBool,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Why a server did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// At the end the store could not be brought up to date.
    #[error("cannot bring the store up to date")]
    Flush(#[source] RepositoryError),
}

impl Server {
    /// Serves `store` under `config`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, config: ServerConfig) -> Self {
        let shared = Shared {
            store,
            uploads: Arc::new(Semaphore::new(config.limits.uploads)),
            requests: Arc::new(Semaphore::new(config.limits.requests)),
            config,
            metrics: Arc::default(),
            stopping: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What the server counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Listens on an address for operators: `/healthz`, `/readyz`, `/metrics`. Plain HTTP, and no password.
    ///
    /// # Errors
    ///
    /// [`ServerError::Bind`].
    pub async fn bind_operation(&self, address: SocketAddr) -> Result<Operation, ServerError> {
        Operation::bind(Arc::clone(&self.shared), address).await
    }

    /// Listens on `address`. Port 0 takes a free one: see [`Bound::local_addr`].
    ///
    /// # Errors
    ///
    /// [`ServerError::Bind`].
    pub async fn bind(&self, address: SocketAddr) -> Result<Bound, ServerError> {
        let bind = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        Ok(Bound {
            shared: Arc::clone(&self.shared),
            listener,
            local_addr,
        })
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Bound {
    shared: Arc<Shared>,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is ready. Then no connection is accepted any more, requests in flight are finished
    /// (for at most [`Limits::drain`]), and the store is brought up to date.
    ///
    /// # Errors
    ///
    /// [`ServerError::Flush`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        connection::accept(&self.shared, self.listener, shutdown).await;
        self.shared.store.flush().await.map_err(ServerError::Flush)
    }
}
