//! Where the client goes, and what it takes along: credentials are for one host, plain HTTP for this machine.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::{Digest, RepositoryName};
use cairn_registry::client::{Client, ClientConfig, ClientError};
use cairn_registry::server::{BasicAuth, PasswordList, ServerConfig};
use cairn_store::{Condition, Memory, Page, Repository, RepositoryError, Target, Written, from_bytes};
use http::Method;
use support::{
    Account, Running, answer, chain, config, fake, image, locked, manifest_answer, proxy, remote, small, tag,
    with_account,
};

#[tokio::test]
async fn c14_redirects_strip_credentials_and_do_not_restore_them() {
    let manifest = small();
    let target = Target::Digest(manifest.digest());
    let bytes = manifest.bytes().clone();
    let storage = fake(move |_| Some(manifest_answer(&bytes, &[]))).await;
    let to = storage.url("/signed?x=1");
    let server = locked(move |_| answer(307, &[("location", &to)], "")).await;
    let read = with_account(&server.host()).read_manifest(&target).await.unwrap();
    assert_eq!(read.unwrap(), manifest);
    assert_eq!(storage.seen().len(), 1);
    assert!(!storage.seen()[0].is_authorized());
    assert!(server.seen().last().unwrap().is_authorized());

    // A → B → A: on the way back there are none either.
    let back = Arc::new(std::sync::OnceLock::<String>::new());
    let there = Arc::clone(&back);
    let bouncer = fake(move |_| Some(answer(307, &[("location", there.get().unwrap())], ""))).await;
    let out = bouncer.url("/out");
    let server = fake(move |seen| {
        Some(match (seen.uri.path(), seen.is_authorized()) {
            ("/back", _) => answer(404, &[], ""),
            (_, true) => answer(302, &[("location", &out)], ""),
            _ => answer(401, &[("www-authenticate", "Basic")], ""),
        })
    })
    .await;
    back.set(server.url("/back")).unwrap();
    assert_eq!(
        with_account(&server.host()).read_manifest(&target).await.unwrap(),
        None
    );
    let seen = server.seen();
    assert_eq!(seen.last().unwrap().uri.path(), "/back");
    assert!(!seen.last().unwrap().is_authorized());
}

