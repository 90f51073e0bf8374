//! Where content lives.
//!
//! One repository (a name such as `team/web`) holds blobs, manifests, tags and referrers. Everything that reads
//! or writes images does it through one trait, [`Repository`], and one function, `conformance::check`, is run
//! against every implementation of it: the ones here ([`Directory`], [`Memory`]) and the client of
//! `cairn-registry` against servers of ours and of others.
//!
//! A [`Store`] is a set of repositories by name, with resumable uploads: what a registry server serves.
//!
//! ```text
//!   cli, build, ledger ──▶ Repository ◀── registry::client::Remote
//!                            ▲    ▲
//!                     Directory  Memory
//!                            ▲    ▲
//!   registry::server ──▶     Store
//! ```

pub mod archive;
mod blobs;
mod blocking;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod directory;
pub mod error;
pub mod examine;
pub mod files;
pub mod layout;
pub mod memory;
pub mod mirror;
pub mod overlay;
pub mod repository;
pub mod store;
pub mod stream;
pub mod transfer;

pub use archive::Archive;
pub use directory::{Collected, Collection, Directory, DirectoryRepository, Partial};
pub use error::RepositoryError;
pub use layout::Layout;
pub use memory::Memory;
pub use mirror::{Mirror, Mirrored, Upstream};
pub use overlay::Overlay;
pub use repository::{
    Blob, Capabilities, Condition, Page, RawManifest, Referrers, ReferrersPage, Repository, TagPage, Target,
    Turn, Written,
};
pub use store::{Store, UploadError, UploadId};
pub use stream::{BlobSource, ByteStream, ReadBytes, collect, from_bytes, verified};
