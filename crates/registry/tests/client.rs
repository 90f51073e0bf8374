//! The client against servers that lie, break, and send it elsewhere.

mod support;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::{Digest, Manifest, RepositoryName, Tag, json, media_type};
use cairn_registry::client::{Client, ClientConfig, ClientError, Remote};
use cairn_registry::server::{BasicAuth, PasswordList, ServerConfig};
use cairn_store::{
    Condition, Memory, Page, RawManifest, Referrers, Repository, RepositoryError, Target, Written, collect,
    from_bytes, verified,
};
use http::Method;
use support::{Account, Fake, FakeAnswer, Running, Seen, answer, config, endless, image, proxy, raw, remote};

fn tag(text: &str) -> Target {
    Target::Tag(text.parse::<Tag>().unwrap())
}

fn with_account(host: &str) -> Remote {
    let credentials = Arc::new(Account(host.to_owned(), "ann", "sentinel"));
    let client = Client::new(ClientConfig {
        credentials,
        ..config()
    });
    client.repository(host, "a".parse().unwrap()).unwrap()
}

/// An answer that fits every request, as long as it is not looked at closely.
async fn fake(answers: impl Fn(&Seen) -> Option<FakeAnswer> + Send + Sync + 'static) -> Fake {
    Fake::start(move |seen| {
        let answer = answers(&seen);
        async move { answer }
    })
    .await
}

fn manifest_answer(bytes: &[u8], headers: &[(&str, &str)]) -> FakeAnswer {
    let mut all = vec![("content-type", media_type::MANIFEST)];
    all.extend(headers);
    answer(200, &all, bytes.to_vec())
}

fn small() -> RawManifest {
    raw(&Manifest::artifact("application/vnd.test", vec![]))
}

/// The text of an error and of everything behind it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[tokio::test]
async fn c1_content_must_have_its_digest() {
    let digest = small().digest();
    let other = Digest::of(b"other").to_string();
    let lying = other.clone();
    let server = fake(move |seen| match seen.uri.path() {
        "/v2/a/manifests/header" => Some(manifest_answer(
            small().bytes(),
            &[("docker-content-digest", &lying)],
        )),
        path if path.contains("/blobs/") && seen.method == Method::HEAD => Some(answer(
            200,
            &[("docker-content-digest", lying.as_str()), ("content-length", "3")],
            "",
        )),
        path if path.contains("/blobs/") => Some(answer(200, &[], "abd")),
        _ => Some(manifest_answer(b"{}", &[])),
    })
    .await;
    let remote = remote(&server.host(), "a");
    for target in [Target::Digest(digest), tag("header")] {
        let error = remote.read_manifest(&target).await.unwrap_err();
        assert!(matches!(error, RepositoryError::Digest { .. }), "{error:?}");
    }
    let error = remote.stat_blob(&Digest::of(b"abc")).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Digest { .. }), "{error:?}");
    let blob = remote
        .read_blob(&Digest::of(b"abc"), None)
        .await
        .unwrap()
        .unwrap();
    let read = collect(verified(blob.content, Digest::of(b"abc"), blob.size), 10).await;
    assert!(read.is_err());
}

