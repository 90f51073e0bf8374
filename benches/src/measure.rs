//! Running commands, timing them, and the table.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// How often each command is measured.
pub struct Runs(usize);

/// One line of a table.
pub struct Row {
    name: String,
    /// In ascending order; never empty.
    times: Vec<Duration>,
    /// What else there is to say, such as the size of the result.
    pub note: String,
}

impl Runs {
    pub fn new(count: usize) -> Self {
        Self(count)
    }

    /// Times `command`, with `prepare` before each run out of account. A command that fails ends the benchmark.
    pub fn measure(
        &self,
        name: &str,
        prepare: impl Fn(usize) -> Result<()>,
        command: impl Fn() -> Command,
    ) -> Result<Row> {
        let mut times = Vec::new();
        for round in 0..self.0 {
            prepare(round)?;
            let mut command = command();
            let start = Instant::now();
            run(&mut command)?;
            times.push(start.elapsed());
        }
        Ok(Row::new(name, times))
    }
}

impl Row {
    /// One that was measured in another way. There must be a time.
    pub fn new(name: &str, mut times: Vec<Duration>) -> Self {
        times.sort();
        Self {
            name: name.to_owned(),
            times,
            note: String::new(),
        }
    }

    /// In seconds.
    pub fn median(&self) -> f64 {
        let (lower, upper) = ((self.times.len() - 1) / 2, self.times.len() / 2);
        (self.times[lower] + self.times[upper]).as_secs_f64() / 2.0
    }
}

/// What Cairn, the first row of a table, promises about another: how many times its time the other's is, at least.
pub struct Promise {
    pub row: &'static str,
    pub at_least: f64,
}

impl Promise {
    /// `row` takes at least `times` as long as the first row.
    pub const fn slower(row: &'static str, times: f64) -> Self {
        Self { row, at_least: times }
    }
}

/// A table in which the first row is what the others are compared with.
pub fn table(title: &str, rows: &[Row], promises: &[Promise]) -> String {
    let mut text = format!(
        "\n{title}\n\n| what | median s | min – max | n | times the first | promise | |\n|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let seconds = |index: usize| row.times[index].as_secs_f64();
        let ratio = row.median() / rows[0].median();
        let promise = promises
            .iter()
            .find(|promise| promise.row == row.name)
            .map_or_else(String::new, |promise| {
                let kept = if ratio >= promise.at_least {
                    "kept"
                } else {
                    "NOT KEPT"
                };
                format!("≥ {:.2} {kept}", promise.at_least)
            });
        text.push_str(&format!(
            "| {} | {:.3} | {:.3} – {:.3} | {} | {ratio:.2} | {promise} | {} |\n",
            row.name,
            row.median(),
            seconds(0),
            seconds(row.times.len() - 1),
            row.times.len(),
            row.note,
        ));
    }
    text
}

pub fn run(command: &mut Command) -> Result<()> {
    finish(command).map(drop)
}

/// What `command` writes to stdout.
pub fn output(command: &mut Command) -> Result<String> {
    finish(command).map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn finish(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!(
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Runs `command` and gives the most memory that its process had at once, in bytes (`VmHWM`). It is looked at every
/// two milliseconds, so what a process takes just before its end may be missed.
pub fn peak_memory(command: &mut Command) -> Result<u64> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let mut peak = 0;
    loop {
        peak = peak.max(peak_of(child.id()).unwrap_or(0));
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Ok(Some(status)) if status.success() => return Ok(peak),
            Ok(Some(status)) => return Err(format!("{command:?}: {status}")),
            Err(error) => return Err(format!("cannot wait for {command:?}: {error}")),
        }
    }
}

/// The most memory that a running process had at once, in bytes.
pub fn peak_of(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Removes a file, if it is there.
pub fn remove_file(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a directory, if it is there.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(milliseconds: &[u64]) -> Row {
        let times = milliseconds
            .iter()
            .map(|count| Duration::from_millis(*count))
            .collect();
        Row {
            name: String::new(),
            times,
            note: String::new(),
        }
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(row(&[1, 2, 9]).median(), 0.002);
        assert_eq!(row(&[1, 2, 4, 9]).median(), 0.003);
    }
}
