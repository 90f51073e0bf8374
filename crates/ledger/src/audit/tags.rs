//! Tags against the folded state, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::{Digest, Tag};
use cairn_store::Target;

use super::{Audit, AuditError, OtherTags, list};
use crate::head;
use crate::name::{Channel, Version};
use crate::state::{Binding, ChannelState, Shown, Standing};

/// What tags of images without a version begin with; the first digits of the digest follow.
const CONTENT_PREFIX: &str = "cairn-i-";

/// The tags of the images' repository that have to do with a ledger, and what they show.
pub(super) struct Tags {
    tags: BTreeMap<Tag, Option<Digest>>,
    /// Those that could not be looked at.
    unseen: BTreeSet<Tag>,
}

impl Tags {
    fn shows(&self, tag: &Tag) -> Option<Digest> {
        self.tags.get(tag).copied().flatten()
    }

    fn has_content_tag(&self, digest: &Digest) -> bool {
        let tag = format!("{CONTENT_PREFIX}{}", head::short(digest));
        tag.parse().is_ok_and(|tag| self.shows(&tag) == Some(*digest))
    }
}

impl Audit<'_> {
    pub(super) async fn tags(&mut self) -> Result<Tags, AuditError> {
        let images = &*self.ledger.images;
        let (mut tags, mut unseen) = (BTreeMap::new(), BTreeSet::new());
        for tag in list(images).await? {
            let is_ours = tag.as_str().parse::<Version>().is_ok()
                || tag.as_str().parse::<Channel>().is_ok()
                || tag.as_str().starts_with(CONTENT_PREFIX);
            if !is_ours {
                continue;
            }
            let found = images.stat_manifest(&Target::Tag(tag.clone())).await;
            let Some(found) = self.looked(images, &tag, found)? else {
                unseen.insert(tag);
                continue;
            };
            tags.insert(tag, found.map(|descriptor| descriptor.digest));
        }
        self.checked.tags = tags.len() as u64;
        Ok(Tags { tags, unseen })
    }

    pub(super) fn channels(&mut self, tags: &Tags) {
        let state = self.state;
        for (name, channel) in &state.channels {
            let Some(shown) = &channel.shows else { continue };
            self.checked.channels += 1;
            let (label, digest) = (shown.label(), shown.digest);
            if tags.unseen.contains(&name.tag()) {
                continue;
            }
            match tags.shows(&name.tag()) {
                None => self.find(
                    "tag-missing",
                    name,
                    format!(
                        "the channel shows {label} and has no tag; cairn repair {name} --forward writes it"
                    ),
                ),
                Some(found) if found == digest => {}
                Some(found) => {
                    let whose = whose(channel, &found);
                    let message = format!(
                        "the tag shows {found}, {whose}; the ledger says {digest} ({label}); cairn record {name} accepts it, cairn repair {name} --forward puts it back"
                    );
                    self.find("tag-differs", name, message);
                }
            }
        }
    }

    pub(super) async fn releases(&mut self, tags: &Tags) -> Result<(), AuditError> {
        let state = self.state;
        // Each image's statements are read once, however many versions it has.
        let mut images: BTreeMap<Digest, usize> = BTreeMap::new();
        for (version, binding) in &state.versions {
            let bound = match binding.standing() {
                Standing::Named(bound) if state.is_pruned(&bound.digest) => {
                    if let Some(found) = tags.shows(&version.tag()).filter(|found| *found != bound.digest) {
                        let message = format!(
                            "the tag shows {found}; the version was pruned, and is {}",
                            bound.digest
                        );
                        self.find("tag-differs", version, message);
                    }
                    continue;
                }
                Standing::Named(bound) => bound,
                Standing::Yanked(_) => {
                    self.strange_tag(tags, version, binding);
                    continue;
                }
                Standing::Contested => {
                    self.strange_tag(tags, version, binding);
                    let digests: Vec<String> = binding
                        .bound
                        .iter()
                        .map(|bound| bound.digest.to_string())
                        .collect();
                    self.find(
                        "version-contested",
                        version,
                        format!("released as {}", digests.join(" and ")),
                    );
                    continue;
                }
            };
            self.checked.releases += 1;
            match tags.shows(&version.tag()) {
                None if tags.unseen.contains(&version.tag()) => {}
                None => self.find(
                    "tag-missing",
                    version,
                    format!("the version is {} and has no tag", bound.digest),
                ),
                Some(found) if found == bound.digest => {}
                Some(found) => {
                    let message = format!("the tag shows {found}; the ledger says {}", bound.digest);
                    self.find("tag-differs", version, message);
                }
            }
            self.attached(version, bound).await?;
            *images.entry(bound.digest).or_default() += 1;
        }
        for (image, releases) in images {
            self.strangers(image, releases).await?;
        }
        Ok(())
    }

    /// The tag of a version that names nothing may show what it once was, and nothing else.
    fn strange_tag(&mut self, tags: &Tags, version: &Version, binding: &Binding) {
        if let Some(found) = tags
            .shows(&version.tag())
            .filter(|found| binding.to(found).is_none())
        {
            let message = format!("the tag shows {found}, as which the version was never released");
            self.find("tag-differs", version, message);
        }
    }

    /// Tags that look like the ledger's and that no entry names.
    pub(super) fn others(&mut self, tags: &Tags) {
        let state = self.state;
        for (tag, digest) in &tags.tags {
            let text = tag.as_str();
            let shows = digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
            let version: Option<Version> = text.parse().ok();
            let channel: Option<Channel> = text.parse().ok();
            if version.is_some_and(|version| !state.versions.contains_key(&version)) {
                self.find(
                    "tag-without-entry",
                    tag,
                    format!("no release made the version tag, which shows {shows}"),
                );
            }
            let is_known = |channel: &Channel| {
                state
                    .channels
                    .get(channel)
                    .is_some_and(|channel| channel.shows.is_some())
            };
            if channel.as_ref().is_some_and(|channel| !is_known(channel)) {
                let channel = channel.and_then(|channel| state.channels.get(&channel));
                let is_wanted = channel
                    .zip(*digest)
                    .is_some_and(|(channel, found)| channel.has_wanted(&found));
                let message = if is_wanted {
                    format!(
                        "the channel of this name shows nothing; the tag shows {shows}, which an entry without effect wanted"
                    )
                } else {
                    format!("no entry moved the channel of this name; the tag shows {shows}")
                };
                match self.options.other_tags {
                    OtherTags::Findings => self.find("tag-without-entry", tag, message),
                    OtherTags::Unchecked => self
                        .not_applicable
                        .push(format!("the tag {tag}: no entry names it")),
                }
            }
        }
    }

    /// Tags that say which content they have must show it; and what a channel leads to needs some tag, lest a registry clears it
    /// away.
    pub(super) fn untagged(&mut self, tags: &Tags) {
        for (tag, digest) in &tags.tags {
            let (Some(said), Some(digest)) = (tag.as_str().strip_prefix(CONTENT_PREFIX), digest) else {
                continue;
            };
            if said != head::short(digest) {
                let message = format!("the tag shows {digest}, which is not the content that it says");
                self.find("tag-differs", tag, message);
            }
        }
        let state = self.state;
        for (name, channel) in &state.channels {
            let kept = |shown: &&Shown| state.may_be_shown(&shown.digest);
            for shown in channel.trail.iter().chain(&channel.shows).filter(kept) {
                let digest = &shown.digest;
                let is_named = state.versions_of(digest).next().is_some();
                if !is_named && !tags.has_content_tag(digest) && tags.shows(&name.tag()) != Some(*digest) {
                    let message =
                        format!("{name} leads to it, and no tag keeps it: the registry may clear it away");
                    self.note("image-untagged", digest, message);
                }
            }
        }
    }
}

fn whose(channel: &ChannelState, found: &Digest) -> &'static str {
    if channel.has_shown(found) {
        "which the channel showed before"
    } else if channel.has_wanted(found) {
        "which an entry without effect wanted"
    } else {
        "which the ledger never put there"
    }
}
