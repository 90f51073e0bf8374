//! Copying a ledger with its images: whole, again, interrupted; and what is refused before anything is written.

use std::sync::Arc;

use cairn_ledger::entry::Mode;
use cairn_ledger::{Class, Copied, CopyError, CopyOptions};
use cairn_oci::RepositoryName;
use cairn_store::{Memory, Page};

use crate::support::*;

/// A ledger with two releases and a rollback, and an empty repository of the same name somewhere else.
async fn worlds() -> (World, World) {
    let from = World::new();
    from.init().await;
    from.release("1.0.0", &["prod"]).await;
    from.release("2.0.0", &["prod", "staging"]).await;
    from.rollback("prod").await;
    (from, World::new())
}

async fn copy(from: &World, to: &World) -> Result<Copied, CopyError> {
    let opened = from.open().await;
    from.ledger
        .copy_to(&opened, &to.ledger, CopyOptions::default())
        .await
}

/// Everything that has a tag.
async fn tags(world: &World) -> Vec<String> {
    let page = world.repo.list_tags(&Page::first()).await.unwrap();
    page.tags.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_copy_is_whole_passes_an_audit_and_can_be_rolled_back() {
    let (from, to) = worlds().await;
    let copied = copy(&from, &to).await.unwrap();
    assert!(copied.changed && copied.appendable && copied.absent.is_empty());
    assert_eq!(copied.images, 2);
    let report = to.audit().await;
    assert!(report.ok, "{report:?}");
    assert_eq!((report.checked.entries, report.checked.releases), (4, 2));
    assert_eq!(tags(&from).await, tags(&to).await);
    assert_eq!(from.tag("cairn-head").await, to.tag("cairn-head").await);

    // The copy has the same name in another store, so it may be the same repository: work goes on there.
    to.resume("prod").await;
    assert!(to.try_promote("2.0.0", &["prod"], false).await.unwrap().changed);
    assert!(to.rollback("prod").await.changed);
    assert_eq!(to.shows("prod").await.as_deref(), Some("1.0.0"));
    assert!(to.audit().await.ok);
}

#[tokio::test]
async fn a_second_copy_moves_only_what_is_new() {
    let (from, to) = worlds().await;
    copy(&from, &to).await.unwrap();
    let again = copy(&from, &to).await.unwrap();
    assert!(!again.changed);
    assert_eq!(again.transferred.uploaded.blobs, 0, "{:?}", again.transferred);
    from.release("3.0.0", &["staging"]).await;
    let more = copy(&from, &to).await.unwrap();
    assert!(more.changed);
    // An image (layer, manifest; its configuration is that of the others), its referrer (bundle, manifest), and the ledger's
    // pack, config and head.
    assert!(more.transferred.uploaded.blobs <= 8, "{:?}", more.transferred);
    assert!(to.audit().await.ok);
    assert_eq!(to.shows("staging").await.as_deref(), Some("3.0.0"));
}

#[tokio::test]
async fn another_ledger_is_refused_before_anything_is_written() {
    let (from, to) = worlds().await;
    let mut other = World::over(to.repo.clone());
    other.key = key(9);
    other.init().await;
    let before = tags(&to).await;
    let error = copy(&from, &to).await.unwrap_err();
    assert!(matches!(error, CopyError::OtherLedger { .. }), "{error}");
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(tags(&to).await, before);
    let image = from.tag("prod").await.unwrap();
    assert!(!to.has(image).await);
}

#[tokio::test]
async fn a_destination_that_is_newer_is_refused() {
    let (from, to) = worlds().await;
    copy(&from, &to).await.unwrap();
    to.release("3.0.0", &["staging"]).await;
    let error = copy(&from, &to).await.unwrap_err();
    assert!(matches!(error, CopyError::Ahead { .. }), "{error}");
    assert_eq!(to.shows("staging").await.as_deref(), Some("3.0.0"));
}

#[tokio::test]
async fn what_the_destination_is_remembered_to_have_had_must_be_in_the_source() {
    let (from, to) = worlds().await;
    let old = from.open().await;
    from.release("3.0.0", &["staging"]).await;
    let remembered = from.open().await.remember().unwrap();
    let options = CopyOptions {
        remembered: Some(&remembered),
        ..CopyOptions::default()
    };
    let error = from.ledger.copy_to(&old, &to.ledger, options).await.unwrap_err();
    assert!(matches!(error, CopyError::Remembered { .. }), "{error}");
    assert!(tags(&to).await.is_empty());
}

#[tokio::test]
async fn a_tag_that_shows_something_else_is_refused_before_anything_is_written() {
    for tag in ["prod", "1.0.0"] {
        let (from, to) = worlds().await;
        let theirs = to.image("theirs").await;
        to.set_tag(tag, theirs).await;
        let error = copy(&from, &to).await.unwrap_err();
        assert!(
            matches!(&error, CopyError::Tag { found, .. } if *found == theirs),
            "{error}"
        );
        assert_eq!(tags(&to).await, [tag]);
    }
}

#[tokio::test]
async fn without_an_image_that_is_needed_no_ledger_appears() {
    let (from, to) = worlds().await;
    let image = from.tag("staging").await.unwrap();
    let manifest = from.manifest(image).await;
    let layer = manifest.document().unwrap().blobs().last().unwrap().digest;
    let lossy = Plain::damageable(from.repo.clone());
    lossy.lost.lock().unwrap().insert(layer);
    let from = from.through(lossy);
    let error = copy(&from, &to).await.unwrap_err();
    assert_eq!(error.class(), Class::Integrity, "{error}");
    assert!(to.tag("cairn-head").await.is_none());
}

#[tokio::test]
async fn a_causal_ledger_stays_causal() {
    let world = World::new();
    let from = world.through(Plain::new(world.repo.clone()));
    from.init().await;
    from.release("1", &["prod"]).await;
    from.release("2", &["prod"]).await;
    let store = World::new();
    for to in [store.through(Plain::new(store.repo.clone())), World::new()] {
        let copied = copy(&from, &to).await.unwrap();
        assert!(copied.appendable);
        assert_eq!(to.open().await.mode(), Some(Mode::Causal));
        assert!(to.audit().await.ok);
        assert!(to.rollback("prod").await.changed);
        assert_eq!(to.shows("prod").await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_linear_ledger_can_be_read_where_there_are_no_conditions() {
    let (from, to) = worlds().await;
    let to = to.through(Plain::new(to.repo.clone()));
    let copied = copy(&from, &to).await.unwrap();
    assert!(!copied.appendable);
    assert!(to.audit().await.ok);
    assert!(to.try_rollback(&back("staging")).await.is_err());
    from.release("3.0.0", &["staging"]).await;
    copy(&from, &to).await.unwrap();
    assert!(to.audit().await.ok);
}

#[tokio::test]
async fn under_another_name_it_is_a_copy_that_is_read_only() {
    let (from, _) = worlds().await;
    let name: RepositoryName = "team/backup".parse().unwrap();
    let to = World::over(Arc::new(Memory::new().open(&name)));
    let copied = copy(&from, &to).await.unwrap();
    assert!(!copied.opened.is_at_home("team/backup"));
    assert!(to.audit().await.ok);
    let error = to.try_rollback(&back("prod")).await.unwrap_err();
    assert!(error.to_string().contains("is a copy"), "{error}");
}

#[tokio::test]
async fn a_copy_that_ends_after_any_write_is_repeated() {
    let (from, whole) = worlds().await;
    copy(&from, &whole).await.unwrap();
    let expected = tags(&whole).await;
    for at in 0.. {
        let to = World::new();
        let faulty = Faulty::new(to.repo.clone(), at, Fault::Lost, true);
        let first = copy(&from, &to.through(faulty.clone())).await;
        if !faulty.has_struck() {
            first.unwrap();
            assert!(at > 10, "only {at} writes");
            break;
        }
        assert!(first.is_err(), "write {at}");
        copy(&from, &to).await.unwrap();
        assert_eq!(tags(&to).await, expected, "write {at}");
        assert!(to.audit().await.ok, "write {at}");
    }
}

#[tokio::test]
async fn what_the_ledger_does_not_name_is_not_copied() {
    let (from, to) = worlds().await;
    let image = from.image("unreleased").await;
    from.set_tag("feature", image).await;
    copy(&from, &to).await.unwrap();
    // What the ledger does not name stays where it is.
    assert!(!to.has(image).await);
    assert!(to.tag("feature").await.is_none());
}
