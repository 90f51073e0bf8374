//! From spec to lock: finds what is not pinned yet.

mod borders;
mod contents;
mod debian;
mod error;
mod fetch;
mod image;
mod names;
mod rootfs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_layer::{Engine, Limits};
use cairn_oci::{Digest, Platform};
use jiff::Timestamp;

pub use self::error::LockError;
pub use self::names::{PinNames, UnknownPin};
pub(crate) use self::rootfs::RECOMPRESSION;
use crate::finding::Located;
use crate::inputs::Sources;
use crate::lock::{Lock, LockedBase, LockedDebian, LockedPlatform, LockedSource, OUTPUT_VERSION};
use crate::spec::{Base, BaseSource, Created, Spec};

/// What locking may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Missing pins are added; one that contradicts the spec, or that it does not need, is an error: `cairn build`.
    AddMissing,
    /// Pins that contradict the spec are replaced, those that it does not need dropped: `cairn lock`.
    Reconcile,
    /// As [`Self::Reconcile`], and these are resolved anew: `cairn lock --update NAME…`.
    Named(PinNames),
    /// Everything is resolved anew: `cairn lock --update`.
    All,
}

impl Update {
    const fn named(&self) -> Option<&PinNames> {
        match self {
            Self::Named(names) => Some(names),
            Self::AddMissing | Self::Reconcile | Self::All => None,
        }
    }
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
    /// The locks of other images of the workspace: a base image that one of them pins is pinned alike, so that what is
    /// built together is built upon the same.
    pub siblings: &'a [&'a Lock],
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
    let base = resolve_base(request, kept, sources).await?;
    let packages = debian::resolve(request, base.locked.as_ref(), kept, sources).await?;
    let (created, dated) = resolve_created(request, kept, &base, packages.as_ref(), sources).await?;
    let mut lock = Lock {
        output: OUTPUT_VERSION,
        created: Located::nowhere(created),
        dated_by_spec: dated,
        packages,
        base: base.locked,
        fetched: fetch::resolve(request, kept, sources).await?,
        splits: BTreeMap::new(),
    };
    lock.splits = borders::resolve(request, &lock, kept, sources).await?;
    let changes = changes(request.existing, &lock);
    Ok(LockChange { lock, changes })
}

/// The date: the spec's, else the pinned one if it came from the inputs and they are the same, else `SOURCE_DATE_EPOCH`,
/// else the newest of the base's and the packages', else one second after 1970. And whether it is the spec's.
async fn resolve_created(
    request: &LockRequest<'_>,
    kept: Option<&Lock>,
    base: &FoundBase,
    packages: Option<&Located<LockedDebian>>,
    sources: &dyn Sources,
) -> Result<(Timestamp, bool), LockError> {
    if let Created::At(time) = request.spec.image.created.value {
        // A build does not touch a lock that is complete and from before it said where the date is from.
        let untouched = request.existing.filter(|_| request.update == Update::AddMissing);
        return Ok((time, untouched.is_none_or(|lock| lock.dated_by_spec)));
    }
    let is_named = request.update.named().is_some_and(|names| names.created);
    let kept = kept.filter(|lock| !is_named && !base.is_other && !lock.dated_by_spec);
    let asked =
        |packages: Option<&Located<LockedDebian>>| packages.map(|packages| packages.value.asked.clone());
    let kept = kept.filter(|lock| asked(lock.packages.as_ref()) == asked(packages));
    if let Some(kept) = kept {
        return Ok((kept.created.value, false));
    }
    let epoch = request
        .dates
        .source_date_epoch
        .and_then(|seconds| i64::try_from(seconds).ok());
    let epoch = epoch.and_then(|seconds| Timestamp::from_second(seconds.max(1)).ok());
    let found = match (epoch, base.newest) {
        (Some(epoch), _) => Some(epoch),
        (None, Newest::Of(date)) => date,
        (None, Newest::Unread) => base_date(request, base, sources).await?,
    };
    let found = match (epoch, packages) {
        (None, Some(packages)) => found.max(packages_date(request, base, &packages.value)),
        _ => found,
    };
    let oldest = Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(1);
    Ok((found.unwrap_or(oldest), false))
}

