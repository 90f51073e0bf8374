//! What only the protocol shows of a registry: conditions that are ignored, who keeps referrers, how uploads go.

use bytes::Bytes;
use cairn_oci::{Digest, Tag};
use cairn_store::examine::{Answer, Found, Patience, Scratch, Subject, examine, judge, look};
use cairn_store::{Condition, Page, RawManifest, Repository, RepositoryError, Target};
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION,
};
use http::{Method, StatusCode};
use reqwest::{Response, Url};

use super::auth::Access;
use super::host::text;
use super::remote::{Remote, Whole};
use super::transport::{Repeat, Request};
use crate::wire::route::{BlobAction, ManifestAction};
use crate::wire::{Route, extension, header};

/// The first piece that is tried, in bytes, where the registry does not say how small a piece may be.
const SMALL: u64 = 1 << 10;
/// The piece that is tried if that was too small, and the largest that a registry can ask for: 5 MiB and 8 MiB.
const LARGE: u64 = 5 << 20;
const LARGEST: u64 = 8 << 20;

/// How one write under a condition that does not hold went.
enum Tried {
    /// 412, and nothing was written.
    Refused,
    /// Success, and the tag moved.
    Ignored,
    /// Something else.
    Other(String),
}

impl Remote {
    /// What can be found out of the registry without writing.
    ///
    /// # Errors
    ///
    /// When the repository cannot be read at all.
    pub async fn look(&self) -> Result<Vec<Found>, RepositoryError> {
        self.ask_afresh();
        let mut found = look(self).await?;
        let announced = self.announced().await?;
        for (subject, feature) in [
            (Subject::Conditions, extension::CONDITIONS),
            (Subject::Seal, extension::SEAL),
        ] {
            found.push(match announced.has(feature) {
                true => Found::new(subject, Answer::Yes, "announced, not tried"),
                false => Found::new(subject, Answer::NotAsked, "not announced"),
            });
        }
        if announced.is_cairn() {
            let answer = match announced.has(extension::DELETE_TAGS) {
                true => Answer::Yes,
                false => Answer::No,
            };
            found.push(Found::new(Subject::DeleteTags, answer, "announced, not tried"));
        }
        found.push(self.has_referrers(&Digest::of(b"")).await?);
        let first = Page {
            after: None,
            limit: 1,
        };
        if let Some(tag) = self.list_tags(&first).await?.tags.first() {
            found.push(self.names_digests(&Target::Tag(tag.clone())).await?);
        }
        Ok(found)
    }

    /// Tries everything on scratch tags. The caller removes them: [`Scratch::remove`].
    ///
    /// # Errors
    ///
    /// When the registry cannot be asked, or written to at all. What it does otherwise is a finding.
    pub async fn examine(
        &self,
        scratch: &Scratch,
        patience: Patience,
    ) -> Result<Vec<Found>, RepositoryError> {
        self.ask_afresh();
        // What is tried needs the blobs and manifests that the common part deletes at its end.
        let mut own = Vec::new();
        let written = scratch.write_blobs(self).await;
        if written.is_ok() {
            let image = scratch.image("condition", 0);
            let tag = Target::Tag(scratch.tag('d'));
            let put = self.put_manifest(&tag, &image, &Condition::Always).await;
            if put.is_ok() {
                own.extend(self.conditions(scratch).await?);
                own.push(self.referrers_of_scratch(scratch).await?);
                own.push(self.names_digests(&Target::Tag(scratch.tag('d'))).await?);
            }
            own.push(self.pieces(scratch).await?);
        }
        let mut found = examine(self, scratch, patience).await?;
        found.extend(own);
        Ok(found)
    }