#[tokio::test]
async fn c2_bodies_end_where_their_size_says() {
    let server = fake(|seen| match (seen.method.clone(), seen.uri.path()) {
        (Method::HEAD, _) => Some(answer(200, &[("content-length", "3")], "")),
        _ => Some(endless(200, &[])),
    })
    .await;
    let remote = remote(&server.host(), "a");
    let blob = remote
        .read_blob(&Digest::of(b"abc"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(blob.size, 3);
    // The limit is far away: it is the size that ends the reading.
    let error = collect(blob.content, u64::MAX).await.unwrap_err();
    assert!(
        chain(&error).contains("more content than was stated"),
        "{error:?}"
    );
    let before = remote.traffic().downloaded_bytes;
    assert!(before < 1 << 20, "{before} bytes were read of 3");
}

#[tokio::test]
async fn c2_negative_sizes_and_short_bodies_are_errors() {
    let server = fake(|seen| match seen.method {
        Method::HEAD => Some(answer(200, &[("content-length", "5")], "")),
        _ => {
            let pieces = futures_util::stream::iter([Ok(hyper::body::Frame::data("abc".into()))]);
            let body = http_body_util::StreamBody::new(pieces);
            Some(http::Response::new(http_body_util::BodyExt::boxed_unsync(body)))
        }
    })
    .await;
    let remote = remote(&server.host(), "a");
    let blob = remote
        .read_blob(&Digest::of(b"abc"), None)
        .await
        .unwrap()
        .unwrap();
    let error = collect(blob.content, 100).await.unwrap_err();
    assert!(chain(&error).contains("less content"), "{error:?}");
    let entry = r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"DIGEST","size":-1}]}"#;
    let index = entry.replace("DIGEST", &Digest::of(b"x").to_string());
    let server =
        fake(move |_| Some(answer(200, &[("content-type", media_type::INDEX)], index.clone()))).await;
    let listed = support::remote(&server.host(), "a")
        .list_referrers(&Digest::of(b"y"), None, &Page::first())
        .await;
    assert!(
        matches!(listed, Err(RepositoryError::Protocol { .. })),
        "{listed:?}"
    );
}

#[tokio::test]
async fn c3_endless_bodies_are_cut_off() {
    let server = fake(|seen| match seen.uri.path() {
        "/v2/a/manifests/refused" => Some(endless(418, &[])),
        _ => Some(endless(200, &[("content-type", media_type::MANIFEST)])),
    })
    .await;
    let remote = remote(&server.host(), "a");
    let error = remote.read_manifest(&tag("x")).await.unwrap_err();
    assert!(matches!(error, RepositoryError::TooLarge { .. }), "{error:?}");
    let error = remote.list_tags(&Page::first()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::TooLarge { .. }), "{error:?}");
    let error = remote.read_manifest(&tag("refused")).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::Refused { status: 418, .. }),
        "{error:?}"
    );
    assert!(error.to_string().len() < 1000);
}

