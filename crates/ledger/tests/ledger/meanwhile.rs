//! What somebody else does between two steps of a command: after it looked, and before it writes.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cairn_ledger::project::ProjectError;
use cairn_ledger::{Opened, OperationError, TrustPolicy};
use cairn_store::{Condition, Overlay, RawManifest, Repository, RepositoryError, Target};

use crate::support::*;

type Act = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A repository in which something happens just before a tag is first written that begins like this.
struct Before {
    inner: Repo,
    tag: &'static str,
    act: Mutex<Option<Act>>,
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Before({})", self.tag)
    }
}

#[async_trait]
impl Overlay for Before {
    fn below(&self) -> &dyn Repository {
        &*self.inner
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        let is_it = matches!(target, Target::Tag(tag) if tag.as_str().starts_with(self.tag));
        let act = self.act.lock().unwrap().take_if(|_| is_it);
        if let Some(act) = act {
            act.await;
        }
        self.inner.write_manifest(target, manifest, condition).await
    }
}

/// A ledger in either mode in which prod shows 1; what it remembers; and what the tags of its heads begin with.
async fn both() -> [(Arc<World>, &'static str); 2] {
    let linear = World::new();
    let causal = World::over(Plain::new(World::new().repo));
    for world in [&linear, &causal] {
        world.init().await;
        world.release("1", &["prod"]).await;
    }
    [(Arc::new(linear), "cairn-head"), (Arc::new(causal), "cairn-h-")]
}

/// The same store, where `act` happens before `tag` is written; and the ledger as somebody opens it who has seen it before.
async fn with(world: &World, tag: &'static str, act: Act) -> (World, Opened) {
    let before = Before {
        inner: world.repo.clone(),
        tag,
        act: Mutex::new(Some(act)),
    };
    let through = world.through(Arc::new(before));
    let policy = TrustPolicy {
        pin: None,
        remembered: world.open().await.remember(),
    };
    let opened = through.ledger.open(&policy).await.unwrap();
    (through, opened)
}

async fn release_2(world: &World, opened: &Opened) -> Result<(), OperationError> {
    let request = release("2", world.image("2").await, &["prod"]);
    let done = world.ledger.release(opened, &world.context(), &request).await;
    done.map(drop)
}

#[tokio::test]
async fn a_tag_that_somebody_moves_while_an_entry_is_appended_is_left_alone() {
    for (world, head) in both().await {
        let by_hand = world.image("by hand").await;
        let other = Arc::clone(&world);
        let act = async move { other.set_tag("prod", by_hand).await };
        let (through, opened) = with(&world, head, Box::pin(act)).await;
        let error = release_2(&through, &opened).await.unwrap_err();
        let OperationError::Unfinished { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(source, ProjectError::UnknownTag { .. }), "{source:?}");
        assert_eq!(world.tag("prod").await, Some(by_hand));
    }
}

/// Only where conditions are honoured can it be told.
#[tokio::test]
async fn a_tag_that_somebody_moves_just_before_it_is_written_is_left_alone() {
    let [(world, _), _] = both().await;
    let by_hand = world.image("by hand").await;
    let other = Arc::clone(&world);
    let act = async move { other.set_tag("prod", by_hand).await };
    let (through, opened) = with(&world, "prod", Box::pin(act)).await;
    assert!(release_2(&through, &opened).await.is_err());
    assert_eq!(world.tag("prod").await, Some(by_hand));
}

#[tokio::test]
async fn a_channel_that_moves_on_while_its_tag_is_written_ends_with_the_newest() {
    for (world, _) in both().await {
        let other = Arc::clone(&world);
        let act = async move { drop(other.release("3", &["prod"]).await) };
        let (through, opened) = with(&world, "prod", Box::pin(act)).await;
        release_2(&through, &opened).await.unwrap();
        assert_eq!(world.shows("prod").await.unwrap(), "3");
        assert_eq!(world.tag("prod").await, world.tag("3").await);
    }
}

#[tokio::test]
async fn a_versions_tag_that_somebody_writes_while_it_is_released_is_left_alone_and_told() {
    for (world, head) in both().await {
        let by_hand = world.image("by hand").await;
        let other = Arc::clone(&world);
        let act = async move { other.set_tag("2", by_hand).await };
        let (through, opened) = with(&world, head, Box::pin(act)).await;
        let error = release_2(&through, &opened).await.unwrap_err();
        let OperationError::Unfinished { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(source, ProjectError::VersionTag { .. }), "{source:?}");
        assert_eq!(world.tag("2").await, Some(by_hand));
    }
}

#[tokio::test]
async fn who_appends_beside_somebody_else_in_causal_mode_joins_both_heads() {
    let [_, (world, head)] = both().await;
    let other = Arc::clone(&world);
    let act = async move { drop(other.release("3", &["staging"]).await) };
    let (through, opened) = with(&world, head, Box::pin(act)).await;
    release_2(&through, &opened).await.unwrap();
    let report = world.audit().await;
    assert!(report.ok, "{report:?}");
    assert_eq!((report.checked.heads, report.checked.entries), (1, 4));
}
