//! `--mirror`: repositories of other registries.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::{Reference, RepositoryName};
use cairn_registry::client::Client;
use cairn_store::{Mirror, Mirrored, Repository, RepositoryError, Store, Upstream};

use crate::failure::Failure;
use crate::program::Cairn;

/// `HOST[=PREFIX]`: whose repositories, and below which name they are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorOf {
    host: String,
    /// None: every repository.
    prefix: Option<RepositoryName>,
}

impl FromStr for MirrorOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, prefix) = match text.split_once('=') {
            Some((host, prefix)) => (host, prefix),
            // A port is no part of a repository's name.
            None => (text, text.split(':').next().unwrap_or(text)),
        };
        // Whatever is a host in a reference is one here.
        let reference: Result<Reference, _> = format!("{host}/name").parse();
        if reference.ok().and_then(|reference| reference.host).as_deref() != Some(host) {
            return Err(format!(
                "`{host}` is no registry's host, such as docker.io or registry.example.org:5000"
            ));
        }
        let prefix = match prefix {
            "/" => None,
            prefix => Some(
                prefix
                    .parse()
                    .map_err(|error: cairn_oci::name::NameError| error.to_string())?,
            ),
        };
        Ok(Self {
            host: host.to_owned(),
            prefix,
        })
    }
}

/// `store`, with `mirrors` in it.
///
/// # Errors
///
/// When registries cannot be spoken to at all.
pub async fn over(
    cairn: &Cairn,
    store: Arc<dyn Store>,
    mirrors: &[MirrorOf],
) -> Result<Arc<dyn Store>, Failure> {
    if mirrors.is_empty() {
        return Ok(store);
    }
    let client = cairn.client().await?;
    let mirrors = mirrors.iter().map(|mirror| Mirror {
        prefix: mirror.prefix.clone(),
        upstream: Arc::new(Behind {
            client: Arc::clone(client),
            host: mirror.host.clone(),
        }),
    });
    Ok(Arc::new(Mirrored::new(store, mirrors.collect())))
}

/// A registry behind a mirror. It is asked with the credentials of whoever serves.
#[derive(Debug)]
struct Behind {
    client: Arc<Client>,
    host: String,
}

#[async_trait]
impl Upstream for Behind {
    async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, RepositoryError> {
        // Docker Hub's own repositories are below `library/`, as everywhere.
        let reference: Result<Reference, _> = format!("{}/{name}", self.host).parse();
        let name = reference.map_or_else(|_| name.clone(), |reference| reference.name);
        let opened = self.client.repository(&self.host, name);
        let remote = opened.map_err(|error| RepositoryError::Unreachable {
            repository: self.host.clone(),
            source: error.into(),
        })?;
        Ok(Arc::new(remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(text: &str) -> (String, Option<String>) {
        let mirror: MirrorOf = text.parse().unwrap();
        (mirror.host, mirror.prefix.map(|prefix| prefix.to_string()))
    }

    #[test]
    fn a_mirror_is_a_host_and_a_prefix() {
        let of = |host: &str, prefix: &str| (host.to_owned(), Some(prefix.to_owned()));
        assert_eq!(mirror("docker.io"), of("docker.io", "docker.io"));
        assert_eq!(mirror("docker.io=hub"), of("docker.io", "hub"));
        assert_eq!(mirror("127.0.0.1:5000=a/b"), of("127.0.0.1:5000", "a/b"));
        assert_eq!(
            mirror("registry.example.org:5000"),
            of("registry.example.org:5000", "registry.example.org")
        );
        assert_eq!(mirror("docker.io=/"), ("docker.io".to_owned(), None));
        for wrong in [
            "",
            "hub",
            "docker.io=",
            "docker.io=Hub",
            "https://docker.io",
            "docker.io/library",
            "=hub",
            "a b.org",
        ] {
            assert!(wrong.parse::<MirrorOf>().is_err(), "{wrong}");
        }
    }
}
