//! Who may do what: keys with their roles, the threshold, the rules of channels.

mod label;
mod rules;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use label::{GROUP_LIMIT, Group, KeyLabel, KeyName, LabelError, NAME_LIMIT};
pub use rules::{ChannelRules, Freeze, Lack, Rules, RulesError, Unmet};

use crate::entry::Kind;
use crate::key::{Fingerprint, PublicKey};
use crate::name::Channel;
use crate::time;

/// Most keys of a ledger: their list must fit into one entry.
pub const KEY_LIMIT: usize = 16;

/// The keys of a ledger, as the genesis and each `keys` entry state them whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The keys and what each may do.
    pub keys: Vec<Grant>,
    /// How many of them must sign a `keys` or `rules` entry; at least 1.
    pub threshold: u32,
    /// A key kept in a safe, which alone may state a new list of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<PublicKey>,
}

/// One key and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The key.
    pub key: PublicKey,
    /// What it is called, instead of its fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<KeyName>,
    /// What it has in common with others, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// What it may do; nothing if empty.
    pub roles: Vec<Role>,
    /// Entries and heads whose own time is later do not count.
    #[serde(default, with = "time::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Kinds of entries, on some channels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Which kinds of entries; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<Kind>>,
    /// Moves of which channels; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channel>>,
    /// Only to what the channel has shown before: a role that can bring nothing new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shown: bool,
}

/// What a key is asked for.
#[derive(Debug, Clone, Copy)]
enum Wish<'a> {
    /// Something that is on no channel: a version, keys, rules.
    Apart,
    /// Something on a channel.
    On(&'a Channel),
    /// That a channel shows what it has never shown.
    New(&'a Channel),
}

impl Role {
    /// Everything, everywhere.
    #[must_use]
    pub const fn owner() -> Self {
        Self {
            kinds: None,
            channels: None,
            shown: false,
        }
    }

    fn covers(&self, kind: &Kind, wish: Wish<'_>) -> bool {
        let listed = |channel: &Channel| {
            let channels = self.channels.as_ref();
            channels.is_none_or(|channels| channels.contains(channel))
        };
        let covered = match wish {
            Wish::Apart => !self.shown,
            Wish::On(channel) => listed(channel),
            Wish::New(channel) => !self.shown && listed(channel),
        };
        covered && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind))
    }
}

impl Grant {
    /// A key that may do everything, without an end.
    #[must_use]
    pub fn owner(key: PublicKey) -> Self {
        Self {
            key,
            name: None,
            groups: Vec::new(),
            roles: vec![Role::owner()],
            until: None,
        }
    }

    fn is_valid_at(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at <= until)
    }

    fn covers(&self, kind: &Kind, wish: Wish<'_>, at: Timestamp) -> bool {
        self.is_valid_at(at) && self.roles.iter().any(|role| role.covers(kind, wish))
    }

    /// Whether the key may make entries of `kind`, and with them act on `channel` if one is given: perhaps only to
    /// show what it has shown before ([`Authority::may_show_new`]).
    #[must_use]
    pub fn may(&self, kind: &Kind, channel: Option<&Channel>, at: Timestamp) -> bool {
        self.covers(kind, channel.map_or(Wish::Apart, Wish::On), at)
    }

    /// What the key is called.
    #[must_use]
    pub fn label(&self) -> KeyLabel {
        KeyLabel {
            key: self.key.fingerprint(),
            name: self.name.clone(),
        }
    }
}

/// Why a list of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// No key, or too many.
    #[error("{count} keys: there must be 1 to {KEY_LIMIT}")]
    Count {
        /// How many were given.
        count: usize,
    },
    /// A key is listed twice.
    #[error("the key {key} is listed twice")]
    Twice {
        /// Which key.
        key: Fingerprint,
    },
    /// Two keys have the same name, so that it would not say which of them is meant.
    #[error("two keys are called {name}")]
    NameTwice {
        /// Which name.
        name: KeyName,
    },
    /// The groups of a key are not sorted, or one is there twice.
    #[error("the groups of the key {key} are not sorted, each once")]
    Groups {
        /// Which key.
        key: Fingerprint,
    },
    /// The threshold cannot be reached.
    #[error("the threshold is {threshold}, and {able} of the listed keys may change the list")]
    Threshold {
        /// What was given.
        threshold: u32,
        /// How many keys may sign a `keys` entry.
        able: usize,
    },
}

impl Authority {
    /// One key that may do everything.
    #[must_use]
    pub fn single(key: PublicKey) -> Self {
        Self {
            keys: vec![Grant::owner(key)],
            threshold: 1,
            recovery: None,
        }
    }

