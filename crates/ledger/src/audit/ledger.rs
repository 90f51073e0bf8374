//! The ledger itself: entries, heads, keys.

use cairn_store::Target;

use super::{Audit, AuditError, list, repository_error};
use crate::entry::Mode;
use crate::fold::{Record, Why};
use crate::head::{self, CAUSAL_PREFIX};
use crate::open::OpenError;
use crate::reading::read_head;
use crate::trust::HowTrusted;
use crate::waiting::{Missing, Standing};

impl Audit<'_> {
    /// Entries that were overtaken are void and nothing to find; those that nobody should have written are.
    pub(super) fn entries(&mut self) {
        let view = self.opened.view();
        self.checked.entries = view.records().len() as u64;
        self.checked.heads = view.heads.len() as u64;
        let times = view.records().iter().zip(view.records().iter().skip(1));
        // What waited for signatures was made before others that did not.
        let is_back = |two: &(&Record, &Record)| two.1.entry.at < two.0.entry.at && two.1.signers.len() < 2;
        let back = times.map(|(one, next)| (&**one, &**next)).filter(is_back).count();
        if back > 0 {
            let times = if back == 1 {
                "once".to_owned()
            } else {
                format!("{back} times")
            };
            let message =
                format!("{times} an entry says an earlier time than the one before it: clocks disagree");
            self.note("clocks", &"entries", message);
        }
        for (position, (record, outcome)) in view.records().iter().zip(view.outcomes()).enumerate() {
            self.checked.signatures += record.signers.len() as u64;
            let seq = format!("#{position}");
            for (subject, why, overtaken_by) in outcome.void() {
                let code = match why {
                    Why::NotAllowed => "entry-not-allowed",
                    Why::UnknownKind => "entry-unknown-kind",
                    Why::Repetition => "entry-repeated",
                    Why::UnusableKeys => "entry-unusable-keys",
                    Why::UnusableRules => "entry-unusable-rules",
                    Why::VersionBound => "version-bound-again",
                    _ => {
                        let by = overtaken_by.and_then(|entry| view.position(&entry));
                        let by = by.map_or_else(String::new, |seq| format!(", by #{seq}"));
                        let message = format!("no effect on {subject}: {why}{by}");
                        self.note("entry-void", &seq, message);
                        continue;
                    }
                };
                let kind = &record.entry.kind;
                let message = format!(
                    "the {kind} entry {} has no effect on {subject}: {why}",
                    record.name
                );
                self.find(code, &seq, message);
            }
        }
    }

    /// Rules that no signature can meet are no fault of the ledger, and worth knowing before somebody waits for one.
    pub(super) fn rules(&mut self) {
        let Some(at) = self.options.at else { return };
        for unmet in self.state.rules.unmet(&self.state.authority, at) {
            self.note("rule-unmet", &unmet.channel, unmet.text());
        }
    }

    pub(super) fn trust(&mut self) {
        if self.opened.how_trusted() == HowTrusted::FirstSeen {
            let text = "whether the newest entries are hidden: nothing was pinned or remembered";
            self.not_applicable.push(text.to_owned());
        }
    }

    /// What an unlisted key did is a finding until somebody who may has accepted it.
    pub(super) fn glass(&mut self) {
        for (entry, glass) in &self.state.glass {
            let seq = format!("#{}", glass.position);
            let key = self.state.authority.label(&glass.key);
            let short = head::short(entry);
            match glass.ratified {
                None => {
                    let message = format!(
                        "made by the key {key}, which was not in the ledger; cairn ratify {short} accepts it"
                    );
                    self.find("break-glass", &seq, message);
                }
                Some(by) => {
                    let by = self.opened.view().position(&by);
                    let by = by.map_or_else(String::new, |seq| format!(" by #{seq}"));
                    let message = format!("made by the key {key}, which was not in the ledger; ratified{by}");
                    self.note("break-glass", &seq, message);
                }
            }
        }
    }

    /// What waits for signatures is nothing wrong; what only says that it does, is.
    pub(super) async fn waiting(&mut self) -> Result<(), AuditError> {
        let home = &*self.ledger.home;
        let list = match self.ledger.waiting(self.opened).await {
            Ok(list) => list,
            Err(OpenError::Repository { source, .. }) => {
                return self.could_not(repository_error(home, &"what waits for signatures", source));
            }
            Err(error) => {
                self.unchecked.push(crate::finding::chain(&error));
                return Ok(());
            }
        };
        for one in list.entries.iter().filter(|one| one.standing == Standing::Open) {
            let missing: Vec<String> = one.missing.iter().map(Missing::text).collect();
            let message = format!("the {} entry waits for {}", one.entry.kind, missing.join(", "));
            self.note("entry-waits", &one.name, message);
        }
        self.findings.extend(list.findings);
        Ok(())
    }

    /// Every byte as it is stored: what was opened may have come from this machine's cache.
    pub(super) async fn stored_heads(&mut self) -> Result<(), AuditError> {
        let home = &*self.ledger.home;
        for info in &self.opened.view().heads {
            let digest = info.digest;
            let found = home.read_manifest(&Target::Digest(digest)).await;
            let Some(found) = self.looked(home, &digest, found)? else {
                continue;
            };
            let Some(manifest) = found else {
                self.find("head-missing", &digest, "the head is not there under its digest");
                continue;
            };
            match read_head(home, &manifest).await {
                Ok(_) => {}
                Err(error) if error.is_environment() => {
                    self.unchecked.push(crate::finding::chain(&error));
                }
                Err(error) => self.find("head-damaged", &digest, crate::finding::chain(&error)),
            }
        }
        Ok(())
    }

    /// Heads of causal mode beside a linear ledger are another ledger.
    pub(super) async fn head_tags(&mut self) -> Result<(), AuditError> {
        if self.state.mode != Mode::Linear {
            return Ok(());
        }
        for tag in list(&*self.ledger.home).await? {
            if tag.as_str().starts_with(CAUSAL_PREFIX) {
                self.find(
                    "head-beside",
                    &tag,
                    "a head of causal mode beside a linear ledger",
                );
            }
        }
        Ok(())
    }
}
