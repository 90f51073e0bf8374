//! `cairn diff`

use std::sync::Arc;

use cairn_build::diff::{FieldChange, FileChange, FileChanges, ImageDiff, PlatformDiff, Side, diff_images};
use cairn_layer::Limits;
use cairn_ledger::{Version, query};
use cairn_oci::{Descriptor, Digest};
use cairn_store::{RawManifest, Repository, Target};
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::ledgers::{LedgerOptions, OpenLedger};
use crate::place::Place;
use crate::program::Cairn;
use crate::terminal::{bytes, counted, short};

/// How many paths of each kind are shown without `--all`.
const SHOWN: usize = 20;

/// What `cairn diff` takes.
#[derive(Debug, Args)]
pub struct Diff {
    /// The first image: a reference, a place such as oci:DIR, or a channel, version or digest of the repository
    #[arg(value_name = "A")]
    pub before: String,
    /// The second image
    #[arg(value_name = "B")]
    pub after: String,
    /// Shows every path
    #[arg(long)]
    pub all: bool,
    /// Which ledger, for channels and versions.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// An image that was found.
struct Found {
    repository: Arc<dyn Repository>,
    manifest: RawManifest,
    /// What the ledger says of it, if it was named by a channel or version of the ledger.
    known: Option<Known>,
}

/// What the ledger says of an image.
struct Known {
    version: Option<String>,
    commit: Option<String>,
}

impl Known {
    fn of(open: &OpenLedger, name: &str, digest: &Digest) -> Self {
        let state = open.opened.state();
        let shown = name.parse().ok().and_then(|channel| state?.shows(&channel));
        let named = name.parse::<Version>().ok().filter(|_| shown.is_none());
        let any = || {
            state?
                .versions_of(digest)
                .next()
                .map(|(version, _)| version.clone())
        };
        let version = shown
            .and_then(|shown| shown.version.clone())
            .or(named)
            .or_else(any);
        let release = version
            .as_ref()
            .and_then(|version| query::show(&open.opened, version));
        let bound =
            release.and_then(|release| release.bound.into_iter().find(|bound| bound.digest == *digest));
        Self {
            version: version.map(|version| version.to_string()),
            commit: bound.and_then(|bound| bound.source?.commit),
        }
    }
}

impl Found {
    fn side(&self) -> Side<'_> {
        Side {
            repository: &*self.repository,
            manifest: &self.manifest,
        }
    }

    fn known_line(&self, name: &str) -> Option<String> {
        let known = self.known.as_ref()?;
        let version = known.version.as_deref().filter(|version| *version != name);
        let version = version.map(|version| format!("{version}, ")).unwrap_or_default();
        let commit = known.commit.as_ref().map(|commit| format!(", commit {commit}"));
        let digest = short(&self.manifest.digest());
        Some(format!("{name}  {version}{digest}{}", commit.unwrap_or_default()))
    }
}

