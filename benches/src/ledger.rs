//! The tables of the ledger: appending, reading it for the first time, rolling back, and causal mode.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::generate::{self, REPOSITORY};
use crate::measure::{self, Promise, Row};
use crate::server::Server;
use crate::{Bench, Report, Result, is_installed};

const CRANE: &str = "crane tag";

/// How large everything is.
struct Sizes {
    /// Entries of a short, a middle and a long ledger.
    entries: [usize; 3],
    /// Entries of a short and a long causal ledger.
    causal: [usize; 2],
    /// Bytes of a small and a large image.
    images: [usize; 2],
    batched: usize,
    single: usize,
    processes: usize,
}

const FULL: Sizes = Sizes {
    entries: [10, 1_000, 100_000],
    causal: [100, 10_000],
    images: [10_000_000, 1_000_000_000],
    batched: 4_096,
    single: 200,
    processes: 64,
};

const QUICK: Sizes = Sizes {
    entries: [10, 100, 1_000],
    causal: [10, 100],
    images: [1_000_000, 10_000_000],
    batched: 256,
    single: 10,
    processes: 8,
};

/// A ledger that was made, in a store of its own.
struct Made {
    store: PathBuf,
    entries: usize,
    /// The version that prod shows.
    shows: String,
}

impl Bench {
    pub(crate) fn ledgers(&self, quick: bool, report: &mut Report) -> Result<()> {
        let sizes = if quick { QUICK } else { FULL };
        let [short, middle, long] = sizes.entries;
        let [small, large] = sizes.images;
        let short_small = self.made("short", "linear", short, small)?;
        self.append_table(&short_small, &sizes, report)?;
        let short_small = self.made("short", "linear", short, small)?;
        let short_large = self.made("short-large", "linear", short, large)?;
        let long = self.made("long", "linear", long, small)?;
        self.rollback_table([&short_small, &long, &short_large], sizes.images, report)?;
        measure::remove(&short_large.store)?;
        let middle = self.made("middle", "linear", middle, small)?;
        self.reading_table([&short_small, &middle, &long], quick, report)?;
        self.history_table([&short_small, &middle, &long], report)?;
        self.local_rollback_table([&short_small, &long], report)?;
        for made in [short_small, middle, long] {
            measure::remove(&made.store)?;
        }
        self.causal_table(&sizes, report)
    }

    /// Makes a ledger, and has it audited: one with a finding ends the benchmark.
    fn made(&self, name: &str, mode: &str, entries: usize, bytes: usize) -> Result<Made> {
        let store = self.work.path.join("ledgers").join(name);
        measure::remove(&store)?;
        fs::create_dir_all(&store).map_err(|error| format!("cannot create {}: {error}", store.display()))?;
        let made = measure::output(itself()?.arg("make").arg(&store).args([
            mode,
            &entries.to_string(),
            &bytes.to_string(),
        ]))?;
        let shows = made.split_whitespace().next().ok_or("no version was made")?;
        let made = Made {
            store,
            entries,
            shows: shows.to_owned(),
        };
        self.audit(&made)?;
        Ok(made)
    }

    fn audit(&self, made: &Made) -> Result<()> {
        measure::remove(&self.home())?;
        let mut command = self.on_store(&made.store)?;
        let audit = measure::output(command.args(["audit", "--repository", REPOSITORY]))?;
        if audit.contains("no finding") {
            Ok(())
        } else {
            Err(format!("the ledger that was made has findings:\n{audit}"))
        }
    }

    fn home(&self) -> PathBuf {
        self.work.path.join("home")
    }

    /// `cairn` with the key of the ledgers.
    fn with_key(&self) -> Result<Command> {
        let mut command = self.cairn(&self.work.path);
        command.env("CAIRN_KEY", generate::key()?.to_pem().expose());
        Ok(command)
    }

    /// The same, on a local store.
    fn on_store(&self, store: &Path) -> Result<Command> {
        let mut command = self.with_key()?;
        command.env("CAIRN_STORE", store);
        Ok(command)
    }

