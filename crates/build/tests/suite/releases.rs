//! Layers taken over from releases: the same image, without compressing them.

use cairn_build::build_record::RecordedLayer;
use cairn_build::{BuildRecord, Built, BuiltLayer, Lock, RecordedSpec, ReleasedLayer};
use cairn_oci::Digest;
use cairn_store::{Repository as _, from_bytes};

use crate::fixture::{Project, Released};

const SPEC: &str = r#"[image]
name = "site"
platforms = ["linux/amd64", "linux/arm64"]

[[user]]
name = "app"
uid = 10001

[[layer]]
name = "static"
split = "auto"
copy = [{ from = "static/", to = "/srv/" }]

[[layer]]
name = "app"
compression = "zstd"
copy = [{ from = "dist/{arch}/hello", to = "/usr/bin/hello", owner = "app" }]
link = [{ from = "/usr/bin/hi", to = "/usr/bin/hello" }]
remove = ["/etc/motd"]

[[layer]]
name = "conf"
compression = "none"
write = [{ to = "/etc/hello.conf", text = "port = 8080\n" }]
"#;

fn project() -> Project {
    let project = Project::hello();
    for number in 0..12 {
        let line = format!("line of {number}\n");
        project.file(
            &format!("static/{number:02}"),
            &line.repeat(300_000 / line.len()),
            0o644,
        );
    }
    project
}

async fn lock(project: &Project) -> Lock {
    project.lock(SPEC, None).await.unwrap().lock
}

async fn built(project: &Project, lock: &Lock) -> Built {
    project.build_locked(SPEC, lock, &project.inputs()).await.unwrap()
}

fn record(built: &Built, lock: &Lock) -> BuildRecord {
    let spec = RecordedSpec {
        digest: Digest::of(SPEC.as_bytes()),
        workspace: None,
    };
    BuildRecord::of(built, spec, lock)
}

/// What a reader of the record believes.
fn released(record: &BuildRecord) -> Released {
    let read = BuildRecord::parse(&record.to_bytes()).unwrap();
    let layers = read.layers().map(|layer| ReleasedLayer {
        version: "1.4.2".to_owned(),
        layer: layer.clone(),
    });
    Released(layers.collect())
}

fn layers(built: &Built) -> impl Iterator<Item = &BuiltLayer> {
    built.platforms.iter().flat_map(|image| &image.layers)
}

/// How many layers were taken over.
fn taken(built: &Built) -> usize {
    layers(built).filter(|layer| layer.release.is_some()).count()
}

/// A machine with nothing but the files, and an output that has what `other` has of the layers.
async fn elsewhere(other: &Built, from: &Project, has: impl Fn(&BuiltLayer) -> bool) -> Project {
    let project = project();
    for layer in layers(other).filter(|layer| has(layer)) {
        let blob = from.repository("out").read_blob(&layer.digest, None).await;
        let blob = blob.unwrap().unwrap();
        let bytes = cairn_store::collect(blob.content, 1 << 24).await.unwrap();
        let out = project.repository("out");
        out.write_blob(&layer.digest, layer.size, from_bytes(bytes))
            .await
            .unwrap();
    }
    project
}

#[tokio::test]
async fn the_same_image_with_and_without_what_releases_have() {
    let first = project();
    let lock = lock(&first).await;
    let cold = built(&first, &lock).await;
    let known = released(&record(&cold, &lock));
    let all = layers(&cold).count();
    assert!(layers(&cold).filter(|layer| layer.part.is_some()).count() >= 4);
    // All, some, and none of the layers are where the image goes.
    for kept in [all, all / 2, 0] {
        let digests: Vec<Digest> = layers(&cold).map(|layer| layer.digest).take(kept).collect();
        let mut project = elsewhere(&cold, &first, |layer| digests.contains(&layer.digest)).await;
        project.releases = Some(known.clone());
        let again = built(&project, &lock).await;
        assert_eq!(again.digest, cold.digest, "{kept} layers kept");
        let here = layers(&cold)
            .filter(|layer| digests.contains(&layer.digest))
            .count();
        // What the first platform has made is there for the second.
        assert!(taken(&again) >= here, "{} of {here} taken over", taken(&again));
        assert_eq!(taken(&again) == all, kept == all);
        for (one, two) in layers(&cold).zip(layers(&again)) {
            let same = BuiltLayer {
                reused: two.reused,
                release: two.release.clone(),
                ..one.clone()
            };
            assert_eq!(*two, same);
        }
    }
}

#[tokio::test]
async fn a_changed_file_is_built_also_if_its_size_is_the_same() {
    let first = project();
    let lock = lock(&first).await;
    let cold = built(&first, &lock).await;
    let mut project = elsewhere(&cold, &first, |_| true).await;
    project.releases = Some(released(&record(&cold, &lock)));
    project.file("dist/amd64/hello", "the program for AMD64\n", 0o755);
    let changed = built(&project, &lock).await;
    assert_ne!(changed.digest, cold.digest);
    assert_eq!(taken(&changed), layers(&cold).count() - 1);
    project.releases = None;
    assert_eq!(built(&project, &lock).await.digest, changed.digest);
}

/// A record that does not fit to the files names layers in vain, whatever it says.
#[tokio::test]
async fn nothing_is_believed_of_what_the_files_are() {
    let first = project();
    let lock = lock(&first).await;
    let cold = built(&first, &lock).await;
    let wrong: [fn(&mut RecordedLayer); 5] = [
        |layer| layer.input = Digest::of(b"input"),
        |layer| layer.diff_id = Digest::of(b"diff_id"),
        |layer| layer.uncompressed += 512,
        |layer| layer.size += 1,
        |layer| layer.media_type = "application/octet-stream".to_owned(),
    ];
    for change in wrong {
        let mut project = elsewhere(&cold, &first, |_| true).await;
        let mut known = released(&record(&cold, &lock));
        known
            .0
            .iter_mut()
            .for_each(|released| change(&mut released.layer));
        project.releases = Some(known);
        let again = built(&project, &lock).await;
        assert_eq!((again.digest, taken(&again)), (cold.digest, 0));
    }
}

#[tokio::test]
async fn what_was_taken_over_is_known_to_the_next_build() {
    let first = project();
    let lock = lock(&first).await;
    let cold = built(&first, &lock).await;
    let mut project = elsewhere(&cold, &first, |_| true).await;
    project.cache = Some(tempfile::tempdir().unwrap());
    project.releases = Some(released(&record(&cold, &lock)));
    let once = built(&project, &lock).await;
    // The layers of the second platform that are those of the first are known by then.
    assert!(taken(&once) >= layers(&cold).count() / 2);
    assert!(layers(&once).all(|layer| layer.reused));
    project.releases = None;
    let again = built(&project, &lock).await;
    assert!(layers(&again).all(|layer| !layer.read && layer.reused));
    assert_eq!(again.digest, cold.digest);
    assert_eq!(record(&again, &lock), record(&cold, &lock));
}

#[tokio::test]
async fn a_record_says_what_an_image_was_made_of() {
    let project = project();
    let lock = lock(&project).await;
    let built = built(&project, &lock).await;
    let record = record(&built, &lock);
    assert_eq!(record.output, 1);
    assert_eq!(Lock::parse(&record.lock).unwrap(), lock);
    let platforms: Vec<_> = record
        .platforms
        .iter()
        .map(|image| image.platform.as_str())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    for (built, recorded) in layers(&built).zip(record.layers()) {
        assert_eq!((built.digest, built.size), (recorded.digest, recorded.size));
    }
}
