//! Random schedules of several people, each with a view of its own age, against a model that knows nothing of entries.

use std::collections::{BTreeMap, BTreeSet};

use cairn_ledger::open::Opened;
use cairn_ledger::operation::*;
use cairn_ledger::state::Shown;
use proptest::prelude::*;

use crate::remembered::{Keeper, assert_same};
use crate::support::*;

#[derive(Debug, Clone)]
enum Step {
    /// Reads the ledger anew.
    Look {
        who: usize,
    },
    Release {
        who: usize,
        number: usize,
        to: usize,
    },
    Promote {
        who: usize,
        number: usize,
        to: usize,
        resume: bool,
    },
    Rollback {
        who: usize,
        to: usize,
    },
    Resume {
        who: usize,
        to: usize,
    },
}

const PEOPLE: usize = 3;
const CHANNELS: [&str; 2] = ["prod", "staging"];

fn step() -> impl Strategy<Value = Step> {
    let (who, to, number) = (0..PEOPLE, 0..CHANNELS.len(), 0..16_usize);
    prop_oneof![
        6 => who.clone().prop_map(|who| Step::Look { who }),
        4 => (who.clone(), number.clone(), to.clone()).prop_map(|(who, number, to)| Step::Release { who, number, to }),
        2 => (who.clone(), number, to.clone(), any::<bool>())
            .prop_map(|(who, number, to, resume)| Step::Promote { who, number, to, resume }),
        3 => (who.clone(), to.clone()).prop_map(|(who, to)| Step::Rollback { who, to }),
        1 => (who, to).prop_map(|(who, to)| Step::Resume { who, to }),
    ]
}

/// One channel: versions instead of digests, and a counter instead of entries.
#[derive(Debug, Clone, Default, PartialEq)]
struct Pointer {
    shows: Option<String>,
    trail: Vec<String>,
    held: bool,
    had: BTreeSet<String>,
    /// Counts what touched it; before the last touch; and what that was.
    touched: usize,
    before: usize,
    last_forward: bool,
    last_rollback: bool,
}

#[derive(Debug, Clone, Default)]
struct Model {
    versions: BTreeSet<String>,
    pointers: BTreeMap<usize, Pointer>,
}

impl Pointer {
    fn touch(&mut self, saw: usize, forward: bool, rollback: bool) {
        self.before = saw;
        self.touched += 1;
        (self.last_forward, self.last_rollback) = (forward, rollback);
    }

    fn forward(&mut self, version: &str, saw: usize, resume: bool) {
        if let Some(old) = self
            .shows
            .replace(version.to_owned())
            .filter(|old| old != version)
        {
            self.trail.push(old);
        }
        self.had.insert(version.to_owned());
        self.held &= !resume;
        self.touch(saw, true, false);
    }

    fn way_back(&self) -> Option<String> {
        self.trail
            .iter()
            .rev()
            .find(|one| Some(*one) != self.shows.as_ref())
            .cloned()
    }
}

/// What a person is told.
#[derive(Debug, PartialEq)]
enum Told {
    Changed,
    Nothing,
    Refused,
}

impl Model {
    fn pointer(&self, to: usize) -> Pointer {
        self.pointers.get(&to).cloned().unwrap_or_default()
    }

    fn promote(&mut self, seen: &Self, version: &str, to: usize, resume: bool) -> Told {
        let saw = seen.pointer(to);
        if !seen.versions.contains(version) {
            return Told::Refused;
        }
        let lifts = resume && saw.held;
        if saw.shows.as_deref() == Some(version) && !lifts {
            return Told::Nothing;
        }
        if saw.held && !resume {
            return Told::Refused;
        }
        let now = self.pointers.entry(to).or_default();
        if now.touched == saw.touched {
            now.forward(version, saw.touched, lifts);
            return Told::Changed;
        }
        let is_there = now.shows.as_deref() == Some(version) && !(resume && now.held);
        if is_there { Told::Nothing } else { Told::Refused }
    }

    fn release(&mut self, seen: &Self, version: &str, to: usize) -> Told {
        let saw = seen.pointer(to);
        let again = |versions: &BTreeSet<String>| versions.contains(version);
        if again(&seen.versions) {
            if saw.had.contains(version) {
                return Told::Nothing;
            }
            return match self.promote(seen, version, to, false) {
                // Somebody else showed it meanwhile: a release never moves a channel back to it.
                Told::Refused if !saw.held && self.pointer(to).had.contains(version) => Told::Nothing,
                told => told,
            };
        }
        self.versions.insert(version.to_owned());
        let now = self.pointers.entry(to).or_default();
        if saw.held {
            return Told::Refused;
        }
        if now.touched == saw.touched {
            now.forward(version, saw.touched, false);
            return Told::Changed;
        }
        Told::Refused
    }

