//! Several writers and readers on a registry as bad as they come, each with a memory of its own: whatever the schedule, nothing that
//! was acknowledged is lost, nobody is told two things, and in the end everybody sees the same.

use std::collections::BTreeSet;

use cairn_ledger::EntryName;
use cairn_ledger::operation::*;
use cairn_ledger::state::Shown;

use crate::late::{Late, Random};
use crate::remembered::Keeper;
use crate::support::*;

const SCHEDULES: u64 = 60;
const STEPS: u64 = 8;
const PEOPLE: u64 = 3;

/// One person: an own memory, or none, as a pipeline has.
#[derive(Default, Clone)]
struct Person {
    kept: Keeper,
    forgets: bool,
}

async fn act(
    world: &World,
    person: &Person,
    random: &mut Random,
    number: u64,
) -> Result<Option<Done>, Box<dyn std::error::Error>> {
    let ledger = person.kept.ledger(world);
    let opened = ledger.open(&person.kept.policy()).await?;
    if opened.state().is_none() {
        return Ok(None);
    }
    let context = world.context();
    let name = ["prod", "staging"][usize::try_from(random.below(2))?];
    let done = match random.below(6) {
        0..=2 => {
            let digest = world.image(&format!("{}", number % 5)).await;
            let request = release(&format!("1.{number}"), digest, &[name]);
            ledger.release(&opened, &context, &request).await
        }
        3 => {
            let request = PromoteRequest {
                version: version(&format!("1.{}", number / 2)),
                channels: channels(&[name]),
                resume: random.one_in(2),
            };
            ledger.promote(&opened, &context, &request).await
        }
        4 => ledger.rollback(&opened, &context, &back(name)).await,
        _ => ledger.resume(&opened, &context, &channel(name)).await,
    };
    match done {
        Ok(done) => Ok(Some(done)),
        // What is in the ledger although it did not move what was wanted is acknowledged too.
        Err(OperationError::Blocked { done, .. } | OperationError::Unfinished { done, .. }) => {
            Ok(Some(*done))
        }
        Err(error) => Err(error.into()),
    }
}

async fn schedule(seed: u64) {
    let store = World::new();
    let late = Late::new(
        store.repo.clone(),
        seed,
        if seed.is_multiple_of(3) { 6 } else { 1000 },
    );
    let calm = store.through(Plain::new(store.repo.clone()));
    calm.init().await;
    let world = store.through(late.clone());
    let mut random = Random(seed ^ 0x5eed);
    let mut people = vec![Person::default(); usize::try_from(PEOPLE).unwrap()];
    people[0].forgets = true;
    let mut acknowledged: BTreeSet<EntryName> = BTreeSet::new();
    for number in 0..STEPS {
        // Sometimes two act on the same view: the second one opened before the first one was done.
        let who = usize::try_from(random.below(PEOPLE)).unwrap();
        let other = usize::try_from(random.below(PEOPLE)).unwrap();
        let mut dice = Random(random.next());
        let mut other_dice = Random(random.next());
        let outcomes = if random.one_in(3) && who != other {
            let (first, second) = tokio::join!(
                act(&world, &people[who], &mut dice, 2 * number),
                act(&world, &people[other], &mut other_dice, 2 * number + 1),
            );
            vec![(who, first), (other, second)]
        } else {
            vec![(who, act(&world, &people[who], &mut dice, 2 * number).await)]
        };
        for (who, outcome) in outcomes {
            let Ok(Some(done)) = outcome else { continue };
            acknowledged.extend(done.entry.map(|entry| entry.name));
            if !people[who].forgets {
                people[who].kept.keep(&done.opened, number % 2 == 1);
            }
        }
    }
    late.calm().await;
    let first = world.open().await;
    let names: Vec<EntryName> = first.view().names().collect();
    for name in &acknowledged {
        assert!(
            names.contains(name),
            "seed {seed}: {name} was acknowledged and is gone"
        );
    }
    let unique: BTreeSet<&EntryName> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "seed {seed}: an entry stands twice");
    for person in &people {
        let opened = person.kept.open(&world).await;
        let opened = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(
            opened.view().names().collect::<Vec<_>>(),
            names,
            "seed {seed}: readers differ"
        );
        assert_eq!(opened.state(), first.state(), "seed {seed}: readers differ");
    }
    // The next one joins what is left beside each other; then there is one head, and all is as it was.
    let done = world.release("9", &["blue"]).await;
    let joined = world.open().await;
    assert_eq!(
        joined.head().unwrap().size,
        joined.view().records().len() as u64,
        "seed {seed}"
    );
    assert_eq!(joined.view().records().len(), names.len() + 1, "seed {seed}");
    assert_eq!(
        joined.head().unwrap().digest,
        done.opened.head().unwrap().digest,
        "seed {seed}"
    );
    for name in ["prod", "staging"] {
        let shows =
            |opened: &cairn_ledger::Opened| opened.state().unwrap().shows(&channel(name)).map(Shown::label);
        assert_eq!(shows(&first), shows(&joined), "seed {seed}: {name}");
    }
}

#[tokio::test]
async fn whatever_a_bad_registry_does_nothing_acknowledged_is_lost_and_all_agree() {
    for seed in 0..SCHEDULES {
        schedule(seed).await;
    }
}
