//! Projections: what others see of the ledger, in the repository of the images.
//!
//! A version tag (sealed), a channel's tag, a release's referrer. All of them follow from the ledger, and all can be
//! written again. A tag that shows what the ledger does not know is somebody's hand or a stale view, and is left alone.

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::{Digest, Tag};
use cairn_store::{Condition, RawManifest, RepositoryError, Target};

use crate::class::Class;
use crate::content;
use crate::entry::Mode;
use crate::image::{self, ImageError};
use crate::name::{Channel, Version};
use crate::open::{Ledger, OpenError, Opened};
use crate::referrer::Referrer;
use crate::state::Standing;

/// How often a channel is written again because it moved meanwhile.
const ROUND_LIMIT: usize = 32;

/// Why a projection is not complete. What was appended stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// The ledger cannot be read again.
    #[error("the ledger could not be read again")]
    Open(#[source] OpenError),
    /// The image's manifest is not there.
    #[error("{subject} cannot be shown")]
    Image {
        /// The channel or version.
        subject: String,
        /// What is missing.
        source: ImageError,
    },
    /// A tag cannot be read or written.
    #[error("the tag {tag} in {repository} was not written")]
    Tag {
        /// Which repository.
        repository: String,
        /// Which tag.
        tag: Tag,
        /// Why not.
        source: RepositoryError,
    },
    /// A channel's tag shows what the ledger does not know.
    #[error("the tag {channel} shows {found}, which the ledger never put there")]
    UnknownTag {
        /// Which repository.
        repository: String,
        /// The channel.
        channel: Channel,
        /// What its tag shows.
        found: Digest,
        /// What the ledger says that it shows; none: the channel shows nothing.
        expected: Option<Digest>,
        /// Nothing is known of the ledger but what it says itself: then it may be an old copy.
        first_seen: bool,
    },
    /// A version's tag shows another digest.
    #[error("the tag {version} shows {found}, but {version} is {expected}")]
    VersionTag {
        /// The version.
        version: Version,
        /// What the ledger says.
        expected: Digest,
        /// What the tag shows.
        found: Digest,
    },
    /// The referrer of a release cannot be written.
    #[error("the release {version} was not attached to its image in {repository}")]
    Referrer {
        /// Which repository.
        repository: String,
        /// The version.
        version: Version,
        /// Why not.
        source: RepositoryError,
    },
    /// A channel moved each time while its tag was written.
    #[error("{channel} kept moving while its tag was written")]
    Moving {
        /// The channel.
        channel: Channel,
    },
}

impl ProjectError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Open(error) => error.class(),
            Self::Image { source, .. } => source.class(),
            Self::Tag { source, .. } | Self::Referrer { source, .. } => Class::of(source),
            Self::UnknownTag { first_seen: true, .. } => Class::Integrity,
            Self::UnknownTag { .. } | Self::VersionTag { .. } | Self::Moving { .. } => Class::Conflict,
        }
    }

    /// The same where there is no ledger yet: then it is not an old copy of one that knows more.
    pub(crate) fn of_new_ledger(mut self) -> Self {
        if let Self::UnknownTag { first_seen, .. } = &mut self {
            *first_seen = false;
        }
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownTag { first_seen: true, .. } => Some(
                "the ledger may be an old copy: pin an entry that you know with --trust sha256:GENESIS+sha256:ENTRY".to_owned(),
            ),
            Self::UnknownTag {
                channel,
                expected: Some(_),
                ..
            } => Some(format!(
                "somebody moved the tag by hand: find out who; then accept it with cairn record {channel}, or put it back with cairn repair {channel} --forward"
            )),
            Self::UnknownTag { channel, .. } => Some(format!(
                "the tag was there before the channel: cairn adopt --channel {channel}={channel} begins with what it shows; or choose another channel"
            )),
            Self::VersionTag { version, .. } => Some(format!(
                "somebody wrote the tag {version} by hand: cairn adopt --tags {version} makes what it shows the version {version}; or release under another version"
            )),
            _ => Some("run the same command again: it completes what is unfinished".to_owned()),
        }
    }
}

