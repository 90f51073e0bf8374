//! What is moved to: it must be what it is called, and may be shown.

use cairn_oci::Digest;

use super::{Step, Verdict, Why};
use crate::entry::{Kind, Move};
use crate::name::Version;
use crate::state::{Binding, ChannelState, Standing};

impl Step<'_> {
    /// What is moved to must have been released, and neither barred nor pruned since.
    pub(super) fn judge_target(&self) -> Verdict {
        let entry = self.entry();
        let Some(digest) = entry.digest else {
            return Verdict::void(Why::UnknownVersion);
        };
        if let Some(refused) = entry.from.as_ref().and_then(|from| self.slot_moved(from, digest)) {
            return refused;
        }
        let named = match &entry.version {
            Some(version) => self.judge_version(version, digest),
            None if self.state.is_barred(&digest) => Verdict::void(Why::Yanked),
            None if self.is_known(&digest) => Verdict::Effect,
            None => Verdict::void(Why::UnknownVersion),
        };
        named.and_then(|| self.judge_kept(digest))
    }

    /// Whether the image is kept.
    fn judge_kept(&self, digest: Digest) -> Verdict {
        match self.state.pruned.get(&digest) {
            Some(entry) => Verdict::void_by(Why::Pruned, Some(*entry)),
            None => Verdict::Effect,
        }
    }

    /// A switch takes what its author saw on the slot, and nothing that came there since.
    fn slot_moved(&self, from: &Move, digest: Digest) -> Option<Verdict> {
        let slot = self.channel(&from.channel);
        let shows = slot.and_then(|slot| slot.shows.as_ref());
        let last = slot.and_then(ChannelState::last_entry);
        let is_as_seen = shows.is_some_and(|shown| shown.digest == digest) && last == from.after;
        (!is_as_seen).then(|| Verdict::void_by(Why::SlotMoved, last))
    }

    fn judge_version(&self, version: &Version, digest: Digest) -> Verdict {
        match self.state.versions.get(version).map(Binding::standing) {
            Some(Standing::Named(bound)) if bound.digest == digest => Verdict::Effect,
            Some(Standing::Yanked(bound)) if bound.digest == digest => {
                Verdict::void_by(Why::Yanked, bound.yanked)
            }
            Some(Standing::Contested) => Verdict::void(Why::Contested),
            _ => Verdict::void(Why::UnknownVersion),
        }
    }

    /// Without a version: what was released or shown; and what is brought in from outside need not be known.
    fn is_known(&self, digest: &Digest) -> bool {
        let mut channels = self.state.channels.values();
        matches!(self.entry().kind, Kind::Adopt | Kind::Record)
            || self.state.versions_of(digest).next().is_some()
            || channels.any(|channel| channel.has_shown(digest))
    }
}
