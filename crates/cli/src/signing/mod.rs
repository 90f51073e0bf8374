//! The signing key: where it is, who holds it, and how it is made at first use.
//!
//! In this order: `CAIRN_KEY`, `CAIRN_KEY_FILE`, `CAIRN_SIGNER`, `CAIRN_SSH_KEY` (a key of `ssh-agent`), the file in the
//! configuration, and the one key of `ssh-agent` that the ledger lists.

use std::path::PathBuf;

use cairn_ledger::key::{KeyError, SignError};
use cairn_ledger::{Authority, Fingerprint, LocalKey, PublicKey, Signer};
use cairn_store::files;
use jiff::Timestamp;

use crate::failure::{Exit, Failure};
use crate::ledgers::{GlassOption, OpenLedger};
use crate::program::Cairn;
use crate::roles;

mod agent;
mod apart;
mod command;
mod local;

use agent::{Agent, AgentKey, Identity};
use command::{CommandKey, SignerCommand};

/// What says which key of `ssh-agent` is meant: its fingerprint or its comment.
const SSH_KEY: &str = "CAIRN_SSH_KEY";

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The variable `CAIRN_KEY`.
    Variable,
    /// A file: `CAIRN_KEY_FILE`, or the one in the configuration.
    File(PathBuf),
    /// `ssh-agent`, which calls it so.
    Agent(String),
    /// `CAIRN_SIGNER`, whose first word this is.
    Command(String),
}

/// A key that can sign, whoever holds it.
pub struct SigningKey {
    signer: Box<dyn Signer>,
    /// Where it comes from.
    pub origin: Origin,
}

