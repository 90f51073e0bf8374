//! Where packages of Debian come from: the mirror of the spec, that of `CAIRN_DEBIAN_MIRROR`, or the host's own sources; and the
//! files of archives, downloaded or read.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cairn_build::spec::{Debian, DebianArchive};
use cairn_build::{DebianSources, SignedSource};
use cairn_oci::Digest;
pub use cairn_packages::debian::FetchError;
use cairn_packages::debian::{SignedBy, Source, Wanted, read_deb822, read_one_line};
use cairn_packages::openpgp::Keyring;
use cairn_registry::client::DownloadError;
use cairn_store::{Blob, collect, from_bytes};

use crate::cache;
use crate::failure::Failure;
use crate::program::Cairn;

/// The mirror for specs that name none.
pub const MIRROR: &str = "CAIRN_DEBIAN_MIRROR";
/// Where the host keeps its own sources and keys, below its root.
const SOURCES: &str = "etc/apt/sources.list";
const SOURCES_DIRECTORY: &str = "etc/apt/sources.list.d";
const KEYS: [&str; 3] = [
    "usr/share/keyrings/debian-archive-keyring.gpg",
    "usr/share/keyrings/debian-archive-keyring.pgp",
    "etc/apt/trusted.gpg",
];
const KEYS_DIRECTORY: &str = "etc/apt/trusted.gpg.d";
/// The most bytes of one list of sources.
const LIST_LIMIT: u64 = 1 << 20;

/// The most bytes of a package in a directory.
const PACKAGE_LIMIT: u64 = 4 << 30;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Why there are no sources.
#[derive(Debug, thiserror::Error)]
enum DebianError {
    #[error("no source of packages is known for `{suite}`")]
    NoSources { suite: String },
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is no list of sources", path.display())]
    List {
        path: PathBuf,
        source: cairn_packages::debian::SourceError,
    },
    #[error("{} is no keyring", path.display())]
    Keyring {
        path: PathBuf,
        source: cairn_packages::openpgp::KeyringError,
    },
    #[error("the key in the host's list of sources cannot be read")]
    Key {
        source: cairn_packages::openpgp::KeyringError,
    },
}

/// The sources for what the spec asks for, each with the keys that may sign it. `directory` is the spec's, `root` is where the
/// host's own files are.
///
/// # Errors
///
/// When there are none, or their keys cannot be read.
pub fn sources(
    cairn: &Cairn,
    directory: &Path,
    wanted: &Debian,
    root: &Path,
) -> Result<DebianSources, AnyError> {
    let mut sources = Vec::new();
    for archive in wanted.archives() {
        let found = archive_sources(cairn, archive, root)?;
        if found.is_empty() {
            let suite = archive.suite.value.clone();
            return Err(DebianError::NoSources { suite }.into());
        }
        for source in found {
            let keyring = keyring(directory, archive, &source, root)?;
            sources.push(SignedSource {
                source,
                keyring,
                snapshot: archive.snapshot.as_ref().map(|snapshot| snapshot.value),
            });
        }
    }
    Ok(DebianSources {
        sources,
        now: cairn.environment.now(),
    })
}

/// The suite at its mirror; without one, at that of the environment, or what of the host's sources belongs to it.
fn archive_sources(cairn: &Cairn, archive: &DebianArchive, root: &Path) -> Result<Vec<Source>, DebianError> {
    let named = archive.mirror.as_ref().map(|mirror| mirror.value.clone());
    let of_environment = || cairn.environment.text(MIRROR).filter(|text| !text.is_empty());
    let mirror = named.or_else(|| of_environment().map(|text| text.trim_end_matches('/').to_owned()));
    let suite = &archive.suite.value;
    let Some(mirror) = mirror else {
        let sources = host_sources(root)?.into_iter();
        return Ok(sources.filter(|source| source.belongs_to(suite)).collect());
    };
    Ok(vec![Source {
        uri: archive.mirror_at(&mirror),
        suite: suite.clone(),
        components: match suite.ends_with('/') {
            true => Vec::new(),
            false => archive.components.clone(),
        },
        architectures: archive.architectures.clone(),
        signed_by: SignedBy::default(),
    }])
}

/// What apt of this host would read.
fn host_sources(root: &Path) -> Result<Vec<Source>, DebianError> {
    let mut paths = vec![root.join(SOURCES)];
    paths.extend(listed(&root.join(SOURCES_DIRECTORY))?);
    let mut sources = Vec::new();
    for path in paths {
        let read = match path.extension().and_then(OsStr::to_str) {
            Some("sources") => read_deb822,
            Some("list") => read_one_line,
            _ => continue,
        };
        let Some(bytes) = read_file(&path, LIST_LIMIT)? else {
            continue;
        };
        let found = read(&bytes);
        sources.extend(found.map_err(|source| DebianError::List { path, source })?);
    }
    Ok(sources)
}

