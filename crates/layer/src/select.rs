//! Which paths a glob takes, and which directories may lead to them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::GlobMatcher;

use crate::glob::{GlobError, compile};
use crate::path::TreePath;

/// A glob that takes files and directories, the latter with all that is in them.
///
/// The syntax is that of [`GlobFilter`](crate::GlobFilter); `**` is a whole component and stands for any number of
/// directories, also none.
#[derive(Debug, Clone)]
pub struct Selection {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// One component.
    Name(GlobMatcher),
    /// Any number of components.
    AnyDepth,
}

/// What a path is to a [`Selection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It matches, or a directory above it does.
    Selected,
    /// It does not, but what is below it may, if it is a directory.
    OnTheWay,
    /// Neither it nor anything below it matches.
    Outside,
}

impl Selection {
    /// Reads a glob that is relative to the start of a walk.
    ///
    /// # Errors
    ///
    /// [`GlobError`] names the glob.
    pub fn new(glob: &str) -> Result<Self, GlobError> {
        let mut steps = Vec::new();
        for component in glob.split('/') {
            steps.push(match component {
                "**" => Step::AnyDepth,
                name => Step::Name(compile(name, glob)?.compile_matcher()),
            });
        }
        // What `a/**` takes is in `a`, and not `a` itself.
        if let Some(Step::AnyDepth) = steps.last() {
            steps.push(Step::Name(compile("*", glob)?.compile_matcher()));
        }
        Ok(Self { steps })
    }

    /// What `path`, relative to the start of the walk, is to this.
    #[must_use]
    pub fn verdict(&self, path: &TreePath) -> Verdict {
        // Which steps may come next: `**` makes it several.
        let mut next = vec![false; self.steps.len() + 1];
        next[0] = true;
        for name in path.components() {
            self.skip_depths(&mut next);
            let mut after = vec![false; self.steps.len() + 1];
            for (at, step) in self.steps.iter().enumerate().filter(|(at, _)| next[*at]) {
                match step {
                    Step::AnyDepth => after[at] = true,
                    Step::Name(glob) => after[at + 1] |= glob.is_match(OsStr::from_bytes(name)),
                }
            }
            if after[self.steps.len()] {
                return Verdict::Selected;
            }
            if !after.contains(&true) {
                return Verdict::Outside;
            }
            next = after;
        }
        Verdict::OnTheWay
    }

    /// `**` may stand for no directory at all.
    fn skip_depths(&self, next: &mut [bool]) {
        for (at, step) in self.steps.iter().enumerate() {
            if next[at] && matches!(step, Step::AnyDepth) {
                next[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(glob: &str, path: &str) -> Verdict {
        Selection::new(glob)
            .unwrap()
            .verdict(&TreePath::new(path).unwrap())
    }

    #[test]
    fn a_glob_takes_what_matches_and_what_is_below() {
        use Verdict::{OnTheWay, Outside, Selected};
        for (glob, path, expected) in [
            ("*.whl", "a.whl", Selected),
            ("*.whl", "a.txt", Outside),
            ("*.whl", "sub", Outside),
            ("*.whl", "unpacked.whl/sub/file", Selected),
            ("**/*.toml", "a.toml", Selected),
            ("**/*.toml", "a", OnTheWay),
            ("**/*.toml", "a/b/c.toml", Selected),
            ("**/*.toml", "a/b/c.txt", OnTheWay),
            ("a/**", "a", OnTheWay),
            ("a/**", "a/b", Selected),
            ("a/**", "b", Outside),
            ("a/**/z/*", "a/b/z", OnTheWay),
            ("a/**/z/*", "a/z/y", Selected),
            ("[ab]?/x", "a1", OnTheWay),
            ("[ab]?/x", "a1/x", Selected),
            ("[ab]?/x", "c1", Outside),
            ("\\[id\\].js", "[id].js", Selected),
            ("*", ".hidden", Selected),
        ] {
            assert_eq!(verdict(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn bad_globs_are_named() {
        for bad in ["", "a//b", "/a", "a/[", "a/"] {
            let error = Selection::new(bad).unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
    }
}
