//! A directory of content by digest: `blobs/sha256/<hex>` of an image layout, and the cache.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_oci::{Digest, Hasher};
use futures_util::stream;

use crate::blocking::{Piece, Pieces, blocking, pump};
use crate::error::RepositoryError;
use crate::files::{FileError, Linked, Lock, PUBLIC, TemporaryFile, Writer};
use crate::repository::{Blob, Written};
use crate::stream::{BlobSource, ByteStream, unwrap_verified};

/// Bytes read from the disk at once.
const PIECE: u64 = 256 << 10;

/// Content by digest. A blob exists when its final name exists.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    writer: Writer,
    directory: PathBuf,
    staging: PathBuf,
    /// Locked while it is said that a blob is there, where garbage is collected meanwhile.
    leases: Option<PathBuf>,
}

impl Blobs {
    /// `staging` is where blobs are while they are being written: another directory of the same file system, so that
    /// other tools never see a name in `directory` that is no digest.
    pub(crate) fn new(writer: Writer, directory: PathBuf, staging: PathBuf) -> Self {
        Self {
            writer,
            directory,
            staging,
            leases: None,
        }
    }

    /// The same directory, from which garbage collection may remove what nobody has touched for long. It holds an exclusive
    /// lock on the file `leases` for that.
    pub(crate) fn with_leases(self, leases: PathBuf) -> Self {
        Self {
            leases: Some(leases),
            ..self
        }
    }

