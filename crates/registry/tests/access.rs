//! Who may do what: users, rules by repository and tag, and what a stranger learns.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_oci::{Digest, Manifest, media_type};
use cairn_registry::server::{Action, BasicAuth, Challenge, Htpasswd, PasswordList, Rule, ServerConfig, Who};
use cairn_store::RawManifest;
use http::{Method, StatusCode};
use serde_json::json;
use support::raw;
use support::registry::{Registry, document, error, header};

const USERS: [&str; 4] = ["admin", "ann", "ci", "bob"];

fn rule(who: Who, repository: &str, tags: Option<&str>, allow: &[Action]) -> Rule {
    Rule {
        who,
        repositories: vec![repository.parse().unwrap()],
        tags: tags.map(|tags| vec![tags.parse().unwrap()]),
        allow: allow.iter().copied().collect(),
    }
}

fn users(names: &[&str]) -> Who {
    Who::Users(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>(),
    )
}

/// `admin` everything; `ann` pushes and deletes `v*` in `team/**`; `ci` creates there; all pull `public/*`.
async fn registry() -> Registry {
    let passwords: BTreeMap<String, String> = USERS.map(|user| (user.to_owned(), "pw".to_owned())).into();
    let all = [Action::Pull, Action::Push, Action::Delete];
    Registry::start(ServerConfig {
        basic: Some(BasicAuth {
            realm: "test".to_owned(),
            accounts: Arc::new(PasswordList::new(&passwords)),
        }),
        rules: vec![
            rule(users(&["admin"]), "**", None, &all),
            rule(users(&["ann"]), "team/**", Some("v*"), &all),
            rule(users(&["ci"]), "team/**", None, &[Action::Pull, Action::Create]),
            rule(Who::Anybody, "public/*", None, &[Action::Pull]),
        ],
        ..ServerConfig::default()
    })
    .await
}

struct As<'r>(&'r Registry, Option<&'static str>);

impl As<'_> {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.0.request(method, path);
        match self.1 {
            Some(user) => request.basic_auth(user, Some("pw")),
            None => request,
        }
    }

    async fn status(&self, method: Method, path: &str) -> StatusCode {
        self.request(method, path).send().await.unwrap().status()
    }

    async fn put(&self, path: &str, manifest: &RawManifest) -> StatusCode {
        let request = self.request(Method::PUT, path);
        let request = request.header("content-type", manifest.media_type().as_str());
        request
            .body(manifest.bytes().clone())
            .send()
            .await
            .unwrap()
            .status()
    }

    async fn blob(&self, name: &str, content: &'static str) -> StatusCode {
        let path = format!(
            "/v2/{name}/blobs/uploads/?digest={}",
            Digest::of(content.as_bytes())
        );
        self.request(Method::POST, &path)
            .body(content)
            .send()
            .await
            .unwrap()
            .status()
    }
}

/// An artifact whose only blob is the empty configuration.
fn artifact(label: &str) -> RawManifest {
    let mut manifest = Manifest::artifact("application/vnd.test", vec![]);
    manifest.annotations.insert("label".to_owned(), label.to_owned());
    raw(&manifest)
}

