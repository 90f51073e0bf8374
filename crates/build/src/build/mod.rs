//! From spec and lock to image.
//!
//! 1. **Plan**, for every platform: read the base's configuration, put each own layer's tree together, find every owner. All
//!    mistakes of the spec show up here, together, and before anything is written.
//! 2. **Write**, platform by platform: the base's layers byte for byte, then our own, each first into a scratch file,
//!    because a repository wants digest and size before the content; then configuration and manifest.
//! 3. **Bind**: one platform gives its manifest, several an index.
//!
//! No tag is set here, so that a build that fails leaves nothing that counts.

mod accounts;
mod base;
pub mod check;
mod config;
mod error;
mod fetch;
mod ignore;
mod layers;
mod own;
mod packages;
mod plan;
mod program;
mod progress;
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;

use cairn_layer::{Compression, Context, Engine, Limits};
use cairn_oci::{Descriptor, Digest, Index, Manifest, MediaType, Platform, annotations, json, media_type};
use cairn_store::transfer::Transferred;
use cairn_store::{Archive, Condition, RawManifest, Repository, Target, Written, from_bytes};
use tokio::sync::Mutex;

pub use self::error::BuildError;
pub(crate) use self::fetch::{Failed, Fetched, Keeping};
pub(crate) use self::plan::plan;
use self::plan::{Plan, PlatformPlan};
use self::program::Stack;
pub use self::program::{Matter, Problem, Warning};
pub use self::progress::{Progress, Silent};
use crate::build_record::Releases;
use crate::inputs::Inputs;
use crate::lock::{Lock, LockedSource};
use crate::records::Records;
use crate::spec::Spec;

/// What is to be built.
#[derive(Debug, Clone)]
pub struct BuildRequest<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// A lock that has everything that the spec needs.
    pub lock: &'a Lock,
    /// The spec's directory, to which each `from` is relative.
    pub directory: &'a Path,
    /// Which of the spec's platforms; empty: all.
    pub platforms: &'a [Platform],
    /// Where layers wait in temporary files until their digest is known; made if it is not there. It needs room for
    /// the largest compressed layer. Best in the file system of the output.
    pub scratch: &'a Path,
    /// Bounds for reading a root file system.
    pub limits: Limits,
    /// With how many threads and with which cache layers are compressed; it never shows.
    pub engine: Engine,
    /// What earlier builds found out; none: every file is read.
    pub records: Option<&'a Records>,
    /// What releases were made of, whose layers are taken over if the output has them; none: every layer that is not known
    /// is compressed.
    pub releases: Option<&'a dyn Releases>,
}

/// What was built. Nothing points at it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Digest of the manifest, or of the index if there are several platforms.
    pub digest: Digest,
    /// What it is a digest of.
    pub media_type: MediaType,
    /// The images, sorted by platform.
    pub platforms: Vec<BuiltPlatform>,
    /// What was written to the output and what it had already; manifests and configurations included.
    pub transferred: Transferred,
    /// What is no error and should be known, by platform.
    pub warnings: Vec<Warning>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltPlatform {
    /// For which machine.
    pub platform: Platform,
    /// The manifest.
    pub manifest: Descriptor,
    /// Digest of the configuration.
    pub config: Digest,
    /// How many layers are the base's.
    pub base_layers: usize,
    /// Our own layers, lowest first.
    pub layers: Vec<BuiltLayer>,
    /// Compressed size of all layers in bytes, the base's included.
    pub size: u64,
}

/// One of our own layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltLayer {
    /// Its name in the spec; `users` for the layer that adds users.
    pub name: String,
    /// Which part of a layer that is split, counted from 1, and of how many.
    pub part: Option<(usize, usize)>,
    /// Digest of the compressed layer.
    pub digest: Digest,
    /// Compressed bytes.
    pub size: u64,
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Uncompressed bytes.
    pub uncompressed: u64,
    /// Regular files in it.
    pub files: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// Whether the output had it already.
    pub reused: bool,
    /// The version of the release from which digest and size were taken over; none: it was made here, now or before.
    pub release: Option<String>,
    /// Whether its files were read; false if it is known from an earlier build that they did not change.
    pub read: bool,
}

