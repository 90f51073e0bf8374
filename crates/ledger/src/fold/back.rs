//! Rollbacks: back along the trail, and a hold.

use super::access::Access;
use super::{Outcome, Step, Subject, Verdict, Why};
use crate::entry::Move;
use crate::state::{Hold, Shown};

impl Step<'_> {
    /// A rollback moves, and holds whatever becomes of its move.
    pub(super) fn rollback(&mut self) -> Outcome {
        let moves = self.record.entry.moves.clone();
        let mut effects = Vec::new();
        for one in &moves {
            let left = self.state.shows(&one.channel).cloned();
            // Whether it may hold does not depend on what it shows; and must be known before it shows it.
            let (access, to_hold) = (self.access_to_show(&one.channel), self.access_on(&one.channel));
            let verdict = self.judge_rollback(one, access);
            self.note_wish(one, verdict);
            if verdict.stands() {
                self.move_back(one);
            }
            self.mark(access, verdict);
            effects.push((Subject::Channel(one.channel.clone()), verdict));
            if self.record.entry.hold == Some(true) {
                let verdict = self.hold(one, left, to_hold);
                self.mark(to_hold, verdict);
                effects.push((Subject::Hold(one.channel.clone()), verdict));
            }
        }
        Outcome { effects }
    }

    fn judge_rollback(&self, one: &Move, access: Access) -> Verdict {
        let last = self
            .channel(&one.channel)
            .and_then(|channel| channel.last.as_ref());
        // The safe direction wins: a forward move made against the same state does not overtake it.
        let wins = last.is_some_and(|last| last.kind.is_forward() && last.after == one.after);
        let after = || match wins {
            true => Verdict::Effect,
            false => self.judge_after(one),
        };
        let allowed = access.judge();
        allowed
            .and_then(after)
            .and_then(|| self.judge_target())
            .and_then(|| self.judge_floor(&one.channel))
    }

    fn move_back(&mut self, one: &Move) {
        let (Some(next), touch) = (self.shown(), self.touch(one)) else {
            return;
        };
        self.cut_trail(one);
        let channel = self.channel_mut(&one.channel);
        channel.show(next);
        channel.last = Some(touch);
    }

    /// Cuts the trail at the entry's digest; what is left is never pushed. False if the digest is not on it.
    pub(super) fn cut_trail(&mut self, one: &Move) -> bool {
        let digest = self.entry().digest;
        let channel = self.channel_mut(&one.channel);
        // What it never showed is not on its trail, however long that is.
        if !digest.is_some_and(|digest| channel.has_shown(&digest)) {
            return false;
        }
        let on_trail = |shown: &Shown| Some(shown.digest) == digest;
        let Some(at) = channel.trail.iter().rposition(on_trail) else {
            return false;
        };
        channel.trail.truncate(at);
        true
    }

    fn hold(&mut self, one: &Move, left: Option<Shown>, access: Access) -> Verdict {
        let Some(by) = access.key() else {
            return Verdict::void(Why::NotAllowed);
        };
        let entry = &self.record.entry;
        let hold = Hold {
            entry: self.record.name,
            by,
            actor: entry.actor.clone(),
            at: entry.at,
            reason: entry.reason.clone(),
            left,
        };
        let touch = self.touch(one);
        let channel = self.channel_mut(&one.channel);
        channel.hold = Some(hold);
        channel.last = Some(touch);
        Verdict::Effect
    }
}
