//! `cairn build`, and the build that push and release begin with.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use cairn_build::build::Progress;
use cairn_build::resolve::Update;
use cairn_build::spec::BaseSource;
use cairn_build::{
    BuildError, BuildRequest, Built, BuiltLayer, BuiltPlatform, FetchError, Lock, Records, Releases,
    RepositoryInputs, SegmentCounts,
};
use cairn_layer::Limits;
use cairn_oci::{Digest, Platform, Reference, Tag};
use cairn_store::transfer::Transferred;
use cairn_store::{Memory, RawManifest, Repository, Target, files};
use clap::Args;
use serde::Serialize;

use crate::cache::Cached;
use crate::commands::check;
use crate::commands::lock::pin_text;
use crate::distant::{Distant, absent_layers};
use crate::failure::{Classify as _, Exit, Failure};
use crate::fetch::{BuildInputs, Downloads};
use crate::offline;
use crate::output::{self, Engine};
use crate::place::{self, Place};
use crate::places::Places;
use crate::program::Cairn;
use crate::progress::Bar;
use crate::project::Project;
use crate::terminal::{Terminal, bytes, counted};

/// After how long what came of a download that broke off is of no use any more: a week.
const KEPT_PARTS: std::time::Duration = files::LEFT_BEHIND.saturating_mul(7);

/// What every verb takes that builds first.
#[derive(Debug, Clone, Default, Args)]
pub struct BuildOptions {
    /// Fails if the lock lacks a pin [default: when CI is set]
    #[arg(long)]
    pub locked: bool,
    /// Adds missing pins to the lock, also when CI is set
    #[arg(long, conflicts_with = "locked")]
    pub no_locked: bool,
    /// Asks no registry and no URL for anything
    #[arg(long)]
    pub offline: bool,
    /// Compresses layers with N threads, and fetches N packages at once; the result is the same [default: one for each
    /// processor, and 6]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}

/// What `cairn build` takes.
#[derive(Debug, Args)]
pub struct Build {
    /// Builds only this platform of the spec's; may be repeated
    #[arg(long = "platform", value_name = "P")]
    pub platforms: Vec<Platform>,
    /// Writes the image there too: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]; {name} in it
    /// is the image's name; may be repeated
    #[arg(long = "output", value_name = "TRANSPORT", value_parser = output::transport)]
    pub outputs: Vec<Place>,
    /// Puts the image for this machine into the store of podman or Docker, as localhost/NAME:latest
    #[arg(long, value_name = "ENGINE")]
    pub load: Option<Engine>,
    /// Builds nothing, and says what would be built again and why
    #[arg(long, conflicts_with_all = ["outputs", "load"])]
    pub check: bool,
    /// How to build.
    #[command(flatten)]
    pub options: BuildOptions,
}

/// An image in the local store.
#[derive(Debug)]
pub struct LocalImage {
    /// What was built.
    pub built: Built,
    /// Its manifest or index.
    pub manifest: RawManifest,
    /// Its repository in the local store.
    pub repository: Arc<dyn Repository>,
    /// The repository's name.
    pub reference: Reference,
    /// The base image, if it has one.
    pub base: Option<Reference>,
}

/// What an image is built for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Purpose<'a> {
    /// The repository of a registry that it is pushed to: what is there, and layers of its base, need not come here. None: it
    /// is to be whole in the local store.
    destination: Option<&'a Reference>,
    /// Whose layers are taken over, where the image goes to a repository that has them.
    releases: Option<&'a dyn Releases>,
}

impl<'a> Purpose<'a> {
    /// To be in the local store, with every byte made here.
    pub const KEEP: Self = Self {
        destination: None,
        releases: None,
    };

