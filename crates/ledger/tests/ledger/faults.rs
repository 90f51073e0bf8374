//! Every write of every operation is broken, in every way: afterwards the same command completes.

use cairn_ledger::authority::Authority;
use cairn_ledger::key::Signer as _;
use cairn_ledger::operation::*;
use cairn_ledger::query;

use crate::support::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Initialise,
    Release,
    Promote,
    Rollback,
    Resume,
}

const ALL: [Operation; 5] = [
    Operation::Initialise,
    Operation::Release,
    Operation::Promote,
    Operation::Rollback,
    Operation::Resume,
];

impl Operation {
    /// A world in which the operation makes sense.
    async fn world(self, plain: bool) -> World {
        let mut world = World::new();
        if plain {
            world = world.through(Plain::new(world.repo.clone()));
        }
        world.image("3").await;
        if self == Self::Initialise {
            return world;
        }
        world.init().await;
        world.release("1", &["prod"]).await;
        world.release("2", &["prod", "staging"]).await;
        if self == Self::Resume {
            world.rollback("prod").await;
        }
        world
    }

    async fn run(self, world: &World) -> Result<(), String> {
        let text = |error: OperationError| format!("{error:?}");
        if self == Self::Initialise {
            let authority = Authority::single(world.key.key().clone());
            return world
                .ledger
                .initialise(&world.context(), authority)
                .await
                .map(drop)
                .map_err(text);
        }
        let opened = world.ledger.open(&cairn_ledger::TrustPolicy::default()).await;
        let opened = opened.map_err(|error| format!("{error:?}"))?;
        let context = world.context();
        let done = match self {
            Self::Initialise => return Ok(()),
            Self::Release => {
                let digest = image(&*World::new().repo, "3").await.digest();
                world
                    .ledger
                    .release(&opened, &context, &release("3", digest, &["prod", "blue"]))
                    .await
            }
            Self::Promote => {
                let request = PromoteRequest {
                    version: version("1"),
                    channels: channels(&["staging"]),
                    resume: false,
                };
                world.ledger.promote(&opened, &context, &request).await
            }
            Self::Rollback => world.ledger.rollback(&opened, &context, &back("prod")).await,
            Self::Resume => world.ledger.resume(&opened, &context, &channel("prod")).await,
        };
        done.map(drop).map_err(text)
    }

    /// What must hold at the end: kinds of entries in order, and what the channels show.
    async fn end(self, world: &World) -> (Vec<String>, Vec<(String, String, bool)>) {
        let opened = world.open().await;
        let kinds = query::history(&opened, None)
            .iter()
            .map(|row| row.kind.to_string())
            .collect();
        let state = opened.state().unwrap();
        let shows = state.channels.iter().filter_map(|(name, channel)| {
            let shown = channel.shows.as_ref()?;
            Some((name.to_string(), shown.label(), channel.hold.is_some()))
        });
        (kinds, shows.collect())
    }
}

async fn break_every_write(plain: bool) {
    for operation in ALL {
        let whole = operation.world(plain).await;
        operation.run(&whole).await.unwrap();
        let expected = operation.end(&whole).await;
        for fault in [Fault::Refused, Fault::Lost, Fault::Done] {
            for dies in [false, true] {
                let mut writes = 0;
                loop {
                    let world = operation.world(plain).await;
                    let before = world.open().await.view().records().len();
                    let faulty = Faulty::new(world.repo.clone(), writes, fault, dies);
                    let broken = operation.run(&world.through(faulty.clone())).await;
                    let label = format!("{operation:?} write {writes} {fault:?} dies {dies} plain {plain}");
                    if !faulty.has_struck() {
                        broken.unwrap();
                        break;
                    }
                    let appended = world.open().await.view().records().len() - before;
                    assert!(
                        broken.is_err() || appended == 1,
                        "{label}: acknowledged and not there"
                    );
                    let again = world.through(world.repo.clone());
                    operation
                        .run(&again)
                        .await
                        .unwrap_or_else(|error| panic!("{label}: {error}"));
                    assert_eq!(operation.end(&world).await, expected, "{label}");
                    let report = world.audit().await;
                    assert!(report.ok, "{label}: {report:?}");
                    writes += 1;
                }
                let least = if operation == Operation::Resume { 3 } else { 2 };
                assert!(writes >= least, "{operation:?} made only {writes} writes");
            }
        }
    }
}

#[tokio::test]
async fn g14_every_write_broken_in_linear_mode_leaves_a_command_that_completes() {
    break_every_write(false).await;
}

#[tokio::test]
async fn g14_every_write_broken_in_causal_mode_leaves_a_command_that_completes() {
    break_every_write(true).await;
}

#[tokio::test]
async fn no_answer_to_the_commit_is_unknown_and_never_not_committed() {
    let world = World::new();
    world.init().await;
    let digest = world.image("1").await;
    let request = release("1", digest, &["prod"]);
    // The pack and the config come before the head, which is never answered.
    let deaf = Faulty::new(world.repo.clone(), 2, Fault::Done, true);
    let through = world.through(deaf);
    let opened = through.open().await;
    let error = through
        .ledger
        .release(&opened, &through.context(), &request)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OperationError::Commit(cairn_ledger::CommitError::Unknown { .. })
        ),
        "{error:?}"
    );
    assert!(error.to_string().starts_with("unknown whether"), "{error}");
    let again = world
        .ledger
        .release(&world.open().await, &world.context(), &request)
        .await
        .unwrap();
    assert!(!again.changed, "the first one was appended");
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn an_answer_that_was_lost_once_is_found_out() {
    let world = World::new();
    world.init().await;
    let digest = world.image("1").await;
    for fault in [Fault::Lost, Fault::Done] {
        let faulty = Faulty::new(world.repo.clone(), 2, fault, false);
        let through = world.through(faulty.clone());
        let name = format!("1.{}", u8::from(fault == Fault::Done));
        let opened = through.open().await;
        let done = through
            .ledger
            .release(&opened, &through.context(), &release(&name, digest, &[]))
            .await
            .unwrap();
        assert!(done.changed && faulty.has_struck());
    }
    assert_eq!(world.open().await.view().records().len(), 3);
}
