//! `cairn audit`

use cairn_ledger::audit::{AuditOptions, AuditReport, OtherTags};
use cairn_ledger::finding::Finding;
use cairn_ledger::image::Depth;
use clap::Args;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::ledgers::{HeadDocument, LedgerOptions, OpenLedger, ahead};
use crate::program::Cairn;
use crate::terminal::{ago, counted, minute};

/// What `cairn audit` takes.
#[derive(Debug, Args)]
pub struct Audit {
    /// Hashes every byte of every image, instead of asking whether the blobs are there
    #[arg(long)]
    pub deep: bool,
    /// Tags that could be channels and that no entry names are findings, and not only listed
    #[arg(long)]
    pub strict: bool,
    /// Fails if one of the last N steps back of a channel cannot be taken: its image was pruned, or is not whole
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub way_back: usize,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    ledger: HeadDocument,
    trust: String,
    #[serde(flatten)]
    report: &'a AuditReport,
}

impl Audit {
    /// Checks everything: fails with exit code 4 if something does not match, else with 5 if something could not be looked at.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let project = self.ledger.project(cairn)?;
        let place = self.ledger.place(cairn, project.as_ref())?;
        let open = place.anew().open(cairn).await?;
        open.tell_trust(cairn);
        open.require()?;
        // Who keeps their Dockerfile has tags such as `build-812` here, which are nothing to the ledger.
        let options = AuditOptions {
            depth: if self.deep { Depth::Bytes } else { Depth::Presence },
            other_tags: if self.strict {
                OtherTags::Findings
            } else {
                OtherTags::Unchecked
            },
            way_back: self.way_back,
            at: Some(cairn.environment.now()),
        };
        let report = open.ledger.audit(&open.opened, options).await?;
        if cairn.terminal.json {
            cairn.terminal.document(&document(&open, &report))?;
        } else {
            self.print(cairn, &open, &report)?;
        }
        match (report.ok, report.unchecked.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(Failure::silent(Exit::Inconclusive)),
            (false, _) => Err(Failure::silent(Exit::Integrity)),
        }
    }

    fn print(&self, cairn: &Cairn, open: &OpenLedger, report: &AuditReport) -> Result<(), Failure> {
        let checked = &report.checked;
        let whole = |codes: &[&str]| {
            let found = report
                .findings
                .iter()
                .any(|f| codes.iter().any(|code| f.code.starts_with(code)));
            if found { "see below" } else { "whole" }
        };
        let line = |what: &str, about: String| cairn.terminal.print(format!("{what:<11}  {about}"));
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
        if let Some(head) = open.opened.head() {
            let now = cairn.environment.now();
            let age = match ahead(head.at, now) {
                Some(ahead) => format!("{ahead} from now"),
                None => format!("{} old", ago(now.as_second() - head.at.as_second())),
            };
            let at = format!("of {} UTC, {age}; {}", minute(head.at), trust(open));
            line("head", at)?;
        }
        line(
            "channels",
            format!("{} compared with their tags", checked.channels),
        )?;
        let depth = if self.deep {
            "every byte hashed"
        } else {
            "blobs looked for, not hashed"
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
        let attached = counted(checked.referrers, "statement", "statements");
        line("referrers", format!("{attached} compared with the ledger"))?;
        let told = |finding: &Finding| format!("{}: {}: {}", finding.code, finding.subject, finding.message);
        for finding in &report.findings {
            line("FINDING", told(finding))?;
        }
        for note in &report.notes {
            line("note", told(note))?;
        }
        for unchecked in &report.unchecked {
            line("UNCHECKED", unchecked.clone())?;
        }
        for skipped in &report.not_applicable {
            line("not checked", skipped.clone())?;
        }
        let findings = match report.findings.len() {
            0 => "no finding".to_owned(),
            count => counted(count as u64, "finding", "findings"),
        };
        let verdict = match report.unchecked.len() {
            0 => findings,
            count => format!("{findings}; {count} could not be checked"),
        };
        line("verdict", verdict)
    }
}

/// Why the ledger is believed to be the right one.
fn trust(open: &OpenLedger) -> String {
    open.opened.how_trusted().to_string()
}

fn document<'a>(open: &OpenLedger, report: &'a AuditReport) -> Document<'a> {
    Document {
        ledger: HeadDocument::of(open),
        trust: trust(open),
        report,
    }
}
