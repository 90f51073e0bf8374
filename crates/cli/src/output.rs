//! Where an image goes besides the local store: layouts, archives, and the stores of podman and Docker.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use cairn_oci::{Document, Platform, RepositoryName, Tag};
use cairn_store::archive::{Format, ImageName, ImageNameError, PackError, Package, pack};
use cairn_store::transfer::{Count, Transfer};
use cairn_store::{ByteStream, RawManifest, Repository, Target};
use clap::ValueEnum;
use futures_util::TryStreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::failure::{Exit, Failure};
use crate::place::{self, Place};
use crate::program::Cairn;

/// How much is kept of what a program says, in bytes.
const SAID_LIMIT: u64 = 64 << 10;
/// How much of that an error shows, in characters.
const SHOWN_LIMIT: usize = 500;

/// A program that has a store of images of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// `podman load`
    Podman,
    /// `docker load`
    Docker,
}

impl Engine {
    const fn program(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }

    /// podman keeps an image's digest if it comes in OCI's form; not every Docker reads that form.
    const fn format(self) -> Format {
        match self {
            Self::Podman => Format::Oci,
            Self::Docker => Format::Docker,
        }
    }
}

/// An image to be put somewhere.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    /// Its repository.
    pub repository: &'a Arc<dyn Repository>,
    /// Its manifest or index.
    pub manifest: &'a RawManifest,
    /// What archives call it unless they are told otherwise, as `localhost/NAME`.
    pub name: &'a RepositoryName,
}

const NOT_A_TRANSPORT: &str = "expected oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]; \
                               cairn push writes to a registry";

/// A place that `--output` takes: a file or a directory. Read with the arguments, before anything is built.
///
/// # Errors
///
/// When it is no place, or a reference.
pub fn transport(text: &str) -> Result<Place, String> {
    match text.parse::<Place>() {
        Ok(Place::Reference(_)) => Err(NOT_A_TRANSPORT.to_owned()),
        Ok(place) => Ok(place),
        Err(error) if text.contains(':') => Err(error.to_string()),
        Err(_) => Err(NOT_A_TRANSPORT.to_owned()),
    }
}

/// What stands for the image's name in an output.
pub const NAME: &str = "{name}";

/// The outputs of the image `name`.
///
/// # Errors
///
/// When what they become is none.
pub fn named(outputs: &[Place], name: &RepositoryName) -> Result<Vec<Place>, Failure> {
    let named = |output: &Place| {
        let text = output.to_string();
        if !text.contains(NAME) {
            return Ok(output.clone());
        }
        let named = text.replace(NAME, name.as_str()).parse();
        named.map_err(|error| Failure::new(Exit::Usage, format!("--output {text}: {error}")))
    };
    outputs.iter().map(named).collect()
}

/// The tag of an output that names none.
#[must_use]
pub fn latest() -> Tag {
    #[expect(clippy::expect_used, reason = "a constant that follows the grammar")]
    "latest".parse().expect("`latest` is a tag")
}

/// Writes the image to the layouts and archives `outputs`. Whether it fits everywhere is known before the first is begun.
///
/// # Errors
///
/// When it does not fit somewhere, or cannot be written; an archive is then as it was.
pub async fn write(cairn: &Cairn, image: &Image<'_>, outputs: &[Place]) -> Result<(), Failure> {
    let mut packages = Vec::new();
    for output in outputs {
        packages.push(package(image, output).await?);
    }
    for (output, package) in outputs.iter().zip(packages) {
        match (output, package) {
            (Place::Layout { directory, tag }, _) => {
                write_layout(cairn, image, directory, tag.as_ref()).await?;
            }
            (Place::Archive { file, .. }, Some(package)) => {
                package.write(&cairn.directory().join(file)).await?;
            }
            _ => {}
        }
        cairn.terminal.step("output", output.to_string());
    }
    Ok(())
}

/// What becomes the file of an archive; none for a layout.
async fn package(image: &Image<'_>, output: &Place) -> Result<Option<Package>, Failure> {
    match output {
        Place::Layout { .. } => Ok(None),
        Place::Archive { format, name, .. } => {
            let name = image_name(name.as_deref(), image.name)?;
            let package = pack(Arc::clone(image.repository), image.manifest, *format, &name).await?;
            Ok(Some(package))
        }
        Place::Reference(_) => Err(Failure::new(
            Exit::Usage,
            format!("--output {output}: {NOT_A_TRANSPORT}"),
        )),
    }
}

async fn write_layout(
    cairn: &Cairn,
    image: &Image<'_>,
    directory: &Path,
    tag: Option<&Tag>,
) -> Result<(), Failure> {
    let layout = cairn.create_layout(directory)?;
    let transfer = Transfer::between(&**image.repository, &layout);
    transfer.image(image.manifest).await?;
    let tag = tag.cloned().unwrap_or_else(latest);
    place::tag(&layout, &tag, image.manifest).await
}

/// Writes the image as the archive `file`, whole or not at all, and says how much is in it.
///
/// # Errors
///
/// When it does not fit, or cannot be written.
pub async fn write_archive(
    cairn: &Cairn,
    image: &Image<'_>,
    format: Format,
    file: &Path,
    name: &ImageName,
) -> Result<Count, Failure> {
    let package = pack(Arc::clone(image.repository), image.manifest, format, name).await?;
    package.write(&cairn.directory().join(file)).await?;
    Ok(package.count())
}

