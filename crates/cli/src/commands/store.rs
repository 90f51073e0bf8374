//! `cairn store`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::collecting::{self, Row, Wish};
use crate::failure::Failure;
use crate::ledgers;
use crate::program::Cairn;
use crate::terminal::{bytes, counted};

/// What `cairn store` takes.
#[derive(Debug, Args)]
pub struct StoreCommand {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is done with the store.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Removes what no tag and no ledger reaches; safe while others use the store
    Gc(Gc),
}

/// What `cairn store gc` takes.
#[derive(Debug, Args)]
pub struct Gc {
    /// Keeps what was written or asked for within TIME, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = ledgers::age)]
    pub grace: Duration,
    /// Takes away also what is left of images that a ledger in their repository says were pruned, with the seals of their versions:
    /// what `cairn prune` through a server cannot do
    #[arg(long)]
    pub pruned: bool,
    /// Says what would be removed, and removes nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    dry_run: bool,
    repositories: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    manifests: u64,
    blobs: u64,
    bytes: u64,
    uploads: u64,
    pruned: u64,
}

impl From<&Row> for Entry {
    fn from(row: &Row) -> Self {
        Self {
            name: row.name.to_string(),
            manifests: row.collected.manifests,
            blobs: row.collected.blobs,
            bytes: row.collected.bytes,
            uploads: row.uploads,
            pruned: row.pruned,
        }
    }
}

impl StoreCommand {
    /// Does it.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        match &self.verb {
            Verb::Gc(gc) => gc.run(cairn).await,
        }
    }
}

impl Gc {
    async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let wish = Wish {
            grace: self.grace,
            pruned: self.pruned,
            dry_run: self.dry_run,
        };
        let rows = collecting::collect(cairn, wish).await?;
        cairn.flush().await?;
        if cairn.terminal.json {
            return cairn.terminal.document(&Document {
                dry_run: self.dry_run,
                repositories: rows.iter().map(Entry::from).collect(),
            });
        }
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let mut total = 0;
        for Row {
            name,
            collected,
            uploads,
            pruned,
            dropped,
        } in &rows
        {
            total += collected.bytes;
            if *pruned > 0 {
                let (count, tags) = (
                    counted(*pruned, "pruned image", "pruned images"),
                    counted(dropped.tags, "tag", "tags"),
                );
                cairn.terminal.say(match self.dry_run {
                    true => format!("  {name}: {count} would go"),
                    false => format!("  {name}: {count} taken away, with {tags}"),
                });
            }
            for (subject, why) in &dropped.left {
                cairn
                    .terminal
                    .warn(format!("{name}: {subject} is still there: {why}"));
            }
            if collected.manifests + collected.blobs + uploads > 0 {
                cairn.terminal.say(format!(
                    "  {name}: {verb} {}, {}, {}, {}",
                    counted(collected.manifests, "manifest", "manifests"),
                    counted(collected.blobs, "blob", "blobs"),
                    counted(*uploads, "abandoned upload", "abandoned uploads"),
                    bytes(collected.bytes),
                ));
            }
        }
        let count = counted(rows.len() as u64, "repository", "repositories");
        cairn.terminal.say(format!("{verb} {} in {count}", bytes(total)));
        if total == 0 && rows.iter().any(|row| row.dropped.manifests > 0) {
            cairn
                .terminal
                .say("what was written or asked for of late goes later: --grace says how late");
        }
        Ok(())
    }
}
