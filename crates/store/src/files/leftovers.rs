//! What processes that were killed left behind.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::temporary::PREFIX;
use super::{FileError, Writer, temporary};

/// After how long nobody writes to a temporary file any more: a day.
pub const LEFT_BEHIND: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the temporary files in `directory` that nobody has written to for `age`, and says how many there were. What is
/// in directories below it stays.
///
/// How old a file is, its file system says: by the time that it gives to a file made now. What cannot be removed stays
/// too, for another time.
///
/// # Errors
///
/// [`FileError`] if the directory cannot be listed, or no file can be made in it.
pub fn discard_leftovers(directory: &Path, age: Duration) -> Result<usize, FileError> {
    let writer = Writer::real();
    let found: Vec<_> = writer
        .list_all(directory)?
        .into_iter()
        .filter(|path| is_temporary(path))
        .collect();
    if found.is_empty() {
        return Ok(0);
    }
    let modified = |path: &Path| {
        let metadata = path.symlink_metadata().ok()?;
        Some((metadata.mtime(), metadata.is_file()))
    };
    let made_now = temporary(directory)?;
    let Some((now, _)) = modified(made_now.path()) else {
        return Ok(0);
    };
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let old = found.iter().filter(|path| {
        let modified = modified(path).filter(|(_, is_file)| *is_file);
        modified.is_some_and(|(modified, _)| now.saturating_sub(modified) > age)
    });
    Ok(old
        .filter(|path| matches!(writer.discard(path), Ok(true)))
        .count())
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PREFIX))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make files of any age")]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_temporary_files_that_are_old_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let made = temporary(directory.path()).unwrap();
        let now: SystemTime = made.path().metadata().unwrap().modified().unwrap();
        drop(made);
        for (name, hours) in [
            (".tmp-old", 25),
            (".tmp-young", 23),
            (".tmp-from-tomorrow", 0),
            ("kept", 1000),
        ] {
            let file = File::create(path(name)).unwrap();
            let modified = now - Duration::from_secs(hours * 3600);
            file.set_times(FileTimes::new().set_modified(modified)).unwrap();
        }
        File::options()
            .write(true)
            .open(path(".tmp-from-tomorrow"))
            .unwrap()
            .set_times(FileTimes::new().set_modified(now + Duration::from_secs(86_400)))
            .unwrap();
        std::os::unix::fs::symlink("kept", path(".tmp-link")).unwrap();
        let day = Duration::from_secs(86_400);
        assert_eq!(discard_leftovers(directory.path(), day).unwrap(), 1);
        let mut left: Vec<_> = Writer::real().list_all(directory.path()).unwrap();
        left.sort();
        let expected = [".tmp-from-tomorrow", ".tmp-link", ".tmp-young", "kept"].map(path);
        assert_eq!(left, expected);
        assert_eq!(discard_leftovers(&path("nowhere"), day).unwrap(), 0);
        assert!(!path("nowhere").exists());
    }
}
