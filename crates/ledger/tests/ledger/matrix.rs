//! The fault matrix: every write of every operation is broken, on any repository. Afterwards the same command completes, nothing
//! that was acknowledged is missing, and nothing is half there.

use std::collections::BTreeMap;

use cairn_ledger::authority::Authority;
use cairn_ledger::key::Signer as _;
use cairn_ledger::operation::prune::Retention;
use cairn_ledger::operation::*;
use cairn_ledger::query;
use cairn_oci::Digest;
use cairn_store::Page;

use super::support::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Initialise,
    Release,
    Promote,
    Rollback,
    Resume,
    Switch,
    Yank,
    Prune,
}

pub(crate) const ALL: [Operation; 8] = [
    Operation::Initialise,
    Operation::Release,
    Operation::Promote,
    Operation::Rollback,
    Operation::Resume,
    Operation::Switch,
    Operation::Yank,
    Operation::Prune,
];

/// What an audit may find where a command was ended: names that were not written yet.
const INCOMPLETE: [&str; 4] = ["tag-missing", "tag-differs", "referrer-missing", "untagged"];

/// What must hold at the end: kinds of entries, newest first; what the channels show, and whether they are held; and all tags.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) kinds: Vec<String>,
    pub(crate) shows: Vec<(String, String, bool)>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

impl Operation {
    /// A world in which the operation makes sense.
    pub(crate) async fn world(self, repo: Repo) -> World {
        let world = World::over(repo);
        world.image("3").await;
        if self == Self::Initialise {
            return world;
        }
        world.init().await;
        let first: &[&str] = if self == Self::Prune { &[] } else { &["prod"] };
        world.release("1", first).await;
        world.release("2", &["prod", "staging"]).await;
        match self {
            Self::Resume => drop(world.rollback("prod").await),
            Self::Switch => drop(world.release("3", &["staging"]).await),
            _ => {}
        }
        world
    }

    pub(crate) async fn run(self, world: &World) -> Result<(), String> {
        let text = |error: OperationError| format!("{error:?}");
        let ledger = &world.ledger;
        let context = world.context();
        if self == Self::Initialise {
            let authority = Authority::single(world.key.key().clone());
            let done = ledger.initialise(&context, authority).await;
            return done.map(drop).map_err(text);
        }
        let opened = ledger.open(&cairn_ledger::TrustPolicy::default()).await;
        let opened = opened.map_err(|error| format!("{error:?}"))?;
        let done = match self {
            Self::Initialise => return Ok(()),
            Self::Release => {
                let digest = image(&*World::new().repo, "3").await.digest();
                let request = release("3", digest, &["prod", "blue"]);
                ledger.release(&opened, &context, &request).await
            }
            Self::Promote => {
                let request = PromoteRequest {
                    version: version("1"),
                    channels: channels(&["staging"]),
                    resume: false,
                };
                ledger.promote(&opened, &context, &request).await
            }
            Self::Rollback => ledger.rollback(&opened, &context, &back("prod")).await,
            Self::Resume => ledger.resume(&opened, &context, &channel("prod")).await,
            Self::Switch => {
                let request = SwitchRequest {
                    live: channel("prod"),
                    slot: channel("staging"),
                    resume: false,
                };
                ledger.switch(&opened, &context, &request).await
            }
            Self::Yank => {
                let request = YankRequest {
                    version: version("1"),
                    digest: None,
                };
                ledger.yank(&opened, &context, &request).await
            }
            Self::Prune => {
                let retention = Retention {
                    keep: 1,
                    steps: 1,
                    ..Retention::default()
                };
                let pruned = ledger.prune(&opened, &context, &retention).await.map_err(text)?;
                let dropped = ledger.drop_pruned(&pruned.opened, None).await;
                return dropped.map(drop).map_err(|error| format!("{error:?}"));
            }
        };
        done.map(drop).map_err(text)
    }

