//! A layer whose files did not change is not read again, and nothing else of a build shows it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cairn_build::build::check::{Aspect, Change, ImageWhy, LayerWhy, PlatformCheck};
use cairn_build::{Built, BuiltLayer};
use cairn_store::Repository as _;

use crate::fixture::{BaseImage, Project, tag};

const SPEC: &str = r#"[image]
name = "site"
platforms = ["linux/amd64"]

[[layer]]
name = "static"
copy = [{ from = "static/", to = "/srv/" }]

[[layer]]
name = "app"
copy = [{ from = "dist/{arch}/hello", to = "/usr/bin/hello" }]
write = [{ to = "/etc/hello.conf", text = "port = 8080\n" }]
"#;

fn project() -> Project {
    let mut project = Project::hello();
    project.cache = Some(tempfile::tempdir().unwrap());
    for name in ["static/index.html", "static/css/a.css", "static/css/b.css"] {
        project.file(name, name, 0o644);
    }
    project
}

fn layers(built: &Built) -> &[BuiltLayer] {
    &built.platforms[0].layers
}

/// For each layer whether it was read.
fn read(built: &Built) -> Vec<bool> {
    layers(built).iter().map(|layer| layer.read).collect()
}

fn records(project: &Project) -> Vec<PathBuf> {
    let directory = project.cache.as_ref().unwrap().path().join("layers/records");
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn layers_that_did_not_change_are_not_read() {
    let project = project();
    let one = project.build(SPEC).await.unwrap();
    assert_eq!(read(&one), [true, true]);
    let two = project.build(SPEC).await.unwrap();
    assert_eq!(read(&two), [false, false]);
    assert_eq!(one.digest, two.digest);
    for (one, two) in layers(&one).iter().zip(layers(&two)) {
        let same = BuiltLayer {
            reused: true,
            read: false,
            ..one.clone()
        };
        assert_eq!(*two, same);
    }
    assert_eq!(
        (two.transferred.uploaded.blobs, two.transferred.reused.blobs),
        (0, 4)
    );
    project.file("static/index.html", "another page", 0o644);
    let three = project.build(SPEC).await.unwrap();
    assert_eq!(read(&three), [true, false]);
    assert_ne!(three.digest, one.digest);
}

#[tokio::test]
async fn a_touched_file_is_read_and_gives_the_same_digest() {
    let project = project();
    let one = project.build(SPEC).await.unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(project.path().join("static/index.html"))
        .unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
        .unwrap();
    let two = project.build(SPEC).await.unwrap();
    assert_eq!(read(&two), [true, false]);
    assert_eq!((one.digest, layers(&two)[0].reused), (two.digest, true));
    let three = project.build(SPEC).await.unwrap();
    assert_eq!(read(&three), [false, false]);
}

#[tokio::test]
async fn a_layer_that_the_output_lost_is_written_again() {
    let project = project();
    let one = project.build(SPEC).await.unwrap();
    let digest = layers(&one)[0].digest;
    let out = project.repository("out");
    out.delete_manifest(&one.digest).await.unwrap();
    assert!(out.delete_blob(&digest).await.unwrap());
    let two = project.build(SPEC).await.unwrap();
    assert_eq!((read(&two), two.digest), (vec![true, false], one.digest));
    assert_eq!(out.stat_blob(&digest).await.unwrap(), Some(layers(&one)[0].size));
}

/// Cold, warm, half deleted, broken: the image is the same.
#[tokio::test]
async fn a6_the_state_of_the_cache_does_not_show() {
    let mut project = project();
    let cold = project.build(SPEC).await.unwrap();
    assert_eq!(records(&project).len(), 2);
    std::fs::remove_file(&records(&project)[0]).unwrap();
    let half = project.build(SPEC).await.unwrap();
    assert_eq!(read(&half).iter().filter(|read| **read).count(), 1);
    for record in records(&project) {
        std::fs::write(record, "something else").unwrap();
    }
    let broken = project.build(SPEC).await.unwrap();
    assert_eq!(read(&broken), [true, true]);
    let warm = project.build(SPEC).await.unwrap();
    assert_eq!(read(&warm), [false, false]);
    project.cache = None;
    let without = project.build(SPEC).await.unwrap();
    for built in [half, broken, warm, without] {
        assert_eq!(built.digest, cold.digest);
        assert_eq!(built.platforms[0].manifest, cold.platforms[0].manifest);
    }
}

/// A record of one content must not be found for another: each swaps names with one of the same size and time.
#[tokio::test]
async fn files_that_swapped_their_names_are_read() {
    let project = project();
    let path = |name: &str| project.path().join("static/css").join(name);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for name in ["a.css", "b.css"] {
        let file = std::fs::File::options().write(true).open(path(name)).unwrap();
        file.set_modified(time).unwrap();
    }
    let one = project.build(SPEC).await.unwrap();
    std::fs::rename(path("a.css"), path("c")).unwrap();
    std::fs::rename(path("b.css"), path("a.css")).unwrap();
    std::fs::rename(path("c"), path("b.css")).unwrap();
    let two = project.build(SPEC).await.unwrap();
    assert_eq!(read(&two), [true, false]);
    assert_ne!(one.digest, two.digest);
}

/// For the layers `static` and `app`, and for the image, why they would be built again.
fn why(checks: &[PlatformCheck]) -> (&Option<LayerWhy>, &Option<LayerWhy>, &Option<ImageWhy>) {
    let [check] = checks else {
        panic!("{checks:?}");
    };
    let [first, second] = &check.layers[..] else {
        panic!("{check:?}");
    };
    (&first.why, &second.why, &check.image)
}

fn changes(changes: &[(&str, Change)]) -> Option<LayerWhy> {
    let parsed = changes
        .iter()
        .map(|(path, change)| (crate::fixture::path(path), change.clone()));
    Some(LayerWhy::Changes(parsed.collect()))
}

#[tokio::test]
async fn a_check_says_what_would_be_built_again_and_why() {
    let project = project();
    let (unknown, new) = (Some(LayerWhy::Unknown), Some(ImageWhy::New));
    assert_eq!(why(&project.check(SPEC, None).await), (&unknown, &unknown, &new));
    let built = project.build(SPEC).await.unwrap();
    let check = async |spec: &str| project.check(spec, Some(&built)).await;
    assert_eq!(why(&check(SPEC).await), (&None, &None, &None));

    let reconfigured = format!("{SPEC}[config]\nuser = \"7\"\n");
    let configuration = Some(ImageWhy::Configuration);
    assert_eq!(why(&check(&reconfigured).await), (&None, &None, &configuration));

    project.file("static/index.html", "longer than before", 0o644);
    project.file("static/new", "new", 0o644);
    std::fs::remove_file(project.path().join("static/css/b.css")).unwrap();
    let wanted = changes(&[
        ("srv/css/b.css", Change::Removed),
        ("srv/index.html", Change::Changed(vec![Aspect::Size(17, 18)])),
        ("srv/new", Change::Added),
    ]);
    let layers = Some(ImageWhy::Layers);
    assert_eq!(why(&check(SPEC).await), (&wanted, &None, &layers));

    let owned = SPEC.replace(
        "to = \"/usr/bin/hello\"",
        "to = \"/usr/bin/hello\", owner = \"5:5\", mode = \"0700\"",
    );
    let aspects = vec![Aspect::Mode(0o755, 0o700), Aspect::Owner((0, 0), (5, 5))];
    let wanted_app = changes(&[("usr/bin/hello", Change::Changed(aspects))]);
    assert_eq!(why(&check(&owned).await), (&wanted, &wanted_app, &layers));

    let dated = SPEC.replace(
        "[[layer]]\nname = \"static\"",
        "created = \"2020-01-01T00:00:00Z\"\n\n[[layer]]\nname = \"static\"",
    );
    let rules = Some(LayerWhy::Rules);
    assert_eq!(why(&check(&dated).await), (&rules, &rules, &layers));
}

#[tokio::test]
async fn a_check_writes_nothing() {
    let mut project = project();
    let cache = project.cache.as_ref().unwrap().path().to_owned();
    project.check(SPEC, None).await;
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);
    let built = project.build(SPEC).await.unwrap();
    let out = project.repository("out");
    out.delete_manifest(&built.digest).await.unwrap();
    let layer = layers(&built)[0].digest;
    assert!(out.delete_blob(&layer).await.unwrap());
    let missing = Some(LayerWhy::Missing);
    let found = project.check(SPEC, Some(&built)).await;
    assert_eq!(why(&found), (&missing, &None, &Some(ImageWhy::New)));
    assert_eq!(out.stat_blob(&layer).await.unwrap(), None);
    // Without a cache nothing is known.
    project.cache = None;
    let unknown = Some(LayerWhy::Unknown);
    let found = project.check(SPEC, Some(&built)).await;
    assert_eq!(why(&found), (&unknown, &unknown, &Some(ImageWhy::New)));
}

#[tokio::test]
async fn a_check_says_that_the_base_moved() {
    let mut project = project();
    let spec = SPEC.replace(
        "[[layer]]\nname = \"static\"",
        "[base]\nimage = \"debian:12\"\n\n[[layer]]\nname = \"static\"",
    );
    let debian = project.repository("debian");
    let mut image = BaseImage::debian("amd64");
    let first = image.write(&debian).await;
    tag(&debian, "12", &first).await;
    let built = project.build(&spec).await.unwrap();
    assert_eq!(
        why(&project.check(&spec, Some(&built)).await),
        (&None, &None, &None)
    );
    image.config.stop_signal = Some("SIGQUIT".to_owned());
    let second = image.write(&debian).await;
    tag(&debian, "12", &second).await;
    project.update = cairn_build::Update::All;
    let moved = Some(ImageWhy::Base {
        from: Some(first.digest.to_string()),
        to: Some(second.digest.to_string()),
    });
    assert_eq!(
        why(&project.check(&spec, Some(&built)).await),
        (&None, &None, &moved)
    );
}