#[tokio::test]
async fn c14_a_strangers_challenge_gets_nothing() {
    let stranger = fake(|_| Some(answer(401, &[("www-authenticate", "Basic")], ""))).await;
    let to = stranger.url("/x");
    let server = fake(move |_| Some(answer(302, &[("location", &to)], ""))).await;
    let error = with_account(&server.host())
        .read_manifest(&tag("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Denied { .. }), "{error:?}");
    assert!(stranger.seen().iter().all(|seen| !seen.is_authorized()));
    assert!(server.seen().iter().all(|seen| !seen.is_authorized()));
}

#[tokio::test]
async fn c14_redirects_end() {
    let count = AtomicUsize::new(0);
    let server = fake(move |_| {
        let next = format!("/{}", count.fetch_add(1, Ordering::SeqCst));
        Some(answer(302, &[("location", &next)], ""))
    })
    .await;
    let error = remote(&server.host(), "a")
        .read_manifest(&tag("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Protocol { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn c15_an_upload_elsewhere_gets_no_credentials() {
    let storage = fake(|_| Some(answer(201, &[], ""))).await;
    let location = storage.url("/session?key=1");
    let server = locked(move |seen| match seen.method {
        Method::POST => answer(202, &[("location", &location)], ""),
        _ => answer(404, &[], ""),
    })
    .await;
    let remote = with_account(&server.host());
    let digest = Digest::of(b"abc");
    let written = remote
        .write_blob(&digest, 3, from_bytes(&b"abc"[..]))
        .await
        .unwrap();
    assert_eq!(written, Written::New);
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].is_authorized());
    let escaped = digest.to_string().replace(':', "%3A");
    assert_eq!(seen[0].line(), format!("PUT /session?key=1&digest={escaped}"));
    assert_eq!(seen[0].headers["content-length"], "3");
    assert_eq!(seen[0].body, "abc");
}

#[tokio::test]
async fn c15_a_next_page_elsewhere_is_refused() {
    let stranger = fake(|_| Some(answer(200, &[], r#"{"tags":["y"]}"#))).await;
    let other_host = stranger.url("/v2/a/tags/list?last=x");
    for target in [
        other_host,
        "//example.org/v2/a/tags/list".to_owned(),
        "/v2/b/tags/list".to_owned(),
        "/v2/a/tags/../../../x".to_owned(),
        format!("/v2/a/tags/list?last={}", "x".repeat(10_000)),
    ] {
        let link = format!("<{target}>; rel=next");
        let server = fake(move |_| Some(answer(200, &[("link", &link)], r#"{"tags":["x"]}"#))).await;
        let error = with_account(&server.host())
            .list_tags(&Page::first())
            .await
            .unwrap_err();
        assert!(
            matches!(error, RepositoryError::Protocol { .. }),
            "{target}: {error:?}"
        );
    }
    assert_eq!(stranger.seen().len(), 0);
}

#[tokio::test]
async fn h1_other_machines_are_not_spoken_to_without_tls() {
    // 192.0.2.0/24 is nobody's (RFC 5737): a connection would end in a timeout, not in this error.
    let server = fake(|seen| {
        let location = "http://192.0.2.1/x";
        Some(match seen.method {
            Method::POST => answer(202, &[("location", location)], ""),
            Method::HEAD => answer(404, &[], ""),
            _ => answer(307, &[("location", location)], ""),
        })
    })
    .await;
    let remote = remote(&server.host(), "a");
    let upload = remote
        .write_blob(&Digest::of(b"x"), 1, from_bytes(&b"x"[..]))
        .await;
    let read = remote.read_blob(&Digest::of(b"x"), None).await.map(drop);
    for error in [upload.map(drop).unwrap_err(), read.unwrap_err()] {
        assert!(
            matches!(&error, RepositoryError::Protocol { detail, .. } if detail.contains("plain HTTP")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn h4_only_hosts_are_hosts() {
    let client = Client::new(config());
    let name: RepositoryName = "a".parse().unwrap();
    for bad in [
        "",
        "registry",
        "http://127.0.0.1",
        "127.0.0.1/x",
        "user@127.0.0.1:1",
        "127.0.0.1:99999",
    ] {
        let error = client.repository(bad, name.clone()).unwrap_err();
        assert!(matches!(error, ClientError::Host { .. }), "{bad}");
    }
}

#[tokio::test]
async fn h4_credentials_are_for_one_host_and_port() {
    let server = locked(|_| answer(404, &[], "")).await;
    let other = format!("localhost:{}", server.address.port());
    let client = Client::new(ClientConfig {
        credentials: Arc::new(Account(server.host(), "ann", "sentinel")),
        ..config()
    });
    let remote = client.repository(&other, "a".parse().unwrap()).unwrap();
    let error = remote.read_manifest(&tag("x")).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Denied { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 1);
    assert!(server.seen().iter().all(|seen| !seen.is_authorized()));
    assert_eq!(
        with_account(&server.host())
            .read_manifest(&tag("x"))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn basic_credentials_are_sent_once_asked_for() {
    let passwords = [("ann".to_owned(), "sentinel".to_owned())].into();
    let server = Running::start(
        Arc::new(Memory::new()),
        ServerConfig {
            basic: Some(BasicAuth {
                realm: "cairn".to_owned(),
                accounts: Arc::new(PasswordList::new(&passwords)),
            }),
            ..ServerConfig::default()
        },
    )
    .await;
    let watched = proxy(server.address, |_| None, |_, _| {}).await;
    let remote = with_account(&watched.host());
    let manifest = image(&remote, "x").await;
    remote
        .write_manifest(&tag("x"), &manifest, &Condition::Seal)
        .await
        .unwrap();
    assert_eq!(remote.read_manifest(&tag("x")).await.unwrap(), Some(manifest));
    let strangers = watched.seen().iter().filter(|seen| !seen.is_authorized()).count();
    assert_eq!(strangers, 1, "only the first request goes without");
    let error = support::remote(&server.host(), "a")
        .capabilities()
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Denied { .. }), "{error:?}");
    let wrong = Client::new(ClientConfig {
        credentials: Arc::new(Account(server.host(), "ann", "secret-sentinel")),
        ..config()
    });
    let wrong = wrong.repository(&server.host(), "a".parse().unwrap()).unwrap();
    let error = wrong.read_manifest(&tag("x")).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Denied { .. }), "{error:?}");
    assert!(!format!("{error:?} {} {wrong:?}", chain(&error)).contains("sentinel"));
}
