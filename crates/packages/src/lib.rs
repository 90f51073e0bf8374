//! Operating-system packages.
//!
//! - What a base has installed is read from its own records and goes into the lock's listing of the base: an
//!   [`Installed`] for each package.
//! - [`debian`] reads archives, believing nothing that is not signed by a key that is trusted ([`openpgp`]), and finds what has to be
//!   there for what is asked for.
//! - [`deb`] reads a package's file: a [`deb::Archive`], checked to its last byte.
//! - [`image`] puts packages together and cuts them into layers: [`image::assemble`]. What their scripts would have done and an
//!   image needs is done from tables.
//!
//! Nothing here runs a package's script, and nothing asks a mirror: downloading goes through [`debian::Fetch`].

mod control;
pub mod deb;
pub mod debian;
pub mod image;
mod installed;
pub mod openpgp;
pub mod status;

pub use installed::{Installed, InstalledError};

#[cfg(test)]
mod sample;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
