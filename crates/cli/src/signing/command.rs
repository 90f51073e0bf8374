//! `CAIRN_SIGNER`: a command that holds a key, such as a key service's own program.
//!
//! `COMMAND` gets the bytes to be signed on stdin and gives the signature on stdout; `COMMAND public-key` gives the public
//! key, unless `CAIRN_SIGNER_KEY` does. The command is split at spaces; no shell sees it.

use std::process::ExitStatus;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_ledger::PublicKey;
use cairn_ledger::key::{Algorithm, KeyError, SignError, Signer, p256_signature};
use tokio::process::Command;

use super::apart::{self, WaitError};
use crate::child;

/// Longest output, in bytes (64 KiB).
const LIMIT: u64 = 64 << 10;
/// Longest text of a command in a message of ours, in characters.
const WORDS_LIMIT: usize = 400;
/// How long a command may take: somebody may have to touch something.
const PATIENCE: Duration = Duration::from_secs(120);
/// The word that asks for the public key.
const PUBLIC_KEY: &str = "public-key";

/// Why a command was of no help.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There are only spaces.
    #[error("CAIRN_SIGNER names no command")]
    Empty,
    /// It cannot be started, or spoken to.
    #[error("the signer `{program}` cannot be run")]
    Run {
        /// Its first word.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not end.
    #[error("the signer `{program}` does not end")]
    Wait {
        /// Its first word.
        program: String,
        /// How it was waited for.
        source: WaitError,
    },
    /// It failed.
    #[error("the signer `{program}` failed ({status}): {words}")]
    Failed {
        /// Its first word.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its own words on stderr, bounded; untrusted text.
        words: String,
    },
    /// It says more than a signature can be.
    #[error("the signer `{program}` gave more than {LIMIT} bytes")]
    TooLong {
        /// Its first word.
        program: String,
    },
    /// What it gives is no public key.
    #[error("`{program} {PUBLIC_KEY}` gave no public key that can be used")]
    Key {
        /// Its first word.
        program: String,
        /// Why not.
        source: KeyError,
    },
}

impl CommandError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key { .. } => {
                Some("or give the public key in CAIRN_SIGNER_KEY (PEM, or a file)".to_owned())
            }
            _ => None,
        }
    }
}

/// A command, in words.
#[derive(Debug, Clone)]
pub struct SignerCommand {
    program: String,
    arguments: Vec<String>,
    patience: Duration,
}

impl SignerCommand {
    /// Splits `text` at spaces.
    ///
    /// # Errors
    ///
    /// [`CommandError::Empty`].
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let mut words = text.split_ascii_whitespace().map(str::to_owned);
        Ok(Self {
            program: words.next().ok_or(CommandError::Empty)?,
            arguments: words.collect(),
            patience: PATIENCE,
        })
    }

    /// Its first word.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Asks it for its public key.
    ///
    /// # Errors
    ///
    /// [`CommandError`].
    pub fn public_key(&self) -> Result<PublicKey, CommandError> {
        let output = self.run(Some(PUBLIC_KEY), &[])?;
        PublicKey::from_text(&String::from_utf8_lossy(&output)).map_err(|source| CommandError::Key {
            program: self.program.clone(),
            source,
        })
    }

    fn run(&self, argument: Option<&str>, input: &[u8]) -> Result<Vec<u8>, CommandError> {
        let program = || self.program.clone();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(argument);
        let asked = child::ask(command, input, LIMIT);
        let said = apart::wait(self.patience, asked).map_err(|source| CommandError::Wait {
            program: program(),
            source,
        })?;
        let said = said.map_err(|source| CommandError::Run {
            program: program(),
            source,
        })?;
        if said.stdout.len() as u64 > LIMIT {
            return Err(CommandError::TooLong { program: program() });
        }
        if !said.status.success() {
            return Err(CommandError::Failed {
                program: program(),
                status: said.status,
                words: words(&said.stderr),
            });
        }
        Ok(said.stdout)
    }
}

/// The end of what it says: programs tell last why they stopped.
fn words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return "it does not say why".to_owned();
    }
    let surplus = text.chars().count().saturating_sub(WORDS_LIMIT);
    text.chars().skip(surplus).collect()
}

/// The key that a command holds.
#[derive(Debug)]
pub struct CommandKey {
    /// The command.
    pub command: SignerCommand,
    /// Its public half.
    pub key: PublicKey,
}

