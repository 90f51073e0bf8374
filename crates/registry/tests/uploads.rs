//! Uploads to registries that do not take blobs whole, lose what they have, and say what is not so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Manifest, media_type};
use cairn_registry::client::{Client, ClientConfig, Remote};
use cairn_store::transfer::Transfer;
use cairn_store::{Condition, Memory, Repository, RepositoryError, Store, Written, from_bytes};
use http::{HeaderMap, Method};
use support::picky::{Content, Picky, State, content, number, refuse, start};
use support::{FakeAnswer, Noted, Seen, answer, chain, config, raw, tag};

const MIB: usize = 1 << 20;

fn remote(picky: &Picky) -> Remote {
    let client = Client::new(ClientConfig {
        pauses: Arc::new(Noted::default()),
        ..config()
    });
    client
        .repository(&picky.server.host(), "a".parse().unwrap())
        .unwrap()
}

async fn upload(remote: &Remote, content: &Bytes) -> Result<Written, RepositoryError> {
    let source = Content(content.clone());
    let digest = Digest::of(content);
    remote
        .write_blob_from(&digest, content.len() as u64, &source)
        .await
}

/// Nothing is changed.
fn plain(_: &Seen, _: &State, _: &mut HeaderMap) {}

/// Nothing is answered in its place.
fn honest(_: &Seen, _: &mut State) -> Option<FakeAnswer> {
    None
}

/// Takes no body of more than so many bytes.
fn narrow(limit: usize) -> impl Fn(&Seen, &mut State) -> Option<FakeAnswer> {
    move |seen, _| (seen.body.len() > limit).then(|| answer(413, &[], "<html>too large</html>"))
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(name, value.parse().unwrap());
}

#[tokio::test]
async fn a_blob_goes_whole_where_that_works() {
    let picky = Picky::start(honest, plain).await;
    let remote = remote(&picky);
    for content in [content(9 * MIB), Bytes::from_static(b"x"), Bytes::new()] {
        assert_eq!(upload(&remote, &content).await.unwrap(), Written::New);
        assert!(picky.has(&content));
        assert_eq!(upload(&remote, &content).await.unwrap(), Written::Present);
    }
    assert_eq!(picky.methods(), "POST PUT POST PUT POST PUT");
}

#[tokio::test]
async fn ghcr_takes_pieces_of_4_mib() {
    let picky = Picky::start(narrow(4 * MIB), plain).await;
    let remote = remote(&picky);
    let first = content(9 * MIB + 3);
    assert_eq!(upload(&remote, &first).await.unwrap(), Written::New);
    assert!(picky.has(&first));
    assert_eq!(picky.bodies(&Method::PATCH), [4 * MIB, 4 * MIB, MIB + 3]);
    // What is smaller still goes whole; what is as large goes in pieces at once.
    upload(&remote, &content(4 * MIB)).await.unwrap();
    upload(&remote, &content(9 * MIB + 4)).await.unwrap();
    assert_eq!(picky.bodies(&Method::PUT), [9 * MIB + 3, 0, 4 * MIB, 0]);
}

