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

mod document;
pub mod finding;
pub mod spec;

pub use finding::{Finding, Located};
pub use spec::Spec;
