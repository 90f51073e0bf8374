//! The seeded checker: thousands of schedules of several people, each with a view of its own age, whose commands are ended now and
//! then, while garbage is collected. What the ledger says is held against a model that knows nothing of the fold.
//!
//! `CAIRN_SCHEDULES` says how many are tried, `CAIRN_SEED` which is the first: alone, it tries one of them again. A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cairn_ledger::fold::Record;
use cairn_ledger::image::{self, Depth};
use cairn_ledger::memory::Remembered;
use cairn_ledger::operation::prune::{Retention, Unseal, kept_images};
use cairn_ledger::operation::*;
use cairn_ledger::{Channel, Class, EntryName, Kind, Ledger, Opened, State, TrustPolicy, Version};
use cairn_oci::{Digest, RepositoryName, Tag};
use cairn_store::{Collection, Directory, Memory, RepositoryError, Store as _};

use crate::late::Random;
use crate::support::*;

/// Schedules in memory that are tried if nothing else is said.
const SCHEDULES: u64 = 2000;
/// Schedules on disk, where garbage is collected; each write is flushed there.
const ON_DISK: u64 = 12;
const STEPS: u64 = 14;
const PEOPLE: u64 = 3;
const CHANNELS: [&str; 2] = ["prod", "staging"];
const VERSIONS: u64 = 6;

