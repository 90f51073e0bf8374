//! What a walk leaves out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::ignore::IgnoreRules;
use crate::path::TreePath;
use crate::select::{Selection, Verdict};

/// Which paths of a walk are left out.
///
/// Patterns are relative to where the walk starts. `*` and `?` stay within one name, `**` crosses slashes, `{a,b}`
/// and `[a-z]` are alternatives, a backslash takes the next character as it is. A pattern that ends in `/` matches
/// directories only. What is below an excluded directory is excluded. Upper and lower case are different.
#[derive(Debug, Clone, Default)]
pub struct GlobFilter {
    all: GlobSet,
    directories: GlobSet,
    ignored: Option<Ignored>,
    selection: Option<Selection>,
}

/// Rules that are relative to another directory than where the walk starts.
#[derive(Debug, Clone)]
struct Ignored {
    rules: Arc<IgnoreRules>,
    /// Where the walk starts, relative to the directory of the rules; with a slash at its end, or empty.
    start: Vec<u8>,
}

/// Why a pattern is not one.
#[derive(Debug, thiserror::Error)]
pub enum GlobError {
    /// It is empty or starts with a slash.
    #[error("the pattern `{pattern}` is not relative to the copied directory")]
    NotRelative {
        /// The pattern.
        pattern: String,
    },
    /// It does not follow the syntax.
    #[error("the pattern `{pattern}` cannot be understood")]
    Syntax {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        source: globset::Error,
    },
    /// All patterns together are too large.
    #[error("the exclude patterns are too large together")]
    TooLarge {
        /// What is wrong.
        source: globset::Error,
    },
}

impl GlobFilter {
    /// A filter that excludes nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A filter that excludes what any of `patterns` matches.
    ///
    /// # Errors
    ///
    /// [`GlobError`] names the pattern.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, GlobError> {
        let (mut all, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let pattern = pattern.as_ref();
            match pattern.strip_suffix('/') {
                Some(bare) => directories.add(compile(bare, pattern)?),
                None => all.add(compile(pattern, pattern)?),
            };
        }
        let build =
            |builder: &GlobSetBuilder| builder.build().map_err(|source| GlobError::TooLarge { source });
        Ok(Self {
            all: build(&all)?,
            directories: build(&directories)?,
            ignored: None,
            selection: None,
        })
    }

    /// The same, which also leaves out what `rules` ignore. The walk starts at `start`, relative to their directory; none
    /// for the directory itself.
    #[must_use]
    pub fn ignoring(self, rules: Arc<IgnoreRules>, start: Option<&TreePath>) -> Self {
        if rules.is_empty() {
            return self;
        }
        let start = start.map_or_else(Vec::new, |start| [start.as_bytes(), b"/"].concat());
        Self {
            ignored: Some(Ignored { rules, start }),
            ..self
        }
    }

    /// The same, which leaves out what `selection` does not take and what does not lead there.
    #[must_use]
    pub fn selecting(self, selection: Selection) -> Self {
        Self {
            selection: Some(selection),
            ..self
        }
    }

    /// Whether `path` itself, relative to the start of the walk, is excluded.
    #[must_use]
    pub fn excludes(&self, path: &TreePath, is_directory: bool) -> bool {
        let selected = self.selection.as_ref().map(|selection| selection.verdict(path));
        match selected {
            Some(Verdict::Outside) => return true,
            Some(Verdict::OnTheWay) if !is_directory => return true,
            _ => {}
        }
        let name = OsStr::from_bytes(path.as_bytes());
        // A set takes the path apart even if there is nothing in it.
        let matches = |set: &GlobSet| !set.is_empty() && set.is_match(name);
        matches(&self.all)
            || (is_directory && matches(&self.directories))
            || self
                .ignored
                .as_ref()
                .is_some_and(|ignored| ignored.has(path, is_directory))
    }
}

impl Ignored {
    fn has(&self, path: &TreePath, is_directory: bool) -> bool {
        if self.start.is_empty() {
            return self.rules.line(path.as_bytes(), is_directory).is_some();
        }
        let path = [&self.start, path.as_bytes()].concat();
        self.rules.line(&path, is_directory).is_some()
    }
}

pub(crate) fn compile(glob: &str, pattern: &str) -> Result<globset::Glob, GlobError> {
    if glob.is_empty() || glob.starts_with('/') {
        return Err(GlobError::NotRelative {
            pattern: pattern.to_owned(),
        });
    }
    // Said one by one, because some defaults depend on the platform.
    GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .case_insensitive(false)
        .empty_alternates(false)
        .build()
        .map_err(|source| GlobError::Syntax {
            pattern: pattern.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(pattern: &str, path: &str) -> bool {
        let path = TreePath::new(path).unwrap();
        GlobFilter::new([pattern]).unwrap().excludes(&path, false)
    }

    #[test]
    fn stars_stay_within_a_name_unless_doubled() {
        assert!(excludes("*.map", "a.map") && !excludes("*.map", "js/a.map"));
        assert!(excludes("**/*.map", "a.map") && excludes("**/*.map", "js/deep/a.map"));
        assert!(excludes("js/**", "js/a/b") && !excludes("js/**", "js"));
        assert!(excludes("{a,b}", "b") && !excludes("A", "a"));
    }

    #[test]
    fn a_closing_slash_means_directories() {
        let filter = GlobFilter::new(["**/target/"]).unwrap();
        let path = TreePath::new("x/target").unwrap();
        assert!(filter.excludes(&path, true) && !filter.excludes(&path, false));
    }

    #[test]
    fn bad_patterns_are_named() {
        for bad in ["", "/", "/a", "a[", "{a"] {
            let error = GlobFilter::new([bad]).unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
    }
}
