//! Garbage collection: what it keeps, against a model, and beside writers (E7).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cairn_oci::{Descriptor, Digest, Index, Manifest, json, media_type};
use cairn_store::{
    Collected, Collection, Condition, Directory, DirectoryRepository, RawManifest, Repository,
    RepositoryError, Store, Target, from_bytes,
};

use crate::content::{Image, Random, assert_whole, has_blob, image, name, push, tag, write_blob, write_tag};

/// The time of the file system that has `place`, which is not as fine as the clock: later than everything before.
fn after_all(place: &Path) -> SystemTime {
    let probe = tempfile::NamedTempFile::new_in(place).unwrap();
    let begun = ctime(probe.path());
    loop {
        cairn_store::files::touch(probe.path()).unwrap();
        let now = ctime(probe.path());
        if now > begun {
            return now;
        }
    }
}

fn ctime(path: &Path) -> SystemTime {
    let metadata = path.metadata().unwrap();
    let since = Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
    SystemTime::UNIX_EPOCH + since
}

/// A store beside a place whose time is the store's.
struct Place {
    directory: tempfile::TempDir,
    store: Directory,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Directory::open(directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    fn repository(&self) -> DirectoryRepository {
        self.store.open_repository(&name())
    }

    fn now(&self) -> SystemTime {
        after_all(self.directory.path())
    }

    /// Collects what nobody has touched since `cutoff`.
    async fn collect_before(&self, cutoff: SystemTime) -> Collected {
        let collection = Collection {
            now: cutoff,
            grace: Duration::ZERO,
            keep: BTreeSet::new(),
            dry_run: false,
        };
        self.store.collect(&name(), &collection).await.unwrap()
    }

    fn blobs(&self) -> BTreeSet<String> {
        let directory = self.repository().layout().join("blobs/sha256");
        cairn_store::files::list(&directory)
            .unwrap()
            .into_iter()
            .collect()
    }
}

fn hexes<'d>(digests: impl IntoIterator<Item = &'d Digest>) -> BTreeSet<String> {
    digests.into_iter().map(Digest::hex).collect()
}

fn digests(image: &Image) -> Vec<Digest> {
    let blobs = image.blobs.iter().map(|blob| Digest::of(blob));
    blobs.chain([image.manifest.digest()]).collect()
}

async fn write_by_digest(repository: &dyn Repository, manifest: &RawManifest) -> Result<(), RepositoryError> {
    let target = Target::Digest(manifest.digest());
    repository
        .write_manifest(&target, manifest, &Condition::Always)
        .await
}

fn index(children: &[&RawManifest]) -> RawManifest {
    let entries = children.iter().map(|child| child.descriptor()).collect();
    RawManifest::new(media_type::INDEX, json::canonical(&Index::images(entries)))
}

fn referrer(about: Descriptor, label: &str) -> RawManifest {
    let mut manifest = Manifest::artifact("application/vnd.test", vec![]);
    manifest.subject = Some(about);
    manifest.annotations.insert("label".to_owned(), label.to_owned());
    RawManifest::new(media_type::MANIFEST, json::canonical(&manifest))
}

