//! Images upon a base in an archive.

#![expect(
    clippy::disallowed_methods,
    reason = "moves and damages files as users and disks do"
)]

use std::path::Path;
use std::sync::Arc;

use cairn_build::{Lock, LockError, RepositoryInputs, Update};
use cairn_store::archive::{Format, pack};
use cairn_store::{Memory, Repository, Target};

use crate::fixture::{BaseImage, Project, render, write_index};

const SPEC: &str = r#"[image]
name = "hello"
platforms = ["linux/amd64", "linux/arm64"]

[base]
archive = "BASE"

[[layer]]
name = "app"
copy = [{ from = "dist/amd64/hello", to = "/usr/bin/hello" }]
"#;

fn spec(base: &str) -> String {
    SPEC.replace("BASE", base)
}

fn repository() -> Arc<dyn Repository> {
    Arc::new(Memory::new().open(&"debian".parse().unwrap()))
}

async fn write(from: &Arc<dyn Repository>, target: Target, format: Format, name: &str, to: &Path) {
    let manifest = from.read_manifest(&target).await.unwrap().unwrap();
    let package = pack(Arc::clone(from), &manifest, format, &name.parse().unwrap())
        .await
        .unwrap();
    package.write(to).await.unwrap();
}

/// An archive of one image, called `debian:12`, as `docker save` makes it.
pub(crate) async fn write_image(image: &BaseImage, path: &Path) {
    let from = repository();
    let manifest = image.write(&*from).await;
    let target = Target::Digest(manifest.digest);
    write(&from, target, Format::Docker, "debian:12", path).await;
}

/// Archives of one image for each platform, as `docker save` makes them.
async fn write_each(project: &Project) {
    for architecture in ["amd64", "arm64"] {
        let path = project.path().join(format!("base-{architecture}.tar"));
        write_image(&BaseImage::debian(architecture), &path).await;
    }
}

async fn build(project: &Project, spec: &str) -> cairn_build::Built {
    let lock = project.lock(spec, None).await.unwrap().lock;
    let lock = Lock::parse(&lock.to_string()).unwrap();
    let built = project
        .build_locked(spec, &lock, &RepositoryInputs::default())
        .await;
    built.unwrap()
}

#[tokio::test]
async fn an_archive_for_each_platform_is_a_base_without_any_source() {
    let project = Project::hello();
    write_each(&project).await;
    let mut digests = Vec::new();
    for base in [
        "base-{arch}.tar",
        "base-{arch}.tar:12",
        "base-{arch}.tar:localhost/debian:12",
    ] {
        let built = build(&project, &spec(base)).await;
        assert_eq!(built.platforms.len(), 2);
        assert!(built.platforms.iter().all(|image| image.base_layers == 1));
        digests.push(built.digest);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[tokio::test]
async fn one_archive_may_hold_every_platform() {
    let project = Project::hello();
    let from = repository();
    let index = write_index(
        &*from,
        "12",
        &[BaseImage::debian("amd64"), BaseImage::debian("arm64")],
    )
    .await;
    // The entry of an attestation leads nowhere here.
    let document = from.read_manifest(&index.digest.into()).await.unwrap().unwrap();
    let mut manifests = document.document().unwrap().manifests().to_vec();
    manifests.pop();
    let index = cairn_oci::json::canonical(&cairn_oci::Index::images(manifests));
    let index = crate::fixture::write_manifest(&*from, cairn_oci::media_type::INDEX, index).await;
    let path = project.path().join("base.tar");
    write(&from, index.digest.into(), Format::Oci, "debian:12", &path).await;
    write_each(&project).await;
    assert_eq!(
        build(&project, &spec("base.tar")).await.digest,
        build(&project, &spec("base-{arch}.tar")).await.digest
    );
}

#[tokio::test]
async fn the_lock_pins_what_the_archive_holds() {
    let project = Project::hello();
    write_each(&project).await;
    let spec = spec("base-{arch}.tar");
    let lock = project.lock(&spec, None).await.unwrap().lock;
    let text = lock.to_string();
    assert!(text.contains("archive = \"base-{arch}.tar\"\n"), "{text}");
    assert_eq!(Lock::parse(&text).unwrap().to_string(), text);

    // Another image under the same name: the pinned layers are not in it.
    let from = repository();
    let mut other = BaseImage::debian("amd64");
    other.trees.push(cairn_layer::Tree::new());
    other.history.clear();
    other.trees.remove(0);
    let image = other.write(&*from).await;
    let path = project.path().join("base-amd64.tar");
    write(&from, image.digest.into(), Format::Docker, "debian:12", &path).await;
    let error = project
        .build_locked(&spec, &lock, &RepositoryInputs::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("base-{arch}.tar does not have sha256:"),
        "{error}"
    );
    let findings = lock.check(&cairn_build::Spec::parse(&spec.replace("{arch}", "amd64")).unwrap());
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_archive_is_said_at_the_spec() {
    let project = Project::hello();
    write_each(&project).await;
    std::fs::write(project.path().join("text.tar"), "no archive").unwrap();
    let mut said = String::new();
    for base in [
        "nothing.tar",
        "text.tar",
        "base-amd64.tar:13",
        "base-amd64.tar",
        "",
        "{os",
    ] {
        let spec = spec(base);
        let findings = match cairn_build::Spec::parse(&spec) {
            Err(findings) => findings,
            Ok(_) => match project.lock(&spec, None).await.unwrap_err() {
                LockError::Spec { findings } => findings,
                error => panic!("{base}: {error:?}"),
            },
        };
        said.push_str(&render(&spec, &findings));
    }
    let directory = project.path().display().to_string();
    insta::assert_snapshot!(said.replace(&directory, "DIR"));
}

#[tokio::test]
async fn cairn_lock_notices_an_archive_that_was_replaced() {
    let mut project = Project::hello();
    write_each(&project).await;
    let spec = spec("base-{arch}.tar");
    let lock = project.lock(&spec, None).await.unwrap().lock;
    project.update = Update::Reconcile;
    assert_eq!(project.lock(&spec, Some(&lock)).await.unwrap().changes, []);
    let mut other = BaseImage::debian("amd64");
    other.created = Some("2026-04-01T00:00:00Z".to_owned());
    write_image(&other, &project.path().join("base-amd64.tar")).await;
    project.update = Update::AddMissing;
    assert_eq!(project.lock(&spec, Some(&lock)).await.unwrap().lock, lock);
    project.update = Update::Reconcile;
    let change = project.lock(&spec, Some(&lock)).await.unwrap();
    let subjects: Vec<_> = change.changes.iter().map(|pin| pin.subject.as_str()).collect();
    assert_eq!(subjects, ["created", "the base base-{arch}.tar for linux/amd64"]);
    assert_eq!(change.lock.created.value.to_string(), "2026-04-01T00:00:00Z");
    let inputs = RepositoryInputs::default();
    project.build_locked(&spec, &change.lock, &inputs).await.unwrap();
}
