//! What locking adds, keeps and moves.

use cairn_build::{Lock, LockChange, LockError, PinNames, Spec, Update};

use crate::fixture::{BaseImage, Project, render, tag, write_index};

const SPEC: &str = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[base]\nimage = \"debian:12\"\n";

async fn with_index() -> Project {
    let project = Project::new();
    let images = [BaseImage::debian("amd64"), BaseImage::debian("arm64")];
    write_index(&project.repository("debian"), "12", &images).await;
    project
}

/// The tag moves to another image.
async fn move_tag(project: &Project) {
    let repository = project.repository("debian");
    let mut image = BaseImage::debian("amd64");
    image.created = Some("2026-04-01T00:00:00Z".to_owned());
    let manifest = image.write(&repository).await;
    tag(&repository, "12", &manifest).await;
}

fn subjects(change: &LockChange) -> Vec<String> {
    let shown = |there: bool| if there { "x" } else { "-" };
    let line = |change: &cairn_build::PinChange| {
        format!(
            "{} {} {}",
            shown(change.before.is_some()),
            shown(change.after.is_some()),
            change.subject
        )
    };
    change.changes.iter().map(line).collect()
}

#[tokio::test]
async fn the_index_and_the_manifest_of_each_platform_are_pinned() {
    let project = with_index().await;
    let change = project.lock(SPEC, None).await.unwrap();
    assert_eq!(
        subjects(&change),
        [
            "- x created",
            "- x the base debian:12",
            "- x the base debian:12 for linux/amd64"
        ]
    );
    let base = change.lock.base.unwrap();
    let manifest = base.platforms.values().next().unwrap().value.origin.digest();
    let pinned = change
        .changes
        .iter()
        .map(|change| change.after.clone().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(pinned[0], "2026-03-01T10:20:30Z");
    assert_eq!(pinned[2], manifest.to_string());
    assert_ne!(pinned[1], pinned[2]);
}

#[tokio::test]
async fn a5_a_pin_does_not_move_with_its_tag() {
    let mut project = with_index().await;
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    move_tag(&project).await;
    let again = project.lock(SPEC, Some(&lock)).await.unwrap();
    assert_eq!((again.lock, again.changes), (lock.clone(), Vec::new()));
    project.update = Update::Reconcile;
    assert_eq!(project.lock(SPEC, Some(&lock)).await.unwrap().lock, lock);
    project.update = Update::All;
    let moved = project.lock(SPEC, Some(&lock)).await.unwrap();
    assert_eq!(
        subjects(&moved),
        [
            "x x created",
            "x x the base debian:12",
            "x x the base debian:12 for linux/amd64"
        ]
    );
    assert_eq!(moved.changes[0].after.as_deref(), Some("2026-04-01T00:00:00Z"));
}

#[tokio::test]
async fn a_new_platform_is_taken_from_the_pinned_index() {
    let project = with_index().await;
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    move_tag(&project).await;
    let both = SPEC.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    let change = project.lock(&both, Some(&lock)).await.unwrap();
    assert_eq!(subjects(&change), ["- x the base debian:12 for linux/arm64"]);
}

#[tokio::test]
async fn conflicts_are_refused_by_a_build_and_resolved_by_cairn_lock() {
    let mut project = with_index().await;
    tag_13(&project).await;
    let text = project.lock(SPEC, None).await.unwrap().lock.to_string();
    let lock = Lock::parse(&text).unwrap();
    let other = SPEC.replace("debian:12", "debian:13");
    match project.lock(&other, Some(&lock)).await {
        Err(LockError::Conflict { findings }) => {
            assert_eq!(
                render(&text, &findings),
                "6:9 the lock pins the base `debian:12`, the spec has `debian:13`\n    at: \"debian:12\"\n    hint: `cairn lock` makes the lock fit the spec\n"
            );
        }
        other => panic!("{other:?}"),
    }
    project.update = Update::Reconcile;
    let change = project.lock(&other, Some(&lock)).await.unwrap();
    assert_eq!(
        subjects(&change),
        [
            "x - the base debian:12",
            "x - the base debian:12 for linux/amd64",
            "- x the base debian:13",
            "- x the base debian:13 for linux/amd64"
        ]
    );
}

async fn tag_13(project: &Project) {
    let repository = project.repository("debian");
    let manifest = BaseImage::debian("amd64").write(&repository).await;
    tag(&repository, "13", &manifest).await;
}

#[tokio::test]
async fn c18_a_platform_that_the_base_lacks_is_refused_with_those_it_has() {
    let project = with_index().await;
    for tag in ["12", "13"] {
        tag_13(&project).await;
        let spec = SPEC
            .replace("amd64", "s390x")
            .replace("debian:12", &format!("debian:{tag}"));
        match project.lock(&spec, None).await {
            Err(LockError::Spec { findings }) => {
                let has = if tag == "12" {
                    "linux/amd64, linux/arm64"
                } else {
                    "linux/amd64"
                };
                let wanted = format!(
                    "5:9 the base `debian:{tag}` has no image for linux/s390x\n    at: \"debian:{tag}\"\n    label: it has: {has}\n"
                );
                assert_eq!(render(&spec, &findings), wanted);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_base_that_is_not_there_is_a_finding() {
    let project = Project::new();
    match project.lock(SPEC, None).await {
        Err(LockError::Spec { findings }) => assert_eq!(
            render(SPEC, &findings),
            "5:9 the base `debian:12` is not there: debian has no tag 12\n    at: \"debian:12\"\n    hint: without a host \
             it is an image of the local store; one in a registry is registry.example.org/debian:12\n"
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_date_comes_from_the_spec_or_outside_or_the_base() {
    let mut project = with_index().await;
    let created = |change: LockChange| change.lock.created.value.to_string();
    assert_eq!(
        created(project.lock(SPEC, None).await.unwrap()),
        "2026-03-01T10:20:30Z"
    );
    project.dates.source_date_epoch = Some(1_700_000_000);
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    assert_eq!(lock.created.value.to_string(), "2023-11-14T22:13:20Z");
    project.dates.source_date_epoch = Some(1_800_000_000);
    assert_eq!(project.lock(SPEC, Some(&lock)).await.unwrap().lock, lock);
    let dated = SPEC.replace("[base]", "created = \"2026-01-31T12:00:00Z\"\n[base]");
    assert_eq!(
        created(project.lock(&dated, None).await.unwrap()),
        "2026-01-31T12:00:00Z"
    );
}

#[tokio::test]
async fn dates_of_the_year_one_mean_nothing() {
    let project = Project::new();
    let repository = project.repository("debian");
    for date in [
        None,
        Some("0001-01-01T00:00:00Z"),
        Some("1970-01-01T00:00:00Z"),
        Some("soon"),
    ] {
        let mut image = BaseImage::debian("amd64");
        image.created = date.map(str::to_owned);
        let manifest = image.write(&repository).await;
        tag(&repository, "12", &manifest).await;
        let lock = project.lock(SPEC, None).await.unwrap().lock;
        assert_eq!(lock.created.value.to_string(), "1970-01-01T00:00:01Z", "{date:?}");
    }
}

fn named(spec: &str, names: &[&str]) -> Update {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    Update::Named(PinNames::of(&Spec::parse(spec).unwrap(), None, &names).unwrap())
}

#[tokio::test]
async fn only_the_pins_move_that_are_named() {
    let mut project = with_index().await;
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    move_tag(&project).await;
    project.update = named(SPEC, &["created"]);
    assert_eq!(project.lock(SPEC, Some(&lock)).await.unwrap().changes, []);
    for name in ["base", "debian:12"] {
        project.update = named(SPEC, &[name]);
        let moved = project.lock(SPEC, Some(&lock)).await.unwrap();
        assert_eq!(
            subjects(&moved),
            ["x x the base debian:12", "x x the base debian:12 for linux/amd64"]
        );
        project.update = named(SPEC, &["created"]);
        let dated = project.lock(SPEC, Some(&moved.lock)).await.unwrap();
        assert_eq!(subjects(&dated), ["x x created"]);
        assert_eq!(dated.changes[0].after.as_deref(), Some("2026-04-01T00:00:00Z"));
    }
}

#[test]
fn a_name_that_is_no_pin_is_refused_with_those_there_are() {
    let sum = "0".repeat(64);
    let spec = format!(
        "{SPEC}[[layer]]\nname = \"app\"\nsplit = \"auto\"\n\
         fetch = [{{ url = \"https://example.org/a.tar\", sha256 = \"{sum}\", to = \"/a\" }}]\n"
    );
    let spec = Spec::parse(&spec).unwrap();
    for name in ["https://example.org/a", "debian", "", "App"] {
        let error = PinNames::of(&spec, None, &["app".to_owned(), name.to_owned()]).unwrap_err();
        assert_eq!(error.name, name);
        let known = [
            "created",
            "base",
            "debian:12",
            "fetch",
            "https://example.org/a.tar",
            "app",
        ];
        assert_eq!(error.known, known);
        for name in known {
            assert!(PinNames::of(&spec, None, &[name.to_owned()]).is_ok(), "{name}");
        }
    }
    let scratch = Spec::parse(&SPEC.replace("[base]\nimage = \"debian:12\"\n", "")).unwrap();
    for name in ["base", "fetch"] {
        let error = PinNames::of(&scratch, None, &[name.to_owned()]).unwrap_err();
        assert_eq!(error.known, ["created"]);
    }
}

#[tokio::test]
async fn created_moves_back_when_the_spec_has_no_date_any_more() {
    let mut project = with_index().await;
    let dated = SPEC.replace("[base]", "created = \"2020-01-31T12:00:00Z\"\n[base]");
    let text = project.lock(&dated, None).await.unwrap().lock.to_string();
    assert!(text.contains("created-from = \"spec\"\n"), "{text}");
    let lock = Lock::parse(&text).unwrap();
    match project.lock(SPEC, Some(&lock)).await {
        Err(LockError::Conflict { findings }) => assert_eq!(findings.len(), 1),
        other => panic!("{other:?}"),
    }
    // The date is that of the image that is pinned, not of the one that the tag shows now.
    move_tag(&project).await;
    project.update = Update::Reconcile;
    let change = project.lock(SPEC, Some(&lock)).await.unwrap();
    assert_eq!(change.lock.created.value.to_string(), "2026-03-01T10:20:30Z");
    assert_eq!(subjects(&change), ["x x created", "x - what created comes from"]);
    let both = project.lock(&dated, Some(&change.lock)).await.unwrap();
    assert_eq!(both.lock, lock);

    // A lock from before the key is complete for a build, and gets the key from `cairn lock`.
    let old = Lock::parse(&text.replace("created-from = \"spec\"\n", "")).unwrap();
    project.update = Update::AddMissing;
    assert_eq!(project.lock(&dated, Some(&old)).await.unwrap().lock, old);
    project.update = Update::Reconcile;
    assert_eq!(project.lock(&dated, Some(&old)).await.unwrap().lock, lock);
}
