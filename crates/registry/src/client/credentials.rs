//! Who we are, and what a registry asks for.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

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
    /// The `Authorization` header (RFC 7617), which logs do not print.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let encoded = STANDARD.encode(format!("{}:{}", self.user, self.secret));
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Where credentials come from.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credentials for exactly `host`, which is what a reference names, with the port if it names one.
    fn basic(&self, host: &str) -> Option<Basic>;
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn basic(&self, _: &str) -> Option<Basic> {
        None
    }
}

/// What a 401 asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user name and a password.
    Basic,
    /// A token from a token server, which is not supported yet.
    Bearer,
    /// Something else, or nothing.
    Other,
}

impl Challenge {
    /// The challenge that we can answer best, of all in the headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let schemes: Vec<String> = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(schemes)
            .collect();
        let has = |scheme: &str| schemes.iter().any(|found| found == scheme);
        match (has("basic"), has("bearer")) {
            (true, _) => Self::Basic,
            (false, true) => Self::Bearer,
            (false, false) => Self::Other,
        }
    }
}

/// The authentication schemes of one header, in lower case: the words that no `=` follows (RFC 9110, section 11.6.1).
fn schemes(header: &str) -> Vec<String> {
    let mut quoted = false;
    let outside: String = header
        .chars()
        .filter(|&c| {
            let quote = c == '"';
            quoted ^= quote;
            !quoted && !quote
        })
        .collect();
    outside
        .split(',')
        .filter_map(|part| part.split_whitespace().next())
        .filter(|word| !word.contains('='))
        .map(str::to_ascii_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn basic_is_taken_from_several_challenges() {
        assert_eq!(challenge(&["Basic realm=\"x\""]), Challenge::Basic);
        assert_eq!(challenge(&["basic"]), Challenge::Basic);
        assert_eq!(
            challenge(&["Bearer realm=\"https://a/t\",service=\"Basic, x\""]),
            Challenge::Bearer
        );
        assert_eq!(
            challenge(&["Bearer realm=\"https://a/t\",service=\"s\", Basic realm=\"x\""]),
            Challenge::Basic
        );
        assert_eq!(challenge(&["Negotiate", "BASIC realm=x"]), Challenge::Basic);
        assert_eq!(challenge(&[]), Challenge::Other);
    }

    #[test]
    fn h6_secrets_are_not_printed() {
        let basic = Basic {
            user: "ann".to_owned(),
            secret: "sentinel".to_owned(),
        };
        assert!(!format!("{basic:?} {:?}", basic.header()).contains("sentinel"));
        assert_eq!(
            basic.header().unwrap().to_str().unwrap(),
            "Basic YW5uOnNlbnRpbmVs"
        );
    }
}
