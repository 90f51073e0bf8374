//! From what is asked for to what has to be there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cairn_oci::Digest;

use super::index::{Index, IndexError};
use super::relation::{Atom, Operator, groups};
use super::request::Request;
use super::solve::{Goal, solve};
use super::universe::{Flaw, Universe};
use crate::installed::Installed;

/// How many names are suggested for one that nobody has.
const NEAREST: usize = 3;
/// What every image needs that has no base: the directories of the root with their modes, what system this is, and the users and
/// groups whose numbers are fixed.
const ESSENTIAL: [&str; 2] = ["base-files", "base-passwd"];
/// Who needs these.
pub const FOR_ESSENTIAL: &str = "essential";

/// What is asked, and of which packages.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The image's architecture, in Debian's words: `amd64`, `arm64`, `armhf`, …
    pub architecture: &'a str,
    /// All indexes, the source that comes first counts where two have the same package.
    pub indexes: &'a [Index],
    /// What the base has.
    pub installed: &'a [Installed],
    /// What is asked for.
    pub install: &'a [Request],
    /// Whether what packages recommend comes too, where it can.
    pub recommends: bool,
    /// Whether base-files and base-passwd come too, if the sources have them: alone, for what they need is for their scripts.
    pub essential: bool,
    /// What a lock pins already: where it suits all it is taken, though there is something newer.
    pub pinned: &'a [Installed],
}

/// A package that has to be there and is not yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selected {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// The source package that it was made of.
    pub source: String,
    /// The archive's root that it is from.
    pub uri: String,
    /// The suite that it is from.
    pub suite: String,
    /// The component that it is from; may be empty.
    pub component: String,
    /// Where it is, below the archive's root.
    pub filename: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it unpacks to, in bytes, as it says itself.
    pub installed_size: u64,
    /// What it is.
    pub digest: Digest,
    /// Who needs it, on the shortest way from what was asked for; none: it was asked for.
    pub needed_by: Option<String>,
    /// Whether every system of the distribution has it.
    pub is_essential: bool,
}

impl Selected {
    /// Where it is: the archive's root, and its path with everything escaped that a URL understands differently.
    #[must_use]
    pub fn url(&self) -> String {
        let path = self.filename.strip_prefix("./").unwrap_or(&self.filename);
        format!("{}/{}", self.uri, path.replace('%', "%25"))
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// An index cannot be read.
    #[error("the index of {uri} {suite} {component} cannot be read")]
    Index {
        /// The archive's root.
        uri: String,
        /// Its suite.
        suite: String,
        /// The component.
        component: String,
        /// What is wrong.
        source: IndexError,
    },
    /// A package says something that cannot be read.
    #[error("the package {package} says `{text}`, which cannot be read")]
    Relation {
        /// Which package.
        package: String,
        /// What it says, escaped.
        text: String,
    },
    /// Nobody has a package that is asked for.
    #[error("there is no package `{name}`{}", suggested(nearest))]
    Unknown {
        /// What is asked for.
        name: String,
        /// Names that are much like it, the nearest first.
        nearest: Vec<String>,
    },
    /// A package that is asked for is not there in this version or architecture.
    #[error("there is no `{request}`; there is {}", available.join(", "))]
    Unavailable {
        /// What is asked for.
        request: String,
        /// What there is: versions with architectures, the newest first.
        available: Vec<String>,
    },
    /// A name is one that several packages provide, and none has.
    #[error("`{name}` is no package, but what {} provide: name one of them", providers.join(", "))]
    Virtual {
        /// What is asked for.
        name: String,
        /// Who provides it.
        providers: Vec<String>,
    },
    /// Packages stand in each other's way.
    #[error(
        "what is asked for cannot be had together:\n{explanation}{}",
        in_the_base(replaced)
    )]
    Unsatisfiable {
        /// Which, in several lines.
        explanation: String,
        /// Packages of the base that would have to be replaced, if that would be enough.
        replaced: Vec<String>,
    },
}

fn suggested(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; near it are {}", names.join(", ")),
    }
}

fn in_the_base(replaced: &[String]) -> String {
    match replaced {
        [] => String::new(),
        names => format!(
            "\nthe base has other versions of {}: name them too, to replace them",
            names.join(", ")
        ),
    }
}

