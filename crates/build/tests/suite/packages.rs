//! Packages of Debian: from a small signed archive that the tests make to layers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use cairn_build::spec::Debian;
use cairn_build::{
    BuildError, DebianSources, FetchError, Fetcher, Inputs, Lock, LockChange, LockError, LockRequest,
    PinNames, SignedSource, Sources, Spec, Update, resolve_lock,
};
use cairn_layer::Limits;
use cairn_oci::{Descriptor, Digest, Reference};
use cairn_packages::debian::{self, SignedBy, Source, Wanted};
use cairn_packages::openpgp::Keyring;
use cairn_store::{Blob, ByteStream, Repository as Place, RepositoryError, from_bytes};

use crate::fixture::{Project, render};
use crate::support::{Entry, Key, Package, Repository};

const ROOT: &str = "https://mirror.example.org/debian";
const SPEC: &str = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[packages.debian]\nsuite = \"stable\"\n\
    mirror = \"https://mirror.example.org/debian\"\ninstall = [\"hello\"]\n";

/// A mirror, and what was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Mirror {
    pub(crate) fn of(repository: &Repository) -> Self {
        Self {
            files: repository.signed(&key()),
            asked: Mutex::default(),
        }
    }

    fn get(&self, url: &str) -> Option<Vec<u8>> {
        self.asked.lock().unwrap().push(url.to_owned());
        self.files
            .get(url.strip_prefix(ROOT)?.trim_start_matches('/'))
            .cloned()
    }
}

fn key() -> Key {
    Key::new(1, 1_767_225_600)
}

#[async_trait]
impl Fetcher for Mirror {
    async fn fetch(&self, url: &str, digest: &Digest, _: Option<u64>) -> Result<Blob, FetchError> {
        let content = self.get(url).ok_or_else(|| FetchError::missing(url, *digest))?;
        Ok(Blob {
            size: content.len() as u64,
            content: from_bytes(content),
        })
    }
}

#[async_trait]
impl Sources for Mirror {
    async fn base_image(&self, _: &Reference) -> Result<std::sync::Arc<dyn Place>, RepositoryError> {
        unreachable!("no spec of this test has a base")
    }

    async fn debian(
        &self,
        wanted: &Debian,
    ) -> Result<DebianSources, Box<dyn std::error::Error + Send + Sync>> {
        let sources = wanted.archives().map(|archive| SignedSource {
            source: Source {
                uri: archive.mirror_at(&archive.mirror.as_ref().unwrap().value),
                suite: archive.suite.value.clone(),
                components: archive.components.clone(),
                architectures: archive.architectures.clone(),
                signed_by: SignedBy::default(),
            },
            keyring: Keyring::read(&key().keyring()).unwrap(),
            snapshot: archive.snapshot.as_ref().map(|snapshot| snapshot.value),
        });
        Ok(DebianSources {
            sources: sources.collect(),
            now: "2026-06-02T00:00:00Z".parse()?,
        })
    }

    async fn debian_file(&self, wanted: &Wanted) -> Result<Option<Vec<u8>>, debian::FetchError> {
        Ok(self.get(&wanted.url))
    }
}

#[async_trait]
impl Inputs for Mirror {
    async fn open(&self, _: &Descriptor) -> Result<Option<ByteStream>, RepositoryError> {
        Ok(None)
    }
}

fn repository() -> Repository {
    Repository::new(
        "stable",
        vec![
            Package::new("hello", "1.0-1", "amd64")
                .field("Depends", "greeting (>= 1)")
                .entry("./usr/", Entry::Directory(0o755))
                .entry("./usr/bin/", Entry::Directory(0o755))
                .entry("./usr/bin/hello", Entry::File(0o755, b"hi\n".to_vec())),
            Package::new("greeting", "1.2", "all").file("./usr/share/greeting", "hello\n"),
            Package::new("other", "1", "amd64"),
        ],
    )
}

pub(crate) async fn lock(
    project: &Project,
    spec: &str,
    existing: Option<&Lock>,
    update: Update,
    mirror: &Mirror,
) -> Result<LockChange, LockError> {
    let request = LockRequest {
        spec: &Spec::parse(spec).unwrap(),
        directory: project.path(),
        existing,
        siblings: &[],
        update,
        dates: project.dates,
        scratch: project.scratch.path(),
        limits: Limits::default(),
        engine: cairn_layer::Engine::default(),
    };
    resolve_lock(&request, mirror).await
}

async fn locked(mirror: &Mirror) -> Lock {
    let change = lock(&Project::new(), SPEC, None, Update::AddMissing, mirror).await;
    change.unwrap().lock
}

