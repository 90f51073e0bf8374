//! The audit in both directions: what is stored, attached and tagged against what the entries say.

use async_trait::async_trait;
use cairn_ledger::audit::AuditOptions;
use cairn_ledger::entry::{Entry, Kind};
use cairn_ledger::operation::{RecordRequest, YankRequest};
use cairn_ledger::referrer::Referrer;
use cairn_oci::{Descriptor, Digest};
use cairn_store::{Overlay, RawManifest, Repository, RepositoryError, Target};

use crate::support::*;

/// A repository that does not answer when it is asked for some manifests, and has lost some blobs.
#[derive(Debug)]
struct Blind {
    inner: Repo,
    to: Vec<Digest>,
    lost: Vec<Digest>,
}

impl Blind {
    fn look(&self, target: &Target) -> Result<(), RepositoryError> {
        match target {
            Target::Digest(digest) if self.to.contains(digest) => Err(RepositoryError::Unreachable {
                repository: self.inner.label(),
                source: "no answer".into(),
            }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Overlay for Blind {
    fn below(&self) -> &dyn Repository {
        &*self.inner
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        match self.lost.contains(digest) {
            true => Ok(None),
            false => self.inner.stat_blob(digest).await,
        }
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.look(target)?;
        self.inner.stat_manifest(target).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.look(target)?;
        self.inner.read_manifest(target).await
    }
}

async fn report(world: &World, way_back: usize) -> cairn_ledger::audit::AuditReport {
    let options = AuditOptions {
        way_back,
        ..AuditOptions::default()
    };
    world.ledger.audit(&world.open().await, options).await.unwrap()
}

#[tokio::test]
async fn an_image_with_many_versions_is_looked_at_once_and_whole() {
    let world = World::new();
    world.init().await;
    let mut opened = world.open().await;
    let image = world.image("the same").await;
    for number in 0..258 {
        let request = release(&format!("1.{number}"), image, &[]);
        let done = world.ledger.release(&opened, &world.context(), &request).await;
        opened = done.unwrap().opened;
    }
    let report = world.audit().await;
    assert!(report.ok && report.unchecked.is_empty(), "{report:?}");
    assert_eq!((report.checked.releases, report.checked.referrers), (258, 258));
}

#[tokio::test]
async fn findings_name_the_entry_by_its_position() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let opened = world.open().await;
    let forged = Entry {
        version: Some(version("2")),
        digest: Some(world.image("2").await),
        ..entry(&opened, Kind::Release, 7)
    };
    let mut all = envelopes(&opened);
    all.push(forged.sign(&world.key).unwrap().bytes().clone());
    // The same entry once more: a ghost.
    all.push(all[1].clone());
    forge_linear(&world, &all, &world.key).await;
    let found = report(&world, 0).await;
    let ghost = found
        .findings
        .iter()
        .find(|one| one.code == "entry-repeated")
        .unwrap();
    assert_eq!(ghost.subject, "#3");
}

#[tokio::test]
async fn g13_a_step_back_whose_image_lost_a_blob_fails_the_audit() {
    let world = World::new();
    world.init().await;
    for name in ["1", "2", "3"] {
        world.release(name, &["prod"]).await;
    }
    assert!(report(&world, 2).await.ok);
    let few = report(&world, 5).await;
    assert!(
        few.ok
            && few
                .not_applicable
                .iter()
                .any(|text| text.contains("5 steps back of prod")),
        "{few:?}"
    );
    let first = world.tag("1").await.unwrap();
    let manifest = world.manifest(first).await;
    let layer = manifest.document().unwrap().blobs()[1].digest;
    let world = world.through(std::sync::Arc::new(Blind {
        inner: world.repo.clone(),
        to: Vec::new(),
        lost: vec![layer],
    }));
    let broken = |report: &cairn_ledger::audit::AuditReport| {
        let found = report.findings.iter().find(|one| one.code == "way-back-broken");
        found.map(|one| (one.subject.clone(), one.message.clone()))
    };
    assert_eq!(broken(&report(&world, 1).await), None, "one step back is whole");
    let (channel, message) = broken(&report(&world, 2).await).unwrap();
    assert_eq!(channel, "prod");
    assert!(message.contains("step 2 back, 1"), "{message}");
}

#[tokio::test]
async fn what_is_attached_in_our_name_must_be_an_entry() {
    let world = World::new();
    world.init().await;
    let digest = world.release("1", &["prod"]).await.digest.unwrap();
    let clean = report(&world, 0).await;
    assert!(clean.ok && clean.checked.referrers == 1, "{clean:?}");
    let subject = world
        .repo
        .stat_manifest(&Target::Digest(digest))
        .await
        .unwrap()
        .unwrap();

    // An entry of this ledger that it does not have: it is hidden, or was never acknowledged.
    let opened = world.open().await;
    let all = envelopes(&opened);
    world.release("2", &["prod"]).await;
    let second = world.open().await;
    let (_, record, _) = second.view().find(&second.view().records()[2].name).unwrap();
    let referrer = Referrer::of(record, subject.clone()).unwrap();
    referrer.write(&*world.repo, &subject).await.unwrap();
    let wrong = report(&world, 0).await;
    let found = wrong
        .findings
        .iter()
        .find(|one| one.code == "referrer-differs")
        .unwrap();
    assert_eq!(found.subject, digest.to_string());
    assert!(
        found
            .message
            .contains("is the entry #2, which is about something else"),
        "{}",
        found.message
    );
    forge_linear(&world, &all, &world.key).await;
    let hidden = report(&world, 0).await;
    let found = hidden
        .findings
        .iter()
        .find(|one| one.code == "referrer-differs")
        .unwrap();
    assert!(
        found.message.contains("which the ledger lacks"),
        "{}",
        found.message
    );

    // Another ledger may speak of the same image.
    let other = World::new();
    // Later, and so another genesis.
    other.context();
    other.init().await;
    other.release("1", &["prod"]).await;
    let theirs = other.open().await;
    let (_, record, _) = theirs.view().find(&theirs.view().records()[1].name).unwrap();
    let referrer = Referrer::of(record, subject.clone()).unwrap();
    referrer.write(&*world.repo, &subject).await.unwrap();
    let both = report(&world, 0).await;
    assert!(
        both.notes.iter().any(|one| one.code == "referrer-of-another"),
        "{both:?}"
    );
    assert_eq!(both.findings.len(), hidden.findings.len());
}

#[tokio::test]
async fn tags_after_content_must_show_it() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let other = world.image("other").await;
    world
        .set_tag(&format!("cairn-i-{}", &other.hex()[..16]), other)
        .await;
    assert!(report(&world, 0).await.ok);
    world.set_tag("cairn-i-0123456789abcdef", other).await;
    let found = report(&world, 0).await.findings;
    assert_eq!(
        (found[0].code, found[0].subject.as_str()),
        ("tag-differs", "cairn-i-0123456789abcdef")
    );
}

#[tokio::test]
async fn one_blob_that_cannot_be_looked_at_leaves_the_rest_and_is_told() {
    let world = World::new();
    world.init().await;
    for name in ["1", "2"] {
        world.release(name, &["prod"]).await;
    }
    let first: Digest = world.tag("1").await.unwrap();
    let blind = world.through(std::sync::Arc::new(Blind {
        inner: world.repo.clone(),
        to: vec![first],
        lost: Vec::new(),
    }));
    let report = report(&blind, 0).await;
    assert!(report.ok, "{report:?}");
    assert_eq!(
        report.unchecked.len(),
        2,
        "the image, and its statement: {report:?}"
    );
    assert!(report.unchecked[0].contains(&first.to_string()));
    assert_eq!(report.checked.channels, 1);
}

/// A registry without seals lets everybody write such a tag, and whoever pulls by it gets what it shows.
#[tokio::test]
async fn the_tag_of_a_version_that_shows_something_else_is_found_barred_or_not() {
    let world = World::new();
    let world = world.through(Plain::new(world.repo.clone()));
    world.init().await;
    world.release("2", &[]).await;
    let released = world.release("1", &[]).await;
    let yank = YankRequest {
        version: version("1"),
        digest: None,
    };
    let context = world.context();
    let done = world.ledger.yank(&released.opened, &context, &yank).await;
    done.unwrap();
    assert!(world.audit().await.ok);
    let evil = world.image("evil").await;
    for (name, findings) in [("1", 1), ("2", 2)] {
        world.set_tag(name, evil).await;
        assert_eq!(world.codes().await, vec!["tag-differs"; findings]);
    }
}

/// No version names it, and the way back leads to it.
#[tokio::test]
async fn an_image_on_the_way_back_that_no_version_names_is_looked_at() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let by_hand = world.image("by hand").await;
    world.set_tag("prod", by_hand).await;
    let request = RecordRequest {
        channel: channel("prod"),
        found: by_hand,
    };
    let (opened, context) = (world.open().await, world.context());
    let done = world.ledger.record(&opened, &context, &request).await;
    done.unwrap();
    world.release("2", &["prod"]).await;
    assert!(world.audit().await.ok);
    let target = Target::Digest(by_hand);
    let manifest = world.repo.read_manifest(&target).await.unwrap().unwrap();
    let layer = manifest.document().unwrap().blobs()[1].digest;
    world.repo.delete_blob(&layer).await.unwrap();
    assert_eq!(world.codes().await, ["blob-missing"]);
}
