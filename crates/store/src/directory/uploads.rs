//! Uploads that survive a broken connection and a restart: `_uploads/<id>`.
//!
//! An upload is a file that grows; its offset is its length. Whoever appends to it or finishes it holds a lock on it.
//! Its hash is kept in memory as long as this process has seen every byte; otherwise the file is read again.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cairn_oci::{Digest, Hasher, RepositoryName};
use futures_util::TryStreamExt;

use super::Directory;
use super::repository::DirectoryRepository;
use crate::blobs::{expect_digest, hash};
use crate::blocking::blocking;
use crate::error::RepositoryError;
use crate::files::{FileError, Handle, Lock, Tried};
use crate::store::{UploadError, UploadId};
use crate::stream::ByteStream;

/// Most uploads whose hash is kept in memory (about 150 bytes each).
const HASHES: usize = 4096;
/// Most bytes that wait while others are being written (1 MiB).
const BATCH: usize = 1 << 20;
/// How long the lock on an upload is waited for: longer than a server waits for a body that stands still.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// Between two attempts to get it, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Between two attempts to get it, in the end.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

impl Directory {
    /// Removes the uploads and the interrupted writes of a repository that nobody has touched since `time`, and
    /// returns how many there were.
    ///
    /// # Errors
    ///
    /// The file that could not be read or removed.
    pub async fn remove_uploads_before(
        &self,
        name: &RepositoryName,
        time: SystemTime,
    ) -> Result<usize, RepositoryError> {
        let repository = self.open_repository(name);
        blocking(move || repository.remove_uploads_before(time)).await
    }
}

impl DirectoryRepository {
    pub(super) fn begin_upload(&self) -> Result<UploadId, UploadError> {
        let directory = self.uploads();
        self.prepare()?;
        self.writer().create_directories(&directory)?;
        let id = UploadId::random().map_err(FileError::on("get randomness for", &directory))?;
        self.writer().start(&self.upload(&id))?;
        Ok(id)
    }

    /// How many uploads there are, up to `limit`.
    pub(super) fn open_uploads(&self, limit: usize) -> Result<usize, FileError> {
        let is_upload = |name: &str| name.parse::<UploadId>().is_ok();
        let names = self.writer().list_part(&self.uploads(), None, limit, is_upload)?;
        Ok(names.len())
    }

    pub(super) fn upload_offset(&self, id: &UploadId) -> Result<u64, UploadError> {
        let path = self.upload(id);
        length(&path)?.ok_or_else(|| UploadError::Unknown { id: id.clone() })
    }

    pub(super) async fn append_upload(
        self,
        id: &UploadId,
        offset: u64,
        content: ByteStream,
    ) -> Result<u64, UploadError> {
        let lock = self.claim(id).await?;
        let owned = id.clone();
        let begun = blocking(move || Appender::begin(self, &owned, offset, lock)).await;
        let (appended, fed) = append(begun?, content).await;
        let length = appended?;
        fed.map_err(|source| UploadError::Content {
            id: id.clone(),
            source,
        })?;
        Ok(length)
    }

