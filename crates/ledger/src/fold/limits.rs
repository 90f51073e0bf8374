//! The rules of channels: what may be moved there, and when.

use super::access::Access;
use super::{Step, Verdict, Why};
use crate::authority::ChannelRules;
use crate::name::{Channel, Version};
use crate::state::{Binding, Standing};

impl Step<'_> {
    /// What binds a forward move: freeze, origin, signatures, floor.
    pub(super) fn judge_rules(&self, channel: &Channel, access: Access) -> Verdict {
        let Some(rules) = self.state.rules.channels.get(channel) else {
            return Verdict::Effect;
        };
        if rules.is_frozen(self.entry().at) {
            return Verdict::void(Why::Frozen);
        }
        self.judge_origin(rules)
            .and_then(|| self.judge_approved(channel, access))
            .and_then(|| self.judge_floor(channel))
    }

    /// The channel that it must come from has shown it, and for long enough.
    fn judge_origin(&self, rules: &ChannelRules) -> Verdict {
        let Some(from) = &rules.from else {
            return Verdict::Effect;
        };
        let stay = self.channel(from).zip(self.entry().digest);
        let stay = stay.and_then(|(from, digest)| from.stay_of(&digest, self.entry().at));
        match (stay, rules.soak) {
            (None, _) => Verdict::void(Why::NotFrom),
            (Some(stay), Some(soak)) if stay.as_secs() < i64::from(soak.get()) => {
                Verdict::void(Why::TooEarly)
            }
            (Some(_), _) => Verdict::Effect,
        }
    }

    /// Who breaks the glass is alone: nobody else is there to sign.
    pub(super) fn judge_approved(&self, channel: &Channel, access: Access) -> Verdict {
        let (state, entry) = (&self.state, self.entry());
        let lacks = state
            .rules
            .lacks(channel, &state.authority, &self.record.signers, entry.at);
        match access {
            Access::Listed(_) | Access::None if !lacks.is_empty() => Verdict::void(Why::Unapproved),
            _ => Verdict::Effect,
        }
    }

    /// The floor binds in either direction.
    pub(super) fn judge_floor(&self, channel: &Channel) -> Verdict {
        let rules = self.state.rules.channels.get(channel);
        let floor = rules.and_then(|rules| rules.floor.as_ref());
        if floor.is_some_and(|floor| self.is_below(floor)) {
            return Verdict::void(Why::BelowFloor);
        }
        Verdict::Effect
    }

    /// Whether the digest was released before `floor`. A floor that was never released binds nothing.
    fn is_below(&self, floor: &Version) -> bool {
        let Some(Standing::Named(floor)) = self.state.versions.get(floor).map(Binding::standing) else {
            return false;
        };
        let Some(digest) = self.entry().digest else {
            return false;
        };
        let newest = self
            .state
            .versions_of(&digest)
            .map(|(_, bound)| bound.position)
            .max();
        newest.is_some_and(|position| position < floor.position)
    }
}
