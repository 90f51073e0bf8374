//! Keeping credentials, and giving them up: where docker and podman find them.

use std::path::PathBuf;

use cairn_registry::client::Basic;

use super::document::{Document, DocumentError};
use super::files::{self, Owner, Place};
use super::helper::{Helper, HelperError};
use super::lookup::servers;
use crate::environment::Environment;

/// Where credentials are kept, or were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file, readable by its owner.
    File(PathBuf),
    /// By this helper.
    Helper(String),
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Helper(name) => write!(f, "docker-credential-{name}"),
        }
    }
}

/// Why credentials could not be kept or given up.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Nothing says where.
    #[error("there is no place for credentials: neither HOME, DOCKER_CONFIG nor REGISTRY_AUTH_FILE is set")]
    NoPlace,
    /// A file.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A helper.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// Keeps credentials for `host` in the file that has some for it already, because what stands there counts; else
/// in Docker's file, which docker, podman and others read. If that file names a helper for the host, the helper has them.
///
/// # Errors
///
/// [`KeepError`]; then nothing is kept.
pub async fn keep(environment: &Environment, host: &str, basic: &Basic) -> Result<Kept, KeepError> {
    let mut document = document_for(environment, host)?;
    let helper = document.helpers(host).first().map(|name| (*name).to_owned());
    let kept = match helper {
        Some(name) => {
            let helper = Helper::find(environment, &name)?;
            let server = servers(host).first().copied().unwrap_or(host);
            helper.store(server, basic).await?;
            document.set(host, None);
            Kept::Helper(name)
        }
        None => {
            document.set(host, Some(basic));
            Kept::File(document.path().to_owned())
        }
    };
    document.write()?;
    Ok(kept)
}

fn document_for(environment: &Environment, host: &str) -> Result<Document, KeepError> {
    let places = files::places(environment);
    for place in &places {
        if let Some(document) = Document::read(place)?.filter(|found| counts(found, host)) {
            return Ok(document);
        }
    }
    let is_docker = |place: &&Place| place.owner == Owner::Docker;
    let place = places.iter().find(is_docker).or(places.first());
    let place = place.ok_or(KeepError::NoPlace)?;
    Ok(Document::read(place)?.unwrap_or_else(|| Document::empty(place)))
}

/// Whether a file would be asked about `host` before those after it.
fn counts(document: &Document, host: &str) -> bool {
    document.has(host) || !document.helpers(host).is_empty()
}

/// Removes the credentials for the whole of `host` from all files and helpers, and says where they were. Entries for
/// repositories below it stay.
///
/// # Errors
///
/// [`KeepError`]. A helper that fails comes last: the files have forgotten by then.
pub async fn remove(environment: &Environment, host: &str) -> Result<Vec<Kept>, KeepError> {
    let (mut removed, mut names) = (Vec::new(), Vec::new());
    for place in files::places(environment) {
        let Some(mut document) = Document::read(&place)? else {
            continue;
        };
        names.extend(document.helpers(host).into_iter().map(str::to_owned));
        if document.unset(host) {
            document.write()?;
            removed.push(Kept::File(place.path));
        }
    }
    names.sort();
    names.dedup();
    for name in names {
        if erase(&Helper::find(environment, &name)?, host).await? {
            removed.push(Kept::Helper(name));
        }
    }
    Ok(removed)
}

/// Lets a helper forget a host by all its names; whether it knew one.
async fn erase(helper: &Helper, host: &str) -> Result<bool, HelperError> {
    let mut knew = false;
    for server in servers(host) {
        // Some helpers fail at what they do not know.
        knew |= helper.get(server).await?.is_some() && helper.erase(server).await?;
    }
    Ok(knew)
}
