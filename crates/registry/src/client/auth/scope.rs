//! What a token is good for (distribution, "Docker Registry v2 authentication": scopes).

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::RepositoryName;

use crate::wire::Route;
use crate::wire::route::{BlobAction, ManifestAction};

/// Most resources that a challenge can add.
const RESOURCE_LIMIT: usize = 16;
/// Longest scope of a challenge, in bytes.
const LENGTH_LIMIT: usize = 4 << 10;

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Pull,
    Push,
    Delete,
}

/// Which repository a request is about, and what it wants there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::client) struct Access {
    wanted: Option<(RepositoryName, Action)>,
    from: Option<RepositoryName>,
}

impl Access {
    /// What an endpoint needs. Those of a whole registry need nothing.
    pub(in crate::client) fn to(route: &Route) -> Self {
        let (name, action) = match route {
            Route::Ping | Route::Catalog | Route::Discover(None) => return Self::default(),
            Route::Discover(Some(name)) | Route::Tags(name) | Route::Referrers(name, _) => {
                (name, Action::Pull)
            }
            Route::Blob(BlobAction::Delete, name, _) | Route::Manifest(ManifestAction::Delete, name, _) => {
                (name, Action::Delete)
            }
            Route::Blob(_, name, _)
            | Route::Manifest(ManifestAction::Read | ManifestAction::Stat, name, _) => (name, Action::Pull),
            Route::BeginUpload(name) | Route::Upload(_, name, _) | Route::Manifest(_, name, _) => {
                (name, Action::Push)
            }
        };
        Self {
            wanted: Some((name.clone(), action)),
            from: None,
        }
    }

    /// Reads in `name`: for what belongs to the whole registry, and is asked on behalf of one repository.
    pub(in crate::client) fn pull(name: &RepositoryName) -> Self {
        Self {
            wanted: Some((name.clone(), Action::Pull)),
            from: None,
        }
    }

    /// Writes in `name`.
    pub(in crate::client) fn push(name: &RepositoryName) -> Self {
        Self {
            wanted: Some((name.clone(), Action::Push)),
            from: None,
        }
    }

    /// The same, and reads in `from`: a mount needs both.
    pub(in crate::client) fn and_pull(mut self, from: &RepositoryName) -> Self {
        self.from = Some(from.clone());
        self
    }

    /// Whether it reads in one repository for another one's sake.
    pub(super) fn is_mount(&self) -> bool {
        self.from.is_some()
    }

    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        self.wanted.as_ref().map(|(name, _)| name)
    }

    /// What is wanted where, without a mount's source.
    pub(super) fn wanted(&self) -> Option<&(RepositoryName, Action)> {
        self.wanted.as_ref()
    }

    /// The scopes that every token server understands. None for a deletion: servers differ in what they call it, and some
    /// refuse a token for a word that they do not know, so the challenge has to say.
    pub(super) fn scopes(&self) -> Option<Scopes> {
        let mut scopes = Scopes::default();
        match &self.wanted {
            None => {}
            Some((_, Action::Delete)) => return None,
            Some((name, Action::Pull)) => scopes.add_repository(name, &["pull"]),
            Some((name, Action::Push)) => scopes.add_repository(name, &["pull", "push"]),
        }
        if let Some(from) = &self.from {
            scopes.add_repository(from, &["pull"]);
        }
        Some(scopes)
    }

    /// The scopes where a challenge does not say them.
    pub(super) fn default_scopes(&self) -> Scopes {
        self.scopes().unwrap_or_else(|| {
            let mut scopes = Scopes::default();
            if let Some(name) = self.repository() {
                scopes.add_repository(name, &["delete"]);
            }
            scopes
        })
    }
}

