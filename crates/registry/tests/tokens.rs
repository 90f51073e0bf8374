//! Tokens: when they are asked for, for what, how long they are used, and who gets to see them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::Digest;
use cairn_store::error::Denial;
use cairn_store::{Condition, Repository, RepositoryError, Written, from_bytes};
use http::Method;
use support::tokens::{
    anonymous, as_credential, assert_denied, basic, bearer, guarded, numbering, password, query, read,
    refused, served, unauthorized, with,
};
use support::{Seen, answer, chain, fake, small, tag};

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
