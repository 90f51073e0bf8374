//! `release` and `rollback` on a registry, ended at each of their requests: before the server hears of it, and after the
//! server did it and before the command hears so.

use rustix::process::Signal;

use super::{clean_or_incomplete, completed, history, prod};
use crate::harness::{Cut, Output, Project, Proxy, Random, Sandbox};
use crate::peers::registry::DockerRegistry;

/// More requests than any command makes.
const MANY: usize = 200;

/// Where each round takes seconds, one request of so many is tried, and other ones each time.
const SAMPLE: u64 = 7;

/// A client, a proxy, a server.
struct World {
    sandbox: Sandbox,
    proxy: Proxy,
    /// Chooses the steps; without it, all are tried.
    random: Option<Random>,
    _server: Box<dyn std::any::Any>,
}

impl World {
    fn new() -> Self {
        let registry = Sandbox::new();
        let server = registry.serve();
        let proxy = Proxy::start(server.host());
        Self {
            sandbox: Sandbox::new(),
            proxy,
            random: None,
            _server: Box::new((server, registry)),
        }
    }

    /// The same on a registry where the last writer wins, if one is installed.
    fn causal() -> Option<Self> {
        let sandbox = Sandbox::new();
        let registry = DockerRegistry::start(&sandbox)?;
        Some(Self {
            sandbox,
            proxy: Proxy::start(registry.host()),
            random: None,
            _server: Box::new(registry),
        })
    }

    /// With some of the steps only.
    fn sampled(self) -> Self {
        let random = Some(Random::new());
        Self { random, ..self }
    }

    /// The numbers of the requests that are tried.
    fn steps(&self) -> impl Iterator<Item = usize> {
        let mut random = self.random.clone();
        let mut step = 0;
        std::iter::from_fn(move || {
            step += 1 + random
                .as_mut()
                .map_or(0, |random| random.below(2 * SAMPLE) as usize);
            (step < MANY).then_some(step)
        })
    }

    /// Takes another, empty repository; the application is that of `version`.
    fn project(&self, name: &str, version: &str) {
        let repository = self.proxy.repository(name);
        self.sandbox
            .write_project(&Project::new().repository(repository), version);
    }

    /// The same command until it makes fewer requests than those that it is stopped at: `check` gets the number of the
    /// step and where it was.
    fn at_each_step<const N: usize>(
        &self,
        cut: Cut,
        signal: Signal,
        mut prepare: impl FnMut(usize) -> [String; N],
        mut check: impl FnMut(&[String; N], &str),
    ) {
        for step in self.steps() {
            let arguments = prepare(step);
            let mut command = self.sandbox.command(&arguments);
            let run = self.proxy.interrupt(&mut command, step, cut, signal);
            let Some(at) = run.at else {
                run.output.ok();
                assert!(step > 5, "only {step} requests: nothing was tried");
                println!("{arguments:?}: less than {step} steps, {cut:?}");
                return;
            };
            let about = format!("stopped {cut:?} request {step}, {at}");
            ended_by(&run.output, signal, &about);
            check(&arguments, &about);
        }
        panic!("more than {MANY} requests");
    }
}

fn ended_by(output: &Output, signal: Signal, about: &str) {
    if signal == Signal::KILL {
        assert_eq!(output.signal, Some(Signal::KILL.as_raw()), "{about}: {output}");
    } else {
        assert_eq!(output.code, Some(130), "{about}: {output}");
        assert!(output.stdout.is_empty(), "{about}: {output}");
        assert!(
            output.stderr.contains("run the same command again"),
            "{about}: {output}"
        );
    }
}

fn words<const N: usize>(words: [&str; N]) -> [String; N] {
    words.map(str::to_owned)
}

/// The first release: it makes the key, starts the ledger, uploads everything.
fn first_release(cut: Cut, signal: Signal) {
    let world = World::new();
    world.at_each_step(
        cut,
        signal,
        |step| {
            world.project(&format!("first-{step}"), "1");
            words(["release", "1.0.0", "--channel", "prod"])
        },
        |arguments, about| {
            clean_or_incomplete(&world.sandbox, about);
            let done = completed(&world.sandbox, arguments, about).digest();
            assert_eq!(prod(&world.sandbox, about), done, "{about}");
            assert_eq!(
                history(&world.sandbox, about).len(),
                2,
                "{about}: genesis and release"
            );
        },
    );
}

