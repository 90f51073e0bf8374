//! The questions that every repository can be asked.

use cairn_oci::text::counted;
use cairn_oci::{Digest, Tag};

use super::scratch::{MANIFEST_SIZES, Scratch};
use super::{Answer, Found, Patience, Subject, judge};
use crate::error::RepositoryError;
use crate::repository::{Condition, Page, RawManifest, Referrers, Repository, Target};

/// Most pages of a list of tags.
const PAGE_LIMIT: usize = 10_000;

/// What can be found out without writing.
///
/// # Errors
///
/// When the repository cannot be read at all.
pub async fn look(repository: &dyn Repository) -> Result<Vec<Found>, RepositoryError> {
    let (tags, pages) = list(repository, Page::first()).await?;
    let read = read(&tags, pages);
    let sorted = if tags.len() < 2 {
        Found::new(Subject::ListsSorted, Answer::NotAsked, "fewer than two tags")
    } else {
        sorted(&tags)
    };
    Ok(vec![read, sorted])
}

fn read(tags: &[Tag], pages: usize) -> Found {
    let tags = counted(tags.len() as u64, "tag", "tags");
    let detail = format!("{tags}, {}", counted(pages as u64, "page", "pages"));
    Found::new(Subject::Read, Answer::Yes, detail)
}

/// Tries everything on scratch tags. The caller removes them: [`Scratch::remove`].
///
/// # Errors
///
/// When the repository cannot be asked, or written to at all. What it does otherwise is a finding.
pub async fn examine(
    repository: &dyn Repository,
    scratch: &Scratch,
    patience: Patience,
) -> Result<Vec<Found>, RepositoryError> {
    let probe = Probe {
        repository,
        scratch,
        patience,
    };
    let (mut tags, pages) = list(repository, Page::first()).await?;
    // Whoever came before with the same names has written some.
    tags.retain(|tag| !tag.as_str().starts_with(scratch.name()));
    let mut found = vec![read(&tags, pages)];
    let written = probe.write().await?;
    let can_write = written.answer == Answer::Yes;
    found.push(written);
    if !can_write {
        return Ok(found);
    }
    found.push(probe.artifacts().await?);
    found.extend(probe.moves().await?);
    found.extend(probe.lists().await?);
    found.push(probe.sizes().await?);
    found.push(probe.mounts().await?);
    // Last, for then nothing else is needed any more.
    found.push(probe.delete_tags().await?);
    found.push(probe.delete_manifests().await?);
    found.push(probe.delete_blobs().await?);
    Ok(found)
}

/// Conditions and referrers of a repository of this machine, by the contract.
///
/// # Errors
///
/// When the repository cannot be asked.
pub async fn contract(repository: &dyn Repository, scratch: &Scratch) -> Result<Vec<Found>, RepositoryError> {
    let can = repository.capabilities().await?;
    let yes = |answer| if answer { Answer::Yes } else { Answer::No };
    let referrers = can.referrers == Referrers::Native;
    let mut found = vec![
        Found::new(Subject::Seal, yes(can.seal), "what it says of itself"),
        Found::new(Subject::Referrers, yes(referrers), "what it says of itself"),
    ];
    if !can.conditions {
        let none = "it has none";
        found.push(Found::new(Subject::Conditions, Answer::No, none));
        return Ok(found);
    }
    scratch.write_blobs(repository).await?;
    let (tag, first) = (Target::Tag(scratch.tag('d')), scratch.image("condition", 0));
    repository
        .write_manifest(&tag, &first, &Condition::IfAbsent)
        .await?;
    let mut refused = true;
    let wrong = Digest::of(scratch.name().as_bytes());
    for condition in [Condition::IfMatch(wrong), Condition::IfAbsent] {
        let second = scratch.image("second", 0);
        match repository.write_manifest(&tag, &second, &condition).await {
            Err(RepositoryError::Condition { .. }) => {}
            Ok(()) => refused = false,
            Err(error) => return Err(error),
        }
    }
    found.push(match refused {
        true => Found::new(Subject::Conditions, Answer::Yes, "tried"),
        false => Found::new(
            Subject::Conditions,
            Answer::Broken,
            "it says so, and ignores them",
        ),
    });
    Ok(found)
}

