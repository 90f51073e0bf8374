//! What `cairn doctor` finds out: of a server of ours, and of one behind something that has a quirk.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_registry::server::ServerConfig;
use cairn_store::examine::{Answer, Found, Left, Patience, Scratch, Subject};
use cairn_store::{Page, Repository, RepositoryError};
use http::{HeaderMap, Method};
use support::{Fake, FakeAnswer, Running, Seen, answer, our_server, proxy, remote};

const IMPATIENT: Patience = Patience {
    polls: 2,
    first: Duration::ZERO,
};

struct Examined {
    found: Vec<Found>,
    left: Left,
    tags: Vec<String>,
}

impl Examined {
    fn answer(&self, subject: Subject) -> Answer {
        self.found(subject).answer
    }

    fn found(&self, subject: Subject) -> &Found {
        self.found.iter().find(|one| one.subject == subject).unwrap()
    }

    /// Everything that is not as it should be.
    fn others(&self) -> Vec<(Subject, Answer)> {
        let others = self.found.iter().filter(|one| one.answer != Answer::Yes);
        others.map(|one| (one.subject, one.answer)).collect()
    }
}

/// Examines `host`, and lists the tags that are then on `server`.
async fn examine(host: &str, server: &Running) -> Result<Examined, RepositoryError> {
    let (there, scratch) = (remote(host, "a"), Scratch::new([7; 8]));
    let found = there.examine(&scratch, IMPATIENT).await;
    let left = scratch.remove(&there).await;
    let tags = remote(&server.host(), "a")
        .list_tags(&Page::first())
        .await
        .unwrap();
    Ok(Examined {
        found: found?,
        left,
        tags: tags.tags.iter().map(ToString::to_string).collect(),
    })
}

/// A server of ours whose requests and answers `request` and `response` change.
async fn quirk<Q, A>(request: Q, response: A) -> Examined
where
    Q: Fn(&mut Seen) -> Option<FakeAnswer> + Send + Sync + 'static,
    A: Fn(&Seen, &mut HeaderMap) + Send + Sync + 'static,
{
    let server = our_server().await;
    let between: Fake = proxy(server.address, request, response).await;
    examine(&between.host(), &server).await.unwrap()
}

/// The same, where only requests are changed.
async fn asks(request: impl Fn(&mut Seen) -> Option<FakeAnswer> + Send + Sync + 'static) -> Examined {
    quirk(request, |_, _| ()).await
}

fn is_put_of_a_tag(seen: &Seen) -> bool {
    seen.method == Method::PUT && seen.uri.path().contains("/manifests/cairn-doctor-")
}

fn without_discovery(seen: &Seen) -> Option<FakeAnswer> {
    seen.uri.path().contains("_oci").then(|| answer(404, &[], ""))
}

#[tokio::test]
async fn a_server_of_ours_does_everything_and_nothing_is_left_on_it() {
    let server = our_server().await;
    let examined = examine(&server.host(), &server).await.unwrap();
    assert_eq!(examined.others(), []);
    assert_eq!(examined.found.len(), Subject::ALL.len());
    assert!(examined.left.is_nothing());
    assert!(examined.tags.is_empty());
}

#[tokio::test]
async fn looking_writes_nothing() {
    let server = our_server().await;
    let between = proxy(server.address, |_| None, |_, _| ()).await;
    let found = remote(&between.host(), "a").look().await.unwrap();
    let answer = |subject| found.iter().find(|one| one.subject == subject).unwrap().answer;
    assert_eq!(answer(Subject::Conditions), Answer::Yes);
    assert_eq!(answer(Subject::Referrers), Answer::Yes);
    let methods: Vec<Method> = between.seen().into_iter().map(|seen| seen.method).collect();
    assert!(methods.iter().all(|method| *method == Method::GET), "{methods:?}");
}

#[tokio::test]
async fn conditions_that_are_removed_on_the_way_are_broken() {
    let examined = asks(|seen| {
        for header in ["if-match", "if-none-match", "cairn-condition"] {
            seen.headers.remove(header);
        }
        None
    })
    .await;
    assert_eq!(examined.others(), [(Subject::Conditions, Answer::Broken)]);
}

