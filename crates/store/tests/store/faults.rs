//! An operation of the file system fails: the k-th, for every k.
//!
//! Whatever fails, the caller gets an error, what was acknowledged before stays, nothing else is half there, and the
//! same work succeeds once the disk works again.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::Digest;
use cairn_store::archive::{Format, PackError, pack};
use cairn_store::files::{Fs, Handle, RealFs};
use cairn_store::{Directory, Repository, RepositoryError, Store, UploadError, from_bytes, layout};

use crate::content::{Image, assert_whole, has_blob, image, name, open, points_at, push};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EMFILE: i32 = 24;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;

/// Fails at one operation, and at every one after it if the fault lasts.
#[derive(Debug, Clone)]
struct FailingFs {
    counter: Arc<AtomicUsize>,
    at: usize,
    lasts: bool,
    error: i32,
    /// One flush of this directory fails as well: the one of this number, from 0.
    flush_of: Option<&'static str>,
    flush_at: usize,
    flushes: Arc<AtomicUsize>,
}

impl FailingFs {
    fn new(at: usize, lasts: bool, error: i32) -> Self {
        Self {
            counter: Arc::default(),
            at,
            lasts,
            error,
            flush_of: None,
            flush_at: 0,
            flushes: Arc::default(),
        }
    }

    fn count(&self) -> io::Result<()> {
        let number = self.counter.fetch_add(1, Ordering::SeqCst);
        if number == self.at || (self.lasts && number > self.at) {
            return Err(io::Error::from_raw_os_error(self.error));
        }
        Ok(())
    }

    fn was_reached(&self) -> bool {
        self.counter.load(Ordering::SeqCst) > self.at
    }
}

