//! Bringing in images that existed before there was a ledger, many at once.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::Digest;

use super::plan::{self, AdoptPlan};
use super::run::channel_done;
use super::{Appended, Blocked, ChannelDone, Context, OperationError};
use crate::append::Commit;
use crate::class::Class;
use crate::entry::{EntryName, Mode};
use crate::envelope::Envelope;
use crate::fold::Why;
use crate::image::{self, Depth};
use crate::name::{Channel, Version};
use crate::open::{Ledger, Opened};
use crate::project::{Looked, Named};

/// How often it is planned again because somebody else appended.
const ROUND_LIMIT: usize = 8;

/// Images that are to be brought in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdoptRequest {
    /// Versions and what their tags show, in the order in which they are bound ([`natural_order`]).
    pub versions: Vec<(Version, Digest)>,
    /// What channels show, or showed one after the other; the last one of a channel is what it shows.
    pub channels: Vec<(Channel, Digest)>,
}

/// A version or channel that was not brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The version or digest.
    pub subject: String,
    /// What it was to be bound to.
    pub digest: Digest,
    /// Why not.
    pub why: WhySkipped,
}

/// Why something was not brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhySkipped {
    /// The version is bound to another digest.
    Bound(Digest),
    /// The version is barred.
    Yanked,
    /// The version was bound to two digests at once.
    Contested,
    /// The image is not whole, or no image.
    Image(String),
}

impl std::fmt::Display for WhySkipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bound(digest) => write!(f, "it is {digest} in the ledger, and a version never changes"),
            Self::Yanked => f.write_str("it was yanked"),
            Self::Contested => f.write_str("it was released as two images at once"),
            Self::Image(why) => f.write_str(why),
        }
    }
}

/// What was brought in.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// The versions that were bound now, and by which entry.
    pub versions: Vec<(Version, Digest, Appended)>,
    /// Versions that were bound to these digests before.
    pub known: Vec<(Version, Digest)>,
    /// What was not brought in.
    pub skipped: Vec<Skipped>,
    /// The channels that were named.
    pub channels: Vec<ChannelDone>,
    /// Channels that were not moved.
    pub blocked: Vec<Blocked>,
    /// Whether anything was appended.
    pub changed: bool,
    /// How it was appended.
    pub mode: Mode,
    /// The ledger as it is now.
    pub opened: Opened,
}

