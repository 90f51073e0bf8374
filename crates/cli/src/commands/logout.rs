//! `cairn logout`

use clap::Args;
use serde::Serialize;

use super::login::check_host;
use crate::credentials;
use crate::failure::Failure;
use crate::program::Cairn;

/// What `cairn logout` takes.
#[derive(Debug, Args)]
pub struct Logout {
    /// The registry: its host, and its port if need be
    pub registry: String,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    registry: &'a str,
    removed: Vec<String>,
}

impl Logout {
    /// Forgets the password, wherever docker, podman or Cairn kept it.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let registry = self.registry.as_str();
        check_host(registry)?;
        let removed = credentials::remove(&cairn.environment, registry).await?;
        let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
        let terminal = &cairn.terminal;
        match removed.as_slice() {
            [] => terminal.say(format!("not signed in to {registry}")),
            places => terminal.say(format!(
                "signed out of {registry}; removed from {}",
                places.join(", ")
            )),
        }
        if !terminal.json {
            return Ok(());
        }
        terminal.document(&Document { registry, removed })
    }
}