    fn append_table(&self, made: &Made, sizes: &Sizes, report: &mut Report) -> Result<()> {
        let before = made.entries;
        let append = |count: usize, batch: usize, first: usize| -> Result<Command> {
            let mut command = itself()?;
            command.arg("append").arg(&made.store);
            command.args([count, batch, first].map(|number| number.to_string()));
            Ok(command)
        };
        let mut first = 0;
        let mut rows = Vec::new();
        for (name, count, batch) in [
            ("one process, batches of 64", sizes.batched, 64),
            ("one process, one by one", sizes.single, 1),
        ] {
            let mut times = Vec::new();
            for _ in 0..self.runs {
                let start = Instant::now();
                measure::run(&mut append(count, batch, first)?)?;
                times.push(start.elapsed());
                first += count;
            }
            rows.push(rate(Row::new(name, times), count));
        }
        let name = format!("{} processes, one entry each, at once", sizes.processes);
        let mut times = Vec::new();
        for _ in 0..self.runs {
            let start = Instant::now();
            let running: Vec<Child> = (0..sizes.processes)
                .map(|process| {
                    let mut command = append(1, 1, first + process)?;
                    command.stdin(Stdio::null()).stdout(Stdio::null());
                    command
                        .spawn()
                        .map_err(|error| format!("cannot run {command:?}: {error}"))
                })
                .collect::<Result<_>>()?;
            for mut child in running {
                let status = child.wait().map_err(|error| error.to_string())?;
                if !status.success() {
                    return Err(format!("an append: {status}"));
                }
            }
            times.push(start.elapsed());
            first += sizes.processes;
        }
        rows.push(rate(Row::new(&name, times), sizes.processes));
        let title =
            format!("Durable appends to a ledger of {before} entries on the local disk; its end included");
        report.add(measure::table(&title, &rows, &[]));
        let per_second = sizes.batched as f64 / rows[0].median();
        report.add(format!(
            "\nBatched: {per_second:.0} entries a second (promise: ≥ 1,000): {}. All {first} are there: {}.\n",
            verdict(per_second >= 1_000.0),
            self.size_of(made)? == before + first,
        ));
        Ok(())
    }

    /// How many entries the ledger has.
    fn size_of(&self, made: &Made) -> Result<usize> {
        measure::remove(&self.home())?;
        let mut command = self.on_store(&made.store)?;
        let text = measure::output(command.args(["--json", "status", "--repository", REPOSITORY]))?;
        let size = text.split("\"size\":").nth(1).unwrap_or_default();
        let digits = size.split(|character: char| !character.is_ascii_digit());
        let digits = digits.into_iter().next().unwrap_or_default();
        digits.parse().map_err(|_| format!("no size in {text}"))
    }

    fn rollback_table(&self, ledgers: [&Made; 3], images: [usize; 2], report: &mut Report) -> Result<()> {
        let mut rows = Vec::new();
        let mut crane = None;
        for (made, bytes) in ledgers.into_iter().zip([images[0], images[0], images[1]]) {
            let server = self.serve_from(&made.store)?;
            let repository = format!("{}/{REPOSITORY}", server.host);
            measure::remove(&self.home())?;
            let cairn = |arguments: &[&str]| -> Result<Command> {
                let mut command = self.with_key()?;
                command.args(arguments).args(["--repository", &repository]);
                Ok(command)
            };
            measure::run(&mut cairn(&["status"])?)?;
            let name = format!(
                "cairn rollback, {} entries, {} MB",
                made.entries,
                bytes / 1_000_000
            );
            let mut times = Vec::new();
            for round in 0..self.runs {
                if round > 0 {
                    measure::run(&mut cairn(&["resume", "prod"])?)?;
                    measure::run(&mut cairn(&["promote", &made.shows, "prod"])?)?;
                }
                times.push(timed(&mut cairn(&["rollback", "prod"])?)?);
            }
            rows.push(Row::new(&name, times));
            if crane.is_none() && is_installed("crane") {
                let mut times = Vec::new();
                for _ in 0..self.runs {
                    let mut command = Command::new("crane");
                    let image = format!("{repository}:{}", made.shows);
                    command.args(["tag", "--insecure", &image, "other"]);
                    times.push(timed(&mut command)?);
                }
                crane = Some(Row::new(CRANE, times));
            }
        }
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        rows.extend(crane);
        let title = "Roll back one channel on `cairn serve`, the ledger read before";
        report.add(measure::table(title, &rows, &[Promise::slower(CRANE, 0.2)]));
        let (by_length, by_size) = (medians[1] / medians[0], medians[2] / medians[0]);
        report.add(format!(
            "\nThe long ledger takes {by_length:.2} of the short one's time (promise: ≤ 1.5): {}. The large image {by_size:.2} of the small one's (no \
             promise but that it does not depend on it: ≤ 1.25): {}.\n",
            verdict(by_length <= 1.5),
            verdict(by_size <= 1.25),
        ));
        Ok(())
    }

