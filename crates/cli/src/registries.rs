//! What registries can do, remembered for a day: `$XDG_STATE_HOME/cairn/registries/HOST.json`.

use std::io::Read;
use std::path::{Path, PathBuf};

use cairn_oci::json;
use cairn_registry::client::Recollection;
use cairn_store::files;
use cairn_store::{Capabilities, Referrers};
use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// How long an answer is believed, in seconds: a day.
const LIFE: i64 = 24 * 60 * 60;
/// Longest file, in bytes.
const LIMIT: usize = 4 << 10;

/// Files below the state directory.
#[derive(Debug)]
pub struct Registries {
    directory: Option<PathBuf>,
    environment: Environment,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    schema: u32,
    host: String,
    /// Seconds since 1970.
    at: i64,
    conditions: bool,
    seal: bool,
    referrers: bool,
    delete_tags: Option<bool>,
}

impl Registries {
    /// Those of this environment. Where there is no place for them, nothing is remembered.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        let state = environment.state().ok();
        Self {
            directory: state.map(|state| state.join("registries")),
            environment,
        }
    }

    /// What listens on this machine is another server tomorrow.
    fn path(&self, host: &str) -> Option<PathBuf> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let loopback = name == "localhost" || name.starts_with("127.") || host.starts_with("[::1]");
        if loopback || host.contains('/') || host.starts_with('.') {
            return None;
        }
        Some(self.directory.as_ref()?.join(format!("{host}.json")))
    }

    fn read(path: &Path) -> Option<Known> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(LIMIT as u64 + 1).read_to_end(&mut bytes).ok()?;
        json::parse(&bytes, LIMIT).ok()
    }
}

impl Recollection for Registries {
    fn recall(&self, host: &str) -> Option<Capabilities> {
        let known = Self::read(&self.path(host)?)?;
        let age = self.environment.now().as_second() - known.at;
        let fits = known.schema == 1 && known.host == host && (0..LIFE).contains(&age);
        fits.then_some(Capabilities {
            conditions: known.conditions,
            seal: known.seal,
            referrers: if known.referrers {
                Referrers::Native
            } else {
                Referrers::FallbackTag
            },
            delete_tags: known.delete_tags,
        })
    }

    fn keep(&self, host: &str, capabilities: &Capabilities) {
        let (Some(path), Some(directory)) = (self.path(host), &self.directory) else {
            return;
        };
        let known = Known {
            schema: 1,
            host: host.to_owned(),
            at: self.environment.now().as_second(),
            conditions: capabilities.conditions,
            seal: capabilities.seal,
            referrers: capabilities.referrers == Referrers::Native,
            delete_tags: capabilities.delete_tags,
        };
        // What is not remembered is asked again.
        let _unkept = files::create_directories(directory)
            .and_then(|()| files::write(&path, &json::canonical(&known), files::PRIVATE));
    }

    fn forget(&self, host: &str) {
        if let Some(path) = self.path(host) {
            let _absent = files::remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(directory: &Path) -> Registries {
        let state = directory.to_str().unwrap();
        Registries::new(Environment::of(&[("CAIRN_STATE", state)]))
    }

    const CAN: Capabilities = Capabilities {
        conditions: true,
        seal: true,
        referrers: Referrers::FallbackTag,
        delete_tags: None,
    };

    #[test]
    fn what_was_kept_is_recalled_for_a_day_and_for_its_host() {
        let directory = tempfile::tempdir().unwrap();
        let registries = registries(directory.path());
        let host = "registry.example.org:5000";
        assert_eq!(registries.recall(host), None);
        registries.keep(host, &CAN);
        assert_eq!(registries.recall(host), Some(CAN));
        assert_eq!(registries.recall("registry.example.org"), None);
        let path = registries.path(host).unwrap();
        for (by, recalled) in [(-LIFE, false), (60 - LIFE, true), (60, false)] {
            let mut known = Registries::read(&path).unwrap();
            known.at = registries.environment.now().as_second() + by;
            files::write(&path, &json::canonical(&known), files::PRIVATE).unwrap();
            assert_eq!(registries.recall(host).is_some(), recalled, "{by}");
        }
        registries.keep(host, &CAN);
        registries.forget(host);
        assert_eq!(registries.recall(host), None);
    }

    #[test]
    fn what_is_damaged_or_of_another_host_is_asked_again() {
        let directory = tempfile::tempdir().unwrap();
        let registries = registries(directory.path());
        registries.keep("a.example.org", &CAN);
        let known = registries.path("a.example.org").unwrap();
        let bytes = std::fs::read(known).unwrap();
        let other = registries.path("b.example.org").unwrap();
        for bytes in [bytes.as_slice(), b"{", b"", &[b' '; 8000]] {
            files::write(&other, bytes, files::PRIVATE).unwrap();
            assert_eq!(registries.recall("b.example.org"), None);
        }
    }

    #[test]
    fn nothing_is_remembered_of_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let registries = registries(directory.path());
        for host in [
            "localhost:5000",
            "127.0.0.1:5000",
            "localhost",
            "[::1]:5000",
            "../x.y",
        ] {
            registries.keep(host, &CAN);
            assert_eq!(registries.recall(host), None, "{host}");
        }
        assert!(!directory.path().join("registries").exists());
    }
}
