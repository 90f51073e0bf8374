//! Packages that were built before are not looked for, and nothing of the image shows it.

use std::path::PathBuf;

use cairn_build::{BuildError, Built, FetchError, Lock, Update};
use cairn_store::Repository as _;

use crate::fixture::Project;
use crate::packages::{Mirror, lock};
use crate::support::{Entry, Package, Repository};

const SPEC: &str = r#"[image]
name = "a"
platforms = ["linux/amd64"]
[packages.debian]
suite = "stable"
mirror = "https://mirror.example.org/debian"
install = ["hello"]
[[user]]
name = "app"
uid = 10001
[[layer]]
name = "app"
dir = [{ to = "/srv/data/app", owner = "app" }]
link = [{ from = "/opt/hello", to = "/usr/bin/hello" }]
[config]
entrypoint = ["/opt/hello"]
"#;

fn repository() -> Repository {
    let hello = Package::new("hello", "1.0-1", "amd64")
        .field("Depends", "greeting, odd")
        .entry("./usr/", Entry::Directory(0o755))
        .entry("./usr/bin/", Entry::Directory(0o755))
        .entry("./usr/bin/hello", Entry::File(0o644, b"hi\n".to_vec()))
        .entry("./usr/bin/hi", Entry::Hardlink("./usr/bin/hello"))
        .entry("./srv/", Entry::Directory(0o755))
        .entry("./srv/data/", Entry::Directory(0o2750));
    let greeting = Package::new("greeting", "1.2", "all")
        .file("./usr/share/greeting", "hello\n")
        .entry("./srv/greeting", Entry::Symlink("data"))
        .file("./usr/lib/sysusers.d/greeting.conf", "u greeter 200\n");
    let odd = Package::new("odd", "1", "amd64").control_file("postinst", "#!/bin/sh\nmystery --now\n");
    Repository::new("stable", vec![hello, greeting, odd])
}

/// A project that keeps records, a mirror, and the lock of what the mirror has.
async fn project(repository: &Repository) -> (Project, Mirror, Lock) {
    let mut project = Project::new();
    project.cache = Some(tempfile::tempdir().unwrap());
    let mirror = Mirror::of(repository);
    let lock = relock(&project, &mirror).await;
    (project, mirror, lock)
}

async fn relock(project: &Project, mirror: &Mirror) -> Lock {
    let change = lock(project, SPEC, None, Update::AddMissing, mirror).await;
    mirror.asked.lock().unwrap().clear();
    change.unwrap().lock
}

fn read(built: &Built) -> bool {
    let layers = built.platforms[0].layers.iter();
    let mut packages = layers.filter(|layer| layer.name.starts_with("debian:"));
    packages.any(|layer| layer.read)
}

fn records(project: &Project) -> Vec<PathBuf> {
    let directory = project.cache.as_ref().unwrap().path().join("layers/packages");
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A mirror that has nothing any more.
fn nothing() -> Mirror {
    Mirror::default()
}

#[tokio::test]
async fn packages_that_were_built_are_not_asked_for_again_and_the_image_and_its_warnings_are_the_same() {
    let (project, mirror, lock) = project(&repository()).await;
    let one = project.build_locked(SPEC, &lock, &mirror).await.unwrap();
    assert!(read(&one));
    assert_eq!(mirror.asked.lock().unwrap().len(), 3);
    let gone = nothing();
    let two = project.build_locked(SPEC, &lock, &gone).await.unwrap();
    assert!(gone.asked.lock().unwrap().is_empty() && !read(&two));
    assert_eq!((one.digest, &one.warnings), (two.digest, &two.warnings));
    let shown: Vec<_> = two.warnings.iter().map(ToString::to_string).collect();
    assert!(
        shown[0].contains("the package odd has scripts")
            && shown[1].contains("is not executable: its mode is 0644"),
        "{shown:?}"
    );
    for (one, two) in one.platforms[0].layers.iter().zip(&two.platforms[0].layers) {
        let same = cairn_build::BuiltLayer {
            reused: true,
            read: false,
            ..one.clone()
        };
        assert_eq!(*two, same);
    }
}

#[tokio::test]
async fn another_layer_of_the_spec_gets_from_known_packages_what_it_gets_from_read_ones() {
    let (project, mirror, lock) = project(&repository()).await;
    project.build_locked(SPEC, &lock, &mirror).await.unwrap();
    let other = SPEC.replace(
        "link = [",
        "write = [{ to = \"/srv/data/more/note\", text = \"x\", owner = \"greeter\" }]\nlink = [",
    );
    let gone = nothing();
    let known = project.build_locked(&other, &lock, &gone).await.unwrap();
    assert!(!read(&known) && gone.asked.lock().unwrap().is_empty());
    let fresh = Project::new();
    let read_again = fresh.build_locked(&other, &lock, &mirror).await.unwrap();
    assert_eq!(known.digest, read_again.digest);
    // A path below a link of a package is refused in both.
    let below = SPEC.replace("/srv/data/app", "/srv/greeting/app");
    for (project, mirror) in [(&project, &gone), (&fresh, &mirror)] {
        let error = project.build_locked(&below, &lock, mirror).await.unwrap_err();
        let BuildError::Spec { findings } = error else {
            panic!("{error}");
        };
        assert!(
            findings[0]
                .message
                .contains("is a symbolic link of a lower layer")
        );
    }
}

#[tokio::test]
async fn whatever_decides_the_layers_of_packages_makes_them_be_read_again() {
    let (project, mirror, lock) = project(&repository()).await;
    project.build_locked(SPEC, &lock, &mirror).await.unwrap();
    for other in [
        SPEC.replace("[packages", "compression = \"zstd\"\n[packages"),
        SPEC.replace("[packages", "created = \"2026-01-01T00:00:00Z\"\n[packages"),
    ] {
        let error = project.build_locked(&other, &lock, &nothing()).await.unwrap_err();
        assert!(
            matches!(
                error,
                BuildError::Conflict { .. }
                    | BuildError::Fetch {
                        source: FetchError::Missing { .. }
                    }
            ),
            "{error}"
        );
    }
    let mut newer = repository();
    newer.packages[1] = Package::new("greeting", "1.3", "all").file("./usr/share/greeting", "hey\n");
    let mirror = Mirror::of(&newer);
    let lock = relock(&project, &mirror).await;
    let built = project.build_locked(SPEC, &lock, &mirror).await.unwrap();
    assert_eq!(mirror.asked.lock().unwrap().len(), 3);
    let layers = built.platforms[0].layers.iter();
    let reused: Vec<_> = layers.map(|layer| (layer.name.as_str(), layer.reused)).collect();
    assert!(reused.contains(&("debian:hello", true)), "{reused:?}");
    assert!(reused.contains(&("debian:greeting", false)), "{reused:?}");
}

#[tokio::test]
async fn records_that_are_damaged_or_whose_layers_are_gone_are_not_used() {
    let (project, mirror, lock) = project(&repository()).await;
    let one = project.build_locked(SPEC, &lock, &mirror).await.unwrap();
    let [record] = &records(&project)[..] else {
        panic!("one record");
    };
    let bytes = std::fs::read(record).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        std::fs::write(record, if at % 2 == 0 { &bad[..] } else { &bytes[..at] }).unwrap();
        let error = project.build_locked(SPEC, &lock, &nothing()).await.unwrap_err();
        assert!(matches!(error, BuildError::Fetch { .. }), "byte {at}: {error}");
    }
    std::fs::write(record, &bytes).unwrap();
    let out = project.repository("out");
    out.delete_blob(&one.platforms[0].layers[1].digest).await.unwrap();
    let error = project.build_locked(SPEC, &lock, &nothing()).await.unwrap_err();
    assert!(matches!(error, BuildError::Fetch { .. }), "{error}");
    let again = project.build_locked(SPEC, &lock, &mirror).await.unwrap();
    assert_eq!(again.digest, one.digest);
}

