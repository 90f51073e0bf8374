//! What a command says: data on stdout, everything else on stderr.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use cairn_oci::text::counted;
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
    /// How many columns a table may have; none: as many as it needs.
    pub columns: Option<usize>,
    /// The image of a workspace that the command is about: what is to be typed next names it too.
    member: Option<Arc<str>>,
    /// Whether each line on stderr says so, because the command acts on several.
    several: bool,
    /// Where data is kept back, if it does not go to stdout.
    kept: Option<Arc<Mutex<Kept>>>,
    /// The options that say of which ledger the command speaks: what is to be typed next needs them too.
    named: Arc<OnceLock<String>>,
}

/// The verbs that take `--repository`, as far as a message names them.
const ON_A_LEDGER: [&str; 19] = [
    "adopt",
    "approve",
    "audit",
    "history",
    "key add",
    "key list",
    "key remove",
    "ledger",
    "promote",
    "ratify",
    "record",
    "release",
    "repair",
    "resume",
    "rollback",
    "show",
    "status",
    "switch",
    "yank",
];

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
    pub fn new(json: bool, quiet: bool, verbose: bool, color: bool) -> Self {
        Self {
            json,
            quiet,
            verbose,
            color,
            progress: false,
            columns: None,
            member: None,
            several: false,
            kept: None,
            named: Arc::default(),
        }
    }

    /// The command speaks of a ledger because these options say so, and not by a spec.
    pub fn named_by(&self, options: String) {
        let _the_first_one = self.named.set(options);
    }

    /// Text that may say what to type next: where options named the ledger or the image, they have to be typed again.
    #[must_use]
    pub fn to_type(&self, text: String) -> String {
        let takes =
            |verb: &str| text.contains(&format!("cairn {verb} ")) || text.ends_with(&format!("cairn {verb}"));
        let member = || Some(format!("-p {}", self.member.as_ref()?));
        match self.named.get().cloned().or_else(member) {
            Some(options) if ON_A_LEDGER.iter().any(|verb| takes(verb)) && !text.contains("--repository") => {
                format!("{text} (add {options})")
            }
            _ => text,
        }
    }

    /// One that speaks of the image of a workspace that `-p` named.
    #[must_use]
    pub fn of_member(&self, image: &str) -> Self {
        Self {
            member: Some(image.into()),
            ..self.clone()
        }
    }

    /// One that says of each line on stderr that it is about `image`, and keeps data back for [`Self::take_kept`].
    #[must_use]
    pub fn about(&self, image: &str) -> Self {
        Self {
            progress: false,
            member: Some(image.into()),
            several: true,
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
        let failure = failure.clone().map_hints(|hint| self.to_type(hint));
        self.stderr(&failure.to_string());
    }

    /// Text that is escaped already.
    fn stderr(&self, text: &str) {
        let text = match self.member.as_ref().filter(|_| self.several) {
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

    /// A table: a head line and rows, columns two spaces apart. Where that is too wide, the last column is broken into lines; and
    /// where even that is, each row becomes a paragraph.
    ///
    /// # Errors
    ///
    /// [`Failure`] when stdout cannot be written.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        self.bytes(table(head, rows, self.columns).as_bytes())
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

/// The fewest columns that are worth breaking text into.
const NARROWEST: usize = 16;

fn table(head: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let escaped = rows
        .iter()
        .map(|row| row.iter().map(|cell| escape(cell)).collect::<Vec<_>>());
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(escaped).collect();
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..count).map(width).collect();
    let before_last: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
    if let (Some(columns), Some(last)) = (columns, widths.last_mut()) {
        if before_last + NARROWEST.min(*last) > columns {
            return paragraphs(&lines);
        }
        *last = (*last).min(columns - before_last);
    }
    lines.iter().map(|cells| table_line(cells, &widths)).collect()
}

fn table_line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    let mut indent = 0;
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if column + 1 < widths.len() {
            text.push_str(&format!("{cell:<width$}  "));
            indent += width + 2;
        } else {
            text.push_str(&broken(cell, *width).join(&format!("\n{:indent$}", "")));
        }
    }
    format!("{}\n", text.trim_end())
}

/// `text` in lines of at most `width` characters, broken between words; within a word only if it is longer than a line.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut free = width;
    for word in text.split(' ') {
        let length = word.chars().count();
        let line = lines.last_mut();
        if let Some(line) = line.filter(|line| line.is_empty() || length < free) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
        while let Some(line) = lines.last_mut()
            && let Some((end, _)) = line.char_indices().nth(width.max(1))
        {
            let rest = line.split_off(end);
            lines.push(rest);
        }
        free = width - lines.last().map_or(0, |line| line.chars().count());
    }
    lines
}

/// Each row as lines of its own, a name before each value.
fn paragraphs(lines: &[Vec<String>]) -> String {
    let Some((head, rows)) = lines.split_first() else {
        return String::new();
    };
    let width = head.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let paragraph = |row: &Vec<String>| -> String {
        let named = head.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        named
            .map(|(name, cell)| format!("{name:<width$}  {cell}\n"))
            .collect()
    };
    rows.iter().map(paragraph).collect::<Vec<_>>().join("\n")
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

/// So long, in the unit that reads best: `8 s`, `25 min`, `3 h`, `12 days`. Nothing is less than none.
#[must_use]
pub fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
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
        assert_eq!(
            table(&["SEQ", "KIND"], &rows, None),
            "SEQ  KIND\n1    a\\x1bb\n20\n"
        );
    }

    #[test]
    fn a_table_that_is_too_wide_is_broken_and_then_becomes_paragraphs() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["1", "release", "checkout answered with 500s since the new pool"]),
            row(["2", "rollback", ""]),
            row(["3", "yank", "a-word-that-is-longer-than-the-line"]),
        ];
        let head = ["SEQ", "KIND", "REASON"];
        let narrow = table(&head, &rows, Some(36));
        assert_eq!(
            narrow,
            "SEQ  KIND      REASON\n\
             1    release   checkout answered\n\
             \x20              with 500s since the\n\
             \x20              new pool\n\
             2    rollback\n\
             3    yank      a-word-that-is-longer\n\
             \x20              -than-the-line\n"
        );
        assert!(narrow.lines().all(|line| line.chars().count() <= 36));
        assert_eq!(
            table(&head, &rows[..2], Some(20)),
            "SEQ     1\nKIND    release\nREASON  checkout answered with 500s since the new pool\n\n\
             SEQ     2\nKIND    rollback\n"
        );
        assert_eq!(table(&head, &rows, None).lines().count(), 4);
        assert_eq!(table(&head, &[], Some(10)), "", "nothing to tell needs no head");
    }
}
