//! All packages that there are, by name and by what they provide.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::Digest;

use super::index::{Index, IndexError, Package};
use super::relation::{Atom, Unreadable, atoms};
use super::version::compare;
use crate::installed::Installed;

/// One package that can be chosen, or is there already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'b> {
    pub(super) package: Package<'b>,
    /// Which index it is from.
    pub(super) index: usize,
    /// The base has it.
    pub(super) is_installed: bool,
    /// Number of its key.
    pub(super) key: usize,
}

/// What there can be one of: a name and an architecture. Packages for all architectures count as those of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'b> {
    pub(super) name: &'b str,
    pub(super) architecture: &'b str,
}

/// Why the packages cannot be put together.
#[derive(Debug)]
pub(super) enum Flaw {
    Index { index: usize, source: IndexError },
    Relation { package: String, unreadable: Unreadable },
}

pub(super) struct Universe<'b> {
    /// The image's architecture.
    native: &'b str,
    pub(super) candidates: Vec<Candidate<'b>>,
    pub(super) keys: Vec<Key<'b>>,
    by_key: BTreeMap<Key<'b>, usize>,
    /// Of each key, what is pinned first, then the newest.
    members: Vec<Vec<usize>>,
    /// Of each name, in which architectures there are packages.
    architectures: BTreeMap<&'b str, Vec<usize>>,
    /// Who provides a name, and in which version.
    providers: BTreeMap<&'b str, Vec<(usize, Option<&'b str>)>>,
}

impl<'b> Universe<'b> {
    /// `upgradable` are the names of installed packages that may be replaced: others are the only candidates of their key. What is
    /// `pinned` comes before what is newer.
    pub(super) fn new(
        native: &'b str,
        indexes: &'b [Index],
        installed: &'b [Installed],
        upgradable: &[&str],
        pinned: &[Installed],
    ) -> Result<Self, Flaw> {
        let mut universe = Self {
            native,
            candidates: Vec::new(),
            keys: Vec::new(),
            by_key: BTreeMap::new(),
            members: Vec::new(),
            architectures: BTreeMap::new(),
            providers: BTreeMap::new(),
        };
        for (number, index) in indexes.iter().enumerate() {
            let packages = index.packages().map_err(|source| Flaw::Index {
                index: number,
                source,
            })?;
            for package in packages {
                universe.add(package, number, false);
            }
        }
        for own in installed {
            universe.add_installed(own, upgradable);
        }
        universe.sort(&pinned.iter().collect());
        universe.index_provides()?;
        Ok(universe)
    }

    fn add(&mut self, package: Package<'b>, index: usize, is_installed: bool) {
        let architecture = match package.architecture {
            "all" => self.native,
            other => other,
        };
        let key = Key {
            name: package.name,
            architecture,
        };
        let number = *self.by_key.entry(key).or_insert_with(|| {
            self.keys.push(key);
            self.members.push(Vec::new());
            self.architectures
                .entry(key.name)
                .or_default()
                .push(self.keys.len() - 1);
            self.keys.len() - 1
        });
        // The same package in two suites is one; the first source counts.
        let is_known = self.members[number].iter().any(|other| {
            let other = &self.candidates[*other];
            other.package.version == package.version && other.is_installed == is_installed
        });
        if !is_known {
            self.members[number].push(self.candidates.len());
            self.candidates.push(Candidate {
                package,
                index,
                is_installed,
                key: number,
            });
        }
    }

    /// What the base has is known by three words. What it provides is that of the same package in an index, or else of the newest
    /// there: seldom does a name that a package provides change within a release.
    fn add_installed(&mut self, own: &'b Installed, upgradable: &[&str]) {
        let architecture = if own.architecture() == "all" {
            self.native
        } else {
            own.architecture()
        };
        let key = Key {
            name: own.name(),
            architecture,
        };
        let known = self
            .by_key
            .get(&key)
            .map(|number| self.members[*number].clone())
            .unwrap_or_default();
        let known = known.iter().map(|at| self.candidates[*at].package);
        let alike = known.max_by(|left, right| {
            let is_same = |package: &Package<'_>| package.version == own.version();
            is_same(left)
                .cmp(&is_same(right))
                .then_with(|| compare(left.version, right.version))
        });
        let is_same = alike.is_some_and(|alike| alike.version == own.version());
        let package = Package {
            name: own.name(),
            version: own.version(),
            architecture: own.architecture(),
            multi_arch: alike.map_or("", |alike| alike.multi_arch),
            source: alike.map_or(own.name(), |alike| alike.source),
            priority: "",
            is_essential: false,
            // Whoever made the base saw to what it needs.
            depends: "",
            pre_depends: "",
            recommends: "",
            provides: alike.map_or("", |alike| alike.provides),
            conflicts: alike.filter(|_| is_same).map_or("", |alike| alike.conflicts),
            breaks: alike.filter(|_| is_same).map_or("", |alike| alike.breaks),
            filename: "",
            size: 0,
            installed_kib: 0,
            digest: Digest::of(b""),
        };
        if let (Some(number), false) = (self.by_key.get(&key), upgradable.contains(&own.name())) {
            self.members[*number].clear();
        }
        self.add(package, usize::MAX, true);
    }