/// The error with all its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_lock_pins_what_has_to_be_there_and_reads_back() {
    let lock = locked(&Mirror::of(&repository())).await;
    let text = lock.to_string();
    let digest = Digest::of(&repository().packages[0].deb());
    assert!(text.contains("archives = [\n  { uri = \"https://mirror.example.org/debian\", suite = \"stable\", date = \"2026-06-01T00:00:00Z\" },\n]"), "{text}");
    let line = format!(
        "{{ package = \"hello 1.0-1 amd64\", url = \"{ROOT}/pool/hello_1.0-1_amd64.deb\", suite = \"stable\", size = "
    );
    assert!(
        text.contains(&line) && text.contains(&digest.to_string()),
        "{text}"
    );
    assert!(
        text.contains("{ package = \"greeting 1.2 all\"") && text.contains("for = \"hello\" }"),
        "{text}"
    );
    assert!(!text.contains("other"), "{text}");
    let read = Lock::parse(&text).unwrap();
    assert_eq!(read.to_string(), text);
}

#[tokio::test]
async fn packages_become_layers_without_the_mirrors_index() {
    let mirror = Mirror::of(&repository());
    let lock = Lock::parse(&locked(&mirror).await.to_string()).unwrap();
    mirror.asked.lock().unwrap().clear();
    let project = Project::new();
    let built = project.build_locked(SPEC, &lock, &mirror).await.unwrap();
    let asked = mirror.asked.into_inner().unwrap();
    assert!(asked.iter().all(|url| url.ends_with(".deb")), "{asked:?}");
    let mut all = String::new();
    for number in 0..built.platforms[0].layers.len() {
        all.push_str(&project.listing(&built, number).await);
    }
    for path in [
        "/usr/bin/hello",
        "/usr/share/greeting",
        "/var/lib/dpkg/status.d/hello",
    ] {
        assert!(all.contains(path), "{all}");
    }
    assert!(
        built.platforms[0]
            .layers
            .iter()
            .all(|layer| layer.name.starts_with("debian:"))
    );
}

#[tokio::test]
async fn d1_a_package_that_is_not_what_was_locked_is_refused() {
    let mut mirror = Mirror::of(&repository());
    let lock = locked(&mirror).await;
    let other = Package::new("hello", "1.0-1", "amd64")
        .file("./usr/bin/evil", "evil\n")
        .deb();
    for content in [other, mirror.files["pool/hello_1.0-1_amd64.deb"][..100].to_vec()] {
        mirror
            .files
            .insert("pool/hello_1.0-1_amd64.deb".to_owned(), content);
        let error = Project::new()
            .build_locked(SPEC, &lock, &mirror)
            .await
            .unwrap_err();
        let text = whole(&error);
        assert!(text.contains("hello_1.0-1_amd64.deb"), "{text}");
        assert!(matches!(error, BuildError::Fetch { .. }), "{text}");
    }
}

#[tokio::test]
async fn d1_a_package_that_calls_itself_otherwise_is_refused() {
    // The index says that the file of one package is another, and is signed.
    let mut swapped = repository();
    swapped.packages[0].fields[1].1 = "1.0-2".to_owned();
    let (mut files, _) = swapped.unsigned();
    let deb = repository().packages[0].deb();
    let index = swapped.index("amd64");
    let real = swapped.packages[0].deb();
    let index = index
        .replace(&Digest::of(&real).hex(), &Digest::of(&deb).hex())
        .replace(
            &format!("Size: {}\n", real.len()),
            &format!("Size: {}\n", deb.len()),
        );
    files.insert("pool/hello_1.0-2_amd64.deb".to_owned(), deb);
    let plain = Repository {
        index_compressions: vec![crate::support::Compression::None],
        by_hash: false,
        ..swapped
    };
    let (_, release) = plain.unsigned();
    let old = plain.index("amd64");
    let entry = |text: &str| format!("{} {} main", Digest::of(text.as_bytes()).hex(), text.len());
    let release = release.replace(&entry(&old), &entry(&index));
    files.insert(
        "dists/stable/main/binary-amd64/Packages".to_owned(),
        index.into_bytes(),
    );
    files.insert(
        "dists/stable/InRelease".to_owned(),
        key().clearsign(&release, plain.signed_at),
    );
    let mirror = Mirror {
        files,
        asked: Mutex::default(),
    };
    let lock = locked(&mirror).await;
    let error = Project::new()
        .build_locked(SPEC, &lock, &mirror)
        .await
        .unwrap_err();
    assert!(whole(&error).contains("hello 1.0-2 amd64"), "{}", whole(&error));
}