    pub(crate) async fn end(self, world: &World) -> End {
        let opened = world.open().await;
        let rows = query::history(&opened, None);
        let state = opened.state().unwrap();
        let shows = state.channels.iter().filter_map(|(name, channel)| {
            let shown = channel.shows.as_ref()?;
            Some((name.to_string(), shown.label(), channel.hold.is_some()))
        });
        End {
            kinds: rows.iter().map(|row| row.kind.to_string()).collect(),
            shows: shows.collect(),
            tags: tags(world).await,
        }
    }
}

/// All tags but those of heads and lists of referrers: what these show depends on when it was written.
async fn tags(world: &World) -> BTreeMap<String, Digest> {
    let list = world.repo.list_tags(&Page::first()).await.unwrap().tags;
    let mut tags = BTreeMap::new();
    for tag in list {
        let name = tag.as_str();
        if !["cairn-h", "sha256-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            tags.insert(name.to_owned(), world.tag(name).await.unwrap());
        }
    }
    tags
}

/// How much is tried of each write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Care {
    /// All that can happen to it, each time with a process that lives on and one that is gone.
    Thorough,
    /// Lost, and done without an answer; the process lives on or is gone by turns. For places where each write costs a flush or requests.
    Twice,
}

impl Care {
    fn faults(self) -> &'static [Fault] {
        match self {
            Self::Thorough => &[Fault::Refused, Fault::Lost, Fault::Done],
            Self::Twice => &[Fault::Lost, Fault::Done],
        }
    }

    fn dies(self, fault: Fault, at: u64) -> &'static [bool] {
        match self {
            Self::Thorough => &[false, true],
            Self::Twice if at.is_multiple_of(2) == (fault == Fault::Lost) => &[true],
            Self::Twice => &[false],
        }
    }
}

/// Breaks every write; `fresh` gives an empty repository each time.
pub(crate) async fn break_every_write(place: &str, care: Care, fresh: impl AsyncFn() -> Repo) {
    for operation in ALL {
        let whole = operation.world(fresh().await).await;
        operation.run(&whole).await.unwrap();
        let expected = operation.end(&whole).await;
        let mut broken = 0_u64;
        for fault in care.faults() {
            'writes: for at in 0.. {
                for dies in care.dies(*fault, at) {
                    let repo = fresh().await;
                    if !one(operation, place, (at, *fault, *dies), repo, &expected).await {
                        let least = if operation == Operation::Resume { 3 } else { 2 };
                        assert!(at >= least, "{place}: {operation:?} made only {at} writes");
                        break 'writes;
                    }
                    broken += 1;
                }
            }
        }
        println!("{place}: {operation:?}: {broken} writes were broken");
    }
}

/// Breaks the write number `at`. False if there are not so many.
async fn one(
    operation: Operation,
    place: &str,
    (at, fault, dies): (u64, Fault, bool),
    repo: Repo,
    expected: &End,
) -> bool {
    let label = format!("{place}: {operation:?} write {at} {fault:?} dies {dies}");
    let world = operation.world(repo).await;
    let before = world.open().await.view().records().len();
    let faulty = Faulty::new(world.repo.clone(), at, fault, dies);
    let broken = operation.run(&world.through(faulty.clone())).await;
    if !faulty.has_struck() {
        broken.unwrap_or_else(|error| panic!("{label}: {error}"));
        return false;
    }
    let now = world.open().await;
    let appended = now.view().records().len() - before;
    assert!(
        broken.is_err() || appended == 1,
        "{label}: acknowledged and not there"
    );
    if now.state().is_some() {
        let codes = world.codes().await;
        let is_expected = codes.iter().all(|code| INCOMPLETE.contains(code));
        assert!(is_expected, "{label}: half there: {codes:?}");
    }
    let again = operation.run(&world.through(world.repo.clone())).await;
    again.unwrap_or_else(|error| panic!("{label}: again: {error}"));
    assert_eq!(operation.end(&world).await, *expected, "{label}");
    let report = world.audit().await;
    assert!(report.ok, "{label}: {report:?}");
    true
}
