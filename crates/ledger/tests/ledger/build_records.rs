//! Build records: signed by a release that stands, or not there at all.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_ledger::build_record::{MEDIA_TYPE, RECENT, recent};
use cairn_ledger::entry::{Entry, Kind};
use cairn_ledger::{CopyOptions, Opened};
use cairn_oci::Digest;
use cairn_store::{Overlay, Page, ReferrersPage, Repository, RepositoryError};

use crate::support::*;

/// A repository that lists nothing that refers to an image.
#[derive(Debug)]
struct Unlisted(Repo);

#[async_trait]
impl Overlay for Unlisted {
    fn below(&self) -> &dyn Repository {
        &*self.0
    }

    async fn list_referrers(
        &self,
        _: &Digest,
        _: Option<&str>,
        _: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        Ok(ReferrersPage {
            manifests: Vec::new(),
            next: None,
        })
    }
}

/// Releases `name` with the record `record of NAME`.
async fn release_recorded(world: &World, name: &str, to: &[&str]) -> Digest {
    let image = world.image(name).await;
    let record = Bytes::from(format!("record of {name}"));
    let record = world.ledger.attach_record(image, record).await.unwrap();
    let opened = world.open().await;
    let request = cairn_ledger::ReleaseRequest {
        record: Some(record),
        ..release(name, image, to)
    };
    world
        .ledger
        .release(&opened, &world.context(), &request)
        .await
        .unwrap();
    record
}

/// A ledger in which each of `names` was released with a record.
async fn world(names: &[&str]) -> World {
    let world = World::new();
    world.init().await;
    for name in names {
        release_recorded(&world, name, &["prod"]).await;
    }
    world
}

/// The ledger with one more entry, whatever it says.
async fn append(world: &World, entry: &Entry) {
    let mut envelopes = envelopes(&world.open().await);
    envelopes.push(entry.sign(&world.key).unwrap().bytes().clone());
    forge_linear(world, &envelopes, &world.key).await;
}

fn versions(opened: &Opened) -> Vec<String> {
    let recent = recent(opened);
    recent.iter().map(|one| one.version.to_string()).collect()
}

async fn referrers(world: &World, image: Digest) -> usize {
    let page = Page::first();
    let found = world
        .repo
        .list_referrers(&image, Some(MEDIA_TYPE), &page)
        .await
        .unwrap();
    found.manifests.len()
}

#[tokio::test]
async fn the_newest_release_comes_first_and_its_record_is_read_by_its_digest() {
    let world = world(&["1", "2"]).await;
    let opened = world.open().await;
    assert_eq!(versions(&opened), ["2", "1"]);
    let record = recent(&opened)[0].record;
    let bytes = world.ledger.read_record(record, 100).await.unwrap();
    assert_eq!(bytes, "record of 2");
    world.ledger.read_record(record, 5).await.unwrap_err();
    let image = world.image("2").await;
    assert_eq!(referrers(&world, image).await, 1);
    world
        .ledger
        .attach_record(image, Bytes::from("record of 2"))
        .await
        .unwrap();
    assert_eq!(referrers(&world, image).await, 1);
    assert!(world.audit().await.ok);
    let error = world
        .ledger
        .attach_record(Digest::of(b"no image"), Bytes::new())
        .await;
    assert!(error.unwrap_err().to_string().contains("lacks the manifest"));
}

#[tokio::test]
async fn a_yanked_or_contested_or_void_release_says_nothing() {
    let world = world(&["1", "2"]).await;
    let opened = world.open().await;
    let bound = |name: &str| opened.state().unwrap().versions[&version(name)].bound[0].digest;
    let yank = Entry {
        version: Some(version("2")),
        digest: Some(bound("2")),
        ..entry(&opened, Kind::Yank, 1)
    };
    append(&world, &yank).await;
    assert_eq!(versions(&world.open().await), ["1"]);

    // Pruned: the image is on its way out.
    let opened_now = world.open().await;
    release_recorded(&world, "0", &[]).await;
    assert_eq!(versions(&world.open().await), ["0", "1"]);
    let prune = Entry {
        version: Some(version("0")),
        digest: Some(world.image("0").await),
        ..entry(&opened_now, Kind::Prune, 4)
    };
    append(&world, &prune).await;
    assert_eq!(versions(&world.open().await), ["1"]);

    // Bound by somebody who could not see the first: contested.
    let other = Entry {
        version: Some(version("1")),
        digest: Some(world.image("other").await),
        record: Some(Digest::of(b"other")),
        ..entry(&opened, Kind::Release, 2)
    };
    append(&world, &other).await;
    assert!(recent(&world.open().await).is_empty());

    // A second time, by somebody who had seen it: void.
    release_recorded(&world, "3", &["prod"]).await;
    let opened = world.open().await;
    let again = Entry {
        version: Some(version("3")),
        digest: Some(world.image("again").await),
        record: Some(Digest::of(b"again")),
        moves: one_move(&opened, "prod"),
        ..entry(&opened, Kind::Release, 3)
    };
    append(&world, &again).await;
    let recorded = recent(&world.open().await);
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].record, Digest::of(b"record of 3"));
}

/// Who may push and has no key attaches what he likes: it is nobody's release.
#[tokio::test]
async fn what_nobody_signed_is_not_looked_at() {
    let world = world(&["1"]).await;
    let image = world.image("1").await;
    let planted = world
        .ledger
        .attach_record(image, Bytes::from("planted"))
        .await
        .unwrap();
    assert_eq!(referrers(&world, image).await, 2);
    let recorded = recent(&world.open().await);
    assert_eq!(recorded.len(), 1);
    assert_ne!(recorded[0].record, planted);
}

#[tokio::test]
async fn so_many_releases_and_those_that_channels_show() {
    let world = World::new();
    world.init().await;
    release_recorded(&world, "0.1", &["old"]).await;
    for number in 0..RECENT + 3 {
        release_recorded(&world, &format!("1.{number}"), &[]).await;
    }
    let found = versions(&world.open().await);
    assert_eq!(found.len(), RECENT + 1);
    assert_eq!(found[0], format!("1.{}", RECENT + 2));
    assert_eq!(found[RECENT], "0.1");
}

#[tokio::test]
async fn a_copy_has_the_records_also_if_nothing_lists_them() {
    for native in [true, false] {
        let from = world(&["1"]).await;
        let to = World::new();
        let source = if native {
            from.through(from.repo.clone())
        } else {
            from.through(Arc::new(Unlisted(from.repo.clone())))
        };
        let opened = source.open().await;
        source
            .ledger
            .copy_to(&opened, &to.ledger, CopyOptions::default())
            .await
            .unwrap();
        let report = to.audit().await;
        assert!(report.ok, "{report:?}");
        assert_eq!(referrers(&to, to.image("1").await).await, 1, "native: {native}");
        let again = source
            .ledger
            .copy_to(&opened, &to.ledger, CopyOptions::default())
            .await
            .unwrap();
        assert_eq!(again.transferred.uploaded.blobs, 0);
    }
}

#[tokio::test]
async fn a_record_that_is_gone_is_a_finding() {
    let world = world(&["1"]).await;
    let record = recent(&world.open().await)[0].record;
    let image = world.image("1").await;
    let found = world
        .repo
        .list_referrers(&image, Some(MEDIA_TYPE), &Page::first())
        .await
        .unwrap();
    world
        .repo
        .delete_manifest(&found.manifests[0].digest)
        .await
        .unwrap();
    world.repo.delete_blob(&record).await.unwrap();
    assert_eq!(world.codes().await, ["record-missing"]);
    assert!(world.ledger.read_record(record, 100).await.is_err());
}
