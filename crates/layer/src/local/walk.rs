//! Walking a directory of the context with several threads.
//!
//! Each directory is opened once, beneath the root, and everything in it is looked at relative to its descriptor. What
//! the names of a directory are told to be (`d_type`) is not used: not every file system says it, and of everything
//! but directories the rest of the metadata is needed anyway.

use std::mem::MaybeUninit;
use std::num::NonZero;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::file::{Directory, Identity};
use super::names::{Name, Names};
use super::{
    Context, LocalEntries, LocalEntry, LocalError, LocalFile, LocalKind, beneath, file_type, join,
    read_error, shown, special,
};
use crate::glob::GlobFilter;
use crate::path::TreePath;

/// More threads than this do not walk a local disk faster.
const MAX_THREADS: usize = 8;
/// Directories that must wait before other threads are begun: a small tree is walked in less time than that takes.
const WORTH_THREADS: usize = 8;
/// Bytes of names that are asked for at once.
const NAMES: usize = 32 << 10;

/// Gives the names in an open directory, in any order, without `.` and `..`.
pub(super) type ReadNames = fn(BorrowedFd<'_>) -> Result<Names, Errno>;

/// How a walk is done; nothing of it shows in the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) threads: usize,
    pub(super) names: ReadNames,
}

impl Default for How {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            threads: threads.min(MAX_THREADS),
            names: read_names,
        }
    }
}

/// One walk.
pub(super) struct Walk<'a> {
    pub(super) context: &'a Context,
    /// What messages call the start.
    pub(super) from: &'a str,
    /// The start, without links.
    pub(super) start: &'a [u8],
    pub(super) exclude: &'a GlobFilter,
    pub(super) how: How,
}

/// A directory's path below the start; none for the start itself.
type Below = Option<TreePath>;

/// What the threads of a walk share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is another directory, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Directories to be read.
    open: Vec<Below>,
    /// Threads that are reading one.
    busy: usize,
    /// Threads that wait for one: only they are to be woken.
    waiting: usize,
    /// What was found, a sorted piece for each directory.
    found: Vec<(Below, Vec<LocalEntry>)>,
    /// The error in the first of the directories that have one, so that it is the same each time.
    error: Option<(Below, LocalError)>,
}

impl Walk<'_> {
    /// Everything below the start, sorted.
    pub(super) fn run(&self) -> Result<LocalEntries, LocalError> {
        let shared = Shared::default();
        shared.lock().open.push(None);
        let alone = self.work(&shared, WORTH_THREADS);
        if !alone {
            thread::scope(|scope| {
                for _ in 1..self.how.threads {
                    scope.spawn(|| self.work(&shared, usize::MAX));
                }
                self.work(&shared, usize::MAX);
            });
        }
        let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.error {
            Some((_, error)) => Err(error),
            None => Ok(LocalEntries::in_order(state.found)),
        }
    }

    /// Reads directories until none is left, or so many wait that others should help: then `false`.
    fn work(&self, shared: &Shared, enough: usize) -> bool {
        let mut state = shared.lock();
        loop {
            if state.open.len() >= enough && self.how.threads > 1 {
                return false;
            }
            let Some(directory) = state.open.pop() else {
                if state.busy == 0 {
                    return true;
                }
                state.waiting += 1;
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waiting -= 1;
                continue;
            };
            state.busy += 1;
            drop(state);
            let read = self.directory(directory.as_ref());
            state = shared.lock();
            state.busy -= 1;
            match read {
                Ok(entries) => state.take(directory, entries),
                Err(error) => state.note(directory, error),
            }
            if state.waiting > 0 && (state.busy == 0 || !state.open.is_empty()) {
                shared.changed.notify_all();
            }
        }
    }

    fn directory(&self, below: Option<&TreePath>) -> Result<Vec<LocalEntry>, LocalError> {
        let below = below.map_or(&b""[..], TreePath::as_bytes);
        let real = join(self.start, below);
        let opened = self.open(&real)?;
        let mut names = (self.how.names)(opened.as_fd()).map_err(|error| read_error(&real, error))?;
        names.sort();
        let (places, names) = names.into_parts();
        let directory = Arc::new(Directory {
            root: Arc::clone(&self.context.root),
            read: Arc::clone(&self.context.read),
            path: real.into(),
            names,
        });
        let mut entries = Vec::with_capacity(places.len());
        for name in places {
            entries.extend(self.entry(&directory, &opened, below, name)?);
        }
        Ok(entries)
    }

    /// Also the directory that a link took the place of after it was seen is not followed.
    fn open(&self, real: &[u8]) -> Result<OwnedFd, LocalError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match beneath::open(self.context.root.as_fd(), real, flags) {
            Ok(opened) => Ok(opened),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(LocalError::Changed { path: shown(real) }),
            Err(error) => Err(read_error(real, error)),
        }
    }

    /// What stands at `name`; none if it is excluded.
    fn entry(
        &self,
        directory: &Arc<Directory>,
        opened: &OwnedFd,
        below: &[u8],
        place: Name,
    ) -> Result<Option<LocalEntry>, LocalError> {
        let name = place.of(&directory.names);
        let path = TreePath::in_directory(below, name).map_err(|source| LocalError::Path {
            from: self.from.to_owned(),
            source,
        })?;
        let real = || join(&directory.path, name);
        let failed = |error| match error {
            // EINVAL: what was a link is none any more.
            Errno::NOENT | Errno::INVAL => LocalError::Changed { path: shown(&real()) },
            error => read_error(&real(), error),
        };
        let stat = rustix::fs::statat(opened, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let found = file_type(&stat);
        if self.exclude.excludes(&path, found == FileType::Directory) {
            return Ok(None);
        }
        let kind = match found {
            FileType::Directory => LocalKind::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(opened, name, Vec::new()).map_err(failed)?;
                LocalKind::Symlink {
                    target: target.into_bytes(),
                }
            }
            FileType::RegularFile => LocalKind::File {
                executable: stat.st_mode & 0o100 != 0,
                file: LocalFile {
                    directory: Arc::clone(directory),
                    name: place,
                    seen: Identity::of(&stat),
                },
            },
            other => {
                return Err(LocalError::Special {
                    path: shown(&real()),
                    kind: special(other),
                });
            }
        };
        Ok(Some(LocalEntry {
            path: Some(path),
            kind,
        }))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, directory: Below, entries: Vec<LocalEntry>) {
        let directories = entries
            .iter()
            .filter(|entry| matches!(entry.kind, LocalKind::Directory));
        self.open.extend(directories.map(|entry| entry.path.clone()));
        self.found.push((directory, entries));
    }

    fn note(&mut self, directory: Below, error: LocalError) {
        if self.error.as_ref().is_none_or(|(first, _)| directory < *first) {
            self.error = Some((directory, error));
        }
    }
}

/// As the kernel gives them.
pub(super) fn read_names(directory: BorrowedFd<'_>) -> Result<Names, Errno> {
    let mut buffer = [MaybeUninit::uninit(); NAMES];
    let mut names = Names::default();
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name)?;
        }
    }
    Ok(names)
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
