//! References: `[host[:port]/]name[:tag][@digest]`.
//!
//! The first part is a host if and only if it contains `.` or `:` or is `localhost`. A name without a host is a
//! repository of the local store: there is no implicit public registry.

use std::fmt;
use std::str::FromStr;

use crate::digest::DigestError;
use crate::name::NameError;
use crate::{Digest, RepositoryName, Tag};

/// A repository, and what in it is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Host and port of a registry; none for the local store.
    pub host: Option<String>,
    /// The repository.
    pub name: RepositoryName,
    /// A tag.
    pub tag: Option<Tag>,
    /// A digest, which wins over the tag.
    pub digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The host part is not a host name, address or `localhost`, with an optional port.
    #[error("`{host}` in `{text}` is not a host")]
    Host {
        /// What was given.
        text: String,
        /// The part before the first slash.
        host: String,
    },
    /// The repository's name or the tag is wrong.
    #[error("`{text}` is not a reference")]
    Name {
        /// What was given.
        text: String,
        /// Which part is wrong.
        source: NameError,
    },
    /// The digest is wrong.
    #[error("`{text}` is not a reference")]
    Digest {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: DigestError,
    },
}

fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

fn is_valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                return address.parse::<std::net::Ipv6Addr>().is_ok()
                    && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl Reference {
    /// The whole repository `name` at `host`.
    #[must_use]
    pub fn repository(host: Option<String>, name: RepositoryName) -> Self {
        Self {
            host,
            name,
            tag: None,
            digest: None,
        }
    }

    /// The same repository, with nothing in it chosen.
    #[must_use]
    pub fn without_target(&self) -> Self {
        Self::repository(self.host.clone(), self.name.clone())
    }

    /// The same repository at `digest`, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.without_target()
        }
    }

    /// The same repository at `tag`.
    #[must_use]
    pub fn at_tag(&self, tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            ..self.without_target()
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let source = |source| ReferenceError::Digest {
                    text: text.to_owned(),
                    source,
                };
                (rest, Some(digest.parse().map_err(source)?))
            }
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((host, rest)) if is_host(host) => (Some(host), rest),
            _ => (None, rest),
        };
        if let Some(host) = host.filter(|host| !is_valid_host(host)) {
            return Err(ReferenceError::Host {
                text: text.to_owned(),
                host: host.to_owned(),
            });
        }
        let name = |source| ReferenceError::Name {
            text: text.to_owned(),
            source,
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse().map_err(name)?)),
            None => (rest, None),
        };
        let repository = repository.parse().map_err(name)?;
        Ok(Self {
            host: host.map(str::to_owned),
            name: repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        write!(f, "{}", self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_part_is_a_host_only_if_it_looks_like_one() {
        let host = |text: &str| text.parse::<Reference>().unwrap().host;
        assert_eq!(host("debian:12"), None);
        assert_eq!(host("team/web"), None);
        assert_eq!(host("localhost/web"), Some("localhost".to_owned()));
        assert_eq!(host("127.0.0.1:5000/web:1"), Some("127.0.0.1:5000".to_owned()));
        assert_eq!(host("[::1]:5000/web"), Some("[::1]:5000".to_owned()));
        assert_eq!(
            host(
                "registry.example.org/a/b@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
            ),
            Some("registry.example.org".to_owned())
        );
    }

    #[test]
    fn h4_look_alike_hosts_and_broken_references_are_refused() {
        for bad in [
            "",
            "a:b:c",
            "a@b",
            "a.b:x/c",
            "a.b:0/c",
            "a.b:65536/c",
            "a..b/c",
            "-a.b/c",
            "user@a.b/c",
            "a.b/",
            "A",
            "a:+",
            "[::1/a",
            "[zz]:1/a",
            "a/../b",
            "a.b:5000:1/c",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_value_are_inverse(
            host in prop::option::of("[a-z]{1,8}\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?"),
            name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,12}"),
            bytes in prop::option::of(any::<[u8; 32]>()),
        ) {
            let reference = Reference {
                host,
                name: name.parse().unwrap(),
                tag: tag.map(|tag| tag.parse().unwrap()),
                digest: bytes.map(Digest::from_bytes),
            };
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
