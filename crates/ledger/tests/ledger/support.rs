//! What the tests share: a world with a store and keys, repositories that fail or can do less, and forged heads.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_ledger::audit::{AuditOptions, AuditReport};
use cairn_ledger::authority::Authority;
use cairn_ledger::entry::{Actor, Entry, EntryName, How, Kind, Mode, Move, Nonce};
use cairn_ledger::envelope::Envelope;
use cairn_ledger::head::{self, HeadStatement};
use cairn_ledger::key::{LocalKey, Signer};
use cairn_ledger::open::{Ledger, OpenError, Opened};
use cairn_ledger::operation::*;
use cairn_ledger::pack;
use cairn_ledger::trust::TrustPolicy;
use cairn_oci::{Descriptor, Digest, Manifest, RepositoryName, Tag, json, media_type};
use cairn_store::{
    Blob, ByteStream, Capabilities, Condition, Memory, Overlay, Page, RawManifest, Referrers, ReferrersPage,
    Repository, RepositoryError, TagPage, Target, Written, from_bytes,
};

pub(crate) type Repo = Arc<dyn Repository>;

pub(crate) fn key(seed: u8) -> LocalKey {
    LocalKey::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn version(text: &str) -> cairn_ledger::Version {
    text.parse().unwrap()
}

pub(crate) fn channel(text: &str) -> cairn_ledger::Channel {
    text.parse().unwrap()
}

pub(crate) fn channels(names: &[&str]) -> BTreeSet<cairn_ledger::Channel> {
    names.iter().map(|name| channel(name)).collect()
}

/// One repository for images and ledger, a signer, and a clock that ticks once a second.
pub(crate) struct World {
    pub(crate) repo: Repo,
    pub(crate) ledger: Ledger,
    pub(crate) key: LocalKey,
    ticks: AtomicU64,
}

impl World {
    pub(crate) fn new() -> Self {
        let name: RepositoryName = "team/web".parse().unwrap();
        Self::over(Arc::new(Memory::new().open(&name)))
    }

    pub(crate) fn over(repo: Repo) -> Self {
        let ledger = Ledger::beside(Arc::clone(&repo));
        Self {
            repo,
            ledger,
            key: key(1),
            ticks: AtomicU64::new(0),
        }
    }

    /// The same store, seen through another repository.
    pub(crate) fn through(&self, repo: Repo) -> Self {
        let world = Self::over(repo);
        world
            .ticks
            .store(self.ticks.load(Ordering::SeqCst) + 1000, Ordering::SeqCst);
        world
    }

    pub(crate) fn context_of<'a>(&self, signer: &'a dyn Signer) -> Context<'a> {
        let tick = self.ticks.fetch_add(1, Ordering::SeqCst);
        let mut nonce = [0; 16];
        nonce[8..].copy_from_slice(&tick.to_be_bytes());
        Context {
            signer,
            at: "2026-11-21T10:00:00Z".parse::<jiff::Timestamp>().unwrap()
                + jiff::SignedDuration::from_secs(i64::try_from(tick).unwrap()),
            nonce,
            actor: Actor {
                id: "you".to_owned(),
                how: How::Claimed,
            },
            reason: None,
            source: None,
            run: None,
            break_glass: false,
        }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        self.context_of(&self.key)
    }

    pub(crate) async fn open(&self) -> Opened {
        self.ledger.open(&TrustPolicy::default()).await.unwrap()
    }

    pub(crate) async fn init(&self) -> EntryName {
        let authority = Authority::single(self.key.key().clone());
        self.ledger
            .initialise(&self.context(), authority)
            .await
            .unwrap()
            .genesis
    }

    /// Writes an image that nobody else has.
    pub(crate) async fn image(&self, text: &str) -> Digest {
        let manifest = image(&*self.repo, text).await;
        let target = Target::Digest(manifest.digest());
        self.repo
            .write_manifest(&target, &manifest, &Condition::Always)
            .await
            .unwrap();
        manifest.digest()
    }

    pub(crate) async fn try_release(&self, name: &str, to: &[&str]) -> Result<Done, OperationError> {
        let digest = self.image(name).await;
        let opened = self.open().await;
        self.ledger
            .release(&opened, &self.context(), &release(name, digest, to))
            .await
    }

    pub(crate) async fn release(&self, name: &str, to: &[&str]) -> Done {
        self.try_release(name, to).await.unwrap()
    }

    pub(crate) async fn try_promote(
        &self,
        name: &str,
        to: &[&str],
        resume: bool,
    ) -> Result<Done, OperationError> {
        let opened = self.open().await;
        let request = PromoteRequest {
            version: version(name),
            channels: channels(to),
            resume,
        };
        self.ledger.promote(&opened, &self.context(), &request).await
    }

    pub(crate) async fn try_rollback(&self, request: &RollbackRequest) -> Result<Done, OperationError> {
        let opened = self.open().await;
        self.ledger.rollback(&opened, &self.context(), request).await
    }

    pub(crate) async fn rollback(&self, name: &str) -> Done {
        self.try_rollback(&back(name)).await.unwrap()
    }

    pub(crate) async fn rollback_because(&self, reason: &str, name: &str) -> Done {
        let context = Context {
            reason: Some(reason.to_owned()),
            ..self.context()
        };
        let opened = self.open().await;
        let done = self.ledger.rollback(&opened, &context, &back(name)).await;
        done.unwrap()
    }

    pub(crate) async fn resume(&self, name: &str) -> Done {
        let opened = self.open().await;
        self.ledger
            .resume(&opened, &self.context(), &channel(name))
            .await
            .unwrap()
    }

    pub(crate) async fn tag(&self, name: &str) -> Option<Digest> {
        let tag: Tag = name.parse().unwrap();
        self.repo
            .stat_manifest(&Target::Tag(tag))
            .await
            .unwrap()
            .map(|found| found.digest)
    }

    /// Whether a manifest is there.
    pub(crate) async fn has(&self, digest: Digest) -> bool {
        let found = self.repo.stat_manifest(&Target::Digest(digest)).await;
        found.unwrap().is_some()
    }

    pub(crate) async fn manifest(&self, digest: Digest) -> RawManifest {
        let found = self.repo.read_manifest(&Target::Digest(digest)).await;
        found.unwrap().unwrap()
    }

    pub(crate) async fn set_tag(&self, name: &str, digest: Digest) {
        let manifest = self.manifest(digest).await;
        let tag: Tag = name.parse().unwrap();
        self.repo
            .write_manifest(&Target::Tag(tag), &manifest, &Condition::Always)
            .await
            .unwrap();
    }

    /// Goes on from `old` with a new ledger, whose only key is another one.
    pub(crate) async fn begin_anew(&self, old: &Opened) -> Result<carry::Continued, OperationError> {
        let (signer, head) = (key(3), old.head().unwrap().digest);
        let authority = Authority::single(signer.key().clone());
        self.ledger
            .continue_from(old, &self.context_of(&signer), authority, &head)
            .await
    }

    pub(crate) async fn audit(&self) -> AuditReport {
        let opened = self.open().await;
        self.ledger.audit(&opened, AuditOptions::default()).await.unwrap()
    }

    /// What a channel shows, by version.
    pub(crate) async fn shows(&self, name: &str) -> Option<String> {
        let opened = self.open().await;
        opened
            .state()?
            .shows(&channel(name))
            .map(cairn_ledger::state::Shown::label)
    }

    pub(crate) async fn codes(&self) -> Vec<&'static str> {
        self.audit()
            .await
            .findings
            .iter()
            .map(|finding| finding.code)
            .collect()
    }
}

