//! Writes under a condition, when something goes wrong between client and server.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use cairn_oci::Digest;
use cairn_store::{Condition, RawManifest, Referrers, Repository, RepositoryError};
use http::Method;
use support::{answer, fake, forgetful, image, our_server, proxy, remote, small, tag};

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
