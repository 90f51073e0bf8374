//! What is checked before a store is used.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::blobs::read_bounded;
use crate::error::RepositoryError;
use crate::files::{FileError, PUBLIC, Writer};

/// The format that this program writes, and the newest that it reads.
pub const VERSION: u64 = 1;

/// Longest version file, in bytes.
const LIMIT: usize = 64;

/// Refuses a store that somebody else could change: a directory that everybody may write to, or a link into
/// another user's directories (CVE-2024-25621).
pub(super) fn check_place(path: &Path) -> Result<(), RepositoryError> {
    let link = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::on("read", path)(error).into()),
    };
    let target = path.metadata().map_err(FileError::on("read", path))?;
    let unsafe_because = |reason| {
        Err(RepositoryError::Unsafe {
            path: path.to_owned(),
            reason,
        })
    };
    if !target.is_dir() {
        return unsafe_because("it is not a directory");
    }
    if link.is_symlink() && target.uid() != rustix::process::geteuid().as_raw() {
        return unsafe_because("it is a symbolic link to a directory of another user");
    }
    if target.mode() & 0o002 != 0 {
        return unsafe_because("everybody may write to it");
    }
    Ok(())
}

/// The version of the store, if it has one; a newer one than ours is an error.
pub(super) fn check_version(writer: &Writer, store: &Path) -> Result<Option<u64>, RepositoryError> {
    let path = store.join("version");
    let Some(bytes) = read_bounded(writer, &path, LIMIT)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    match text.trim_end().parse() {
        Ok(found) if found > VERSION => Err(RepositoryError::NewerVersion {
            path: store.to_owned(),
            found,
            supported: VERSION,
        }),
        Ok(found) => Ok(Some(found)),
        Err(_) => Err(RepositoryError::Damaged {
            path,
            detail: "it does not hold a version number".to_owned(),
        }),
    }
}

/// Makes sure that the store exists and says its version, durably.
pub(super) fn ensure_version(writer: &Writer, store: &Path) -> Result<(), RepositoryError> {
    let path = store.join("version");
    if check_version(writer, store)?.is_some() {
        writer.create_directories(store)?;
        return Ok(writer.ensure_durable([path.as_path()])?);
    }
    check_place(store)?;
    if !writer.create(&path, format!("{VERSION}\n").as_bytes(), PUBLIC)? {
        check_version(writer, store)?;
    }
    Ok(())
}
