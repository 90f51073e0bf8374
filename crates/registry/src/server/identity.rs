//! Who asks: credentials of a request (RFC 7617), and what that permits.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_oci::{RepositoryName, Tag};
use cairn_store::Target;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Shared;
use super::access::{Action, Identity, Scope};
use super::answer::Answer;
use super::config::{BasicAuth, Challenge, ServerConfig, Verdict};
use crate::wire::Route;
use crate::wire::route::{BlobAction, ManifestAction};

/// Longest `Authorization` header that is looked at, in bytes.
const LIMIT: usize = 4096;

/// Who sent these headers. Credentials that are wrong are an error, also where none are needed.
pub(super) async fn identify(shared: &Shared, headers: &HeaderMap, peer: IpAddr) -> Result<Identity, Answer> {
    let Some(basic) = &shared.config.basic else {
        return Ok(Identity::Anonymous);
    };
    if !headers.contains_key(AUTHORIZATION) {
        return Ok(Identity::Anonymous);
    }
    let Some((user, password)) = credentials(headers) else {
        return Err(Answer::unauthorized(&basic.realm));
    };
    if user.is_empty() && password.is_empty() {
        // What skopeo and podman send when they were challenged and have no credentials.
        return Ok(Identity::Anonymous);
    }
    let verdict = basic.accounts.verify(&user, &password, peer).await;
    shared.metrics.count_login(verdict);
    match verdict {
        Verdict::Allowed => Ok(Identity::User(user)),
        Verdict::Refused => Err(Answer::unauthorized(&basic.realm)),
        Verdict::Wait(time) => Err(Answer::too_many_guesses(time)),
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, encoded) = value
        .to_str()
        .ok()
        .filter(|text| text.len() <= LIMIT)?
        .split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

impl ServerConfig {
    /// Whether `who` may do this. Without rules: everybody everything, or, if there are users, every user.
    #[must_use]
    pub fn permits(&self, who: &Identity, action: Action, name: &RepositoryName, scope: Scope<'_>) -> bool {
        if self.rules.is_empty() {
            return self.basic.is_none() || *who != Identity::Anonymous;
        }
        self.rules
            .iter()
            .any(|rule| rule.permits(who, action, name, scope))
    }

    /// Refuses what `who` may not do. The answer is the same whether the repository exists or not.
    pub(super) fn check(
        &self,
        who: &Identity,
        action: Action,
        name: &RepositoryName,
        scope: Scope<'_>,
    ) -> Result<(), Answer> {
        if self.permits(who, action, name, scope) {
            return Ok(());
        }
        Err(self.refuse(who))
    }

    fn refuse(&self, who: &Identity) -> Answer {
        match (&self.basic, who) {
            (Some(BasicAuth { realm, .. }), Identity::Anonymous) => Answer::unauthorized(realm),
            _ => Answer::forbidden(),
        }
    }

    /// Checks what the path alone says; the endpoints check what else they are about to do.
    pub(super) fn check_route(&self, who: &Identity, route: &Route) -> Result<(), Answer> {
        match route {
            Route::Ping | Route::Catalog | Route::Discover(None) => self.check_entry(who),
            Route::Discover(Some(name)) | Route::Tags(name) | Route::Referrers(name, _) => {
                self.check(who, Action::Pull, name, Scope::Some)
            }
            Route::Blob(BlobAction::Delete, name, _) => self.check(who, Action::Delete, name, Scope::All),
            Route::Blob(_, name, _) => self.check(who, Action::Pull, name, Scope::Some),
            Route::BeginUpload(name) | Route::Upload(_, name, _) => {
                self.check(who, Action::Create, name, Scope::Some)
            }
            Route::Manifest(action, name, target) => {
                let (action, by_digest) = match action {
                    ManifestAction::Read | ManifestAction::Stat => (Action::Pull, Scope::Some),
                    ManifestAction::Write => (Action::Create, Scope::Some),
                    ManifestAction::Delete => (Action::Delete, Scope::All),
                };
                self.check(who, action, name, tag_of(target).map_or(by_digest, Scope::Tag))
            }
        }
    }

    /// Clients learn at `/v2/` that there is something to log in to, and most send no credentials later if they were
    /// let in here without any.
    fn check_entry(&self, who: &Identity) -> Result<(), Answer> {
        let is_open = self.basic.is_none()
            || *who != Identity::Anonymous
            || (self.challenge == Challenge::WhenNeeded && !self.rules.is_empty());
        if is_open { Ok(()) } else { Err(self.refuse(who)) }
    }
}

fn tag_of(target: &Target) -> Option<&Tag> {
    match target {
        Target::Tag(tag) => Some(tag),
        Target::Digest(_) => None,
    }
}
