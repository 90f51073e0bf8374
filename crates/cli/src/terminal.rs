//! What a command says: data on stdout, everything else on stderr.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_oci::{Digest, json};
use cairn_store::transfer::Transferred;
use jiff::Timestamp;
use serde::Serialize;

use crate::escape::escape;
use crate::failure::{Exit, Failure};

/// Where and how a command speaks.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// Documents instead of lines on stdout.
    pub json: bool,
    /// Nothing on stderr but errors.
    pub quiet: bool,
    /// More on stderr.
    pub verbose: bool,
    /// Colours in diagnostics.
    pub color: bool,
    /// Bars for what takes long.
    pub progress: bool,
    /// The image that a line on stderr is about, if a command acts on several.
    about: Option<String>,
    /// Where data is kept back, if it does not go to stdout.
    kept: Option<Arc<Mutex<Kept>>>,
}

/// Data that was kept back.
#[derive(Debug, Default)]
pub struct Kept {
    /// Lines.
    pub lines: Vec<u8>,
    /// The document of `--json`: an object in canonical form, without its `schema`.
    pub document: Option<Vec<u8>>,
}

impl Terminal {
    /// A terminal that speaks like this.
    #[must_use]
    pub const fn new(json: bool, quiet: bool, verbose: bool, color: bool) -> Self {
        Self {
            json,
            quiet,
            verbose,
            color,
            progress: false,
            about: None,
            kept: None,
        }
    }

    /// One that says of each line on stderr that it is about `image`, and keeps data back for [`Self::take_kept`].
    #[must_use]
    pub fn about(&self, image: &str) -> Self {
        Self {
            progress: false,
            about: Some(image.to_owned()),
            kept: Some(Arc::default()),
            ..self.clone()
        }
    }

    /// What was kept back.
    #[must_use]
    pub fn take_kept(&self) -> Kept {
        let kept = self.kept.as_ref().map(|kept| std::mem::take(&mut *lock(kept)));
        kept.unwrap_or_default()
    }

    /// A line of prose for people.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            self.stderr(&format!("{}\n", escape(line.as_ref())));
        }
    }

    /// One step of the work: two spaces, what, and what about it.
    pub fn step(&self, what: &str, about: impl AsRef<str>) {
        self.say(format!("  {what:<16} {}", about.as_ref()));
    }

    /// A line that is only for whoever asked for more.
    pub fn detail(&self, line: impl AsRef<str>) {
        if self.verbose {
            self.say(line);
        }
    }

    /// Something that is not an error and should not be overlooked: shown also with `-q`.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.stderr(&format!("warning: {}\n", escape(line.as_ref())));
    }

    /// Why the command failed.
    pub fn fail(&self, failure: &Failure) {
        self.stderr(&failure.to_string());
    }

    /// Text that is escaped already.
    fn stderr(&self, text: &str) {
        let text = match &self.about {
            Some(image) => text.lines().map(|line| format!("{image}: {line}\n")).collect(),
            None => text.to_owned(),
        };
        // Nobody can be told that stderr is gone; what the command does, and its exit code, stay the same.
        let _unheard = io::stderr().write_all(text.as_bytes());
    }

    /// A line of data.
    ///
    /// # Errors
    ///
    /// [`Failure`] when stdout cannot be written.
    pub fn print(&self, line: impl AsRef<str>) -> Result<(), Failure> {
        self.bytes(format!("{}\n", escape(line.as_ref())).as_bytes())
    }

    /// Bytes of data, exactly.
    ///
    /// # Errors
    ///
    /// [`Failure`] when stdout cannot be written.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(kept) = &self.kept {
            lock(kept).lines.extend_from_slice(bytes);
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| match error.kind() {
            // Whoever read has seen enough; there is nobody left to tell.
            io::ErrorKind::BrokenPipe => Failure::silent(Exit::Environment),
            _ => Failure::new(Exit::Environment, format!("cannot write to stdout: {error}")),
        })
    }

    /// A document on one line: `"schema": 1` first, then its members sorted.
    ///
    /// # Errors
    ///
    /// [`Failure`] when stdout cannot be written.
    pub fn document<T: Serialize>(&self, document: &T) -> Result<(), Failure> {
        let document = json::canonical(document);
        if let Some(kept) = &self.kept {
            lock(kept).document = Some(document);
            return Ok(());
        }
        self.bytes(&with_schema(&document))
    }

    /// A table: a head line and rows, columns two spaces apart.
    ///
    /// # Errors
    ///
    /// [`Failure`] when stdout cannot be written.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        self.bytes(table(head, rows).as_bytes())
    }
}

/// Nobody who held it panicked while it was half changed: it is only added to.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object's canonical form, begun with the version of its shape.
fn with_schema(object: &[u8]) -> Vec<u8> {
    let members = object.strip_prefix(b"{").unwrap_or(object);
    let separator: &[u8] = if members == b"}" { b"" } else { b"," };
    [br#"{"schema":1"#, separator, members, b"\n"].concat()
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let escaped = rows
        .iter()
        .map(|row| row.iter().map(|cell| escape(cell)).collect::<Vec<_>>());
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(escaped).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// `sha256:` and the first twelve digits, with `…`.
#[must_use]
pub fn short(digest: &Digest) -> String {
    format!("sha256:{}…", &digest.hex()[..12])
}

/// Day and minute, UTC.
#[must_use]
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// Bytes in the unit that reads best: `912 B`, `2.1 MB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    for (unit, size) in UNITS {
        if count >= size {
            let tenths = (u128::from(count) * 10 + u128::from(size) / 2) / u128::from(size);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

/// `1 file`, `2 files`.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `2 blobs, 0.9 MB; 1 there already`, where `place` is `there` or `here`.
#[must_use]
pub fn moved(transferred: &Transferred, place: &str) -> String {
    let Transferred { uploaded, reused } = transferred;
    let blobs = counted(uploaded.blobs, "blob", "blobs");
    format!(
        "{blobs}, {}; {} {place} already",
        bytes(uploaded.bytes),
        reused.blobs
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_a_tenth() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (2_149_999, "2.1 MB"),
            (3_000_000_000, "3.0 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn documents_start_with_their_schema() {
        assert_eq!(with_schema(br#"{"a":1}"#), b"{\"schema\":1,\"a\":1}\n");
        assert_eq!(with_schema(b"{}"), b"{\"schema\":1}\n");
    }

    #[test]
    fn a_table_is_aligned_and_escaped() {
        let rows = vec![
            vec!["1".to_owned(), "a\x1bb".to_owned()],
            vec!["20".to_owned(), String::new()],
        ];
        assert_eq!(table(&["SEQ", "KIND"], &rows), "SEQ  KIND\n1    a\\x1bb\n20\n");
    }
}