    /// For an image that goes to `destination` and nowhere else, with layers of `releases`.
    #[must_use]
    pub fn of(destination: &'a Reference, releases: &'a dyn Releases) -> Self {
        Self {
            destination: destination.host.is_some().then_some(destination),
            releases: Some(releases),
        }
    }
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    reference: String,
    digest: Digest,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded: Option<String>,
    #[serde(flatten)]
    transferred: Transferred,
    platforms: Vec<PlatformDocument>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct PlatformDocument {
    platform: String,
    digest: Digest,
    size: u64,
    layers: Vec<LayerDocument>,
}

#[derive(Serialize)]
struct LayerDocument {
    name: String,
    digest: Digest,
    diff_id: Digest,
    size: u64,
    files: u64,
    reused: bool,
}

/// The tag of the last build in the local store.
pub fn built_tag() -> Tag {
    #[expect(clippy::expect_used, reason = "a constant that follows the grammar")]
    "built".parse().expect("`built` is a tag")
}

impl Build {
    /// What comes before images of a workspace are built side by side: they have one lock.
    pub async fn prepare(&self, cairn: &Cairn) -> Result<(), Failure> {
        if self.check {
            return Ok(());
        }
        let mut project = Project::load(cairn)?;
        complete_lock(cairn, &mut project, &self.platforms, &self.options).await
    }

    /// Builds, and prints the digest.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let started = Instant::now();
        let mut project = Project::load(cairn)?;
        if self.check {
            return check::run(cairn, &project, &self.platforms).await;
        }
        let before = last_build(cairn, &project).await?;
        let image = build(cairn, &mut project, &self.platforms, &self.options, Purpose::KEEP).await?;
        let out = output::Image {
            repository: &image.repository,
            manifest: &image.manifest,
            name: &image.reference.name,
        };
        let outputs = output::named(&self.outputs, out.name)?;
        output::write(cairn, &out, &outputs).await?;
        let loaded = match self.load {
            Some(engine) => Some(output::load(cairn, &out, engine).await?),
            None => None,
        };
        cairn.flush().await?;
        let changed = before != Some(image.built.digest);
        tell_built(cairn, &image, changed, started);
        if cairn.terminal.json {
            return cairn.terminal.document(&Document {
                loaded,
                ..document(&image, changed)
            });
        }
        cairn.terminal.print(image.built.digest.to_string())
    }
}

/// What `built` shows.
pub async fn last_build(cairn: &Cairn, project: &Project) -> Result<Option<Digest>, Failure> {
    let repository = cairn.open(&project.local()).await?;
    let found = repository.stat_manifest(&Target::Tag(built_tag())).await?;
    Ok(found.map(|descriptor| descriptor.digest))
}

fn tell_built(cairn: &Cairn, image: &LocalImage, changed: bool, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let how = if changed {
        "built"
    } else {
        "built again, nothing changed,"
    };
    let what = work(&image.built, cairn.segment_counts());
    cairn.terminal.say(format!("{how} in {seconds:.2} s: {what}"));
    cairn.terminal.detail(format!(
        "{} in the local store, tag {}",
        image.reference,
        built_tag()
    ));
}

/// `3 layers (2 as before), 12.3 MB read, 1.1 MB compressed, the rest as before`
fn work(built: &Built, segments: SegmentCounts) -> String {
    let layers: Vec<&BuiltLayer> = built.platforms.iter().flat_map(|image| &image.layers).collect();
    let count = |of: fn(&BuiltLayer) -> bool| layers.iter().filter(|layer| of(layer)).count();
    let sum = |of: fn(&BuiltLayer) -> u64| -> u64 {
        let read = layers.iter().filter(|layer| layer.read);
        read.map(|layer| of(layer)).sum()
    };
    let before = match count(|layer| layer.reused) {
        0 => String::new(),
        reused if reused == layers.len() => " as before".to_owned(),
        reused => format!(" ({reused} as before)"),
    };
    let read = if count(|layer| layer.read) == 0 {
        "nothing read".to_owned()
    } else {
        let (read, written) = (sum(|layer| layer.uncompressed), sum(|layer| layer.size));
        let compressed = match segments {
            SegmentCounts { found: 0, .. } => format!("{} compressed", bytes(written)),
            SegmentCounts { added: 0, .. } => "nothing to compress".to_owned(),
            SegmentCounts { added_bytes, .. } => {
                format!("{} compressed, the rest as before", bytes(added_bytes))
            }
        };
        format!("{} read, {compressed}", bytes(read))
    };
    format!(
        "{}{before}, {read}",
        counted(layers.len() as u64, "layer", "layers")
    )
}

fn document(image: &LocalImage, changed: bool) -> Document {
    Document {
        repository: image.reference.to_string(),
        reference: image.reference.at_digest(image.built.digest).to_string(),
        digest: image.built.digest,
        changed,
        loaded: None,
        transferred: image.built.transferred,
        platforms: image.built.platforms.iter().map(platform_document).collect(),
        warnings: {
            let warnings = image.built.warnings.iter();
            warnings
                .filter(|warning| !warning.is_minor())
                .map(ToString::to_string)
                .collect()
        },
    }
}

