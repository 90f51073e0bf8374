//! What a build without network needs and does not have here: all of it at once, and before anything is built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_build::spec::BaseSource;
use cairn_build::{FetchError, LockError};
use cairn_oci::{Descriptor, Digest, Platform};
use cairn_store::RepositoryError;

use crate::debian::local_path;
use crate::distant::is_here;
use crate::failure::{Exit, Failure};
use crate::fetch::without_query;
use crate::program::Cairn;
use crate::project::Project;

/// Refuses if a blob of the locked base, or what a `fetch` gives, is neither in the local store nor in its cache. Without
/// `platforms` those of the spec are meant.
///
/// # Errors
///
/// Each missing input is one error of the failure; or the store cannot be read.
pub async fn check_inputs(cairn: &Cairn, project: &Project, platforms: &[Platform]) -> Result<(), Failure> {
    let is_wanted = |platform: &Platform| platforms.is_empty() || platforms.contains(platform);
    let mut missing = missing_of_base(cairn, project, is_wanted).await?;
    missing.extend(missing_fetches(cairn, project, is_wanted).await?);
    missing.extend(missing_packages(cairn, project, is_wanted).await?);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::silent(Exit::Environment)
        .and(not_here(missing))
        .with_hint(how_to_get_them(cairn)?))
}

/// The failure of a lock without network, if it has to ask somebody: with all the URLs that it misses, whichever came
/// first. Without `pinned`, URLs are missing that the lock pins already.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn lock_failure(
    cairn: &Cairn,
    project: &Project,
    error: &LockError,
    pinned: bool,
) -> Result<Option<Failure>, Failure> {
    let failure = match error {
        LockError::Repository {
            source: RepositoryError::Unreachable { .. },
            ..
        } => Failure::of(Exit::Environment, error),
        LockError::Fetch {
            source: FetchError::Missing { .. },
        } => Failure::silent(Exit::Environment),
        _ => return Ok(None),
    };
    let mut missing = missing_fetches(cairn, project, |_| true).await?;
    if let (true, Some(lock)) = (pinned, project.lock()) {
        let known: BTreeSet<_> = lock.fetched.values().map(|pin| pin.value.digest).collect();
        missing.retain(|digest, _| !known.contains(digest));
    }
    let hint = if missing.is_empty() {
        "lock without --offline".to_owned()
    } else {
        how_to_get_them(cairn)?
    };
    Ok(Some(failure.and(not_here(missing)).with_hint(hint)))
}

fn not_here(missing: BTreeMap<Digest, String>) -> impl Iterator<Item = String> {
    missing
        .into_iter()
        .map(|(digest, what)| format!("{what} ({digest}) is not here"))
}

fn how_to_get_them(cairn: &Cairn) -> Result<String, Failure> {
    let cache = cairn.store_path()?.join("cache/sha256");
    Ok(format!(
        "run it once without --offline, or put each file into {}, named by the hex digits of its digest",
        cache.display()
    ))
}

/// Blobs of the base, if it is in a registry: what is beside the spec, or in the local store, is not fetched anyway.
async fn missing_of_base(
    cairn: &Cairn,
    project: &Project,
    is_wanted: impl Fn(&Platform) -> bool,
) -> Result<BTreeMap<Digest, String>, Failure> {
    let base = project.spec.base.as_ref().map(|base| &base.source.value);
    let (Some(BaseSource::Image(reference)), Some(lock)) = (base, project.lock()) else {
        return Ok(BTreeMap::new());
    };
    let Some(locked) = lock
        .base
        .as_ref()
        .filter(|_| reference.host.is_some() && lock.has_base_of(&project.spec))
    else {
        return Ok(BTreeMap::new());
    };
    let local = cairn.open(&project.local()).await?;
    let mut missing = BTreeMap::new();
    for (platform, locked) in locked
        .platforms
        .iter()
        .filter(|(platform, _)| is_wanted(platform))
    {
        let config = locked
            .value
            .origin
            .config()
            .map(|config| ("the configuration".to_owned(), config));
        let layers = locked.value.layers.iter().enumerate();
        let layers = layers.map(|(number, layer)| (format!("layer {}", number + 1), &layer.descriptor));
        for (part, Descriptor { digest, size, .. }) in config.into_iter().chain(layers) {
            if !missing.contains_key(digest) && !is_here(cairn, &*local, digest, *size).await? {
                missing.insert(*digest, format!("{part} of the base {reference} for {platform}"));
            }
        }
    }
    Ok(missing)
}

async fn missing_fetches(
    cairn: &Cairn,
    project: &Project,
    is_wanted: impl Fn(&Platform) -> bool,
) -> Result<BTreeMap<Digest, String>, Failure> {
    let mut missing = BTreeMap::new();
    for fetch in project.spec.layers.iter().flat_map(|layer| &layer.fetches) {
        for platform in project.spec.platforms().filter(|platform| is_wanted(platform)) {
            let Some(digest) = fetch.digest_for(platform) else {
                continue;
            };
            if !missing.contains_key(&digest) && !is_kept(cairn, project, &digest).await? {
                let url = fetch.url_for(platform);
                missing.insert(digest, without_query(&url).to_owned());
            }
        }
    }
    Ok(missing)
}

async fn missing_packages(
    cairn: &Cairn,
    project: &Project,
    is_wanted: impl Fn(&Platform) -> bool,
) -> Result<BTreeMap<Digest, String>, Failure> {
    let mut missing = BTreeMap::new();
    let locked = project.lock().and_then(|lock| lock.packages.as_ref());
    let (Some(locked), Some(_)) = (locked, &project.spec.packages) else {
        return Ok(missing);
    };
    let platforms = locked.value.platforms.iter();
    let wanted = platforms.filter(|(platform, _)| is_wanted(platform));
    for package in wanted.flat_map(|(_, packages)| &packages.value) {
        let digest = package.digest;
        let is_local = || local_path(&package.url).is_some_and(Path::exists);
        if !missing.contains_key(&digest) && !is_local() && !is_kept(cairn, project, &digest).await? {
            let what = format!("the package {}, {}", package.package, without_query(&package.url));
            missing.insert(digest, what);
        }
    }
    Ok(missing)
}

/// Whether the cache has an input, or the local store keeps it beside the image.
async fn is_kept(cairn: &Cairn, project: &Project, digest: &Digest) -> Result<bool, Failure> {
    if cairn.store().await?.cache_read(digest).await?.is_some() {
        return Ok(true);
    }
    let local = cairn.open(&project.local()).await?;
    Ok(local.stat_blob(digest).await?.is_some())
}
