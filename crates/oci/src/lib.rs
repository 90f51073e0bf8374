//! What images are made of: digests, references, descriptors, manifests, platforms.
//!
//! This crate is pure: it reads bytes and gives values, and values give bytes. It opens no file
//! and no connection, so everything above it can share one vocabulary.
//!
//! Two rules hold for every document:
//!
//! - What was received keeps the bytes as they were received. A parsed [`Manifest`] is a view; whoever
//!   stores or forwards it uses the bytes, never a new serialisation.
//! - What Cairn creates goes through [`json::canonical`], the one serialiser (RFC 8785).
//!
//! The names follow the OCI image specification 1.1. Media types, operating systems, architectures and
//! annotation keys come from the `oci-spec` crate; its document types are not serialised, because they keep
//! labels and annotations in hash maps.

pub mod annotations;
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod json;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod platform;
pub mod reference;
pub mod text;

pub use config::ImageConfig;
pub use descriptor::Descriptor;
pub use digest::{Digest, Hasher};
pub use manifest::{Document, Index, Manifest};
pub use media_type::MediaType;
pub use name::{RepositoryName, Tag};
pub use platform::Platform;
pub use reference::Reference;