    /// Tries conditions that do not hold, in HTTP's own headers: a registry that does not know them writes all the same.
    async fn conditions(&self, scratch: &Scratch) -> Result<[Found; 2], RepositoryError> {
        let tag = scratch.tag('d');
        let announced = self.announced().await?;
        let (has, seals) = (
            announced.has(extension::CONDITIONS),
            announced.has(extension::SEAL),
        );
        let wrong = header::etag(&Digest::of(scratch.name().as_bytes()));
        let mut tried = Vec::new();
        for (name, value, label) in [
            (IF_MATCH, wrong.as_str(), "match"),
            (IF_NONE_MATCH, "*", "absent"),
        ] {
            let manifest = scratch.image(label, 0);
            tried.push(self.under(&tag, &manifest, name, value).await?);
        }
        let (answer, detail) = match (tried.as_slice(), has) {
            ([Tried::Refused, Tried::Refused], true) => self.confirmed(scratch, &tag).await?,
            ([Tried::Refused, Tried::Refused], false) => (
                Answer::No,
                "If-Match and If-None-Match were honoured here, but nothing announces that they are at all times".to_owned(),
            ),
            (tried, true) => (Answer::Broken, describe(tried, true)),
            (tried, false) => (Answer::No, describe(tried, false)),
        };
        let seal = match seals {
            // A sealed tag could never be removed again.
            true => Found::new(Subject::Seal, Answer::Yes, "announced, not tried"),
            false => Found::new(Subject::Seal, Answer::No, "not announced"),
        };
        Ok([Found::new(Subject::Conditions, answer, detail), seal])
    }

    /// One write under a condition that does not hold.
    async fn under(
        &self,
        tag: &Tag,
        manifest: &RawManifest,
        name: HeaderName,
        value: &str,
    ) -> Result<Tried, RepositoryError> {
        let target = Target::Tag(tag.clone());
        let route = Route::Manifest(ManifestAction::Write, self.name.clone(), target.clone());
        let mut request = self
            .host
            .request(&route)
            .with(CONTENT_TYPE, manifest.media_type().as_str())
            .with(name, value);
        request.body = Some(manifest.bytes().clone());
        request.repeat = Repeat::Never;
        let answer = self.ask(&request).await?;
        match answer.status() {
            StatusCode::PRECONDITION_FAILED => Ok(Tried::Refused),
            status if status.is_success() => {
                let shows = self.head_manifest(&target).await?;
                Ok(match shows.map(|shows| shows.digest) == Some(manifest.digest()) {
                    true => Tried::Ignored,
                    false => Tried::Other("success, and the tag did not move".to_owned()),
                })
            }
            _ => {
                let (_, detail) = judge(self.refused(&request, answer).await)?;
                Ok(Tried::Other(detail))
            }
        }
    }

    /// A condition that holds, as Cairn sends it: the answer must repeat it.
    async fn confirmed(&self, scratch: &Scratch, tag: &Tag) -> Result<(Answer, String), RepositoryError> {
        let target = Target::Tag(tag.clone());
        let Some(before) = self.head_manifest(&target).await? else {
            return Ok((Answer::Unknown, format!("the tag {tag} is gone")));
        };
        let manifest = scratch.image("confirmed", 0);
        let condition = Condition::IfMatch(before.digest);
        Ok(match self.put_manifest(&target, &manifest, &condition).await {
            Ok(()) => (Answer::Yes, "announced, tried, and confirmed".to_owned()),
            Err(RepositoryError::ConditionIgnored { .. }) => (
                Answer::Broken,
                "announced, but not confirmed: something between removes the header Cairn-Condition"
                    .to_owned(),
            ),
            Err(error) => judge(error)?,
        })
    }

    async fn has_referrers(&self, subject: &Digest) -> Result<Found, RepositoryError> {
        let request = self.host.request(&Route::Referrers(self.name.clone(), *subject));
        let found = |answer, detail: &str| Ok(Found::new(Subject::Referrers, answer, detail));
        match self
            .ask_whole(&request, cairn_oci::manifest::LIMIT, "a list of referrers")
            .await?
        {
            Whole::Document(..) => found(Answer::Yes, "the registry has the API"),
            Whole::Other(answer) if answer.status() == StatusCode::NOT_FOUND => {
                found(Answer::No, "the registry has no such API")
            }
            Whole::Other(answer) => {
                let (_, detail) = judge(self.refused(&request, answer).await)?;
                found(Answer::Unknown, &detail)
            }
        }
    }