#[tokio::test]
async fn what_a_tag_reaches_is_kept_and_the_rest_goes() {
    let place = Place::new();
    let repository = place.repository();
    let (kept, child, gone) = (image("kept"), image("child"), image("gone"));
    push(&repository, "kept", &kept).await.unwrap();
    for image in [&child, &gone] {
        for blob in &image.blobs {
            write_blob(&repository, blob).await.unwrap();
        }
        write_by_digest(&repository, &image.manifest).await.unwrap();
    }
    let absent = image("absent");
    let top = index(&[&child.manifest, &absent.manifest]);
    write_tag(&repository, "index", &top).await.unwrap();
    write_blob(&repository, b"{}").await.unwrap();
    let about_kept = referrer(kept.manifest.descriptor(), "signature");
    let about_that = referrer(about_kept.descriptor(), "counter-signature");
    let about_gone = referrer(gone.manifest.descriptor(), "signature");
    for manifest in [&about_that, &about_kept, &about_gone] {
        write_by_digest(&repository, manifest).await.unwrap();
    }
    write_blob(&repository, b"nobody's").await.unwrap();
    let expected: BTreeSet<Digest> = digests(&kept)
        .into_iter()
        .chain(digests(&child))
        .chain([
            top.digest(),
            about_kept.digest(),
            about_that.digest(),
            Digest::of(b"{}"),
        ])
        .collect();
    let before = place.blobs();
    let now = place.now();
    // Nothing is old yet; and counting removes nothing.
    let early = Collection {
        now,
        grace: Duration::from_secs(3600),
        keep: BTreeSet::new(),
        dry_run: false,
    };
    assert_eq!(
        place.store.collect(&name(), &early).await.unwrap(),
        Collected::default()
    );
    let counting = Collection {
        grace: Duration::ZERO,
        dry_run: true,
        ..early.clone()
    };
    let counted = place.store.collect(&name(), &counting).await.unwrap();
    assert_eq!((counted.manifests, counted.blobs), (2, 3));
    let keeping = Collection {
        keep: BTreeSet::from([gone.manifest.digest()]),
        ..counting
    };
    assert_eq!(place.store.collect(&name(), &keeping).await.unwrap().blobs, 1);
    assert_eq!(place.blobs(), before);

    let collected = place.collect_before(now).await;
    assert_eq!(collected, counted);
    assert_eq!(place.blobs(), hexes(&expected));
    assert_whole(&repository).await;
    for manifest in [&gone.manifest, &about_gone] {
        let read = repository.read_manifest(&Target::Digest(manifest.digest())).await;
        assert_eq!(read.unwrap(), None);
    }
    assert_eq!(place.collect_before(place.now()).await, Collected::default());
}

#[tokio::test]
async fn e7_who_was_told_that_a_blob_is_there_can_rely_on_it() {
    let place = Place::new();
    let (repository, sibling) = (
        place.repository(),
        place.store.open_repository(&"b".parse().unwrap()),
    );
    let contents: [&[u8]; 5] = [
        b"asked",
        b"written again",
        b"mounted",
        b"uploaded again",
        b"forgotten",
    ];
    for content in contents {
        write_blob(&repository, content).await.unwrap();
        write_blob(&sibling, content).await.unwrap();
    }
    let now = place.now();
    assert!(
        repository
            .stat_blob(&Digest::of(b"asked"))
            .await
            .unwrap()
            .is_some()
    );
    write_blob(&repository, b"written again").await.unwrap();
    assert!(
        repository
            .mount_blob(&Digest::of(b"mounted"), sibling.name())
            .await
            .unwrap()
    );
    let id = place.store.begin_upload(&name()).await.unwrap();
    let content = from_bytes(&b"uploaded again"[..]);
    place.store.append_upload(&name(), &id, 0, content).await.unwrap();
    let digest = Digest::of(b"uploaded again");
    place.store.finish_upload(&name(), &id, &digest).await.unwrap();
    assert_eq!(place.collect_before(now).await.blobs, 1);
    let kept = contents[..4]
        .iter()
        .map(|content| Digest::of(content))
        .collect::<Vec<_>>();
    assert_eq!(place.blobs(), hexes(&kept));
}

#[tokio::test]
async fn e7_an_upload_that_is_open_keeps_what_was_touched_since_it_began() {
    let place = Place::new();
    let repository = place.repository();
    write_blob(&repository, b"before").await.unwrap();
    let begun = place.now();
    let id = place.store.begin_upload(&name()).await.unwrap();
    write_blob(&repository, b"part of the same push").await.unwrap();
    let late = place.now() + Duration::from_secs(3600);
    // An hour later, with a grace period of nothing: the upload counts, and not the time.
    assert_eq!(place.collect_before(late).await.blobs, 1);
    assert!(begun < late);
    assert_eq!(place.blobs(), hexes(&[Digest::of(b"part of the same push")]));
    place.store.cancel_upload(&name(), &id).await.unwrap();
    assert_eq!(place.collect_before(late).await.blobs, 1);
}

#[tokio::test]
async fn e5_nothing_is_removed_while_a_manifest_that_is_kept_cannot_be_read() {
    let place = Place::new();
    let repository = place.repository();
    let kept = image("kept");
    push(&repository, "kept", &kept).await.unwrap();
    write_blob(&repository, b"nobody's").await.unwrap();
    let path = repository
        .layout()
        .join("blobs/sha256")
        .join(kept.manifest.digest().hex());
    cairn_store::files::write(&path, b"rotten", 0o644).unwrap();
    let collection = Collection {
        now: place.now(),
        grace: Duration::ZERO,
        keep: BTreeSet::new(),
        dry_run: false,
    };
    let error = place.store.collect(&name(), &collection).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Digest { .. }), "{error:?}");
    assert_eq!(place.blobs().len(), 4);
}

