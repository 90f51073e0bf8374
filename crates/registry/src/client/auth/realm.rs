//! Which token servers may be asked, and so be told who we are.
//!
//! The registry names its token server itself, often at another host: that is normal, and whoever trusts a registry with a
//! password trusts what it says over TLS. What it must not do is turn us against those who are near: a token server
//! inside this machine or its network is asked only if the registry is there too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use crate::client::origin::{self, PlainHttp};
use crate::wire::error::bounded;

/// Longest URL of a token server, in bytes.
const LENGTH_LIMIT: usize = 2 << 10;

/// Why a token server is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::client) enum RealmError {
    #[error("it names no token server")]
    Missing,
    #[error("`{text}` is not the URL of a token server")]
    Invalid { text: String },
    #[error("the URL of the token server at {host} holds a user name")]
    User { host: String },
    #[error("the token server at {host} would be asked over plain HTTP")]
    PlainHttp { host: String },
    #[error("the token server at {host} is inside this machine or its network, and the registry is not")]
    Inside { host: String },
}

/// The token server that the registry at `base` names.
pub(super) fn check(base: &Url, text: &str, plain: PlainHttp) -> Result<Url, RealmError> {
    let invalid = || RealmError::Invalid { text: bounded(text) };
    if text.is_empty() {
        return Err(RealmError::Missing);
    }
    if text.len() > LENGTH_LIMIT {
        return Err(invalid());
    }
    let mut realm = Url::parse(text).map_err(|_| invalid())?;
    let host = realm.host_str().map(bounded).ok_or_else(invalid)?;
    // A user name in a URL would become an Authorization header.
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err(RealmError::User { host });
    }
    realm.set_fragment(None);
    let is_allowed = match realm.scheme() {
        "https" => true,
        "http" => base.scheme() == "http" && (origin::is_loopback(&realm) || plain == PlainHttp::Allow),
        _ => return Err(invalid()),
    };
    if !is_allowed {
        return Err(RealmError::PlainHttp { host });
    }
    let is_same_host = realm.host_str() == base.host_str();
    if is_same_host || nearness(&realm) <= nearness(base) {
        Ok(realm)
    } else {
        Err(RealmError::Inside { host })
    }
}

/// How far inside a host is: what is farther inside is not asked on the word of what is farther outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    World,
    Network,
    Machine,
    /// Where clouds keep the keys of a machine; nobody's registry is there.
    Link,
}

fn nearness(url: &Url) -> Nearness {
    if origin::is_loopback(url) {
        return Nearness::Machine;
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => nearness_v4(address),
        Ok(IpAddr::V6(address)) => nearness_v6(address),
        Err(_) if host.ends_with(".localhost") || host.ends_with(".localhost.") || host == "localhost." => {
            Nearness::Machine
        }
        Err(_) => Nearness::World,
    }
}

fn nearness_v4(address: Ipv4Addr) -> Nearness {
    let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
    if address.is_link_local() {
        Nearness::Link
    } else if address.is_loopback() || address.octets()[0] == 0 {
        Nearness::Machine
    } else if address.is_private() || is_shared {
        Nearness::Network
    } else {
        Nearness::World
    }
}

fn nearness_v6(address: Ipv6Addr) -> Nearness {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return nearness_v4(mapped);
    }
    if address.is_unicast_link_local() {
        Nearness::Link
    } else if address.is_loopback() || address.is_unspecified() {
        Nearness::Machine
    } else if address.is_unique_local() {
        Nearness::Network
    } else {
        Nearness::World
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(base: &str, text: &str) -> Result<String, RealmError> {
        let base = Url::parse(base).unwrap();
        check(&base, text, PlainHttp::LoopbackOnly).map(|url| url.to_string())
    }

    #[test]
    fn c13_token_servers_of_other_hosts_are_asked_over_tls_only() {
        let registry = "https://registry.example.org/";
        for good in [
            "https://auth.example.com/token",
            "https://registry.example.org/token?x=1",
            "https://registry.example.org:8443/token",
            "https://192.0.2.1/token",
        ] {
            assert_eq!(realm(registry, good).as_deref(), Ok(good));
        }
        for plain in [
            "http://auth.example.com/token",
            "http://registry.example.org/token",
            "http://127.0.0.1/token",
        ] {
            let refused = realm(registry, plain).unwrap_err();
            assert!(
                matches!(refused, RealmError::PlainHttp { .. }),
                "{plain}: {refused}"
            );
        }
        for bad in [
            "token",
            "/token",
            "//auth.example.com/token",
            "ftp://auth.example.com/",
            "file:///etc/passwd",
            "https://",
        ] {
            let refused = realm(registry, bad).unwrap_err();
            assert!(matches!(refused, RealmError::Invalid { .. }), "{bad}: {refused}");
        }
        for disguised in [
            "https://user:secret@auth.example.com/",
            "https://registry.example.org@auth.example.com/",
        ] {
            let host = "auth.example.com".to_owned();
            assert_eq!(realm(registry, disguised), Err(RealmError::User { host }));
        }
        assert_eq!(realm(registry, ""), Err(RealmError::Missing));
        let long = format!("https://auth.example.com/{}", "x".repeat(LENGTH_LIMIT));
        assert!(realm(registry, &long).unwrap_err().to_string().len() < 1000);
    }

    #[test]
    fn c13_token_servers_inside_are_for_registries_inside() {
        let (outside, inside, here) = (
            "https://registry.example.org/",
            "https://10.0.0.1/",
            "http://127.0.0.1:5000/",
        );
        for near in [
            "https://127.0.0.1/t",
            "https://127.1/t",
            "https://2130706433/t",
            "https://localhost/t",
            "https://LOCALHOST/t",
            "https://x.localhost/t",
            "https://localhost./t",
            "https://[::1]/t",
            "https://[::ffff:127.0.0.1]/t",
            "https://0.0.0.0/t",
            "https://10.1.2.3/t",
            "https://172.16.0.1/t",
            "https://192.168.0.1/t",
            "https://100.64.0.1/t",
            "https://[fd00::1]/t",
            "https://169.254.169.254/latest",
            "https://[fe80::1]/t",
        ] {
            let refused = realm(outside, near).unwrap_err();
            assert!(matches!(refused, RealmError::Inside { .. }), "{near}: {refused}");
        }
        assert!(realm(inside, "https://10.1.2.3/t").is_ok());
        assert!(realm(inside, "https://127.0.0.1/t").is_err());
        assert!(realm(here, "http://127.0.0.1:5001/t").is_ok());
        assert!(realm(here, "http://localhost:5001/t").is_ok());
        assert!(realm(here, "https://auth.example.com/t").is_ok());
        assert!(realm(here, "https://169.254.169.254/latest").is_err());
        assert!(realm(here, "http://169.254.169.254/latest").is_err());
        assert!(realm("https://169.254.1.1/", "https://169.254.1.1/t").is_ok());
    }

    #[test]
    fn h1_plain_http_has_to_be_allowed_and_is_not_a_way_down() {
        let allowed = |base: &str, text: &str| check(&Url::parse(base).unwrap(), text, PlainHttp::Allow);
        assert!(allowed("http://registry.example.org/", "http://auth.example.org/").is_ok());
        assert!(allowed("https://registry.example.org/", "http://auth.example.org/").is_err());
    }
}