impl Diff {
    /// Says what tells the images apart. Differences are no failure.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let ledger = self.open_ledger(cairn).await?;
        let before = find(cairn, ledger.as_ref(), &self.before).await?;
        let after = find(cairn, ledger.as_ref(), &self.after).await?;
        let diff = diff_images(before.side(), after.side(), &Limits::default()).await?;
        if cairn.terminal.json {
            return cairn.terminal.document(&self.document((&before, &after), &diff));
        }
        for (name, found) in [(&self.before, &before), (&self.after, &after)] {
            if let Some(line) = found.known_line(name) {
                cairn.terminal.print(line)?;
            }
        }
        self.print(cairn, &diff)
    }

    /// The ledger of the project, or of the repository that was named, if one of the names can only be found there.
    async fn open_ledger(&self, cairn: &Cairn) -> Result<Option<OpenLedger>, Failure> {
        let names = [&self.before, &self.after];
        if !names.into_iter().any(|name| may_be_in_ledger(name)) {
            return Ok(None);
        }
        let project = self.ledger.project(cairn)?;
        if project.is_none() && self.ledger.repository.is_none() {
            return Ok(None);
        }
        self.ledger.open(cairn, project.as_ref()).await.map(Some)
    }

    fn print(&self, cairn: &Cairn, diff: &ImageDiff) -> Result<(), Failure> {
        let terminal = &cairn.terminal;
        if diff.same {
            return terminal.print("the same image");
        }
        for platform in &diff.gone {
            terminal.print(format!("{platform}  only in {}", self.before))?;
        }
        for platform in &diff.new {
            terminal.print(format!("{platform}  only in {}", self.after))?;
        }
        for platform in &diff.platforms {
            for line in self.lines(platform) {
                terminal.print(line)?;
            }
        }
        Ok(())
    }

    fn lines(&self, diff: &PlatformDiff) -> Vec<String> {
        let (before, after) = diff.digests;
        if before == after {
            return vec![format!("{}  the same image, {}", diff.platform, short(&before))];
        }
        let mut lines = vec![format!(
            "{}  {} → {}, {} → {}",
            diff.platform,
            short(&before),
            short(&after),
            bytes(diff.sizes.0),
            bytes(diff.sizes.1),
        )];
        lines.extend(self.file_lines(&diff.files));
        lines.push(match diff.config.len() {
            0 => "configuration  the same".to_owned(),
            count => format!(
                "configuration  {} changed",
                counted(count as u64, "field", "fields")
            ),
        });
        lines.extend(diff.config.iter().map(field_line));
        lines.extend(layer_lines(diff));
        lines
    }

    fn file_lines(&self, files: &FileChanges) -> Vec<String> {
        let mut head = format!(
            "files          {} added, {} removed, {} changed, {} the same",
            files.added.len(),
            files.removed.len(),
            files.changed.len(),
            files.same + files.times,
        );
        if files.times > 0 {
            head.push_str(&format!(" ({} with another time)", files.times));
        }
        let mut lines = vec![head];
        for (sign, changes) in [('+', &files.added), ('-', &files.removed), ('~', &files.changed)] {
            let shown = self.shown(changes);
            lines.extend(shown.iter().map(|change| file_line(sign, change)));
            let more = changes.len() - shown.len();
            if more > 0 {
                lines.push(format!("  {sign} and {more} more: --all shows them"));
            }
        }
        lines
    }

    fn shown<'c>(&self, changes: &'c [FileChange]) -> &'c [FileChange] {
        let most = if self.all { changes.len() } else { SHOWN };
        &changes[..changes.len().min(most)]
    }
}

/// A digest alone, or a name without a repository.
fn may_be_in_ledger(name: &str) -> bool {
    name.parse::<Digest>().is_ok() || !name.contains(['/', ':', '@'])
}

/// A channel, version or digest of the ledger's repository if the ledger knows it; else what the name says as a place.
async fn find(cairn: &Cairn, ledger: Option<&OpenLedger>, name: &str) -> Result<Found, Failure> {
    let ledger = ledger.filter(|_| may_be_in_ledger(name));
    let named = ledger.and_then(|open| {
        let digest = name.parse().ok().or_else(|| query::digest_of(&open.opened, name));
        digest.map(|digest: Digest| (&open.images, digest, Known::of(open, name, &digest)))
    });
    let Some((images, digest, known)) = named else {
        if let (Some(open), true) = (ledger, name.parse::<Version>().is_ok()) {
            let text = format!("{} has no release {name}", open.images);
            return Err(
                Failure::new(Exit::Input, text).with_hint("cairn history shows what there is".to_owned())
            );
        }
        let place: Place = name
            .parse()
            .map_err(|error| Failure::new(Exit::Usage, format!("`{name}`: {error}")))?;
        let (repository, manifest) = cairn.find_place(&place).await?;
        return Ok(Found {
            repository,
            manifest,
            known: None,
        });
    };
    let repository = cairn.open(images).await?;
    match repository.read_manifest(&Target::Digest(digest)).await? {
        Some(manifest) => Ok(Found {
            repository,
            manifest,
            known: Some(known),
        }),
        None if name.parse::<Digest>().is_ok() => Err(Failure::new(
            Exit::Input,
            format!("{images} has no image {digest}"),
        )),
        None => {
            let text = format!("{images} lacks {digest}, which {name} names");
            Err(Failure::new(Exit::Integrity, text))
        }
    }
}

fn file_line(sign: char, change: &FileChange) -> String {
    let about = match (change.attributes.is_empty(), change.kind) {
        (true, "file") => bytes(change.size),
        (true, kind) => kind.to_owned(),
        (false, _) => attributes_text(change),
    };
    format!("  {sign} {}  {about}", change.path)
}

/// The attributes in few words: that the content differs needs no digests here.
fn attributes_text(change: &FileChange) -> String {
    let text = |attribute: &cairn_build::diff::AttributeChange| match attribute.name.as_str() {
        "content" => "content".to_owned(),
        name => format!("{name} {} → {}", attribute.before, attribute.after),
    };
    let all: Vec<_> = change.attributes.iter().map(text).collect();
    all.join(", ")
}

fn field_line(change: &FieldChange) -> String {
    match (&change.before, &change.after) {
        (None, Some(after)) => format!("  + {}  {after}", change.field),
        (Some(before), None) => format!("  - {}  {before}", change.field),
        (before, after) => format!(
            "  ~ {}  {} → {}",
            change.field,
            before.as_deref().unwrap_or_default(),
            after.as_deref().unwrap_or_default()
        ),
    }
}

