//! Layers that are cut into parts.

use cairn_build::{BuildError, Built, Lock, LockError, Update};

use crate::fixture::{BaseImage, Project, render, tag};

const SPEC: &str = r#"[image]
name = "a"
platforms = ["linux/amd64"]

[[layer]]
name = "modules"
split = "auto"
copy = [{ from = "modules/", to = "/srv/modules/" }]

[[layer]]
name = "app"
write = [{ to = "/srv/app", text = "app" }]
"#;

/// 30 modules of ten files, 200 KB each.
fn modules() -> Project {
    let project = Project::new();
    for module in 0..30 {
        for file in 0..10 {
            let line = format!("the {file} of {module}\n");
            let path = format!("modules/m{module:02}/f{file}");
            project.file(&path, &line.repeat(20_000 / line.len()), 0o644);
        }
    }
    project
}

async fn lock(project: &Project) -> Lock {
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    assert_eq!(Lock::parse(&lock.to_string()).unwrap(), lock);
    lock
}

async fn built(project: &Project, lock: &Lock) -> Built {
    project.build_locked(SPEC, lock, &project.inputs()).await.unwrap()
}

fn changed(before: &Built, after: &Built) -> usize {
    let (before, after) = (&before.platforms[0].layers, &after.platforms[0].layers);
    assert_eq!(before.len(), after.len());
    before
        .iter()
        .zip(after)
        .filter(|(before, after)| before.digest != after.digest)
        .count()
}

#[tokio::test]
async fn a_small_change_moves_one_part() {
    let project = modules();
    let lock = lock(&project).await;
    let before = built(&project, &lock).await;
    assert!(
        before.platforms[0].layers.len() > 4,
        "{:?}",
        before.platforms[0].layers
    );
    project.file("modules/m17/f3", "changed", 0o644);
    assert_eq!(changed(&before, &built(&project, &lock).await), 1);
    project.file("modules/m17/f33", "new", 0o644);
    std::fs::remove_file(project.path().join("modules/m03/f0")).unwrap();
    assert_eq!(changed(&before, &built(&project, &lock).await), 2);
}

#[tokio::test]
async fn the_borders_stay_until_they_are_asked_to_move() {
    let mut project = modules();
    let first = lock(&project).await;
    for file in 0..400 {
        project.file(&format!("modules/m29/g{file}"), &"x".repeat(20_000), 0o644);
    }
    for update in [Update::AddMissing, Update::Reconcile] {
        project.update = update.clone();
        let again = project.lock(SPEC, Some(&first)).await.unwrap();
        assert_eq!((&again.lock, &again.changes[..]), (&first, &[][..]), "{update:?}");
    }
    project.update = Update::All;
    let moved = project.lock(SPEC, Some(&first)).await.unwrap();
    assert_ne!(moved.lock.splits, first.splits);
    let [change] = &moved.changes[..] else {
        panic!("{:?}", moved.changes);
    };
    assert_eq!(change.subject, "the borders of the layer modules");
}

#[tokio::test]
async fn the_lock_says_where_each_part_begins() {
    let project = Project::new();
    for name in ["a/one", "a/two", "b/one", "b/two", "c/one"] {
        project.file(&format!("modules/{name}"), &"x".repeat(600_000), 0o644);
    }
    insta::assert_snapshot!(lock(&project).await.to_string());
}

#[tokio::test]
async fn history_names_the_parts_and_each_layer_has_an_entry() {
    let project = modules();
    let lock = lock(&project).await;
    let image = built(&project, &lock).await;
    let (manifest, config) = project.image(&image).await;
    let by: Vec<_> = config
        .history
        .iter()
        .filter_map(|entry| entry.created_by.as_deref())
        .collect();
    let parts = manifest.layers.len() - 1;
    assert_eq!(by.len(), manifest.layers.len());
    assert_eq!(by[0], format!("cairn: layer modules 1/{parts}"));
    assert_eq!(by[parts], "cairn: layer app");
}

#[tokio::test]
async fn missing_surplus_and_disordered_borders_are_refused() {
    let project = modules();
    let lock = lock(&project).await;
    let text = lock.to_string();
    let bare = Lock::parse(text.split("\n[[split]]").next().unwrap()).unwrap();
    match project.build_locked(SPEC, &bare, &project.inputs()).await {
        Err(BuildError::Unlocked { missing }) => assert_eq!(missing, ["the borders of the layer modules"]),
        other => panic!("{other:?}"),
    }
    let whole = SPEC.replace("split = \"auto\"\n", "");
    let findings = match project.build_locked(&whole, &lock, &project.inputs()).await {
        Err(BuildError::Conflict { findings }) => findings,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        findings[0].message,
        "the lock pins borders of the layer `modules`, which the spec does not split"
    );
    let lines: Vec<_> = text.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("borders")).unwrap() + 1;
    let swapped = text.replacen(
        &format!("{}\n{}\n", lines[first], lines[first + 1]),
        &format!("{}\n{}\n", lines[first + 1], lines[first]),
        1,
    );
    let findings = Lock::parse(&swapped).unwrap_err();
    assert!(render(&swapped, &findings).contains("borders stand in the order of their paths"));
    let twice = format!("{text}\n[[split]]\nlayer = \"modules\"\nborders = []\n");
    assert!(render(&twice, &Lock::parse(&twice).unwrap_err()).contains("the layer is pinned twice"));
}

#[tokio::test]
async fn an_image_never_has_more_than_a_hundred_layers() {
    let project = Project::new();
    let base = BaseImage::debian("amd64");
    let repository = project.repository("debian");
    tag(&repository, "12", &base.write(&repository).await).await;
    for file in 0..80 {
        project.file(&format!("modules/{file:02}"), &"x".repeat(1_500_000), 0o644);
    }
    let mut spec = format!("{SPEC}\n[base]\nimage = \"debian:12\"\n");
    for layer in 0..60 {
        spec.push_str(&format!("[[layer]]\nname = \"l{layer}\"\n"));
    }
    let lock = project.lock(&spec, None).await.unwrap().lock;
    let built = project
        .build_locked(&spec, &lock, &project.inputs())
        .await
        .unwrap();
    let layers = project.image(&built).await.0.layers.len();
    assert!((80..=100).contains(&layers), "{layers} layers");

    for layer in 60..98 {
        spec.push_str(&format!("[[layer]]\nname = \"l{layer}\"\n"));
    }
    match project.build_locked(&spec, &lock, &project.inputs()).await {
        Err(BuildError::Spec { findings }) => insta::assert_snapshot!(render(&spec, &findings)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_planned_cannot_be_locked_either() {
    let project = Project::new();
    match project.lock(SPEC, None).await {
        Err(LockError::Spec { findings }) => {
            assert!(render(SPEC, &findings).contains("modules/, which does not exist"));
        }
        other => panic!("{other:?}"),
    }
    let wrong = SPEC.replace("\"auto\"", "\"size\"");
    let findings = cairn_build::Spec::parse(&wrong).unwrap_err();
    assert!(render(&wrong, &findings).contains("a layer cannot be split by `size`"));
}
