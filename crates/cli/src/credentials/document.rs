//! One file with credentials: Docker's `config.json` or Podman's `auth.json`, which have the same form.
//!
//! What is not understood in it is kept when it is written.

use std::path::{Path, PathBuf};

use cairn_oci::json::{self, JsonError};
use cairn_registry::client::{Basic, Credential};
use cairn_store::files::{self, FileError};
use serde::Serialize;
use serde_json::{Map, Value};

use super::entry::{self, Entry, Key};
use super::files::{Owner, Place};

/// Longest file with credentials, in bytes (1 MiB).
const LIMIT: usize = 1 << 20;

/// Why a file with credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(FileError),
    /// It is too long.
    #[error("{} is longer than {LIMIT} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is not what docker or podman write. What is wrong is not shown: it could be a secret.
    #[error("{} is not a document that docker or podman wrote{}", path.display(), position(*.at))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line and column, if that is known.
        at: Option<(usize, usize)>,
    },
    /// One of its entries is not.
    #[error("the entry for {key} in {} is not one that docker or podman wrote", path.display())]
    Entry {
        /// Which file.
        path: PathBuf,
        /// Which entry.
        key: String,
    },
}

fn position(at: Option<(usize, usize)>) -> String {
    at.map(|(line, column)| format!(" (line {line}, column {column})"))
        .unwrap_or_default()
}

/// A file's content.
#[derive(Debug)]
pub struct Document {
    place: Place,
    members: Map<String, Value>,
}

impl Document {
    /// Reads the file; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// [`DocumentError`]: going on without what it says would look like a wrong password.
    pub fn read(place: &Place) -> Result<Option<Self>, DocumentError> {
        let path = &place.path;
        let Some(bytes) = read(path)? else {
            return Ok(None);
        };
        let invalid = |at| DocumentError::Invalid {
            path: path.clone(),
            at,
        };
        // podman makes an empty file at times, and takes it for one without entries.
        if bytes.trim_ascii().is_empty() {
            return Ok(Some(Self::empty(place)));
        }
        let value: Value = json::parse(&bytes, LIMIT).map_err(|error| match error {
            JsonError::Invalid(error) => invalid(Some((error.line(), error.column()))),
            JsonError::TooLarge { .. } => DocumentError::TooLarge { path: path.clone() },
        })?;
        let Value::Object(members) = value else {
            return Err(invalid(None));
        };
        let document = Self {
            place: place.clone(),
            members,
        };
        document.check()?;
        Ok(Some(document))
    }

    /// A document without entries, for a file that is not there yet.
    #[must_use]
    pub fn empty(place: &Place) -> Self {
        Self {
            place: place.clone(),
            members: Map::new(),
        }
    }

