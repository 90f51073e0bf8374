//! Tokens: what a registry asks for, what a token server is asked, and who gets to see what.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::{Digest, RepositoryName};
use cairn_registry::client::{
    Basic, Client, ClientConfig, Credential, Credentials, CredentialsError, Identity, Login, LoginError,
    Remote, Secret,
};
use cairn_store::error::Denial;
use cairn_store::{Condition, Repository, RepositoryError, Written, from_bytes};
use http::Method;
use support::{Fake, FakeAnswer, Seen, answer, chain, config, endless, fake, manifest_answer, small, tag};

/// Credentials of any kind for one host.
#[derive(Debug)]
struct Only(String, Credential);

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

fn password() -> Credential {
    Credential::Basic(Basic {
        user: "ann".to_owned(),
        secret: "pass-sentinel".to_owned(),
    })
}

fn identity() -> Credential {
    Credential::Identity(Identity {
        user: String::new(),
        token: Secret::new("refresh-sentinel"),
    })
}

fn as_credential(host: &str, credential: Credential) -> Client {
    Client::new(ClientConfig {
        credentials: Arc::new(Only(host.to_owned(), credential)),
        ..config()
    })
}

fn with(host: &str, credential: Credential) -> Remote {
    let client = as_credential(host, credential);
    client.repository(host, "a".parse().unwrap()).unwrap()
}

fn anonymous(host: &str) -> Remote {
    support::remote(host, "a")
}

/// `user:secret` of a request, if it has any.
fn basic(seen: &Seen) -> Option<String> {
    use base64::Engine as _;
    let value = seen.headers.get("authorization")?.to_str().unwrap();
    let encoded = value.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    Some(String::from_utf8(decoded).unwrap())
}

fn bearer(seen: &Seen) -> Option<String> {
    let value = seen.headers.get("authorization")?.to_str().unwrap();
    value.strip_prefix("Bearer ").map(str::to_owned)
}

/// The decoded pairs of a query or a form, sorted.
fn pairs(text: &str) -> Vec<String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    let mut pairs: Vec<_> = url
        .query_pairs()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.sort();
    pairs
}

fn query(seen: &Seen) -> Vec<String> {
    pairs(seen.uri.query().unwrap_or_default())
}

fn form(seen: &Seen) -> Vec<String> {
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
    pairs(std::str::from_utf8(&seen.body).unwrap())
}

fn unauthorized(challenge: &str) -> FakeAnswer {
    answer(401, &[("www-authenticate", challenge)], "")
}

/// A token server that numbers its tokens: `t1`, `t2`, …
async fn numbering(life: u32) -> Fake {
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
async fn guarded(realm: &Fake, takes: impl Fn(&str) -> bool + Send + Sync + 'static) -> Fake {
    let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", realm.url("/token"));
    fake(move |seen| {
        Some(match bearer(seen) {
            Some(token) if takes(&token) => served(seen),
            _ => unauthorized(&challenge),
        })
    })
    .await
}

fn served(seen: &Seen) -> FakeAnswer {
    let is_blob = seen.uri.path().contains("/blobs/");
    match seen.method {
        Method::GET if !is_blob => manifest_answer(small().bytes(), &[]),
        Method::GET | Method::HEAD => answer(404, &[], ""),
        Method::POST => answer(202, &[("location", "/v2/a/blobs/uploads/1?state=x")], ""),
        Method::DELETE => answer(202, &[], ""),
        _ => answer(201, &[], ""),
    }
}

async fn read(remote: &Remote) {
    let found = remote.read_manifest(&tag("x")).await.unwrap();
    assert_eq!(found, Some(small()));
}

async fn refused(remote: &Remote) -> RepositoryError {
    remote.read_manifest(&tag("x")).await.unwrap_err()
}

#[track_caller]
fn assert_denied(error: &RepositoryError, expected: Denial, words: &str) {
    match error {
        RepositoryError::Denied { denial, detail, .. } => {
            assert_eq!(*denial, expected, "{error}");
            assert!(detail.contains(words), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_had_for_a_password_and_used_until_it_ends() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |token| token == "t1").await;
    let remote = with(&server.host(), password());
    read(&remote).await;
    read(&remote).await;
    let asked = realm.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].method, Method::GET);
    assert_eq!(basic(&asked[0]).as_deref(), Some("ann:pass-sentinel"));
    assert_eq!(
        query(&asked[0]),
        ["account=ann", "scope=repository:a:pull", "service=reg"]
    );
    let seen = server.seen();
    assert_eq!(seen.len(), 3, "asked once without, and never again");
    assert!(
        seen.iter().all(|seen| basic(seen).is_none()),
        "the registry never sees the password"
    );
}

#[tokio::test]
async fn nobody_gets_a_token_too() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |_| true).await;
    read(&anonymous(&server.host())).await;
    assert_eq!(
        query(&realm.seen()[0]),
        ["scope=repository:a:pull", "service=reg"]
    );
    assert!(!realm.seen()[0].is_authorized());
}

