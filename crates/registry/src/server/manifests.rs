//! Manifests and tags.

use std::collections::BTreeSet;

use cairn_oci::{Digest, MediaType, RepositoryName, Tag};
use cairn_store::{Condition, Page, RawManifest, Repository, RepositoryError, Target};
use futures_util::TryStreamExt;
use http::StatusCode;
use http::header::{CONTENT_TYPE, IF_NONE_MATCH};
use oci_spec::distribution::ErrorCode;

use super::access::{Action, Scope};
use super::answer::{Answer, Outcome};
use super::blobs::may_delete;
use super::dispatch::{Call, DISCARD_LIMIT};
use super::{body, room};
use crate::wire::route::ManifestAction;
use crate::wire::{ConditionName, Route, condition, header};

/// Most tags of one `PUT … ?tag=`; the specification asks for at least ten.
const TAGS_LIMIT: usize = 16;

fn unknown(target: &Target) -> Answer {
    Answer::missing(
        ErrorCode::ManifestUnknown,
        format!("there is no manifest {target}"),
    )
}

fn found(status: StatusCode, media_type: &MediaType, digest: &Digest) -> Answer {
    Answer::new(status)
        .about(digest)
        .with(CONTENT_TYPE, media_type.as_str())
}

/// `HEAD /v2/<name>/manifests/<target>`
pub(super) async fn stat(call: &Call, name: &RepositoryName, target: &Target) -> Outcome {
    let descriptor = call.repository(name).await?.stat_manifest(target).await?;
    let descriptor = descriptor.ok_or_else(|| unknown(target))?;
    let status = status(call, &descriptor.digest);
    Ok(found(status, &descriptor.media_type, &descriptor.digest).body(descriptor.size, None))
}

/// `GET /v2/<name>/manifests/<target>`
pub(super) async fn read(call: &Call, name: &RepositoryName, target: &Target) -> Outcome {
    let manifest = call.repository(name).await?.read_manifest(target).await?;
    let manifest = manifest.ok_or_else(|| unknown(target))?;
    let status = status(call, &manifest.digest());
    let answer = found(status, manifest.media_type(), &manifest.digest());
    if status == StatusCode::NOT_MODIFIED {
        return Ok(answer);
    }
    let bytes = manifest.bytes().clone();
    Ok(answer.body(bytes.len() as u64, Some(body::full(bytes))))
}

fn status(call: &Call, digest: &Digest) -> StatusCode {
    let known = call
        .header(&IF_NONE_MATCH)
        .is_some_and(|tags| header::none_match_names(tags, digest));
    if known {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    }
}

/// `PUT /v2/<name>/manifests/<target>`, under a condition, or by digest with `?tag=`
pub(super) async fn write(call: &mut Call, name: &RepositoryName, target: &Target) -> Outcome {
    let condition = condition::parse(call.headers())?;
    let tags = extra_tags(call, target, &condition)?;
    check_conditional(call, target, &tags, &condition)?;
    room::check_disk(call).await?;
    let manifest = read_body(call).await?;
    let repository = call.repository(name).await?;
    expect_digest(target, &manifest)?;
    let named = match target {
        Target::Tag(tag) => vec![(tag.clone(), condition.clone())],
        Target::Digest(_) => tags.iter().map(|tag| (tag.clone(), Condition::Always)).collect(),
    };
    let mut permitted = Vec::with_capacity(named.len());
    for (tag, condition) in named {
        let condition = permitted_condition(call, repository.as_ref(), &manifest, &tag, condition).await?;
        permitted.push((tag, condition));
    }
    repository.write_tagged(&manifest, &permitted).await?;
    Ok(written(name, &manifest, &condition, &tags))
}

/// The condition under which whoever asks may write the tag: the one given, or, for those who may only create tags,
/// one that fails if somebody else created it meanwhile.
async fn permitted_condition(
    call: &Call,
    repository: &dyn Repository,
    manifest: &RawManifest,
    tag: &Tag,
    condition: Condition,
) -> Result<Condition, Answer> {
    let name = repository.name();
    if call.permits(Action::Push, name, Scope::Tag(tag)) {
        return Ok(condition);
    }
    call.check(Action::Create, name, Scope::Tag(tag))?;
    let digest = manifest.digest();
    let moves = Err(Answer::forbidden());
    match condition {
        Condition::IfAbsent | Condition::Seal => Ok(condition),
        Condition::IfMatch(expected) if expected == digest => Ok(condition),
        Condition::IfMatch(_) => moves,
        Condition::Always => match repository.stat_manifest(&Target::Tag(tag.clone())).await? {
            None => Ok(Condition::IfAbsent),
            Some(found) if found.digest == digest => Ok(Condition::IfMatch(digest)),
            Some(_) => moves,
        },
    }
}

/// [`Repository::write_tagged`] takes the digest from the bytes, not from the path.
fn expect_digest(target: &Target, manifest: &RawManifest) -> Result<(), RepositoryError> {
    match target {
        Target::Digest(expected) if *expected != manifest.digest() => Err(RepositoryError::Digest {
            expected: *expected,
            found: manifest.digest(),
        }),
        _ => Ok(()),
    }
}

