//! What is attached to images in the ledger's name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_oci::{Descriptor, Digest, Document, json};
use cairn_store::{Page, Target};
use serde::Deserialize;

use super::{Audit, AuditError, repository_error};
use crate::content;
use crate::entry::{EntryName, PREDICATE_TYPE};
use crate::envelope::ENVELOPE_LIMIT;
use crate::name::Version;
use crate::referrer::{BUNDLE_TYPE, Referrer};
use crate::state::Bound;

/// How many statements are looked at for one image, beside one for each of its releases.
const STATEMENT_LIMIT: usize = 256;

/// What is read of a bundle; others may have put more into it.
#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "dsseEnvelope")]
    envelope: Envelope,
}

#[derive(Deserialize)]
struct Envelope {
    payload: String,
}

#[derive(Deserialize)]
struct Statement {
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Predicate {
    ledger: Option<EntryName>,
}

/// What a bundle states: the name of its entry, and of the ledger that the entry says it belongs to.
fn stated(bundle: &[u8]) -> Option<(EntryName, Option<EntryName>)> {
    let bundle: Bundle = json::parse(bundle, 2 * ENVELOPE_LIMIT).ok()?;
    let payload = STANDARD.decode(bundle.envelope.payload).ok()?;
    let statement = json::parse::<Statement>(&payload, ENVELOPE_LIMIT).ok();
    let ledger = statement.and_then(|statement| statement.predicate.ledger);
    Some((Digest::of(&payload), ledger))
}

impl Audit<'_> {
    pub(super) async fn attached(&mut self, version: &Version, bound: &Bound) -> Result<(), AuditError> {
        let images = &*self.ledger.images;
        let subject = images.stat_manifest(&Target::Digest(bound.digest)).await;
        let Some(subject) = self.looked(images, &bound.digest, subject)? else {
            return Ok(());
        };
        let record = self.opened.view().find(&bound.entry).map(|(_, record, _)| record);
        let referrer = record
            .zip(subject)
            .and_then(|(record, subject)| Referrer::of(record, subject));
        // Without the image there is nothing to refer to, and that is a finding already.
        let Some(referrer) = referrer else { return Ok(()) };
        let digest = referrer.manifest.digest();
        let found = images.stat_manifest(&Target::Digest(digest)).await;
        if self.looked(images, &digest, found)? == Some(None) {
            self.find(
                "referrer-missing",
                version,
                format!("the release is not attached to {}", bound.digest),
            );
        }
        Ok(())
    }

    /// What is attached to an image in the ledger's name must be an entry of it, about this image. So many of its releases stand.
    pub(super) async fn strangers(&mut self, image: Digest, releases: usize) -> Result<(), AuditError> {
        let limit = STATEMENT_LIMIT.saturating_add(releases);
        let images = &*self.ledger.images;
        let mut page = Page::first();
        let mut looked_at = 0;
        loop {
            let part = images.list_referrers(&image, Some(BUNDLE_TYPE), &page).await;
            let subject = format!("the referrers of {image}");
            let Some(part) = self.looked(images, &subject, part)? else {
                return Ok(());
            };
            for referrer in &part.manifests {
                looked_at += 1;
                if looked_at > limit {
                    self.unchecked.push(format!(
                        "statements attached to {image}: there are more than {limit}"
                    ));
                    return Ok(());
                }
                self.statement(image, referrer).await?;
            }
            match part.next {
                Some(next) if page.after.as_ref() != Some(&next) => page.after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    async fn statement(&mut self, image: Digest, referrer: &Descriptor) -> Result<(), AuditError> {
        let images = &*self.ledger.images;
        let digest = referrer.digest;
        let manifest = images.read_manifest(&Target::Digest(digest)).await;
        // One that is gone by now says nothing.
        let Some(Some(manifest)) = self.looked(images, &digest, manifest)? else {
            return Ok(());
        };
        let Ok(Document::Manifest(manifest)) = manifest.document() else {
            return Ok(());
        };
        let predicate = manifest.annotations.get("dev.sigstore.bundle.predicateType");
        if predicate.map(String::as_str) != Some(PREDICATE_TYPE) {
            return Ok(());
        }
        self.checked.referrers += 1;
        let Some(layer) = manifest.layers.first() else {
            return Ok(());
        };
        // A bundle has the envelope in base64, and little beside it.
        let bundle = content::read(images, layer, 2 * ENVELOPE_LIMIT as u64).await;
        let unreadable = format!("{digest}, attached to it, says that it is an entry, and cannot be read");
        let bundle = match bundle {
            Ok(bundle) => bundle,
            Err(content::ContentError::Repository { source, .. }) => {
                return self.could_not(repository_error(images, &layer.digest, source));
            }
            Err(_) => {
                self.find("referrer-differs", &image, unreadable);
                return Ok(());
            }
        };
        let Some((name, ledger)) = stated(&bundle) else {
            self.find("referrer-differs", &image, unreadable);
            return Ok(());
        };
        match self.opened.view().find(&name) {
            Some((_, record, _)) if record.entry.digest == Some(image) => {}
            Some((seq, _, _)) => {
                let message =
                    format!("{digest}, attached to it, is the entry #{seq}, which is about something else");
                self.find("referrer-differs", &image, message);
            }
            None if ledger == Some(self.state.ledger) => {
                let message = format!(
                    "{digest}, attached to it, states the entry {name}, which the ledger lacks: it is hidden, or was never acknowledged"
                );
                self.find("referrer-differs", &image, message);
            }
            None => {
                let message = format!("{digest}, attached to it, is an entry of another ledger");
                self.note("referrer-of-another", &image, message);
            }
        }
        Ok(())
    }
}