/// What was seen on the tags of channels, none of which shows what the ledger does not know.
pub(crate) struct Looked {
    /// The ledger as it is now.
    pub(crate) opened: Opened,
    /// What tags show that the ledger knows, but does not say of their channel: somebody's hand put it there, or whoever moved the
    /// channel last has not written its tag.
    pub(crate) astray: BTreeMap<Channel, Digest>,
}

/// What a command named: only that is completed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) versions: BTreeSet<Version>,
    pub(crate) channels: BTreeSet<Channel>,
}

impl Ledger {
    /// Brings the tags and referrers of what was named in line with the ledger, until it did not change meanwhile.
    pub(crate) async fn project(&self, opened: Opened, named: &Named) -> Result<Opened, ProjectError> {
        let mut opened = opened;
        for version in &named.versions {
            if let Err(error) = self.project_version(&opened, version).await {
                opened = self.unless_missed(&opened, error, |_| false).await?;
                self.project_version(&opened, version).await?;
            }
        }
        for _ in 0..ROUND_LIMIT {
            let mut settled = true;
            for channel in &named.channels {
                settled &= self.settle_channel(&mut opened, channel).await?;
            }
            let now = self.look_again(&opened).await?;
            let is_same = |channel: &Channel| shows(&opened, channel) == shows(&now, channel);
            let unchanged = named.channels.iter().all(is_same);
            opened = now;
            if settled && unchanged {
                return Ok(opened);
            }
        }
        match named.channels.first() {
            Some(channel) => Err(ProjectError::Moving {
                channel: channel.clone(),
            }),
            None => Ok(opened),
        }
    }

    /// Writes a channel's tag. What the view does not know may only be newer than the view: it counts as somebody's
    /// hand only if a view that was read after the tag does not know it either.
    async fn settle_channel(&self, opened: &mut Opened, channel: &Channel) -> Result<bool, ProjectError> {
        match self.show_channel(opened, channel).await {
            Err(ProjectError::UnknownTag { found, .. }) => {
                *opened = self.look_again(opened).await?;
                self.check_known(opened, channel, Some(found)).map(|()| false)
            }
            Err(error) => {
                *opened = self.unless_moved_on(opened, channel, error).await?;
                Ok(false)
            }
            Ok(settled) => Ok(settled),
        }
    }

    async fn show_channel(&self, opened: &Opened, channel: &Channel) -> Result<bool, ProjectError> {
        let settled = self.project_channel(opened, channel).await?;
        self.keep_shown(opened, channel).await?;
        Ok(settled)
    }

    /// The ledger as it is now, if all that is wrong is a missing image that is not missed there: somebody may have pruned it since
    /// the ledger was read.
    async fn unless_missed(
        &self,
        opened: &Opened,
        error: ProjectError,
        is_missed: impl Fn(&Opened) -> bool,
    ) -> Result<Opened, ProjectError> {
        let is_missing = matches!(
            &error,
            ProjectError::Image {
                source: ImageError::Manifest { .. },
                ..
            }
        );
        if !is_missing {
            return Err(error);
        }
        let now = self.look_again(opened).await?;
        if is_missed(&now) { Err(error) } else { Ok(now) }
    }

    /// The same for what a channel shows, which nobody can prune before the channel has moved on.
    pub(crate) async fn unless_moved_on(
        &self,
        opened: &Opened,
        channel: &Channel,
        error: ProjectError,
    ) -> Result<Opened, ProjectError> {
        let is_missed = |now: &Opened| shows(opened, channel) == shows(now, channel);
        self.unless_missed(opened, error, is_missed).await
    }

