//! Credentials for the registry client.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use cairn_oci::RepositoryName;
use cairn_registry::client::{Credential, Credentials, CredentialsError};
use tokio::sync::Mutex;

use super::document::{Document, DocumentError};
use super::entry;
use super::files;
use super::helper::{Helper, HelperError};
use crate::environment::Environment;

/// What one run of the program looks up. Files are read, and helpers asked, when a registry wants credentials, and once.
#[derive(Debug)]
pub struct Lookup {
    environment: Environment,
    answers: Mutex<BTreeMap<(String, String), Option<Credential>>>,
}

/// Why credentials could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// A file.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A helper.
    #[error("the helper that {} names for {host} is of no help", path.display())]
    Helper {
        /// Which file names it.
        path: PathBuf,
        /// Who was to be signed in to.
        host: String,
        /// What is wrong with it.
        source: HelperError,
    },
}

impl Lookup {
    /// Looks where this environment says.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            answers: Mutex::default(),
        }
    }

    /// The first file that knows something counts. In a file, its helper for this host goes first, then its helper for all
    /// hosts, then the entry that names the repository best.
    async fn look(&self, host: &str, repository: Option<&str>) -> Result<Option<Credential>, LookupError> {
        for place in files::places(&self.environment) {
            let Some(document) = Document::read(&place)? else {
                continue;
            };
            for name in document.helpers(host) {
                let found = self.ask(name, host).await;
                let found = found.map_err(|source| LookupError::Helper {
                    path: place.path.clone(),
                    host: host.to_owned(),
                    source,
                })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            if let Some(found) = document.find(host, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn ask(&self, name: &str, host: &str) -> Result<Option<Credential>, HelperError> {
        let key = (name.to_owned(), host.to_owned());
        let mut answers = self.answers.lock().await;
        if let Some(known) = answers.get(&key) {
            return Ok(known.clone());
        }
        let helper = Helper::find(&self.environment, name)?;
        let mut found = None;
        for server in servers(host) {
            found = helper.get(server).await?;
            if found.is_some() {
                break;
            }
        }
        answers.insert(key, found.clone());
        Ok(found)
    }
}

/// What helpers know a host by, the likeliest first.
#[must_use]
pub fn servers(host: &str) -> Vec<&str> {
    if entry::is_hub(host) {
        return vec![entry::HUB_KEY, entry::HUB_HOST];
    }
    vec![host]
}

#[async_trait]
impl Credentials for Lookup {
    async fn find(
        &self,
        host: &str,
        repository: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialsError> {
        let repository = repository.map(RepositoryName::as_str);
        self.look(host, repository).await.map_err(CredentialsError::new)
    }
}