pub(crate) fn release(name: &str, digest: Digest, to: &[&str]) -> ReleaseRequest {
    ReleaseRequest {
        version: version(name),
        digest,
        channels: channels(to),
        resume: false,
        record: None,
    }
}

pub(crate) fn back(name: &str) -> RollbackRequest {
    RollbackRequest {
        channel: channel(name),
        target: None,
        leave: None,
        no_hold: false,
    }
}

pub(crate) fn back_to(name: &str, target: &str) -> RollbackRequest {
    RollbackRequest {
        target: Some(RollbackTarget::Version(version(target))),
        ..back(name)
    }
}

/// A directory in memory where there is one: what is tried in it is not whether a flush reaches a disk.
pub(crate) fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// The blobs of an image that contains `text`, and its manifest.
pub(crate) async fn image(repo: &dyn Repository, text: &str) -> RawManifest {
    let config = put(repo, format!("{{\"text\":\"{text}\"}}")).await;
    let layer = put(repo, format!("layer of {text}")).await;
    let manifest = Manifest::image(
        Descriptor {
            media_type: media_type::CONFIG.into(),
            ..config
        },
        vec![Descriptor {
            media_type: media_type::LAYER.into(),
            ..layer
        }],
    );
    RawManifest::new(media_type::MANIFEST, json::canonical(&manifest))
}

pub(crate) async fn put(repo: &dyn Repository, bytes: impl Into<Bytes>) -> Descriptor {
    let bytes = bytes.into();
    let descriptor = Descriptor::of("application/octet-stream", &bytes);
    repo.write_blob(&descriptor.digest, descriptor.size, from_bytes(bytes))
        .await
        .unwrap();
    descriptor
}

/// An entry that stands on `opened`, to be changed and signed by hand.
pub(crate) fn entry(opened: &Opened, kind: Kind, nonce: u8) -> Entry {
    let state = opened.state().unwrap();
    Entry {
        ledger: Some(state.ledger),
        chain: Some(state.chain),
        ..blank(kind, "2026-11-21T12:00:00Z", nonce)
    }
}

