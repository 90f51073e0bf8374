//! What a server can take: requests for a manifest, pulls of blobs, durable pushes, and how much of the machine that costs it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cairn_oci::Digest;

use crate::http::Connection;
use crate::input;
use crate::measure;
use crate::server::Server;
use crate::{Bench, Report, Result, is_installed};

/// How long each kind of request is repeated.
const LONG: Duration = Duration::from_secs(5);
/// The same for `--quick`.
const SHORT: Duration = Duration::from_millis(500);
/// Connections that ask for manifests.
const READERS: usize = 32;
/// Connections that pull blobs.
const PULLERS: usize = 8;
/// Connections that push blobs, and how many blobs in all.
const PUSHERS: usize = 10;
const PUSHES: u64 = 200;
/// Connections at which memory is looked at.
const CROWD: usize = 64;
/// The blobs that are pulled, in MiB.
const PULLED: [usize; 3] = [1, 10, 100];

const MIB: usize = 1 << 20;
const REPOSITORY: &str = "bench/load";
const ACCEPT: &str =
    "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json\r\n";
/// What Cairn is compared with, and how many times its figure Cairn's is, at least (`design.md`, "Speed": of distribution).
const BASELINE: &str = "distribution 3";
const PROMISE_REQUESTS: f64 = 3.0;
const PROMISE_BLOBS: f64 = 1.0;

/// A server under load, and what it cost.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// Requests, or bytes, a second.
    rate: f64,
    /// The same for each second of the server's processor time.
    per_cpu: f64,
    /// Milliseconds.
    median: f64,
    p99: f64,
}

/// One server by all rows: each row's figures, one of each round.
struct Measured {
    name: &'static str,
    rows: Vec<(String, Vec<Figures>)>,
    /// Bytes.
    peak: u64,
    /// Syncs of a pushed blob, if they could be counted.
    syncs: Option<f64>,
}

impl Bench {
    /// `cairn serve` beside the registries of distribution, on the same requests.
    pub(crate) fn loads(&self, quick: bool, report: &mut Report) -> Result<()> {
        let time = if quick { SHORT } else { LONG };
        let mut servers = vec![("cairn serve", self.serve()?)];
        for (name, program) in [("distribution 2", "docker-registry"), (BASELINE, "registry")] {
            match Server::distribution(program, &self.work.path.join(format!("load-{program}"))) {
                Ok(server) => servers.push((name, server)),
                Err(why) => report.add(format!("\n{name} is not measured: {why}.\n")),
            }
        }
        let mut all: Vec<Measured> = Vec::new();
        for (name, server) in &servers {
            self.fill(server)?;
            all.push(Measured {
                name,
                rows: Vec::new(),
                peak: 0,
                syncs: None,
            });
        }
        for _ in 0..self.runs {
            for ((_, server), measured) in servers.iter().zip(&mut all) {
                measured.round(server, time)?;
            }
        }
        for ((_, server), measured) in servers.iter().zip(&mut all) {
            measured.peak = peak(server, time)?;
            measured.syncs = syncs(server)?;
        }
        report.add(table(&all));
        Ok(())
    }

    /// Gives the server an image and the blobs that are pulled.
    fn fill(&self, server: &Server) -> Result<()> {
        let context = self.work.path.join("load-app");
        let repository = format!("{}/{REPOSITORY}", server.host);
        input::write_application(&context, &repository, "1.0.0")?;
        measure::run(self.cairn(&context).args(["push", "--tag", "1"]))?;
        let mut connection = Connection::open(&server.host)?;
        for size in PULLED {
            push(&mut connection, &content(size * MIB, size as u64))?;
        }
        Ok(())
    }
}

impl Measured {
    fn round(&mut self, server: &Server, time: Duration) -> Result<()> {
        let manifest = format!("/v2/{REPOSITORY}/manifests/1");
        for method in ["GET", "HEAD"] {
            let figures = asked(server, time, READERS, |connection| {
                let answer = connection.ask(method, &manifest, ACCEPT, b"")?;
                expect(answer.status, 200, "a manifest").map(|()| 1)
            })?;
            self.add(
                format!("{method} a manifest by tag, {READERS} connections, requests/s"),
                figures,
            );
        }
        for size in PULLED {
            let digest = Digest::of(&content(size * MIB, size as u64));
            let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
            let figures = asked(server, time, PULLERS, |connection| {
                let answer = connection.ask("GET", &path, "", b"")?;
                expect(answer.status, 200, "a blob").map(|()| answer.length)
            })?;
            self.add(
                format!("GET a blob of {size} MiB, {PULLERS} connections, bytes/s"),
                figures,
            );
        }
        let figures = pushed(server)?;
        self.add(
            format!("durable push of 1 MiB, {PUSHERS} connections, blobs/s"),
            figures,
        );
        Ok(())
    }