    /// Writes a manifest with a subject, without a fallback tag, and looks for it on the list.
    async fn referrers_of_scratch(&self, scratch: &Scratch) -> Result<Found, RepositoryError> {
        let subject = scratch.image("condition", 0).descriptor();
        let digest = subject.digest;
        let referrer = scratch.artifact("referrer", Some(subject));
        let target = Target::Digest(referrer.digest());
        let said = match self.put(&target, &referrer, &Condition::Always).await {
            Ok(headers) => headers.contains_key(header::SUBJECT),
            Err(error) => {
                let (answer, detail) = judge(error)?;
                let text = format!("a manifest with a subject is refused: {detail}");
                return Ok(Found::new(Subject::Referrers, answer, text));
            }
        };
        let found = self.has_referrers(&digest).await?;
        if found.answer != Answer::Yes {
            return Ok(found);
        }
        let route = Route::Referrers(self.name.clone(), digest);
        let request = self.host.request(&route);
        let listed = match self
            .ask_whole(&request, cairn_oci::manifest::LIMIT, "a list of referrers")
            .await?
        {
            Whole::Document(_, bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                text.contains(&referrer.digest().to_string())
            }
            Whole::Other(_) => false,
        };
        let (answer, detail) = match (listed, said) {
            (true, true) => (Answer::Yes, "listed at once, and OCI-Subject is sent"),
            (true, false) => (
                Answer::Yes,
                "listed at once; OCI-Subject is not sent, so the fallback tag is written too",
            ),
            (false, _) => (
                Answer::Broken,
                "the registry has the API, and what was just written is not on the list",
            ),
        };
        Ok(Found::new(Subject::Referrers, answer, detail))
    }

    async fn names_digests(&self, target: &Target) -> Result<Found, RepositoryError> {
        let route = Route::Manifest(ManifestAction::Stat, self.name.clone(), target.clone());
        let request = self
            .host
            .request(&route)
            .with(http::header::ACCEPT, &cairn_oci::media_type::MANIFESTS.join(", "));
        let answer = self.ask(&request).await?;
        let (found, detail) = match text(answer.headers(), &header::CONTENT_DIGEST) {
            Some(_) => (Answer::Yes, "Docker-Content-Digest is sent".to_owned()),
            None if answer.status().is_success() => (
                Answer::No,
                "Docker-Content-Digest is not sent: manifests are read whole, and hashed here".to_owned(),
            ),
            None => judge(self.refused(&request, answer).await)?,
        };
        Ok(Found::new(Subject::DigestHeader, found, detail))
    }

    /// Sends a blob in two pieces, the first as small as the registry says; else a small one, and then a larger one.
    async fn pieces(&self, scratch: &Scratch) -> Result<Found, RepositoryError> {
        let found = |answer, detail: String| Ok(Found::new(Subject::ChunkedUploads, answer, detail));
        let (first, minimum) = match self.in_pieces(scratch, SMALL).await? {
            Pieces::Done(Some(minimum)) => {
                return found(
                    Answer::Yes,
                    format!("pieces of {minimum} bytes or more (OCI-Chunk-Min-Length)"),
                );
            }
            Pieces::Done(None) => return found(Answer::Yes, "pieces of 1 KiB are taken".to_owned()),
            Pieces::Refused(why, minimum) => (why, minimum),
        };
        if minimum.is_some() {
            return found(Answer::No, first);
        }
        match self.in_pieces(scratch, LARGE).await? {
            Pieces::Done(_) => found(
                Answer::Yes,
                "pieces of 5 MiB are taken, those of 1 KiB are not".to_owned(),
            ),
            Pieces::Refused(..) => found(Answer::No, first),
        }
    }

