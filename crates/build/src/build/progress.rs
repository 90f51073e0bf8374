//! What a build says while it works.

use cairn_oci::{Descriptor, Platform};

use super::{BuiltLayer, BuiltPlatform};

/// Hears of each step when it is done. Nothing that it does changes the result.
pub trait Progress: Send + Sync {
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
