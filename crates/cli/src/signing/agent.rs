//! `ssh-agent`: lists its keys and signs with one of them (draft-ietf-sshm-ssh-agent).
//!
//! A message is its length in four bytes, a byte that says what it is, and what belongs to it. One connection is made
//! for each question.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_ledger::key::{SignError, Signer, ssh};
use cairn_ledger::{Fingerprint, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::apart::{self, WaitError};

/// Longest message, in bytes; OpenSSH's own limit.
const LIMIT: u32 = 256 << 10;
/// How long the list of keys may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a signature may take: somebody may have to confirm it.
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_secs(120);

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Why an agent was of no help.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens there.
    #[error("no ssh-agent answers at {}", socket.display())]
    Connect {
        /// What `SSH_AUTH_SOCK` says.
        socket: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It hung up, or the connection broke.
    #[error("the ssh-agent hung up")]
    Talk(#[source] std::io::Error),
    /// It does not answer.
    #[error("the ssh-agent gave no answer")]
    Wait(#[source] WaitError),
    /// Its answer is too long, or is none.
    #[error("the ssh-agent answered something that cannot be understood")]
    Garbage,
    /// It does not want to.
    #[error("the ssh-agent refused: it is locked, has the key no longer, or somebody said no")]
    Refused,
    /// Its signature has a form that cannot be used.
    #[error("the ssh-agent's signature cannot be used")]
    Signature(#[source] ssh::SshError),
}

/// An agent that may listen at a socket.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
    patience: Duration,
    patience_with_people: Duration,
}

/// A key that an agent has.
#[derive(Debug, Clone)]
pub struct Identity {
    blob: Vec<u8>,
    /// What its owner called it; untrusted text.
    pub comment: String,
    /// The key, if entries can be signed with it; else its type.
    pub key: Result<PublicKey, String>,
}

impl Identity {
    /// Whether this is what `CAIRN_SSH_KEY` names: by its comment, or by the fingerprint of either form.
    pub fn is_called(&self, name: &str) -> bool {
        let ours = self.key.as_ref().map(|key| key.fingerprint().to_string());
        self.comment == name || ours.is_ok_and(|ours| ours == name) || ssh::fingerprint(&self.blob) == name
    }

    /// Its fingerprint as ledgers have it, if entries can be signed with it.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.key.as_ref().ok().map(PublicKey::fingerprint)
    }

    /// For messages: fingerprint or type, and comment.
    pub fn label(&self) -> String {
        let what = match &self.key {
            Ok(key) => key.fingerprint().to_string(),
            Err(kind) => format!("{kind}, which cannot be used"),
        };
        match self.comment.is_empty() {
            true => what,
            false => format!("{what} ({})", self.comment),
        }
    }
}

impl Agent {
    /// The agent at `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            patience: PATIENCE,
            patience_with_people: PATIENCE_WITH_PEOPLE,
        }
    }

    /// Its keys. A locked agent says that it has none.
    ///
    /// # Errors
    ///
    /// [`AgentError`].
    pub fn identities(&self) -> Result<Vec<Identity>, AgentError> {
        let (kind, body) = self.ask(&[REQUEST_IDENTITIES], self.patience)?;
        match kind {
            IDENTITIES_ANSWER => identities(&body).ok_or(AgentError::Garbage),
            FAILURE => Err(AgentError::Refused),
            _ => Err(AgentError::Garbage),
        }
    }

    /// Signs `message` with the key of `blob`.
    fn sign(&self, blob: &[u8], message: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut request = vec![SIGN_REQUEST];
        put_string(&mut request, blob);
        put_string(&mut request, message);
        // No flags: they choose among the hashes of RSA.
        request.extend([0; 4]);
        let (kind, body) = self.ask(&request, self.patience_with_people)?;
        match kind {
            SIGN_RESPONSE => {
                let mut rest = &body[..];
                let signature = ssh::take_string(&mut rest).ok_or(AgentError::Garbage)?;
                ssh::signature(signature).map_err(AgentError::Signature)
            }
            FAILURE => Err(AgentError::Refused),
            _ => Err(AgentError::Garbage),
        }
    }

    fn ask(&self, request: &[u8], patience: Duration) -> Result<(u8, Vec<u8>), AgentError> {
        apart::wait(patience, self.talk(request)).map_err(AgentError::Wait)?
    }

    async fn talk(&self, request: &[u8]) -> Result<(u8, Vec<u8>), AgentError> {
        let mut stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| AgentError::Connect {
                socket: self.socket.clone(),
                source,
            })?;
        let mut message = Vec::new();
        put_string(&mut message, request);
        stream.write_all(&message).await.map_err(AgentError::Talk)?;
        let length = stream.read_u32().await.map_err(AgentError::Talk)?;
        if length > LIMIT {
            return Err(AgentError::Garbage);
        }
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer).await.map_err(AgentError::Talk)?;
        match answer.split_first() {
            Some((kind, body)) => Ok((*kind, body.to_vec())),
            None => Err(AgentError::Garbage),
        }
    }
}

/// Appends `bytes` as SSH writes a `string`. Nothing of ours is longer than four bytes can say.
fn put_string(message: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    message.extend(length.to_be_bytes());
    message.extend(bytes);
}

