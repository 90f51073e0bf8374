//! How many blobs go to one registry at once, and that none of them goes twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cairn_oci::{Digest, RepositoryName};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, SemaphorePermit};

type Running = BTreeMap<(RepositoryName, Digest), Weak<AsyncMutex<()>>>;

/// The uploads to one registry.
#[derive(Debug)]
pub(in crate::client) struct Gate {
    slots: Semaphore,
    running: Mutex<Running>,
}

impl Gate {
    pub(in crate::client) fn new(slots: usize) -> Self {
        Self {
            slots: Semaphore::new(slots.max(1)),
            running: Mutex::default(),
        }
    }

    /// Waits until nobody else uploads this blob to this repository.
    pub(super) async fn alone(&self, name: &RepositoryName, digest: &Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|_, turn| turn.strong_count() > 0);
            let key = (name.clone(), *digest);
            running.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
                let new = Arc::default();
                running.insert(key, Arc::downgrade(&new));
                new
            })
        };
        turn.lock_owned().await
    }

    /// Waits until one of the slots is free. `None` never comes: nobody closes them.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_the_same_blob_of_the_same_repository_waits() {
        let gate = Gate::new(1);
        let (a, b): (RepositoryName, RepositoryName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let first = gate.alone(&a, &one).await;
        let others = (gate.alone(&b, &one).await, gate.alone(&a, &two).await);
        let mut second = Box::pin(gate.alone(&a, &one));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop((second.await, others));
        // What is over is forgotten.
        let _last = gate.alone(&b, &two).await;
        assert_eq!(gate.running.lock().unwrap().len(), 1);
    }
}