/// What somebody wants.
#[derive(Debug, Clone)]
enum Wish {
    Release(String, Vec<&'static str>, bool),
    Promote(String, &'static str, bool),
    Rollback(RollbackRequest),
    Resume(&'static str),
    Yank(String),
    Prune(usize),
}

impl Wish {
    fn any(random: &mut Random) -> Self {
        let name = format!("1.{}", random.below(VERSIONS));
        let to = CHANNELS[usize::try_from(random.below(2)).unwrap()];
        match random.below(16) {
            0..=5 => {
                let to = match random.below(4) {
                    0 => Vec::new(),
                    1 => CHANNELS.to_vec(),
                    _ => vec![to],
                };
                Self::Release(name, to, random.one_in(4))
            }
            6..=8 => Self::Promote(name, to, random.one_in(3)),
            9..=11 => {
                let target = random.one_in(3).then(|| RollbackTarget::Version(version(&name)));
                let no_hold = random.one_in(3);
                Self::Rollback(RollbackRequest {
                    target,
                    no_hold,
                    ..back(to)
                })
            }
            12 | 13 => Self::Resume(to),
            14 => Self::Yank(name),
            _ => Self::Prune(1 + usize::try_from(random.below(2)).unwrap()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Touch {
    by: EntryName,
    after: Option<EntryName>,
    is_forward: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Pointer {
    shows: Option<Digest>,
    trail: Vec<Digest>,
    held: bool,
    last: Option<Touch>,
}

/// What the entries mean, said once more and simply: one key that may do everything, no rules, and one digest for each version.
#[derive(Debug, Default, PartialEq, Eq)]
struct Model {
    /// Whether each is yanked.
    versions: BTreeMap<Version, (Digest, bool)>,
    pruned: BTreeSet<Digest>,
    channels: BTreeMap<Channel, Pointer>,
}

impl Model {
    fn of<'a>(records: impl Iterator<Item = &'a Arc<Record>>) -> Self {
        let mut model = Self::default();
        let mut names = BTreeSet::new();
        for record in records {
            assert!(names.insert(record.name), "an entry stands twice");
            model.apply(record);
        }
        model
    }

    fn apply(&mut self, record: &Record) {
        let entry = &record.entry;
        let of = |version: &Option<Version>| version.clone().zip(entry.digest);
        let is_good = match (&entry.kind, of(&entry.version)) {
            (Kind::Release, Some((version, digest))) => {
                let (_, yanked) = *self.versions.entry(version).or_insert((digest, false));
                if !yanked {
                    self.pruned.remove(&digest);
                }
                !yanked
            }
            (_, Some((version, digest))) => {
                let is_bound = self.versions.get(&version) == Some(&(digest, false));
                is_bound && !self.pruned.contains(&digest)
            }
            _ => false,
        };
        match (&entry.kind, of(&entry.version)) {
            (Kind::Yank, Some((version, _))) => {
                if let Some(bound) = self.versions.get_mut(&version) {
                    bound.1 = true;
                }
            }
            (Kind::Prune, Some((version, digest))) => {
                let is_shown = self.channels.values().any(|one| one.shows == Some(digest));
                if self.versions.contains_key(&version) && !is_shown {
                    self.pruned.insert(digest);
                }
            }
            _ => {}
        }
        for one in &entry.moves {
            let pointer = self.channels.entry(one.channel.clone()).or_default();
            let by = record.name;
            let touch = Touch {
                by,
                after: one.after,
                is_forward: entry.kind.is_forward(),
            };
            pointer.apply(&entry.kind, entry.digest, touch, is_good, entry.resume);
            if entry.kind == Kind::Rollback && entry.hold == Some(true) {
                pointer.held = true;
                pointer.last = Some(Touch {
                    by,
                    after: one.after,
                    is_forward: false,
                });
            }
        }
        self.channels.retain(|_, pointer| pointer.last.is_some());
    }

    /// The same of what the ledger says.
    fn told(state: &State) -> Self {
        let versions = state.versions.iter().map(|(version, binding)| {
            let [bound] = &binding.bound[..] else {
                panic!("{version} is bound to one digest")
            };
            (version.clone(), (bound.digest, bound.yanked.is_some()))
        });
        let channels = state.channels.iter().filter_map(|(name, channel)| {
            let last = channel.last.as_ref()?;
            let pointer = Pointer {
                shows: channel.shows.as_ref().map(|shown| shown.digest),
                trail: channel.trail.iter().map(|shown| shown.digest).collect(),
                held: channel.hold.is_some(),
                last: Some(Touch {
                    by: last.entry,
                    after: last.after,
                    is_forward: last.kind.is_forward(),
                }),
            };
            Some((name.clone(), pointer))
        });
        Self {
            versions: versions.collect(),
            pruned: state.pruned.keys().copied().collect(),
            channels: channels.collect(),
        }
    }
}

impl Pointer {
    fn apply(&mut self, kind: &Kind, digest: Option<Digest>, touch: Touch, is_good: bool, resume: bool) {
        let sees_last = self.last.as_ref().map(|last| last.by) == touch.after;
        let beside = self.last.as_ref();
        let beside = beside.is_some_and(|last| last.is_forward && last.after == touch.after);
        match kind {
            Kind::Release | Kind::Promote if is_good && sees_last && (!self.held || resume) => {
                let before = std::mem::replace(&mut self.shows, digest);
                self.trail.extend(before.filter(|before| Some(*before) != digest));
                self.held &= !resume;
            }
            Kind::Rollback if is_good && (sees_last || beside) => {
                if let Some(at) = self.trail.iter().rposition(|one| Some(*one) == digest) {
                    self.trail.truncate(at);
                }
                self.shows = digest;
            }
            Kind::Resume if sees_last && self.held => self.held = false,
            _ => return,
        }
        self.last = Some(touch);
    }
}

/// Somebody with a memory and a view, both of some age.
struct Person {
    remembered: Option<Remembered>,
    opened: Opened,
}

/// What was done, for whoever has to find out why it failed.
type Log = Arc<Mutex<Vec<String>>>;

/// One schedule.
struct Play {
    world: World,
    people: Vec<Person>,
    acknowledged: BTreeSet<EntryName>,
    /// What was read last, in linear mode: what is read later goes on from it.
    names: Vec<EntryName>,
    disk: Option<(Directory, RepositoryName)>,
    log: Log,
}

struct Own<'a>(&'a Directory, &'a RepositoryName);

#[async_trait]
impl Unseal for Own<'_> {
    async fn unseal(&self, tag: &Tag, digest: &Digest) -> Result<(), RepositoryError> {
        self.0.unseal(self.1, tag, digest).await.map(drop)
    }
}

fn is_told(error: &OperationError) -> bool {
    matches!(error.class(), Class::Conflict | Class::Input)
}

impl Play {
    async fn new(repo: Repo, disk: Option<(Directory, RepositoryName)>, log: Log) -> Self {
        let world = World::over(repo);
        world.init().await;
        let opened = world.open().await;
        let person = || Person {
            remembered: None,
            opened: opened.clone(),
        };
        let people = (0..PEOPLE).map(|_| person()).collect();
        Self {
            people,
            world,
            acknowledged: BTreeSet::new(),
            names: Vec::new(),
            disk,
            log,
        }
    }

    /// Reads the ledger as somebody who remembers this; it must be what everybody else reads.
    async fn read(&self, remembered: Option<Remembered>) -> Opened {
        let policy = TrustPolicy {
            pin: None,
            remembered,
        };
        self.world.ledger.open(&policy).await.unwrap()
    }

    async fn step(&mut self, random: &mut Random) {
        let who = usize::try_from(random.below(PEOPLE)).unwrap();
        if random.below(10) < 4 {
            self.people[who].opened = self.read(self.people[who].remembered.clone()).await;
        }
        if self.disk.is_some() && random.one_in(4) {
            self.collect().await;
        }
        let wish = Wish::any(random);
        let crash = random.one_in(4).then(|| {
            (
                random.below(8),
                [Fault::Refused, Fault::Lost, Fault::Done][usize::try_from(random.below(3)).unwrap()],
            )
        });
        let text = format!("{who} {wish:?} {crash:?}");
        self.log.lock().unwrap().push(text.clone());
        if let Some((at, fault)) = crash {
            let faulty = Faulty::new(self.world.repo.clone(), at, fault, true);
            let done = self.act(who, &Ledger::beside(faulty.clone()), &wish).await;
            if !faulty.has_struck() {
                self.hear(who, done, &text);
                return;
            }
            // The process is gone, and with it what it had read.
            self.people[who].opened = self.read(self.people[who].remembered.clone()).await;
            if random.one_in(2) {
                return;
            }
        }
        let done = self
            .act(who, &Ledger::beside(self.world.repo.clone()), &wish)
            .await;
        self.hear(who, done, &text);
    }

    fn hear(&mut self, who: usize, done: Result<(Option<EntryName>, Opened), OperationError>, text: &str) {
        let (entry, opened) = match done {
            Ok(done) => done,
            Err(OperationError::Blocked { done, .. }) => (done.entry.map(|one| one.name), done.opened),
            Err(error) => {
                assert!(is_told(&error), "{text}: {error:?}");
                return;
            }
        };
        self.acknowledged.extend(entry);
        self.people[who].remembered = opened.remember();
        self.people[who].opened = opened;
    }

    async fn act(
        &self,
        who: usize,
        ledger: &Ledger,
        wish: &Wish,
    ) -> Result<(Option<EntryName>, Opened), OperationError> {
        let (opened, context) = (&self.people[who].opened, self.world.context());
        let done = match wish {
            Wish::Release(name, to, resume) => {
                let digest = self.world.image(name).await;
                let request = ReleaseRequest {
                    resume: *resume,
                    ..release(name, digest, to)
                };
                ledger.release(opened, &context, &request).await?
            }
            Wish::Promote(name, to, resume) => {
                let request = PromoteRequest {
                    version: version(name),
                    channels: channels(&[to]),
                    resume: *resume,
                };
                ledger.promote(opened, &context, &request).await?
            }
            Wish::Rollback(request) => ledger.rollback(opened, &context, request).await?,
            Wish::Resume(to) => ledger.resume(opened, &context, &channel(to)).await?,
            Wish::Yank(name) => {
                let request = YankRequest {
                    version: version(name),
                    digest: None,
                };
                ledger.yank(opened, &context, &request).await?
            }
            Wish::Prune(keep) => {
                let retention = Retention {
                    keep: *keep,
                    steps: 1,
                    ..Retention::default()
                };
                let pruned = ledger.prune(opened, &context, &retention).await?.opened;
                let own = self.disk.as_ref().map(|(directory, name)| Own(directory, name));
                let unseal = own.as_ref().map(|own| own as &dyn Unseal);
                // What could not be deleted is deleted by the next one.
                drop(ledger.drop_pruned(&pruned, unseal).await);
                return Ok((None, pruned));
            }
        };
        Ok((done.entry.map(|one| one.name), done.opened))
    }

    /// Removes at once whatever no tag reaches and the ledger does not speak of.
    async fn collect(&self) {
        let Some((directory, name)) = &self.disk else {
            return;
        };
        let opened = self.read(None).await;
        let collection = Collection {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33),
            grace: Duration::ZERO,
            keep: kept_images(&opened, opened.state().unwrap()),
            dry_run: false,
        };
        directory.collect(name, &collection).await.unwrap();
    }

    /// What must hold at any moment.
    async fn check(&mut self, random: &mut Random) {
        let stranger = self.read(None).await;
        let names: Vec<EntryName> = stranger.view().names().collect();
        for name in &self.acknowledged {
            assert!(names.contains(name), "{name} was acknowledged and is gone");
        }
        if stranger.mode() == Some(cairn_ledger::Mode::Linear) {
            assert!(
                names.starts_with(&self.names),
                "what was read before is no prefix"
            );
        } else {
            assert!(
                self.names.iter().all(|name| names.contains(name)),
                "an entry is gone"
            );
        }
        let reader = &self.people[usize::try_from(random.below(PEOPLE)).unwrap()];
        let other = self.read(reader.remembered.clone()).await;
        assert!(other.view().names().eq(names.iter().copied()), "readers differ");
        assert_eq!(other.state(), stranger.state(), "readers differ");
        let state = stranger.state().unwrap();
        assert_eq!(Model::told(state), Model::of(stranger.view().records().iter()));
        for channel in state.channels.values() {
            let way = channel.trail.iter().chain(&channel.shows);
            for shown in way.filter(|shown| !state.is_pruned(&shown.digest)) {
                let whole = image::check(&*self.world.repo, shown.digest, Depth::Presence).await;
                assert!(whole.is_ok(), "{} is not whole: {whole:?}", shown.label());
            }
        }
        self.names = names;
    }

    /// In causal mode, somebody who had not seen the first move of a channel may come to stand before it, and bar what it moved to after
    /// its tag was written. Then the channel shows nothing and its tag does, until the next move.
    async fn set_right(&self, opened: Opened) -> Opened {
        let mut opened = opened;
        for name in CHANNELS {
            let shows = opened.state().and_then(|state| state.shows(&channel(name)));
            if shows.is_some() || self.world.tag(name).await.is_none() {
                continue;
            }
            assert_eq!(opened.mode(), Some(cairn_ledger::Mode::Causal), "{name}");
            let request = ReleaseRequest {
                resume: true,
                ..release("2", self.world.image("2").await, &[name])
            };
            let context = self.world.context();
            let done = self.world.ledger.release(&opened, &context, &request).await;
            opened = done.unwrap().opened;
        }
        opened
    }

    /// Afterwards everything can be completed.
    async fn end(&mut self) {
        let opened = self.read(self.people[0].remembered.clone()).await;
        let opened = self.set_right(opened).await;
        let state = opened.state().unwrap().clone();
        let context = self.world.context();
        for (name, channel) in &state.channels {
            let Some(shown) = &channel.shows else { continue };
            self.world.ledger.repair(&opened, name).await.unwrap();
            assert_eq!(self.world.tag(name.as_str()).await, Some(shown.digest), "{name}");
        }
        for (name, binding) in &state.versions {
            let bound = &binding.bound[0];
            if bound.yanked.is_none() && !state.is_pruned(&bound.digest) {
                let request = release(name.as_str(), bound.digest, &[]);
                let done = self
                    .world
                    .ledger
                    .release(&opened, &context, &request)
                    .await
                    .unwrap();
                assert!(!done.changed, "{name}");
            }
        }
        let report = self.world.audit().await;
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
}

async fn schedule(seed: u64, repo: Repo, disk: Option<(Directory, RepositoryName)>, log: Log) {
    let mut random = Random(seed.wrapping_mul(0x1000) ^ 0x0ca1);
    let mut play = Play::new(repo, disk, log).await;
    for _ in 0..STEPS {
        play.step(&mut random).await;
        if random.one_in(2) {
            play.check(&mut random).await;
        }
    }
    play.check(&mut random).await;
    play.end().await;
}

/// Every second one in causal mode.
fn in_mode(seed: u64, repo: Repo) -> Repo {
    if seed.is_multiple_of(2) {
        repo
    } else {
        Plain::new(repo)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how much is tried is for who runs the tests to say"
)]
fn said(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the schedules on all cores, each in its own place.
fn all(what: &str, count: u64, run: impl Fn(u64, Log) + Sync) {
    let seeds: Vec<u64> = match said("CAIRN_SEED") {
        Some(seed) => (seed..)
            .take(usize::try_from(said("CAIRN_SCHEDULES").unwrap_or(1)).unwrap())
            .collect(),
        None => (0..count).collect(),
    };
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let log = Log::default();
                    let ran = || run(*seed, Arc::clone(&log));
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(ran)).is_err() {
                        println!("seed {seed}: {:#?}", log.lock().unwrap());
                        failed.lock().unwrap().push(*seed);
                        return;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{what}: try again with CAIRN_SEED={failed:?}");
    println!("{what}: {} schedules", seeds.len());
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future);
}

#[test]
fn thousands_of_schedules_end_as_a_simple_model_says() {
    let name: RepositoryName = "team/web".parse().unwrap();
    all(
        "in memory",
        said("CAIRN_SCHEDULES").unwrap_or(SCHEDULES),
        |seed, log| {
            let repo = in_mode(seed, Arc::new(Memory::new().open(&name)));
            block_on(schedule(seed, repo, None, log));
        },
    );
}

#[test]
fn schedules_on_disk_end_as_a_simple_model_says_while_garbage_is_collected() {
    let name: RepositoryName = "team/web".parse().unwrap();
    all(
        "on disk",
        said("CAIRN_SCHEDULES_ON_DISK").unwrap_or(ON_DISK),
        |seed, log| {
            let path = quick_directory();
            let directory = Directory::open(path.path().join("store")).unwrap();
            block_on(async {
                let repo = in_mode(seed, directory.repository(&name).await.unwrap());
                schedule(seed, repo, Some((directory, name.clone())), log).await;
            });
        },
    );
}