#[tokio::test]
async fn conditions_that_nobody_confirms_are_broken() {
    let examined = quirk(|_| None, |_, headers| drop(headers.remove("cairn-condition"))).await;
    assert_eq!(examined.others(), [(Subject::Conditions, Answer::Broken)]);
    assert!(
        examined
            .found(Subject::Conditions)
            .detail
            .contains("not confirmed")
    );
}

#[tokio::test]
async fn conditions_that_nobody_announces_are_not_relied_on() {
    let examined = asks(|seen| without_discovery(seen)).await;
    assert_eq!(examined.answer(Subject::Conditions), Answer::No);
    assert!(examined.found(Subject::Conditions).detail.contains("announces"));

    let examined = asks(|seen| {
        seen.headers.remove("if-match");
        seen.headers.remove("if-none-match");
        without_discovery(seen)
    })
    .await;
    assert_eq!(examined.answer(Subject::Conditions), Answer::No);
    assert!(examined.found(Subject::Conditions).detail.contains("overwritten"));
    assert_eq!(examined.answer(Subject::Seal), Answer::No);
}

#[tokio::test]
async fn tags_that_do_not_move_are_told_from_those_that_only_say_so() {
    let refuses = |status: u16| {
        move |seen: &mut Seen| {
            let first = seen.body.windows(5).any(|part| part == b"first");
            (is_put_of_a_tag(seen) && seen.uri.path().ends_with("-c") && !first)
                .then(|| answer(status, &[], ""))
        }
    };
    let examined = asks(refuses(409)).await;
    assert_eq!(examined.others(), [(Subject::TagsMove, Answer::No)]);
    let examined = asks(refuses(201)).await;
    assert_eq!(
        examined.others(),
        [
            (Subject::TagsMove, Answer::Broken),
            (Subject::TagsFresh, Answer::Unknown)
        ]
    );
}

#[tokio::test]
async fn where_nothing_can_be_deleted_the_tags_that_stay_are_named() {
    let examined = asks(|seen| {
        (seen.method == Method::DELETE && !seen.uri.path().contains("/uploads/"))
            .then(|| answer(405, &[], ""))
    })
    .await;
    assert_eq!(
        examined.others(),
        [
            Subject::DeleteTags,
            Subject::DeleteManifests,
            Subject::DeleteBlobs
        ]
        .map(|one| (one, Answer::No))
    );
    let left: Vec<String> = examined.left.tags.iter().map(ToString::to_string).collect();
    assert_eq!(left, examined.tags);
    assert!(
        left.iter()
            .all(|tag| tag.starts_with("cairn-doctor-0707070707070707-"))
    );
    assert!(!examined.left.manifests.is_empty() && examined.left.blobs > 0);
}

#[tokio::test]
async fn where_tags_cannot_be_deleted_they_go_with_their_manifests() {
    let examined = asks(|seen| {
        let by_tag = seen.uri.path().contains("/manifests/cairn-doctor-");
        (seen.method == Method::DELETE && by_tag).then(|| answer(400, &[], ""))
    })
    .await;
    assert_eq!(examined.others(), [(Subject::DeleteTags, Answer::No)]);
    assert!(examined.left.is_nothing(), "{:?}", examined.left);
    assert!(examined.tags.is_empty());
}

#[tokio::test]
async fn without_the_referrers_api_no_fallback_tag_is_left() {
    let examined = quirk(
        |seen| {
            let referrers = seen.uri.path().contains("/referrers/");
            referrers
                .then(|| answer(404, &[], ""))
                .or_else(|| without_discovery(seen))
        },
        |_, headers| drop(headers.remove("oci-subject")),
    )
    .await;
    assert_eq!(examined.answer(Subject::Referrers), Answer::No);
    assert!(examined.tags.is_empty(), "{:?}", examined.tags);
}

