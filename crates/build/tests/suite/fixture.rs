//! A directory with a spec, a store in memory, and what locking and building need between them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_build::build::check::PlatformCheck;
use cairn_build::finding::Finding;
use cairn_build::{
    BuildError, BuildRequest, Built, Dates, Fetcher, Inputs, Lock, LockChange, LockError, LockRequest,
    Records, ReleasedLayer, Releases, RepositoryInputs, Silent, Sources, Spec, Update, build, resolve_lock,
};
use cairn_layer::{
    Attributes, Compression, Engine, LayerOptions, Limits, Node, Source, Tree, TreePath, WrittenLayer,
    write_layer,
};
use cairn_oci::config::{History, RootFs, RunConfig};
use cairn_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform, Reference, json, media_type,
};
use cairn_store::memory::MemoryRepository;
use cairn_store::{
    Condition, Memory, RawManifest, Repository, RepositoryError, Target, collect, from_bytes, verified,
};
use tempfile::TempDir;

/// A spec's directory and the repositories around it.
pub(crate) struct Project {
    pub(crate) directory: TempDir,
    pub(crate) scratch: TempDir,
    pub(crate) store: Memory,
    pub(crate) update: Update,
    pub(crate) dates: Dates,
    /// Where records are; none: none are kept.
    pub(crate) cache: Option<TempDir>,
    /// What releases were made of.
    pub(crate) releases: Option<Released>,
}

/// Layers of releases that are trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Released(pub(crate) Vec<ReleasedLayer>);

#[async_trait]
impl Releases for Released {
    async fn layers(&self) -> &[ReleasedLayer] {
        &self.0
    }
}

impl Project {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            scratch: tempfile::tempdir().unwrap(),
            store: Memory::new(),
            update: Update::AddMissing,
            dates: Dates::default(),
            cache: None,
            releases: None,
        }
    }

    /// A project with a file of mode 0755 for each platform, `dist/ARCHITECTURE/hello`.
    pub(crate) fn hello() -> Self {
        let project = Self::new();
        for architecture in ["amd64", "arm64"] {
            project.file(
                &format!("dist/{architecture}/hello"),
                &format!("the program for {architecture}\n"),
                0o755,
            );
        }
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, path: &str, content: &str, mode: u32) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn repository(&self, name: &str) -> MemoryRepository {
        self.store.open(&name.parse().unwrap())
    }

    pub(crate) async fn lock(&self, spec: &str, existing: Option<&Lock>) -> Result<LockChange, LockError> {
        let spec = Spec::parse(spec).unwrap();
        let request = LockRequest {
            spec: &spec,
            directory: self.path(),
            existing,
            siblings: &[],
            update: self.update.clone(),
            dates: self.dates,
            scratch: self.scratch.path(),
            limits: Limits::default(),
            engine: Engine::default(),
        };
        resolve_lock(&request, self).await
    }

    /// Locks and builds into the repository `out`.
    pub(crate) async fn build(&self, spec: &str) -> Result<Built, BuildError> {
        let lock = self.lock(spec, None).await.unwrap().lock;
        // The lock is read back, as it would be in the next run.
        let lock = Lock::parse(&lock.to_string()).unwrap();
        self.build_locked(spec, &lock, &self.inputs()).await
    }

    pub(crate) fn inputs(&self) -> RepositoryInputs {
        let repositories: Vec<Arc<dyn Repository>> = vec![Arc::new(self.repository("debian"))];
        RepositoryInputs {
            repositories,
            siblings: Vec::new(),
        }
    }

    pub(crate) async fn build_locked(
        &self,
        spec: &str,
        lock: &Lock,
        inputs: &dyn Inputs,
    ) -> Result<Built, BuildError> {
        let spec = Spec::parse(spec).unwrap();
        // Opened so long after the files were made that they count as settled.
        let records = self
            .cache
            .as_ref()
            .map(|cache| Records::open(cache.path(), "out").later(10));
        let request = BuildRequest {
            spec: &spec,
            lock,
            directory: self.path(),
            platforms: &[],
            scratch: self.scratch.path(),
            limits: Limits::default(),
            engine: Engine::default(),
            records: records.as_ref(),
            releases: self.releases.as_ref().map(|releases| releases as &dyn Releases),
        };
        build(&request, inputs, &self.repository("out"), &Silent).await
    }

    /// What a build of `spec` would do again after the build `last`.
    pub(crate) async fn check(&self, spec: &str, last: Option<&Built>) -> Vec<PlatformCheck> {
        let lock = self.lock(spec, None).await.unwrap().lock;
        let spec = Spec::parse(spec).unwrap();
        let records = self
            .cache
            .as_ref()
            .map(|cache| Records::look(cache.path(), "out"));
        let request = BuildRequest {
            spec: &spec,
            lock: &lock,
            directory: self.path(),
            platforms: &[],
            scratch: self.scratch.path(),
            limits: Limits::default(),
            engine: Engine::default(),
            records: records.as_ref(),
            releases: None,
        };
        let last = last.map(|built| &built.digest);
        cairn_build::check(&request, &self.inputs(), &self.repository("out"), last)
            .await
            .unwrap()
    }

    /// What is wrong with building `spec`, drawn.
    pub(crate) async fn findings(&self, spec: &str) -> String {
        match self.build(spec).await {
            Err(BuildError::Spec { findings }) => render(spec, &findings),
            other => panic!("{other:?}"),
        }
    }

    /// The only image of a build: its manifest and its configuration.
    pub(crate) async fn image(&self, built: &Built) -> (Manifest, ImageConfig) {
        assert_eq!(built.media_type, media_type::MANIFEST);
        self.image_at(&built.digest).await
    }

    pub(crate) async fn image_at(&self, digest: &Digest) -> (Manifest, ImageConfig) {
        let out = self.repository("out");
        let raw = out
            .read_manifest(&Target::Digest(*digest))
            .await
            .unwrap()
            .unwrap();
        let manifest: Manifest = json::parse(raw.bytes(), 1 << 20).unwrap();
        let config = read(&out, &manifest.config).await;
        (manifest, ImageConfig::parse(&config).unwrap())
    }

    /// The listing of the `number`th of our own layers.
    pub(crate) async fn listing(&self, built: &Built, number: usize) -> String {
        let layer = &built.platforms[0].layers[number];
        let descriptor = Descriptor::new(media_type::LAYER_GZIP, layer.digest, layer.size);
        let bytes = read(&self.repository("out"), &descriptor).await;
        cairn_layer::describe(&bytes[..], &Limits::default()).unwrap()
    }
}