#[tokio::test]
async fn c3_errors_speak_in_few_words() {
    let long = format!(
        r#"{{"errors":[{{"code":"DENIED","message":"{}"}}]}}"#,
        "x".repeat(50_000)
    );
    let server = fake(move |_| Some(answer(403, &[], long.clone()))).await;
    let error = remote(&server.host(), "a")
        .read_manifest(&tag("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Denied { .. }), "{error:?}");
    assert!(error.to_string().len() < 400, "{error}");
}

#[tokio::test]
async fn c3_a_list_cannot_go_round() {
    let server = fake(|seen| {
        let link = format!("<{}>; rel=\"next\"", seen.uri);
        Some(answer(200, &[("link", &link)], r#"{"tags":["x"]}"#))
    })
    .await;
    let error = remote(&server.host(), "a")
        .list_tags(&Page::first())
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn c13_a_token_server_is_not_asked_and_gets_no_credentials() {
    let realm = fake(|_| Some(answer(200, &[], r#"{"token":"x"}"#))).await;
    let url = realm.url("/token");
    let server = fake(move |_| {
        let challenge = format!("Bearer realm=\"{url}\",service=\"x\"");
        Some(answer(401, &[("www-authenticate", &challenge)], ""))
    })
    .await;
    let error = with_account(&server.host())
        .read_manifest(&tag("x"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RepositoryError::Denied { detail, .. } if detail.contains("not supported yet")),
        "{error:?}"
    );
    assert_eq!(realm.seen().len(), 0);
    assert!(server.seen().iter().all(|seen| !seen.is_authorized()));
}

/// A server that wants Basic, and answers those who have it.
async fn locked(answers: impl Fn(&Seen) -> FakeAnswer + Send + Sync + 'static) -> Fake {
    fake(move |seen| {
        Some(if seen.is_authorized() {
            answers(seen)
        } else {
            answer(401, &[("www-authenticate", "Basic realm=\"x\"")], "")
        })
    })
    .await
}

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
    let port = server.address.port();
    for other in [format!("localhost:{port}"), format!("127.0.0.2:{port}")] {
        let client = Client::new(ClientConfig {
            credentials: Arc::new(Account(server.host(), "ann", "sentinel")),
            ..config()
        });
        let remote = client.repository(&other, "a".parse().unwrap()).unwrap();
        // 127.0.0.2 is not listened on; either way nothing was let in.
        assert!(remote.read_manifest(&tag("x")).await.is_err(), "{other}");
    }
    assert!(server.seen().iter().all(|seen| !seen.is_authorized()));
    assert_eq!(
        with_account(&server.host())
            .read_manifest(&tag("x"))
            .await
            .unwrap(),
        None
    );
}

/// Fails as `fail` says for the first `times` requests.
async fn flaky(times: usize, fail: fn() -> Option<FakeAnswer>) -> Fake {
    let count = AtomicUsize::new(0);
    fake(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < times {
            return fail();
        }
        Some(manifest_answer(small().bytes(), &[]))
    })
    .await
}

#[tokio::test]
async fn c16_reads_are_repeated_a_few_times() {
    let failures: [fn() -> Option<FakeAnswer>; 4] = [
        || Some(answer(503, &[], "")),
        || Some(answer(429, &[("retry-after", "0")], "")),
        || Some(answer(502, &[("retry-after", "soon")], "<html>")),
        || None,
    ];
    for fail in failures {
        let server = flaky(2, fail).await;
        let read = remote(&server.host(), "a")
            .read_manifest(&tag("x"))
            .await
            .unwrap();
        assert_eq!(read, Some(small()));
        assert_eq!(server.seen().len(), 3);
        let server = flaky(usize::MAX, fail).await;
        let error = remote(&server.host(), "a")
            .read_manifest(&tag("x"))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                RepositoryError::Refused { .. } | RepositoryError::Unreachable { .. }
            ),
            "{error:?}"
        );
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_refusal_is_never_taken_for_nothing() {
    for status in [401, 403, 429, 500, 400, 410] {
        let server = fake(move |_| Some(answer(status, &[], ""))).await;
        let remote = remote(&server.host(), "a");
        assert!(remote.read_manifest(&tag("x")).await.is_err(), "{status}");
        assert!(remote.stat_manifest(&tag("x")).await.is_err(), "{status}");
        assert!(remote.stat_blob(&Digest::of(b"x")).await.is_err(), "{status}");
        assert!(remote.list_tags(&Page::first()).await.is_err(), "{status}");
        let referrers = remote
            .list_referrers(&Digest::of(b"x"), None, &Page::first())
            .await;
        assert!(referrers.is_err(), "{status}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let remote = remote(&host, "a");
    let manifest = small();
    for error in [
        remote.read_manifest(&tag("x")).await.map(drop).unwrap_err(),
        remote
            .write_manifest(&tag("x"), &manifest, &Condition::Always)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn c16_lying_ranges_are_errors_and_ignored_ones_are_cut() {
    let server = fake(|seen| {
        let headers: &[(&str, &str)] = match seen.uri.path().rsplit('/').nth(2) {
            Some("other") => &[("content-range", "bytes 0-3/10")],
            Some("longer") => &[("content-range", "bytes 2-9/10")],
            Some("silent") => &[],
            _ => return Some(answer(200, &[], "0123456789")),
        };
        Some(answer(206, headers, "0123"))
    })
    .await;
    for name in ["other", "longer", "silent"] {
        let read = remote(&server.host(), name)
            .read_blob(&Digest::of(b"x"), Some(2..6))
            .await;
        assert!(
            matches!(read, Err(RepositoryError::Protocol { .. })),
            "{name}: {read:?}"
        );
    }
    let read = remote(&server.host(), "whole")
        .read_blob(&Digest::of(b"x"), Some(2..6))
        .await;
    let blob = read.unwrap().unwrap();
    assert_eq!(blob.size, 10);
    assert_eq!(collect(blob.content, 10).await.unwrap(), "2345");
}

#[tokio::test]
async fn a_condition_is_not_sent_where_it_is_not_announced() {
    let server = fake(|seen| match seen.method {
        Method::GET => Some(answer(404, &[], "")),
        _ => Some(answer(201, &[], "")),
    })
    .await;
    let remote = remote(&server.host(), "a");
    for condition in [
        Condition::IfAbsent,
        Condition::IfMatch(Digest::of(b"x")),
        Condition::Seal,
    ] {
        let error = remote
            .write_manifest(&tag("x"), &small(), &condition)
            .await
            .unwrap_err();
        assert!(matches!(error, RepositoryError::Unsupported { .. }), "{error:?}");
    }
    assert_eq!(server.count(&Method::PUT), 0);
    let capabilities = remote.capabilities().await.unwrap();
    assert!(!capabilities.conditions && !capabilities.seal);
    assert_eq!(capabilities.referrers, Referrers::FallbackTag);
    assert_eq!(capabilities.delete_tags, None);
    remote
        .write_manifest(&tag("x"), &small(), &Condition::Always)
        .await
        .unwrap();
}

async fn our_server() -> Running {
    Running::start(Arc::new(Memory::new()), ServerConfig::default()).await
}

#[tokio::test]
async fn a_condition_that_something_removed_is_noticed() {
    let server = our_server().await;
    let stripper = proxy(
        server.address,
        |seen| {
            for name in ["if-match", "if-none-match", "cairn-condition"] {
                seen.headers.remove(name);
            }
            None
        },
        |_, _| {},
    )
    .await;
    let remote = remote(&stripper.host(), "a");
    let manifest = image(&remote, "x").await;
    for condition in [
        Condition::IfAbsent,
        Condition::IfMatch(manifest.digest()),
        Condition::Seal,
    ] {
        let error = remote
            .write_manifest(&tag("x"), &manifest, &condition)
            .await
            .unwrap_err();
        assert!(
            matches!(error, RepositoryError::ConditionIgnored { .. }),
            "{error:?}"
        );
    }
    // A head is safe even so: the server does not write it without a condition.
    let error = remote
        .write_manifest(&tag("cairn-head"), &manifest, &Condition::IfAbsent)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::ConditionRequired { .. }),
        "{error:?}"
    );
    assert_eq!(remote.read_manifest(&tag("cairn-head")).await.unwrap(), None);
}

#[tokio::test]
async fn half_of_a_condition_writes_nothing() {
    let server = our_server().await;
    let stripper = proxy(
        server.address,
        |seen| {
            seen.headers.remove("if-match");
            seen.headers.remove("if-none-match");
            None
        },
        |_, _| {},
    )
    .await;
    let remote = remote(&stripper.host(), "a");
    let manifest = image(&remote, "x").await;
    let error = remote
        .write_manifest(&tag("x"), &manifest, &Condition::IfAbsent)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::Refused { status: 400, .. }),
        "{error:?}"
    );
    assert_eq!(remote.read_manifest(&tag("x")).await.unwrap(), None);
}

/// Our server behind something that does the write and loses the answer.
async fn forgetful(server: &Running) -> Fake {
    let client = support::http_client();
    let to = server.address;
    Fake::start(move |seen| {
        let client = client.clone();
        async move {
            let url = format!("http://{to}{}", seen.uri);
            let forwarded = client
                .request(seen.method.clone(), url)
                .headers(seen.headers.clone())
                .body(seen.body.clone());
            let answered = forwarded.send().await.unwrap();
            let is_write = seen.method == Method::PUT;
            let headers: Vec<(String, String)> = answered
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let status = answered.status().as_u16();
            let body = answered.bytes().await.unwrap();
            (!is_write).then(|| answer(status, &headers, body))
        }
    })
    .await
}

#[tokio::test]
async fn a_conditional_write_whose_answer_is_lost_is_not_repeated() {
    let server = our_server().await;
    let direct = remote(&server.host(), "a");
    let manifest = image(&direct, "x").await;
    let forgetful = forgetful(&server).await;
    let remote = remote(&forgetful.host(), "a");
    let error = remote
        .write_manifest(&tag("x"), &manifest, &Condition::IfAbsent)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    assert_eq!(forgetful.count(&Method::PUT), 1);
    assert_eq!(
        direct.read_manifest(&tag("x")).await.unwrap(),
        Some(manifest.clone())
    );
    // Without a condition twice is the same as once; in the end it is still not known.
    let error = remote
        .write_manifest(&tag("y"), &manifest, &Condition::Always)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    assert_eq!(forgetful.count(&Method::PUT), 4);
}

#[tokio::test]
async fn a_blob_whose_answer_is_lost_is_looked_for() {
    let server = our_server().await;
    let forgetful = forgetful(&server).await;
    let remote = remote(&forgetful.host(), "a");
    let written = remote
        .write_blob(&Digest::of(b"abc"), 3, from_bytes(&b"abc"[..]))
        .await;
    assert_eq!(written.unwrap(), Written::New);
    assert_eq!(forgetful.count(&Method::PUT), 1);
}

#[tokio::test]
async fn an_error_of_the_server_under_a_condition_is_not_known_to_be_one() {
    let server = our_server().await;
    let failing = proxy(
        server.address,
        |seen| (seen.method == Method::PUT).then(|| answer(500, &[], "")),
        |_, _| {},
    )
    .await;
    let remote = remote(&failing.host(), "a");
    let error = remote
        .write_manifest(&tag("x"), &small(), &Condition::IfAbsent)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    assert_eq!(failing.count(&Method::PUT), 1);
    let error = remote
        .write_manifest(&tag("x"), &small(), &Condition::Always)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RepositoryError::Refused { status: 500, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_a_tag_shows_comes_with_a_refusal() {
    let server = our_server().await;
    let remote = remote(&server.host(), "a");
    let (one, two) = (image(&remote, "one").await, image(&remote, "two").await);
    let write = async |manifest: &RawManifest, condition| {
        remote.write_manifest(&tag("x"), manifest, &condition).await
    };
    write(&one, Condition::IfAbsent).await.unwrap();
    let error = write(&two, Condition::IfMatch(two.digest())).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::Condition { found: Some(found), .. } if found == one.digest()),
        "{error:?}"
    );
    write(&one, Condition::Seal).await.unwrap();
    for error in [
        write(&two, Condition::Always).await.unwrap_err(),
        remote.delete_tag(&"x".parse().unwrap()).await.unwrap_err(),
        remote.delete_manifest(&one.digest()).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, RepositoryError::Sealed { tag, found: Some(found) }
                if tag.as_str() == "x" && *found == one.digest()),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_missing_blob_is_named() {
    let server = our_server().await;
    let remote = remote(&server.host(), "a");
    let error = remote
        .write_manifest(&tag("x"), &small(), &Condition::Always)
        .await
        .unwrap_err();
    let expected = cairn_store::error::MissingBlob::Known(Digest::of(b"{}"));
    assert!(
        matches!(error, RepositoryError::BlobUnknown { blob, .. } if blob == expected),
        "{error:?}"
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

#[tokio::test]
async fn an_upload_begun_by_a_mount_is_used() {
    let server = our_server().await;
    let watched = proxy(server.address, |_| None, |_, _| {}).await;
    let remote = remote(&watched.host(), "a");
    let digest = Digest::of(b"abc");
    assert!(!remote.mount_blob(&digest, &"b".parse().unwrap()).await.unwrap());
    remote
        .write_blob(&digest, 3, from_bytes(&b"abc"[..]))
        .await
        .unwrap();
    assert_eq!(watched.count(&Method::POST), 1);
}

#[tokio::test]
async fn a_registry_that_cannot_mount_is_written_to() {
    for status in [400, 401, 404, 405] {
        let server = fake(move |_| Some(answer(status, &[], ""))).await;
        let mounted = remote(&server.host(), "a")
            .mount_blob(&Digest::of(b"x"), &"b".parse().unwrap())
            .await;
        assert!(!mounted.unwrap(), "{status}");
    }
}

#[tokio::test]
async fn only_what_moves_is_counted() {
    let server = our_server().await;
    let client = Client::new(config());
    let remote = client.repository(&server.host(), "a".parse().unwrap()).unwrap();
    for _ in 0..2 {
        remote
            .write_blob(&Digest::of(b"abc"), 3, from_bytes(&b"abc"[..]))
            .await
            .unwrap();
    }
    let traffic = remote.traffic();
    assert_eq!(
        (
            traffic.uploaded_bytes,
            traffic.uploaded_blobs,
            traffic.downloaded_bytes
        ),
        (3, 1, 0)
    );
    let blob = remote
        .read_blob(&Digest::of(b"abc"), None)
        .await
        .unwrap()
        .unwrap();
    collect(blob.content, 10).await.unwrap();
    assert_eq!(client.traffic().downloaded_bytes, 3);
}

/// Our server as one that knows nothing of referrers.
async fn without_referrers(server: &Running) -> Fake {
    proxy(
        server.address,
        |seen| {
            let path = seen.uri.path();
            (path.contains("/referrers/") || path.contains("_oci"))
                .then(|| answer(404, &[], "404 page not found"))
        },
        |_, headers| drop(headers.remove("oci-subject")),
    )
    .await
}

#[tokio::test]
async fn referrers_are_kept_under_a_fallback_tag_where_the_registry_keeps_none() {
    let server = our_server().await;
    let old = without_referrers(&server).await;
    let remote = remote(&old.host(), "a");
    assert_eq!(
        remote.capabilities().await.unwrap().referrers,
        Referrers::FallbackTag
    );
    let subject = image(&remote, "subject").await;
    let mut referrers = Vec::new();
    for kind in ["application/vnd.a", "application/vnd.b"] {
        let mut manifest: Manifest = serde_json::from_slice(subject.bytes()).unwrap();
        manifest.artifact_type = Some(kind.to_owned());
        manifest.subject = Some(subject.descriptor());
        manifest.annotations.insert("note".to_owned(), kind.to_owned());
        let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
        for _ in 0..2 {
            let target = Target::Digest(manifest.digest());
            remote
                .write_manifest(&target, &manifest, &Condition::Always)
                .await
                .unwrap();
        }
        referrers.push(manifest);
    }
    let list = async |kind: Option<&str>| {
        let page = remote
            .list_referrers(&subject.digest(), kind, &Page::first())
            .await;
        page.unwrap().manifests
    };
    let all = list(None).await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].artifact_type.as_deref(), Some("application/vnd.a"));
    assert_eq!(all[0].annotations["note"], "application/vnd.a");
    assert_eq!(list(Some("application/vnd.b")).await, all[1..]);
    let index = remote
        .read_manifest(&tag(&format!("sha256-{}", subject.digest().hex())))
        .await;
    assert_eq!(*index.unwrap().unwrap().media_type(), media_type::INDEX);
    assert!(remote.delete_manifest(&referrers[0].digest()).await.unwrap());
    assert_eq!(list(None).await, all[1..]);
}

#[tokio::test]
async fn a_registry_that_answers_the_fallback_tag_with_the_subject_has_no_referrers() {
    let manifest = small();
    let digest = manifest.digest();
    let server = fake(move |seen| {
        Some(if seen.uri.path().contains("/manifests/") {
            manifest_answer(manifest.bytes(), &[])
        } else {
            answer(404, &[], "")
        })
    })
    .await;
    let listed = remote(&server.host(), "a")
        .list_referrers(&digest, None, &Page::first())
        .await;
    assert_eq!(listed.unwrap().manifests, []);
}

#[tokio::test]
async fn odd_lists_of_tags_are_understood_or_refused() {
    let server = fake(|seen| {
        Some(answer(
            200,
            &[],
            match seen.uri.path() {
                "/v2/null/tags/list" => r#"{"name":"null","tags":null}"#,
                "/v2/bad/tags/list" => r#"{"tags":["\u001b[2J"]}"#,
                "/v2/twice/tags/list" => r#"{"tags":["a"],"tags":["b"]}"#,
                _ => "<html>",
            },
        ))
    })
    .await;
    let list = async |name: &str| remote(&server.host(), name).list_tags(&Page::first()).await;
    assert_eq!(list("null").await.unwrap().tags, []);
    for bad in ["bad", "twice", "html"] {
        let error = list(bad).await.unwrap_err();
        assert!(
            matches!(error, RepositoryError::Protocol { .. }),
            "{bad}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_does_not_delete_tags_says_so() {
    for status in [400, 405] {
        let server = fake(move |seen| {
            Some(answer(
                if seen.method == Method::DELETE {
                    status
                } else {
                    404
                },
                &[],
                "",
            ))
        })
        .await;
        let remote = remote(&server.host(), "a");
        let error = remote.delete_tag(&"x".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, RepositoryError::Unsupported { .. }), "{error:?}");
        assert_eq!(remote.capabilities().await.unwrap().delete_tags, Some(false));
    }
}