/// The order of versions as people count: numbers by value, and what comes behind `-` before the version without it.
#[must_use]
pub fn natural_order(left: &Version, right: &Version) -> Ordering {
    let cut = |version: &Version| {
        let text = version.as_str().trim_start_matches('v').to_owned();
        match text.split_once('-') {
            Some((core, rest)) => (core.to_owned(), Some(rest.to_owned())),
            None => (text, None),
        }
    };
    let ((core, rest), (other, other_rest)) = (cut(left), cut(right));
    let suffix = match (&rest, &other_rest) {
        (Some(rest), Some(other)) => by_parts(rest, other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_parts(&core, &other).then(suffix).then_with(|| left.cmp(right))
}

/// Runs of digits by value, all else by bytes.
fn by_parts(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while let (Some(one), Some(other)) = (left.first(), right.first()) {
        let order = if one.is_ascii_digit() && other.is_ascii_digit() {
            let (number, rest) = digits(left);
            let (other, other_rest) = digits(right);
            (left, right) = (rest, other_rest);
            number.len().cmp(&other.len()).then_with(|| number.cmp(other))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            one.cmp(other)
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// The digits at the beginning without leading zeros, and what follows them.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let zeros = number.iter().take_while(|b| **b == b'0').count();
    (&number[zeros..], rest)
}

impl Ledger {
    /// Brings in images: binds each version to what its tag shows, and lets channels show what they showed. All of it is one
    /// head. Repeated, it appends nothing for what is there, and completes what is unfinished.
    ///
    /// # Errors
    ///
    /// [`OperationError`]. A version whose image is not whole is no error, but named among what was skipped.
    pub async fn adopt(
        &self,
        opened: &Opened,
        context: &Context<'_>,
        request: &AdoptRequest,
    ) -> Result<Adopted, OperationError> {
        let label = self.home.label();
        self.check_home(plan::state(opened, &label)?)?;
        let (request, broken) = self.only_whole(request).await?;
        let channels: BTreeSet<Channel> = request
            .channels
            .iter()
            .map(|(channel, _)| channel.clone())
            .collect();
        let digests = request.channels.iter().map(|(_, digest)| *digest).collect();
        let looked = self
            .check_tags(opened.clone(), &channels, &digests)
            .await
            .map_err(OperationError::Tags)?;
        let mut now = looked.opened.clone();
        for _ in 0..ROUND_LIMIT {
            let plan = plan::adopt(&now, &label, context, &request)?;
            if let Some(lack) = plan.lacks.first() {
                // One signature for a whole batch cannot be asked of somebody else.
                let (channel, why) = (lack.channel.clone(), Why::Unapproved);
                return Err(OperationError::Refused { channel, why });
            }
            let envelopes = sign(context, &plan)?;
            if envelopes.is_empty() {
                return self.adopted(looked, now, &channels, plan, &[], broken).await;
            }
            match self
                .append_all(&now, &envelopes, context.signer, context.at)
                .await?
            {
                Commit::Appended(appended) => {
                    let names: Vec<EntryName> = envelopes.iter().map(Envelope::name).collect();
                    return self
                        .adopted(looked, *appended, &channels, plan, &names, broken)
                        .await;
                }
                Commit::Overtaken(newer, entry, outcome) if newer.head() == now.head() => {
                    // Nobody else appended: what stands in the way is a rule.
                    let why = outcome.void().next().map(|(_, why, _)| why);
                    let moved = plan
                        .entries
                        .iter()
                        .zip(&envelopes)
                        .find(|(_, envelope)| envelope.name() == entry);
                    let channel = moved
                        .and_then(|(entry, _)| entry.moves.first())
                        .map(|one| one.channel.clone());
                    return Err(match (channel, why) {
                        (Some(channel), Some(why)) => OperationError::Refused { channel, why },
                        _ => OperationError::Overtaken,
                    });
                }
                Commit::Overtaken(newer, ..) => now = *newer,
            }
        }
        Err(OperationError::Overtaken)
    }

    /// Without the versions whose images are not whole. What a channel shows has to be.
    async fn only_whole(
        &self,
        request: &AdoptRequest,
    ) -> Result<(AdoptRequest, Vec<Skipped>), OperationError> {
        let mut broken: BTreeMap<Digest, String> = BTreeMap::new();
        let mut skipped = Vec::new();
        let mut looked: BTreeSet<Digest> = BTreeSet::new();
        for (channel, digest) in &request.channels {
            if looked.insert(*digest) {
                let whole = image::check(&*self.images, *digest, Depth::Presence).await;
                whole.map_err(|source| OperationError::Image {
                    target: format!("{digest} for {channel}"),
                    source,
                })?;
            }
        }
        for (version, digest) in &request.versions {
            if looked.insert(*digest) {
                match image::check(&*self.images, *digest, Depth::Presence).await {
                    Ok(_) => {}
                    Err(error) if error.class() == Class::Integrity => {
                        broken.insert(*digest, crate::finding::chain(&error));
                    }
                    Err(source) => {
                        let target = version.to_string();
                        return Err(OperationError::Image { target, source });
                    }
                }
            }
            if let Some(why) = broken.get(digest) {
                skipped.push(Skipped {
                    subject: version.to_string(),
                    digest: *digest,
                    why: WhySkipped::Image(why.clone()),
                });
            }
        }
        let mut whole = request.clone();
        whole.versions.retain(|(_, digest)| !broken.contains_key(digest));
        Ok((whole, skipped))
    }

    async fn adopted(
        &self,
        looked: Looked,
        now: Opened,
        channels: &BTreeSet<Channel>,
        plan: AdoptPlan,
        names: &[EntryName],
        broken: Vec<Skipped>,
    ) -> Result<Adopted, OperationError> {
        let entries: Vec<_> = names.iter().filter_map(|name| now.view().find(name)).collect();
        let versions: Vec<(Version, Digest, Appended)> = entries
            .iter()
            .filter(|(_, record, _)| record.entry.moves.is_empty())
            .filter_map(|(seq, record, _)| {
                let (seq, name) = (*seq, record.name);
                Some((
                    record.entry.version.clone()?,
                    record.entry.digest?,
                    Appended { seq, name },
                ))
            })
            .collect();
        let bound = versions.iter().map(|(version, ..)| version);
        let named = Named {
            versions: bound
                .chain(plan.known.iter().map(|(version, _)| version))
                .cloned()
                .collect(),
            channels: channels.clone(),
        };
        let opened = self
            .project(now, &named)
            .await
            .map_err(OperationError::Incomplete)?;
        let done = channels.iter().map(|channel| {
            let astray = looked.astray.get(channel).copied();
            channel_done(&looked.opened, &opened, channel, true, astray)
        });
        let mut skipped = plan.skipped;
        skipped.extend(broken);
        Ok(Adopted {
            versions,
            known: plan.known,
            skipped,
            channels: done.collect(),
            blocked: plan.blocked,
            changed: !names.is_empty(),
            mode: opened.mode().unwrap_or(Mode::Linear),
            opened,
        })
    }
}

/// Signs the entries in their order: a channel's second move names its first.
fn sign(context: &Context<'_>, plan: &AdoptPlan) -> Result<Vec<Envelope>, OperationError> {
    let mut last: BTreeMap<Channel, EntryName> = BTreeMap::new();
    let mut envelopes = Vec::new();
    for entry in &plan.entries {
        let mut entry = entry.clone();
        plan::adopt::chain(&mut entry, &last);
        let envelope = entry.sign(context.signer).map_err(OperationError::Entry)?;
        for one in &entry.moves {
            last.insert(one.channel.clone(), envelope.name());
        }
        envelopes.push(envelope);
    }
    Ok(envelopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_in_which_people_count() {
        let sorted = [
            "0.9",
            "v1.0.0-alpha",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "1.0.0",
            "v1.0.0",
            "1.0.1",
            "1.2",
            "1.10.0",
            "v2",
            "2024-01-02",
            "10",
        ];
        let sorted: Vec<Version> = sorted.iter().map(|text| text.parse().unwrap()).collect();
        let mut shuffled = sorted.clone();
        shuffled.reverse();
        shuffled.swap(2, 7);
        shuffled.sort_by(natural_order);
        let texts = |versions: &[Version]| versions.iter().map(ToString::to_string).collect::<Vec<_>>();
        // 10 comes before 2024.
        let mut expected = sorted;
        expected.swap(10, 11);
        assert_eq!(texts(&shuffled), texts(&expected));
    }
}
