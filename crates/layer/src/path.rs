//! Paths inside an image.

use std::borrow::Borrow;
use std::fmt;

use crate::escape::Escaped;

/// A path inside an image, relative to its root: bytes, for file names need not be text.
///
/// It has at least one component; none is empty, `.` or `..`; there is no NUL, no leading and no trailing slash.
/// At most [`TreePath::MAX`] bytes, and [`TreePath::MAX_COMPONENT`] in each component (Linux's `PATH_MAX` and
/// `NAME_MAX`).
///
/// Ordered by its bytes. As a directory's path is a prefix of its children's, each directory comes before its
/// children. `a-b` stands between `a` and `a/c`, because `-` is less than `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Box<[u8]>);

/// Why bytes are not a path inside an image. `path` is what was given, escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It names the root itself, which is not an entry.
    #[error("`{path}` is the root directory, which is no path inside the image")]
    Root {
        /// What was given.
        path: String,
    },
    /// An absolute path was expected.
    #[error("`{path}` is not absolute: a path inside the image starts with `/`")]
    NotAbsolute {
        /// What was given.
        path: String,
    },
    /// A component is empty, `.` or `..`.
    #[error("`{path}` has a component that is empty, `.` or `..`")]
    Component {
        /// What was given.
        path: String,
    },
    /// It contains a NUL byte.
    #[error("`{path}` contains a NUL byte")]
    Nul {
        /// What was given.
        path: String,
    },
    /// It is longer than 4096 bytes.
    #[error("a path is {length} bytes long, the most is 4096; it starts with `{start}`")]
    TooLong {
        /// Its first 64 bytes.
        start: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A component is longer than 255 bytes.
    #[error("`{path}` has a component of {length} bytes, the most is 255")]
    ComponentTooLong {
        /// What was given.
        path: String,
        /// The component's length in bytes.
        length: usize,
    },
}

impl TreePath {
    /// The most bytes of a path.
    pub const MAX: usize = 4096;
    /// The most bytes of one component.
    pub const MAX_COMPONENT: usize = 255;

    /// Takes a relative path in its only spelling.
    ///
    /// # Errors
    ///
    /// [`PathError`] for anything that is not one; nothing is corrected.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        check(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// Takes an absolute path as a spec writes it: `/usr/bin/x`, or `/usr/share/` for a directory.
    ///
    /// # Errors
    ///
    /// [`PathError`]; a repeated slash is an error too.
    pub fn from_absolute(text: &str) -> Result<Self, PathError> {
        let path = || shown(text.as_bytes());
        let relative = text
            .strip_prefix('/')
            .ok_or_else(|| PathError::NotAbsolute { path: path() })?;
        if relative.is_empty() {
            return Err(PathError::Root { path: path() });
        }
        Self::new(relative.strip_suffix('/').unwrap_or(relative))
    }

