//! Programs that keep secrets: `docker-credential-NAME get|store|erase` (docker-credential-helpers, "Development").
//!
//! What they are asked goes to their stdin, what they know comes from their stdout. They are looked for in the
//! directories of `PATH`, by a name that is no path.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cairn_oci::json;
use cairn_registry::client::{Basic, Credential};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::process::Command;

use super::entry;
use crate::child;
use crate::environment::Environment;

/// Longest output of a helper, in bytes (64 KiB).
const LIMIT: usize = 64 << 10;
/// Longest name of a helper.
const NAME_LIMIT: usize = 64;
/// Longest text of a helper in a message of ours, in characters.
const WORDS_LIMIT: usize = 200;
/// How long a helper may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take where somebody may have to give it a passphrase.
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_secs(120);
/// What a helper says if it does not know a server.
const NOT_FOUND: [&str; 3] = [
    "credentials not found in native keychain",
    "no credentials server URL",
    "no credentials username",
];

/// Why a helper was of no help.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Its name could lead somewhere else.
    #[error("`{name}` is not the name of a credential helper")]
    Name {
        /// The name.
        name: String,
    },
    /// It is not installed.
    #[error("the credential helper docker-credential-{name} is in no directory of PATH")]
    Missing {
        /// Its name.
        name: String,
    },
    /// It cannot be started, or spoken to.
    #[error("the credential helper docker-credential-{name} cannot be run")]
    Run {
        /// Its name.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not end.
    #[error("the credential helper docker-credential-{name} did not answer within {} seconds", patience.as_secs())]
    Hanging {
        /// Its name.
        name: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// It failed.
    #[error("the credential helper docker-credential-{name} failed: {words}")]
    Failed {
        /// Its name.
        name: String,
        /// Its own words, bounded; untrusted text.
        words: String,
    },
    /// It said something that nobody understands. What it said could be a secret.
    #[error("the credential helper docker-credential-{name} answers something that is no credential")]
    Garbage {
        /// Its name.
        name: String,
    },
}

/// A helper that is installed.
#[derive(Debug, Clone)]
pub struct Helper {
    name: String,
    program: PathBuf,
    patience: Duration,
}

/// What a helper is told, and tells.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

impl Helper {
    /// The helper `name`.
    ///
    /// # Errors
    ///
    /// [`HelperError`] if the name is none, or no such program is in `PATH`.
    pub fn find(environment: &Environment, name: &str) -> Result<Self, HelperError> {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_name = (1..=NAME_LIMIT).contains(&name.len()) && name.chars().all(is_letter);
        let name: String = name.chars().take(NAME_LIMIT).collect();
        if !is_name {
            return Err(HelperError::Name { name });
        }
        let program = format!("docker-credential-{name}");
        let path = environment.path("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            // What is in the current directory is whose repository it is.
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(&program))
            .find(|file| {
                let metadata = std::fs::metadata(file);
                metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
            });
        let patience = match environment.stderr_is_terminal {
            true => PATIENCE_WITH_PEOPLE,
            false => PATIENCE,
        };
        match program {
            Some(program) => Ok(Self {
                name,
                program,
                patience,
            }),
            None => Err(HelperError::Missing { name }),
        }
    }

    /// What it knows about `server`.
    ///
    /// # Errors
    ///
    /// [`HelperError`]. That it knows nothing is none.
    pub async fn get(&self, server: &str) -> Result<Option<Credential>, HelperError> {
        let Some(output) = self.run("get", server.as_bytes(), None).await? else {
            return Ok(None);
        };
        // The cause is not shown: it would quote what came.
        let garbage = || HelperError::Garbage {
            name: self.name.clone(),
        };
        // A list would do for the record otherwise.
        let members: Map<String, Value> = json::parse(&output, LIMIT).map_err(|_| garbage())?;
        let record: Record = serde_json::from_value(Value::Object(members)).map_err(|_| garbage())?;
        Ok((!record.secret.is_empty()).then(|| entry::credential(record.user, record.secret)))
    }

    /// Gives it what it shall keep for `server`.
    ///
    /// # Errors
    ///
    /// [`HelperError`].
    pub async fn store(&self, server: &str, basic: &Basic) -> Result<(), HelperError> {
        let record = Record {
            server: server.to_owned(),
            user: basic.user.clone(),
            secret: basic.secret.clone(),
        };
        let input = json::canonical(&record);
        match self.run("store", &input, Some(&basic.secret)).await? {
            Some(_) => Ok(()),
            None => Err(HelperError::Failed {
                name: self.name.clone(),
                words: "it does not take these".to_owned(),
            }),
        }
    }

    /// Lets it forget `server`; whether it knew it.
    ///
    /// # Errors
    ///
    /// [`HelperError`].
    pub async fn erase(&self, server: &str) -> Result<bool, HelperError> {
        Ok(self.run("erase", server.as_bytes(), None).await?.is_some())
    }

    /// Runs it to its end. `None`: it does not know the server.
    async fn run(
        &self,
        action: &str,
        input: &[u8],
        secret: Option<&str>,
    ) -> Result<Option<Vec<u8>>, HelperError> {
        let failed = |source| HelperError::Run {
            name: self.name.clone(),
            source,
        };
        let mut command = Command::new(&self.program);
        command.arg(action);
        let asked = tokio::time::timeout(self.patience, child::ask(command, input, LIMIT as u64)).await;
        let asked = asked.map_err(|_| HelperError::Hanging {
            name: self.name.clone(),
            patience: self.patience,
        })?;
        let said = asked.map_err(failed)?;
        if said.stdout.len() > LIMIT {
            return Err(HelperError::Garbage {
                name: self.name.clone(),
            });
        }
        if said.status.success() {
            return Ok(Some(said.stdout));
        }
        let words = |secret| words(&said.stdout, secret).or_else(|| words(&said.stderr, secret));
        if words(None).is_some_and(|words| NOT_FOUND.iter().any(|known| words.contains(known))) {
            return Ok(None);
        }
        Err(HelperError::Failed {
            name: self.name.clone(),
            words: words(secret).unwrap_or_else(|| "it does not say why".to_owned()),
        })
    }
}

/// The first line of what it says, without the secret that it was given: neither as it is, nor as it stands in JSON.
fn words(output: &[u8], secret: Option<&str>) -> Option<String> {
    let mut text = String::from_utf8_lossy(output).into_owned();
    // Before anything is cut off: half a secret would no longer be found.
    if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
        let quoted = String::from_utf8_lossy(&json::canonical(secret)).into_owned();
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        text = text.replace(inner.unwrap_or(&quoted), "…").replace(secret, "…");
    }
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(WORDS_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A directory with a helper `x` that is this shell script. It is a link to a program that was never written by
    /// this process: one that was could still be open for writing in a child of another test.
    #[expect(clippy::disallowed_methods, reason = "a helper of the test's own")]
    fn helper(directory: &Path, script: &str) -> Helper {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/docker-credential-script");
        let link = directory.join("docker-credential-x");
        if !link.exists() {
            std::os::unix::fs::symlink(program, link).unwrap();
        }
        std::fs::write(directory.join("script"), script).unwrap();
        let path = directory.to_str().unwrap();
        Helper::find(&Environment::of(&[("PATH", path)]), "x").unwrap()
    }

    async fn get(script: &str) -> Result<Option<Credential>, HelperError> {
        let directory = tempfile::tempdir().unwrap();
        helper(directory.path(), script).get("r.example.org").await
    }

    fn basic(user: &str, secret: &str) -> Basic {
        Basic {
            user: user.to_owned(),
            secret: secret.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_by_name_of_the_server() {
        let script = r#"read server; [ "$1" = get ] || exit 1
            printf '{"ServerURL":"%s","Username":"ann","Secret":"%s"}' "$server" "$server""#;
        let found = get(script).await.unwrap();
        assert_eq!(found, Some(Credential::Basic(basic("ann", "r.example.org"))));
        let found = get(r#"echo '{"Username":"<token>","Secret":"t"}'"#)
            .await
            .unwrap();
        assert!(matches!(found, Some(Credential::Identity(_))), "{found:?}");
        let found = get(r#"echo '{"ServerURL":"x","Username":"","Secret":""}'"#)
            .await
            .unwrap();
        assert_eq!(found, None);
        let found = get("echo 'credentials not found in native keychain'; exit 1")
            .await
            .unwrap();
        assert_eq!(found, None);
    }

    #[tokio::test]
    async fn h3_a_helper_that_fails_or_talks_nonsense_is_named() {
        for (script, says) in [
            (
                "echo 'the keychain is locked'; exit 1",
                "docker-credential-x failed: the keychain is locked",
            ),
            ("echo 'no display' >&2; exit 2", "failed: no display"),
            ("exit 3", "failed: it does not say why"),
            ("kill -9 $$", "failed: it does not say why"),
            ("echo sentinel", "no credential"),
            ("echo '{\"Username\":\"sentinel\"'", "no credential"),
            ("echo '{\"Username\":7}'", "no credential"),
            ("echo '[]'; exit 0", "no credential"),
            ("yes sentinel", "no credential"),
        ] {
            let error = get(script).await.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(says), "{script}: {text}");
            assert!(!text.contains("sentinel"), "{text}");
            assert!(text.len() < 1000, "{text}");
        }
    }

    #[tokio::test]
    async fn h3_a_helper_that_hangs_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mut helper = helper(directory.path(), "exec sleep 1000");
        helper.patience = Duration::from_millis(20);
        let error = helper.get("r.example.org").await.unwrap_err();
        assert!(matches!(error, HelperError::Hanging { .. }), "{error:?}");
        assert!(error.to_string().contains("docker-credential-x"), "{error}");
    }

    #[test]
    fn h3_a_helper_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        for path in [path, "", "relative", "."] {
            let error = Helper::find(&Environment::of(&[("PATH", path)]), "x").unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("docker-credential-x is in no directory"),
                "{error}"
            );
        }
        // What nobody may execute is none.
        std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(directory.path().join("docker-credential-x"))
            .unwrap();
        assert!(Helper::find(&Environment::of(&[("PATH", path)]), "x").is_err());
    }

    #[test]
    fn h5_a_helpers_name_is_no_path() {
        let environment = Environment::of(&[("PATH", "/bin")]);
        let long = "x".repeat(65);
        for name in [
            "",
            "../x",
            "/bin/sh",
            "a/b",
            "x y",
            "x\n",
            "ä",
            "$(x)",
            long.as_str(),
        ] {
            let error = Helper::find(&environment, name).unwrap_err();
            assert!(matches!(error, HelperError::Name { .. }), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn h6_a_helper_is_given_the_secret_by_stdin_and_does_not_bring_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        let script = format!("[ $# = 1 ] && [ \"$1\" = store ] && cat > {}", kept.display());
        let keeper = helper(directory.path(), &script);
        keeper
            .store("r.example.org", &basic("ann", "sentinel"))
            .await
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(kept).unwrap(),
            r#"{"Secret":"sentinel","ServerURL":"r.example.org","Username":"ann"}"#
        );
        let talker = helper(directory.path(), "cat; exit 1");
        let error = talker
            .store("r.example.org", &basic("ann", "sentinel"))
            .await
            .unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains('…') && !text.contains("sentinel"), "{text}");
    }

    #[tokio::test]
    async fn h6_a_helper_that_says_a_long_or_quoted_secret_back_is_not_quoted_with_half_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let long = "sentinel".repeat(100);
        for secret in [long.as_str(), "senti\"nel", "sentinel\nsentinel", "\\sentinel\""] {
            for script in ["cat; exit 1", "cat >&2; exit 1"] {
                let talker = helper(directory.path(), script);
                let error = talker.store("r.example.org", &basic("ann", secret)).await;
                let text = error.unwrap_err().to_string();
                assert!(text.contains('…') && !text.contains("senti"), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn erasing_what_is_not_there_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(
            helper(directory.path(), "exit 0")
                .erase("r.example.org")
                .await
                .unwrap()
        );
        let none = helper(
            directory.path(),
            "echo credentials not found in native keychain; exit 1",
        );
        assert!(!none.erase("r.example.org").await.unwrap());
        assert!(
            helper(directory.path(), "exit 1")
                .erase("r.example.org")
                .await
                .is_err()
        );
    }
}
