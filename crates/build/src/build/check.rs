//! What a build would do again, and why, without doing any of it.
//!
//! Nothing is written, no local file is read, and nothing is asked for that is not in the output. What is said comes from
//! the records of earlier builds: without them, a layer counts as not known.

use cairn_layer::TreePath;
use cairn_oci::{Descriptor, Digest, Document, Manifest, Platform, annotations, json, media_type};
use cairn_store::{RawManifest, Repository, Target};

use super::plan::{Body, Plan, PlannedLayer};
use super::{Build, BuildError, BuildRequest, BuiltLayer, Silent, config, own};
use crate::inputs::Inputs;
use crate::lock::LockedSource;
pub use crate::records::{Aspect, Change};
use crate::records::{Record, Snapshot};

/// What was found for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformCheck {
    /// For which machine.
    pub platform: Platform,
    /// Our own layers, lowest first.
    pub layers: Vec<LayerCheck>,
    /// Why the image would be another; none if it would not.
    pub image: Option<ImageWhy>,
}

/// What was found for one of our own layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCheck {
    /// Its name in the spec; `users` for the layer that adds users.
    pub name: String,
    /// Which part of a layer that is split, counted from 1, and of how many.
    pub part: Option<(usize, usize)>,
    /// Why it would be built again; none if it would not.
    pub why: Option<LayerWhy>,
}

/// Why a layer would be built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerWhy {
    /// No build of it is known here.
    Unknown,
    /// It looks as when it was built last, but the files were then too new to tell them from ones that change.
    TooNew,
    /// It is known what it would be, and the output does not have that.
    Missing,
    /// Another version of Cairn built it, or with another compression or modification time.
    Rules,
    /// What changed since it was built last, by path.
    Changes(Vec<(TreePath, Change)>),
}

/// Why an image would be another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageWhy {
    /// There is none for this platform yet.
    New,
    /// The base is another.
    Base {
        /// What the last build had; none: it had no base.
        from: Option<String>,
        /// What the lock pins; none: there is no base any more.
        to: Option<String>,
    },
    /// A layer would be built again; whether it comes out as before, only a build can tell.
    Layers,
    /// Configuration, annotations, or the order of the layers.
    Configuration,
    /// The base's configuration is not in the output, so that nothing can be said.
    Unknown,
}

/// Looks for what [`build`](super::build()) would do again. `last` is the image that was built last.
/// Of `inputs` only what the spec fetches is asked for, and that waits in temporary files.
///
/// # Errors
///
/// [`BuildError`] for everything that a build finds before it writes.
pub async fn check(
    request: &BuildRequest<'_>,
    inputs: &dyn Inputs,
    output: &dyn Repository,
    last: Option<&Digest>,
) -> Result<Vec<PlatformCheck>, BuildError> {
    let build = Build::new(request, inputs, output, &Silent);
    build.check_lock()?;
    let platforms = build.platforms()?;
    let last = build.last_images(last).await?;
    let mut checks = Vec::new();
    for (platform, Plan { layers, .. }) in build.plan_layers(&platforms).await? {
        checks.push(build.check_platform(platform, layers, &last).await?);
    }
    Ok(checks)
}

