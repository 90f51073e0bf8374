//! Keys that are not listed, or may only go back: what they can write, and what they are refused before anything is written.

use cairn_ledger::authority::{Authority, ChannelRules, Grant, Role, Rules};
use cairn_ledger::entry::Kind;
use cairn_ledger::head;
use cairn_ledger::key::Signer as _;
use cairn_ledger::operation::{OperationError, RollbackTarget};
use cairn_ledger::trust::TrustPolicy;

use crate::support::*;

/// prod shows 2 after 1; unlisted keys may roll it back.
async fn world() -> World {
    let world = World::new();
    let mut authority = Authority::single(world.key.key().clone());
    authority.keys.push(Grant {
        roles: vec![Role {
            kinds: Some(vec![Kind::Rollback]),
            channels: None,
            shown: true,
        }],
        ..Grant::owner(key(2).key().clone())
    });
    world
        .ledger
        .initialise(&world.context(), authority)
        .await
        .unwrap();
    world.release("0", &[]).await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    let opened = world.open().await;
    let mut rules = entry(&opened, Kind::Rules, 100);
    let prod = ChannelRules {
        glass: vec![Kind::Rollback],
        ..ChannelRules::default()
    };
    rules.rules = Some(Rules {
        channels: [(channel("prod"), prod)].into(),
    });
    let mut all = envelopes(&opened);
    all.push(rules.sign(&world.key).unwrap().bytes().clone());
    forge_linear(&world, &all, &key(1)).await;
    world
}

#[tokio::test]
async fn a_head_of_an_unlisted_key_counts_only_behind_its_own_entry_in_effect() {
    let world = world().await;
    let opened = world.open().await;
    let before = envelopes(&opened);
    let mut back = entry(&opened, Kind::Rollback, 1);
    back.version = Some(version("1"));
    back.digest = Some(world.image("1").await);
    back.moves = one_move(&opened, "prod");
    back.hold = Some(true);
    back.glass = Some(key(7).key().clone());
    let with = |entry: &cairn_ledger::Entry| {
        let mut all = before.clone();
        all.push(entry.sign(&key(7)).unwrap().bytes().clone());
        all
    };
    let refused = async |why: &str| {
        let error = open_error(&world, &TrustPolicy::default()).await;
        assert!(
            matches!(error, cairn_ledger::OpenError::Refused { .. }),
            "{why}: {error}"
        );
    };
    let genesis = opened.state().unwrap().ledger;
    let tag = || Some(head::linear_tag());
    forge(&*world.repo, genesis, &before, &key(7), tag()).await;
    refused("no entry of its own").await;
    let mut promote = back.clone();
    (promote.kind, promote.hold) = (Kind::Promote, None);
    forge(&*world.repo, genesis, &with(&promote), &key(7), tag()).await;
    refused("an entry without effect").await;
    let good = with(&back);
    forge(&*world.repo, genesis, &good, &key(8), tag()).await;
    refused("another key").await;
    forge(&*world.repo, genesis, &good, &key(7), tag()).await;
    assert_eq!(world.shows("prod").await.unwrap(), "1");
    let opened = world.open().await;
    assert_eq!(opened.state().unwrap().glass.len(), 1);
    // Once a listed key has written behind it, the unlisted one has no more say.
    world.resume("prod").await;
    let after = envelopes(&world.open().await);
    forge(&*world.repo, genesis, &after, &key(7), tag()).await;
    refused("another entry came behind it").await;
}

#[tokio::test]
async fn a_key_that_may_only_go_back_is_refused_what_is_new_before_anything_is_written() {
    let world = world().await;
    let opened = world.open().await;
    let oncall = key(2);
    let new = back_to("prod", "0");
    let error = world
        .ledger
        .rollback(&opened, &world.context_of(&oncall), &new)
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, OperationError::OnlyShown { channel: at, .. } if *at == channel("prod")),
        "{error}"
    );
    assert!(error.to_string().contains("only to what it has shown"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(
        world.open().await.view().records().len(),
        opened.view().records().len()
    );
    let mut old = back("prod");
    old.target = Some(RollbackTarget::Version(version("1")));
    world
        .ledger
        .rollback(&opened, &world.context_of(&oncall), &old)
        .await
        .unwrap();
    assert_eq!(world.shows("prod").await.unwrap(), "1");
}
