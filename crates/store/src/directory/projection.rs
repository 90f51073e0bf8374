//! `index.json`: what other tools read instead of `refs/`.
//!
//! It lists every tag (with `org.opencontainers.image.ref.name`, as `skopeo oci:DIR:TAG` and umoci expect) and every
//! referrer (untagged, as `oras discover --oci-layout` expects). Other untagged manifests are left out: those
//! below an index are reached through it, and superseded ones would make the file grow with every move of a tag.
//!
//! A repository may have thousands of tags, and a command moves one. So the file is put together from the entries that it has
//! and from what changed: see [`note`].

mod note;

use std::borrow::Cow;
use std::path::Path;

use cairn_oci::{Descriptor, Digest, Tag, annotations, json};

use super::refs::Refs;
use super::repository::DirectoryRepository;
use crate::blobs::read_bounded;
use crate::error::RepositoryError;
use crate::files::PUBLIC;
use crate::layout;
use note::{Files, Identity, Shown};

/// Longest `index.json` that is looked at, in bytes; a longer one is made without it.
const LIMIT: usize = 256 << 20;

impl DirectoryRepository {
    /// Rewrites `index.json` from `refs/`, if it changes. A repository that nobody wrote to stays as it is.
    pub(super) fn project(&self) -> Result<(), RepositoryError> {
        let Some(_lock) = self.lock_existing()? else {
            return Ok(());
        };
        let path = self.layout().join("index.json");
        let before = self.before(&path)?;
        let noted = note::load(self);
        let projection = Projection::of(self.refs(), &note::read(&noted, &before))?;
        let index = projection.index();
        if before != index {
            self.writer().write(&path, &index, PUBLIC)?;
        }
        note::keep(self, &projection, &index, &path);
        Ok(())
    }

    /// The file as it is; nothing if there is none, or if it is too long to be looked at.
    fn before(&self, path: &Path) -> Result<Vec<u8>, RepositoryError> {
        match read_bounded(self.writer(), path, LIMIT) {
            Err(RepositoryError::TooLarge { .. }) => Ok(Vec::new()),
            other => Ok(other?.unwrap_or_default().into()),
        }
    }
}

/// An entry of `index.json` as it stands there.
type Entry<'a> = Cow<'a, [u8]>;

/// What `index.json` shows of a repository.
struct Projection<'a> {
    /// In the order of their names.
    tags: Vec<ShownTag<'a>>,
    /// The digests of the tags, sorted.
    tagged: Vec<Digest>,
    subjects: Vec<ShownSubject<'a>>,
}

struct ShownTag<'a> {
    tag: Tag,
    digest: Digest,
    file: Option<Identity>,
    entry: Entry<'a>,
}

/// Something that other manifests are about.
struct ShownSubject<'a> {
    subject: Digest,
    directory: Option<Identity>,
    /// By digest.
    referrers: Vec<(Digest, Entry<'a>)>,
}

impl<'a> Projection<'a> {
    fn of(refs: &Refs, shown: &Shown<'a>) -> Result<Self, RepositoryError> {
        let mut tags = Vec::new();
        let files = Files::of(refs.tags_directory());
        for tag in refs.tags()? {
            let file = files.identity(tag.as_str());
            let entry = match shown.tag(&tag, file.as_ref()) {
                Some((digest, entry)) => Some((digest, Cow::Borrowed(entry))),
                None => tag_entry(refs, &tag)?,
            };
            tags.extend(entry.map(|(digest, entry)| ShownTag {
                tag,
                digest,
                file,
                entry,
            }));
        }
        let mut subjects = Vec::new();
        for subject in refs.subjects()? {
            let directory = Identity::of(&refs.subject_path(&subject));
            let referrers = referrers(refs, &subject, directory.as_ref(), shown)?;
            subjects.push(ShownSubject {
                subject,
                directory,
                referrers,
            });
        }
        let mut tagged: Vec<Digest> = tags.iter().map(|tag| tag.digest).collect();
        tagged.sort_unstable();
        tagged.dedup();
        Ok(Self {
            tags,
            tagged,
            subjects,
        })
    }

    /// Whether a tag shows it.
    fn is_tagged(&self, digest: &Digest) -> bool {
        self.tagged.binary_search(digest).is_ok()
    }

    /// The referrers that have an entry of their own, by digest: those without a tag.
    fn untagged(&self) -> Vec<(Digest, &Entry<'a>)> {
        let all = self.subjects.iter().flat_map(|subject| &subject.referrers);
        let untagged = all.filter(|(digest, _)| !self.is_tagged(digest));
        let mut untagged: Vec<_> = untagged.map(|(digest, entry)| (*digest, entry)).collect();
        untagged.sort_by_key(|(digest, _)| *digest);
        untagged
    }

    /// The whole file: tags in their order, then untagged referrers by digest.
    fn index(&self) -> Vec<u8> {
        let (mut bytes, end) = frame();
        let tags = self.tags.iter().map(|tag| &tag.entry);
        let untagged = self.untagged().into_iter().map(|(_, entry)| entry);
        for (number, entry) in tags.chain(untagged).enumerate() {
            if number > 0 {
                bytes.push(b',');
            }
            bytes.extend_from_slice(entry);
        }
        bytes.extend(end);
        bytes
    }
}

/// What stands before and behind the entries of an `index.json`.
fn frame() -> (Vec<u8>, Vec<u8>) {
    let mut start = json::canonical(&layout::index(Vec::new()));
    let inside = start.windows(2).position(|pair| pair == b"[]");
    // Its only list is that of the manifests.
    let end = start.split_off(inside.map_or(start.len(), |at| at + 1));
    (start, end)
}

/// The entry of a tag; none if it is gone by now.
fn tag_entry<'a>(refs: &Refs, tag: &Tag) -> Result<Option<(Digest, Entry<'a>)>, RepositoryError> {
    let found = refs.tag(tag)?.map(|found| {
        let mut descriptor = found.descriptor;
        let name = (annotations::REF_NAME.to_owned(), tag.to_string());
        descriptor.annotations.extend([name]);
        (descriptor.digest, Cow::Owned(json::canonical(&descriptor)))
    });
    Ok(found)
}

/// The entries of the manifests about `subject`. What is said of a manifest never changes: one that was shown is not read again.
fn referrers<'a>(
    refs: &Refs,
    subject: &Digest,
    directory: Option<&Identity>,
    shown: &Shown<'a>,
) -> Result<Vec<(Digest, Entry<'a>)>, RepositoryError> {
    if let Some(same) = shown.subject(subject, directory) {
        return Ok(same
            .map(|(digest, entry)| (digest, Cow::Borrowed(entry)))
            .collect());
    }
    let mut all = Vec::new();
    for digest in refs.referrer_digests(subject)? {
        let entry = match shown.referrer(subject, &digest) {
            Some(entry) => Some(Cow::Borrowed(entry)),
            None => refs.referrer(subject, &digest)?.map(referrer_entry),
        };
        // One that is gone by now was deleted after the list was made.
        all.extend(entry.map(|entry| (digest, entry)));
    }
    Ok(all)
}

fn referrer_entry<'a>(mut descriptor: Descriptor) -> Entry<'a> {
    // A manifest that names itself in an annotation must not become a tag by that.
    descriptor.annotations.clear();
    Cow::Owned(json::canonical(&descriptor))
}
