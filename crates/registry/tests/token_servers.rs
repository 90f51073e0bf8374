//! Token servers: what they are asked, what they may answer, and which are not asked at all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::Digest;
use cairn_store::{Condition, Repository, RepositoryError};
use http::Method;
use support::tokens::{
    anonymous, basic, bearer, form, guarded, identity, numbering, password, query, read, refused, served,
    unauthorized, with,
};
use support::{answer, chain, endless, fake, small, tag};

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