#[tokio::test]
async fn lists_that_are_late_short_or_in_no_order_are_found_out() {
    let asked = AtomicUsize::new(0);
    let late = asks(move |seen| {
        let list = seen.uri.path().ends_with("/tags/list");
        // The first look counts what is there; the second is the first for what was written.
        (list && asked.fetch_add(1, Ordering::SeqCst) == 1)
            .then(|| answer(200, &[], r#"{"name":"a","tags":[]}"#))
    })
    .await;
    assert_eq!(late.others(), [(Subject::ListsFresh, Answer::No)]);

    let short = asks(|seen| {
        let list = seen.uri.path().ends_with("/tags/list");
        list.then(|| answer(200, &[], r#"{"name":"a","tags":["v2","v1"]}"#))
    })
    .await;
    assert_eq!(
        short.others(),
        [Subject::ListsWhole, Subject::ListsSorted, Subject::ListsFresh].map(|one| (one, Answer::No))
    );
}

#[tokio::test]
async fn a_smaller_limit_for_manifests_is_found_in_few_steps() {
    let examined =
        asks(|seen| (seen.method == Method::PUT && seen.body.len() > 2 << 20).then(|| answer(413, &[], "")))
            .await;
    assert_eq!(examined.others(), [(Subject::ManifestSize, Answer::No)]);
    let detail = &examined.found(Subject::ManifestSize).detail;
    assert!(detail.starts_with("1 MiB"), "{detail}");
}

#[tokio::test]
async fn pieces_are_as_small_as_the_registry_says() {
    let begins = |seen: &Seen| seen.method == Method::POST;
    let examined = quirk(
        |_| None,
        move |seen, headers| {
            if begins(seen) {
                headers.insert("oci-chunk-min-length", "2048".parse().unwrap());
            }
        },
    )
    .await;
    assert_eq!(examined.others(), []);
    assert!(examined.found(Subject::ChunkedUploads).detail.contains("2048"));

    let small =
        asks(|seen| (seen.method == Method::PATCH && seen.body.len() == 1024).then(|| answer(416, &[], "")))
            .await;
    assert_eq!(small.others(), []);
    assert!(small.found(Subject::ChunkedUploads).detail.contains("5 MiB"));

    let none = asks(|seen| (seen.method == Method::PATCH).then(|| answer(405, &[], ""))).await;
    assert_eq!(none.others(), [(Subject::ChunkedUploads, Answer::No)]);
}

#[tokio::test]
async fn a_piece_longer_than_the_bound_is_not_sent() {
    let examined = quirk(
        |_| None,
        |seen, headers| {
            if seen.method == Method::POST {
                headers.insert("oci-chunk-min-length", "9999999999".parse().unwrap());
            }
        },
    )
    .await;
    assert_eq!(examined.others(), [(Subject::ChunkedUploads, Answer::No)]);
}

#[tokio::test]
async fn headers_mounts_and_types_are_found_out() {
    let examined = quirk(
        |seen| {
            let artifact = seen.body.windows(12).any(|part| part == b"artifactType");
            if is_put_of_a_tag(seen) && artifact {
                return Some(answer(400, &[], r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#));
            }
            // A mount that begins an upload instead.
            if seen.uri.query().is_some_and(|query| query.contains("mount=")) {
                seen.uri = seen.uri.path().parse().unwrap();
            }
            None
        },
        |_, headers| drop(headers.remove("docker-content-digest")),
    )
    .await;
    assert_eq!(examined.answer(Subject::Artifacts), Answer::No);
    assert_eq!(examined.answer(Subject::Mounts), Answer::No);
    assert_eq!(examined.answer(Subject::DigestHeader), Answer::No);
}

#[tokio::test]
async fn a_registry_in_trouble_is_no_registry_that_cannot() {
    let examined = asks(|seen| {
        (seen.method == Method::DELETE && seen.uri.path().contains("/blobs/sha256"))
            .then(|| answer(500, &[], ""))
    })
    .await;
    assert_eq!(examined.others(), [(Subject::DeleteBlobs, Answer::Unknown)]);
}

#[tokio::test]
async fn who_may_not_push_is_told_so_and_leaves_nothing() {
    let server = Running::start(
        std::sync::Arc::new(cairn_store::Memory::new()),
        ServerConfig::default(),
    )
    .await;
    let between = proxy(
        server.address,
        |seen| (seen.method != Method::GET && seen.method != Method::HEAD).then(|| answer(403, &[], "")),
        |_, _| (),
    )
    .await;
    let error = examine(&between.host(), &server).await.err().unwrap();
    assert!(matches!(error, RepositoryError::Denied { .. }), "{error:?}");
}
