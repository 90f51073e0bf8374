//! `cairn audit`

use cairn_ledger::audit::{AuditOptions, AuditReport, OtherTags};
use cairn_ledger::image::Depth;
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::ledgers::LedgerOptions;
use crate::program::Cairn;
use crate::project::Project;
use crate::terminal::counted;

/// What `cairn audit` takes.
#[derive(Debug, Args)]
pub struct Audit {
    /// Hashes every byte of every image, instead of asking whether the blobs are there
    #[arg(long)]
    pub deep: bool,
    /// Tags that could be channels and that no entry names are findings, and not only listed
    #[arg(long)]
    pub strict: bool,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    repository: String,
    #[serde(flatten)]
    report: &'a AuditReport,
}

impl Audit {
    /// Checks everything, and fails with exit code 4 if something does not match.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = Project::find(cairn)?;
        let open = self.ledger.open(cairn, project.as_ref()).await?;
        open.require()?;
        // Who keeps their Dockerfile has tags such as `build-812` here, which are nothing to the ledger.
        let options = AuditOptions {
            depth: if self.deep { Depth::Bytes } else { Depth::Presence },
            other_tags: if self.strict {
                OtherTags::Findings
            } else {
                OtherTags::Unchecked
            },
        };
        let report = open.ledger.audit(&open.opened, options).await?;
        if cairn.terminal.json {
            let repository = open.images.to_string();
            cairn.terminal.document(&Document {
                repository,
                report: &report,
            })?;
        } else {
            self.print(cairn, &report)?;
        }
        if report.ok {
            Ok(())
        } else {
            Err(Failure::silent(Exit::Integrity))
        }
    }

    fn print(&self, cairn: &Cairn, report: &AuditReport) -> Result<(), Failure> {
        let checked = &report.checked;
        let whole = |codes: &[&str]| {
            let found = report
                .findings
                .iter()
                .any(|f| codes.iter().any(|code| f.code.starts_with(code)));
            if found { "see below" } else { "whole" }
        };
        let line = |what: &str, about: String| cairn.terminal.print(format!("{what:<9}  {about}"));
        line(
            "ledger",
            format!(
                "{}, {}, {}: {}",
                counted(checked.entries, "entry", "entries"),
                counted(checked.signatures, "signature", "signatures"),
                counted(checked.heads, "head", "heads"),
                whole(&["head", "entry", "ledger", "pack"])
            ),
        )?;
        line(
            "channels",
            format!("{} compared with their tags", checked.channels),
        )?;
        let depth = if self.deep {
            "every byte hashed"
        } else {
            "blobs looked for, not hashed (--deep hashes them)"
        };
        line(
            "images",
            format!(
                "{}, {}, {}: {depth}",
                counted(checked.releases, "release", "releases"),
                counted(checked.manifests, "manifest", "manifests"),
                counted(checked.blobs, "blob", "blobs"),
            ),
        )?;
        for finding in &report.findings {
            cairn.terminal.print(format!(
                "FINDING    {}: {}: {}",
                finding.code, finding.subject, finding.message
            ))?;
        }
        let unchecked = if report.unchecked.is_empty() {
            "nothing".to_owned()
        } else {
            report.unchecked.join("; ")
        };
        line("unchecked", unchecked)?;
        line(
            "verdict",
            if report.ok {
                "no finding".to_owned()
            } else {
                counted(report.findings.len() as u64, "finding", "findings")
            },
        )
    }
}