/// What must be there, written down beside the store.
#[derive(Default)]
struct Model {
    /// Blobs, and whether they were touched since the last collection.
    blobs: BTreeMap<Digest, bool>,
    manifests: BTreeMap<Digest, (RawManifest, bool)>,
    tags: BTreeMap<String, Digest>,
}

impl Model {
    fn reach(&self, digest: Digest, reached: &mut BTreeSet<Digest>) {
        if !reached.insert(digest) {
            return;
        }
        if let Some((manifest, _)) = self.manifests.get(&digest) {
            let document = manifest.document().unwrap();
            reached.extend(document.blobs().iter().map(|blob| blob.digest));
            for entry in document.manifests() {
                self.reach(entry.digest, reached);
            }
        }
    }

    fn collect(&mut self) {
        let mut reached = BTreeSet::new();
        let fresh = self.manifests.iter().filter(|(_, (_, fresh))| *fresh);
        for digest in self.tags.values().chain(fresh.map(|(digest, _)| digest)) {
            self.reach(*digest, &mut reached);
        }
        loop {
            let before = reached.len();
            for (digest, (manifest, _)) in &self.manifests {
                let document = manifest.document().unwrap();
                let subject = document.subject().map(|subject| subject.digest);
                if subject.is_some_and(|subject| reached.contains(&subject)) {
                    self.reach(*digest, &mut reached);
                }
            }
            if reached.len() == before {
                break;
            }
        }
        self.manifests.retain(|digest, _| reached.contains(digest));
        self.blobs
            .retain(|digest, fresh| *fresh || reached.contains(digest));
    }

    fn has_all(&self, manifest: &RawManifest) -> bool {
        let document = manifest.document().unwrap();
        document
            .blobs()
            .iter()
            .all(|blob| self.blobs.contains_key(&blob.digest))
    }

    fn age(&mut self) {
        self.blobs.values_mut().for_each(|fresh| *fresh = false);
        self.manifests.values_mut().for_each(|(_, fresh)| *fresh = false);
    }
}

/// One schedule of 60 steps: whatever is written, asked, tagged, untagged and collected in whatever order, the store holds
/// what the model says.
async fn schedule(seed: u64) {
    let place = Place::new();
    let repository = place.repository();
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut manifests: Vec<RawManifest> = Vec::new();
    let images: Vec<Image> = (0..4).map(|label| image(&label.to_string())).collect();
    manifests.extend(images.iter().map(|image| image.manifest.clone()));
    manifests.push(index(&[&manifests[0], &manifests[1]]));
    manifests.push(index(&[&manifests[4], &manifests[2]]));
    manifests.push(referrer(manifests[0].descriptor(), "a"));
    manifests.push(referrer(manifests[6].descriptor(), "b"));
    let mut blobs: Vec<Vec<u8>> = images.iter().flat_map(|image| image.blobs.clone()).collect();
    blobs.push(b"{}".to_vec());
    let mut cutoff = place.now();
    for step in 0..60 {
        match random.below(10) {
            0..=3 => {
                let blob = &blobs[random.below(blobs.len() as u64) as usize];
                write_blob(&repository, blob).await.unwrap();
                model.blobs.insert(Digest::of(blob), true);
            }
            4..=6 => {
                let manifest = &manifests[random.below(manifests.len() as u64) as usize];
                let tag_name = format!("t{}", random.below(3));
                let by_tag = random.below(2) == 0;
                let written = if by_tag {
                    write_tag(&repository, &tag_name, manifest).await
                } else {
                    write_by_digest(&repository, manifest).await
                };
                assert_eq!(
                    written.is_ok(),
                    model.has_all(manifest),
                    "seed {seed} step {step}: {written:?}"
                );
                if written.is_ok() {
                    model
                        .manifests
                        .insert(manifest.digest(), (manifest.clone(), true));
                    if by_tag {
                        model.tags.insert(tag_name, manifest.digest());
                    }
                }
            }
            7 => {
                let tag_name = format!("t{}", random.below(3));
                repository.delete_tag(&tag(&tag_name)).await.unwrap();
                model.tags.remove(&tag_name);
            }
            8 => {
                let digest = Digest::of(&blobs[random.below(blobs.len() as u64) as usize]);
                let found = repository.stat_blob(&digest).await.unwrap().is_some();
                assert_eq!(
                    found,
                    model.blobs.contains_key(&digest),
                    "seed {seed} step {step}"
                );
                model.blobs.entry(digest).and_modify(|fresh| *fresh = true);
            }
            _ => {
                place.collect_before(cutoff).await;
                model.collect();
                let expected = hexes(model.blobs.keys().chain(model.manifests.keys()));
                assert_eq!(place.blobs(), expected, "seed {seed} step {step}");
                // From here on all of it is old.
                cutoff = place.now();
                model.age();
            }
        }
    }
    assert_whole(&repository).await;
}