    fn rollback(&mut self, seen: &Self, to: usize) -> Told {
        let saw = seen.pointer(to);
        if saw.shows.is_none() {
            return Told::Refused;
        }
        if saw.last_rollback {
            return Told::Nothing;
        }
        let Some(target) = saw.way_back() else {
            return Told::Refused;
        };
        let now = self.pointers.entry(to).or_default();
        let wins = now.last_forward && now.before == saw.touched;
        if now.touched == saw.touched || wins {
            if let Some(at) = now.trail.iter().rposition(|one| *one == target) {
                now.trail.truncate(at);
            }
            now.shows = Some(target.clone());
            now.had.insert(target);
            now.held = true;
            now.touch(saw.touched, false, true);
            return Told::Changed;
        }
        if now.last_rollback {
            Told::Nothing
        } else {
            Told::Refused
        }
    }

    fn resume(&mut self, seen: &Self, to: usize) -> Told {
        let saw = seen.pointer(to);
        if !seen.pointers.contains_key(&to) {
            return Told::Refused;
        }
        if !saw.held {
            return Told::Nothing;
        }
        let now = self.pointers.entry(to).or_default();
        if now.touched == saw.touched {
            now.held = false;
            now.touch(saw.touched, false, false);
            return Told::Changed;
        }
        if now.held { Told::Refused } else { Told::Nothing }
    }
}

fn told(done: Result<Done, OperationError>) -> Told {
    match done {
        Ok(done) if done.changed => Told::Changed,
        Ok(_) => Told::Nothing,
        Err(_) => Told::Refused,
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let world = World::new();
    world.init().await;
    let mut model = Model::default();
    let mut keeper = Keeper::default();
    let mut views: Vec<(Opened, Model)> = vec![(world.open().await, model.clone()); PEOPLE];
    for step in &steps {
        let (expected, found) = match step {
            Step::Look { who } => {
                views[*who] = (world.open().await, model.clone());
                continue;
            }
            Step::Release { who, number, to } => {
                let name = format!("1.{number}");
                let digest = world.image(&name).await;
                let (opened, seen) = &views[*who];
                let request = release(&name, digest, &[CHANNELS[*to]]);
                let done = world.ledger.release(opened, &world.context(), &request).await;
                (model.release(seen, &name, *to), told(done))
            }
            Step::Promote {
                who,
                number,
                to,
                resume,
            } => {
                let name = format!("1.{number}");
                let (opened, seen) = &views[*who];
                let request = PromoteRequest {
                    version: version(&name),
                    channels: channels(&[CHANNELS[*to]]),
                    resume: *resume,
                };
                let done = world.ledger.promote(opened, &world.context(), &request).await;
                (model.promote(seen, &name, *to, *resume), told(done))
            }
            Step::Rollback { who, to } => {
                let (opened, seen) = &views[*who];
                let done = world
                    .ledger
                    .rollback(opened, &world.context(), &back(CHANNELS[*to]))
                    .await;
                (model.rollback(seen, *to), told(done))
            }
            Step::Resume { who, to } => {
                let (opened, seen) = &views[*who];
                let done = world
                    .ledger
                    .resume(opened, &world.context(), &channel(CHANNELS[*to]))
                    .await;
                (model.resume(seen, *to), told(done))
            }
        };
        prop_assert_eq!(expected, found, "{:?}", step);
        compare(&world, &model).await?;
        // Whoever kept what followed from the entries then sees the same.
        let kept = keeper.open(&world).await.unwrap();
        assert_same(&kept, &world.open().await, "kept");
        keeper.keep(&kept, kept.new_entries() > 2);
    }
    let report = world.audit().await;
    prop_assert!(report.ok, "{:?}", report);
    Ok(())
}

async fn compare(world: &World, model: &Model) -> Result<(), TestCaseError> {
    let opened = world.open().await;
    let state = opened.state().unwrap();
    for (to, name) in CHANNELS.iter().enumerate() {
        let pointer = model.pointer(to);
        let real = state.channels.get(&channel(name)).cloned().unwrap_or_default();
        let shows = real.shows.as_ref().map(Shown::label);
        prop_assert_eq!(&shows, &pointer.shows, "{} shows", name);
        let trail: Vec<String> = real.trail.iter().map(Shown::label).collect();
        prop_assert_eq!(&trail, &pointer.trail, "trail of {}", name);
        prop_assert_eq!(real.hold.is_some(), pointer.held, "hold of {}", name);
        let tag = world.tag(name).await;
        prop_assert_eq!(tag, real.shows.map(|shown| shown.digest), "tag {}", name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn schedules_end_as_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}
