//! Whether a registry knows us.

use std::sync::Arc;

use async_trait::async_trait;
use cairn_oci::RepositoryName;
use cairn_store::RepositoryError;
use http::StatusCode;

use super::answer::Refusal;
use super::auth::{Credential, Credentials, CredentialsError, Sent, Standing};
use super::{Client, ClientConfig, ClientError, host};
use crate::wire::Route;

/// What a registry says to credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// They are good.
    Accepted,
    /// It did not want to see them: nobody knows whether they are good.
    NotAsked,
}

/// Why credentials could not be checked, or are not good.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The registry cannot be asked.
    #[error(transparent)]
    Client(ClientError),
    /// It refused, or gave no answer. `repository` is the host.
    #[error(transparent)]
    Registry(RepositoryError),
    /// It answers, and is no registry.
    #[error("{host} is no registry: it answers {status} to GET /v2/")]
    NotARegistry {
        /// The host.
        host: String,
        /// HTTP status.
        status: u16,
    },
}

/// One credential for whoever asks; there is only one host to ask.
#[derive(Debug)]
struct One(Credential);

#[async_trait]
impl Credentials for One {
    async fn find(
        &self,
        _: &str,
        _: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialsError> {
        Ok(Some(self.0.clone()))
    }
}

impl Client {
    /// Asks the registry at `host` (`GET /v2/`), and the token server that it names, whether `credential` is good.
    ///
    /// # Errors
    ///
    /// [`LoginError`]; credentials that are not good are [`RepositoryError::Denied`].
    pub async fn login(&self, host: &str, credential: Credential) -> Result<Login, LoginError> {
        let config = ClientConfig {
            credentials: Arc::new(One(credential)),
            ..(*self.config).clone()
        };
        let host = Self::new(config).open(host).map_err(LoginError::Client)?;
        let request = host.request(&Route::Ping);
        let answer = host.send(&request).await;
        let answer = answer.map_err(|error| LoginError::Registry(host::unreachable(host.name(), error)))?;
        match answer.status() {
            status if status.is_success() => {
                let sent = answer.extensions().get::<Sent>();
                Ok(match sent.map(|sent| sent.standing) {
                    Some(Standing::Known | Standing::Unchecked) => Login::Accepted,
                    _ => Login::NotAsked,
                })
            }
            status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                Err(LoginError::NotARegistry {
                    host: host.name().to_owned(),
                    status: status.as_u16(),
                })
            }
            _ => {
                let operation = host::operation(&request.method, &request.url);
                let refusal = Refusal::read(answer).await;
                let error = refusal.into_error(host.name().to_owned(), operation);
                Err(LoginError::Registry(error))
            }
        }
    }
}
