//! From spec to lock: finds what is not pinned yet.

mod borders;
mod contents;
mod error;
mod fetch;
mod image;
mod rootfs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_layer::{Engine, Limits};
use cairn_oci::{Digest, Platform};
use jiff::Timestamp;

pub use self::error::LockError;
pub(crate) use self::rootfs::RECOMPRESSION;
use crate::finding::Located;
use crate::inputs::Sources;
use crate::lock::{Lock, LockedBase, LockedPlatform, LockedSource, OUTPUT_VERSION};
use crate::spec::{Base, BaseSource, Created, Spec};

/// What locking may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Missing pins are added; one that contradicts the spec, or that it does not need, is an error: `cairn build`.
    AddMissing,
    /// Pins that contradict the spec are replaced, those that it does not need dropped: `cairn lock`.
    Reconcile,
    /// Everything is resolved anew: `cairn lock --update`.
    All,
}

/// Dates from outside the spec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dates {
    /// `SOURCE_DATE_EPOCH`: seconds since 1970.
    pub source_date_epoch: Option<u64>,
}

/// What is to be locked.
#[derive(Debug, Clone)]
pub struct LockRequest<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The spec's directory.
    pub directory: &'a Path,
    /// The lock that is there.
    pub existing: Option<&'a Lock>,
    /// What may change.
    pub update: Update,
    /// Dates from outside the spec.
    pub dates: Dates,
    /// Where content waits in temporary files while it is looked at; made if it is not there.
    pub scratch: &'a Path,
    /// Bounds for reading a base's layers, and archives.
    pub limits: Limits,
    /// With how many threads and with which cache a root file system is compressed; it never shows.
    pub engine: Engine,
}

/// A lock that fits its spec, and how it differs from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockChange {
    /// The lock.
    pub lock: Lock,
    /// What was added, moved or dropped. Empty: the lock is as it was.
    pub changes: Vec<PinChange>,
}

/// One pin that was added, moved or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinChange {
    /// What is pinned, such as `the base debian:12 for linux/amd64`.
    pub subject: String,
    /// To what it was pinned; none: it is new.
    pub before: Option<String>,
    /// To what it is pinned; none: it is dropped.
    pub after: Option<String>,
}

/// What is to be found of a base.
struct Wanted<'a> {
    request: &'a LockRequest<'a>,
    base: &'a Base,
    /// For which platforms.
    platforms: Vec<Platform>,
    /// Where other platforms are pinned already.
    pinned: Option<Digest>,
}

/// What resolving a base gives.
struct ResolvedBase {
    source: LockedSource,
    platforms: BTreeMap<Platform, LockedPlatform>,
    /// The newest date of the base's configurations.
    created: Option<Timestamp>,
}

/// Adds to the lock what the spec needs and the lock lacks, and changes what `request.update` allows.
///
/// A base image is downloaded once for its listing. Nothing is kept here but the pins; a [`Sources`] may keep what
/// passes through its repositories.
///
/// # Errors
///
/// [`LockError`]; nothing was changed.
pub async fn resolve_lock(request: &LockRequest<'_>, sources: &dyn Sources) -> Result<LockChange, LockError> {
    if let Some(existing) = request.existing.filter(|_| request.update == Update::AddMissing) {
        let findings = existing.check(request.spec);
        if !findings.is_empty() {
            return Err(LockError::Conflict { findings });
        }
    }
    let kept = request.existing.filter(|_| request.update != Update::All);
    let kept_base = kept
        .filter(|lock| lock.has_base_of(request.spec))
        .and_then(|lock| lock.base.as_ref());
    let (base, newest) = resolve_base(request, kept_base, sources).await?;
    let base_is_new = base.is_some() && kept_base.is_none();
    let kept_created = kept.filter(|_| !base_is_new).map(|lock| lock.created.value);
    let mut lock = Lock {
        output: OUTPUT_VERSION,
        created: Located::nowhere(resolve_created(request, kept_created, newest)),
        base,
        fetched: fetch::resolve(request, kept, sources).await?,
        splits: BTreeMap::new(),
    };
    lock.splits = borders::resolve(request, &lock, kept, sources).await?;
    let changes = changes(request.existing, &lock);
    Ok(LockChange { lock, changes })
}

/// The date: the spec's, else the pinned one, else `SOURCE_DATE_EPOCH`, else the base's, else one second after 1970.
fn resolve_created(
    request: &LockRequest<'_>,
    kept: Option<Timestamp>,
    newest: Option<Timestamp>,
) -> Timestamp {
    if let Created::At(time) = request.spec.image.created.value {
        return time;
    }
    let epoch = request
        .dates
        .source_date_epoch
        .and_then(|seconds| i64::try_from(seconds).ok());
    let epoch = epoch.and_then(|seconds| Timestamp::from_second(seconds.max(1)).ok());
    kept.or(epoch)
        .or(newest)
        .unwrap_or(Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(1))
}