/// The date of the packages: that of the archives that they are from. An archive has a new date every few hours: as long as the
/// lock before had the same packages, its date stays.
fn packages_date(request: &LockRequest<'_>, base: &FoundBase, packages: &LockedDebian) -> Option<Timestamp> {
    let is_same = |lock: &&Lock| {
        let before = lock.packages.as_ref();
        !lock.dated_by_spec
            && lock.base == base.locked
            && before.is_some_and(|before| before.value.platforms == packages.platforms)
    };
    let date = packages.newest_date();
    // One that is newer than all archives came from elsewhere.
    let before = request.existing.filter(is_same).map(|lock| lock.created.value);
    before
        .filter(|before| date.is_some_and(|date| *before <= date))
        .or(date)
}

/// The newest date of the configurations that are pinned.
async fn base_date(
    request: &LockRequest<'_>,
    found: &FoundBase,
    sources: &dyn Sources,
) -> Result<Option<Timestamp>, LockError> {
    match (&request.spec.base, &found.locked) {
        (Some(base), Some(locked)) => image::newest_date(request, base, locked, sources).await,
        _ => Ok(None),
    }
}

/// What the lock will say of the base.
struct FoundBase {
    locked: Option<LockedBase>,
    /// Whether another one was pinned before, or none.
    is_other: bool,
    newest: Newest,
}

/// The newest date of a base's configurations.
#[derive(Clone, Copy)]
enum Newest {
    /// All of them were read.
    Of(Option<Timestamp>),
    /// Some of them were pinned already, and not read.
    Unread,
}

async fn resolve_base(
    request: &LockRequest<'_>,
    kept: Option<&Lock>,
    sources: &dyn Sources,
) -> Result<FoundBase, LockError> {
    let Some(base) = &request.spec.base else {
        return Ok(FoundBase {
            locked: None,
            is_other: kept.is_some_and(|lock| lock.base.is_some()),
            newest: Newest::Of(None),
        });
    };
    let same = kept
        .filter(|lock| lock.has_base_of(request.spec))
        .and_then(|lock| lock.base.as_ref());
    let is_named = request.update.named().is_some_and(|names| names.base);
    let kept = same.filter(|_| !is_named);
    let replaced = replaced_files(request, base, kept).await?;
    let is_other = same.is_none() || !replaced.is_empty();
    let mut platforms: BTreeMap<_, _> = kept.map(|kept| kept.platforms.clone()).unwrap_or_default();
    let wanted: BTreeSet<_> = request.spec.platforms().collect();
    platforms.retain(|platform, _| wanted.contains(platform) && !replaced.contains(platform));
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|platform| !platforms.contains_key(platform))
        .cloned()
        .collect();
    if let (Some(kept), []) = (kept, &missing[..]) {
        let source = kept.source.clone();
        return Ok(FoundBase {
            locked: Some(LockedBase { source, platforms }),
            is_other,
            newest: Newest::Unread,
        });
    }
    if let Some(locked) = kept
        .is_none()
        .then(|| base_of_sibling(request, is_named))
        .flatten()
    {
        return Ok(FoundBase {
            locked: Some(locked),
            is_other,
            newest: Newest::Unread,
        });
    }
    let is_whole = platforms.is_empty();
    let resolved = resolve_platforms(
        Wanted {
            request,
            base,
            platforms: missing,
            pinned: kept.and_then(pinned_digest),
        },
        sources,
    )
    .await?;
    let found = resolved.platforms.into_iter();
    platforms.extend(found.map(|(platform, locked)| (platform, Located::nowhere(locked))));
    let source = Located::nowhere(resolved.source);
    Ok(FoundBase {
        locked: Some(LockedBase { source, platforms }),
        is_other,
        newest: if is_whole {
            Newest::Of(resolved.created)
        } else {
            Newest::Unread
        },
    })
}

