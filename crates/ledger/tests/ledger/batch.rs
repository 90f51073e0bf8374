//! Several entries in one head.

use cairn_ledger::entry::{Kind, Move};
use cairn_ledger::envelope::Envelope;
use cairn_ledger::open::Opened;
use cairn_ledger::{Commit, CommitError};

use crate::support::*;

fn worlds() -> [World; 2] {
    let world = World::new();
    [World::new(), world.through(Plain::new(world.repo.clone()))]
}

/// Releases of one image, each with a version of its own; the last ones also move a channel, one after the other.
async fn releases(world: &World, opened: &Opened, versions: std::ops::Range<u8>) -> Vec<Envelope> {
    let digest = world.image("of all").await;
    let mut after = opened.state().unwrap().last_entry(&channel("prod"));
    let mut all = Vec::new();
    for number in versions {
        let mut release = entry(opened, Kind::Release, number);
        release.version = Some(version(&format!("1.{number}")));
        release.digest = Some(digest);
        release.moves = vec![Move {
            channel: channel("prod"),
            after,
        }];
        let envelope = release.sign(&world.key).unwrap();
        after = Some(envelope.name());
        all.push(envelope);
    }
    all
}

async fn append(world: &World, opened: &Opened, all: &[Envelope]) -> Result<Commit, CommitError> {
    let context = world.context();
    world
        .ledger
        .append_all(opened, all, context.signer, context.at)
        .await
}

#[tokio::test]
async fn many_entries_are_one_head_in_both_modes() {
    for world in worlds() {
        world.init().await;
        let opened = world.open().await;
        let all = releases(&world, &opened, 0..40).await;
        let Commit::Appended(now) = append(&world, &opened, &all).await.unwrap() else {
            panic!("appended")
        };
        assert_eq!(now.head().unwrap().size, 41);
        let read = world.open().await;
        assert!(read.view().names().skip(1).eq(all.iter().map(Envelope::name)));
        assert!(read.view().names().eq(now.view().names()));
        assert_eq!(world.shows("prod").await.unwrap(), "1.39");
        // Once more adds nothing, also from what was opened before.
        for before in [&opened, &read] {
            let Commit::Appended(again) = append(&world, before, &all).await.unwrap() else {
                panic!("there already")
            };
            assert_eq!(again.view().records().len(), 41);
        }
    }
}

#[tokio::test]
async fn those_that_are_there_already_are_left_out() {
    for world in worlds() {
        world.init().await;
        let opened = world.open().await;
        let all = releases(&world, &opened, 0..6).await;
        append(&world, &opened, &all[..4]).await.unwrap();
        append(&world, &world.open().await, &all).await.unwrap();
        let read = world.open().await;
        assert!(read.view().names().skip(1).eq(all.iter().map(Envelope::name)));
    }
}

#[tokio::test]
async fn all_or_none_of_them_are_appended() {
    for world in worlds() {
        world.init().await;
        let opened = world.open().await;
        let first = releases(&world, &opened, 2..3).await.remove(0);
        // Nobody released 9.
        let mut promote = entry(&opened, Kind::Promote, 50);
        promote.version = Some(version("9"));
        promote.digest = Some(world.image("of all").await);
        promote.moves = one_move(&opened, "blue");
        let promote = promote.sign(&world.key).unwrap();
        let all = [first, promote.clone()];
        let Commit::Overtaken(now, which, outcome) = append(&world, &opened, &all).await.unwrap() else {
            panic!("the second would have no effect")
        };
        assert_eq!((which, outcome.stands()), (promote.name(), false));
        assert_eq!(now.view().records().len(), 1);
        assert_eq!(world.open().await.view().records().len(), 1);
    }
}

#[tokio::test]
async fn an_empty_list_is_nothing_to_do() {
    for world in worlds() {
        world.init().await;
        let opened = world.open().await;
        assert!(matches!(
            append(&world, &opened, &[]).await.unwrap(),
            Commit::Appended(_)
        ));
        assert_eq!(world.open().await.head(), opened.head());
    }
}