#[tokio::test]
async fn updating_shows_what_moved_with_versions() {
    let lock_now = locked(&Mirror::of(&repository())).await;
    let mut newer = repository();
    newer.packages[0] = Package::new("hello", "1.1-1", "amd64");
    newer.date = "Tue, 02 Jun 2026 00:00:00 UTC".to_owned();
    let mirror = Mirror::of(&newer);
    let project = Project::new();
    let kept = lock(&project, SPEC, Some(&lock_now), Update::Reconcile, &mirror)
        .await
        .unwrap();
    assert!(kept.changes.is_empty(), "{:?}", kept.changes);
    assert!(mirror.asked.lock().unwrap().is_empty());
    let names = PinNames::of(&Spec::parse(SPEC).unwrap(), None, &["packages".to_owned()]).unwrap();
    for update in [Update::Named(names), Update::All] {
        let moved = lock(&project, SPEC, Some(&lock_now), update, &mirror)
            .await
            .unwrap();
        let shown: Vec<_> = moved
            .changes
            .iter()
            // The date goes with the archive's if everything may move.
            .filter(|change| change.subject != "created")
            .map(|change| format!("{}: {:?} {:?}", change.subject, change.before, change.after))
            .collect();
        assert_eq!(
            shown,
            [
                "the package greeting:all for linux/amd64: Some(\"1.2\") None",
                "the package hello:amd64 for linux/amd64: Some(\"1.0-1\") Some(\"1.1-1\")",
            ]
        );
    }
}

#[tokio::test]
async fn d3_a_lock_takes_no_older_state_than_the_one_before() {
    let mut newer = repository();
    newer.date = "Tue, 02 Jun 2026 00:00:00 UTC".to_owned();
    let lock_now = locked(&Mirror::of(&newer)).await;
    let mirror = Mirror::of(&repository());
    let error = lock(&Project::new(), SPEC, Some(&lock_now), Update::All, &mirror)
        .await
        .unwrap_err();
    assert!(whole(&error).contains("was seen before"), "{}", whole(&error));
    let snapshot = SPEC
        .replace("/debian\"", "/{snapshot}/debian\"")
        .replace("install", "snapshot = \"2026-06-01T12:00:00Z\"\ninstall");
    let spec = Spec::parse(&snapshot).unwrap();
    let debian = spec.packages.unwrap().own.unwrap();
    assert_eq!(
        debian.mirror_at(&debian.mirror.as_ref().unwrap().value),
        "https://mirror.example.org/20260601T120000Z/debian"
    );
}

#[tokio::test]
async fn another_section_is_refused_by_a_build_and_followed_by_a_lock() {
    let mirror = Mirror::of(&repository());
    let lock_now = locked(&mirror).await;
    let spec = SPEC.replace("\"hello\"", "\"hello\", \"other\"");
    let error = lock(
        &Project::new(),
        &spec,
        Some(&lock_now),
        Update::AddMissing,
        &mirror,
    )
    .await
    .unwrap_err();
    let LockError::Conflict { findings } = error else {
        panic!("{error}");
    };
    assert!(findings[0].message.contains("another [packages.debian]"));
    let change = lock(
        &Project::new(),
        &spec,
        Some(&lock_now),
        Update::Reconcile,
        &mirror,
    )
    .await
    .unwrap();
    assert_eq!(change.changes.len(), 1);
    assert_eq!(
        change.changes[0].subject,
        "the package other:amd64 for linux/amd64"
    );
}

/// The versions that a lock pins.
fn versions(lock: &Lock) -> Vec<String> {
    let packages = lock.packages.as_ref().unwrap().value.platforms.values();
    let packages = packages.flat_map(|packages| &packages.value);
    packages.map(|found| found.package.to_string()).collect()
}