fn layer_lines(diff: &PlatformDiff) -> Vec<String> {
    let sum = |layers: &[Descriptor]| bytes(layers.iter().map(|layer| layer.size).sum());
    let mut lines = vec![format!(
        "layers         {} shared ({}), {} gone, {} new: {} to move",
        diff.shared.len(),
        sum(&diff.shared),
        diff.gone.len(),
        diff.new.len(),
        sum(&diff.new),
    )];
    for (sign, layers) in [('-', &diff.gone), ('+', &diff.new)] {
        let line = |layer: &Descriptor| format!("  {sign} {}  {}", short(&layer.digest), bytes(layer.size));
        lines.extend(layers.iter().map(line));
    }
    lines
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    before: SideDocument<'a>,
    after: SideDocument<'a>,
    same: bool,
    gone: Vec<String>,
    new: Vec<String>,
    platforms: Vec<PlatformDocument<'a>>,
}

#[derive(Serialize)]
struct SideDocument<'a> {
    reference: &'a str,
    digest: Digest,
    version: Option<&'a str>,
    commit: Option<&'a str>,
}

#[derive(Serialize)]
struct PlatformDocument<'a> {
    platform: String,
    before: Digest,
    after: Digest,
    files: FilesDocument<'a>,
    config: Vec<FieldDocument<'a>>,
    layers: LayersDocument<'a>,
}

#[derive(Serialize)]
struct FilesDocument<'a> {
    added: Vec<FileDocument<'a>>,
    removed: Vec<FileDocument<'a>>,
    changed: Vec<FileDocument<'a>>,
    times: u64,
    same: u64,
}

#[derive(Serialize)]
struct FileDocument<'a> {
    path: String,
    kind: &'a str,
    size: u64,
    attributes: Vec<AttributeDocument<'a>>,
}

#[derive(Serialize)]
struct AttributeDocument<'a> {
    name: &'a str,
    before: &'a str,
    after: &'a str,
}

#[derive(Serialize)]
struct FieldDocument<'a> {
    field: &'a str,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct LayersDocument<'a> {
    shared: &'a [Descriptor],
    gone: &'a [Descriptor],
    new: &'a [Descriptor],
}

impl Diff {
    fn document<'a>(&'a self, sides: (&'a Found, &'a Found), diff: &'a ImageDiff) -> Document<'a> {
        let names = |platforms: &[cairn_oci::Platform]| platforms.iter().map(ToString::to_string).collect();
        let side = |reference, found: &'a Found| SideDocument {
            reference,
            digest: found.manifest.digest(),
            version: found.known.as_ref().and_then(|known| known.version.as_deref()),
            commit: found.known.as_ref().and_then(|known| known.commit.as_deref()),
        };
        Document {
            before: side(&self.before, sides.0),
            after: side(&self.after, sides.1),
            same: diff.same,
            gone: names(&diff.gone),
            new: names(&diff.new),
            platforms: diff.platforms.iter().map(platform_document).collect(),
        }
    }
}

fn platform_document(diff: &PlatformDiff) -> PlatformDocument<'_> {
    PlatformDocument {
        platform: diff.platform.to_string(),
        before: diff.digests.0,
        after: diff.digests.1,
        files: FilesDocument {
            added: files(&diff.files.added),
            removed: files(&diff.files.removed),
            changed: files(&diff.files.changed),
            times: diff.files.times,
            same: diff.files.same,
        },
        config: diff.config.iter().map(field_document).collect(),
        layers: LayersDocument {
            shared: &diff.shared,
            gone: &diff.gone,
            new: &diff.new,
        },
    }
}

fn files(changes: &[FileChange]) -> Vec<FileDocument<'_>> {
    changes.iter().map(file_document).collect()
}

fn file_document(change: &FileChange) -> FileDocument<'_> {
    let attributes = change.attributes.iter();
    FileDocument {
        path: change.path.to_string(),
        kind: change.kind,
        size: change.size,
        attributes: attributes
            .map(|attribute| AttributeDocument {
                name: &attribute.name,
                before: &attribute.before,
                after: &attribute.after,
            })
            .collect(),
    }
}

fn field_document(change: &FieldChange) -> FieldDocument<'_> {
    // The fields came out of a JSON document, so each is one.
    let value = |text: &Option<String>| text.as_ref().and_then(|text| serde_json::from_str(text).ok());
    FieldDocument {
        field: &change.field,
        before: value(&change.before),
        after: value(&change.after),
    }
}
