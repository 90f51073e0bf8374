//! The universe as `resolvo` asks for it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;

use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, DenseIndex as _, Dependencies,
    DependencyProvider, HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement,
    SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};

use super::relation::{Atom, Unreadable};
use super::universe::Universe;

/// Some candidates of one key, and how a message calls them.
struct Set {
    name: NameId,
    candidates: Vec<usize>,
    shown: String,
}

/// What is wanted: any of these candidates, in this order.
pub(super) struct Goal {
    pub(super) candidates: Vec<usize>,
    pub(super) shown: String,
}

struct Provider<'u, 'b> {
    universe: &'u Universe<'b>,
    /// Keys that have to be there whatever is chosen.
    certain: BTreeSet<usize>,
    sets: RefCell<Vec<Set>>,
    unions: RefCell<Vec<Vec<VersionSetId>>>,
    /// Names of which there is no package, after all keys.
    nobody: RefCell<Vec<String>>,
    strings: RefCell<Vec<String>>,
}

/// The candidates to choose, in the order of their numbers; or, in words, why there are none.
pub(super) fn solve(
    universe: &Universe<'_>,
    goals: &[Goal],
    wishes: &[usize],
) -> Result<BTreeSet<usize>, String> {
    let provider = Provider {
        universe,
        certain: certain(universe, goals),
        sets: RefCell::default(),
        unions: RefCell::default(),
        nobody: RefCell::default(),
        strings: RefCell::default(),
    };
    let requirements = goals.iter().map(|goal| {
        let sets = provider.sets_of(&goal.candidates, &goal.shown);
        provider.requirement(sets, &goal.shown)
    });
    let problem = Problem::new()
        .requirements(requirements.collect())
        .soft_requirements(wishes.iter().map(|at| SolvableId::from_index(*at)));
    let mut solver = Solver::new(provider);
    match solver.solve(problem) {
        Ok(chosen) => Ok(chosen.into_iter().map(resolvo::DenseIndex::to_index).collect()),
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => Err(conflict
            .display_user_friendly(&solver)
            .to_string()
            .trim_end()
            .to_owned()),
        // Nothing here ever cancels.
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err("it was given up".to_owned()),
    }
}