/// An entry that says nothing yet.
pub(crate) fn blank(kind: Kind, at: &str, nonce: u8) -> Entry {
    let actor = Actor {
        id: "me".to_owned(),
        how: How::Key,
    };
    Entry::new(kind, actor, at.parse().unwrap(), Nonce([nonce; 16]))
}

pub(crate) fn genesis(signer: &dyn Signer, nonce: u8, mode: Mode) -> Envelope {
    let entry = Entry {
        authority: Some(Authority::single(signer.key().clone())),
        mode: Some(mode),
        home: Some("team/web".to_owned()),
        ..blank(Kind::Genesis, "2026-11-21T09:00:00Z", nonce)
    };
    entry.sign(signer).unwrap()
}

pub(crate) fn one_move(opened: &Opened, name: &str) -> Vec<Move> {
    let channel = channel(name);
    let after = opened.state().unwrap().last_entry(&channel);
    vec![Move { channel, after }]
}

/// The envelopes of a ledger as they are stored.
pub(crate) fn envelopes(opened: &Opened) -> Vec<Bytes> {
    opened
        .view()
        .records()
        .iter()
        .map(|record| record.envelope.clone())
        .collect()
}

/// Writes a head of any entries, signed by anybody, under `tag`, against all conditions.
pub(crate) async fn forge(
    repo: &dyn Repository,
    ledger: EntryName,
    envelopes: &[Bytes],
    signer: &dyn Signer,
    tag: Option<Tag>,
) -> Digest {
    let mut packs = Vec::new();
    for range in pack::layout(envelopes.len()) {
        let bytes = pack::write(envelopes[range].iter());
        put(repo, bytes.clone()).await;
        packs.push(pack::descriptor(&bytes));
    }
    let statement = HeadStatement {
        ledger,
        size: envelopes.len() as u64,
        packs: head::packs_digest(packs.iter().map(|pack| &pack.digest)),
        at: "2026-11-21T13:00:00Z".parse().unwrap(),
        from: Vec::new(),
        covers: Vec::new(),
    };
    let built = head::build(&statement, packs, signer).unwrap();
    put(repo, built.config).await;
    let tag = tag.unwrap_or_else(|| head::causal_tag(statement.size, &built.manifest.digest()));
    repo.write_manifest(&Target::Tag(tag), &built.manifest, &Condition::Always)
        .await
        .unwrap();
    built.manifest.digest()
}

pub(crate) async fn forge_linear(world: &World, envelopes: &[Bytes], signer: &dyn Signer) -> Digest {
    let ledger = world.open().await.state().unwrap().ledger;
    forge(&*world.repo, ledger, envelopes, signer, Some(head::linear_tag())).await
}

pub(crate) async fn open_error(world: &World, policy: &TrustPolicy) -> OpenError {
    world.ledger.open(policy).await.unwrap_err()
}

/// What happens to the write that is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It surely has no effect.
    Refused,
    /// It is lost, and nobody knows.
    Lost,
    /// It is done, and nobody knows.
    Done,
}

/// A repository whose n-th write fails; with `dies`, everything after it fails too, as if the process were killed.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) inner: Repo,
    pub(crate) at: u64,
    pub(crate) fault: Fault,
    pub(crate) dies: bool,
    writes: AtomicU64,
}

impl Faulty {
    pub(crate) fn new(inner: Repo, at: u64, fault: Fault, dies: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            at,
            fault,
            dies,
            writes: AtomicU64::new(0),
        })
    }

    pub(crate) fn has_struck(&self) -> bool {
        self.writes.load(Ordering::SeqCst) > self.at
    }

    fn alive(&self) -> Result<(), RepositoryError> {
        if self.dies && self.has_struck() {
            Err(unreachable())
        } else {
            Ok(())
        }
    }

    /// Whether this write is the chosen one.
    fn next(&self) -> Result<Option<Fault>, RepositoryError> {
        self.alive()?;
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        Ok((number == self.at).then_some(self.fault))
    }
}

fn unreachable() -> RepositoryError {
    RepositoryError::Unreachable {
        repository: "team/web".to_owned(),
        source: "broken on purpose".into(),
    }
}

pub(crate) fn unknown() -> RepositoryError {
    RepositoryError::OutcomeUnknown {
        repository: "team/web".to_owned(),
        operation: "write".to_owned(),
        source: "broken on purpose".into(),
    }
}

macro_rules! faulty {
    ($self:ident, $write:expr) => {
        match $self.next()? {
            None => $write.await,
            Some(Fault::Refused) => Err(unreachable()),
            Some(Fault::Lost) => Err(unknown()),
            Some(Fault::Done) => match $write.await {
                Ok(_) => Err(unknown()),
                Err(error) => Err(error),
            },
        }
    };
}

