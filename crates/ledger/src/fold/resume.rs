//! Lifting a hold.

use super::access::Access;
use super::{Outcome, Step, Subject, Verdict, Why};
use crate::entry::Move;

impl Step<'_> {
    pub(super) fn resume(&mut self) -> Outcome {
        let moves = self.record.entry.moves.clone();
        let mut effects = Vec::new();
        for one in &moves {
            let access = self.access_on(&one.channel);
            let verdict = self.judge_resume(one, access);
            if verdict.stands() {
                let touch = self.touch(one);
                let channel = self.channel_mut(&one.channel);
                channel.hold = None;
                channel.last = Some(touch);
            }
            self.mark(access, verdict);
            effects.push((Subject::Channel(one.channel.clone()), verdict));
        }
        Outcome { effects }
    }

    fn judge_resume(&self, one: &Move, access: Access) -> Verdict {
        let approved = || match self.hold_of(&one.channel) {
            Some(_) => self.judge_approved(&one.channel, access),
            None => Verdict::void(Why::NotHeld),
        };
        self.judge_turn(one, access).and_then(approved)
    }
}
