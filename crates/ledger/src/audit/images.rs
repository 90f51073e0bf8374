//! Images: everything that versions name and channels lead to is there, and how far back each channel can go.

use std::collections::BTreeMap;

use cairn_oci::Digest;
use cairn_oci::text::counted;

use super::{Audit, AuditError};
use crate::class::Class;
use crate::finding::chain;
use crate::image::{self, Depth, ImageError};
use crate::name::Version;
use crate::state::{Binding, Bound, Shown};

impl Audit<'_> {
    /// Build records are attached to the images that were released.
    pub(super) async fn records(&mut self) -> Result<(), AuditError> {
        let images = &self.ledger.images;
        for (position, record) in self.opened.view().records().iter().enumerate() {
            let Some(digest) = record.entry.record else {
                continue;
            };
            if record
                .entry
                .digest
                .is_some_and(|image| self.state.is_pruned(&image))
            {
                continue;
            }
            let found = images.stat_blob(&digest).await;
            if self.looked(&**images, &digest, found)? == Some(None) {
                let message = format!("the build record {digest} is missing");
                self.find("record-missing", &format!("#{position}"), message);
            }
        }
        Ok(())
    }

    /// Everything that versions name, channels show, or their trails lead to.
    pub(super) async fn images(&mut self) -> Result<(), AuditError> {
        let mut wanted: BTreeMap<Digest, String> = BTreeMap::new();
        for (name, channel) in &self.state.channels {
            let kept = |shown: &&Shown| !self.state.is_pruned(&shown.digest);
            for shown in channel.trail.iter().chain(&channel.shows).filter(kept) {
                wanted.insert(shown.digest, format!("{name} ({})", shown.label()));
            }
        }
        let kept = |(_, bound): &(&Version, &Bound)| !self.state.is_pruned(&bound.digest);
        for (version, bound) in self.state.versions.iter().flat_map(named).filter(kept) {
            wanted.insert(bound.digest, version.to_string());
        }
        for (digest, entry) in &self.state.pruned {
            let message = format!("the image is no longer kept, says {entry}");
            self.note("pruned", digest, message);
        }
        for (digest, label) in wanted {
            match image::check(&*self.ledger.images, digest, self.options.depth).await {
                Ok(parts) => {
                    self.checked.manifests += parts.indexes + parts.manifests;
                    self.checked.blobs += parts.blobs;
                }
                Err(error) if error.class() == Class::Integrity => {
                    let code = match error {
                        ImageError::Manifest { .. } => "manifest-missing",
                        ImageError::Blob { .. } => "blob-missing",
                        _ => "image-damaged",
                    };
                    self.broken.insert(digest);
                    self.find(code, &error.digest(), format!("{label}: {}", chain(&error)));
                }
                Err(source) => self.could_not(AuditError::Image { digest, source })?,
            }
        }
        if self.options.depth == Depth::Presence && self.checked.blobs > 0 {
            let blobs = self.checked.blobs;
            self.not_applicable.push(format!(
                "the bytes of {blobs} blobs, which --deep hashes: only presence and size"
            ));
        }
        Ok(())
    }

    /// Whether each channel can go back as many steps as it has to.
    pub(super) fn way_back(&mut self) {
        let wanted = self.options.way_back;
        let state = self.state;
        if wanted == 0 {
            self.not_applicable
                .push("how many steps back must be possible: --way-back N says it".to_owned());
            return;
        }
        for (name, channel) in &state.channels {
            let Some(shows) = &channel.shows else { continue };
            let mut steps: Vec<&Shown> = Vec::new();
            for shown in channel.trail.iter().rev() {
                let is_known = |digest: &Digest| {
                    *digest == shows.digest || steps.iter().any(|step| step.digest == *digest)
                };
                if !is_known(&shown.digest) && !state.is_barred(&shown.digest) {
                    steps.push(shown);
                }
            }
            if steps.len() < wanted {
                let have = steps.len();
                self.not_applicable.push(format!(
                    "{} back of {name}: it showed {} before",
                    counted(wanted as u64, "step", "steps"),
                    match have {
                        0 => "nothing else".to_owned(),
                        _ => counted(have as u64, "other", "others"),
                    }
                ));
            }
            for (index, shown) in steps.iter().take(wanted).enumerate() {
                let step = format!("step {} back, {}", index + 1, shown.label());
                if state.is_pruned(&shown.digest) {
                    self.find("way-back-broken", name, format!("{step}: the image was pruned"));
                } else if self.broken.contains(&shown.digest) {
                    self.find("way-back-broken", name, format!("{step}: the image is not whole"));
                }
            }
        }
    }
}

fn named<'a>(
    (version, binding): (&'a Version, &'a Binding),
) -> impl Iterator<Item = (&'a Version, &'a Bound)> {
    binding
        .bound
        .iter()
        .filter(|bound| bound.yanked.is_none())
        .map(move |bound| (version, bound))
}
