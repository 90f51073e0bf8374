//! `index.json` of a store: whatever happened, it shows the tags and the referrers that are there.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests damage files as no program of ours would"
)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use cairn_oci::{Descriptor, Digest, Index, Manifest, annotations, json, media_type};
use cairn_store::files::{Fs, Handle, RealFs};
use cairn_store::{Condition, Directory, DirectoryRepository, Page, RawManifest, Repository, Target};

use crate::content::{Image, Random, image, name, push, tag, write_blob, write_tag};

/// A manifest about `subject`.
fn referrer(subject: &Image, label: &str) -> RawManifest {
    let config = Descriptor::of(media_type::EMPTY, b"{}");
    let mut manifest = Manifest::image(config.clone(), vec![config]);
    manifest.subject = Some(subject.manifest.descriptor());
    manifest.artifact_type = Some(format!("application/vnd.example.{label}"));
    let label = (annotations::REF_NAME.to_owned(), label.to_owned());
    manifest.annotations.extend([label]);
    RawManifest::new(media_type::MANIFEST, json::canonical(&manifest))
}

/// A store with its one repository, as one process has it.
struct Place {
    repository: DirectoryRepository,
    store: Directory,
}

impl Place {
    fn open(path: &Path) -> Self {
        Self::on(Directory::open(path).unwrap())
    }

