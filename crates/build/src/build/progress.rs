//! What a build says while it works.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cairn_oci::{Descriptor, Platform};

use super::{BuiltLayer, BuiltPlatform};

/// Hears of each step. Nothing that it does changes the result.
pub trait Progress: Send + Sync {
    /// Where every byte that is read of local files is to be counted.
    fn counter(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// So many own layers will be in the images of all platforms.
    fn planned(&self, layers: usize) {
        let _ = layers;
    }

    /// The files of an own layer, `bytes` together, are about to be read.
    fn writing(&self, layer: &str, bytes: u64) {
        let _ = (layer, bytes);
    }

    /// A layer of the base is in the output; `reused`: it was there, or nearby.
    fn base_layer(&self, platform: &Platform, layer: &Descriptor, reused: bool) {
        let _ = (platform, layer, reused);
    }

    /// An own layer is in the output.
    fn layer(&self, platform: &Platform, layer: &BuiltLayer) {
        let _ = (platform, layer);
    }

    /// An image is in the output.
    fn image(&self, image: &BuiltPlatform) {
        let _ = image;
    }
}

/// Does not listen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
