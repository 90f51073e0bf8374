//! Packages of Debian, before they are layers: each is had once, by its digest, and read as it comes; or none is, if it is known
//! from an earlier build what they become together.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_layer::{Listing, Spool, UnpackError};
use cairn_oci::{Digest, Platform};
use cairn_packages::Installed;
use cairn_packages::deb::{Archive, DebError, DebFlaw, DebLimits};
use cairn_packages::image::{self, AssembleError, Assembly, Options};
use cairn_store::{Blob, verified};
use tokio::sync::oneshot;

use super::fetch::{AnyError, Failed, Keeping, scratch_file};
use super::{Build, BuildError, BuiltLayer, own};
use crate::blocking::{PieceReader, feed, pipe, run};
use crate::debian_name;
use crate::inputs::{FetchError, Missing};
use crate::lock::{Lock, LockedPackage};
use crate::records::{Below, Packed, key_of_packages};

/// The packages of each platform.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    read: BTreeMap<Platform, Vec<Arc<Archive>>>,
    known: BTreeMap<Platform, Packed>,
}

impl Packages {
    /// Asks for all packages that the platforms need and of which it is not `known` what they become, each digest once.
    pub(crate) async fn all(
        lock: &Lock,
        platforms: &[Platform],
        known: BTreeMap<Platform, Packed>,
        keeping: Keeping<'_>,
        missing: &mut Missing,
    ) -> Result<Self, Failed> {
        let Some(locked) = &lock.packages else {
            return Ok(Self::default());
        };
        let wanted: Vec<_> = platforms
            .iter()
            .filter(|platform| !known.contains_key(platform))
            .filter_map(|platform| Some((platform, &locked.value.platforms.get(platform)?.value)))
            .collect();
        let mut all: BTreeMap<Digest, &LockedPackage> = BTreeMap::new();
        for package in wanted.iter().flat_map(|(_, packages)| packages.iter()) {
            all.insert(package.digest, package);
        }
        let all: Vec<&LockedPackage> = all.into_values().collect();
        let brought = keeping.fetcher.expect_packages(&all).await;
        brought.map_err(Failed::Fetch)?;
        let found = read_all(all, keeping, missing).await?;
        let of_platform = |packages: &Vec<LockedPackage>| {
            let archives = packages.iter().filter_map(|package| found.get(&package.digest));
            archives.cloned().collect()
        };
        let read = wanted.into_iter();
        Ok(Self {
            read: read
                .map(|(platform, packages)| (platform.clone(), of_platform(packages)))
                .collect(),
            known,
        })
    }

    /// What the packages of a platform became in an earlier build, if that is known.
    pub(super) fn known(&self, platform: &Platform) -> Option<&Packed> {
        self.known.get(platform)
    }

    /// The layers of a platform's packages above what its base has; none if it has no packages.
    pub(crate) fn assemble(
        &self,
        platform: &Platform,
        base: &Listing,
    ) -> Result<Option<Assembly>, AssembleError> {
        let Some(archives) = self.read.get(platform).filter(|archives| !archives.is_empty()) else {
            return Ok(None);
        };
        let options = Options {
            base,
            architecture: architecture(platform),
            max_layers: image::MAX_LAYERS,
        };
        let archives: Vec<Archive> = archives.iter().map(|archive| (**archive).clone()).collect();
        image::assemble(archives, &options).map(Some)
    }
}

/// A platform without a name of Debian's has no packages.
fn architecture(platform: &Platform) -> &'static str {
    debian_name::of(platform).unwrap_or_default()
}

