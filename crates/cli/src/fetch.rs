//! What the spec fetches from URLs: downloaded once, and kept by digest in the local store's cache.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use cairn_build::{FetchError, Fetcher, Inputs, LockedPackage, Nowhere, RepositoryInputs};
use cairn_oci::{Descriptor, Digest, RepositoryName};
use cairn_registry::client::{DownloadError, Landing, PlainHttp};
use cairn_store::{Blob, ByteStream, Directory, Partial, RepositoryError};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::cache;
use crate::debian;
use crate::failure::Failure;
use crate::places::{self, Places};
use crate::program::Cairn;
use crate::progress::Bar;
use crate::terminal::{bytes, counted};

/// The most that is downloaded from a URL whose size no lock says, in bytes (4 GiB).
const LIMIT: u64 = 4 << 30;
/// How many packages come at once, if nothing else is said.
const PACKAGES_AT_ONCE: usize = 6;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The cache, and behind it the places where the content may be.
#[derive(Debug)]
pub struct Downloads<'a> {
    cairn: &'a Cairn,
    offline: bool,
    places: Places,
    at_once: usize,
    bar: Option<&'a Bar>,
    /// How many packages, and how many bytes of them, came from which place.
    came: Mutex<BTreeMap<String, (u64, u64)>>,
}

/// A part of what a URL gives, on the way into the cache.
struct Arriving<'p> {
    partial: &'p mut Partial,
    bar: Option<&'p Bar>,
}

impl Landing for Arriving<'_> {
    fn length(&self) -> u64 {
        self.partial.length()
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(bar) = self.bar {
            bar.counter().fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        self.partial.append(piece).map_err(io::Error::other)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.partial.restart().map_err(io::Error::other)
    }
}

/// How a file may come.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Over TLS, or from this machine.
    Safe,
    /// Over plain HTTP too, or from a directory.
    Any,
}

impl<'a> Downloads<'a> {
    /// With `offline`, the cache alone, and what is kept in the local store.
    #[must_use]
    pub fn new(cairn: &'a Cairn, offline: bool) -> Self {
        Self {
            cairn,
            offline,
            places: Places::default(),
            at_once: PACKAGES_AT_ONCE,
            bar: None,
            came: Mutex::default(),
        }
    }

    /// The same, looking for packages in these places too, so many of them at once, and showing how far it is.
    #[must_use]
    pub fn looking_in(self, places: Places, at_once: Option<usize>, bar: Option<&'a Bar>) -> Self {
        Self {
            places,
            at_once: at_once.unwrap_or(PACKAGES_AT_ONCE),
            bar,
            ..self
        }
    }

    async fn store(&self, url: &str) -> Result<&Directory, FetchError> {
        let store = self.cairn.store().await;
        store.map_err(|failure| keep_error(url, said(&failure)))
    }

