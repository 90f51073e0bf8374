//! Checks every byte of an image in a repository.

use std::collections::BTreeMap;
use std::fmt;

use cairn_layer::{Limits, ReadSummary, read_layer};
use cairn_oci::{Descriptor, Digest, Document, ImageConfig, Manifest, Platform, config, media_type};
use cairn_store::transfer::DEPTH_LIMIT;
use cairn_store::{RawManifest, ReadBytes, Repository, RepositoryError, Target, collect, verified};

use crate::blocking::{feed, pipe, run};
use crate::document::chain;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What does not match. Empty, and nothing unchecked: every byte is what the manifest says.
    pub findings: Vec<ImageFinding>,
    /// What was checked.
    pub checked: Checked,
    /// What was not checked, each with the reason.
    pub unchecked: Vec<String>,
}

/// One thing that does not match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageFinding {
    /// What kind of thing.
    pub code: Code,
    /// The digest or tag that it is about.
    pub subject: String,
    /// What is wrong; may contain untrusted text.
    pub message: String,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// It is not there.
    Missing,
    /// Its bytes do not have its digest.
    Digest,
    /// It does not have its size.
    Size,
    /// A manifest or index is none.
    Manifest,
    /// A configuration is none, or does not fit the manifest.
    Config,
    /// A layer's uncompressed form is not the one that the configuration names.
    DiffId,
    /// A layer breaks the rules for layers, or a bound.
    Layer,
    /// An image is not for the platform that the index says.
    Platform,
}

impl Code {
    /// Its name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Digest => "digest",
            Self::Size => "size",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::DiffId => "diff-id",
            Self::Layer => "layer",
            Self::Platform => "platform",
        }
    }
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Manifests and indexes.
    pub manifests: u64,
    /// Configurations.
    pub configs: u64,
    /// Layers, each once.
    pub layers: u64,
    /// Entries of the layers.
    pub entries: u64,
    /// Bytes read, compressed.
    pub bytes: u64,
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The repository failed.
    #[error("cannot check {subject}")]
    Repository {
        /// What was being checked.
        subject: String,
        /// Why not.
        source: RepositoryError,
    },
    /// Content broke off before its end.
    #[error("cannot read {digest} to its end")]
    Broken {
        /// Which content.
        digest: Digest,
        /// Why not.
        source: std::io::Error,
    },
}

/// Checks the image at `target`: manifests and their bytes, configurations, and of each layer size, digest,
/// uncompressed digest and the form of its archive, within `limits`.
///
/// What does not match is a finding; what could not be read at all is an error.
///
/// # Errors
///
/// [`VerifyError`].
pub async fn verify_image(
    repository: &dyn Repository,
    target: &Target,
    limits: &Limits,
) -> Result<Report, VerifyError> {
    let mut check = Check {
        repository,
        limits,
        report: Report::default(),
        layers: BTreeMap::new(),
    };
    check.image(target).await?;
    check.report.findings.sort();
    check.report.findings.dedup();
    Ok(check.report)
}

struct Check<'a> {
    repository: &'a dyn Repository,
    limits: &'a Limits,
    report: Report,
    /// The uncompressed digest of each layer that could be read.
    layers: BTreeMap<Digest, Option<Digest>>,
}

