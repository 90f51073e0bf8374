//! The context: the directory that a spec's `from` is relative to.
//!
//! Reading never leaves it. Symbolic links in it are stored as links and never followed; only the path that a spec
//! names may lead through links, as long as they stay inside. Names come sorted by bytes, so that the order of a
//! directory on disk never shows. Of a file's metadata only the kind, the size, and whether the owner may execute it
//! are used: not the mode, the owner, the times, or the extended attributes.

mod beneath;
mod entries;
mod file;
mod names;
mod walk;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

pub use self::entries::LocalEntries;
pub use self::file::{Identity, LocalFile, LocalReader};
use self::names::{Name, Names};
use self::walk::{How, Walk};
use crate::escape::Escaped;
use crate::glob::GlobFilter;
use crate::path::{PathError, TreePath};

/// How many symbolic links a `from` may lead through (Linux's own limit).
const MAX_LINKS: usize = 40;

/// How many names [`Context::names`] gives.
const MAX_NAMES: usize = 10_000;

/// Why something of the context cannot be read. Paths are relative to the context, and escaped.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The context directory cannot be opened.
    #[error("cannot open the directory {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing at `from`.
    #[error("there is no `{from}`")]
    Missing {
        /// What was asked for.
        from: String,
    },
    /// `from` leads out of the context.
    #[error("`{from}` leads out of the directory{}", via(link.as_deref()))]
    Escapes {
        /// What was asked for.
        from: String,
        /// The symbolic link that leads out, unless it is `..` or an absolute path.
        link: Option<String>,
    },
    /// `from` leads through more than 40 symbolic links.
    #[error("`{from}` leads through too many symbolic links")]
    TooManyLinks {
        /// What was asked for.
        from: String,
    },
    /// `from` ends in a slash, and is not a directory.
    #[error("`{from}` is not a directory")]
    NotADirectory {
        /// What was asked for.
        from: String,
    },
    /// Something is neither file nor directory nor symbolic link.
    #[error("`{path}` is {kind}, which cannot be in a layer")]
    Special {
        /// Where.
        path: String,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// A file is not the one that was seen first, or was written to in between.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// Which.
        path: String,
    },
    /// Something cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// What.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A path is too long for an image.
    #[error("`{from}` contains a path that cannot be in an image")]
    Path {
        /// What was asked for.
        from: String,
        /// What is wrong with the path.
        source: PathError,
    },
}

fn via(link: Option<&str>) -> String {
    link.map_or_else(String::new, |link| format!(", by the symbolic link `{link}`"))
}

/// What a walk finds at a path.
#[derive(Debug, Clone)]
pub enum LocalKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// The file, to be read later.
        file: LocalFile,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// What it points at, as it is stored.
        target: Vec<u8>,
    },
}

/// One thing that a walk finds.
#[derive(Debug, Clone)]
pub struct LocalEntry {
    /// Its path relative to where the walk started; none for the start itself.
    pub path: Option<TreePath>,
    /// What it is.
    pub kind: LocalKind,
}

/// The directory that a spec's `from` is relative to, held open.
#[derive(Debug, Clone)]
pub struct Context {
    root: Arc<OwnedFd>,
    read: Arc<AtomicU64>,
}

