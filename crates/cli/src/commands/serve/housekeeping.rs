//! What the server does for its store beside serving it: abandoned uploads and garbage go.

use std::time::Duration;

use cairn_registry::server::Metrics;
use cairn_store::{Directory, Store};
use tokio::time::Instant;

use crate::collecting::{self, Wish};
use crate::failure::Failure;
use crate::program::Cairn;
use crate::terminal::bytes;

/// Longest pause between two looks at abandoned uploads.
const EXPIRY_PAUSE: Duration = Duration::from_secs(3600);

/// When to collect garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How often.
    pub every: Duration,
    /// What was touched within this time is kept.
    pub grace: Duration,
}

/// Removes uploads, and what interrupted writes left, that nobody has touched for `life`.
///
/// # Errors
///
/// The file that could not be removed.
pub async fn expire_uploads(
    cairn: &Cairn,
    store: &Directory,
    life: Duration,
    metrics: &Metrics,
) -> Result<(), Failure> {
    for name in collecting::names(store).await? {
        let removed = collecting::expire(cairn, store, &name, life).await?;
        metrics.count_expired(removed);
        if removed > 0 {
            let line = format!("{name}: {removed} abandoned uploads removed");
            cairn.terminal.detail(line);
        }
    }
    Ok(())
}

/// Removes abandoned uploads again and again. What fails is said, and tried again the next time.
pub async fn keep_expiring(cairn: &Cairn, store: &Directory, life: Duration, metrics: &Metrics) {
    loop {
        tokio::time::sleep(EXPIRY_PAUSE.min(life)).await;
        if let Err(failure) = expire_uploads(cairn, store, life, metrics).await {
            complain(cairn, "abandoned uploads were not removed", &failure);
        }
    }
}

/// Collects garbage again and again, if there is a schedule.
pub async fn keep_collecting(
    cairn: &Cairn,
    store: &Directory,
    schedule: Option<Schedule>,
    metrics: &Metrics,
) {
    let Some(Schedule { every, grace }) = schedule else {
        return std::future::pending().await;
    };
    // Whoever holds a ledger's key may say that an image is no longer kept; to take the seal off is for the owner of the store.
    let wish = Wish {
        grace,
        pruned: false,
        dry_run: false,
    };
    loop {
        tokio::time::sleep(every).await;
        let begun = Instant::now();
        let rows = match collecting::collect(cairn, wish).await {
            Ok(rows) => rows,
            Err(failure) => {
                complain(cairn, "garbage was not collected", &failure);
                continue;
            }
        };
        let files: u64 = rows
            .iter()
            .map(|row| row.collected.manifests + row.collected.blobs)
            .sum();
        let size: u64 = rows.iter().map(|row| row.collected.bytes).sum();
        metrics.count_collected(files, size);
        metrics.count_expired(rows.iter().map(|row| row.uploads).sum());
        cairn.terminal.detail(format!(
            "garbage: {files} files, {} removed in {:.1} s",
            bytes(size),
            begun.elapsed().as_secs_f64()
        ));
        if let Err(error) = store.flush().await {
            complain(cairn, "index.json is not up to date", &error.into());
        }
    }
}

fn complain(cairn: &Cairn, what: &str, failure: &Failure) {
    let failure = failure.to_string();
    cairn.terminal.warn(format!("{what}: {}", failure.trim_end()));
}
