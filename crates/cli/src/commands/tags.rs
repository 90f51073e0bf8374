//! `cairn tags`

use cairn_oci::{Reference, Tag};
use cairn_store::{Page, Repository, Store};
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::project::Project;
use crate::tagging::is_internal;

/// Most pages that are read: a registry that never ends its list is broken.
const PAGE_LIMIT: usize = 10_000;

/// What `cairn tags` takes.
#[derive(Debug, Args)]
pub struct Tags {
    /// The repository [default: the spec's]
    pub repository: Option<Reference>,
    /// Lists also the tags that Cairn keeps for itself: cairn-… and sha256-…
    #[arg(long)]
    pub all: bool,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    tags: Vec<Tag>,
}

impl Tags {
    /// Prints one tag a line, sorted.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let reference = match &self.repository {
            Some(reference) => reference.without_target(),
            None => Project::load(cairn)?.repository(),
        };
        if reference.host.is_none() && !cairn.store().await?.contains(&reference.name).await? {
            let text = format!("the local store has no repository `{reference}`");
            return Err(Failure::new(Exit::Input, text).with_hint(
                "a name without a host is in the local store; build it, or write the host".to_owned(),
            ));
        }
        let repository = cairn.open(&reference).await?;
        let mut tags = all(&*repository).await?;
        tags.retain(|tag| self.all || !is_internal(tag));
        if cairn.terminal.json {
            let repository = reference.to_string();
            return cairn.terminal.document(&Document { repository, tags });
        }
        tags.iter().try_for_each(|tag| cairn.terminal.print(tag.as_str()))
    }
}

/// All tags, sorted, each once, whatever the registry's order.
///
/// # Errors
///
/// When the repository cannot be asked, or lists without end.
pub async fn all(repository: &dyn Repository) -> Result<Vec<Tag>, Failure> {
    let mut tags = std::collections::BTreeSet::new();
    let mut page = Page::first();
    for _ in 0..PAGE_LIMIT {
        let found = repository.list_tags(&page).await?;
        tags.extend(found.tags);
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(tags.into_iter().collect()),
        }
    }
    Err(Failure::new(
        Exit::Environment,
        format!("{} lists tags without end", repository.label()),
    ))
}
