//! A registry that keeps to the protocol, but for what a test makes it do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_oci::Digest;
use cairn_registry::wire::Query;
use cairn_store::{BlobSource, ByteStream, RepositoryError, from_bytes};
use http::{HeaderMap, Method};

use super::{Fake, FakeAnswer, Seen, answer};

/// What it has.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    /// Uploads by number.
    pub(crate) uploads: BTreeMap<u64, Vec<u8>>,
    begun: u64,
}

/// The registry.
pub(crate) struct Picky {
    pub(crate) server: Fake,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Picky {
    /// `instead` may answer in its place; `dress` may change the headers of its own answers.
    pub(crate) async fn start(
        instead: impl Fn(&Seen, &mut State) -> Option<FakeAnswer> + Send + Sync + 'static,
        dress: impl Fn(&Seen, &State, &mut HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        Self::breaking(move |seen, state| Ok(instead(seen, state)), dress).await
    }

    /// The same; `Err` breaks the connection.
    pub(crate) async fn breaking(
        instead: impl Fn(&Seen, &mut State) -> Result<Option<FakeAnswer>, ()> + Send + Sync + 'static,
        dress: impl Fn(&Seen, &State, &mut HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = super::fake(move |seen| {
            let mut state = shared.lock().unwrap();
            match instead(seen, &mut state) {
                Err(()) => None,
                Ok(Some(other)) => Some(other),
                Ok(None) => {
                    let mut own = state.answer(seen);
                    dress(seen, &state, own.headers_mut());
                    Some(own)
                }
            }
        })
        .await;
        Self { server, state }
    }

    pub(crate) fn has(&self, content: &[u8]) -> bool {
        let state = self.state.lock().unwrap();
        state
            .blobs
            .get(&Digest::of(content).to_string())
            .is_some_and(|blob| blob == content)
    }

    /// The lengths of the bodies of this method, in order.
    pub(crate) fn bodies(&self, method: &Method) -> Vec<usize> {
        let seen = self.server.seen();
        let of_method = seen.iter().filter(|seen| seen.method == *method);
        of_method.map(|seen| seen.body.len()).collect()
    }

    /// The methods of the requests for uploads, in order.
    pub(crate) fn methods(&self) -> String {
        let seen = self.server.seen();
        let uploads = seen.iter().filter(|seen| seen.uri.path().contains("/uploads/"));
        uploads
            .map(|seen| seen.method.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The number at the end of an upload's path.
pub(crate) fn number(seen: &Seen) -> u64 {
    seen.uri.path().rsplit('/').next().unwrap().parse().unwrap_or(0)
}

/// Where a piece begins, by its `Content-Range`.
pub(crate) fn start(seen: &Seen) -> Option<usize> {
    let range = seen.headers.get("content-range")?.to_str().unwrap();
    range.split('-').next().unwrap().parse().ok()
}

impl State {
    fn answer(&mut self, seen: &Seen) -> FakeAnswer {
        if !seen.uri.path().contains("/blobs/uploads/") {
            let digest = seen.uri.path().rsplit('/').next().unwrap();
            return match (self.blobs.get(digest), &seen.method) {
                (Some(blob), &Method::HEAD) => {
                    answer(200, &[("content-length", &blob.len().to_string())], "")
                }
                (Some(blob), _) => answer(200, &[], blob.clone()),
                _ => answer(404, &[], ""),
            };
        }
        if seen.method == Method::POST {
            self.begun += 1;
            self.uploads.insert(self.begun, Vec::new());
            return self.progress(202, self.begun);
        }
        let id = number(seen);
        let Some(upload) = self.uploads.get_mut(&id) else {
            return refuse(404, "BLOB_UPLOAD_UNKNOWN");
        };
        if seen.method == Method::PATCH || (seen.method == Method::PUT && !seen.body.is_empty()) {
            if start(seen).is_some_and(|start| start != upload.len()) {
                return refuse(416, "BLOB_UPLOAD_INVALID");
            }
            upload.extend_from_slice(&seen.body);
        }
        match seen.method {
            Method::GET => self.progress(204, id),
            Method::PATCH => self.progress(202, id),
            Method::PUT => self.finish(seen, id),
            _ => {
                self.uploads.remove(&id);
                answer(204, &[], "")
            }
        }
    }

    fn progress(&self, status: u16, id: u64) -> FakeAnswer {
        let last = self.uploads[&id].len().saturating_sub(1);
        let location = format!("/v2/a/blobs/uploads/{id}");
        answer(
            status,
            &[("location", &location), ("range", &format!("0-{last}"))],
            "",
        )
    }

    fn finish(&mut self, seen: &Seen, id: u64) -> FakeAnswer {
        let query = Query::parse(seen.uri.query().unwrap_or_default()).unwrap();
        let digest = query.get("digest").unwrap().to_owned();
        let content = self.uploads.remove(&id).unwrap();
        if Digest::of(&content).to_string() != digest {
            return refuse(400, "DIGEST_INVALID");
        }
        self.blobs.insert(digest, content.into());
        answer(201, &[], "")
    }
}

/// A refusal with one of the specification's codes.
pub(crate) fn refuse(status: u16, code: &str) -> FakeAnswer {
    answer(
        status,
        &[],
        format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#),
    )
}

/// Content that can be had again, in pieces of 100,000 bytes.
pub(crate) struct Content(pub(crate) Bytes);

#[async_trait::async_trait]
impl BlobSource for Content {
    async fn open(&self, offset: u64) -> Result<ByteStream, RepositoryError> {
        let rest = self.0.slice(usize::try_from(offset).unwrap()..);
        if rest.is_empty() {
            return Ok(from_bytes(rest));
        }
        let starts = (0..rest.len()).step_by(100_000);
        Ok(Box::pin(futures_util::stream::iter(starts.map(move |start| {
            Ok(rest.slice(start..rest.len().min(start + 100_000)))
        }))))
    }
}

/// So many bytes that are not all the same.
pub(crate) fn content(length: usize) -> Bytes {
    let bytes = (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8);
    bytes.collect::<Vec<_>>().into()
}
