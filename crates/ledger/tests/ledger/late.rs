//! A registry as bad as they come: the last writer wins, lists are old, cut off and unsorted, answers get lost, and writes arrive late.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cairn_oci::{Descriptor, Digest, Tag};
use cairn_store::{
    Capabilities, Condition, Overlay, Page, RawManifest, Referrers, ReferrersPage, Repository,
    RepositoryError, TagPage, Target,
};

use crate::support::{Repo, unknown};

/// Numbers that depend on the seed alone (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[derive(Debug)]
struct Moment {
    random: Random,
    /// Tags that are not listed yet, and for how many lists.
    unlisted: BTreeMap<Tag, u64>,
    /// Writes that nobody got an answer to and that happen later.
    late: Vec<(u64, Target, RawManifest)>,
    /// Whether it behaves.
    calm: bool,
    /// How many requests there were.
    requests: u64,
}

#[derive(Debug)]
pub(crate) struct Late {
    inner: Repo,
    /// Most tags of one list.
    cap: usize,
    moment: Mutex<Moment>,
}

impl Late {
    pub(crate) fn new(inner: Repo, seed: u64, cap: usize) -> Arc<Self> {
        Arc::new(Self {
            inner,
            cap,
            moment: Mutex::new(Moment {
                random: Random(seed),
                unlisted: BTreeMap::new(),
                late: Vec::new(),
                calm: false,
                requests: 0,
            }),
        })
    }

    /// From now on it behaves, and everything late has arrived.
    pub(crate) async fn calm(&self) {
        self.moment.lock().unwrap().calm = true;
        self.arrive(true).await;
    }

    async fn arrive(&self, all: bool) {
        let due: Vec<_> = {
            let mut moment = self.moment.lock().unwrap();
            moment.requests += 1;
            moment
                .late
                .iter_mut()
                .for_each(|(wait, ..)| *wait = wait.saturating_sub(1));
            let late = std::mem::take(&mut moment.late);
            let (due, later) = late.into_iter().partition(|(wait, ..)| all || *wait == 0);
            moment.late = later;
            due
        };
        for (_, target, manifest) in due {
            let written = self.inner.write_manifest(&target, &manifest, &Condition::Always);
            written.await.unwrap();
        }
    }

    fn dice<T>(&self, throw: impl FnOnce(&mut Random) -> T) -> Option<T> {
        let mut moment = self.moment.lock().unwrap();
        (!moment.calm).then(|| throw(&mut moment.random))
    }
}

#[async_trait]
impl Overlay for Late {
    fn below(&self) -> &dyn Repository {
        &*self.inner
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        Ok(Capabilities {
            conditions: false,
            seal: false,
            referrers: Referrers::FallbackTag,
            delete_tags: None,
        })
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.arrive(false).await;
        self.inner.read_manifest(target).await
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.arrive(false).await;
        self.inner.stat_manifest(target).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        _: &Condition,
    ) -> Result<(), RepositoryError> {
        self.arrive(false).await;
        let is_head = matches!(target, Target::Tag(tag) if tag.as_str().starts_with("cairn-h-"));
        if !is_head {
            return self
                .inner
                .write_manifest(target, manifest, &Condition::Always)
                .await;
        }
        let fate = self.dice(|random| (random.below(8), random.below(12), random.below(4)));
        if let (Some((_, _, lists)), Target::Tag(tag)) = (fate, target) {
            self.moment.lock().unwrap().unlisted.insert(tag.clone(), lists);
        }
        match fate {
            // The write is lost; it is done; it is done later. Nobody knows which.
            Some((0, ..)) => Err(unknown()),
            Some((1, ..)) => {
                self.inner
                    .write_manifest(target, manifest, &Condition::Always)
                    .await?;
                Err(unknown())
            }
            Some((2, wait, _)) => {
                let mut moment = self.moment.lock().unwrap();
                moment.late.push((wait, target.clone(), manifest.clone()));
                Err(unknown())
            }
            _ => {
                self.inner
                    .write_manifest(target, manifest, &Condition::Always)
                    .await
            }
        }
    }

    async fn list_tags(&self, _: &Page) -> Result<TagPage, RepositoryError> {
        self.arrive(false).await;
        let mut tags = self.inner.list_tags(&Page::first()).await?.tags;
        let mut moment = self.moment.lock().unwrap();
        if !moment.calm {
            tags.retain(|tag| moment.unlisted.get(tag).is_none_or(|lists| *lists == 0));
            moment
                .unlisted
                .values_mut()
                .for_each(|lists| *lists = lists.saturating_sub(1));
            let moment = &mut *moment;
            for at in (1..tags.len()).rev() {
                let other = moment.random.below(at as u64 + 1);
                tags.swap(at, usize::try_from(other).unwrap());
            }
            tags.truncate(self.cap);
        }
        Ok(TagPage { tags, next: None })
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        _: Option<&str>,
        _: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let tag: Tag = format!("sha256-{}", subject.hex()).parse().unwrap();
        let index = self.inner.read_manifest(&Target::Tag(tag)).await?;
        let manifests = index.map(|index| index.document().unwrap().manifests().to_vec());
        Ok(ReferrersPage {
            manifests: manifests.unwrap_or_default(),
            next: None,
        })
    }
}
