//! What the command line calls: initialise, release, promote, switch, roll back, resume, yank, adopt, record, repair.
//!
//! Each of them first plans, purely and from the state alone ([`plan`]); then checks what the plan stands on (key, tags,
//! blobs); appends at most one entry; and completes the projections of what was named, also when there was nothing to append.

use std::collections::BTreeSet;

use cairn_oci::Digest;
use jiff::Timestamp;

pub mod adopt;
mod approve;
pub mod carry;
mod error;
mod govern;
mod initialise;
pub mod plan;
pub mod prune;
mod repair;
mod run;

pub use adopt::{AdoptRequest, Adopted};
pub use approve::Approved;
pub use error::{Blocked, Obstacle, OperationError};
pub use govern::{Governed, KeyChange, changed as changed_keys};
pub use initialise::Initialised;
pub use plan::{Note, Plan, PlannedMove};
pub use prune::{DropError, Dropped, Pruned, Pruning, Retention, Unseal};
pub use repair::Repaired;
pub(crate) use run::is_at_home;

use crate::entry::{Actor, EntryName, Kind, Mode, Run, Source};
use crate::image::Parts;
use crate::key::Signer;
use crate::memory::Remembered;
use crate::name::{Channel, Version};
use crate::open::Opened;
use crate::state::Shown;

/// Everything that an entry says beside what it does. The clock and the randomness of this crate are here.
#[derive(Clone)]
pub struct Context<'a> {
    /// Who signs.
    pub signer: &'a dyn Signer,
    /// Now.
    pub at: Timestamp,
    /// 16 random bytes, new for each operation.
    pub nonce: [u8; 16],
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
    /// From which source the image was made.
    pub source: Option<Source>,
    /// In which run of a pipeline.
    pub run: Option<Run>,
    /// Whether a key that the ledger does not list may sign where the rules of a channel allow it.
    pub break_glass: bool,
}

/// A release that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRequest {
    /// The new version.
    pub version: Version,
    /// The manifest or index, which must be in the images' repository with everything that it needs.
    pub digest: Digest,
    /// Channels to be moved to it.
    pub channels: BTreeSet<Channel>,
    /// Lifts the hold of these channels.
    pub resume: bool,
    /// Digest of the build record, a blob kept with the ledger.
    pub record: Option<Digest>,
}

/// A promotion that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromoteRequest {
    /// A version that was released.
    pub version: Version,
    /// Channels to be moved to it.
    pub channels: BTreeSet<Channel>,
    /// Lifts the hold of these channels.
    pub resume: bool,
}

/// A rollback that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackRequest {
    /// The channel.
    pub channel: Channel,
    /// Where to; absent: the nearest on its trail that is not barred.
    pub target: Option<RollbackTarget>,
    /// Only if the channel still shows this; and then also if the last thing that happened to it is a rollback.
    pub leave: Option<Version>,
    /// Does not hold the channel.
    pub no_hold: bool,
}

/// A live channel that is to take what a slot shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRequest {
    /// The live channel.
    pub live: Channel,
    /// The channel whose digest it takes.
    pub slot: Channel,
    /// Lifts the hold of the live channel.
    pub resume: bool,
}

/// A version that is to be barred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YankRequest {
    /// Which version.
    pub version: Version,
    /// As which image, where it was released as several.
    pub digest: Option<Digest>,
}

/// A channel whose tag somebody moved by hand, and what it shows now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRequest {
    /// The channel.
    pub channel: Channel,
    /// What its tag shows.
    pub found: Digest,
}

/// Where a channel is to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackTarget {
    /// What was released as this version.
    Version(Version),
    /// This manifest or index; or what the entry of this name made the channel show.
    Digest(Digest),
}

/// An entry that is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its position; in causal mode only the name is stable.
    pub seq: u64,
    /// Its name.
    pub name: EntryName,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was asked for.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// Whether anything was appended.
    pub changed: bool,
    /// The entry that was appended.
    pub entry: Option<Appended>,
    /// The version that it is about: for a rollback, the one that the channel shows now.
    pub version: Option<Version>,
    /// The digest that it is about. None only after `resume` and where there was nothing to do.
    pub digest: Option<Digest>,
    /// The channels that were named.
    pub channels: Vec<ChannelDone>,
    /// How the entry was appended.
    pub mode: Mode,
    /// What was checked before a rollback.
    pub checked: Option<Parts>,
    /// What there is to say about it.
    pub notes: Vec<Note>,
    /// The ledger as it is now.
    pub opened: Opened,
}

/// What a plan would find.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// Channels whose tags show what the ledger does not say, and would show it no more.
    pub overwrites: Vec<(Channel, Overwrote)>,
    /// What there is of the image that would be shown, all of it; none if nothing would be.
    pub checked: Option<Parts>,
}

impl Done {
    /// What is to be remembered from now on.
    #[must_use]
    pub fn remember(&self) -> Option<Remembered> {
        self.opened.remember()
    }
}

/// What became of a channel that was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelDone {
    /// Which channel.
    pub channel: Channel,
    /// What it showed before.
    pub previous: Option<Shown>,
    /// What it shows now.
    pub now: Option<Shown>,
    /// Whether it is held now.
    pub held: bool,
    /// Whether its tag is known to show that.
    pub projected: bool,
    /// What its tag showed instead of what the ledger said, and shows no more: somebody's hand put it there, or it was left by a run
    /// that was cut off.
    pub overwrote: Option<Overwrote>,
}

/// What a channel's tag showed, and the ledger did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwrote {
    /// Which manifest or index. The channel showed it once, or somebody wanted it to.
    pub digest: Digest,
    /// As which version.
    pub version: Option<Version>,
}

impl ChannelDone {
    /// Whether it shows something else than before.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.previous.as_ref().map(|shown| shown.digest) != self.now.as_ref().map(|shown| shown.digest)
    }
}