fn platform_document(built: &BuiltPlatform) -> PlatformDocument {
    PlatformDocument {
        platform: built.platform.to_string(),
        digest: built.manifest.digest,
        size: built.size,
        layers: built.layers.iter().map(layer_document).collect(),
    }
}

fn layer_document(layer: &BuiltLayer) -> LayerDocument {
    LayerDocument {
        name: layer.title(),
        digest: layer.digest,
        diff_id: layer.diff_id,
        size: layer.size,
        files: layer.files,
        reused: layer.reused,
    }
}

/// Builds the project's image into the local store and points `built` at it, unless it is built for another `purpose` and
/// one of its layers is not here.
///
/// # Errors
///
/// Everything that is wrong with spec, lock or files; then `built` is where it was.
pub async fn build(
    cairn: &Cairn,
    project: &mut Project,
    platforms: &[Platform],
    options: &BuildOptions,
    purpose: Purpose<'_>,
) -> Result<LocalImage, Failure> {
    complete_lock(cairn, project, platforms, options).await?;
    let reference = project.local();
    let base = inputs(cairn, project, options).await?;
    let places = Places::of(cairn, project, options.offline).await?;
    let scratch = cairn.store_path()?.join("cache/scratch");
    let records = records(cairn, &reference, Records::open)?;
    let lock = resolved_lock(project)?;
    let (repository, distant) = open_output(cairn, project, platforms, options, purpose).await?;
    let request = BuildRequest {
        spec: &project.spec,
        lock: &lock,
        directory: &project.directory,
        platforms,
        scratch: &scratch,
        limits: Limits::default(),
        engine: cairn.engine(options.jobs)?,
        records: records.as_ref(),
        releases: purpose.releases.filter(|_| !options.offline),
    };
    // What builds left that were killed. Whatever is wrong with the directory, the build finds too, and says better.
    let _later = files::discard_leftovers(&scratch, files::LEFT_BEHIND);
    let _later = files::discard_leftovers(&cairn.store_path()?.join("cache/partial"), KEPT_PARTS);
    let bar = Bar::new(&cairn.terminal);
    let at_once = options.jobs.map(NonZeroUsize::get);
    let inputs = BuildInputs {
        base,
        downloads: Downloads::new(cairn, options.offline).looking_in(places, at_once, Some(&bar)),
    };
    let lines = Lines {
        terminal: &cairn.terminal,
        bar: &bar,
        name: reference.name.as_str(),
        several: platforms.len() != 1 && project.spec.image.platforms.len() > 1,
    };
    let built = cairn_build::build(&request, &inputs, &*repository, &lines).await;
    drop(inputs);
    drop(bar);
    cairn.tidy_segments();
    let built = built.map_err(|error| build_failure(cairn, project, error))?;
    let all = cairn.terminal.verbose;
    for warning in built.warnings.iter().filter(|warning| all || !warning.is_minor()) {
        cairn.terminal.warn(warning.to_string());
    }
    let manifest = just_built(&*repository, built.digest).await?;
    if distant.is_some_and(|distant| distant.holds(&built.digest)) {
        let built = built_tag();
        let text = "is not moved: not all layers of the image are here";
        cairn.terminal.step(&format!("tag {built}"), text);
    } else {
        place::tag(&*repository, &built_tag(), &manifest).await?;
    }
    let base = match project.spec.base.as_ref().map(|base| &base.source.value) {
        Some(BaseSource::Image(base)) => Some(base.clone()),
        _ => None,
    };
    Ok(LocalImage {
        built,
        manifest,
        repository,
        reference,
        base,
    })
}

