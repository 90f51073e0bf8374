//! Packages of Debian, before they are layers: each is had once, by its digest, and read.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use cairn_layer::{Listing, Spool};
use cairn_oci::{Digest, Platform};
use cairn_packages::deb::{Archive, DebError, DebLimits};
use cairn_packages::image::{self, AssembleError, Assembly, Options};

use super::fetch::{AnyError, Failed, Keeping, Kept, keep_package, scratch_file};
use crate::blocking::run;
use crate::debian_name;
use crate::inputs::{FetchError, Missing};
use crate::lock::{Lock, LockedPackage};

/// The packages of each platform.
#[derive(Debug, Default)]
pub(crate) struct Packages(BTreeMap<Platform, Vec<Arc<Archive>>>);

impl Packages {
    /// Asks for all packages that the platforms need, each digest once.
    pub(crate) async fn all(
        lock: &Lock,
        platforms: &[Platform],
        keeping: Keeping<'_>,
        missing: &mut Missing,
    ) -> Result<Self, Failed> {
        let Some(locked) = &lock.packages else {
            return Ok(Self::default());
        };
        let mut kept: BTreeMap<Digest, Kept> = BTreeMap::new();
        let wanted = || {
            platforms
                .iter()
                .filter_map(|platform| Some((platform, locked.value.platforms.get(platform)?)))
        };
        let expected: BTreeMap<Digest, &LockedPackage> = wanted()
            .flat_map(|(_, packages)| &packages.value)
            .map(|package| (package.digest, package))
            .collect();
        let expected: Vec<&LockedPackage> = expected.into_values().collect();
        let brought = keeping.fetcher.expect_packages(&expected).await;
        brought.map_err(Failed::Fetch)?;
        for package in wanted().flat_map(|(_, packages)| &packages.value) {
            if kept.contains_key(&package.digest) {
                continue;
            }
            let found = missing.note(keep_package(package, keeping).await);
            if let Some(found) = found.map_err(Failed::Fetch)? {
                kept.insert(package.digest, found);
            }
        }
        let mut read: BTreeMap<Digest, Arc<Archive>> = BTreeMap::new();
        let mut all = BTreeMap::new();
        for (platform, packages) in wanted() {
            let mut archives = Vec::new();
            for package in &packages.value {
                let archive = match (read.get(&package.digest), kept.get(&package.digest)) {
                    (Some(archive), _) => archive.clone(),
                    (None, Some(file)) => Arc::new(read_package(package, file, keeping).await?),
                    (None, None) => continue,
                };
                read.insert(package.digest, archive.clone());
                archives.push(archive);
            }
            all.insert(platform.clone(), archives);
        }
        Ok(Self(all))
    }

    /// The layers of a platform's packages above what its base has; none if it has no packages.
    pub(crate) fn assemble(
        &self,
        platform: &Platform,
        base: &Listing,
    ) -> Result<Option<Assembly>, AssembleError> {
        let Some(archives) = self.0.get(platform).filter(|archives| !archives.is_empty()) else {
            return Ok(None);
        };
        let options = Options {
            base,
            // A platform without a name of Debian's has no packages.
            architecture: debian_name::of(platform).unwrap_or_default(),
            max_layers: image::MAX_LAYERS,
        };
        let archives: Vec<Archive> = archives.iter().map(|archive| (**archive).clone()).collect();
        image::assemble(archives, &options).map(Some)
    }
}

async fn read_package(package: &LockedPackage, kept: &Kept, keeping: Keeping<'_>) -> Result<Archive, Failed> {
    let (scratch, expected) = (keeping.scratch.to_owned(), package.package.clone());
    let file = kept.file.clone();
    let size = kept.size;
    let digest = package.digest;
    let read = run(move || -> Result<Result<Archive, DebError>, AnyError> {
        let (mut out, spool) = scratch_file(&scratch)?;
        let content = cairn_layer::Spooled::new(file, 0, size, digest);
        let read = {
            let mut spool = Spool::new(&mut out, Arc::new(spool));
            Archive::read(content.reader(), &expected, &DebLimits::default(), &mut spool)
        };
        out.flush()?;
        Ok(read)
    });
    let keep = |source| {
        Failed::Fetch(FetchError::Keep {
            url: package.url.clone(),
            source,
        })
    };
    read.await
        .map_err(keep)?
        .map_err(|error| Failed::Package(Box::new(error)))
}