    /// The bytes, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory that contains it; none if that is the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.last_slash().map(|slash| Self(self.0[..slash].into()))
    }

    /// The bytes of [`TreePath::parent`]; none if that is the root.
    pub(crate) fn parent_bytes(&self) -> &[u8] {
        self.last_slash().map_or(b"", |slash| &self.0[..slash])
    }

    /// The bytes of [`TreePath::ancestors`].
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| &self.0[..at])
    }

    /// The directories above it, the outermost first, without itself and without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        self.prefixes().map(|prefix| Self(prefix.into()))
    }

    /// The names it is made of, the outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// `below`, taken to be relative to this directory.
    ///
    /// # Errors
    ///
    /// [`PathError::TooLong`] if both together are.
    pub fn join(&self, below: &Self) -> Result<Self, PathError> {
        let bytes = [self.as_bytes(), b"/", below.as_bytes()].concat();
        check_length(&bytes)?;
        Ok(Self(bytes.into()))
    }

    /// What is called `name` in `directory`, which is a path inside an image or empty: the root.
    ///
    /// # Errors
    ///
    /// As [`TreePath::new`].
    pub(crate) fn in_directory(directory: &[u8], name: &[u8]) -> Result<Self, PathError> {
        let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        let bytes = [directory, slash, name].concat();
        check(&bytes)?;
        Ok(Self(bytes.into()))
    }

    /// Its last component.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        self.last_slash()
            .map_or(&self.0[..], |slash| &self.0[slash + 1..])
    }

    /// Whether it lies below `directory`, at any depth; nothing lies below itself.
    #[must_use]
    pub fn is_under(&self, directory: &Self) -> bool {
        self.strip(directory).is_some()
    }

    /// Whether it is the directory of these bytes, or lies below it; everything lies below the root, which is empty.
    pub(crate) fn is_at_or_under(&self, directory: &[u8]) -> bool {
        let rest = self.0.strip_prefix(directory);
        rest.is_some_and(|rest| directory.is_empty() || matches!(rest.first(), None | Some(b'/')))
    }

    /// What remains of it below `directory`; none if it does not lie there.
    #[must_use]
    pub fn relative_to(&self, directory: &Self) -> Option<Self> {
        self.strip(directory).map(|rest| Self(rest.into()))
    }

    fn strip(&self, directory: &Self) -> Option<&[u8]> {
        self.0.strip_prefix(directory.as_bytes())?.strip_prefix(b"/")
    }

    fn last_slash(&self) -> Option<usize> {
        self.0.iter().rposition(|byte| *byte == b'/')
    }
}

fn check(bytes: &[u8]) -> Result<(), PathError> {
    check_length(bytes)?;
    let path = || shown(bytes);
    if bytes.contains(&0) {
        return Err(PathError::Nul { path: path() });
    }
    for component in bytes.split(|byte| *byte == b'/') {
        if matches!(component, b"" | b"." | b"..") {
            return Err(PathError::Component { path: path() });
        }
        if component.len() > TreePath::MAX_COMPONENT {
            return Err(PathError::ComponentTooLong {
                path: path(),
                length: component.len(),
            });
        }
    }
    Ok(())
}

fn check_length(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.len() > TreePath::MAX {
        return Err(PathError::TooLong {
            start: shown(&bytes[..64]),
            length: bytes.len(),
        });
    }
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

/// Maps by path can be asked with bytes: paths are equal and ordered as their bytes are.
impl Borrow<[u8]> for TreePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// With a leading slash, and everything that does not print escaped.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", Escaped(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn a3_other_spellings_are_refused() {
        let long_component = "a".repeat(256);
        let long = "a/".repeat(2049);
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            "a\0b",
            &long_component,
            &long,
        ] {
            assert!(TreePath::new(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["a", "...", "a/..b", "\u{1}", " ", &"a".repeat(255)] {
            assert!(TreePath::new(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn absolute_paths_may_end_in_one_slash() {
        assert_eq!(TreePath::from_absolute("/srv/www/").unwrap(), path("srv/www"));
        for bad in ["", "srv", "/", "//", "//srv", "/srv//", "/srv/../etc"] {
            assert!(TreePath::from_absolute(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn parts_of_a_path() {
        let deep = path("usr/share/doc");
        assert_eq!(
            deep.ancestors().collect::<Vec<_>>(),
            [path("usr"), path("usr/share")]
        );
        assert_eq!(deep.parent(), Some(path("usr/share")));
        assert_eq!(path("usr").parent(), None);
        assert_eq!(deep.file_name(), b"doc");
        assert_eq!(path("usr").join(&path("share/doc")).unwrap(), deep);
        assert_eq!(deep.relative_to(&path("usr")), Some(path("share/doc")));
        assert!(
            deep.is_under(&path("usr")) && !deep.is_under(&deep) && !path("usr-x").is_under(&path("usr"))
        );
    }

    #[test]
    fn order_is_by_bytes_with_directories_first() {
        let mut paths = [path("a/c"), path("a-b"), path("a"), path("\u{1}")];
        paths.sort();
        assert_eq!(paths, [path("\u{1}"), path("a"), path("a-b"), path("a/c")]);
    }
}
