//! Reading an archive: its signed file first, then the indexes that it names, each verified before anything in it is
//! looked at.

use std::io::{Cursor, Read};

use async_trait::async_trait;
use cairn_layer::{Encoding, Limits, decoder};
use cairn_oci::Digest;

use super::index::Index;
use super::release::{Clock, Release, ReleaseError};
use super::source::Source;
use crate::openpgp::{CleartextError, Keyring, Signer, VerifyError, split_cleartext};

/// The most bytes of a signed file: 16 MiB. Debian's has 0.2.
pub const RELEASE_LIMIT: u64 = 16 << 20;
/// The most bytes of an index as it is downloaded: 256 MiB. Debian's largest has 9.
pub const INDEX_LIMIT: u64 = 256 << 20;
/// The most bytes of an index: 1 GiB. Debian's largest has 50 million.
pub const UNPACKED_INDEX_LIMIT: u64 = 1 << 30;

/// A file that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is: `https:`, `http:` or `file:`.
    pub url: String,
    /// What it has to be, where that is known; then it may come from a cache.
    pub digest: Option<Digest>,
    /// The most bytes that are read of it.
    pub limit: u64,
}

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch {url}")]
pub struct FetchError {
    /// Where it should be.
    pub url: String,
    /// Why not.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Where files of archives come from. Nothing that it gives is trusted.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The whole file; none if it is not there. One that is longer than the limit is an error.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    async fn fetch(&self, wanted: &Wanted) -> Result<Option<Vec<u8>>, FetchError>;
}

