//! Manifests and tags of a registry.

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Document, MediaType, Tag, manifest, media_type};
use cairn_store::{Condition, RawManifest, RepositoryError, Target};
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use super::answer::{self, Refusal};
use super::host::{self, text};
use super::remote::{Remote, Whole};
use super::transport::{Repeat, Request};
use crate::wire::route::ManifestAction;
use crate::wire::{Route, condition, header};

impl Remote {
    fn manifest(&self, action: ManifestAction, target: &Target) -> Request {
        let route = Route::Manifest(action, self.name.clone(), target.clone());
        self.host
            .request(&route)
            .with(ACCEPT, &media_type::MANIFESTS.join(", "))
    }

    pub(super) async fn head_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        let request = self.manifest(ManifestAction::Stat, target);
        let answer = self.ask(&request).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refused(&request, answer).await),
        }
        let stated = text(answer.headers(), &header::CONTENT_DIGEST).and_then(|text| text.parse().ok());
        match (stated, answer::length(&answer), content_type(answer.headers())) {
            (Some(digest), Some(size), Some(media_type)) => {
                check_target(target, digest)?;
                Ok(Some(Descriptor::new(media_type, digest, size)))
            }
            // Not every registry says as much: read it and see.
            _ => Ok(self
                .get_manifest(target)
                .await?
                .map(|manifest| manifest.descriptor())),
        }
    }

    pub(super) async fn get_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        let request = self.manifest(ManifestAction::Read, target);
        let subject = format!("the manifest {target}");
        let answer = match self.ask_whole(&request, manifest::LIMIT, &subject).await? {
            Whole::Document(headers, bytes) => return self.received(target, &headers, bytes).map(Some),
            Whole::Other(answer) => answer,
        };
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(&request, answer).await),
        }
    }

    fn received(
        &self,
        target: &Target,
        headers: &HeaderMap,
        bytes: Bytes,
    ) -> Result<RawManifest, RepositoryError> {
        self.meter.downloaded(bytes.len() as u64);
        let media_type = content_type(headers);
        let media_type =
            media_type.ok_or_else(|| self.protocol(format!("the manifest {target} came without a type")))?;
        let manifest = RawManifest::new(media_type, bytes);
        check_target(target, manifest.digest())?;
        let stated = text(headers, &header::CONTENT_DIGEST).and_then(|text| text.parse().ok());
        match stated {
            Some(expected) if expected != manifest.digest() => Err(RepositoryError::Digest {
                expected,
                found: manifest.digest(),
            }),
            _ => Ok(manifest),
        }
    }

    pub(super) async fn put_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        let document = self.check_before(target, manifest, condition)?;
        self.check_condition(condition).await?;
        let headers = self.put(target, manifest, condition).await?;
        match document.subject() {
            None => Ok(()),
            // Only the right subject says that the registry has understood.
            Some(subject) if names(&headers, &subject.digest) => {
                self.host
                    .learn(|learned| learned.referrers = Some(cairn_store::Referrers::Native));
                Ok(())
            }
            Some(subject) => self.add_to_fallback(&subject.digest, manifest, &document).await,
        }
    }

    /// What can be known to be wrong without asking.
    fn check_before(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<Document, RepositoryError> {
        let digest = manifest.digest();
        check_target(target, digest)?;
        if matches!(target, Target::Digest(_)) && *condition != Condition::Always {
            return Err(self.unsupported("a condition on a write by digest"));
        }
        if manifest.bytes().len() > manifest::LIMIT {
            return Err(RepositoryError::TooLarge {
                subject: format!("the manifest {digest}"),
                limit: manifest::LIMIT as u64,
            });
        }
        let document = manifest.document();
        document.map_err(|source| RepositoryError::Manifest { digest, source })
    }

    /// Sends the bytes, and returns the headers of a success.
    pub(super) async fn put(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<HeaderMap, RepositoryError> {
        let mut request = self
            .manifest(ManifestAction::Write, target)
            .with(CONTENT_TYPE, manifest.media_type().as_str());
        request.headers.extend(condition::headers(condition));
        request.body = Some(manifest.bytes().clone());
        // A second attempt of a conditional write finds the first one's result and calls it somebody else's.
        if *condition != Condition::Always {
            request.repeat = Repeat::Never;
        }
        let operation = host::operation(&request.method, &request.url);
        let answer = self.host.send(&request).await;
        let answer = answer.map_err(|error| host::unknown(&self.label, operation.clone(), error))?;
        if !answer.status().is_success() {
            let refusal = Refusal::read(answer).await;
            return Err(self.put_refused(target, manifest, condition, operation, refusal));
        }
        self.meter.uploaded(manifest.bytes().len() as u64);
        self.check_digest(&answer, &manifest.digest())?;
        match target {
            Target::Tag(tag) if !condition::is_confirmed(condition, answer.headers()) => {
                self.host.forget();
                Err(RepositoryError::ConditionIgnored {
                    repository: self.label.to_string(),
                    tag: tag.clone(),
                })
            }
            _ => Ok(answer.headers().clone()),
        }
    }

    fn put_refused(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
        operation: String,
        refusal: Refusal,
    ) -> RepositoryError {
        let repository = self.label.to_string();
        let unclear = matches!(refusal.status.as_u16(), 500 | 502 | 503 | 504);
        if unclear && *condition != Condition::Always {
            return RepositoryError::OutcomeUnknown {
                source: Box::new(refusal.into_error(repository.clone(), operation.clone())),
                repository,
                operation,
            };
        }
        if let Some(blob) = refusal.missing_blob() {
            self.doubt(manifest, blob);
            return RepositoryError::BlobUnknown {
                manifest: manifest.digest(),
                blob,
            };
        }
        match target {
            Target::Tag(tag) => refusal.into_tag_error(repository, operation, tag, condition),
            Target::Digest(_) => refusal.into_error(repository, operation),
        }
    }

    pub(super) async fn remove_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        let request = self.manifest(ManifestAction::Delete, &Target::Tag(tag.clone()));
        let answer = self.ask(&request).await?;
        match answer.status() {
            status if status.is_success() => {
                self.host.learn(|learned| learned.delete_tags = Some(true));
                Ok(true)
            }
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => {
                self.host.learn(|learned| learned.delete_tags = Some(false));
                Err(self.unsupported("deleting tags"))
            }
            _ => {
                let operation = host::operation(&request.method, &request.url);
                let refusal = Refusal::read(answer).await;
                Err(refusal.into_tag_error(self.label.to_string(), operation, tag, &Condition::Always))
            }
        }
    }

    pub(super) async fn remove_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let target = Target::Digest(*digest);
        let subject = self.fallback_subject(&target).await?;
        let request = self.manifest(ManifestAction::Delete, &target);
        let answer = self.ask(&request).await?;
        match answer.status() {
            status if status.is_success() => {
                if let Some(subject) = subject {
                    self.remove_from_fallback(&subject, digest).await?;
                }
                Ok(true)
            }
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::METHOD_NOT_ALLOWED => Err(self.unsupported("deleting manifests")),
            _ => {
                let operation = host::operation(&request.method, &request.url);
                let refusal = Refusal::read(answer).await;
                let repository = self.label.to_string();
                Err(match refusal.tag() {
                    Some(tag) => refusal.into_tag_error(repository, operation, &tag, &Condition::Always),
                    None => refusal.into_error(repository, operation),
                })
            }
        }
    }
}

fn check_target(target: &Target, found: Digest) -> Result<(), RepositoryError> {
    match target {
        Target::Digest(expected) if *expected != found => Err(RepositoryError::Digest {
            expected: *expected,
            found,
        }),
        _ => Ok(()),
    }
}

/// Whether an answer names this subject.
fn names(headers: &HeaderMap, subject: &Digest) -> bool {
    let named = text(headers, &header::SUBJECT).and_then(|named| named.trim().parse::<Digest>().ok());
    named.as_ref() == Some(subject)
}

/// The media type without its parameters.
pub(super) fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let text = text(headers, &CONTENT_TYPE)?.split(';').next()?.trim();
    (!text.is_empty()).then(|| MediaType::new(text))
}
