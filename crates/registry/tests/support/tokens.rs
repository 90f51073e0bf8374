//! What the tests of authentication share: credentials, token servers, registries that want tokens.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests use this, and each test program a part of it"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::RepositoryName;
use cairn_registry::client::{
    Basic, Client, ClientConfig, Credential, Credentials, CredentialsError, Identity, Remote, Secret,
};
use cairn_store::error::Denial;
use cairn_store::{Repository, RepositoryError};
use http::Method;

use super::{Fake, FakeAnswer, Seen, answer, config, fake, manifest_answer, small, tag};

/// Credentials of any kind for one host.
#[derive(Debug)]
pub(crate) struct Only(String, Credential);

#[async_trait::async_trait]
impl Credentials for Only {
    async fn find(
        &self,
        host: &str,
        _: Option<&RepositoryName>,
    ) -> Result<Option<Credential>, CredentialsError> {
        Ok((host == self.0).then(|| self.1.clone()))
    }
}

pub(crate) fn password() -> Credential {
    Credential::Basic(Basic {
        user: "ann".to_owned(),
        secret: "pass-sentinel".to_owned(),
    })
}

pub(crate) fn identity() -> Credential {
    Credential::Identity(Identity {
        user: String::new(),
        token: Secret::new("refresh-sentinel"),
    })
}

pub(crate) fn as_credential(host: &str, credential: Credential) -> Client {
    Client::new(ClientConfig {
        credentials: Arc::new(Only(host.to_owned(), credential)),
        ..config()
    })
}

pub(crate) fn with(host: &str, credential: Credential) -> Remote {
    let client = as_credential(host, credential);
    client.repository(host, "a".parse().unwrap()).unwrap()
}

pub(crate) fn anonymous(host: &str) -> Remote {
    super::remote(host, "a")
}

/// `user:secret` of a request, if it has any.
pub(crate) fn basic(seen: &Seen) -> Option<String> {
    use base64::Engine as _;
    let value = seen.headers.get("authorization")?.to_str().unwrap();
    let encoded = value.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    Some(String::from_utf8(decoded).unwrap())
}

pub(crate) fn bearer(seen: &Seen) -> Option<String> {
    let value = seen.headers.get("authorization")?.to_str().unwrap();
    value.strip_prefix("Bearer ").map(str::to_owned)
}

/// The decoded pairs of a query or a form, sorted.
pub(crate) fn pairs(text: &str) -> Vec<String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    let mut pairs: Vec<_> = url
        .query_pairs()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.sort();
    pairs
}

pub(crate) fn query(seen: &Seen) -> Vec<String> {
    pairs(seen.uri.query().unwrap_or_default())
}

pub(crate) fn form(seen: &Seen) -> Vec<String> {
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
    pairs(std::str::from_utf8(&seen.body).unwrap())
}

pub(crate) fn unauthorized(challenge: &str) -> FakeAnswer {
    answer(401, &[("www-authenticate", challenge)], "")
}

/// A token server that numbers its tokens: `t1`, `t2`, …
pub(crate) async fn numbering(life: u32) -> Fake {
    let count = AtomicUsize::new(0);
    fake(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Some(answer(
            200,
            &[],
            format!(r#"{{"token":"t{number}","expires_in":{life}}}"#),
        ))
    })
    .await
}

/// A registry that asks for tokens of `realm`, takes those that `takes` accepts, and then gives a small manifest, or
/// takes whatever comes.
pub(crate) async fn guarded(realm: &Fake, takes: impl Fn(&str) -> bool + Send + Sync + 'static) -> Fake {
    let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", realm.url("/token"));
    fake(move |seen| {
        Some(match bearer(seen) {
            Some(token) if takes(&token) => served(seen),
            _ => unauthorized(&challenge),
        })
    })
    .await
}

pub(crate) fn served(seen: &Seen) -> FakeAnswer {
    let is_blob = seen.uri.path().contains("/blobs/");
    match seen.method {
        Method::GET if !is_blob => manifest_answer(small().bytes(), &[]),
        Method::GET | Method::HEAD => answer(404, &[], ""),
        Method::POST => answer(202, &[("location", "/v2/a/blobs/uploads/1?state=x")], ""),
        Method::DELETE => answer(202, &[], ""),
        _ => answer(201, &[], ""),
    }
}

pub(crate) async fn read(remote: &Remote) {
    let found = remote.read_manifest(&tag("x")).await.unwrap();
    assert_eq!(found, Some(small()));
}

pub(crate) async fn refused(remote: &Remote) -> RepositoryError {
    remote.read_manifest(&tag("x")).await.unwrap_err()
}

#[track_caller]
pub(crate) fn assert_denied(error: &RepositoryError, expected: Denial, words: &str) {
    match error {
        RepositoryError::Denied { denial, detail, .. } => {
            assert_eq!(*denial, expected, "{error}");
            assert!(detail.contains(words), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
