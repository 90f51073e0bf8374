//! Whom to trust, and who we are, in TLS.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use cairn_store::error::CertificateProblem;
use rustls::CertificateError;

/// Certificates, or certificates and a key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Where it was read, for messages.
    pub name: String,
    /// The text.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.name)
    }
}

/// What TLS connections to one host are made with, beside the authorities that the system trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTls {
    /// Certificates of further authorities.
    pub authorities: Vec<Pem>,
    /// Our certificate, those between it and its authority, and its private key, in one text.
    pub identity: Option<Pem>,
    /// Speaks TLS even to this machine, to which plain HTTP is spoken otherwise.
    pub always: bool,
}

/// Finds what belongs to a host.
pub trait Certificates: fmt::Debug + Send + Sync {
    /// What there is for exactly this host, which has its port if a reference names it with one.
    ///
    /// # Errors
    ///
    /// When something is there and cannot be read: going on without it would look like a wrong certificate.
    fn find(&self, host: &str) -> Result<HostTls, CertificatesError>;
}

/// The system's authorities, and no certificate of ours.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemCertificates;

impl Certificates for SystemCertificates {
    fn find(&self, _: &str) -> Result<HostTls, CertificatesError> {
        Ok(HostTls::default())
    }
}

/// Why a certificate or a key is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct CertificatesError {
    /// Which file.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What is wrong with the certificate of the other side, if that is why a connection failed.
pub(super) fn problem(error: &(dyn Error + 'static)) -> Option<(CertificateProblem, String)> {
    let mut next = Some(error);
    while let Some(error) = next {
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = within.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(error) = tls.or_else(|| error.downcast_ref()) {
            return named(error);
        }
        // An error within an error of the system hides itself from `source`.
        next = match within {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn named(error: &rustls::Error) -> Option<(CertificateProblem, String)> {
    let rustls::Error::InvalidCertificate(error) = error else {
        return None;
    };
    Some(match error {
        CertificateError::Expired => (CertificateProblem::Expired, String::new()),
        CertificateError::ExpiredContext { not_after, .. } => (
            CertificateProblem::Expired,
            format!(" on {}", date(not_after.as_secs())),
        ),
        CertificateError::NotValidYet => (CertificateProblem::NotYetValid, String::new()),
        CertificateError::NotValidYetContext { not_before, .. } => (
            CertificateProblem::NotYetValid,
            format!(" before {}", date(not_before.as_secs())),
        ),
        CertificateError::NotValidForName => (CertificateProblem::OtherName, String::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(5).map(|name| plain(name)).collect();
            (
                CertificateProblem::OtherName,
                format!(", but for {}", names.join(", ")),
            )
        }
        // A signature that does not fit is that of another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            (CertificateProblem::Untrusted, String::new())
        }
        // What `openssl req -x509` makes, unless it is told otherwise. It is believed if it is itself among the authorities.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            (CertificateProblem::Untrusted, String::new())
        }
        other => (
            CertificateProblem::Other,
            format!(" ({})", crate::wire::error::bounded(&other.to_string())),
        ),
    })
}

/// `DnsName("a.example.org")` as rustls has it: the name alone.
fn plain(name: &str) -> String {
    let inner = name.split_once('"').and_then(|(_, rest)| rest.split_once('"'));
    crate::wire::error::bounded(inner.map_or(name, |(inner, _)| inner))
}

fn date(seconds: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    // Later dates than that of the year 9999 cannot be written.
    time.filter(|_| seconds < 253_402_300_800)
        .map_or_else(|| "a day far away".to_owned(), httpdate::fmt_http_date)
}
