//! What URLs give, for the lock.

use std::collections::BTreeMap;

use cairn_oci::Platform;

use super::{LockError, LockRequest};
use crate::build::{Failed, Fetched, Keeping};
use crate::finding::Located;
use crate::inputs::{Missing, Sources};
use crate::lock::{Lock, LockedFetch};

/// The pins that are there already, and new ones for what is not: each of those is asked for once, so that nothing is
/// pinned that nobody has seen.
pub(super) async fn resolve(
    request: &LockRequest<'_>,
    kept: Option<&Lock>,
    sources: &dyn Sources,
) -> Result<BTreeMap<String, Located<LockedFetch>>, LockError> {
    let mut fetched = BTreeMap::new();
    let mut missing = Missing::default();
    let named = request.update.named();
    for (url, digest) in request.spec.fetched() {
        let kept = kept.filter(|_| named.is_none_or(|names| !names.fetched.contains(&url)));
        let pinned = kept.and_then(|kept| kept.fetched.get(&url));
        let locked = match pinned.filter(|pinned| pinned.value.digest == digest) {
            Some(pinned) => pinned.clone(),
            None => {
                let found = missing.note(sources.fetch(&url, &digest, None).await);
                let Some(found) = found.map_err(|source| LockError::Fetch { source })? else {
                    continue;
                };
                let size = found.size;
                Located::nowhere(LockedFetch { digest, size })
            }
        };
        fetched.insert(url, locked);
    }
    let all_here = missing.into_error();
    all_here.map_err(|source| LockError::Fetch { source })?;
    Ok(fetched)
}

/// Everything that the layers take from URLs, on all platforms.
pub(super) async fn all(
    request: &LockRequest<'_>,
    lock: &Lock,
    sources: &dyn Sources,
) -> Result<Fetched, LockError> {
    let platforms: Vec<Platform> = request.spec.platforms().cloned().collect();
    let keeping = Keeping {
        scratch: request.scratch,
        limits: &request.limits,
        fetcher: sources,
        threads: request.engine.threads,
    };
    let fetched = Fetched::all(request.spec, lock, &platforms, BTreeMap::new(), keeping).await;
    fetched.map_err(|failed| match failed {
        Failed::Spec(findings) => LockError::Spec { findings },
        Failed::Fetch(source) => LockError::Fetch { source },
        Failed::Package(source) => LockError::Package { source },
    })
}