    /// Downloads into the cache what is not there yet, going on where an earlier attempt broke off. How many bytes it has.
    async fn download(
        &self,
        (url, way): (&str, Way),
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<u64, FetchError> {
        let store = self.store(url).await?;
        loop {
            let partial = store.cache_partial(digest).await;
            let Some(mut partial) = partial.map_err(|error| keep_error(url, error.into()))? else {
                return Ok(size.unwrap_or_default());
            };
            if size.is_some_and(|size| partial.length() > size) {
                let restarted = partial.restart();
                restarted.map_err(|error| keep_error(url, error.into()))?;
            }
            let resumed = partial.length() > 0;
            if size != Some(partial.length()) {
                self.receive((url, way), size, &mut partial).await?;
            }
            let found = partial.length();
            let wrong_size = size.filter(|expected| *expected != found);
            match partial.finish().await {
                Ok(()) => return Ok(found),
                // What was there before may be what was wrong.
                Err(RepositoryError::Digest { .. }) if resumed => {}
                Err(RepositoryError::Digest { found: is, .. }) => {
                    return Err(match wrong_size {
                        Some(expected) => size_error(url, expected, found),
                        None => FetchError::Digest {
                            url: without_query(url).to_owned(),
                            expected: *digest,
                            found: is,
                        },
                    });
                }
                Err(error) => return Err(keep_error(url, error.into())),
            }
        }
    }

    async fn receive(
        &self,
        (url, way): (&str, Way),
        size: Option<u64>,
        partial: &mut Partial,
    ) -> Result<(), FetchError> {
        let client = self.cairn.client().await;
        let client = client.map_err(|failure| failed(url, said(&failure)))?;
        let plain = match way {
            Way::Safe => PlainHttp::LoopbackOnly,
            Way::Any => PlainHttp::Allow,
        };
        let mut arriving = Arriving {
            bar: self.bar,
            partial,
        };
        let received = client
            .download_rest(url, size.unwrap_or(LIMIT), plain, &mut arriving)
            .await;
        match received {
            // The URL gives more than the lock says: to read on would show nothing else.
            Err(DownloadError::TooLarge { limit }) if size == Some(limit) => {
                let restarted = arriving.restart();
                restarted.map_err(|error| keep_error(url, error.into()))?;
                Err(size_error(url, limit, limit + 1))
            }
            Err(error) => Err(failed(url, error.into())),
            Ok(()) => Ok(()),
        }
    }

    /// What is kept, if it is what it should be.
    async fn kept(&self, url: &str, digest: &Digest) -> Result<Option<Blob>, FetchError> {
        let kept = cache::kept(self.store(url).await?, digest).await;
        kept.map_err(|error| keep_error(url, error.into()))
    }

    /// Brings a package that is not in the cache there, and says from where; or from nowhere.
    async fn bring(&self, package: &LockedPackage) -> Result<Result<String, Nowhere>, FetchError> {
        let store = self.store(&package.url).await?;
        let mut tried = vec![("the cache".to_owned(), "not there".to_owned())];
        for place in &self.places.kept {
            match place.bring(&package.digest, package.size, store).await {
                Ok(()) => return Ok(Ok(place.label())),
                Err(why) => tried.push((place.label(), why)),
            }
        }
        for address in self.places.addresses(package) {
            if let Some(path) = debian::local_path(&address) {
                match debian::package(&address, path, Some(package.size)).await {
                    Ok(blob) if blob.size == package.size => {
                        let written = store.cache_write(&package.digest, blob.size, blob.content).await;
                        match written {
                            Ok(_) => return Ok(Ok(address)),
                            Err(RepositoryError::Digest { expected, found }) => {
                                return Err(FetchError::Digest {
                                    url: address,
                                    expected,
                                    found,
                                });
                            }
                            Err(error) => return Err(keep_error(&address, error.into())),
                        }
                    }
                    Ok(blob) => return Err(size_error(&address, package.size, blob.size)),
                    Err(error) => tried.push((address, why(&error))),
                }
                continue;
            }
            if self.offline {
                tried.push((address, "not asked: --offline is given".to_owned()));
                continue;
            }
            match self
                .download((&address, Way::Any), &package.digest, Some(package.size))
                .await
            {
                Ok(_) => return Ok(Ok(archive_of(&address).to_owned())),
                Err(error @ FetchError::Failed { .. }) => {
                    tried.push((without_query(&address).to_owned(), why(&error)));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(Err(Nowhere {
            package: package.package.to_string(),
            digest: package.digest,
            tried,
        }))
    }

    async fn bring_named<'p>(
        &self,
        package: &'p LockedPackage,
    ) -> (&'p LockedPackage, Result<Result<String, Nowhere>, FetchError>) {
        (package, self.bring(package).await)
    }

    /// Brings all of these, some at a time. Those that are nowhere are named together.
    async fn bring_all(&self, packages: Vec<&LockedPackage>) -> Result<(), FetchError> {
        let (mut waiting, mut coming) = (packages.into_iter(), FuturesUnordered::new());
        let mut nowhere = Vec::new();
        loop {
            let room = self.at_once.saturating_sub(coming.len());
            coming.extend(
                waiting
                    .by_ref()
                    .take(room)
                    .map(|package| self.bring_named(package)),
            );
            let Some((package, brought)) = coming.next().await else {
                break;
            };
            match brought? {
                Ok(place) => self.note(package, &place),
                Err(missing) => nowhere.push(missing),
            }
        }
        nowhere.sort_by(|left, right| left.package.cmp(&right.package));
        match nowhere.is_empty() {
            true => Ok(()),
            false => Err(FetchError::Nowhere { packages: nowhere }),
        }
    }

    /// From where a package came; said with `-v` at once, and in one line in the end.
    fn note(&self, package: &LockedPackage, place: &str) {
        let say = || {
            let about = format!("{}: from {place}", package.package);
            self.cairn.terminal.detail(format!("  {:<16} {about}", "package"));
        };
        match self.bar {
            Some(bar) => bar.aside(say),
            None => say(),
        }
        let mut came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, size) = came.entry(place.to_owned()).or_default();
        *count += 1;
        *size += package.size;
    }

    /// `12 from the cache; 3, 1.2 MB, from https://mirror.example.org`
    fn tell(&self) {
        let came = std::mem::take(&mut *self.came.lock().unwrap_or_else(PoisonError::into_inner));
        if came.keys().all(|place| place == CACHE) {
            return;
        }
        let parts = came.iter().map(|(place, (count, size))| match place.as_str() {
            CACHE => format!("{count} from {CACHE}"),
            place => format!("{count}, {}, from {place}", bytes(*size)),
        });
        let text = parts.collect::<Vec<_>>().join("; ");
        let say = || self.cairn.terminal.step("packages", &text);
        match self.bar {
            Some(bar) => bar.aside(say),
            None => say(),
        }
    }
}

/// What lines call the cache.
const CACHE: &str = "the cache";

/// The archive of a package's address: what stands before `/pool/`, else before the file.
fn archive_of(address: &str) -> &str {
    let address = without_query(address);
    let end = address.find("/pool/").or_else(|| address.rfind('/'));
    end.map_or(address, |end| &address[..end])
}

/// The causes of an error about a URL, without the URL.
fn why(error: &FetchError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => places::said(cause),
        None => error.to_string(),
    }
}

#[async_trait]
impl Fetcher for Downloads<'_> {
    async fn fetch(&self, url: &str, digest: &Digest, size: Option<u64>) -> Result<Blob, FetchError> {
        if let Some(kept) = self.kept(url, digest).await? {
            return Ok(kept);
        }
        let missing = || FetchError::missing(without_query(url), *digest);
        if let Some(size) = size {
            let store = self.store(url).await?;
            for place in &self.places.kept {
                if place.bring(digest, size, store).await.is_ok() {
                    let about = format!("{}: {}", without_query(url), place.label());
                    self.cairn.terminal.step("fetch", about);
                    return self.kept(url, digest).await?.ok_or_else(missing);
                }
            }
        }
        if self.offline {
            return Err(missing());
        }
        let found = self.download((url, Way::Safe), digest, size).await?;
        self.cairn
            .terminal
            .step("fetch", format!("{}, {}", without_query(url), bytes(found)));
        self.kept(url, digest).await?.ok_or_else(missing)
    }