/// Finds what has to be there. The same question has the same answer, sorted by name.
///
/// Of each package the pinned version is taken, else the newest, that suits all; of alternatives the first that does; packages of the base are there
/// already, and replaced only if they are asked for by name.
///
/// # Errors
///
/// [`ResolveError`].
pub fn resolve(question: &Question<'_>) -> Result<Vec<Selected>, ResolveError> {
    let named: Vec<&str> = question.install.iter().map(Request::name).collect();
    let result = resolve_replacing(question, &named);
    let Err(ResolveError::Unsatisfiable { explanation, .. }) = result else {
        return result;
    };
    // Perhaps only the base is in the way.
    let all: Vec<&str> = question.installed.iter().map(Installed::name).collect();
    let replaced = resolve_replacing(question, &[named, all.clone()].concat());
    let replaced = replaced.unwrap_or_default();
    let replaced = replaced.into_iter().map(|found| found.name);
    Err(ResolveError::Unsatisfiable {
        explanation,
        replaced: replaced.filter(|name| all.contains(&name.as_str())).collect(),
    })
}

/// As [`resolve`], where packages of the base that have these names may be replaced.
fn resolve_replacing(question: &Question<'_>, upgradable: &[&str]) -> Result<Vec<Selected>, ResolveError> {
    let universe = Universe::new(
        question.architecture,
        question.indexes,
        question.installed,
        upgradable,
        question.pinned,
    );
    let universe = universe.map_err(|flaw| blame(question, flaw))?;
    let mut goals = Vec::new();
    for request in question.install {
        goals.push(goal(&universe, request)?);
    }
    let asked = goals.len();
    goals.extend(base_goals(&universe));
    let mut wishes = Vec::new();
    loop {
        let unsatisfiable = |explanation| ResolveError::Unsatisfiable {
            explanation,
            replaced: Vec::new(),
        };
        let chosen = solve(&universe, &goals, &wishes).map_err(unsatisfiable)?;
        // Nothing is wished for twice, so this ends.
        let further = if question.recommends {
            recommended(&universe, &chosen, &wishes)
        } else {
            Vec::new()
        };
        if further.is_empty() {
            return Ok(answer(question, &universe, &goals[..asked], &chosen));
        }
        wishes.extend(further);
    }
}

/// What the base has is true from the beginning, so that no alternative to it is chosen.
fn base_goals(universe: &Universe<'_>) -> Vec<Goal> {
    let keys = (0..universe.keys.len()).filter(|key| {
        let mut members = universe.members(*key).iter();
        members.any(|at| universe.candidates[*at].is_installed)
    });
    keys.map(|key| Goal {
        candidates: universe.members(key).to_vec(),
        shown: universe.keys[key].name.to_owned(),
    })
    .collect()
}

fn blame(question: &Question<'_>, flaw: Flaw) -> ResolveError {
    match flaw {
        Flaw::Index { index, source } => {
            let index = &question.indexes[index];
            ResolveError::Index {
                uri: index.uri.clone(),
                suite: index.suite.clone(),
                component: index.component.clone(),
                source,
            }
        }
        Flaw::Relation { package, unreadable } => ResolveError::Relation {
            package,
            text: unreadable.0,
        },
    }
}

fn goal(universe: &Universe<'_>, request: &Request) -> Result<Goal, ResolveError> {
    let name = request.name();
    let atom = Atom {
        name,
        architecture: request.architecture(),
        version: request.version().map(|version| (Operator::Equal, version)),
    };
    let candidates = universe.satisfying(&atom, universe.native());
    let own: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|at| universe.candidates[*at].package.name == name)
        .collect();
    if !own.is_empty() {
        let shown =
            request.to_string().replace('=', " (= ") + if request.version().is_some() { ")" } else { "" };
        return Ok(Goal {
            candidates: own,
            shown,
        });
    }
    let there: Vec<String> = universe
        .keys_of(name)
        .iter()
        .flat_map(|key| universe.members(*key))
        .map(|at| {
            let package = &universe.candidates[*at].package;
            format!("{} for {}", package.version, package.architecture)
        })
        .collect();
    if !there.is_empty() {
        let request = request.to_string();
        return Err(ResolveError::Unavailable {
            request,
            available: there,
        });
    }
    let providers: BTreeSet<&str> = candidates
        .iter()
        .map(|at| universe.candidates[*at].package.name)
        .collect();
    match providers.len() {
        0 => Err(ResolveError::Unknown {
            name: name.to_owned(),
            nearest: nearest(universe, name),
        }),
        1 => Ok(Goal {
            candidates,
            shown: name.to_owned(),
        }),
        _ => Err(ResolveError::Virtual {
            name: name.to_owned(),
            providers: providers.into_iter().map(str::to_owned).collect(),
        }),
    }
}

