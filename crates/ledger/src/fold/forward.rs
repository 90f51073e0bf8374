//! Forward moves: release, promote, switch, adopt.

use super::access::Access;
use super::{Outcome, Step, Subject, Verdict, Why};
use crate::entry::{Kind, Move};
use crate::name::Channel;

impl Step<'_> {
    /// Each move is judged alone. `binding` is what became of the version that the entry binds.
    pub(super) fn moves(&mut self, binding: Option<Verdict>) -> Outcome {
        let moves = self.record.entry.moves.clone();
        // What a release does to its version comes before.
        let mut effects = Vec::with_capacity(moves.len() + usize::from(binding.is_some()));
        for one in &moves {
            let access = self.access_to_show(&one.channel);
            let verdict = self.judge_forward(one, binding, access);
            self.note_wish(one, verdict);
            if verdict.stands() {
                self.move_forward(one);
            }
            self.mark(access, verdict);
            effects.push((Subject::Channel(one.channel.clone()), verdict));
        }
        Outcome { effects }
    }

    fn judge_forward(&self, one: &Move, binding: Option<Verdict>, access: Access) -> Verdict {
        let target = || match binding {
            Some(Verdict::Void {
                why: Why::Contested, ..
            }) => Verdict::Effect,
            Some(verdict) => verdict,
            None => self.judge_target(),
        };
        self.judge_turn(one, access)
            .and_then(|| self.judge_hold(&one.channel))
            .and_then(target)
            .and_then(|| self.judge_rules(&one.channel, access))
    }

    /// Under a hold only what lifts it moves forward.
    fn judge_hold(&self, channel: &Channel) -> Verdict {
        match self.hold_of(channel) {
            Some(hold) if !self.entry().resume => Verdict::void_by(Why::Held, Some(hold.entry)),
            _ => Verdict::Effect,
        }
    }

    /// Pushes what the channel showed on its trail, if that is another digest.
    pub(super) fn move_forward(&mut self, one: &Move) {
        let (Some(next), touch, lifts) = (self.shown(), self.touch(one), self.entry().resume) else {
            return;
        };
        let slot = self
            .entry()
            .from
            .as_ref()
            .filter(|_| self.entry().kind == Kind::Switch);
        let slot = slot.map(|slot| slot.channel.clone());
        let channel = self.channel_mut(&one.channel);
        let before = channel.shows.clone();
        channel
            .trail
            .extend(before.filter(|before| before.digest != next.digest));
        if let Some(slot) = slot {
            channel.taken.insert(next.digest, slot.clone());
            channel.slots.insert(slot);
        }
        channel.show(next);
        channel.last = Some(touch);
        if lifts {
            channel.hold = None;
        }
    }
}
