//! Versions: bound once, barred, and their images no longer kept.

use std::collections::BTreeSet;

use cairn_oci::Digest;

use super::access::Access;
use super::{Outcome, Step, Subject, Verdict, Why};
use crate::entry::{EntryName, Kind};
use crate::name::Version;
use crate::state::Bound;

impl Step<'_> {
    /// A release or an adoption: binds its version, then moves.
    pub(super) fn release(&mut self) -> Outcome {
        let (version, digest) = (self.record.entry.version.clone(), self.record.entry.digest);
        match (version, digest) {
            (Some(version), Some(digest)) => {
                let access = self.access_to_bind();
                let verdict = access.judge().and_then(|| self.bind(&version, digest));
                self.mark(access, verdict);
                let mut outcome = self.moves(Some(verdict));
                outcome.effects.insert(0, (Subject::Version(version), verdict));
                outcome
            }
            (None, Some(_)) if self.record.entry.kind == Kind::Adopt => self.moves(None),
            _ => Outcome::of(Subject::Entry, Verdict::void(Why::UnknownVersion)),
        }
    }

    /// An unlisted key binds a version only for channels all of which let it.
    fn access_to_bind(&self) -> Access {
        let listed = self.access_apart();
        let entry = self.entry();
        let mut moved = entry.moves.iter().map(|one| &one.channel);
        let may = moved.len() > 0 && moved.all(|channel| self.state.allows_glass(channel, &entry.kind));
        match (listed, self.glass_key()) {
            (Access::None, Some(key)) if may => Access::Glass(key),
            _ => listed,
        }
    }

    /// A version is bound once. A second digest by somebody who could not see the first makes it contested.
    fn bind(&mut self, version: &Version, digest: Digest) -> Verdict {
        let bound = Bound {
            digest,
            entry: self.record.name,
            position: self.position,
            at: self.entry().at,
            yanked: None,
        };
        let earlier = self.state.versions.get(version);
        let other = earlier.and_then(|earlier| earlier.bound.iter().find(|other| other.digest != digest));
        let other = other.map(|other| other.entry);
        if let Some(same) = earlier.and_then(|earlier| earlier.to(&digest)) {
            return match other {
                Some(other) => Verdict::void_by(Why::Contested, Some(other)),
                None if same.yanked.is_some() => Verdict::void_by(Why::Yanked, same.yanked),
                None => {
                    self.state.pruned.remove(&digest);
                    Verdict::Effect
                }
            };
        }
        if let Some(other) = other.filter(|other| self.author_saw(*other)) {
            return Verdict::void_by(Why::VersionBound, Some(other));
        }
        self.state.versions.value_mut(version).bound.push(bound);
        let named = self.state.named.value_mut(&digest);
        if let Err(at) = named.binary_search(version) {
            named.insert(at, version.clone());
        }
        // Whoever releases an image says that it is there.
        self.state.pruned.remove(&digest);
        match other {
            Some(other) => Verdict::void_by(Why::Contested, Some(other)),
            None => Verdict::Effect,
        }
    }

    /// Whether the author must have seen `earlier`: it is named, directly or by what is named.
    fn author_saw(&self, earlier: EntryName) -> bool {
        let Some(earlier) = self.places.get(&earlier).copied() else {
            return false;
        };
        let named = self.entry().names();
        let mut open: Vec<u64> = named.filter_map(|name| self.places.get(&name).copied()).collect();
        let mut visited = BTreeSet::new();
        while let Some(place) = open.pop() {
            if place == earlier {
                return true;
            }
            // Whatever is named stands before.
            if place > earlier && visited.insert(place) {
                let links = usize::try_from(place)
                    .ok()
                    .and_then(|place| self.links.get(place));
                open.extend(links.into_iter().flatten());
            }
        }
        false
    }

    pub(super) fn yank(&mut self) -> Outcome {
        self.on_version(Self::bar)
    }

    pub(super) fn prune(&mut self) -> Outcome {
        self.on_version(Self::forget)
    }

    fn on_version(&mut self, act: impl Fn(&mut Self, &Version, Digest) -> Verdict) -> Outcome {
        let (Some(version), Some(digest)) = (self.record.entry.version.clone(), self.record.entry.digest)
        else {
            return Outcome::of(Subject::Entry, Verdict::void(Why::UnknownVersion));
        };
        let allowed = self.access_apart().judge();
        let verdict = allowed.and_then(|| act(self, &version, digest));
        Outcome::of(Subject::Version(version), verdict)
    }

    fn bar(&mut self, version: &Version, digest: Digest) -> Verdict {
        let name = self.record.name;
        let binding = self.state.versions.get_mut(version);
        let bound = binding.and_then(|binding| binding.bound.iter_mut().find(|bound| bound.digest == digest));
        match bound {
            None => Verdict::void(Why::UnknownVersion),
            Some(Bound {
                yanked: Some(earlier),
                ..
            }) => Verdict::void_by(Why::Yanked, Some(*earlier)),
            Some(bound) => {
                bound.yanked = Some(name);
                Verdict::Effect
            }
        }
    }

    /// What a channel shows is kept, whoever says that it is not.
    fn forget(&mut self, version: &Version, digest: Digest) -> Verdict {
        let binding = self.state.versions.get(version);
        if binding.and_then(|binding| binding.to(&digest)).is_none() {
            return Verdict::void(Why::UnknownVersion);
        }
        if let Some(earlier) = self.state.pruned.get(&digest) {
            return Verdict::void_by(Why::Pruned, Some(*earlier));
        }
        let mut shown = self
            .state
            .channels
            .values()
            .filter_map(|channel| channel.shows.as_ref());
        if let Some(shown) = shown.find(|shown| shown.digest == digest) {
            return Verdict::void_by(Why::Shown, Some(shown.entry));
        }
        self.state.pruned.insert(digest, self.record.name);
        Verdict::Effect
    }
}
