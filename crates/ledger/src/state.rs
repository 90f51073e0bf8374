//! What a ledger says, after all its entries: the result of the [fold](crate::fold).

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::Digest;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::authority::{Authority, Rules};
use crate::base::{List, Table};
use crate::entry::{Actor, Continues, EntryName, Kind, Mode};
use crate::key::Fingerprint;
use crate::name::{Channel, Version};
use crate::time;

/// Everything that follows from the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The name of the genesis.
    pub ledger: EntryName,
    /// How appending works.
    pub mode: Mode,
    /// The repository in which the ledger is appended to.
    pub home: String,
    /// The last entry that changed keys or rules, or the genesis.
    pub chain: EntryName,
    /// Who may do what.
    pub authority: Authority,
    /// What holds for channels.
    pub rules: Rules,
    /// The channels.
    pub channels: BTreeMap<Channel, ChannelState>,
    /// The versions.
    pub versions: Table<Version, Binding>,
    /// Images that are no longer kept, and the entry that says so.
    pub pruned: Table<Digest, EntryName>,
    /// Entries by which an unlisted key did something, in effect.
    pub glass: BTreeMap<EntryName, Glass>,
    /// The ledger that this one goes on from.
    pub continues: Option<Continues>,
    /// The position and the kind of the first entry whose kind this program does not know.
    pub unknown: Option<(u64, String)>,
    /// The versions that were ever bound to a digest.
    pub(crate) named: Table<Digest, Vec<Version>>,
}

/// What an unlisted key did because the rules of a channel allow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glass {
    /// The entry's position.
    pub position: u64,
    /// Which key.
    pub key: Fingerprint,
    /// The entry by which it was accepted afterwards.
    pub ratified: Option<EntryName>,
}

/// What a channel showed, or shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which manifest or index.
    pub digest: Digest,
    /// As which version.
    pub version: Option<Version>,
    /// The entry that put it there.
    pub entry: EntryName,
    /// That entry's own time.
    #[serde(with = "time")]
    pub at: Timestamp,
}

impl Shown {
    /// The version if there is one, else the digest.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.version {
            Some(version) => version.to_string(),
            None => self.digest.to_string(),
        }
    }
}

/// Why nothing moves a channel forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The rollback that holds it.
    pub entry: EntryName,
    /// The key that signed it.
    pub by: Fingerprint,
    /// Who that is.
    pub actor: Actor,
    /// When.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// What the channel showed before.
    pub left: Option<Shown>,
}

/// One channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// What it shows.
    pub shows: Option<Shown>,
    /// What it showed before, oldest first: the way back.
    pub trail: List<Shown>,
    /// Why it does not move forward.
    pub hold: Option<Hold>,
    /// The entry that last moved, held or resumed it.
    pub last: Option<Touch>,
    /// Every digest that it showed at some position, and how long each of these was there.
    pub stays: Table<Digest, Stay>,
    /// Every digest that an allowed entry wanted it to show, also in vain: a tag with one of these is ours.
    pub wanted: Table<Digest, ()>,
    /// Every channel from which a switch took what it then showed.
    pub slots: BTreeSet<Channel>,
    /// By digest, the channel from which a switch took it last.
    pub taken: Table<Digest, Channel>,
}

/// How long a channel showed a digest, by the entries' own times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stay {
    /// The longest time without a break that is over.
    pub longest: SignedDuration,
    /// Since when it is shown, if it is.
    pub since: Option<Timestamp>,
}

impl Stay {
    /// The longest time without a break, as seen at `at`.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> SignedDuration {
        let now = self.since.map(|since| at.duration_since(since));
        self.longest.max(now.unwrap_or_default())
    }
}

/// An entry that moved, held or resumed a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// Its name.
    pub entry: EntryName,
    /// What it is.
    pub kind: Kind,
    /// The state that its author saw.
    pub after: Option<EntryName>,
}

impl ChannelState {
    /// Shows `next` from now on; what becomes of the trail is the caller's business.
    pub(crate) fn show(&mut self, next: Shown) {
        let (digest, at) = (next.digest, next.at);
        let before = self.shows.replace(next);
        if before.as_ref().is_some_and(|before| before.digest == digest) {
            return;
        }
        if let Some(stay) = before.and_then(|before| self.stays.get_mut(&before.digest)) {
            stay.longest = stay.at(at);
            stay.since = None;
        }
        self.stays.value_mut(&digest).since = Some(at);
    }

    /// Whether it showed `digest` at some position.
    #[must_use]
    pub fn has_shown(&self, digest: &Digest) -> bool {
        self.stays.contains_key(digest)
    }

