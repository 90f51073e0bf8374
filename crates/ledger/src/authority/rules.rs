//! What holds for channels, whoever moves them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use cairn_oci::text::counted;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Authority, Group};
use crate::entry::Kind;
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::time;

/// What holds for channels, whoever moves them; each `rules` entry states it whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// By channel; a channel without rules is free.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<Channel, ChannelRules>,
}

/// The rules of one channel. They bind forward moves; only the floor also binds a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelRules {
    /// What is moved here must have been shown by this channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Channel>,
    /// How many seconds that channel must have shown it without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<NonZeroU32>,
    /// When nothing moves forward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Freeze>,
    /// Nothing that was released before this version may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Version>,
    /// How many keys of which groups must have signed what moves forward or resumes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<Group, NonZeroU32>,
    /// What a key that is not listed may do here, if it must be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub glass: Vec<Kind>,
}

/// From when until when nothing moves forward; both ends belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// Its beginning.
    #[serde(with = "time")]
    pub from: Timestamp,
    /// Its end.
    #[serde(with = "time")]
    pub until: Timestamp,
}

/// Signatures that are missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// For which channel.
    pub channel: Channel,
    /// Of which group.
    pub group: Group,
    /// How many more, at least 1.
    pub count: u32,
}

/// Signatures that nobody can give: the rules of a channel want more keys of a group than there are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unmet {
    /// Of which channel.
    pub channel: Channel,
    /// Of which group.
    pub group: Group,
    /// How many keys its rules want.
    pub needs: u32,
    /// How many keys of the group are listed and valid: fewer.
    pub has: u32,
}

impl Unmet {
    /// What that means, in one sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            channel,
            group,
            needs,
            has,
        } = self;
        let wants = counted((*needs).into(), "signature", "signatures");
        let has = match has {
            0 => "no key of the ledger is in it".to_owned(),
            1 => "only 1 key of the ledger is in it".to_owned(),
            has => format!("only {has} keys of the ledger are in it"),
        };
        format!("nothing can move {channel} forward: its rules want {wants} of the group {group}, and {has}")
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { channel, group, .. } = self;
        format!(
            "cairn key add KEY.pub --group {group} puts a listed key into it (a new one needs --role too, such as \"promote on {channel}\"); or take the rule out of the spec, then cairn ledger rules --apply"
        )
    }
}

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A time to wait for, and no channel on which it passes.
    #[error("{channel} has `soak` without `from`: it does not say on which channel the time passes")]
    Soak {
        /// The channel.
        channel: Channel,
    },
    /// A kind that no unlisted key may ever make, or one listed twice.
    #[error(
        "{channel} has `{kind}` in `glass`: release, promote, rollback, switch and resume can be there, each once"
    )]
    Glass {
        /// The channel.
        channel: Channel,
        /// Which kind.
        kind: Kind,
    },
}

impl Rules {
    /// Whether they can be used at all.
    ///
    /// # Errors
    ///
    /// [`RulesError`].
    pub fn check(&self) -> Result<(), RulesError> {
        self.channels
            .iter()
            .try_for_each(|(channel, rules)| rules.check(channel))
    }

    /// Which signatures `signers` lack to move `channel` forward, or to resume it.
    #[must_use]
    pub fn lacks(
        &self,
        channel: &Channel,
        authority: &Authority,
        signers: &BTreeSet<Fingerprint>,
        at: Timestamp,
    ) -> Vec<Lack> {
        let requires = self.channels.get(channel).map(|rules| &rules.requires);
        let lack = |(group, needed): (&Group, &NonZeroU32)| {
            let count = needed
                .get()
                .saturating_sub(authority.count_of(group, signers, at));
            (count > 0).then(|| Lack {
                channel: channel.clone(),
                group: group.clone(),
                count,
            })
        };
        requires.into_iter().flatten().filter_map(lack).collect()
    }

    /// What the rules want and nobody can give at `at`: forward moves of these channels would wait for ever.
    #[must_use]
    pub fn unmet(&self, authority: &Authority, at: Timestamp) -> Vec<Unmet> {
        let channels = self.channels.keys();
        channels
            .flat_map(|channel| self.unmet_on(channel, authority, at))
            .collect()
    }

    /// The same for one channel.
    #[must_use]
    pub fn unmet_on(&self, channel: &Channel, authority: &Authority, at: Timestamp) -> Vec<Unmet> {
        let everybody = authority.keys.iter().map(|grant| grant.key.fingerprint());
        let lacks = self.lacks(channel, authority, &everybody.collect(), at);
        let needs = |group: &Group| {
            let needed = self.channels.get(channel)?.requires.get(group)?;
            Some(needed.get())
        };
        let unmet = |Lack {
                         channel,
                         group,
                         count,
                     }| {
            let needs = needs(&group).unwrap_or(count);
            Unmet {
                channel,
                group,
                needs,
                has: needs - count,
            }
        };
        lacks.into_iter().map(unmet).collect()
    }
}

impl ChannelRules {
    fn check(&self, channel: &Channel) -> Result<(), RulesError> {
        let channel = || channel.clone();
        if self.soak.is_some() && self.from.is_none() {
            return Err(RulesError::Soak { channel: channel() });
        }
        let is_twice = |at: usize, kind: &Kind| self.glass[..at].contains(kind);
        let mut kinds = self.glass.iter().enumerate();
        match kinds.find(|(at, kind)| !kind.may_break_glass() || is_twice(*at, kind)) {
            Some((_, kind)) => Err(RulesError::Glass {
                channel: channel(),
                kind: kind.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Whether `at` lies in a freeze.
    #[must_use]
    pub fn is_frozen(&self, at: Timestamp) -> bool {
        self.freeze
            .iter()
            .any(|freeze| freeze.from <= at && at <= freeze.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn rules_that_say_nothing_sensible_are_refused() {
        let soak = rules(r#"{"channels":{"prod":{"soak":60}}}"#).unwrap();
        assert!(matches!(soak.check(), Err(RulesError::Soak { .. })));
        for glass in [r#"["yank"]"#, r#"["rollback","rollback"]"#, r#"["adopt"]"#] {
            let glass = rules(&format!(r#"{{"channels":{{"prod":{{"glass":{glass}}}}}}}"#)).unwrap();
            assert!(matches!(glass.check(), Err(RulesError::Glass { .. })));
        }
        for bad in [
            r#"{"soak":0}"#,
            r#"{"soak":1.5}"#,
            r#"{"requires":{"human":0}}"#,
            r#"{"requires":{"Human":1}}"#,
        ] {
            assert!(
                rules(&format!(r#"{{"channels":{{"prod":{bad}}}}}"#)).is_err(),
                "{bad}"
            );
        }
        let good = r#"{"from":"staging","soak":3600,"requires":{"human":1},"glass":["rollback"]}"#;
        let good = rules(&format!(r#"{{"channels":{{"prod":{good}}}}}"#)).unwrap();
        assert_eq!(good.check(), Ok(()));
    }
}
