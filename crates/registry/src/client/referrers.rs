//! Referrers: from the registry's list, or from an index under a fallback tag (distribution-spec, "Unavailable
//! Referrers API").

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_oci::{Descriptor, Digest, Document, Index, MediaType, Tag, json, manifest, media_type};
use cairn_store::{Condition, Page, RawManifest, Referrers, ReferrersPage, RepositoryError, Target};
use http::StatusCode;
use oci_spec::distribution::ErrorCode;

use super::lists::{Fetched, cause};
use super::remote::Remote;
use super::retry::Retries;
use crate::wire::{Query, Route};

/// What registries answer that have no list of referrers: the specification's 404, and what others say of paths that they do
/// not know.
const NO_LIST: [StatusCode; 5] = [
    StatusCode::NOT_FOUND,
    StatusCode::BAD_REQUEST,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::NOT_IMPLEMENTED,
];
/// How often an index is read, changed and written until it is seen to hold the change.
const ROUNDS: u32 = 32;
/// The wait between those rounds: the longer, the more others write the same index.
const BETWEEN: Retries = Retries {
    attempts: ROUNDS,
    first: Duration::from_millis(4),
    longest: Duration::from_millis(250),
};

impl Remote {
    /// Asks for the referrers of something that has none.
    pub(super) async fn who_keeps_referrers(&self) -> Result<Referrers, RepositoryError> {
        if let Some(known) = self.host.learned().referrers {
            return Ok(known);
        }
        let nothing = Digest::of(b"");
        match self.native(&nothing, None, &Page::first()).await? {
            Some(_) => Ok(Referrers::Native),
            None => Ok(Referrers::FallbackTag),
        }
    }