    async fn fetch_package(&self, package: &LockedPackage) -> Result<Blob, FetchError> {
        let (url, digest) = (&package.url, &package.digest);
        if let Some(kept) = self.kept(url, digest).await? {
            return Ok(kept);
        }
        let missing = || {
            let what = format!("the package {}, {}", package.package, without_query(url));
            FetchError::missing(what, *digest)
        };
        match self.bring(package).await? {
            Ok(_) => self.kept(url, digest).await?.ok_or_else(missing),
            Err(_) if self.offline => Err(missing()),
            Err(nowhere) => Err(FetchError::Nowhere {
                packages: vec![nowhere],
            }),
        }
    }

    async fn expect_packages(&self, packages: &[&LockedPackage]) -> Result<(), FetchError> {
        let mut absent = Vec::new();
        for package in packages {
            let kept = self.store(&package.url).await?.cache_read(&package.digest).await;
            match kept.map_err(|error| keep_error(&package.url, error.into()))? {
                Some(_) => self.note(package, CACHE),
                None => absent.push(*package),
            }
        }
        // Without network each is asked for on its own, so that all that is missing is named together, of URLs too.
        if !self.offline && !absent.is_empty() {
            let size = absent.iter().map(|package| package.size).sum();
            if let Some(bar) = self.bar {
                let what = counted(absent.len() as u64, "package", "packages");
                bar.fetching(&format!("fetching {what}"), size);
            }
            let brought = self.bring_all(absent).await;
            if let Some(bar) = self.bar {
                bar.fetched();
            }
            brought?;
        }
        self.tell();
        Ok(())
    }
}

/// Everything that a build may take from elsewhere.
#[derive(Debug)]
pub struct BuildInputs<'a> {
    /// Where the base is.
    pub base: RepositoryInputs,
    /// Where the content of URLs is.
    pub downloads: Downloads<'a>,
}

#[async_trait]
impl Fetcher for BuildInputs<'_> {
    async fn fetch(&self, url: &str, digest: &Digest, size: Option<u64>) -> Result<Blob, FetchError> {
        self.downloads.fetch(url, digest, size).await
    }

    async fn fetch_package(&self, package: &LockedPackage) -> Result<Blob, FetchError> {
        self.downloads.fetch_package(package).await
    }

    async fn expect_packages(&self, packages: &[&LockedPackage]) -> Result<(), FetchError> {
        self.downloads.expect_packages(packages).await
    }
}

#[async_trait]
impl Inputs for BuildInputs<'_> {
    async fn open(&self, blob: &Descriptor) -> Result<Option<ByteStream>, RepositoryError> {
        self.base.open(blob).await
    }

    fn siblings(&self) -> &[RepositoryName] {
        self.base.siblings()
    }
}

/// What a failure says, as the cause of another error.
fn said(failure: &Failure) -> AnyError {
    failure.to_string().trim_end().to_owned().into()
}

fn failed(url: &str, source: AnyError) -> FetchError {
    FetchError::Failed {
        url: without_query(url).to_owned(),
        source,
    }
}

fn keep_error(url: &str, source: AnyError) -> FetchError {
    FetchError::Keep {
        url: without_query(url).to_owned(),
        source,
    }
}

fn size_error(url: &str, expected: u64, found: u64) -> FetchError {
    FetchError::Size {
        url: without_query(url).to_owned(),
        expected,
        found,
    }
}

/// A query can hold a signature.
pub fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}