/// A release that replaces another, again and again.
fn next_release(world: &World, cut: Cut, signal: Signal) {
    world.project("next", "0");
    world
        .sandbox
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .ok();
    world.at_each_step(
        cut,
        signal,
        |step| {
            world.sandbox.write_app(&step.to_string());
            words(["release", &format!("1.0.{step}"), "--channel", "prod"])
        },
        |arguments, about| {
            clean_or_incomplete(&world.sandbox, about);
            let done = completed(&world.sandbox, arguments, about).digest();
            assert_eq!(prod(&world.sandbox, about), done, "{about}");
            let entries = history(&world.sandbox, about);
            let same = entries.iter().filter(|entry| entry["version"] == *arguments[1]);
            assert_eq!(same.count(), 1, "{about}: released once: {entries:#?}");
        },
    );
}

fn rollback(world: &World, cut: Cut, signal: Signal) {
    world.project("back", "1");
    let old = world
        .sandbox
        .cairn(["release", "1.0.0", "--channel", "prod"])
        .ok()
        .digest();
    world.sandbox.write_app("2");
    let new = world
        .sandbox
        .cairn(["release", "2.0.0", "--channel", "prod"])
        .ok()
        .digest();
    let mut rollbacks = 0;
    world.at_each_step(
        cut,
        signal,
        |step| {
            if step > 1 {
                world.sandbox.cairn(["promote", "2.0.0", "prod", "--resume"]).ok();
            }
            assert_eq!(prod(&world.sandbox, "before"), new);
            words(["rollback", "prod", "--reason", "a test"])
        },
        |arguments, about| {
            clean_or_incomplete(&world.sandbox, about);
            let shown = world.prod_tag();
            assert!(shown == old || shown == new, "{about}: old or new, not {shown}");
            let done = completed(&world.sandbox, arguments, about).digest();
            assert_eq!(done, old, "{about}: one step back and not two");
            assert_eq!(prod(&world.sandbox, about), old, "{about}");
            let entries = history(&world.sandbox, about);
            assert_eq!(entries[0]["kind"], "rollback", "{about}");
            rollbacks += 1;
            let found = entries.iter().filter(|entry| entry["kind"] == "rollback");
            assert_eq!(found.count(), rollbacks, "{about}: one entry each: {entries:#?}");
        },
    );
}

impl World {
    fn prod_tag(&self) -> String {
        self.sandbox
            .tagged(&format!("{}:prod", self.proxy.repository("back")))
    }
}

#[test]
fn killed_first_release_before_each_request() {
    first_release(Cut::Before, Signal::KILL);
}

#[test]
fn killed_first_release_after_each_request() {
    first_release(Cut::After, Signal::KILL);
}

#[test]
fn killed_release_before_each_request() {
    next_release(&World::new(), Cut::Before, Signal::KILL);
}

#[test]
fn killed_release_after_each_request() {
    next_release(&World::new(), Cut::After, Signal::KILL);
}

#[test]
fn g14_killed_rollback_before_each_request() {
    rollback(&World::new(), Cut::Before, Signal::KILL);
}

#[test]
fn g14_killed_rollback_after_each_request() {
    rollback(&World::new(), Cut::After, Signal::KILL);
}

#[test]
fn interrupted_release_after_each_request() {
    next_release(&World::new(), Cut::After, Signal::INT);
}

#[test]
fn interrupted_rollback_before_each_request() {
    rollback(&World::new(), Cut::Before, Signal::INT);
}

#[test]
fn g14_killed_rollback_before_each_request_where_the_last_writer_wins() {
    if let Some(world) = World::causal() {
        rollback(&world, Cut::Before, Signal::KILL);
    }
}

#[test]
fn killed_release_before_some_requests_where_the_last_writer_wins() {
    if let Some(world) = World::causal() {
        next_release(&world.sampled(), Cut::Before, Signal::KILL);
    }
}

#[test]
fn killed_release_after_some_requests_where_the_last_writer_wins() {
    if let Some(world) = World::causal() {
        next_release(&world.sampled(), Cut::After, Signal::KILL);
    }
}