    /// Whether the list can be used at all.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]: also when nobody could ever change it again.
    pub fn check(&self) -> Result<(), AuthorityError> {
        if !(1..=KEY_LIMIT).contains(&self.keys.len()) {
            return Err(AuthorityError::Count {
                count: self.keys.len(),
            });
        }
        let mut seen = BTreeSet::new();
        for key in self.public_keys().map(PublicKey::fingerprint) {
            if !seen.insert(key) {
                return Err(AuthorityError::Twice { key });
            }
        }
        let mut names = BTreeSet::new();
        for grant in &self.keys {
            if let Some(name) = grant.name.as_ref().filter(|name| !names.insert(*name)) {
                return Err(AuthorityError::NameTwice { name: name.clone() });
            }
            if !grant.groups.is_sorted_by(|left, right| left < right) {
                let key = grant.key.fingerprint();
                return Err(AuthorityError::Groups { key });
            }
        }
        let may_change = |grant: &&Grant| {
            grant
                .roles
                .iter()
                .any(|role| role.covers(&Kind::Keys, Wish::Apart))
        };
        let able = self.keys.iter().filter(may_change).count();
        if self.threshold == 0 || self.threshold as usize > able {
            let threshold = self.threshold;
            return Err(AuthorityError::Threshold { threshold, able });
        }
        Ok(())
    }

