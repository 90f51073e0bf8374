//! Breaking the glass: what an unlisted key did in effect is marked, until somebody who may ratifies it.

use super::access::Access;
use super::{Outcome, Record, Step, Subject, Verdict, Why};
use crate::entry::Kind;
use crate::key::Fingerprint;
use crate::name::Channel;
use crate::state::{Glass, State};

impl Step<'_> {
    /// Marks the entry if an effect stands by the right of an unlisted key.
    pub(super) fn mark(&mut self, access: Access, verdict: Verdict) {
        if let (Access::Glass(key), Verdict::Effect) = (access, verdict) {
            let glass = Glass {
                position: self.position,
                key,
                ratified: None,
            };
            self.state.glass.insert(self.record.name, glass);
        }
    }

    pub(super) fn ratify(&mut self) -> Outcome {
        let verdict = self.judge_ratify();
        let glass = self
            .record
            .entry
            .ratifies
            .and_then(|name| self.state.glass.get_mut(&name));
        if let (Verdict::Effect, Some(glass)) = (verdict, glass) {
            glass.ratified = Some(self.record.name);
        }
        Outcome::of(Subject::Entry, verdict)
    }

    fn judge_ratify(&self) -> Verdict {
        let entry = self.entry();
        let Some(glass) = entry.ratifies.and_then(|name| self.state.glass.get(&name)) else {
            return Verdict::void(Why::NoGlass);
        };
        // Also when it was listed since: nobody accepts what they did themselves.
        let may = |key: &Fingerprint| {
            *key != glass.key && self.state.authority.may(key, &entry.kind, None, entry.at)
        };
        if !self.record.signers.iter().any(may) {
            return Verdict::void(Why::NotAllowed);
        }
        match glass.ratified {
            Some(earlier) => Verdict::void_by(Why::Ratified, Some(earlier)),
            None => Verdict::Effect,
        }
    }
}

impl State {
    /// Whether the rules of `channel` let an unlisted key make entries of `kind`.
    #[must_use]
    pub fn allows_glass(&self, channel: &Channel, kind: &Kind) -> bool {
        let rules = self.rules.channels.get(channel);
        rules.is_some_and(|rules| kind.may_break_glass() && rules.glass.contains(kind))
    }

    /// Whether an entry that stands only in somebody else's head is taken into the view: one of its keys is listed, or
    /// the rules of a channel that it is about let an unlisted key do it.
    #[must_use]
    pub fn takes_in(&self, record: &Record) -> bool {
        let entry = &record.entry;
        let may = |key: &Fingerprint| self.authority.may_write_heads(key, entry.at);
        let unlisted = entry.glass.as_ref().map(crate::key::PublicKey::fingerprint);
        let unlisted = unlisted.filter(|key| record.signers.contains(key) && !self.authority.knows(key));
        let mut channels = entry.moves.iter().map(|one| &one.channel);
        record.signers.iter().any(may)
            || (unlisted.is_some() && channels.any(|channel| self.allows_glass(channel, &entry.kind)))
    }
}