    fn sort(&mut self, pinned: &BTreeSet<&Installed>) {
        let candidates = &self.candidates;
        let is_pinned = |package: &Package<'_>| {
            let identity = Installed::new(package.name, package.version, package.architecture);
            identity.is_ok_and(|identity| pinned.contains(&identity))
        };
        for members in &mut self.members {
            let chosen: BTreeSet<usize> = match (members.len(), pinned.is_empty()) {
                (0 | 1, _) | (_, true) => BTreeSet::new(),
                _ => (members.iter().copied())
                    .filter(|at| is_pinned(&candidates[*at].package))
                    .collect(),
            };
            // Of one version, what is there already comes first.
            members.sort_by(|left, right| {
                let of_pins = chosen.contains(right).cmp(&chosen.contains(left));
                let (left, right) = (&candidates[*left], &candidates[*right]);
                of_pins
                    .then_with(|| compare(right.package.version, left.package.version))
                    .then_with(|| right.is_installed.cmp(&left.is_installed))
            });
        }
    }

    fn index_provides(&mut self) -> Result<(), Flaw> {
        for at in self.members.iter().flatten() {
            let package = self.candidates[*at].package;
            if package.provides.is_empty() {
                continue;
            }
            let provided = atoms(package.provides).map_err(|unreadable| Flaw::Relation {
                package: package.name.to_owned(),
                unreadable,
            })?;
            for atom in provided {
                let version = atom.version.map(|(_, version)| version);
                self.providers.entry(atom.name).or_default().push((*at, version));
            }
        }
        // Those that a system is likelier to have come first; then by name, and the newest.
        let (candidates, keys) = (&self.candidates, &self.keys);
        for providers in self.providers.values_mut() {
            providers.sort_by_key(|(at, _)| {
                (
                    rank(candidates[*at].package.priority),
                    keys[candidates[*at].key].name,
                )
            });
        }
        Ok(())
    }

    pub(super) const fn native(&self) -> &'b str {
        self.native
    }

    /// The candidates of a key, the newest first.
    pub(super) fn members(&self, key: usize) -> &[usize] {
        &self.members[key]
    }

    pub(super) fn architecture(&self, candidate: usize) -> &'b str {
        self.keys[self.candidates[candidate].key].architecture
    }

    /// Keys with this name, in all architectures.
    pub(super) fn keys_of(&self, name: &str) -> &[usize] {
        self.architectures.get(name).map_or(&[], Vec::as_slice)
    }

    /// All names of packages.
    pub(super) fn names(&self) -> impl Iterator<Item = &'b str> + '_ {
        self.architectures.keys().copied()
    }

    /// Who satisfies what a package for `architecture` needs: packages of the name first, the newest first; then who provides
    /// it.
    pub(super) fn satisfying(&self, atom: &Atom<'_>, architecture: &str) -> Vec<usize> {
        let suits = |at: &usize| {
            let multi_arch = self.candidates[*at].package.multi_arch;
            match atom.architecture {
                None => self.architecture(*at) == architecture || multi_arch == "foreign",
                Some("any") => {
                    self.architecture(*at) == architecture || matches!(multi_arch, "allowed" | "foreign")
                }
                Some(named) => self.architecture(*at) == named,
            }
        };
        let mut found: Vec<usize> = self.matching(atom).filter(suits).collect();
        // What is of the same architecture comes before what would do too.
        found.sort_by_key(|at| Reverse(self.architecture(*at) == architecture));
        found
    }

    /// All that are meant by a name and a version, of whatever architecture.
    pub(super) fn matching<'s>(&'s self, atom: &Atom<'s>) -> impl Iterator<Item = usize> + use<'s, 'b> {
        let atom = *atom;
        let named = self
            .keys_of(atom.name)
            .iter()
            .flat_map(|key| self.members[*key].iter().copied());
        let named = named.filter(move |at| atom.takes(self.candidates[*at].package.version));
        let providers = self.providers.get(atom.name).map_or(&[][..], Vec::as_slice);
        let providers = providers
            .iter()
            .filter(move |(_, version)| match (atom.version, version) {
                (None, _) => true,
                (Some(_), Some(version)) => atom.takes(version),
                (Some(_), None) => false,
            });
        let mut seen: Vec<usize> = Vec::new();
        named.chain(providers.map(|(at, _)| *at)).filter(move |at| {
            let is_new = !seen.contains(at);
            seen.push(*at);
            is_new
        })
    }
}

fn rank(priority: &str) -> u8 {
    match priority {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        "optional" => 3,
        _ => 4,
    }
}
