//! The certificate and its key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_registry::server::{Tls, TlsError};

use super::reload::{Watched, read_all};
use crate::failure::{Classify, Exit, Failure};
use crate::terminal::Terminal;

/// Longest file of a certificate or key, in bytes (1 MiB).
const LIMIT: usize = 1 << 20;

/// The two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The two files cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} with the key {}", certificate.display(), key.display())]
pub struct CertificateError {
    certificate: PathBuf,
    key: PathBuf,
    source: TlsError,
}

impl Classify for CertificateError {
    fn exit(&self) -> Exit {
        Exit::Input
    }
}

/// Reads the two files, and says how to read them again.
pub fn read(files: &Files, terminal: &Terminal) -> Result<(Arc<Tls>, Watched), Failure> {
    let wrong = |files: &Files, source| CertificateError {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    let paths = vec![files.certificate.clone(), files.key.clone()];
    let seen = read_all(&paths, LIMIT)?;
    if may_be_read_by_all(&files.key) {
        let key = files.key.display();
        terminal.warn(format!("everybody on this machine may read the key {key}"));
    }
    let tls = Tls::new(&seen[0], &seen[1]).map_err(|source| wrong(files, source))?;
    let tls = Arc::new(tls);
    let (again, owned) = (Arc::clone(&tls), files.clone());
    let watched = Watched::new("certificate", paths, LIMIT, seen, move |bytes| {
        let replaced = again.replace(&bytes[0], &bytes[1]);
        Ok(replaced.map_err(|source| wrong(&owned, source))?)
    });
    Ok((tls, watched))
}

fn may_be_read_by_all(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.metadata().is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}
