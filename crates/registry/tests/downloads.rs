//! Blobs that break off on their way, and registries that give other bytes than were asked for.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Manifest, media_type};
use cairn_registry::client::{Client, ClientConfig, Remote, Timeouts};
use cairn_store::transfer::Transfer;
use cairn_store::{Condition, Memory, Repository, Store, collect, verified};
use support::picky::content;
use support::{Fake, FakeAnswer, Noted, Seen, answer, broken, chain, config, endless, fake, raw};

const MIB: usize = 1 << 20;

fn remote(server: &Fake) -> Remote {
    let client = Client::new(ClientConfig {
        pauses: Arc::new(Noted::default()),
        ..config()
    });
    client.repository(&server.host(), "a".parse().unwrap()).unwrap()
}

/// Where a request wants the blob from.
fn from(seen: &Seen) -> Option<usize> {
    let range = seen.headers.get("range")?.to_str().unwrap();
    range
        .trim_start_matches("bytes=")
        .split('-')
        .next()
        .unwrap()
        .parse()
        .ok()
}

/// All of `blob` that is wanted, or its first `most` bytes and then a reset.
fn part(seen: &Seen, blob: &Bytes, most: usize) -> FakeAnswer {
    let (at, size) = (from(seen), blob.len());
    let rest = blob.slice(at.unwrap_or(0)..);
    let length = rest.len().to_string();
    let range = format!("bytes {}-{}/{size}", at.unwrap_or(0), size - 1);
    let mut headers = vec![("content-length", length.as_str())];
    if at.is_some() {
        headers.push(("content-range", &range));
    }
    let status = if at.is_some() { 206 } else { 200 };
    if rest.len() > most {
        return broken(status, &headers, rest.slice(..most));
    }
    answer(status, &headers, rest)
}

async fn read(remote: &Remote, blob: &Bytes) -> Result<Bytes, cairn_store::ReadBytes> {
    let digest = Digest::of(blob);
    let found = remote.read_blob(&digest, None).await.unwrap().unwrap();
    assert_eq!(found.size, blob.len() as u64);
    collect(verified(found.content, digest, found.size), 100 << 20).await
}

#[tokio::test]
async fn c16_a_blob_goes_on_where_it_broke_off() {
    let blob = content(5 * MIB);
    let served = blob.clone();
    let server = fake(move |seen| Some(part(seen, &served, 2 * MIB))).await;
    let remote = remote(&server);
    assert_eq!(read(&remote, &blob).await.unwrap(), blob);
    let asked: Vec<_> = server.seen().iter().map(from).collect();
    assert!(asked.len() >= 3 && asked[0].is_none(), "{asked:?}");
    // Nothing came twice.
    assert_eq!(remote.traffic().downloaded_bytes, 5 * MIB as u64);
}