impl Signer for CommandKey {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let key = self.key.fingerprint();
        let output = self
            .command
            .run(None, message)
            .map_err(|source| SignError::Unavailable {
                key,
                source: Box::new(source),
            })?;
        forms(&self.key, &output)
            .into_iter()
            .find(|signature| self.key.verifies(message, signature))
            .ok_or(SignError::Wrong { key })
    }
}

/// What the output can mean: bytes as they are, or base64; for P-256 also the two numbers side by side.
fn forms(key: &PublicKey, output: &[u8]) -> Vec<Vec<u8>> {
    let text: Vec<u8> = output
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let mut forms = vec![output.to_vec()];
    forms.extend(STANDARD.decode(text));
    if key.algorithm() == Algorithm::EcdsaP256 {
        let numbers = |form: &Vec<u8>| {
            let (r, s) = form.split_first_chunk::<32>()?;
            p256_signature(*r, s.try_into().ok()?)
        };
        let rewritten: Vec<_> = forms.iter().filter_map(numbers).collect();
        forms.extend(rewritten);
    }
    forms
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use cairn_ledger::LocalKey;

    use super::*;

    fn local() -> LocalKey {
        LocalKey::from_seed(&[7; 32]).unwrap()
    }

    /// A command that runs `script`: `sh FILE`, so that no file is executed that was just written.
    fn command(directory: &Path, script: &str) -> SignerCommand {
        let file = directory.join("signer");
        std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, script.as_bytes()))
            .unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        SignerCommand::parse(&format!("sh  {}", file.display())).unwrap()
    }

    fn sign(script: &str) -> Result<Vec<u8>, SignError> {
        let directory = tempfile::tempdir().unwrap();
        let key = CommandKey {
            command: command(directory.path(), script),
            key: local().key().clone(),
        };
        key.sign(b"text")
    }

    #[test]
    fn base64_and_raw_bytes_are_signatures() {
        let good = local().sign(b"text").unwrap();
        let text = STANDARD.encode(&good);
        let read = r#"[ "$(cat)" = text ] && [ $# = 0 ] || exit 1;"#;
        assert_eq!(sign(&format!("{read} echo {text}")).unwrap(), good);
        let (left, right) = text.split_at(40);
        assert_eq!(sign(&format!("{read} echo {left}; echo {right}")).unwrap(), good);
        assert_eq!(sign(&format!("{read} echo {text} | base64 -d")).unwrap(), good);
    }

    #[test]
    fn a_command_is_asked_for_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let pem = local().key().to_pem();
        let script = format!("[ \"$1\" = public-key ] && [ -z \"$(cat)\" ] || exit 1\ncat <<END\n{pem}END\n");
        let key = command(directory.path(), &script).public_key().unwrap();
        assert_eq!(&key, local().key());
        let none = command(directory.path(), "echo none").public_key().unwrap_err();
        assert!(none.hint().unwrap().contains("CAIRN_SIGNER_KEY"));
        assert!(matches!(SignerCommand::parse(" \t "), Err(CommandError::Empty)));
    }

    #[test]
    fn g7_a_command_that_fails_or_gives_something_else_is_named() {
        let other = STANDARD.encode(local().sign(b"other").unwrap());
        for (script, says) in [
            ("echo 'no such key' >&2; exit 3", "exit status: 3): no such key"),
            ("exit 1", "it does not say why"),
            ("kill -9 $$", "signal: 9"),
            ("yes", "more than 65536 bytes"),
            ("yes >&2", "failed ("),
            (&format!("echo {other}"), "not a signature by that key"),
            ("true", "not a signature by that key"),
        ] {
            let error = sign(script).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let text = format!("{error}: {}", cause.unwrap_or_default());
            assert!(text.contains(says), "{script}: {text}");
            assert!(text.len() < 1000, "{text}");
        }
    }

    #[test]
    fn a_command_that_is_missing_or_hangs_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none").display().to_string();
        let error = SignerCommand::parse(&missing).unwrap().public_key().unwrap_err();
        assert!(error.to_string().contains(&missing), "{error}");
        let hanging = SignerCommand {
            patience: Duration::from_millis(20),
            ..command(directory.path(), "exec sleep 1000")
        };
        let error = hanging.public_key().unwrap_err();
        assert!(matches!(error, CommandError::Wait { .. }), "{error}");
    }
}