impl SigningKey {
    fn new(signer: impl Signer + 'static, origin: Origin) -> Self {
        Self {
            signer: Box::new(signer),
            origin,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.signer.key().fingerprint()
    }

    /// Says who signs, and as what; only to those who want to know more if the key is kept in a file.
    pub fn tell(&self, cairn: &Cairn, open: &OpenLedger) {
        let Some(state) = open.opened.state() else {
            return;
        };
        let fingerprint = self.fingerprint();
        let role = match state.authority.grant(&fingerprint) {
            Some(grant) => format!("role: {}", roles::text(grant)),
            None => "not a key of this ledger".to_owned(),
        };
        let holder = match &self.origin {
            Origin::Variable => "CAIRN_KEY",
            Origin::File(_) => "file",
            Origin::Agent(_) => "ssh-agent",
            Origin::Command(program) => program,
        };
        let line = format!("{holder}, key {} ({role})", state.authority.label(&fingerprint));
        match &self.origin {
            Origin::Variable | Origin::File(_) => {
                cairn.terminal.detail(format!("  {:<16} {line}", "signing"));
            }
            Origin::Agent(_) | Origin::Command(_) => cairn.terminal.step("signing", line),
        }
    }
}

impl Signer for SigningKey {
    fn key(&self) -> &PublicKey {
        self.signer.key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.signer.sign(message)
    }
}

/// The key in the configuration directory.
///
/// # Errors
///
/// When nothing says where that is.
pub fn default_path(cairn: &Cairn) -> Result<PathBuf, Failure> {
    Ok(cairn.environment.config()?.join("key.pem"))
}

/// What was found.
enum Found {
    Key(Box<SigningKey>),
    /// No key, and perhaps why one that is there was not taken.
    None(Option<String>),
}

/// The key, and where it comes from; none if there is none. Of `ssh-agent` only a key that `CAIRN_SSH_KEY` names, or one that
/// is listed in `authority`.
///
/// # Errors
///
/// When there is one that cannot be used. A key that was named and is not there is an error.
pub fn find(cairn: &Cairn, authority: Option<&Authority>) -> Result<Option<SigningKey>, Failure> {
    match search(cairn, authority)? {
        Found::Key(key) => Ok(Some(*key)),
        Found::None(_) => Ok(None),
    }
}

/// The key for a ledger that is there.
///
/// # Errors
///
/// When there is none, with what to do.
pub fn require(cairn: &Cairn, open: &OpenLedger) -> Result<SigningKey, Failure> {
    let authority = open.opened.state().map(|state| &state.authority);
    let key = require_of(cairn, authority)?;
    key.tell(cairn, open);
    Ok(key)
}

/// The key for a command that may break the glass: then also one of `ssh-agent` that the ledger does not list.
///
/// # Errors
///
/// When there is none, with what to do.
pub fn require_for(cairn: &Cairn, open: &OpenLedger, glass: GlassOption) -> Result<SigningKey, Failure> {
    if !glass.break_glass {
        return require(cairn, open);
    }
    let authority = open.opened.state().map(|state| &state.authority);
    let key = match search(cairn, authority)? {
        Found::Key(key) => *key,
        Found::None(_) => match only_key_of_agent(cairn)? {
            Some(key) => key,
            None => return require(cairn, open),
        },
    };
    key.tell(cairn, open);
    match authority.is_some_and(|authority| authority.knows(&key.fingerprint())) {
        true => cairn
            .terminal
            .say("--break-glass is not needed: the key is in the ledger, and is judged as ever"),
        false => cairn.terminal.warn(format!(
            "BREAKING THE GLASS with key {}, which is not in the ledger. What it does stays a finding of cairn audit until somebody ratifies it",
            key.fingerprint()
        )),
    }
    Ok(key)
}

/// The one key of the agent that can sign entries at all, if there is just one.
fn only_key_of_agent(cairn: &Cairn) -> Result<Option<SigningKey>, Failure> {
    let Some(agent) = socket(cairn) else {
        return Ok(None);
    };
    let all = agent
        .identities()
        .map_err(|error| Failure::of(Exit::Environment, &error))?;
    let usable: Vec<&Identity> = all.iter().filter(|one| one.key.is_ok()).collect();
    match usable.as_slice() {
        [one] => Ok(agent_key(&agent, one)),
        _ => Ok(None),
    }
}

/// The private key in a file, such as a recovery key.
///
/// # Errors
///
/// When there is none.
pub fn of_file(cairn: &Cairn, path: &std::path::Path) -> Result<LocalKey, Failure> {
    let path = cairn.environment.absolute(path);
    from_file(cairn, &path)?
        .ok_or_else(|| Failure::new(Exit::Input, format!("there is no file {}", path.display())))
}

/// The key, listed in `authority` if it is one of `ssh-agent`.
///
/// # Errors
///
/// When there is none, with what to do.
pub fn require_of(cairn: &Cairn, authority: Option<&Authority>) -> Result<SigningKey, Failure> {
    match search(cairn, authority)? {
        Found::Key(key) => Ok(*key),
        Found::None(why) => Err(Failure::new(Exit::Input, with("no signing key", why)).with_hint(
            "set CAIRN_KEY, CAIRN_KEY_FILE or CAIRN_SIGNER, or add a key to ssh-agent; cairn key list shows whose keys the ledger has"
                .to_owned(),
        )),
    }
}

fn with(text: &str, why: Option<String>) -> String {
    match why {
        Some(why) => format!("{text}: {why}"),
        None => text.to_owned(),
    }
}

/// The key; made if there is none, unless a pipeline runs this: a key made there would be lost.
///
/// # Errors
///
/// When there is none and none may be made.
pub fn find_or_make(cairn: &Cairn) -> Result<SigningKey, Failure> {
    if let Some(key) = find(cairn, None)? {
        return Ok(key);
    }
    if cairn.environment.is_ci() {
        return Err(Failure::new(
            Exit::Input,
            "no signing key, and CI is set: a key made here would be lost",
        )
        .with_hint(
            "set CAIRN_KEY (or CAIRN_KEY_FILE, CAIRN_SIGNER); `cairn ledger init` on a workstation makes the first one"
                .to_owned(),
        ));
    }
    let (key, path) = make(cairn)?;
    cairn.terminal.say(format!(
        "made a signing key: ed25519 {}  (kept in your configuration; cairn key --pem shows the public half)",
        key.key().fingerprint()
    ));
    Ok(SigningKey::new(key, Origin::File(path)))
}

/// The fingerprint of one's own key, to tell one's own entries from others': nothing is run for it, and what is wrong with a key
/// does not matter.
#[must_use]
pub fn own(cairn: &Cairn, open: &OpenLedger) -> Option<Fingerprint> {
    let environment = &cairn.environment;
    let named = ["CAIRN_KEY", "CAIRN_KEY_FILE"];
    let is_command = environment.text("CAIRN_SIGNER").is_some()
        && named.iter().all(|name| environment.text(name).is_none());
    if is_command {
        return command_key(cairn).ok().flatten().map(|key| key.fingerprint());
    }
    let authority = open.opened.state().map(|state| &state.authority);
    find(cairn, authority).ok().flatten().map(|key| key.fingerprint())
}

fn search(cairn: &Cairn, authority: Option<&Authority>) -> Result<Found, Failure> {
    let environment = &cairn.environment;
    let found = |signer: LocalKey, origin| Ok(Found::Key(Box::new(SigningKey::new(signer, origin))));
    if let Some(text) = environment.text("CAIRN_KEY") {
        return found(local::parse(text, "CAIRN_KEY")?, Origin::Variable);
    }
    if let Some(path) = environment.path("CAIRN_KEY_FILE") {
        let path = environment.absolute(&path);
        return match from_file(cairn, &path)? {
            Some(key) => found(key, Origin::File(path)),
            None => Err(Failure::new(
                Exit::Input,
                format!("CAIRN_KEY_FILE names {}, which does not exist", path.display()),
            )),
        };
    }
    if let Some(text) = environment.text("CAIRN_SIGNER") {
        return from_command(cairn, text).map(|key| Found::Key(Box::new(key)));
    }
    if let Some(name) = environment.text(SSH_KEY) {
        return from_agent_by_name(cairn, name).map(|key| Found::Key(Box::new(key)));
    }
    let path = default_path(cairn)?;
    match from_file(cairn, &path)? {
        Some(key) => found(key, Origin::File(path)),
        None => from_agent(cairn, authority),
    }
}

fn from_file(cairn: &Cairn, path: &std::path::Path) -> Result<Option<LocalKey>, Failure> {
    let Some(text) = local::read(path)? else {
        return Ok(None);
    };
    local::warn_if_readable(cairn, path);
    local::parse(&text, &path.display().to_string()).map(Some)
}

fn from_command(cairn: &Cairn, text: &str) -> Result<SigningKey, Failure> {
    let failed = |error: command::CommandError| {
        let hint = error.hint();
        Failure::of(Exit::Environment, &error).with_hint(hint)
    };
    let command = SignerCommand::parse(text).map_err(failed)?;
    let key = match command_key(cairn)? {
        Some(key) => key,
        None => command.public_key().map_err(failed)?,
    };
    let origin = Origin::Command(command.program().to_owned());
    Ok(SigningKey::new(CommandKey { command, key }, origin))
}

/// `CAIRN_SIGNER_KEY`: a public key, or the file that has it.
fn command_key(cairn: &Cairn) -> Result<Option<PublicKey>, Failure> {
    let Some(text) = cairn.environment.text("CAIRN_SIGNER_KEY") else {
        return Ok(None);
    };
    public_key(cairn, text).map(Some)
}

/// A public key as it is given by hand: PEM, a line of OpenSSH, or the name of a file that has one of the two.
///
/// # Errors
///
/// When it is none.
pub fn public_key(cairn: &Cairn, text: &str) -> Result<PublicKey, Failure> {
    let is_line = text.split_ascii_whitespace().nth(1).is_some()
        && ["ssh-", "ecdsa-", "sk-"]
            .iter()
            .any(|start| text.trim_start().starts_with(start));
    let failed = |subject: &str, error: &KeyError| {
        let hint = error.hint();
        let cause = std::error::Error::source(error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Failure::new(Exit::Input, format!("{subject}: {error}{cause}")).with_hint(hint)
    };
    if is_line || text.trim_start().starts_with("-----BEGIN") {
        return PublicKey::from_text(text).map_err(|error| failed("the public key cannot be used", &error));
    }
    let path = cairn.environment.absolute(std::path::Path::new(text));
    match local::read(&path)? {
        Some(content) => PublicKey::from_text(&content).map_err(|error| {
            failed(
                &format!("{} has no public key that can be used", path.display()),
                &error,
            )
        }),
        None => Err(Failure::new(
            Exit::Input,
            format!(
                "there is no file {}, and `{text}` is no public key",
                path.display()
            ),
        )
        .with_hint("give a file with a public key, its PEM text, or a line `ssh-ed25519 AAAA…`".to_owned())),
    }
}

fn socket(cairn: &Cairn) -> Option<Agent> {
    let path = cairn.environment.path("SSH_AUTH_SOCK")?;
    Some(Agent::new(&cairn.environment.absolute(&path)))
}

fn from_agent_by_name(cairn: &Cairn, name: &str) -> Result<SigningKey, Failure> {
    let agent = socket(cairn).ok_or_else(|| {
        Failure::new(
            Exit::Environment,
            format!("{SSH_KEY} is set, but SSH_AUTH_SOCK is not: there is no ssh-agent"),
        )
    })?;
    let all = agent
        .identities()
        .map_err(|error| Failure::of(Exit::Environment, &error))?;
    let called: Vec<&Identity> = all.iter().filter(|one| one.is_called(name)).collect();
    match called.as_slice() {
        [one] => match &one.key {
            Ok(_) => agent_key(&agent, one).ok_or_else(|| no_such_key(name, &all)),
            Err(kind) => Err(Failure::new(
                Exit::Input,
                format!(
                    "the key `{name}` of ssh-agent is {kind}; only ssh-ed25519 and ecdsa-sha2-nistp256 keys can sign entries"
                ),
            )),
        },
        [] => Err(no_such_key(name, &all)),
        several => Err(Failure::new(
            Exit::Input,
            format!(
                "ssh-agent has {} keys that are called `{name}`: {}",
                several.len(),
                labels(several.iter().copied())
            ),
        )
        .with_hint(format!("name one by its fingerprint: {SSH_KEY}=SHA256:…"))),
    }
}

fn agent_key(agent: &Agent, identity: &Identity) -> Option<SigningKey> {
    let key = AgentKey::new(agent, identity)?;
    Some(SigningKey::new(key, Origin::Agent(identity.comment.clone())))
}

fn no_such_key(name: &str, all: &[Identity]) -> Failure {
    let text = format!("ssh-agent has no key `{name}`: {}", has(all));
    Failure::new(Exit::Input, text).with_hint("ssh-add FILE adds one; ssh-add -l lists them".to_owned())
}

fn has(all: &[Identity]) -> String {
    match all.is_empty() {
        true => "it has none, or is locked".to_owned(),
        false => format!("it has {}", labels(all.iter())),
    }
}

fn labels<'a>(identities: impl Iterator<Item = &'a Identity>) -> String {
    identities.map(Identity::label).collect::<Vec<_>>().join(", ")
}

/// The one key of the agent that the ledger lists.
fn from_agent(cairn: &Cairn, authority: Option<&Authority>) -> Result<Found, Failure> {
    let Some(agent) = socket(cairn) else {
        return Ok(Found::None(None));
    };
    let all = match agent.identities() {
        Ok(all) => all,
        // Nobody asked for it, so it is no error; whoever has no key at all learns of it.
        Err(error) => {
            return Ok(Found::None(Some(
                Failure::of(Exit::Environment, &error).to_line(),
            )));
        }
    };
    let at = cairn.environment.now();
    let listed: Vec<&Identity> = all.iter().filter(|one| is_listed(one, authority, at)).collect();
    match listed.as_slice() {
        [one] => Ok(agent_key(&agent, one).map_or(Found::None(None), |key| Found::Key(Box::new(key)))),
        [] => {
            let of = match authority {
                Some(_) => "none of its keys is in the ledger",
                None => "none of its keys is chosen",
            };
            Ok(Found::None(Some(format!(
                "ssh-agent is there, but {of} ({}); {SSH_KEY} chooses one",
                has(&all)
            ))))
        }
        several => Err(Failure::new(
            Exit::Input,
            format!(
                "ssh-agent has {} keys of this ledger: {}",
                several.len(),
                labels(several.iter().copied())
            ),
        )
        .with_hint(format!("say which one: {SSH_KEY}=SHA256:… or its comment"))),
    }
}

/// Whether the ledger lists the key, also as its recovery key; one whose time is over does not count.
fn is_listed(identity: &Identity, authority: Option<&Authority>, at: Timestamp) -> bool {
    let (Some(fingerprint), Some(authority)) = (identity.fingerprint(), authority) else {
        return false;
    };
    let recovery = authority.recovery.as_ref().map(PublicKey::fingerprint);
    authority.may_write_heads(&fingerprint, at) || recovery == Some(fingerprint)
}

/// Makes the key in the configuration directory, mode 0600, and never over another.
///
/// # Errors
///
/// When there is one, or it cannot be written.
pub fn make(cairn: &Cairn) -> Result<(LocalKey, PathBuf), Failure> {
    let path = default_path(cairn)?;
    let key = LocalKey::from_seed(&random()?).map_err(|error| Failure::of(Exit::Bug, &error))?;
    if files::create(&path, key.to_pem().expose().as_bytes(), files::PRIVATE)? {
        return Ok((key, path));
    }
    Err(Failure::new(
        Exit::Input,
        format!("there is a key in {} already", path.display()),
    )
    .with_hint(
        "a key that is replaced can no longer release; move it away first if that is meant".to_owned(),
    ))
}

/// Random bytes of the operating system.
///
/// # Errors
///
/// When it has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Failure::new(
            Exit::Environment,
            format!("the system gives no randomness: {error}"),
        )),
    }
}
