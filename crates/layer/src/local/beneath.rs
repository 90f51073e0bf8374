//! Opening files beneath a directory, never through a symbolic link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Flags for a directory that is only passed through.
pub(super) const PASS_THROUGH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens `path`, relative to `root`, beneath it. A symbolic link anywhere in `path` fails with `ELOOP` or `ENOTDIR`.
///
/// `path` has no `..` component; the empty path is `root` itself. One `openat2` where the kernel has it (Linux 5.6),
/// else one `openat` with `O_NOFOLLOW` for each component.
pub(super) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    match open_at_once(root, path, flags) {
        // A sandbox that does not know the system call may answer EPERM.
        Err(Errno::NOSYS | Errno::PERM) => open_stepwise(root, path, flags),
        result => result,
    }
}

fn open_at_once(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags as Resolve;
    let resolve = Resolve::BENEATH | Resolve::NO_MAGICLINKS | Resolve::NO_SYMLINKS;
    rustix::io::retry_on_intr(|| rustix::fs::openat2(root, path, flags, Mode::empty(), resolve))
}

fn open_stepwise(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let open_one = |at: BorrowedFd<'_>, name: &[u8], flags: OFlags| {
        rustix::io::retry_on_intr(|| rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty()))
    };
    let (directories, name) = super::split_last(path);
    let mut at: Option<OwnedFd> = None;
    for directory in directories
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        let next = open_one(at.as_ref().map_or(root, AsFd::as_fd), directory, PASS_THROUGH)?;
        at = Some(next);
    }
    open_one(at.as_ref().map_or(root, AsFd::as_fd), name, flags)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the tests make the files they open")]
    use super::*;

    /// Each way of opening must refuse the same paths.
    #[test]
    fn b1_no_way_of_opening_follows_a_link() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("real/deep")).unwrap();
        std::fs::write(directory.path().join("real/deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("out")).unwrap();
        let root = std::fs::File::open(directory.path()).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for way in [open_at_once, open_stepwise] {
            assert!(way(root.as_fd(), b"real/deep/file", flags).is_ok());
            assert!(way(root.as_fd(), b"link/deep/file", flags).is_err());
            assert!(way(root.as_fd(), b"link", flags).is_err());
            assert!(way(root.as_fd(), b"out", flags).is_err());
        }
    }
}