impl Build<'_> {
    /// What packages became in earlier builds, for those platforms whose layers the output still has.
    pub(super) async fn known_packages(
        &self,
        platforms: &[Platform],
    ) -> Result<BTreeMap<Platform, Packed>, BuildError> {
        let mut known = BTreeMap::new();
        for platform in platforms {
            let key = self.key_of_packages(platform);
            let records = self.request.records.zip(key);
            let Some(packed) = records.and_then(|(records, key)| records.find_packed(&key)) else {
                continue;
            };
            if self.has_layers(&packed).await? {
                known.insert(platform.clone(), packed);
            }
        }
        Ok(known)
    }

    async fn has_layers(&self, packed: &Packed) -> Result<bool, BuildError> {
        for (_, record) in &packed.layers {
            if !self.has_blob(&record.digest, record.size).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps what the packages of a platform became.
    pub(super) fn keep_packages(&self, platform: &Platform, layers: &[BuiltLayer], below: Below) {
        let key = self.key_of_packages(platform);
        let Some((records, key)) = self.request.records.zip(key) else {
            return;
        };
        let layers = layers
            .iter()
            .map(|layer| (layer.name.clone(), own::record(layer)));
        let layers = layers.collect();
        records.keep_packed(&key, &Packed { layers, below });
    }

    /// None if the platform has no packages.
    fn key_of_packages(&self, platform: &Platform) -> Option<Digest> {
        let (spec, lock) = (self.request.spec, self.request.lock);
        let packages = lock.packages.as_ref()?.value.platforms.get(platform)?;
        let base = self.locked(platform);
        let base = base.map_or_else(Listing::new, |base| base.listing.to_listing());
        let options = self.options(spec.image.compression);
        Some(key_of_packages(
            &packages.value,
            architecture(platform),
            &base,
            &options,
        ))
    }
}

/// A package on its way to a thread that reads packages.
struct Job {
    content: PieceReader,
    expected: Installed,
    answer: oneshot::Sender<Result<Archive, DebError>>,
}

/// Reads packages on several threads at once, each package once and as it comes. A thread has one scratch file for all that it reads:
/// neither memory nor open files grow with the number of packages, but for what is known of each path.
async fn read_all(
    packages: Vec<&LockedPackage>,
    keeping: Keeping<'_>,
    missing: &mut Missing,
) -> Result<BTreeMap<Digest, Arc<Archive>>, Failed> {
    let lanes = keeping.threads.get().min(packages.len());
    // The largest come first, so that no thread is left alone with one at the end.
    let mut waiting = packages;
    waiting.sort_by_key(|package| (package.size, package.digest));
    let waiting = Mutex::new(waiting);
    let lanes = (0..lanes).map(|_| lane(&waiting, keeping));
    let lanes = futures_util::future::try_join_all(lanes).await?;
    let mut found = BTreeMap::new();
    for (digest, result) in lanes.into_iter().flatten() {
        if let Some(archive) = missing.note(result).map_err(Failed::Fetch)? {
            found.insert(digest, Arc::new(archive));
        }
    }
    Ok(found)
}

type Found = Vec<(Digest, Result<Archive, FetchError>)>;

/// Takes one package after the other, and has them read by one thread.
async fn lane(waiting: &Mutex<Vec<&LockedPackage>>, keeping: Keeping<'_>) -> Result<Found, Failed> {
    let (jobs, waiting_jobs) = sync_channel(1);
    let scratch = keeping.scratch.to_owned();
    let thread = run(move || read_jobs(&scratch, &waiting_jobs));
    let feeding = async move {
        let mut found = Found::new();
        let mut last = String::new();
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(package) = next else { break };
            last.clone_from(&package.url);
            match read_package(package, keeping, &jobs).await {
                Ok(None) => break,
                Ok(Some(archive)) => found.push((package.digest, Ok(archive))),
                Err(Failed::Fetch(error @ FetchError::Missing { .. })) => {
                    found.push((package.digest, Err(error)));
                }
                Err(failed) => return Err(failed),
            }
        }
        Ok((found, last))
    };
    let (found, ended) = tokio::join!(feeding, thread);
    let (found, url) = found?;
    ended.map_err(|source| Failed::Fetch(FetchError::Keep { url, source }))?;
    Ok(found)
}

/// None if the thread has ended: it says why.
async fn read_package(
    package: &LockedPackage,
    keeping: Keeping<'_>,
    jobs: &SyncSender<Job>,
) -> Result<Option<Archive>, Failed> {
    let LockedPackage {
        url, digest, size, ..
    } = package;
    let blob = keeping.fetcher.fetch_package(package).await;
    let Blob { size: found, content } = blob.map_err(Failed::Fetch)?;
    if found != *size {
        return Err(Failed::Fetch(FetchError::Size {
            url: url.clone(),
            expected: *size,
            found,
        }));
    }
    let (sender, content_reader) = pipe();
    let (answer, answered) = oneshot::channel();
    let job = Job {
        content: content_reader,
        expected: package.package.clone(),
        answer,
    };
    // The one before was answered, so there is room.
    if jobs.send(job).is_err() {
        return Ok(None);
    }
    let (fed, read) = tokio::join!(feed(verified(content, *digest, *size), vec![sender]), answered);
    // What is wrong with the bytes themselves is why they could not be understood.
    fed.map_err(|source| {
        Failed::Fetch(FetchError::Failed {
            url: url.clone(),
            source: source.into(),
        })
    })?;
    match read {
        Ok(Err(DebError {
            flaw: DebFlaw::Data {
                source: UnpackError::Spool { source },
            },
            ..
        })) => Err(Failed::Fetch(FetchError::Keep {
            url: url.clone(),
            source: source.into(),
        })),
        Ok(read) => read.map(Some).map_err(|error| Failed::Package(Box::new(error))),
        Err(_) => Ok(None),
    }
}

fn read_jobs(scratch: &std::path::Path, jobs: &Receiver<Job>) -> Result<(), AnyError> {
    let (mut out, file) = scratch_file(scratch)?;
    let mut spool = Spool::new(&mut out, Arc::new(file));
    while let Ok(Job {
        mut content,
        expected,
        answer,
    }) = jobs.recv()
    {
        let read = Archive::read(&mut content, &expected, &DebLimits::default(), &mut spool);
        if read.is_err() {
            // To its end, where it shows whether these were the right bytes.
            let _end = io::copy(&mut content, &mut io::sink());
        }
        // Whoever does not wait any more has failed already.
        let _answered = answer.send(read);
    }
    Ok(out.flush()?)
}
