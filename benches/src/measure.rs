//! Running commands, timing them, and the table.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};
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
        times.sort();
        Ok(Row {
            name: name.to_owned(),
            times,
            note: String::new(),
        })
    }
}

impl Row {
    fn median(&self) -> f64 {
        let (lower, upper) = ((self.times.len() - 1) / 2, self.times.len() / 2);
        (self.times[lower] + self.times[upper]).as_secs_f64() / 2.0
    }
}

/// Prints a table in which the first row is what the others are compared with.
pub fn print(title: &str, rows: &[Row]) {
    println!(
        "\n{title}\n\n| what | median s | min – max | n | times the first | |\n|---|---|---|---|---|---|"
    );
    for row in rows {
        let seconds = |index: usize| row.times[index].as_secs_f64();
        println!(
            "| {} | {:.3} | {:.3} – {:.3} | {} | {:.2} | {} |",
            row.name,
            row.median(),
            seconds(0),
            seconds(row.times.len() - 1),
            row.times.len(),
            row.median() / rows[0].median(),
            row.note,
        );
    }
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