    pub(crate) async fn look_again(&self, opened: &Opened) -> Result<Opened, ProjectError> {
        if self.is_current(opened).await.map_err(ProjectError::Open)? {
            return Ok(opened.clone());
        }
        if opened.mode() == Some(Mode::Linear) {
            return self.reopen(opened).await.map_err(ProjectError::Open);
        }
        // A list of tags may be late: what was seen before still counts.
        let before = crate::causal::Before::of(&opened.view);
        let view = self.read_view(&before).await.map_err(ProjectError::Open)?;
        Ok(Opened {
            view,
            ..opened.clone()
        })
    }

    pub(crate) async fn manifest(&self, subject: &str, digest: Digest) -> Result<RawManifest, ProjectError> {
        let manifest = image::read_manifest(&*self.images, digest).await;
        manifest.map_err(|source| ProjectError::Image {
            subject: subject.to_owned(),
            source,
        })
    }

    pub(crate) fn tag_error(&self, tag: &Tag, source: RepositoryError) -> ProjectError {
        ProjectError::Tag {
            repository: self.images.label(),
            tag: tag.clone(),
            source,
        }
    }

    pub(crate) async fn tag_shows(&self, tag: &Tag) -> Result<Option<Digest>, ProjectError> {
        let stat = self.images.stat_manifest(&Target::Tag(tag.clone())).await;
        let stat = stat.map_err(|source| self.tag_error(tag, source))?;
        Ok(stat.map(|descriptor| descriptor.digest))
    }

    /// The version's tag, sealed where that is possible, and the release's referrer.
    async fn project_version(&self, opened: &Opened, version: &Version) -> Result<(), ProjectError> {
        let binding = opened.state().and_then(|state| state.versions.get(version));
        let Some(Standing::Named(bound)) = binding.map(crate::state::Binding::standing) else {
            return Ok(());
        };
        let expected = bound.digest;
        if opened.state().is_some_and(|state| state.is_pruned(&expected)) {
            return Ok(());
        }
        let manifest = self.manifest(version.as_str(), expected).await?;
        let tag = version.tag();
        let differs = |found| ProjectError::VersionTag {
            version: version.clone(),
            expected,
            found,
        };
        match self.tag_shows(&tag).await? {
            Some(found) if found != expected => return Err(differs(found)),
            found => self.seal(&tag, &manifest, found).await?,
        }
        let referrer = opened.view.find(&bound.entry);
        let subject = manifest.descriptor();
        let referrer = referrer.and_then(|(_, record, _)| Referrer::of(record, subject.clone()));
        let Some(referrer) = referrer else { return Ok(()) };
        referrer
            .write(&*self.images, &subject)
            .await
            .map_err(|source| ProjectError::Referrer {
                repository: self.images.label(),
                version: version.clone(),
                source,
            })
    }

    /// A version's tag must show nothing or the right digest.
    pub(crate) async fn check_version(
        &self,
        version: &Version,
        expected: Digest,
    ) -> Result<(), ProjectError> {
        match self
            .tag_shows(&version.tag())
            .await?
            .filter(|found| *found != expected)
        {
            None => Ok(()),
            Some(found) => Err(ProjectError::VersionTag {
                version: version.clone(),
                expected,
                found,
            }),
        }
    }

    /// Seals a tag that shows nothing or already the right digest.
    async fn seal(
        &self,
        tag: &Tag,
        manifest: &RawManifest,
        found: Option<Digest>,
    ) -> Result<(), ProjectError> {
        let capabilities = self
            .images
            .capabilities()
            .await
            .map_err(|source| self.tag_error(tag, source))?;
        let condition = match (capabilities.seal, found) {
            (true, _) => Condition::Seal,
            (false, Some(_)) => return Ok(()),
            (false, None) if capabilities.conditions => Condition::IfAbsent,
            (false, None) => Condition::Always,
        };
        let target = Target::Tag(tag.clone());
        match content::write_manifest(&*self.images, &target, manifest, &condition, &[]).await {
            Err(
                RepositoryError::Condition {
                    found: Some(found), ..
                }
                | RepositoryError::Sealed {
                    found: Some(found), ..
                },
            ) if found == manifest.digest() => Ok(()),
            Err(source) => Err(self.tag_error(tag, source)),
            Ok(()) => Ok(()),
        }
    }

