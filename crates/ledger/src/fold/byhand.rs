//! Records: what somebody's hand put on a channel's tag is accepted as it is.

use super::access::Access;
use super::{Outcome, Step, Subject, Verdict};
use crate::entry::Move;

impl Step<'_> {
    /// It states what is there, so that nothing that would keep a move away does: no hold, freeze or origin.
    pub(super) fn by_hand(&mut self) -> Outcome {
        let moves = self.record.entry.moves.clone();
        let mut effects = Vec::new();
        for one in &moves {
            let access = self.access_to_show(&one.channel);
            let verdict = self.judge_by_hand(one, access);
            self.note_wish(one, verdict);
            if verdict.stands() {
                self.accept(one);
            }
            effects.push((Subject::Channel(one.channel.clone()), verdict));
        }
        Outcome { effects }
    }

    fn judge_by_hand(&self, one: &Move, access: Access) -> Verdict {
        self.judge_turn(one, access)
            .and_then(|| self.judge_target())
            .and_then(|| self.judge_floor(&one.channel))
    }

    /// Back on the trail it is a rollback by hand; else what was shown is pushed. A hold stays.
    fn accept(&mut self, one: &Move) {
        if !self.cut_trail(one) {
            return self.move_forward(one);
        }
        let (Some(next), touch) = (self.shown(), self.touch(one)) else {
            return;
        };
        let channel = self.channel_mut(&one.channel);
        channel.show(next);
        channel.last = Some(touch);
    }
}