#[tokio::test]
async fn the_realms_own_query_is_kept_and_a_missing_service_left_out() {
    let realm = numbering(300).await;
    let challenge = format!("bearer realm=\"{}\"", realm.url("/token?a=b%26c"));
    let server = fake(move |seen| {
        Some(match bearer(seen) {
            Some(_) => served(seen),
            None => unauthorized(&challenge),
        })
    })
    .await;
    read(&anonymous(&server.host())).await;
    assert_eq!(query(&realm.seen()[0]), ["a=b&c", "scope=repository:a:pull"]);
}

#[tokio::test]
async fn access_token_is_as_good_as_token() {
    for body in [
        r#"{"access_token":"t1"}"#,
        r#"{"token":"","access_token":"t1"}"#,
        r#"{"token":"t1","access_token":"t1","issued_at":"not a time","expires_in":"7"}"#,
    ] {
        let realm = fake(move |_| Some(answer(200, &[], body))).await;
        let server = guarded(&realm, |token| token == "t1").await;
        read(&with(&server.host(), password())).await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    // A life of less than a second is over when the next request is made, or it is not; both must work. One of 0.0001
    // seconds is over.
    let count = AtomicUsize::new(0);
    let realm = fake(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Some(answer(
            200,
            &[],
            format!(r#"{{"token":"t{number}","expires_in":0.0001}}"#),
        ))
    })
    .await;
    let server = guarded(&realm, |_| true).await;
    let remote = with(&server.host(), password());
    for _ in 0..3 {
        read(&remote).await;
    }
    assert_eq!(realm.seen().len(), 3);
    assert_eq!(
        server.seen().len(),
        4,
        "only the first request goes without a token"
    );
}

#[tokio::test]
async fn a_late_401_gets_a_new_token_and_the_same_request() {
    let realm = numbering(300).await;
    let refusals = AtomicUsize::new(0);
    let server = guarded(&realm, move |token| match token {
        // The first token is taken twice, and then no more, although it still lives.
        "t1" => refusals.fetch_add(1, Ordering::SeqCst) < 1,
        token => token == "t2",
    })
    .await;
    let remote = with(&server.host(), password());
    read(&remote).await;
    let manifest = small();
    remote
        .write_manifest(&tag("x"), &manifest, &Condition::Always)
        .await
        .unwrap();
    let seen = server.seen();
    let written = seen.last().unwrap();
    assert_eq!(written.method, Method::PUT);
    assert_eq!(written.body, *manifest.bytes());
    assert_eq!(bearer(written).as_deref(), Some("t2"));
}

#[tokio::test]
async fn an_upload_is_sent_again_after_a_late_401() {
    let realm = numbering(300).await;
    let challenge = format!("Bearer realm=\"{}\"", realm.url("/token"));
    let server = fake(move |seen| {
        Some(match (bearer(seen).as_deref(), &seen.method) {
            // The second token, which is for writing, ends between the beginning of an upload and its content.
            (Some("t2"), &Method::PUT) | (None, _) => unauthorized(&challenge),
            _ => served(seen),
        })
    })
    .await;
    let remote = with(&server.host(), password());
    let digest = Digest::of(b"content");
    let content = Box::pin(futures_util::stream::iter(
        [&b"con"[..], b"tent"].map(|piece| Ok(piece.into())),
    ));
    let written = remote.write_blob(&digest, 7, content).await.unwrap();
    assert_eq!(written, Written::New);
    let puts: Vec<Seen> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.method == Method::PUT)
        .collect();
    assert!(
        puts.iter()
            .all(|put| put.body == "content" && put.headers["content-length"] == "7")
    );
    assert_eq!(puts.iter().filter_map(bearer).collect::<Vec<_>>(), ["t2", "t3"]);
    // What went in vain counts.
    assert_eq!(remote.traffic().uploaded_bytes, 14);
}

