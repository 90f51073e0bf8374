//! Retention: which images are no longer kept, and taking them away.
//!
//! Entries first: once the ledger says that an image is no longer kept, that it is missing is no fault. Then what there is of it
//! goes: tags, what is attached to it, manifests. What cannot be deleted is told, and tried again the next time.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use cairn_oci::{Digest, Tag};
use cairn_store::{Page, Repository, RepositoryError, Target};
use jiff::Timestamp;

use super::plan::{check_key, draft_in, state};
use crate::append::{Commit, CommitError};
use crate::audit::list_tags;
use crate::class::Class;
use crate::entry::{Entry, Kind, Nonce};
use crate::finding::chain;
use crate::head;
use crate::image::{self, ImageError};
use crate::name::Version;
use crate::open::{Ledger, Opened};
use crate::operation::{Context, OperationError};
use crate::project::ProjectError;
use crate::state::{Standing, State};

/// How often the plan is made again because the ledger changed meanwhile.
const ROUND_LIMIT: usize = 8;

/// Which images are kept. One is enough for an image to stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Those of so many newest releases.
    pub keep: usize,
    /// Those that were released at this time or later.
    pub since: Option<Timestamp>,
    /// So many steps back of each channel, beside what it shows and what the pin names.
    pub steps: usize,
}

/// An image that is no longer kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    /// Which manifest or index.
    pub digest: Digest,
    /// The versions that are bound to it, the newest last.
    pub versions: Vec<Version>,
    /// When the newest of them was released, by its author's clock.
    pub at: Timestamp,
}

/// What was written into the ledger.
#[derive(Debug, Clone)]
pub struct Pruned {
    /// The images that are no longer kept from now on, the oldest first.
    pub images: Vec<Pruning>,
    /// The ledger as it is now.
    pub opened: Opened,
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Tags.
    pub tags: u64,
    /// Manifests, indexes, and what was attached to them.
    pub manifests: u64,
    /// What is still there: what, and why.
    pub left: Vec<(String, String)>,
}

/// Why it is not known what can be deleted.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The ledger cannot be read again: what it says is no longer kept may be released again.
    #[error(transparent)]
    Ledger(ProjectError),
    /// The images' repository cannot be asked.
    #[error(transparent)]
    Image(ImageError),
}

impl DropError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Ledger(error) => error.class(),
            Self::Image(error) => error.class(),
        }
    }
}

/// Takes the seal off a tag, which nobody can do but the owner of a store.
#[async_trait]
pub trait Unseal: Send + Sync {
    /// Makes it an ordinary tag, if it shows this.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`].
    async fn unseal(&self, tag: &Tag, digest: &Digest) -> Result<(), RepositoryError>;
}

#[derive(Default)]
struct Released {
    versions: BTreeMap<u64, Version>,
    at: Option<Timestamp>,
    is_free: bool,
}

/// The images that are no longer kept under `retention`, and are kept as far as the ledger knows; the oldest first.
#[must_use]
pub fn plan(opened: &Opened, retention: &Retention) -> Vec<Pruning> {
    let Some(state) = opened.state() else {
        return Vec::new();
    };
    let mut images: BTreeMap<Digest, Released> = BTreeMap::new();
    let mut standing: BTreeMap<u64, Digest> = BTreeMap::new();
    for (version, binding) in &state.versions {
        let is_contested = binding.standing() == Standing::Contested;
        for bound in &binding.bound {
            let image = images.entry(bound.digest).or_insert_with(|| Released {
                is_free: true,
                ..Released::default()
            });
            image.versions.insert(bound.position, version.clone());
            image.at = image.at.max(Some(bound.at));
            image.is_free &= !is_contested;
            if bound.yanked.is_none() && !state.is_pruned(&bound.digest) {
                standing.insert(bound.position, bound.digest);
            }
        }
    }
    let newest = standing.into_values().rev().take(retention.keep);
    let mut kept: BTreeSet<Digest> = newest.collect();
    kept.extend(needed(opened, state, retention));
    let is_young = |image: &Released| retention.since.is_some_and(|since| image.at >= Some(since));
    let mut prunings: Vec<(u64, Pruning)> = images
        .into_iter()
        .filter(|(digest, image)| {
            image.is_free && !kept.contains(digest) && !state.is_pruned(digest) && !is_young(image)
        })
        .filter_map(|(digest, image)| {
            let (position, at) = (*image.versions.keys().next()?, image.at?);
            let versions = image.versions.into_values().collect();
            Some((position, Pruning { digest, versions, at }))
        })
        .collect();
    prunings.sort_by_key(|(position, _)| *position);
    prunings.into_iter().map(|(_, pruning)| pruning).collect()
}