/// The keys that may sign `source`: those of the spec, else those of the host's own list, else all that the host trusts.
fn keyring(
    directory: &Path,
    archive: &DebianArchive,
    source: &Source,
    root: &Path,
) -> Result<Keyring, DebianError> {
    if let Some(named) = &archive.keyring {
        return read_keyring(&directory.join(&named.value));
    }
    if let Some(armored) = &source.signed_by.armored {
        return Keyring::read(armored.as_bytes()).map_err(|source| DebianError::Key { source });
    }
    let mut keyring = Keyring::default();
    if !source.signed_by.files.is_empty() {
        for file in &source.signed_by.files {
            keyring.extend(read_keyring(&root.join(file.trim_start_matches('/')))?);
        }
        return Ok(keyring);
    }
    let mut paths: Vec<_> = KEYS
        .iter()
        .map(|path| root.join(path))
        .filter(|path| path.exists())
        .collect();
    paths.extend(
        listed(&root.join(KEYS_DIRECTORY))?
            .into_iter()
            .filter(|path| matches!(path.extension().and_then(OsStr::to_str), Some("gpg" | "asc"))),
    );
    for path in paths {
        keyring.extend(read_keyring(&path)?);
    }
    Ok(keyring)
}

fn read_keyring(path: &Path) -> Result<Keyring, DebianError> {
    let path = path.to_owned();
    let bytes = read_file(&path, Keyring::LIMIT as u64)?;
    let Some(bytes) = bytes else {
        let source = io::Error::new(io::ErrorKind::NotFound, "it is not there");
        return Err(DebianError::File { path, source });
    };
    Keyring::read(&bytes).map_err(|source| DebianError::Keyring { path, source })
}

/// The files of a directory, sorted; none if it is not there.
#[expect(clippy::disallowed_methods, reason = "the names are sorted at once")]
fn listed(directory: &Path) -> Result<Vec<PathBuf>, DebianError> {
    let failed = |source| DebianError::File {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// A whole file of at most `limit` bytes; none if it is not there.
fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DebianError> {
    let failed = |source| DebianError::File {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(bytes))
}

/// The path of a URL of a directory of this machine.
#[must_use]
pub fn local_path(url: &str) -> Option<&Path> {
    let path = url.strip_prefix("file:").or_else(|| url.strip_prefix("copy:"))?;
    let path = path.strip_prefix("//").unwrap_or(path);
    path.starts_with('/').then(|| Path::new(path))
}

/// A file of an archive, from the cache if its digest is known, from a directory, or downloaded.
///
/// # Errors
///
/// When it cannot be had; that it is not there is none.
pub async fn file(cairn: &Cairn, offline: bool, wanted: &Wanted) -> Result<Option<Vec<u8>>, FetchError> {
    let failed = |source: AnyError| FetchError {
        url: wanted.url.clone(),
        source,
    };
    if let Some(path) = local_path(&wanted.url) {
        return read_file(path, wanted.limit).map_err(|error| failed(error.into()));
    }
    let said = |failure: Failure| -> AnyError { failure.to_string().trim_end().to_owned().into() };
    let store = cairn.store().await.map_err(|failure| failed(said(failure)))?;
    if let Some(digest) = &wanted.digest
        && let Some(kept) = cache::kept(store, digest)
            .await
            .map_err(|error| failed(error.into()))?
        && kept.size <= wanted.limit
    {
        let bytes = collect(kept.content, wanted.limit).await;
        return bytes
            .map(|bytes| Some(bytes.to_vec()))
            .map_err(|error| failed(error.into()));
    }
    if offline {
        return Err(failed("--offline is given".into()));
    }
    let client = cairn.client().await.map_err(|failure| failed(said(failure)))?;
    let mut bytes = Vec::new();
    let received = client
        .download_verified(&wanted.url, wanted.limit, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .await;
    match received {
        Err(DownloadError::Refused { status: 404, .. }) => return Ok(None),
        received => received.map_err(|error| failed(error.into()))?,
    };
    // What is wrong is said by whoever reads it.
    if wanted.digest == Some(Digest::of(&bytes)) {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let written = store.cache_write(&digest, size, from_bytes(bytes.clone())).await;
        written.map_err(|error| failed(error.into()))?;
    }
    Ok(Some(bytes))
}

/// A package in a directory of this machine.
///
/// # Errors
///
/// When it is not there, or cannot be read.
pub async fn package(url: &str, path: &Path, size: Option<u64>) -> Result<Blob, cairn_build::FetchError> {
    let failed = |source: AnyError| cairn_build::FetchError::Failed {
        url: url.to_owned(),
        source,
    };
    let (path, limit) = (path.to_owned(), size.unwrap_or(PACKAGE_LIMIT));
    let read = tokio::task::spawn_blocking(move || read_file(&path, limit)).await;
    let read = read.map_err(|error| failed(error.into()))?;
    let bytes = read.map_err(|error| failed(error.into()))?;
    let bytes = bytes.ok_or_else(|| failed("it is not there".into()))?;
    Ok(Blob {
        size: bytes.len() as u64,
        content: from_bytes(bytes),
    })
}