    /// The condition of writing a tag that was just `found` to show this, as far as the repository honours any.
    pub(crate) async fn while_it_shows(
        &self,
        tag: &Tag,
        found: Option<Digest>,
    ) -> Result<Condition, ProjectError> {
        let capabilities = self.images.capabilities().await;
        let capabilities = capabilities.map_err(|source| self.tag_error(tag, source))?;
        Ok(match (capabilities.conditions, found) {
            (false, _) => Condition::Always,
            (true, None) => Condition::IfAbsent,
            (true, Some(found)) => Condition::IfMatch(found),
        })
    }

    /// A channel's tag: read before it is written, and left alone if it shows what the ledger does not know. Returns
    /// false if somebody else wrote it meanwhile.
    async fn project_channel(&self, opened: &Opened, channel: &Channel) -> Result<bool, ProjectError> {
        let state = opened.state().and_then(|state| state.channels.get(channel));
        let Some(shown) = state.and_then(|state| state.shows.as_ref()) else {
            return Ok(true);
        };
        let tag = channel.tag();
        let found = self.tag_shows(&tag).await?;
        if found == Some(shown.digest) {
            return Ok(true);
        }
        self.check_known(opened, channel, found)?;
        let manifest = self.manifest(channel.as_str(), shown.digest).await?;
        let condition = self.while_it_shows(&tag, found).await?;
        let target = Target::Tag(tag.clone());
        match content::write_manifest(&*self.images, &target, &manifest, &condition, &[]).await {
            // Somebody else was there: the next round reads the ledger and the tag again.
            Err(RepositoryError::Condition { .. }) => Ok(false),
            Ok(()) => Ok(true),
            Err(source) => Err(self.tag_error(&tag, source)),
        }
    }

    /// Looks at the tags of channels before anything is appended: one that the ledger does not know stops it, unless it is
    /// `accepted`. What looks unknown or astray may only be new, so the ledger is read again then.
    pub(crate) async fn check_tags(
        &self,
        opened: Opened,
        channels: &BTreeSet<Channel>,
        accepted: &BTreeSet<Digest>,
    ) -> Result<Looked, ProjectError> {
        let mut astray = BTreeMap::new();
        let mut opened = opened;
        for channel in channels {
            let found = self.tag_shows(&channel.tag()).await?;
            let Some(found) = found.filter(|found| !accepted.contains(found)) else {
                continue;
            };
            if shows(&opened, channel) == Some(&found) {
                continue;
            }
            opened = self.look_again(&opened).await?;
            self.check_known(&opened, channel, Some(found))?;
            if shows(&opened, channel) != Some(&found) {
                astray.insert(channel.clone(), found);
            }
        }
        Ok(Looked { opened, astray })
    }
}

fn shows<'a>(opened: &'a Opened, channel: &Channel) -> Option<&'a Digest> {
    Some(&opened.state()?.shows(channel)?.digest)
}

impl Ledger {
    /// Whether a channel's tag shows nothing, or what some entry wanted the channel to show.
    pub(crate) fn check_known(
        &self,
        opened: &Opened,
        channel: &Channel,
        found: Option<Digest>,
    ) -> Result<(), ProjectError> {
        let state = opened.state().and_then(|state| state.channels.get(channel));
        let is_known = |found: &Digest| state.is_some_and(|state| state.has_wanted(found));
        match found.filter(|found| !is_known(found)) {
            None => Ok(()),
            Some(found) => Err(ProjectError::UnknownTag {
                repository: self.images.label(),
                channel: channel.clone(),
                found,
                expected: shows(opened, channel).copied(),
                first_seen: opened.how == crate::trust::HowTrusted::FirstSeen,
            }),
        }
    }
}
