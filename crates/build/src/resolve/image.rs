//! A base that is an image: in a registry, in the local store, or in a layout.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cairn_oci::{
    Descriptor, Digest, Document, ImageConfig, Index, Manifest, MediaType, Platform, Reference, Tag, config,
    media_type,
};
use cairn_store::archive::{self, Archive};
use cairn_store::{RawManifest, Repository, RepositoryError, Target, collect, layout, verified};
use jiff::Timestamp;

use super::contents::{AddError, Contents};
use super::{LockError, LockRequest, ResolvedBase, Wanted};
use crate::blocking::run;
use crate::document::chain;
use crate::finding::Finding;
use crate::inputs::Sources;
use crate::lock::{
    BaseListing, LockedBase, LockedLayer, LockedOrigin, LockedPlatform, LockedSource, source_text,
};
use crate::spec::{Base, BaseSource, Template};

/// How many names of images a finding lists.
const NAMES_SHOWN: usize = 8;

/// A base image, wherever it is.
struct BaseImage<'a> {
    wanted: &'a Wanted<'a>,
    /// As the spec has it.
    name: String,
    repository: Arc<dyn Repository>,
}

/// Finds the base in the repository that `sources` opens for `reference`.
pub(super) async fn resolve_image(
    wanted: Wanted<'_>,
    reference: &Reference,
    sources: &dyn Sources,
) -> Result<ResolvedBase, LockError> {
    let name = reference.to_string();
    let opened = sources.base_image(reference).await;
    let repository = opened.map_err(|source| LockError::Repository {
        base: name.clone(),
        source,
    })?;
    let named = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Some(Target::Digest(*digest)),
        (None, tag) => tag.clone().map(Target::Tag),
    };
    let image = BaseImage {
        wanted: &wanted,
        name,
        repository,
    };
    image.resolve(named).await
}

/// Finds the base in the image layout `directory`, relative to the spec's.
pub(super) async fn resolve_layout(
    wanted: Wanted<'_>,
    directory: &str,
    tag: Option<&Tag>,
) -> Result<ResolvedBase, LockError> {
    let name = source_text(&wanted.base.source.value).1;
    let failed = |source| LockError::Repository {
        base: name.clone(),
        source,
    };
    let path = wanted.request.directory.join(directory);
    // A directory that is no layout is a mistake of the spec, and no failure of the disk.
    if !path.join("oci-layout").exists() {
        let message = if path.exists() {
            format!("`{directory}` is not an OCI image layout: it has no `oci-layout`")
        } else {
            format!("there is no `{directory}`")
        };
        return Err(LockError::Spec {
            findings: vec![Finding::new(message, wanted.base.source.span.clone())],
        });
    }
    let layout = run(move || layout::open(path)).await.map_err(failed)?;
    let named = match tag {
        Some(tag) => Some(Target::Tag(tag.clone())),
        None => layout
            .sole_manifest()
            .await
            .map_err(failed)?
            .map(|only| Target::Digest(only.digest)),
    };
    let repository: Arc<dyn Repository> = Arc::new(layout);
    let image = BaseImage {
        wanted: &wanted,
        name,
        repository,
    };
    image.resolve(named).await
}

/// Finds the base in the archive `file`, relative to the spec's directory. Several platforms may have one file.
pub(super) async fn resolve_archive(
    wanted: Wanted<'_>,
    file: &Template,
    image: Option<&str>,
) -> Result<ResolvedBase, LockError> {
    let name = source_text(&wanted.base.source.value).1;
    let mut resolved = ResolvedBase {
        source: LockedSource::Archive {
            archive: name.clone(),
        },
        platforms: BTreeMap::new(),
        created: None,
    };
    for (file, platforms) in files_of(&wanted, file) {
        let (archive, found) = open_archive(&wanted, &file, image).await?;
        let part = Wanted {
            request: wanted.request,
            base: wanted.base,
            platforms,
            pinned: None,
        };
        let base = BaseImage {
            wanted: &part,
            name: name.clone(),
            repository: Arc::new(archive),
        };
        let part = base.resolve(Some(Target::Digest(found))).await?;
        resolved.platforms.extend(part.platforms);
        resolved.created = resolved.created.max(part.created);
    }
    Ok(resolved)
}

/// Which files there are, and for which platforms each is.
fn files_of(wanted: &Wanted<'_>, template: &Template) -> BTreeMap<String, Vec<Platform>> {
    let mut files: BTreeMap<String, Vec<Platform>> = BTreeMap::new();
    for platform in &wanted.platforms {
        let file = template.expand(platform);
        files.entry(file).or_default().push(platform.clone());
    }
    files
}

