//! The inputs of a lock, kept beside the image that was made of them: packages, and what URLs gave.
//!
//! They are the layers of an artifact whose subject is the image. So they stay as long as the image does, are copied with what else
//! refers to it, and any client of registries can fetch them, by the names in their annotations. A build looks for them by digest
//! alone, in the image's repository: what it believes is the lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_build::{Fetcher as _, Lock, LockedPackage};
use cairn_oci::{Descriptor, Digest, Manifest, json, media_type};
use cairn_store::transfer::{Transfer, Transferred};
use cairn_store::{Memory, RawManifest, Repository, from_bytes};

use crate::cache::Cached;
use crate::failure::Failure;
use crate::fetch::{Downloads, without_query};
use crate::places::Places;
use crate::program::Cairn;
use crate::progress::Bar;
use crate::project::Project;
use crate::terminal::{counted, moved};

/// The type of the artifact.
pub const ARTIFACT_TYPE: &str = "application/vnd.cairn.inputs.v1";
/// A package, as IANA has registered it.
const PACKAGE_TYPE: &str = "application/vnd.debian.binary-package";
/// What a URL gave.
const FILE_TYPE: &str = "application/octet-stream";
/// The most layers of one artifact: its manifest stays below 2 MiB, and registries take 4.
const LAYERS_LIMIT: usize = 4096;
/// The annotation with a layer's name (image-spec, "Pre-Defined Annotation Keys").
const TITLE: &str = "org.opencontainers.image.title";
/// The configuration of an artifact that has none (image-spec, "Guidance for an empty descriptor").
const NO_CONFIG: &[u8] = b"{}";

/// What a lock takes from elsewhere.
enum Input<'l> {
    Package(&'l LockedPackage),
    Url { url: &'l str, size: u64 },
}

/// All packages and URLs of a lock, each digest once.
fn inputs(lock: &Lock) -> BTreeMap<Digest, Input<'_>> {
    let mut inputs = BTreeMap::new();
    for (url, pin) in &lock.fetched {
        let size = pin.value.size;
        inputs.insert(pin.value.digest, Input::Url { url, size });
    }
    let packages = lock
        .packages
        .iter()
        .flat_map(|packages| &packages.value.platforms);
    for package in packages.flat_map(|(_, packages)| &packages.value) {
        inputs.insert(package.digest, Input::Package(package));
    }
    inputs
}

impl Input<'_> {
    fn descriptor(&self, digest: Digest) -> Descriptor {
        let (media_type, size, url) = match self {
            Self::Package(package) => (PACKAGE_TYPE, package.size, package.url.as_str()),
            Self::Url { url, size } => (FILE_TYPE, *size, *url),
        };
        let url = without_query(url);
        let name = url.rsplit('/').next().filter(|name| !name.is_empty());
        Descriptor {
            annotations: BTreeMap::from([(TITLE.to_owned(), name.unwrap_or(url).to_owned())]),
            ..Descriptor::new(media_type, digest, size)
        }
    }
}

/// The artifacts that keep the inputs of `lock` for the image `subject`: none if there are no inputs, seldom more than one.
fn artifacts(inputs: &BTreeMap<Digest, Input<'_>>, subject: &RawManifest) -> Vec<RawManifest> {
    let layers: Vec<_> = inputs
        .iter()
        .map(|(digest, input)| input.descriptor(*digest))
        .collect();
    let artifact = |layers: &[Descriptor]| {
        let manifest = Manifest {
            subject: Some(subject.descriptor()),
            ..Manifest::artifact(ARTIFACT_TYPE, layers.to_vec())
        };
        RawManifest::new(media_type::MANIFEST, json::canonical(&manifest))
    };
    layers.chunks(LAYERS_LIMIT).map(artifact).collect()
}

/// Keeps the inputs of the project's lock in `images`, beside the image `subject` that is there.
///
/// # Errors
///
/// When an input cannot be had, or not be written; nothing refers to what was.
pub async fn keep(
    cairn: &Cairn,
    project: &Project,
    images: &Arc<dyn Repository>,
    subject: &RawManifest,
) -> Result<Transferred, Failure> {
    let Some(lock) = project.lock() else {
        return Ok(Transferred::default());
    };
    let inputs = inputs(lock);
    if inputs.is_empty() {
        cairn
            .terminal
            .step("inputs", "none to keep: the lock pins no packages and no URLs");
        return Ok(Transferred::default());
    }
    bring(cairn, project, &**images, &inputs).await?;
    // What is not there yet is read from the cache.
    let memory = Memory::new().open(&project.spec.image.name.value);
    let config = (Digest::of(NO_CONFIG), NO_CONFIG.len() as u64);
    memory
        .write_blob(&config.0, config.1, from_bytes(NO_CONFIG))
        .await?;
    let cached = Cached::new(Arc::new(memory), cairn.store().await?.clone());
    let mut transferred = Transferred::default();
    {
        let (_bar, watch) = Bar::moving(&cairn.terminal, "keeping inputs");
        let transfer = Transfer::between(&cached, &**images).told_to(&watch);
        for artifact in artifacts(&inputs, subject) {
            transferred.merge(&transfer.image(&artifact).await?);
        }
    }
    let count = counted(inputs.len() as u64, "input", "inputs");
    cairn.terminal.step(
        "inputs",
        format!("{count} kept: {}", moved(&transferred, "there")),
    );
    Ok(transferred)
}

/// Brings what `images` lacks into the cache.
async fn bring(
    cairn: &Cairn,
    project: &Project,
    images: &dyn Repository,
    inputs: &BTreeMap<Digest, Input<'_>>,
) -> Result<(), Failure> {
    let bar = Bar::new(&cairn.terminal);
    let places = Places::of(cairn, project, false).await?;
    let downloads = Downloads::new(cairn, false).looking_in(places, None, Some(&bar));
    let mut packages = Vec::new();
    for (digest, input) in inputs {
        if images.stat_blob(digest).await?.is_some() {
            continue;
        }
        match input {
            Input::Package(package) => packages.push(*package),
            Input::Url { url, size } => drop(downloads.fetch(url, digest, Some(*size)).await?),
        }
    }
    downloads.expect_packages(&packages).await?;
    Ok(())
}
