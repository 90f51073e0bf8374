//! Who may do it: a listed key by its roles, or an unlisted one where the channel's rules let it break the glass.

use super::{Step, Verdict, Why};
use crate::key::Fingerprint;
use crate::name::Channel;

/// By whose right an effect stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// A listed key with a role for it.
    Listed(Fingerprint),
    /// A key that is not listed, on a channel whose rules allow it.
    Glass(Fingerprint),
    /// Nobody's.
    None,
}

impl Access {
    /// By which key.
    pub(super) const fn key(self) -> Option<Fingerprint> {
        match self {
            Self::Listed(key) | Self::Glass(key) => Some(key),
            Self::None => None,
        }
    }

    /// Whether there is any.
    pub(super) const fn judge(self) -> Verdict {
        match self {
            Self::None => Verdict::void(Why::NotAllowed),
            Self::Listed(_) | Self::Glass(_) => Verdict::Effect,
        }
    }
}

impl Step<'_> {
    /// For what is on no channel: a version, a ratification.
    pub(super) fn access_apart(&self) -> Access {
        let (kind, at) = (&self.entry().kind, self.entry().at);
        let may = |key: &&Fingerprint| self.state.authority.may(key, kind, None, at);
        let listed = self.record.signers.iter().find(may);
        listed.map_or(Access::None, |key| Access::Listed(*key))
    }

    /// To hold or resume a channel.
    pub(super) fn access_on(&self, channel: &Channel) -> Access {
        let (kind, at) = (&self.entry().kind, self.entry().at);
        let authority = &self.state.authority;
        self.access(channel, |key| authority.may(key, kind, Some(channel), at))
    }

    /// To make a channel show the entry's digest: some roles are only for what it has shown.
    pub(super) fn access_to_show(&self, channel: &Channel) -> Access {
        let known = self.channel(channel).zip(self.entry().digest);
        if known.is_some_and(|(channel, digest)| channel.has_shown(&digest)) {
            return self.access_on(channel);
        }
        let (kind, at) = (&self.entry().kind, self.entry().at);
        let authority = &self.state.authority;
        self.access(channel, |key| authority.may_show_new(key, kind, channel, at))
    }

    fn access(&self, channel: &Channel, may: impl Fn(&Fingerprint) -> bool) -> Access {
        if let Some(key) = self.record.signers.iter().find(|key| may(key)) {
            return Access::Listed(*key);
        }
        match self.glass_key() {
            Some(key) if self.state.allows_glass(channel, &self.entry().kind) => Access::Glass(key),
            _ => Access::None,
        }
    }

    /// The key that is named in `glass`, if it signed and is not listed.
    pub(super) fn glass_key(&self) -> Option<Fingerprint> {
        let key = self.entry().glass.as_ref()?.fingerprint();
        let counts = self.record.signers.contains(&key) && !self.state.authority.knows(&key);
        counts.then_some(key)
    }
}
