//! Causal mode against people who may push and delete and hold no key, or only one that was removed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_ledger::authority::{Authority, Grant};
use cairn_ledger::entry::{EntryName, Kind, Mode};
use cairn_ledger::head::{self, HeadStatement};
use cairn_ledger::key::{LocalKey, Signer as _};
use cairn_ledger::{Class, OpenError, Opened, OperationError, TrustPolicy, pack};
use cairn_oci::{Digest, Tag};
use cairn_store::{Blob, Condition, Overlay, Page, RawManifest, Repository, RepositoryError, Target};

use crate::support::*;

/// How many tags are planted where many are.
const MANY: u64 = 2_000;

fn world() -> World {
    let world = World::new();
    world.through(Plain::new(world.repo.clone()))
}

pub(crate) async fn heads(world: &World) -> Vec<Tag> {
    let tags = world.repo.list_tags(&Page::first()).await.unwrap().tags;
    let mut tags: Vec<Tag> = tags
        .into_iter()
        .filter(|tag| tag.as_str().starts_with("cairn-h-"))
        .collect();
    tags.sort();
    tags
}

fn remembering(opened: &Opened) -> TrustPolicy {
    TrustPolicy {
        pin: None,
        remembered: opened.remember(),
    }
}

fn pinned(opened: &Opened) -> TrustPolicy {
    TrustPolicy {
        pin: Some(opened.state().unwrap().ledger.to_string().parse().unwrap()),
        remembered: None,
    }
}

pub(crate) fn codes(opened: &Opened) -> Vec<&'static str> {
    opened.findings().iter().map(|finding| finding.code).collect()
}

pub(crate) fn short_of(tag: &Tag) -> String {
    tag.as_str().rsplit('-').next().unwrap().to_owned()
}

/// A head of these entries that claims to cover `covers`, at a tag that sorts before all others.
pub(crate) async fn plant(
    world: &World,
    ledger: EntryName,
    envelopes: &[Bytes],
    signer: &LocalKey,
    covers: Vec<String>,
    number: u64,
) -> Digest {
    let mut packs = Vec::new();
    for range in pack::layout(envelopes.len()) {
        let bytes = pack::write(envelopes[range].iter());
        put(&*world.repo, bytes.clone()).await;
        packs.push(pack::descriptor(&bytes));
    }
    let statement = HeadStatement {
        ledger,
        size: envelopes.len() as u64,
        packs: head::packs_digest(packs.iter().map(|pack| &pack.digest)),
        at: "2026-11-21T13:00:00Z".parse::<jiff::Timestamp>().unwrap()
            + jiff::SignedDuration::from_secs(i64::try_from(number).unwrap()),
        from: Vec::new(),
        covers,
    };
    let built = head::build(&statement, packs, signer).unwrap();
    put(&*world.repo, built.config).await;
    let digest = built.manifest.digest();
    tag(
        world,
        &format!("cairn-h-{number:010}-{}", head::short(&digest)),
        &built.manifest,
    )
    .await;
    digest
}

async fn tag(world: &World, name: &str, manifest: &RawManifest) {
    let tag = Target::Tag(name.parse().unwrap());
    world
        .repo
        .write_manifest(&tag, manifest, &Condition::Always)
        .await
        .unwrap();
}

/// Counts what is asked of a repository.
#[derive(Debug)]
struct Counted {
    inner: Repo,
    requests: AtomicU64,
}

#[async_trait]
impl Overlay for Counted {
    fn below(&self) -> &dyn Repository {
        &*self.inner
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.inner.read_manifest(target).await
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.inner.read_blob(digest, range).await
    }
}

/// A world with two releases, and what its ledger was then.
async fn two_releases() -> (World, Opened) {
    let world = world();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    let opened = world.open().await;
    (world, opened)
}

async fn is_as_before(world: &World, before: &Opened) {
    for policy in [TrustPolicy::default(), pinned(before), remembering(before)] {
        let opened = world.ledger.open(&policy).await.unwrap();
        assert!(
            opened.view().names().eq(before.view().names()),
            "{:?}",
            opened.how_trusted()
        );
    }
}