    async fn in_pieces(&self, scratch: &Scratch, length: u64) -> Result<Pieces, RepositoryError> {
        let begin = self.host.request(&Route::BeginUpload(self.name.clone()));
        let begin = begin.with(CONTENT_LENGTH, "0");
        let answer = self.ask(&begin).await?;
        if answer.status() != StatusCode::ACCEPTED {
            let (_, detail) = judge(self.refused(&begin, answer).await)?;
            return Ok(Pieces::Refused(detail, None));
        }
        let minimum = answer.headers().get("oci-chunk-min-length");
        let minimum = minimum.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
        let length = minimum.filter(|minimum| *minimum > 0).unwrap_or(length);
        if length > LARGEST {
            let detail = format!("OCI-Chunk-Min-Length is {length}; not tried");
            return Ok(Pieces::Refused(detail, minimum));
        }
        let Some(mut at) = self.next_location(&begin.url, &answer) else {
            return Ok(Pieces::Refused(
                "an upload is accepted without saying where".to_owned(),
                minimum,
            ));
        };
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let blob = scratch.blob("pieces", size + 64);
        for (start, piece) in [(0, blob.slice(..size)), (size, blob.slice(size..))] {
            match self.piece(&at, start, piece).await? {
                Ok(next) => at = next,
                Err(detail) => {
                    self.give_up(at).await;
                    return Ok(Pieces::Refused(detail, minimum));
                }
            }
        }
        let digest = Digest::of(&blob);
        let mut url = at.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let finish = Request::new(Method::PUT, url)
            .to(Access::push(&self.name))
            .with(CONTENT_LENGTH, "0");
        let answer = self.ask(&finish).await?;
        if !answer.status().is_success() {
            let (_, detail) = judge(self.refused(&finish, answer).await)?;
            self.give_up(at).await;
            return Ok(Pieces::Refused(detail, minimum));
        }
        let stat = self
            .host
            .request(&Route::Blob(BlobAction::Stat, self.name.clone(), digest));
        Ok(match self.ask(&stat).await?.status() {
            StatusCode::OK => Pieces::Done(minimum),
            _ => Pieces::Refused("accepted, and the blob is not there".to_owned(), minimum),
        })
    }

    /// Sends one piece; where to go on, or why not.
    async fn piece(
        &self,
        at: &Url,
        start: usize,
        bytes: Bytes,
    ) -> Result<Result<Url, String>, RepositoryError> {
        let range = format!("{start}-{}", start + bytes.len() - 1);
        let mut request = Request::new(Method::PATCH, at.clone())
            .to(Access::push(&self.name))
            .with(CONTENT_TYPE, "application/octet-stream")
            .with(CONTENT_RANGE, &range);
        request.body = Some(bytes);
        // A piece that was taken is not taken twice.
        request.repeat = Repeat::Never;
        let answer = self.ask(&request).await?;
        if !answer.status().is_success() {
            return Ok(Err(judge(self.refused(&request, answer).await)?.1));
        }
        Ok(Ok(self.next_location(at, &answer).unwrap_or_else(|| at.clone())))
    }

    fn next_location(&self, from: &Url, answer: &Response) -> Option<Url> {
        self.host.follow(from, text(answer.headers(), &LOCATION)?).ok()
    }

    async fn give_up(&self, at: Url) {
        if self.host.owns(&at) {
            let request = Request::new(Method::DELETE, at).to(Access::push(&self.name));
            drop(self.host.send(&request).await);
        }
    }
}

/// How an upload in pieces went.
enum Pieces {
    /// Well; with the smallest piece that the registry named.
    Done(Option<u64>),
    /// Why not; with the same.
    Refused(String, Option<u64>),
}

fn describe(tried: &[Tried], announced: bool) -> String {
    let ignored = tried.iter().any(|one| matches!(one, Tried::Ignored));
    let other = tried.iter().find_map(|one| match one {
        Tried::Other(detail) => Some(detail.as_str()),
        _ => None,
    });
    match (ignored, announced, other) {
        (true, true, _) => {
            "announced, but ignored: something between removes If-Match or If-None-Match".to_owned()
        }
        (true, false, _) => "ignored: the tag is overwritten".to_owned(),
        (false, _, Some(detail)) => format!("not honoured: {detail}"),
        (false, _, None) => "not honoured".to_owned(),
    }
}