/// What channels show, what they were rolled back from, their last steps, and what pins name.
fn needed(opened: &Opened, state: &State, retention: &Retention) -> BTreeSet<Digest> {
    let mut needed = BTreeSet::new();
    for channel in state.channels.values() {
        needed.extend(channel.shows.iter().map(|shown| shown.digest));
        let left = channel.hold.iter().filter_map(|hold| hold.left.as_ref());
        needed.extend(left.map(|left| left.digest));
        let mut steps = BTreeSet::new();
        for shown in channel.trail.iter().rev() {
            let is_shown = channel
                .shows
                .as_ref()
                .is_some_and(|now| now.digest == shown.digest);
            if steps.len() < retention.steps && !is_shown && state.may_be_shown(&shown.digest) {
                steps.insert(shown.digest);
            }
        }
        needed.extend(steps);
    }
    let pinned = opened.policy.pin.iter().flat_map(|pin| &pin.entries);
    let pinned = pinned.filter_map(|name| opened.view().find(name));
    needed.extend(pinned.filter_map(|(_, record, _)| record.entry.digest));
    needed
}

/// The entries that say so, each with a nonce of its own.
fn entries(state: &State, context: &Context<'_>, images: &[Pruning]) -> Result<Vec<Entry>, OperationError> {
    let mut entries = Vec::new();
    for (number, image) in (0_u64..).zip(images) {
        let mut nonce = context.nonce;
        for (byte, more) in nonce.iter_mut().zip(number.to_be_bytes()) {
            *byte ^= more;
        }
        let entry = Entry {
            version: image.versions.last().cloned(),
            digest: Some(image.digest),
            nonce: Nonce(nonce),
            ..draft_in(state, context, Kind::Prune)
        };
        // No rule asks for a second signature: nothing moves forward.
        check_key(state, context, &entry)?;
        entries.push(entry.shortened());
    }
    Ok(entries)
}

impl Ledger {
    /// Writes into the ledger which images are no longer kept: all of them in one head, or none. Nothing is deleted by it.
    ///
    /// # Errors
    ///
    /// [`OperationError`].
    pub async fn prune(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        retention: &Retention,
    ) -> Result<Pruned, OperationError> {
        let mut opened = opened.clone();
        let mut last = state(&opened, &self.home.label())?.ledger;
        for _ in 0..ROUND_LIMIT {
            let state = state(&opened, &self.home.label())?;
            self.check_home(state)?;
            let images = plan(&opened, retention);
            if images.is_empty() {
                return Ok(Pruned { images, opened });
            }
            let mut envelopes = Vec::new();
            for entry in entries(state, context, &images)? {
                envelopes.push(entry.sign(context.signer).map_err(OperationError::Entry)?);
            }
            match self
                .append_all(&opened, &envelopes, context.signer, context.at)
                .await?
            {
                Commit::Appended(now) => return Ok(Pruned { images, opened: *now }),
                // A channel moved to one of them meanwhile: then it is kept.
                Commit::Overtaken(now, entry, _) => (opened, last) = (*now, entry),
            }
        }
        Err(CommitError::Contended {
            entry: last,
            rounds: ROUND_LIMIT,
        }
        .into())
    }

    /// Deletes what is still there of images that are no longer kept. What others need too, or somebody else has tagged, stays; and
    /// what was released again since the ledger was read.
    ///
    /// # Errors
    ///
    /// [`DropError`] if the ledger or the repository cannot be asked. What cannot be deleted is no error.
    pub async fn drop_pruned(
        &self,
        opened: &Opened,
        unseal: Option<&dyn Unseal>,
    ) -> Result<Dropped, DropError> {
        let opened = &self.look_again(opened).await.map_err(DropError::Ledger)?;
        let mut dropping = Dropping {
            images: &*self.images,
            unseal,
            tags: None,
            kept: None,
            dropped: Dropped::default(),
        };
        if let Some(state) = opened.state() {
            for digest in state.pruned.keys() {
                let done = dropping.image(opened, state, *digest).await;
                done.map_err(DropError::Image)?;
            }
        }
        Ok(dropping.dropped)
    }
}

struct Dropping<'a> {
    images: &'a dyn Repository,
    unseal: Option<&'a dyn Unseal>,
    /// Which tags show what; looked at when it is first needed.
    tags: Option<BTreeMap<Digest, BTreeSet<Tag>>>,
    /// The manifests that images need that are kept; looked at when it is first needed.
    kept: Option<BTreeSet<Digest>>,
    dropped: Dropped,
}