    pub(super) async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        let mut found = match self.native(subject, artifact_type, page).await? {
            Some(page) => page,
            None => ReferrersPage {
                manifests: self.fallback(subject).await?.0,
                next: None,
            },
        };
        // Not every registry filters, and none has to.
        found.manifests.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        });
        Ok(found)
    }

    /// A page of the registry's own list. `None`: it keeps none.
    async fn native(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<Option<ReferrersPage>, RepositoryError> {
        let route = Route::Referrers(self.name.clone(), *subject);
        let query = match artifact_type {
            Some(wanted) => Query::default().with("artifactType", wanted),
            None => Query::default(),
        };
        let fetched = self.fetch_page(&route, query, page, &NO_LIST).await?;
        let (bytes, media_type, next) = match fetched {
            Fetched::Missing(refusal) => {
                // A repository that is not there yet, and a request that was not liked, say nothing about the registry.
                if refusal.status != StatusCode::BAD_REQUEST && !refusal.has(&ErrorCode::NameUnknown) {
                    self.learn_referrers(Referrers::FallbackTag);
                }
                return Ok(None);
            }
            Fetched::Page {
                bytes,
                media_type,
                next,
            } => (bytes, media_type, next),
        };
        let expected = MediaType::from(media_type::INDEX);
        let index = match self.parse_index(&expected, &bytes) {
            Ok(index) => index,
            Err(error) if media_type == Some(expected) => return Err(error),
            // A page that it gives for any path.
            Err(_) => {
                self.learn_referrers(Referrers::FallbackTag);
                return Ok(None);
            }
        };
        self.learn_referrers(Referrers::Native);
        Ok(Some(ReferrersPage {
            manifests: index.manifests,
            next,
        }))
    }

    fn learn_referrers(&self, referrers: Referrers) {
        self.host.learn(|learned| learned.referrers = Some(referrers));
    }

    fn parse_index(&self, media_type: &MediaType, bytes: &[u8]) -> Result<Index, RepositoryError> {
        match Document::parse(media_type, bytes) {
            Ok(Document::Index(index)) => Ok(index),
            Ok(Document::Manifest(_)) => Err(self.protocol("a list of referrers is an image")),
            Err(error) => {
                Err(self.protocol(format!("a list of referrers cannot be read: {}", cause(&error))))
            }
        }
    }

    /// The entries under the fallback tag, and the annotations of their index.
    async fn fallback(
        &self,
        subject: &Digest,
    ) -> Result<(Vec<Descriptor>, BTreeMap<String, String>), RepositoryError> {
        let Some(found) = self.get_manifest(&fallback_tag(subject)?).await? else {
            return Ok(Default::default());
        };
        // Registries that take the tag for the digest answer with the subject itself.
        if found.digest() == *subject || !found.media_type().is_index() {
            return Ok(Default::default());
        }
        let index = self.parse_index(found.media_type(), found.bytes())?;
        Ok((index.manifests, index.annotations))
    }

    /// Puts a manifest that was just written on the list of its subject.
    pub(super) async fn add_to_fallback(
        &self,
        subject: &Digest,
        manifest: &RawManifest,
        document: &Document,
    ) -> Result<(), RepositoryError> {
        let entry = Descriptor {
            artifact_type: document.artifact_type(),
            annotations: document.annotations().clone(),
            ..manifest.descriptor()
        };
        let digest = entry.digest;
        self.change_fallback(subject, |entries| {
            let missing = !entries.iter().any(|known| known.digest == digest);
            if missing {
                entries.push(entry.clone());
            }
            missing
        })
        .await
    }

    /// Takes a manifest that was just deleted from the list of its subject.
    pub(super) async fn remove_from_fallback(
        &self,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), RepositoryError> {
        self.change_fallback(subject, |entries| {
            let before = entries.len();
            entries.retain(|known| known.digest != *digest);
            entries.len() != before
        })
        .await
    }

    /// The subject of a manifest, if the list of its referrers is ours to keep.
    pub(super) async fn fallback_subject(&self, target: &Target) -> Result<Option<Digest>, RepositoryError> {
        if self.host.learned().referrers != Some(Referrers::FallbackTag) {
            return Ok(None);
        }
        let manifest = self.get_manifest(target).await?;
        let document = manifest.and_then(|manifest| manifest.document().ok());
        Ok(document.and_then(|document| document.subject().map(|subject| subject.digest)))
    }

    /// Reads, changes and writes an index until reading it shows that there is nothing to change.
    ///
    /// Clients that do so at the same moment take each other's entries away. So each waits a while before it looks again, another
    /// while than the others; and puts back what it saw before and somebody has overwritten. Whoever comes last has seen most.
    /// What is lost all the same is found by `audit`: that is why registries should keep the list.
    async fn change_fallback(
        &self,
        subject: &Digest,
        mut change: impl FnMut(&mut Vec<Descriptor>) -> bool + Send,
    ) -> Result<(), RepositoryError> {
        let _one_at_a_time = self.host.fallback.lock().await;
        let target = fallback_tag(subject)?;
        let mut seen: Vec<Descriptor> = Vec::new();
        for round in 1..=ROUNDS {
            let (mut manifests, annotations) = self.fallback(subject).await?;
            let lost = self.lost(&seen, &manifests).await?;
            let is_whole = lost.is_empty();
            manifests.extend(lost);
            seen.clone_from(&manifests);
            if !change(&mut manifests) && is_whole {
                return Ok(());
            }
            let index = Index {
                schema_version: 2,
                media_type: Some(media_type::INDEX.into()),
                artifact_type: None,
                manifests,
                subject: None,
                annotations,
            };
            let index = RawManifest::new(media_type::INDEX, json::canonical(&index));
            if index.bytes().len() > manifest::LIMIT {
                return Err(RepositoryError::TooLarge {
                    subject: format!("the list of referrers of {subject}"),
                    limit: manifest::LIMIT as u64,
                });
            }
            self.put(&target, &index, &Condition::Always).await?;
            if round > 1 {
                let pauses = &self.host.transport.config().pauses;
                pauses
                    .wait(BETWEEN.back_off(round - 1, None, pauses.random()))
                    .await;
            }
        }
        Err(self.protocol(format!(
            "the list of referrers of {subject} does not stay as written"
        )))
    }

    /// What was on the list before, is not on it now, and is still there: nobody has deleted it.
    async fn lost(
        &self,
        seen: &[Descriptor],
        now: &[Descriptor],
    ) -> Result<Vec<Descriptor>, RepositoryError> {
        let mut lost = Vec::new();
        for entry in seen {
            let is_listed = now.iter().any(|one| one.digest == entry.digest);
            if !is_listed && self.head_manifest(&Target::Digest(entry.digest)).await?.is_some() {
                lost.push(entry.clone());
            }
        }
        Ok(lost)
    }
}

fn fallback_tag(subject: &Digest) -> Result<Target, RepositoryError> {
    let tag = format!("sha256-{}", subject.hex()).parse::<Tag>();
    tag.map(Target::Tag).map_err(|error| RepositoryError::Protocol {
        repository: subject.to_string(),
        detail: error.to_string(),
    })
}
