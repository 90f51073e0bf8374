//! The protocol of token servers (distribution, "Token Authentication Specification" and "OAuth2 Token Authentication").
//!
//! - without credentials, or with a password: `GET realm?service=…&scope=…&scope=…`, the password as Basic; where a server
//!   knows no `GET` (404, 405), `POST` with the grant `password`;
//! - with an identity token: `POST` with the grant `refresh_token`; where a server knows no `POST` (404, 405, and 400
//!   or 401 as some say it), `GET` with the token as password.
//!
//! What comes back is at most 64 KiB, and redirects are followed within the server only: elsewhere, the request would be
//! that of somebody without credentials.

use std::time::Duration;

use cairn_oci::json;
use cairn_store::collect;
use cairn_store::error::Denial;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Response, Url};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::credentials::{Basic, Credential, Identity, Secret, header, redact};
use super::scope::Scopes;
use crate::client::answer::{self, Refusal};
use crate::client::transport::{Request, Transport, TransportError};
use crate::wire::Query;
use crate::wire::error::bounded;

/// Longest answer of a token server, in bytes (64 KiB).
const LIMIT: usize = 64 << 10;
/// How long a token lives whose server does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Longest life that is believed (one day).
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Who we are to a token server.
const CLIENT_ID: &str = "cairn";

/// A token server, and for which of its services a token is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenServer {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
}

impl TokenServer {
    /// Its host, with the port if there is one, for messages.
    pub(super) fn host(&self) -> String {
        let host = self.realm.host_str().unwrap_or_default();
        match self.realm.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

/// Why a token server gave no token.
#[derive(Debug, thiserror::Error)]
pub(in crate::client) enum TokenError {
    /// It does not accept us.
    #[error("the token server at {host} answers {status}{}", colon(detail))]
    Refused {
        host: String,
        status: u16,
        /// Whether it was asked without credentials.
        anonymous: bool,
        detail: String,
    },
    /// No answer came, or one that says to try later.
    #[error("the token server at {host} gives no answer")]
    NoAnswer { host: String, source: TransportError },
    /// Its answer is none.
    #[error("the token server at {host} gives no token: {detail}")]
    Invalid { host: String, detail: String },
}

fn colon(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}

impl TokenError {
    /// Whether it was said that these credentials, or nobody's, are not good for this.
    pub(in crate::client) const fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 400 | 401 | 403,
                ..
            }
        )
    }

    /// Whether it may be different in a minute.
    pub(in crate::client) const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::NoAnswer { .. }
                | Self::Refused {
                    status: 429 | 500..=599,
                    ..
                }
        )
    }

    /// Which denial it is, if it is one.
    pub(in crate::client) const fn denial(&self) -> Denial {
        match self {
            Self::Refused { anonymous: true, .. } => Denial::NoCredentials,
            Self::Refused { status: 403, .. } => Denial::Insufficient,
            _ => Denial::NotAccepted,
        }
    }
}

/// What a token server gave.
#[derive(Debug)]
pub(super) struct Grant {
    /// The `Authorization` header for the registry.
    pub(super) header: HeaderValue,
    /// How long it is good for, from when it was asked for.
    pub(super) life: Duration,
    /// What to ask with the next time instead of the identity token.
    pub(super) next: Option<Secret>,
    /// The token itself, in order to keep it out of messages.
    pub(super) secret: Secret,
}

/// Asks for tokens.
pub(super) struct TokenRequest<'a> {
    pub(super) transport: &'a Transport,
    pub(super) server: &'a TokenServer,
    pub(super) scopes: &'a Scopes,
    pub(super) credential: Option<&'a Credential>,
}