impl Fetcher for Project {}

#[async_trait]
impl Sources for Project {
    async fn base_image(&self, reference: &Reference) -> Result<Arc<dyn Repository>, RepositoryError> {
        Ok(Arc::new(self.store.open(&reference.name)))
    }
}

pub(crate) async fn read(repository: &dyn Repository, blob: &Descriptor) -> Vec<u8> {
    let content = repository
        .read_blob(&blob.digest, None)
        .await
        .unwrap()
        .unwrap()
        .content;
    collect(verified(content, blob.digest, blob.size), 1 << 24)
        .await
        .unwrap()
        .to_vec()
}

/// `line:column message | label | hint`, one line for each finding, with the text that it is about.
pub(crate) fn render(text: &str, findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let (file, text) = match &finding.elsewhere {
            None => (String::new(), text),
            Some(other) => (
                format!("{}:", other.file),
                other.text.as_deref().unwrap_or_default(),
            ),
        };
        let (line, column) = finding.line_column(text);
        let place = text[finding.span.clone()].lines().next().unwrap_or_default();
        let mut rendered = format!("{file}{line}:{column} {}\n    at: {place}\n", finding.message);
        for (name, value) in [("label", &finding.label), ("hint", &finding.hint)] {
            if let Some(value) = value {
                rendered.push_str(&format!("    {name}: {value}\n"));
            }
        }
        rendered
    };
    findings.iter().map(line).collect()
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

pub(crate) fn file(content: &str) -> Node {
    Node::File {
        attributes: Attributes::file(false),
        source: Source::Bytes(content.as_bytes().into()),
    }
}

pub(crate) fn directory(mode: u32, uid: u32, gid: u32) -> Node {
    Node::Directory(Attributes {
        mode,
        uid,
        gid,
        ..Attributes::default()
    })
}

pub(crate) fn link(target: &str) -> Node {
    Node::Symlink {
        target: target.as_bytes().to_vec(),
        uid: 0,
        gid: 0,
    }
}

pub(crate) const STATUS: &str = "Package: base-files\nStatus: install ok installed\nVersion: 12.4+deb12u10\nArchitecture: amd64\n\nPackage: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n";

/// What a small Debian has, as far as it matters here.
pub(crate) fn debian_tree() -> Tree {
    let mut tree = Tree::new();
    for (at, node) in [
        ("bin", link("usr/bin")),
        ("etc", directory(0o755, 0, 0)),
        ("etc/group", file("root:x:0:\nmail:x:8:\nstaff:x:50:\n")),
        ("etc/mtab", link("/proc/mounts")),
        (
            "etc/passwd",
            file("root:x:0:0:root:/root:/bin/bash\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n"),
        ),
        ("root", directory(0o700, 0, 0)),
        ("tmp", directory(0o1777, 0, 0)),
        ("usr", directory(0o755, 0, 0)),
        ("usr/bin", directory(0o755, 0, 0)),
        ("usr/bin/dash", file("a shell")),
        ("usr/bin/sh", link("dash")),
        ("usr/share", directory(0o755, 0, 0)),
        ("usr/share/doc", directory(0o755, 0, 0)),
        ("var", directory(0o755, 0, 0)),
        ("var/lib", directory(0o755, 0, 0)),
        ("var/lib/dpkg", directory(0o755, 0, 0)),
        ("var/lib/dpkg/status", file(STATUS)),
        ("var/mail", directory(0o2775, 0, 8)),
    ] {
        tree.insert(path(at), node).unwrap();
    }
    tree
}

