//! Uploads that survive a broken connection and a restart: `_uploads/<id>`.
//!
//! An upload is a file that grows; its offset is its length. Whoever appends to it or finishes it holds a lock on it.
//! Its hash is kept in memory as long as this process has seen every byte; otherwise the file is read again.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cairn_oci::{Digest, Hasher, RepositoryName};

use super::Directory;
use super::repository::DirectoryRepository;
use crate::blobs::{expect_digest, hash};
use crate::blocking::{Piece, Pieces, blocking, pump};
use crate::error::RepositoryError;
use crate::files::{FileError, Lock};
use crate::store::{UploadError, UploadId};
use crate::stream::ByteStream;

/// Most uploads whose hash is kept in memory (about 150 bytes each).
const HASHES: usize = 4096;

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
        let owned = id.clone();
        let (appended, fed) = pump(content, move |pieces| self.append(&owned, offset, pieces)).await;
        let length = appended?;
        fed.map_err(|source| UploadError::Content {
            id: id.clone(),
            source,
        })?;
        Ok(length)
    }

    fn append(&self, id: &UploadId, given: u64, mut pieces: Pieces) -> Result<u64, UploadError> {
        let path = self.upload(id);
        let _lock = lock(&path, id)?;
        let offset = self.upload_offset(id)?;
        if offset != given {
            return Err(UploadError::Offset {
                id: id.clone(),
                offset,
                given,
            });
        }
        let mut handle = self.writer().resume(&path)?;
        let mut hasher = self.take_hash(&path, offset);
        let mut length = offset;
        // After a failed write the hash is not put back: the file may have got a part of the piece.
        while let Some(Piece::Bytes(piece)) = pieces.next() {
            handle.write(&piece).map_err(FileError::on("write", &path))?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece);
            }
            length += piece.len() as u64;
        }
        self.keep_hash(path, hasher);
        Ok(length)
    }

    pub(super) fn finish_upload(&self, id: &UploadId, digest: &Digest) -> Result<u64, UploadError> {
        let path = self.upload(id);
        let _lock = lock(&path, id)?;
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
            None => Err(FileError::on("read", path)(std::io::ErrorKind::NotFound.into())),
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
            if changed < time && self.writer().discard(&path)? {
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

    fn uploads(&self) -> PathBuf {
        self.store()
            .repository_path(crate::Repository::name(self))
            .join("_uploads")
    }

    fn upload(&self, id: &UploadId) -> PathBuf {
        self.uploads().join(id.as_str())
    }
}

fn lock(path: &Path, id: &UploadId) -> Result<Lock, UploadError> {
    Lock::existing(path)?.ok_or_else(|| UploadError::Unknown { id: id.clone() })
}

fn length(path: &Path) -> Result<Option<u64>, FileError> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::on("read", path)(error)),
    }
}