    /// The channel from which a switch took what it shows. What came back by a rollback is of the slot that it was taken from once,
    /// whatever that slot shows by now.
    #[must_use]
    pub fn took(&self) -> Option<&Channel> {
        self.taken.get(&self.shows.as_ref()?.digest)
    }

    /// Whether an allowed entry wanted it to show `digest`, also in vain.
    #[must_use]
    pub fn has_wanted(&self, digest: &Digest) -> bool {
        self.wanted.contains_key(digest)
    }

    /// How long it showed `digest` without a break, as seen at `at`; none if it never did.
    #[must_use]
    pub fn stay_of(&self, digest: &Digest, at: Timestamp) -> Option<SignedDuration> {
        self.stays.get(digest).map(|stay| stay.at(at))
    }

    /// The name of the entry that last moved, held or resumed it: what the next move stands on.
    #[must_use]
    pub fn last_entry(&self) -> Option<EntryName> {
        self.last.as_ref().map(|touch| touch.entry)
    }
}

/// What a version was bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// One, or several if they could not see each other.
    pub bound: Vec<Bound>,
}

/// One binding of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// To which manifest or index.
    pub digest: Digest,
    /// By which release.
    pub entry: EntryName,
    /// At which position.
    pub position: u64,
    /// That entry's own time.
    pub at: Timestamp,
    /// The entry that barred it.
    pub yanked: Option<EntryName>,
}

/// What a version is worth now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It names exactly this.
    Named(&'a Bound),
    /// It is barred.
    Yanked(&'a Bound),
    /// It was bound to several digests, and names none of them.
    Contested,
}

impl Binding {
    /// What the version is worth now. A binding always has at least one member.
    #[must_use]
    pub fn standing(&self) -> Standing<'_> {
        let mut live = self.bound.iter().filter(|bound| bound.yanked.is_none());
        match (live.next(), live.next(), self.bound.last()) {
            (Some(only), None, _) => Standing::Named(only),
            (None, _, Some(last)) => Standing::Yanked(last),
            _ => Standing::Contested,
        }
    }

    /// The binding to `digest`, barred or not.
    #[must_use]
    pub fn to(&self, digest: &Digest) -> Option<&Bound> {
        self.bound.iter().find(|bound| bound.digest == *digest)
    }
}

impl State {
    /// A channel, if it was ever named.
    #[must_use]
    pub fn channel(&self, channel: &Channel) -> Option<&ChannelState> {
        self.channels.get(channel)
    }

    /// What a channel shows.
    #[must_use]
    pub fn shows(&self, channel: &Channel) -> Option<&Shown> {
        self.channels.get(channel)?.shows.as_ref()
    }

    /// The name of the entry that the next move of `channel` stands on.
    #[must_use]
    pub fn last_entry(&self, channel: &Channel) -> Option<EntryName> {
        self.channels.get(channel)?.last_entry()
    }

    /// The versions that were ever bound to `digest`.
    pub fn versions_of<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = (&'a Version, &'a Bound)> {
        let named = self.named.get(digest).into_iter().flatten();
        named.filter_map(move |version| Some((version, self.versions.get(version)?.to(digest)?)))
    }

    /// Whether a version names exactly this now.
    #[must_use]
    pub fn is_named(&self, digest: &Digest) -> bool {
        let mut named = self.named.get(digest).into_iter().flatten();
        named.any(|version| {
            let standing = self.versions.get(version).map(Binding::standing);
            matches!(standing, Some(Standing::Named(bound)) if bound.digest == *digest)
        })
    }

    /// Whether `digest` is barred: a version of it was yanked, and none that names it is left.
    #[must_use]
    pub fn is_barred(&self, digest: &Digest) -> bool {
        let mut all = self.versions_of(digest).peekable();
        all.peek().is_some() && all.all(|(_, bound)| bound.yanked.is_some())
    }

    /// Whether an image is no longer kept.
    #[must_use]
    pub fn is_pruned(&self, digest: &Digest) -> bool {
        self.pruned.contains_key(digest)
    }

    /// Whether a channel may show `digest`: it is neither barred nor pruned.
    #[must_use]
    pub fn may_be_shown(&self, digest: &Digest) -> bool {
        !self.is_barred(digest) && !self.is_pruned(digest)
    }

    /// What a channel goes back to when nothing else is named: the nearest digest on its trail that is neither
    /// barred nor pruned nor what it shows now.
    #[must_use]
    pub fn way_back(&self, channel: &Channel) -> Option<&Shown> {
        let state = self.channels.get(channel)?;
        let current = state.shows.as_ref().map(|shown| shown.digest);
        state
            .trail
            .iter()
            .rev()
            .find(|shown| Some(shown.digest) != current && self.may_be_shown(&shown.digest))
    }
}