/// What there is no choice about: the goals, and what they need without an alternative.
///
/// Of the alternatives of others, one that is there anyway is better than the first, which would come on top of it.
fn certain(universe: &Universe<'_>, goals: &[Goal]) -> BTreeSet<usize> {
    let mut certain = BTreeSet::new();
    let only_key = |candidates: &[usize]| {
        let mut keys = candidates.iter().map(|at| universe.candidates[*at].key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some((first, candidates[0]))
    };
    let mut open: Vec<_> = goals
        .iter()
        .filter_map(|goal| only_key(&goal.candidates))
        .collect();
    while let Some((key, newest)) = open.pop() {
        if !certain.insert(key) {
            continue;
        }
        let architecture = universe.architecture(newest);
        let needed = universe.candidates[newest]
            .package
            .requirements()
            .unwrap_or_default();
        open.extend(needed.iter().filter_map(|group| {
            let all: Vec<_> = group
                .iter()
                .flat_map(|atom| universe.satisfying(atom, architecture))
                .collect();
            only_key(&all)
        }));
    }
    certain
}

impl Provider<'_, '_> {
    /// The candidates by key, in the order in which the keys come first.
    fn sets_of(&self, candidates: &[usize], shown: &str) -> Vec<VersionSetId> {
        let mut keys: Vec<(usize, Vec<usize>)> = Vec::new();
        for at in candidates {
            let key = self.universe.candidates[*at].key;
            match keys.iter_mut().find(|(other, _)| *other == key) {
                Some((_, members)) => members.push(*at),
                None => keys.push((key, vec![*at])),
            }
        }
        keys.into_iter()
            .map(|(key, candidates)| self.set(NameId::from_index(key), candidates, shown.to_owned()))
            .collect()
    }

    fn set(&self, name: NameId, candidates: Vec<usize>, shown: String) -> VersionSetId {
        let mut sets = self.sets.borrow_mut();
        sets.push(Set {
            name,
            candidates,
            shown,
        });
        VersionSetId::from_index(sets.len() - 1)
    }

    fn requirement(&self, sets: Vec<VersionSetId>, shown: &str) -> ConditionalRequirement {
        match sets[..] {
            [] => self.impossible(shown).into(),
            [only] => only.into(),
            _ => {
                let mut unions = self.unions.borrow_mut();
                unions.push(sets);
                Requirement::Union(VersionSetUnionId::from_index(unions.len() - 1)).into()
            }
        }
    }

    /// A requirement that nothing satisfies, under the name of what is missing.
    fn impossible(&self, shown: &str) -> VersionSetId {
        let name = shown.split([' ', ':']).next().unwrap_or(shown);
        let known = self.universe.keys_of(name).first().copied();
        let name = known.unwrap_or_else(|| {
            let mut nobody = self.nobody.borrow_mut();
            nobody.push(name.to_owned());
            self.universe.keys.len() + nobody.len() - 1
        });
        self.set(NameId::from_index(name), Vec::new(), shown.to_owned())
    }

    fn known(&self, at: usize) -> Result<KnownDependencies, Unreadable> {
        let candidate = &self.universe.candidates[at];
        let architecture = self.universe.architecture(at);
        let mut known = KnownDependencies::default();
        for group in candidate.package.requirements()? {
            let shown = shown(&group);
            let mut sets: Vec<_> = group
                .iter()
                .flat_map(|atom| {
                    self.sets_of(&self.universe.satisfying(atom, architecture), &atom.to_string())
                })
                .collect();
            sets.sort_by_key(|set| {
                let key = self.sets.borrow()[set.to_index()].name.to_index();
                !self.certain.contains(&key)
            });
            known.requirements.push(self.requirement(sets, &shown));
        }
        for atom in candidate.package.enemies()? {
            let enemies = self
                .universe
                .matching(&atom)
                .filter(|enemy| match atom.architecture {
                    None | Some("any") => true,
                    Some(named) => self.universe.architecture(*enemy) == named,
                });
            known.constrains.extend(self.without(
                &enemies.collect::<Vec<_>>(),
                candidate.key,
                &atom.to_string(),
            ));
        }
        known.constrains.extend(self.beside_itself(at));
        Ok(known)
    }

    /// Everything of the keys of `enemies` but these; a package is no enemy of itself.
    fn without(&self, enemies: &[usize], own: usize, shown: &str) -> Vec<VersionSetId> {
        let keys: BTreeSet<_> = enemies
            .iter()
            .map(|at| self.universe.candidates[*at].key)
            .collect();
        let keys = keys.into_iter().filter(|key| *key != own);
        keys.map(|key| {
            let others = self.universe.members(key).iter().copied();
            let others = others.filter(|at| !enemies.contains(at)).collect();
            self.set(NameId::from_index(key), others, format!("not {shown}"))
        })
        .collect()
    }

    /// One name in two architectures: of one version, and only if the package is made for that (Multi-Arch: same).
    fn beside_itself(&self, at: usize) -> Vec<VersionSetId> {
        let candidate = &self.universe.candidates[at];
        let package = candidate.package;
        let keys = self.universe.keys_of(package.name).iter().copied();
        keys.filter(|key| *key != candidate.key)
            .map(|key| {
                let others = self.universe.members(key).iter().copied();
                let alike = others.filter(|other| {
                    let other = self.universe.candidates[*other].package;
                    package.multi_arch == "same"
                        && other.multi_arch == "same"
                        && other.version == package.version
                });
                self.set(
                    NameId::from_index(key),
                    alike.collect(),
                    format!("the same version as {}", package.version),
                )
            })
            .collect()
    }

    fn string(&self, text: String) -> StringId {
        let mut strings = self.strings.borrow_mut();
        strings.push(text);
        StringId::from_index(strings.len() - 1)
    }
}

/// A group as it is written.
pub(super) fn shown(group: &[Atom<'_>]) -> String {
    group
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" | ")
}

impl Interner for Provider<'_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let candidate = &self.universe.candidates[solvable.to_index()];
        let base = if candidate.is_installed {
            " (of the base)"
        } else {
            ""
        };
        format!(
            "{} {}{base}",
            self.display_name(NameId::from_index(candidate.key)),
            candidate.package.version
        )
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl Display + '_ {
        let versions: Vec<_> = solvables
            .iter()
            .map(|at| self.display_solvable(*at).to_string())
            .collect();
        versions.join(" | ")
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        let number = name.to_index();
        match self.universe.keys.get(number) {
            Some(key) if key.architecture == self.universe.native() => key.name.to_owned(),
            Some(key) => format!("{}:{}", key.name, key.architecture),
            None => self.nobody.borrow()[number - self.universe.keys.len()].clone(),
        }
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        let sets = self.sets.borrow();
        let set = &sets[version_set.to_index()];
        // The name stands before it already, where it is that name.
        let name = self.display_name(set.name).to_string();
        let rest = set.shown.strip_prefix(&name).map(str::trim_start);
        match rest {
            Some("") => "*".to_owned(),
            Some(rest) if rest.starts_with('(') => rest.to_owned(),
            _ => format!("(as {})", set.shown),
        }
    }

    fn display_string(&self, string_id: StringId) -> impl Display + '_ {
        self.strings.borrow()[string_id.to_index()].clone()
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        self.sets.borrow()[version_set.to_index()].name
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_index(self.universe.candidates[solvable.to_index()].key)
    }

    fn version_sets_in_union(
        &self,
        version_set_union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.unions.borrow()[version_set_union.to_index()]
            .clone()
            .into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("no requirement of ours has a condition")
    }
}

impl DependencyProvider for Provider<'_, '_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let sets = self.sets.borrow();
        let own = &sets[version_set.to_index()].candidates;
        let belongs = |at: &&SolvableId| own.contains(&at.to_index()) != inverse;
        candidates.iter().filter(belongs).copied().collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let number = name.to_index();
        if number >= self.universe.keys.len() {
            return None;
        }
        let members = self.universe.members(number);
        Some(Candidates {
            candidates: members.iter().map(|at| SolvableId::from_index(*at)).collect(),
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let place = |at: &SolvableId| {
            let key = self.universe.candidates[at.to_index()].key;
            self.universe
                .members(key)
                .iter()
                .position(|other| *other == at.to_index())
        };
        solvables.sort_by_key(place);
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        match self.known(solvable.to_index()) {
            Ok(known) => Dependencies::Known(known),
            Err(Unreadable(text)) => {
                Dependencies::Unknown(self.string(format!("`{text}` in what it depends on cannot be read")))
            }
        }
    }
}