    /// A store on disk keeps `index.json` for other tools too, whatever number of tags it has.
    fn local_rollback_table(&self, ledgers: [&Made; 2], report: &mut Report) -> Result<()> {
        let mut rows = Vec::new();
        for made in ledgers {
            let cairn = |arguments: &[&str]| -> Result<Command> {
                let mut command = self.on_store(&made.store)?;
                command.args(arguments).args(["--repository", REPOSITORY]);
                Ok(command)
            };
            let mut times = Vec::new();
            for _ in 0..self.runs {
                measure::run(&mut cairn(&["resume", "prod"])?)?;
                measure::run(&mut cairn(&["promote", &made.shows, "prod"])?)?;
                times.push(timed(&mut cairn(&["rollback", "prod"])?)?);
            }
            let tags = fs::read_dir(
                made.store
                    .join("repos")
                    .join(REPOSITORY)
                    .join("_layout/refs/tags"),
            );
            let tags = tags
                .map_err(|error| format!("cannot count the tags: {error}"))?
                .count();
            rows.push(Row::new(
                &format!("cairn rollback, {} entries, {tags} tags", made.entries),
                times,
            ));
        }
        let ratio = rows[1].median() / rows[0].median();
        let title = "Roll back one channel on the local disk, the ledger read before";
        report.add(measure::table(title, &rows, &[]));
        report.add(format!(
            "\nThe long ledger takes {ratio:.2} of the short one's time (promise: ≤ 1.5): {}.\n",
            verdict(ratio <= 1.5),
        ));
        Ok(())
    }

    fn reading_table(&self, ledgers: [&Made; 3], quick: bool, report: &mut Report) -> Result<()> {
        let mut again_by_length = Vec::new();
        for made in ledgers {
            let status = || -> Result<Command> {
                let mut command = self.on_store(&made.store)?;
                command.args(["status", "--repository", REPOSITORY]);
                Ok(command)
            };
            let mut times = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..self.runs {
                measure::remove(&self.home())?;
                times[0].push(timed(&mut status()?)?);
                times[1].push(timed(&mut status()?)?);
                let mut floor = itself()?;
                floor.args(["verify", &made.entries.to_string()]);
                times[2].push(timed(&mut floor)?);
            }
            let floor = "floor: the signature library alone, all cores";
            let [first, again, alone] = times;
            let rows = [
                Row::new("cairn status, for the first time", first),
                Row::new("cairn status, again", again),
                Row::new(floor, alone),
            ];
            let title = format!(
                "Read a ledger of {} entries on the local disk, every signature checked",
                made.entries
            );
            let is_long = made.entries >= 100_000;
            let promises: &[Promise] = if is_long {
                &[Promise::slower(floor, 0.8)]
            } else {
                &[]
            };
            report.add(measure::table(&title, &rows, promises));
            again_by_length.push(rows[1].median());
            if made.entries == 1_000 && !quick {
                let milliseconds = rows[0].median() * 1e3;
                let kept = verdict(milliseconds <= 100.0);
                report.add(format!("\n{milliseconds:.0} ms (promise: ≤ 100 ms): {kept}.\n"));
            }
        }
        let ratio = again_by_length[2] / again_by_length[0];
        report.add(format!(
            "\n`status` on a ledger that was read before takes {ratio:.2} of the time on a short one, when it is long (promise: ≤ 1.5): {}.\n",
            verdict(ratio <= 1.5),
        ));
        Ok(())
    }

