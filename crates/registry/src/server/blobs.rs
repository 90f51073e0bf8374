//! Blobs.

use cairn_oci::{Digest, RepositoryName};
use http::StatusCode;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, IF_NONE_MATCH, IF_RANGE, RANGE};
use oci_spec::distribution::ErrorCode;

use super::answer::{Answer, Outcome};
use super::body;
use super::dispatch::Call;
use super::manifests::check_not_head;
use crate::wire::header::{none_match_names, parse_etag};
use crate::wire::range::{self, Wanted};

fn unknown(digest: &Digest) -> Answer {
    Answer::missing(ErrorCode::BlobUnknown, format!("there is no blob {digest}"))
}

fn found(status: StatusCode, digest: &Digest) -> Answer {
    Answer::new(status)
        .about(digest)
        .with(CONTENT_TYPE, "application/octet-stream")
        .with(ACCEPT_RANGES, "bytes")
}

/// `HEAD /v2/<name>/blobs/<digest>`
pub(super) async fn stat(call: &Call, name: &RepositoryName, digest: &Digest) -> Outcome {
    let repository = call.repository(name).await?;
    let size = repository.stat_blob(digest).await?;
    let size = size.ok_or_else(|| unknown(digest))?;
    Ok(found(StatusCode::OK, digest).body(size, None))
}

/// `GET /v2/<name>/blobs/<digest>`, whole or a range
pub(super) async fn read(call: &Call, name: &RepositoryName, digest: &Digest) -> Outcome {
    let repository = call.repository(name).await?;
    if is_known(call, digest) && repository.stat_blob(digest).await?.is_some() {
        return Ok(found(StatusCode::NOT_MODIFIED, digest));
    }
    let mut part = None;
    if let Some(header) = range_header(call, digest) {
        let size = repository.stat_blob(digest).await?;
        let size = size.ok_or_else(|| unknown(digest))?;
        part = match range::wanted(header, size) {
            Wanted::Whole => None,
            Wanted::Part(range) => Some(range),
            Wanted::Nothing => return Err(unsatisfiable(size)),
        };
    }
    let blob = repository.read_blob(digest, part.clone()).await?;
    let blob = blob.ok_or_else(|| unknown(digest))?;
    let content = body::streamed(blob.content);
    Ok(match part {
        None => found(StatusCode::OK, digest).body(blob.size, Some(content)),
        Some(range) => found(StatusCode::PARTIAL_CONTENT, digest)
            .with(CONTENT_RANGE, range::content(&range, blob.size))
            .body(range.end - range.start, Some(content)),
    })
}

fn is_known(call: &Call, digest: &Digest) -> bool {
    call.header(&IF_NONE_MATCH)
        .is_some_and(|tags| none_match_names(tags, digest))
}

/// The `Range` header, unless `If-Range` names other content (RFC 9110, section 13.1.5).
fn range_header<'a>(call: &'a Call, digest: &Digest) -> Option<&'a str> {
    let header = call.header(&RANGE)?;
    let applies = match call.headers().get(IF_RANGE) {
        None => true,
        Some(tag) => tag.to_str().ok().and_then(parse_etag) == Some(*digest),
    };
    applies.then_some(header)
}

fn unsatisfiable(size: u64) -> Answer {
    let message = format!("the blob has {size} bytes");
    Answer::refuse(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid, message)
        .with(CONTENT_RANGE, format!("bytes */{size}"))
}

/// `DELETE /v2/<name>/blobs/<digest>`
pub(super) async fn delete(call: &Call, name: &RepositoryName, digest: &Digest) -> Outcome {
    may_delete(call)?;
    let repository = call.repository(name).await?;
    check_not_head(call, repository.as_ref(), digest).await?;
    if repository.delete_blob(digest).await? {
        return Ok(Answer::new(StatusCode::ACCEPTED));
    }
    Err(unknown(digest))
}

/// 405 where deleting is switched off.
pub(super) fn may_delete(call: &Call) -> Result<(), Answer> {
    if call.config().delete {
        return Ok(());
    }
    let message = "deleting is switched off here";
    Err(Answer::refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Unsupported,
        message,
    ))
}
