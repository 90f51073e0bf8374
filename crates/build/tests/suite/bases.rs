//! Images upon a base.

use std::io::Read as _;
use std::sync::Arc;

use cairn_build::{BuildError, Lock, LockError, PinChange, RepositoryInputs, Update};
use cairn_layer::{Compression, Tree};
use cairn_oci::config::{History, RootFs, RunConfig};
use cairn_oci::{Descriptor, Digest, ImageConfig, Manifest, annotations, json, media_type};
use cairn_store::layout;

use crate::base_archives::write_image;
use crate::fixture::{
    BaseImage, Project, STATUS, debian_tree, directory, file, link, pack, path, read, tag, write_blob,
    write_index, write_manifest,
};

const SPEC: &str = r#"[image]
name = "hello"
platforms = ["linux/amd64"]

[base]
image = "debian:12"

[[layer]]
name = "app"
copy = [{ from = "dist/{arch}/hello", to = "/usr/bin/hello" }]

[config]
entrypoint = ["/usr/bin/hello"]
env = { LANG = "de_DE.UTF-8", LOG = "info" }
labels = { own = "1" }
"#;

async fn on(image: &BaseImage) -> Project {
    let project = Project::hello();
    let repository = project.repository("debian");
    let manifest = image.write(&repository).await;
    tag(&repository, "12", &manifest).await;
    project
}

#[tokio::test]
async fn base_layers_are_passed_on_and_the_environment_is_inherited() {
    let image = BaseImage::debian("amd64");
    let project = on(&image).await;
    let built = project.build(SPEC).await.unwrap();
    let (manifest, config) = project.image(&built).await;
    let (bytes, written) = pack(&debian_tree(), Compression::Gzip);
    assert_eq!(manifest.layers[0], Descriptor::of(media_type::LAYER_GZIP, &bytes));
    assert_eq!(read(&project.repository("out"), &manifest.layers[0]).await, bytes);
    assert_eq!(config.rootfs.diff_ids[0], written.diff_id);
    let base = image.write(&project.repository("debian")).await;
    assert_eq!(manifest.annotations[annotations::BASE_NAME], "debian:12");
    assert_eq!(
        manifest.annotations[annotations::BASE_DIGEST],
        base.digest.to_string()
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&config).unwrap());
}

#[tokio::test]
async fn everything_is_inherited_that_the_spec_names() {
    let mut image = BaseImage::debian("amd64");
    image.config.exposed_ports = Some([("80/tcp".to_owned(), cairn_oci::config::Empty {})].into());
    image.config.volumes = Some([("/data".to_owned(), cairn_oci::config::Empty {})].into());
    image.config.stop_signal = Some("SIGQUIT".to_owned());
    let project = on(&image).await;
    let all =
        "inherit = [\"user\", \"labels\", \"entrypoint\", \"cmd\", \"expose\", \"volumes\", \"stop-signal\"]";
    let spec = SPEC.replace("image = \"debian:12\"", &format!("image = \"debian:12\"\n{all}"));
    let spec = format!("{spec}expose = [8080]\ncmd = []\n");
    let built = project.build(&spec).await.unwrap();
    let (_, config) = project.image(&built).await;
    assert_eq!(
        config.config.env,
        Some(vec!["LANG=de_DE.UTF-8".to_owned(), "LOG=info".to_owned()])
    );
    assert_eq!(config.config.working_dir, None);
    assert_eq!(config.config.cmd, None);
    insta::assert_snapshot!(serde_json::to_string_pretty(&config.config).unwrap());
}

#[tokio::test]
async fn docker_types_become_ocis_and_the_layer_keeps_its_bytes() {
    let mut image = BaseImage::debian("amd64");
    image.docker = true;
    let built = on(&image).await.build(SPEC).await.unwrap();
    let plain = on(&BaseImage::debian("amd64")).await.build(SPEC).await.unwrap();
    let layers = |built: &cairn_build::Built| built.platforms[0].layers.clone();
    assert_eq!(layers(&built), layers(&plain));
    let project = on(&image).await;
    let built = project.build(SPEC).await.unwrap();
    let (manifest, _) = project.image(&built).await;
    assert_eq!(manifest.config.media_type, media_type::CONFIG);
    assert!(
        manifest
            .layers
            .iter()
            .all(|layer| layer.media_type == media_type::LAYER_GZIP)
    );
    assert_eq!(manifest.media_type, Some(media_type::MANIFEST.into()));
}

