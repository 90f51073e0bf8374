//! What is handed to the build and to the ledger: bases from registries, and the source's commit.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_build::spec::Debian;
use cairn_build::{DebianSources, FetchError, Fetcher, LockedPackage, Sources};
use cairn_ledger::Source;
use cairn_oci::{Digest, Reference};
use cairn_packages::debian::Wanted;
use cairn_store::{Blob, Repository, RepositoryError, Store};

use crate::cache::Cached;
use crate::debian;
use crate::failure::Failure;
use crate::fetch::Downloads;
use crate::program::Cairn;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Where locking finds base images: the local store and registries.
pub struct BaseSources<'a> {
    cairn: &'a Cairn,
    /// The spec's directory.
    directory: &'a Path,
    offline: bool,
}

impl<'a> BaseSources<'a> {
    /// Sources by way of this program's store and client; with `offline`, of its store and cache alone.
    #[must_use]
    pub const fn new(cairn: &'a Cairn, directory: &'a Path, offline: bool) -> Self {
        Self {
            cairn,
            directory,
            offline,
        }
    }
}

#[async_trait]
impl Fetcher for BaseSources<'_> {
    async fn fetch(&self, url: &str, digest: &Digest, size: Option<u64>) -> Result<Blob, FetchError> {
        Downloads::new(self.cairn, self.offline)
            .fetch(url, digest, size)
            .await
    }

    async fn fetch_package(&self, package: &LockedPackage) -> Result<Blob, FetchError> {
        Downloads::new(self.cairn, self.offline)
            .fetch_package(package)
            .await
    }
}

#[async_trait]
impl Sources for BaseSources<'_> {
    async fn base_image(&self, reference: &Reference) -> Result<Arc<dyn Repository>, RepositoryError> {
        if self.offline && reference.host.is_some() {
            return Err(RepositoryError::Unreachable {
                repository: reference.without_target().to_string(),
                source: "--offline is given".into(),
            });
        }
        let opened = self.cairn.open_base(reference).await?;
        Ok(opened)
    }

    async fn debian(&self, wanted: &Debian) -> Result<DebianSources, AnyError> {
        debian::sources(self.cairn, self.directory, wanted, Path::new("/"))
    }

    async fn debian_file(&self, wanted: &Wanted) -> Result<Option<Vec<u8>>, debian::FetchError> {
        debian::file(self.cairn, self.offline, wanted).await
    }
}

impl Cairn {
    /// Opens the repository of a base; what is read from a registry is kept in the cache.
    ///
    /// # Errors
    ///
    /// When the registry or the store cannot be used.
    pub async fn open_base(&self, reference: &Reference) -> Result<Arc<dyn Repository>, RepositoryError> {
        let unreachable = |failure: Failure| RepositoryError::Unreachable {
            repository: reference.without_target().to_string(),
            source: failure.to_string().trim_end().to_owned().into(),
        };
        match &reference.host {
            Some(host) => {
                let client = self.client().await.map_err(unreachable)?;
                let remote = client.repository(host, reference.name.clone());
                let remote = remote.map_err(|error| unreachable(error.into()))?;
                let store = self.store().await.map_err(unreachable)?.clone();
                Ok(Arc::new(Cached::new(Arc::new(remote), store)))
            }
            None => {
                self.store()
                    .await
                    .map_err(unreachable)?
                    .repository(&reference.name)
                    .await
            }
        }
    }
}

/// From which commit the directory was built, as far as git knows. What it says is a claim, and shown as one.
#[must_use]
pub fn commit(directory: &Path) -> Option<Source> {
    let commit = git(directory, &["rev-parse", "HEAD"])?;
    let path =
        git(directory, &["rev-parse", "--show-prefix"]).map(|path| path.trim_end_matches('/').to_owned());
    Some(Source {
        repository: git(directory, &["config", "--get", "remote.origin.url"]).map(|url| without_secret(&url)),
        path: path.filter(|path| !path.is_empty()),
        commit: Some(commit),
        reference: git(directory, &["symbolic-ref", "--quiet", "HEAD"]),
        dirty: git(directory, &["status", "--porcelain", "--untracked-files=no"])
            .map(|list| !list.is_empty()),
    })
}

/// The output of a git command, without the last line break; none if there is no git or it fails.
fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// `https://user:token@host/x` without what stands before the `@`.
#[must_use]
pub fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if path.is_empty() {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}/{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6_a_remote_url_is_kept_without_its_secret() {
        assert_eq!(
            without_secret("https://u:tok@en@h.example.org/a@b.git"),
            "https://h.example.org/a@b.git"
        );
        assert_eq!(
            without_secret("git@h.example.org:a.git"),
            "git@h.example.org:a.git"
        );
        assert_eq!(
            without_secret("ssh://git@h.example.org/a"),
            "ssh://h.example.org/a"
        );
    }
}
