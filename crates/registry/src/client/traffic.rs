//! What was moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much was moved to and from a registry: content, without the protocol's own bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of blobs and manifests that were sent, also by attempts that failed.
    pub uploaded_bytes: u64,
    /// Bytes of blobs, manifests and lists that were received.
    pub downloaded_bytes: u64,
    /// Blobs that were sent whole; those that were there, or mounted, do not count.
    pub uploaded_blobs: u64,
}

/// Counts traffic, here and in the total.
#[derive(Debug, Default)]
pub(super) struct Meter {
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
    uploaded_blobs: AtomicU64,
    total: Option<Arc<Self>>,
}

impl Meter {
    pub(super) fn under(total: Arc<Self>) -> Self {
        Self {
            total: Some(total),
            ..Self::default()
        }
    }

    pub(super) fn uploaded(&self, bytes: u64) {
        self.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.uploaded(bytes);
        }
    }

    pub(super) fn downloaded(&self, bytes: u64) {
        self.downloaded_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.downloaded(bytes);
        }
    }

    pub(super) fn uploaded_blob(&self) {
        self.uploaded_blobs.fetch_add(1, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.uploaded_blob();
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            uploaded_bytes: self.uploaded_bytes.load(Ordering::Relaxed),
            downloaded_bytes: self.downloaded_bytes.load(Ordering::Relaxed),
            uploaded_blobs: self.uploaded_blobs.load(Ordering::Relaxed),
        }
    }
}
