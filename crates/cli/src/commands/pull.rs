//! `cairn pull`

use cairn_oci::{Digest, Reference, Tag};
use cairn_store::transfer::{Transfer, Transferred};
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::progress::Bar;
use crate::terminal::moved;
use crate::{place, tagging};

/// What `cairn pull` takes.
#[derive(Debug, Args)]
pub struct Pull {
    /// The image: host/name:TAG or host/name@DIGEST
    pub reference: Reference,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    reference: String,
    digest: Digest,
    #[serde(flatten)]
    transferred: Transferred,
}

impl Pull {
    /// Copies an image into the repository of the same name in the local store.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let (from, manifest) = cairn.find(&self.reference).await?;
        if self.reference.host.is_none() {
            return Err(Failure::new(
                Exit::Input,
                format!("`{}` is in the local store already", self.reference),
            ));
        }
        let local = Reference::repository(None, self.reference.name.clone());
        let to = cairn.open(&local).await?;
        let tags: Vec<Tag> = self.reference.tag.iter().cloned().collect();
        tagging::check(cairn, &local, &local, &tags, manifest.digest()).await?;
        let (bar, watch) = Bar::moving(&cairn.terminal, "pulling");
        let transfer = Transfer::between(&*from, &*to).told_to(&watch);
        let transferred = transfer.image(&manifest).await;
        drop(bar);
        let transferred = transferred?;
        if let Some(tag) = &self.reference.tag {
            place::tag(&*to, tag, &manifest).await?;
        }
        cairn.flush().await?;
        cairn.terminal.step("pulled", moved(&transferred, "here"));
        let reference = local.at_digest(manifest.digest()).to_string();
        if !cairn.terminal.json {
            return cairn.terminal.print(reference);
        }
        cairn.terminal.document(&Document {
            repository: self.reference.without_target().to_string(),
            reference,
            digest: manifest.digest(),
            transferred,
        })
    }
}
