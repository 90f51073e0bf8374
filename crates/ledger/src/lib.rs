//! Entries, heads, view, fold and trust: the signed history of releases.
//!
//! A ledger lives beside the images it speaks of, as OCI artifacts in any [`cairn_store::Repository`]. It is small, and everybody reads
//! and verifies all of it, so that no state that somebody else computed is ever believed.
//!
//! ```text
//!   cli ──▶ operation ──▶ plan (pure) ──▶ append ──▶ project
//!             │ query, audit                │           │
//!             ▼                             ▼           ▼
//!           open ──▶ view ──▶ fold ──▶   cairn-head   tags, referrers
//!                     │       (pure)
//!                     ▼
//!             head ▶ pack ▶ envelope ▶ entry ▶ key
//! ```
//!
//! Two rules hold everywhere: what was signed is stored and never serialised again; and there is no clock and no randomness
//! here, both come in with a [`Context`].
//!
//! The format and the table of the fold's rules are in `docs/ledger-format.md`.

#![expect(
    clippy::result_large_err,
    reason = "errors name their subjects with digests and positions, and none of them is on a hot path"
)]

pub mod append;
pub mod audit;
pub mod authority;
pub mod base;
pub mod build_record;
mod causal;
pub mod class;
mod content;
pub mod copy;
pub mod entry;
pub mod envelope;
pub mod finding;
pub mod fold;
pub mod head;
pub mod image;
mod keep;
pub mod key;
pub mod memory;
pub mod name;
pub mod open;
pub mod operation;
pub mod pack;
pub mod project;
pub mod query;
mod reading;
pub mod referrer;
mod shorten;
pub mod state;
mod time;
pub mod trust;
mod verify;
pub mod view;
pub mod waiting;
mod walk;

pub use append::{Commit, CommitError};
pub use authority::Authority;
pub use class::Class;
pub use content::ContentError;
pub use copy::{Copied, CopyError, CopyOptions};
pub use entry::{Actor, Entry, EntryName, How, Kind, Mode, Run, Source};
pub use finding::Finding;
pub use key::{Fingerprint, LocalKey, PublicKey, Signer};
pub use memory::Remembered;
pub use name::{Channel, ChannelError, Version, VersionError};
pub use open::{Ledger, OpenError, Opened};
pub use operation::{
    AdoptRequest, Adopted, Context, Done, OperationError, PromoteRequest, RecordRequest, ReleaseRequest,
    Repaired, RollbackRequest, RollbackTarget, SwitchRequest, YankRequest,
};
pub use project::ProjectError;
pub use state::State;
pub use trust::{HowTrusted, Pin, TrustPolicy};
