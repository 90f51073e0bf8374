//! Ignore files: what no walk takes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobSet, GlobSetBuilder};

use crate::glob::{GlobError, compile};

/// The rules of an ignore file. They are those of gitignore(5), and have `{a,b}` besides:
///
/// - one pattern a line; empty lines and lines that start with `#` are none;
/// - a pattern with a slash at its beginning or in its middle is relative to the file's directory, any other one matches
///   at every depth; a slash at its end means directories only; `**` crosses slashes;
/// - `!` at the beginning takes back what an earlier pattern matched; the last pattern that matches counts;
/// - what is below an ignored directory is ignored, and cannot be taken back;
/// - a backslash takes the next character as it is, also a space at the end.
#[derive(Debug, Clone, Default)]
pub struct IgnoreRules {
    set: GlobSet,
    /// What each pattern of the set says, in the order of the file.
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    line: usize,
    takes_back: bool,
    directories_only: bool,
}

/// Why an ignore file is none.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    /// A line is no pattern.
    #[error("line {line}")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        source: GlobError,
    },
    /// All patterns together are too large.
    #[error("all patterns together")]
    All {
        /// What is wrong.
        source: GlobError,
    },
}

impl IgnoreRules {
    /// Whether they ignore nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Reads the text of an ignore file.
    ///
    /// # Errors
    ///
    /// [`IgnoreError`] names the line.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let mut set = GlobSetBuilder::new();
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = without_trailing_spaces(line);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |source| IgnoreError::Line {
                line: number + 1,
                source,
            };
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let (directories_only, bare) = match pattern.strip_suffix('/') {
                Some(bare) => (true, bare),
                None => (false, pattern),
            };
            let glob = match bare.strip_prefix('/') {
                Some(anchored) => anchored.to_owned(),
                None if bare.contains('/') || bare.is_empty() => bare.to_owned(),
                None => format!("**/{bare}"),
            };
            set.add(compile(&glob, pattern).map_err(failed)?);
            rules.push(Rule {
                line: number + 1,
                takes_back,
                directories_only,
            });
        }
        let set = set.build().map_err(|source| IgnoreError::All {
            source: GlobError::TooLarge { source },
        })?;
        Ok(Self { set, rules })
    }

    /// The line by which `path` itself is ignored, if it is. `path` is relative to the file's directory.
    #[must_use]
    pub fn line(&self, path: &[u8], is_directory: bool) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let matches = self.set.matches(OsStr::from_bytes(path));
        let mut rules = matches.iter().rev().filter_map(|at| self.rules.get(*at));
        let last = rules.find(|rule| is_directory || !rule.directories_only)?;
        (!last.takes_back).then_some(last.line)
    }

    /// The line by which `path` or a directory above it is ignored, if one of them is.
    #[must_use]
    pub fn line_on_the_way(&self, path: &[u8], is_directory: bool) -> Option<usize> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.map(|(at, _)| &path[..at]);
        let above = above.find_map(|directory| self.line(directory, true));
        above.or_else(|| self.line(path, is_directory))
    }
}

/// A space after a backslash stays.
fn without_trailing_spaces(line: &str) -> &str {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.ends_with('\\') && trimmed.len() < line.len() {
        true => &line[..=trimmed.len()],
        false => trimmed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rules: &str, path: &str) -> Option<usize> {
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let rules = IgnoreRules::parse(rules).unwrap();
        rules.line_on_the_way(path.as_bytes(), is_directory)
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (rules, path, expected) in [
            ("", "a", None),
            ("# a\n\na", "a", Some(3)),
            ("*.log", "deep/down/x.log", Some(1)),
            ("/x.log", "deep/x.log", None),
            ("/x.log", "x.log", Some(1)),
            ("a/b", "a/b", Some(1)),
            ("a/b", "c/a/b", None),
            ("**/a/b", "c/a/b", Some(1)),
            ("target/", "x/target/", Some(1)),
            ("target/", "x/target", None),
            ("target/", "x/target/debug/a", Some(1)),
            ("*.log\n!keep.log", "keep.log", None),
            ("*.log\n!keep.log\nkeep.*", "keep.log", Some(3)),
            ("logs/\n!logs/keep", "logs/keep", Some(1)),
            ("\\#x\n\\!y", "#x", Some(1)),
            ("\\#x\n\\!y", "!y", Some(2)),
            ("a  ", "a", Some(1)),
            ("a\\ ", "a ", Some(1)),
            ("a/**", "a/", None),
            ("a/**", "a/b", Some(1)),
            ("*\n!/dist/", "dist/", None),
            ("*.{map,ts}", "a.ts", Some(1)),
        ] {
            assert_eq!(line(rules, path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_line() {
        for (bad, at) in [("a\n\n[", 3), ("/", 1), ("!", 1)] {
            match IgnoreRules::parse(bad) {
                Err(IgnoreError::Line { line, .. }) => assert_eq!(line, at, "{bad:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