    /// Keeps blobs from being removed until the lock is dropped. None where nobody may write: nobody collects there.
    fn lease(&self) -> Result<Option<Lock>, FileError> {
        let Some(path) = &self.leases else {
            return Ok(None);
        };
        match Lock::shared(path) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if is_not_ours(&error.source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins the grace period of a blob anew: somebody relies on it. The caller holds a lease.
    fn keep(&self, digest: &Digest) -> Result<(), FileError> {
        if self.leases.is_none() {
            return Ok(());
        }
        match self.writer.touch(&self.path(digest)) {
            Err(error) if !is_not_ours(&error.source) => Err(error),
            _ => Ok(()),
        }
    }

    /// [`Self::stat`], after which the blob stays for the grace period.
    pub(crate) fn stat_and_keep(&self, digest: &Digest) -> Result<Option<u64>, FileError> {
        if self.stat(digest)?.is_none() {
            return Ok(None);
        }
        let _lease = self.lease()?;
        let size = self.stat(digest)?;
        if size.is_some() {
            self.keep(digest)?;
        }
        Ok(size)
    }

    /// The first `limit` names after `after`, sorted.
    pub(crate) fn names_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, FileError> {
        self.writer.list_part(&self.directory, after, limit, |_| true)
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// Size of a blob, if it is there.
    pub(crate) fn stat(&self, digest: &Digest) -> Result<Option<u64>, FileError> {
        let path = self.path(digest);
        match path.metadata() {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(FileError::on("read", &path)(error)),
        }
    }

    /// The first of `digests` that is not there; if all are, they are durable.
    pub(crate) fn first_missing<'a>(
        &self,
        digests: impl Iterator<Item = &'a Digest>,
    ) -> Result<Option<Digest>, FileError> {
        let mut paths = Vec::new();
        for digest in digests {
            if self.stat(digest)?.is_none() {
                return Ok(Some(*digest));
            }
            paths.push(self.path(digest));
        }
        self.writer.ensure_durable(paths.iter().map(PathBuf::as_path))?;
        Ok(None)
    }

    /// All of a blob of at most `limit` bytes.
    pub(crate) fn read_whole(&self, digest: &Digest, limit: usize) -> Result<Option<Bytes>, RepositoryError> {
        read_bounded(&self.writer, &self.path(digest), limit)
    }

    /// Writes a small blob whose bytes are at hand. A file of that name with other bytes is replaced.
    pub(crate) fn write_whole(&self, digest: &Digest, bytes: &[u8]) -> Result<(), RepositoryError> {
        let path = self.path(digest);
        if self.stat(digest)? == Some(bytes.len() as u64)
            && self.read_whole(digest, bytes.len())?.as_deref() == Some(bytes)
        {
            self.keep(digest)?;
            return Ok(self.writer.ensure_durable([path.as_path()])?);
        }
        self.prepare()?;
        let mut file = self.writer.temporary(&self.staging)?;
        file.append(bytes)?;
        Ok(file.publish(&path, PUBLIC)?)
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Result<bool, FileError> {
        self.writer.remove(&self.path(digest))
    }

    /// Makes the file `from` the blob `digest`; the caller has checked its content.
    pub(crate) fn adopt(&self, digest: &Digest, from: &Path) -> Result<(), FileError> {
        let _lease = self.lease()?;
        self.writer.publish(from, &self.path(digest), PUBLIC)
    }

    /// Makes the blob of `source` available here: by a second name, or a copy where that is impossible.
    pub(crate) fn link_from(&self, source: &Self, digest: &Digest) -> Result<bool, RepositoryError> {
        if source.stat(digest)?.is_none() {
            return Ok(false);
        }
        self.prepare()?;
        let _lease = self.lease()?;
        let linked = self.writer.link(&source.path(digest), &self.path(digest))?;
        if matches!(linked, Linked::Present) {
            self.keep(digest)?;
        }
        match linked {
            Linked::New | Linked::Present => Ok(true),
            Linked::Missing => Ok(false),
            Linked::Impossible => self.copy_from(source, digest),
        }
    }

    fn copy_from(&self, source: &Self, digest: &Digest) -> Result<bool, RepositoryError> {
        let path = source.path(digest);
        let Some(mut file) = self.writer.open(&path)? else {
            return Ok(false);
        };
        let mut copy = self.writer.temporary(&self.staging)?;
        let found = hash(&mut file, |piece| copy.append(piece), &path)?;
        expect_digest(*digest, found)?;
        copy.publish(&self.path(digest), PUBLIC)?;
        Ok(true)
    }

    pub(crate) fn prepare(&self) -> Result<(), FileError> {
        self.writer.create_directories(&self.staging)?;
        self.writer.create_directories(&self.directory)
    }

    /// See [`crate::Repository::read_blob`].
    pub(crate) async fn read(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        let (blobs, path) = (self.clone(), self.path(digest));
        blocking(move || {
            let Some(file) = blobs.writer.open(&path)? else {
                return Ok(None);
            };
            Ok(Some(
                Reader::begin(file, range).map_err(FileError::on("read", &path))?,
            ))
        })
        .await
    }

    /// See [`crate::Repository::write_blob`]. `before` runs ahead of the first write.
    pub(crate) async fn write(
        &self,
        digest: Digest,
        size: u64,
        content: ByteStream,
        before: impl FnOnce() -> Result<(), RepositoryError> + Send + 'static,
    ) -> Result<Written, RepositoryError> {
        let blobs = self.clone();
        let there = blocking(move || blobs.settle(&digest, size)).await?;
        if there {
            return Ok(Written::Present);
        }
        let blobs = self.clone();
        let work = move |pieces| before().and_then(|()| blobs.receive(&digest, size, pieces));
        let (received, fed) = pump(content, work).await;
        if let Err(error) = fed {
            return Err(unwrap_verified(error, |source| RepositoryError::Content {
                digest,
                source,
            }));
        }
        received.map(|()| Written::New)
    }

    /// See [`crate::Repository::write_spooled`]. `before` runs ahead of the first write.
    pub(crate) async fn write_spooled(
        &self,
        digest: Digest,
        file: TemporaryFile,
        before: impl FnOnce() -> Result<(), RepositoryError> + Send + 'static,
    ) -> Result<Written, RepositoryError> {
        let blobs = self.clone();
        let taken = blocking(move || blobs.take(&digest, file, before)).await?;
        let file = match taken {
            Taken::Done(written) => return Ok(written),
            Taken::Elsewhere(file) => file,
        };
        let (size, content) = (file.length(), FileSource(file.path()).open(0).await?);
        self.write(digest, size, content, || Ok(())).await
    }

    fn take(
        &self,
        digest: &Digest,
        file: TemporaryFile,
        before: impl FnOnce() -> Result<(), RepositoryError>,
    ) -> Result<Taken, RepositoryError> {
        if self.settle(digest, file.length())? {
            return Ok(Taken::Done(Written::Present));
        }
        before()?;
        self.prepare()?;
        let path = self.path(digest);
        let _lease = self.lease()?;
        Ok(match self.writer.publish_temporary(file, &path, PUBLIC)? {
            None => Taken::Done(Written::New),
            Some(file) => Taken::Elsewhere(file),
        })
    }

    /// Whether the blob is there with its size, and durable. One of another size is damaged: it is written again.
    fn settle(&self, digest: &Digest, size: u64) -> Result<bool, FileError> {
        if self.stat(digest)? != Some(size) {
            return Ok(false);
        }
        let _lease = self.lease()?;
        if self.stat(digest)? != Some(size) {
            return Ok(false);
        }
        self.keep(digest)?;
        self.writer.ensure_durable([self.path(digest).as_path()])?;
        Ok(true)
    }

    fn receive(&self, digest: &Digest, size: u64, mut pieces: Pieces) -> Result<(), RepositoryError> {
        self.prepare()?;
        let mut file = self.writer.temporary(&self.staging)?;
        let mut hasher = Hasher::new();
        let wrong_size = |found| RepositoryError::Size {
            digest: *digest,
            expected: size,
            found,
        };
        loop {
            match pieces.next() {
                Some(Piece::Bytes(piece)) => {
                    hasher.update(&piece);
                    if hasher.length() > size {
                        return Err(wrong_size(size + 1));
                    }
                    file.append(&piece)?;
                }
                Some(Piece::End) => break,
                None => return Err(broken_off(*digest)),
            }
        }
        if hasher.length() != size {
            return Err(wrong_size(hasher.length()));
        }
        expect_digest(*digest, hasher.finish())?;
        let _lease = self.lease()?;
        Ok(file.publish(&self.path(digest), PUBLIC)?)
    }
}

/// Whoever may only read holds no leases, and nothing is there to be held if the file is gone.
fn is_not_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// What became of a spooled file.
enum Taken {
    Done(Written),
    /// It is in another file system, and has to be copied.
    Elsewhere(TemporaryFile),
}

/// The content of a file.
pub(crate) struct FileSource<'a>(pub(crate) &'a Path);

#[async_trait]
impl BlobSource for FileSource<'_> {
    async fn open(&self, offset: u64) -> Result<ByteStream, RepositoryError> {
        let path = self.0.to_owned();
        blocking(move || {
            let read_error = FileError::on("read", &path);
            let blob = File::open(&path).and_then(|file| Reader::begin(file, Some(offset..u64::MAX)));
            Ok(blob.map_err(read_error)?.content)
        })
        .await
    }
}

fn broken_off(digest: Digest) -> RepositoryError {
    RepositoryError::Content {
        digest,
        source: io::ErrorKind::UnexpectedEof.into(),
    }
}

/// An error unless both are the same.
pub(crate) fn expect_digest(expected: Digest, found: Digest) -> Result<(), RepositoryError> {
    if expected == found {
        Ok(())
    } else {
        Err(RepositoryError::Digest { expected, found })
    }
}

/// All of a file of at most `limit` bytes, if it is there.
pub(crate) fn read_bounded(
    writer: &Writer,
    path: &Path,
    limit: usize,
) -> Result<Option<Bytes>, RepositoryError> {
    let Some(file) = writer.open(path)? else {
        return Ok(None);
    };
    // Room for what is there, so that it is read at once; it may still grow while it is read.
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_or(limit, |length| length.min(limit)));
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(FileError::on("read", path))?;
    if bytes.len() > limit {
        return Err(RepositoryError::TooLarge {
            subject: path.display().to_string(),
            limit: limit as u64,
        });
    }
    Ok(Some(bytes.into()))
}

