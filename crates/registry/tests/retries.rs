//! When the client asks again, how long it waits before, and what it says in the end.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_registry::client::{Client, ClientConfig, Remote, Retries, Timeouts};
use cairn_store::{Condition, Page, Repository, RepositoryError};
use http::Method;
use support::{
    Fake, FakeAnswer, Noted, Seen, answer, broken, chain, config, dripping, endless, fake, manifest_answer,
    proxy, small, tag,
};

/// A repository of the server, asked up to four times, and the pauses between.
fn patient(server: &Fake) -> (Remote, Arc<Noted>) {
    let pauses = Arc::new(Noted::default());
    let client = Client::new(ClientConfig {
        retries: Retries {
            attempts: 4,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(60),
        },
        pauses: Arc::clone(&pauses) as _,
        ..config()
    });
    (
        client.repository(&server.host(), "a".parse().unwrap()).unwrap(),
        pauses,
    )
}

/// Fails the first `times` requests so.
async fn flaky(times: usize, fail: impl Fn() -> Option<FakeAnswer> + Send + Sync + 'static) -> Fake {
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
async fn c16_pauses_double_and_the_last_error_says_how_often_it_was_tried() {
    let server = fake(|_| Some(answer(503, &[], "come back later"))).await;
    let (remote, pauses) = patient(&server);
    let error = remote.read_manifest(&tag("x")).await.unwrap_err();
    assert_eq!(pauses.pauses(), [100, 200, 400]);
    assert_eq!(
        error.to_string(),
        format!(
            "{}/a answered 503 to GET /v2/a/manifests/x, tried 4 times (come back later)",
            server.host()
        )
    );
}

#[tokio::test]
async fn c16_no_answer_at_all_says_how_often_it_was_tried() {
    let server = fake(|_| None).await;
    let (remote, pauses) = patient(&server);
    let error = remote.read_manifest(&tag("x")).await.unwrap_err();
    assert_eq!(pauses.pauses(), [100, 200, 400]);
    assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error:?}");
    let text = chain(&error);
    for part in [
        &*server.host(),
        "no answer to GET /v2/a/manifests/x, tried 4 times",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn c16_retry_after_is_obeyed_in_seconds_and_as_a_date() {
    let date = [
        ("date", "Fri, 20 Nov 2026 10:00:00 GMT"),
        ("retry-after", "Fri, 20 Nov 2026 10:00:09 GMT"),
    ];
    let seconds = [("retry-after", "7")];
    for (headers, expected) in [(&seconds[..], 7100), (&date[..], 9100)] {
        for status in [429, 503] {
            let headers = headers.to_vec();
            let server = flaky(1, move || Some(answer(status, &headers, ""))).await;
            let (remote, pauses) = patient(&server);
            let read = remote.read_manifest(&tag("x")).await.unwrap();
            assert_eq!(read, Some(small()));
            assert_eq!(pauses.pauses(), [expected], "{status}");
        }
    }
}

#[tokio::test]
async fn c16_who_asks_for_an_hour_is_not_asked_again() {
    let server = fake(|_| Some(answer(429, &[("retry-after", "3600")], "slow down"))).await;
    let (remote, pauses) = patient(&server);
    let error = remote.read_manifest(&tag("x")).await.unwrap_err();
    assert_eq!(server.seen().len(), 1);
    assert!(pauses.pauses().is_empty());
    let text = error.to_string();
    assert!(
        text.contains("answered 429") && text.contains("it asks to wait for 3600 seconds"),
        "{text}"
    );
}

#[tokio::test]
async fn c16_what_failed_for_good_is_asked_once() {
    for status in [400, 401, 403, 404, 405, 409, 410, 413, 501, 505, 507] {
        let server = fake(move |_| Some(answer(status, &[], ""))).await;
        let (remote, pauses) = patient(&server);
        let read = remote.read_manifest(&tag("x")).await;
        assert!(!matches!(read, Ok(Some(_))), "{status}");
        assert_eq!(server.seen().len(), 1, "{status}");
        assert!(pauses.pauses().is_empty(), "{status}");
    }
    for status in [408, 429, 500, 502, 503, 504, 520, 524] {
        let server = flaky(1, move || Some(answer(status, &[], ""))).await;
        let read = patient(&server).0.read_manifest(&tag("x")).await;
        assert_eq!(read.unwrap(), Some(small()), "{status}");
    }
}

#[tokio::test]
async fn ghcr_postpones_with_403_and_a_retry_after() {
    let server = flaky(2, || Some(answer(403, &[("retry-after", "2")], ""))).await;
    let (remote, pauses) = patient(&server);
    assert_eq!(remote.read_manifest(&tag("x")).await.unwrap(), Some(small()));
    assert_eq!(pauses.pauses(), [2100, 2100]);
}

#[tokio::test]
async fn ghcr_says_when_to_come_back_in_words() {
    let body =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 880µs, allowed: 44000/minute"}]}"#;
    let server = flaky(1, move || Some(answer(429, &[], body))).await;
    let (remote, pauses) = patient(&server);
    assert_eq!(remote.read_manifest(&tag("x")).await.unwrap(), Some(small()));
    assert_eq!(pauses.pauses(), [100]);
}

#[tokio::test]
async fn c16_a_reset_in_the_middle_of_a_manifest_or_a_list_is_asked_again() {
    let list = r#"{"name":"a","tags":["x"]}"#;
    let whole = move |seen: &Seen| match seen.uri.path() {
        "/v2/a/tags/list" => answer(200, &[], list),
        _ => manifest_answer(small().bytes(), &[]),
    };
    let half = |_: &Seen| {
        let bytes = small().bytes().slice(..10);
        broken(
            200,
            &[("content-type", "application/json"), ("content-length", "1000")],
            bytes,
        )
    };
    let count = AtomicUsize::new(0);
    let server = fake(move |seen| {
        Some(if count.fetch_add(1, Ordering::SeqCst) % 3 < 2 {
            half(seen)
        } else {
            whole(seen)
        })
    })
    .await;
    let (remote, pauses) = patient(&server);
    assert_eq!(remote.read_manifest(&tag("x")).await.unwrap(), Some(small()));
    let page = remote.list_tags(&Page::first()).await.unwrap();
    assert_eq!(page.tags, ["x".parse().unwrap()]);
    assert_eq!(pauses.pauses(), [100, 200, 100, 200]);

    let server = fake(move |seen| Some(half(seen))).await;
    let (remote, _) = patient(&server);
    let error = remote.read_manifest(&tag("x")).await.unwrap_err();
    let text = chain(&error);
    assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error:?}");
    for part in ["GET /v2/a/manifests/x is not whole", "tried 4 times"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn c16_a_conditional_write_is_repeated_only_if_it_had_no_effect() {
    let ours = support::our_server().await;
    for (status, requests) in [(429, 4), (503, 1)] {
        let server = proxy(
            ours.address,
            move |seen| (seen.method == Method::PUT).then(|| answer(status, &[], "")),
            |_, _| {},
        )
        .await;
        let (remote, _) = patient(&server);
        let error = remote
            .write_manifest(&tag("x"), &small(), &Condition::IfAbsent)
            .await
            .unwrap_err();
        assert_eq!(server.count(&Method::PUT), requests, "{status}: {error:?}");
        let is_unknown = matches!(error, RepositoryError::OutcomeUnknown { .. });
        assert_eq!(is_unknown, status == 503, "{error:?}");
    }
}

/// Timeouts that a test can wait for.
fn hasty(server: &Fake) -> Remote {
    let client = Client::new(ClientConfig {
        timeouts: Timeouts {
            document: Duration::from_millis(100),
            refusal: Duration::from_millis(100),
            ..config().timeouts
        },
        ..config()
    });
    client.repository(&server.host(), "a".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn c3_error_bodies_that_never_end_are_bounded_in_time_and_size() {
    for body in [
        (|| endless(418, &[])) as fn() -> FakeAnswer,
        || dripping(418, &[], "{"),
        || dripping(418, &[("content-length", "10")], "{"),
    ] {
        let server = fake(move |_| Some(body())).await;
        let error = hasty(&server).read_manifest(&tag("x")).await.unwrap_err();
        assert!(
            matches!(error, RepositoryError::Refused { status: 418, .. }),
            "{error:?}"
        );
        assert!(error.to_string().len() < 400);
    }
}

#[tokio::test]
async fn c3_a_manifest_that_comes_a_byte_at_a_time_is_given_up() {
    let server = fake(|_| Some(dripping(200, &[("content-type", "application/json")], "{"))).await;
    let error = hasty(&server).read_manifest(&tag("x")).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error:?}");
    assert!(chain(&error).contains("it did not come to its end"), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}