/// Names that can be meant: with few letters changed, or with this one in it.
fn nearest(universe: &Universe<'_>, name: &str) -> Vec<String> {
    let most = (name.len() / 4).max(1);
    let mut near: Vec<(usize, &str)> = universe
        .names()
        .filter(|other| other.len().abs_diff(name.len()) <= most || other.contains(name))
        .filter_map(|other| {
            let distance = strsim::damerau_levenshtein(name, other);
            let is_part = name.len() >= 3 && other.split(['-', '.', '+']).any(|part| part == name);
            (distance <= most || is_part).then_some((distance, other))
        })
        .collect();
    near.sort_unstable();
    near.into_iter()
        .take(NEAREST)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// What the chosen packages recommend and do not have: the first that there is of each group.
fn recommended(universe: &Universe<'_>, chosen: &BTreeSet<usize>, tried: &[usize]) -> Vec<usize> {
    let mut further = Vec::new();
    for at in chosen {
        let architecture = universe.architecture(*at);
        // One that cannot be read recommends nothing.
        for group in groups(universe.candidates[*at].package.recommends).unwrap_or_default() {
            let all: Vec<usize> = group
                .iter()
                .flat_map(|atom| universe.satisfying(atom, architecture))
                .collect();
            let is_there = all.iter().any(|at| chosen.contains(at) || further.contains(at));
            let first = all.into_iter().find(|at| !tried.contains(at));
            further.extend(first.filter(|_| !is_there));
        }
    }
    further
}

fn answer(
    question: &Question<'_>,
    universe: &Universe<'_>,
    goals: &[Goal],
    chosen: &BTreeSet<usize>,
) -> Vec<Selected> {
    let reasons = reasons(question, universe, goals, chosen);
    let new = chosen.iter().filter(|at| !universe.candidates[**at].is_installed);
    let essential = match question.essential {
        true => essential(universe, chosen),
        false => Vec::new(),
    };
    let mut selected: Vec<Selected> = new
        .chain(&essential)
        .map(|at| {
            let candidate = &universe.candidates[*at];
            let (package, index) = (&candidate.package, &question.indexes[candidate.index]);
            Selected {
                name: package.name.to_owned(),
                version: package.version.to_owned(),
                architecture: package.architecture.to_owned(),
                source: package.source.to_owned(),
                uri: index.uri.clone(),
                suite: index.suite.clone(),
                component: index.component.clone(),
                filename: package.filename.to_owned(),
                size: package.size,
                installed_size: package.installed_kib.saturating_mul(1024),
                digest: package.digest,
                needed_by: match essential.contains(at) {
                    true => Some(FOR_ESSENTIAL.to_owned()),
                    false => reasons.get(at).cloned().flatten(),
                },
                is_essential: package.is_essential,
            }
        })
        .collect();
    selected.sort();
    selected
}

/// The newest of each of [`ESSENTIAL`] that is not there.
fn essential(universe: &Universe<'_>, chosen: &BTreeSet<usize>) -> Vec<usize> {
    let name_of = |at: &usize| universe.candidates[*at].package.name;
    let missing = ESSENTIAL
        .into_iter()
        .filter(|name| !chosen.iter().any(|at| name_of(at) == *name));
    let newest = missing.filter_map(|name| {
        let atom = Atom {
            name,
            architecture: None,
            version: None,
        };
        let found = universe.satisfying(&atom, universe.native());
        found.into_iter().find(|at| name_of(at) == name)
    });
    newest.collect()
}

/// Who needs each package, on the shortest way from what was asked for. None: it was asked for.
fn reasons(
    question: &Question<'_>,
    universe: &Universe<'_>,
    goals: &[Goal],
    chosen: &BTreeSet<usize>,
) -> BTreeMap<usize, Option<String>> {
    let mut reasons = BTreeMap::new();
    let mut open = VecDeque::new();
    for at in goals
        .iter()
        .flat_map(|goal| &goal.candidates)
        .filter(|at| chosen.contains(at))
    {
        if reasons.insert(*at, None).is_none() {
            open.push_back(*at);
        }
    }
    while let Some(at) = open.pop_front() {
        let package = &universe.candidates[at].package;
        let mut needed = package.requirements().unwrap_or_default();
        if question.recommends {
            needed.extend(groups(package.recommends).unwrap_or_default());
        }
        for atom in needed.iter().flatten() {
            for other in universe.satisfying(atom, universe.architecture(at)) {
                if chosen.contains(&other) && !reasons.contains_key(&other) {
                    reasons.insert(other, Some(package.name.to_owned()));
                    open.push_back(other);
                }
            }
        }
    }
    reasons
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
