//! `cairn verify`

use cairn_build::diff::{Difference, Side, first_differences};
use cairn_build::verify::{Checked, ImageFinding, Report, verify_image};
use cairn_layer::Limits;
use cairn_oci::{Document as Manifest, Platform};
use cairn_store::{RawManifest, Repository, Target};
use clap::Args;
use serde::Serialize;

use crate::commands::build::{self, built_tag};
use crate::failure::{Exit, Failure};
use crate::place::{self, Place};
use crate::program::Cairn;
use crate::project::Project;
use crate::terminal::{bytes, counted};

/// The code of what building once more found.
const REBUILD: &str = "rebuild";

/// What `cairn verify` takes.
#[derive(Debug, Args)]
pub struct Verify {
    /// The image [default: the spec's last build]
    pub image: Option<Place>,
    /// Also builds the image once more from the spec and its lock, and names the first difference
    #[arg(long)]
    pub rebuild: bool,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    reference: String,
    ok: bool,
    /// Whether building once more gave the same image; none if that was not tried.
    rebuilt: Option<bool>,
    findings: Vec<FindingDocument<'a>>,
    checked: CheckedDocument,
    unchecked: &'a [String],
}

#[derive(Serialize)]
struct FindingDocument<'a> {
    code: &'static str,
    subject: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct CheckedDocument {
    manifests: u64,
    configs: u64,
    layers: u64,
    entries: u64,
    bytes: u64,
}

impl Verify {
    /// Checks every byte, and fails with exit code 4 if something does not match.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let image = match &self.image {
            Some(image) => image.clone(),
            None => Place::Reference(Project::load(cairn)?.local().at_tag(built_tag())),
        };
        let (repository, manifest) = cairn.find_place(&image).await?;
        let target = Target::Digest(manifest.digest());
        let mut report = verify_image(&*repository, &target, &Limits::default()).await?;
        let rebuilt = match self.rebuild {
            true if report.findings.is_empty() => Some(rebuild(cairn, &*repository, &manifest).await?),
            true => {
                let reason = "whether it can be rebuilt: what is there is not whole";
                report.unchecked.push(reason.to_owned());
                None
            }
            false => None,
        };
        if cairn.terminal.json {
            cairn
                .terminal
                .document(&document(&image, &report, rebuilt.as_deref()))?;
        } else {
            print(cairn, &image, &report, rebuilt.as_deref())?;
        }
        let same = rebuilt.is_none_or(|differences| differences.is_empty());
        match (report.findings.is_empty() && same, report.unchecked.is_empty()) {
            (false, _) => Err(Failure::silent(Exit::Integrity)),
            (true, false) => Err(Failure::silent(Exit::Inconclusive)),
            (true, true) => Ok(()),
        }
    }
}

/// Builds what the spec and its lock say for the platforms of the image, and compares.
async fn rebuild(
    cairn: &Cairn,
    repository: &dyn Repository,
    manifest: &RawManifest,
) -> Result<Vec<Difference>, Failure> {
    let mut project = Project::load(cairn)?;
    let platforms = platforms(repository, manifest, &project).await?;
    let (local, rebuilt) = build::rebuild(cairn, &mut project, &platforms).await?;
    let image = Side { repository, manifest };
    let rebuilt = Side {
        repository: &*local,
        manifest: &rebuilt,
    };
    Ok(first_differences(image, rebuilt, &Limits::default()).await?)
}

/// The one platform of an image, if the spec has it beside others; else all that the spec has.
async fn platforms(
    repository: &dyn Repository,
    manifest: &RawManifest,
    project: &Project,
) -> Result<Vec<Platform>, Failure> {
    let Manifest::Manifest(image) = manifest.document()? else {
        return Ok(Vec::new());
    };
    let config = place::config(repository, &image.config).await?;
    let known = project.spec.platforms();
    let one = config.and_then(|config| {
        known
            .into_iter()
            .find(|known| config.platform.satisfies(known))
            .cloned()
    });
    Ok(one.into_iter().collect())
}

fn document<'a>(image: &Place, report: &'a Report, rebuilt: Option<&'a [Difference]>) -> Document<'a> {
    let finding = |finding: &'a ImageFinding| FindingDocument {
        code: finding.code.as_str(),
        subject: &finding.subject,
        message: &finding.message,
    };
    let mut findings: Vec<_> = report.findings.iter().map(finding).collect();
    findings.extend(rebuilt.into_iter().flatten().map(|difference| FindingDocument {
        code: REBUILD,
        subject: &difference.subject,
        message: &difference.message,
    }));
    let Checked {
        manifests,
        configs,
        layers,
        entries,
        bytes,
    } = report.checked;
    Document {
        reference: image.to_string(),
        ok: findings.is_empty() && report.unchecked.is_empty(),
        rebuilt: rebuilt.map(<[_]>::is_empty),
        findings,
        checked: CheckedDocument {
            manifests,
            configs,
            layers,
            entries,
            bytes,
        },
        unchecked: &report.unchecked,
    }
}

fn print(
    cairn: &Cairn,
    image: &Place,
    report: &Report,
    rebuilt: Option<&[Difference]>,
) -> Result<(), Failure> {
    let terminal = &cairn.terminal;
    for finding in &report.findings {
        let code = finding.code.as_str();
        terminal.print(format!(
            "FINDING    {code}: {}: {}",
            finding.subject, finding.message
        ))?;
    }
    let checked = &report.checked;
    terminal.print(format!(
        "checked    {}, {}, {} with {}, {}",
        counted(checked.manifests, "manifest", "manifests"),
        counted(checked.configs, "configuration", "configurations"),
        counted(checked.layers, "layer", "layers"),
        counted(checked.entries, "entry", "entries"),
        bytes(checked.bytes)
    ))?;
    let unchecked = if report.unchecked.is_empty() {
        "nothing".to_owned()
    } else {
        report.unchecked.join("; ")
    };
    terminal.print(format!("unchecked  {unchecked}"))?;
    for difference in rebuilt.into_iter().flatten() {
        terminal.print(format!(
            "FINDING    {REBUILD}: {}: {}",
            difference.subject, difference.message
        ))?;
    }
    if let Some(differences) = rebuilt {
        let text = match differences {
            [] => "the same image, byte for byte",
            _ => "another image",
        };
        terminal.print(format!("rebuilt    {text}"))?;
    }
    let whole = report.findings.is_empty();
    terminal.print(format!("{image}: {}", if whole { "whole" } else { "not whole" }))
}
