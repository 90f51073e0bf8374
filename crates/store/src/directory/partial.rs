//! Cached content that is still coming: `cache/partial/.tmp-<hex>`, which survives a broken connection and a killed program.
//!
//! What came stays until the rest has come too. Whoever adds to it holds a lock on it, so that of several programs that want
//! the same content one gets it, and the others have it from the cache then.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_oci::{Digest, Hasher};

use super::Directory;
use crate::blobs::{Blobs, expect_digest};
use crate::blocking::blocking;
use crate::error::RepositoryError;
use crate::files::{FileError, Handle, Lock, Tried, Writer};

/// Bytes read from the disk at once.
const PIECE: usize = 64 << 10;
/// Between two looks at what somebody else is getting, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The same in the end.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Content of the cache of which a part is there.
pub struct Partial {
    digest: Digest,
    path: PathBuf,
    writer: Writer,
    cached: Blobs,
    handle: Box<dyn Handle>,
    hasher: Hasher,
    _lock: Lock,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partial")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// What is there of `digest`, to be gone on with; it may be nothing yet. None if the whole content is in the cache now.
    ///
    /// If somebody else is getting it, this waits for them, however long that takes.
    ///
    /// # Errors
    ///
    /// The file that could not be read or made.
    pub async fn cache_partial(&self, digest: &Digest) -> Result<Option<Partial>, RepositoryError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (store, digest) = (self.clone(), *digest);
            match blocking(move || store.try_partial(&digest)).await? {
                Attempt::Begun(partial) => return Ok(Some(*partial)),
                Attempt::Whole => return Ok(None),
                Attempt::Busy => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_partial(&self, digest: &Digest) -> Result<Attempt, RepositoryError> {
        self.prepare()?;
        let directory = self.path().join("cache/partial");
        let (writer, path) = (
            self.writer().clone(),
            directory.join(format!(".tmp-{}", digest.hex())),
        );
        let lock = loop {
            match Lock::try_existing(&path)? {
                Tried::Held(lock) => break lock,
                Tried::Busy => return Ok(Attempt::Busy),
                Tried::Missing => {}
            }
            writer.create_directories(&directory)?;
            match writer.start(&path) {
                Err(error) if error.source.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
        };
        // Who had the lock before may have got all of it.
        if self.cached().stat(digest)?.is_some() {
            writer.discard(&path)?;
            return Ok(Attempt::Whole);
        }
        let hasher = read(&writer, &path)?;
        Ok(Attempt::Begun(Box::new(Partial {
            digest: *digest,
            handle: writer.resume(&path)?,
            path,
            writer,
            cached: self.cached(),
            hasher,
            _lock: lock,
        })))
    }
}

/// The hash of what is there.
fn read(writer: &Writer, path: &Path) -> Result<Hasher, FileError> {
    let mut hasher = Hasher::new();
    let Some(mut file) = writer.open(path)? else {
        return Ok(hasher);
    };
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer).map_err(FileError::on("read", path))? {
            0 => return Ok(hasher),
            length => hasher.update(&buffer[..length]),
        }
    }
}

enum Attempt {
    Begun(Box<Partial>),
    Whole,
    Busy,
}

impl Partial {
    /// How many bytes are there.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Adds what comes next. It stays, also if this is dropped.
    ///
    /// # Errors
    ///
    /// The file that could not be written.
    pub fn append(&mut self, piece: &[u8]) -> Result<(), FileError> {
        let written = self
            .handle
            .write(piece)
            .map_err(FileError::on("write", &self.path));
        if let Err(error) = written {
            // It may have got a part of the piece: what is there is of no use.
            self.writer.discard(&self.path)?;
            return Err(error);
        }
        self.hasher.update(piece);
        Ok(())
    }

    /// Throws away what is there.
    ///
    /// # Errors
    ///
    /// The file that could not be written.
    pub fn restart(&mut self) -> Result<(), FileError> {
        self.handle
            .truncate()
            .map_err(FileError::on("truncate", &self.path))?;
        self.hasher = Hasher::new();
        Ok(())
    }

    /// What is there becomes content of the cache. If it is something else, it is thrown away.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Digest`], or the file that could not be written.
    pub async fn finish(self) -> Result<(), RepositoryError> {
        blocking(move || {
            let Self {
                digest,
                path,
                writer,
                cached,
                handle,
                hasher,
                _lock,
            } = self;
            drop(handle);
            if let Err(error) = expect_digest(digest, hasher.finish()) {
                writer.discard(&path)?;
                return Err(error);
            }
            cached.prepare()?;
            Ok(cached.adopt(&digest, &path)?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().unwrap();
        let store = Directory::open(directory.path().join("store")).unwrap();
        (directory, store)
    }

    #[tokio::test]
    async fn what_came_stays_and_the_rest_makes_it_whole() {
        let (_directory, store) = store();
        let digest = Digest::of(b"package");
        let mut first = store.cache_partial(&digest).await.unwrap().unwrap();
        first.append(b"pack").unwrap();
        drop(first);
        assert!(store.cache_read(&digest).await.unwrap().is_none());
        let mut second = store.cache_partial(&digest).await.unwrap().unwrap();
        assert_eq!(second.length(), 4);
        second.append(b"age").unwrap();
        second.finish().await.unwrap();
        let blob = store.cache_read(&digest).await.unwrap().unwrap();
        assert_eq!(crate::collect(blob.content, 100).await.unwrap(), &b"package"[..]);
        assert!(store.cache_partial(&digest).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_something_else_is_thrown_away() {
        let (_directory, store) = store();
        let digest = Digest::of(b"package");
        let mut partial = store.cache_partial(&digest).await.unwrap().unwrap();
        partial.append(b"parcel").unwrap();
        let error = partial.finish().await.unwrap_err();
        assert!(matches!(error, RepositoryError::Digest { .. }), "{error}");
        let mut partial = store.cache_partial(&digest).await.unwrap().unwrap();
        assert_eq!(partial.length(), 0);
        partial.append(b"parc").unwrap();
        partial.restart().unwrap();
        partial.append(b"package").unwrap();
        partial.finish().await.unwrap();
        assert!(store.cache_read(&digest).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn who_comes_second_waits_and_finds_it() {
        let (_directory, store) = store();
        let digest = Digest::of(b"package");
        let mut partial = store.cache_partial(&digest).await.unwrap().unwrap();
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.cache_partial(&digest).await.unwrap().is_none() }
        });
        partial.append(b"package").unwrap();
        partial.finish().await.unwrap();
        assert!(waiting.await.unwrap());
    }
}