/// Builds the image once more from its lock, without anything that earlier builds found out, and moves no tag.
///
/// # Errors
///
/// As [`build()`]; a lock that lacks a pin is one.
pub async fn rebuild(
    cairn: &Cairn,
    project: &mut Project,
    platforms: &[Platform],
) -> Result<(Arc<dyn Repository>, RawManifest), Failure> {
    let options = BuildOptions {
        locked: true,
        ..BuildOptions::default()
    };
    complete_lock(cairn, project, platforms, &options).await?;
    let inputs = BuildInputs {
        base: inputs(cairn, project, &options).await?,
        downloads: Downloads::new(cairn, false).looking_in(
            Places::of(cairn, project, false).await?,
            None,
            None,
        ),
    };
    let scratch = cairn.store_path()?.join("cache/scratch");
    let lock = resolved_lock(project)?;
    let repository = cairn.open(&project.local()).await?;
    let request = BuildRequest {
        spec: &project.spec,
        lock: &lock,
        directory: &project.directory,
        platforms,
        scratch: &scratch,
        limits: Limits::default(),
        // Nothing that an earlier build left behind may take part.
        records: None,
        releases: None,
        engine: cairn_layer::Engine {
            cache: None,
            ..cairn.engine(None)?
        },
    };
    let built = cairn_build::build(&request, &inputs, &*repository, &cairn_build::Silent).await;
    let built = built.map_err(|error| build_failure(cairn, project, error))?;
    let manifest = just_built(&*repository, built.digest).await?;
    Ok((repository, manifest))
}

/// The lock, once it is complete.
fn resolved_lock(project: &Project) -> Result<Lock, Failure> {
    let lock = project.lock().cloned();
    lock.ok_or_else(|| Failure::new(Exit::Bug, "a lock was resolved and is not there"))
}

async fn just_built(repository: &dyn Repository, digest: Digest) -> Result<RawManifest, Failure> {
    let manifest = repository.read_manifest(&Target::Digest(digest)).await?;
    manifest.ok_or_else(|| Failure::new(Exit::Integrity, "what was just built is gone"))
}

/// What earlier builds of this image found out. Without a place for a cache, there is nothing.
pub fn records(
    cairn: &Cairn,
    image: &Reference,
    open: fn(&std::path::Path, &str) -> Records,
) -> Result<Option<Records>, Failure> {
    let scope = format!("{}\0{image}", cairn.store_path()?.display());
    Ok(cairn.cache_path().map(|cache| open(&cache, &scope)))
}

/// Where the image is built to, and the same again if what it is made of may stay away. Says what has to come from where.
async fn open_output(
    cairn: &Cairn,
    project: &Project,
    platforms: &[Platform],
    options: &BuildOptions,
    purpose: Purpose<'_>,
) -> Result<(Arc<dyn Repository>, Option<Arc<Distant>>), Failure> {
    let local = cairn.open(&project.local()).await?;
    let absent = match project.lock() {
        Some(lock) if !options.offline => absent_layers(cairn, &*local, lock, platforms).await?,
        _ => BTreeMap::new(),
    };
    let base = match project.spec.base.as_ref().map(|base| &base.source.value) {
        Some(BaseSource::Image(base)) if base.host.is_some() && !absent.is_empty() => Some(base),
        _ => None,
    };
    if let Some(base) = base {
        let count = counted(absent.len() as u64, "layer", "layers");
        let about = format!("{count}, {}", bytes(absent.values().sum()));
        let from = base.without_target();
        let text = match purpose.destination {
            Some(_) => format!("{about}, left in {from}"),
            None => format!("{about}, to fetch from {from}"),
        };
        cairn.terminal.step("base", text);
    }
    let Some(destination) = purpose.destination.filter(|_| !options.offline) else {
        return Ok((local, None));
    };
    let mut distant = Distant::new(local, cairn.open(&destination.without_target()).await?);
    if let Some(base) = base {
        distant = distant.with_base(cairn.open(base).await?, absent);
    }
    let distant = Arc::new(distant);
    Ok((Arc::clone(&distant) as Arc<dyn Repository>, Some(distant)))
}

async fn complete_lock(
    cairn: &Cairn,
    project: &mut Project,
    platforms: &[Platform],
    options: &BuildOptions,
) -> Result<(), Failure> {
    let missing = project.missing_pins();
    if let Some(why) = why_not_to_resolve(cairn, project, options).filter(|_| !missing.is_empty()) {
        let file = project.lock_name();
        let lacks = match project.lock() {
            Some(_) => format!("the lock does not pin {}", missing.join(", ")),
            None => format!("there is no {file}"),
        };
        return Err(Failure::new(Exit::Input, format!("{why}, and {lacks}"))
            .with_hint(format!("run cairn lock, and commit {file}")));
    }
    if options.offline {
        offline::check_inputs(cairn, project, platforms).await?;
    }
    let change = project
        .resolve(cairn, Update::AddMissing, options.offline)
        .await?;
    for pin in &change.changes {
        cairn
            .terminal
            .detail(format!("  {:<16} {}", "pin", pin_text(pin)));
    }
    Ok(())
}

