//! Credentials as docker and podman keep them: Docker's `config.json`, Podman's `auth.json`, `REGISTRY_AUTH_FILE`.
//!
//! An entry counts for exactly the host that it names, with its port; an entry for a repository below a host does not
//! count for the whole host. Helpers (`credsStore`, `credHelpers`) are not asked yet: where one is set and nothing else
//! is there, that is said.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_oci::{RepositoryName, json};
use cairn_registry::client::{
    Basic, Client, ClientConfig, Credential, Credentials, CredentialsError, PlainHttp,
};
use serde::Deserialize;

use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// Longest file with credentials, in bytes (1 MiB).
const LIMIT: usize = 1 << 20;

#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize, Default)]
struct Auth {
    #[serde(default)]
    auth: Option<String>,
}

/// User names and secrets by host.
#[derive(Debug, Default)]
struct Known {
    hosts: BTreeMap<String, Basic>,
}

#[async_trait::async_trait]
impl Credentials for Known {
    async fn find(
        &self,
        host: &str,
        _: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialsError> {
        Ok(self.basic(host).map(Credential::Basic))
    }
}

/// The client of this run.
///
/// # Errors
///
/// When a file with credentials cannot be read: going on without them would look like a wrong password.
pub fn client(cairn: &Cairn) -> Result<Client, Failure> {
    let mut known = Known::default();
    for path in files(&cairn.environment) {
        if let Some(file) = read(&path)? {
            known.add(&path, &file)?;
        }
    }
    let plain_http = if cairn.global.plain_http {
        PlainHttp::Allow
    } else {
        PlainHttp::LoopbackOnly
    };
    Ok(Client::new(ClientConfig {
        credentials: Arc::new(known),
        plain_http,
        ..ClientConfig::default()
    }))
}

/// The files in the order in which they count: the first that knows a host wins.
fn files(environment: &Environment) -> Vec<PathBuf> {
    if let Some(path) = environment.path("REGISTRY_AUTH_FILE") {
        return vec![environment.absolute(&path)];
    }
    let home = environment.path("HOME");
    let podman = environment
        .path("XDG_RUNTIME_DIR")
        .map(|path| path.join("containers/auth.json"));
    let config = environment
        .path("XDG_CONFIG_HOME")
        .or_else(|| home.as_ref().map(|home| home.join(".config")));
    let config = config.map(|config| config.join("containers/auth.json"));
    let docker = environment
        .path("DOCKER_CONFIG")
        .or_else(|| home.map(|home| home.join(".docker")));
    let docker = docker.map(|docker| docker.join("config.json"));
    [podman, config, docker]
        .into_iter()
        .flatten()
        .map(|path| environment.absolute(&path))
        .collect()
}

fn read(path: &Path) -> Result<Option<File>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Environment,
            format!("cannot read the credentials in {}: {error}", path.display()),
        )
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    // The cause is not shown: serde_json quotes what it read, and what it read are secrets.
    json::parse(&bytes, LIMIT).map(Some).map_err(|_| damaged(path))
}

fn damaged(path: &Path) -> Failure {
    let text = format!(
        "the credentials in {} are not a document that docker or podman wrote",
        path.display()
    );
    Failure::new(Exit::Environment, text)
}

impl Known {
    fn basic(&self, host: &str) -> Option<Basic> {
        self.hosts.get(host).cloned()
    }

    fn add(&mut self, path: &Path, file: &File) -> Result<(), Failure> {
        for (key, entry) in &file.auths {
            let (Some(host), Some(auth)) = (host(key), entry.auth.as_ref().filter(|auth| !auth.is_empty()))
            else {
                continue;
            };
            let basic = basic(auth).ok_or_else(|| damaged(path))?;
            self.hosts.entry(host.to_owned()).or_insert(basic);
        }
        Ok(())
    }
}

/// The host that a key names: `https://host/v1/` as old docker wrote it, or `host`. Keys for a repository name none.
fn host(key: &str) -> Option<&str> {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    match rest {
        Some(rest) => rest.split('/').next(),
        None if key.contains('/') => None,
        None => Some(key),
    }
}

fn basic(auth: &str) -> Option<Basic> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, secret) = text.trim_end_matches('\0').split_once(':')?;
    Some(Basic {
        user: user.to_owned(),
        secret: secret.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Known {
        let mut known = Known::default();
        known
            .add(
                Path::new("config.json"),
                &json::parse(text.as_bytes(), LIMIT).unwrap(),
            )
            .unwrap();
        known
    }

    #[test]
    fn h4_an_entry_counts_for_exactly_its_host() {
        let known = known(
            r#"{"auths":{"r.example.org":{"auth":"YW5uOnNlY3JldDp4"},"https://old.example.org/v1/":{"auth":"YTpi"},"r.example.org/team":{"auth":"YTpj"},"empty.example.org":{}},"credsStore":"x"}"#,
        );
        let basic = known.basic("r.example.org").unwrap();
        assert_eq!((basic.user.as_str(), basic.secret.as_str()), ("ann", "secret:x"));
        assert!(known.basic("old.example.org").is_some());
        for other in [
            "r.example.org:443",
            "x.r.example.org",
            "example.org",
            "r.example.org.evil.org",
            "empty.example.org",
        ] {
            assert!(known.basic(other).is_none(), "{other}");
        }
    }

    #[test]
    fn registry_auth_file_replaces_all_others() {
        let environment = Environment::of(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/x/a.json")]);
        assert_eq!(files(&environment), [PathBuf::from("/x/a.json")]);
        let environment = Environment::of(&[("HOME", "/h")]);
        assert_eq!(
            files(&environment),
            [
                PathBuf::from("/h/.config/containers/auth.json"),
                PathBuf::from("/h/.docker/config.json")
            ]
        );
    }
}