impl TokenRequest<'_> {
    pub(super) async fn send(&self) -> Result<Grant, TokenError> {
        let mut answer = self.once().await?;
        // GHCR refuses known users for a moment when it has much to do; who may not enter hears it twice.
        if answer.status() == StatusCode::FORBIDDEN && self.credential.is_some() {
            self.transport.wait(1, None).await;
            answer = self.once().await?;
        }
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        self.grant(answer).await
    }

    async fn once(&self) -> Result<Response, TokenError> {
        match self.credential {
            Some(Credential::Basic(basic)) => self.with_password(basic).await,
            Some(Credential::Identity(identity)) => self.with_identity(identity).await,
            // A token for the registry itself is none for a token server.
            Some(Credential::Token(_)) | None => self.get(None).await,
        }
    }

    async fn with_password(&self, basic: &Basic) -> Result<Response, TokenError> {
        let answer = self.get(Some(basic)).await?;
        if !matches!(answer.status().as_u16(), 404 | 405) {
            return Ok(answer);
        }
        let form = [
            ("grant_type", "password"),
            ("username", &basic.user),
            ("password", &basic.secret),
        ];
        self.post(&form).await
    }

    async fn with_identity(&self, identity: &Identity) -> Result<Response, TokenError> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", identity.token.expose()),
        ];
        let answer = self.post(&form).await?;
        if !matches!(answer.status().as_u16(), 400 | 401 | 404 | 405) {
            return Ok(answer);
        }
        let basic = Basic {
            user: identity.user.clone(),
            secret: identity.token.expose().to_owned(),
        };
        let second = self.get(Some(&basic)).await?;
        // The first refusal is the one about the identity token.
        Ok(if second.status().is_success() {
            second
        } else {
            answer
        })
    }

    async fn get(&self, basic: Option<&Basic>) -> Result<Response, TokenError> {
        let mut url = self.server.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.server.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes.texts() {
                query.append_pair("scope", &scope);
            }
            if let Some(basic) = basic.filter(|basic| !basic.user.is_empty()) {
                query.append_pair("account", &basic.user);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        let request = Request::new(Method::GET, url);
        let authorization = basic.and_then(Basic::header);
        self.exchange(request, authorization.as_ref()).await
    }

    async fn post(&self, grant: &[(&str, &str)]) -> Result<Response, TokenError> {
        let mut form = Query::default();
        for (key, value) in grant {
            form = form.with(key, value);
        }
        if let Some(service) = &self.server.service {
            form = form.with("service", service);
        }
        if !self.scopes.is_empty() {
            form = form.with("scope", &self.scopes.texts().join(" "));
        }
        let form = form.with("client_id", CLIENT_ID).to_string();
        let mut request = Request::new(Method::POST, self.server.realm.clone())
            .with(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body = Some(form.into_bytes().into());
        self.exchange(request, None).await
    }

    async fn exchange(
        &self,
        request: Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, TokenError> {
        let request = Request {
            stays: true,
            ..request.with(ACCEPT, "application/json")
        };
        let sent = self.transport.send(&request, authorization).await;
        sent.map_err(|source| TokenError::NoAnswer {
            host: self.server.host(),
            source,
        })
    }

    async fn refused(&self, answer: Response) -> TokenError {
        let status = answer.status();
        let refusal = Refusal::read(answer).await;
        let words = reason(refusal.raw()).unwrap_or_else(|| refusal.words());
        let secrets = self.credential.map(Credential::secrets).unwrap_or_default();
        TokenError::Refused {
            host: self.server.host(),
            status: status.as_u16(),
            anonymous: self.credential.is_none(),
            detail: redact(words, &secrets),
        }
    }

    async fn grant(&self, answer: Response) -> Result<Grant, TokenError> {
        let invalid = |detail: String| TokenError::Invalid {
            host: self.server.host(),
            detail,
        };
        let patience = self.transport.config().timeouts.refusal;
        let read = timeout(patience, collect(answer::content(answer), LIMIT as u64)).await;
        let bytes = read
            .map_err(|_| {
                invalid(format!(
                    "its answer takes longer than {} seconds",
                    patience.as_secs()
                ))
            })?
            .map_err(|error| invalid(error.to_string()))?;
        // The cause is not shown: it would quote what came, and what came are secrets.
        let document: Document = json::parse(&bytes, LIMIT)
            .map_err(|_| invalid("its answer is not the document of one".to_owned()))?;
        let life = document.life();
        let token = [document.token, document.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| invalid("its answer has none".to_owned()))?;
        let header =
            header("Bearer", &token).ok_or_else(|| invalid("it has letters that no token has".to_owned()))?;
        Ok(Grant {
            header,
            life,
            next: document
                .refresh_token
                .filter(|token| !token.is_empty())
                .map(Secret::new),
            secret: Secret::new(token),
        })
    }
}

/// What a token server's refusal says for people: an OAuth error, or what Docker Hub writes.
fn reason(body: &[u8]) -> Option<String> {
    let members: Map<String, Value> = json::parse(body, LIMIT).ok()?;
    let text = |name: &&str| members.get(*name)?.as_str().filter(|text| !text.is_empty());
    let named = ["error_description", "details", "message", "error"];
    let found = named.iter().find_map(text)?;
    Some(bounded(found))
}

/// The answer of a token server. `issued_at` is not read: only our own clock counts here.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<Value>,
}

impl Document {
    /// How long the token lives. Some servers write the number as a text, or with a fraction.
    fn life(&self) -> Duration {
        let seconds = match &self.expires_in {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let life = seconds
            .filter(|seconds| *seconds > 0.0)
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFE));
        life.unwrap_or(DEFAULT_LIFE).min(LONGEST_LIFE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_why_in_several_ways() {
        for (body, expected) in [
            (
                r#"{"details":"incorrect username or password"}"#,
                Some("incorrect username or password"),
            ),
            (
                r#"{"error":"invalid_grant","error_description":"too old"}"#,
                Some("too old"),
            ),
            (r#"{"error":"invalid_grant"}"#, Some("invalid_grant")),
            (r#"{"errors":[{"code":"DENIED"}]}"#, None),
            (r#"{"details":""}"#, None),
            ("no", None),
        ] {
            assert_eq!(reason(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_life_is_what_the_server_says_within_reason() {
        for (text, seconds) in [
            (r#"{"token":"x"}"#, 60),
            (r#"{"token":"x","expires_in":300}"#, 300),
            (r#"{"token":"x","expires_in":"300"}"#, 300),
            (
                r#"{"token":"x","expires_in":300.0,"issued_at":"1999-01-01T00:00:00Z"}"#,
                300,
            ),
            (r#"{"token":"x","expires_in":0}"#, 60),
            (r#"{"token":"x","expires_in":-5}"#, 60),
            (r#"{"token":"x","expires_in":null}"#, 60),
            (r#"{"token":"x","expires_in":[1]}"#, 60),
            (r#"{"token":"x","expires_in":"soon"}"#, 60),
            (r#"{"token":"x","expires_in":1e300}"#, 24 * 3600),
        ] {
            let document: Document = json::parse(text.as_bytes(), LIMIT).unwrap();
            assert_eq!(document.life(), Duration::from_secs(seconds), "{text}");
        }
    }
}
