//! Which packages of Debian have to be there, for the lock.

use std::collections::BTreeMap;

use cairn_oci::Platform;
use cairn_packages::debian::{
    self, Archive, Clock, Index, Question, Request, Selected, Source, read_archive,
};
use cairn_packages::{Installed, InstalledError};

use super::{LockError, LockRequest};
use crate::debian_name;
use crate::finding::{Finding, Located};
use crate::inputs::{ArchiveFiles, DebianSources, SignedSource, Sources};
use crate::lock::{Asked, Lock, LockedArchive, LockedBase, LockedDebian, LockedPackage};
use crate::spec::Debian;

/// The packages that are pinned already, if they are for what the spec asks for and for this base; else new ones.
pub(super) async fn resolve(
    request: &LockRequest<'_>,
    base: Option<&LockedBase>,
    kept: Option<&Lock>,
    sources: &dyn Sources,
) -> Result<Option<Located<LockedDebian>>, LockError> {
    let Some(wanted) = &request.spec.packages else {
        return Ok(None);
    };
    let asked = Asked::of(wanted);
    let names = request.update.named();
    let is_named = names.is_some_and(|names| names.packages || !names.package_names.is_empty());
    let pinned = kept.and_then(|kept| kept.packages.as_ref().map(|packages| (kept, packages)));
    if let Some((kept, packages)) = pinned
        && !is_named
        && packages.value.asked == asked
        && request.spec.platforms().all(|platform| {
            kept.base.is_some() == base.is_some()
                && packages.value.platforms.contains_key(platform)
                && installed(kept.base.as_ref(), platform) == installed(base, platform)
        })
    {
        let mut packages = packages.clone();
        packages
            .value
            .platforms
            .retain(|platform, _| request.spec.platforms().any(|own| own == platform));
        return Ok(Some(packages));
    }
    let found = sources.debian(wanted).await;
    let found = found.map_err(|source| LockError::DebianSources { source })?;
    let architectures = architectures(request, wanted)?;
    let archives = read(request, (&found, sources), &architectures).await?;
    let mut platforms = BTreeMap::new();
    let indexes: Vec<Index> = archives
        .iter()
        .flat_map(|(_, archive)| archive.indexes.iter().cloned())
        .collect();
    for platform in request.spec.platforms() {
        let pinned = staying(request, kept, platform);
        let selected = select(wanted, platform, &indexes, (base, &pinned))?;
        platforms.insert(platform.clone(), Located::nowhere(pins(&selected)?));
    }
    let archives = archives.iter().map(|(source, archive)| LockedArchive {
        uri: source.uri.clone(),
        suite: source.suite.clone(),
        date: archive.release.date,
    });
    Ok(Some(Located::nowhere(LockedDebian {
        asked,
        archives: archives.collect(),
        platforms,
    })))
}

fn installed<'l>(base: Option<&'l LockedBase>, platform: &Platform) -> &'l [Installed] {
    let platform = base.and_then(|base| base.platforms.get(platform));
    platform.map_or(&[], |platform| &platform.value.listing.packages)
}

/// What the lock pins for a platform and is not to be moved.
fn staying(request: &LockRequest<'_>, kept: Option<&Lock>, platform: &Platform) -> Vec<Installed> {
    let names = request.update.named();
    let moves = |name: &str| names.is_some_and(|names| names.packages || names.package_names.contains(name));
    let packages = kept.and_then(|kept| kept.packages.as_ref()?.value.platforms.get(platform));
    let packages = packages.iter().flat_map(|packages| &packages.value);
    packages
        .map(|found| found.package.clone())
        .filter(|package| !moves(package.name()))
        .collect()
}

/// Those of the platforms, and those that are asked for by name.
fn architectures(request: &LockRequest<'_>, wanted: &Debian) -> Result<Vec<String>, LockError> {
    let mut architectures = Vec::new();
    for platform in request.spec.platforms() {
        architectures.push(own_architecture(wanted, platform)?.to_owned());
    }
    let named = wanted
        .install
        .iter()
        .filter_map(|asked| asked.value.architecture());
    architectures.extend(named.filter(|named| *named != "all").map(str::to_owned));
    architectures.sort();
    architectures.dedup();
    Ok(architectures)
}

fn own_architecture(wanted: &Debian, platform: &Platform) -> Result<&'static str, LockError> {
    debian_name::of(platform).ok_or_else(|| {
        let message = format!("Debian has no packages for {platform}");
        spec(Finding::new(message, wanted.span.clone()))
    })
}

fn spec(finding: Finding) -> LockError {
    LockError::Spec {
        findings: vec![finding],
    }
}

/// Reads every archive, each judged by the date of the one that the lock had before.
async fn read(
    request: &LockRequest<'_>,
    (found, files): (&DebianSources, &dyn Sources),
    architectures: &[String],
) -> Result<Vec<(Source, Archive)>, LockError> {
    let before = request.existing.and_then(|lock| lock.packages.as_ref());
    let before = before
        .map(|packages| &packages.value.archives[..])
        .unwrap_or_default();
    let mut archives = Vec::new();
    for SignedSource {
        source,
        keyring,
        snapshot,
    } in &found.sources
    {
        let same = before
            .iter()
            .find(|old| old.uri == source.uri && old.suite == source.suite);
        let clock = Clock {
            at: snapshot.unwrap_or(found.now),
            seen: same.filter(|_| snapshot.is_none()).map(|old| old.date),
        };
        let archive = read_archive(source, architectures, keyring, &clock, &ArchiveFiles(files)).await;
        let archive = archive.map_err(|source| LockError::DebianArchive {
            source: Box::new(source),
        })?;
        archives.push((source.clone(), archive));
    }
    Ok(archives)
}

fn select(
    wanted: &Debian,
    platform: &Platform,
    indexes: &[Index],
    (base, pinned): (Option<&LockedBase>, &[Installed]),
) -> Result<Vec<Selected>, LockError> {
    let install: Vec<Request> = wanted.install.iter().map(|asked| asked.value.clone()).collect();
    let question = Question {
        architecture: own_architecture(wanted, platform)?,
        indexes,
        installed: installed(base, platform),
        install: &install,
        recommends: wanted.recommends,
        essential: wanted.essential && base.is_none(),
        pinned,
    };
    debian::resolve(&question).map_err(|source| {
        let name = match &source {
            debian::ResolveError::Unknown { name, .. } | debian::ResolveError::Virtual { name, .. } => {
                Some(name)
            }
            debian::ResolveError::Unavailable { request, .. } => Some(request),
            _ => None,
        };
        let asked = wanted.install.iter().find(|asked| {
            name.is_some_and(|name| asked.value.name() == name || asked.value.to_string() == *name)
        });
        match asked {
            Some(asked) => spec(Finding::new(
                format!("for {platform}: {source}"),
                asked.span.clone(),
            )),
            None => LockError::Debian {
                platform: platform.clone(),
                source,
            },
        }
    })
}

fn pins(selected: &[Selected]) -> Result<Vec<LockedPackage>, LockError> {
    let pins = selected.iter().map(|found| {
        Ok(LockedPackage {
            package: Installed::new(&found.name, &found.version, &found.architecture)?,
            url: found.url(),
            suite: found.suite.clone(),
            size: found.size,
            digest: found.digest,
            needed_by: found.needed_by.clone(),
        })
    });
    let pins: Result<Vec<_>, InstalledError> = pins.collect();
    pins.map_err(|source| LockError::DebianPackage { source })
}