/// All tags, in the registry's order, and how many pages there were.
async fn list(repository: &dyn Repository, first: Page) -> Result<(Vec<Tag>, usize), RepositoryError> {
    let (mut tags, mut page, mut pages) = (Vec::new(), first, 0);
    loop {
        let part = repository.list_tags(&page).await?;
        tags.extend(part.tags);
        pages += 1;
        match part.next {
            Some(next) if pages < PAGE_LIMIT => page.after = Some(next),
            _ => return Ok((tags, pages)),
        }
    }
}

fn sorted(tags: &[Tag]) -> Found {
    match tags.windows(2).find(|pair| pair[0].as_str() > pair[1].as_str()) {
        None => Found::new(Subject::ListsSorted, Answer::Yes, "by bytes"),
        Some(pair) => {
            let detail = format!("{} stands before {}", pair[0], pair[1]);
            Found::new(Subject::ListsSorted, Answer::No, detail)
        }
    }
}

struct Probe<'a> {
    repository: &'a dyn Repository,
    scratch: &'a Scratch,
    patience: Patience,
}

impl Probe<'_> {
    async fn put(&self, tag: &Tag, manifest: &RawManifest) -> Result<(), RepositoryError> {
        let target = Target::Tag(tag.clone());
        self.repository
            .write_manifest(&target, manifest, &Condition::Always)
            .await
    }

    async fn shows(&self, tag: &Tag) -> Result<Option<Digest>, RepositoryError> {
        let found = self.repository.stat_manifest(&Target::Tag(tag.clone())).await?;
        Ok(found.map(|found| found.digest))
    }

    /// Looks until the tag shows `wanted`; how many looks it took.
    async fn await_tag(&self, tag: &Tag, wanted: Digest) -> Result<Option<u32>, RepositoryError> {
        let mut pause = self.patience.first;
        for look in 1..=self.patience.polls {
            if self.shows(tag).await? == Some(wanted) {
                return Ok(Some(look));
            }
            if look < self.patience.polls {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Ok(None)
    }

    async fn write(&self) -> Result<Found, RepositoryError> {
        let failed = |error: RepositoryError| match error {
            error @ RepositoryError::Denied { .. } => Err(error),
            error => judge(error).map(|(answer, detail)| Found::new(Subject::Write, answer, detail)),
        };
        if let Err(error) = self.scratch.write_blobs(self.repository).await {
            return failed(error);
        }
        let image = self.scratch.image("first", 0);
        Ok(match self.put(&self.scratch.tag('c'), &image).await {
            Ok(()) => Found::new(Subject::Write, Answer::Yes, "blobs, manifests, new tags"),
            Err(error) => return failed(error),
        })
    }

    async fn artifacts(&self) -> Result<Found, RepositoryError> {
        let artifact = self.scratch.artifact("artifact", None);
        let tag = self.scratch.tag('a');
        if let Err(error) = self.put(&tag, &artifact).await {
            let (answer, detail) = judge(error)?;
            return Ok(Found::new(Subject::Artifacts, answer, detail));
        }
        let target = Target::Digest(artifact.digest());
        let (answer, detail) = match self.repository.read_manifest(&target).await {
            Ok(Some(found)) if found == artifact => {
                (Answer::Yes, "types that nobody knows are taken".to_owned())
            }
            Ok(Some(found)) => (
                Answer::No,
                format!(
                    "taken as {}, given back as {}",
                    artifact.media_type(),
                    found.media_type()
                ),
            ),
            Ok(None) => (Answer::Broken, "taken, and not there by digest".to_owned()),
            Err(error) => judge(error)?,
        };
        Ok(Found::new(Subject::Artifacts, answer, detail))
    }

    async fn moves(&self) -> Result<[Found; 2], RepositoryError> {
        let (tag, second) = (self.scratch.tag('c'), self.scratch.image("second", 0));
        let first = self.scratch.image("first", 0).digest();
        let moves = |answer, detail: String| Found::new(Subject::TagsMove, answer, detail);
        let fresh = |answer, detail: &str| Found::new(Subject::TagsFresh, answer, detail);
        let at_first = self.await_tag(&tag, first).await?;
        if let Err(error) = self.put(&tag, &second).await {
            let (answer, detail) = judge(error)?;
            let found = match at_first {
                Some(1) => fresh(Answer::Yes, "a new tag is there at once"),
                Some(_) => fresh(Answer::No, "a new tag is there after a while"),
                None => fresh(Answer::No, "a new tag is not there after several seconds"),
            };
            return Ok([moves(answer, detail), found]);
        }
        Ok(match (at_first, self.await_tag(&tag, second.digest()).await?) {
            (_, None) => [
                moves(
                    Answer::Broken,
                    "the write is accepted, and the tag still shows what it showed".to_owned(),
                ),
                fresh(Answer::Unknown, "the tag did not move"),
            ],
            (Some(1), Some(1)) => [
                moves(Answer::Yes, "overwritten".to_owned()),
                fresh(Answer::Yes, "at once"),
            ],
            (_, Some(_)) => [
                moves(Answer::Yes, "overwritten".to_owned()),
                fresh(Answer::No, "a tag shows the old image, or none, for a while"),
            ],
        })
    }

    /// Three tags, written in an order that is neither that of bytes nor that of letters.
    async fn lists(&self) -> Result<[Found; 3], RepositoryError> {
        let ours = [
            self.scratch.tag('c'),
            self.scratch.tag('a'),
            self.scratch.tag('B'),
        ];
        let image = self.scratch.image("first", 0);
        for tag in &ours[1..] {
            self.put(tag, &image)
                .await
                .or_else(|error| judge(error).map(drop))?;
        }
        let mut written = Vec::new();
        for tag in ours {
            if self.shows(&tag).await?.is_some() {
                written.push(tag);
            }
        }
        let mut pause = self.patience.first;
        let mut seen = Vec::new();
        let mut late = true;
        for look in 1..=self.patience.polls {
            seen = list(self.repository, Page::first()).await?.0;
            if written.iter().all(|tag| seen.contains(tag)) {
                late = look > 1;
                break;
            }
            if look < self.patience.polls {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        let missing: Vec<&Tag> = written.iter().filter(|tag| !seen.contains(tag)).collect();
        let fresh = match (missing.is_empty(), late) {
            (true, false) => Found::new(Subject::ListsFresh, Answer::Yes, "at once"),
            (true, true) => Found::new(
                Subject::ListsFresh,
                Answer::No,
                "a new tag is on the list after a while",
            ),
            (false, _) => Found::new(
                Subject::ListsFresh,
                Answer::No,
                "a new tag is not on the list after several seconds",
            ),
        };
        let whole = match missing.first() {
            Some(tag) => Found::new(Subject::ListsWhole, Answer::No, format!("{tag} is not on it")),
            None => Found::new(Subject::ListsWhole, Answer::Yes, self.pages(&written).await?),
        };
        Ok([whole, sorted(&seen), fresh])
    }

    /// How the list goes when it is asked for by twos, from our own tags on.
    async fn pages(&self, written: &[Tag]) -> Result<String, RepositoryError> {
        let page = Page {
            after: Some(self.scratch.name().to_owned()),
            limit: 2,
        };
        let part = match self.repository.list_tags(&page).await {
            Ok(part) => part,
            Err(error) => return Ok(judge(error)?.1),
        };
        Ok(match (part.tags.len(), part.next) {
            (count, _) if count > 2 => "all at once: the size of a page is ignored".to_owned(),
            (_, Some(_)) => "by pages".to_owned(),
            (count, None) if count < written.len().min(2) => "pages cannot begin at a tag".to_owned(),
            (_, None) => "all at once".to_owned(),
        })
    }

    async fn sizes(&self) -> Result<Found, RepositoryError> {
        let mut refused = None;
        for size in MANIFEST_SIZES {
            let large = self.scratch.image("large", size);
            let target = Target::Digest(large.digest());
            let written = self
                .repository
                .write_manifest(&target, &large, &Condition::Always)
                .await;
            let accepted = match size >> 20 {
                0 => format!("{} KiB are accepted", size >> 10),
                mebi => format!("{mebi} MiB are accepted"),
            };
            match (written, refused) {
                (Ok(()), None) => return Ok(Found::new(Subject::ManifestSize, Answer::Yes, accepted)),
                (Ok(()), Some(_)) => {
                    let detail = format!("{accepted}, and the next larger size is not");
                    return Ok(Found::new(Subject::ManifestSize, Answer::No, detail));
                }
                (Err(error), _) => refused = Some(judge(error)?.1),
            }
        }
        Ok(Found::new(
            Subject::ManifestSize,
            Answer::No,
            refused.unwrap_or_default(),
        ))
    }

    /// From the repository into itself, where the blob certainly is: no other repository has to be touched for it.
    async fn mounts(&self) -> Result<Found, RepositoryError> {
        let blob = Digest::of(&self.scratch.blob("layer", 0));
        let (answer, detail) = match self.repository.mount_blob(&blob, self.repository.name()).await {
            Ok(true) => (Answer::Yes, "a blob that is there is linked".to_owned()),
            Ok(false) => (Answer::No, "an upload begins instead".to_owned()),
            Err(error) => judge(error)?,
        };
        Ok(Found::new(Subject::Mounts, answer, detail))
    }

    async fn delete_tags(&self) -> Result<Found, RepositoryError> {
        let tag = self.scratch.tag('B');
        let before = self.shows(&tag).await?;
        let (answer, detail) = match self.repository.delete_tag(&tag).await {
            Ok(_) => match (before, self.shows(&tag).await?) {
                (Some(before), None) => {
                    let kept = self.repository.stat_manifest(&Target::Digest(before)).await?;
                    match kept {
                        Some(_) => (Answer::Yes, "the tag alone".to_owned()),
                        None => (
                            Answer::No,
                            "what the tag pointed at is deleted with it".to_owned(),
                        ),
                    }
                }
                (None, _) => (Answer::Unknown, "there was no tag to be deleted".to_owned()),
                (Some(_), Some(_)) => (Answer::Broken, "accepted, and the tag is still there".to_owned()),
            },
            Err(error) => judge(error)?,
        };
        Ok(Found::new(Subject::DeleteTags, answer, detail))
    }

    async fn delete_manifests(&self) -> Result<Found, RepositoryError> {
        let digest = self.scratch.artifact("artifact", None).digest();
        let (answer, detail) = match self.repository.delete_manifest(&digest).await {
            Ok(_) => match self.repository.stat_manifest(&Target::Digest(digest)).await? {
                None => (Answer::Yes, "by digest".to_owned()),
                Some(_) => (
                    Answer::Broken,
                    "accepted, and the manifest is still there".to_owned(),
                ),
            },
            Err(error) => judge(error)?,
        };
        Ok(Found::new(Subject::DeleteManifests, answer, detail))
    }

    async fn delete_blobs(&self) -> Result<Found, RepositoryError> {
        let digest = Digest::of(&self.scratch.blob("layer", 0));
        let (answer, detail) = match self.repository.delete_blob(&digest).await {
            Ok(_) => match self.repository.stat_blob(&digest).await? {
                None => (Answer::Yes, "by digest".to_owned()),
                Some(_) => (Answer::Broken, "accepted, and the blob is still there".to_owned()),
            },
            Err(error) => judge(error)?,
        };
        Ok(Found::new(Subject::DeleteBlobs, answer, detail))
    }
}