#[tokio::test]
async fn missing_packages_are_named_together() {
    let (project, _, lock) = project(&repository()).await;
    let error = project.build_locked(SPEC, &lock, &nothing()).await.unwrap_err();
    let BuildError::Fetch {
        source: FetchError::Missing { missing },
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(missing.len(), 3);
}

#[tokio::test]
async fn an_image_is_as_old_as_the_archives_of_its_packages_and_stays_so_as_long_as_no_package_moves() {
    let project = Project::new();
    let lock_at = async |date: &str, version: &str, existing: Option<&Lock>| {
        let mut repository = repository();
        repository.date = date.to_owned();
        repository.packages[1] = Package::new("greeting", version, "all");
        let mirror = Mirror::of(&repository);
        let update = existing.map_or(Update::AddMissing, |_| Update::All);
        lock(&project, SPEC, existing, update, &mirror)
            .await
            .unwrap()
            .lock
    };
    let created = |lock: &Lock| lock.created.value.to_string();
    let first = lock_at("Sun, 31 May 2026 00:00:00 UTC", "1.2", None).await;
    assert_eq!(created(&first), "2026-05-31T00:00:00Z");
    let read = Lock::parse(&first.to_string()).unwrap();
    let same = lock_at("Mon, 01 Jun 2026 00:00:00 UTC", "1.2", Some(&read)).await;
    assert_eq!(created(&same), "2026-05-31T00:00:00Z");
    assert!(same.to_string().contains("date = \"2026-06-01T00:00:00Z\""));
    let moved = lock_at("Mon, 01 Jun 2026 00:00:00 UTC", "1.3", Some(&read)).await;
    assert_eq!(created(&moved), "2026-06-01T00:00:00Z");
}

#[tokio::test]
async fn an_image_without_a_base_has_users_and_a_tmp_unless_it_refuses() {
    let mut with = repository();
    with.packages.push(
        Package::new("base-files", "12", "amd64")
            .field("Pre-Depends", "awk")
            .entry("./tmp/", Entry::Directory(0o1777)),
    );
    with.packages.push(
        Package::new("base-passwd", "3", "amd64")
            .file(
                "./usr/share/base-passwd/passwd.master",
                "root:*:0:0:root:/root:/bin/bash\n",
            )
            .file("./usr/share/base-passwd/group.master", "root:*:0:\n"),
    );
    let mirror = Mirror::of(&with);
    let project = Project::new();
    let relocked = async |spec: &str| {
        let change = lock(&project, spec, None, Update::AddMissing, &mirror).await;
        Lock::parse(&change.unwrap().lock.to_string()).unwrap()
    };
    let plain = relocked(SPEC).await;
    let text = plain.to_string();
    assert_eq!(text.matches("for = \"essential\"").count(), 2, "{text}");
    assert!(!text.contains("essential = false"));
    let built = project.build_locked(SPEC, &plain, &mirror).await.unwrap();
    let mut all = String::new();
    for number in 0..built.platforms[0].layers.len() {
        all.push_str(&project.listing(&built, number).await);
    }
    assert!(all.contains("/tmp") && all.contains("/etc/passwd"), "{all}");
    let refusing = SPEC.replace("install =", "essential = false\ninstall =");
    let text = relocked(&refusing).await.to_string();
    assert!(
        text.contains("essential = false") && !text.contains("base-files"),
        "{text}"
    );
    let error = project
        .build_locked(&refusing, &plain, &mirror)
        .await
        .unwrap_err();
    assert!(matches!(error, BuildError::Conflict { .. }), "{error}");
}
