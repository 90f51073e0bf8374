//! What is asked of the operating system.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW, utimensat};
use rustix::io::Errno;

/// The operations that this crate does on a file system, each as small as the operating system's own.
///
/// Nothing here promises durability; the order in which [`super::Writer`] calls them does.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Makes the file `path`, which must not exist, with the permission bits `mode` less the umask.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Handle>>;

    /// Opens the file `path`, which must exist, to write at its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>>;

    /// Opens the regular file `path` to read. Never waits, whatever is there.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Names in a directory, sorted by bytes.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// The first `limit` names in a directory that come after `after` and that are `wanted`, sorted by bytes. The
    /// implementation for real disks keeps no more than these in memory, however many the directory has.
    fn list_part(
        &self,
        path: &Path,
        after: Option<&OsStr>,
        limit: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>> {
        let names = self.list(path)?.into_iter();
        let names = names.filter(|name| after.is_none_or(|after| name.as_os_str() > after) && wanted(name));
        Ok(names.take(limit).collect())
    }

    /// Renames a file, replacing what is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file, or fails with [`io::ErrorKind::AlreadyExists`].
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, or fails with [`io::ErrorKind::AlreadyExists`].
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name of a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Sets the times of a file to now. It promises nothing about the disk, and so nothing need be recorded of it.
    fn touch(&self, path: &Path) -> io::Result<()> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Makes one directory.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Waits until the names in a directory are on the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// A file being written.
pub trait Handle: Send {
    /// Writes all of `bytes` at the end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Lets the disk begin with `length` bytes from `from` on, without waiting: so that a later [`Self::sync`] of a large
    /// file has less to wait for. It promises nothing, and hides no error from [`Self::sync`].
    fn write_back(&mut self, from: u64, length: u64) {
        let _ = (from, length);
    }

    /// Throws the content away; what is written next stands at the beginning.
    fn truncate(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sets the permission bits, whatever the umask.
    fn set_mode(&mut self, mode: u32) -> io::Result<()>;

    /// Waits until the content is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

#[expect(
    clippy::disallowed_methods,
    reason = "this is the implementation that everything else must use; its lists are sorted"
)]
impl Fs for RealFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Handle>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = std::fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn list_part(
        &self,
        path: &Path,
        after: Option<&OsStr>,
        limit: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>> {
        let mut first = BTreeSet::new();
        for entry in std::fs::read_dir(path)? {
            let name = entry?.file_name();
            let is_early = first.len() < limit || first.last().is_some_and(|last| name < *last);
            if is_early && after.is_none_or(|after| name.as_os_str() > after) && wanted(&name) {
                first.insert(name);
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        Ok(first.into_iter().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag; a second name is made by all that have links.
            Err(Errno::INVAL | Errno::NOSYS) => {
                std::fs::hard_link(from, to)?;
                std::fs::remove_file(from)
            }
            other => Ok(other?),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o755).create(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match rustix::fs::fsync(File::open(path)?) {
            // A file system without this operation (some network file systems) has nothing to wait for.
            Err(Errno::INVAL) => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Handle for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    /// What is not on the disk yet cannot be dropped from memory, so that this "don't need" is "begin to write".
    #[cfg(target_os = "linux")]
    fn write_back(&mut self, from: u64, length: u64) {
        use rustix::fs::{Advice, fadvise};
        // A file system that takes no advice is none the worse for it.
        let _ = fadvise(&*self, from, std::num::NonZeroU64::new(length), Advice::DontNeed);
    }

    fn truncate(&mut self) -> io::Result<()> {
        self.set_len(0)
    }

    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.set_permissions(std::fs::Permissions::from_mode(mode))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
