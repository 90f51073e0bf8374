//! `cairn show`

use cairn_ledger::query::{self, ReleaseBinding};
use cairn_ledger::{Fingerprint, Version};
use clap::Args;
use serde::Serialize;

use crate::commands::moves;
use crate::failure::{Exit, Failure};
use crate::ledgers::{LedgerOptions, by};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing;
use crate::terminal::minute;

/// What `cairn show` takes.
#[derive(Debug, Args)]
pub struct Show {
    /// The version
    #[arg(value_parser = moves::version)]
    pub version: Version,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    #[serde(flatten)]
    release: query::Release,
}

impl Show {
    /// Prints what is known of the release.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        let Some(release) = query::show(&open.opened, &self.version) else {
            return Err(Failure::new(
                Exit::Input,
                format!("{} has no release {}", open.images, self.version),
            )
            .with_hint("cairn history shows what there is".to_owned()));
        };
        if cairn.terminal.json {
            let repository = open.images.to_string();
            return cairn.terminal.document(&Document { repository, release });
        }
        let channels: Vec<String> = release.shown_by.iter().map(ToString::to_string).collect();
        let line = |name: &str, value: &str| cairn.terminal.print(format!("{name:<10}  {value}"));
        line("version", release.version.as_str())?;
        line("standing", release.standing)?;
        let shown_by = channels.join(", ");
        line(
            "shown by",
            if channels.is_empty() {
                "no channel"
            } else {
                &shown_by
            },
        )?;
        let key = signing::own(cairn, &open);
        release
            .bound
            .iter()
            .try_for_each(|bound| print(cairn, key, bound))
    }
}

fn print(cairn: &Cairn, key: Option<Fingerprint>, bound: &ReleaseBinding) -> Result<(), Failure> {
    let source = bound.source.as_ref();
    let dirty = source.and_then(|source| source.dirty).unwrap_or(false);
    let commit = source.and_then(|source| source.commit.clone());
    let rows = [
        ("digest", Some(bound.digest.to_string())),
        ("at", Some(minute(bound.at))),
        ("by", Some(by(key, bound.key, bound.actor.as_ref()))),
        ("key", bound.key.map(|key| key.to_string())),
        ("reason", bound.reason.clone()),
        ("source", source.and_then(|source| source.repository.clone())),
        (
            "commit",
            commit.map(|commit| {
                if dirty {
                    format!("{commit} (with changes)")
                } else {
                    commit
                }
            }),
        ),
        (
            "run",
            bound
                .run
                .as_ref()
                .and_then(|run| run.url.clone().or_else(|| run.id.clone())),
        ),
        ("entry", Some(format!("{} {}", bound.seq, bound.name))),
        ("record", bound.record.map(|record| record.to_string())),
        ("yanked", bound.yanked.map(|entry| entry.to_string())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            cairn.terminal.print(format!("{name:<10}  {value}"))?;
        }
    }
    Ok(())
}