impl Context {
    /// Opens the directory `root`.
    ///
    /// # Errors
    ///
    /// [`LocalError::Open`] if it is not there, not a directory, or not to be entered.
    pub fn open(root: &Path) -> Result<Self, LocalError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(root, flags, Mode::empty()) {
            Ok(root) => Ok(Self {
                root: Arc::new(root),
                read: Arc::default(),
            }),
            Err(error) => Err(LocalError::Open {
                path: root.to_owned(),
                source: error.into(),
            }),
        }
    }

    /// The same, with every byte that is read of its files added to `read`: for whoever shows how far it is.
    #[must_use]
    pub fn counting(self, read: Arc<AtomicU64>) -> Self {
        Self { read, ..self }
    }

    /// What `from` is. `from` is relative; `.` and the empty path are the context itself.
    ///
    /// A symbolic link at the end of `from` is not followed, unless `/` or `/.` comes after it; but one that leads out
    /// of the context is an error even so.
    ///
    /// # Errors
    ///
    /// [`LocalError`].
    pub fn kind(&self, from: &str) -> Result<LocalKind, LocalError> {
        let real = self.resolve(from, means_directory(from))?;
        let kind = self.kind_at(&real)?;
        match &kind {
            LocalKind::Symlink { .. } => self.check_link_stays(from)?,
            LocalKind::File { .. } if means_directory(from) => {
                return Err(LocalError::NotADirectory {
                    from: from.to_owned(),
                });
            }
            LocalKind::Directory | LocalKind::File { .. } => {}
        }
        Ok(kind)
    }

    /// Everything at and below `from` that `exclude` does not name, in the order of [`TreePath`].
    ///
    /// Nothing below an excluded directory is looked at. `from` itself is always there, first, without a path.
    ///
    /// # Errors
    ///
    /// [`LocalError`]; a pipe, socket or device is an error unless it is excluded.
    pub fn walk(&self, from: &str, exclude: &GlobFilter) -> Result<LocalEntries, LocalError> {
        self.walk_how(from, exclude, How::default())
    }

    fn walk_how(&self, from: &str, exclude: &GlobFilter, how: How) -> Result<LocalEntries, LocalError> {
        let start = LocalEntry {
            path: None,
            kind: self.kind(from)?,
        };
        if !matches!(start.kind, LocalKind::Directory) {
            return Ok(LocalEntries::default().starting_with(start));
        }
        let walk = Walk {
            context: self,
            from,
            start: &self.resolve(from, true)?,
            exclude,
            how,
        };
        Ok(walk.run()?.starting_with(start))
    }

    /// The names in the directory `directory`, sorted and escaped: for saying what may have been meant.
    ///
    /// At most 10,000, and none if it is no directory that can be read.
    #[must_use]
    pub fn names(&self, directory: &str) -> Vec<String> {
        let names = self
            .resolve(directory, true)
            .ok()
            .and_then(|real| self.list(&real).ok());
        let names = names.unwrap_or_default();
        names
            .iter()
            .take(MAX_NAMES)
            .map(|name| Escaped(name).to_string())
            .collect()
    }

    fn list(&self, directory: &[u8]) -> Result<Names, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = beneath::open(self.root.as_fd(), directory, flags)?;
        let mut names = walk::read_names(opened.as_fd())?;
        names.sort();
        Ok(names)
    }

    fn kind_at(&self, real: &[u8]) -> Result<LocalKind, LocalError> {
        let stat = self.stat(real).map_err(|error| read_error(real, error))?;
        self.classify(real, &stat)
    }

    fn classify(&self, real: &[u8], stat: &Stat) -> Result<LocalKind, LocalError> {
        match file_type(stat) {
            FileType::Directory => Ok(LocalKind::Directory),
            FileType::RegularFile => Ok(LocalKind::File {
                file: LocalFile {
                    directory: Arc::new(file::Directory {
                        root: Arc::clone(&self.root),
                        read: Arc::clone(&self.read),
                        path: split_last(real).0.into(),
                        names: split_last(real).1.into(),
                    }),
                    name: Name::whole(split_last(real).1),
                    seen: Identity::of(stat),
                },
                executable: stat.st_mode & 0o100 != 0,
            }),
            FileType::Symlink => match self.read_link(real) {
                Ok(target) => Ok(LocalKind::Symlink { target }),
                Err(error) => Err(read_error(real, error)),
            },
            other => Err(LocalError::Special {
                path: shown(real),
                kind: special(other),
            }),
        }
    }

    /// The path of `from` without links and `..`, relative to the root.
    fn resolve(&self, from: &str, follow_last: bool) -> Result<Vec<u8>, LocalError> {
        let escapes = |link: Option<&[u8]>| LocalError::Escapes {
            from: from.to_owned(),
            link: link.map(shown),
        };
        if from.starts_with('/') {
            return Err(escapes(None));
        }
        let mut real: Vec<u8> = Vec::new();
        let mut last_link: Option<Vec<u8>> = None;
        let mut links = 0;
        let mut ahead: VecDeque<Vec<u8>> = components(from.as_bytes());
        while let Some(name) = ahead.pop_front() {
            if name == b".." {
                let above = split_last(&real).0.to_owned();
                if real.is_empty() {
                    return Err(escapes(last_link.as_deref()));
                }
                real = above;
                continue;
            }
            let next = join(&real, &name);
            let stat = self
                .stat(&next)
                .map_err(|error| missing_or_read(from, &next, error))?;
            if file_type(&stat) != FileType::Symlink || (ahead.is_empty() && !follow_last) {
                real = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(LocalError::TooManyLinks {
                    from: from.to_owned(),
                });
            }
            let target = self.read_link(&next).map_err(|error| read_error(&next, error))?;
            if target.starts_with(b"/") {
                return Err(escapes(Some(&next)));
            }
            for component in components(&target).into_iter().rev() {
                ahead.push_front(component);
            }
            last_link = Some(next);
        }
        Ok(real)
    }

    /// A link that is itself asked for must not lead out; that it leads nowhere is its own business.
    fn check_link_stays(&self, from: &str) -> Result<(), LocalError> {
        match self.resolve(from, true) {
            Err(error @ LocalError::Escapes { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    fn stat(&self, real: &[u8]) -> Result<Stat, Errno> {
        if real.is_empty() {
            return rustix::fs::fstat(&self.root);
        }
        let (directory, name) = split_last(real);
        let at = beneath::open(self.root.as_fd(), directory, beneath::PASS_THROUGH)?;
        rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn read_link(&self, real: &[u8]) -> Result<Vec<u8>, Errno> {
        let (directory, name) = split_last(real);
        let at = beneath::open(self.root.as_fd(), directory, beneath::PASS_THROUGH)?;
        Ok(rustix::fs::readlinkat(&at, name, Vec::new())?.into_bytes())
    }
}

/// Whether only a directory can be meant: a slash at the end, perhaps with a dot after it.
fn means_directory(from: &str) -> bool {
    matches!(from.rsplit('/').next(), Some("" | "."))
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    let names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."));
    names.map(<[u8]>::to_vec).collect()
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() || name.is_empty() {
        return [directory, name].concat();
    }
    [directory, b"/", name].concat()
}

/// The path up to its last slash, and what comes after.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

const fn special(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        _ => "a file of an unknown kind",
    }
}

fn missing_or_read(from: &str, real: &[u8], error: Errno) -> LocalError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => LocalError::Missing {
            from: from.to_owned(),
        },
        error => read_error(real, error),
    }
}

fn read_error(real: &[u8], error: Errno) -> LocalError {
    let path = if real.is_empty() {
        ".".to_owned()
    } else {
        shown(real)
    };
    LocalError::Read {
        path,
        source: error.into(),
    }
}

fn shown(path: &[u8]) -> String {
    Escaped(path).to_string()
}