    fn history_table(&self, ledgers: [&Made; 3], report: &mut Report) -> Result<()> {
        let mut rows = Vec::new();
        for made in ledgers {
            let history = || -> Result<Command> {
                let mut command = self.on_store(&made.store)?;
                command.args(["history", "prod", "--limit", "20", "--repository", REPOSITORY]);
                Ok(command)
            };
            measure::remove(&self.home())?;
            measure::run(&mut history()?)?;
            let mut times = Vec::new();
            for _ in 0..self.runs {
                times.push(timed(&mut history()?)?);
            }
            rows.push(Row::new(
                &format!("cairn history, {} entries", made.entries),
                times,
            ));
        }
        report.add(measure::table(
            "First page of the history, the ledger read before",
            &rows,
            &[],
        ));
        Ok(())
    }

    fn causal_table(&self, sizes: &Sizes, report: &mut Report) -> Result<()> {
        let mut rows = Vec::new();
        for entries in sizes.causal {
            let made = self.made("causal", "causal", entries, sizes.images[0])?;
            let directory = self.work.path.join(format!("registry-of-{entries}"));
            let server = match Server::distribution("docker-registry", &directory) {
                Ok(server) => server,
                Err(why) => {
                    report.add(format!("\nCausal mode is not measured: {why}.\n"));
                    return Ok(());
                }
            };
            let repository = format!("{}/{REPOSITORY}", server.host);
            measure::remove(&self.home())?;
            measure::run(
                self.on_store(&made.store)?
                    .args(["copy", "--ledger", REPOSITORY, &repository]),
            )?;
            let cairn = |arguments: &[&str]| -> Result<Command> {
                let mut command = self.with_key()?;
                command.args(arguments).args(["--repository", &repository]);
                Ok(command)
            };
            let mut times = [Vec::new(), Vec::new(), Vec::new()];
            for round in 0..self.runs {
                measure::remove(&self.home())?;
                times[0].push(timed(&mut cairn(&["status"])?)?);
                times[1].push(timed(&mut cairn(&["status"])?)?);
                let mut back = cairn(&["rollback", "prod", "--no-hold"])?;
                times[2].push(timed(&mut back)?);
                if round + 1 < self.runs {
                    measure::run(&mut cairn(&["promote", &made.shows, "prod"])?)?;
                }
            }
            let names = [
                "cairn status, for the first time",
                "cairn status, again",
                "cairn rollback",
            ];
            rows.extend(
                names
                    .into_iter()
                    .zip(times)
                    .map(|(name, times)| Row::new(&format!("{name}, {entries} entries"), times)),
            );
            measure::remove(&made.store)?;
        }
        report.add(measure::table("Causal mode on docker-registry", &rows, &[]));
        Ok(())
    }

    fn serve_from(&self, store: &Path) -> Result<Server> {
        let mut command = self.cairn(&self.work.path);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(store);
        Server::cairn(&mut command, store.to_owned())
    }
}

fn rate(mut row: Row, count: usize) -> Row {
    row.note = format!("{count} entries: {:.0}/s", count as f64 / row.median());
    row
}

fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    measure::run(command)?;
    Ok(start.elapsed())
}

const fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "NOT KEPT" }
}

/// This program, as `cairn-benches ledger`.
fn itself() -> Result<Command> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("ledger");
    Ok(command)
}
