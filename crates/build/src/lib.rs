//! From spec over lock to image.
//!
//! ```text
//!   cairn.toml ── Spec::parse ──▶ Spec ─┬─ resolve_lock ──▶ Lock ──▶ cairn.lock
//!                                       │       ▲
//!                                       │    Sources (registries, layouts)
//!                                       ▼
//!                         Spec + Lock ── build ──▶ blobs and manifests in a Repository
//!                                          ▲
//!                                       Inputs (only what the lock names)
//! ```
//!
//! Nothing here knows a network, the environment, the clock or the working directory: locking asks [`Sources`],
//! a build asks [`Inputs`], and both are handed in. So the same spec, lock and files give the same bytes.

#![expect(
    clippy::result_large_err,
    reason = "errors name their subjects with digests and causes, and none of them is on a hot path"
)]

mod blocking;
pub mod build;
pub mod build_record;
mod debian_name;
pub mod diff;
pub mod dockerfile;
mod document;
pub mod finding;
pub mod inputs;
pub mod lock;
pub mod records;
pub mod resolve;
pub mod segments;
pub mod spec;
mod split;
mod template;
pub mod verify;
pub mod workspace;

pub use build::check::check;
pub use build::{
    BuildError, BuildRequest, Built, BuiltLayer, BuiltPlatform, Progress, Silent, Warning, build,
};
pub use build_record::{BuildRecord, RecordError, RecordedSpec, ReleasedLayer, Releases};
pub use finding::{Finding, Located};
pub use inputs::{
    DebianSources, FetchError, Fetcher, Inputs, Nowhere, RepositoryInputs, SignedSource, Sources,
};
pub use lock::{Lock, LockedPackage, WorkspaceLock};
pub use records::Records;
pub use resolve::{
    Dates, LockChange, LockError, LockRequest, PinChange, PinNames, UnknownPin, Update, resolve_lock,
};
pub use segments::{SegmentCounts, SegmentDirectory};
pub use spec::Spec;
pub use template::template;
pub use verify::{Report, VerifyError, verify_image};
pub use workspace::Workspace;
