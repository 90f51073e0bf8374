//! `cairn verify`

use cairn_build::verify::{Checked, ImageFinding, Report, verify_image};
use cairn_layer::Limits;
use cairn_store::Target;
use clap::Args;
use serde::Serialize;

use crate::commands::build::built_tag;
use crate::failure::{Exit, Failure};
use crate::place::Place;
use crate::program::Cairn;
use crate::project::Project;
use crate::terminal::{bytes, counted};

/// What `cairn verify` takes.
#[derive(Debug, Args)]
pub struct Verify {
    /// The image [default: the spec's last build]
    pub image: Option<Place>,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    reference: String,
    ok: bool,
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
        let report = verify_image(&*repository, &target, &Limits::default()).await?;
        if cairn.terminal.json {
            cairn.terminal.document(&document(&image, &report))?;
        } else {
            print(cairn, &image, &report)?;
        }
        match (report.findings.is_empty(), report.unchecked.is_empty()) {
            (false, _) => Err(Failure::silent(Exit::Integrity)),
            (true, false) => Err(Failure::silent(Exit::Inconclusive)),
            (true, true) => Ok(()),
        }
    }
}

fn document<'a>(image: &Place, report: &'a Report) -> Document<'a> {
    let finding = |finding: &'a ImageFinding| FindingDocument {
        code: finding.code.as_str(),
        subject: &finding.subject,
        message: &finding.message,
    };
    let Checked {
        manifests,
        configs,
        layers,
        entries,
        bytes,
    } = report.checked;
    Document {
        reference: image.to_string(),
        ok: report.findings.is_empty() && report.unchecked.is_empty(),
        findings: report.findings.iter().map(finding).collect(),
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

fn print(cairn: &Cairn, image: &Place, report: &Report) -> Result<(), Failure> {
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
    let whole = report.findings.is_empty();
    terminal.print(format!("{image}: {}", if whole { "whole" } else { "not whole" }))
}
