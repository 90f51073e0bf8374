//! Which entry is meant, and what it says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_registry::client::{Basic, Credential, Identity, Secret};
use serde::Deserialize;

/// The user name that stands where the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// How Docker names Docker Hub in its own files and to its helpers.
pub const HUB_KEY: &str = "https://index.docker.io/v1/";
/// How podman names it.
pub const HUB_HOST: &str = "docker.io";

/// Whether `host` is one of the names of Docker Hub.
#[must_use]
pub fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// What an entry is for: `host[:port][/path]`, or `https://host/v1/` as docker used to write it, which is the
/// whole host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Host and port, in lower case; Docker Hub under one name.
    pub host: String,
    /// The repository, or what is before it; empty for the whole host.
    pub path: String,
}

impl Key {
    /// Reads a key.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let url = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let (host, path) = match url.unwrap_or(text).split_once('/') {
            Some((host, path)) => (host, path.trim_end_matches('/')),
            None => (url.unwrap_or(text), ""),
        };
        let host = one_name(host);
        let is_version = host == HUB_HOST && matches!(path, "v1" | "v2");
        let path = if url.is_some() || is_version { "" } else { path };
        Self {
            host,
            path: path.to_owned(),
        }
    }

    /// How exactly this key names `repository` at `host`; `None` if it names another one. The longest path wins.
    #[must_use]
    pub fn rank(&self, host: &str, repository: Option<&str>) -> Option<usize> {
        if self.host != one_name(host) {
            return None;
        }
        if self.path.is_empty() {
            return Some(0);
        }
        let rest = repository?.strip_prefix(self.path.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(self.path.len())
    }
}

fn one_name(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if is_hub(&host) { HUB_HOST.to_owned() } else { host }
}

/// One entry of `auths`. Fields that nobody here wants are left alone.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
    #[serde(rename = "registrytoken")]
    registry_token: Option<String>,
}

/// An entry that has something in it that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEntry;

impl Entry {
    /// The credential; none if the entry is empty, as docker leaves it for a helper.
    ///
    /// # Errors
    ///
    /// [`BadEntry`] if `auth` is not what docker writes there.
    pub fn credential(self) -> Result<Option<Credential>, BadEntry> {
        let set = |text: Option<String>| text.filter(|text| !text.is_empty());
        let basic = match set(self.auth) {
            Some(auth) => Some(decode(&auth).ok_or(BadEntry)?),
            None => set(self.username).map(|user| Basic {
                user,
                secret: self.password.unwrap_or_default(),
            }),
        };
        if let Some(token) = set(self.identity_token) {
            return Ok(Some(Credential::Identity(Identity {
                user: basic.map(|basic| basic.user).unwrap_or_default(),
                token: Secret::new(token),
            })));
        }
        if let Some(token) = set(self.registry_token) {
            return Ok(Some(Credential::Token(Secret::new(token))));
        }
        Ok(basic.map(|basic| credential(basic.user, basic.secret)))
    }
}

/// A user name and a secret, of which the name can say that the secret is an identity token.
#[must_use]
pub fn credential(user: String, secret: String) -> Credential {
    if user == TOKEN_USER {
        return Credential::Identity(Identity {
            user: String::new(),
            token: Secret::new(secret),
        });
    }
    Credential::Basic(Basic { user, secret })
}

/// What stands in `auth`.
#[must_use]
pub fn encode(basic: &Basic) -> String {
    STANDARD.encode(format!("{}:{}", basic.user, basic.secret))
}

fn decode(auth: &str) -> Option<Basic> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, secret) = text.trim_end_matches('\0').split_once(':')?;
    Some(Basic {
        user: user.to_owned(),
        secret: secret.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h4_a_key_counts_for_exactly_its_host() {
        let rank = |key: &str, host: &str| Key::parse(key).rank(host, Some("team/web"));
        for key in [
            "r.example.org",
            "https://r.example.org",
            "https://r.example.org/v1/",
            "http://r.example.org/v2/",
            "R.Example.org",
        ] {
            assert_eq!(rank(key, "r.example.org"), Some(0), "{key}");
            for other in [
                "r.example.org:443",
                "x.r.example.org",
                "example.org",
                "r.example.org.evil.org",
                "r.example.orgx",
            ] {
                assert_eq!(rank(key, other), None, "{key} {other}");
            }
        }
        for key in [
            "r.example.org.evil.org",
            "https://r.example.org@evil.org/",
            "https://evil.org/r.example.org",
            "r.example.org:443",
            "",
        ] {
            assert_eq!(rank(key, "r.example.org"), None, "{key}");
        }
        assert_eq!(rank("[::1]:5000", "[::1]:5000"), Some(0));
    }

    #[test]
    fn the_longest_path_names_a_repository_best() {
        let rank = |key: &str, repository: &str| Key::parse(key).rank("r.example.org", Some(repository));
        assert_eq!(rank("r.example.org/team", "team/web"), Some(4));
        assert_eq!(rank("r.example.org/team/web/", "team/web"), Some(8));
        assert_eq!(rank("r.example.org/team", "teams/web"), None);
        assert_eq!(rank("r.example.org/team/web/x", "team/web"), None);
        assert_eq!(Key::parse("r.example.org/team").rank("r.example.org", None), None);
    }

    #[test]
    fn docker_hub_has_several_names() {
        for key in [
            HUB_KEY,
            "docker.io",
            "index.docker.io",
            "https://index.docker.io/v1",
            "index.docker.io/v1/",
            "registry-1.docker.io",
        ] {
            assert_eq!(Key::parse(key).rank("docker.io", None), Some(0), "{key}");
        }
        assert_eq!(
            Key::parse("docker.io/library").rank("docker.io", Some("library/x")),
            Some(7)
        );
        assert_eq!(Key::parse("docker.io.evil.org").rank("docker.io", None), None);
    }

    #[test]
    fn what_an_entry_says() {
        let read = |text: &str| serde_json::from_str::<Entry>(text).unwrap().credential();
        let basic = |user: &str, secret: &str| {
            Ok(Some(Credential::Basic(Basic {
                user: user.to_owned(),
                secret: secret.to_owned(),
            })))
        };
        let identity = |user: &str, token: &str| {
            Ok(Some(Credential::Identity(Identity {
                user: user.to_owned(),
                token: Secret::new(token),
            })))
        };
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"auth":"","email":"x"}"#), Ok(None));
        assert_eq!(read(r#"{"auth":"YW5uOnNlY3JldDp4"}"#), basic("ann", "secret:x"));
        assert_eq!(
            read(r#"{"auth":"YW5uOngAAA==","username":"bob"}"#),
            basic("ann", "x")
        );
        assert_eq!(read(r#"{"username":"ann","password":"x"}"#), basic("ann", "x"));
        assert_eq!(
            read(r#"{"auth":"YW5uOg==","identitytoken":"t"}"#),
            identity("ann", "t")
        );
        assert_eq!(
            read(r#"{"username":"<token>","password":"t"}"#),
            identity("", "t")
        );
        assert_eq!(
            read(r#"{"registrytoken":"t"}"#),
            Ok(Some(Credential::Token(Secret::new("t"))))
        );
        for bad in [r#"{"auth":"%"}"#, r#"{"auth":"YW5u"}"#, r#"{"auth":"/w=="}"#] {
            assert_eq!(read(bad), Err(BadEntry), "{bad}");
        }
    }
}