/// The name that `text` asks for: a tag, or a name with a tag; without it `localhost/NAME:latest`.
///
/// # Errors
///
/// When `text` is neither.
pub fn image_name(text: Option<&str>, repository: &RepositoryName) -> Result<ImageName, Failure> {
    let Some(text) = text else {
        return Ok(ImageName::local(repository, latest()));
    };
    if let Ok(tag) = text.parse::<Tag>() {
        return Ok(ImageName::local(repository, tag));
    }
    text.parse()
        .map_err(|error: ImageNameError| Failure::new(Exit::Usage, error.to_string()))
}

/// Puts the image for this machine into the store of `engine`, and gives the name that it has there.
///
/// # Errors
///
/// When the image is not for this machine, or the program is missing or fails.
pub async fn load(cairn: &Cairn, image: &Image<'_>, engine: Engine) -> Result<String, Failure> {
    let manifest = for_this_machine(image).await?;
    let name = ImageName::local(image.name, latest());
    let package = pack(Arc::clone(image.repository), &manifest, engine.format(), &name).await?;
    let said = feed(engine.program(), package.content()).await?;
    let loaded = said.lines().find_map(|line| line.strip_prefix("Loaded image: "));
    let name = loaded.map_or_else(|| name.to_string(), |name| name.trim().to_owned());
    cairn
        .terminal
        .step("loaded", format!("{}, {name}", engine.program()));
    Ok(name)
}

async fn for_this_machine(image: &Image<'_>) -> Result<RawManifest, Failure> {
    match image.manifest.document()? {
        Document::Manifest(_) => Ok(image.manifest.clone()),
        Document::Index(_) => one_platform(&**image.repository, image.manifest, &this_machine()).await,
    }
}

/// The platform of containers on this machine: Linux, also where a virtual machine runs them.
fn this_machine() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    };
    Platform::new("linux", architecture)
}

/// The image for `platform`: a single one must be for it, of an index it is the first that is.
///
/// # Errors
///
/// When there is none; the platforms that there are are listed.
pub async fn one_platform(
    repository: &dyn Repository,
    manifest: &RawManifest,
    platform: &Platform,
) -> Result<RawManifest, Failure> {
    let none = |offered: &[String]| {
        let text = format!(
            "the image is not for {platform}; it is for {}",
            offered.join(", ")
        );
        Failure::new(Exit::Input, text)
    };
    let entries = match manifest.document()? {
        Document::Index(index) => index.manifests,
        Document::Manifest(image) => {
            let found = place::config(repository, &image.config).await?;
            return match found {
                Some(config) if config.platform.satisfies(platform) => Ok(manifest.clone()),
                Some(config) => Err(none(&[config.platform.to_string()])),
                None => Err(none(&["no platform".to_owned()])),
            };
        }
    };
    let fits = |offered: &Platform| offered.satisfies(platform);
    let Some(entry) = entries
        .iter()
        .find(|entry| entry.platform.as_ref().is_some_and(fits))
    else {
        let offered = entries.iter().filter_map(|entry| entry.platform.as_ref());
        let offered = offered.filter(|platform| platform.os != "unknown");
        return Err(none(&offered.map(ToString::to_string).collect::<Vec<_>>()));
    };
    let found = repository.read_manifest(&Target::Digest(entry.digest)).await?;
    found.ok_or_else(|| {
        let text = format!(
            "{} lacks the manifest {} of the index",
            repository.label(),
            entry.digest
        );
        Failure::new(Exit::Integrity, text)
    })
}

/// Runs `PROGRAM load` with `content` on its stdin, and gives what it said on stdout.
async fn feed(program: &str, content: ByteStream) -> Result<String, Failure> {
    let mut child = start(program)?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let write = async {
        match stdin {
            Some(stdin) => send(content, stdin).await,
            None => Ok(()),
        }
    };
    let (sent, said, complained) = tokio::join!(write, listen(stdout), listen(stderr));
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Environment,
            format!("cannot wait for {program} load: {error}"),
        )
    };
    if let Err(Sent::Content(error)) = sent {
        // Half an archive must not look like a whole one.
        child.kill().await.map_err(failed)?;
        return Err(PackError::from_stream(error).into());
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() && sent.is_ok() {
        return Ok(said);
    }
    let text = match complained.trim() {
        "" => format!("{program} load failed: {status}"),
        words => format!("{program} load failed: {status}: {}", last_words(words)),
    };
    Err(Failure::new(Exit::Environment, text))
}

fn start(program: &str) -> Result<Child, Failure> {
    let mut command = Command::new(program);
    command.arg("load").kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(Exit::Environment, format!("{program} is not installed")).with_hint(
                "--output docker-archive:FILE writes a file that can be loaded elsewhere".to_owned(),
            )
        }
        _ => Failure::new(Exit::Environment, format!("cannot start {program}: {error}")),
    })
}

/// Who broke off.
enum Sent {
    /// The image cannot be read to its end.
    Content(std::io::Error),
    /// The program does not listen any more.
    Program,
}

async fn send(mut content: ByteStream, mut stdin: tokio::process::ChildStdin) -> Result<(), Sent> {
    while let Some(piece) = content.try_next().await.map_err(Sent::Content)? {
        stdin.write_all(&piece).await.map_err(|_| Sent::Program)?;
    }
    stdin.shutdown().await.map_err(|_| Sent::Program)
}

/// The first part of what a program says; the rest is heard and forgotten, so that it is never held up.
async fn listen(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let mut part = (&mut stream).take(SAID_LIMIT);
        // A pipe that breaks ends what was said.
        let _broken = part.read_to_end(&mut bytes).await;
        let _rest = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a complaint on one line.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let line = lines.join("; ");
    let skipped = line.chars().count().saturating_sub(SHOWN_LIMIT);
    line.chars().skip(skipped).collect()
}