impl Check<'_> {
    fn find(&mut self, code: Code, subject: &dyn fmt::Display, message: impl Into<String>) {
        self.report.findings.push(ImageFinding {
            code,
            subject: subject.to_string(),
            message: message.into(),
        });
    }

    /// Walks the index and what it lists, without recursion.
    async fn image(&mut self, target: &Target) -> Result<(), VerifyError> {
        let mut waiting: Vec<(Target, Option<Descriptor>, usize)> = vec![(target.clone(), None, 0)];
        while let Some((target, expected, depth)) = waiting.pop() {
            let Some(raw) = self.read_manifest(&target, expected.as_ref()).await? else {
                continue;
            };
            match raw.document() {
                Ok(Document::Manifest(manifest)) => {
                    let platform = expected.and_then(|expected| expected.platform);
                    self.manifest(&raw, &manifest, platform.as_ref()).await?;
                }
                Ok(Document::Index(_)) if depth == DEPTH_LIMIT => {
                    let message = format!("indexes are nested deeper than {DEPTH_LIMIT} levels");
                    self.find(Code::Manifest, &raw.digest(), message);
                }
                Ok(Document::Index(index)) => {
                    let below = index.manifests.into_iter().rev();
                    waiting.extend(below.map(|entry| (Target::Digest(entry.digest), Some(entry), depth + 1)));
                }
                Err(error) => self.find(Code::Manifest, &raw.digest(), chain(&error)),
            }
        }
        Ok(())
    }

    /// The manifest, if it is there with the digest and size that it should have.
    async fn read_manifest(
        &mut self,
        target: &Target,
        expected: Option<&Descriptor>,
    ) -> Result<Option<RawManifest>, VerifyError> {
        let raw = match self.repository.read_manifest(target).await {
            Ok(Some(raw)) => raw,
            Ok(None) => {
                self.find(
                    Code::Missing,
                    target,
                    format!("{} does not have it", self.repository.label()),
                );
                return Ok(None);
            }
            Err(error) => return self.content_error(target.to_string(), error).map(|()| None),
        };
        self.report.checked.manifests += 1;
        self.report.checked.bytes += raw.bytes().len() as u64;
        if let Target::Digest(digest) = target
            && *digest != raw.digest()
        {
            self.find(
                Code::Digest,
                digest,
                format!("its bytes have the digest {}", raw.digest()),
            );
            return Ok(None);
        }
        if let Some(expected) = expected.filter(|expected| expected.size != raw.bytes().len() as u64) {
            let message = format!(
                "it has {} bytes; the index says {}",
                raw.bytes().len(),
                expected.size
            );
            self.find(Code::Size, &raw.digest(), message);
        }
        Ok(Some(raw))
    }

    /// Content that is not what it should be is a finding; everything else an error.
    fn content_error(&mut self, subject: String, error: RepositoryError) -> Result<(), VerifyError> {
        let code = match &error {
            RepositoryError::Digest { .. } => Code::Digest,
            RepositoryError::Size { .. } => Code::Size,
            RepositoryError::Manifest { .. } | RepositoryError::TooLarge { .. } => Code::Manifest,
            _ => {
                return Err(VerifyError::Repository {
                    subject,
                    source: error,
                });
            }
        };
        self.find(code, &subject, chain(&error));
        Ok(())
    }

    async fn manifest(
        &mut self,
        raw: &RawManifest,
        manifest: &Manifest,
        platform: Option<&Platform>,
    ) -> Result<(), VerifyError> {
        if manifest.config.media_type.to_oci() != media_type::CONFIG {
            return self.artifact(raw, manifest).await;
        }
        let config = self.config(&manifest.config).await?;
        if let Some(config) = &config {
            self.check_config(raw, manifest, config, platform);
        }
        for (position, layer) in manifest.layers.iter().enumerate() {
            if layer.media_type.is_nondistributable() {
                let reason = format!(
                    "the layer {}: its type may be stored elsewhere only",
                    layer.digest
                );
                self.report.unchecked.push(reason);
                continue;
            }
            let found = self.layer(layer).await?;
            let expected = config
                .as_ref()
                .and_then(|config| config.rootfs.diff_ids.get(position));
            if let (Some(found), Some(expected)) = (found, expected)
                && found != *expected
            {
                let message = format!("uncompressed it is {found}; the configuration says {expected}");
                self.find(Code::DiffId, &layer.digest, message);
            }
        }
        Ok(())
    }

    /// What is no image has blobs all the same; what they mean is not known here.
    async fn artifact(&mut self, raw: &RawManifest, manifest: &Manifest) -> Result<(), VerifyError> {
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            let Some(content) = self.open(blob).await? else {
                continue;
            };
            match feed(content, Vec::new()).await {
                Ok(()) => self.report.checked.bytes += blob.size,
                Err(error) => self.stream_error(blob.digest, error)?,
            }
        }
        let kind = &manifest.config.media_type;
        self.report
            .unchecked
            .push(format!("what is in {}: it is no image but {kind}", raw.digest()));
        Ok(())
    }

    fn check_config(
        &mut self,
        raw: &RawManifest,
        manifest: &Manifest,
        config: &ImageConfig,
        platform: Option<&Platform>,
    ) {
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            let message = format!("it names {diff_ids} layers; the manifest has {layers}");
            self.find(Code::Config, &manifest.config.digest, message);
        }
        let described = config
            .history
            .iter()
            .filter(|entry| entry.empty_layer != Some(true))
            .count();
        if described != 0 && described != layers {
            let message = format!("its history describes {described} layers; the manifest has {layers}");
            self.find(Code::Config, &manifest.config.digest, message);
        }
        if let Some(platform) = platform.filter(|platform| !config.platform.satisfies(platform)) {
            let message = format!(
                "the index says {platform}; its configuration says {}",
                config.platform
            );
            self.find(Code::Platform, &raw.digest(), message);
        }
    }

    /// The content of a blob with its check, if it is there.
    async fn open(&mut self, blob: &Descriptor) -> Result<Option<cairn_store::ByteStream>, VerifyError> {
        match self.repository.read_blob(&blob.digest, None).await {
            Ok(Some(found)) => Ok(Some(verified(found.content, blob.digest, blob.size))),
            Ok(None) => {
                let message = format!("{} does not have it", self.repository.label());
                self.find(Code::Missing, &blob.digest, message);
                Ok(None)
            }
            Err(error) => self.content_error(blob.digest.to_string(), error).map(|()| None),
        }
    }

    /// What ended the content of a blob early: the check of its digest, or the repository.
    fn stream_error(&mut self, digest: Digest, error: std::io::Error) -> Result<(), VerifyError> {
        match error.downcast::<RepositoryError>() {
            Ok(error) => self.content_error(digest.to_string(), error),
            Err(source) => Err(VerifyError::Broken { digest, source }),
        }
    }

    async fn config(&mut self, descriptor: &Descriptor) -> Result<Option<ImageConfig>, VerifyError> {
        let Some(content) = self.open(descriptor).await? else {
            return Ok(None);
        };
        let bytes = match collect(content, config::LIMIT as u64).await {
            Ok(bytes) => bytes,
            Err(ReadBytes::Broken(error)) => {
                return self.stream_error(descriptor.digest, error).map(|()| None);
            }
            Err(error) => {
                self.find(Code::Config, &descriptor.digest, error.to_string());
                return Ok(None);
            }
        };
        self.report.checked.configs += 1;
        self.report.checked.bytes += bytes.len() as u64;
        match ImageConfig::parse(&bytes) {
            Ok(config) => Ok(Some(config)),
            Err(error) => {
                self.find(Code::Config, &descriptor.digest, chain(&error));
                Ok(None)
            }
        }
    }

    /// The uncompressed digest of a layer that is whole. A layer of several images is read once.
    async fn layer(&mut self, layer: &Descriptor) -> Result<Option<Digest>, VerifyError> {
        if let Some(known) = self.layers.get(&layer.digest) {
            return Ok(*known);
        }
        let found = self.read_layer(layer).await?;
        self.layers.insert(layer.digest, found);
        Ok(found)
    }

    async fn read_layer(&mut self, layer: &Descriptor) -> Result<Option<Digest>, VerifyError> {
        let Some(content) = self.open(layer).await? else {
            return Ok(None);
        };
        let (sender, reader) = pipe();
        let limits = *self.limits;
        let read = run(move || read_layer(reader, &limits, &mut |_, _| Ok(())));
        let (fed, read) = tokio::join!(feed(content, vec![sender]), read);
        // Content that is not what it should be explains everything that was wrong with it as a layer.
        if let Err(error) = fed {
            return self.stream_error(layer.digest, error).map(|()| None);
        }
        match read {
            Ok(summary) => Ok(Some(self.count_layer(&summary))),
            Err(error) => {
                self.find(Code::Layer, &layer.digest, chain(&error));
                Ok(None)
            }
        }
    }

    fn count_layer(&mut self, summary: &ReadSummary) -> Digest {
        let checked = &mut self.report.checked;
        checked.layers += 1;
        checked.entries += summary.entries;
        checked.bytes += summary.size;
        summary.diff_id
    }
}