#[tokio::test]
async fn c16_a_download_that_gets_on_may_break_more_often_than_one_that_does_not() {
    let blob = content(9 * MIB);
    let served = blob.clone();
    let server = fake(move |seen| Some(part(seen, &served, MIB + 100_000))).await;
    assert_eq!(read(&remote(&server), &blob).await.unwrap(), blob);
    assert!(server.seen().len() > 3);
    let served = blob.clone();
    let server = fake(move |seen| {
        Some(match from(seen) {
            None => part(seen, &served, MIB),
            Some(_) => part(seen, &served, 0),
        })
    })
    .await;
    let error = read(&remote(&server), &blob).await.unwrap_err();
    let text = chain(&error);
    for expected in [&*server.host(), &Digest::of(&blob).to_string(), "tried 3 times"] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn c16_who_ignores_the_range_is_read_from_the_beginning() {
    let blob = content(3 * MIB);
    let (count, served) = (AtomicUsize::new(0), blob.clone());
    let server = fake(move |_| {
        let length = served.len().to_string();
        Some(match count.fetch_add(1, Ordering::SeqCst) {
            0 => broken(200, &[("content-length", &length)], served.slice(..2 * MIB)),
            _ => answer(200, &[], served.clone()),
        })
    })
    .await;
    assert_eq!(read(&remote(&server), &blob).await.unwrap(), blob);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn c16_a_part_of_a_blob_goes_on_too() {
    let blob = content(3 * MIB);
    for ranges in [true, false] {
        let (count, served) = (AtomicUsize::new(0), blob.clone());
        let server = fake(move |seen| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            if !ranges && !first {
                return Some(answer(200, &[], served.clone()));
            }
            let at = from(seen).unwrap();
            let end = 2 * MIB + 7;
            let range = format!("bytes {at}-{}/{}", end - 1, served.len());
            let length = (end - at).to_string();
            let headers = [("content-range", range.as_str()), ("content-length", &length)];
            Some(if first {
                broken(206, &headers, served.slice(at..at + 1000))
            } else {
                answer(206, &headers, served.slice(at..end))
            })
        })
        .await;
        let wanted = 5..(2 * MIB + 7) as u64;
        let found = remote(&server).read_blob(&Digest::of(&blob), Some(wanted)).await;
        let read = collect(found.unwrap().unwrap().content, 100 << 20).await.unwrap();
        assert_eq!(read, blob.slice(5..2 * MIB + 7));
    }
}

/// Breaks off the first time, and goes on with `other`.
async fn changing(blob: &Bytes, other: impl Fn(usize) -> FakeAnswer + Send + Sync + 'static) -> Fake {
    let blob = blob.clone();
    fake(move |seen| {
        Some(match from(seen) {
            None => part(seen, &blob, MIB),
            Some(at) => other(at),
        })
    })
    .await
}

#[tokio::test]
async fn c16_a_lying_range_is_caught_by_its_header_or_by_the_digest() {
    let blob = content(3 * MIB);
    let size = blob.len();
    let whole = blob.clone();
    // The right header, and bytes of another place.
    let server = changing(&blob, move |at| {
        let range = format!("bytes {at}-{}/{size}", size - 1);
        answer(206, &[("content-range", &range)], whole.slice(..size - at))
    })
    .await;
    let error = read(&remote(&server), &blob).await.unwrap_err();
    assert!(chain(&error).contains("has the digest"), "{}", chain(&error));
    // The wrong header.
    for lie in ["bytes 0-5/9", "bytes 7-9/*", "", "bytes 1-3145727/3145728"] {
        let server = changing(&blob, move |_| answer(206, &[("content-range", lie)], "x")).await;
        let error = read(&remote(&server), &blob).await.unwrap_err();
        assert!(
            chain(&error).contains("another range"),
            "{lie}: {}",
            chain(&error)
        );
        assert_eq!(server.seen().len(), 2);
    }
    // Something of another size.
    let server = changing(&blob, |_| answer(200, &[], "short")).await;
    let error = read(&remote(&server), &blob).await.unwrap_err();
    assert!(chain(&error).contains("changed its size"), "{}", chain(&error));
}

#[tokio::test]
async fn c16_a_blob_that_vanishes_or_is_refused_in_the_middle_is_an_error() {
    let blob = content(3 * MIB);
    for status in [404, 416, 403, 410] {
        let server = changing(&blob, move |_| answer(status, &[], "")).await;
        let error = read(&remote(&server), &blob).await.unwrap_err();
        assert!(chain(&error).contains(&server.host()), "{}", chain(&error));
        assert_eq!(server.seen().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn c16_a_blob_that_stands_still_is_asked_for_again() {
    let blob = content(MIB);
    let served = blob.clone();
    let server = fake(move |seen| {
        Some(match from(seen) {
            None => {
                let length = served.len().to_string();
                support::stalled(200, &[("content-length", &length)], served.slice(..1000))
            }
            Some(_) => part(seen, &served, usize::MAX),
        })
    })
    .await;
    let client = Client::new(ClientConfig {
        timeouts: Timeouts {
            idle: std::time::Duration::from_millis(200),
            ..config().timeouts
        },
        ..config()
    });
    let remote = client.repository(&server.host(), "a".parse().unwrap()).unwrap();
    assert_eq!(read(&remote, &blob).await.unwrap(), blob);
}

/// A server of an image whose layer is `layer`, stated with `size`, and the manifest.
async fn serving(size: u64, layer: fn() -> FakeAnswer) -> (Fake, cairn_store::RawManifest) {
    let stated = Descriptor::new(media_type::LAYER, Digest::of(b"layer"), size);
    let manifest = raw(&Manifest::image(
        Descriptor::of(media_type::CONFIG, b"{}"),
        vec![stated],
    ));
    let config = Digest::of(b"{}").to_string();
    let server = fake(move |seen| {
        Some(if seen.uri.path().ends_with(&config) {
            answer(200, &[], "{}")
        } else {
            layer()
        })
    })
    .await;
    (server, manifest)
}

#[tokio::test]
async fn c1_c2_nothing_is_stored_that_does_not_match() {
    let cases: [(u64, fn() -> FakeAnswer); 6] = [
        (5, || answer(200, &[], "liars")),
        (5, || answer(200, &[], "lay")),
        (5, || answer(200, &[], "layers and more")),
        (5, || endless(200, &[("content-length", "5")])),
        (4, || answer(200, &[], "layer")),
        (6, || answer(200, &[], "layer")),
    ];
    for (number, (size, layer)) in cases.into_iter().enumerate() {
        let (server, manifest) = serving(size, layer).await;
        let from = remote(&server);
        let local = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
        let moved = Transfer::between(&from, &*local).image(&manifest).await;
        assert!(moved.is_err(), "{number}");
        assert_eq!(
            local.stat_blob(&Digest::of(b"layer")).await.unwrap(),
            None,
            "{number}"
        );
        assert_eq!(
            local.stat_manifest(&manifest.digest().into()).await.unwrap(),
            None
        );
        assert!(from.traffic().downloaded_bytes < 100, "{number}");
    }
}

#[tokio::test]
async fn c12_foreign_urls_are_never_fetched() {
    let stranger = fake(|_| Some(answer(200, &[], "layer"))).await;
    let mut foreign = Descriptor::of(media_type::LAYER, b"layer");
    foreign.urls = vec![stranger.url("/layer")];
    let manifest = raw(&Manifest::image(
        Descriptor::of(media_type::CONFIG, b"{}"),
        vec![foreign],
    ));
    let server = fake(|seen| {
        Some(if seen.uri.path().ends_with(&Digest::of(b"{}").to_string()) {
            answer(200, &[], "{}")
        } else {
            answer(404, &[], "")
        })
    })
    .await;
    let local = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
    let moved = Transfer::between(&remote(&server), &*local)
        .image(&manifest)
        .await;
    let text = chain(&moved.unwrap_err());
    assert!(text.contains(&Digest::of(b"layer").to_string()), "{text}");
    assert_eq!(stranger.seen().len(), 0);
}

#[tokio::test]
async fn c17_one_digest_counts_throughout_a_pull() {
    let other = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
    let (one, two) = (
        support::image(&*other, "one").await,
        support::image(&*other, "two").await,
    );
    for image in [&one, &two] {
        let target = image.digest().into();
        other
            .write_manifest(&target, image, &Condition::Always)
            .await
            .unwrap();
    }
    // The tag points at another image each time it is asked for.
    let count = AtomicUsize::new(0);
    let (first, second) = (one.clone(), two.clone());
    let server = Fake::start(move |seen| {
        let turn = count.fetch_add(usize::from(seen.uri.path().ends_with("/x")), Ordering::SeqCst);
        let image = if turn == 0 { first.clone() } else { second.clone() };
        let other = Arc::clone(&other);
        async move {
            let last = seen.uri.path().rsplit('/').next().unwrap().to_owned();
            Some(match last.parse::<Digest>() {
                Err(_) => support::manifest_answer(image.bytes(), &[]),
                Ok(digest) => match other.read_blob(&digest, None).await.unwrap() {
                    Some(blob) => answer(200, &[], collect(blob.content, 1 << 20).await.unwrap()),
                    None => answer(404, &[], ""),
                },
            })
        }
    })
    .await;
    let from = remote(&server);
    let manifest = from.read_manifest(&support::tag("x")).await.unwrap().unwrap();
    let local = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
    Transfer::between(&from, &*local).image(&manifest).await.unwrap();
    assert_eq!(manifest, one);
    let document = two.document().unwrap();
    for blob in document.blobs() {
        assert_eq!(local.stat_blob(&blob.digest).await.unwrap(), None);
    }
    assert_eq!(
        server
            .seen()
            .iter()
            .filter(|seen| seen.uri.path().ends_with("/x"))
            .count(),
        1
    );
}

#[tokio::test]
async fn c3_a_page_of_html_is_no_blob() {
    let (server, manifest) = serving(5, || answer(200, &[("content-type", "text/html")], "<html>")).await;
    let local = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
    let moved = Transfer::between(&remote(&server), &*local)
        .image(&manifest)
        .await;
    assert!(chain(&moved.unwrap_err()).contains("expected 5"));
}
