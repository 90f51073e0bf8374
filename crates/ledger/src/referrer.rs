//! What is attached to an image: a release, as a Sigstore bundle that `cosign verify-attestation` reads, and its build record.
//!
//! The bundle (sigstore/protobuf-specs, bundle v0.3) holds the same signature over the same payload as the ledger. Its
//! manifest has the image as subject, so it is found by whoever has the image, without knowing of the ledger.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cairn_oci::{Descriptor, Index, Manifest, Tag, json, media_type};
use cairn_store::{Condition, Page, RawManifest, Referrers, Repository, RepositoryError, Target};
use serde::Serialize;

use crate::content;
use crate::entry::PREDICATE_TYPE;
use crate::envelope::{Envelope, Signature};
use crate::fold::Record;

/// The media type of a bundle, and the artifact type of the manifest that carries it.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// How often a fallback index is read and written again when others write it too.
const FALLBACK_ROUNDS: usize = 32;
/// Most pages of a list of referrers.
const PAGE_LIMIT: usize = 1_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: &'static str,
    verification_material: VerificationMaterial,
    dsse_envelope: DsseEnvelope,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerificationMaterial {
    public_key: PublicKeyHint,
}

#[derive(Serialize)]
struct PublicKeyHint {
    hint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DsseEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<BundleSignature>,
}

#[derive(Serialize)]
struct BundleSignature {
    keyid: String,
    sig: String,
}

/// One document that refers to an image, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The type of the document, and of the manifest.
    artifact_type: &'static str,
    /// The document.
    pub content: Bytes,
    /// The manifest whose subject is the image.
    pub manifest: RawManifest,
}

/// The bundle of an envelope with one of its signatures: a bundle holds exactly one.
#[must_use]
pub fn bundle(envelope: &Envelope, signature: &Signature) -> Bytes {
    let bundle = Bundle {
        media_type: BUNDLE_TYPE,
        verification_material: VerificationMaterial {
            public_key: PublicKeyHint {
                hint: signature.key.to_string(),
            },
        },
        dsse_envelope: DsseEnvelope {
            payload: STANDARD.encode(envelope.payload()),
            payload_type: envelope.payload_type().to_owned(),
            signatures: vec![BundleSignature {
                keyid: signature.key.to_string(),
                sig: STANDARD.encode(&signature.bytes),
            }],
        },
    };
    json::canonical(&bundle).into()
}

impl Referrer {
    /// The referrer of the release `record` at the image `subject`. None if no signature of it was verified, which no
    /// record of a view is.
    #[must_use]
    pub fn of(record: &Record, subject: Descriptor) -> Option<Self> {
        let envelope = Envelope::parse(&record.envelope, crate::entry::PAYLOAD_TYPE).ok()?;
        let signature = envelope
            .signatures()
            .iter()
            .find(|one| record.signers.contains(&one.key))?;
        let annotations = BTreeMap::from([
            (
                "dev.sigstore.bundle.content".to_owned(),
                "dsse-envelope".to_owned(),
            ),
            (
                "dev.sigstore.bundle.predicateType".to_owned(),
                PREDICATE_TYPE.to_owned(),
            ),
        ]);
        let bundle = bundle(&envelope, signature);
        Some(Self::new(BUNDLE_TYPE, bundle, subject, annotations))
    }

    /// A document of the type `artifact_type` at the image `subject`.
    pub(crate) fn new(
        artifact_type: &'static str,
        content: Bytes,
        subject: Descriptor,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        let manifest = Manifest {
            subject: Some(subject),
            annotations,
            ..Manifest::artifact(artifact_type, vec![Descriptor::of(artifact_type, &content)])
        };
        let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
        Self {
            artifact_type,
            content,
            manifest,
        }
    }

    /// Writes it, if it is not there. The same document always gives the same referrer.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`]; writing it again does no harm.
    pub async fn write(&self, images: &dyn Repository, subject: &Descriptor) -> Result<(), RepositoryError> {
        let target = Target::Digest(self.manifest.digest());
        if images.stat_manifest(&target).await?.is_none() {
            let parts = [self.content.clone(), Bytes::from_static(b"{}")];
            for part in &parts {
                content::write(images, part).await?;
            }
            content::write_manifest(images, &target, &self.manifest, &Condition::Always, &parts).await?;
        }
        let capabilities = images.capabilities().await?;
        if capabilities.referrers == Referrers::FallbackTag && !self.is_listed(images, subject).await? {
            self.list_in_fallback(images, subject, capabilities.conditions)
                .await?;
        }
        Ok(())
    }

    async fn is_listed(
        &self,
        images: &dyn Repository,
        subject: &Descriptor,
    ) -> Result<bool, RepositoryError> {
        let mut page = Page::first();
        for _ in 0..PAGE_LIMIT {
            let part = images
                .list_referrers(&subject.digest, Some(self.artifact_type), &page)
                .await?;
            if part
                .manifests
                .iter()
                .any(|one| one.digest == self.manifest.digest())
            {
                return Ok(true);
            }
            match part.next {
                Some(next) if page.after.as_ref() != Some(&next) => page.after = Some(next),
                _ => break,
            }
        }
        Ok(false)
    }

    /// Where the registry keeps no list, the writer does (distribution-spec, "Pushing Manifests with Subject").
    async fn list_in_fallback(
        &self,
        images: &dyn Repository,
        subject: &Descriptor,
        conditions: bool,
    ) -> Result<(), RepositoryError> {
        let tag = fallback_tag(subject);
        for _ in 0..FALLBACK_ROUNDS {
            let found = images.read_manifest(&Target::Tag(tag.clone())).await?;
            let condition = match (&found, conditions) {
                (Some(found), true) => Condition::IfMatch(found.digest()),
                (None, true) => Condition::IfAbsent,
                (_, false) => Condition::Always,
            };
            let Some(index) = self.added_to(found.as_ref()) else {
                return Ok(());
            };
            let target = Target::Tag(tag.clone());
            match content::write_manifest(images, &target, &index, &condition, &[]).await {
                // Without conditions, somebody else may have written it in between: it is read again.
                Ok(()) | Err(RepositoryError::Condition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(RepositoryError::Protocol {
            repository: images.label(),
            detail: format!("the list of referrers at the tag {tag} does not stay as written"),
        })
    }

    /// The fallback index with this referrer; none if it has it, or if what is there is not such an index.
    fn added_to(&self, found: Option<&RawManifest>) -> Option<RawManifest> {
        let document = found.map(RawManifest::document).transpose().ok()?;
        let mut manifests = document
            .map(|document| document.manifests().to_vec())
            .unwrap_or_default();
        if manifests.iter().any(|one| one.digest == self.manifest.digest()) {
            return None;
        }
        let own = self.manifest.document().ok()?;
        manifests.push(Descriptor {
            artifact_type: own.artifact_type(),
            annotations: own.annotations().clone(),
            ..self.manifest.descriptor()
        });
        let index = Index {
            manifests,
            ..Index::images(Vec::new())
        };
        Some(RawManifest::new(media_type::INDEX, json::canonical(&index)))
    }
}

fn fallback_tag(subject: &Descriptor) -> Tag {
    #[expect(clippy::expect_used, reason = "letters, digits and `-`, 71 bytes")]
    format!("sha256-{}", subject.digest.hex())
        .parse()
        .expect("a valid tag")
}