    fn on(store: Directory) -> Self {
        Self {
            repository: store.open_repository(&name()),
            store,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.repository.layout().join(name)
    }

    /// Writes a manifest without a tag.
    async fn write(&self, manifest: &RawManifest) {
        let target = Target::Digest(manifest.digest());
        let written = self
            .repository
            .write_manifest(&target, manifest, &Condition::Always)
            .await;
        written.unwrap();
    }

    async fn flush(&self) {
        self.store.flush_repository(&name()).await.unwrap();
    }

    /// What `index.json` shows, in words.
    fn shown(&self) -> Vec<(Option<String>, Digest)> {
        let index: Index = json::parse(&fs::read(self.file("index.json")).unwrap(), 1 << 20).unwrap();
        let entries = index.manifests.into_iter();
        entries
            .map(|entry| {
                (
                    entry.annotations.get(annotations::REF_NAME).cloned(),
                    entry.digest,
                )
            })
            .collect()
    }

    /// What it should show, asked of the repository.
    async fn there(&self, subjects: &[Image]) -> Vec<(Option<String>, Digest)> {
        let mut shown = Vec::new();
        for tag in self.repository.list_tags(&Page::first()).await.unwrap().tags {
            let found = self.repository.stat_manifest(&Target::Tag(tag.clone())).await;
            shown.push((Some(tag.to_string()), found.unwrap().unwrap().digest));
        }
        let tagged: BTreeSet<Digest> = shown.iter().map(|(_, digest)| *digest).collect();
        let mut untagged = BTreeSet::new();
        for subject in subjects {
            let subject = subject.manifest.digest();
            let page = self
                .repository
                .list_referrers(&subject, None, &Page::first())
                .await;
            untagged.extend(page.unwrap().manifests.into_iter().map(|entry| entry.digest));
        }
        shown.extend(untagged.difference(&tagged).map(|digest| (None, *digest)));
        shown
    }

    /// Something that anybody may do, or that may happen.
    async fn step(&self, images: &[Image], random: &mut Random) {
        let at = |random: &mut Random, limit: usize| usize::try_from(random.below(limit as u64)).unwrap();
        let chosen = &images[at(random, images.len())];
        let name = format!("t{}", random.below(9));
        match random.below(12) {
            0..=3 => push(&self.repository, &name, chosen).await.unwrap(),
            4 | 5 => drop(self.repository.delete_tag(&tag(&name)).await.unwrap()),
            6 => self.write(&referrer(chosen, &name)).await,
            // A referrer that has a tag has no other entry.
            7 => write_tag(&self.repository, &name, &referrer(chosen, "tagged"))
                .await
                .unwrap(),
            8 => {
                let digest = referrer(chosen, &name).digest();
                self.repository.delete_manifest(&digest).await.unwrap();
            }
            9 => drop(
                self.repository
                    .delete_manifest(&chosen.manifest.digest())
                    .await
                    .unwrap(),
            ),
            10 => damage(&self.file("refs/shown"), random.next()),
            _ => damage(&self.file("index.json"), random.next()),
        }
    }
}

/// Cuts a file off, or removes it.
fn damage(path: &Path, at: u64) {
    let Ok(bytes) = fs::read(path) else { return };
    match usize::try_from(at).unwrap_or_default() % (2 * bytes.len().max(1)) {
        end if end < bytes.len() => fs::write(path, &bytes[..end]).unwrap(),
        _ => fs::remove_file(path).unwrap(),
    }
}

async fn schedule(seed: u64) {
    let place = tempfile::tempdir().unwrap();
    let processes = [Place::open(place.path()), Place::open(place.path())];
    let images = ["one", "two", "three", "four"].map(image);
    write_blob(&processes[0].repository, b"{}").await.unwrap();
    push(&processes[0].repository, "t0", &images[0]).await.unwrap();
    let mut random = Random(seed);
    for step in 0..40 {
        for _ in 0..=random.below(3) {
            let process = &processes[usize::try_from(random.below(2)).unwrap()];
            process.step(&images, &mut random).await;
        }
        let process = &processes[usize::try_from(random.below(2)).unwrap()];
        process.flush().await;
        let there = process.there(&images).await;
        assert_eq!(process.shown(), there, "seed {seed} step {step}");
    }
}

#[tokio::test]
async fn whatever_happens_the_index_shows_what_is_there() {
    for seed in 0..6 {
        println!("seed {seed}");
        schedule(seed).await;
    }
}

#[tokio::test]
async fn an_index_that_somebody_edited_is_not_believed() {
    let place = tempfile::tempdir().unwrap();
    let place = Place::open(place.path());
    let image = image("one");
    push(&place.repository, "1.0", &image).await.unwrap();
    write_blob(&place.repository, b"{}").await.unwrap();
    write_tag(&place.repository, "about", &referrer(&image, "a"))
        .await
        .unwrap();
    place.write(&referrer(&image, "b")).await;
    place.flush().await;
    let path = place.file("index.json");
    let sound = fs::read(&path).unwrap();
    let mut index: Index = json::parse(&sound, 1 << 20).unwrap();
    for entry in &mut index.manifests {
        entry.artifact_type = Some("application/vnd.example.edited".into());
    }
    fs::write(&path, json::canonical(&index)).unwrap();
    place.flush().await;
    assert_eq!(
        String::from_utf8(fs::read(&path).unwrap()),
        String::from_utf8(sound)
    );
}

/// The real file system, which writes down what is opened to read.
#[derive(Debug, Default)]
struct Reads(Mutex<BTreeSet<PathBuf>>);

impl Reads {
    /// What was opened in `directory` since the last call.
    fn take(&self, directory: &Path) -> Vec<String> {
        let opened = std::mem::take(&mut *self.0.lock().unwrap());
        let names = opened.iter().filter_map(|path| path.strip_prefix(directory).ok());
        names.map(|name| name.display().to_string()).collect()
    }
}

impl Fs for Reads {
    fn open(&self, path: &Path) -> io::Result<fs::File> {
        self.0.lock().unwrap().insert(path.to_owned());
        RealFs.open(path)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Handle>> {
        RealFs.create(path, mode)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        RealFs.append(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealFs.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealFs.create_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_directory(path)
    }
}

#[tokio::test]
async fn only_the_files_of_tags_that_changed_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let reads = Arc::new(Reads::default());
    let fs: Arc<dyn Fs> = Arc::clone(&reads) as _;
    let place = Place::on(Directory::open_on(fs, directory.path()).unwrap());
    for name in ["1.0", "2.0", "3.0"] {
        push(&place.repository, name, &image(name)).await.unwrap();
    }
    write_blob(&place.repository, b"{}").await.unwrap();
    place.write(&referrer(&image("1.0"), "a")).await;
    let refs = place.file("refs");
    place.flush().await;
    // What was changed within the same tick of the clock as the index is read once more.
    while changed(&place.file("index.json"))
        <= changed(&refs.join("referrers").join(image("1.0").manifest.digest().hex()))
    {
        fs::remove_file(place.file("index.json")).unwrap();
        place.flush().await;
    }
    reads.take(&refs);
    place.flush().await;
    assert_eq!(reads.take(&refs), ["shown"]);
    push(&Place::open(directory.path()).repository, "2.0", &image("new"))
        .await
        .unwrap();
    place.flush().await;
    assert_eq!(reads.take(&refs), ["shown", "tags/2.0"]);
    assert_eq!(place.shown(), place.there(&["1.0"].map(image)).await);
}

/// When a file was changed last, in seconds and nanoseconds since 1970.
fn changed(path: &Path) -> (i64, i64) {
    let metadata = path.metadata().unwrap();
    (metadata.ctime(), metadata.ctime_nsec())
}