#[async_trait]
impl Repository for Faulty {
    fn name(&self) -> &RepositoryName {
        self.inner.name()
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        self.alive()?;
        self.inner.capabilities().await
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        self.alive()?;
        self.inner.stat_blob(digest).await
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        self.alive()?;
        self.inner.read_blob(digest, range).await
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        faulty!(self, self.inner.write_blob(digest, size, content))
    }

    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        faulty!(self, self.inner.mount_blob(digest, from))
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.alive()?;
        self.inner.stat_manifest(target).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.alive()?;
        self.inner.read_manifest(target).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        faulty!(self, self.inner.write_manifest(target, manifest, condition))
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        self.alive()?;
        self.inner.list_tags(page).await
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        self.alive()?;
        self.inner.list_referrers(subject, artifact_type, page).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        faulty!(self, self.inner.delete_tag(tag))
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        faulty!(self, self.inner.delete_manifest(digest))
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        faulty!(self, self.inner.delete_blob(digest))
    }
}

/// A registry as many are: conditions are ignored, tags come unsorted, referrers are the writer's business. It can also hide tags
/// (a late list), give other bytes (damage) or none (loss), and refuse deletes.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) inner: Repo,
    pub(crate) deletes: bool,
    pub(crate) conditions: bool,
    pub(crate) hidden: Mutex<BTreeSet<Tag>>,
    pub(crate) damaged: Mutex<BTreeMap<Digest, Bytes>>,
    pub(crate) lost: Mutex<BTreeSet<Digest>>,
}

impl Plain {
    pub(crate) fn new(inner: Repo) -> Arc<Self> {
        Arc::new(Self {
            inner,
            deletes: true,
            conditions: false,
            hidden: Mutex::default(),
            damaged: Mutex::default(),
            lost: Mutex::default(),
        })
    }

    /// Deletes nothing.
    pub(crate) fn keeping(inner: Repo) -> Arc<Self> {
        let plain = Self::new(inner);
        Arc::new(Self {
            deletes: false,
            ..Arc::try_unwrap(plain).unwrap()
        })
    }

    /// Honours conditions: only for damage.
    pub(crate) fn damageable(inner: Repo) -> Arc<Self> {
        let plain = Self::new(inner);
        Arc::new(Self {
            conditions: true,
            ..Arc::try_unwrap(plain).unwrap()
        })
    }

    fn condition(&self, condition: &Condition) -> Condition {
        if self.conditions {
            condition.clone()
        } else {
            Condition::Always
        }
    }
}

#[async_trait]
impl Overlay for Plain {
    fn below(&self) -> &dyn Repository {
        &*self.inner
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        if self.conditions {
            return self.inner.capabilities().await;
        }
        Ok(Capabilities {
            conditions: false,
            seal: false,
            referrers: Referrers::FallbackTag,
            delete_tags: None,
        })
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        if self.lost.lock().unwrap().contains(digest) {
            return Ok(None);
        }
        self.inner.stat_blob(digest).await
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        if self.lost.lock().unwrap().contains(digest) {
            return Ok(None);
        }
        let damaged = self.damaged.lock().unwrap().get(digest).cloned();
        match damaged {
            Some(bytes) => Ok(Some(Blob {
                size: bytes.len() as u64,
                content: from_bytes(bytes),
            })),
            None => self.inner.read_blob(digest, range).await,
        }
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        let found = self.inner.read_manifest(target).await?;
        let Some(found) = found else { return Ok(None) };
        let damaged = self.damaged.lock().unwrap().get(&found.digest()).cloned();
        Ok(Some(damaged.map_or(found, |bytes| {
            RawManifest::new(media_type::MANIFEST, bytes)
        })))
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        self.inner
            .write_manifest(target, manifest, &self.condition(condition))
            .await
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let mut part = self.inner.list_tags(page).await?;
        let hidden = self.hidden.lock().unwrap();
        part.tags.retain(|tag| !hidden.contains(tag));
        part.tags.reverse();
        Ok(part)
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        if self.conditions {
            return self.inner.list_referrers(subject, artifact_type, page).await;
        }
        let tag: Tag = format!("sha256-{}", subject.hex()).parse().unwrap();
        let index = self.inner.read_manifest(&Target::Tag(tag)).await?;
        let manifests = index.map(|index| index.document().unwrap().manifests().to_vec());
        Ok(ReferrersPage {
            manifests: manifests.unwrap_or_default(),
            next: None,
        })
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        if self.deletes {
            return self.inner.delete_tag(tag).await;
        }
        Err(RepositoryError::Unsupported {
            repository: self.below().label(),
            operation: "deleting tags",
        })
    }
}
