//! Operating-system packages.
//!
//! What a base has installed is read from its own records and goes into the lock's listing of the base: an
//! [`Installed`] for each package. Nothing here runs a package's script or asks a mirror.

mod control;
pub mod deb;
mod installed;
pub mod status;

pub use installed::{Installed, InstalledError};

#[cfg(test)]
mod sample;