    /// Every key that is named, the recovery key last.
    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|grant| &grant.key).chain(&self.recovery)
    }

    /// What `key` may do.
    #[must_use]
    pub fn grant(&self, key: &Fingerprint) -> Option<&Grant> {
        self.keys.iter().find(|grant| grant.key.fingerprint() == *key)
    }

    /// Whether `key` may make entries of `kind`, and with them move `channel` if one is given.
    #[must_use]
    pub fn may(&self, key: &Fingerprint, kind: &Kind, channel: Option<&Channel>, at: Timestamp) -> bool {
        self.grant(key).is_some_and(|grant| grant.may(kind, channel, at))
    }

    /// Whether `key` may with an entry of `kind` make `channel` show what it has never shown.
    #[must_use]
    pub fn may_show_new(&self, key: &Fingerprint, kind: &Kind, channel: &Channel, at: Timestamp) -> bool {
        let grant = self.grant(key);
        grant.is_some_and(|grant| grant.covers(kind, Wish::New(channel), at))
    }

    /// Whether `key` is named at all, with or without roles.
    #[must_use]
    pub fn knows(&self, key: &Fingerprint) -> bool {
        self.public_keys().any(|known| known.fingerprint() == *key)
    }

    /// How many of `signers` are listed keys of `group`, valid at `at`.
    #[must_use]
    pub fn count_of(&self, group: &Group, signers: &BTreeSet<Fingerprint>, at: Timestamp) -> u32 {
        let counts = |grant: &&Grant| {
            grant.groups.contains(group)
                && grant.is_valid_at(at)
                && signers.contains(&grant.key.fingerprint())
        };
        // There are at most KEY_LIMIT keys.
        u32::try_from(self.keys.iter().filter(counts).count()).unwrap_or(u32::MAX)
    }

    /// What `key` is called, whether it is listed or not.
    #[must_use]
    pub fn label(&self, key: &Fingerprint) -> KeyLabel {
        let unlisted = || KeyLabel {
            key: *key,
            name: None,
        };
        self.grant(key).map_or_else(unlisted, Grant::label)
    }

    /// Whether a head signed by `key` at `at` counts: any listed key will do, for a head states no intent.
    #[must_use]
    pub fn may_write_heads(&self, key: &Fingerprint, at: Timestamp) -> bool {
        self.grant(key).is_some_and(|grant| grant.is_valid_at(at))
    }

    /// Whether `signers` suffice for an entry of `kind` that changes keys or rules.
    #[must_use]
    pub fn threshold_met(&self, signers: &BTreeSet<Fingerprint>, kind: &Kind, at: Timestamp) -> bool {
        let recovered = self
            .recovery
            .as_ref()
            .is_some_and(|key| *kind == Kind::Keys && signers.contains(&key.fingerprint()));
        let able = signers.iter().filter(|key| self.may(key, kind, None, at)).count();
        recovered || (able > 0 && able >= self.threshold as usize)
    }

    /// Who may do it: keys with the kinds that each may make on `channel`.
    #[must_use]
    pub fn who_may(&self, channel: Option<&Channel>, at: Timestamp) -> Vec<(KeyLabel, Vec<Kind>)> {
        let kinds = |grant: &Grant| -> Vec<Kind> {
            let may = |kind: &&Kind| grant.may(kind, channel, at);
            Kind::ALL.iter().filter(may).cloned().collect()
        };
        self.keys
            .iter()
            .map(|grant| (grant.label(), kinds(grant)))
            .filter(|(_, kinds)| !kinds.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{LocalKey, Signer as _};

    fn key(seed: u8) -> PublicKey {
        LocalKey::from_seed(&[seed; 32]).unwrap().key().clone()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn roles_bind_kind_channel_and_time() {
        let grant = Grant {
            key: key(1),
            roles: vec![Role {
                kinds: Some(vec![Kind::Rollback]),
                channels: Some(vec!["prod".parse().unwrap()]),
                shown: false,
            }],
            name: None,
            groups: Vec::new(),
            until: Some(at("2026-01-01T00:00:00Z")),
        };
        let prod = "prod".parse().unwrap();
        let other = "staging".parse().unwrap();
        let early = at("2025-12-31T00:00:00Z");
        assert!(grant.may(&Kind::Rollback, Some(&prod), early));
        assert!(!grant.may(&Kind::Rollback, Some(&other), early));
        assert!(!grant.may(&Kind::Release, Some(&prod), early));
        assert!(!grant.may(&Kind::Rollback, Some(&prod), at("2026-01-01T00:00:01Z")));
    }

    #[test]
    fn lists_that_lock_everybody_out_are_refused() {
        let mut authority = Authority::single(key(1));
        assert_eq!(authority.check(), Ok(()));
        authority.threshold = 2;
        assert!(matches!(
            authority.check(),
            Err(AuthorityError::Threshold { able: 1, .. })
        ));
        authority.threshold = 1;
        authority.recovery = Some(key(1));
        assert!(matches!(authority.check(), Err(AuthorityError::Twice { .. })));
        authority.keys.clear();
        assert!(matches!(
            authority.check(),
            Err(AuthorityError::Count { count: 0 })
        ));
    }

    #[test]
    fn the_recovery_key_alone_changes_keys_and_nothing_else() {
        let mut authority = Authority::single(key(1));
        authority.keys.push(Grant::owner(key(2)));
        authority.threshold = 2;
        authority.recovery = Some(key(3));
        let now = at("2026-01-01T00:00:00Z");
        let signers = |seeds: &[u8]| seeds.iter().map(|seed| key(*seed).fingerprint()).collect();
        assert!(authority.threshold_met(&signers(&[3]), &Kind::Keys, now));
        assert!(!authority.threshold_met(&signers(&[3]), &Kind::Rules, now));
        assert!(!authority.threshold_met(&signers(&[1]), &Kind::Keys, now));
        assert!(authority.threshold_met(&signers(&[1, 2]), &Kind::Rules, now));
    }

    #[test]
    fn a_role_for_what_was_shown_brings_nothing_new() {
        let mut authority = Authority::single(key(1));
        authority.keys.push(Grant {
            roles: vec![Role {
                kinds: None,
                channels: None,
                shown: true,
            }],
            ..Grant::owner(key(2))
        });
        let (one, two) = (key(1).fingerprint(), key(2).fingerprint());
        let now = at("2026-01-01T00:00:00Z");
        let prod = "prod".parse().unwrap();
        assert!(authority.may(&two, &Kind::Rollback, Some(&prod), now));
        assert!(!authority.may_show_new(&two, &Kind::Rollback, &prod, now));
        assert!(authority.may_show_new(&one, &Kind::Rollback, &prod, now));
        // What is on no channel was never shown by one.
        assert!(!authority.may(&two, &Kind::Yank, None, now));
        authority.threshold = 2;
        assert!(matches!(
            authority.check(),
            Err(AuthorityError::Threshold { able: 1, .. })
        ));
    }

    #[test]
    fn names_are_unique_and_groups_are_sorted() {
        let mut authority = Authority::single(key(1));
        authority.keys.push(Grant::owner(key(2)));
        for grant in &mut authority.keys {
            grant.name = Some("ada".parse().unwrap());
        }
        assert!(matches!(authority.check(), Err(AuthorityError::NameTwice { .. })));
        authority.keys[1].name = None;
        authority.keys[1].groups = vec!["human".parse().unwrap(), "ci".parse().unwrap()];
        assert!(matches!(authority.check(), Err(AuthorityError::Groups { .. })));
        authority.keys[1].groups.reverse();
        assert_eq!(authority.check(), Ok(()));
        let human = "human".parse().unwrap();
        let both = [key(1).fingerprint(), key(2).fingerprint()].into();
        assert_eq!(authority.count_of(&human, &both, at("2026-01-01T00:00:00Z")), 1);
    }
}