#[tokio::test]
async fn a_head_by_somebody_who_may_push_and_has_no_key_covers_nothing() {
    let (world, before) = two_releases().await;
    let ledger = before.state().unwrap().ledger;
    let all = envelopes(&before);
    let covers: Vec<String> = heads(&world).await.iter().map(short_of).collect();
    // Old entries alone; the same entries again; more than there are.
    let mut more = all.clone();
    more.push(all[1].clone());
    for (number, list) in (0..).zip([&all[..1], &all[..], &more[..]]) {
        plant(&world, ledger, list, &key(9), covers.clone(), number).await;
    }
    is_as_before(&world, &before).await;
    let done = world.release("3", &["prod"]).await;
    assert!(done.changed);
    assert_eq!(world.codes().await, ["head-refused"; 3]);
}

#[tokio::test]
async fn coverage_by_another_ledger_hides_nothing() {
    let (world, before) = two_releases().await;
    let attacker = key(9);
    let other = genesis(&attacker, 7, Mode::Causal);
    let covers: Vec<String> = heads(&world).await.iter().map(short_of).collect();
    plant(
        &world,
        other.name(),
        &[other.bytes().clone()],
        &attacker,
        covers,
        0,
    )
    .await;
    for policy in [pinned(&before), remembering(&before)] {
        let opened = world.ledger.open(&policy).await.unwrap();
        assert!(opened.view().names().eq(before.view().names()));
        assert_eq!(codes(&opened), ["other-ledger"]);
    }
    let error = open_error(&world, &TrustPolicy::default()).await;
    assert!(matches!(error, OpenError::TwoLedgers { .. }), "{error:?}");
}

#[tokio::test]
async fn thousands_of_planted_tags_neither_hide_nor_block_and_cost_a_request_or_two_each() {
    let (world, before) = two_releases().await;
    let ledger = before.state().unwrap().ledger;
    let all = envelopes(&before);
    // 64 that look right, signed by a stranger; and many that only have the name.
    for number in 0..64 {
        plant(&world, ledger, &all, &key(9), Vec::new(), number).await;
    }
    let stray = image(&*world.repo, "stray").await;
    for number in 64..MANY {
        tag(&world, &format!("cairn-h-{number:010}-{number:016x}"), &stray).await;
    }
    tag(&world, "cairn-h-x", &stray).await;
    is_as_before(&world, &before).await;
    let counted = Arc::new(Counted {
        inner: world.repo.clone(),
        requests: AtomicU64::new(0),
    });
    let through = world.through(counted.clone());
    let opened = through.ledger.open(&pinned(&before)).await.unwrap();
    let requests = counted.requests.load(Ordering::SeqCst);
    assert!(requests < MANY + 200, "{requests} requests for {MANY} tags");
    let told = codes(&opened);
    assert!(
        told.iter().all(|code| *code == "head-refused") && told.len() < 20,
        "{told:?}"
    );
    assert!(
        opened
            .findings()
            .iter()
            .any(|finding| finding.message.contains("more of this kind"))
    );
    // And nothing of it stops anybody.
    let done = world
        .ledger
        .release(
            &opened,
            &world.context(),
            &release("3", world.image("3").await, &["prod"]),
        )
        .await
        .unwrap();
    assert!(done.changed);
    assert!(!world.audit().await.ok);
}

