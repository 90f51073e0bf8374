//! Connections: their TLS, their proxies, and when they are given up.

use std::fmt;
use std::sync::{Arc, OnceLock};

use reqwest::{ClientBuilder, NoProxy, Proxy, Url};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use super::ClientConfig;
use super::origin;
use super::pinned::Pinned;
use super::tls::{CertificatesError, HostTls, Pem};

/// Proxies on the way to other machines. What is meant for this machine goes through none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP: a URL.
    pub http: Option<String>,
    /// For HTTPS: a URL. It sees which host is meant, and nothing else.
    pub https: Option<String>,
    /// Hosts and networks that are reached without: as in `NO_PROXY`, separated by commas.
    pub except: String,
}

/// A proxy's URL can hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("except", &self.except)
            .finish()
    }
}

/// Why connections to a host cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A certificate or a key is of no use.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// A proxy is not one.
    #[error("the proxy for {scheme} is not a URL of one")]
    Proxy {
        /// `http` or `https`.
        scheme: &'static str,
    },
    /// TLS itself; usually no root certificates are installed.
    #[error("TLS cannot be spoken")]
    Tls(#[source] rustls::Error),
    /// The HTTP client itself; usually no root certificates are installed.
    #[error("no connection can be made")]
    Http(#[source] reqwest::Error),
}

/// Connections to one origin.
#[derive(Debug)]
pub(super) struct Connections {
    /// Gives up when an answer stands still.
    pub(super) bounded: reqwest::Client,
    patient: OnceLock<reqwest::Client>,
}

impl Connections {
    pub(super) fn new(config: &ClientConfig, origin: &Url) -> Result<Self, SetupError> {
        let builder = builder(config, origin)?.read_timeout(config.timeouts.idle);
        Ok(Self {
            bounded: builder.build().map_err(SetupError::Http)?,
            patient: OnceLock::new(),
        })
    }

    /// For uploads, whose answer comes only after everything was sent.
    pub(super) fn patient(
        &self,
        config: &ClientConfig,
        origin: &Url,
    ) -> Result<&reqwest::Client, SetupError> {
        if let Some(known) = self.patient.get() {
            return Ok(known);
        }
        let new = builder(config, origin)?.build().map_err(SetupError::Http)?;
        Ok(self.patient.get_or_init(|| new))
    }
}

fn builder(config: &ClientConfig, origin: &Url) -> Result<ClientBuilder, SetupError> {
    // Fails when somebody has installed one before, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = reqwest::Client::builder()
        .user_agent(&config.user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(config.timeouts.connect)
        // A link that is dead shows in this.
        .tcp_keepalive(config.timeouts.idle / 3)
        .tcp_keepalive_interval(config.timeouts.idle / 3)
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        .resolve_to_addrs(
            "localhost",
            &[
                ([127, 0, 0, 1], 0).into(),
                (std::net::Ipv6Addr::LOCALHOST, 0).into(),
            ],
        )
        .no_proxy();
    // While something is on its way there are no keep-alives: how long it may go unconfirmed.
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(config.timeouts.idle);
    let builder = if origin.scheme() == "https" {
        secured(builder, &config.certificates.find(&host(origin))?)?
    } else {
        // Nothing is spoken over it but plain HTTP: the system's authorities need not be read.
        builder.tls_certs_only([])
    };
    if origin::is_loopback(origin) {
        return Ok(builder);
    }
    proxied(builder, &config.proxies)
}

/// The host as references name it.
fn host(origin: &Url) -> String {
    let host = origin.host_str().unwrap_or_default();
    match origin.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn secured(builder: ClientBuilder, tls: &HostTls) -> Result<ClientBuilder, SetupError> {
    if tls.authorities.is_empty() && tls.identity.is_none() {
        return Ok(builder);
    }
    let mut authorities = Vec::new();
    for pem in &tls.authorities {
        authorities.extend(certificates(pem)?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let others = Verifier::new_with_extra_roots(authorities.clone(), Arc::clone(&provider));
    let others = others.map_err(|error| useless(&tls.authorities, &error))?;
    let verifier = Pinned {
        others: Arc::new(others),
        certificates: authorities,
    };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some(pem) => {
            let key = PrivateKeyDer::from_pem_slice(&pem.bytes);
            let key = key.map_err(|_| wrong(pem, "there is no private key in it that can be read"))?;
            let config = config.with_client_auth_cert(certificates(pem)?, key);
            config.map_err(|_| wrong(pem, "the certificate and the key do not belong together"))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(builder.tls_backend_preconfigured(config))
}

/// The certificates of a text, one at least.
fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
    let found = found.map_err(|_| wrong(pem, "not certificates in PEM form"))?;
    if found.is_empty() {
        return Err(wrong(pem, "there is no certificate in it"));
    }
    Ok(found)
}

fn wrong(pem: &Pem, problem: &str) -> CertificatesError {
    CertificatesError {
        name: pem.name.clone(),
        problem: problem.to_owned(),
    }
}

/// One of these is no certificate; or none is given, and the system has none either.
fn useless(authorities: &[Pem], error: &rustls::Error) -> SetupError {
    let names: Vec<_> = authorities.iter().map(|pem| pem.name.as_str()).collect();
    if names.is_empty() {
        return SetupError::Tls(error.clone());
    }
    CertificatesError {
        name: names.join(", "),
        problem: format!("not certificates of authorities: {error}"),
    }
    .into()
}

fn proxied(mut builder: ClientBuilder, proxies: &Proxies) -> Result<ClientBuilder, SetupError> {
    type Make = fn(&str) -> reqwest::Result<Proxy>;
    let http: Make = |url| Proxy::http(url);
    let https: Make = |url| Proxy::https(url);
    for (scheme, url, make) in [("http", &proxies.http, http), ("https", &proxies.https, https)] {
        let Some(url) = url else {
            continue;
        };
        let proxy = make(url).map_err(|_| SetupError::Proxy { scheme })?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&proxies.except)));
    }
    Ok(builder)
}
