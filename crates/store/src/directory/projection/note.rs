//! What was shown last, kept in `refs/shown`: which files `index.json` was made from, and where in it each entry is.
//!
//! It only saves work. A file counts as unchanged by its identity (device, inode, size, time of its last change), and only
//! if that time is before the one of the `index.json` that was made then: whoever replaces the file later gives it another
//! time, even where the next file gets the same inode. A note that is torn, or is not about the `index.json` that is there, is
//! no note.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cairn_oci::{Digest, Tag, json};
use serde::{Deserialize, Serialize};

use super::{LIMIT, Projection, frame};
use crate::blobs::read_bounded;
use crate::directory::repository::DirectoryRepository;

/// What tells one state of a file or directory from another.
pub(super) struct Identity {
    text: String,
    /// When it was changed last, in seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Identity {
    /// Of what is at `path`, if anything is.
    pub(super) fn of(path: &Path) -> Option<Self> {
        path.symlink_metadata().ok().map(|found| Self::from(&found))
    }
}

impl From<&Metadata> for Identity {
    fn from(of: &Metadata) -> Self {
        let changed = (of.ctime(), of.ctime_nsec());
        let (seconds, nanoseconds) = changed;
        let (device, inode, size) = (of.dev(), of.ino(), of.size());
        Self {
            text: format!("{device}:{inode}:{size}:{seconds}.{nanoseconds:09}"),
            changed,
        }
    }
}

/// The note as it is written. Where an identity is empty, the file is read again.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    schema: u32,
    /// The `index.json` that it is about.
    index: Digest,
    /// In the order of `index.json`.
    tags: Vec<NotedTag>,
    subjects: Vec<NotedSubject>,
}

/// Name, digest, length of the entry in bytes, identity of the file in `refs/tags`.
#[derive(Serialize, Deserialize)]
struct NotedTag(Tag, Digest, usize, String);

/// Digest, identity of the directory in `refs/referrers`, and the manifests in it.
#[derive(Serialize, Deserialize)]
struct NotedSubject(Digest, String, Vec<NotedReferrer>);

/// Digest, and length of the entry in bytes; 0 where a tag shows it.
#[derive(Serialize, Deserialize)]
struct NotedReferrer(Digest, usize);

/// What an `index.json` is known to have been made from.
#[derive(Default)]
pub(super) struct Shown<'a> {
    tags: BTreeMap<Tag, (String, Digest, &'a [u8])>,
    subjects: BTreeMap<Digest, KnownSubject<'a>>,
}

struct KnownSubject<'a> {
    directory: String,
    /// Sorted by digest; without an entry where a tag shows it.
    referrers: Vec<(Digest, Option<&'a [u8]>)>,
}

impl<'a> Shown<'a> {
    /// The entry of a tag, if its file is the one that was read.
    pub(super) fn tag(&self, tag: &Tag, file: Option<&Identity>) -> Option<(Digest, &'a [u8])> {
        let (identity, digest, entry) = self.tags.get(tag)?;
        (*identity == file?.text).then_some((*digest, *entry))
    }

    /// The entries of the manifests about `subject`, if nothing was added or removed there.
    pub(super) fn subject(
        &self,
        subject: &Digest,
        directory: Option<&Identity>,
    ) -> Option<impl Iterator<Item = (Digest, &'a [u8])>> {
        let known = self.subjects.get(subject)?;
        let all = known.referrers.iter();
        let is_same = known.directory == directory?.text && all.clone().all(|(_, entry)| entry.is_some());
        is_same.then(|| all.filter_map(|(digest, entry)| Some((*digest, (*entry)?))))
    }

    /// The entry of one manifest about `subject`.
    pub(super) fn referrer(&self, subject: &Digest, digest: &Digest) -> Option<&'a [u8]> {
        let referrers = &self.subjects.get(subject)?.referrers;
        let at = referrers.binary_search_by_key(digest, |(digest, _)| *digest);
        referrers.get(at.ok()?)?.1
    }
}

fn path(of: &DirectoryRepository) -> PathBuf {
    of.layout().join("refs/shown")
}

/// What is known of `index`, the `index.json` that is there. Whoever reads holds the repository's lock.
pub(super) fn read<'a>(repository: &DirectoryRepository, index: &'a [u8]) -> Shown<'a> {
    let bytes = read_bounded(repository.writer(), &path(repository), LIMIT);
    let note = bytes
        .ok()
        .flatten()
        .and_then(|bytes| json::parse::<Note>(&bytes, LIMIT).ok());
    let note = note.filter(|note| note.schema == 1 && note.index == Digest::of(index));
    note.and_then(|note| cut(note, index)).unwrap_or_default()
}

/// Finds the entries in the file; none if they do not fill it.
fn cut(note: Note, index: &[u8]) -> Option<Shown<'_>> {
    let (start, end) = frame();
    let mut rest = index.strip_prefix(&start[..])?.strip_suffix(&end[..])?;
    let mut is_first = true;
    let mut next = |length: usize| {
        if !std::mem::take(&mut is_first) {
            rest = rest.strip_prefix(b",")?;
        }
        let (entry, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(entry)
    };
    let mut shown = Shown::default();
    for NotedTag(tag, digest, length, identity) in note.tags {
        shown.tags.insert(tag, (identity, digest, next(length)?));
    }
    let all = note
        .subjects
        .iter()
        .flat_map(|NotedSubject(_, _, referrers)| referrers);
    let mut untagged: BTreeMap<Digest, (usize, Option<&[u8]>)> = BTreeMap::new();
    untagged.extend(all.map(|NotedReferrer(digest, length)| (*digest, (*length, None))));
    for (length, entry) in untagged.values_mut().filter(|(length, _)| *length > 0) {
        *entry = Some(next(*length)?);
    }
    for NotedSubject(subject, directory, referrers) in note.subjects {
        let entry = |digest: &Digest| untagged.get(digest).and_then(|(_, entry)| *entry);
        let referrers = referrers
            .iter()
            .map(|NotedReferrer(digest, _)| (*digest, entry(digest)));
        let referrers = referrers.collect();
        shown
            .subjects
            .insert(subject, KnownSubject { directory, referrers });
    }
    rest.is_empty().then_some(shown)
}

/// Writes down what `index`, which is at `path` now, was made from. That this fails costs time and nothing else.
pub(super) fn keep(repository: &DirectoryRepository, projection: &Projection<'_>, index: &[u8], at: &Path) {
    let Some(made) = Identity::of(at) else { return };
    let settled = |identity: Option<&Identity>| {
        let before = identity.filter(|identity| identity.changed < made.changed);
        before.map(|identity| identity.text.clone()).unwrap_or_default()
    };
    let tags = projection.tags.iter().map(|tag| {
        let identity = settled(tag.file.as_ref());
        NotedTag(tag.tag.clone(), tag.digest, tag.entry.len(), identity)
    });
    let untagged = projection.untagged();
    let subjects = projection.subjects.iter().map(|subject| {
        let length = |digest| untagged.get(digest).map_or(0, |entry| entry.len());
        let referrers = subject
            .referrers
            .keys()
            .map(|digest| NotedReferrer(*digest, length(digest)));
        let identity = settled(subject.directory.as_ref());
        NotedSubject(subject.subject, identity, referrers.collect())
    });
    let note = Note {
        schema: 1,
        index: Digest::of(index),
        tags: tags.collect(),
        subjects: subjects.collect(),
    };
    drop(
        repository
            .writer()
            .write_cached(&path(repository), &json::canonical(&note)),
    );
}