    fn check(&self) -> Result<(), DocumentError> {
        let is_object = |name: &str| {
            self.members
                .get(name)
                .is_none_or(|value| value.is_object() || value.is_null())
        };
        let is_text = |value: &Value| value.is_string() || value.is_null();
        let helpers = self.object("credHelpers");
        let is_good = ["auths", "credHelpers"].into_iter().all(is_object)
            && self.members.get("credsStore").is_none_or(is_text)
            && helpers.is_none_or(|helpers| helpers.values().all(is_text));
        match is_good {
            true => Ok(()),
            false => Err(DocumentError::Invalid {
                path: self.place.path.clone(),
                at: None,
            }),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.members.get(name)?.as_object()
    }

    /// The helpers to ask about `host`: its own, then that of all hosts.
    #[must_use]
    pub fn helpers(&self, host: &str) -> Vec<&str> {
        let own = self.object("credHelpers").into_iter().flatten();
        let own = own.filter(|(key, _)| Key::parse(key).rank(host, None).is_some());
        let own = own.map(|(_, name)| name);
        let names = own
            .chain(self.members.get("credsStore"))
            .filter_map(Value::as_str);
        names.filter(|name| !name.is_empty()).collect()
    }

    /// The entry that names `repository` at `host` best and is not empty.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Entry`] if that one cannot be read.
    pub fn find(&self, host: &str, repository: Option<&str>) -> Result<Option<Credential>, DocumentError> {
        let entries = self.object("auths").into_iter().flatten();
        let mut ranked: Vec<(usize, bool, &String, &Value)> = entries
            .filter_map(|(key, value)| {
                let rank = Key::parse(key).rank(host, repository)?;
                Some((rank, key == host, key, value))
            })
            .collect();
        ranked.sort_by_key(|(rank, is_exact, ..)| std::cmp::Reverse((*rank, *is_exact)));
        for (_, _, key, value) in ranked {
            let bad = || DocumentError::Entry {
                path: self.place.path.clone(),
                key: key.clone(),
            };
            let entry: Entry = serde_json::from_value(value.clone()).map_err(|_| bad())?;
            if let Some(credential) = entry.credential().map_err(|_| bad())? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// The keys for the whole of `host`.
    fn keys(&self, host: &str) -> Vec<String> {
        let keys = self.object("auths").into_iter().flat_map(Map::keys);
        let whole = keys.filter(|key| Key::parse(key).rank(host, None).is_some());
        whole.cloned().collect()
    }

    /// Whether there is an entry for the whole of `host`, empty or not.
    #[must_use]
    pub fn has(&self, host: &str) -> bool {
        !self.keys(host).is_empty()
    }

    /// Sets the one entry for the whole of `host`; without credentials to an empty one, as docker does for what a
    /// helper has.
    pub fn set(&mut self, host: &str, basic: Option<&Basic>) {
        self.unset(host);
        let mut entry = Map::new();
        if let Some(basic) = basic {
            entry.insert("auth".to_owned(), Value::String(entry::encode(basic)));
        }
        let key = match self.place.owner {
            Owner::Docker if entry::is_hub(host) => entry::HUB_KEY,
            Owner::Podman if entry::is_hub(host) => entry::HUB_HOST,
            _ => host,
        };
        let auths = self.members.entry("auths").or_insert(Value::Null);
        if auths.is_null() {
            *auths = Value::Object(Map::new());
        }
        if let Value::Object(auths) = auths {
            auths.insert(key.to_owned(), Value::Object(entry));
        }
    }

    /// Removes the entries for the whole of `host`; whether there were any. Those for repositories stay.
    pub fn unset(&mut self, host: &str) -> bool {
        let keys = self.keys(host);
        if let Some(Value::Object(auths)) = self.members.get_mut("auths") {
            auths.retain(|key, _| !keys.contains(key));
        }
        !keys.is_empty()
    }

    /// Writes the file, for its owner's eyes only.
    ///
    /// # Errors
    ///
    /// [`DocumentError::File`]; then the old file is still there.
    pub fn write(&self) -> Result<(), DocumentError> {
        let path = &self.place.path;
        // A link to where somebody keeps such files stays a link.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        files::write(&path, &self.bytes(), files::PRIVATE).map_err(DocumentError::File)
    }

    /// As docker writes it: it is somebody's file, and no document of ours.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        // Writing JSON that was read to memory does not fail.
        let _cannot_fail = self.members.serialize(&mut serializer);
        bytes.push(b'\n');
        bytes
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DocumentError> {
    use std::io::Read as _;
    let failed = |source: std::io::Error| {
        DocumentError::File(FileError {
            action: "read",
            path: path.to_owned(),
            source,
        })
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn document(directory: &Path, name: &str, text: &str) -> Document {
        try_document(directory, name, text).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a user's file, not ours")]
    fn try_document(directory: &Path, name: &str, text: &str) -> Result<Document, DocumentError> {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        Ok(Document::read(&place(path))?.unwrap())
    }

    fn place(path: PathBuf) -> Place {
        let owner = if path.ends_with("config.json") {
            Owner::Docker
        } else {
            Owner::Podman
        };
        Place { path, owner }
    }

    fn ann() -> Basic {
        Basic {
            user: "ann".to_owned(),
            secret: "sentinel".to_owned(),
        }
    }

    #[test]
    fn the_best_entry_that_is_not_empty_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let document = document(
            directory.path(),
            "auth.json",
            r#"{"auths":{"r.example.org":{"auth":"YTpob3N0"},"r.example.org/team":{"auth":"YTp0ZWFt"},
                "r.example.org/team/web":{},"https://r.example.org":{"auth":"YTpvbGQ="}},"credsStore":"pass",
                "credHelpers":{"r.example.org":"own","other.example.org":"other"}}"#,
        );
        let secret = |repository: Option<&str>| match document.find("r.example.org", repository).unwrap() {
            Some(Credential::Basic(basic)) => basic.secret,
            other => panic!("{other:?}"),
        };
        assert_eq!(secret(None), "host");
        assert_eq!(secret(Some("x")), "host");
        assert_eq!(secret(Some("team/web")), "team");
        assert_eq!(document.find("r.example.com", None).unwrap(), None);
        assert_eq!(document.helpers("r.example.org"), ["own", "pass"]);
        assert_eq!(document.helpers("x.example.org"), ["pass"]);
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"HttpHeaders":{"X":"y"},"auths":{"a.example.org":{"auth":"YTpi","email":"x"},
            "https://b.example.org/v1/":{"auth":"YTpi"},"b.example.org/team":{"auth":"YTpi"}},"detachKeys":"ctrl-p"}"#;
        let mut document = document(directory.path(), "config.json", text);
        document.set("b.example.org", Some(&ann()));
        document.set("docker.io", None);
        document.write().unwrap();
        let path = directory.path().join("config.json");
        let expected = "{\n\t\"HttpHeaders\": {\n\t\t\"X\": \"y\"\n\t},\n\t\"auths\": {\n\t\t\"a.example.org\": {\n\t\t\t\
            \"auth\": \"YTpi\",\n\t\t\t\"email\": \"x\"\n\t\t},\n\t\t\"b.example.org\": {\n\t\t\t\"auth\": \
            \"YW5uOnNlbnRpbmVs\"\n\t\t},\n\t\t\"b.example.org/team\": {\n\t\t\t\"auth\": \"YTpi\"\n\t\t},\n\t\t\
            \"https://index.docker.io/v1/\": {}\n\t},\n\t\"detachKeys\": \"ctrl-p\"\n}\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let mut document = Document::read(&place(path)).unwrap().unwrap();
        assert!(document.unset("b.example.org") && !document.unset("b.example.org"));
        assert!(document.find("b.example.org", Some("team/x")).unwrap().is_some());
        assert!(document.has("docker.io") && !document.has("b.example.org"));
    }

    #[test]
    fn h8_a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("dotfiles.json");
        let link = directory.path().join("config.json");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut document = document(directory.path(), "config.json", "");
        document.set("r.example.org", Some(&ann()));
        document.write().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(std::fs::read_to_string(&real).unwrap().contains("r.example.org"));
        assert_eq!(
            std::fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn h6_a_file_that_cannot_be_read_is_named_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        for (text, says) in [
            ("{\"auths\":\n {\"sentinel\"}}", "line 2, column"),
            ("\"sentinel\"", "config.json is not a document"),
            (r#"{"auths":["sentinel"]}"#, "not a document"),
            (r#"{"credsStore":["sentinel"]}"#, "not a document"),
            (r#"{"credHelpers":{"a":7}}"#, "not a document"),
            (r#"{"auths":{},"auths":{"a":{"auth":"sentinel"}}}"#, "line 1"),
        ] {
            let error = try_document(directory.path(), "config.json", text).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(says) && !text.contains("sentinel"), "{text}");
        }
        for entry in [
            r#"{"auth":"sentinel!"}"#,
            r#"{"auth":["sentinel"]}"#,
            r#""sentinel""#,
        ] {
            let text = format!("{{\"auths\":{{\"r.example.org\":{entry}}}}}");
            let document = document(directory.path(), "config.json", &text);
            let error = document.find("r.example.org", None).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(
                text.contains("entry for r.example.org") && !text.contains("sentinel"),
                "{text}"
            );
        }
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(LIMIT));
        let error = try_document(directory.path(), "config.json", &long).unwrap_err();
        assert!(matches!(error, DocumentError::TooLarge { .. }), "{error:?}");
        let missing = place(directory.path().join("none.json"));
        assert!(Document::read(&missing).unwrap().is_none());
    }
}