/// Resources, and what may be done with each: `repository:team/web:pull,push`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// Reads the `scope` of a challenge: scopes with spaces between them. One of another form is kept as it is.
    pub(super) fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        if text.len() > LENGTH_LIMIT {
            return scopes;
        }
        for scope in text.split_ascii_whitespace().take(RESOURCE_LIMIT) {
            match scope.rsplit_once(':') {
                Some((resource, actions)) if resource.contains(':') => {
                    scopes.add(resource, actions.split(',').filter(|action| !action.is_empty()));
                }
                _ => scopes.add(scope, []),
            }
        }
        scopes
    }

    fn add_repository(&mut self, name: &RepositoryName, actions: &[&str]) {
        self.add(&format!("repository:{name}"), actions.iter().copied());
    }

    fn add<'a>(&mut self, resource: &str, actions: impl IntoIterator<Item = &'a str>) {
        let known = self.0.entry(resource.to_owned()).or_default();
        known.extend(actions.into_iter().map(str::to_owned));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Both.
    pub(super) fn merged(mut self, other: Self) -> Self {
        for (resource, actions) in other.0 {
            self.0.entry(resource).or_default().extend(actions);
        }
        self
    }

    /// Whether who may do this may do that.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(resource, wanted)| {
            let known = self.0.get(resource);
            known.is_some_and(|known| known.is_superset(wanted) || known.contains("*"))
        })
    }

    /// How long they are when they are written, in bytes.
    pub(super) fn length(&self) -> usize {
        self.texts().iter().map(|text| text.len() + 1).sum()
    }

    /// Each scope as it is written.
    pub(super) fn texts(&self) -> Vec<String> {
        let text = |(resource, actions): (&String, &BTreeSet<String>)| {
            if actions.is_empty() {
                return resource.clone();
            }
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        };
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn scopes_are_merged_by_resource() {
        let scopes = Scopes::parse("repository:a/b:pull registry:catalog:*  repository:a/b:push,pull aws");
        assert_eq!(
            scopes.texts(),
            ["aws", "registry:catalog:*", "repository:a/b:pull,push"]
        );
        // The name of a mirrored repository can begin with a host and its port.
        let scopes = scopes.merged(Scopes::parse("repository:r.example.org:5000/a:pull"));
        assert_eq!(scopes.texts().len(), 4);
        assert!(scopes.covers(&Scopes::parse("repository:a/b:pull")));
        assert!(!scopes.covers(&Scopes::parse("repository:a/b:delete")));
        assert!(!scopes.covers(&Scopes::parse("repository:a:pull")));
        assert!(scopes.covers(&Scopes::default()));
        assert!(Scopes::parse("repository:a:*").covers(&Scopes::parse("repository:a:pull,delete")));
    }

    #[test]
    fn c3_the_scopes_of_a_challenge_are_bounded() {
        let many: String = (0..1000).map(|number| format!("r:{number}:x ")).collect();
        assert!(Scopes::parse(&many).is_empty());
        assert_eq!(Scopes::parse(&many[..1000]).0.len(), RESOURCE_LIMIT);
    }

    #[test]
    fn what_an_endpoint_needs() {
        let digest = cairn_oci::Digest::of(b"");
        let (a, b) = (name("a"), name("b"));
        let scopes = |access: &Access| access.default_scopes().texts();
        assert_eq!(scopes(&Access::to(&Route::Ping)), Vec::<String>::new());
        assert_eq!(
            scopes(&Access::to(&Route::Tags(a.clone()))),
            ["repository:a:pull"]
        );
        let begin = Access::to(&Route::BeginUpload(a.clone()));
        assert_eq!(scopes(&begin), ["repository:a:pull,push"]);
        let mount = begin.and_pull(&b);
        assert_eq!(scopes(&mount), ["repository:a:pull,push", "repository:b:pull"]);
        let delete = Access::to(&Route::Blob(BlobAction::Delete, a.clone(), digest));
        assert_eq!(delete.scopes(), None);
        assert_eq!(scopes(&delete), ["repository:a:delete"]);
        assert_eq!(
            Access::push(&a).scopes(),
            Access::to(&Route::BeginUpload(a)).scopes()
        );
    }
}
