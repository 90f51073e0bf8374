//! Pull-through: what a mirror fetches, keeps, and goes on serving alone.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use cairn_oci::{Descriptor, Digest, Index, Manifest, Platform, RepositoryName, Tag, json, media_type};
use cairn_store::{
    Blob, Condition, Memory, Mirror, Mirrored, Overlay, Page, RawManifest, Repository, RepositoryError,
    Store, TagPage, Target, Upstream, collect, from_bytes,
};
use tokio::task::yield_now;

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn tag(text: &str) -> Target {
    Target::Tag(text.parse::<Tag>().unwrap())
}

/// A registry that counts what it gives, and can be gone.
#[derive(Debug, Clone, Default)]
struct Registry {
    store: Memory,
    gone: Arc<AtomicBool>,
    blobs: Arc<AtomicU64>,
    manifests: Arc<AtomicU64>,
    /// What blobs are instead.
    damaged: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Behind {
    registry: Registry,
    repository: Arc<dyn Repository>,
}

impl Registry {
    fn answer(&self) -> Result<(), RepositoryError> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(RepositoryError::Unreachable {
                repository: "registry.example.org".to_owned(),
                source: "gone".into(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Upstream for Registry {
    async fn repository(&self, name: &RepositoryName) -> Result<Arc<dyn Repository>, RepositoryError> {
        Ok(Arc::new(Behind {
            registry: self.clone(),
            repository: Arc::new(self.store.open(name)),
        }))
    }
}

#[async_trait]
impl Overlay for Behind {
    fn below(&self) -> &dyn Repository {
        &*self.repository
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        self.registry.answer()?;
        self.repository.stat_blob(digest).await
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        self.registry.answer()?;
        self.registry.blobs.fetch_add(1, Ordering::SeqCst);
        let found = self.repository.read_blob(digest, range).await?;
        Ok(
            found.map(|found| match self.registry.damaged.load(Ordering::SeqCst) {
                true => Blob {
                    content: from_bytes(vec![b'x'; usize::try_from(found.size).unwrap()]),
                    ..found
                },
                false => found,
            }),
        )
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.registry.answer()?;
        self.repository.stat_manifest(target).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.registry.answer()?;
        self.registry.manifests.fetch_add(1, Ordering::SeqCst);
        self.repository.read_manifest(target).await
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        self.registry.answer()?;
        self.repository.list_tags(page).await
    }
}

async fn image(repository: &dyn Repository, layer: &'static [u8]) -> RawManifest {
    let mut blobs = Vec::new();
    for (media_type, bytes) in [(media_type::CONFIG, &b"{}"[..]), (media_type::LAYER, layer)] {
        let blob = Descriptor::of(media_type, bytes);
        repository
            .write_blob(&blob.digest, blob.size, from_bytes(bytes))
            .await
            .unwrap();
        blobs.push(blob);
    }
    let layers = blobs.split_off(1);
    let bytes = json::canonical(&Manifest::image(blobs.remove(0), layers));
    let raw = RawManifest::new(media_type::MANIFEST, bytes);
    write(repository, &Target::Digest(raw.digest()), &raw).await;
    raw
}

async fn write(repository: &dyn Repository, target: &Target, manifest: &RawManifest) {
    repository
        .write_manifest(target, manifest, &Condition::Always)
        .await
        .unwrap();
}

struct World {
    registry: Registry,
    here: Memory,
    mirror: Arc<dyn Repository>,
}

async fn world() -> World {
    let (registry, here) = (Registry::default(), Memory::new());
    let mirror = Mirror {
        prefix: Some(name("hub")),
        upstream: Arc::new(registry.clone()),
    };
    let mirrored = Mirrored::new(Arc::new(here.clone()), vec![mirror]);
    let mirror = mirrored.repository(&name("hub/team/web")).await.unwrap();
    World {
        registry,
        here,
        mirror,
    }
}

impl World {
    fn behind(&self) -> Arc<dyn Repository> {
        Arc::new(self.registry.store.open(&name("team/web")))
    }

    fn kept(&self) -> Arc<dyn Repository> {
        Arc::new(self.here.open(&name("hub/team/web")))
    }

    async fn read(&self, digest: &Digest) -> Option<Result<bytes::Bytes, cairn_store::ReadBytes>> {
        let blob = self.mirror.read_blob(digest, None).await.unwrap()?;
        Some(collect(blob.content, 1000).await)
    }

    async fn pull(&self, target: &Target) -> RawManifest {
        let manifest = self.mirror.read_manifest(target).await.unwrap().unwrap();
        for child in manifest.document().unwrap().manifests() {
            Box::pin(self.pull(&Target::Digest(child.digest))).await;
        }
        for blob in manifest.document().unwrap().blobs() {
            let content = self.read(&blob.digest).await.unwrap().unwrap();
            assert_eq!(Digest::of(&content), blob.digest);
        }
        manifest
    }

    /// Waits until what is written on the way is there: other tasks do it, on this thread.
    async fn settled(&self, target: &Target) -> Option<Descriptor> {
        for _ in 0..1000 {
            if let Some(found) = self.kept().stat_manifest(target).await.unwrap() {
                return Some(found);
            }
            yield_now().await;
        }
        None
    }
}

#[tokio::test]
async fn an_image_is_fetched_once_and_served_without_its_registry() {
    let world = world().await;
    let mut children = Vec::new();
    for (architecture, layer) in [("amd64", &b"one"[..]), ("arm64", b"two")] {
        let child = image(&*world.behind(), layer).await.descriptor();
        children.push(child.with_platform(Platform::new("linux", architecture)));
    }
    let index = RawManifest::new(media_type::INDEX, json::canonical(&Index::images(children)));
    write(&*world.behind(), &tag("1"), &index).await;

    assert_eq!(world.pull(&tag("1")).await, index);
    assert_eq!(world.settled(&tag("1")).await.unwrap().digest, index.digest());
    for child in index.document().unwrap().manifests() {
        assert!(world.settled(&Target::Digest(child.digest)).await.is_some());
    }
    let counts = || {
        (
            world.registry.blobs.load(Ordering::SeqCst),
            world.registry.manifests.load(Ordering::SeqCst),
        )
    };
    // Two layers, one configuration that both share, read by the first alone if it was there when the second was asked for.
    let first = counts();
    assert!((3..=4).contains(&first.0) && first.1 == 3, "{first:?}");
    world.pull(&tag("1")).await;
    assert_eq!(counts(), first, "nothing is fetched twice");
    world.registry.gone.store(true, Ordering::SeqCst);
    assert_eq!(world.pull(&tag("1")).await, index);
    assert_eq!(world.pull(&Target::Digest(index.digest())).await, index);
    assert_eq!(
        world.mirror.list_tags(&Page::first()).await.unwrap().tags.len(),
        1
    );
    assert!(
        world.mirror.read_manifest(&tag("2")).await.is_err(),
        "not known, and nobody to ask"
    );
}

#[tokio::test]
async fn a_tag_that_moves_is_followed() {
    let world = world().await;
    let (first, second) = (
        image(&*world.behind(), b"one").await,
        image(&*world.behind(), b"two").await,
    );
    for manifest in [&first, &second] {
        write(&*world.behind(), &tag("1"), manifest).await;
        assert_eq!(&world.pull(&tag("1")).await, manifest);
        assert!(world.settled(&Target::Digest(manifest.digest())).await.is_some());
        assert_eq!(world.settled(&tag("1")).await.unwrap().digest, manifest.digest());
    }
    // Back again: the image is here, only the tag has to move.
    write(&*world.behind(), &tag("1"), &first).await;
    world.pull(&tag("1")).await;
    assert_eq!(
        world
            .kept()
            .stat_manifest(&tag("1"))
            .await
            .unwrap()
            .unwrap()
            .digest,
        first.digest()
    );
    assert!(world.mirror.read_manifest(&tag("2")).await.unwrap().is_none());
}

#[tokio::test]
async fn c1_what_does_not_match_its_digest_is_not_kept() {
    let world = world().await;
    let manifest = image(&*world.behind(), b"layer").await;
    world
        .mirror
        .read_manifest(&manifest.digest().into())
        .await
        .unwrap();
    world.registry.damaged.store(true, Ordering::SeqCst);
    let layer = Digest::of(b"layer");
    drop(world.read(&layer).await);
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(world.kept().stat_blob(&layer).await.unwrap().is_none());
    assert!(
        world
            .kept()
            .stat_manifest(&manifest.digest().into())
            .await
            .unwrap()
            .is_none()
    );
    world.registry.damaged.store(false, Ordering::SeqCst);
    assert_eq!(world.read(&layer).await.unwrap().unwrap(), &b"layer"[..]);
}

#[tokio::test]
async fn a_reader_that_goes_leaves_nothing_half() {
    let world = world().await;
    image(&*world.behind(), b"layer").await;
    let layer = Digest::of(b"layer");
    drop(world.mirror.read_blob(&layer, None).await.unwrap().unwrap());
    let part = world.mirror.read_blob(&layer, Some(1..3)).await.unwrap().unwrap();
    assert_eq!(collect(part.content, 10).await.unwrap(), &b"ay"[..]);
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(world.kept().stat_blob(&layer).await.unwrap().is_none());
}

#[tokio::test]
async fn nobody_writes_to_a_mirror_and_other_repositories_are_as_ever() {
    let (registry, here) = (Registry::default(), Memory::new());
    let mirror = Mirror {
        prefix: Some(name("hub")),
        upstream: Arc::new(registry.clone()),
    };
    let mirrored = Mirrored::new(Arc::new(here), vec![mirror]);
    let manifest = image(&registry.store.open(&name("web")), b"layer").await;
    let hub = mirrored.repository(&name("hub/web")).await.unwrap();
    let refused = |error: &RepositoryError| matches!(error, RepositoryError::Unsupported { .. });
    let written = hub.write_manifest(&tag("1"), &manifest, &Condition::Always).await;
    assert!(refused(&written.unwrap_err()));
    let written = hub.write_blob(&Digest::of(b"a"), 1, from_bytes(&b"a"[..])).await;
    assert!(refused(&written.unwrap_err()));
    assert!(refused(
        &hub.delete_manifest(&manifest.digest()).await.unwrap_err()
    ));
    assert!(mirrored.begin_upload(&name("hub/web")).await.is_err());
    for own in ["hub", "hubris/web", "web"] {
        assert!(mirrored.begin_upload(&name(own)).await.is_ok(), "{own}");
        let own = mirrored.repository(&name(own)).await.unwrap();
        assert!(
            own.read_manifest(&manifest.digest().into())
                .await
                .unwrap()
                .is_none()
        );
    }
}