#[tokio::test]
async fn a_proxy_that_takes_1_mib_is_found_out() {
    let picky = Picky::start(narrow(MIB), plain).await;
    let blob = content(3 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
    // Each size that is refused is halved.
    assert_eq!(picky.bodies(&Method::PATCH), [2 * MIB, MIB, MIB, MIB]);
    let nothing = Picky::start(narrow(10), plain).await;
    let error = upload(&remote(&nothing), &blob).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::Refused { status: 413, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_registry_without_whole_uploads_gets_pieces() {
    for status in [405, 501, 400] {
        let instead = move |seen: &Seen, _: &mut State| {
            let whole = seen.method == Method::PUT && !seen.body.is_empty();
            whole.then(|| refuse(status, "UNSUPPORTED"))
        };
        let picky = Picky::start(instead, plain).await;
        let remote = remote(&picky);
        for blob in [content(100), content(5 * MIB)] {
            upload(&remote, &blob).await.unwrap();
            assert!(picky.has(&blob));
        }
        assert_eq!(picky.bodies(&Method::PATCH), [100, 4 * MIB, MIB], "{status}");
    }
}

#[tokio::test]
async fn the_smallest_piece_is_as_large_as_the_registry_wants() {
    let least = |bytes: usize| {
        Picky::start(
            |seen: &Seen, _: &mut State| {
                (seen.method == Method::PUT && !seen.body.is_empty()).then(|| answer(413, &[], ""))
            },
            move |seen: &Seen, _: &State, headers: &mut HeaderMap| {
                if seen.method == Method::POST {
                    set(headers, "oci-chunk-min-length", &bytes.to_string());
                }
            },
        )
    };
    let picky = least(5 * MIB).await;
    let blob = content(11 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert_eq!(picky.bodies(&Method::PATCH), [5 * MIB, 5 * MIB, MIB]);
    let absurd = least(1 << 40).await;
    let error = upload(&remote(&absurd), &blob).await.unwrap_err();
    assert!(
        matches!(&error, RepositoryError::Protocol { detail, .. } if detail.contains("1099511627776")),
        "{error:?}"
    );
}

/// A registry of the first upload of which only a part arrives.
async fn breaking(after: usize, instead: fn(&Seen, &mut State) -> Option<FakeAnswer>) -> Picky {
    let broken = AtomicUsize::new(0);
    Picky::breaking(
        move |seen, state| {
            if seen.method == Method::PUT && broken.fetch_add(1, Ordering::SeqCst) == 0 {
                let upload = state.uploads.get_mut(&number(seen)).unwrap();
                upload.extend_from_slice(&seen.body[..after]);
                return Err(());
            }
            Ok(instead(seen, state))
        },
        plain,
    )
    .await
}

#[tokio::test]
async fn c16_an_upload_goes_on_from_where_the_registry_has_it() {
    let picky = breaking(5 * MIB, honest).await;
    let blob = content(9 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
    assert_eq!(picky.methods(), "POST PUT GET PATCH PUT");
    assert_eq!(picky.bodies(&Method::PATCH), [4 * MIB]);
    let pieces = picky.server.seen();
    let piece = pieces.iter().find(|seen| seen.method == Method::PATCH).unwrap();
    assert_eq!(
        piece.headers["content-range"],
        format!("{}-{}", 5 * MIB, 9 * MIB - 1)
    );
}

#[tokio::test]
async fn c16_an_upload_that_is_gone_is_begun_anew() {
    let picky = breaking(5 * MIB, |seen, _| {
        (seen.method == Method::GET).then(|| refuse(404, "BLOB_UPLOAD_UNKNOWN"))
    })
    .await;
    let blob = content(9 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
    assert_eq!(picky.methods(), "POST PUT GET POST PUT");
}

#[tokio::test]
async fn c16_a_mere_stream_goes_on_with_what_is_kept_of_it() {
    let stream = async |remote: &Remote, blob: &Bytes| {
        let source = Content(blob.clone());
        let content = cairn_store::BlobSource::open(&source, 0).await.unwrap();
        remote
            .write_blob(&Digest::of(blob), blob.len() as u64, content)
            .await
    };
    let (small, large) = (content(3 * MIB), content(9 * MIB));
    let picky = breaking(2 * MIB, honest).await;
    stream(&remote(&picky), &small).await.unwrap();
    assert!(picky.has(&small));
    assert_eq!(picky.bodies(&Method::PATCH), [MIB]);
    // Of the large one too much is gone: what is said is what made it begin anew.
    let picky = breaking(5 * MIB, honest).await;
    let error = stream(&remote(&picky), &large).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("PUT /v2/a/blobs/uploads/1"), "{error}");
}

#[tokio::test]
async fn gar_takes_no_pieces() {
    for status in [405, 400] {
        let taken = move |seen: &Seen| (seen.method == Method::PATCH).then(|| refuse(status, "UNSUPPORTED"));
        let broken = AtomicUsize::new(0);
        let picky = Picky::breaking(
            move |seen, state| {
                // Its first and its third upload break.
                if seen.method == Method::PUT && broken.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    let upload = state.uploads.get_mut(&number(seen)).unwrap();
                    upload.extend_from_slice(&seen.body[..5 * MIB]);
                    return Err(());
                }
                Ok(taken(seen))
            },
            plain,
        )
        .await;
        let remote = remote(&picky);
        let blob = content(9 * MIB);
        upload(&remote, &blob).await.unwrap();
        assert!(picky.has(&blob));
        assert_eq!(picky.methods(), "POST PUT GET PATCH DELETE POST PUT");
        // That is remembered.
        upload(&remote, &content(9 * MIB + 1)).await.unwrap();
        assert_eq!(picky.bodies(&Method::PATCH).len(), 1);
    }
}

#[tokio::test]
async fn locations_are_absolute_relative_with_queries_and_new_each_time() {
    type Form = fn(&str, usize) -> String;
    let forms: [Form; 4] = [
        |host, n| format!("http://{host}/v2/a/blobs/uploads/1?state=x%2By&n={n}"),
        |_, n| format!("/v2/a/blobs/uploads/1?n={n}"),
        |_, n| format!("1?n={n}"),
        |_, n| format!("/elsewhere/blobs/uploads/1?n={n}#part"),
    ];
    for form in forms {
        let count = Arc::new(AtomicUsize::new(0));
        let (asked, named) = (Arc::clone(&count), count);
        let picky = Picky::start(
            move |seen, _| {
                // Only the newest location is good.
                let stale = || refuse(404, "BLOB_UPLOAD_UNKNOWN");
                let current = format!("n={}", asked.load(Ordering::SeqCst));
                let is_upload = seen.uri.path().ends_with("/uploads/1");
                let query = seen.uri.query().unwrap_or_default();
                if is_upload && !query.contains(&current) {
                    return Some(stale());
                }
                (seen.body.len() > 4 * MIB).then(|| answer(413, &[], ""))
            },
            move |seen, _, headers| {
                let host = seen.headers["host"].to_str().unwrap().to_owned();
                if headers.contains_key("location") {
                    let n = named.fetch_add(1, Ordering::SeqCst) + 1;
                    set(headers, "location", &form(&host, n));
                }
            },
        )
        .await;
        let blob = content(6 * MIB);
        upload(&remote(&picky), &blob).await.unwrap();
        assert!(picky.has(&blob), "{}", form("h", 0));
        assert_eq!(picky.bodies(&Method::PATCH), [4 * MIB, 2 * MIB]);
    }
}

/// Takes pieces only, and says so of what it has.
async fn saying(range: fn(&Seen, usize) -> Option<String>) -> Picky {
    Picky::start(narrow(4 * MIB), move |seen, state, headers| {
        let Some(upload) = state.uploads.get(&number(seen)) else {
            return;
        };
        headers.remove("range");
        if let Some(range) = range(seen, upload.len()) {
            set(headers, "range", &range);
        }
    })
    .await
}

#[tokio::test]
async fn c16_ranges_may_be_missing_or_one_too_far() {
    let forms: [fn(&Seen, usize) -> Option<String>; 5] = [
        |_, _| None,
        |_, length| Some(format!("0-{length}")),
        |_, length| Some(format!("bytes=0-{}", length.saturating_sub(1))),
        |seen, length| start(seen).map(|start| format!("{start}-{}", length.saturating_sub(1))),
        |_, _| Some("soon".to_owned()),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let picky = saying(form).await;
        let blob = content(11 * MIB);
        upload(&remote(&picky), &blob).await.unwrap();
        assert!(picky.has(&blob), "{number}");
        assert_eq!(
            picky.bodies(&Method::PATCH),
            [4 * MIB, 4 * MIB, 3 * MIB],
            "{number}"
        );
    }
}

#[tokio::test]
async fn ecr_answers_a_piece_with_201() {
    let picky = Picky::start(
        |seen, state| {
            if seen.method != Method::PATCH {
                return narrow(4 * MIB)(seen, state);
            }
            let upload = state.uploads.get_mut(&number(seen)).unwrap();
            upload.extend_from_slice(&seen.body);
            let range = format!("0-{}", upload.len() - 1);
            Some(answer(
                201,
                &[("location", seen.uri.path()), ("range", &range)],
                "",
            ))
        },
        plain,
    )
    .await;
    let blob = content(9 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
}

#[tokio::test]
async fn ecr_repeats_the_first_range_whatever_it_has() {
    // To GET it says the truth.
    let stalls = |seen: &Seen, length: usize| {
        let stated = if seen.method == Method::PATCH {
            length.min(4 * MIB)
        } else {
            length
        };
        Some(format!("0-{}", stated.saturating_sub(1)))
    };
    let picky = saying(stalls).await;
    let blob = content(11 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
    assert_eq!(picky.bodies(&Method::PATCH), [4 * MIB, 4 * MIB, 3 * MIB]);
}

#[tokio::test]
async fn ecr_that_lies_to_every_question_ends_in_an_error() {
    let stalls = |_: &Seen, length: usize| Some(format!("0-{}", length.min(4 * MIB).saturating_sub(1)));
    let picky = saying(stalls).await;
    let error = upload(&remote(&picky), &content(11 * MIB)).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains(&picky.server.host()), "{text}");
    assert!(picky.bodies(&Method::PATCH).len() < 20);
}

#[tokio::test]
async fn c16_what_a_registry_did_not_keep_is_sent_again() {
    // Of the second piece it loses the end, and says so.
    let lost = AtomicUsize::new(0);
    let picky = Picky::start(
        move |seen, state| {
            let patch = seen.method == Method::PATCH && seen.body.len() <= 4 * MIB;
            if patch && start(seen) == Some(4 * MIB) && lost.fetch_add(1, Ordering::SeqCst) == 0 {
                let upload = state.uploads.get_mut(&number(seen)).unwrap();
                upload.extend_from_slice(&seen.body[..MIB]);
                let range = format!("0-{}", upload.len() - 1);
                return Some(answer(
                    202,
                    &[("location", seen.uri.path()), ("range", &range)],
                    "",
                ));
            }
            narrow(4 * MIB)(seen, state)
        },
        plain,
    )
    .await;
    let blob = content(9 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
    assert_eq!(picky.bodies(&Method::PATCH), [4 * MIB, 4 * MIB, 4 * MIB]);
}

#[tokio::test]
async fn c16_who_has_more_than_was_sent_gets_it_from_the_beginning() {
    let lies = AtomicUsize::new(0);
    let picky = Picky::start(narrow(4 * MIB), move |seen, state, headers| {
        let is_first = state.uploads.len() == 1 && number(seen) == 1;
        if is_first && seen.method != Method::POST && lies.fetch_add(1, Ordering::SeqCst) < 2 {
            set(headers, "range", "0-999999999");
        }
    })
    .await;
    let blob = content(9 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
    assert!(
        picky.methods().contains("POST PATCH PATCH PATCH PUT"),
        "{}",
        picky.methods()
    );
}

#[tokio::test]
async fn c16_a_416_leads_to_a_look_at_the_upload() {
    // It keeps a byte more of the first piece than it may, once.
    let odd = AtomicUsize::new(0);
    let picky = Picky::start(
        move |seen, state| {
            if seen.method == Method::PATCH && odd.fetch_add(1, Ordering::SeqCst) == 1 {
                let location = seen.uri.path().to_owned();
                let upload = state.uploads.get_mut(&number(seen)).unwrap();
                upload.extend_from_slice(&seen.body[..3]);
                return Some(answer(416, &[("location", &location)], ""));
            }
            narrow(4 * MIB)(seen, state)
        },
        plain,
    )
    .await;
    let blob = content(9 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
    let starts: Vec<_> = picky.server.seen().iter().filter_map(start).collect();
    assert_eq!(starts, [0, 4 * MIB, 4 * MIB + 3, 8 * MIB + 3]);
}

#[tokio::test]
async fn c16_zero_to_zero_may_be_one_byte() {
    let picky = breaking(1, honest).await;
    let blob = content(9 * MIB);
    upload(&remote(&picky), &blob).await.unwrap();
    assert!(picky.has(&blob));
}

#[tokio::test]
async fn c16_content_that_a_registry_garbles_is_sent_once_more() {
    for (times, expected) in [(1, true), (2, false)] {
        let count = AtomicUsize::new(0);
        let picky = Picky::start(
            move |seen, _| {
                let bad = seen.method == Method::PUT && count.fetch_add(1, Ordering::SeqCst) < times;
                bad.then(|| refuse(400, "DIGEST_INVALID"))
            },
            plain,
        )
        .await;
        let written = upload(&remote(&picky), &content(100)).await;
        assert_eq!(written.is_ok(), expected, "{written:?}");
        assert_eq!(picky.bodies(&Method::PUT).len(), 2);
    }
}

#[tokio::test]
async fn c16_an_upload_that_is_put_off_waits_and_goes_on() {
    for (status, after) in [(429, Some("3")), (503, None), (500, None)] {
        let count = AtomicUsize::new(0);
        let picky = Picky::start(
            move |seen, _| {
                let headers: Vec<_> = after.iter().map(|after| ("retry-after", *after)).collect();
                let busy = seen.method == Method::PUT && count.fetch_add(1, Ordering::SeqCst) < 2;
                busy.then(|| answer(status, &headers, "busy"))
            },
            plain,
        )
        .await;
        let pauses = Arc::new(Noted::default());
        let mut config = ClientConfig {
            pauses: Arc::clone(&pauses) as _,
            ..config()
        };
        config.retries.longest = std::time::Duration::from_secs(60);
        let client = Client::new(config);
        let remote = client
            .repository(&picky.server.host(), "a".parse().unwrap())
            .unwrap();
        upload(&remote, &content(100)).await.unwrap();
        let expected = if after.is_some() { [3001, 3001] } else { [1, 2] };
        assert_eq!(pauses.pauses(), expected, "{status}");
    }
}

#[tokio::test]
async fn c16_an_upload_that_never_works_says_what_was_tried_how_often() {
    let busy = |seen: &Seen, _: &mut State| (seen.method == Method::PUT).then(|| answer(503, &[], "busy"));
    let picky = Picky::start(busy, plain).await;
    let error = upload(&remote(&picky), &content(100)).await.unwrap_err();
    let host = picky.server.host();
    assert_eq!(
        error.to_string(),
        format!("{host}/a answered 503 to PUT /v2/a/blobs/uploads/1, tried 3 times (busy)")
    );
    let hour = |seen: &Seen, _: &mut State| {
        (seen.method == Method::PUT).then(|| answer(429, &[("retry-after", "3600")], ""))
    };
    let picky = Picky::start(hour, plain).await;
    let error = upload(&remote(&picky), &content(100)).await.unwrap_err();
    assert!(
        error.to_string().contains("it asks to wait for 3600 seconds"),
        "{error}"
    );
    assert_eq!(picky.bodies(&Method::PUT).len(), 1);
    let picky = Picky::breaking(
        |seen, _| {
            if seen.method == Method::PUT {
                Err(())
            } else {
                Ok(None)
            }
        },
        plain,
    )
    .await;
    let error = upload(&remote(&picky), &content(100)).await.unwrap_err();
    assert!(chain(&error).contains("tried 3 times"), "{}", chain(&error));
    assert_eq!(picky.bodies(&Method::PUT).len(), 3);
}

#[tokio::test]
async fn c16_what_is_refused_for_good_is_sent_once() {
    for status in [400, 403, 409, 507] {
        let picky = Picky::start(
            move |seen, _| (seen.method == Method::PUT).then(|| answer(status, &[], "no")),
            plain,
        )
        .await;
        assert!(upload(&remote(&picky), &content(100)).await.is_err());
        assert_eq!(picky.methods(), "POST PUT", "{status}");
    }
}

#[tokio::test]
async fn the_same_blob_never_goes_twice_at_once() {
    let picky = Picky::start(honest, plain).await;
    let remote = remote(&picky);
    let blob = content(MIB);
    let all = (0..5).map(|_| upload(&remote, &blob));
    let written: Vec<_> = futures_util::future::join_all(all).await;
    let new = written
        .iter()
        .filter(|written| matches!(written, Ok(Written::New)))
        .count();
    assert!(written.iter().all(Result::is_ok) && new == 1, "{written:?}");
    assert_eq!(picky.methods(), "POST PUT");
}

#[tokio::test]
async fn no_more_blobs_go_at_once_than_is_configured() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (Arc::clone(&now), Arc::clone(&most));
    let server = support::Fake::start(move |seen| {
        let (now, most) = (Arc::clone(&counted), Arc::clone(&peak));
        async move {
            Some(match seen.method {
                Method::POST => {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    answer(202, &[("location", "/v2/a/blobs/uploads/1")], "")
                }
                Method::PUT => {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                    answer(201, &[], "")
                }
                _ => answer(404, &[], ""),
            })
        }
    })
    .await;
    let client = Client::new(ClientConfig {
        uploads: 2,
        ..config()
    });
    let remote = client.repository(&server.host(), "a".parse().unwrap()).unwrap();
    let blobs: Vec<_> = (1..9).map(|length| content(1000 * length)).collect();
    let all = blobs.iter().map(|blob| upload(&remote, blob));
    for written in futures_util::future::join_all(all).await {
        assert_eq!(written.unwrap(), Written::New);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn manifest_blob_unknown_leads_to_one_more_upload_of_that_blob() {
    for (refusals, expected) in [(1, true), (9, false)] {
        let layer = Bytes::from_static(b"layer");
        let digest = Digest::of(&layer).to_string();
        let (asked, missing) = (AtomicUsize::new(0), digest.clone());
        let picky = Picky::start(
            move |seen, _| {
                let path = seen.uri.path();
                match seen.method {
                    // It says to have the blob all the same.
                    Method::HEAD if path.contains("/blobs/") => {
                        Some(answer(200, &[("content-length", "5")], ""))
                    }
                    Method::HEAD => Some(answer(404, &[], "")),
                    Method::PUT if path.contains("/manifests/") => {
                        let body = format!(
                            r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","detail":{{"digest":"{missing}"}}}}]}}"#
                        );
                        Some(if asked.fetch_add(1, Ordering::SeqCst) < refusals {
                            answer(404, &[], body)
                        } else {
                            answer(201, &[], "")
                        })
                    }
                    _ => None,
                }
            },
            plain,
        )
        .await;
        let local = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
        let mut blobs = Vec::new();
        for bytes in [Bytes::from_static(b"{ }  "), layer] {
            let blob = Descriptor::of(media_type::LAYER, &bytes);
            local
                .write_blob(&blob.digest, blob.size, from_bytes(bytes))
                .await
                .unwrap();
            blobs.push(blob);
        }
        let manifest = raw(&Manifest::image(blobs.remove(0), blobs));
        let to = remote(&picky);
        let moved = Transfer::between(&*local, &to).image(&manifest).await;
        assert_eq!(moved.is_ok(), expected, "{moved:?}");
        assert!(picky.has(b"layer") && !picky.has(b"{ }  "));
        assert_eq!(picky.methods(), "POST PUT");
    }
}

#[tokio::test]
async fn an_image_goes_children_first() {
    let server = support::our_server().await;
    let watched = support::proxy(server.address, |_| None, |_, _| {}).await;
    let to = support::remote(&watched.host(), "a");
    let local = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
    let image = support::image(&*local, "x").await;
    local
        .write_manifest(&tag("x"), &image, &Condition::Always)
        .await
        .unwrap();
    Transfer::between(&*local, &to).image(&image).await.unwrap();
    to.write_manifest(&tag("x"), &image, &Condition::Always)
        .await
        .unwrap();
    let writes: Vec<_> = watched
        .seen()
        .into_iter()
        .filter(|seen| seen.method == Method::PUT)
        .collect();
    let paths: Vec<_> = writes.iter().map(|seen| seen.uri.path().to_owned()).collect();
    let kinds: Vec<bool> = paths.iter().map(|path| path.contains("/blobs/")).collect();
    assert_eq!(kinds, [true, true, false, false], "{paths:?}");
    assert!(
        paths[2].contains("sha256:") && paths[3].ends_with("/manifests/x"),
        "{paths:?}"
    );
}

#[tokio::test]
async fn h6_no_query_of_a_location_is_in_an_error() {
    let picky = Picky::start(
        |seen, _| (seen.method == Method::PUT).then(|| answer(403, &[], "no")),
        |_, _, headers| {
            if headers.contains_key("location") {
                set(headers, "location", "/v2/a/blobs/uploads/1?signature=sentinel");
            }
        },
    )
    .await;
    let remote = remote(&picky);
    let error = upload(&remote, &content(100)).await.unwrap_err();
    assert!(!format!("{} {error:?} {remote:?}", chain(&error)).contains("sentinel"));
}