    fn add(&mut self, row: String, figures: Figures) {
        match self.rows.iter_mut().find(|(name, _)| *name == row) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.rows.push((row, vec![figures])),
        }
    }
}

/// Repeats `ask` for `time` on so many connections; it gives how much it got.
fn asked(
    server: &Server,
    time: Duration,
    connections: usize,
    ask: impl Fn(&mut Connection) -> Result<u64> + Sync,
) -> Result<Figures> {
    let stop = AtomicBool::new(false);
    let (cpu, begin) = (server.cpu()?, Instant::now());
    let done = thread::scope(|scope| {
        let work = || -> Result<(u64, Vec<Duration>)> {
            let mut connection = Connection::open(&server.host)?;
            let (mut got, mut times) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                got += ask(&mut connection)?;
                times.push(start.elapsed());
            }
            Ok((got, times))
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(joined).collect::<Result<Vec<_>>>()
    })?;
    figures(server, cpu, begin, done)
}

/// Pushes [`PUSHES`] blobs that the server does not have.
fn pushed(server: &Server) -> Result<Figures> {
    static SEED: AtomicU64 = AtomicU64::new(1 << 20);
    let left = AtomicU64::new(PUSHES);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    // Made before the clock runs.
    let blobs: Vec<Vec<u8>> = (0..PUSHES)
        .map(|_| content(MIB, SEED.fetch_add(1, Ordering::Relaxed)))
        .collect();
    let (cpu, begin) = (server.cpu()?, Instant::now());
    let done = thread::scope(|scope| {
        let work = || -> Result<(u64, Vec<Duration>)> {
            let mut connection = Connection::open(&server.host)?;
            let (mut got, mut times) = (0, Vec::new());
            while let Ok(number) = take() {
                let start = Instant::now();
                push(&mut connection, &blobs[number as usize - 1])?;
                times.push(start.elapsed());
                got += 1;
            }
            Ok((got, times))
        };
        let threads: Vec<_> = (0..PUSHERS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(joined).collect::<Result<Vec<_>>>()
    })?;
    figures(server, cpu, begin, done)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .map_err(|_| "a connection ended in a panic".to_owned())?
}

fn figures(
    server: &Server,
    cpu: Duration,
    begin: Instant,
    done: Vec<(u64, Vec<Duration>)>,
) -> Result<Figures> {
    let (elapsed, cpu) = (begin.elapsed().as_secs_f64(), (server.cpu()? - cpu).as_secs_f64());
    let got: u64 = done.iter().map(|(got, _)| got).sum();
    let mut times: Vec<_> = done.into_iter().flat_map(|(_, times)| times).collect();
    times.sort();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times
            .get(index.min(times.len().saturating_sub(1)))
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Ok(Figures {
        rate: got as f64 / elapsed,
        per_cpu: got as f64 / cpu.max(0.01),
        median: at(0.5),
        p99: at(0.99),
    })
}

/// The most memory that the server had, up to the end of a crowd that asks for manifests and blobs.
fn peak(server: &Server, time: Duration) -> Result<u64> {
    let digest = Digest::of(&content(10 * MIB, 10));
    let paths = [
        format!("/v2/{REPOSITORY}/manifests/1"),
        format!("/v2/{REPOSITORY}/blobs/{digest}"),
    ];
    let turn = AtomicU64::new(0);
    asked(server, time, CROWD, |connection| {
        let path = &paths[turn.fetch_add(1, Ordering::Relaxed) as usize % 2];
        let answer = connection.ask("GET", path, ACCEPT, b"")?;
        expect(answer.status, 200, path).map(|()| 1)
    })?;
    server.peak()
}

/// How often the server syncs for a pushed blob, if strace can tell.
fn syncs(server: &Server) -> Result<Option<f64>> {
    const BLOBS: u64 = 20;
    if !is_installed("strace") {
        return Ok(None);
    }
    let Some(trace) = server.trace("fsync,fdatasync,syncfs,sync_file_range")? else {
        return Ok(None);
    };
    let mut connection = Connection::open(&server.host)?;
    for number in 0..BLOBS {
        push(&mut connection, &content(MIB, (1 << 40) + number))?;
    }
    trace.calls().map(|calls| Some(calls as f64 / BLOBS as f64))
}

/// Pushes a blob in two requests.
fn push(connection: &mut Connection, content: &[u8]) -> Result<()> {
    let begun = connection.ask("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), "", b"")?;
    expect(begun.status, 202, "an upload")?;
    let location = begun.location.ok_or("an upload without a place")?;
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={}", Digest::of(content));
    let headers = "Content-Type: application/octet-stream\r\n";
    let done = connection.ask("PUT", &target, headers, content)?;
    expect(done.status, 201, "an upload's end")
}

fn expect(found: u16, expected: u16, what: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: HTTP status {found}, not {expected}"))
}

/// Bytes that cannot be compressed, the same for the same seed (xorshift64*).
fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn median(rounds: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<_> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn table(all: &[Measured]) -> String {
    let mut text = String::new();
    let rows = all.first().map(|first| &first.rows[..]).unwrap_or_default();
    for (number, (row, _)) in rows.iter().enumerate() {
        text.push_str(&format!(
            "\n{row}\n\n| server | median | min – max | per server-CPU-second | p50 ms | p99 ms | promise |\n|---|---|---|---|---|---|---|\n"
        ));
        let baseline = all.iter().find(|measured| measured.name == BASELINE);
        for measured in all {
            let rounds = &measured.rows[number].1;
            let mut rates: Vec<_> = rounds.iter().map(|figures| figures.rate).collect();
            rates.sort_by(f64::total_cmp);
            let promise = match baseline {
                Some(baseline) if measured.name == all[0].name => {
                    promise(row, rounds, &baseline.rows[number].1)
                }
                _ => String::new(),
            };
            text.push_str(&format!(
                "| {} | {} | {} – {} | {} | {:.1} | {:.1} | {promise} |\n",
                measured.name,
                short(median(rounds, |figures| figures.rate)),
                short(rates[0]),
                short(rates[rates.len() - 1]),
                short(median(rounds, |figures| figures.per_cpu)),
                median(rounds, |figures| figures.median),
                median(rounds, |figures| figures.p99),
            ));
        }
    }
    text.push_str(&format!(
        "\nMemory at most, with {CROWD} connections at the end; syncs for each pushed blob\n\n| server | peak MB | syncs |\n|---|---|---|\n"
    ));
    for measured in all {
        let syncs = measured
            .syncs
            .map_or("not counted: strace is missing, or may not".to_owned(), |syncs| {
                format!("{syncs:.1}")
            });
        text.push_str(&format!(
            "| {} | {:.1} | {syncs} |\n",
            measured.name,
            measured.peak as f64 / 1e6
        ));
    }
    text
}

/// Manifests are compared by the server's processor time, blobs by the clock.
fn promise(row: &str, ours: &[Figures], theirs: &[Figures]) -> String {
    let (of, at_least): (fn(&Figures) -> f64, f64) = if row.contains("manifest") {
        (|figures| figures.per_cpu, PROMISE_REQUESTS)
    } else {
        (|figures| figures.rate, PROMISE_BLOBS)
    };
    let ratio = median(ours, of) / median(theirs, of);
    let kept = if ratio >= at_least { "kept" } else { "NOT KEPT" };
    format!("≥ {at_least:.1} × {BASELINE}: {ratio:.2} {kept}")
}

/// `16.5 k`, `1.61 G`.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{:.2} G", value / 1e9),
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_its_seeds() {
        assert_eq!(content(100, 7), content(100, 7));
        assert_ne!(content(100, 7), content(100, 8));
        assert_eq!(content(13, 1).len(), 13);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [short(329.4), short(16_547.0), short(1.61e9)],
            ["329", "16.5 k", "1.61 G"]
        );
    }
}