#[tokio::test]
async fn e7_whatever_the_order_what_is_left_is_what_the_model_says() {
    for seed in 0..40 {
        schedule(seed).await;
    }
}

/// When each push that is not finished began.
type Begun = Arc<Mutex<BTreeMap<u64, SystemTime>>>;

async fn pusher(place: Arc<Place>, begun: Begun, number: u64) {
    let repository = Directory::open(place.store.path())
        .unwrap()
        .open_repository(&name());
    let mut random = Random(number);
    let shared: &[u8] = b"a base that every image shares";
    for round in 0..25 {
        begun
            .lock()
            .unwrap()
            .insert(number, after_all(place.directory.path()));
        let mut image = image(&format!("{number} {round}"));
        let config = Descriptor::of(media_type::CONFIG, &image.blobs[0]);
        let layers = [shared, &image.blobs[1]].map(|blob| Descriptor::of(media_type::LAYER, blob));
        let manifest = Manifest::image(config, layers.to_vec());
        image.manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
        // As clients do it: what is there is not sent again.
        if repository.stat_blob(&Digest::of(shared)).await.unwrap().is_none() {
            write_blob(&repository, shared).await.unwrap();
        }
        let tag_name = format!("t{number}");
        push(&repository, &tag_name, &image)
            .await
            .unwrap_or_else(|error| panic!("a blob was taken: {error:?}"));
        let target = Target::Tag(tag(&tag_name));
        let shown = repository.read_manifest(&target).await.unwrap();
        assert_eq!(shown.map(|shown| shown.digest()), Some(image.manifest.digest()));
        for blob in image.manifest.document().unwrap().blobs() {
            assert!(
                has_blob(&repository, blob.digest).await,
                "{} is gone",
                blob.digest
            );
        }
        begun.lock().unwrap().remove(&number);
        if random.below(3) == 0 {
            repository.delete_tag(&tag(&tag_name)).await.unwrap();
        }
    }
}

/// Garbage is collected all the time, with no more grace than the oldest push that is not finished needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e7_no_push_loses_a_blob_while_garbage_is_collected_all_the_time() {
    let place = Arc::new(Place::new());
    let begun = Begun::default();
    let pushers: Vec<_> = (0..4)
        .map(|number| tokio::spawn(pusher(Arc::clone(&place), Arc::clone(&begun), number)))
        .collect();
    let mut taken = 0;
    while !pushers.iter().all(tokio::task::JoinHandle::is_finished) {
        let cutoff = {
            let begun = begun.lock().unwrap();
            let now = after_all(place.directory.path());
            begun.values().copied().fold(now, SystemTime::min)
        };
        taken += place.collect_before(cutoff).await.blobs;
    }
    for pusher in pushers {
        pusher.await.unwrap();
    }
    assert!(taken > 0, "there was garbage all the time");
    let repository = place.repository();
    assert_whole(&repository).await;
    place.collect_before(place.now()).await;
    let mut expected = BTreeSet::new();
    for number in 0..4 {
        let target = Target::Tag(tag(&format!("t{number}")));
        if let Some(manifest) = repository.read_manifest(&target).await.unwrap() {
            expected.insert(manifest.digest());
            expected.extend(
                manifest
                    .document()
                    .unwrap()
                    .blobs()
                    .iter()
                    .map(|blob| blob.digest),
            );
        }
    }
    assert_eq!(place.blobs(), hexes(&expected));
}
