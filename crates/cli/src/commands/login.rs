//! `cairn login`

use cairn_oci::Reference;
use cairn_registry::client::{Basic, ClientError, Credential, Login as Outcome};
use clap::Args;
use serde::Serialize;

use crate::credentials::{self, Kept};
use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::prompt;

/// What `cairn login` takes.
#[derive(Debug, Args)]
pub struct Login {
    /// The registry: its host, and its port if need be
    pub registry: String,
    /// Your name there [default: it is asked for]
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// Takes the password or token from stdin, to its end [default: it is asked for]
    #[arg(long)]
    pub password_stdin: bool,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    registry: &'a str,
    user: &'a str,
    kept: String,
    checked: bool,
}

/// Refuses what is not the host of a registry, before anybody is asked for a password.
pub fn check_host(registry: &str) -> Result<(), Failure> {
    let reference: Option<Reference> = format!("{registry}/x").parse().ok();
    if reference.is_some_and(|reference| reference.host.as_deref() == Some(registry)) {
        return Ok(());
    }
    if registry.contains('@') {
        // What stands before it can be a password, which is not repeated.
        let text = "the name of a registry has no user name in it";
        return Err(Failure::new(Exit::Input, text).with_hint("--user NAME says who signs in".to_owned()));
    }
    let host = registry.to_owned();
    Err(ClientError::Host { host }.into())
}

impl Login {
    /// Asks the registry whether the password is good; then keeps it.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let registry = self.registry.as_str();
        check_host(registry)?;
        let basic = self.ask(cairn).await?;
        let credential = Credential::Basic(basic.clone());
        let outcome = cairn.client().await?.login(registry, credential).await?;
        let kept = credentials::keep(&cairn.environment, registry, &basic).await?;
        let terminal = &cairn.terminal;
        if outcome == Outcome::NotAsked {
            terminal.warn(format!(
                "{registry} did not ask for a password: nobody knows whether it is right"
            ));
        }
        let user = basic.user.as_str();
        let how = match &kept {
            Kept::File(_) => ", readable by you alone, not encrypted",
            Kept::Helper(_) => "",
        };
        terminal.say(format!("signed in to {registry} as {user}; kept in {kept}{how}"));
        if !terminal.json {
            return Ok(());
        }
        terminal.document(&Document {
            registry,
            user,
            kept: kept.to_string(),
            checked: outcome == Outcome::Accepted,
        })
    }

    async fn ask(&self, cairn: &Cairn) -> Result<Basic, Failure> {
        let can_ask = cairn.environment.stdin_is_terminal;
        let user = match &self.user {
            Some(user) => user.clone(),
            None if can_ask && !self.password_stdin => {
                prompt::line(&format!("user name for {}: ", self.registry)).await?
            }
            None => return Err(Failure::new(Exit::Usage, "who signs in? --user NAME says it")),
        };
        if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) {
            let text = "a user name is not empty, and has no colon and no control character";
            return Err(Failure::new(Exit::Input, text));
        }
        let secret = if self.password_stdin {
            prompt::stdin().await?
        } else if can_ask {
            prompt::secret(&format!("password or token of {user}: ")).await?
        } else {
            let text = "stdin is no terminal, so the password cannot be asked for";
            let hint = format!(
                "cairn login {} --user {user} --password-stdin < FILE",
                self.registry
            );
            return Err(Failure::new(Exit::Usage, text).with_hint(hint));
        };
        Ok(Basic { user, secret })
    }
}