#[tokio::test]
async fn more_tags_than_are_looked_at_are_told_and_hide_nothing_from_who_remembers() {
    let (world, before) = two_releases().await;
    let stray = image(&*world.repo, "stray").await;
    for number in 0..17_000 {
        tag(&world, &format!("cairn-h-{number:010}-{number:016x}"), &stray).await;
    }
    let opened = world.ledger.open(&remembering(&before)).await.unwrap();
    assert!(opened.view().names().eq(before.view().names()));
    assert!(codes(&opened).contains(&"heads-unread"));
    // Who remembers nothing is not told that there is no ledger.
    for policy in [TrustPolicy::default(), pinned(&before)] {
        let error = open_error(&world, &policy).await;
        assert!(matches!(error, OpenError::NoHead { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Integrity);
    }
}

#[tokio::test]
async fn packs_of_a_stranger_are_read_up_to_a_budget_and_the_rest_is_told() {
    let (world, before) = two_releases().await;
    let ledger = before.state().unwrap().ledger;
    // The real genesis first, then junk as large as packs may be; each is another one.
    let genesis = envelopes(&before)[0].clone();
    let junk = vec![b'x'; 12 << 10];
    for number in 0..40_u64 {
        let mut list = vec![genesis.clone()];
        list.extend((0..1023_u64).map(|line| {
            let mut junk = junk.clone();
            junk[..16].copy_from_slice(format!("{number:08}{line:08}").as_bytes());
            Bytes::from(junk)
        }));
        plant(&world, ledger, &list, &key(9), Vec::new(), number).await;
    }
    let opened = world.ledger.open(&remembering(&before)).await.unwrap();
    assert!(opened.view().names().eq(before.view().names()));
    assert!(codes(&opened).contains(&"heads-unread"), "{:?}", codes(&opened));
    assert!(world.release("3", &["prod"]).await.changed);
}

#[tokio::test]
async fn cairn_head_never_wins_over_a_causal_ledger() {
    let attacker = key(9);
    let linear = genesis(&attacker, 7, Mode::Linear);
    let causal = genesis(&attacker, 8, Mode::Causal);
    for (planted, is_other) in [(Some(linear), true), (Some(causal), false), (None, false)] {
        let (world, before) = two_releases().await;
        match &planted {
            Some(planted) => {
                let list = [planted.bytes().clone()];
                let tag = Some(head::linear_tag());
                forge(&*world.repo, planted.name(), &list, &attacker, tag).await;
            }
            None => tag(&world, head::LINEAR_TAG, &image(&*world.repo, "stray").await).await,
        }
        for policy in [pinned(&before), remembering(&before)] {
            let opened = world.ledger.open(&policy).await.unwrap();
            assert!(opened.view().names().eq(before.view().names()));
            assert_eq!(
                codes(&opened),
                [if is_other { "other-ledger" } else { "head-refused" }]
            );
        }
        let first = world.ledger.open(&TrustPolicy::default()).await;
        if is_other {
            assert!(matches!(first, Err(OpenError::TwoLedgers { .. })), "{first:?}");
        } else {
            assert!(first.unwrap().view().names().eq(before.view().names()));
        }
        // Not even an own head of the causal ledger at that tag.
        let own = heads(&world).await.pop().unwrap();
        let manifest = world
            .repo
            .read_manifest(&Target::Tag(own))
            .await
            .unwrap()
            .unwrap();
        tag(&world, head::LINEAR_TAG, &manifest).await;
        is_as_before(&world, &before).await;
    }
}

#[tokio::test]
async fn planted_heads_of_causal_mode_do_not_disturb_a_linear_ledger() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let before = world.open().await;
    let ledger = before.state().unwrap().ledger;
    plant(&world, ledger, &envelopes(&before), &key(9), Vec::new(), 0).await;
    plant(
        &world,
        ledger,
        &envelopes(&before)[..1],
        &world.key,
        Vec::new(),
        1,
    )
    .await;
    tag(
        &world,
        "cairn-h-0000000002-0000000000000000",
        &image(&*world.repo, "stray").await,
    )
    .await;
    is_as_before(&world, &before).await;
    assert!(world.open().await.findings().is_empty());
    assert!(world.release("2", &["prod"]).await.changed);
    assert_eq!(world.codes().await, ["head-beside"; 3]);
}

/// A ledger of two owners, of which the second is removed after a release; and that owner's view from before.
pub(crate) async fn removed_owner() -> (World, Opened, LocalKey) {
    let world = world();
    let removed = key(2);
    let mut authority = Authority::single(world.key.key().clone());
    authority.keys.push(Grant::owner(removed.key().clone()));
    let context = world.context();
    world.ledger.initialise(&context, authority).await.unwrap();
    world.release("1", &["prod"]).await;
    let fork = world.open().await;
    let mut keys = entry(&fork, Kind::Keys, 1);
    keys.authority = Some(Authority::single(world.key.key().clone()));
    let keys = keys.sign(&world.key).unwrap();
    let appended = world
        .ledger
        .append_all(&fork, &[keys], &world.key, context.at)
        .await;
    appended.unwrap();
    world.release("2", &["prod"]).await;
    (world, fork, removed)
}

#[tokio::test]
async fn a_removed_key_that_forks_from_before_its_removal_is_left_out_also_with_a_longer_head() {
    let (world, fork, removed) = removed_owner().await;
    let before = world.open().await;
    let ledger = before.state().unwrap().ledger;
    let covers: Vec<String> = heads(&world).await.iter().map(short_of).collect();
    let digest = world.image("evil").await;
    let mut list = envelopes(&fork);
    let mut after = fork.state().unwrap().last_entry(&channel("prod"));
    for nonce in 10..30 {
        let mut release = entry(&fork, Kind::Release, nonce);
        release.version = Some(version(&format!("6.{nonce}")));
        release.digest = Some(digest);
        release.moves = vec![cairn_ledger::entry::Move {
            channel: channel("prod"),
            after,
        }];
        let release = release.sign(&removed).unwrap();
        after = Some(release.name());
        list.push(release.bytes().clone());
    }
    // In two heads: each entry is told once all the same.
    plant(&world, ledger, &list, &removed, covers.clone(), 0).await;
    plant(&world, ledger, &list[..list.len() - 15], &removed, covers, 1).await;
    for policy in [TrustPolicy::default(), pinned(&before), remembering(&before)] {
        let opened = world.ledger.open(&policy).await.unwrap();
        assert!(opened.view().names().eq(before.view().names()));
        assert_eq!(codes(&opened), ["entry-left-out"; 9]);
        let last = opened.findings().last().unwrap();
        assert_eq!(last.message, "12 more of this kind");
    }
    world.release("3", &["prod"]).await;
    assert_eq!(world.shows("prod").await.unwrap(), "3");
    let opened = world.open().await;
    assert_eq!(opened.view().records().len(), before.view().records().len() + 1);
    assert_eq!(
        codes(&opened),
        ["entry-left-out"; 9],
        "it is told for as long as it is there"
    );
}

#[tokio::test]
async fn an_old_head_that_is_played_back_is_found_out_by_who_remembers() {
    let (world, before) = two_releases().await;
    let tags = heads(&world).await;
    // The newest head loses its tag: who remembers it reads it by digest, and says so.
    world.repo.delete_tag(&tags[0]).await.unwrap();
    let opened = world.ledger.open(&remembering(&before)).await.unwrap();
    assert!(opened.view().names().eq(before.view().names()));
    assert_eq!(codes(&opened), ["head-unlisted"]);
    // And the head itself is gone too.
    world
        .repo
        .delete_manifest(&before.head().unwrap().digest)
        .await
        .unwrap();
    let error = open_error(&world, &remembering(&before)).await;
    assert!(error.to_string().starts_with("ROLLBACK"), "{error}");
    assert_eq!(error.class(), Class::Integrity);
    // Who remembers nothing reads the older ledger, and looks at the tags before it moves any.
    let older = world.open().await;
    assert_eq!(older.view().records().len(), 2);
    let error = world.try_release("3", &["prod"]).await.unwrap_err();
    assert_eq!(error.class(), Class::Integrity, "{error:?}");
    assert!(matches!(error, OperationError::Tags(_)), "{error:?}");
    assert_eq!(
        world.open().await.view().records().len(),
        2,
        "nothing was appended"
    );
}

#[tokio::test]
async fn a_ghost_of_an_entry_changes_nothing() {
    let (world, _) = two_releases().await;
    let released = world.open().await;
    world.rollback("prod").await;
    let rolled_back = world.open().await;
    // The release's envelope again: in the old head, and in one that has it twice, by an allowed key.
    let ledger = released.state().unwrap().ledger;
    let mut again = envelopes(&rolled_back);
    again.push(envelopes(&released)[2].clone());
    plant(&world, ledger, &envelopes(&released), &world.key, Vec::new(), 0).await;
    plant(&world, ledger, &again, &world.key, Vec::new(), 1).await;
    assert_eq!(world.shows("prod").await.unwrap(), "1");
    let opened = world.open().await;
    let prod = &opened.state().unwrap().channels[&channel("prod")];
    assert!(prod.hold.is_some());
    let error = world.try_release("3", &["prod"]).await.unwrap_err();
    assert!(error.to_string().contains("prod is held"), "{error}");
    assert_eq!(world.tag("prod").await, Some(world.image("1").await));
}

#[tokio::test]
async fn a_rollback_beside_a_concurrent_release_wins_in_whichever_head_it_stands() {
    for rollback_is_larger in [false, true] {
        let (world, base) = two_releases().await;
        let ledger = base.state().unwrap().ledger;
        let mut back = entry(&base, Kind::Rollback, 1);
        back.version = Some(version("1"));
        back.digest = Some(world.image("1").await);
        back.hold = Some(true);
        back.moves = one_move(&base, "prod");
        let mut forward = entry(&base, Kind::Release, 2);
        forward.version = Some(version("3"));
        forward.digest = Some(world.image("3").await);
        forward.moves = one_move(&base, "prod");
        let mut other = entry(&base, Kind::Release, 3);
        other.version = Some(version("4"));
        other.digest = forward.digest;
        let sign = |entry: &cairn_ledger::Entry| entry.sign(&world.key).unwrap().bytes().clone();
        let mut with_back = [envelopes(&base), vec![sign(&back)]].concat();
        let mut with_forward = [envelopes(&base), vec![sign(&forward)]].concat();
        let larger = if rollback_is_larger {
            &mut with_back
        } else {
            &mut with_forward
        };
        larger.push(sign(&other));
        for list in [with_back, with_forward] {
            forge(&*world.repo, ledger, &list, &world.key, None).await;
        }
        assert_eq!(world.shows("prod").await.unwrap(), "1", "{rollback_is_larger}");
        let opened = world.open().await;
        assert!(opened.state().unwrap().channels[&channel("prod")].hold.is_some());
        assert_eq!(opened.view().records().len(), base.view().records().len() + 3);
    }
}

#[tokio::test]
async fn only_what_a_better_head_contains_is_deleted_also_under_an_old_list() {
    let store = World::new();
    let plain = Plain::new(store.repo.clone());
    let world = store.through(plain.clone());
    world.init().await;
    let mut opened = world.open().await;
    let digest = world.image("of all").await;
    for number in 0..36 {
        // Each writer sees only some of the heads, and each time others.
        let all = heads(&world).await;
        let hide = all
            .into_iter()
            .enumerate()
            .filter(|(at, _)| (at + number) % 3 == 0)
            .map(|(_, tag)| tag);
        *plain.hidden.lock().unwrap() = hide.collect();
        let request = release(&format!("1.{number}"), digest, &[]);
        let done = world
            .ledger
            .release(&opened, &world.context(), &request)
            .await
            .unwrap();
        opened = if number % 4 == 0 {
            world.ledger.open(&remembering(&done.opened)).await.unwrap()
        } else {
            done.opened
        };
    }
    plain.hidden.lock().unwrap().clear();
    let all = world.open().await;
    assert_eq!(all.view().records().len(), 37);
    assert!(heads(&world).await.len() >= 32);
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn heads_that_nobody_of_the_ledger_signed_are_never_deleted() {
    let (world, before) = two_releases().await;
    let ledger = before.state().unwrap().ledger;
    let strange = plant(
        &world,
        ledger,
        &envelopes(&before)[..1],
        &key(9),
        Vec::new(),
        9_999_999_999,
    )
    .await;
    for number in 3..40 {
        world.release(&format!("{number}"), &[]).await;
    }
    let tags = heads(&world).await;
    assert_eq!(tags.len(), 33, "32 of the ledger, and the other");
    assert!(tags.iter().any(|tag| short_of(tag) == head::short(&strange)));
}

/// Something on the way to the repository removes conditions: writes are done whatever is there.
#[derive(Debug)]
struct Stripping {
    inner: Repo,
    says_so: bool,
    /// What somebody else writes just before the next write to the head.
    meanwhile: std::sync::Mutex<Option<RawManifest>>,
}

#[async_trait]
impl Overlay for Stripping {
    fn below(&self) -> &dyn Repository {
        &*self.inner
    }

    async fn capabilities(&self) -> Result<cairn_store::Capabilities, RepositoryError> {
        let honest = self.inner.capabilities().await?;
        Ok(cairn_store::Capabilities {
            conditions: !self.says_so,
            ..honest
        })
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(other) = meanwhile {
            self.inner
                .write_manifest(target, &other, &Condition::Always)
                .await?;
        }
        self.inner
            .write_manifest(target, manifest, &Condition::Always)
            .await?;
        match (condition, target) {
            (Condition::Always, _) | (_, Target::Digest(_)) => Ok(()),
            (_, Target::Tag(tag)) => Err(RepositoryError::ConditionIgnored {
                repository: "team/web".to_owned(),
                tag: tag.clone(),
            }),
        }
    }
}

#[tokio::test]
async fn a_proxy_that_strips_conditions_is_found_out_and_said() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let digest = world.image("2").await;
    for says_so in [true, false] {
        let through = world.through(Arc::new(Stripping {
            inner: world.repo.clone(),
            says_so,
            meanwhile: std::sync::Mutex::default(),
        }));
        let before = world.open().await;
        let request = release("2", digest, &["prod"]);
        let error = through
            .ledger
            .release(&before, &through.context(), &request)
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Environment, "{error:?}");
        assert!(error.hint().unwrap().contains("If-Match"), "{error:?}");
        let after = world.open().await.view().records().len();
        // Where it is known before, nothing is written; else the entry is there, and it is said what may be wrong.
        assert_eq!(after, before.view().records().len() + usize::from(!says_so));
        if !says_so {
            assert!(
                error.to_string().contains("did not honour the condition"),
                "{error}"
            );
        }
    }
    // The way without the proxy completes what was begun.
    let done = world.try_release("2", &["prod"]).await.unwrap();
    assert!(!done.changed);
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn what_a_stripped_condition_overwrites_is_brought_back_by_who_remembers_it() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let before = world.open().await;
    // Another one appends, and is acknowledged.
    let theirs = world.release("1.1", &[]).await;
    let tag = Target::Tag(head::linear_tag());
    let other = world.repo.read_manifest(&tag).await.unwrap().unwrap();
    let old = world.manifest(before.head().unwrap().digest).await;
    world
        .repo
        .write_manifest(&tag, &old, &Condition::Always)
        .await
        .unwrap();
    let through = world.through(Arc::new(Stripping {
        inner: world.repo.clone(),
        says_so: false,
        meanwhile: std::sync::Mutex::new(Some(other)),
    }));
    let request = release("2", world.image("2").await, &[]);
    let error = through
        .ledger
        .release(&before, &through.context(), &request)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("hidden by it"), "{error}");
    // Whose entry it was finds out, with both sides, and the head is still there.
    let error = open_error(
        &world,
        &TrustPolicy {
            pin: None,
            remembered: theirs.remember(),
        },
    )
    .await;
    assert!(error.to_string().starts_with("FORK"), "{error}");
    let digest = theirs.opened.head().unwrap().digest;
    let kept = world.manifest(digest).await;
    assert_eq!(kept.digest(), digest);
}