impl Fs for FailingFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Handle>> {
        self.count()?;
        Ok(Box::new(FailingHandle(RealFs.create(path, mode)?, self.clone())))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        self.count()?;
        Ok(Box::new(FailingHandle(RealFs.append(path)?, self.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.count()?;
        RealFs.open(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.count()?;
        RealFs.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        RealFs.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        RealFs.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        RealFs.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealFs.remove(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealFs.create_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let fails = self.flush_of.is_some_and(|end| path.ends_with(end));
        if fails && self.flushes.fetch_add(1, Ordering::SeqCst) == self.flush_at {
            return Err(io::Error::from_raw_os_error(self.error));
        }
        self.count()
    }
}

struct FailingHandle(Box<dyn Handle>, FailingFs);

impl Handle for FailingHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.1.count() {
            // A full disk takes a part first.
            self.0.write(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.0.write(bytes)
    }

    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.1.count()?;
        self.0.set_mode(mode)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.count()
    }
}

/// Runs the work with a fault at operation 0, 1, 2, … until it no longer reaches the fault.
async fn at_every_operation<W, C>(work: W, check: C)
where
    W: AsyncFn(Arc<dyn Repository>, Directory) -> Result<(), RepositoryError>,
    C: AsyncFn(Arc<dyn Repository>, &Image),
{
    let before = image("acknowledged before");
    for (lasts, error) in [
        (false, EIO),
        (false, ENOSPC),
        (true, EIO),
        (true, EMFILE),
        (true, EROFS),
        (true, EDQUOT),
    ] {
        for at in 0.. {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("store");
            push(&*open(&path), "before", &before).await.unwrap();
            let fs = FailingFs::new(at, lasts, error);
            let outcome = match Directory::open_on(Arc::new(fs.clone()), &path) {
                Ok(store) => work(Arc::new(store.open_repository(&name())), store).await,
                Err(error) => Err(error),
            };
            assert!(
                outcome.is_err() || !fs.was_reached() || !lasts,
                "operation {at}: an error was swallowed"
            );
            let store = Directory::open(&path).unwrap();
            let repository: Arc<dyn Repository> = Arc::new(store.open_repository(&name()));
            assert_eq!(
                points_at(&*repository, "before").await,
                Some(before.manifest.digest()),
                "operation {at}"
            );
            assert_whole(&*repository).await;
            if outcome.is_ok() {
                check(Arc::clone(&repository), &before).await;
            }
            work(Arc::clone(&repository), store)
                .await
                .unwrap_or_else(|error| panic!("again, after {at}: {error:?}"));
            check(repository, &before).await;
            if !fs.was_reached() {
                assert!(at > 3, "the work did nothing");
                break;
            }
        }
    }
}

#[tokio::test]
async fn b11_e8_pushing_fails_cleanly_at_every_operation() {
    let new = image("new");
    at_every_operation(
        async |repository, _| push(&*repository, "new", &new).await,
        async |repository, _| {
            assert_eq!(points_at(&*repository, "new").await, Some(new.manifest.digest()));
        },
    )
    .await;
}

/// Every error of the file system reaches the caller: after an `Ok` everything is there, in memory of no cache.
#[tokio::test]
async fn b11_e8_uploads_fail_cleanly_at_every_operation() {
    let content = b"uploaded in two pieces".as_slice();
    let digest = Digest::of(content);
    at_every_operation(
        async |_, store| upload(&store, content).await,
        async |repository, _| assert!(has_blob(&*repository, digest).await),
    )
    .await;
}

/// A blob that waited in a file. The file's own writes are no part of the store.
#[tokio::test]
async fn b11_e8_taking_a_file_over_fails_cleanly_at_every_operation() {
    let content = b"hashed while it was written".as_slice();
    let digest = Digest::of(content);
    at_every_operation(
        async |repository, store| {
            let scratch = store.path().join("cache/scratch");
            let mut file = cairn_store::files::temporary(&scratch).unwrap();
            file.append(content).unwrap();
            repository.write_spooled(&digest, file).await.map(drop)
        },
        async |repository, _| assert!(has_blob(&*repository, digest).await),
    )
    .await;
}

async fn upload(store: &Directory, content: &'static [u8]) -> Result<(), RepositoryError> {
    let flatten = |error| match error {
        UploadError::Repository(error) => error,
        other => panic!("{other:?}"),
    };
    let id = store.begin_upload(&name()).await.map_err(flatten)?;
    let (first, second) = content.split_at(9);
    store
        .append_upload(&name(), &id, 0, from_bytes(first))
        .await
        .map_err(flatten)?;
    store
        .append_upload(&name(), &id, 9, from_bytes(second))
        .await
        .map_err(flatten)?;
    store
        .finish_upload(&name(), &id, &Digest::of(content))
        .await
        .map_err(flatten)?;
    Ok(())
}

/// The tag shows the old or the new manifest, and after an acknowledgement the new one.
#[tokio::test]
async fn b11_e8_a_moving_tag_is_never_lost() {
    let (old, new) = (image("old"), image("new"));
    for at in 0.. {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        push(&*open(&path), "moving", &old).await.unwrap();
        let fs = FailingFs::new(at, true, EIO);
        let moved = match Directory::open_on(Arc::new(fs.clone()), &path) {
            Ok(store) => push(&store.open_repository(&name()), "moving", &new).await,
            Err(error) => Err(error),
        };
        let shown = points_at(&*open(&path), "moving").await.unwrap();
        assert!(shown == new.manifest.digest() || (moved.is_err() && shown == old.manifest.digest()));
        if !fs.was_reached() {
            return;
        }
    }
}

/// What a failed flush of a directory leaves is not believed by the process that saw it fail (E3).
#[tokio::test]
async fn e3_after_a_failed_flush_nothing_is_acknowledged_in_that_directory() {
    let place = tempfile::tempdir().unwrap();
    let fs = FailingFs {
        flush_of: Some("refs/tags"),
        ..FailingFs::new(usize::MAX, false, EIO)
    };
    let store = Directory::open_on(Arc::new(fs), place.path()).unwrap();
    let repository = store.open_repository(&name());
    let (one, two) = (image("one"), image("two"));
    for (label, image) in [("a", &one), ("a", &one), ("b", &two)] {
        let pushed = push(&repository, label, image).await;
        assert!(
            matches!(pushed, Err(RepositoryError::File { action: "flush", .. })),
            "{label}: {pushed:?}"
        );
    }
    push(&*open(place.path()), "a", &one).await.unwrap();
}

/// A name that was durable with its old content is not durable with a new one whose flush failed.
#[tokio::test]
async fn e3_a_moved_tag_whose_flush_failed_is_not_acknowledged_the_second_time() {
    let place = tempfile::tempdir().unwrap();
    let fs = FailingFs {
        flush_of: Some("refs/tags"),
        flush_at: 1,
        ..FailingFs::new(usize::MAX, false, EIO)
    };
    let store = Directory::open_on(Arc::new(fs), place.path()).unwrap();
    let repository = store.open_repository(&name());
    push(&repository, "a", &image("one")).await.unwrap();
    for attempt in 0..2 {
        let moved = push(&repository, "a", &image("two")).await;
        assert!(
            matches!(moved, Err(RepositoryError::File { action: "flush", .. })),
            "attempt {attempt}: {moved:?}"
        );
    }
}

/// A layout that is written to: `index.json` is the old one or the new one.
#[tokio::test]
async fn b11_a_layout_stays_whole_at_every_operation() {
    let (old, new) = (image("old"), image("new"));
    for at in 0.. {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        push(&layout::create(&path).unwrap(), "1.0", &old).await.unwrap();
        let fs = FailingFs::new(at, true, ENOSPC);
        let pushed = match layout::create_on(Arc::new(fs.clone()), &path) {
            Ok(layout) => push(&layout, "2.0", &new).await,
            Err(error) => Err(error),
        };
        let layout = layout::open(&path).unwrap();
        assert_eq!(points_at(&layout, "1.0").await, Some(old.manifest.digest()));
        assert_whole(&layout).await;
        push(&layout::create(&path).unwrap(), "2.0", &new).await.unwrap();
        assert!(
            pushed.is_err() || !fs.was_reached(),
            "operation {at}: an error was swallowed"
        );
        if !fs.was_reached() {
            return;
        }
    }
}

#[tokio::test]
async fn b11_an_archive_is_whole_or_what_was_there_before() {
    let place = tempfile::tempdir().unwrap();
    let repository = open(&place.path().join("store"));
    let image = image("packed");
    push(&*repository, "1.0", &image).await.unwrap();
    let name = "hello:1.0".parse().unwrap();
    let package = pack(repository, &image.manifest, Format::Oci, &name)
        .await
        .unwrap();
    let archives = place.path().join("archives");
    let path = archives.join("hello.tar");
    let mut failures = 0;
    for at in 0.. {
        for (lasts, error) in [(false, EIO), (true, ENOSPC), (true, EROFS)] {
            let fs = FailingFs::new(at, lasts, error);
            let written = package.write_on(Arc::new(fs.clone()), &path).await;
            assert_eq!(written.is_err(), fs.was_reached(), "operation {at}: {written:?}");
            if let Err(error) = written {
                assert!(matches!(error, PackError::Write(_)), "{error}");
                failures += 1;
            }
            if path.exists() {
                let opened = cairn_store::archive::open(&path, &archives).unwrap();
                assert_whole(&opened).await;
                cairn_store::files::remove(&path).unwrap();
            }
        }
        if failures < 3 * (at + 1) {
            break;
        }
    }
    // Created, written in pieces, mode, flushed, renamed, and the directory flushed.
    assert!(failures > 3 * 6, "{failures}");
    package.write(&path).await.unwrap();
}