async fn resolve_base(
    request: &LockRequest<'_>,
    kept: Option<&LockedBase>,
    sources: &dyn Sources,
) -> Result<(Option<LockedBase>, Option<Timestamp>), LockError> {
    let Some(base) = &request.spec.base else {
        return Ok((None, None));
    };
    let replaced = replaced_files(request, base, kept).await?;
    let pinned = |platform: &Platform| {
        let kept = kept.filter(|_| !replaced.contains(platform));
        kept.and_then(|kept| kept.platforms.get(platform))
    };
    let missing: Vec<_> = request
        .spec
        .platforms()
        .filter(|platform| pinned(platform).is_none())
        .cloned()
        .collect();
    let mut platforms: BTreeMap<_, _> = request
        .spec
        .platforms()
        .filter_map(|platform| Some((platform.clone(), pinned(platform)?.clone())))
        .collect();
    if let (Some(kept), []) = (kept, &missing[..]) {
        let source = kept.source.clone();
        return Ok((Some(LockedBase { source, platforms }), None));
    }
    let wanted = Wanted {
        request,
        base,
        platforms: missing,
        pinned: kept.and_then(pinned_digest),
    };
    let resolved = match &base.source.value {
        BaseSource::RootFs(path) => rootfs::resolve(wanted, path).await?,
        BaseSource::Image(reference) => image::resolve_image(wanted, reference, sources).await?,
        BaseSource::Layout { directory, tag } => {
            image::resolve_layout(wanted, directory, tag.as_ref()).await?
        }
        BaseSource::Archive { file, name } => image::resolve_archive(wanted, file, name.as_deref()).await?,
    };
    platforms.extend(
        resolved
            .platforms
            .into_iter()
            .map(|(platform, locked)| (platform, Located::nowhere(locked))),
    );
    let source = Located::nowhere(resolved.source);
    Ok((Some(LockedBase { source, platforms }), resolved.created))
}

/// For which platforms a root file system is not the file any more that is pinned. A build says so itself, and does not move
/// the pin: only whoever may replace pins looks.
async fn replaced_files(
    request: &LockRequest<'_>,
    base: &Base,
    kept: Option<&LockedBase>,
) -> Result<BTreeSet<Platform>, LockError> {
    let mut replaced = BTreeSet::new();
    if let (Update::Reconcile, BaseSource::RootFs(template), Some(kept)) =
        (request.update, &base.source.value, kept)
    {
        for platform in request.spec.platforms() {
            let Some(locked) = kept.platforms.get(platform) else {
                continue;
            };
            let path = request.directory.join(template.expand(platform));
            if rootfs::digest(path).await? != locked.value.origin.digest() {
                replaced.insert(platform.clone());
            }
        }
    }
    Ok(replaced)
}

fn pinned_digest(base: &LockedBase) -> Option<Digest> {
    match &base.source.value {
        LockedSource::Image { digest, .. } | LockedSource::Layout { digest, .. } => Some(*digest),
        LockedSource::Archive { .. } | LockedSource::RootFs { .. } => None,
    }
}

fn changes(before: Option<&Lock>, after: &Lock) -> Vec<PinChange> {
    let (before, after) = (before.map(pins).unwrap_or_default(), pins(after));
    let subjects: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |subject: &String| PinChange {
        subject: subject.clone(),
        before: before.get(subject).cloned(),
        after: after.get(subject).cloned(),
    };
    let changes = subjects.into_iter().map(change);
    changes.filter(|change| change.before != change.after).collect()
}

/// Every pin by what it pins.
fn pins(lock: &Lock) -> BTreeMap<String, String> {
    let mut pins = BTreeMap::from([("created".to_owned(), lock.created.value.to_string())]);
    for (layer, borders) in &lock.splits {
        pins.insert(
            format!("the borders of the layer {layer}"),
            borders::text(&borders.value),
        );
    }
    for (url, locked) in &lock.fetched {
        pins.insert(url.clone(), locked.value.digest.to_string());
    }
    let Some(base) = &lock.base else {
        return pins;
    };
    let name = match &base.source.value {
        LockedSource::Image {
            reference: name,
            digest,
        }
        | LockedSource::Layout { layout: name, digest } => {
            pins.insert(format!("the base {name}"), digest.to_string());
            name
        }
        LockedSource::Archive { archive: name } | LockedSource::RootFs { path: name } => name,
    };
    for (platform, locked) in &base.platforms {
        pins.insert(
            format!("the base {name} for {platform}"),
            locked.value.origin.digest().to_string(),
        );
    }
    pins
}
