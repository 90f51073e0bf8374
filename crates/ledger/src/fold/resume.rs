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
        let allowed = access.judge();
        if !allowed.stands() {
            return allowed;
        }
        let after = self.judge_after(one);
        if !after.stands() {
            return after;
        }
        let hold = self
            .channel(&one.channel)
            .and_then(|channel| channel.hold.as_ref());
        match hold {
            Some(_) => self.judge_approved(&one.channel, access),
            None => Verdict::void(Why::NotHeld),
        }
    }
}
