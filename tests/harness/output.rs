//! What a command said, and how it ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use serde_json::Value;

/// A command that ended.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    command: String,
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(super) fn new(command: &Command, status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Self {
        let name = std::path::Path::new(command.get_program()).file_name();
        let words = name.into_iter().chain(command.get_args());
        let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        Self {
            command: words.join(" "),
            code: status.code(),
            signal: status.signal(),
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
        }
    }

    /// It succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// It failed with this code, and said an error and nothing on stdout.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        let this = self.exits(code);
        assert!(this.stdout.is_empty(), "data although it failed:\n{this}");
        assert!(this.stderr.contains("error: "), "no error is named:\n{this}");
        this
    }

    /// It ended with this code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "expected exit code {code}:\n{self}");
        self
    }

    /// stderr has this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stderr lacks {text:?}:\n{self}");
        self
    }

    /// stdout has this text.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "stdout lacks {text:?}:\n{self}");
        self
    }

    /// The one line of stdout.
    #[track_caller]
    pub(crate) fn line(&self) -> &str {
        let mut lines = self.stdout.lines();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line,
            _ => panic!("stdout is not one line:\n{self}"),
        }
    }

    /// The digest at the end of the one line of stdout: `repository@sha256:…` or `sha256:…`.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        let line = self.line();
        let digest = line.rsplit('@').next().unwrap_or(line);
        assert!(digest.starts_with("sha256:"), "no digest in {line}");
        digest.to_owned()
    }

    /// The JSON document on stdout, which begins with the version of its shape.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(
            self.stdout.starts_with(r#"{"schema":1,"#),
            "no document of schema 1:\n{self}"
        );
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{self}"))
    }
}

impl fmt::Display for Output {
    /// As in the README: `$ command`, stdout behind `→`, the rest stderr, the exit code if it is not 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        for line in self.stderr.lines() {
            writeln!(f, "{line}")?;
        }
        for line in self.stdout.lines() {
            writeln!(f, "→ {line}")?;
        }
        match (self.code, self.signal) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => writeln!(f, "[exit {code}]"),
            (None, signal) => writeln!(f, "[signal {}]", signal.unwrap_or_default()),
        }
    }
}

fn quoted(word: &str) -> String {
    if word.contains(' ') || word.is_empty() {
        format!("\"{word}\"")
    } else {
        word.to_owned()
    }
}