/// Why an archive cannot be read. `url` is the file that is to blame.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file cannot be had.
    #[error("the archive cannot be read")]
    Fetch {
        /// Why.
        source: FetchError,
    },
    /// It has no signed file.
    #[error("{url} is not there, and no Release with Release.gpg either: is there a suite `{suite}`?")]
    NoSuite {
        /// Where the signed file should be.
        url: String,
        /// The suite.
        suite: String,
    },
    /// There are no keys to check it with.
    #[error("there is no key to check {url} with: name a keyring")]
    NoKeys {
        /// The signed file.
        url: String,
    },
    /// A signed file is not signed as it should be.
    #[error("{url} is not a signed text")]
    Cleartext {
        /// The file.
        url: String,
        /// What is wrong.
        source: CleartextError,
    },
    /// Nobody who is trusted signed it.
    #[error("{url} is not signed by a key that is trusted")]
    Signature {
        /// The file.
        url: String,
        /// What is wrong.
        source: VerifyError,
    },
    /// It is signed, but not what was asked for.
    #[error("{url} cannot be used")]
    Release {
        /// The file.
        url: String,
        /// What is wrong.
        source: ReleaseError,
    },
    /// An index is not there.
    #[error("{url} is not there, though the archive's signed file names it")]
    NoIndex {
        /// Where it should be.
        url: String,
    },
    /// A file is not what the signed file says.
    #[error("{url} has the SHA-256 {found} and {size} bytes; it should have {expected} and {expected_size}")]
    Digest {
        /// The file.
        url: String,
        /// What it should be.
        expected: Digest,
        /// How many bytes it should have.
        expected_size: u64,
        /// What it is.
        found: Digest,
        /// How many bytes it has.
        size: u64,
    },
    /// A file is larger than anything of its kind.
    #[error("{url} is said to have {size} bytes; more than {limit} are not read")]
    TooLarge {
        /// The file.
        url: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// An index cannot be decompressed.
    #[error("{url} cannot be decompressed")]
    Decompress {
        /// The file.
        url: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// An archive whose signature counts, and its indexes for the architectures that were asked for.
#[derive(Debug, Clone)]
pub struct Archive {
    /// What its signed file says.
    pub release: Release,
    /// Who signed it.
    pub signer: Signer,
    /// Its indexes.
    pub indexes: Vec<Index>,
}

/// Reads the archive `source` for packages of these architectures (`amd64`, …; packages for all come by themselves).
///
/// # Errors
///
/// [`ArchiveError`].
pub async fn read_archive(
    source: &Source,
    architectures: &[String],
    keyring: &Keyring,
    clock: &Clock,
    fetch: &dyn Fetch,
) -> Result<Archive, ArchiveError> {
    let directory = directory(source);
    let keyring = match &source.signed_by.fingerprints[..] {
        [] => keyring.clone(),
        chosen => keyring.restricted(chosen),
    };
    let (url, text, signer) = signed_text(source, &directory, &keyring, clock, fetch).await?;
    let blame = |source| ArchiveError::Release {
        url: url.clone(),
        source,
    };
    let release = Release::read(&text).map_err(blame)?;
    let architectures: Vec<String> = architectures
        .iter()
        .filter(|own| source.is_for(own))
        .cloned()
        .collect();
    release.check(source, &architectures, clock).map_err(blame)?;
    let mut indexes = Vec::new();
    for (component, path) in index_paths(source, &release, &architectures) {
        let bytes = read_index(&directory, &path, &release, fetch, &url).await?;
        indexes.push(Index {
            uri: source.uri.clone(),
            suite: source.suite.clone(),
            component,
            bytes,
        });
    }
    Ok(Archive {
        release,
        signer,
        indexes,
    })
}

fn directory(source: &Source) -> String {
    match source.suite.strip_suffix('/') {
        Some("." | "") => source.uri.clone(),
        Some(directory) => format!("{}/{}", source.uri, directory.trim_start_matches("./")),
        None => format!("{}/dists/{}", source.uri, source.suite),
    }
}

/// Component and path of each index, without the ending of a compression.
fn index_paths(source: &Source, release: &Release, architectures: &[String]) -> Vec<(String, String)> {
    if source.suite.ends_with('/') {
        return vec![(String::new(), "Packages".to_owned())];
    }
    let mut paths = Vec::new();
    for component in &source.components {
        let apart = release.all_apart.then_some("all");
        for architecture in architectures.iter().map(String::as_str).chain(apart) {
            let path = format!("{component}/binary-{architecture}/Packages");
            paths.push((component.clone(), path));
        }
    }
    paths
}

/// The signed text, with the URL that it is from, and who signed it.
async fn signed_text(
    source: &Source,
    directory: &str,
    keyring: &Keyring,
    clock: &Clock,
    fetch: &dyn Fetch,
) -> Result<(String, String, Signer), ArchiveError> {
    let url = format!("{directory}/InRelease");
    if keyring.is_empty() {
        return Err(ArchiveError::NoKeys { url });
    }
    if let Some(bytes) = get(fetch, &url, None, RELEASE_LIMIT).await? {
        let cleartext = |source| ArchiveError::Cleartext {
            url: url.clone(),
            source,
        };
        let split = split_cleartext(&bytes).map_err(cleartext)?;
        let signer = keyring.verify_cleartext(&split.signed, &split.signatures, clock.at);
        let signer = signer.map_err(|source| ArchiveError::Signature {
            url: url.clone(),
            source,
        })?;
        return Ok((url, split.text, signer));
    }
    let plain = format!("{directory}/Release");
    let content = get(fetch, &plain, None, RELEASE_LIMIT).await?;
    let signature = get(fetch, &format!("{plain}.gpg"), None, RELEASE_LIMIT).await?;
    let (Some(content), Some(signature)) = (content, signature) else {
        let suite = source.suite.clone();
        return Err(ArchiveError::NoSuite { url, suite });
    };
    let verified = keyring.verify(&content, &signature, clock.at);
    let signer = verified.map_err(|source| ArchiveError::Signature {
        url: plain.clone(),
        source,
    })?;
    match String::from_utf8(content) {
        Ok(text) => Ok((plain, text, signer)),
        Err(_) => Err(ArchiveError::Cleartext {
            url: plain,
            source: CleartextError::NoText,
        }),
    }
}

/// Endings of indexes, the smallest first.
const ENDINGS: [(&str, Encoding); 4] = [
    (".xz", Encoding::Xz),
    (".zst", Encoding::Zstd),
    (".gz", Encoding::Gzip),
    ("", Encoding::Tar),
];

async fn read_index(
    directory: &str,
    path: &str,
    release: &Release,
    fetch: &dyn Fetch,
    signed_file: &str,
) -> Result<Vec<u8>, ArchiveError> {
    let named = ENDINGS.iter().find_map(|(ending, encoding)| {
        let path = format!("{path}{ending}");
        let (digest, size) = release.files.get(&path)?;
        Some((path, *encoding, *digest, *size))
    });
    let Some((file, encoding, digest, size)) = named else {
        return Err(ArchiveError::Release {
            url: signed_file.to_owned(),
            source: ReleaseError::NoIndex {
                path: path.to_owned(),
            },
        });
    };
    let url = format!("{directory}/{file}");
    if size > INDEX_LIMIT {
        let limit = INDEX_LIMIT;
        return Err(ArchiveError::TooLarge { url, size, limit });
    }
    let by_hash = format!(
        "{directory}/{}by-hash/SHA256/{}",
        file.rfind('/').map_or("", |slash| &file[..=slash]),
        digest.hex()
    );
    let mut found = None;
    if release.by_hash {
        found = get(fetch, &by_hash, Some(digest), size).await?;
    }
    if found.is_none() {
        found = get(fetch, &url, Some(digest), size).await?;
    }
    let compressed = found.ok_or_else(|| ArchiveError::NoIndex { url: url.clone() })?;
    verify(&url, &compressed, digest, size)?;
    let plain = release.files.get(path).copied();
    if encoding == Encoding::Tar {
        return Ok(compressed);
    }
    let bytes = decompress(&url, compressed, encoding, plain.map(|(_, size)| size))?;
    if let Some((digest, size)) = plain {
        verify(&format!("{directory}/{path}"), &bytes, digest, size)?;
    }
    Ok(bytes)
}

fn verify(url: &str, bytes: &[u8], expected: Digest, expected_size: u64) -> Result<(), ArchiveError> {
    let (found, size) = (Digest::of(bytes), bytes.len() as u64);
    if (found, size) == (expected, expected_size) {
        return Ok(());
    }
    Err(ArchiveError::Digest {
        url: url.to_owned(),
        expected,
        expected_size,
        found,
        size,
    })
}

/// Never more than the signed file says, or the limit; one byte more shows that there is more.
fn decompress(
    url: &str,
    bytes: Vec<u8>,
    encoding: Encoding,
    stated: Option<u64>,
) -> Result<Vec<u8>, ArchiveError> {
    let limit = UNPACKED_INDEX_LIMIT;
    if let Some(size) = stated.filter(|size| *size > limit) {
        let url = url.to_owned();
        return Err(ArchiveError::TooLarge { url, size, limit });
    }
    let failed = |source| ArchiveError::Decompress {
        url: url.to_owned(),
        source,
    };
    let limits = Limits {
        max_uncompressed: limit,
        ..Limits::default()
    };
    let decoder = decoder(Cursor::new(bytes), encoding, &limits).map_err(failed)?;
    let mut plain = Vec::new();
    let most = stated.map_or(limit, |size| size + 1);
    decoder.take(most).read_to_end(&mut plain).map_err(failed)?;
    Ok(plain)
}

async fn get(
    fetch: &dyn Fetch,
    url: &str,
    digest: Option<Digest>,
    limit: u64,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let wanted = Wanted {
        url: url.to_owned(),
        digest,
        limit,
    };
    fetch
        .fetch(&wanted)
        .await
        .map_err(|source| ArchiveError::Fetch { source })
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