#[tokio::test]
async fn a_history_that_does_not_match_is_replaced() {
    for history in [Vec::new(), vec![History::default(); 3]] {
        let mut image = BaseImage::debian("amd64");
        image.history = history;
        let project = on(&image).await;
        let built = project.build(SPEC).await.unwrap();
        let (manifest, config) = project.image(&built).await;
        let by: Vec<_> = config
            .history
            .iter()
            .map(|entry| entry.created_by.clone().unwrap())
            .collect();
        assert_eq!(by, ["base", "cairn: layer app"]);
        assert_eq!(manifest.layers.len(), 2);
    }
}

#[tokio::test]
async fn a_null_history_and_null_lists_are_read() {
    let project = Project::hello();
    let repository = project.repository("debian");
    let (bytes, written) = pack(&debian_tree(), Compression::Gzip);
    let layer = write_blob(&repository, media_type::LAYER_GZIP, bytes).await;
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","history":null,"config":{{"Env":null,"Cmd":null,"Labels":null}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        written.diff_id
    );
    let config = write_blob(&repository, media_type::CONFIG, config.into_bytes()).await;
    let manifest = json::canonical(&Manifest::image(config, vec![layer]));
    let manifest = write_manifest(&repository, media_type::MANIFEST, manifest).await;
    tag(&repository, "12", &manifest).await;
    let built = project.build(SPEC).await.unwrap();
    assert_eq!(project.image(&built).await.1.history.len(), 2);
}

#[tokio::test]
async fn own_layers_stay_the_same_when_only_files_of_the_base_change() {
    let before = on(&BaseImage::debian("amd64")).await.build(SPEC).await.unwrap();
    let mut image = BaseImage::debian("amd64");
    let mut update = Tree::new();
    update
        .insert(path("usr/bin/dash"), file("a newer shell"))
        .unwrap();
    image.trees.push(update);
    image.history.push(History::default());
    let after = on(&image).await.build(SPEC).await.unwrap();
    assert_ne!(before.digest, after.digest);
    assert_eq!(before.platforms[0].layers, after.platforms[0].layers);
}

#[tokio::test]
async fn packages_and_users_are_those_of_the_uppermost_layer() {
    let mut image = BaseImage::debian("amd64");
    let mut upper = Tree::new();
    let more =
        format!("{STATUS}\nPackage: curl\nStatus: install ok installed\nVersion: 8.1\nArchitecture: amd64\n");
    upper.insert(path("var/lib/dpkg/status"), file(&more)).unwrap();
    upper
        .insert(path("etc/passwd"), file("root:x:0:0::/:/bin/sh"))
        .unwrap();
    upper.insert(path("sbin"), link("/usr/sbin")).unwrap();
    upper.insert(path("usr/sbin"), directory(0o755, 0, 0)).unwrap();
    upper.insert(path("tmp"), directory(0o755, 0, 0)).unwrap();
    image.trees.push(upper);
    let project = on(&image).await;
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    let listing = lock
        .base
        .unwrap()
        .platforms
        .into_values()
        .next()
        .unwrap()
        .value
        .listing;
    let packages: Vec<_> = listing
        .packages
        .iter()
        .map(|package| package.name().to_owned())
        .collect();
    assert_eq!(packages, ["base-files", "curl", "libc6"]);
    assert_eq!(listing.users, ["root:x:0:0::/:/bin/sh"]);
    let links: Vec<_> = listing.links.keys().map(ToString::to_string).collect();
    assert_eq!(links, ["/bin", "/sbin"]);
    assert!(!listing.directories.contains_key(&path("tmp")));
}