#[tokio::test]
async fn a_large_upload_that_a_token_did_not_outlive_was_not_done() {
    let realm = numbering(300).await;
    let challenge = format!("Bearer realm=\"{}\"", realm.url("/token"));
    let server = fake(move |seen| {
        Some(match (bearer(seen).as_deref(), &seen.method) {
            (Some("t2"), &Method::PUT) | (None, _) => unauthorized(&challenge),
            _ => served(seen),
        })
    })
    .await;
    let remote = with(&server.host(), password());
    let large = vec![7_u8; 5 << 20];
    let content = || {
        let pieces: Vec<_> = large
            .chunks(1 << 16)
            .map(|piece| Ok(piece.to_vec().into()))
            .collect();
        Box::pin(futures_util::stream::iter(pieces))
    };
    let digest = Digest::of(&large);
    let error = remote.write_blob(&digest, 5 << 20, content()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error:?}");
    assert!(chain(&error).contains("nothing was written"), "{}", chain(&error));
    // The next attempt has a new token.
    let written = remote.write_blob(&digest, 5 << 20, content()).await.unwrap();
    assert_eq!(written, Written::New);
}

#[tokio::test]
async fn a_401_that_never_ends_is_an_error() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |_| false).await;
    let remote = with(&server.host(), password());
    let error = refused(&remote).await;
    assert_denied(&error, Denial::Insufficient, "401");
    assert_eq!((realm.seen().len(), server.seen().len()), (1, 2));
    // And so is one that asks for more each time.
    let count = AtomicUsize::new(0);
    let url = realm.url("/token");
    let server = fake(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        Some(unauthorized(&format!(
            "Bearer realm=\"{url}\",scope=\"repository:{number}:pull\""
        )))
    })
    .await;
    let error = refused(&with(&server.host(), password())).await;
    assert_denied(&error, Denial::Insufficient, "401");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn scopes_of_challenges_are_merged_and_remembered() {
    let realm = numbering(300).await;
    let url = realm.url("/token");
    let server = fake(move |seen| {
        let scope = match seen.method {
            Method::DELETE => "repository:a:pull,*",
            _ => "repository:a:pull registry:quota:read",
        };
        let wanted = if seen.method == Method::DELETE { "t2" } else { "t1" };
        let is_good = bearer(seen).as_deref() == Some(wanted);
        Some(match is_good {
            true => served(seen),
            false => unauthorized(&format!("Bearer realm=\"{url}\",scope=\"{scope}\"")),
        })
    })
    .await;
    let remote = with(&server.host(), password());
    read(&remote).await;
    read(&remote).await;
    assert_eq!(server.seen().len(), 3);
    // What a deletion is called is the registry's business.
    assert!(remote.delete_tag(&"x".parse().unwrap()).await.unwrap());
    assert!(remote.delete_tag(&"y".parse().unwrap()).await.unwrap());
    let asked: Vec<_> = realm.seen().iter().map(query).collect();
    assert_eq!(
        asked,
        [
            vec![
                "account=ann",
                "scope=registry:quota:read",
                "scope=repository:a:pull"
            ],
            vec!["account=ann", "scope=repository:a:*,pull"],
        ]
    );
}

#[tokio::test]
async fn a_403_that_names_a_wider_scope_is_a_challenge() {
    let realm = numbering(300).await;
    let url = realm.url("/token");
    let server = fake(move |seen| {
        let challenge =
            format!("Bearer realm=\"{url}\",error=\"insufficient_scope\",scope=\"repository:a:pull,audit\"");
        Some(match bearer(seen).as_deref() {
            None => unauthorized(&format!("Bearer realm=\"{url}\"")),
            Some("t2") if seen.method == Method::GET => served(seen),
            Some(_) => answer(403, &[("www-authenticate", &challenge)], ""),
        })
    })
    .await;
    let remote = with(&server.host(), password());
    read(&remote).await;
    assert_eq!(query(&realm.seen()[1])[1], "scope=repository:a:audit,pull");
    // It ends where the wider one does not suffice either.
    let error = remote.stat_manifest(&tag("x")).await.unwrap_err();
    assert_denied(&error, Denial::Insufficient, "403");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_deletion_asks_for_delete_where_the_challenge_says_nothing() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |_| true).await;
    let remote = with(&server.host(), password());
    assert!(remote.delete_tag(&"x".parse().unwrap()).await.unwrap());
    assert_eq!(
        query(&realm.seen()[0]),
        ["account=ann", "scope=repository:a:delete", "service=reg"]
    );
}

