//! Exclude patterns.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::path::TreePath;

/// Which paths of a walk are left out.
///
/// Patterns are relative to where the walk starts. `*` and `?` stay within one name, `**` crosses slashes, `{a,b}`
/// and `[a-z]` are alternatives, a backslash takes the next character as it is. A pattern that ends in `/` matches
/// directories only. What is below an excluded directory is excluded. Upper and lower case are different.
#[derive(Debug, Clone, Default)]
pub struct GlobFilter {
    all: GlobSet,
    directories: GlobSet,
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
        })
    }

    /// Whether `path` itself, relative to the start of the walk, is excluded.
    #[must_use]
    pub fn excludes(&self, path: &TreePath, is_directory: bool) -> bool {
        let path = OsStr::from_bytes(path.as_bytes());
        self.all.is_match(path) || (is_directory && self.directories.is_match(path))
    }
}

fn compile(glob: &str, pattern: &str) -> Result<globset::Glob, GlobError> {
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