#[tokio::test]
async fn f9_rules_permit_what_they_say_and_nothing_else() {
    let registry = registry().await;
    let (admin, ann) = (As(&registry, Some("admin")), As(&registry, Some("ann")));
    let (ci, bob, stranger) = (
        As(&registry, Some("ci")),
        As(&registry, Some("bob")),
        As(&registry, None),
    );
    let (one, two) = (artifact("one"), artifact("two"));
    for name in ["team/web", "public/base", "secret"] {
        assert_eq!(admin.blob(name, "{}").await, 201, "{name}");
        for tag in ["v1", "main"] {
            assert_eq!(admin.put(&format!("/v2/{name}/manifests/{tag}"), &one).await, 201);
        }
    }
    // Tags: who may move which.
    for (who, path, manifest, expected) in [
        (&ann, "/v2/team/web/manifests/v1", &two, 201),
        (&ann, "/v2/team/web/manifests/main", &two, 403),
        (&ann, "/v2/secret/manifests/v1", &two, 403),
        (&ci, "/v2/team/web/manifests/main", &two, 403),
        (&ci, "/v2/team/web/manifests/main", &one, 201),
        (&ci, "/v2/team/web/manifests/new", &two, 201),
        (&bob, "/v2/public/base/manifests/v1", &two, 403),
        (&stranger, "/v2/public/base/manifests/v1", &two, 401),
        (&admin, "/v2/secret/manifests/v1", &two, 201),
    ] {
        assert_eq!(who.put(path, manifest).await, expected, "{:?} {path}", who.1);
    }
    // Create-only has no way round: a condition, or tags beside a digest.
    let by_digest = format!("/v2/team/web/manifests/{}", two.digest());
    assert_eq!(
        ci.put(&format!("{by_digest}?tag=newer&tag=main"), &two).await,
        403
    );
    assert_eq!(ci.status(Method::HEAD, "/v2/team/web/manifests/newer").await, 404);
    assert_eq!(ci.put(&format!("{by_digest}?tag=newer"), &two).await, 201);
    let moving = ci.request(Method::PUT, "/v2/team/web/manifests/main");
    let moving = moving
        .header("content-type", media_type::MANIFEST)
        .header("if-match", format!("\"{}\"", one.digest()))
        .body(two.bytes().clone());
    assert_eq!(moving.send().await.unwrap().status(), 403);
    // Deleting: ann her tags, but nothing by digest, for that would delete every tag on it.
    for (who, path, expected) in [
        (&ci, "/v2/team/web/manifests/v1", 403),
        (&ann, "/v2/team/web/manifests/main", 403),
        (&ann, by_digest.as_str(), 403),
        (&ann, "/v2/team/web/manifests/v1", 202),
        (&stranger, "/v2/public/base/manifests/v1", 401),
        (&bob, "/v2/public/base/manifests/v1", 403),
        (&admin, by_digest.as_str(), 202),
    ] {
        assert_eq!(
            who.status(Method::DELETE, path).await,
            expected,
            "{:?} {path}",
            who.1
        );
    }
    assert_eq!(bob.blob("public/base", "x").await, 403);
    assert_eq!(stranger.blob("public/base", "x").await, 401);
}

#[tokio::test]
async fn f8_nothing_of_a_repository_shows_to_those_who_may_not_read_it() {
    let registry = registry().await;
    let (admin, ann, bob) = (
        As(&registry, Some("admin")),
        As(&registry, Some("ann")),
        As(&registry, Some("bob")),
    );
    let stranger = As(&registry, None);
    let manifest = artifact("one");
    for name in ["team/web", "public/base", "secret"] {
        admin.blob(name, "{}").await;
        admin.blob(name, "content").await;
        for tag in ["main", "v1"] {
            admin.put(&format!("/v2/{name}/manifests/{tag}"), &manifest).await;
        }
    }
    let (blob, nothing) = (Digest::of(b"content"), Digest::of(b"nothing"));
    for name in ["secret", "not/there"] {
        for path in [
            format!("/v2/{name}/blobs/{blob}"),
            format!("/v2/{name}/blobs/{nothing}"),
            format!("/v2/{name}/manifests/v1"),
            format!("/v2/{name}/manifests/{}", manifest.digest()),
            format!("/v2/{name}/tags/list"),
            format!("/v2/{name}/referrers/{}", manifest.digest()),
            format!("/v2/{name}/_oci/ext/discover"),
        ] {
            assert_eq!(bob.status(Method::GET, &path).await, 403, "{path}");
            assert_eq!(stranger.status(Method::GET, &path).await, 401, "{path}");
        }
    }
    // By tag only what the rule is about; by digest also, for the tag could be anything.
    let own = "/v2/team/web/manifests/";
    assert_eq!(ann.status(Method::GET, &format!("{own}v1")).await, 200);
    assert_eq!(ann.status(Method::GET, &format!("{own}main")).await, 403);
    let listed = ann
        .request(Method::GET, "/v2/team/web/tags/list")
        .send()
        .await
        .unwrap();
    assert_eq!(document(listed).await["tags"], json!(["v1"]));
    let catalog = ann.request(Method::GET, "/v2/_catalog").send().await.unwrap();
    assert_eq!(
        document(catalog).await["repositories"],
        json!(["public/base", "team/web"])
    );
    // A mount of what one may not read is an upload, as if it were not there.
    for (from, expected) in [("secret", 202), ("not/there", 202), ("public/base", 201)] {
        let path = format!("/v2/team/x/blobs/uploads/?mount={blob}&from={from}");
        assert_eq!(ann.status(Method::POST, &path).await, expected, "{from}");
    }
    assert_eq!(
        stranger.status(Method::GET, "/v2/public/base/tags/list").await,
        200
    );
    assert_eq!(stranger.status(Method::GET, "/nothing").await, 401);
    assert_eq!(bob.status(Method::GET, "/nothing").await, 404);
}