#[tokio::test]
async fn writes_ask_to_push_and_pull_and_mounts_to_pull_there() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |_| true).await;
    let remote = with(&server.host(), password());
    remote
        .write_manifest(&tag("x"), &small(), &Condition::Always)
        .await
        .unwrap();
    // A token that is good for writing is good for reading.
    read(&remote).await;
    assert!(
        !remote
            .mount_blob(&Digest::of(b"x"), &"b".parse().unwrap())
            .await
            .unwrap()
    );
    let asked: Vec<_> = realm.seen().iter().map(query).collect();
    assert_eq!(
        asked,
        [
            vec!["account=ann", "scope=repository:a:pull,push", "service=reg"],
            vec![
                "account=ann",
                "scope=repository:a:pull,push",
                "scope=repository:b:pull",
                "service=reg"
            ],
        ]
    );
}

#[tokio::test]
async fn a_mount_from_where_nobody_may_read_is_none() {
    let realm = fake(|seen| {
        let foreign = seen.uri.query().unwrap_or_default().contains("repository%3Ab");
        Some(match foreign {
            true => answer(403, &[], ""),
            false => answer(200, &[], r#"{"token":"t"}"#),
        })
    })
    .await;
    let server = guarded(&realm, |_| true).await;
    let remote = with(&server.host(), password());
    assert!(
        !remote
            .mount_blob(&Digest::of(b"x"), &"b".parse().unwrap())
            .await
            .unwrap()
    );
    let written = remote
        .write_blob(&Digest::of(b"x"), 1, from_bytes(&b"x"[..]))
        .await;
    assert_eq!(written.unwrap(), Written::New);
}

#[tokio::test]
async fn requests_at_once_share_one_token() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |_| true).await;
    let remote = with(&server.host(), password());
    let reads = (0..16).map(|_| read(&remote));
    futures_util::future::join_all(reads).await;
    assert_eq!(realm.seen().len(), 1);
}

#[tokio::test]
async fn each_repository_has_a_token_of_its_own() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |_| true).await;
    let client = as_credential(&server.host(), password());
    for name in ["a", "team/b", "a"] {
        read(&client.repository(&server.host(), name.parse().unwrap()).unwrap()).await;
    }
    let scopes: Vec<_> = realm.seen().iter().map(|seen| query(seen)[1].clone()).collect();
    assert_eq!(
        scopes,
        ["scope=repository:a:pull", "scope=repository:team/b:pull"]
    );
    assert_eq!(server.seen().len(), 4, "the second repository is not asked how");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post_and_may_change() {
    let count = AtomicUsize::new(0);
    let realm = fake(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let body =
            format!(r#"{{"access_token":"t{number}","refresh_token":"next-{number}","expires_in":0.0001}}"#);
        Some(answer(200, &[], body))
    })
    .await;
    let server = guarded(&realm, |_| true).await;
    let remote = with(&server.host(), identity());
    read(&remote).await;
    read(&remote).await;
    let asked = realm.seen();
    assert!(
        asked
            .iter()
            .all(|seen| seen.method == Method::POST && !seen.is_authorized())
    );
    assert_eq!(
        form(&asked[0]),
        [
            "client_id=cairn",
            "grant_type=refresh_token",
            "refresh_token=refresh-sentinel",
            "scope=repository:a:pull",
            "service=reg"
        ]
    );
    assert!(form(&asked[1]).contains(&"refresh_token=next-1".to_owned()));
}

#[tokio::test]
async fn scopes_are_repeated_in_a_query_and_joined_in_a_form() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |_| true).await;
    let remote = with(&server.host(), identity());
    read(&remote).await;
    remote
        .mount_blob(&Digest::of(b"x"), &"b".parse().unwrap())
        .await
        .unwrap();
    let scope = "scope=repository:a:pull,push repository:b:pull";
    assert!(form(&realm.seen()[1]).contains(&scope.to_owned()));
}