fn identities(mut body: &[u8]) -> Option<Vec<Identity>> {
    let (count, rest) = body.split_first_chunk::<4>()?;
    body = rest;
    let mut found = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let blob = ssh::take_string(&mut body)?;
        let comment = String::from_utf8_lossy(ssh::take_string(&mut body)?).into_owned();
        let kind = ssh::key_type(blob)?;
        found.push(Identity {
            blob: blob.to_vec(),
            comment,
            key: ssh::public_key(blob).map_err(|_| kind),
        });
    }
    Some(found)
}

/// A key of an agent.
#[derive(Debug)]
pub struct AgentKey {
    agent: Agent,
    blob: Vec<u8>,
    key: PublicKey,
}

impl AgentKey {
    /// None if entries cannot be signed with it.
    pub fn new(agent: &Agent, identity: &Identity) -> Option<Self> {
        Some(Self {
            agent: agent.clone(),
            blob: identity.blob.clone(),
            key: identity.key.as_ref().ok()?.clone(),
        })
    }
}

impl Signer for AgentKey {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let key = self.key.fingerprint();
        let signature = self
            .agent
            .sign(&self.blob, message)
            .map_err(|source| SignError::Unavailable {
                key,
                source: Box::new(source),
            })?;
        if !self.key.verifies(message, &signature) {
            return Err(SignError::Wrong { key });
        }
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use cairn_ledger::LocalKey;

    use super::*;

    /// An agent that answers each connection with the next of `answers`, once it has read the question; or hangs up.
    fn agent(directory: &Path, answers: Vec<Option<Vec<u8>>>) -> Agent {
        let socket = directory.join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut question).unwrap();
                if let Some(answer) = answer {
                    stream.write_all(&answer).unwrap();
                }
            }
        });
        Agent::new(&socket)
    }

    fn message(body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        put_string(&mut message, body);
        message
    }

    fn blob(key: &PublicKey) -> Vec<u8> {
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-ed25519");
        put_string(&mut blob, &key.to_spki()[12..]);
        blob
    }

    /// The answer of an agent with one key.
    fn list(key: &PublicKey) -> Vec<u8> {
        let mut body = vec![IDENTITIES_ANSWER, 0, 0, 0, 1];
        put_string(&mut body, &blob(key));
        put_string(&mut body, b"ann");
        message(&body)
    }

    fn signature(bytes: &[u8]) -> Vec<u8> {
        let mut signature = Vec::new();
        put_string(&mut signature, b"ssh-ed25519");
        put_string(&mut signature, bytes);
        let mut body = vec![SIGN_RESPONSE];
        put_string(&mut body, &signature);
        message(&body)
    }

    #[test]
    fn a_key_is_found_and_signs() {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalKey::from_seed(&[7; 32]).unwrap();
        let good = local.sign(b"text").unwrap();
        let answers = vec![Some(list(local.key())), Some(signature(&good))];
        let agent = agent(directory.path(), answers);
        let identity = agent.identities().unwrap().remove(0);
        assert!(identity.is_called("ann") && !identity.is_called("bob"));
        assert!(identity.is_called(&local.key().fingerprint().to_string()));
        assert!(identity.is_called(&ssh::fingerprint(&blob(local.key()))));
        let key = AgentKey::new(&agent, &identity).unwrap();
        assert_eq!(key.sign(b"text").unwrap(), good);
    }

    #[test]
    fn g7_an_agent_that_signs_something_else_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalKey::from_seed(&[7; 32]).unwrap();
        let other = local.sign(b"other").unwrap();
        let answers = vec![Some(list(local.key())), Some(signature(&other))];
        let agent = agent(directory.path(), answers);
        let identity = agent.identities().unwrap().remove(0);
        let key = AgentKey::new(&agent, &identity).unwrap();
        assert!(matches!(key.sign(b"text"), Err(SignError::Wrong { .. })));
    }

    #[test]
    fn an_agent_that_hangs_up_or_talks_nonsense_is_an_error() {
        let local = LocalKey::from_seed(&[7; 32]).unwrap();
        let whole = list(local.key());
        let mut cut = whole.clone();
        cut.truncate(whole.len() - 1);
        let mut fewer = whole.clone();
        fewer[8] = 2;
        let cases: Vec<(Option<Vec<u8>>, &str)> = vec![
            (None, "hung up"),
            (Some(vec![0, 0]), "hung up"),
            (Some(cut), "hung up"),
            (Some(fewer), "cannot be understood"),
            (Some(message(&[])), "cannot be understood"),
            (Some(message(&[99])), "cannot be understood"),
            (Some(message(&[FAILURE])), "refused"),
            (Some(u32::MAX.to_be_bytes().to_vec()), "cannot be understood"),
        ];
        for (answer, says) in cases {
            let directory = tempfile::tempdir().unwrap();
            let error = agent(directory.path(), vec![answer]).identities().unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn an_agent_that_is_gone_or_silent_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let gone = Agent::new(&directory.path().join("none"));
        assert!(matches!(gone.identities(), Err(AgentError::Connect { .. })));
        let socket = directory.path().join("silent");
        // Connections are taken by the system, and nobody ever answers.
        let _listener = UnixListener::bind(&socket).unwrap();
        let silent = Agent {
            patience: Duration::from_millis(20),
            ..Agent::new(&socket)
        };
        assert!(matches!(
            silent.identities(),
            Err(AgentError::Wait(WaitError::Patience { .. }))
        ));
    }
}