#[tokio::test]
async fn logging_in_works_although_strangers_may_pull() {
    let registry = registry().await;
    let ping = registry.get("/v2/").await;
    assert_eq!(ping.status(), 401);
    assert_eq!(
        header(&ping, "www-authenticate"),
        "Basic realm=\"test\", charset=\"UTF-8\""
    );
    assert_eq!(As(&registry, Some("bob")).status(Method::GET, "/v2/").await, 200);
    // skopeo without credentials sends empty ones.
    for (path, expected) in [
        ("/v2/", 401),
        ("/v2/secret/tags/list", 401),
        ("/v2/public/base/tags/list", 404),
    ] {
        let empty = registry.request(Method::GET, path).basic_auth("", Some(""));
        assert_eq!(empty.send().await.unwrap().status(), expected, "{path}");
    }
    let wrong = registry.request(Method::GET, "/v2/public/base/tags/list");
    let wrong = wrong.basic_auth("bob", Some("wrong")).send().await.unwrap();
    assert_eq!(error(wrong).await.0, 401);
}

#[tokio::test]
async fn a_registry_that_all_may_read_can_do_without_a_challenge() {
    let passwords = BTreeMap::from([("ann".to_owned(), "pw".to_owned())]);
    let registry = Registry::start(ServerConfig {
        basic: Some(BasicAuth {
            realm: "test".to_owned(),
            accounts: Arc::new(PasswordList::new(&passwords)),
        }),
        rules: vec![
            rule(Who::Anybody, "**", None, &[Action::Pull]),
            rule(Who::AllUsers, "**", None, &[Action::Push]),
        ],
        challenge: Challenge::WhenNeeded,
        ..ServerConfig::default()
    })
    .await;
    assert_eq!(registry.status(Method::GET, "/v2/").await, 200);
    let upload = registry
        .request(Method::POST, "/v2/a/blobs/uploads/")
        .send()
        .await
        .unwrap();
    assert!(header(&upload, "www-authenticate").starts_with("Basic "));
    assert_eq!(As(&registry, Some("ann")).blob("a", "{}").await, 201);
}

#[tokio::test]
async fn guesses_are_answered_with_429_in_the_end() {
    let accounts = Htpasswd::new(&format!("ann:{}", bcrypt::hash("pw", 4).unwrap()), [1; 32], 2);
    let registry = Registry::start(ServerConfig {
        basic: Some(BasicAuth {
            realm: "test".to_owned(),
            accounts: Arc::new(accounts.unwrap()),
        }),
        ..ServerConfig::default()
    })
    .await;
    let ping = |password: &'static str| {
        registry
            .request(Method::GET, "/v2/")
            .basic_auth("ann", Some(password))
            .send()
    };
    assert_eq!(ping("pw").await.unwrap().status(), 200);
    let mut answers = Vec::new();
    for _ in 0..11 {
        answers.push(ping("guess").await.unwrap());
    }
    let last = answers.pop().unwrap();
    assert!(answers.iter().all(|answer| answer.status() == 401));
    let seconds: u64 = header(&last, "retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(error(last).await.1, "TOOMANYREQUESTS");
    assert_eq!(ping("pw").await.unwrap().status(), 200);
}
