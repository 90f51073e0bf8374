//! What a registry that refuses is answered, what is said about it, and what a login is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use cairn_registry::client::{Client, Credential, Login, LoginError, Secret};
use cairn_store::error::Denial;
use support::tokens::{
    anonymous, as_credential, assert_denied, basic, bearer, guarded, identity, numbering, password, query,
    read, refused, served, unauthorized, with,
};
use support::{Seen, answer, chain, config, fake};

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