#[tokio::test]
async fn ghcr_refuses_a_token_for_a_moment() {
    let count = AtomicUsize::new(0);
    let realm = fake(move |_| {
        Some(match count.fetch_add(1, Ordering::SeqCst) {
            0 => answer(403, &[], r#"{"errors":[{"code":"DENIED","message":"denied"}]}"#),
            _ => answer(200, &[], r#"{"token":"t"}"#),
        })
    })
    .await;
    let server = guarded(&realm, |_| true).await;
    read(&with(&server.host(), password())).await;
    assert_eq!(realm.seen().len(), 2);
}

#[tokio::test]
async fn c3_a_registry_that_wants_more_each_time_is_not_remembered_for_ever() {
    let realm = numbering(300).await;
    let url = realm.url("/token");
    let count = AtomicUsize::new(0);
    let server = fake(move |_| {
        let scope = format!(
            "{}:{}:pull",
            "x".repeat(1000),
            count.fetch_add(1, Ordering::SeqCst)
        );
        Some(unauthorized(&format!("Bearer realm=\"{url}\",scope=\"{scope}\"")))
    })
    .await;
    let remote = with(&server.host(), password());
    for _ in 0..10 {
        refused(&remote).await;
    }
    let longest = realm.seen().iter().map(|seen| seen.uri.to_string().len()).max();
    assert!(longest < Some(16 << 10), "{longest:?}");
}

#[tokio::test]
async fn a_server_without_post_is_asked_by_get() {
    // As they are known to say it: 404 (GCR), 401 (Artifactory), 400 (ACR), 405.
    for status in [400, 401, 404, 405] {
        let realm = fake(move |seen| {
            Some(match seen.method {
                Method::POST => answer(status, &[], ""),
                _ => answer(200, &[], r#"{"token":"t"}"#),
            })
        })
        .await;
        let server = guarded(&realm, |_| true).await;
        read(&with(&server.host(), identity())).await;
        assert_eq!(
            basic(&realm.seen()[1]).as_deref(),
            Some(":refresh-sentinel"),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_server_without_get_is_asked_by_post() {
    for status in [404, 405] {
        let realm = fake(move |seen| {
            Some(match seen.method {
                Method::GET => answer(status, &[], ""),
                _ => answer(200, &[], r#"{"access_token":"t"}"#),
            })
        })
        .await;
        let server = guarded(&realm, |_| true).await;
        read(&with(&server.host(), password())).await;
        assert_eq!(
            form(&realm.seen()[1]),
            [
                "client_id=cairn",
                "grant_type=password",
                "password=pass-sentinel",
                "scope=repository:a:pull",
                "service=reg",
                "username=ann"
            ]
        );
    }
}

#[tokio::test]
async fn a_token_for_the_registry_itself_is_sent_as_it_is() {
    let realm = numbering(300).await;
    let server = guarded(&realm, |token| token == "registry-sentinel").await;
    let remote = with(
        &server.host(),
        Credential::Token(Secret::new("registry-sentinel")),
    );
    read(&remote).await;
    assert_eq!(realm.seen().len(), 0);
    let server = guarded(&realm, |_| false).await;
    let remote = with(
        &server.host(),
        Credential::Token(Secret::new("registry-sentinel")),
    );
    assert_denied(&refused(&remote).await, Denial::NotAccepted, "401");
    assert_eq!((realm.seen().len(), server.seen().len()), (0, 2));
}

#[tokio::test]
async fn bearer_goes_before_basic_and_basic_is_there_if_the_realm_is_not_asked() {
    let realm = numbering(300).await;
    for (bearer_realm, password_sent) in [(realm.url("/t"), false), ("http://192.0.2.1/t".to_owned(), true)] {
        let challenge = format!("Basic realm=\"x\", Bearer realm=\"{bearer_realm}\"");
        let server = fake(move |seen| {
            Some(match seen.is_authorized() {
                true => served(seen),
                false => answer(
                    401,
                    &[
                        ("www-authenticate", "Negotiate"),
                        ("www-authenticate", &challenge),
                    ],
                    "",
                ),
            })
        })
        .await;
        read(&with(&server.host(), password())).await;
        assert_eq!(
            server.seen().iter().any(|seen| basic(seen).is_some()),
            password_sent
        );
    }
}

#[tokio::test]
async fn a_401_without_a_challenge_gets_the_password_once() {
    let server = fake(|seen| {
        Some(match basic(seen) {
            Some(_) => served(seen),
            None => answer(401, &[], ""),
        })
    })
    .await;
    read(&with(&server.host(), password())).await;
    let error = refused(&anonymous(&server.host())).await;
    assert_denied(&error, Denial::NoCredentials, "without saying how");
    let server = fake(|_| Some(answer(401, &[], ""))).await;
    let error = refused(&with(&server.host(), password())).await;
    assert_denied(&error, Denial::NotAccepted, "without saying how");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_scheme_that_nobody_knows_is_named() {
    let server = fake(|_| Some(unauthorized("Negotiate, Kerberos\x09x=y"))).await;
    let error = refused(&with(&server.host(), password())).await;
    assert_denied(&error, Denial::NoCredentials, "negotiate, kerberos");
    assert!(server.seen().iter().all(|seen| !seen.is_authorized()));
}

#[tokio::test]
async fn each_denial_says_which_one_it_is() {
    let realm = numbering(300).await;
    let forbidden = fake(|seen| {
        let body = r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#;
        Some(match seen.is_authorized() {
            true => answer(403, &[], body),
            false => unauthorized("Basic"),
        })
    })
    .await;
    let error = refused(&with(&forbidden.host(), password())).await;
    assert_denied(&error, Denial::Insufficient, "not for you");
    assert!(
        error.to_string().contains(&forbidden.host()) && error.to_string().contains("/a "),
        "{error}"
    );
    let locked = fake(|_| Some(unauthorized("Basic"))).await;
    assert_denied(
        &refused(&with(&locked.host(), password())).await,
        Denial::NotAccepted,
        "401",
    );
    assert_denied(
        &refused(&anonymous(&locked.host())).await,
        Denial::NoCredentials,
        "401",
    );
    let private = guarded(&realm, |_| false).await;
    assert_denied(
        &refused(&anonymous(&private.host())).await,
        Denial::NoCredentials,
        "401",
    );
    assert_denied(
        &refused(&with(&private.host(), password())).await,
        Denial::Insufficient,
        "401",
    );
    for (status, denial) in [
        (401, Denial::NotAccepted),
        (400, Denial::NotAccepted),
        (403, Denial::Insufficient),
    ] {
        let realm = fake(move |_| Some(answer(status, &[], r#"{"details":"wrong password"}"#))).await;
        let server = guarded(&realm, |_| true).await;
        let error = refused(&with(&server.host(), password())).await;
        assert_denied(&error, denial, &format!("{} answers {status}", realm.host()));
        assert_denied(&error, denial, "wrong password");
        assert_denied(
            &refused(&anonymous(&server.host())).await,
            Denial::NoCredentials,
            "answers",
        );
    }
}

#[tokio::test]
async fn a_token_server_that_is_down_is_not_a_wrong_password() {
    let down = fake(|_| Some(answer(503, &[], ""))).await;
    let server = guarded(&down, |_| true).await;
    let error = refused(&with(&server.host(), password())).await;
    assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error:?}");
    assert!(chain(&error).contains(&down.host()), "{}", chain(&error));
    assert_eq!(down.seen().len(), 3, "as often as any request");
    let gone = fake(|_| None).await;
    let server = guarded(&gone, |_| true).await;
    let written = with(&server.host(), password())
        .write_manifest(&tag("x"), &small(), &Condition::Always)
        .await;
    // Nothing was written without a token: this is known.
    let error = written.unwrap_err();
    assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn c3_endless_and_senseless_answers_of_token_servers_are_refused() {
    for (number, body) in [
        "",
        "[]",
        "{}",
        r#"{"token":7}"#,
        r#"{"token":""}"#,
        r#"{"token":"a","token":"b"}"#,
        "{\"token\":\"a\\u0000b\"}",
        "<html>pass-sentinel</html>",
    ]
    .into_iter()
    .enumerate()
    {
        let realm = fake(move |_| Some(answer(200, &[], body))).await;
        let server = guarded(&realm, |_| true).await;
        let error = refused(&with(&server.host(), password())).await;
        assert!(
            matches!(error, RepositoryError::Protocol { .. }),
            "{number}: {error:?}"
        );
        assert!(!chain(&error).contains("sentinel"));
    }
    for status in [200, 401] {
        let realm = fake(move |_| Some(endless(status, &[]))).await;
        let server = guarded(&realm, |_| true).await;
        let error = refused(&with(&server.host(), password())).await;
        let is_right = match status {
            200 => matches!(error, RepositoryError::Protocol { .. }),
            _ => matches!(error, RepositoryError::Denied { .. }),
        };
        assert!(is_right, "{error:?}");
    }
}

#[tokio::test]
async fn c13_a_realm_that_is_not_safe_gets_no_credentials() {
    for realm in [
        "",
        "token",
        "http://192.0.2.1/token",
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/token",
        "https://user:secret@127.0.0.1:1/token",
        "file:///etc/passwd",
    ] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let server = fake(move |_| Some(unauthorized(&challenge))).await;
        let error = refused(&with(&server.host(), password())).await;
        assert!(
            matches!(&error, RepositoryError::Protocol { detail, .. } if detail.contains("no token can be had")),
            "{realm}: {error:?}"
        );
        assert!(!chain(&error).contains("secret"), "{error}");
        assert_eq!(server.seen().len(), 1);
        assert!(!server.seen()[0].is_authorized());
    }
}

#[tokio::test]
async fn c13_a_token_server_that_redirects_elsewhere_is_not_followed() {
    let stranger = numbering(300).await;
    for status in [302, 307] {
        let to = stranger.url("/token");
        let realm = fake(move |_| Some(answer(status, &[("location", &to)], ""))).await;
        let server = guarded(&realm, |_| true).await;
        for credential in [password(), identity()] {
            refused(&with(&server.host(), credential)).await;
        }
        refused(&anonymous(&server.host())).await;
    }
    assert_eq!(stranger.seen().len(), 0);
    // Within the server it is.
    let realm = fake(|seen| {
        Some(match seen.uri.path() {
            "/token" => answer(307, &[("location", "/auth/token?x=y")], ""),
            _ if basic(seen).is_some() => answer(200, &[], r#"{"token":"t"}"#),
            _ => answer(401, &[], ""),
        })
    })
    .await;
    let server = guarded(&realm, |_| true).await;
    read(&with(&server.host(), password())).await;
}

#[tokio::test]
async fn c14_c15_tokens_go_to_the_registry_alone() {
    let realm = numbering(300).await;
    let storage = fake(|seen| Some(served(seen))).await;
    let url = realm.url("/token");
    let (blob, session) = (storage.url("/blob"), storage.url("/session"));
    let server = fake(move |seen| {
        Some(match (bearer(seen).is_some(), &seen.method) {
            (false, _) => unauthorized(&format!("Bearer realm=\"{url}\"")),
            (_, &Method::GET) => answer(307, &[("location", &blob)], ""),
            (_, &Method::POST) => answer(202, &[("location", &session)], ""),
            _ => answer(404, &[], ""),
        })
    })
    .await;
    let remote = with(&server.host(), password());
    read(&remote).await;
    let written = remote
        .write_blob(&Digest::of(b"x"), 1, from_bytes(&b"x"[..]))
        .await;
    assert_eq!(written.unwrap(), Written::New);
    assert_eq!(storage.seen().len(), 2);
    assert!(storage.seen().iter().all(|seen| !seen.is_authorized()));
    assert!(server.seen().iter().all(|seen| basic(seen).is_none()));
}

#[tokio::test]
async fn c14_a_redirect_to_somebody_who_refuses_is_said() {
    let stranger = fake(|_| Some(unauthorized("Basic realm=\"give me all\""))).await;
    let to = stranger.url("/x");
    let server = fake(move |_| Some(answer(302, &[("location", &to)], ""))).await;
    let error = refused(&with(&server.host(), password())).await;
    assert_denied(&error, Denial::Elsewhere, "401 from 127.0.0.1");
    assert!(stranger.seen().iter().all(|seen| !seen.is_authorized()));
}

#[tokio::test]
async fn h6_what_servers_repeat_of_secrets_is_not_shown() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode("ann:pass-sentinel");
    let words = format!("bad: pass-sentinel {encoded}");
    let realm = fake(move |seen| {
        let form = std::str::from_utf8(&seen.body).unwrap();
        let words = format!("bad: {:?} {form}", basic(seen));
        Some(answer(401, &[], words))
    })
    .await;
    let server = guarded(&realm, |_| true).await;
    let mut errors = vec![
        refused(&with(&server.host(), password())).await,
        refused(&with(&server.host(), identity())).await,
    ];
    let body = words.clone();
    let server = fake(move |_| Some(answer(401, &[("www-authenticate", "Basic")], body.clone()))).await;
    errors.push(refused(&with(&server.host(), password())).await);
    let realm = fake(|_| Some(answer(200, &[], r#"{"token":"t1-sentinel"}"#))).await;
    let url = realm.url("/t");
    let server = fake(move |seen| {
        let echoed = format!("you sent {:?}", bearer(seen));
        Some(answer(
            401,
            &[("www-authenticate", &format!("Bearer realm=\"{url}\""))],
            echoed,
        ))
    })
    .await;
    let remote = with(&server.host(), password());
    errors.push(refused(&remote).await);
    for (number, secret) in [
        "pass-sentinel",
        "refresh-sentinel",
        "pass-sentinel",
        "t1-sentinel",
    ]
    .into_iter()
    .enumerate()
    {
        let error = &errors[number];
        let text = format!("{} {error:?}", chain(error));
        assert!(!text.contains(secret) && !text.contains(&encoded[..12]), "{text}");
        assert!(text.contains('…'), "{text}");
    }
    assert!(!format!("{remote:?}").contains("sentinel"));
    let client = as_credential(&server.host(), password());
    let remote = client.repository(&server.host(), "a".parse().unwrap()).unwrap();
    refused(&remote).await;
    let shown = format!("{client:?}");
    assert!(
        shown.contains("Authorizer") && !shown.contains("sentinel"),
        "{shown}"
    );
}

async fn sign_in(host: &str) -> Result<Login, LoginError> {
    Client::new(config()).login(host, password()).await
}

#[tokio::test]
async fn a_login_asks_whether_the_credentials_are_good() {
    let pong = |seen: &Seen| {
        assert_eq!(seen.line(), "GET /v2/");
        answer(200, &[], "{}")
    };
    let open = fake(move |seen| Some(pong(seen))).await;
    assert_eq!(sign_in(&open.host()).await.unwrap(), Login::NotAsked);
    assert!(!open.seen()[0].is_authorized());

    let locked = fake(move |seen| {
        Some(match basic(seen).as_deref() {
            Some("ann:pass-sentinel") => pong(seen),
            _ => unauthorized("Basic realm=\"x\""),
        })
    })
    .await;
    assert_eq!(sign_in(&locked.host()).await.unwrap(), Login::Accepted);

    let realm = numbering(300).await;
    let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", realm.url("/token"));
    let guarded = fake(move |seen| {
        Some(match bearer(seen) {
            Some(_) => pong(seen),
            None => unauthorized(&challenge),
        })
    })
    .await;
    assert_eq!(sign_in(&guarded.host()).await.unwrap(), Login::Accepted);
    assert_eq!(query(&realm.seen()[0]), ["account=ann", "service=reg"]);
}

#[tokio::test]
async fn a_login_that_is_none_says_why() {
    let locked = fake(|_| Some(unauthorized("Basic realm=\"x\""))).await;
    match sign_in(&locked.host()).await {
        Err(LoginError::Registry(error)) => assert_denied(&error, Denial::NotAccepted, "401"),
        other => panic!("{other:?}"),
    }
    let strict = fake(|_| {
        Some(answer(
            401,
            &[],
            r#"{"details":"incorrect username or password"}"#,
        ))
    })
    .await;
    let server = guarded(&strict, |_| true).await;
    match sign_in(&server.host()).await {
        Err(LoginError::Registry(error)) => assert_denied(&error, Denial::NotAccepted, "incorrect username"),
        other => panic!("{other:?}"),
    }
    let site = fake(|_| Some(answer(404, &[], "<html>"))).await;
    let outcome = sign_in(&site.host()).await;
    assert!(
        matches!(outcome, Err(LoginError::NotARegistry { status: 404, .. })),
        "{outcome:?}"
    );
    let outcome = sign_in("https://registry.example.org").await;
    assert!(matches!(outcome, Err(LoginError::Client(_))), "{outcome:?}");
}
