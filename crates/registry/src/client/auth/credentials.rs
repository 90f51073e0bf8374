//! Credentials, and where they come from.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_oci::RepositoryName;
use http::header::HeaderValue;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A user name and a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// The user name. Without a colon.
    pub user: String,
    /// The password, or a token that stands for one.
    pub secret: String,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Basic({}, …)", self.user)
    }
}

impl Basic {
    /// What stands behind `Basic` in a header (RFC 7617).
    pub(super) fn encoded(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.user, self.secret))
    }

    /// The `Authorization` header, which logs do not print.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        header("Basic", &self.encoded())
    }
}

/// A refresh token of a token server (OAuth 2.0), which Docker calls an identity token. It is no password: only a token
/// server knows what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is, if that is known; else empty.
    pub user: String,
    /// The token.
    pub token: Secret,
}

/// What one registry knows us by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password.
    Basic(Basic),
    /// A token that a token server gives other tokens for.
    Identity(Identity),
    /// A token for the registry itself, sent as it is.
    Token(Secret),
}

impl Credential {
    /// All texts that must not be seen, in every spelling in which they are sent.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Basic(basic) => vec![Secret::new(&basic.secret), Secret(basic.encoded())],
            Self::Identity(identity) => vec![identity.token.clone()],
            Self::Token(token) => vec![token.clone()],
        }
    }
}

/// An `Authorization` header, which logs do not print. `None` if no header can have this text.
pub(super) fn header(scheme: &str, text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `text` without what must not be seen, for words of others in messages of ours. Secrets of less than four letters
/// stay: blotting them out would only show where they stand.
pub(super) fn redact(text: String, secrets: &[Secret]) -> String {
    let long = secrets.iter().filter(|secret| secret.0.len() >= 4);
    long.fold(text, |text, secret| text.replace(&secret.0, "…"))
}

/// Why credentials could not be looked up: a file that cannot be read, a helper that fails. That there are none
/// is no error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CredentialsError(Box<dyn Error + Send + Sync>);

impl CredentialsError {
    /// Whatever went wrong.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Where credentials come from.
#[async_trait]
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credentials for `repository` at exactly `host`, which is what a reference names, with the port if it names one;
    /// without a repository those for the whole host. Asked for once a registry wants them.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`].
    async fn find(
        &self,
        host: &str,
        repository: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialsError>;
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

#[async_trait]
impl Credentials for NoCredentials {
    async fn find(
        &self,
        _: &str,
        _: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialsError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6_secrets_are_not_printed() {
        let basic = Basic {
            user: "ann".to_owned(),
            secret: "sentinel".to_owned(),
        };
        assert_eq!(
            basic.header().unwrap().to_str().unwrap(),
            "Basic YW5uOnNlbnRpbmVs"
        );
        assert!(!format!("{:?}", basic.header()).contains("YW5u"));
        let token = Secret::new("sentinel");
        for credential in [
            Credential::Basic(basic),
            Credential::Identity(Identity {
                user: String::new(),
                token: token.clone(),
            }),
            Credential::Token(token),
        ] {
            assert!(!format!("{credential:?}").contains("sentinel"));
            let words = redact("sentinel? YW5uOnNlbnRpbmVs".to_owned(), &credential.secrets());
            assert!(!words.contains("sentinel"), "{words}");
        }
    }

    #[test]
    fn h6_what_is_said_of_a_secret_is_blotted_out() {
        let secrets = [Secret::new("hunter22"), Secret::new("ab"), Secret::new("")];
        let words = "bad password hunter22 for abba".to_owned();
        assert_eq!(redact(words, &secrets), "bad password … for abba");
    }
}