pub(crate) fn pack(tree: &Tree, compression: Compression) -> (Vec<u8>, WrittenLayer) {
    let mut bytes = Vec::new();
    let options = LayerOptions {
        compression,
        ..LayerOptions::default()
    };
    let written = write_layer(tree, &options, &mut bytes).unwrap();
    (bytes, written)
}

/// A base image as others write it.
pub(crate) struct BaseImage {
    pub(crate) platform: Platform,
    pub(crate) config: RunConfig,
    pub(crate) history: Vec<History>,
    pub(crate) created: Option<String>,
    pub(crate) trees: Vec<Tree>,
    /// Whether it uses Docker's media types.
    pub(crate) docker: bool,
}

impl BaseImage {
    pub(crate) fn debian(architecture: &str) -> Self {
        Self {
            platform: Platform::new("linux", architecture),
            config: RunConfig {
                env: Some(vec!["PATH=/usr/bin:/bin".to_owned(), "LANG=C.UTF-8".to_owned()]),
                cmd: Some(vec!["bash".to_owned()]),
                entrypoint: Some(vec!["/entry".to_owned()]),
                user: Some("mail".to_owned()),
                working_dir: Some("/root".to_owned()),
                labels: Some([("vendor".to_owned(), "debian".to_owned())].into()),
                ..RunConfig::default()
            },
            history: vec![
                History {
                    created_by: Some("debuerreotype".to_owned()),
                    ..History::default()
                },
                History {
                    created_by: Some("CMD".to_owned()),
                    empty_layer: Some(true),
                    ..History::default()
                },
            ],
            created: Some("2026-03-01T10:20:30.5Z".to_owned()),
            trees: vec![debian_tree()],
            docker: false,
        }
    }

    /// Writes the image without a tag.
    pub(crate) async fn write(&self, repository: &dyn Repository) -> Descriptor {
        let (manifest_type, config_type, layer_type) = if self.docker {
            (
                media_type::DOCKER_MANIFEST,
                media_type::DOCKER_CONFIG,
                media_type::DOCKER_LAYER_GZIP,
            )
        } else {
            (media_type::MANIFEST, media_type::CONFIG, media_type::LAYER_GZIP)
        };
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for tree in &self.trees {
            let (bytes, written) = pack(tree, Compression::Gzip);
            diff_ids.push(written.diff_id);
            layers.push(write_blob(repository, layer_type, bytes).await);
        }
        let config = ImageConfig {
            created: self.created.clone(),
            author: Some("somebody".to_owned()),
            platform: self.platform.clone(),
            config: self.config.clone(),
            rootfs: RootFs::layers(diff_ids),
            history: self.history.clone(),
        };
        let config = write_blob(repository, config_type, json::canonical(&config)).await;
        let mut manifest = Manifest::image(config, layers);
        manifest.media_type = Some(MediaType::from(manifest_type));
        write_manifest(repository, manifest_type, json::canonical(&manifest)).await
    }
}

pub(crate) async fn write_blob(repository: &dyn Repository, kind: &str, bytes: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(kind, &bytes);
    repository
        .write_blob(&descriptor.digest, descriptor.size, from_bytes(bytes))
        .await
        .unwrap();
    descriptor
}

pub(crate) async fn write_manifest(repository: &dyn Repository, kind: &str, bytes: Vec<u8>) -> Descriptor {
    let raw = RawManifest::new(kind, bytes);
    repository
        .write_manifest(&Target::Digest(raw.digest()), &raw, &Condition::Always)
        .await
        .unwrap();
    raw.descriptor()
}

pub(crate) async fn tag(repository: &dyn Repository, tag: &str, manifest: &Descriptor) {
    let raw = repository
        .read_manifest(&Target::Digest(manifest.digest))
        .await
        .unwrap()
        .unwrap();
    repository
        .write_manifest(&Target::Tag(tag.parse().unwrap()), &raw, &Condition::Always)
        .await
        .unwrap();
}

/// Writes an index over both architectures of `images`, under `name`.
pub(crate) async fn write_index(repository: &dyn Repository, name: &str, images: &[BaseImage]) -> Descriptor {
    let mut entries = Vec::new();
    for image in images {
        entries.push(
            image
                .write(repository)
                .await
                .with_platform(image.platform.clone()),
        );
    }
    // What attestations are filed under in the indexes of others.
    let attestation = Descriptor::new(media_type::MANIFEST, Digest::of(b"attestation"), 11);
    entries.push(attestation.with_platform(Platform::new("unknown", "unknown")));
    let index = json::canonical(&Index::images(entries));
    let descriptor = write_manifest(repository, media_type::INDEX, index).await;
    tag(repository, name, &descriptor).await;
    descriptor
}