/// The base image as another lock of the workspace pins it for all platforms of the spec. Files and layouts are not shared:
/// their paths begin at each image's own directory.
fn base_of_sibling(request: &LockRequest<'_>, is_named: bool) -> Option<LockedBase> {
    if is_named || request.update == Update::All {
        return None;
    }
    let pins = |lock: &&&Lock| lock.has_base_of(request.spec);
    let bases = request
        .siblings
        .iter()
        .filter(pins)
        .filter_map(|lock| lock.base.as_ref());
    let mut images = bases.filter(|base| matches!(base.source.value, LockedSource::Image { .. }));
    images.find_map(|base| {
        let of_platform = |platform: &Platform| {
            let (platform, locked) = base.platforms.get_key_value(platform)?;
            Some((platform.clone(), locked.clone()))
        };
        let platforms = request.spec.platforms().map(of_platform).collect::<Option<_>>()?;
        let source = base.source.clone();
        Some(LockedBase { source, platforms })
    })
}

async fn resolve_platforms(wanted: Wanted<'_>, sources: &dyn Sources) -> Result<ResolvedBase, LockError> {
    let base = wanted.base;
    match &base.source.value {
        BaseSource::RootFs(path) => rootfs::resolve(wanted, path).await,
        BaseSource::Image(reference) => image::resolve_image(wanted, reference, sources).await,
        BaseSource::Layout { directory, tag } => image::resolve_layout(wanted, directory, tag.as_ref()).await,
        BaseSource::Archive { file, name } => image::resolve_archive(wanted, file, name.as_deref()).await,
    }
}

/// For which platforms a root file system or an archive of images does not hold any more what is pinned. A build says so
/// itself, and does not move the pin: only whoever may replace pins looks.
async fn replaced_files(
    request: &LockRequest<'_>,
    base: &Base,
    kept: Option<&LockedBase>,
) -> Result<BTreeSet<Platform>, LockError> {
    let Some(kept) = kept.filter(|_| request.update != Update::AddMissing) else {
        return Ok(BTreeSet::new());
    };
    let pinned = request.spec.platforms().filter_map(|platform| {
        let locked = kept.platforms.get(platform)?;
        Some((platform.clone(), locked.value.origin.digest()))
    });
    let mut pinned: BTreeMap<Platform, Digest> = pinned.collect();
    let found = match &base.source.value {
        BaseSource::RootFs(template) => {
            let mut found = BTreeMap::new();
            for platform in pinned.keys() {
                let path = request.directory.join(template.expand(platform));
                found.insert(platform.clone(), rootfs::digest(path).await?);
            }
            found
        }
        BaseSource::Archive { file, name } => {
            let wanted = Wanted {
                request,
                base,
                platforms: pinned.keys().cloned().collect(),
                pinned: None,
            };
            image::archived(wanted, file, name.as_deref()).await?
        }
        BaseSource::Image(_) | BaseSource::Layout { .. } => return Ok(BTreeSet::new()),
    };
    pinned.retain(|platform, digest| found.get(platform) != Some(digest));
    Ok(pinned.into_keys().collect())
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
    if lock.dated_by_spec {
        pins.insert("what created comes from".to_owned(), "the spec".to_owned());
    }
    for (layer, borders) in &lock.splits {
        pins.insert(
            format!("the borders of the layer {layer}"),
            borders::text(&borders.value),
        );
    }
    for (url, locked) in &lock.fetched {
        pins.insert(url.clone(), locked.value.digest.to_string());
    }
    for (platform, packages) in lock
        .packages
        .iter()
        .flat_map(|packages| &packages.value.platforms)
    {
        for found in &packages.value {
            let package = &found.package;
            let (name, architecture) = (package.name(), package.architecture());
            let subject = format!("the package {name}:{architecture} for {platform}");
            pins.insert(subject, package.version().to_owned());
        }
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