impl Build<'_> {
    async fn check_platform(
        &self,
        platform: Platform,
        planned: Vec<PlannedLayer>,
        last: &[(Option<Platform>, RawManifest)],
    ) -> Result<PlatformCheck, BuildError> {
        let (mut layers, mut known) = (Vec::new(), Vec::new());
        for layer in planned {
            let (check, record) = self.check_layer(&platform, &layer).await?;
            known.extend(record.map(|record| {
                let media_type = self.layer_options(&layer).compression.media_type();
                let descriptor = Descriptor::new(media_type, record.digest, record.size);
                (descriptor, own::known(&layer, &record))
            }));
            layers.push(check);
        }
        let last = match last {
            [(None, only)] => Some(only),
            several => several
                .iter()
                .find(|(of, _)| of.as_ref() == Some(&platform))
                .map(|(_, manifest)| manifest),
        };
        let image = match last {
            None => Some(ImageWhy::New),
            Some(last) => self.check_image(&platform, last, layers.len(), known).await?,
        };
        Ok(PlatformCheck {
            platform,
            layers,
            image,
        })
    }

    /// With the record of the layer, if it needs not be built.
    async fn check_layer(
        &self,
        platform: &Platform,
        layer: &PlannedLayer,
    ) -> Result<(LayerCheck, Option<Record>), BuildError> {
        let (why, record) = self.why_layer(platform, layer).await?;
        let check = LayerCheck {
            name: layer.name.clone(),
            part: layer.part,
            why,
        };
        Ok((check, record))
    }

    async fn why_layer(
        &self,
        platform: &Platform,
        layer: &PlannedLayer,
    ) -> Result<(Option<LayerWhy>, Option<Record>), BuildError> {
        let tree = match &layer.body {
            Body::Tree(tree) => tree,
            Body::Known(record) => return Ok((None, Some(*record))),
        };
        let Some(records) = self.request.records else {
            return Ok((Some(LayerWhy::Unknown), None));
        };
        let now = Snapshot::of(tree, &self.layer_options(layer), records.began());
        if let Some(record) = records.find(&now.fingerprint()) {
            return Ok(match self.has_blob(&record.digest, record.size).await? {
                true => (None, Some(record)),
                false => (Some(LayerWhy::Missing), None),
            });
        }
        let why = match records.last(&layer.key(platform)) {
            None => LayerWhy::Unknown,
            Some(last) if last.fingerprint() == now.fingerprint() => LayerWhy::TooNew,
            Some(last) => why_changed(&now, &last),
        };
        Ok((Some(why), None))
    }

    async fn check_image(
        &self,
        platform: &Platform,
        last: &RawManifest,
        own: usize,
        known: Vec<(Descriptor, BuiltLayer)>,
    ) -> Result<Option<ImageWhy>, BuildError> {
        if let Some(moved) = self.base_moved(last) {
            return Ok(Some(moved));
        }
        if known.len() < own {
            return Ok(Some(ImageWhy::Layers));
        }
        let base = match self.base_config(platform).await {
            Ok(base) => base,
            Err(BuildError::InputMissing { .. } | BuildError::Input { .. }) => {
                return Ok(Some(ImageWhy::Unknown));
            }
            Err(error) => return Err(error),
        };
        let locked = self.locked(platform).map(|locked| &locked.layers[..]);
        let locked = locked.unwrap_or_default();
        let (own_layers, own): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        let config = config::configure(
            self.request,
            platform,
            base.as_ref().map(|base| &base.config),
            locked,
            &own,
        );
        let config = Descriptor::of(media_type::CONFIG, &json::canonical(&config));
        let layers = locked
            .iter()
            .map(|layer| layer.descriptor.clone())
            .chain(own_layers);
        let manifest = self.manifest(config, layers.collect());
        Ok((manifest.digest() != last.digest()).then_some(ImageWhy::Configuration))
    }

    fn base_moved(&self, last: &RawManifest) -> Option<ImageWhy> {
        if self
            .request
            .spec
            .config
            .annotations
            .contains_key(annotations::BASE_DIGEST)
        {
            return None;
        }
        let to = match self.request.lock.base.as_ref().map(|base| &base.source.value) {
            Some(LockedSource::Image { digest, .. }) => Some(digest.to_string()),
            _ => None,
        };
        let from = match last.document() {
            Ok(Document::Manifest(Manifest { annotations: of, .. })) => {
                of.get(annotations::BASE_DIGEST).cloned()
            }
            _ => None,
        };
        (from != to).then_some(ImageWhy::Base { from, to })
    }

    /// The images that `last` names, with the platform where an index says it.
    async fn last_images(
        &self,
        last: Option<&Digest>,
    ) -> Result<Vec<(Option<Platform>, RawManifest)>, BuildError> {
        let Some(digest) = last else {
            return Ok(Vec::new());
        };
        let Some(top) = self.last_manifest(digest).await? else {
            return Ok(Vec::new());
        };
        let Ok(Document::Index(index)) = top.document() else {
            return Ok(vec![(None, top)]);
        };
        let mut images = Vec::new();
        for entry in index.manifests {
            if let Some(manifest) = self.last_manifest(&entry.digest).await? {
                images.push((entry.platform, manifest));
            }
        }
        Ok(images)
    }

    async fn last_manifest(&self, digest: &Digest) -> Result<Option<RawManifest>, BuildError> {
        let found = self.output.read_manifest(&Target::Digest(*digest)).await;
        found.map_err(|source| BuildError::Input {
            digest: *digest,
            source,
        })
    }
}

fn why_changed(now: &Snapshot, last: &Snapshot) -> LayerWhy {
    let changes = now.changes_since(last);
    if changes.is_empty() || !now.has_rules_of(last) {
        return LayerWhy::Rules;
    }
    let by_path = |(path, change): (Vec<u8>, Change)| Some((TreePath::new(path).ok()?, change));
    LayerWhy::Changes(changes.into_iter().filter_map(by_path).collect())
}
