//! The client against servers that lie and break.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::{Digest, Manifest, json, media_type};
use cairn_registry::client::Client;
use cairn_store::{
    Condition, Page, RawManifest, Referrers, Repository, RepositoryError, Target, Written, collect,
    from_bytes, verified,
};
use http::Method;
use support::{
    Fake, FakeAnswer, Running, answer, chain, config, endless, fake, forgetful, image, manifest_answer,
    our_server, proxy, remote, small, tag,
};

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
