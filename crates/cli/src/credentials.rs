//! Credentials as docker and podman keep them.
//!
//! ```text
//!   Lookup (for the registry client), keep (for login and logout)
//!      └──▶ files: which files, in which order ──▶ document: one of them ──▶ entry: which of its entries is meant
//!      └──▶ helper: programs that keep secrets (docker-credential-NAME)
//! ```

mod document;
mod entry;
mod files;
mod helper;
mod keep;
mod lookup;

use std::sync::Arc;

use cairn_registry::client::{Client, ClientConfig, PlainHttp};

use crate::certificates::{self, CertificateFiles};
use crate::program::Cairn;
use crate::registries::Registries;

pub use document::DocumentError;
pub use helper::HelperError;
pub use keep::{KeepError, Kept, keep, remove};

use lookup::Lookup;

/// The client of this run. Credentials are looked up when a registry asks for them.
#[must_use]
pub fn client(cairn: &Cairn) -> Client {
    let plain_http = if cairn.global.plain_http {
        PlainHttp::Allow
    } else {
        PlainHttp::LoopbackOnly
    };
    Client::new(ClientConfig {
        credentials: Arc::new(Lookup::new(cairn.environment.clone())),
        certificates: Arc::new(CertificateFiles::new(&cairn.global, &cairn.environment)),
        proxies: certificates::proxies(&cairn.environment),
        recollection: Arc::new(Registries::new(cairn.environment.clone())),
        plain_http,
        ..ClientConfig::default()
    })
}
