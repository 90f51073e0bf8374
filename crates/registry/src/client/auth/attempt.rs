//! What goes into `Authorization`, and what the answer says about it.

use http::header::HeaderValue;
use tokio::time::Instant;

use super::challenge::Challenge;
use super::credentials::{Basic, Credential, Secret, header, redact};
use super::scope::{Access, Scopes};
use super::token::TokenServer;

/// As whom a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Standing {
    /// As nobody.
    Nobody,
    /// With a password, or a token of ours: it was not looked at before.
    Unchecked,
    /// With a token that a token server gave for our credentials.
    Known,
    /// The answer is that of another host, to which the registry redirected.
    Elsewhere,
}

/// What went into `Authorization`, remembered with the answer.
#[derive(Debug, Clone)]
pub(in crate::client) struct Sent {
    pub(in crate::client) standing: Standing,
    secrets: Vec<Secret>,
}

impl Sent {
    /// Words of the answer without what was sent.
    pub(in crate::client) fn redact(&self, words: String) -> String {
        redact(words, &self.secrets)
    }
}

/// What authorizes a request.
#[derive(Debug, Clone)]
pub(super) enum Authorization {
    Nothing,
    /// The password, or a token for the registry itself.
    Own(HeaderValue, Vec<Secret>),
    Token {
        token: Token,
        /// It was asked for because of this very request.
        fresh: bool,
    },
}

impl Authorization {
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Own(header, _) => Some(header),
            Self::Token { token, .. } => Some(&token.header),
        }
    }

    /// Whether a challenge says that this token does not suffice, and which one would (RFC 6750, section 3.1).
    pub(super) fn lacks_scopes(&self, challenge: &Challenge) -> bool {
        let Self::Token { token, .. } = self else {
            return false;
        };
        let wanted = Scopes::parse(challenge.get("scope").unwrap_or_default());
        challenge.scheme == "bearer"
            && challenge.get("error") == Some("insufficient_scope")
            && !token.scopes.covers(&wanted)
    }

    pub(super) fn sent(&self) -> Sent {
        match self {
            Self::Nothing => Sent {
                standing: Standing::Nobody,
                secrets: Vec::new(),
            },
            Self::Own(_, secrets) => Sent {
                standing: Standing::Unchecked,
                secrets: secrets.clone(),
            },
            Self::Token { token, .. } => Sent {
                standing: if token.is_ours {
                    Standing::Known
                } else {
                    Standing::Nobody
                },
                secrets: vec![token.secret.clone()],
            },
        }
    }
}

/// One request on its way to be known.
#[derive(Debug)]
pub(in crate::client) struct Attempt {
    pub(super) access: Access,
    pub(super) authorization: Authorization,
    /// How often it may still be repeated.
    pub(super) rounds: usize,
}

impl Attempt {
    /// What goes into `Authorization`.
    pub(in crate::client) fn header(&self) -> Option<&HeaderValue> {
        self.authorization.header()
    }
}

/// A token of a token server.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) server: TokenServer,
    pub(super) scopes: Scopes,
    pub(super) header: HeaderValue,
    pub(super) secret: Secret,
    /// Whether it was given for credentials, and not to anybody.
    pub(super) is_ours: bool,
    pub(super) renew: Instant,
}

/// Credentials that go to the registry itself. An identity token does not.
pub(super) fn own(credential: &Credential) -> Option<Authorization> {
    let header = match credential {
        Credential::Basic(basic) => Basic::header(basic),
        Credential::Token(token) => header("Bearer", token.expose()),
        Credential::Identity(_) => None,
    };
    Some(Authorization::Own(header?, credential.secrets()))
}