#[tokio::test]
async fn one_package_moves_with_what_it_drags_along_and_the_others_stay() {
    let before = vec![
        Package::new("hello", "1", "amd64").field("Depends", "greeting, other"),
        Package::new("greeting", "1", "all"),
        Package::new("other", "1", "amd64"),
    ];
    let lock_now = locked(&Mirror::of(&Repository::new("stable", before.clone()))).await;
    let mut after = before;
    after.extend([
        Package::new("hello", "2", "amd64").field("Depends", "greeting (>= 2), other"),
        Package::new("greeting", "2", "all"),
        Package::new("other", "2", "amd64"),
    ]);
    let mirror = Mirror::of(&Repository::new("stable", after.clone()));
    let update = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Update::Named(PinNames::of(&Spec::parse(SPEC).unwrap(), Some(&lock_now), &names).unwrap())
    };
    let moved = async |update, mirror: &Mirror| {
        let change = lock(&Project::new(), SPEC, Some(&lock_now), update, mirror).await;
        versions(&change.unwrap().lock)
    };
    let expected = ["greeting 2 all", "hello 2 amd64", "other 1 amd64"];
    assert_eq!(moved(update(&["hello"]), &mirror).await, expected);
    // One that nobody asked for by name can be named too.
    let expected = ["greeting 1 all", "hello 1 amd64", "other 2 amd64"];
    assert_eq!(moved(update(&["other"]), &mirror).await, expected);
    for all in [update(&["packages"]), Update::All] {
        let expected = ["greeting 2 all", "hello 2 amd64", "other 2 amd64"];
        assert_eq!(moved(all, &mirror).await, expected);
    }
    // What the archive no longer has cannot stay.
    after.retain(|package| package.value("Package") != "other" || package.value("Version") == "2");
    let mirror = Mirror::of(&Repository::new("stable", after));
    let expected = ["greeting 2 all", "hello 2 amd64", "other 2 amd64"];
    assert_eq!(moved(update(&["hello"]), &mirror).await, expected);
    let unknown = PinNames::of(
        &Spec::parse(SPEC).unwrap(),
        Some(&lock_now),
        &["nothing".to_owned()],
    );
    assert!(unknown.unwrap_err().known.contains(&"hello".to_owned()));
}

#[tokio::test]
async fn what_is_not_there_is_shown_in_the_spec() {
    let mirror = Mirror::of(&repository());
    let spec = SPEC.replace("\"hello\"", "\"helo\"");
    let error = lock(&Project::new(), &spec, None, Update::AddMissing, &mirror)
        .await
        .unwrap_err();
    let LockError::Spec { findings } = error else {
        panic!("{error}");
    };
    let text = render(&spec, &findings);
    assert!(
        text.contains("there is no package `helo`; near it are hello"),
        "{text}"
    );
    assert!(text.contains("at: \"helo\""), "{text}");
}

#[test]
fn mistakes_in_the_section_are_found_together() {
    let text = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[packages.debian]\nsuite = \"../x\"\nmirror = \"ftp://x\"\n\
        components = [\"a b\"]\ninstall = [\"A\", \"ok\", \"ok\"]\nsnapshot = \"yesterday\"\nrecommend = true\n";
    let shown = render(text, &Spec::parse(text).unwrap_err());
    for part in [
        "`../x` is not a suite",
        "`ftp://x` is not the address of an archive",
        "`a b` is not a component",
        "`A` is not a package",
        "asked for twice",
        "`yesterday` is neither a date such as",
        "recommend",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let head = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[packages.debian]\ninstall = [\"x\"]\n";
    let own = "suite = \"x\"\n";
    for (text, part) in [
        ("", "needs `suite`"),
        (
            "components = [\"main\"]\n[[packages.debian.source]]\nsuite = \"x\"\nmirror = \"file:/srv\"\n",
            "`components` needs a `suite`",
        ),
        (
            "suite = \"x\"\n[[packages.debian.source]]\nsuite = \"y\"\n",
            "the source needs `mirror`",
        ),
        (
            "suite = \"x\"\n[[packages.debian.source]]\nmirror = \"file:/srv\"\n",
            "`suite`",
        ),
        (
            "suite = \"x\"\n[[packages.debian.source]]\nsuite = \"y\"\nmirror = \"file:/srv\"\narchitectures = [\"all\"]\n",
            "is not an architecture of Debian's",
        ),
        (
            "suite = \"x\"\nsnapshot = \"https://snapshot.example.org/{snapshot}\"\n",
            "not {snapshot}",
        ),
        (
            "suite = \"x\"\nmirror = \"file:/srv\"\nsnapshot = 2026-06-01T00:00:00Z\n",
            "no effect",
        ),
    ] {
        let text = format!("{head}{text}");
        let shown = render(&text, &Spec::parse(&text).unwrap_err());
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    // A dated archive without a mirror is the mirror, of its date.
    let text = format!("{head}{own}snapshot = \"https://snapshot.example.org/debian/20260601T120000Z/\"\n");
    let archive = Spec::parse(&text).unwrap().packages.unwrap().own.unwrap();
    assert_eq!(
        archive.mirror.unwrap().value,
        "https://snapshot.example.org/debian/20260601T120000Z"
    );
    assert_eq!(
        archive.snapshot.unwrap().value.to_string(),
        "2026-06-01T12:00:00Z"
    );
    assert_eq!(archive.last_resort, None);
    let none = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[packages]\n";
    assert!(render(none, &Spec::parse(none).unwrap_err()).contains("[packages] needs [packages.debian]"));
}