/// The manifests that the archives have now, without a look at their layers.
pub(super) async fn archived(
    wanted: Wanted<'_>,
    template: &Template,
    image: Option<&str>,
) -> Result<BTreeMap<Platform, Digest>, LockError> {
    let mut manifests = BTreeMap::new();
    for (file, platforms) in files_of(&wanted, template) {
        let (archive, found) = open_archive(&wanted, &file, image).await?;
        let part = Wanted {
            request: wanted.request,
            base: wanted.base,
            platforms,
            pinned: None,
        };
        let base = BaseImage {
            wanted: &part,
            name: source_text(&wanted.base.source.value).1,
            repository: Arc::new(archive),
        };
        let raw = base.read_manifest(&Target::Digest(found)).await?;
        let document = base.parse(&raw)?;
        let chosen = base.choose(&raw, &document)?.into_iter();
        manifests.extend(chosen.map(|(platform, manifest)| (platform, manifest.digest)));
    }
    Ok(manifests)
}

/// The newest date of the configurations that `locked` pins, read where the base is.
pub(super) async fn newest_date(
    request: &LockRequest<'_>,
    base: &Base,
    locked: &LockedBase,
    sources: &dyn Sources,
) -> Result<Option<Timestamp>, LockError> {
    let name = source_text(&base.source.value).1;
    let failed = |source| LockError::Repository {
        base: name.clone(),
        source,
    };
    let mut newest = None;
    for (platform, pins) in &locked.platforms {
        let LockedOrigin::Image { config, .. } = &pins.value.origin else {
            continue;
        };
        let wanted = Wanted {
            request,
            base,
            platforms: vec![platform.clone()],
            pinned: None,
        };
        let repository: Arc<dyn Repository> = match &base.source.value {
            BaseSource::Image(reference) => sources.base_image(reference).await.map_err(failed)?,
            BaseSource::Layout { directory, .. } => {
                let path = request.directory.join(directory);
                Arc::new(run(move || layout::open(path)).await.map_err(failed)?)
            }
            BaseSource::Archive { file, name } => {
                let (archive, _) = open_archive(&wanted, &file.expand(platform), name.as_deref()).await?;
                Arc::new(archive)
            }
            BaseSource::RootFs(_) => continue,
        };
        let image = BaseImage {
            wanted: &wanted,
            name: name.clone(),
            repository,
        };
        let config = image.parse_config(config).await?;
        newest = newest.max(config.created.as_deref().and_then(real_date));
    }
    Ok(newest)
}

/// The archive, and which of its images is meant. What is wrong with the file is wrong with the spec that names it.
async fn open_archive(
    wanted: &Wanted<'_>,
    file: &str,
    image: Option<&str>,
) -> Result<(Archive, Digest), LockError> {
    let (path, scratch) = (
        wanted.request.directory.join(file),
        wanted.request.scratch.to_owned(),
    );
    let span = wanted.base.source.span.clone();
    let refused = |finding| LockError::Spec {
        findings: vec![finding],
    };
    let opened = run(move || archive::open(path, &scratch)).await;
    let archive = opened.map_err(|error| {
        let message = format!("the base {file} cannot be used: {}", chain(&error));
        refused(Finding::new(message, span.clone()))
    })?;
    if let Some(found) = archive.select(image) {
        let digest = found.digest;
        return Ok((archive, digest));
    }
    let names: Vec<&str> = archive.names().take(NAMES_SHOWN).collect();
    let (message, hint) = match image {
        Some(image) => (
            format!("the base {file} has no image {image}, or several"),
            "FILE:NAME:TAG names one",
        ),
        None => (
            format!("the base {file} holds no image, or several"),
            "say which: FILE:TAG or FILE:NAME:TAG",
        ),
    };
    let finding = Finding::new(message, span).with_hint(hint);
    Err(refused(if names.is_empty() {
        finding
    } else {
        finding.with_label(format!("it has: {}", names.join(", ")))
    }))
}