#[tokio::test]
async fn a_layout_is_a_base_without_any_source() {
    let project = Project::hello();
    let target = layout::create(project.path().join("base")).unwrap();
    let manifest = BaseImage::debian("amd64").write(&target).await;
    tag(&target, "12", &manifest).await;
    let nowhere = RepositoryInputs::default();
    let mut digests = Vec::new();
    for name in ["base", "base:12"] {
        let spec = SPEC.replace("image = \"debian:12\"", &format!("oci = \"{name}\""));
        let lock = project.lock(&spec, None).await.unwrap().lock;
        let built = project
            .build_locked(&spec, &Lock::parse(&lock.to_string()).unwrap(), &nowhere)
            .await
            .unwrap();
        assert_eq!(project.image(&built).await.0.layers.len(), 2);
        digests.push(built.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn a_layout_with_another_image_than_the_pinned_one_is_named() {
    let project = Project::hello();
    let base = project.path().join("base");
    let write = async |image: BaseImage| {
        let target = layout::create(&base).unwrap();
        let manifest = image.write(&target).await;
        tag(&target, "12", &manifest).await;
    };
    write(BaseImage::debian("amd64")).await;
    let spec = SPEC.replace("image = \"debian:12\"", "oci = \"base:12\"");
    let lock = project.lock(&spec, None).await.unwrap().lock;
    std::fs::remove_dir_all(&base).unwrap();
    let mut other = BaseImage::debian("amd64");
    other.trees.remove(0);
    other.history.clear();
    write(other).await;
    let nowhere = RepositoryInputs::default();
    let error = project.build_locked(&spec, &lock, &nowhere).await.unwrap_err();
    assert!(
        error.to_string().starts_with("base:12 does not have sha256:"),
        "{error}"
    );
}

#[tokio::test]
async fn a_build_needs_no_input_that_the_output_has() {
    let project = on(&BaseImage::debian("amd64")).await;
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    let nowhere = RepositoryInputs::default();
    let error = project.build_locked(SPEC, &lock, &nowhere).await.unwrap_err();
    assert!(matches!(error, BuildError::InputMissing { .. }), "{error:?}");
    let first = project
        .build_locked(SPEC, &lock, &project.inputs())
        .await
        .unwrap();
    assert_eq!(
        project.build_locked(SPEC, &lock, &nowhere).await.unwrap().digest,
        first.digest
    );
}

#[tokio::test]
async fn base_layers_are_mounted_from_a_sibling() {
    let project = on(&BaseImage::debian("amd64")).await;
    let lock = project.lock(SPEC, None).await.unwrap().lock;
    let debian = Arc::new(project.repository("debian"));
    let siblings = vec!["debian".parse().unwrap()];
    let inputs = RepositoryInputs {
        repositories: vec![debian],
        siblings,
    };
    let built = project.build_locked(SPEC, &lock, &inputs).await.unwrap();
    assert_eq!(built.transferred.reused.blobs, 1);
}

#[tokio::test]
async fn a_root_file_system_is_passed_on_as_it_is() {
    let tree = debian_tree();
    for (name, compression, kind) in [
        ("debian.tar", Compression::None, media_type::LAYER),
        ("debian.tar.gz", Compression::Gzip, media_type::LAYER_GZIP),
        ("debian.tar.zst", Compression::Zstd, media_type::LAYER_ZSTD),
    ] {
        let project = Project::hello();
        let (bytes, written) = pack(&tree, compression);
        std::fs::write(project.path().join(name), &bytes).unwrap();
        let spec = SPEC.replace("image = \"debian:12\"", &format!("rootfs = \"{name}\""));
        let built = project.build(&spec).await.unwrap();
        let (manifest, config) = project.image(&built).await;
        assert_eq!(manifest.layers[0], Descriptor::of(kind, &bytes));
        assert_eq!(read(&project.repository("out"), &manifest.layers[0]).await, bytes);
        assert_eq!(config.rootfs.diff_ids[0], written.diff_id);
        assert_eq!(config.history[0].created_by.as_deref(), Some("base"));
        assert!(manifest.annotations.is_empty());
    }
}

/// OCI has no type for xz, so the archive in it is compressed as our own layers are.
#[tokio::test]
async fn a_root_file_system_in_xz_keeps_its_archive() {
    let project = Project::hello();
    let (tar, written) = pack(&debian_tree(), Compression::None);
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(&tar[..], 1)
        .read_to_end(&mut xz)
        .unwrap();
    std::fs::write(project.path().join("debian.tar.xz"), &xz).unwrap();
    let spec = SPEC.replace("image = \"debian:12\"", "rootfs = \"debian.tar.xz\"");
    let first = project.build(&spec).await.unwrap();
    let (manifest, config) = project.image(&first).await;
    assert_eq!(manifest.layers[0].media_type, media_type::LAYER_GZIP);
    assert_eq!(config.rootfs.diff_ids[0], written.diff_id);
    assert_eq!(project.build(&spec).await.unwrap().digest, first.digest);
}

#[tokio::test]
async fn cairn_lock_notices_a_root_file_system_that_was_replaced() {
    let mut project = Project::hello();
    let (bytes, _) = pack(&debian_tree(), Compression::None);
    let at = project.path().join("debian.tar");
    std::fs::write(&at, &bytes).unwrap();
    let spec = SPEC.replace("image = \"debian:12\"", "rootfs = \"debian.tar\"");
    let lock = project.lock(&spec, None).await.unwrap().lock;
    project.update = Update::Reconcile;
    assert_eq!(project.lock(&spec, Some(&lock)).await.unwrap().changes, []);
    let (other, _) = pack(&Tree::new(), Compression::None);
    std::fs::write(&at, &other).unwrap();
    project.update = Update::AddMissing;
    assert_eq!(project.lock(&spec, Some(&lock)).await.unwrap().lock, lock);
    project.update = Update::Reconcile;
    let change = project.lock(&spec, Some(&lock)).await.unwrap();
    let moved = PinChange {
        subject: "the base debian.tar for linux/amd64".to_owned(),
        before: Some(Digest::of(&bytes).to_string()),
        after: Some(Digest::of(&other).to_string()),
    };
    assert_eq!(change.changes, [moved]);
    project
        .build_locked(&spec, &change.lock, &project.inputs())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_root_file_system_that_changed_is_refused() {
    let project = Project::hello();
    let (bytes, _) = pack(&debian_tree(), Compression::None);
    let at = project.path().join("debian.tar");
    std::fs::write(&at, &bytes).unwrap();
    let spec = SPEC.replace("image = \"debian:12\"", "rootfs = \"debian.tar\"");
    let lock = project.lock(&spec, None).await.unwrap().lock;
    project
        .build_locked(&spec, &lock, &project.inputs())
        .await
        .unwrap();
    let (other, _) = pack(&Tree::new(), Compression::None);
    std::fs::write(&at, &other).unwrap();
    match project.build_locked(&spec, &lock, &project.inputs()).await {
        Err(BuildError::RootFsChanged { expected, found, .. }) => {
            assert_eq!((expected, found), (Digest::of(&bytes), Digest::of(&other)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn root_file_systems_that_are_none_are_refused() {
    let project = Project::hello();
    let spec = SPEC.replace("image = \"debian:12\"", "rootfs = \"base\"");
    assert!(matches!(
        project.lock(&spec, None).await,
        Err(LockError::Spec { .. })
    ));
    std::fs::create_dir(project.path().join("base")).unwrap();
    assert!(matches!(
        project.lock(&spec, None).await,
        Err(LockError::NotAFile { .. })
    ));
    let spec = SPEC.replace("image = \"debian:12\"", "rootfs = \"text\"");
    project.file("text", &"not an archive ".repeat(100), 0o644);
    assert!(matches!(
        project.lock(&spec, None).await,
        Err(LockError::RootFs { .. })
    ));
}

#[tokio::test]
async fn an_archive_of_images_is_no_root_file_system() {
    let project = Project::hello();
    write_image(&BaseImage::debian("amd64"), &project.path().join("saved.tar")).await;
    let spec = SPEC.replace("image = \"debian:12\"", "rootfs = \"saved.tar\"");
    let Err(LockError::Spec { findings }) = project.lock(&spec, None).await else {
        panic!("it was taken");
    };
    assert_eq!(findings[0].hint.as_deref(), Some("write archive = \"saved.tar\""));
}

#[tokio::test]
async fn a_directory_that_is_no_layout_is_a_mistake_of_the_spec() {
    let project = Project::hello();
    let spec = SPEC.replace("image = \"debian:12\"", "oci = \"dist\"");
    let Err(LockError::Spec { findings }) = project.lock(&spec, None).await else {
        panic!("it was taken");
    };
    assert!(findings[0].message.contains("no `oci-layout`"), "{findings:?}");
}

/// A base whose configuration was changed by `change`, with `layer` as its layer.
async fn with_config(layer: Vec<u8>, change: impl FnOnce(&mut ImageConfig)) -> Result<(), LockError> {
    let project = Project::hello();
    let repository = project.repository("debian");
    let (_, written) = pack(&debian_tree(), Compression::Gzip);
    let layer = write_blob(&repository, media_type::LAYER_GZIP, layer).await;
    let mut config = ImageConfig {
        created: None,
        author: None,
        platform: "linux/amd64".parse().unwrap(),
        config: RunConfig::default(),
        rootfs: RootFs::layers(vec![written.diff_id]),
        history: Vec::new(),
    };
    change(&mut config);
    let config = write_blob(&repository, media_type::CONFIG, json::canonical(&config)).await;
    let manifest = json::canonical(&Manifest::image(config, vec![layer]));
    let manifest = write_manifest(&repository, media_type::MANIFEST, manifest).await;
    tag(&repository, "12", &manifest).await;
    project.lock(SPEC, None).await.map(|_| ())
}

#[tokio::test]
async fn c6_layers_that_the_configuration_does_not_mean_are_refused() {
    let (good, _) = pack(&debian_tree(), Compression::Gzip);
    with_config(good.clone(), |_| {}).await.unwrap();
    let other = with_config(good.clone(), |config| {
        config.rootfs.diff_ids = vec![Digest::of(b"other")];
    })
    .await;
    assert!(matches!(other, Err(LockError::DiffId { .. })), "{other:?}");
    let more = with_config(good, |config| config.rootfs.diff_ids.push(Digest::of(b"more"))).await;
    assert!(
        matches!(
            more,
            Err(LockError::LayerCount {
                layers: 1,
                diff_ids: 2,
                ..
            })
        ),
        "{more:?}"
    );
    let none = with_config(b"no layer at all".to_vec(), |_| {}).await;
    assert!(matches!(none, Err(LockError::Layer { .. })), "{none:?}");
}

#[tokio::test]
async fn of_a_programs_place_in_a_base_only_what_our_layers_decide_is_said() {
    for (program, parts, warning) in [
        // The lock does not list the base's files.
        ("/usr/bin/dash", "", None),
        ("/bin/nothing", "", None),
        (
            "/bin/data",
            "write = [{ to = \"/usr/bin/data\", text = \"x\" }]",
            Some("the entrypoint /bin/data is not executable: its mode is 0644 (linux/amd64)"),
        ),
        (
            "/bin/data",
            "write = [{ to = \"/usr/bin/data\", text = \"#!/bin/sh\", mode = \"0755\" }]",
            None,
        ),
        (
            "/usr/bin/dash",
            "remove = [\"/usr/bin/dash\"]",
            Some("the entrypoint /usr/bin/dash is not in the image (linux/amd64)"),
        ),
    ] {
        let project = Project::new();
        let base = project.repository("debian");
        write_index(&base, "12", &[BaseImage::debian("amd64")]).await;
        let spec = format!(
            "[image]\nname = \"x\"\nplatforms = [\"linux/amd64\"]\n\n[base]\nimage = \"registry.example.org/debian:12\"\n\n\
             [[layer]]\nname = \"app\"\ndir = [{{ to = \"/srv\" }}]\n{parts}\n\n[config]\nentrypoint = [\"{program}\"]\n"
        );
        let built = project.build(&spec).await.unwrap();
        let said: Vec<_> = built.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said, Vec::from_iter(warning), "{spec}");
    }
}