/// Why pins may not be added to the lock now, if they may not.
fn why_not_to_resolve(cairn: &Cairn, project: &Project, options: &BuildOptions) -> Option<&'static str> {
    let base = project.spec.base.as_ref().map(|base| &base.source.value);
    let from_registry = matches!(base, Some(BaseSource::Image(reference)) if reference.host.is_some());
    let pinned = project.lock().and_then(|lock| lock.base.as_ref());
    let is_pinned =
        pinned.is_some_and(|base| (project.spec.platforms()).all(|of| base.platforms.contains_key(of)));
    // What URLs give is known by its digest, and may be in the cache.
    let asks_registry = from_registry && !is_pinned;
    if options.locked {
        Some("--locked is given")
    } else if cairn.environment.is_ci() && !options.no_locked {
        Some("CI is set")
    } else {
        (options.offline && asks_registry).then_some("--offline is given")
    }
}

/// Findings are drawn in the text that they are in.
pub fn build_failure(cairn: &Cairn, project: &Project, error: BuildError) -> Failure {
    match error {
        BuildError::Spec { findings } => project.spec_findings(cairn, &findings, "nothing was built"),
        BuildError::Conflict { findings } => project.lock_findings(cairn, &findings, "nothing was built"),
        BuildError::Fetch {
            source: FetchError::Nowhere { packages },
        } => {
            let hint = FetchError::Nowhere { packages: Vec::new() }.hint();
            Failure::silent(Exit::Environment)
                .and(packages.iter().map(ToString::to_string))
                .with_hint(hint)
        }
        error => error.into(),
    }
}

/// Where the base's content is.
async fn inputs(
    cairn: &Cairn,
    project: &Project,
    options: &BuildOptions,
) -> Result<RepositoryInputs, Failure> {
    let mut inputs = RepositoryInputs::default();
    match project.spec.base.as_ref().map(|base| &base.source.value) {
        Some(BaseSource::Image(reference)) if reference.host.is_none() => {
            inputs.repositories.push(cairn.open(reference).await?);
            inputs.siblings.push(reference.name.clone());
        }
        Some(BaseSource::Image(reference)) if !options.offline => {
            inputs.repositories.push(cairn.open_base(reference).await?);
        }
        Some(BaseSource::Image(_)) => {
            let nothing = Memory::new().open(&project.spec.image.name.value);
            let store = cairn.store().await?.clone();
            inputs
                .repositories
                .push(Arc::new(Cached::new(Arc::new(nothing), store)));
        }
        _ => {}
    }
    Ok(inputs)
}

/// One line for each layer and image.
struct Lines<'a> {
    terminal: &'a Terminal,
    bar: &'a Bar,
    name: &'a str,
    /// Whether lines must say for which platform.
    several: bool,
}

impl Progress for Lines<'_> {
    fn counter(&self) -> Option<Arc<AtomicU64>> {
        Some(self.bar.counter())
    }

    fn planned(&self, layers: usize) {
        self.bar.planned(layers);
    }

    fn writing(&self, layer: &str, bytes: u64) {
        self.bar.layer(layer, bytes);
    }

    fn layer(&self, platform: &Platform, layer: &BuiltLayer) {
        let which = if self.several {
            format!("{platform}, ")
        } else {
            String::new()
        };
        let files = counted(layer.files, "file", "files");
        let sizes = format!("{} → {}", bytes(layer.uncompressed), bytes(layer.size));
        let reused = match &layer.release {
            Some(release) => format!(", as {release} had it"),
            None if layer.reused => ", as before".to_owned(),
            None => String::new(),
        };
        self.bar.layer_done();
        self.bar.aside(|| {
            self.terminal.step(
                &format!("layer {}", layer.title()),
                format!("{which}{files}, {sizes}{reused}"),
            );
        });
    }

    fn image(&self, image: &BuiltPlatform) {
        let layers = counted((image.base_layers + image.layers.len()) as u64, "layer", "layers");
        let about = format!("{}, {layers}, {}", image.platform, bytes(image.size));
        self.bar
            .aside(|| self.terminal.step(&format!("image {}", self.name), about));
    }
}