impl BuiltLayer {
    /// Its name, and which part it is if it is one: `app`, or `app 3/12`.
    #[must_use]
    pub fn title(&self) -> String {
        match self.part {
            Some((part, of)) => format!("{} {part}/{of}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A build under way.
struct Build<'a> {
    request: &'a BuildRequest<'a>,
    inputs: &'a dyn Inputs,
    output: &'a dyn Repository,
    progress: &'a dyn Progress,
    /// Archives with bases, by their names in the spec.
    archives: Mutex<BTreeMap<String, Archive>>,
}

/// Builds the image into `output`, without a tag.
///
/// The bytes depend on spec, lock and files alone.
///
/// # Errors
///
/// [`BuildError`]. Blobs may have been written; nothing points at them.
pub async fn build(
    request: &BuildRequest<'_>,
    inputs: &dyn Inputs,
    output: &dyn Repository,
    progress: &dyn Progress,
) -> Result<Built, BuildError> {
    let build = Build::new(request, inputs, output, progress);
    build.check_lock()?;
    let platforms = build.platforms()?;
    let plans = build.plan(&platforms).await?;
    let warnings = plans.iter().flat_map(|plan| build.warnings(plan)).collect();
    progress.planned(plans.iter().map(|plan| plan.layers.len()).sum());
    let mut transferred = Transferred::default();
    let mut built = Vec::new();
    for plan in plans {
        built.push(build.platform(plan, &mut transferred).await?);
    }
    let top = build.bind(&built, &mut transferred).await?;
    Ok(Built {
        digest: top.digest,
        media_type: top.media_type,
        platforms: built,
        transferred,
        warnings,
    })
}

impl<'a> Build<'a> {
    fn new(
        request: &'a BuildRequest<'a>,
        inputs: &'a dyn Inputs,
        output: &'a dyn Repository,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            request,
            inputs,
            output,
            progress,
            archives: Mutex::default(),
        }
    }
}

impl Build<'_> {
    fn check_lock(&self) -> Result<(), BuildError> {
        let findings = self.request.lock.check(self.request.spec);
        if !findings.is_empty() {
            return Err(BuildError::Conflict { findings });
        }
        let missing = self.request.lock.missing(self.request.spec);
        if missing.is_empty() {
            Ok(())
        } else {
            Err(BuildError::Unlocked { missing })
        }
    }

    fn platforms(&self) -> Result<Vec<Platform>, BuildError> {
        let mut known: Vec<Platform> = self.request.spec.platforms().cloned().collect();
        known.sort();
        if let Some(unknown) = self
            .request
            .platforms
            .iter()
            .find(|wanted| !known.contains(wanted))
        {
            return Err(BuildError::UnknownPlatform {
                platform: unknown.clone(),
                known,
            });
        }
        known.retain(|platform| {
            self.request.platforms.is_empty() || self.request.platforms.contains(platform)
        });
        Ok(known)
    }

    async fn fetched(&self, platforms: &[Platform]) -> Result<Fetched, BuildError> {
        let known = self.known_packages(platforms).await?;
        let (spec, lock) = (self.request.spec, self.request.lock);
        let keeping = Keeping {
            scratch: self.request.scratch,
            limits: &self.request.limits,
            fetcher: self.inputs,
            threads: self.request.engine.threads,
        };
        let fetched = Fetched::all(spec, lock, platforms, known, keeping).await;
        fetched.map_err(|failed| match failed {
            Failed::Spec(findings) => BuildError::Spec { findings },
            Failed::Fetch(source) => BuildError::Fetch { source },
            Failed::Package(source) => BuildError::Package { source },
        })
    }

    async fn plan(&self, platforms: &[Platform]) -> Result<Vec<PlatformPlan>, BuildError> {
        let mut plans = Vec::new();
        for (platform, Plan { layers, packages }) in self.plan_layers(platforms).await? {
            plans.push(PlatformPlan {
                packages,
                base_config: self.base_config(&platform).await?,
                platform,
                layers,
            });
        }
        Ok(plans)
    }

    /// What our own layers will hold, or everything that the spec has wrong.
    async fn plan_layers(&self, platforms: &[Platform]) -> Result<Vec<(Platform, Plan)>, BuildError> {
        let context = Context::open(self.request.directory);
        let mut context = context.map_err(|source| BuildError::Context { source })?;
        if let Some(counter) = self.progress.counter() {
            context = context.counting(counter);
        }
        let fetched = self.fetched(platforms).await?;
        let (spec, lock) = (self.request.spec, self.request.lock);
        let mut plans = Vec::new();
        let mut findings = Vec::new();
        for platform in platforms {
            let planned = plan(spec, lock, platform, &context, &fetched)
                .and_then(|plan| plan::split(spec, lock, platform, plan));
            match planned {
                Ok(plan) => plans.push((platform.clone(), plan)),
                Err(more) => findings.extend(more),
            }
        }
        if findings.is_empty() {
            return Ok(plans);
        }
        findings.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        findings.dedup();
        Err(BuildError::Spec { findings })
    }

    fn warnings(&self, plan: &PlatformPlan) -> Vec<Warning> {
        let doubts = plan.packages.iter().flat_map(|packages| &packages.doubts);
        let doubts = doubts.map(|doubt| Warning {
            platform: plan.platform.clone(),
            about: Matter::Package(doubt.clone()),
        });
        doubts.chain(self.warning(plan)).collect()
    }

    /// Says if the program that the image runs is not there: with a base, only if our own layers decide it. A path below a
    /// volume is left to the volume, and one that is not absolute to `PATH`.
    fn warning(&self, plan: &PlatformPlan) -> Option<Warning> {
        let (spec, lock) = (self.request.spec, self.request.lock);
        let base_config = plan.base_config.as_ref().map(|base| &base.config.config);
        let config = config::run_config(spec, base_config);
        let (key, words) = match (&config.entrypoint, &config.cmd) {
            (Some(entrypoint), _) => ("entrypoint", entrypoint),
            (None, cmd) => ("cmd", cmd.as_ref()?),
        };
        let program = words.first().filter(|program| program.starts_with('/'))?;
        let mut volumes = config.volumes.iter().flatten().map(|(path, _)| Path::new(path));
        if volumes.any(|volume| Path::new(program).starts_with(volume)) {
            return None;
        }
        let base = lock.base.as_ref();
        let base = base.and_then(|base| base.platforms.get(&plan.platform));
        let listing = base.map(|base| base.value.listing.to_listing());
        let problem = Stack::new(&plan.layers, plan.packages.as_ref(), listing.as_ref()).problem(program)?;
        Some(Warning {
            platform: plan.platform.clone(),
            about: Matter::Program {
                key,
                program: program.clone(),
                problem,
            },
        })
    }

    async fn platform(
        &self,
        plan: PlatformPlan,
        transferred: &mut Transferred,
    ) -> Result<BuiltPlatform, BuildError> {
        let PlatformPlan {
            platform,
            base_config,
            layers: planned,
            packages,
        } = plan;
        if let Some(base) = &base_config {
            self.keep_base_config(base).await?;
        }
        let mut layers = self.pass_base_on(&platform, transferred).await?;
        let base_layers = layers.len();
        let mut own = Vec::new();
        let packed = planned.iter().filter(|layer| layer.is_of_packages()).count();
        let is_new = planned.first().is_some_and(|layer| layer.tree().is_some());
        for layer in planned {
            let (descriptor, layer) = self.own_layer(&platform, layer, transferred).await?;
            self.progress.layer(&platform, &layer);
            layers.push(descriptor);
            own.push(layer);
        }
        if let Some(below) = packages.filter(|_| is_new) {
            self.keep_packages(&platform, &own[..packed], below);
        }
        let locked = self
            .request
            .lock
            .base
            .as_ref()
            .and_then(|base| base.platforms.get(&platform));
        let below = locked.map(|locked| &locked.value.layers[..]).unwrap_or_default();
        let config = config::configure(
            self.request,
            &platform,
            base_config.as_ref().map(|base| &base.config),
            below,
            &own,
        );
        let config = json::canonical(&config);
        let config = self.write_blob(media_type::CONFIG, config, transferred).await?;
        let built = BuiltPlatform {
            config: config.digest,
            base_layers,
            layers: own,
            size: layers.iter().map(|layer| layer.size).sum(),
            manifest: self
                .write_manifest(self.manifest(config, layers), transferred)
                .await?,
            platform,
        };
        self.progress.image(&built);
        Ok(built)
    }

    fn manifest(&self, config: Descriptor, layers: Vec<Descriptor>) -> RawManifest {
        let mut manifest = Manifest::image(config, layers);
        if let Some(LockedSource::Image { reference, digest }) =
            self.request.lock.base.as_ref().map(|base| &base.source.value)
        {
            manifest
                .annotations
                .insert(annotations::BASE_NAME.to_owned(), reference.clone());
            manifest
                .annotations
                .insert(annotations::BASE_DIGEST.to_owned(), digest.to_string());
        }
        manifest
            .annotations
            .extend(self.request.spec.config.annotations.clone());
        RawManifest::new(media_type::MANIFEST, json::canonical(&manifest))
    }

    /// The manifest itself if there is one platform, else an index over all.
    async fn bind(
        &self,
        built: &[BuiltPlatform],
        transferred: &mut Transferred,
    ) -> Result<Descriptor, BuildError> {
        if let [only] = built {
            return Ok(only.manifest.clone());
        }
        let entries = built
            .iter()
            .map(|image| image.manifest.clone().with_platform(image.platform.clone()));
        let mut index = Index::images(entries.collect());
        index
            .annotations
            .clone_from(&self.request.spec.config.annotations);
        self.write_manifest(
            RawManifest::new(media_type::INDEX, json::canonical(&index)),
            transferred,
        )
        .await
    }

    async fn write_blob(
        &self,
        media_type: &str,
        bytes: Vec<u8>,
        transferred: &mut Transferred,
    ) -> Result<Descriptor, BuildError> {
        let descriptor = Descriptor::of(media_type, &bytes);
        let written = self
            .output
            .write_blob(&descriptor.digest, descriptor.size, from_bytes(bytes))
            .await;
        let written = written.map_err(|source| self.write_error(descriptor.digest, source))?;
        transferred.count(descriptor.size, written);
        Ok(descriptor)
    }

    async fn write_manifest(
        &self,
        raw: RawManifest,
        transferred: &mut Transferred,
    ) -> Result<Descriptor, BuildError> {
        let (descriptor, target) = (raw.descriptor(), Target::Digest(raw.digest()));
        let failed = |source| self.write_error(raw.digest(), source);
        let written = match self.output.stat_manifest(&target).await.map_err(failed)? {
            Some(_) => Written::Present,
            None => Written::New,
        };
        // Written even if it is there: whoever collects garbage then knows that it is needed again.
        self.output
            .write_manifest(&target, &raw, &Condition::Always)
            .await
            .map_err(failed)?;
        transferred.count(descriptor.size, written);
        Ok(descriptor)
    }

    fn write_error(&self, digest: Digest, source: cairn_store::RepositoryError) -> BuildError {
        BuildError::Write {
            repository: self.output.label(),
            digest,
            source,
        }
    }
}
