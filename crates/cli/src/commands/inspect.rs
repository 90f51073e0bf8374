//! `cairn inspect`

use bytes::Bytes;
use cairn_oci::{Descriptor, Document as Manifest, ImageConfig, Platform};
use cairn_store::{RawManifest, Repository, Target};
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::output;
use crate::place::{self, Place};
use crate::program::Cairn;
use crate::terminal::{bytes, short};

/// What `cairn inspect` takes.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The image: [host/]name:TAG, [host/]name@DIGEST, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    pub image: Place,
    /// Prints the manifest's bytes exactly as they are stored
    #[arg(long)]
    pub raw: bool,
    /// Shows only the image for this platform
    #[arg(long, value_name = "P")]
    pub platform: Option<Platform>,
    /// Prints the configuration's bytes exactly as they are stored; of an index, with --platform
    #[arg(long, conflicts_with = "raw")]
    pub config: bool,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    reference: String,
    digest: cairn_oci::Digest,
    media_type: String,
    images: Vec<Image>,
}

/// One image: the manifest, or one of an index.
#[derive(Serialize)]
struct Image {
    platform: Option<String>,
    digest: cairn_oci::Digest,
    artifact_type: Option<String>,
    size: u64,
    layers: Vec<Descriptor>,
    config: Option<ImageConfig>,
}

impl Inspect {
    /// Shows what the image is made of.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let (repository, found) = cairn.find_place(&self.image).await?;
        let manifest = match &self.platform {
            Some(platform) => output::one_platform(&*repository, &found, platform).await?,
            None => found,
        };
        if self.raw {
            return cairn.terminal.bytes(manifest.bytes());
        }
        if self.config {
            return cairn
                .terminal
                .bytes(&config_bytes(&*repository, &manifest).await?);
        }
        let images = images(&*repository, &manifest).await?;
        let document = Document {
            reference: self.image.to_string(),
            digest: manifest.digest(),
            media_type: manifest.media_type().to_string(),
            images,
        };
        if cairn.terminal.json {
            return cairn.terminal.document(&document);
        }
        print(cairn, &document)
    }
}

/// The configuration of the image; of an index, that of its only image.
async fn config_bytes(repository: &dyn Repository, manifest: &RawManifest) -> Result<Bytes, Failure> {
    let images = match manifest.document()? {
        Manifest::Manifest(image) => return place::config_bytes(repository, &image.config).await,
        Manifest::Index(index) => index.manifests,
    };
    // Some builders list what they say about an image as an image for the platform `unknown`.
    let is_image = |entry: &&Descriptor| {
        let platform = entry.platform.as_ref();
        platform.is_none_or(|platform| platform.os != "unknown")
    };
    let images: Vec<&Descriptor> = images.iter().filter(is_image).collect();
    if let [only] = images.as_slice() {
        let found = repository.read_manifest(&Target::Digest(only.digest)).await?;
        if let Some(Manifest::Manifest(image)) = found.map(|found| found.document()).transpose()? {
            return place::config_bytes(repository, &image.config).await;
        }
    }
    let platforms = images.iter().filter_map(|entry| entry.platform.as_ref());
    let platforms: Vec<String> = platforms.map(ToString::to_string).collect();
    let text = format!(
        "an index has no configuration; it has images for {}",
        platforms.join(", ")
    );
    Err(Failure::new(Exit::Input, text).with_hint("choose one: --platform P".to_owned()))
}

async fn images(repository: &dyn Repository, manifest: &RawManifest) -> Result<Vec<Image>, Failure> {
    let document = manifest.document()?;
    let Manifest::Index(index) = document else {
        return Ok(vec![image(repository, manifest, None).await?]);
    };
    let mut images = Vec::new();
    for entry in &index.manifests {
        let found = repository.read_manifest(&Target::Digest(entry.digest)).await?;
        let found = found.ok_or_else(|| {
            let text = format!(
                "{} lacks the manifest {} of the index",
                repository.label(),
                entry.digest
            );
            Failure::new(Exit::Integrity, text)
        })?;
        images.push(image(repository, &found, Some(entry)).await?);
    }
    Ok(images)
}

async fn image(
    repository: &dyn Repository,
    manifest: &RawManifest,
    entry: Option<&Descriptor>,
) -> Result<Image, Failure> {
    let listed = entry
        .and_then(|entry| entry.platform.as_ref())
        .map(ToString::to_string);
    let document = manifest.document()?;
    let artifact_type = document.artifact_type();
    let Manifest::Manifest(parsed) = document else {
        return Ok(Image {
            platform: listed,
            digest: manifest.digest(),
            artifact_type,
            size: 0,
            layers: Vec::new(),
            config: None,
        });
    };
    let config = place::config(repository, &parsed.config).await?;
    let platform = config.as_ref().map(|config| config.platform.to_string());
    Ok(Image {
        platform: platform.or(listed),
        digest: manifest.digest(),
        artifact_type: config.is_none().then_some(artifact_type).flatten(),
        size: parsed.layers.iter().map(|layer| layer.size).sum(),
        layers: parsed.layers,
        config,
    })
}

fn print(cairn: &Cairn, document: &Document) -> Result<(), Failure> {
    let terminal = &cairn.terminal;
    terminal.print(format!("{}  {}", document.digest, document.media_type))?;
    for image in &document.images {
        let platform = image
            .platform
            .as_deref()
            .or(image.artifact_type.as_deref())
            .unwrap_or("-");
        terminal.print(format!("{platform}  {}  {}", image.digest, bytes(image.size)))?;
        for layer in &image.layers {
            terminal.print(format!(
                "  layer   {}  {}  {}",
                short(&layer.digest),
                bytes(layer.size),
                layer.media_type
            ))?;
        }
        if let Some(config) = &image.config {
            print_config(cairn, config)?;
        }
    }
    Ok(())
}

fn print_config(cairn: &Cairn, config: &ImageConfig) -> Result<(), Failure> {
    let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.join(" "));
    let keys =
        |map: Option<Vec<&String>>| map.map(|keys| keys.into_iter().cloned().collect::<Vec<_>>().join(" "));
    let run = &config.config;
    let rows = [
        ("created", config.created.clone()),
        ("entrypoint", list(&run.entrypoint)),
        ("cmd", list(&run.cmd)),
        ("user", run.user.clone()),
        ("workdir", run.working_dir.clone()),
        ("env", list(&run.env)),
        (
            "expose",
            keys(run.exposed_ports.as_ref().map(|ports| ports.keys().collect())),
        ),
        (
            "volumes",
            keys(run.volumes.as_ref().map(|volumes| volumes.keys().collect())),
        ),
    ];
    for (name, value) in rows {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            cairn.terminal.print(format!("  {name:<10}  {value}"))?;
        }
    }
    for (key, value) in run.labels.iter().flatten() {
        cairn.terminal.print(format!("  label       {key}={value}"))?;
    }
    Ok(())
}