/// Hashes the file at `path` and passes each piece on.
pub(crate) fn hash(
    file: &mut File,
    mut each: impl FnMut(&[u8]) -> Result<(), FileError>,
    path: &Path,
) -> Result<Digest, FileError> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = file.read(&mut buffer).map_err(FileError::on("read", path))?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..length]);
        each(&buffer[..length])?;
    }
}

/// A part of a file on its way out.
struct Reader {
    file: File,
    remaining: u64,
}

impl Reader {
    /// Reads the first piece at once, so that small blobs need one visit to a blocking thread.
    fn begin(mut file: File, range: Option<Range<u64>>) -> io::Result<Blob> {
        let size = file.metadata()?.len();
        let range = range.unwrap_or(0..size);
        let (start, end) = (range.start.min(size), range.end.min(size));
        if start > 0 {
            file.seek(SeekFrom::Start(start))?;
        }
        let mut reader = Self {
            file,
            remaining: end.saturating_sub(start),
        };
        let first = reader.piece()?;
        let content = stream::try_unfold((first, reader), |(ready, reader)| async move {
            match ready {
                Some(piece) => Ok(Some((piece, (None, reader)))),
                None => reader.later().await,
            }
        });
        Ok(Blob {
            size,
            content: Box::pin(content),
        })
    }

    fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let length = self.remaining.min(PIECE);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        (&mut self.file).take(length).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= bytes.len() as u64;
        Ok(Some(bytes.into()))
    }

    async fn later(mut self) -> io::Result<Option<(Bytes, (Option<Bytes>, Self))>> {
        let (piece, reader) = blocking(move || (self.piece(), self)).await;
        Ok(piece?.map(|piece| (piece, (None, reader))))
    }
}