/// The tags of the query (distribution-spec, main branch), each once. Only beside a digest, and without a condition.
fn extra_tags(call: &Call, target: &Target, condition: &Condition) -> Result<Vec<Tag>, Answer> {
    let by_digest = matches!(target, Target::Digest(_));
    if by_digest && *condition != Condition::Always {
        let message = "a condition is about a tag; this write is by digest";
        return Err(Answer::bad(ErrorCode::Unsupported, message));
    }
    let bad = |message: String| Answer::bad(ErrorCode::ManifestInvalid, message);
    let tags = call.query()?.all("tag").map(str::parse);
    let tags: BTreeSet<Tag> = tags
        .collect::<Result<_, _>>()
        .map_err(|error: cairn_oci::name::NameError| bad(error.to_string()))?;
    if tags.len() > TAGS_LIMIT || (!tags.is_empty() && !by_digest) {
        return Err(bad(format!(
            "at most {TAGS_LIMIT} tags, and only beside a digest"
        )));
    }
    Ok(tags.into_iter().collect())
}

fn check_conditional(
    call: &Call,
    target: &Target,
    tags: &[Tag],
    condition: &Condition,
) -> Result<(), RepositoryError> {
    let written = match target {
        Target::Tag(tag) => Some(tag),
        Target::Digest(_) => None,
    };
    let mut written = written.into_iter().chain(tags);
    match written.find(|tag| call.config().is_conditional(tag)) {
        Some(tag) if *condition == Condition::Always => {
            Err(RepositoryError::ConditionRequired { tag: tag.clone() })
        }
        _ => Ok(()),
    }
}

async fn read_body(call: &mut Call) -> Result<RawManifest, Answer> {
    let media_type = call.header(&CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    let limit = call.config().limits.manifest;
    if call.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut content = call.take_content();
    let mut bytes = bytes::BytesMut::new();
    loop {
        let piece = content.try_next().await;
        let piece = piece.map_err(|_| Answer::bad(ErrorCode::ManifestInvalid, "the body broke off"))?;
        let Some(piece) = piece else { break };
        if bytes.len() + piece.len() > limit {
            body::discard(content, DISCARD_LIMIT).await;
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(RawManifest::new(MediaType::new(media_type), bytes.freeze()))
}

fn too_large(limit: usize) -> Answer {
    let limit = limit as u64;
    let subject = "the manifest".to_owned();
    RepositoryError::TooLarge { subject, limit }.into()
}

fn written(name: &RepositoryName, manifest: &RawManifest, condition: &Condition, tags: &[Tag]) -> Answer {
    let digest = manifest.digest();
    let route = Route::Manifest(ManifestAction::Read, name.clone(), Target::Digest(digest));
    let mut answer = Answer::new(StatusCode::CREATED)
        .located(route.path())
        .about(&digest);
    if let Some(honoured) = ConditionName::of(condition) {
        answer = answer.with(header::CONDITION, honoured.as_str());
    }
    for tag in tags {
        answer = answer.with(header::OCI_TAG, tag.as_str());
    }
    // The store has read the document already, so it can be read.
    let document = manifest.document().ok();
    match document.as_ref().and_then(cairn_oci::Document::subject) {
        Some(subject) => answer.with(header::SUBJECT, subject.digest.to_string()),
        None => answer,
    }
}

/// `DELETE /v2/<name>/manifests/<target>`
pub(super) async fn delete(call: &Call, name: &RepositoryName, target: &Target) -> Outcome {
    may_delete(call)?;
    if condition::parse(call.headers())? != Condition::Always {
        // RFC 9110, section 13.1.1: what cannot be honoured must not be done as if it had not been asked.
        let message = "a condition on DELETE is not supported: nothing was deleted";
        return Err(Answer::bad(ErrorCode::Unsupported, message));
    }
    let repository = call.repository(name).await?;
    let deleted = match target {
        Target::Tag(tag) if call.config().is_conditional(tag) => {
            return Err(RepositoryError::ConditionRequired { tag: tag.clone() }.into());
        }
        Target::Tag(tag) => repository.delete_tag(tag).await?,
        Target::Digest(digest) => {
            check_not_head(call, repository.as_ref(), digest).await?;
            repository.delete_manifest(digest).await?
        }
    };
    if deleted {
        return Ok(Answer::new(StatusCode::ACCEPTED));
    }
    Err(unknown(target))
}

/// Deleting a manifest deletes its tags, so one that a conditional tag shows stays; and so does what it needs.
pub(super) async fn check_not_head(
    call: &Call,
    repository: &dyn Repository,
    digest: &Digest,
) -> Result<(), RepositoryError> {
    let patterns = &call.config().conditional_tags;
    let exact: Option<Vec<Tag>> = patterns.iter().map(super::Pattern::exact).collect();
    let tags = match exact {
        Some(tags) => tags,
        None => conditional_tags(call, repository).await?,
    };
    for tag in tags {
        let shown = repository.read_manifest(&Target::Tag(tag.clone())).await?;
        if shown.is_some_and(|shown| needs(&shown, digest)) {
            return Err(RepositoryError::ConditionRequired { tag });
        }
    }
    Ok(())
}

/// Whether `digest` is the manifest, or what it names.
fn needs(manifest: &RawManifest, digest: &Digest) -> bool {
    let document = manifest.document().ok();
    let names = |document: &cairn_oci::Document| {
        let mut named = document.blobs().into_iter().chain(document.manifests());
        named.any(|entry| entry.digest == *digest)
    };
    manifest.digest() == *digest || document.as_ref().is_some_and(names)
}

async fn conditional_tags(call: &Call, repository: &dyn Repository) -> Result<Vec<Tag>, RepositoryError> {
    let mut page = Page::first();
    let mut tags = Vec::new();
    loop {
        let found = repository.list_tags(&page).await?;
        tags.extend(
            found
                .tags
                .into_iter()
                .filter(|tag| call.config().is_conditional(tag)),
        );
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(tags),
        }
    }
}