#[tokio::test]
async fn g16_whatever_stands_where_a_head_belongs_is_an_error_and_no_panic() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let before = world.open().await;
    let ledger = before.state().unwrap().ledger;
    let all = envelopes(&before);
    let deep = [vec![b'['; 4000], vec![b']'; 4000]].concat();
    let junk: Vec<Bytes> = vec![
        Bytes::new(),
        Bytes::from_static(b"{}"),
        Bytes::from_static(b"null"),
        Bytes::from_static(&[0xff, 0xfe, 0x00]),
        Bytes::from_static(br#"{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}"#),
        Bytes::from(deep),
        Bytes::from(vec![b'x'; 12 << 10]),
        all[1].slice(..all[1].len() / 2),
    ];
    let plain = Plain::damageable(world.repo.clone());
    let rotten = world.through(plain.clone());
    for bytes in &junk {
        plain
            .damaged
            .lock()
            .unwrap()
            .insert(before.head().unwrap().digest, bytes.clone());
        let error = open_error(&rotten, &TrustPolicy::default()).await;
        assert_eq!(
            error.class(),
            Class::Integrity,
            "as a manifest: {bytes:?}: {error:?}"
        );
    }
    plain.damaged.lock().unwrap().clear();
    for bytes in &junk {
        for list in [
            vec![bytes.clone()],
            vec![all[0].clone(), bytes.clone()],
            vec![bytes.clone(); 20],
        ] {
            forge(&*world.repo, ledger, &list, &world.key, Some(head::linear_tag())).await;
            let error = open_error(&rotten, &TrustPolicy::default()).await;
            assert_eq!(
                error.class(),
                Class::Integrity,
                "as an entry: {bytes:?}: {error:?}"
            );
        }
    }
}