impl BaseImage<'_> {
    /// Takes the manifest that is pinned, else the one that is `named`.
    async fn resolve(&self, named: Option<Target>) -> Result<ResolvedBase, LockError> {
        let target = self.wanted.pinned.map(Target::Digest).or(named);
        let unclear = || {
            let message = format!("`{}` holds several images", self.name);
            Finding::new(message, self.span()).with_hint("say which by its tag: DIRECTORY:TAG")
        };
        let target = target.ok_or_else(|| LockError::Spec {
            findings: vec![unclear()],
        })?;
        let raw = self.read_manifest(&target).await?;
        let document = self.parse(&raw)?;
        let mut locked = BTreeMap::new();
        let mut newest = None;
        for (platform, manifest) in self.choose(&raw, &document)? {
            let (pins, created) = self.resolve_platform(&platform, manifest).await?;
            newest = newest.max(created);
            locked.insert(platform, pins);
        }
        Ok(ResolvedBase {
            source: self.locked_source(raw.digest()),
            platforms: locked,
            created: newest,
        })
    }

    fn span(&self) -> Range<usize> {
        self.wanted.base.source.span.clone()
    }

    fn locked_source(&self, digest: Digest) -> LockedSource {
        let name = self.name.clone();
        match self.wanted.base.source.value {
            BaseSource::Layout { .. } => LockedSource::Layout { layout: name, digest },
            BaseSource::Archive { .. } => LockedSource::Archive { archive: name },
            _ => LockedSource::Image {
                reference: name,
                digest,
            },
        }
    }

    async fn read_manifest(&self, target: &Target) -> Result<RawManifest, LockError> {
        let found = self.repository.read_manifest(target).await;
        let raw = found.map_err(|source| LockError::Repository {
            base: self.name.clone(),
            source,
        })?;
        let Some(raw) = raw else {
            return Err(self.not_there(target));
        };
        match target {
            Target::Digest(expected) if *expected != raw.digest() => Err(LockError::OtherManifest {
                base: self.name.clone(),
                expected: *expected,
                found: raw.bytes().len() as u64,
            }),
            _ => Ok(raw),
        }
    }

    fn not_there(&self, target: &Target) -> LockError {
        let what = match target {
            Target::Tag(tag) => format!("tag {tag}"),
            Target::Digest(digest) => digest.to_string(),
        };
        let (base, repository) = (&self.name, self.repository.label());
        let message = format!("the base `{base}` is not there: {repository} has no {what}");
        let mut finding = Finding::new(message, self.span());
        if matches!(&self.wanted.base.source.value, BaseSource::Image(reference) if reference.host.is_none())
        {
            finding = finding.with_hint(format!(
                "without a host it is an image of the local store; one in a registry is registry.example.org/{base}"
            ));
        }
        let findings = vec![finding];
        LockError::Spec { findings }
    }

    fn parse(&self, raw: &RawManifest) -> Result<Document, LockError> {
        raw.document().map_err(|source| LockError::Manifest {
            base: self.name.clone(),
            digest: raw.digest(),
            source,
        })
    }

    /// Which manifest is for which platform: in an index the first that fits, else the only one, whose configuration
    /// must fit.
    fn choose(
        &self,
        raw: &RawManifest,
        document: &Document,
    ) -> Result<Vec<(Platform, Descriptor)>, LockError> {
        let mut findings = Vec::new();
        let mut chosen = Vec::new();
        for platform in self.wanted.platforms.clone() {
            match document {
                Document::Manifest(_) => chosen.push((platform, raw.descriptor())),
                Document::Index(index) => match entry_for(index, &platform) {
                    Some(entry) => chosen.push((platform, entry.clone())),
                    None => findings.push(self.no_platform(&platform, &offered(index))),
                },
            }
        }
        if findings.is_empty() {
            Ok(chosen)
        } else {
            Err(LockError::Spec { findings })
        }
    }

    fn no_platform(&self, platform: &Platform, offered: &str) -> Finding {
        let message = format!("the base `{}` has no image for {platform}", self.name);
        let span = self.span();
        Finding::new(message, span).with_label(format!("it has: {offered}"))
    }

    async fn resolve_platform(
        &self,
        platform: &Platform,
        descriptor: Descriptor,
    ) -> Result<(LockedPlatform, Option<Timestamp>), LockError> {
        let raw = self.read_manifest(&Target::Digest(descriptor.digest)).await?;
        let Document::Manifest(manifest) = self.parse(&raw)? else {
            let media_type = raw.media_type().clone();
            return Err(self.not_an_image(raw.digest(), media_type));
        };
        let config = self.read_config(&raw, &manifest, platform).await?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(LockError::LayerCount {
                base: self.name.clone(),
                layers: manifest.layers.len(),
                diff_ids: config.rootfs.diff_ids.len(),
            });
        }
        let (layers, contents) = self.read_layers(&raw, &manifest, &config.rootfs.diff_ids).await?;
        let base = || self.name.clone();
        let packages = contents
            .packages()
            .map_err(|source| LockError::Packages { base: base(), source })?;
        let listing = BaseListing::of(&contents.listing, packages);
        let locked = LockedPlatform {
            origin: LockedOrigin::Image {
                manifest: raw.digest(),
                config: Box::new(Descriptor::new(
                    media_type::CONFIG,
                    manifest.config.digest,
                    manifest.config.size,
                )),
            },
            layers,
            listing: listing.map_err(|source| LockError::Listing { base: base(), source })?,
        };
        Ok((locked, config.created.as_deref().and_then(real_date)))
    }

    fn not_an_image(&self, manifest: Digest, media_type: MediaType) -> LockError {
        LockError::NotAnImage {
            base: self.name.clone(),
            manifest,
            media_type,
        }
    }

    async fn read_config(
        &self,
        raw: &RawManifest,
        manifest: &Manifest,
        platform: &Platform,
    ) -> Result<ImageConfig, LockError> {
        let descriptor = &manifest.config;
        if descriptor.media_type.to_oci() != media_type::CONFIG {
            return Err(self.not_an_image(raw.digest(), descriptor.media_type.clone()));
        }
        let config = self.parse_config(descriptor).await?;
        if !config.platform.satisfies(platform) {
            let findings = vec![self.no_platform(platform, &config.platform.to_string())];
            return Err(LockError::Spec { findings });
        }
        Ok(config)
    }

    async fn parse_config(&self, descriptor: &Descriptor) -> Result<ImageConfig, LockError> {
        let (base, digest) = (|| self.name.clone(), descriptor.digest);
        let content = self.open(descriptor).await?;
        let bytes = collect(content, config::LIMIT as u64).await;
        let bytes = bytes.map_err(|source| LockError::ConfigContent {
            base: base(),
            digest,
            source,
        })?;
        ImageConfig::parse(&bytes).map_err(|source| LockError::Config {
            base: base(),
            digest,
            source,
        })
    }

    async fn open(&self, blob: &Descriptor) -> Result<cairn_store::ByteStream, LockError> {
        let found = self.repository.read_blob(&blob.digest, None).await;
        let found = found.map_err(|source| LockError::Repository {
            base: self.name.clone(),
            source,
        })?;
        let missing = || LockError::Missing {
            base: self.name.clone(),
            digest: blob.digest,
        };
        Ok(verified(
            found.ok_or_else(missing)?.content,
            blob.digest,
            blob.size,
        ))
    }

    async fn read_layers(
        &self,
        raw: &RawManifest,
        manifest: &Manifest,
        diff_ids: &[Digest],
    ) -> Result<(Vec<LockedLayer>, Contents), LockError> {
        let mut contents = Contents::default();
        let mut layers = Vec::new();
        for (layer, expected) in manifest.layers.iter().zip(diff_ids) {
            let media_type = layer.media_type.to_oci();
            if !LAYER_TYPES.contains(&media_type.as_str()) {
                return Err(self.not_an_image(raw.digest(), media_type));
            }
            contents = self.read_layer(layer, *expected, contents).await?;
            layers.push(LockedLayer {
                descriptor: Descriptor::new(media_type, layer.digest, layer.size),
                diff_id: *expected,
            });
        }
        Ok((layers, contents))
    }

    /// Puts a layer on top of `below`, if it is what manifest and configuration say.
    async fn read_layer(
        &self,
        layer: &Descriptor,
        expected: Digest,
        below: Contents,
    ) -> Result<Contents, LockError> {
        let content = self.open(layer).await?;
        let read = below.add_stream(content, &self.wanted.request.limits).await;
        let (base, digest) = (self.name.clone(), layer.digest);
        let (together, summary) = match read {
            Ok(read) => read,
            Err(AddError::Layer(source)) => return Err(LockError::Layer { base, digest, source }),
            Err(AddError::Content(error)) => {
                return Err(match error.downcast::<RepositoryError>() {
                    Ok(source) => LockError::Repository { base, source },
                    Err(source) => LockError::LayerContent { base, digest, source },
                });
            }
        };
        let found = summary.diff_id;
        if found == expected {
            return Ok(together);
        }
        Err(LockError::DiffId {
            base,
            digest,
            expected,
            found,
        })
    }
}

/// The types of layers that can be passed on, by OCI's names.
const LAYER_TYPES: [&str; 3] = [media_type::LAYER, media_type::LAYER_GZIP, media_type::LAYER_ZSTD];

fn entry_for<'i>(index: &'i Index, platform: &Platform) -> Option<&'i Descriptor> {
    let fits = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|offered| offered.satisfies(platform))
    };
    index.manifests.iter().find(fits)
}

/// The platforms of an index, without the `unknown/unknown` that attestations are filed under.
fn offered(index: &Index) -> String {
    let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
    let named = platforms.filter(|platform| platform.os != "unknown");
    let mut names: Vec<String> = named.map(ToString::to_string).collect();
    names.dedup();
    if names.is_empty() {
        "no platform".to_owned()
    } else {
        names.join(", ")
    }
}

/// A date that means something: tools that have none write the year 1 or 1970.
fn real_date(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    let whole = Timestamp::from_second(time.as_second()).ok()?;
    (whole.as_second() > 0).then_some(whole)
}