    /// The lock on an upload. Whoever broke off may hold it until that was noticed; it is waited for without
    /// keeping a thread.
    async fn claim(&self, id: &UploadId) -> Result<Lock, UploadError> {
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_PAUSE);
        loop {
            let path = self.upload(id);
            match blocking(move || Lock::try_existing(&path)).await? {
                Tried::Held(lock) => return Ok(lock),
                Tried::Missing => return Err(UploadError::Unknown { id: id.clone() }),
                Tried::Busy if waited >= LONGEST_WAIT => return Err(UploadError::Busy { id: id.clone() }),
                Tried::Busy => {}
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(super) async fn finish_upload(self, id: &UploadId, digest: &Digest) -> Result<u64, UploadError> {
        let lock = self.claim(id).await?;
        let (id, digest) = (id.clone(), *digest);
        blocking(move || self.finish(&id, &digest, lock)).await
    }

    fn finish(&self, id: &UploadId, digest: &Digest, _lock: Lock) -> Result<u64, UploadError> {
        let path = self.upload(id);
        let length = self.upload_offset(id)?;
        let found = match self.take_hash(&path, length) {
            Some(hasher) => hasher.finish(),
            None => self.hash_upload(&path)?,
        };
        if let Err(error) = expect_digest(*digest, found) {
            self.writer().discard(&path)?;
            return Err(error.into());
        }
        self.prepare()?;
        self.blobs().adopt(digest, &path)?;
        Ok(length)
    }

    fn hash_upload(&self, path: &Path) -> Result<Digest, FileError> {
        match self.writer().open(path)? {
            Some(mut file) => hash(&mut file, |_| Ok(()), path),
            None => Err(FileError::on("read", path)(io::ErrorKind::NotFound.into())),
        }
    }

    pub(super) fn cancel_upload(&self, id: &UploadId) -> Result<(), UploadError> {
        let path = self.upload(id);
        self.store().hashes().remove(&path);
        if self.writer().discard(&path)? {
            return Ok(());
        }
        Err(UploadError::Unknown { id: id.clone() })
    }

    fn remove_uploads_before(&self, time: SystemTime) -> Result<usize, RepositoryError> {
        let mut removed = 0;
        for path in self.writer().list_all(&self.uploads())? {
            let Ok(changed) = path.metadata().and_then(|metadata| metadata.modified()) else {
                continue;
            };
            if changed >= time {
                continue;
            }
            // Whoever appends to it right now holds its lock; what is being written under a temporary name grows.
            let Tried::Held(_lock) = Lock::try_existing(&path)? else {
                continue;
            };
            if self.writer().discard(&path)? {
                self.store().hashes().remove(&path);
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The hash of the first `length` bytes, if every one of them came through this process.
    fn take_hash(&self, path: &Path, length: u64) -> Option<Hasher> {
        let kept = self.store().hashes().remove(path);
        match kept {
            None if length == 0 => Some(Hasher::new()),
            kept => kept.filter(|hasher| hasher.length() == length),
        }
    }

    fn keep_hash(&self, path: PathBuf, hasher: Option<Hasher>) {
        let mut hashes = self.store().hashes();
        if let Some(hasher) = hasher {
            if hashes.len() >= HASHES {
                hashes.pop_first();
            }
            hashes.insert(path, hasher);
        }
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.store()
            .repository_path(crate::Repository::name(self))
            .join("_uploads")
    }

    fn upload(&self, id: &UploadId) -> PathBuf {
        self.uploads().join(id.as_str())
    }
}

/// An upload that is being appended to. It moves between the threads that may block and the task that waits for
/// content, so that slow content keeps no thread.
struct Appender {
    repository: DirectoryRepository,
    path: PathBuf,
    handle: Box<dyn Handle>,
    hasher: Option<Hasher>,
    length: u64,
    _lock: Lock,
}

impl Appender {
    fn begin(
        repository: DirectoryRepository,
        id: &UploadId,
        given: u64,
        lock: Lock,
    ) -> Result<Self, UploadError> {
        let offset = repository.upload_offset(id)?;
        if offset != given {
            return Err(UploadError::Offset {
                id: id.clone(),
                offset,
                given,
            });
        }
        let path = repository.upload(id);
        Ok(Self {
            handle: repository.writer().resume(&path)?,
            hasher: repository.take_hash(&path, offset),
            length: offset,
            path,
            repository,
            _lock: lock,
        })
    }

    /// After a failed write the hash is lost with `self`: the file may have got a part of a piece.
    fn write(mut self, pieces: &[Bytes]) -> Result<Self, FileError> {
        for piece in pieces {
            self.handle
                .write(piece)
                .map_err(FileError::on("write", &self.path))?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(piece);
            }
            self.length += piece.len() as u64;
        }
        Ok(self)
    }

    fn end(self) -> u64 {
        self.repository.keep_hash(self.path, self.hasher);
        self.length
    }
}

/// A write on a thread that may block.
type Writing = Pin<Box<dyn Future<Output = Result<Appender, FileError>> + Send>>;

/// Writes `content` to its end. While a batch is written the next one is taken in; nothing blocks while content is
/// waited for. Gives the length, or why it could not be written, and the error with which the content broke off.
async fn append(appender: Appender, mut content: ByteStream) -> (Result<u64, FileError>, io::Result<()>) {
    let (mut idle, mut writing) = (Some(appender), None);
    let (mut batch, mut size, mut ended) = (Vec::new(), 0, None);
    loop {
        if let Some(appender) = idle.take() {
            if !batch.is_empty() {
                let pieces: Vec<Bytes> = std::mem::take(&mut batch);
                size = 0;
                let write: Writing = Box::pin(blocking(move || appender.write(&pieces)));
                writing = Some(write);
            } else if let Some(ended) = ended {
                return (Ok(appender.end()), ended);
            } else {
                idle = Some(appender);
            }
        }
        tokio::select! {
            written = settled(&mut writing) => match written {
                Ok(appender) => (idle, writing) = (Some(appender), None),
                Err(error) => return (Err(error), Ok(())),
            },
            piece = content.try_next(), if ended.is_none() && size < BATCH => match piece {
                Ok(Some(piece)) => {
                    size += piece.len();
                    batch.push(piece);
                }
                Ok(None) => ended = Some(Ok(())),
                Err(error) => ended = Some(Err(error)),
            },
        }
    }
}

/// The end of the write; never, if there is none.
async fn settled(writing: &mut Option<Writing>) -> Result<Appender, FileError> {
    match writing {
        Some(writing) => writing.await,
        None => std::future::pending().await,
    }
}

fn length(path: &Path) -> Result<Option<u64>, FileError> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::on("read", path)(error)),
    }
}
