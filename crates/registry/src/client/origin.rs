//! Where requests go: scheme, host and port, and what may be said to whom.

use std::net::IpAddr;

use cairn_oci::{Reference, RepositoryName};
use reqwest::Url;

/// Whether hosts other than loopback may be spoken to without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// HTTPS to every host but `127.0.0.0/8`, `::1` and `localhost`.
    LoopbackOnly,
    /// HTTP to every host.
    Allow,
}

/// Where Docker Hub's registry is.
const HUB: &str = "registry-1.docker.io";

/// Whether references mean Docker Hub by this host.
fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io")
}

/// What a repository is called at a host.
pub(super) fn name_at(host: &str, name: RepositoryName) -> RepositoryName {
    if !is_hub(host) || name.as_str().contains('/') {
        return name;
    }
    // A name that is too long with the prefix is left alone: the registry says that it has none of it.
    format!("library/{name}").parse().unwrap_or(name)
}

/// The root of a registry. `None` if `host` is not what a reference may name.
pub(super) fn base(host: &str, plain: PlainHttp) -> Option<Url> {
    let reference: Reference = format!("{host}/x").parse().ok()?;
    if reference.host.as_deref() != Some(host) {
        return None;
    }
    let host = if is_hub(host) { HUB } else { host };
    let clear = Url::parse(&format!("http://{host}/")).ok()?;
    if is_loopback(&clear) || plain == PlainHttp::Allow {
        return Some(clear);
    }
    secure(host)
}

/// The root of a registry that is spoken to over TLS, wherever it is.
pub(super) fn secure(host: &str) -> Option<Url> {
    Url::parse(&format!("https://{host}/")).ok()
}

/// Whether the URL's host is this machine, by its address and not by what a name server says.
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Why a URL that a registry gave is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("`{text}` is not a URL")]
    Invalid { text: String },
    #[error("from HTTPS to plain HTTP")]
    Downgrade,
    #[error("plain HTTP to another machine ({host})")]
    PlainHttp { host: String },
    #[error("neither HTTP nor HTTPS")]
    Scheme,
}

/// Resolves what the answer to a request for `from` points at, and refuses what must not be followed.
pub(super) fn follow(from: &Url, text: &str, plain: PlainHttp) -> Result<Url, UrlError> {
    let invalid = || UrlError::Invalid {
        text: crate::wire::error::bounded(text),
    };
    let mut to = from.join(text).map_err(|_| invalid())?;
    // A user name in a URL would become an Authorization header.
    if !to.username().is_empty() || to.password().is_some() {
        return Err(invalid());
    }
    to.set_fragment(None);
    match to.scheme() {
        "https" => Ok(to),
        "http" if from.scheme() == "https" => Err(UrlError::Downgrade),
        "http" if plain == PlainHttp::Allow || is_loopback(&to) => Ok(to),
        "http" => Err(UrlError::PlainHttp {
            host: to.host_str().unwrap_or_default().to_owned(),
        }),
        _ => Err(UrlError::Scheme),
    }
}

/// Whether both have the same scheme, host and port: what credentials are bound to.
pub(super) fn is_same(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_plain_http_is_for_loopback_only() {
        for (host, expected) in [
            ("localhost:5000", "http://localhost:5000/"),
            ("127.0.0.1", "http://127.0.0.1/"),
            ("127.8.9.1:5000", "http://127.8.9.1:5000/"),
            ("[::1]:5000", "http://[::1]:5000/"),
            ("registry.example.org", "https://registry.example.org/"),
            ("127.0.0.1.example.org", "https://127.0.0.1.example.org/"),
            ("localhost.example.org:80", "https://localhost.example.org:80/"),
            ("192.168.0.1:5000", "https://192.168.0.1:5000/"),
            ("0.0.0.0:5000", "https://0.0.0.0:5000/"),
        ] {
            let base = base(host, PlainHttp::LoopbackOnly).unwrap();
            assert_eq!(base.as_str(), expected, "{host}");
        }
        let allowed = base("registry.example.org", PlainHttp::Allow).unwrap();
        assert_eq!(allowed.scheme(), "http");
    }

    #[test]
    fn h4_look_alikes_are_other_origins() {
        let own = Url::parse("https://registry.example.org/").unwrap();
        for same in [
            "https://registry.example.org/x",
            "https://registry.example.org:443/x",
            "https://REGISTRY.example.org/x",
            "https://ann@registry.example.org/x",
        ] {
            assert!(is_same(&own, &Url::parse(same).unwrap()), "{same}");
        }
        for other in [
            "http://registry.example.org/",
            "http://registry.example.org:443/",
            "https://registry.example.org:8443/",
            "https://registry.example.org.evil.org/",
            "https://registry.example.org./",
            "https://registry.example.org@evil.org/",
            "https://registry.example.org%40evil.org/",
            "https://evil.org/registry.example.org/",
            "https://evil.org#registry.example.org/",
            "https://evil.org?registry.example.org/",
            r"https://evil.org\@registry.example.org/",
            "https://registry.example.or\u{261}/",
            "https://xregistry.example.org/",
            "https://example.org/",
        ] {
            let is_own = Url::parse(other).is_ok_and(|other| is_same(&own, &other));
            assert!(!is_own, "{other}");
        }
    }

    #[test]
    fn docker_hub_is_elsewhere_than_it_says() {
        let base = |host| base(host, PlainHttp::LoopbackOnly).unwrap().to_string();
        assert_eq!(base("docker.io"), "https://registry-1.docker.io/");
        assert_eq!(base("docker.io.example.org"), "https://docker.io.example.org/");
        let name = |host: &str, name: &str| name_at(host, name.parse().unwrap()).to_string();
        assert_eq!(name("docker.io", "debian"), "library/debian");
        assert_eq!(name("docker.io", "team/web"), "team/web");
        assert_eq!(name("registry.example.org", "debian"), "debian");
    }

    #[test]
    fn h4_only_the_hosts_of_references_are_taken() {
        for host in [
            "",
            "registry",
            "a.b/c",
            "user@a.b",
            "http://a.b",
            "a.b:0",
            "a.b?x",
            "a.b#x",
        ] {
            assert_eq!(base(host, PlainHttp::LoopbackOnly), None, "{host}");
        }
    }

    #[test]
    fn c14_h1_downgrades_and_foreign_plain_http_are_refused() {
        let follow = |from: &str, to: &str| follow(&Url::parse(from).unwrap(), to, PlainHttp::LoopbackOnly);
        let (secure, local) = ("https://a.example.org/v2/x", "http://127.0.0.1:1/v2/x");
        assert_eq!(
            follow(secure, "/y?z=1").unwrap().as_str(),
            "https://a.example.org/y?z=1"
        );
        assert_eq!(follow(local, "http://127.0.0.1:2/y").unwrap().port(), Some(2));
        assert!(follow(local, "https://b.example.org/").is_ok());
        assert_eq!(follow(secure, "http://a.example.org/"), Err(UrlError::Downgrade));
        assert_eq!(follow(secure, "http://127.0.0.1/"), Err(UrlError::Downgrade));
        assert!(matches!(
            follow(local, "http://169.254.169.254/latest"),
            Err(UrlError::PlainHttp { .. })
        ));
        assert_eq!(follow(secure, "file:///etc/passwd"), Err(UrlError::Scheme));
        assert!(follow(secure, "https://user:secret@b.example.org/").is_err());
    }
}
