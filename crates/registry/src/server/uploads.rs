//! Uploads of blobs: at once, in pieces, or by mounting.

use std::sync::Arc;

use cairn_oci::{Digest, RepositoryName};
use cairn_store::{ByteStream, UploadId};
use http::StatusCode;
use http::header::{CONTENT_RANGE, RANGE};
use oci_spec::distribution::ErrorCode;
use tokio::sync::OwnedSemaphorePermit;

use super::access::{Action, Scope};
use super::answer::{Answer, Outcome};
use super::dispatch::Call;
use super::{body, room};
use crate::wire::route::{BlobAction, UploadAction};
use crate::wire::{Route, header, range};

fn location(name: &RepositoryName, id: &UploadId) -> String {
    Route::Upload(UploadAction::Status, name.clone(), id.clone()).path()
}

/// The answer that says how far an upload is.
fn progress(status: StatusCode, name: &RepositoryName, id: &UploadId, offset: u64) -> Answer {
    Answer::new(status)
        .located(location(name, id))
        .with(RANGE, range::progress(offset))
        .with(header::UPLOAD_UUID, id.as_str())
}

fn created(name: &RepositoryName, digest: &Digest) -> Answer {
    let path = Route::Blob(BlobAction::Read, name.clone(), *digest).path();
    Answer::new(StatusCode::CREATED).located(path).about(digest)
}

/// Taken before anything of the body is: who is told to wait should not have sent it all.
fn slot(call: &Call) -> Result<OwnedSemaphorePermit, Answer> {
    let slots = Arc::clone(&call.shared().uploads);
    slots.try_acquire_owned().map_err(|_| Answer::too_many())
}

fn parse_digest(text: &str) -> Result<Digest, Answer> {
    text.parse::<Digest>()
        .map_err(|error| Answer::bad(ErrorCode::DigestInvalid, error.to_string()))
}

/// `POST /v2/<name>/blobs/uploads/`, with `mount` and `from`, or with `digest`
pub(super) async fn begin(call: &mut Call, name: &RepositoryName) -> Outcome {
    if let Some(answer) = mount(call, name).await? {
        return Ok(answer);
    }
    room::check_disk(call).await?;
    room::check_open_uploads(call, name).await?;
    let digest = call.query()?.get("digest").map(parse_digest).transpose()?;
    let Some(digest) = digest else {
        let id = call.shared().store.begin_upload(name).await?;
        return Ok(progress(StatusCode::ACCEPTED, name, &id, 0));
    };
    let _slot = slot(call)?;
    room::check_length(call, 0)?;
    let id = call.shared().store.begin_upload(name).await?;
    let content = call.take_content();
    let content = room::bounded(call, 0, content);
    let store = &call.shared().store;
    if let Err(error) = store.append_upload(name, &id, 0, content).await {
        // The client has not heard of this upload, so nobody will go on with it.
        drop(store.cancel_upload(name, &id).await);
        return Err(error.into());
    }
    store.finish_upload(name, &id, &digest).await?;
    Ok(created(name, &digest))
}

/// `None` when nothing was mounted: an upload is begun instead, as the specification wants it.
async fn mount(call: &Call, name: &RepositoryName) -> Result<Option<Answer>, Answer> {
    let query = call.query()?;
    let Some(digest) = query.get("mount").map(parse_digest).transpose()? else {
        return Ok(None);
    };
    let from = query
        .get("from")
        .and_then(|from| from.parse::<RepositoryName>().ok());
    let Some(from) = from else {
        return Ok(None);
    };
    if !call.permits(Action::Pull, &from, Scope::Some) {
        // As if it were not there: whoever may not read it must not find out.
        return Ok(None);
    }
    let repository = call.repository(name).await?;
    let mounted = repository.mount_blob(&digest, &from).await?;
    Ok(mounted.then(|| created(name, &digest)))
}

/// `GET /v2/<name>/blobs/uploads/<id>`
pub(super) async fn status(call: &Call, name: &RepositoryName, id: &UploadId) -> Outcome {
    let offset = call.shared().store.upload_offset(name, id).await?;
    Ok(progress(StatusCode::NO_CONTENT, name, id, offset))
}

/// `PATCH /v2/<name>/blobs/uploads/<id>`
pub(super) async fn append(call: &mut Call, name: &RepositoryName, id: &UploadId) -> Outcome {
    let offset = take_piece(call, name, id).await?;
    Ok(progress(StatusCode::ACCEPTED, name, id, offset))
}

/// `PUT /v2/<name>/blobs/uploads/<id>?digest=…`, with or without a last piece
pub(super) async fn finish(call: &mut Call, name: &RepositoryName, id: &UploadId) -> Outcome {
    let digest = call.query()?.get("digest");
    let missing = || Answer::bad(ErrorCode::DigestInvalid, "the query names no digest");
    let digest = parse_digest(digest.ok_or_else(missing)?)?;
    if call.content_length() != Some(0) {
        take_piece(call, name, id).await?;
    }
    call.shared().store.finish_upload(name, id, &digest).await?;
    Ok(created(name, &digest))
}

/// `DELETE /v2/<name>/blobs/uploads/<id>`
pub(super) async fn cancel(call: &Call, name: &RepositoryName, id: &UploadId) -> Outcome {
    call.shared().store.cancel_upload(name, id).await?;
    Ok(Answer::new(StatusCode::NO_CONTENT))
}

/// Appends the body to the upload, where its `Content-Range` says, or at the end.
async fn take_piece(call: &mut Call, name: &RepositoryName, id: &UploadId) -> Result<u64, Answer> {
    let _slot = slot(call)?;
    room::check_disk(call).await?;
    let (offset, content) = piece(call, name, id).await?;
    let content = room::bounded(call, offset, content);
    let store = &call.shared().store;
    Ok(store.append_upload(name, id, offset, content).await?)
}

async fn piece(call: &mut Call, name: &RepositoryName, id: &UploadId) -> Result<(u64, ByteStream), Answer> {
    let at = call.shared().store.upload_offset(name, id).await?;
    room::check_length(call, at)?;
    let Some(header) = call.headers().get(CONTENT_RANGE) else {
        return Ok((at, call.take_content()));
    };
    let stated = header.to_str().ok().and_then(range::parse_piece);
    let bad = || {
        Answer::bad(
            ErrorCode::BlobUploadInvalid,
            "the Content-Range is not `first-last`",
        )
    };
    let stated = stated.ok_or_else(bad)?;
    let length = stated.end - stated.start;
    if call.content_length().is_some_and(|given| given != length) {
        let message = "Content-Range and Content-Length do not agree";
        return Err(Answer::bad(ErrorCode::SizeInvalid, message));
    }
    if stated.start != at {
        let message = format!("the upload is at {at}, not at {}", stated.start);
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        return Err(Answer::refuse(status, ErrorCode::BlobUploadInvalid, message)
            .located(location(name, id))
            .with(RANGE, range::progress(at)));
    }
    Ok((at, body::exactly(call.take_content(), length)))
}
