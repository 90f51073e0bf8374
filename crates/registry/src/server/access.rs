//! Who may do what: rules by repository and tag.
//!
//! A rule only permits; what no rule permits is refused. So rules have no order, and adding one never takes anything
//! away.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use cairn_oci::{RepositoryName, Tag};

use super::config::{Pattern, PatternError, matches_stars};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Somebody without credentials.
    Anonymous,
    /// A user whose password was right.
    User(String),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Reading blobs, manifests, tags and referrers.
    Pull,
    /// Writing blobs, manifests and new tags; not moving a tag that exists.
    Create,
    /// [`Action::Create`], and moving tags.
    Push,
    /// Deleting tags, manifests and blobs.
    Delete,
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        match text {
            "pull" => Ok(Self::Pull),
            "create" => Ok(Self::Create),
            "push" => Ok(Self::Push),
            "delete" => Ok(Self::Delete),
            _ => Err(ActionError {
                text: text.to_owned(),
            }),
        }
    }
}

/// The text is not an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not something to allow: `pull`, `create`, `push` or `delete`")]
pub struct ActionError {
    /// What was given.
    pub text: String,
}

/// Which tags a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'t> {
    /// This tag.
    Tag(&'t Tag),
    /// Content by digest, or a list: enough that the rule is about some tags.
    Some,
    /// Whatever tags there are: the rule must be about all of them.
    All,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Everybody, with or without a password.
    Anybody,
    /// Every user whose password is right.
    AllUsers,
    /// These users.
    Users(BTreeSet<String>),
}

impl Who {
    fn is(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Anybody, _) | (Self::AllUsers, Identity::User(_)) => true,
            (Self::Users(users), Identity::User(user)) => users.contains(user),
            (_, Identity::Anonymous) => false,
        }
    }
}

/// Permits some actions on some repositories to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// To whom.
    pub who: Who,
    /// On which repositories.
    pub repositories: Vec<RepositoryPattern>,
    /// On which tags; all of them if none.
    pub tags: Option<Vec<Pattern>>,
    /// What.
    pub allow: BTreeSet<Action>,
}

impl Rule {
    /// Whether the rule permits `action`.
    #[must_use]
    pub fn permits(&self, who: &Identity, action: Action, name: &RepositoryName, scope: Scope<'_>) -> bool {
        let allowed =
            self.allow.contains(&action) || (action == Action::Create && self.allow.contains(&Action::Push));
        allowed
            && self.who.is(who)
            && self.repositories.iter().any(|pattern| pattern.matches(name))
            && match (&self.tags, scope) {
                (None, _) | (_, Scope::Some) => true,
                (Some(tags), Scope::Tag(tag)) => tags.iter().any(|pattern| pattern.matches(tag)),
                (Some(_), Scope::All) => false,
            }
    }
}

/// A pattern of repositories: a name in which `*` stands for any characters but `/`, and `**` for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPattern(String);

impl FromStr for RepositoryPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-/*".contains(&b);
        let is_name = !text.is_empty()
            && text.len() <= 255
            && text.bytes().all(allowed)
            && text.split('/').all(|part| !part.is_empty());
        if is_name && !text.contains("***") {
            return Ok(Self(text.to_owned()));
        }
        Err(PatternError::Repository {
            text: text.to_owned(),
        })
    }
}

impl RepositoryPattern {
    /// Whether the pattern names `name`.
    #[must_use]
    pub fn matches(&self, name: &RepositoryName) -> bool {
        matches_stars(&self.0, name.as_str(), true)
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(who: Who, repository: &str, tags: Option<&str>, allow: &[Action]) -> Rule {
        Rule {
            who,
            repositories: vec![repository.parse().unwrap()],
            tags: tags.map(|tags| vec![tags.parse().unwrap()]),
            allow: allow.iter().copied().collect(),
        }
    }

    #[test]
    fn patterns_of_repositories_know_slashes() {
        let matches = |pattern: &str, name: &str| {
            let pattern: RepositoryPattern = pattern.parse().unwrap();
            pattern.matches(&name.parse().unwrap())
        };
        for (pattern, name) in [
            ("**", "a/b/c"),
            ("*", "a"),
            ("team/*", "team/web"),
            ("team/**", "team/web/x"),
            ("**/web", "team/a/web"),
            ("team/w*b", "team/wb"),
            ("a*/**", "ab/c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*", "a/b"),
            ("team/*", "team/web/x"),
            ("team/**", "team"),
            ("team/*", "teams/web"),
            ("team", "team/web"),
            ("**/web", "team/web2"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        for bad in ["", "Team", "a//b", "/a", "a/", "a b", "***", "../a b"] {
            assert!(bad.parse::<RepositoryPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn long_patterns_are_matched_in_bounded_time() {
        let pattern: RepositoryPattern = "*a".repeat(100).parse().unwrap();
        let name = "a".repeat(199) + "b";
        assert!(!pattern.matches(&name.parse().unwrap()));
    }

    #[test]
    fn a_rule_permits_what_it_says_and_nothing_else() {
        let ann = Identity::User("ann".to_owned());
        let name: RepositoryName = "team/web".parse().unwrap();
        let (v1, main): (Tag, Tag) = ("v1".parse().unwrap(), "main".parse().unwrap());
        let users = |users: &[&str]| Who::Users(users.iter().map(|user| (*user).to_owned()).collect());
        let some = rule(
            users(&["ann"]),
            "team/*",
            Some("v*"),
            &[Action::Create, Action::Delete],
        );
        assert!(some.permits(&ann, Action::Create, &name, Scope::Tag(&v1)));
        assert!(some.permits(&ann, Action::Create, &name, Scope::Some));
        for (who, action, scope) in [
            (&ann, Action::Push, Scope::Tag(&v1)),
            (&ann, Action::Pull, Scope::Some),
            (&ann, Action::Create, Scope::Tag(&main)),
            (&ann, Action::Delete, Scope::All),
            (&Identity::User("bob".to_owned()), Action::Create, Scope::Tag(&v1)),
            (&Identity::Anonymous, Action::Create, Scope::Tag(&v1)),
        ] {
            assert!(
                !some.permits(who, action, &name, scope),
                "{who:?} {action:?} {scope:?}"
            );
        }
        let all = rule(Who::AllUsers, "**", None, &[Action::Push]);
        assert!(all.permits(&ann, Action::Create, &name, Scope::All));
        assert!(!all.permits(&Identity::Anonymous, Action::Push, &name, Scope::All));
        let open = rule(Who::Anybody, "**", None, &[Action::Pull]);
        assert!(open.permits(&Identity::Anonymous, Action::Pull, &name, Scope::Some));
        assert!(!open.permits(&ann, Action::Create, &name, Scope::Some));
    }
}