impl Dropping<'_> {
    fn error(&self, digest: Digest, source: RepositoryError) -> ImageError {
        ImageError::Repository {
            repository: self.images.label(),
            digest,
            source,
        }
    }

    async fn image(&mut self, opened: &Opened, state: &State, digest: Digest) -> Result<(), ImageError> {
        let manifest = self.images.read_manifest(&Target::Digest(digest)).await;
        let Some(manifest) = manifest.map_err(|source| self.error(digest, source))? else {
            return Ok(());
        };
        let own = own_tags(state, &digest);
        let tags = self.tags_of(digest).await?;
        if let Some(other) = tags.difference(&own).next() {
            let why = format!("the tag {other} shows it, and is none of the ledger's");
            self.dropped.left.push((digest.to_string(), why));
            return Ok(());
        }
        if self.kept(opened, state).await?.contains(&digest) {
            let why = "an image that is kept has it".to_owned();
            self.dropped.left.push((digest.to_string(), why));
            return Ok(());
        }
        for tag in tags {
            if !self.tag(&tag, &digest).await {
                return Ok(());
            }
        }
        self.referrers(digest).await?;
        let children: Vec<Digest> = manifest
            .document()
            .map(|document| document.manifests().iter().map(|child| child.digest).collect())
            .unwrap_or_default();
        if !self.manifest(digest).await {
            return Ok(());
        }
        for child in children {
            if !self.kept(opened, state).await?.contains(&child) && self.tags_of(child).await?.is_empty() {
                self.referrers(child).await?;
                self.manifest(child).await;
            }
        }
        Ok(())
    }

    async fn tag(&mut self, tag: &Tag, digest: &Digest) -> bool {
        let mut done = match self.unseal {
            Some(unseal) => unseal.unseal(tag, digest).await,
            None => Ok(()),
        };
        if done.is_ok() {
            done = self.images.delete_tag(tag).await.map(|_| ());
        }
        self.note(&format!("the tag {tag}"), done, |dropped| dropped.tags += 1)
    }

    async fn manifest(&mut self, digest: Digest) -> bool {
        let done = self.images.delete_manifest(&digest).await.map(|_| ());
        self.note(&digest.to_string(), done, |dropped| dropped.manifests += 1)
    }

    fn note(&mut self, what: &str, done: Result<(), RepositoryError>, count: fn(&mut Dropped)) -> bool {
        match done {
            Ok(()) => {
                count(&mut self.dropped);
                true
            }
            Err(error) => {
                self.dropped.left.push((what.to_owned(), chain(&error)));
                false
            }
        }
    }

    /// What is attached to an image goes with it.
    async fn referrers(&mut self, subject: Digest) -> Result<(), ImageError> {
        let mut attached = BTreeSet::new();
        let mut page = Page::first();
        loop {
            let part = self.images.list_referrers(&subject, None, &page).await;
            let part = part.map_err(|source| self.error(subject, source))?;
            attached.extend(part.manifests.iter().map(|one| one.digest));
            match part.next {
                Some(next) if page.after.as_ref() != Some(&next) => page.after = Some(next),
                _ => break,
            }
        }
        for digest in attached {
            self.manifest(digest).await;
        }
        // Where the registry keeps no list of referrers, a tag has it.
        if let Ok(tag) = format!("sha256-{}", subject.hex()).parse::<Tag>() {
            let target = Target::Tag(tag.clone());
            let found = self.images.stat_manifest(&target).await;
            if found.map_err(|source| self.error(subject, source))?.is_some() {
                let done = self.images.delete_tag(&tag).await.map(|_| ());
                self.note(&format!("the tag {tag}"), done, |dropped| dropped.tags += 1);
            }
        }
        Ok(())
    }

    async fn tags_of(&mut self, digest: Digest) -> Result<BTreeSet<Tag>, ImageError> {
        if self.tags.is_none() {
            let list = list_tags(self.images).await;
            let mut tags: BTreeMap<Digest, BTreeSet<Tag>> = BTreeMap::new();
            for tag in list.map_err(|source| self.error(digest, source))? {
                if tag.as_str().starts_with("sha256-") || head::is_head_tag(&tag) {
                    continue;
                }
                let found = self.images.stat_manifest(&Target::Tag(tag.clone())).await;
                if let Some(found) = found.map_err(|source| self.error(digest, source))? {
                    tags.entry(found.digest).or_default().insert(tag);
                }
            }
            self.tags = Some(tags);
        }
        let tags = self.tags.as_ref().and_then(|tags| tags.get(&digest));
        Ok(tags.cloned().unwrap_or_default())
    }

    async fn kept(&mut self, opened: &Opened, state: &State) -> Result<&BTreeSet<Digest>, ImageError> {
        if self.kept.is_none() {
            let mut kept = BTreeSet::new();
            for digest in kept_images(opened, state) {
                match image::manifests(self.images, digest).await {
                    Ok(manifests) => kept.extend(manifests),
                    // What is lost needs nothing any more; the audit says so.
                    Err(error) if error.class() == Class::Integrity => {}
                    Err(error) => return Err(error),
                }
            }
            self.kept = Some(kept);
        }
        Ok(self.kept.get_or_insert_default())
    }
}

/// Every image that an entry names and that is kept: it may be somebody's way back.
#[must_use]
pub fn kept_images(opened: &Opened, state: &State) -> BTreeSet<Digest> {
    let named = opened.view().digests().into_iter();
    named.filter(|digest| !state.is_pruned(digest)).collect()
}

/// The tags that the ledger itself gave an image.
fn own_tags(state: &State, digest: &Digest) -> BTreeSet<Tag> {
    let versions = state.versions_of(digest).map(|(version, _)| version.tag());
    let content = format!("cairn-i-{}", head::short(digest)).parse();
    versions.chain(content.ok()).collect()
}
